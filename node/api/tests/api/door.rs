//! Who may come in.

use serde_json::json;

use crate::client::{ask, ask_as, raw};
use crate::fake::Server;

const STATUS: &str = "/api/status";

fn with(server: &Server, headers: &[(&str, &str)]) -> (u16, String) {
    let token = format!("Bearer {}", server.token);
    let mut all = vec![("authorization", token.as_str())];
    all.extend_from_slice(headers);
    let answer = raw(server, "GET", STATUS, &all, b"");
    (answer.status, answer.code())
}

#[test]
fn only_known_hosts_are_answered() {
    let server = Server::start();
    let port = server.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LOCALHOST:{port}"),
        format!("[::1]:{port}"),
        "node.example".to_owned(),
    ] {
        assert_eq!(with(&server, &[("host", &host)]).0, 200, "{host}");
    }
    let wrong = (421, "wrong_host".to_owned());
    for host in [
        "evil.example".to_owned(),
        "localhost".to_owned(),
        format!("127.0.0.1:{}", port ^ 1),
        format!("127.0.0.1.evil.example:{port}"),
        format!("node.example:{port}"),
        String::new(),
    ] {
        assert_eq!(with(&server, &[("host", &host)]), wrong, "{host}");
    }
    let own = format!("127.0.0.1:{port}");
    let twice = with(&server, &[("host", &own), ("host", "evil.example")]);
    assert_ne!(twice.0, 200);
    for path in ["/", "/healthz", "/api/openapi.json", "/nowhere"] {
        let answer = raw(&server, "GET", path, &[("host", "evil.example")], b"");
        assert_eq!(answer.status, 421, "{path}");
    }
}

#[test]
fn other_sites_are_refused_even_with_a_token() {
    let server = Server::start();
    let host = server.address.to_string();
    let own = format!("http://{host}");
    let origin = |value: &str| with(&server, &[("host", &host), ("origin", value)]);
    assert_eq!(origin(&own).0, 200);
    assert_eq!(origin("https://node.example").0, 200);
    let wrong = (403, "wrong_origin".to_owned());
    for foreign in [
        "null",
        "",
        "https://evil.example",
        &format!("https://{host}"),
        &format!("{own}.evil.example"),
        "http://localhost",
    ] {
        assert_eq!(origin(foreign), wrong, "{foreign}");
    }
    let answer = raw(
        &server,
        "GET",
        "/healthz",
        &[("host", &host), ("origin", "null")],
        b"",
    );
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn without_a_good_token_nothing_is_told() {
    let server = Server::start();
    let host = server.address.to_string();
    let plain = [("host", host.as_str())];
    let answer = raw(&server, "GET", STATUS, &plain, b"");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "unauthorised")
    );
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));

    let cross = [plain[0], ("sec-fetch-site", "cross-site")];
    let answer = raw(&server, "GET", STATUS, &cross, b"");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "wrong_origin")
    );

    let short = &server.token[..server.token.len() - 1];
    let basic = format!("Basic {}", server.token);
    for value in [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        &format!("Bearer {short}"),
        &format!("Bearer {}x", server.token),
        &basic,
    ] {
        let headers = [plain[0], ("authorization", value)];
        let answer = raw(&server, "GET", STATUS, &headers, b"");
        assert_eq!(answer.status, 401, "{value}");
    }
}

#[test]
fn a_token_reaches_as_far_as_its_scope() {
    let server = Server::start();
    let make = |scope: &str| {
        let new = json!({"name": scope, "scope": scope});
        let made = ask(&server, "POST", "/api/tokens", Some(&new));
        assert_eq!(made.status, 201);
        let made = made.json();
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        (text("id"), text("token"))
    };
    let (_, read) = make("read");
    let (id, write) = make("write");
    let (_, admin) = make("admin");
    let founding = json!({"name": "Gardeners"});
    let questions = [
        ("GET", STATUS, None),
        ("POST", "/api/revolts", Some(&founding)),
        ("GET", "/api/tokens", None),
    ];
    for (token, reach) in [(&read, 1), (&write, 2), (&admin, 3)] {
        for (at, (method, path, body)) in questions.iter().enumerate() {
            let answer = ask_as(&server, token, method, path, *body);
            if at < reach {
                assert!(answer.status < 300, "{path}: {answer:?}");
            } else {
                assert_eq!(answer.code(), "not_permitted", "{path}");
            }
        }
    }
    let revoked = ask(&server, "DELETE", &format!("/api/tokens/{id}"), None);
    assert_eq!(revoked.status, 204);
    assert_eq!(ask_as(&server, &write, "GET", STATUS, None).status, 401);
    let again = ask(&server, "DELETE", &format!("/api/tokens/{id}"), None);
    assert_eq!(again.code(), "not_found");
    let (node, folder) = server.stop();
    let server = Server::start_with(node, folder);
    assert_eq!(ask_as(&server, &read, "GET", STATUS, None).status, 200);
    assert_eq!(ask_as(&server, &write, "GET", STATUS, None).status, 401);
}

#[test]
fn every_answer_carries_the_headers_and_every_error_a_trace() {
    let server = Server::start();
    let paths = ["/", "/healthz", STATUS, "/nowhere", "/api/openapi.json"];
    for path in paths {
        let answer = ask(&server, "GET", path, None);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let policy = answer.header("content-security-policy");
        assert!(policy.is_some_and(|policy| policy.contains("default-src 'none'")));
    }
    let missing = ask(&server, "GET", "/nowhere", None);
    assert_eq!(
        (missing.status, missing.code().as_str()),
        (404, "not_found")
    );
    let other = ask(&server, "GET", "/nowhere", None);
    let trace = |answer: &crate::client::Answer| answer.json()["trace_id"].to_string();
    assert_ne!(trace(&missing), trace(&other));
    let method = ask(&server, "POST", STATUS, None);
    assert_eq!(method.code(), "method_not_allowed");
    assert_eq!(method.status, 405);
    let front = ask(&server, "GET", "/", None);
    assert!(String::from_utf8_lossy(&front.body).contains("no page"));
}

#[test]
fn large_requests_are_refused() {
    let server = Server::start();
    let large = json!({ "name": "x".repeat(revnet_api::BODY_LIMIT) });
    let answer = ask(&server, "POST", "/api/revolts", Some(&large));
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
}
