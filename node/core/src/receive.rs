//! Taking envelopes in: authentic first, then into their chain, then opened, checked and indexed.

use std::collections::BTreeSet;

use revnet_protocol::envelope::{Authentic, Body, Envelope, Run};
use revnet_protocol::frame::Gossip;
use revnet_protocol::{DeviceId, EnvelopeId, Event, MessageId, RevoltId, StreamId, encode};

use crate::chain::{Branch, Chain, Seat, branch_name};
use crate::command::{Notice, Place};
use crate::core::{ACKNOWLEDGE_AFTER, Core, Timer, Waiting};
use crate::io::{Effect, MILLI, Mono, Verdict};
use crate::mutant::{Mutant, is_active};
use crate::purse::SIGNATURE;
use crate::serve::{MAX_RUNS, STRETCH_BYTES};
use crate::storage::{Query, RowKind, Space, Write};

/// More new messages than this in one answer are announced as growth, not one by one.
const ANNOUNCE: usize = 16;

/// How often announced growth of a revolt is heeded, and one more is passed on.
const HEED_EVERY: Mono = 250 * MILLI;

/// Where the name of the store is, when it isn't the one that it was made with.
pub(crate) const STORE_ID: &[u8] = b"store";

/// What became of an envelope that was offered to its chain.
enum Placed {
    /// It is the next of this chain or branch.
    New(DeviceId),
    /// It is the first of a new branch, of this name.
    Beside(DeviceId),
    /// It is here already, or is not kept.
    Known,
    /// Others between are missing.
    Gap,
    /// The author signed another envelope for the same place, or for one before it.
    Parted,
}

impl Placed {
    /// Whether the envelope would be kept.
    fn is_taken(&self) -> bool {
        matches!(self, Self::New(_) | Self::Beside(_))
    }
}

/// What opening gave, gathered over a batch.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) writes: Vec<Write>,
    /// Chains, and branches by their names.
    pub(crate) touched: BTreeSet<(StreamId, DeviceId)>,
    pub(crate) acts: bool,
    pub(crate) events: Vec<(StreamId, MessageId, Event, Envelope)>,
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
        let cost = SIGNATURE * runs.len() as u64;
        if runs.len() > MAX_RUNS {
            return self.blame(peer, "sent too much at once");
        }
        if !self.pays(peer, cost) {
            return;
        }
        let mut gathered = Gathered::default();
        let mut parted = Vec::new();
        for run in runs {
            let stream = run.stream;
            if !self.may_write(&revolt, &stream, &run.device) {
                // Perhaps the act that makes the channel or admits the author isn't readable yet.
                self.note_dropped(peer, revolt);
                continue;
            }
            let Ok(mut envelopes) = run.open() else {
                self.finish(revolt, gathered);
                return self.blame(peer, "sent a run that isn't authentic");
            };
            // Nobody may leave out the words of others on the way, and what comes back has to fit into an answer.
            let whole = envelopes.iter().all(is_whole);
            let sizes = envelopes
                .iter()
                .map(|authentic| authentic.envelope().stored_size());
            let size: usize = sizes.sum();
            if !whole || size > STRETCH_BYTES {
                self.finish(revolt, gathered);
                return self.blame(peer, "sent a run that can't be passed on");
            }
            if self.is_behind(stream, &envelopes) {
                // Another answer was faster, or the author signed two histories.
                parted.push((stream, envelopes));
                continue;
            }
            for at in 0..envelopes.len() {
                let placed = self.place(stream, &envelopes[at]);
                if placed.is_taken()
                    && self.is_beyond_quota(&peer, &revolt, &stream, &envelopes[at])
                {
                    self.note_beyond_quota(peer, revolt, stream, envelopes[at].header().device);
                    break;
                }
                match placed {
                    Placed::New(key) => {
                        let authentic = envelopes[at].clone();
                        self.take(revolt, stream, key, authentic, &mut gathered);
                    }
                    Placed::Beside(name) => {
                        let authentic = envelopes[at].clone();
                        self.part(stream, name, &authentic, &mut gathered);
                        self.take(revolt, stream, name, authentic, &mut gathered);
                    }
                    Placed::Known => {}
                    Placed::Gap => {
                        self.note_dropped(peer, revolt);
                        break;
                    }
                    Placed::Parted => {
                        parted.push((stream, std::mem::take(&mut envelopes)));
                        break;
                    }
                }
            }
        }
        let took = !gathered.touched.is_empty();
        let is_news = took || !parted.is_empty();
        if let Some(pull) = self
            .links
            .get_mut(&peer)
            .and_then(|l| l.pulls.get_mut(&revolt))
        {
            pull.took |= took;
            pull.answers |= is_news;
        }
        if took {
            self.earns(peer, cost);
        }
        if is_news {
            self.brought(peer, revolt);
        }
        self.finish(revolt, gathered);
        for (stream, envelopes) in parted {
            self.find_fork(peer, revolt, stream, envelopes);
        }
        self.ask_for_keys(peer, revolt);
    }

    /// Something isn't kept now. Of a stranger it may be asked for again at once; of an author whose chain is full not
    /// before it can be read on.
    fn note_beyond_quota(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        stream: StreamId,
        device: DeviceId,
    ) {
        let known = self.streams.get_mut(&stream).expect("looked up by place");
        if known.channel.is_some() {
            known.full.insert(device);
        } else {
            self.note_dropped(peer, revolt);
        }
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

    /// Whether envelopes of a device are kept at all: in channels, those of devices that came by an invite of the
    /// revolt, whether that counts (now) or not, so that all keep the same; in the control stream everybody's,
    /// because joining starts there.
    fn may_write(&self, revolt: &RevoltId, stream: &StreamId, device: &DeviceId) -> bool {
        let (Some(known), Some(revolt)) = (self.streams.get(stream), self.revolts.get(revolt))
        else {
            return false;
        };
        known.revolt == revolt.id && (known.channel.is_none() || revolt.authority.has_come(device))
    }

    fn place(&self, stream: StreamId, authentic: &Authentic) -> Placed {
        let (known, header) = (&self.streams[&stream], authentic.header());
        if known.channel.is_none() {
            return match known.seat_for(&authentic.id(), header) {
                Seat::Taken => Placed::Known,
                Seat::Gap => Placed::Gap,
                Seat::Next(key) => Placed::New(key),
                Seat::Beside => Placed::Beside(branch_name(&header.device, &authentic.id())),
            };
        }
        let none = Chain::default();
        let chain = known.chains.get(&header.device).unwrap_or(&none);
        if chain.forked.is_some_and(|from| header.seq >= from) {
            return Placed::Known;
        }
        if header.seq == chain.tip + 1 {
            return if header.prev == chain.tip_id {
                Placed::New(header.device)
            } else {
                Placed::Parted
            };
        }
        if header.seq == chain.tip && authentic.id() != chain.tip_id {
            Placed::Parted
        } else if header.seq <= chain.tip {
            Placed::Known
        } else if is_active(Mutant::GapTaken) {
            Placed::New(header.device)
        } else {
            Placed::Gap
        }
    }

    /// Begins a branch in a control stream. From its number on the chain is in no document any more, whichever
    /// branch came first; as acts all of them are read.
    fn part(
        &mut self,
        stream: StreamId,
        name: DeviceId,
        first: &Authentic,
        gathered: &mut Gathered,
    ) {
        let header = first.header();
        let (device, from) = (header.device, header.seq);
        let branch = Branch {
            device,
            base: from - 1,
            prev: header.prev,
            chain: Chain {
                opened: from - 1,
                ..Chain::default()
            },
        };
        let known = self.streams.get_mut(&stream);
        known.expect("looked up by place").add_branch(name, branch);
        let chain = self.chain_mut(stream, device);
        chain.forked = Some(chain.forked.map_or(from, |have| have.min(from)));
        gathered.touched.insert((stream, device));
        gathered.writes.push(Write::Unindex {
            stream,
            device,
            from,
        });
    }

    /// Appends an envelope to its chain or branch, and opens it if nothing before it waits.
    fn take(
        &mut self,
        revolt: RevoltId,
        stream: StreamId,
        key: DeviceId,
        authentic: Authentic,
        gathered: &mut Gathered,
    ) {
        let header = authentic.header();
        let (device, seq, id) = (header.device, header.seq, authentic.id());
        let envelope = authentic.into_envelope();
        self.count_stranger(&revolt, &stream, &envelope);
        let known = self.streams.get_mut(&stream);
        let known = known.expect("callers looked the stream up");
        known.seat(id, key, seq);
        gathered.writes.push(Write::Envelope {
            stream,
            device: key,
            seq: known.stored_at(&key, seq),
            bytes: envelope.encode(),
        });
        gathered.touched.insert((stream, key));
        if device == self.device() {
            // The store is an old copy. Positions in its log of arrivals stand for something else at the peers.
            self.store_id = self.random();
            let id = self.store_id.to_vec();
            gathered
                .writes
                .push(Self::put(Space::Local, STORE_ID.to_vec(), id));
        }
        let chain = self.chain_mut(stream, key);
        chain.tip = seq;
        chain.tip_id = id;
        if chain.opened + 1 == seq {
            self.open(revolt, (stream, key), id, envelope, gathered);
        }
    }

    pub(crate) fn chain_mut(&mut self, stream: StreamId, device: DeviceId) -> &mut Chain {
        self.streams
            .get_mut(&stream)
            .expect("callers looked the stream up")
            .chain_mut(device)
    }

    /// Stores a batch and does what follows from it.
    pub(crate) fn finish(&mut self, revolt: RevoltId, gathered: Gathered) {
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
        let chains = touched.into_iter().filter_map(|(stream, device)| {
            let chain = self.streams[&stream].chains.get(&device)?;
            Some((stream, device, chain.tip, chain.tip_id))
        });
        let chains = chains.collect();
        self.store(writes, Some(Waiting::Received { chains }));
        self.announce(revolt, &events);
        if acts {
            self.control_changed(revolt);
        }
    }

    /// What keeps the state of a chain, or of the branch of that name.
    pub(crate) fn chain_write(&self, stream: StreamId, device: DeviceId) -> Write {
        let known = &self.streams[&stream];
        if let Some(branch) = known.branches.get(&device) {
            let key = branch_key(&stream, &device);
            return Self::put(Space::Branch, key, encode(branch));
        }
        let state = encode(&known.chains[&device]);
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
        // Own words may become durable when their revolt was left and is being joined again.
        let Some(known) = self.streams.get(&stream) else {
            return;
        };
        let (revolt, Some(channel)) = (known.revolt, known.channel) else {
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

    pub(crate) fn gossip(&mut self, peer: DeviceId, topic: &str, bytes: &[u8], token: u64) {
        if !self.pays(peer, SIGNATURE) {
            let verdict = Verdict::Ignore;
            return self.effect(Effect::Verdict { token, verdict });
        }
        let verdict = match (self.topics.get(topic).copied(), Gossip::decode(bytes)) {
            (None, _) => Verdict::Ignore,
            (Some(_), Err(_)) => Verdict::Reject,
            (Some(revolt), Ok(Gossip::Envelope(envelope))) => {
                self.gossiped(peer, revolt, *envelope)
            }
            (Some(revolt), Ok(Gossip::Advance(chains))) => self.advanced(peer, revolt, &chains),
        };
        self.effect(Effect::Verdict { token, verdict });
        if verdict == Verdict::Reject {
            // Everybody looks before they pass something on.
            self.blame(peer, "passed on gossip that is false");
        }
    }

    fn gossiped(&mut self, peer: DeviceId, revolt: RevoltId, envelope: Envelope) -> Verdict {
        let (stream, device) = (envelope.header.stream, envelope.header.device);
        let Some(authentic) = envelope.verify().ok().filter(is_whole) else {
            return Verdict::Reject;
        };
        if !self.may_write(&revolt, &stream, &device) {
            self.pull_soon(peer, revolt);
            return Verdict::Ignore;
        }
        let mut gathered = Gathered::default();
        let placed = self.place(stream, &authentic);
        if placed.is_taken() && self.is_beyond_quota(&peer, &revolt, &stream, &authentic) {
            self.note_beyond_quota(peer, revolt, stream, device);
            return Verdict::Ignore;
        }
        match placed {
            Placed::New(key) => self.take(revolt, stream, key, authentic, &mut gathered),
            Placed::Beside(name) => {
                self.part(stream, name, &authentic, &mut gathered);
                self.take(revolt, stream, name, authentic, &mut gathered);
            }
            Placed::Known => return Verdict::Ignore,
            Placed::Gap => {
                self.pull_soon(peer, revolt);
                // From a stranger it may be anything.
                let has_come = self.revolts[&revolt].authority.has_come(&device);
                return if has_come {
                    Verdict::Accept
                } else {
                    Verdict::Ignore
                };
            }
            Placed::Parted => {
                self.find_fork(peer, revolt, stream, vec![authentic]);
                self.pull_soon(peer, revolt);
                return Verdict::Accept;
            }
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
        let is_behind = |chain: &Chain, seq: u64| chain.tip < seq && chain.forked.is_none();
        let behind = chains.iter().any(|(stream, device, seq)| {
            let known = self.streams.get(stream);
            let chain = known.and_then(|s| s.chains.get(device));
            known.is_none() || chain.is_none_or(|chain| is_behind(chain, *seq))
        });
        if !behind {
            return Verdict::Ignore;
        }
        // Nobody signs it, so it may be about what nobody has.
        let now = self.now();
        let heeded = self.heeded.get(&revolt).copied();
        match heeded.map_or(0, |at| (at + HEED_EVERY).saturating_sub(now)) {
            0 => {
                self.heeded.insert(revolt, now);
                self.pull_soon(peer, revolt);
            }
            _ if self.is_armed(Timer::Heed(revolt)) => return Verdict::Ignore,
            later => self.arm(Timer::Heed(revolt), later),
        }
        Verdict::Accept
    }

    /// Pulls what was announced a moment ago.
    pub(crate) fn heed(&mut self, revolt: RevoltId) {
        let now = self.now();
        self.heeded.insert(revolt, now);
        self.pull_from_all(revolt);
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
            // It may have been cut since.
            if let Some(chain) = known.filter(|chain| seq <= chain.tip) {
                chain.durable = (seq, id);
                self.unacknowledged.insert((stream, device));
            }
        }
        if !self.unacknowledged.is_empty() && !self.is_armed(Timer::Acknowledge) {
            self.arm(Timer::Acknowledge, ACKNOWLEDGE_AFTER);
        }
    }
}

/// Whether an envelope has the body that its header names.
fn is_whole(authentic: &Authentic) -> bool {
    !matches!(authentic.envelope().body, Body::Dropped(_))
}

pub(crate) fn branch_key(stream: &StreamId, name: &DeviceId) -> Vec<u8> {
    [stream.0, name.0].concat()
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
