//! What `send` acknowledged survives `kill -9`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use revnet_lab::{Client, Lab, Node};

const ROUNDS: u64 = 6;
const SENDERS: u64 = 4;

#[test]
fn what_was_acknowledged_under_load_is_there_once_after_kill_9() {
    let lab = Lab::open();
    let mut ada = Node::start_new(&lab, "ada", None);
    let channel = format!("{}/general", ada.field(&["revolt", "new", "Kill"], "id"));
    let acknowledged = Mutex::new(BTreeMap::new());
    let mut cut_short = 0;
    for round in 0..ROUNDS {
        let client = ada.client();
        thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let (channel, acknowledged) = (&channel, &acknowledged);
                    scope.spawn(move || {
                        send_until_it_fails(client, channel, round, sender, acknowledged)
                    })
                })
                .collect();
            // Different moments of the groups of commits.
            thread::sleep(Duration::from_millis(400 + 137 * round));
            ada.kill9();
            for sender in senders {
                cut_short += sender.join().expect("a sender reports, it doesn't panic");
            }
        });
        ada.restart();
    }
    let acknowledged = acknowledged.into_inner().expect("no sender panicked");
    eprintln!(
        "{} messages acknowledged, {cut_short} sends cut short by {ROUNDS} kills",
        acknowledged.len()
    );
    assert!(
        acknowledged.len() >= 20,
        "too little was sent to show anything: {}",
        acknowledged.len()
    );
    assert!(cut_short > 0, "no kill hit a send");

    let log = ada.log(&channel);
    let mut shown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in &log {
        shown
            .entry(line.text.as_str())
            .or_default()
            .push(line.id.as_str());
    }
    for (text, id) in &acknowledged {
        assert_eq!(
            shown.get(text.as_str()),
            Some(&vec![id.as_str()]),
            "the acknowledged message `{text}`"
        );
    }
    for (text, ids) in &shown {
        assert_eq!(ids.len(), 1, "`{text}` is there {} times", ids.len());
    }
}

/// Sends numbered messages, and returns how many were not acknowledged: the one that the kill hit.
fn send_until_it_fails(
    client: Client<'_>,
    channel: &str,
    round: u64,
    sender: u64,
    acknowledged: &Mutex<BTreeMap<String, String>>,
) -> u64 {
    for number in 0_u64.. {
        let text = format!("round {round}, sender {sender}, message {number}");
        let said = client.cli(&["send", channel, &text, "--json"]);
        if said.code != Some(0) {
            return 1;
        }
        let answer = said.json();
        let id = answer["id"]
            .as_str()
            .expect("`send` answers with the message's id")
            .to_owned();
        acknowledged
            .lock()
            .expect("no sender panicked")
            .insert(text, id);
    }
    0
}
