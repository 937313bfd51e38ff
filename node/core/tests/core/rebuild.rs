//! What was read out of envelopes can be read again: the same comes out.

use std::collections::BTreeMap;

use revnet_core::command::{Command, MessageView, Place, Sent};
use revnet_core::rebuild::{forget_readings, streams};
use revnet_core::storage::{Boot, Storage as _, Write};
use revnet_protocol::{MessageId, StreamId};

use crate::home::{Home, join, link, part, stream, talk};

fn timelines(home: &Home) -> BTreeMap<StreamId, Vec<MessageId>> {
    let boot = Boot::read(&home.storage).expect("memory reads");
    let all = streams(&boot).into_iter();
    all.map(|stream| (stream, home.timeline(stream))).collect()
}

/// The log without who holds what: that is known of linked peers only.
fn words(home: &mut Home, at: Place) -> Vec<MessageView> {
    let mut log = home.log(at);
    log.iter_mut().for_each(|view| view.held_by = 0);
    log
}

fn forget(home: &mut Home) {
    let boot = Boot::read(&home.storage).expect("memory reads");
    let writes = forget_readings(&boot);
    home.storage.commit(&[writes]).expect("memory has room");
}

#[test]
fn a_rebuilt_index_is_the_same_through_rotations_edits_and_removals() {
    let (mut ada, mut ben, mut eve) = (Home::new(1), Home::new(2), Home::new(3));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    join(&mut ada, &mut eve, at);
    talk(&mut ada, &mut ben);
    let mut said = Vec::new();
    for number in 0..40 {
        let here = if number <= 20 { 3 } else { 2 };
        for home in [&mut ada, &mut ben, &mut eve].into_iter().take(here) {
            home.pass(1000);
            if let Sent::Sealed(id) = home.say(at, &format!("{number}")) {
                said.push(id);
            }
        }
        if number == 20 {
            let user = eve.identity.cert.user;
            ada.ask(Command::SetMember {
                revolt: at.revolt,
                user,
                level: None,
            });
        }
        talk(&mut ada, &mut ben);
        talk(&mut ada, &mut eve);
    }
    let message = *said.first().expect("ada was heard at once");
    let text = "changed".to_owned();
    ada.ask(Command::Edit { at, message, text });
    for other in [&mut eve, &mut ben] {
        part(&mut ada, other);
        link(&mut ada, other);
    }
    for home in [&mut ada, &mut ben] {
        let (index, log) = (timelines(home), words(home, at));
        assert!(index[&stream(at)].len() > 80, "much was said");
        // One row is lost, another one was never true.
        let lost = Write::Unindex {
            stream: stream(at),
            device: message.device,
            from: message.seq,
        };
        home.storage.commit(&[vec![lost]]).expect("memory has room");
        assert_ne!(timelines(home), index);
        forget(home);
        assert!(timelines(home).values().all(Vec::is_empty));
        home.restart();
        assert_eq!(timelines(home), index);
        assert!(words(home, at) == log, "the log differs");
    }
}

#[test]
fn a_node_that_is_stopped_while_it_reads_again_goes_on_where_it_was() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    ada.say(at, "one");
    let index = timelines(&ada);
    forget(&mut ada);
    // Nothing of the channel is known at this start before the control stream has been read again.
    ada.restart();
    assert_eq!(timelines(&ada), index);
    link(&mut ada, &mut ben);
    let Sent::Sealed(next) = ada.say(at, "two") else {
        panic!("sent at once")
    };
    assert_eq!(next.seq, 2, "the chain goes on and does not begin anew");
}
