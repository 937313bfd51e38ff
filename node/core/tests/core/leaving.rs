//! A goodbye reaches those who stay, even if nobody could hear it at first.

use revnet_core::command::{Command, Draft, Place, Reply, Sent};
use revnet_core::storage::{Boot, Direction, Space};
use revnet_protocol::StreamId;
use revnet_protocol::frame::{Frame, Mark};
use revnet_protocol::range::{Have, Part, Question, Range};

use crate::home::{Home, join, link, part, stream, talk};

fn listed(home: &mut Home) -> usize {
    let Reply::Revolts(revolts) = home.ask(Command::ListRevolts) else {
        panic!("revolts")
    };
    revolts.len()
}

fn kept(home: &Home) -> usize {
    let boot = Boot::read(&home.storage).expect("memory reads");
    let records = boot.records.keys();
    records.filter(|(space, _)| *space == Space::Revolt).count()
}

fn pair() -> (Home, Home, Place) {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    (ada, ben, at)
}

#[test]
fn a_revolt_left_alone_is_gone_at_once_and_told_of_later() {
    let (mut ada, mut ben, at) = pair();
    part(&mut ada, &mut ben);
    let revolt = at.revolt;
    ben.ask(Command::LeaveRevolt { revolt });
    assert_eq!(listed(&mut ben), 0, "it is gone for ben");
    ben.restart();
    assert_eq!((listed(&mut ben), kept(&ben)), (0, 1));
    link(&mut ada, &mut ben);
    ada.pass(1000);
    talk(&mut ada, &mut ben);
    assert_eq!(ada.names(revolt), ["person 1"]);
    assert_eq!(kept(&ben), 0, "ada has the goodbye");
}

#[test]
fn whoever_comes_back_before_the_goodbye_was_heard_is_in_again() {
    let (mut ada, mut ben, at) = pair();
    part(&mut ada, &mut ben);
    let revolt = at.revolt;
    ben.ask(Command::LeaveRevolt { revolt });
    let invite = ada.invite(revolt);
    let command = ben.begin(Command::Join { link: invite });
    link(&mut ada, &mut ben);
    // Those who stay rotate after somebody has left.
    ada.pass(10_000);
    talk(&mut ada, &mut ben);
    assert!(matches!(ben.answer(command), Reply::Revolt(_)));
    assert_eq!(ada.names(revolt), ["person 1", "person 2"]);
    assert_eq!((listed(&mut ben), kept(&ben)), (1, 1));
}

#[test]
fn the_last_one_leaves_nothing_behind() {
    let mut ada = Home::new(1);
    let revolt = ada.found().revolt;
    ada.ask(Command::LeaveRevolt { revolt });
    assert_eq!((listed(&mut ada), kept(&ada)), (0, 0));
}

/// Questions of all kinds that make a node ask its store.
fn questions(ada: &Home, at: Place) -> Vec<Frame> {
    let revolt = at.revolt;
    let marks = |seq| vec![(seq, Mark([7; 16]))];
    let parted = |seq| Frame::Parted {
        revolt,
        stream: stream(at),
        device: ada.device(),
        marks: marks(seq),
    };
    let ask = Frame::Ask {
        revolt,
        questions: vec![Question {
            range: Range::whole(Part::Words),
            have: Have::Tips(Vec::new()),
        }],
        from: None,
    };
    vec![parted(1), parted(2), ask]
}

#[test]
fn answers_of_the_store_that_come_after_the_revolt_is_gone_are_let_go() {
    let (mut ada, mut ben, at) = pair();
    for text in ["one", "two", "three"] {
        ada.say(at, text);
    }
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    assert_eq!(ben.texts(at).len(), 3);
    ben.hold_answers(true);
    for frame in questions(&ada, at) {
        ada.slip(&mut ben, &frame);
    }
    let limit = 10;
    let log = ben.begin(Command::Log {
        at,
        from: None,
        direction: Direction::Before,
        limit,
    });
    assert!(ben.held_answers() >= 4);
    ben.begin(Command::LeaveRevolt { revolt: at.revolt });
    for _ in 0..3 {
        talk(&mut ada, &mut ben);
        ada.pass(1000);
        ben.pass(1000);
    }
    assert_eq!(kept(&ben), 0, "it is forgotten");
    ben.hold_answers(false);
    assert!(ben.answered(log));
    assert_eq!(ada.blamed, []);
}

/// Says something in a channel under a client's own name for it.
fn say_named(home: &mut Home, at: Place, text: &str) -> Sent {
    let draft = Draft {
        text: text.to_owned(),
        nonce: Some(format!("nonce of {text}")),
        ..Draft::default()
    };
    let messages = vec![draft];
    let Reply::Sent(sent) = home.ask(Command::Send { at, messages }) else {
        panic!("sent")
    };
    sent[0].clone()
}

/// Lets Ada hear Ben's goodbye.
fn say_goodbye(ada: &mut Home, ben: &mut Home) {
    link(ada, ben);
    ada.pass(1000);
    talk(ada, ben);
    assert_eq!(kept(ben), 0, "ada has the goodbye");
    part(ada, ben);
}

#[test]
fn words_that_a_goodbye_dropped_can_be_said_again_after_coming_back() {
    for restarts in [false, true] {
        let (mut ada, mut ben, at) = pair();
        part(&mut ada, &mut ben);
        assert!(matches!(say_named(&mut ben, at, "hello"), Sent::Pending(_)));
        let revolt = at.revolt;
        ben.ask(Command::LeaveRevolt { revolt });
        say_goodbye(&mut ada, &mut ben);
        if restarts {
            ben.restart();
        }
        join(&mut ada, &mut ben, at);
        ada.pass(10_000);
        talk(&mut ada, &mut ben);
        assert_eq!(ben.texts(at), [""; 0], "it was dropped");
        let again = say_named(&mut ben, at, "hello");
        assert!(matches!(again, Sent::Sealed(_)), "{again:?}");
        assert_eq!(ben.texts(at), ["hello"]);
    }
}

#[test]
fn no_record_of_a_revolt_that_was_left_stays() {
    let (mut ada, mut ben, at) = pair();
    let revolt = at.revolt;
    part(&mut ada, &mut ben);
    let mut cleo = Home::new(3);
    join(&mut ada, &mut cleo, at);
    // A removal makes her seal a new secret for those who stay.
    ada.ask(Command::SetMember {
        revolt,
        user: ben.identity.cert.user,
        level: None,
    });
    ada.say(at, "something");
    let records = |home: &Home| {
        let boot = Boot::read(&home.storage).expect("memory reads");
        let ids = [revolt.0, stream(at).0, StreamId::control(&revolt).0];
        let keys = boot.records.into_keys();
        let of_revolt = keys.filter(|(_, key)| ids.iter().any(|id| key.starts_with(id)));
        of_revolt.map(|(space, _)| space).collect::<Vec<_>>()
    };
    assert!(records(&ada).contains(&Space::Chunk));
    ada.ask(Command::LeaveRevolt { revolt });
    for _ in 0..2 {
        talk(&mut ada, &mut cleo);
        cleo.pass(1000);
    }
    assert_eq!(records(&ada), []);
}
