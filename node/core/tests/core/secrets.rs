//! Secrets that somebody announces, or writes under, to come between the others.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use revnet_core::Verdict;
use revnet_core::command::{ChannelEdit, Command, Place, Reply};
use revnet_protocol::act::{Audience, KeyRotate, Level};
use revnet_protocol::agreement::{KeyAgreement as _, SealedSlots};
use revnet_protocol::frame::{Frame, Gossip};
use revnet_protocol::{
    Act, ChannelId, DeviceKeys, Envelope, EpochSecret, Hash, KeyId, RevoltId, StreamId,
};

use crate::forger::{Forger, pushed};
use crate::home::{Home, greet, join, link, meet_again, part, stream, talk, talk_and};

/// Ada founded, Ben and Cleo are in, and nobody is linked.
fn three() -> (Home, Home, Home, Place) {
    let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
    let at = ada.found();
    for guest in [&mut ben, &mut cleo] {
        join(&mut ada, guest, at);
        part(&mut ada, guest);
    }
    for other in [&mut ben, &mut cleo] {
        meet_again(&mut ada, other);
        part(&mut ada, other);
    }
    (ada, ben, cleo, at)
}

/// Somebody at the end of their acts, who knows what they know.
fn forger(home: &Home, revolt: RevoltId) -> Forger {
    let forger = Forger::of(home, revolt, StreamId::control(&revolt));
    forger.citing(vec![home.last_act()], home.unix_ms())
}

/// A rotation of a channel's secret.
fn rotation(channel: ChannelId, generation: u64, key_id: KeyId, commitment: Hash) -> Vec<u8> {
    let rotate = KeyRotate {
        audience: Audience::Channel(channel),
        generation,
        key_id,
        commitment,
        back_links: Vec::new(),
    };
    Act::KeyRotate(rotate).encode()
}

/// Gives a node a secret for which it hasn't asked this peer.
fn hand(from: &mut Home, secret: &EpochSecret, revolt: RevoltId, to: &mut Home) {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let recipients = [to.identity.cert.hpke];
    let chunks = SealedSlots.hand_on(secret, &revolt, &recipients, &mut rng);
    from.slip(to, &Frame::Keys { revolt, chunks });
}

fn close(home: &mut Home, revolt: RevoltId, name: &str) -> Place {
    let edit = ChannelEdit {
        name: Some(name.into()),
        ..Default::default()
    };
    let private = true;
    let command = Command::CreateChannel {
        revolt,
        edit,
        private,
    };
    let Reply::Channel(channel) = home.ask(command) else {
        panic!("a channel")
    };
    let channel = channel.id;
    Place { revolt, channel }
}

fn set_level(home: &mut Home, at: Place, who: &Home, level: Option<Level>) {
    let (revolt, user) = (at.revolt, who.identity.cert.user);
    home.ask(Command::SetMember {
        revolt,
        user,
        level,
    });
}

#[test]
fn an_act_that_only_some_could_read_is_read_by_nobody() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let own = EpochSecret::new([42; 32]);
    let mut forger = forger(&ben, at.revolt).under(&own);
    let name = "somebody else".to_owned();
    let act = forger.write(ben.unix_ms() + 5, &Act::Profile { name }.encode(), None);
    link(&mut ada, &mut ben);
    ben.slip(&mut ada, &pushed(at.revolt, vec![act]));
    hand(&mut ben, &own, at.revolt, &mut ada);
    part(&mut ada, &mut ben);
    assert_eq!(ada.names(at.revolt), cleo.names(at.revolt));
    ada.say(at, "all can read this");
    meet_again(&mut ada, &mut cleo);
    assert_eq!(cleo.texts(at), ["all can read this"]);
    ada.restart();
    assert_eq!(ada.names(at.revolt), cleo.names(at.revolt));
}

#[test]
fn what_was_written_under_a_secret_before_it_is_announced_is_read_by_all_then() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let own = EpochSecret::new([42; 32]);
    let mut forger = forger(&ben, at.revolt).under(&own);
    let name = "somebody else".to_owned();
    let act = forger.write(ben.unix_ms() + 5, &Act::Profile { name }.encode(), None);
    link(&mut ada, &mut ben);
    ben.slip(&mut ada, &pushed(at.revolt, vec![act]));
    hand(&mut ben, &own, at.revolt, &mut ada);
    // The same device on another branch: a chain that waits can't announce what it waits for.
    let mut forger = self::forger(&ben, at.revolt).under(&own);
    let rotate = KeyRotate {
        audience: Audience::Revolt,
        generation: 2,
        key_id: own.key_id(),
        commitment: Hash::default(),
        back_links: Vec::new(),
    };
    let act = forger.write(ben.unix_ms() + 9, &Act::KeyRotate(rotate).encode(), None);
    ben.slip(&mut ada, &pushed(at.revolt, vec![act]));
    part(&mut ada, &mut ben);
    meet_again(&mut ada, &mut cleo);
    assert!(ada.names(at.revolt).contains(&"somebody else".to_owned()));
    assert_eq!(ada.names(at.revolt), cleo.names(at.revolt));
}

/// Chains of devices that nobody knows, under secrets that nobody has.
fn noise(at: Place, count: u64, ms: u64) -> Vec<Envelope> {
    let control = StreamId::control(&at.revolt);
    let seeds = (0_u64..).map(|seed| {
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        (DeviceKeys::from_seed(bytes), EpochSecret::new(bytes))
    });
    // Their names come before most others.
    let low = seeds.filter(|(_, secret)| secret.key_id().0[0] < 16);
    let chains = low.map(|(keys, secret)| Forger::stranger(keys, secret, control));
    let count = usize::try_from(count).expect("few");
    let chains = chains.take(count);
    chains
        .map(|mut chain| chain.write(ms, &[0], None))
        .collect()
}

#[test]
fn words_of_strangers_hide_no_secret_from_members_and_newcomers() {
    let (mut ada, mut ben, mut cleo, at) = three();
    ada.gossiped.clear();
    close(&mut ada, at.revolt, "a reason to gossip");
    let topic = ada.gossiped[0].0.clone();
    let noise = noise(at, 300, ben.unix_ms());
    for envelope in noise {
        let bytes = Gossip::Envelope(Box::new(envelope)).encode();
        assert_eq!(cleo.hear(&ben, &topic, bytes), Some(Verdict::Accept));
    }
    set_level(&mut ada, at, &ben, None);
    meet_again(&mut ada, &mut cleo);
    ada.say(at, "hello");
    meet_again(&mut ada, &mut cleo);
    assert_eq!(cleo.texts(at), ["hello"]);
    part(&mut ada, &mut cleo);
    let mut eve = Home::new(5);
    join(&mut ada, &mut eve, at);
    assert_eq!(eve.texts(at), ["hello"]);
    part(&mut ada, &mut eve);
    talk(&mut ada, &mut ben);
}

#[test]
fn many_closed_channels_hide_no_secret_of_open_ones() {
    let (mut ada, mut ben, mut cleo, at) = three();
    for number in 0..100 {
        let closed = close(&mut ada, at.revolt, &format!("closed {number}"));
        ada.say(closed, "not for all");
    }
    for other in [&mut ben, &mut cleo] {
        meet_again(&mut ada, other);
        part(&mut ada, other);
    }
    set_level(&mut ada, at, &ben, None);
    meet_again(&mut ada, &mut cleo);
    ada.say(at, "hello");
    meet_again(&mut ada, &mut cleo);
    assert_eq!(cleo.texts(at), ["hello"]);
}

#[test]
fn the_revolts_secret_named_for_a_channel_keeps_nobody_out() {
    let (mut ada, mut ben, _, at) = three();
    let mut forger = forger(&ben, at.revolt);
    let secret = forger.secret().clone();
    let claim = secret.claim(&at.revolt, &at.channel, 1, &ben.device());
    let act = rotation(at.channel, 1, secret.key_id(), claim);
    let act = forger.write(ben.unix_ms() + 5, &act, None);
    link(&mut ada, &mut ben);
    ben.slip(&mut ada, &pushed(at.revolt, vec![act]));
    part(&mut ada, &mut ben);
    ada.pass(60_000);
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    assert_eq!(dora.names(at.revolt).len(), 4);
}

#[test]
fn the_secret_of_a_void_rotation_is_not_handed_to_who_only_knows_its_name() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let revolt = at.revolt;
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    part(&mut ada, &mut dora);
    for who in [&cleo, &dora] {
        set_level(&mut ada, at, who, Some(Level(600)));
    }
    let closed = close(&mut ada, revolt, "closed");
    for other in [&mut ben, &mut cleo, &mut dora] {
        meet_again(&mut ada, other);
        part(&mut ada, other);
    }
    // Cleo rotates, and Dora writes under the new secret, before either knows that Cleo is out.
    let own = EpochSecret::new([42; 32]);
    let claim = own.claim(&revolt, &closed.channel, 2, &cleo.device());
    let rotation_of_cleo = rotation(closed.channel, 2, own.key_id(), claim);
    let heads = vec![cleo.last_act(), ada.last_act()];
    let mut forger_of_cleo = forger(&cleo, revolt).citing(heads, cleo.unix_ms());
    let ms = cleo.unix_ms() + 5;
    let act = forger_of_cleo.write(ms, &rotation_of_cleo, None);
    let words = Forger::stranger(cleo.identity.keys.clone(), own.clone(), stream(closed));
    let word = words.citing(vec![act.header.id()], ms).say(ms + 5, "hi");
    link(&mut cleo, &mut dora);
    cleo.slip(&mut dora, &pushed(revolt, vec![act]));
    cleo.slip(&mut dora, &pushed(revolt, vec![word]));
    hand(&mut cleo, &own, revolt, &mut dora);
    dora.say(closed, "for the closed ones");
    assert_eq!(dora.texts(closed), ["hi", "for the closed ones"]);
    part(&mut cleo, &mut dora);
    set_level(&mut ada, at, &cleo, None);
    meet_again(&mut ada, &mut dora);
    part(&mut ada, &mut dora);
    // Ben, who doesn't see the channel, announces Cleo's secret for one that he does see.
    let named = rotation(at.channel, 1, own.key_id(), Hash::default());
    let named = forger(&ben, revolt).write(ben.unix_ms() + 5, &named, None);
    meet_again(&mut dora, &mut ben);
    ben.slip(&mut dora, &pushed(revolt, vec![named]));
    let key_ids = vec![own.key_id()];
    ben.slip(&mut dora, &Frame::NeedKeys { revolt, key_ids });
    let mut frames = dora.frames_out().into_iter();
    let handed = frames.find_map(|frame| match frame {
        Frame::Keys { chunks, .. } => Some(chunks),
        _ => None,
    });
    assert_eq!(handed, Some(Vec::new()));
    // Whoever does see it still gets it.
    part(&mut dora, &mut ben);
    meet_again(&mut ada, &mut dora);
    assert_eq!(ada.texts(closed), ["hi", "for the closed ones"]);
}

#[test]
fn whoever_was_away_for_many_rotations_finds_the_others() {
    let (mut ada, mut ben, _, at) = three();
    for number in 0..40 {
        let mut guest = Home::new(10 + number);
        join(&mut ada, &mut guest, at);
        part(&mut ada, &mut guest);
        set_level(&mut ada, at, &guest, None);
    }
    ada.say(at, "where were you?");
    meet_again(&mut ada, &mut ben);
    assert_eq!(ben.texts(at), ["where were you?"]);
}

#[test]
fn nobody_asks_for_secrets_of_channels_that_they_do_not_see() {
    let (mut ada, _, mut cleo, at) = three();
    let closed = close(&mut ada, at.revolt, "closed");
    ada.say(closed, "not for all");
    let mut asked = Vec::new();
    for _ in 0..2 {
        greet(&mut ada, &mut cleo);
        talk_and(&mut ada, &mut cleo, |frames| {
            let keys = frames.iter().filter_map(|frame| match frame {
                Frame::NeedKeys { key_ids, .. } => Some(key_ids.clone()),
                _ => None,
            });
            asked.extend(keys.flatten());
        });
        ada.pass(25_000);
        cleo.pass(25_000);
        part(&mut ada, &mut cleo);
    }
    assert!(
        !cleo.stored(closed).is_empty(),
        "she keeps what she can't read"
    );
    assert_eq!(asked, []);
}
