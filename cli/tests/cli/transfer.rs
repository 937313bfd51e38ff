//! Import and export.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json as value};

use crate::run::{gardeners, json, run, run_in, text};

const AT: &str = "Gardeners/general";

fn chat(lines: usize) -> String {
    (1..=lines)
        .map(|n| {
            let mut line = value!({
                "id": n,
                "ts": "2004-09-23T14:00:00Z",
                "author": "ada",
                "body": format!("line {n} \u{1} ü"),
            });
            if n > 2 {
                line["reply_to"] = (n - 2).into();
            }
            format!("{line}\n")
        })
        .collect()
}

fn log(server: &crate::fake::Server) -> Vec<Value> {
    let log = run(server, &["log", AT, "--all", "--json"]);
    let lines = log.out.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}

#[test]
fn an_import_continues_where_it_stopped() {
    let server = gardeners();
    let folder = server.folder.path();
    let part = folder.join("chat.jsonl");
    std::fs::write(&part, chat(700)).expect("written");
    let part = part.to_str().expect("text");
    let first = json(&server, &["import", "jsonl", AT, part]);
    assert_eq!(first, value!({"imported": 700, "skipped": 0, "total": 700}));

    let whole = folder.join("chat.jsonl.gz");
    let file = std::fs::File::create(&whole).expect("created");
    let mut gzip = GzEncoder::new(file, Compression::fast());
    gzip.write_all(chat(1203).as_bytes()).expect("written");
    gzip.finish().expect("written");
    let whole = whole.to_str().expect("text");
    let second = json(&server, &["import", "jsonl", AT, whole]);
    let expected = value!({"imported": 503, "skipped": 700, "total": 1203});
    assert_eq!(second, expected);

    let lines = log(&server);
    assert_eq!(lines.len(), 1203);
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["text"], format!("line {} \u{1} ü", at + 1));
        let from = &line["imported"];
        assert_eq!(from["source"], "chat");
        assert_eq!(from["time"], "2004-09-23T14:00:00.000Z");
        if at >= 2 {
            assert_eq!(line["reply_to"], lines[at - 2]["id"], "{at}");
            assert_eq!(from["reply_to"], (at - 1).to_string());
        }
    }
}

#[test]
fn a_broken_line_is_named_and_what_came_before_stays() {
    let server = gardeners();
    let file = server.folder.path().join("broken.jsonl");
    std::fs::write(&file, format!("{}{{\"id\": 9}}\n", chat(600))).expect("written");
    let file = file.to_str().expect("text");
    let outcome = run(&server, &["import", "jsonl", AT, file]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("line 601"), "{outcome:?}");
    assert!(!outcome.err.contains("again to continue"), "{outcome:?}");
    assert_eq!(log(&server).len(), 600, "all that stands before it");
}

#[test]
fn two_lines_with_one_id_and_too_long_ones_are_named() {
    let server = gardeners();
    let file = server.folder.path().join("odd.jsonl");
    let path = file.to_str().expect("text");
    let line = |id: u32, body: &str| {
        let line = value!({"id": id, "ts": "2004-09-23T14:00:00Z", "author": "a", "body": body});
        format!("{line}\n")
    };
    let mark = "\u{feff}";
    let twice = format!("{mark}{}{}", line(1, "one"), line(1, "two"));
    std::fs::write(&file, twice).expect("written");
    let outcome = run(&server, &["import", "jsonl", AT, path]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("line 2: the id '1'"), "{outcome:?}");
    assert_eq!(log(&server).len(), 1);
    let long = format!("{}{}", line(1, "one"), line(2, &"x".repeat(9000)));
    std::fs::write(&file, long).expect("written");
    let outcome = run(&server, &["import", "jsonl", AT, path]);
    assert!(
        outcome.err.contains("line 2: the message is longer"),
        "{outcome:?}"
    );
}

#[test]
fn an_export_replaces_nothing_unasked() {
    let server = gardeners();
    run(&server, &["send", AT, "one"]);
    let file = server.folder.path().join("kept.jsonl");
    std::fs::write(&file, "kept").expect("written");
    let path = file.to_str().expect("text");
    let refused = run(&server, &["export", AT, path]);
    assert!(
        refused.code == 2 && refused.err.contains("--force"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "kept");
    json(&server, &["export", AT, path, "--force"]);
    assert!(
        std::fs::read_to_string(&file)
            .expect("there")
            .contains("one")
    );
    // What is no file is written to, and stays what it is.
    json(&server, &["export", AT, "/dev/null"]);
    let null = std::fs::metadata("/dev/null").expect("there");
    assert!(!null.is_file());
}

#[test]
fn long_messages_go_in_smaller_batches() {
    let server = gardeners();
    let file = server.folder.path().join("long.jsonl");
    let lines: String = (0..500)
        .map(|n| {
            let body = "\u{1}".repeat(8000);
            let line = value!({"id": n, "ts": "2004-09-23T14:00:00Z", "author": "a", "body": body});
            format!("{line}\n")
        })
        .collect();
    std::fs::write(&file, lines).expect("written");
    let file = file.to_str().expect("text");
    let summary = json(&server, &["import", "jsonl", AT, file]);
    assert_eq!(summary["imported"], 500);
}

#[test]
fn an_export_is_the_log() {
    let server = gardeners();
    run(&server, &["send", AT, "one", "two"]);
    let log = run(&server, &["log", AT, "--all", "--json"]).out;
    assert_eq!(run(&server, &["export", AT, "-"]).out, log);
    let file = server.folder.path().join("out.jsonl");
    let path = file.to_str().expect("text");
    assert_eq!(json(&server, &["export", AT, path])["messages"], 2);
    assert_eq!(std::fs::read_to_string(&file).expect("written"), log);
    let packed = server.folder.path().join("out.jsonl.gz");
    json(&server, &["export", AT, packed.to_str().expect("text")]);
    let mut unpacked = String::new();
    let mut gzip = flate2::read::GzDecoder::new(std::fs::File::open(packed).expect("written"));
    std::io::Read::read_to_string(&mut gzip, &mut unpacked).expect("gzip");
    assert_eq!(unpacked, log);
}

#[test]
fn a_revolt_is_exported_whole() {
    let server = gardeners();
    run(&server, &["channel", "new", "Gardeners", "../../evil"]);
    run(&server, &["send", AT, "one"]);
    let dir = server.folder.path().join("export");
    let path = dir.to_str().expect("text");
    let done = json(&server, &["revolt", "export", "Gardeners", path]);
    assert_eq!(done["messages"], 1);
    assert_eq!(done["documents"], 3);
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .collect::<Result<_, _>>()
        .expect("text");
    names.sort();
    assert_eq!(names.len(), 6, "{names:?}");
    let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((count(".jsonl"), count(".automerge")), (2, 3));
    let control = std::fs::read(dir.join("control-00000.automerge")).expect("written");
    assert_eq!(control, b"true/0");
    let about: Value =
        serde_json::from_slice(&std::fs::read(dir.join("revolt.json")).expect("written"))
            .expect("json");
    assert_eq!(text(&about["name"]), "Gardeners");
    let again = run_in(
        server.folder.path(),
        &["revolt", "export", "Gardeners", path],
        "",
    );
    assert_eq!(again.code, 2, "the folder isn't empty");
}
