//! Stamps that are far from the truth.

use revnet_core::command::{Command, Draft, Sent};
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

#[test]
fn a_device_that_wrote_while_its_clock_was_ahead_says_so_and_goes_on_elsewhere() {
    let (mut ada, mut eve) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut eve, at);
    let ahead = eve.unix_ms() + 2 * HOUR_MS;
    let mut clock = Forger::of(&eve, at.revolt, stream(at));
    let said = clock.say(ahead, "from tomorrow");
    eve.slip(&mut ada, &pushed(at.revolt, vec![said.clone()]));
    ada.slip(&mut eve, &pushed(at.revolt, vec![said]));
    let send = |text: &str| Command::Send {
        at,
        messages: vec![Draft {
            text: text.to_owned(),
            ..Draft::default()
        }],
    };
    let refusal = eve.refusal(send("today"));
    assert!(refusal.contains("clock was far ahead"), "{refusal}");
    // Acts are in another chain.
    let rename = |name: &str| Command::Rename { name: name.into() };
    eve.ask(rename("Eve"));
    talk(&mut ada, &mut eve);
    assert!(ada.names(at.revolt).contains(&"Eve".to_owned()));
    eve.pass(2 * HOUR_MS);
    ada.pass(2 * HOUR_MS);
    eve.say(at, "the day after");
    talk(&mut ada, &mut eve);
    ada.pass(30_000);
    eve.pass(30_000);
    talk(&mut ada, &mut eve);
    assert_eq!(ada.texts(at), ["from tomorrow", "the day after"]);

    let ahead = eve.unix_ms() + 2 * HOUR_MS;
    let mut clock = Forger::of(&eve, at.revolt, StreamId::control(&at.revolt));
    let name = "Eve of the future".to_owned();
    let act = clock.write(ahead, &Act::Profile { name }.encode(), None);
    ada.slip(&mut eve, &pushed(at.revolt, vec![act]));
    eve.pass(2 * HOUR_MS - 40 * 60 * 1000);
    assert!(ada.names(at.revolt).contains(&"Eve".to_owned()));
    eve.pass(HOUR_MS);
    eve.ask(rename("Eva"));
}
