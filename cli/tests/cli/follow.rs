//! `revnet log --follow` across a restart of the node.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use revnet_core::command::Notice;
use revnet_core::command::Place;
use serde_json::Value;

use crate::fake::Server;
use crate::run::{gardeners, json, program, run, text};

/// How long a message may take: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(server: &Server, args: &[&str]) -> Self {
        let mut child = program(server.folder.path())
            .args(["log", "Gardeners/general", "--json", "--follow"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line");
        let line: Value = serde_json::from_str(&line).expect("json");
        text(&line["text"]).to_owned()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn place(server: &Server) -> Place {
    let shown = json(server, &["revolt", "show", "Gardeners"]);
    Place {
        revolt: text(&shown["id"]).parse().expect("an id"),
        channel: text(&shown["channels"][0]["id"]).parse().expect("an id"),
    }
}

#[test]
fn history_news_gaps_and_restarts_give_each_message_once() {
    let server = gardeners();
    let at = place(&server);
    let at_text = "Gardeners/general";
    for old in ["0", "1", "2"] {
        json(&server, &["send", at_text, old]);
    }
    let mut follower = Follower::start(&server, &["--limit", "2"]);
    assert_eq!(follower.next(), "1");
    assert_eq!(follower.next(), "2");
    server.node.hear(at, "3", true);
    assert_eq!(follower.next(), "3");
    // Many at once come without a notice each.
    server.node.hear(at, "4", false);
    server.node.hear(at, "5", false);
    server.node.tell(Notice::ChannelGrew { at });
    assert_eq!(follower.next(), "4");
    assert_eq!(follower.next(), "5");

    let (node, folder) = server.stop();
    node.hear(at, "6", true);
    let server = Server::start_with(node, folder);
    server.write_node_file();
    assert_eq!(follower.next(), "6");
    server.node.hear(at, "7", true);
    assert_eq!(follower.next(), "7");
}

#[test]
fn an_empty_channel_is_followed_from_its_first_message() {
    let server = gardeners();
    let at = place(&server);
    let mut follower = Follower::start(&server, &[]);
    server.node.hear(at, "a", true);
    assert_eq!(follower.next(), "a");
}

#[test]
fn following_from_a_point_on_leaves_nothing_out() {
    let server = gardeners();
    let both = [
        "log",
        "Gardeners/general",
        "--follow",
        "--after",
        "2020-01-01T00:00:00Z",
        "--limit",
        "3",
    ];
    let outcome = run(&server, &both);
    assert!(
        outcome.code == 2 && outcome.err.contains("--limit"),
        "{outcome:?}"
    );
}
