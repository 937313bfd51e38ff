//! Several devices of one person.

use revnet_core::command::{Command, Place, Reply};
use revnet_core::mutant::{Mutant, with};
use revnet_protocol::RootKey;

use crate::home::{Home, join, part};

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

fn revoke(tablet: &Home) -> Command {
    let root = RootKey::from_seed([101; 32]);
    let revocation = root.revoke(tablet.device(), None);
    Command::RevokeDevice { revocation }
}

#[test]
fn a_device_is_revoked_in_all_revolts() {
    let (mut ada, tablet, places) = with_tablet();
    ada.ask(revoke(&tablet));
    assert_eq!(places.map(|at| devices(&mut ada, at)), [1, 1]);
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
        let refusal = ada.refusal(revoke(&tablet));
        assert!(refusal.contains("the newest key is missing"), "{refusal}");
    });
    assert_eq!(places.map(|at| devices(&mut ada, at)), [2, 2]);
}
