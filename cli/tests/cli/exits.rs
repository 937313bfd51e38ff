//! Exit codes and what stands beside them.

use revnet_core::command::CommandError;

use crate::run::{gardeners, run, run_in, server};

#[test]
fn without_a_node_the_hint_says_how_to_start_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run_in(folder.path(), &["status"], "");
    assert_eq!(outcome.code, 5);
    assert!(
        outcome.err.contains("start it with: revnet up"),
        "{outcome:?}"
    );
    assert_eq!(outcome.out, "");

    let gone = server();
    let (_, folder) = gone.stop();
    for args in [&["status"][..], &["log", "a/b", "--follow"], &["down"]] {
        let outcome = run_in(folder.path(), args, "");
        assert_eq!(outcome.code, 5, "{outcome:?}");
        assert!(outcome.err.contains("revnet up"));
    }
}

#[test]
fn codes_tell_what_went_wrong() {
    let server = gardeners();
    let code = |args: &[&str]| run(&server, args).code;
    assert_eq!(code(&["status"]), 0);
    assert_eq!(code(&["statuss"]), 2);
    assert_eq!(code(&["send", "Gardeners", "x"]), 2, "no channel");
    assert_eq!(code(&["send", "Gardeners/general", ""]), 2, "no words");
    assert_eq!(code(&["join", "https://example.org"]), 2);
    assert_eq!(
        code(&["invite", "new", "Gardeners", "--expires", "soon"]),
        2
    );
    assert_eq!(code(&["revolt", "leave", "Gardeners"]), 2, "without --yes");
    assert_eq!(code(&["send", "Gardeners/nowhere", "x"]), 3);
    assert_eq!(code(&["revolt", "show", "nowhere"]), 3);
    assert_eq!(
        code(&["import", "jsonl", "Gardeners/general", "/no/file"]),
        3
    );
    let fails = |error: CommandError| {
        server.node.fail_next(error);
        code(&["peers"])
    };
    assert_eq!(fails(CommandError::NotPermitted("why".into())), 4);
    assert_eq!(fails(CommandError::Unreachable("why")), 1);
    assert_eq!(fails(CommandError::InviteEnded), 1);
    assert_eq!(fails(CommandError::Busy), 1);
}

#[test]
fn a_stale_token_is_named_as_what_it_is() {
    let server = server();
    let node = format!(r#"{{"pid":1,"api":"{}","token":"old"}}"#, server.address);
    std::fs::write(server.folder.path().join("node.json"), node).expect("written");
    let outcome = run(&server, &["status"]);
    assert_eq!(outcome.code, 5, "the node of this directory doesn't run");
    assert!(
        outcome
            .err
            .contains("isn't the node of this data directory")
    );
}

#[test]
fn with_json_errors_are_json() {
    let server = server();
    let outcome = run(&server, &["--json", "revolt", "show", "nowhere"]);
    let error: serde_json::Value = serde_json::from_str(&outcome.err).expect("json");
    assert_eq!(error["error"]["code"], "not_found");
    assert_eq!(outcome.out, "");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let server = gardeners();
    let texts: Vec<String> = (0..200).map(|n| n.to_string().repeat(500)).collect();
    let mut args = vec!["send".to_owned(), "Gardeners/general".to_owned()];
    args.extend(texts);
    assert_eq!(run(&server, &args).code, 0);
    let mut child = crate::run::program(server.folder.path())
        .args(["log", "Gardeners/general", "--all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
