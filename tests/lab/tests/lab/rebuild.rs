//! The index made anew from the envelopes, by the program itself.

use revnet_lab::{Lab, Node, exit};

#[test]
fn a_rebuilt_database_shows_the_same_log() {
    let lab = Lab::open();
    let mut ada = Node::start_new(&lab, "ada", None);
    let revolt = ada.field(&["revolt", "new", "Again"], "id");
    let channel = format!("{revolt}/general");
    for number in 0..20 {
        ada.json(&["send", &channel, &format!("word {number}")]);
    }
    let first = ada.log(&channel)[0].id.clone();
    ada.json(&["edit", &channel, &first, "changed"]);
    let log = ada.log_text(&channel);
    ada.cli(&["doctor", "--rebuild"])
        .fails(exit::FAILED, &["running", "revnet down"]);
    ada.stop();
    let done = ada.json(&["doctor", "--rebuild"]);
    // Twenty messages, an edit, and what founding a revolt takes.
    assert!(done["entries"].as_u64().is_some_and(|n| n > 21), "{done}");
    assert_eq!((&done["added"], &done["removed"]), (&0.into(), &0.into()));
    ada.restart();
    assert_eq!(ada.log_text(&channel), log);
    ada.json(&["send", &channel, "and on"]);
    assert_eq!(ada.log(&channel).len(), 21);
}
