//! Roles and closed channels, between nodes.

use revnet_core::command::{ChannelEdit, Command, Place, Reply, RoleEdit};
use revnet_core::mutant::{Mutant, with};
use revnet_core::storage::{Answer, Boot, Query, Space, Storage as _};
use revnet_protocol::act::Level;
use revnet_protocol::act::{Audience, KeyRotate};
use revnet_protocol::envelope::Envelope;
use revnet_protocol::role::Target;
use revnet_protocol::{Act, Hash, KeyId, Permission, Permissions, RevoltId, StreamId, UserId};

use crate::forger::{Forger, pushed};
use crate::home::{Home, join, link, part, stream, talk};

fn user(home: &Home) -> UserId {
    home.identity.cert.user
}

/// Ada founds a revolt, Ben and Cleo join it.
fn three() -> (Home, Home, Home, Place) {
    let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    join(&mut ada, &mut cleo, at);
    meet(&mut ada, &mut ben, &mut cleo);
    (ada, ben, cleo, at)
}

/// Lets time pass, and Ada talk to both.
fn meet(ada: &mut Home, ben: &mut Home, cleo: &mut Home) {
    for _ in 0..3 {
        for home in [&mut *ada, &mut *ben, &mut *cleo] {
            home.pass(21_000);
        }
        talk(ada, ben);
        talk(ada, cleo);
        talk(ada, ben);
    }
}

fn close(home: &mut Home, revolt: RevoltId, name: &str) -> Place {
    let edit = ChannelEdit {
        name: Some(name.into()),
        ..ChannelEdit::default()
    };
    let make = Command::CreateChannel {
        revolt,
        edit,
        private: true,
    };
    let Reply::Channel(channel) = home.ask(make) else {
        panic!("a channel")
    };
    assert!(channel.private);
    Place {
        revolt,
        channel: channel.id,
    }
}

fn admit(home: &mut Home, at: Place, who: UserId, on: bool) {
    let view = if on {
        Permission::View.into()
    } else {
        Permissions::NONE
    };
    home.ask(Command::SetException {
        at,
        target: Target::User(who),
        allow: view,
        deny: Permissions::NONE,
    });
}

/// The newest secret of a channel's words that a node stores.
fn key_of(home: &Home, at: Place) -> KeyId {
    let query = Query::Ranges {
        ranges: vec![(stream(at), home.device(), 1)],
        max_bytes: usize::MAX,
    };
    let Ok(Answer::Envelopes { envelopes, .. }) = home.storage.query(&query) else {
        panic!("envelopes")
    };
    let last = envelopes.last().expect("something was said");
    Envelope::decode(last).expect("stored").header.key_id
}

fn holds(home: &Home, revolt: RevoltId, key_id: KeyId) -> bool {
    let query = Query::Get {
        space: Space::Secret,
        key: [revolt.0, key_id.0].concat(),
    };
    matches!(home.storage.query(&query), Ok(Answer::Value(Some(_))))
}

#[test]
fn the_name_of_another_channels_secret_opens_nothing() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let cellar = close(&mut ada, at.revolt, "cellar");
    let attic = close(&mut ada, at.revolt, "attic");
    admit(&mut ada, cellar, user(&ben), true);
    admit(&mut ada, attic, user(&cleo), true);
    meet(&mut ada, &mut ben, &mut cleo);
    ada.say(cellar, "for ben");
    ada.say(attic, "for cleo");
    meet(&mut ada, &mut ben, &mut cleo);
    let key_id = key_of(&ada, cellar);
    // Cleo gives the cellar's secret, of which only the name is known, to the attic; others see the attic, too.
    let control = StreamId::control(&at.revolt);
    let mut forger = Forger::of(&cleo, at.revolt, control);
    let named = Act::KeyRotate(KeyRotate {
        audience: Audience::Channel(attic.channel),
        generation: 2,
        key_id,
        commitment: Hash::default(),
        back_links: Vec::new(),
    });
    let boot = Boot::read(&cleo.storage).expect("memory reads");
    let acts = boot
        .control
        .iter()
        .map(|act| Envelope::decode(act).expect("stored"));
    let of_ada = acts.filter(|act| act.header.device == ada.device());
    forger.heads = vec![
        of_ada
            .max_by_key(|act| act.header.seq)
            .expect("some")
            .header
            .id(),
    ];
    let envelope = forger.write(ada.unix_ms() + 1000, &named.encode(), None);
    cleo.slip(&mut ada, &pushed(at.revolt, vec![envelope]));
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    admit(&mut ada, attic, user(&dora), true);
    for _ in 0..3 {
        meet(&mut ada, &mut dora, &mut cleo);
        ada.say(attic, "and now");
    }
    for home in [&dora, &cleo] {
        assert!(!holds(home, at.revolt, key_id), "the cellar is open");
    }
    assert!(holds(&ben, at.revolt, key_id));
}

#[test]
fn secrets_that_are_old_are_changed_before_the_next_words() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    let mut dora = Home::new(4);
    ada.say(at, "one");
    let first = key_of(&ada, at);
    for home in [&mut ada, &mut ben] {
        home.pass(6 * 24 * 3_600_000);
    }
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    ada.say(at, "two");
    assert_eq!(key_of(&ada, at), first);
    for home in [&mut ada, &mut ben] {
        home.pass(3 * 24 * 3_600_000);
    }
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    ada.say(at, "three");
    assert_ne!(key_of(&ada, at), first);
    meet(&mut ada, &mut ben, &mut dora);
    assert_eq!(ben.texts(at), ["one", "two", "three"]);
}

fn without_history(home: &mut Home, at: Place) {
    let edit = ChannelEdit {
        history: Some(false),
        ..ChannelEdit::default()
    };
    let command = Command::EditChannel {
        revolt: at.revolt,
        channel: at.channel,
        edit,
    };
    let Reply::Channel(channel) = home.ask(command) else {
        panic!("a channel")
    };
    assert!(!channel.history && !channel.private);
}

#[test]
fn newcomers_read_nothing_from_before_where_history_is_closed() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    without_history(&mut ada, at);
    let mut dora = Home::new(4);
    meet(&mut ada, &mut ben, &mut dora);
    ada.say(at, "early");
    meet(&mut ada, &mut ben, &mut dora);
    ben.say(at, "early, too");
    meet(&mut ada, &mut ben, &mut dora);
    assert_eq!(ada.texts(at), ["early", "early, too"]);
    let mut cleo = Home::new(3);
    join(&mut ada, &mut cleo, at);
    meet(&mut ada, &mut ben, &mut cleo);
    // From here on cleo reads along, in the same chains.
    ada.say(at, "later");
    meet(&mut ada, &mut ben, &mut cleo);
    ben.say(at, "later, too");
    meet(&mut ada, &mut ben, &mut cleo);
    cleo.say(at, "hello");
    meet(&mut ada, &mut ben, &mut cleo);
    // Their clocks differ, and so the order by time.
    let sorted = |home: &mut Home| {
        let mut texts = home.texts(at);
        texts.sort();
        texts
    };
    let late = ["hello", "later", "later, too"];
    assert_eq!(sorted(&mut cleo), late);
    let all = [&["early", "early, too"][..], &late].concat();
    assert_eq!(sorted(&mut ada), all);
    assert_eq!(sorted(&mut ben), all);
    cleo.restart();
    assert_eq!(sorted(&mut cleo), late, "after a restart");
    // Whoever is removed and comes back missed what was said meanwhile.
    let out = |level| Command::SetMember {
        revolt: at.revolt,
        user: user(&ben),
        level,
    };
    ada.ask(out(None));
    part(&mut ada, &mut ben);
    ada.say(at, "without ben");
    let back = ada.invite(at.revolt);
    link(&mut ada, &mut ben);
    let again = ben.begin(Command::Join { link: back });
    meet(&mut ada, &mut ben, &mut dora);
    let _ = ben.answer(again);
    ada.say(at, "with ben");
    meet(&mut ada, &mut ben, &mut dora);
    let texts = ben.texts(at);
    assert!(texts.contains(&"with ben".to_owned()), "{texts:?}");
    assert!(!texts.contains(&"without ben".to_owned()), "{texts:?}");
}

#[test]
fn the_fault_of_an_open_history_shows() {
    with(Mutant::HistoryOpen, || {
        let (mut ada, mut ben) = (Home::new(1), Home::new(2));
        let at = ada.found();
        join(&mut ada, &mut ben, at);
        without_history(&mut ada, at);
        let mut dora = Home::new(4);
        meet(&mut ada, &mut ben, &mut dora);
        ada.say(at, "early");
        let mut cleo = Home::new(3);
        join(&mut ada, &mut cleo, at);
        meet(&mut ada, &mut ben, &mut cleo);
        ada.say(at, "later");
        meet(&mut ada, &mut ben, &mut cleo);
        assert_eq!(cleo.texts(at), ["early", "later"]);
    });
}

#[test]
fn a_closed_channel_is_read_by_whom_it_is_for() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let room = close(&mut ada, at.revolt, "cellar");
    ada.say(room, "before ben");
    admit(&mut ada, room, user(&ben), true);
    meet(&mut ada, &mut ben, &mut cleo);
    ada.say(room, "with ben");
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ben.texts(room), ["before ben", "with ben"]);
    ben.say(room, "thanks");
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ada.texts(room), ["before ben", "with ben", "thanks"]);
    assert_eq!(ada.channels(at.revolt), ["cellar", "general"]);
    assert_eq!(cleo.channels(at.revolt), ["general"]);
    assert!(cleo.opened(room).is_empty(), "cleo reads the room");
    assert!(
        !cleo.stored(room).is_empty(),
        "cleo keeps what others may ask for"
    );
}

#[test]
fn a_member_who_hands_out_every_secret_is_noticed() {
    let (mut ada, mut ben, mut cleo, at) = with(Mutant::KeysForAll, three);
    let room = close(&mut ada, at.revolt, "cellar");
    ada.say(room, "secret");
    with(Mutant::KeysForAll, || meet(&mut ada, &mut ben, &mut cleo));
    assert!(!cleo.opened(room).is_empty());
}

#[test]
fn whoever_loses_sight_of_a_channel_reads_nothing_new() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let room = close(&mut ada, at.revolt, "cellar");
    admit(&mut ada, room, user(&ben), true);
    ada.say(room, "with ben");
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ben.opened(room).len(), 1);
    admit(&mut ada, room, user(&ben), false);
    ada.say(room, "without ben");
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ada.texts(room), ["with ben", "without ben"]);
    assert_eq!(ben.opened(room).len(), 1, "ben reads on");
    assert_eq!(ben.channels(at.revolt), ["general"]);
}

#[test]
fn a_moderator_does_what_the_role_says_and_hears_why_not_more() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let revolt = at.revolt;
    let edit = RoleEdit {
        name: Some("helper".into()),
        position: Some(Level(10)),
        permissions: Some([Permission::Ban].into_iter().collect()),
        ..RoleEdit::default()
    };
    let Reply::Role(role) = ada.ask(Command::CreateRole { revolt, edit }) else {
        panic!("a role")
    };
    let set = Command::SetMember {
        revolt,
        user: user(&ben),
        level: Some(Level(100)),
    };
    ada.ask(set);
    ada.ask(Command::Grant {
        revolt,
        user: user(&ben),
        role: role.id,
        on: true,
    });
    meet(&mut ada, &mut ben, &mut cleo);
    let kick = Command::SetMember {
        revolt,
        user: user(&cleo),
        level: None,
    };
    let refused = ben.refusal(kick);
    assert!(refused.contains("'kick'"), "{refused}");
    let ban = |user| Command::Ban {
        revolt,
        user,
        on: true,
    };
    let refused = ben.refusal(ban(user(&ada)));
    assert!(refused.contains("does not stand below you"), "{refused}");
    ben.ask(ban(user(&cleo)));
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ada.names(revolt), ["person 1", "person 2"]);
    let Reply::Bans(bans) = ada.ask(Command::ListBans { revolt }) else {
        panic!("bans")
    };
    assert_eq!(bans.len(), 1);
    // A link that is newer than the ban doesn't help.
    let link_text = ada.invite(revolt);
    part(&mut ada, &mut cleo);
    cleo.begin(Command::Join { link: link_text });
    link(&mut ada, &mut cleo);
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ada.names(revolt), ["person 1", "person 2"]);
    let Reply::Audit(audit) = ada.ask(Command::Audit { revolt }) else {
        panic!("an audit")
    };
    let entry = audit.iter().find(|entry| entry.act == "ban");
    let entry = entry.expect("it is in the record");
    assert!(entry.counts && entry.by_name == "person 2" && entry.about == "person 3");
}

#[test]
fn silence_hides_what_is_said_meanwhile() {
    let (mut ada, mut ben, mut cleo, at) = three();
    ben.say(at, "loud");
    meet(&mut ada, &mut ben, &mut cleo);
    let until_ms = Some(ada.unix_ms() + 600_000);
    ada.ask(Command::Timeout {
        revolt: at.revolt,
        user: user(&ben),
        until_ms,
    });
    // Ben hasn't heard of it yet.
    ben.pass(1000);
    ben.say(at, "still loud");
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(ada.texts(at), ["loud"]);
    assert_eq!(ben.texts(at), ["loud"]);
    let refused = ben.refusal(Command::Send {
        at,
        messages: vec![Default::default()],
    });
    assert!(refused.contains("silenced"), "{refused}");
    for home in [&mut ada, &mut ben, &mut cleo] {
        home.pass(600_000);
    }
    ben.say(at, "back");
    meet(&mut ada, &mut ben, &mut cleo);
    assert_eq!(cleo.texts(at), ["loud", "back"]);
}
