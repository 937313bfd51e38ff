//! Importing a log a second time.

use revnet_lab::{ChatLog, Lab, Node, assert_same_log, imported_part};

#[test]
fn a_log_imported_twice_is_there_once() {
    let lab = Lab::open();
    let chat = ChatLog::generate(&lab, 500);
    let ada = Node::start_new(&lab, "ada", None);
    let channel = format!("{}/general", ada.field(&["revolt", "new", "Import"], "id"));
    let file = chat.path.display().to_string();
    let first = ada.json(&["import", "jsonl", &channel, &file]);
    let second = ada.json(&["import", "jsonl", &channel, &file]);
    assert_eq!(
        (first["imported"].as_u64(), first["skipped"].as_u64()),
        (Some(500), Some(0)),
        "{first}"
    );
    assert_eq!(
        (second["imported"].as_u64(), second["skipped"].as_u64()),
        (Some(0), Some(500)),
        "{second}"
    );
    assert_same_log(
        "the import",
        &imported_part(&ada.log(&channel)),
        &chat.entries,
    );
}
