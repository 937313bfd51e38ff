//! Stamps that are far from the truth.

use revnet_core::command::Sent;
use revnet_protocol::{Act, StreamId};

use crate::forger::{Forger, pushed};
use crate::home::{HOUR_MS, Home, join, stream, talk};

#[test]
fn an_act_from_far_ahead_waits_for_its_time_and_takes_nobody_along() {
    let (mut ada, mut eve) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut eve, at);
    let mut forger = Forger::of(&eve, at.revolt, StreamId::control(&at.revolt));
    let name = "Eve of the future".to_owned();
    let act = Act::Profile { name }.encode();
    let ahead = ada.unix_ms() + 2 * HOUR_MS;
    let envelope = forger.write(ahead, &act, None);
    eve.slip(&mut ada, &pushed(at.revolt, vec![envelope]));
    let Sent::Sealed(said) = ada.say(at, "now") else {
        panic!("sent at once")
    };
    assert!(said.hlc.ms < ada.unix_ms() + HOUR_MS, "not taken along");
    assert_eq!(ada.names(at.revolt), ["person 1", "person 2"]);
    ada.restart();
    assert_eq!(ada.names(at.revolt), ["person 1", "person 2"]);
    ada.pass(2 * HOUR_MS);
    assert_eq!(ada.names(at.revolt), ["Eve of the future", "person 1"]);
    assert_eq!(ada.texts(at), ["now"]);
}

#[test]
fn a_message_from_far_ahead_is_shown_when_its_time_has_come() {
    let (mut ada, mut eve) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut eve, at);
    let mut forger = Forger::of(&eve, at.revolt, stream(at));
    let ahead = ada.unix_ms() + 2 * HOUR_MS;
    let envelope = forger.say(ahead, "from tomorrow");
    eve.slip(&mut ada, &pushed(at.revolt, vec![envelope]));
    ada.say(at, "today");
    assert_eq!(ada.texts(at), ["today"]);
    let told: Vec<_> = ada.told.iter().map(|view| view.text.as_str()).collect();
    assert_eq!(told, ["today"], "listeners see what the log shows");
    ada.pass(2 * HOUR_MS);
    assert_eq!(ada.texts(at), ["today", "from tomorrow"]);
}

#[test]
fn an_act_before_what_it_cites_counts_nowhere_whichever_came_first() {
    let (mut ada, mut eve) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut eve, at);
    let mut readers = [Home::new(3), Home::new(4)];
    for reader in &mut readers {
        join(&mut ada, reader, at);
    }
    // The first hears of the second one's invite.
    talk(&mut ada, &mut readers[0]);
    let control = StreamId::control(&at.revolt);
    let mut honest = Forger::of(&ada, at.revolt, control);
    let mut forger = Forger::of(&eve, at.revolt, control);
    let renamed = |name: &str| Act::Profile { name: name.into() }.encode();
    let cited = honest.write(ada.unix_ms() + 60_000, &renamed("Ada"), None);
    forger.heads = vec![cited.header.id()];
    let backdated = forger.write(ada.unix_ms() + 30_000, &renamed("Eve"), None);
    let orders = [[&cited, &backdated], [&backdated, &cited]];
    for (mut reader, order) in readers.into_iter().zip(orders) {
        for envelope in order {
            ada.slip(&mut reader, &pushed(at.revolt, vec![envelope.clone()]));
        }
        let names = reader.names(at.revolt);
        assert!(names.contains(&"Ada".to_owned()), "{names:?}");
        assert!(!names.contains(&"Eve".to_owned()), "{names:?}");
    }
}
