//! A device that signs two histories: everybody ends up with the same, whoever saw which one first.

use revnet_core::command::{Command, Place, Reply, Sent};
use revnet_core::storage::Boot;
use revnet_protocol::act::{Channel, ChannelKind, Level};
use revnet_protocol::envelope::{Body, Envelope};
use revnet_protocol::{Act, EnvelopeId, RevoltId, StreamId};

use crate::forger::{Forger, pushed};
use crate::home::{Home, join, link, part, stream, talk};

/// Ada's revolt with ben, who will sign two histories, and cleo; nobody is linked.
fn three() -> (Home, Home, Home, Place) {
    let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    join(&mut ada, &mut cleo, at);
    for other in [&mut ben, &mut cleo] {
        talk(&mut ada, other);
    }
    (ada, ben, cleo, at)
}

/// At the end of ben's chain, knowing that ben is a member.
fn forger(ben: &Home, stream: StreamId, revolt: RevoltId) -> Forger {
    let mut forger = Forger::of(ben, revolt, stream);
    forger.heads = vec![last_act(ben)];
    forger.hlc.ms = forger.hlc.ms.max(ben.unix_ms());
    forger
}

fn says(forger: &mut Forger, count: u64, what: &str) -> Vec<Envelope> {
    let from = forger.hlc.ms;
    let all = (1..=count).map(|n| forger.say(from + n, &format!("{what} {n}")));
    all.collect()
}

/// Links two nodes anew.
fn again(a: &mut Home, b: &mut Home) {
    part(a, b);
    link(a, b);
}

/// Lets two nodes compare notes until nothing is left to say.
fn settle(a: &mut Home, b: &mut Home) {
    for _ in 0..4 {
        talk(a, b);
        for home in [&mut *a, &mut *b] {
            home.pass(25_000);
        }
        talk(a, b);
    }
}

/// The newest act of a node's own.
fn last_act(home: &Home) -> EnvelopeId {
    let boot = Boot::read(&home.storage).expect("memory reads");
    let acts = boot.control.iter().map(|bytes| Envelope::decode(bytes));
    let acts = acts.map(|act| act.expect("stored").header);
    let own = acts.filter(|header| header.device == home.device());
    own.max_by_key(|header| header.seq).expect("one").id()
}

fn everybody_reads(homes: [&mut Home; 2], at: Place, texts: &[String]) {
    for home in homes {
        assert_eq!(home.texts(at), texts);
        home.restart();
        assert_eq!(home.texts(at), texts, "after a restart");
    }
}

#[test]
fn a_channel_ends_where_its_author_signed_two_histories() {
    let (mut ada, mut ben, mut cleo, at) = three();
    ben.say(at, "kept");
    settle(&mut ada, &mut ben);
    settle(&mut ada, &mut cleo);
    link(&mut ben, &mut cleo);
    let mut one = forger(&ben, stream(at), at.revolt);
    let mut other = one.clone();
    let (one, other) = (says(&mut one, 3, "one"), says(&mut other, 2, "other"));
    ben.slip(&mut ada, &pushed(at.revolt, one));
    ben.slip(&mut cleo, &pushed(at.revolt, other));
    assert_eq!(ada.texts(at).len(), 4);
    assert_eq!(cleo.texts(at).len(), 3);
    again(&mut ada, &mut cleo);
    settle(&mut ada, &mut cleo);
    let kept = ["kept".to_owned()];
    everybody_reads([&mut ada, &mut cleo], at, &kept);
    assert_eq!(ada.timeline(stream(at)), cleo.timeline(stream(at)));

    // Who comes later learns it, and the author, too.
    again(&mut ada, &mut cleo);
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    settle(&mut ada, &mut dora);
    everybody_reads([&mut dora, &mut cleo], at, &kept);
    again(&mut ada, &mut ben);
    settle(&mut ada, &mut ben);
    assert_eq!(ben.texts(at), kept);
    // Nothing of the branches comes back by who has only one of them.
    let mut more = forger(&ben, stream(at), at.revolt);
    let again = says(&mut more, 5, "again");
    ben.slip(&mut ada, &pushed(at.revolt, again));
    assert_eq!(ada.texts(at), kept);
    assert!(ada.blamed.is_empty() && cleo.blamed.is_empty());
}

#[test]
fn the_place_where_long_histories_part_is_found() {
    let (mut ada, mut ben, mut cleo, at) = three();
    link(&mut ben, &mut cleo);
    let mut trunk = forger(&ben, stream(at), at.revolt);
    // Only the last of each part is signed by itself.
    let common = says(&mut trunk, 300, "common");
    let mut one = trunk.clone();
    let (one, other) = (says(&mut one, 250, "one"), says(&mut trunk, 400, "other"));
    for home in [&mut ada, &mut cleo] {
        ben.slip(home, &pushed(at.revolt, common.clone()));
    }
    ben.slip(&mut ada, &pushed(at.revolt, one));
    ben.slip(&mut cleo, &pushed(at.revolt, other));
    assert_eq!(ada.texts(at).len(), 550);
    assert_eq!(cleo.texts(at).len(), 700);
    again(&mut ada, &mut cleo);
    settle(&mut ada, &mut cleo);
    assert_eq!(ada.texts(at).len(), 300);
    assert_eq!(ada.timeline(stream(at)), cleo.timeline(stream(at)));
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    settle(&mut ada, &mut dora);
    assert_eq!(ada.timeline(stream(at)), dora.timeline(stream(at)));
}

#[test]
fn a_history_that_parts_earlier_cuts_deeper() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    link(&mut ben, &mut cleo);
    link(&mut ben, &mut dora);
    let mut trunk = forger(&ben, stream(at), at.revolt);
    let mut common = says(&mut trunk, 4, "common");
    let mut early = trunk.clone();
    common.extend(says(&mut trunk, 6, "late"));
    let mut fork = trunk.clone();
    let (one, other) = (says(&mut fork, 2, "one"), says(&mut trunk, 2, "other"));
    for home in [&mut ada, &mut cleo] {
        ben.slip(home, &pushed(at.revolt, common.clone()));
    }
    ben.slip(&mut ada, &pushed(at.revolt, one));
    ben.slip(&mut cleo, &pushed(at.revolt, other));
    ben.slip(&mut dora, &pushed(at.revolt, common[..4].to_vec()));
    ben.slip(&mut dora, &pushed(at.revolt, says(&mut early, 9, "early")));
    again(&mut ada, &mut cleo);
    settle(&mut ada, &mut cleo);
    assert_eq!(ada.texts(at).len(), 10);
    link(&mut cleo, &mut dora);
    settle(&mut cleo, &mut dora);
    settle(&mut ada, &mut cleo);
    settle(&mut ada, &mut dora);
    for home in [&mut ada, &mut cleo, &mut dora] {
        assert_eq!(home.texts(at).len(), 4);
    }
}

#[test]
fn words_whose_signature_comes_after_the_place_where_a_chain_parts_are_passed_on() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let (mut dora, mut eve, mut frank) = (Home::new(4), Home::new(5), Home::new(6));
    for other in [&mut dora, &mut eve, &mut frank] {
        join(&mut ada, other, at);
        part(&mut ada, other);
    }
    again(&mut ada, &mut cleo);
    link(&mut ben, &mut cleo);
    link(&mut ben, &mut dora);
    link(&mut ben, &mut eve);
    let mut trunk = forger(&ben, stream(at), at.revolt);
    // Of each run only the last is signed by itself.
    let mut common = says(&mut trunk, 3, "common");
    let mut early = trunk.clone();
    common.extend(says(&mut trunk, 1, "common"));
    let mut fork = trunk.clone();
    let with = |end: Vec<Envelope>| pushed(at.revolt, [common.clone(), end].concat());
    ben.slip(&mut ada, &with(says(&mut fork, 2, "one")));
    ben.slip(&mut cleo, &with(says(&mut trunk, 2, "other")));
    again(&mut ada, &mut cleo);
    settle(&mut ada, &mut cleo);
    // One has the first words already, and one none.
    ben.slip(&mut eve, &pushed(at.revolt, common[..1].to_vec()));
    assert_eq!(eve.texts(at).len(), 1);
    part(&mut ben, &mut eve);
    let mut gary = Home::new(7);
    join(&mut ada, &mut gary, at);
    settle(&mut ada, &mut gary);
    link(&mut cleo, &mut eve);
    settle(&mut cleo, &mut eve);
    for home in [&mut ada, &mut cleo, &mut eve, &mut gary] {
        assert_eq!(home.texts(at).len(), 4);
    }
    // The history of a third parts one earlier, which leaves no signature in the chain at all.
    let third = [common[..3].to_vec(), says(&mut early, 2, "third")].concat();
    ben.slip(&mut dora, &pushed(at.revolt, third));
    again(&mut cleo, &mut dora);
    settle(&mut cleo, &mut dora);
    link(&mut cleo, &mut frank);
    settle(&mut cleo, &mut frank);
    again(&mut ada, &mut cleo);
    settle(&mut ada, &mut cleo);
    again(&mut ada, &mut eve);
    settle(&mut ada, &mut eve);
    for home in [&mut ada, &mut cleo, &mut dora, &mut eve, &mut frank] {
        assert_eq!(home.texts(at).len(), 3);
        assert_eq!(home.blamed, []);
    }
}

#[test]
fn acts_of_all_branches_count() {
    let (mut ada, mut ben, mut cleo, at) = three();
    ada.ask(Command::SetMember {
        revolt: at.revolt,
        user: ben.identity.cert.user,
        level: Some(Level(600)),
    });
    talk(&mut ada, &mut ben);
    talk(&mut ada, &mut cleo);
    link(&mut ben, &mut cleo);
    let control = StreamId::control(&at.revolt);
    let now = ada.unix_ms() + 1000;
    let acts = |forger: &mut Forger, names: &[&str]| -> Vec<Envelope> {
        let made = names.iter().enumerate().map(|(n, name)| {
            let act = Act::Channel(Channel {
                channel: None,
                kind: ChannelKind::Text,
                name: Some((*name).to_owned()),
                topic: None,
                category: None,
                position: None,
                archived: None,
            });
            forger.write(now + n as u64, &act.encode(), None)
        });
        made.collect()
    };
    let set = ada.timeline(control).len();
    let trunk = Forger::of(&ben, at.revolt, control);
    let (mut one, mut other) = (trunk.clone(), trunk);
    for forger in [&mut one, &mut other] {
        forger.heads = vec![last_act(&ada)];
    }
    let (one, other) = (
        acts(&mut one, &["a", "b"]),
        acts(&mut other, &["c", "d", "e"]),
    );
    for envelope in one {
        ben.slip(&mut ada, &pushed(at.revolt, vec![envelope]));
    }
    // Packed under one signature they are taken as well.
    ben.slip(&mut cleo, &pushed(at.revolt, other));
    assert_eq!(ada.channels(at.revolt), ["a", "b", "general"]);
    assert_eq!(cleo.channels(at.revolt), ["c", "d", "e", "general"]);
    again(&mut ada, &mut cleo);
    settle(&mut ada, &mut cleo);
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    settle(&mut ada, &mut dora);
    settle(&mut ada, &mut cleo);
    for home in [&mut ada, &mut cleo, &mut dora] {
        let all = ["a", "b", "c", "d", "e", "general"];
        assert_eq!(home.channels(at.revolt), all);
        home.restart();
        assert_eq!(home.channels(at.revolt), all, "after a restart");
    }
    // The documents end where the chain parts.
    assert!(ada.timeline(control).len() > set);
    assert_eq!(ada.timeline(control), cleo.timeline(control));
    assert_eq!(ada.timeline(control), dora.timeline(control));
    // All have the same now, so there is nothing more to send.
    let mut sent = 0;
    crate::home::talk_and(&mut ada, &mut dora, |frames| sent += frames.len());
    assert_eq!(sent, 0);
}

#[test]
fn words_that_somebody_left_out_on_the_way_are_refused() {
    let (mut ada, mut ben, mut cleo, at) = three();
    link(&mut ben, &mut cleo);
    let mut forger = forger(&ben, stream(at), at.revolt);
    let mut said = says(&mut forger, 1, "said");
    let whole = said.clone();
    let Body::Kept(bytes) = &said[0].body else {
        panic!("a message has a body")
    };
    said[0].body = Body::Dropped(revnet_protocol::hash::content(bytes));
    cleo.slip(&mut ada, &pushed(at.revolt, said));
    assert_eq!(ada.blamed.len(), 1, "who brings it is blamed");
    assert!(ada.texts(at).is_empty());
    ben.slip(&mut ada, &pushed(at.revolt, whole));
    assert_eq!(ada.texts(at), ["said 1"]);
}

#[test]
fn a_device_that_signed_two_histories_is_taken_out() {
    for in_control in [false, true] {
        let (mut ada, mut ben, mut cleo, at) = three();
        link(&mut ben, &mut cleo);
        let name = |name: &str| Act::Profile { name: name.into() }.encode();
        let envelopes = |forger: &mut Forger, text: &str| -> Vec<Envelope> {
            if in_control {
                let ms = forger.hlc.ms + 1;
                return vec![forger.write(ms, &name(text), None)];
            }
            says(forger, 2, text)
        };
        let of = if in_control {
            StreamId::control(&at.revolt)
        } else {
            stream(at)
        };
        let mut one = forger(&ben, of, at.revolt);
        let mut other = one.clone();
        ben.slip(&mut ada, &pushed(at.revolt, envelopes(&mut one, "one")));
        ben.slip(
            &mut cleo,
            &pushed(at.revolt, envelopes(&mut other, "other")),
        );
        again(&mut ada, &mut cleo);
        settle(&mut ada, &mut cleo);
        settle(&mut ada, &mut cleo);
        for home in [&mut ada, &mut cleo] {
            let Reply::Members(members) = home.ask(Command::ListMembers { revolt: at.revolt })
            else {
                panic!("members")
            };
            let of_ben = members.iter().find(|m| m.user == ben.identity.cert.user);
            assert_eq!(of_ben.expect("still a member").devices, []);
        }
        // What is said from now on it can't read.
        let Sent::Sealed(said) = ada.say(at, "without ben") else {
            panic!("sent at once")
        };
        again(&mut ada, &mut ben);
        settle(&mut ada, &mut ben);
        assert!(!ben.texts(at).contains(&"without ben".to_owned()));
        again(&mut ada, &mut cleo);
        settle(&mut ada, &mut cleo);
        assert!(cleo.log(at).iter().any(|view| view.id == said));
    }
}
