//! Every route, asked as its users do, and every error that a node can answer with.

use revnet_core::command::{Command, CommandError};
use revnet_core::storage::StorageError;
use serde_json::{Value, json};

use crate::client::{Answer, ask};
use crate::fake::{DEVICE, FRIEND, ME, PASSPHRASE, Server};

#[allow(clippy::needless_pass_by_value, reason = "calls read better")]
fn ok(server: &Server, method: &str, path: &str, body: Option<Value>) -> Value {
    let answer = ask(server, method, path, body.as_ref());
    assert!(answer.status < 300, "{method} {path}: {answer:?}");
    answer.json()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// A server with one revolt; answers with the paths of the revolt and of its channel.
fn founded() -> (Server, String, String) {
    let server = Server::start();
    let made = ok(
        &server,
        "POST",
        "/api/revolts",
        Some(json!({"name": "Gardeners", "icon": "🌱"})),
    );
    let revolt = format!("/api/revolts/{}", text(&made["id"]));
    let channel = format!("{revolt}/channels/{}", text(&made["channels"][0]["id"]));
    (server, revolt, channel)
}

#[test]
fn the_node_tells_about_itself() {
    let server = Server::start();
    let status = ok(&server, "GET", "/api/status", None);
    assert_eq!(status["user"], ME.to_string());
    assert_eq!(status["device"], DEVICE.to_string());
    assert_eq!(status["api"], server.address.to_string());
    assert_eq!(status["clock_offset_ms"], -3);
    let peers = ok(&server, "GET", "/api/peers", None);
    assert_eq!(peers["peers"][0]["user"], FRIEND.to_string());
    let network = ok(&server, "GET", "/api/network", None);
    assert_eq!(network["relays"][0]["state"], "failed");
    assert_eq!(network["links"][0]["rtt_ms"], 12.5);
    assert_eq!(ask(&server, "GET", "/healthz", None).body, b"ok\n");
    assert_eq!(ask(&server, "POST", "/api/shutdown", None).status, 202);
    assert!(server.node.is_stopped());
}

#[test]
fn the_identity_is_renamed_and_told_to_whoever_unlocks_it() {
    let server = Server::start();
    ok(
        &server,
        "PATCH",
        "/api/identity",
        Some(json!({"name": "Eve"})),
    );
    assert_eq!(ok(&server, "GET", "/api/status", None)["name"], "Eve");
    let phrase = |body| ask(&server, "POST", "/api/identity/phrase", Some(&body));
    let locked = phrase(json!({}));
    assert_eq!((locked.status, locked.code().as_str()), (403, "locked"));
    let told = phrase(json!({"passphrase": PASSPHRASE}));
    assert_eq!(told.json()["phrase"], "abandon ability able");
    let backup = |word: &str| {
        let body = json!({"passphrase": word});
        ask(&server, "POST", "/api/identity/backup", Some(&body))
    };
    let file = backup(PASSPHRASE);
    assert_eq!(file.body, [0, 159, 146, 150]);
    assert_eq!(
        file.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(backup("other").code(), "not_found");
    assert_eq!(backup("").code(), "invalid");
}

#[test]
fn revolts_are_founded_changed_and_left() {
    let (server, revolt, _) = founded();
    let list = ok(&server, "GET", "/api/revolts", None);
    assert_eq!(list["revolts"][0]["name"], "Gardeners");
    assert_eq!(list["revolts"][0]["level"], 1001);
    let edit = json!({"description": "Beans"});
    let changed = ok(&server, "PATCH", &revolt, Some(edit));
    assert_eq!(changed["description"], "Beans");
    assert_eq!(changed["icon"], "🌱");
    let shown = ok(&server, "GET", &revolt, None);
    assert_eq!(shown["channels"][0]["name"], "general");
    assert_eq!(shown["members"][1]["user"], FRIEND.to_string());
    ok(&server, "DELETE", &revolt, None);
    assert_eq!(ask(&server, "GET", &revolt, None).code(), "not_found");
}

#[test]
fn invites_lead_to_joins() {
    let (server, revolt, _) = founded();
    let invites = format!("{revolt}/invites");
    let new = json!({"expires_ms": 1_800_000_000_000_u64, "max_uses": 2});
    let made = ok(&server, "POST", &invites, Some(new));
    let link = text(&made["link"]);
    assert!(link.starts_with("revnet:"));
    assert_eq!(made["max_uses"], 2);
    let joined = ok(&server, "POST", "/api/join", Some(json!({"link": link})));
    assert_eq!(joined["name"], "Gardeners");
    let cut = json!({"link": &link[..link.len() - 3]});
    let cut = ask(&server, "POST", "/api/join", Some(&cut));
    assert_eq!(cut.code(), "invalid");
    let one = format!("{invites}/{}", text(&made["id"]));
    ok(&server, "DELETE", &one, None);
    let list = ok(&server, "GET", &invites, None);
    assert_eq!(list["invites"][0]["ended"], true);
    let none = json!({"max_uses": 0});
    assert_eq!(
        ask(&server, "POST", &invites, Some(&none)).code(),
        "invalid"
    );
}

#[test]
fn channels_are_made_and_changed() {
    let (server, revolt, channel) = founded();
    let new = json!({"name": "tomatoes", "topic": "red"});
    let made = ok(&server, "POST", &format!("{revolt}/channels"), Some(new));
    assert_eq!(made["name"], "tomatoes");
    let edit = json!({"archived": true, "position": 7});
    let changed = ok(&server, "PATCH", &channel, Some(edit));
    assert_eq!(changed["archived"], true);
    assert_eq!(changed["position"], 7);
    assert_eq!(changed["name"], "general");
}

#[test]
fn messages_are_sent_read_changed_and_deleted() {
    let (server, _, channel) = founded();
    let messages = format!("{channel}/messages");
    let send = |body| ok(&server, "POST", &messages, Some(body));
    let first = send(json!({"text": "one", "nonce": "n"}));
    let id = text(&first["id"]).to_owned();
    let again = send(json!({"text": "one", "nonce": "n"}));
    assert_eq!(again, json!({"id": id, "known": true}));
    let more: Vec<Value> = (2..=5).map(|n| json!({"text": n.to_string()})).collect();
    let answer = send(json!({"messages": more}));
    assert_eq!(answer["sent"].as_array().map(Vec::len), Some(4));
    let reply = send(json!({"text": "six", "reply_to": id}));

    let read = |query: &str| {
        let page = ok(&server, "GET", &format!("{messages}{query}"), None);
        let texts = page["messages"].as_array().expect("a list").clone();
        texts
            .iter()
            .map(|message| text(&message["text"]).to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(read(""), "one 2 3 4 5 six");
    assert_eq!(read("?limit=2"), "5 six");
    assert_eq!(read("?oldest=true&limit=2"), "one 2");
    assert_eq!(read(&format!("?after={id}&limit=2")), "2 3");
    let last = text(&reply["id"]);
    assert_eq!(read(&format!("?before={last}&limit=2")), "4 5");

    let one = format!("{messages}/{id}");
    ok(&server, "PATCH", &one, Some(json!({"text": "uno"})));
    ok(
        &server,
        "PUT",
        &format!("{one}/reactions/%F0%9F%91%8D"),
        None,
    );
    let page = ok(&server, "GET", &format!("{messages}?oldest=true"), None);
    assert_eq!(page["messages"][0]["text"], "uno");
    assert_eq!(page["messages"][0]["reactions"]["👍"][0], ME.to_string());
    assert!(page["messages"][0]["edited_ms"].is_u64());
    assert_eq!(page["messages"][5]["reply_to"], id);
    ok(
        &server,
        "DELETE",
        &format!("{one}/reactions/%F0%9F%91%8D"),
        None,
    );
    ok(&server, "DELETE", &one, None);
    let page = ok(&server, "GET", &format!("{messages}?oldest=true"), None);
    assert_eq!(page["messages"][0]["deleted"], true);
    assert_eq!(page["messages"][0]["reactions"], Value::Null);
}

#[test]
fn a_message_that_waits_has_a_number_and_no_id() {
    let (server, _, channel) = founded();
    server.node.go_offline();
    let body = json!({"text": "later"});
    let sent = ok(&server, "POST", &format!("{channel}/messages"), Some(body));
    assert_eq!(sent, json!({"id": null, "pending": 1}));
}

#[test]
fn members_get_levels_and_are_removed() {
    let (server, revolt, _) = founded();
    let friend = format!("{revolt}/members/{FRIEND}");
    ok(&server, "PATCH", &friend, Some(json!({"level": 500})));
    let members = ok(&server, "GET", &format!("{revolt}/members"), None);
    assert_eq!(members["members"][1]["level"], 500);
    let high = ask(&server, "PATCH", &friend, Some(&json!({"level": 1001})));
    assert_eq!(high.code(), "invalid");
    ok(&server, "DELETE", &friend, None);
    assert_eq!(
        server.node.last_asked(),
        Some(Command::SetMember {
            revolt: text(&ok(&server, "GET", &revolt, None)["id"])
                .parse()
                .expect("an id"),
            user: FRIEND,
            level: None,
        })
    );
}

#[test]
fn roles_are_made_given_and_removed() {
    let (server, revolt, _) = founded();
    let roles = format!("{revolt}/roles");
    let new = json!({"name": "moderator", "position": 100, "color": "#2e8b57", "permissions": ["kick", "ban"]});
    let made = ok(&server, "POST", &roles, Some(new));
    assert_eq!(made["permissions"], json!(["kick", "ban"]));
    let role = format!("{roles}/{}", text(&made["id"]));
    let edited = ok(&server, "PATCH", &role, Some(json!({"color": "#000001"})));
    assert_eq!(edited["color"], "#000001");
    assert_eq!(edited["position"], 100);
    let held = format!("{revolt}/members/{FRIEND}/roles/{}", text(&made["id"]));
    ok(&server, "PUT", &held, None);
    let members = || ok(&server, "GET", &format!("{revolt}/members"), None);
    assert_eq!(members()["members"][1]["roles"], json!([made["id"]]));
    ok(&server, "DELETE", &held, None);
    assert_eq!(members()["members"][1]["roles"], json!([]));
    ok(&server, "DELETE", &role, None);
    assert_eq!(ok(&server, "GET", &roles, None)["roles"], json!([]));
    for wrong in [
        json!({"name": "x", "permissions": ["everything"]}),
        json!({"name": "x", "color": "red"}),
        json!({"name": "x", "level": 3}),
    ] {
        assert_eq!(ask(&server, "POST", &roles, Some(&wrong)).code(), "invalid");
    }
    ask(
        &server,
        "PATCH",
        &format!("{roles}/everyone"),
        Some(&json!({"permissions": []})),
    );
    let asked = server.node.last_asked();
    assert!(matches!(
        asked,
        Some(Command::EditRole {
            role: revnet_protocol::RoleId::EVERYONE,
            ..
        })
    ));
}

#[test]
fn channels_have_exceptions_and_members_permissions() {
    let (server, revolt, _) = founded();
    let new = json!({"name": "cellar", "private": true});
    let made = ok(&server, "POST", &format!("{revolt}/channels"), Some(new));
    assert_eq!(made["private"], true);
    let id = text(&made["id"]);
    let channel = format!("{revolt}/channels/{id}");
    let edit = ask(&server, "PATCH", &channel, Some(&json!({"private": false})));
    assert_eq!(edit.code(), "invalid");
    let exceptions = format!("{channel}/exceptions");
    let exception = json!({"user": FRIEND.to_string(), "allow": ["view"], "deny": ["send"]});
    ok(&server, "PUT", &exceptions, Some(exception.clone()));
    let detail = ok(&server, "GET", &revolt, None);
    let shown = detail["channels"].as_array().into_iter().flatten();
    let shown: Vec<_> = shown.filter(|channel| channel["id"] == id).collect();
    assert_eq!(shown[0]["exceptions"], json!([exception]));
    for wrong in [
        json!({"allow": ["view"]}),
        json!({"role": "everyone", "user": FRIEND.to_string()}),
    ] {
        assert_eq!(
            ask(&server, "PUT", &exceptions, Some(&wrong)).code(),
            "invalid"
        );
    }
    let held = ok(
        &server,
        "GET",
        &format!("{revolt}/permissions?user={FRIEND}&channel={id}"),
        None,
    );
    assert_eq!(held["permissions"], json!(["view", "send", "react"]));
}

#[test]
fn people_are_banned_silenced_and_recorded() {
    let (server, revolt, _) = founded();
    let quiet = format!("{revolt}/members/{FRIEND}/timeout");
    ok(
        &server,
        "PUT",
        &quiet,
        Some(json!({"until_ms": 1_800_000_000_000_u64})),
    );
    let members = ok(&server, "GET", &format!("{revolt}/members"), None);
    assert_eq!(
        members["members"][1]["silenced_until_ms"],
        1_800_000_000_000_u64
    );
    ok(&server, "DELETE", &quiet, None);
    let ban = format!("{revolt}/bans/{FRIEND}");
    ok(&server, "PUT", &ban, None);
    let bans = || ok(&server, "GET", &format!("{revolt}/bans"), None);
    assert_eq!(bans()["bans"][0]["user"], FRIEND.to_string());
    ok(&server, "DELETE", &ban, None);
    assert_eq!(bans()["bans"], json!([]));
    assert_eq!(ask(&server, "DELETE", &ban, None).code(), "not_found");
    let audit = ok(&server, "GET", &format!("{revolt}/audit"), None);
    assert_eq!(audit["acts"][0]["counts"], true);
}

#[test]
fn a_device_is_taken_back_by_whoever_unlocks_the_root_key() {
    let (server, _, _) = founded();
    let device = revnet_protocol::DeviceId([8; 32]);
    let path = format!("/api/identity/devices/{device}/revoke");
    assert_eq!(
        ask(&server, "POST", &path, Some(&json!({}))).code(),
        "locked"
    );
    ok(
        &server,
        "POST",
        &path,
        Some(json!({"passphrase": PASSPHRASE})),
    );
    let revoked = |since: Value, seq| {
        let body = json!({"passphrase": PASSPHRASE, "since_ms": since});
        ok(&server, "POST", &path, Some(body));
        let Some(Command::RevokeDevice { revocations }) = server.node.last_asked() else {
            panic!("the node is told")
        };
        let [revocation] = revocations.as_slice() else {
            panic!("one for each act that is kept")
        };
        assert!(revocation.is_signed() && revocation.device == device);
        assert_eq!(revocation.keep.map(|(number, _)| number), Some(seq));
    };
    revoked(Value::Null, 9);
    revoked(json!(5), 1);
}

#[test]
fn documents_are_told_byte_by_byte() {
    let (server, revolt, _) = founded();
    let documents = format!("{revolt}/documents");
    let list = ok(&server, "GET", &documents, None);
    assert_eq!(list["documents"][0], json!({"stream": "control", "seg": 0}));
    let channel = text(&list["documents"][1]["stream"]);
    let control = ask(&server, "GET", &format!("{documents}/control/3"), None);
    assert_eq!(control.body, b"true/3");
    assert_eq!(control.header("content-disposition"), Some("attachment"));
    let other = ask(&server, "GET", &format!("{documents}/{channel}/0"), None);
    assert_eq!(other.body, b"false/0");
    for wrong in ["nowhere/0", "control/x", "control/-1"] {
        let answer = ask(&server, "GET", &format!("{documents}/{wrong}"), None);
        assert_eq!(answer.code(), "invalid", "{wrong}");
    }
}

#[test]
fn every_error_of_the_node_has_its_code() {
    let server = Server::start();
    let cases = [
        (CommandError::NotFound("revolt"), 404, "not_found"),
        (
            CommandError::NotPermitted("why".into()),
            403,
            "not_permitted",
        ),
        (CommandError::Invalid("why".into()), 400, "invalid"),
        (CommandError::Unreachable("why"), 503, "unreachable"),
        (CommandError::InviteEnded, 410, "invite_ended"),
        (CommandError::Storage(StorageError::Full), 507, "disk_full"),
        (
            CommandError::Storage(StorageError::Io("why".into())),
            500,
            "storage",
        ),
        (CommandError::Busy, 429, "busy"),
    ];
    for (error, status, code) in cases {
        let message = error.to_string();
        server.node.fail_next(error);
        let answer = ask(&server, "GET", "/api/revolts", None);
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(answer.json()["message"], message);
    }
}

#[test]
fn what_is_not_understood_is_invalid() {
    let (server, revolt, channel) = founded();
    let messages = format!("{channel}/messages");
    let many: Vec<Value> = (0..1001).map(|_| json!({"text": "x"})).collect();
    let bodies: [(&str, &str, Value); 8] = [
        ("POST", "/api/revolts", json!({"name": "x", "nmae": "y"})),
        ("POST", "/api/revolts", json!([])),
        ("POST", "/api/revolts", json!({})),
        ("POST", &messages, json!({"messages": []})),
        ("POST", &messages, json!({"messages": many})),
        ("POST", &messages, json!({"txt": "x"})),
        ("POST", &messages, json!({"text": "x", "reply_to": "x"})),
        ("POST", "/api/tokens", json!({"name": "", "scope": "read"})),
    ];
    let check = |answer: &Answer, what: &str| {
        assert_eq!(answer.status, 400, "{what}");
        assert_eq!(answer.code(), "invalid", "{what}");
    };
    for (method, path, body) in bodies {
        check(&ask(&server, method, path, Some(&body)), path);
    }
    for path in [
        "/api/revolts/r123".to_owned(),
        format!("/api/revolts/{ME}"),
        format!("{revolt}x"),
        format!("{messages}?limit=0"),
        format!("{messages}?limit=1001"),
        format!("{messages}?limit=x"),
        format!("{messages}?before=x"),
        format!("{messages}?bfore=x"),
    ] {
        check(&ask(&server, "GET", &path, None), &path);
    }
    let sent = ok(&server, "POST", &messages, Some(json!({"text": "x"})));
    let id = text(&sent["id"]);
    let both = format!("{messages}?before={id}&after={id}");
    check(&ask(&server, "GET", &both, None), "both bounds");
}
