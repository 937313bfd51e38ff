//! A disk that is full: clear words, nothing acknowledged is lost, and it goes on by itself when there is room again.

use std::fs;
use std::iter;

use revnet_lab::{Lab, Node, SOON, exit, until};

/// Enough of these fill what an empty database keeps in reserve.
const MOST: usize = 3000;

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let lab = Lab::open();
    let mut ada = Node::start_new(&lab, "ada", None);
    let channel = format!("{}/general", ada.field(&["revolt", "new", "Full"], "id"));
    ada.json(&["send", &channel, "first"]);
    let database = ada.data_dir().join("revnet.redb");
    let size = fs::metadata(&database).expect("it is there").len();
    ada.limit_files(Some(size));

    let mut acknowledged = vec!["first".to_owned()];
    let refused = (0..MOST).find_map(|number| {
        let text: String = iter::once(number.to_string())
            .chain(iter::repeat_n("-".to_owned(), 6000))
            .collect();
        let said = ada.cli(&["send", &channel, &text]);
        if said.code == Some(0) {
            acknowledged.push(text);
            return None;
        }
        Some(said)
    });
    let refused = refused.expect("the disk became full");
    refused.fails(exit::FAILED, &["disk is full", "free"]);
    until("the node can be read while the disk is full", SOON, || {
        let said = ada.cli(&["log", &channel, "--json"]);
        if said.code == Some(0) {
            Ok(())
        } else {
            Err(said.to_string())
        }
    });

    ada.limit_files(None);
    until("the node writes again", SOON, || {
        let said = ada.cli(&["send", &channel, "room again"]);
        if said.code == Some(0) {
            Ok(())
        } else {
            Err(said.to_string())
        }
    });
    acknowledged.push("room again".to_owned());
    let shown = |ada: &Node<'_>| -> Vec<String> {
        let log = ada.log(&channel).into_iter();
        log.map(|line| line.text).collect()
    };
    assert_eq!(shown(&ada), acknowledged);
    ada.kill9();
    ada.restart();
    assert_eq!(shown(&ada), acknowledged);
}
