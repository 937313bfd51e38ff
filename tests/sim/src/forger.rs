//! Somebody who signs with a member's keys what the member's program would not.

use revnet_core::storage::{Answer, Query, Space};
use revnet_crdt::change::{DocTip, Expected, check_change, make_change};
use revnet_protocol::envelope::{Envelope, Place};
use revnet_protocol::{
    Content, DeviceId, DeviceKeys, EnvelopeId, EpochSecret, Event, Hlc, KeyId, MessageId, RevoltId,
    StreamId,
};

use crate::disk::Disk;

/// A place in a chain, and what it takes to go on from there.
#[derive(Clone, Debug)]
pub struct Forger {
    keys: DeviceKeys,
    secret: EpochSecret,
    stream: StreamId,
    seq: u64,
    prev: EnvelopeId,
    seg: u32,
    doc: Option<DocTip>,
    /// The time of the last one.
    pub hlc: Hlc,
    /// What the next one cites.
    pub heads: Vec<EnvelopeId>,
}

impl Forger {
    /// After the envelope `back` numbers before the end of a device's own chain, by what its disk holds. None
    /// without a secret of the revolt.
    #[must_use]
    pub fn at(
        keys: &DeviceKeys,
        disk: &Disk,
        revolt: RevoltId,
        stream: StreamId,
        back: usize,
    ) -> Option<Self> {
        let mut chain = chain(disk, stream, keys.id());
        chain.truncate(chain.len().saturating_sub(back));
        let acts = chain_of_acts(disk, revolt);
        // Acts are sealed with secrets of the whole revolt.
        let mut names = acts.iter().rev().map(|act| act.header.key_id);
        let secret = names.find_map(|name| secret(disk, revolt, name))?;
        let own = acts.iter().filter(|act| act.header.device == keys.id());
        let mut forger = Self {
            keys: keys.clone(),
            secret,
            stream,
            seq: 0,
            prev: EnvelopeId::default(),
            seg: 0,
            doc: None,
            hlc: Hlc::ZERO,
            heads: own.map(|act| act.header.id()).take(1).collect(),
        };
        for envelope in &chain {
            let secret = secret_of(disk, revolt, envelope)?;
            forger.follow(envelope, &secret)?;
        }
        Some(forger)
    }

    fn follow(&mut self, envelope: &Envelope, secret: &EpochSecret) -> Option<()> {
        let header = &envelope.header;
        let expected = Expected {
            device: &header.device,
            seq: header.seq,
            seg_seq: header.seg_seq,
        };
        let change = envelope.open_change(secret).ok()?;
        let checked = check_change(&change, &expected).ok()?;
        self.seq = header.seq;
        self.prev = header.id();
        self.seg = header.seg;
        self.doc = Some(checked.tip);
        self.hlc = checked.id.hlc;
        self.heads.clone_from(&header.control_heads);
        Some(())
    }

    /// Signs an encoded act or event at a time, as the next of the chain.
    pub fn write(&mut self, ms: u64, value: &[u8], body: Option<&[u8]>) -> Envelope {
        let id = MessageId {
            hlc: Hlc { ms, counter: 7 },
            device: self.keys.id(),
            seq: self.seq + 1,
        };
        let (change, doc) = make_change(self.doc.as_ref(), &id, value);
        let place = Place {
            stream: self.stream,
            seq: id.seq,
            prev: self.prev,
            seg: self.seg,
            seg_seq: doc.seg_seq,
            control_heads: self.heads.clone(),
        };
        let authentic = Envelope::seal(place, &self.keys, &self.secret, &change, body);
        self.seq = id.seq;
        self.prev = authentic.id();
        self.doc = Some(doc);
        self.hlc = id.hlc;
        authentic.into_envelope()
    }

    /// Signs a message.
    pub fn say(&mut self, ms: u64, text: &str) -> Envelope {
        let body = Content {
            salt: [7; 16],
            text: text.to_owned(),
            imported: None,
        }
        .encode();
        let event = Event::Message {
            reply_to: None,
            body: Content::hash(&body),
        };
        self.write(ms, &event.encode(), Some(&body))
    }
}

fn chain(disk: &Disk, stream: StreamId, device: DeviceId) -> Vec<Envelope> {
    let query = Query::Ranges {
        ranges: vec![(stream, device, 1)],
        max_bytes: usize::MAX,
    };
    let Answer::Envelopes { envelopes, .. } = disk.query(&query) else {
        return Vec::new();
    };
    let read = envelopes.iter().map(|bytes| Envelope::decode(bytes));
    read.filter_map(Result::ok).collect()
}

fn chain_of_acts(disk: &Disk, revolt: RevoltId) -> Vec<Envelope> {
    let acts = disk.boot().control;
    let acts = acts.iter().map(|bytes| Envelope::decode(bytes));
    let control = StreamId::control(&revolt);
    let acts = acts.filter_map(Result::ok);
    acts.filter(|act| act.header.stream == control).collect()
}

fn secret_of(disk: &Disk, revolt: RevoltId, envelope: &Envelope) -> Option<EpochSecret> {
    secret(disk, revolt, envelope.header.key_id)
}

fn secret(disk: &Disk, revolt: RevoltId, name: KeyId) -> Option<EpochSecret> {
    let query = Query::Get {
        space: Space::Secret,
        key: [revolt.0, name.0].concat(),
    };
    match disk.query(&query) {
        Answer::Value(Some(bytes)) => Some(EpochSecret::new(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// All acts that a disk holds of a revolt, for who wants to cite any.
#[must_use]
pub fn acts(disk: &Disk, revolt: RevoltId) -> Vec<EnvelopeId> {
    let acts = chain_of_acts(disk, revolt);
    acts.iter().map(|act| act.header.id()).collect()
}
