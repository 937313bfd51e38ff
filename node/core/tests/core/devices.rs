//! Several devices of one person.

use revnet_core::command::{Command, Place, Reply};
use revnet_core::mutant::{Mutant, with};
use revnet_protocol::{RootKey, UserId};

use crate::home::{Home, join, link, meet_again, part, talk};

/// The number of devices that Ada has in a revolt.
fn devices(ada: &mut Home, at: Place) -> usize {
    let revolt = at.revolt;
    let Reply::Members(members) = ada.ask(Command::ListMembers { revolt }) else {
        panic!("members")
    };
    let user = ada.identity.cert.user;
    let own = members.into_iter().find(|member| member.user == user);
    own.expect("she is a member").devices.len()
}

fn is_member(home: &mut Home, at: Place, user: UserId) -> bool {
    let revolt = at.revolt;
    let Reply::Members(members) = home.ask(Command::ListMembers { revolt }) else {
        panic!("members")
    };
    members.iter().any(|member| member.user == user)
}

/// Ada with a tablet of hers in two revolts, in the order in which acts are written in them.
fn with_tablet() -> (Home, Home, [Place; 2]) {
    let (mut ada, mut tablet) = (Home::new(1), Home::further(2, 1));
    let mut places = [ada.found(), ada.found()];
    places.sort_by_key(|at| at.revolt);
    for at in places {
        join(&mut ada, &mut tablet, at);
        part(&mut ada, &mut tablet);
        assert_eq!(devices(&mut ada, at), 2);
    }
    (ada, tablet, places)
}

/// What takes the tablet back, with what it wrote from a time on.
fn revoke(ada: &mut Home, tablet: &Home, before_ms: Option<u64>) -> Command {
    let device = tablet.device();
    let Reply::LastActs(acts) = ada.ask(Command::LastActs { device, before_ms }) else {
        panic!("acts")
    };
    let root = RootKey::from_seed([101; 32]);
    let revocations = acts.into_iter().map(|act| root.revoke(device, Some(act)));
    Command::RevokeDevice {
        revocations: revocations.collect(),
    }
}

#[test]
fn a_device_is_revoked_in_all_revolts() {
    let (mut ada, tablet, places) = with_tablet();
    let command = revoke(&mut ada, &tablet, None);
    ada.ask(command);
    assert_eq!(places.map(|at| devices(&mut ada, at)), [1, 1]);
}

#[test]
fn whoever_stole_a_device_and_left_with_it_is_undone() {
    let (mut ada, mut tablet, [at, _]) = with_tablet();
    let mut cleo = Home::new(3);
    join(&mut ada, &mut cleo, at);
    part(&mut ada, &mut cleo);
    meet_again(&mut ada, &mut tablet);
    part(&mut ada, &mut tablet);
    let stolen_ms = ada.unix_ms();
    for home in [&mut ada, &mut tablet, &mut cleo] {
        home.pass(60_000);
    }
    let revolt = at.revolt;
    tablet.ask(Command::LeaveRevolt { revolt });
    link(&mut cleo, &mut tablet);
    cleo.pass(1000);
    talk(&mut cleo, &mut tablet);
    meet_again(&mut ada, &mut cleo);
    for (topic, bytes) in std::mem::take(&mut tablet.gossiped) {
        ada.hear(&tablet, &topic, bytes);
    }
    let user = ada.identity.cert.user;
    assert!(!is_member(&mut cleo, at, user));
    // The first time she doesn't say since when it was stolen, which keeps the goodbye.
    let command = revoke(&mut ada, &tablet, None);
    ada.ask(command);
    assert!(!is_member(&mut ada, at, user));
    let command = revoke(&mut ada, &tablet, Some(stolen_ms));
    ada.ask(command);
    assert_eq!(devices(&mut ada, at), 1);
    talk(&mut ada, &mut cleo);
    meet_again(&mut ada, &mut cleo);
    assert!(is_member(&mut cleo, at, user));
    ada.say(at, "I am here again");
    meet_again(&mut ada, &mut cleo);
    assert!(cleo.texts(at).contains(&"I am here again".to_owned()));
}

#[test]
fn a_device_is_revoked_nowhere_if_one_revolt_has_no_key_to_write_with() {
    let (mut ada, tablet, places) = with_tablet();
    let [_, last] = places;
    let mut cleo = Home::new(3);
    join(&mut ada, &mut cleo, last);
    // The fault stands for a key that this device can't make and doesn't have.
    with(Mutant::NoRotation, || {
        ada.ask(Command::SetMember {
            revolt: last.revolt,
            user: cleo.identity.cert.user,
            level: None,
        });
        let command = revoke(&mut ada, &tablet, None);
        let refusal = ada.refusal(command);
        assert!(refusal.contains("the newest key is missing"), "{refusal}");
    });
    assert_eq!(places.map(|at| devices(&mut ada, at)), [2, 2]);
}
