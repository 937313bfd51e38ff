//! What several peers have is asked of one at a time.

use revnet_core::command::Place;
use revnet_protocol::frame::Frame;

use crate::home::{Home, greet, join, pages, part, talk, talk_among};

/// Ada, Ben and Cleo have long words; Dora is a member and has none of them yet.
fn three_who_know() -> (Vec<Home>, Place, Vec<String>) {
    let mut homes: Vec<_> = (1..=4).map(Home::new).collect();
    let [ada, others @ ..] = homes.as_mut_slice() else {
        panic!("four")
    };
    let at = ada.found();
    for other in &mut *others {
        join(ada, other, at);
        part(ada, other);
    }
    let words = pages(400);
    for text in &words {
        ada.say(at, text);
    }
    for other in &mut others[..2] {
        greet(ada, other);
        talk(ada, other);
        part(ada, other);
        assert_eq!(other.texts(at).len(), words.len());
    }
    (homes, at, words)
}

fn greet_all(homes: &mut [Home]) {
    let (dora, others) = homes.split_last_mut().expect("four");
    for other in others {
        greet(other, dora);
    }
}

/// Whether a frame is answered with what is missing.
fn asks(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::Ask { .. }
            | Frame::Pull {
                cursor: Some(_),
                ..
            }
    )
}

#[test]
fn what_several_have_is_brought_once() {
    let (mut homes, at, words) = three_who_know();
    greet_all(&mut homes);
    let (mut brought, mut words_size) = (0, 0);
    talk_among(&mut homes, |_, to, frame| {
        if let (3, Frame::Runs { .. }) = (to, frame) {
            brought += frame.encode().len();
        }
        true
    });
    let dora = homes.last_mut().expect("four");
    assert_eq!(dora.texts(at).len(), words.len());
    words_size += words.iter().map(String::len).sum::<usize>();
    assert!(brought > words_size, "the words came as words");
    assert!(brought < 2 * words_size, "{brought} bytes for {words_size}");
}

#[test]
fn a_peer_that_brings_nothing_loses_its_turn() {
    let (mut homes, at, words) = three_who_know();
    greet_all(&mut homes);
    let mut silent = None;
    let mut answers = |from: usize, to: usize, frame: &Frame| {
        if from == 3 && asks(frame) {
            silent.get_or_insert(to);
        }
        silent != Some(to) || from != 3
    };
    talk_among(&mut homes, &mut answers);
    assert!(
        homes[3].texts(at).is_empty(),
        "whoever was asked says nothing"
    );
    homes[3].pass(2500);
    talk_among(&mut homes, &mut answers);
    assert_eq!(homes[3].texts(at).len(), words.len());
}

#[test]
fn the_next_one_goes_on_when_a_link_breaks() {
    let (mut homes, at, words) = three_who_know();
    greet_all(&mut homes);
    let mut asked = None;
    talk_among(&mut homes, |from, to, frame| {
        if from == 3 && asks(frame) {
            asked.get_or_insert(to);
        }
        asked != Some(to) || from != 3
    });
    assert!(homes[3].texts(at).is_empty());
    let (dora, others) = homes.split_last_mut().expect("four");
    part(&mut others[asked.expect("somebody was asked")], dora);
    talk_among(&mut homes, |_, _, _| true);
    assert_eq!(homes[3].texts(at).len(), words.len());
}
