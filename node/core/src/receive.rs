//! Taking envelopes in: authentic first, then into their chain, then opened, checked and indexed.

use std::collections::BTreeSet;

use revnet_crdt::authority::ActRecord;
use revnet_crdt::change::{Expected, check_change};
use revnet_protocol::envelope::{Authentic, Envelope, Run};
use revnet_protocol::frame::Gossip;
use revnet_protocol::{
    Act, Audience, DeviceId, EnvelopeId, Event, KeyId, MessageId, RevoltId, StreamId, encode,
};

use crate::chain::{Chain, Waiting as ChainWaiting};
use crate::command::{Notice, Place};
use crate::core::{ACKNOWLEDGE_AFTER, ADOPT_AHEAD_MS, Core, SHOW_AHEAD_MS, Timer, Waiting};
use crate::io::{Effect, Verdict};
use crate::mutant::{Mutant, is_active};
use crate::storage::{Query, RowKind, Space, Write};

/// How many stored bytes are read again at once when a chain becomes readable.
const REOPEN_BYTES: usize = 1024 * 1024;
/// More new messages than this in one answer are announced as growth, not one by one.
const ANNOUNCE: usize = 16;

/// Where the name of the store is, when it isn't the one that it was made with.
pub(crate) const STORE_ID: &[u8] = b"store";

/// What became of an envelope that was offered to its chain.
enum Placed {
    /// It is the next of its chain.
    New,
    /// It is here already.
    Known,
    /// Others between are missing.
    Gap,
    /// The author signed another envelope for the same place.
    Fork(u64),
}

/// What opening gave, gathered over a batch.
#[derive(Default)]
struct Gathered {
    writes: Vec<Write>,
    touched: BTreeSet<(StreamId, DeviceId)>,
    acts: bool,
    events: Vec<(StreamId, MessageId, Event, Envelope)>,
}

impl Core {
    /// Runs from a peer, asked for or pushed.
    pub(crate) fn runs(&mut self, peer: DeviceId, revolt: RevoltId, runs: Vec<Run>) {
        let allowed = self
            .links
            .get(&peer)
            .is_some_and(|link| link.proved.contains(&revolt));
        if !allowed || !self.revolts.contains_key(&revolt) {
            return;
        }
        let mut gathered = Gathered::default();
        for run in runs {
            let stream = run.stream;
            if !self.may_write(&revolt, &stream, &run.device) {
                // Perhaps the act that makes the channel or admits the author isn't readable yet.
                self.note_dropped(peer, revolt);
                continue;
            }
            let Ok(envelopes) = run.open() else {
                self.finish(revolt, gathered);
                return self.blame(peer, "sent a run that isn't authentic");
            };
            for authentic in envelopes {
                match self.place(stream, &authentic) {
                    Placed::New => self.take(revolt, stream, authentic, &mut gathered),
                    Placed::Known => {}
                    Placed::Gap => {
                        self.note_dropped(peer, revolt);
                        break;
                    }
                    Placed::Fork(seq) => {
                        self.forked(stream, authentic.header().device, seq, &mut gathered);
                        break;
                    }
                }
            }
        }
        self.finish(revolt, gathered);
        self.ask_for_keys(peer, revolt);
    }

    pub(crate) fn note_dropped(&mut self, peer: DeviceId, revolt: RevoltId) {
        if is_active(Mutant::DroppedForgotten) {
            return;
        }
        if let Some(pull) = self
            .links
            .get_mut(&peer)
            .and_then(|link| link.pulls.get_mut(&revolt))
        {
            pull.dropped = true;
        }
    }

    /// Whether envelopes of a device are kept at all: in channels, those of devices that were ever
    /// members'; in the control stream everybody's, because joining starts there.
    fn may_write(&self, revolt: &RevoltId, stream: &StreamId, device: &DeviceId) -> bool {
        let (Some(known), Some(revolt)) = (self.streams.get(stream), self.revolts.get(revolt))
        else {
            return false;
        };
        known.revolt == revolt.id
            && (known.channel.is_none() || revolt.authority.state().user_of(device).is_some())
    }

    fn place(&self, stream: StreamId, authentic: &Authentic) -> Placed {
        let header = authentic.header();
        let none = Chain::default();
        let chain = self.streams[&stream]
            .chains
            .get(&header.device)
            .unwrap_or(&none);
        if chain.forked.is_some_and(|from| header.seq >= from) {
            return Placed::Known;
        }
        if header.seq == chain.tip + 1 {
            return if header.prev == chain.tip_id {
                Placed::New
            } else {
                Placed::Fork(chain.tip.max(1))
            };
        }
        if header.seq == chain.tip && authentic.id() != chain.tip_id {
            return Placed::Fork(header.seq);
        }
        if header.seq <= chain.tip {
            Placed::Known
        } else if is_active(Mutant::GapTaken) {
            Placed::New
        } else {
            Placed::Gap
        }
    }

    /// Appends an envelope to its chain, and opens it if nothing before it waits.
    fn take(
        &mut self,
        revolt: RevoltId,
        stream: StreamId,
        authentic: Authentic,
        gathered: &mut Gathered,
    ) {
        let header = authentic.header();
        let (device, seq, id) = (header.device, header.seq, authentic.id());
        let envelope = authentic.into_envelope();
        gathered.writes.push(Write::Envelope {
            stream,
            device,
            seq,
            bytes: envelope.encode(),
        });
        gathered.touched.insert((stream, device));
        if device == self.device() {
            // The store is an old copy. Positions in its log of arrivals stand for something else at the peers.
            self.store_id = self.random();
            let id = self.store_id.to_vec();
            gathered
                .writes
                .push(Self::put(Space::Local, STORE_ID.to_vec(), id));
        }
        let chain = self.chain_mut(stream, device);
        chain.tip = seq;
        chain.tip_id = id;
        if chain.opened + 1 == seq {
            self.open(revolt, stream, id, envelope, gathered);
        }
    }

    pub(crate) fn chain_mut(&mut self, stream: StreamId, device: DeviceId) -> &mut Chain {
        self.streams
            .get_mut(&stream)
            .expect("callers looked the stream up")
            .chain_mut(device)
    }

    /// Reads the next envelope of a chain. If its key or a control act is missing, the chain waits.
    fn open(
        &mut self,
        id: RevoltId,
        stream: StreamId,
        envelope_id: EnvelopeId,
        envelope: Envelope,
        gathered: &mut Gathered,
    ) {
        let header = &envelope.header;
        let (device, seq) = (header.device, header.seq);
        let revolt = &self.revolts[&id];
        let is_control = self.streams[&stream].channel.is_none();
        let unchecked = is_control || is_active(Mutant::HeadsUnchecked);
        let mut heads = header.control_heads.iter();
        let unknown = heads.find(|head| !unchecked && !revolt.authority.contains(head));
        let waiting = match revolt.secrets.get(&header.key_id) {
            None => Some(ChainWaiting::Key(header.key_id)),
            Some(_) => unknown.map(|head| ChainWaiting::Head(*head)),
        };
        if let Some(waiting) = waiting {
            self.chain_mut(stream, device).waiting = Some(waiting);
            return;
        }
        let secret = &revolt.secrets[&header.key_id];
        let chain = self.streams[&stream]
            .chains
            .get(&device)
            .cloned()
            .unwrap_or_default();
        let checked = envelope
            .open_change(secret)
            .ok()
            .and_then(|change| {
                let expected = Expected {
                    device: &device,
                    seq,
                    seg_seq: header.seg_seq,
                };
                check_change(&change, &expected).ok()
            })
            .filter(|checked| {
                let same_segment = chain.opened > 0 && chain.seg == header.seg;
                let previous = if same_segment {
                    chain.doc.as_ref()
                } else {
                    None
                };
                let forward = chain.opened == 0 || header.seg >= chain.seg;
                // In the control stream cited acts may come later; there the reducer compares the stamps.
                let cited = header
                    .control_heads
                    .iter()
                    .filter(|_| !is_control)
                    .filter_map(|head| revolt.authority.hlc_of(head))
                    .max();
                forward
                    && checked.follows(previous)
                    && checked.id.hlc > chain.hlc
                    && cited.is_none_or(|cited| checked.id.hlc > cited)
            });
        // Whoever writes after an act stamps later than it does. One from far ahead would take the words of all
        // others along, to a time at which nobody shows them yet; so it waits for its time.
        let ahead = checked.as_ref().map_or(0, |checked| checked.id.hlc.ms);
        if is_control && ahead > self.unix_ms() + SHOW_AHEAD_MS {
            self.chain_mut(stream, device).waiting = Some(ChainWaiting::Time(ahead));
            return;
        }
        let (seg, key_id, heads, prev) = (
            header.seg,
            header.key_id,
            header.control_heads.clone(),
            header.prev,
        );
        let chain = self.chain_mut(stream, device);
        chain.opened = seq;
        chain.waiting = None;
        chain.key_id = key_id;
        let Some(checked) = checked else {
            chain.broken.get_or_insert(seq);
            return;
        };
        chain.seg = seg;
        chain.doc = Some(checked.tip);
        chain.hlc = checked.id.hlc;
        if !chain.counts(seq) {
            return;
        }
        self.adopt(checked.id);
        if is_control {
            if let Some(act) = act_of(&checked.value, &key_id) {
                let record = ActRecord {
                    id: envelope_id,
                    device,
                    seq,
                    prev,
                    heads,
                    hlc: checked.id.hlc,
                    key_id,
                    act,
                };
                self.revolts
                    .get_mut(&id)
                    .expect("looked up above")
                    .authority
                    .insert(record);
                gathered.acts = true;
            }
            gathered.writes.push(Write::Index {
                stream,
                id: checked.id,
                kind: RowKind::Message,
                target: None,
            });
        } else if let Ok(event) = Event::decode(&checked.value) {
            gathered.writes.push(index(stream, checked.id, &event));
            gathered.events.push((stream, checked.id, event, envelope));
        }
    }

    /// Moves the own clock along with what others wrote, unless theirs is far ahead.
    fn adopt(&mut self, id: MessageId) {
        if id.hlc.ms <= self.unix_ms() + ADOPT_AHEAD_MS {
            self.last_hlc = self.last_hlc.max(id.hlc);
        }
    }

    /// The author signed two histories: from here on nothing of the chain counts in a channel.
    fn forked(&mut self, stream: StreamId, device: DeviceId, seq: u64, gathered: &mut Gathered) {
        let is_control = self.streams[&stream].channel.is_none();
        let chain = self.chain_mut(stream, device);
        chain.forked = Some(chain.forked.map_or(seq, |have| have.min(seq)));
        gathered.touched.insert((stream, device));
        if !is_control {
            gathered.writes.push(Write::Unindex {
                stream,
                device,
                from: seq,
            });
        }
    }

    /// Stores a batch and does what follows from it.
    fn finish(&mut self, revolt: RevoltId, gathered: Gathered) {
        let Gathered {
            mut writes,
            touched,
            acts,
            events,
        } = gathered;
        if touched.is_empty() {
            return;
        }
        for (stream, device) in &touched {
            writes.push(self.chain_write(*stream, *device));
        }
        self.store(
            writes,
            Some(Waiting::Received {
                chains: touched
                    .into_iter()
                    .map(|(stream, device)| {
                        let chain = &self.streams[&stream].chains[&device];
                        (stream, device, chain.tip, chain.tip_id)
                    })
                    .collect(),
            }),
        );
        self.announce(revolt, &events);
        if acts {
            self.control_changed(revolt);
        }
    }

    pub(crate) fn chain_write(&self, stream: StreamId, device: DeviceId) -> Write {
        let state = encode(&self.streams[&stream].chains[&device]);
        Write::Chain {
            stream,
            device,
            state,
        }
    }

    fn announce(&mut self, revolt: RevoltId, events: &[(StreamId, MessageId, Event, Envelope)]) {
        if events.len() > ANNOUNCE {
            let streams: BTreeSet<_> = events.iter().map(|(stream, ..)| *stream).collect();
            for stream in streams {
                if let Some(channel) = self.streams[&stream].channel {
                    self.notice(Notice::ChannelGrew {
                        at: Place { revolt, channel },
                    });
                }
            }
            return;
        }
        for (stream, id, event, envelope) in events {
            self.announce_event(*stream, *id, event, envelope);
        }
    }

    /// Tells listeners about one event that was just indexed.
    pub(crate) fn announce_event(
        &mut self,
        stream: StreamId,
        id: MessageId,
        event: &Event,
        envelope: &Envelope,
    ) {
        let (revolt, Some(channel)) = (self.streams[&stream].revolt, self.streams[&stream].channel)
        else {
            return;
        };
        if let Some(target) = event.target() {
            self.load(
                Query::Message { stream, id: target },
                Waiting::Changed { stream },
            );
        } else if let Some(message) = self.view_of_new(revolt, &id, event, envelope) {
            let at = Place { revolt, channel };
            self.notice(Notice::Message {
                at,
                message: Box::new(message),
            });
        }
    }

    /// Reads chains of a revolt on whose keys, acts or time have come meanwhile. All of them at once: each batch
    /// with acts in it costs a replay of the whole control graph.
    pub(crate) fn reopen(&mut self, id: RevoltId) {
        let now = self.unix_ms();
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        if revolt.reopening {
            return;
        }
        let ready = |chain: &Chain| match chain.waiting {
            Some(ChainWaiting::Key(key)) => revolt.secrets.contains_key(&key),
            Some(ChainWaiting::Head(head)) => revolt.authority.contains(&head),
            Some(ChainWaiting::Time(ms)) => ms <= now + SHOW_AHEAD_MS,
            None => true,
        };
        let mut ranges = Vec::new();
        for (stream_id, stream) in self.streams.iter().filter(|(_, s)| s.revolt == id) {
            for (device, chain) in &stream.chains {
                if chain.opened < chain.tip && ready(chain) {
                    ranges.push((*stream_id, *device, chain.opened + 1));
                }
            }
        }
        if ranges.is_empty() {
            return;
        }
        revolt.reopening = true;
        self.control_first(&mut ranges);
        let query = Query::Ranges {
            ranges,
            max_bytes: REOPEN_BYTES,
        };
        self.load(query, Waiting::Reopen { revolt: id });
    }

    pub(crate) fn reopen_loaded(&mut self, id: RevoltId, envelopes: Vec<Vec<u8>>) {
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        revolt.reopening = false;
        let mut gathered = Gathered::default();
        for bytes in envelopes {
            let Ok(envelope) = Envelope::decode(&bytes) else {
                continue;
            };
            let (stream, device) = (envelope.header.stream, envelope.header.device);
            let chain = self
                .streams
                .get(&stream)
                .and_then(|s| s.chains.get(&device));
            if chain.is_some_and(|chain| envelope.header.seq == chain.opened + 1) {
                let envelope_id = envelope.header.id();
                self.open(id, stream, envelope_id, envelope, &mut gathered);
                gathered.touched.insert((stream, device));
            }
        }
        let progressed = !gathered.touched.is_empty();
        self.finish(id, gathered);
        if progressed {
            self.reopen(id);
        }
    }

    /// An act from the own store, at the start.
    pub(crate) fn restore_act(&mut self, bytes: &[u8]) {
        let Ok(envelope) = Envelope::decode(bytes) else {
            return;
        };
        let header = &envelope.header;
        let (stream, device, seq) = (header.stream, header.device, header.seq);
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let revolt = known.revolt;
        let readable = known
            .chains
            .get(&device)
            .is_some_and(|chain| seq <= chain.opened && chain.counts(seq));
        let Some(secret) = self.revolts[&revolt]
            .secrets
            .get(&header.key_id)
            .filter(|_| readable)
        else {
            return;
        };
        let Ok(change) = envelope.open_change(secret) else {
            return;
        };
        let expected = Expected {
            device: &device,
            seq,
            seg_seq: header.seg_seq,
        };
        let Ok(checked) = check_change(&change, &expected) else {
            return;
        };
        let Some(act) = act_of(&checked.value, &header.key_id) else {
            return;
        };
        let record = ActRecord {
            id: header.id(),
            device,
            seq,
            prev: header.prev,
            heads: header.control_heads.clone(),
            hlc: checked.id.hlc,
            key_id: header.key_id,
            act,
        };
        self.adopt(checked.id);
        self.revolts
            .get_mut(&revolt)
            .expect("looked up above")
            .authority
            .insert(record);
    }

    pub(crate) fn gossip(&mut self, peer: DeviceId, topic: &str, bytes: &[u8], token: u64) {
        let verdict = match (self.topics.get(topic).copied(), Gossip::decode(bytes)) {
            (None, _) => Verdict::Ignore,
            (Some(_), Err(_)) => Verdict::Reject,
            (Some(revolt), Ok(Gossip::Envelope(envelope))) => {
                self.gossiped(peer, revolt, *envelope)
            }
            (Some(revolt), Ok(Gossip::Advance(chains))) => self.advanced(peer, revolt, &chains),
        };
        self.effect(Effect::Verdict { token, verdict });
    }

    fn gossiped(&mut self, peer: DeviceId, revolt: RevoltId, envelope: Envelope) -> Verdict {
        let (stream, device) = (envelope.header.stream, envelope.header.device);
        if !self.may_write(&revolt, &stream, &device) {
            self.pull_soon(peer, revolt);
            return Verdict::Ignore;
        }
        let Ok(authentic) = envelope.verify() else {
            return Verdict::Reject;
        };
        let mut gathered = Gathered::default();
        match self.place(stream, &authentic) {
            Placed::New => self.take(revolt, stream, authentic, &mut gathered),
            Placed::Known => return Verdict::Ignore,
            Placed::Gap => {
                self.pull_soon(peer, revolt);
                return Verdict::Accept;
            }
            Placed::Fork(seq) => self.forked(stream, device, seq, &mut gathered),
        }
        self.finish(revolt, gathered);
        self.ask_for_keys(peer, revolt);
        Verdict::Accept
    }

    fn advanced(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        chains: &[(StreamId, DeviceId, u64)],
    ) -> Verdict {
        let behind = chains.iter().any(|(stream, device, seq)| {
            self.streams
                .get(stream)
                .is_none_or(|s| s.chains.get(device).is_none_or(|chain| chain.tip < *seq))
        });
        if !behind {
            return Verdict::Ignore;
        }
        self.pull_soon(peer, revolt);
        Verdict::Accept
    }

    /// Pulls from whoever showed that there is more, or, if that peer isn't linked, from everybody.
    fn pull_soon(&mut self, peer: DeviceId, revolt: RevoltId) {
        if self
            .links
            .get(&peer)
            .is_some_and(|link| link.proved.contains(&revolt))
        {
            self.start_pull(peer, revolt);
        } else {
            self.pull_from_all(revolt);
        }
    }

    pub(crate) fn received_durably(&mut self, chains: Vec<(StreamId, DeviceId, u64, EnvelopeId)>) {
        let me = self.device();
        for (stream, device, seq, id) in chains.into_iter().filter(|(_, device, ..)| *device != me)
        {
            let known = self
                .streams
                .get_mut(&stream)
                .and_then(|s| s.chains.get_mut(&device));
            if let Some(chain) = known {
                chain.durable = (seq, id);
                self.unacknowledged.insert((stream, device));
            }
        }
        if !self.unacknowledged.is_empty() && !self.is_armed(Timer::Acknowledge) {
            self.arm(Timer::Acknowledge, ACKNOWLEDGE_AFTER);
        }
    }
}

/// An act as it counts. A rotation is written under the secret that it announces, so that nobody can
/// announce one that nobody has.
fn act_of(value: &[u8], key_id: &KeyId) -> Option<Act> {
    let act = Act::decode(value).ok()?;
    match &act {
        // Rotations of a channel's secret are for all to read, who could else not go on in the chain.
        Act::KeyRotate(rotate)
            if rotate.audience == Audience::Revolt && rotate.key_id != *key_id =>
        {
            None
        }
        _ => Some(act),
    }
}

pub(crate) fn index(stream: StreamId, id: MessageId, event: &Event) -> Write {
    let target = event.target();
    let kind = if target.is_some() {
        RowKind::Overlay
    } else {
        RowKind::Message
    };
    Write::Index {
        stream,
        id,
        kind,
        target,
    }
}
