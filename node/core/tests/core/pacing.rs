//! How much one link may ask for at once.

use revnet_core::command::{Command, Place, Reply};
use revnet_protocol::act::{Channel, ChannelKind};
use revnet_protocol::frame::{Frame, Refusal};
use revnet_protocol::range::{Have, Part, Question, Range};
use revnet_protocol::{Act, StreamId};

use crate::forger::{Forger, pushed};
use crate::home::{Home, greet, join, pages, part, stream, talk, talk_and};

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

/// Channels that `home` makes for another node only, in one go.
fn make_channels(home: &mut Home, other: &mut Home, at: Place, count: u64) -> Forger {
    let mut forger = Forger::of(home, at.revolt, StreamId::control(&at.revolt));
    let from = home.unix_ms().max(forger.hlc.ms);
    let channel = |n: u64| Channel {
        channel: None,
        kind: ChannelKind::Text,
        name: Some(format!("channel {n}")),
        topic: None,
        category: None,
        position: None,
        archived: None,
    };
    let numbers: Vec<u64> = (1..=count).collect();
    for part in numbers.chunks(512) {
        forger.next_segment();
        let acts = part.iter().map(|n| {
            let act = Act::Channel(channel(*n)).encode();
            forger.write(from + n, &act, None)
        });
        let acts: Vec<_> = acts.collect();
        forger.heads = vec![acts.last().expect("some").header.id()];
        home.slip(other, &pushed(at.revolt, acts));
    }
    forger
}

#[test]
fn acknowledgements_of_many_chains_go_out_in_parts_that_are_taken() {
    const CHAINS: u64 = 4200;
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    let control = make_channels(&mut ada, &mut ben, at, CHAINS);
    let Reply::Revolt(detail) = ben.ask(Command::ShowRevolt { revolt: at.revolt }) else {
        panic!("a revolt")
    };
    let channels = detail.channels.iter().map(|channel| Place {
        revolt: at.revolt,
        channel: channel.id,
    });
    let others: Vec<_> = channels.filter(|other| *other != at).collect();
    assert_eq!(others.len() as u64, CHAINS);
    for place in others {
        let keys = ada.identity.keys.clone();
        let mut forger = Forger::stranger(keys, control.secret().clone(), stream(place));
        forger.heads.clone_from(&control.heads);
        let word = forger.say(control.hlc.ms + 1, "a word");
        ada.slip(&mut ben, &pushed(at.revolt, vec![word]));
    }
    part(&mut ada, &mut ben);
    greet(&mut ada, &mut ben);
    let mut sizes = Vec::new();
    talk_and(&mut ada, &mut ben, |frames| {
        sizes.extend(frames.iter().filter_map(|frame| match frame {
            Frame::Held(held) => Some(held.chains.len() as u64),
            _ => None,
        }));
    });
    assert!(sizes.iter().sum::<u64>() > CHAINS, "{sizes:?}");
    assert_eq!(ada.blamed, []);
}
