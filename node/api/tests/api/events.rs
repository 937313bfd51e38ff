//! The WebSocket: what is missed comes again, exactly once, or the reader is told to read again.

use std::net::TcpStream;
use std::time::Duration;

use revnet_core::command::{Notice, Place};
use revnet_protocol::{DeviceId, Hlc, MessageId};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::client::{ask, raw};
use crate::fake::{FIRST_SEQ, Server};

struct Reader(WebSocket<TcpStream>);

impl Reader {
    fn connect(server: &Server, query: &str) -> Self {
        Self::connect_as(server, &server.token, query)
    }

    fn connect_as(server: &Server, token: &str, query: &str) -> Self {
        let url = format!("ws://{}/api/events{query}", server.address);
        let mut request = url.into_client_request().expect("a request");
        let token = HeaderValue::from_str(&format!("Bearer {token}")).expect("text");
        request.headers_mut().insert("authorization", token);
        let stream = TcpStream::connect(server.address).expect("the server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let (socket, _) = tungstenite::client(request, stream).expect("an upgrade");
        Self(socket)
    }

    fn next(&mut self) -> Value {
        loop {
            match self.0.read().expect("a frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("json"),
                Message::Close(close) => {
                    return json!({ "closed": close.map(|it| it.reason.to_string()) });
                }
                _ => {}
            }
        }
    }

    /// The number and type of the next frame.
    fn short(&mut self) -> (u64, String) {
        let frame = self.next();
        let kind = frame["type"].as_str().unwrap_or("closed").to_owned();
        (frame["seq"].as_u64().unwrap_or_default(), kind)
    }
}

fn frame(seq: u64, kind: &str) -> (u64, String) {
    (FIRST_SEQ + seq, kind.to_owned())
}

/// Waits until the server has taken in everything that was told so far.
fn settle(server: &Server, seq: u64) {
    for _ in 0..1000 {
        let mut reader = Reader::connect(server, "");
        if reader.short() == (seq, "caught_up".to_owned()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the server didn't take in number {seq}");
}

#[test]
fn a_reader_hears_what_happens_from_now_on() {
    let server = Server::start();
    let early = server.node.tell(Notice::PeersChanged);
    settle(&server, early);
    let mut reader = Reader::connect(&server, "");
    assert_eq!(reader.short(), frame(1, "caught_up"));
    let made = ask(
        &server,
        "POST",
        "/api/revolts",
        Some(&json!({"name": "Gardeners"})),
    );
    let made = made.json();
    let id = |value: &Value| value.as_str().expect("text").to_owned();
    let (revolt, channel) = (id(&made["id"]), id(&made["channels"][0]["id"]));
    let at = Place {
        revolt: revolt.parse().expect("an id"),
        channel: channel.parse().expect("an id"),
    };
    server.node.hear(at, "Hello", true);
    let heard = reader.next();
    assert_eq!(heard["seq"], FIRST_SEQ + 2);
    assert_eq!(heard["type"], "message");
    assert_eq!(heard["revolt"], revolt);
    assert_eq!(heard["channel"], channel);
    assert_eq!(heard["message"]["text"], "Hello");
    let message = MessageId {
        hlc: Hlc::ZERO,
        device: DeviceId([0; 32]),
        seq: 1,
    };
    server.node.tell(Notice::Sealed {
        at,
        number: 9,
        message,
    });
    let sealed = reader.next();
    assert_eq!(sealed["seq"], FIRST_SEQ + 3);
    assert_eq!(sealed["pending"], 9);
    assert_eq!(sealed["id"], message.to_string());
}

#[test]
fn a_reader_that_comes_back_gets_what_it_missed_once() {
    let server = Server::start();
    let mut last = FIRST_SEQ;
    for _ in 0..5 {
        last = server.node.tell(Notice::PeersChanged);
    }
    settle(&server, last);
    let mut reader = Reader::connect(&server, &format!("?since={}", FIRST_SEQ + 2));
    assert_eq!(reader.short(), frame(3, "peers_changed"));
    assert_eq!(reader.short(), frame(4, "peers_changed"));
    assert_eq!(reader.short(), frame(5, "peers_changed"));
    assert_eq!(reader.short(), frame(5, "caught_up"));
    server.node.tell(Notice::PeersChanged);
    assert_eq!(reader.short(), frame(6, "peers_changed"));
}

#[test]
fn a_reader_from_long_ago_or_another_run_reads_again() {
    let server = Server::start();
    let first = server.node.tell(Notice::PeersChanged);
    settle(&server, first);
    for since in [5, FIRST_SEQ - 1, FIRST_SEQ + 9] {
        let mut reader = Reader::connect(&server, &format!("?since={since}"));
        assert_eq!(reader.short(), frame(1, "resync"), "{since}");
        assert_eq!(reader.short(), frame(1, "caught_up"));
    }
}

#[test]
fn a_slow_reader_is_told_to_read_again_and_slows_nobody_down() {
    let server = Server::start();
    let made = ask(
        &server,
        "POST",
        "/api/revolts",
        Some(&json!({"name": "Gardeners"})),
    )
    .json();
    let parse = |value: &Value| value.as_str().expect("text").to_owned();
    let at = Place {
        revolt: parse(&made["id"]).parse().expect("an id"),
        channel: parse(&made["channels"][0]["id"]).parse().expect("an id"),
    };
    let mut slow = Reader::connect(&server, "");
    assert_eq!(slow.short().1, "caught_up");
    // Nobody reads: the frames fill the connection's buffers, then the queue.
    let text = "x".repeat(8000);
    let mut last = 0;
    for number in 0..6000_u64 {
        server.node.hear(at, &text, true);
        last = FIRST_SEQ + number + 1;
        if number % 32 == 31 {
            settle(&server, last);
        }
    }
    settle(&server, last);
    let mut before = 0;
    let resync = loop {
        let (seq, kind) = slow.short();
        if kind == "resync" {
            break seq;
        }
        assert_eq!(kind, "message");
        assert!(before == 0 || seq == before + 1, "no silent gap");
        before = seq;
    };
    assert!(resync > before, "{resync} {before}");
    let after = server.node.tell(Notice::PeersChanged);
    loop {
        let (seq, kind) = slow.short();
        assert!(seq > resync, "nothing comes twice");
        if kind == "peers_changed" {
            assert_eq!(seq, after);
            break;
        }
    }
}

#[test]
fn events_need_a_token_and_end_with_it() {
    let server = Server::start();
    let host = server.address.to_string();
    let upgrade = [
        ("host", host.as_str()),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    assert_eq!(
        raw(&server, "GET", "/api/events", &upgrade, b"").status,
        401
    );
    let token = format!("Bearer {}", server.token);
    let mut foreign = upgrade.to_vec();
    foreign.push(("authorization", &token));
    foreign.push(("origin", "https://evil.example"));
    assert_eq!(
        raw(&server, "GET", "/api/events", &foreign, b"").status,
        403
    );
    let plain = ask(&server, "GET", "/api/events", None);
    assert_eq!(plain.code(), "invalid");

    let new = json!({"name": "bot", "scope": "read"});
    let made = ask(&server, "POST", "/api/tokens", Some(&new)).json();
    let token = made["token"].as_str().expect("text");
    let mut reader = Reader::connect_as(&server, token, "");
    assert_eq!(reader.short().1, "caught_up");
    let id = made["id"].as_str().expect("text");
    ask(&server, "DELETE", &format!("/api/tokens/{id}"), None);
    assert_eq!(reader.next(), json!({"closed": "the token was revoked"}));
}
