//! Somebody puts back an old copy of the data directory.

use revnet_core::command::{ChannelEdit, Command, Reply, Sent};
use revnet_protocol::StreamId;

use crate::home::{Home, join, link, part, stream, talk};

fn channel(name: &str) -> ChannelEdit {
    ChannelEdit {
        name: Some(name.to_owned()),
        ..Default::default()
    }
}

#[test]
fn a_device_goes_on_after_what_others_have_of_it() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    let copy = ada.storage.clone();
    let revolt = at.revolt;
    let make = |name| Command::CreateChannel {
        private: false,
        revolt,
        edit: channel(name),
    };
    ada.ask(make("second"));
    ada.say(at, "before");
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);

    part(&mut ada, &mut ben);
    ada.storage = copy;
    ada.restart();
    // The act comes before anybody was heard, as from a script that starts the node.
    let command = ada.begin(make("third"));
    assert!(!ada.answered(command), "it waits");
    link(&mut ada, &mut ben);
    assert!(matches!(ada.answer(command), Reply::Channel(_)));
    let Sent::Sealed(after) = ada.say(at, "after") else {
        panic!("sent at once")
    };
    assert_eq!(after.seq, 2, "one was known to ben");
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    talk(&mut ada, &mut ben);
    for home in [&mut ada, &mut ben] {
        assert_eq!(home.texts(at), ["before", "after"]);
        assert_eq!(home.channels(revolt), ["general", "second", "third"]);
    }
    for id in [stream(at), StreamId::control(&revolt)] {
        assert_eq!(ada.timeline(id), ben.timeline(id));
    }
}

#[test]
fn its_log_of_arrivals_is_not_taken_for_the_one_that_was_lost() {
    let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    join(&mut ada, &mut cleo, at);
    talk(&mut ada, &mut ben);
    link(&mut ben, &mut cleo);
    part(&mut ben, &mut cleo);
    let copy = ada.storage.clone();
    // Ben reads ada's log up to here.
    for _ in 0..3 {
        ada.say(at, "lost");
    }
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    for other in [&mut ben, &mut cleo] {
        part(&mut ada, other);
    }
    ada.storage = copy;
    ada.restart();
    // What cleo says takes the positions of what was lost.
    link(&mut ada, &mut cleo);
    for _ in 0..3 {
        cleo.say(at, "cleo");
    }
    part(&mut ada, &mut cleo);
    link(&mut ada, &mut cleo);
    part(&mut ada, &mut cleo);
    link(&mut ada, &mut ben);
    ben.pass(30_000);
    talk(&mut ada, &mut ben);
    assert_eq!(ben.texts(at), ada.texts(at));
    assert_eq!(ben.texts(at).len(), 6);
}

#[test]
fn without_anybody_to_ask_it_waits_for_seconds_only() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    part(&mut ada, &mut ben);
    ada.restart();
    let command = ada.begin(Command::CreateChannel {
        private: false,
        revolt: at.revolt,
        edit: channel("alone"),
    });
    assert!(!ada.answered(command));
    ada.pass(3000);
    assert!(matches!(ada.answer(command), Reply::Channel(_)));
}
