//! Writing: from a wish to a sealed, durable, gossiped envelope.
//!
//! Words wait in the outbox until a member was heard; number, time and seal are given at the first
//! transmission. Otherwise words written offline would go to people who were removed meanwhile.

use std::collections::BTreeMap;

use revnet_crdt::change::make_change;
use revnet_protocol::envelope::{Envelope, Place as ChainPlace, Run};
use revnet_protocol::frame::{Frame, Gossip};
use revnet_protocol::limits::SEGMENT_EVENTS;
use revnet_protocol::{
    Audience, Content, EpochSecret, Event, Hlc, Imported, MessageId, Permission, RevoltId,
    StreamId, decode, encode, hash,
};
use serde::{Deserialize, Serialize};

use crate::command::{CommandError, Notice, Place, Reply, Sent};
use crate::core::{Core, SHOW_AHEAD_MS, Waiting as Wait};
use crate::io::Effect;
use crate::mutant::{Mutant, is_active};
use crate::receive::index;
use crate::storage::{Space, Write};

/// Most events sealed in one batch.
const SEAL_BATCH: usize = 512;
/// Batches above this size are announced instead of gossiped one by one.
const GOSSIP_BATCH: usize = 16;
/// Most events that wait in all outboxes of a revolt.
const MAX_OUTBOX: usize = 1_000_000;
/// Events per segment by which honest authors choose theirs.
const SEGMENT_SIZE: u64 = 1024;

/// An event that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Words {
    Message {
        text: String,
        reply_to: Option<MessageId>,
        reply_to_nonce: Option<[u8; 32]>,
        imported: Option<Imported>,
    },
    Edit {
        target: MessageId,
        text: String,
    },
    Delete {
        target: MessageId,
    },
    React {
        target: MessageId,
        emoji: String,
        on: bool,
    },
}

impl Words {
    /// What it takes in the channel. Deletions of other people's messages take more.
    pub(crate) fn takes(&self) -> Permission {
        match self {
            Self::Message { .. } | Self::Edit { .. } => Permission::Send,
            Self::Delete { .. } => Permission::View,
            Self::React { .. } => Permission::React,
        }
    }
}

/// An event on its way, with the client's name for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) words: Words,
    pub(crate) nonce: Option<[u8; 32]>,
}

/// Wishes of one command, or a part of an outbox.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) command: Option<u64>,
    pub(crate) at: Place,
    pub(crate) stream: StreamId,
    pub(crate) items: Vec<Waiting>,
    /// Their numbers in the outbox, when they come from there.
    pub(crate) numbers: Vec<u64>,
    /// Answer with `Sent` and not just `Done`.
    pub(crate) tells: bool,
}

/// Sealed events whose batch is being made durable.
#[derive(Debug)]
pub(crate) struct SealJob {
    command: Option<u64>,
    reply: Option<Reply>,
    revolt: RevoltId,
    stream: StreamId,
    envelopes: Vec<Envelope>,
    sealed: Vec<(u64, MessageId)>,
    at: Option<Place>,
}

impl SealJob {
    pub(crate) fn command(&self) -> Option<u64> {
        self.command
    }
}

/// What the store remembers of a nonce.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Nonce {
    Sealed(MessageId),
    Pending(u64),
}

/// The store's name of a client's nonce.
pub(crate) fn nonce_hash(nonce: &str) -> [u8; 32] {
    hash::hash("revnet/v1/local/nonce", &[nonce.as_bytes()]).0
}

pub(crate) fn nonce_key(stream: &StreamId, nonce: &[u8; 32]) -> Vec<u8> {
    [stream.0, *nonce].concat()
}

pub(crate) fn outbox_key(stream: &StreamId, number: u64) -> Vec<u8> {
    [&stream.0[..], &number.to_be_bytes()].concat()
}

impl Core {
    /// Whether words may get their place now: a member was heard to the end, or there is nobody else, and there is
    /// a secret that only the right people hold.
    pub(crate) fn may_transmit(&mut self, at: &Place) -> bool {
        let now = self.unix_ms();
        let Some(revolt) = self.revolts.get(&at.revolt) else {
            return false;
        };
        let stream = StreamId::channel(&at.revolt, &at.channel);
        if !self.streams.contains_key(&stream) || !self.is_at_own_end(&stream) {
            return false;
        }
        let audience = revolt.authority.state().audience_of(&at.channel);
        let is_in = revolt.authority.state().is_in(&audience, &self.user());
        if !is_in || !revolt.has_device(&self.device()) {
            return false;
        }
        let deaf = !revolt.is_alone(&self.device()) && !self.is_synced(&at.revolt);
        if deaf && !is_active(Mutant::SealedUnheard) {
            return false;
        }
        // What announces the secret of a channel is sealed under that of the revolt.
        for due in revolt.due_rotations(&self.me.cert, now) {
            if due == Audience::Revolt || due == audience {
                self.rotate(at.revolt, due);
            }
        }
        let revolt = self.revolts.get(&at.revolt);
        revolt.is_some_and(|revolt| revolt.secret_for(&audience).is_some())
    }

    /// Keeps events for later.
    pub(crate) fn keep_all(&mut self, submission: Submission, known: &BTreeMap<[u8; 32], Nonce>) {
        let Submission {
            command,
            at,
            stream,
            items,
            tells,
            ..
        } = submission;
        let Some(revolt) = self.revolts.get_mut(&at.revolt) else {
            if let Some(command) = command {
                self.reply(command, Err(CommandError::NotFound("revolt")));
            }
            return;
        };
        if revolt.outbox_len() + items.len() > MAX_OUTBOX {
            if let Some(command) = command {
                self.reply(command, Err(CommandError::Busy));
            }
            return;
        }
        let (mut writes, mut sent) = (Vec::new(), Vec::new());
        let mut fresh: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        for item in items {
            let before = item.nonce.and_then(|nonce| {
                let here = fresh.get(&nonce).map(|number| Sent::Pending(*number));
                here.or_else(|| {
                    known.get(&nonce).map(|n| match n {
                        Nonce::Sealed(id) => Sent::Known(*id),
                        Nonce::Pending(number) => Sent::Pending(*number),
                    })
                })
            });
            if let Some(before) = before {
                sent.push(before);
                continue;
            }
            let number = revolt.next_outbox;
            revolt.next_outbox += 1;
            if let Some(nonce) = item.nonce {
                fresh.insert(nonce, number);
                let value = encode(&Nonce::Pending(number));
                writes.push(Self::put(Space::Nonce, nonce_key(&stream, &nonce), value));
            }
            let value = encode(&(at.revolt, at.channel, &item));
            writes.push(Self::put(Space::Outbox, outbox_key(&stream, number), value));
            revolt
                .outbox
                .entry(stream)
                .or_default()
                .push_back((number, item));
            sent.push(Sent::Pending(number));
        }
        let reply = if tells {
            Reply::Sent(sent)
        } else {
            Reply::Done
        };
        let then = command.map(|command| Wait::Reply {
            command,
            reply: Box::new(reply),
        });
        self.store(writes, then);
    }

    pub(crate) fn restore_outbox(&mut self, key: &[u8], value: &[u8]) {
        type Stored = (RevoltId, revnet_protocol::ChannelId, Waiting);
        let (Some((stream, number)), Ok((revolt, _, item))) = (
            key.split_first_chunk::<32>(),
            decode::<Stored>(value, 1 << 15),
        ) else {
            return;
        };
        let (Some(revolt), Ok(number)) = (self.revolts.get_mut(&revolt), number.try_into()) else {
            return;
        };
        let number = u64::from_be_bytes(number);
        revolt.next_outbox = revolt.next_outbox.max(number + 1);
        revolt
            .outbox
            .entry(StreamId(*stream))
            .or_default()
            .push_back((number, item));
    }

    /// Seals what waits, now that somebody can hear it.
    pub(crate) fn flush_outbox(&mut self, id: RevoltId) {
        // A rotation on the way is an act, after which this is called.
        if std::mem::replace(&mut self.is_flushing, true) {
            return;
        }
        self.flush(id);
        self.is_flushing = false;
    }

    fn flush(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let waiting = revolt.outbox.iter().filter(|(_, queue)| !queue.is_empty());
        let waiting: Vec<StreamId> = waiting.map(|(stream, _)| *stream).collect();
        let mut taken = Vec::new();
        for stream in waiting {
            let Some(channel) = self.streams.get(&stream).and_then(|s| s.channel) else {
                continue;
            };
            let at = Place {
                revolt: id,
                channel,
            };
            if !self.may_transmit(&at) {
                continue;
            }
            let revolt = self.revolts.get_mut(&id);
            let Some(queue) = revolt.and_then(|revolt| revolt.outbox.get_mut(&stream)) else {
                continue;
            };
            let mut parts = Vec::new();
            while !queue.is_empty() {
                let part: Vec<_> = queue.drain(..queue.len().min(SEAL_BATCH)).collect();
                let (numbers, items) = part.into_iter().unzip();
                parts.push(Submission {
                    command: None,
                    at,
                    stream,
                    items,
                    numbers,
                    tells: false,
                });
            }
            self.take_to_front(stream, parts);
            taken.push(stream);
        }
        for stream in taken {
            self.depart(stream);
        }
    }

    pub(crate) fn seal_all(
        &mut self,
        submission: Submission,
        mut known: BTreeMap<[u8; 32], Nonce>,
    ) {
        let from_outbox = submission.is_from_outbox();
        let Submission {
            command,
            at,
            stream,
            items,
            numbers,
            tells,
        } = submission;
        let revolt = &self.revolts[&at.revolt];
        let audience = revolt.authority.state().audience_of(&at.channel);
        let secret = revolt
            .secret_for(&audience)
            .expect("checked by may_transmit")
            .clone();
        let (mut writes, mut envelopes, mut sent, mut sealed) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at_item, item) in items.into_iter().enumerate() {
            let number = numbers.get(at_item).copied();
            let before = item.nonce.and_then(|nonce| known.get(&nonce).copied());
            match before {
                Some(Nonce::Sealed(id)) => {
                    sent.push(Sent::Known(id));
                    if let Some(number) = number {
                        writes.push(Write::Remove {
                            space: Space::Outbox,
                            key: outbox_key(&stream, number),
                        });
                    }
                    continue;
                }
                Some(Nonce::Pending(number)) if !from_outbox => {
                    sent.push(Sent::Pending(number));
                    continue;
                }
                _ => {}
            }
            let (event, content) = self.event(item.words, &known);
            let (id, envelope) = self.seal(
                at.revolt,
                stream,
                &secret,
                &event.encode(),
                content.as_deref(),
            );
            let seq = envelope.header.seq;
            writes.push(Write::Envelope {
                stream,
                device: self.device(),
                seq,
                bytes: envelope.encode(),
            });
            writes.push(index(stream, id, &event));
            if let Some(nonce) = item.nonce.filter(|_| !is_active(Mutant::NonceForgotten)) {
                known.insert(nonce, Nonce::Sealed(id));
                writes.push(Self::put(
                    Space::Nonce,
                    nonce_key(&stream, &nonce),
                    encode(&Nonce::Sealed(id)),
                ));
            }
            if let Some(number) = number {
                writes.push(Write::Remove {
                    space: Space::Outbox,
                    key: outbox_key(&stream, number),
                });
                sealed.push((number, id));
            }
            sent.push(Sent::Sealed(id));
            envelopes.push(envelope);
        }
        if !envelopes.is_empty() {
            writes.push(self.chain_write(stream, self.device()));
        }
        let reply = Some(if tells {
            Reply::Sent(sent)
        } else {
            Reply::Done
        });
        let job = SealJob {
            command,
            reply,
            revolt: at.revolt,
            stream,
            envelopes,
            sealed,
            at: Some(at),
        };
        self.store(writes, Some(Wait::Sealed(Box::new(job))));
    }

    fn event(
        &mut self,
        words: Words,
        known: &BTreeMap<[u8; 32], Nonce>,
    ) -> (Event, Option<Vec<u8>>) {
        match words {
            Words::Message {
                text,
                reply_to,
                reply_to_nonce,
                imported,
            } => {
                let by_nonce = reply_to_nonce.and_then(|nonce| match known.get(&nonce) {
                    Some(Nonce::Sealed(id)) => Some(*id),
                    _ => None,
                });
                let body = Content {
                    salt: self.random(),
                    text,
                    imported,
                }
                .encode();
                let event = Event::Message {
                    reply_to: reply_to.or(by_nonce),
                    body: Content::hash(&body),
                };
                (event, Some(body))
            }
            Words::Edit { target, text } => {
                let body = Content {
                    salt: self.random(),
                    text,
                    imported: None,
                }
                .encode();
                (
                    Event::Edit {
                        target,
                        body: Content::hash(&body),
                    },
                    Some(body),
                )
            }
            Words::Delete { target } => (Event::Delete { target }, None),
            Words::React { target, emoji, on } => (Event::React { target, emoji, on }, None),
        }
    }

    /// Gives an event its place in the own chain of a stream, and seals it.
    fn seal(
        &mut self,
        id: RevoltId,
        stream: StreamId,
        secret: &EpochSecret,
        value: &[u8],
        body: Option<&[u8]>,
    ) -> (MessageId, Envelope) {
        let device = self.device();
        let revolt = &self.revolts[&id];
        let control_heads = revolt.authority.heads();
        let floor = revolt.authority.newest_hlc();
        let events = self.streams[&stream].events();
        let chain = self.streams[&stream]
            .chains
            .get(&device)
            .cloned()
            .unwrap_or_default();
        let key_id = secret.key_id();
        let mut seg = u32::try_from(events / SEGMENT_SIZE)
            .unwrap_or(u32::MAX)
            .max(chain.seg);
        let full = chain.doc.is_some_and(|doc| doc.seg_seq >= SEGMENT_EVENTS);
        if chain.opened > 0 && seg == chain.seg && (full || chain.key_id != key_id) {
            seg += 1;
        }
        let previous = if chain.opened > 0 && chain.seg == seg {
            chain.doc
        } else {
            None
        };
        let hlc = self.next_hlc(chain.hlc.max(floor));
        let message = MessageId {
            hlc,
            device,
            seq: chain.tip + 1,
        };
        let (change, doc) = make_change(previous.as_ref(), &message, value);
        let place = ChainPlace {
            stream,
            seq: message.seq,
            prev: chain.tip_id,
            seg,
            seg_seq: doc.seg_seq,
            control_heads,
        };
        let authentic = Envelope::seal(place, &self.me.keys, secret, &change, body);
        let known = self.streams.get_mut(&stream);
        known
            .expect("looked up above")
            .seat(authentic.id(), device, message.seq);
        let chain = self.chain_mut(stream, device);
        chain.tip = message.seq;
        chain.tip_id = authentic.id();
        chain.opened = message.seq;
        chain.seg = seg;
        chain.doc = Some(doc);
        chain.hlc = hlc;
        chain.key_id = key_id;
        (message, authentic.into_envelope())
    }

    fn next_hlc(&mut self, floor: Hlc) -> Hlc {
        let now = self.unix_ms();
        // A clock that was far ahead for a while, or what was signed then, takes nothing else along.
        if is_far_ahead(self.last_hlc, now) {
            self.last_hlc = Hlc::ZERO;
        }
        let next = self.last_hlc.max(floor).next(now);
        if !is_far_ahead(next, now) {
            self.last_hlc = next;
        }
        next
    }

    /// Whether what this device writes to a stream would be read only later: its last words there are from a clock
    /// that was far ahead, and stamps rise along a chain.
    pub(crate) fn is_ahead(&self, stream: &StreamId) -> bool {
        let known = self.streams.get(stream);
        let own = known.and_then(|known| known.chains.get(&self.device()));
        own.is_some_and(|own| is_far_ahead(own.hlc, self.unix_ms()))
    }

    /// Writes an act of this device under `secret`, together with `writes`.
    pub(crate) fn author(
        &mut self,
        id: RevoltId,
        act: &revnet_protocol::Act,
        secret: &EpochSecret,
        writes: Vec<Write>,
    ) -> revnet_protocol::EnvelopeId {
        self.author_then(id, act, secret, writes, None)
    }

    /// Like [`Core::author`], and answers a command when it is durable.
    pub(crate) fn author_then(
        &mut self,
        id: RevoltId,
        act: &revnet_protocol::Act,
        secret: &EpochSecret,
        mut writes: Vec<Write>,
        answer: Option<(u64, Reply)>,
    ) -> revnet_protocol::EnvelopeId {
        let stream = self.revolts[&id].control;
        let (message, envelope) = self.seal(id, stream, secret, &act.encode(), None);
        let header = &envelope.header;
        let act_id = header.id();
        let record = revnet_crdt::authority::ActRecord {
            id: act_id,
            device: header.device,
            seq: header.seq,
            prev: header.prev,
            heads: header.control_heads.clone(),
            hlc: message.hlc,
            key_id: header.key_id,
            act: act.clone(),
        };
        writes.push(Write::Envelope {
            stream,
            device: header.device,
            seq: header.seq,
            bytes: envelope.encode(),
        });
        writes.push(Write::Index {
            stream,
            id: message,
            kind: crate::storage::RowKind::Message,
            target: None,
        });
        writes.push(self.chain_write(stream, self.device()));
        self.revolts
            .get_mut(&id)
            .expect("callers looked the revolt up")
            .authority
            .insert(record);
        let (command, reply) = answer.map_or((None, None), |(command, reply)| {
            (Some(command), Some(reply))
        });
        let job = SealJob {
            command,
            reply,
            revolt: id,
            stream,
            envelopes: vec![envelope],
            sealed: Vec::new(),
            at: None,
        };
        self.store(writes, Some(Wait::Sealed(Box::new(job))));
        self.control_changed(id);
        act_id
    }

    /// A batch of own envelopes is durable: now others may have it.
    pub(crate) fn sealed(&mut self, job: SealJob) {
        let SealJob {
            command,
            reply,
            revolt,
            stream,
            envelopes,
            sealed,
            at,
        } = job;
        if let (Some(command), Some(reply)) = (command, reply) {
            self.reply(command, Ok(reply));
        }
        if let Some(at) = at {
            for (number, message) in sealed {
                self.notice(Notice::Sealed {
                    at,
                    number,
                    message,
                });
            }
        }
        if !self.revolts.contains_key(&revolt) {
            return;
        }
        if self.revolts[&revolt].control == stream {
            self.push(revolt, &envelopes);
        }
        self.spread(revolt, stream, envelopes, at);
        self.forget_if_left(revolt);
    }

    /// Gossips own envelopes, or where they are many, that there are more.
    fn spread(
        &mut self,
        revolt: RevoltId,
        stream: StreamId,
        envelopes: Vec<Envelope>,
        at: Option<Place>,
    ) {
        let Some(topic) = self.topic_of(&revolt) else {
            return;
        };
        if envelopes.len() > GOSSIP_BATCH {
            let seq = envelopes.last().map_or(0, |e| e.header.seq);
            let bytes = Gossip::Advance(vec![(stream, self.device(), seq)]).encode();
            self.effect(Effect::Gossip { topic, bytes });
            if let Some(at) = at {
                self.notice(Notice::ChannelGrew { at });
            }
            return;
        }
        for envelope in envelopes {
            self.announce_own(revolt, stream, &envelope);
            let bytes = Gossip::Envelope(Box::new(envelope)).encode();
            self.effect(Effect::Gossip {
                topic: topic.clone(),
                bytes,
            });
        }
    }

    /// Control acts also go straight to linked members: what follows is judged by them, and a newcomer is
    /// not on any topic yet.
    fn push(&mut self, revolt: RevoltId, envelopes: &[Envelope]) {
        let Ok(run) = Run::pack(envelopes.to_vec()) else {
            return;
        };
        let mut peers = self.peers_of(&revolt);
        peers.retain(|peer| self.may_read(peer, &revolt).is_ok());
        for peer in peers {
            self.send(
                peer,
                &Frame::Runs {
                    revolt,
                    runs: vec![run.clone()],
                },
            );
        }
    }

    fn announce_own(&mut self, revolt: RevoltId, stream: StreamId, envelope: &Envelope) {
        let Some(secret) = self.revolts[&revolt].secrets.get(&envelope.header.key_id) else {
            return;
        };
        let Some((id, event)) = crate::query::read_event(envelope, secret) else {
            return;
        };
        self.announce_event(stream, id, &event, envelope);
    }
}

/// Whether something is from so far ahead that nobody shows it yet.
fn is_far_ahead(hlc: Hlc, now_ms: u64) -> bool {
    hlc.ms > now_ms.saturating_add(SHOW_AHEAD_MS)
}
