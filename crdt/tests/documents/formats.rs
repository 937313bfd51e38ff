//! The bytes of changes and documents that nodes have stored and signed. Fixtures are added, never
//! edited: a difference means that old data no longer opens, or that nodes refuse each other's changes.

use std::fmt::Write;

use revnet_crdt::change::{DocTip, make_change};
use revnet_crdt::document::Document;
use revnet_protocol::limits::MAX_EVENT;
use revnet_protocol::{DeviceId, Event, Hash, Hlc, MessageId};

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\n');
    }
    out
}

fn id(seq: u64) -> MessageId {
    MessageId {
        hlc: Hlc {
            ms: 1_700_000_000_000 + seq * 1500,
            counter: 7,
        },
        device: DeviceId([0xdd; 32]),
        seq,
    }
}

fn message(seq: u64) -> Vec<u8> {
    let reply_to = (seq > 1).then(|| id(seq - 1));
    let body = Hash([0xbb; 32]);
    Event::Message { reply_to, body }.encode()
}

#[test]
fn first_and_following_change() {
    let (first, tip) = make_change(None, &id(1), &message(1));
    let (second, _) = make_change(Some(&tip), &id(2), &message(2));
    insta::assert_snapshot!("first_change", hex(&first));
    insta::assert_snapshot!("second_change", hex(&second));
}

#[test]
fn changes_with_fields_at_their_ends() {
    let latest = MessageId {
        hlc: Hlc {
            ms: revnet_protocol::hlc::MAX_MS,
            counter: u32::MAX,
        },
        device: DeviceId([0xff; 32]),
        seq: revnet_protocol::limits::MAX_SEQ,
    };
    let tip = DocTip {
        seg_seq: 1023,
        change: [0xee; 32],
    };
    let (last, _) = make_change(Some(&tip), &latest, &[0xaa]);
    insta::assert_snapshot!("last_change_of_a_segment", hex(&last));
    let (_, tip) = make_change(None, &id(1), &[0xaa; MAX_EVENT]);
    insta::assert_snapshot!("hash_of_the_longest_change", hex(&tip.change));
}

#[test]
fn a_document_saved_by_the_first_version_opens() {
    let (first, tip) = make_change(None, &id(1), &message(1));
    let (second, _) = make_change(Some(&tip), &id(2), &message(2));
    let mut document = Document::new();
    document.apply([first, second]).expect("honest");
    insta::assert_snapshot!("document", hex(&document.save()));
}
