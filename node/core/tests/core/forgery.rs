//! Envelopes of a member that somebody changed on the way: none is taken, whatever was changed.

use revnet_core::command::{ChannelEdit, Command, Place};
use revnet_core::{Input, Verdict};
use revnet_protocol::envelope::Envelope;
use revnet_protocol::frame::{Frame, Gossip};
use revnet_protocol::{DeviceKeys, EnvelopeId, Hash, KeyId, StreamId};

use crate::home::{Home, greet, join, part, stream, talk};

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn bytes(&mut self) -> [u8; 32] {
        let words = [0; 4].map(|_: u64| self.next().to_le_bytes());
        words.concat().try_into().expect("four words")
    }
}

/// What a member gossiped, and what it is changed with.
struct Stock {
    topic: String,
    /// Envelopes that the receiver has not heard of.
    fresh: Vec<Envelope>,
    /// Envelopes of the same author in another revolt.
    elsewhere: Vec<Envelope>,
    control: StreamId,
    mallory: DeviceKeys,
}

/// How many changed envelopes are tried.
fn attempts() -> u32 {
    let set = std::env::var("REVNET_FORGERIES").ok();
    set.and_then(|count| count.parse().ok()).unwrap_or(100_000)
}

fn write_some(home: &mut Home, at: Place) {
    for number in 0..6 {
        home.say(at, &format!("word {number}"));
        let edit = ChannelEdit {
            name: Some(format!("room {number}")),
            ..ChannelEdit::default()
        };
        home.ask(Command::CreateChannel {
            revolt: at.revolt,
            edit,
            private: false,
        });
    }
}

fn envelopes(home: &mut Home) -> Vec<(String, Envelope)> {
    let all = std::mem::take(&mut home.gossiped).into_iter();
    let envelopes = all.filter_map(|(topic, bytes)| match Gossip::decode(&bytes) {
        Ok(Gossip::Envelope(envelope)) => Some((topic, *envelope)),
        _ => None,
    });
    envelopes.collect()
}

/// Changes one field of a header.
fn change_header(dice: &mut Dice, envelope: &mut Envelope, stock: &Stock) {
    let header = &mut envelope.header;
    match dice.below(10) {
        0 => header.seq += 1 + dice.next() % 3,
        1 => header.seq = header.seq.saturating_sub(1).max(1),
        2 => header.prev = EnvelopeId(dice.bytes()),
        3 => header.seg = header.seg.wrapping_add(1),
        4 => header.seg_seq = header.seg_seq % 1024 + 1,
        5 => header.control_heads = Vec::new(),
        6 => header.key_id = KeyId(dice.bytes()),
        7 => header.nonce[dice.below(24)] ^= 1,
        8 => header.change_hash = Hash(dice.bytes()),
        _ => header.device = stock.mallory.id(),
    }
}

/// An envelope with something wrong, as it would be gossiped.
fn forge(dice: &mut Dice, stock: &Stock) -> Vec<u8> {
    let at = dice.below(stock.fresh.len());
    let mut envelope = stock.fresh[at].clone();
    let other = stock.fresh[dice.below(stock.fresh.len())].clone();
    let foreign = &stock.elsewhere[dice.below(stock.elsewhere.len())];
    match dice.below(10) {
        0 | 1 => {
            let mut bytes = Gossip::Envelope(Box::new(envelope)).encode();
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
            return bytes;
        }
        2 => {
            let mut bytes = Gossip::Envelope(Box::new(envelope)).encode();
            bytes.truncate(dice.below(bytes.len()));
            return bytes;
        }
        3 => change_header(dice, &mut envelope, stock),
        // Signed by somebody else in the author's name.
        4 => {
            let author = envelope.header.device;
            change_header(dice, &mut envelope, stock);
            envelope.header.device = author;
            envelope.signature = Some(stock.mallory.sign(&envelope.header.id().0));
        }
        // Signed by a stranger in the stranger's own name. To the control stream newcomers may write.
        5 if envelope.header.stream != stock.control => {
            envelope.header.device = stock.mallory.id();
            envelope.signature = Some(stock.mallory.sign(&envelope.header.id().0));
        }
        6 => envelope.change = other.change,
        7 => envelope.body = other.body,
        8 => envelope.signature = foreign.signature,
        9 => {
            let stream = envelope.header.stream;
            envelope = foreign.clone();
            envelope.header.stream = stream;
        }
        _ => envelope.signature = None,
    }
    Gossip::Envelope(Box::new(envelope)).encode()
}

#[test]
fn nothing_that_was_changed_on_the_way_is_taken() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    part(&mut ada, &mut ben);
    let elsewhere = ada.found();
    ada.gossiped.clear();
    write_some(&mut ada, elsewhere);
    let foreign = envelopes(&mut ada);
    // Alone with somebody who can't hear, words wait; acts don't.
    join(&mut ada, &mut ben, at);
    ada.gossiped.clear();
    write_some(&mut ada, at);
    let fresh = envelopes(&mut ada);
    part(&mut ada, &mut ben);
    let stock = Stock {
        topic: fresh[0].0.clone(),
        fresh: fresh.into_iter().map(|(_, envelope)| envelope).collect(),
        elsewhere: foreign.into_iter().map(|(_, envelope)| envelope).collect(),
        control: StreamId::control(&at.revolt),
        mallory: DeviceKeys::from_seed([77; 32]),
    };
    assert!(stock.fresh.len() >= 12 && stock.elsewhere.len() >= 6);
    let before = (ben.channels(at.revolt), ben.timeline(stream(at)));
    let genuine: Vec<Vec<u8>> = stock
        .fresh
        .iter()
        .map(|envelope| Gossip::Envelope(Box::new(envelope.clone())).encode())
        .collect();
    let mut dice = Dice(5);
    let mut refused = 0;
    for attempt in 0..attempts() {
        let bytes = forge(&mut dice, &stock);
        if genuine.contains(&bytes) {
            continue;
        }
        let verdict = ben.hear(&ada, &stock.topic, bytes);
        assert_ne!(
            verdict,
            Some(Verdict::Accept),
            "forgery {attempt} was taken"
        );
        let blamed = !std::mem::take(&mut ben.blamed).is_empty();
        assert_eq!(
            blamed,
            verdict == Some(Verdict::Reject),
            "forgery {attempt}"
        );
        // What many forgers do together costs each of them little.
        ben.pass(5);
        refused += 1;
    }
    assert!(refused * 10 > attempts() * 9, "most were forgeries");
    assert_eq!((ben.channels(at.revolt), ben.timeline(stream(at))), before);
    // What was changed is worth taking as it was.
    for bytes in genuine {
        assert_eq!(ben.hear(&ada, &stock.topic, bytes), Some(Verdict::Accept));
    }
    assert_eq!(ben.channels(at.revolt).len(), before.0.len() + 6);
    assert_eq!(ben.timeline(stream(at)).len(), before.1.len() + 6);
    assert_eq!(ben.blamed, []);
    let input = Input::LinkDown { peer: ada.device() };
    ben.input(input);
}

#[test]
fn what_is_not_authentic_makes_nobody_ask_around() {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    ada.gossiped.clear();
    ada.say(at, "a word");
    let (topic, genuine) = envelopes(&mut ada).remove(0);
    let stranger = DeviceKeys::from_seed([77; 32]);
    let mut of_stranger = genuine;
    of_stranger.header.device = stranger.id();
    let bytes = Gossip::Envelope(Box::new(of_stranger.clone())).encode();
    assert_eq!(ben.hear(&ada, &topic, bytes), Some(Verdict::Reject));
    assert_eq!(ben.frames_out(), []);
    assert_eq!(ben.blamed.len(), 1);
    ben.pass(301_000);
    greet(&mut ada, &mut ben);
    talk(&mut ada, &mut ben);
    ben.frames_out();
    // Whoever signed it may have come by acts that aren't here yet.
    of_stranger.signature = Some(stranger.sign(&of_stranger.header.id().0));
    let bytes = Gossip::Envelope(Box::new(of_stranger)).encode();
    assert_eq!(ben.hear(&ada, &topic, bytes), Some(Verdict::Ignore));
    assert!(matches!(ben.frames_out()[..], [Frame::Pull { .. }]));
}
