//! Somebody who signs with a member's keys what the member's program would not.

use revnet_core::storage::{Answer, Boot, Query, Space, Storage as _};
use revnet_crdt::change::{DocTip, Expected, check_change, make_change};
use revnet_protocol::envelope::{Envelope, Place, Run};
use revnet_protocol::frame::Frame;
use revnet_protocol::{
    Content, DeviceId, DeviceKeys, EnvelopeId, EpochSecret, Event, Hlc, MessageId, RevoltId,
    StreamId,
};

use crate::home::Home;

/// A place in a chain, and what it takes to go on from there.
#[derive(Clone)]
pub(crate) struct Forger {
    keys: DeviceKeys,
    secret: EpochSecret,
    stream: StreamId,
    seq: u64,
    prev: EnvelopeId,
    seg: u32,
    doc: Option<DocTip>,
    pub(crate) hlc: Hlc,
    pub(crate) heads: Vec<EnvelopeId>,
}

impl Forger {
    /// At the end of `home`'s own chain in a stream.
    pub(crate) fn of(home: &Home, revolt: RevoltId, stream: StreamId) -> Self {
        let boot = Boot::read(&home.storage).expect("memory reads");
        let secrets = boot
            .records
            .iter()
            .filter(|((space, key), _)| *space == Space::Secret && key.starts_with(&revolt.0));
        let secret = secrets
            .map(|(_, value)| EpochSecret::new(value.as_slice().try_into().expect("32 bytes")))
            .next()
            .expect("a member has a secret");
        let mut forger = Self::stranger(home.identity.keys.clone(), secret, stream);
        let query = Query::Ranges {
            ranges: vec![(stream, home.device(), 1)],
            max_bytes: usize::MAX,
        };
        let Ok(Answer::Envelopes { envelopes, .. }) = home.storage.query(&query) else {
            panic!("envelopes")
        };
        for bytes in envelopes {
            forger.follow(&Envelope::decode(&bytes).expect("stored"));
        }
        forger
    }

    /// Somebody whom nobody has let in, at the beginning of a chain under a secret of their own.
    pub(crate) fn stranger(keys: DeviceKeys, secret: EpochSecret, stream: StreamId) -> Self {
        Self {
            keys,
            secret,
            stream,
            seq: 0,
            prev: EnvelopeId::default(),
            seg: 0,
            doc: None,
            hlc: Hlc::ZERO,
            heads: Vec::new(),
        }
    }

    /// Whose chain it is.
    pub(crate) fn device(&self) -> DeviceId {
        self.keys.id()
    }

    /// The secret that it writes under.
    pub(crate) fn secret(&self) -> &EpochSecret {
        &self.secret
    }

    /// Writes under another secret from here on.
    pub(crate) fn under(mut self, secret: &EpochSecret) -> Self {
        self.secret = secret.clone();
        self
    }

    /// Cites these acts from here on, and stamps not before `ms`.
    pub(crate) fn citing(mut self, heads: Vec<EnvelopeId>, ms: u64) -> Self {
        self.heads = heads;
        self.hlc.ms = self.hlc.ms.max(ms);
        self
    }

    /// Goes on in the next segment.
    pub(crate) fn next_segment(&mut self) {
        self.seg += 1;
        self.doc = None;
    }

    fn follow(&mut self, envelope: &Envelope) {
        let header = &envelope.header;
        let change = envelope.open_change(&self.secret).expect("its own");
        let expected = Expected {
            device: &header.device,
            seq: header.seq,
            seg_seq: header.seg_seq,
        };
        let checked = check_change(&change, &expected).expect("its own");
        self.seq = header.seq;
        self.prev = header.id();
        self.seg = header.seg;
        self.doc = Some(checked.tip);
        self.hlc = checked.id.hlc;
        self.heads.clone_from(&header.control_heads);
    }

    /// Signs an encoded act or event at a time, as the next of the chain.
    pub(crate) fn write(&mut self, ms: u64, value: &[u8], body: Option<&[u8]>) -> Envelope {
        let id = MessageId {
            hlc: Hlc { ms, counter: 0 },
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
    pub(crate) fn say(&mut self, ms: u64, text: &str) -> Envelope {
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

/// A frame with these envelopes.
pub(crate) fn pushed(revolt: RevoltId, envelopes: Vec<Envelope>) -> Frame {
    let runs = vec![Run::pack(envelopes).expect("one chain")];
    Frame::Runs { revolt, runs }
}
