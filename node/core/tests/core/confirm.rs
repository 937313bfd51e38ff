//! Newcomers whom somebody vouched for, and acts that this version can't read.

use revnet_core::command::{AuditEntry, Command, Reply};
use revnet_protocol::act::{Join, Level};
use revnet_protocol::{
    Act, DeviceKeys, Envelope, InviteLink, InviteSecret, RevoltId, RootKey, StreamId,
};

use crate::forger::{Forger, pushed};
use crate::home::{HOUR_MS, Home, join, link, part, talk};

fn audit(home: &mut Home, revolt: RevoltId) -> Vec<AuditEntry> {
    let Reply::Audit(entries) = home.ask(Command::Audit { revolt }) else {
        panic!("an audit")
    };
    entries
}

fn confirmations(home: &mut Home, revolt: RevoltId) -> usize {
    let all = audit(home, revolt).into_iter();
    all.filter(|entry| entry.act == "confirm" && entry.counts)
        .count()
}

/// Who is in by nothing but an invite.
fn provisional(home: &mut Home, revolt: RevoltId) -> Vec<String> {
    let Reply::Members(members) = home.ask(Command::ListMembers { revolt }) else {
        panic!("members")
    };
    let members = members.into_iter().filter(|member| member.provisional);
    members.map(|member| member.name).collect()
}

/// Lets two nodes live for a while.
fn live(a: &mut Home, b: &mut Home) {
    for _ in 0..4 {
        talk(a, b);
        a.pass(10_000);
        b.pass(10_000);
    }
    talk(a, b);
}

#[test]
fn a_newcomer_who_was_confirmed_outlasts_the_invite() {
    for confirmed in [true, false] {
        let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
        let at = ada.found();
        join(&mut ada, &mut ben, at);
        assert_eq!(provisional(&mut ada, at.revolt), ["person 2"]);
        live(&mut ada, &mut ben);
        assert_eq!(confirmations(&mut ada, at.revolt), 1, "ben is confirmed");
        assert_eq!(provisional(&mut ada, at.revolt), [""; 0]);
        let link_text = ada.invite(at.revolt);
        let invite = InviteSecret::from_seed(link_text.seed).id();
        // What ada knows before cleo joins.
        let control = StreamId::control(&at.revolt);
        let mut aside = Forger::of(&ada, at.revolt, control);
        let command = cleo.begin(Command::Join { link: link_text });
        link(&mut ada, &mut cleo);
        assert!(matches!(cleo.answer(command), Reply::Revolt(_)));
        if confirmed {
            live(&mut ada, &mut cleo);
        }
        let revoke = Act::RevokeInvite {
            invite,
            keep: revnet_protocol::act::Keep(Vec::new()),
        };
        let now = ada.unix_ms().max(aside.hlc.ms + 1);
        let revoked = aside.write(now, &revoke.encode(), None);
        ada.slip(&mut cleo, &pushed(at.revolt, vec![revoked]));
        let counts = |home: &mut Home| home.names(at.revolt).contains(&"person 3".to_owned());
        assert_eq!(counts(&mut cleo), confirmed);
        part(&mut ada, &mut cleo);
    }
}

#[test]
fn an_act_of_a_newer_version_holds_nothing_up() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    let control = StreamId::control(&at.revolt);
    let mut newer = Forger::of(&ben, at.revolt, control);
    let now = ben.unix_ms().max(newer.hlc.ms + 1);
    let (version, number) = (1, 99);
    let unknown = newer.write(now, &[version, number, 1, 2, 3], None);
    let name = Act::Profile {
        name: "Benjamin".into(),
    };
    let known = newer.write(now + 1, &name.encode(), None);
    let id = unknown.header.id();
    for envelope in [unknown, known] {
        ben.slip(&mut ada, &pushed(at.revolt, vec![envelope]));
    }
    assert!(ada.names(at.revolt).contains(&"Benjamin".to_owned()));
    let entries = audit(&mut ada, at.revolt);
    let entry = entries.iter().find(|entry| entry.id == id);
    let entry = entry.expect("it has its place");
    assert!(!entry.counts && entry.act == "unknown", "{entry:?}");
    ada.restart();
    assert!(ada.names(at.revolt).contains(&"Benjamin".to_owned()));
    assert_eq!(ada.blamed, []);
}

/// A join by `link` that is stamped with a time of its author's choice.
fn backdated(ben: &Home, link: &InviteLink, ms: u64) -> Envelope {
    let control = StreamId::control(&link.revolt);
    let keys = DeviceKeys::from_seed([77; 32]);
    let cert = RootKey::from_seed([78; 32]).certify(&keys, "thief", 1);
    let invite = InviteSecret::from_seed(link.seed);
    let act = Act::Join(Join {
        proof: invite.sign(&Join::digest(&link.revolt, &cert)),
        cert,
        name: "thief".into(),
        invite: invite.id(),
    });
    let secret = Forger::of(ben, link.revolt, control).secret().clone();
    let mut thief = Forger::stranger(keys, secret, control);
    thief.heads = vec![ben.last_act()];
    thief.write(ms, &act.encode(), None)
}

#[test]
fn a_join_that_comes_long_after_its_invite_expired_is_not_confirmed() {
    for (late_ms, stays) in [(HOUR_MS / 12, true), (23 * HOUR_MS, false)] {
        let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
        let at = ada.found();
        let revolt = at.revolt;
        join(&mut ada, &mut ben, at);
        join(&mut ada, &mut cleo, at);
        ada.ask(Command::SetMember {
            revolt,
            user: ben.identity.cert.user,
            level: Some(Level(600)),
        });
        live(&mut ada, &mut ben);
        let expires = ben.unix_ms() + HOUR_MS;
        let Reply::Invite(_, link_text) = ben.ask(Command::CreateInvite {
            revolt,
            expires_ms: Some(expires),
            max_uses: None,
            addresses: Vec::new(),
        }) else {
            panic!("an invite")
        };
        live(&mut ada, &mut ben);
        part(&mut ada, &mut ben);
        let act = backdated(&ben, &link_text, expires - 1000);
        // Ben's node ends the invite in time, and knows of nobody who came by it.
        ben.pass(2 * HOUR_MS);
        let wait = expires + late_ms - ada.unix_ms();
        ada.pass(wait);
        cleo.slip(&mut ada, &pushed(revolt, vec![act]));
        let thief = "thief".to_owned();
        assert!(ada.names(revolt).contains(&thief));
        ada.pass(120_000);
        assert_eq!(provisional(&mut ada, revolt).contains(&thief), !stays);
        link(&mut ada, &mut ben);
        live(&mut ada, &mut ben);
        assert_eq!(ada.names(revolt).contains(&thief), stays);
    }
}
