//! How much one link may ask for at once.

use revnet_core::command::{Command, Reply};
use revnet_protocol::frame::{Frame, Refusal};
use revnet_protocol::range::{Have, Part, Question, Range};

use crate::home::{Home, greet, join, pages, part, talk, talk_and};

/// More than are pulled at once.
const MANY: usize = 40;

#[test]
fn many_shared_revolts_are_pulled_some_at_a_time_and_all_in_the_end() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let places: Vec<_> = (0..MANY).map(|_| ada.found()).collect();
    for at in &places {
        join(&mut ada, &mut ben, *at);
        part(&mut ada, &mut ben);
    }
    greet(&mut ada, &mut ben);
    for at in &places {
        ada.say(*at, "something");
    }
    talk(&mut ada, &mut ben);
    part(&mut ada, &mut ben);
    let mut most = 0;
    greet(&mut ada, &mut ben);
    let is_pull = |frame: &Frame| matches!(frame, Frame::Pull { .. });
    talk_and(&mut ada, &mut ben, |frames| {
        most = most.max(frames.iter().filter(|frame| is_pull(frame)).count());
    });
    assert!((1..=32).contains(&most), "{most} at once");
    for at in &places {
        assert_eq!(ben.texts(*at), ["something"]);
    }
}

#[test]
fn a_member_who_asks_without_end_is_put_off() {
    let (mut ada, mut eve) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut eve, at);
    ada.say(at, "something");
    ada.hold_answers(true);
    let want = Frame::Ask {
        revolt: at.revolt,
        questions: [Part::Acts, Part::Words]
            .map(|part| Question {
                range: Range::whole(part),
                have: Have::Tips(Vec::new()),
            })
            .into(),
        from: None,
    };
    for _ in 0..500 {
        eve.slip(&mut ada, &want);
    }
    assert!(ada.held_answers() <= 64, "{}", ada.held_answers());
    let busy = |frame: &Frame| {
        let reason = Refusal::Busy;
        matches!(frame, Frame::Refused { reason: said, .. } if *said == reason)
    };
    assert!(ada.frames_out().iter().filter(|f| busy(f)).count() >= 400);
    ada.hold_answers(false);
    eve.slip(&mut ada, &want);
    let served = |frame: &Frame| matches!(frame, Frame::Runs { .. });
    assert!(ada.frames_out().iter().any(served), "it goes on afterwards");
}

#[test]
fn a_newcomer_is_in_before_the_words_of_years_are_there() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    let page = pages(800);
    for text in &page {
        ada.say(at, text);
    }
    let invite = ada.invite(at.revolt);
    let command = ben.begin(Command::Join { link: invite });
    greet(&mut ada, &mut ben);
    let (mut asked, mut asked_before) = (0, None);
    talk_and(&mut ada, &mut ben, |frames| {
        let joins = frames.iter().any(|f| matches!(f, Frame::Runs { .. }));
        if joins && asked_before.is_none() {
            asked_before = Some(asked);
        }
        asked += frames
            .iter()
            .filter(|f| matches!(f, Frame::Ask { .. }))
            .count();
    });
    assert!(matches!(ben.answer(command), Reply::Revolt(_)));
    assert!(asked >= 4, "the words come in one piece: {asked}");
    assert!(
        asked_before.is_some_and(|before| before <= 2),
        "{asked_before:?} of {asked}"
    );
    assert_eq!(ben.texts(at).len(), page.len());
}
