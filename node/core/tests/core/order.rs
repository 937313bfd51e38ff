//! Words leave in the order in which they were accepted, whatever is looked up meanwhile.

use revnet_core::command::{Command, Draft, Place};

use crate::home::{Home, join, link, part, talk};

/// More than are sealed in one batch.
const MANY: usize = 600;

fn pair() -> (Home, Home, Place) {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    talk(&mut ada, &mut ben);
    (ada, ben, at)
}

/// Begins to send words, with a nonce or without; the command's number.
fn send(home: &mut Home, at: Place, text: &str, named: bool) -> u64 {
    let draft = Draft {
        text: text.to_owned(),
        nonce: named.then(|| format!("nonce of {text}")),
        ..Draft::default()
    };
    home.begin(Command::Send {
        at,
        messages: vec![draft],
    })
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// Sends words that wait, as nobody is there to hear them; every third of them without a nonce.
fn send_alone(ada: &mut Home, ben: &mut Home, at: Place, words: &[String]) {
    part(ada, ben);
    ben.restart();
    for (n, text) in words.iter().enumerate() {
        send(ben, at, text, n % 3 != 2);
    }
    assert_eq!(ben.texts(at), [""; 0], "they wait");
}

#[test]
fn words_that_are_put_back_into_the_outbox_keep_their_order() {
    let (mut ada, mut ben, at) = pair();
    let words = numbered(MANY);
    send_alone(&mut ada, &mut ben, at, &words);
    ben.hold_answers(true);
    link(&mut ada, &mut ben);
    assert!(ben.held_answers() > 1, "more than one part is looked up");
    part(&mut ada, &mut ben);
    ben.hold_answers(false);
    assert_eq!(ben.texts(at), [""; 0], "they wait again");
    link(&mut ada, &mut ben);
    assert_eq!(ben.texts(at), words);
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    assert_eq!(ada.texts(at), words);
}

#[test]
fn words_without_a_nonce_wait_for_those_before_them() {
    let (_ada, mut ben, at) = pair();
    ben.hold_answers(true);
    let first = send(&mut ben, at, "first", true);
    let second = send(&mut ben, at, "second", false);
    assert!(!ben.answered(first) && !ben.answered(second));
    ben.hold_answers(false);
    assert!(ben.answered(first) && ben.answered(second));
    assert_eq!(ben.texts(at), ["first", "second"]);
}

#[test]
fn parts_of_the_outbox_do_not_overtake_each_other() {
    let (mut ada, mut ben, at) = pair();
    part(&mut ada, &mut ben);
    ben.restart();
    let mut words = numbered(MANY);
    for (n, text) in words.iter().enumerate() {
        // The second part needs no looking up.
        send(&mut ben, at, text, n < 512);
    }
    ben.hold_answers(true);
    link(&mut ada, &mut ben);
    send(&mut ben, at, "after all", false);
    words.push("after all".into());
    ben.hold_answers(false);
    assert_eq!(ben.texts(at), words);
}

#[test]
fn words_that_waited_go_before_new_ones_that_are_looked_up() {
    let (mut ada, mut ben, at) = pair();
    let mut words = numbered(5);
    send_alone(&mut ada, &mut ben, at, &words);
    ben.hold_answers(true);
    send(&mut ben, at, "new", true);
    send(&mut ben, at, "newer", false);
    link(&mut ada, &mut ben);
    send(&mut ben, at, "newest", true);
    words.extend(["new", "newer", "newest"].map(String::from));
    ben.hold_answers(false);
    assert_eq!(ben.texts(at), words);
}

#[test]
fn the_same_words_twice_in_one_breath_leave_once() {
    let (mut ada, mut ben, at) = pair();
    let words = numbered(3);
    send_alone(&mut ada, &mut ben, at, &words);
    ben.hold_answers(true);
    for _ in 0..2 {
        send(&mut ben, at, "again", true);
    }
    link(&mut ada, &mut ben);
    send(&mut ben, at, "again", true);
    ben.hold_answers(false);
    assert_eq!(ben.texts(at), ["0", "1", "2", "again"]);
}

#[test]
fn whoever_leaves_hears_what_became_of_words_on_their_way() {
    let (mut ada, mut ben, at) = pair();
    ben.hold_answers(true);
    let words = send(&mut ben, at, "late", true);
    ben.begin(Command::LeaveRevolt { revolt: at.revolt });
    for _ in 0..3 {
        talk(&mut ada, &mut ben);
        ada.pass(1000);
        ben.pass(1000);
    }
    assert!(ben.was_refused(words));
    ben.hold_answers(false);
    assert_eq!(ada.texts(at), [""; 0]);
}
