//! Each command's happy path, and the JSON that scripts rely on.

use serde_json::{Value, json as value};

use crate::fake::{DEVICE, FRIEND, ME, PASSPHRASE};
use crate::run::{gardeners, json, run, run_in, server, text};

#[test]
fn the_node_is_shown_opened_checked_and_stopped() {
    let server = server();
    let status = json(&server, &["status"]);
    assert_eq!(status["user"], ME.to_string());
    assert_eq!(status["device"], DEVICE.to_string());
    assert_eq!(status["api"], server.address.to_string());
    for field in ["name", "revolts", "peers", "outbox"] {
        assert!(!status[field].is_null(), "{field}");
    }
    assert!(run(&server, &["status"]).out.contains("You are Ada"));
    assert_eq!(json(&server, &["peers"])[0]["name"], "Bea");
    let opened = run(&server, &["open", "--print"]);
    assert_eq!(opened.out, format!("http://{}/\n", server.address));
    let findings = json(&server, &["doctor"]);
    let checks: Vec<&str> = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| text(&finding["check"]))
        .collect();
    let expected = [
        "data_dir", "space", "node", "listen", "relay", "links", "clock",
    ];
    assert_eq!(checks, expected);
    assert_eq!(findings[4]["state"], "limited");
    assert!(text(&findings[4]["text"]).contains("refused"));
}

#[test]
fn the_doctor_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = run_in(&folder.path().join("nowhere"), &["doctor"], "");
    assert_eq!(outcome.code, 5);
    assert!(outcome.out.contains("BAD"), "{outcome:?}");
    assert!(outcome.out.contains("→ start it with: revnet up"));
}

#[test]
fn the_identity_is_shown_renamed_told_and_saved() {
    let server = server();
    let shown = json(&server, &["id", "show"]);
    assert_eq!(shown["user"], ME.to_string());
    json(&server, &["id", "rename", "Eve"]);
    assert_eq!(json(&server, &["id", "show"])["name"], "Eve");

    let locked = run(&server, &["id", "phrase"]);
    assert_eq!(locked.code, 2, "nobody to ask: {locked:?}");
    let pass = server.folder.path().join("pass");
    std::fs::write(&pass, format!("{PASSPHRASE}\n")).expect("written");
    let pass = pass.to_str().expect("text");
    let phrase = json(&server, &["id", "phrase", "--passphrase-file", pass]);
    assert_eq!(phrase["phrase"], "abandon ability able");

    let file = server.folder.path().join("me.backup");
    let path = file.to_str().expect("text");
    let save = ["id", "backup", path, "--passphrase-file", pass];
    json(&server, &save);
    assert_eq!(std::fs::read(&file).expect("saved"), [0, 159, 146, 150]);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file)
        .expect("saved")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(run(&server, &save).code, 2, "it is there already");
}

#[test]
fn revolts_channels_and_members() {
    let server = server();
    let made = json(&server, &["revolt", "new", "Gardeners", "--icon", "🌱"]);
    assert_eq!(made["name"], "Gardeners");
    let id = text(&made["id"]);
    assert!(id.starts_with('r'));
    assert_eq!(json(&server, &["revolt", "list"])[0]["id"], id);
    assert_eq!(json(&server, &["revolt", "show", &id[..6]])["icon"], "🌱");
    let edited = json(
        &server,
        &["revolt", "edit", "Gardeners", "--description", "Beans"],
    );
    assert_eq!(edited["description"], "Beans");

    let new = ["channel", "new", "Gardeners", "a/b", "--topic", "red"];
    let channel = json(&server, &new);
    assert_eq!(channel["topic"], "red");
    let edit = ["channel", "edit", "Gardeners/a/b", "--position", "3"];
    assert_eq!(json(&server, &edit)["position"], 3);
    let archive = ["channel", "archive", "Gardeners/a/b"];
    assert_eq!(json(&server, &archive)["archived"], true);
    let list = run(&server, &["channel", "list", "Gardeners"]);
    assert!(list.out.contains("a/b (archived)"), "{list:?}");

    let members = json(&server, &["member", "list", "Gardeners"]);
    assert_eq!(members[1]["user"], FRIEND.to_string());
    json(&server, &["member", "level", "Gardeners", "Bea", "admin"]);
    let members = json(&server, &["member", "list", "Gardeners"]);
    assert_eq!(members[1]["level"], 500);
    json(&server, &["member", "kick", "Gardeners", "Bea"]);
    let members = json(&server, &["member", "list", "Gardeners"]);
    assert_eq!(members.as_array().map(Vec::len), Some(1));

    json(&server, &["revolt", "leave", "Gardeners", "--yes"]);
    assert_eq!(json(&server, &["revolt", "list"]), value!([]));
}

#[test]
fn roles_bans_and_closed_channels() {
    let server = server();
    json(&server, &["revolt", "new", "Gardeners"]);
    let new = [
        "role",
        "new",
        "Gardeners",
        "moderator",
        "--position",
        "100",
        "--allow",
        "kick,invite",
    ];
    let role = json(&server, &new);
    assert_eq!(role["permissions"], value!(["invite", "kick"]));
    let edit = [
        "role",
        "edit",
        "Gardeners",
        "moderator",
        "--allow",
        "ban",
        "--revoke",
        "kick",
    ];
    assert_eq!(
        json(&server, &edit)["permissions"],
        value!(["invite", "ban"])
    );
    let add = ["member", "roles", "Gardeners", "Bea", "--add", "moderator"];
    assert_eq!(json(&server, &add)[0]["id"], role["id"]);
    let list = run(&server, &["member", "list", "Gardeners"]);
    assert!(list.out.contains("moderator"), "{list:?}");
    let wrong = run(
        &server,
        &["role", "new", "Gardeners", "x", "--allow", "everything"],
    );
    assert!(
        wrong.code == 2 && wrong.err.contains("manage-roles"),
        "{wrong:?}"
    );
    let lacking = run(
        &server,
        &["member", "roles", "Gardeners", "Bea", "--add", "nobody"],
    );
    assert_eq!(lacking.code, 3);

    let cellar = json(
        &server,
        &["channel", "new", "Gardeners", "cellar", "--private"],
    );
    assert_eq!(cellar["private"], true);
    let open = [
        "channel",
        "permissions",
        "Gardeners/cellar",
        "--for",
        "Bea",
        "--allow",
        "view",
    ];
    assert_eq!(json(&server, &open)[0]["user"], FRIEND.to_string());
    let shown = run(&server, &["channel", "permissions", "Gardeners/cellar"]);
    assert!(
        shown.out.contains("Bea") && shown.out.contains("view"),
        "{shown:?}"
    );
    let seen = run(
        &server,
        &["channel", "permissions", "Gardeners/cellar", "--as", "Bea"],
    );
    assert!(seen.out.contains("Bea may do view send react"), "{seen:?}");
    let end = [
        "channel",
        "permissions",
        "Gardeners/cellar",
        "--for",
        "Bea",
        "--clear",
    ];
    assert_eq!(json(&server, &end), value!([]));
    let half = run(
        &server,
        &["channel", "permissions", "Gardeners/cellar", "--for", "Bea"],
    );
    assert_eq!(half.code, 2);

    json(&server, &["member", "timeout", "Gardeners", "Bea", "10m"]);
    let list = run(&server, &["member", "list", "Gardeners"]);
    assert!(list.out.contains("silenced until"), "{list:?}");
    json(
        &server,
        &["member", "timeout", "Gardeners", "Bea", "--lift"],
    );
    json(&server, &["member", "ban", "Gardeners", "Bea"]);
    assert_eq!(
        json(&server, &["member", "bans", "Gardeners"])[0]["name"],
        "Bea"
    );
    json(&server, &["member", "unban", "Gardeners", "Bea"]);
    assert_eq!(json(&server, &["member", "bans", "Gardeners"]), value!([]));
    json(&server, &["role", "delete", "Gardeners", "moderator"]);

    let audit = run(&server, &["revolt", "audit", "Gardeners", "--void"]);
    assert!(
        audit.out.contains("void: the person does not stand below"),
        "{audit:?}"
    );
    assert!(!audit.out.contains("create"), "{audit:?}");
}

#[test]
fn own_devices_are_listed_and_taken_back() {
    let server = server();
    json(&server, &["revolt", "new", "Gardeners"]);
    let devices = json(&server, &["id", "devices"]);
    assert_eq!(devices[0]["here"], true);
    assert_eq!(devices[0]["revolts"], value!(["Gardeners"]));
    let unknown = run(&server, &["id", "revoke", "dzzzzzzz"]);
    assert_eq!(unknown.code, 3);
    let locked = run(&server, &["id", "revoke", text(&devices[0]["device"])]);
    assert!(locked.err.contains("passphrase"), "{locked:?}");
}

#[test]
fn two_revolts_of_one_name_need_their_ids() {
    let server = gardeners();
    let other = json(&server, &["revolt", "new", "Gardeners"]);
    let ambiguous = run(&server, &["send", "Gardeners/general", "x"]);
    assert_eq!(ambiguous.code, 2);
    assert!(ambiguous.err.contains(text(&other["id"])), "{ambiguous:?}");
    let place = format!("{}/general", text(&other["id"]));
    json(&server, &["send", &place, "x"]);
}

#[test]
fn invites_and_joins() {
    let server = gardeners();
    let new = [
        "invite",
        "new",
        "Gardeners",
        "--expires",
        "7d",
        "--uses",
        "2",
        "--web",
        "example.org",
    ];
    let made = json(&server, &new);
    let link = text(&made["link"]);
    assert!(link.starts_with("revnet:"));
    assert!(text(&made["web_link"]).starts_with("https://example.org/i#"));
    for wrong in ["", "exa mple.org", "example.org/x#", "https://"] {
        let outcome = run(&server, &["invite", "new", "Gardeners", "--web", wrong]);
        assert_eq!(outcome.code, 2, "{wrong}");
    }
    assert_eq!(made["expires_ms"], 1_700_000_000_000_u64 + 604_800_000);
    assert_eq!(made["max_uses"], 2);
    let joined = json(&server, &["join", link]);
    assert_eq!(joined["name"], "Gardeners");
    assert!(text(&joined["id"]).starts_with('r'));
    let by_input = run_in(server.folder.path(), &["join", "-"], link);
    assert_eq!(by_input.code, 0, "{by_input:?}");

    let revolts = json(&server, &["revolt", "list"]);
    let ids: Vec<&str> = revolts
        .as_array()
        .expect("a list")
        .iter()
        .map(|revolt| text(&revolt["id"]))
        .collect();
    let invited = ids
        .iter()
        .find(|id| json(&server, &["invite", "list", id]) != value!([]))
        .expect("one has the invite");
    let invite = &text(&made["id"])[..8];
    json(&server, &["invite", "revoke", invited, invite]);
    assert_eq!(
        json(&server, &["invite", "list", invited])[0]["ended"],
        true
    );
}

#[test]
fn messages_are_said_read_and_changed() {
    let server = gardeners();
    let at = "Gardeners/general";
    let sent = json(&server, &["send", at, "Hello", "--nonce", "n"]);
    let id = text(&sent["id"]).to_owned();
    assert_eq!(sent, value!({"id": id}));
    let again = json(&server, &["send", at, "Hello", "--nonce", "n"]);
    assert_eq!(again, value!({"id": id, "known": true}));
    let several = json(&server, &["send", at, "--reply-to", &id, "a", "b"]);
    assert_eq!(several.as_array().map(Vec::len), Some(2));
    let piped = run_in(server.folder.path(), &["send", at, "-"], "from\nstdin\n\n");
    assert_eq!(piped.code, 0, "{piped:?}");

    assert_eq!(json(&server, &["edit", at, &id, "Hi"]), value!({}));
    json(&server, &["react", at, &id, "👍"]);
    let log = run(&server, &["log", at, "--json"]);
    let lines: Vec<Value> = log
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    assert_eq!(lines.len(), 4);
    let first = &lines[0];
    assert_eq!(first["id"], id);
    assert_eq!(first["time"], "2023-11-14T22:13:20.001Z");
    assert_eq!(
        first["author"],
        value!({"id": ME.to_string(), "name": "Ada"})
    );
    assert_eq!(first["text"], "Hi");
    assert!(text(&first["edited"]).ends_with('Z'));
    assert_eq!(first["reactions"], value!({"👍": [ME.to_string()]}));
    let keys: Vec<&String> = lines[1].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["author", "id", "reply_to", "text", "time"]);
    assert_eq!(lines[1]["reply_to"], id);
    assert_eq!(lines[3]["text"], "from\nstdin");

    json(&server, &["react", at, &id, "👍", "--remove"]);
    json(&server, &["delete", at, &id]);
    let log = run(&server, &["log", at, "--json", "--delivery"]);
    let first: Value = serde_json::from_str(log.out.lines().next().expect("a line")).expect("json");
    assert_eq!(first["deleted"], true);
    assert_eq!(first["held_by"], 1);
    assert_eq!(first["reactions"], Value::Null);
}

#[test]
fn what_waits_has_no_id() {
    let server = gardeners();
    server.node.go_offline();
    let sent = json(&server, &["send", "Gardeners/general", "later"]);
    assert_eq!(sent, value!({"id": null, "pending": 1}));
}

#[test]
fn the_log_is_cut_as_asked() {
    let server = gardeners();
    let at = "Gardeners/general";
    let mut ids = Vec::new();
    for n in 0..7 {
        let sent = json(&server, &["send", at, &n.to_string()]);
        ids.push(text(&sent["id"]).to_owned());
    }
    let log = |args: &[&str]| {
        let mut all = vec!["log", at, "--json"];
        all.extend_from_slice(args);
        let outcome = run(&server, &all);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let texts = outcome.out.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("json");
            text(&line["text"]).to_owned()
        });
        texts.collect::<String>()
    };
    assert_eq!(log(&[]), "0123456");
    assert_eq!(log(&["--limit", "3"]), "456");
    assert_eq!(log(&["--before", &ids[5], "--limit", "2"]), "34");
    assert_eq!(log(&["--after", &ids[1], "--limit", "2"]), "23");
    assert_eq!(log(&["--after", &ids[1], "--before", &ids[5]]), "234");
    assert_eq!(log(&["--all", "--before", &ids[2]]), "01");
    assert_eq!(log(&["--after", "2023-11-14T22:13:20.006Z"]), "56");
}

#[test]
fn tokens_are_told_once() {
    let server = server();
    let made = json(&server, &["token", "new", "--scope", "read", "bot"]);
    assert!(text(&made["token"]).starts_with("rvt_"));
    let list = run(&server, &["token", "list"]);
    assert!(list.out.contains("bot") && !list.out.contains("rvt_"));
    json(&server, &["token", "revoke", "bot"]);
    assert_eq!(json(&server, &["token", "list"]), value!([]));
}

#[test]
fn completions_know_the_commands() {
    let server = server();
    for shell in ["bash", "zsh", "fish"] {
        let outcome = run(&server, &["completions", shell]);
        assert_eq!(outcome.code, 0);
        assert!(outcome.out.contains("doctor"), "{shell}");
    }
}

#[test]
fn manual_pages_are_there_for_all_commands() {
    let server = server();
    let page = run(&server, &["man"]);
    assert_eq!(page.code, 0, "{}", page.err);
    assert!(page.out.contains(".TH revnet 1"), "{}", page.out);
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("man1");
    let dir = dir.to_str().expect("the folder's name is text");
    let outcome = run(&server, &["man", "--dir", dir]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    for name in ["revnet.1", "revnet-invite-new.1", "revnet-send.1"] {
        assert!(folder.path().join("man1").join(name).exists(), "{name}");
    }
}
