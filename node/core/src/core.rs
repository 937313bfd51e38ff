//! The state machine: its parts, its clock and its queues. What it does with each input lies in the
//! modules beside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use revnet_protocol::envelope::Envelope;
use revnet_protocol::frame::{Fingerprint, Mark, Stop};
use revnet_protocol::{
    ChannelId, DeviceCert, DeviceId, DeviceKeys, EnvelopeId, Hlc, RevoltId, StreamId, UserId,
};

use crate::chain::{Branch, Chain, Stream};
use crate::command::{Command, CommandError, Notice, Reply};
use crate::commands::AHEAD;
use crate::fork::Suspect;
use crate::io::{Effect, Input, MILLI, Mono, SECOND};
use crate::link::Link;
use crate::mutant::is_impatient;
use crate::purse::Purse;
use crate::query::LogJob;
use crate::revolt::Revolt;
use crate::storage::{Answer, Boot, Query, Space, StorageError, Write};
use crate::sync::Summary;
use crate::turn::Turn;
use crate::write::{SealJob, Submission};

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The device's keys.
    pub keys: DeviceKeys,
    /// Whose device it is.
    pub cert: DeviceCert,
    /// What the person is called where nothing else is said, at most 64 bytes.
    pub name: String,
}

/// What the core waits for from the store.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A batch that a command is answered after.
    Reply { command: u64, reply: Box<Reply> },
    /// A batch of sealed envelopes: gossip them, answer.
    Sealed(Box<SealJob>),
    /// A batch of envelopes of others: acknowledge them.
    Received {
        chains: Vec<(StreamId, DeviceId, u64, EnvelopeId)>,
    },
    /// Nonces of a submission, which may wait for words before it when they are known.
    Nonces {
        submission: Box<Submission>,
        values: Option<Vec<Option<Vec<u8>>>>,
    },
    /// Envelopes for a peer.
    Serve {
        peer: DeviceId,
        revolt: RevoltId,
        ranges: Vec<(StreamId, DeviceId, u64)>,
        next: Option<Stop>,
        max: usize,
    },
    /// The arrival log for a peer.
    Arrivals {
        peer: DeviceId,
        revolt: RevoltId,
        have: [Option<Fingerprint>; 2],
    },
    /// Stored envelopes that can now be read.
    Reopen { revolt: RevoltId },
    /// Own envelopes at the places of a peer's.
    Fork {
        suspect: Suspect,
        theirs: Vec<Envelope>,
        is_whole: bool,
    },
    /// Own envelopes to name to a peer.
    Marks { suspect: Suspect },
    /// Own envelopes at places that a peer named.
    Parted {
        suspect: Suspect,
        marks: Vec<(u64, Mark)>,
    },
    /// Both histories that a device signed.
    Proof {
        revolt: RevoltId,
        channel: Option<ChannelId>,
    },
    /// The own branch of a chain, for a peer that has another.
    Beside { suspect: Suspect },
    /// A page of a log.
    Log(Box<LogJob>),
    /// A message that changed, for a notice.
    Changed { stream: StreamId },
    /// All envelopes of a segment, for export.
    Export { command: u64, seg: u32 },
    /// The target of an edit or deletion.
    Target {
        command: u64,
        submission: Box<Submission>,
    },
}

/// Something to do later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Compare again with a peer.
    AntiEntropy(DeviceId),
    /// Acknowledge what became durable.
    Acknowledge,
    /// Find and dial members.
    Connect,
    /// Write what waited for somebody to be heard.
    Early,
    /// Give up on a join.
    JoinDeadline(RevoltId),
    /// Rotate an epoch whose time has come.
    Rotate(RevoltId),
    /// Take out a device that signed two histories.
    Expel(RevoltId),
    /// Confirm joins that nobody has confirmed.
    Confirm(RevoltId),
    /// Look whether another peer should bring what is missing.
    Turn(RevoltId),
    /// Look for what was announced.
    Heed(RevoltId),
    /// Topics and meeting keys change with the day; invites expire.
    Housekeeping,
}

impl Timer {
    fn name(self) -> &'static str {
        match self {
            Self::AntiEntropy(_) => "anti-entropy",
            Self::Acknowledge => "acknowledge",
            Self::Connect => "connect",
            Self::Early => "early",
            Self::JoinDeadline(_) => "join-deadline",
            Self::Rotate(_) => "rotate",
            Self::Expel(_) => "expel",
            Self::Confirm(_) => "confirm",
            Self::Turn(_) => "turn",
            Self::Heed(_) => "heed",
            Self::Housekeeping => "housekeeping",
        }
    }
}

/// A node without its sockets, disk and clock. See the crate's documentation for how it is driven.
#[derive(Debug)]
pub struct Core {
    pub(crate) me: Identity,
    pub(crate) rng: ChaCha20Rng,
    now: Mono,
    /// Unix time at `Mono` zero, by this machine's clock.
    unix_base: Duration,
    pub(crate) clock_offset_ms: i64,
    pub(crate) last_hlc: Hlc,
    pub(crate) store_id: [u8; 16],
    /// Next position of the store's arrival log. What is under way isn't counted: after a crash others would
    /// take its places, and a cursor that had been given out would skip them.
    pub(crate) arrivals: u64,
    /// How many arrivals each batch under way brings.
    arriving: BTreeMap<u64, u64>,
    /// Nonces that a question asked before may have missed: their batch and what they became.
    pub(crate) nonces: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// Words on their way to being sealed, by channel in the order in which they were accepted: their numbers in
    /// `waiting`.
    pub(crate) departing: BTreeMap<StreamId, VecDeque<u64>>,
    pub(crate) revolts: BTreeMap<RevoltId, Revolt>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// What is here of each revolt, for comparing.
    pub(crate) summaries: BTreeMap<RevoltId, Summary>,
    /// Who brings what is missing of a revolt.
    pub(crate) turns: BTreeMap<RevoltId, Turn>,
    /// Stored chains of streams that aren't known yet.
    pub(crate) unplaced: BTreeMap<StreamId, Vec<(DeviceId, Chain)>>,
    /// And branches, by name.
    pub(crate) unplaced_branches: BTreeMap<StreamId, Vec<(DeviceId, Branch)>>,
    pub(crate) links: BTreeMap<DeviceId, Link>,
    /// Questions to the store that peers caused, as far as they have been put.
    pub(crate) loading: BTreeSet<u64>,
    /// Whose question was put last.
    pub(crate) last_loaded: DeviceId,
    /// What peers may still cost, where it is less than all they get.
    pub(crate) purses: BTreeMap<DeviceId, Purse>,
    pub(crate) addresses: BTreeMap<DeviceId, Vec<String>>,
    pub(crate) dials: BTreeMap<DeviceId, crate::connect::Dial>,
    pub(crate) topics: BTreeMap<String, RevoltId>,
    pub(crate) provided: BTreeMap<[u8; 32], RevoltId>,
    /// When announced growth of a revolt was heeded the last time.
    pub(crate) heeded: BTreeMap<RevoltId, Mono>,
    pub(crate) unacknowledged: BTreeSet<(StreamId, DeviceId)>,
    pub(crate) cursors: BTreeMap<(RevoltId, DeviceId), revnet_protocol::frame::Cursor>,
    pub(crate) holders: BTreeMap<StreamId, BTreeMap<DeviceId, u64>>,
    /// The outbox of a revolt is being emptied.
    pub(crate) is_flushing: bool,
    /// Devices of which no proof fits into an act.
    pub(crate) unprovable: BTreeSet<(StreamId, DeviceId)>,
    /// Commands that write acts and came before anybody was heard.
    early: Vec<(u64, Command)>,
    started: Mono,
    effects: VecDeque<Effect>,
    timers: BTreeSet<(Mono, Timer)>,
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    next_id: u64,
    failed: Option<StorageError>,
}

impl Core {
    /// A node that starts at `now` with what its store holds. `unix` is this machine's clock at that
    /// moment; `seed` must be random and used once.
    #[must_use]
    pub fn new(me: Identity, seed: [u8; 32], now: Mono, unix: Duration, boot: Boot) -> Self {
        let mut core = Self {
            me,
            rng: ChaCha20Rng::from_seed(seed),
            now,
            unix_base: unix.saturating_sub(Duration::from_nanos(now)),
            clock_offset_ms: 0,
            last_hlc: Hlc::ZERO,
            store_id: boot.store,
            arrivals: boot.position,
            arriving: BTreeMap::new(),
            nonces: BTreeMap::new(),
            departing: BTreeMap::new(),
            revolts: BTreeMap::new(),
            streams: BTreeMap::new(),
            summaries: BTreeMap::new(),
            turns: BTreeMap::new(),
            unplaced: BTreeMap::new(),
            unplaced_branches: BTreeMap::new(),
            links: BTreeMap::new(),
            loading: BTreeSet::new(),
            last_loaded: DeviceId::default(),
            purses: BTreeMap::new(),
            addresses: BTreeMap::new(),
            dials: BTreeMap::new(),
            topics: BTreeMap::new(),
            provided: BTreeMap::new(),
            heeded: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
            cursors: BTreeMap::new(),
            holders: BTreeMap::new(),
            is_flushing: false,
            unprovable: BTreeSet::new(),
            early: Vec::new(),
            started: now,
            effects: VecDeque::new(),
            timers: BTreeSet::new(),
            waiting: BTreeMap::new(),
            next_id: 0,
            failed: None,
        };
        core.restore(boot);
        core.arm(Timer::Connect, 0);
        core.arm(Timer::Housekeeping, 0);
        core.arm(Timer::Early, FIRST_WORDS);
        core
    }

    /// Takes an input. Time never runs backwards.
    pub fn handle(&mut self, input: Input, now: Mono) {
        self.now = self.now.max(now);
        match input {
            Input::Command { id, command } => self.command(id, command),
            Input::LinkUp {
                peer,
                relayed,
                address,
            } => self.link_up(peer, relayed, address),
            Input::LinkDown { peer } => self.link_down(peer),
            Input::Frame { peer, bytes } => self.frame(peer, &bytes),
            Input::Gossip {
                peer,
                topic,
                bytes,
                token,
            } => self.gossip(peer, &topic, &bytes, token),
            Input::Stored { id } => self.stored(id),
            Input::StoreFailed { id, error } => self.store_failed(id, error),
            Input::Loaded { id, answer } => self.loaded(id, answer),
            Input::Providers { key, peers } => self.providers(&key, &peers),
            Input::Nearby { peer } => self.nearby(peer),
            Input::DialFailed { peer } => self.dial_failed(peer),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.now = self.now.max(now);
        while let Some((at, timer)) = self
            .timers
            .first()
            .copied()
            .filter(|(at, _)| *at <= self.now)
        {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::AntiEntropy(peer) => self.anti_entropy(peer),
                Timer::Acknowledge => self.acknowledge(),
                Timer::Connect => self.connect(),
                Timer::Early => self.run_early(),
                Timer::JoinDeadline(revolt) => self.join_deadline(revolt),
                Timer::Rotate(revolt) => self.rotate_if_due(revolt),
                Timer::Expel(revolt) => self.expel(revolt),
                Timer::Confirm(revolt) => self.confirm_joins(revolt),
                Timer::Turn(revolt) => self.watch_turn(revolt),
                Timer::Heed(revolt) => self.heed(revolt),
                Timer::Housekeeping => self.housekeeping(),
            }
        }
    }

    /// The next thing to do; call until it gives nothing.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Core::handle_timeout`] wants to be called next, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        self.timers.first().map(|(at, timer)| (*at, timer.name()))
    }

    /// Set once the store has failed: nothing more is accepted, and a new core must be made.
    #[must_use]
    pub fn failed(&self) -> Option<&StorageError> {
        self.failed.as_ref()
    }

    pub(crate) fn now(&self) -> Mono {
        self.now
    }

    /// This machine's clock, uncorrected.
    pub(crate) fn machine_ms(&self) -> u64 {
        u64::try_from((self.unix_base + Duration::from_nanos(self.now)).as_millis())
            .unwrap_or(u64::MAX)
    }

    /// The clock that time stamps are made with: corrected by what three or more peers agree on.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.machine_ms()
            .saturating_add_signed(self.clock_offset_ms)
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.me.cert.device
    }

    pub(crate) fn user(&self) -> UserId {
        self.me.cert.user
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effect(Effect::Notice(notice));
    }

    pub(crate) fn reply(&mut self, id: u64, result: Result<Reply, CommandError>) {
        self.effect(Effect::Reply { id, result });
    }

    /// Does something `after` nanoseconds from now.
    pub(crate) fn arm(&mut self, timer: Timer, after: Mono) {
        self.timers.insert((self.now + after, timer));
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.timers.retain(|(_, have)| *have != timer);
    }

    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.timers.iter().any(|(_, have)| *have == timer)
    }

    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`, for jitter.
    pub(crate) fn jitter(&mut self, bound: Mono) -> Mono {
        self.rng.next_u64() % bound.max(1)
    }

    pub(crate) fn store(&mut self, writes: Vec<Write>, then: Option<Waiting>) {
        if writes.is_empty() && then.is_none() {
            return;
        }
        let id = self.number();
        let envelopes = writes
            .iter()
            .filter(|w| matches!(w, Write::Envelope { .. }))
            .count() as u64;
        self.arriving.insert(id, envelopes);
        for write in &writes {
            if let Write::Put {
                space: Space::Nonce,
                key,
                value,
            } = write
            {
                self.nonces.insert(key.clone(), (id, value.clone()));
            }
        }
        if let Some(then) = then {
            self.waiting.insert(id, then);
        }
        self.effect(Effect::Store { id, writes });
        if is_impatient(self.waiting.get(&id)) {
            self.stored(id);
        }
    }

    /// Asks the store, and gives the number of the question.
    pub(crate) fn load(&mut self, query: Query, then: Waiting) -> u64 {
        let id = self.wait(then);
        self.effect(Effect::Load { id, query });
        id
    }

    pub(crate) fn wait(&mut self, then: Waiting) -> u64 {
        let id = self.number();
        self.waiting.insert(id, then);
        id
    }

    pub(crate) fn put(space: Space, key: Vec<u8>, value: Vec<u8>) -> Write {
        Write::Put { space, key, value }
    }

    fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn stored(&mut self, id: u64) {
        self.arrivals += self.arriving.remove(&id).unwrap_or(0);
        match self.waiting.remove(&id) {
            Some(Waiting::Reply { command, reply }) => self.reply(command, Ok(*reply)),
            Some(Waiting::Sealed(job)) => self.sealed(*job),
            Some(Waiting::Received { chains }) => self.received_durably(chains),
            _ => {}
        }
        // A question sees every batch before it, so only older ones need these.
        let oldest = self.waiting.keys().next().copied().unwrap_or(u64::MAX);
        self.nonces.retain(|_, (batch, _)| *batch > oldest);
    }

    /// Memory is ahead of the disk now and can't be taken back, so this core ends: everything that waits
    /// is told, and the runtime starts another from what the disk has.
    fn store_failed(&mut self, _id: u64, error: StorageError) {
        let waiting = std::mem::take(&mut self.waiting);
        for wait in waiting.into_values() {
            let command = match wait {
                Waiting::Reply { command, .. }
                | Waiting::Export { command, .. }
                | Waiting::Target { command, .. } => Some(command),
                Waiting::Sealed(job) => job.command(),
                Waiting::Nonces { submission, .. } => submission.command,
                Waiting::Log(job) => Some(job.command),
                _ => None,
            };
            if let Some(command) = command {
                self.reply(command, Err(error.clone().into()));
            }
        }
        for (command, _) in std::mem::take(&mut self.early) {
            self.reply(command, Err(error.clone().into()));
        }
        let joining: Vec<_> = self
            .revolts
            .values_mut()
            .filter_map(|r| r.joining.as_mut()?.command.take())
            .collect();
        for command in joining {
            self.reply(command, Err(error.clone().into()));
        }
        self.failed = Some(error);
    }

    fn loaded(&mut self, id: u64, answer: Result<Answer, StorageError>) {
        self.end_loading(id);
        let Some(waiting) = self.waiting.remove(&id) else {
            return;
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.waiting.insert(id, waiting);
                return self.store_failed(id, error);
            }
        };
        match (waiting, answer) {
            (Waiting::Nonces { submission, .. }, Answer::Values(values)) => {
                self.nonces_loaded(id, submission, values);
            }
            (
                Waiting::Serve {
                    peer,
                    revolt,
                    ranges,
                    next,
                    max,
                },
                Answer::Envelopes {
                    envelopes,
                    complete,
                },
            ) => {
                self.loaded_for(&peer);
                self.serve_loaded((peer, revolt), ranges, next, max, (envelopes, complete));
            }
            (Waiting::Arrivals { peer, revolt, have }, Answer::Arrivals(arrivals)) => {
                self.loaded_for(&peer);
                self.arrivals_loaded(peer, revolt, have, &arrivals);
            }
            (Waiting::Reopen { revolt }, Answer::Envelopes { envelopes, .. }) => {
                self.reopen_loaded(revolt, envelopes);
            }
            (
                Waiting::Fork {
                    suspect,
                    theirs,
                    is_whole,
                },
                Answer::Envelopes { envelopes, .. },
            ) => {
                self.loaded_for(&suspect.peer);
                self.fork_loaded(suspect, &theirs, &envelopes, is_whole);
            }
            (Waiting::Marks { suspect }, Answer::Values(envelopes)) => {
                self.loaded_for(&suspect.peer);
                self.marks_loaded(suspect, envelopes);
            }
            (Waiting::Parted { suspect, marks }, Answer::Values(own)) => {
                self.loaded_for(&suspect.peer);
                self.parted_loaded(suspect, &marks, &own);
            }
            (Waiting::Beside { suspect }, Answer::Envelopes { envelopes, .. }) => {
                self.loaded_for(&suspect.peer);
                self.beside_loaded(suspect, envelopes);
            }
            (Waiting::Proof { revolt, channel }, Answer::Values(envelopes)) => {
                self.proof_loaded(revolt, channel, &envelopes);
            }
            (Waiting::Log(job), Answer::Rows(rows)) => self.log_loaded(*job, &rows),
            (Waiting::Changed { stream }, Answer::Rows(rows)) => self.changed_loaded(stream, &rows),
            (Waiting::Export { command, seg }, Answer::Envelopes { envelopes, .. }) => {
                self.export_loaded(command, seg, envelopes);
            }
            (
                Waiting::Target {
                    command,
                    submission,
                },
                Answer::Rows(rows),
            ) => {
                self.target_loaded(command, *submission, rows);
            }
            (waiting, answer) => {
                debug_assert!(false, "{waiting:?} answered by {answer:?}");
            }
        }
    }

    /// Whether a device may write an act: it has heard a member since its start, or nobody is to be heard. Somebody
    /// who put back an old copy of the data directory would otherwise sign second histories.
    pub(crate) fn may_author(&self, id: &RevoltId) -> bool {
        let waited = self.now >= self.started + FIRST_WORDS;
        let Some(revolt) = self.revolts.get(id) else {
            return true;
        };
        // What others brought of this device's own acts has to be read first.
        let control = self.streams.get(&revolt.control);
        let own = control.and_then(|control| control.chains.get(&self.device()));
        let is_at_end = own.is_none_or(|own| own.opened == own.tip);
        let may_come = is_at_end && !self.is_ahead(&revolt.control);
        may_come && (waited || revolt.heard || revolt.is_alone(&self.device()))
    }

    /// The revolts in which a command writes acts.
    fn acts_in(&self, command: &Command) -> Vec<RevoltId> {
        match command {
            Command::EditRevolt { revolt, .. }
            | Command::LeaveRevolt { revolt }
            | Command::CreateInvite { revolt, .. }
            | Command::RevokeInvite { revolt, .. }
            | Command::CreateChannel { revolt, .. }
            | Command::EditChannel { revolt, .. }
            | Command::SetMember { revolt, .. }
            | Command::Ban { revolt, .. }
            | Command::Timeout { revolt, .. }
            | Command::CreateRole { revolt, .. }
            | Command::EditRole { revolt, .. }
            | Command::Grant { revolt, .. } => vec![*revolt],
            Command::SetException { at, .. } => vec![at.revolt],
            Command::Rename { .. } | Command::RevokeDevice { .. } => {
                self.revolts.keys().copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Runs the commands that waited for somebody to be heard.
    pub(crate) fn run_early(&mut self) {
        for (id, command) in std::mem::take(&mut self.early) {
            self.command(id, command);
        }
    }

    fn command(&mut self, id: u64, command: Command) {
        if let Some(error) = self.failed.clone() {
            return self.reply(id, Err(error.into()));
        }
        if self.waiting.len() + self.early.len() > MAX_WAITING {
            return self.reply(id, Err(CommandError::Busy));
        }
        let revolts = self.acts_in(&command);
        let mut known = revolts.iter().filter_map(|id| self.revolts.get(id));
        if known.any(|revolt| self.is_ahead(&revolt.control)) {
            return self.reply(id, Err(CommandError::NotPermitted(AHEAD.into())));
        }
        if !revolts.iter().all(|id| self.may_author(id)) {
            self.early.push((id, command));
            return;
        }
        match self.run(id, command) {
            Ok(Some(reply)) => self.reply(id, Ok(reply)),
            Ok(None) => {}
            Err(error) => self.reply(id, Err(error)),
        }
    }
}

/// How long after a start a device waits to hear of its own newest acts before it writes another one.
const FIRST_WORDS: Mono = 3 * SECOND;

/// More outstanding questions to the store than this, and commands are refused for the moment.
const MAX_WAITING: usize = 4096;

/// How often a node compares notes with each peer, at least.
pub(crate) const ANTI_ENTROPY: Mono = 20 * SECOND;
/// How long after a link came up, or a revolt was joined, gossip reaches everybody who is linked: two of its heartbeats.
pub(crate) const GOSSIP_SETTLES: Mono = 2 * SECOND;
/// How long acknowledgements are gathered.
pub(crate) const ACKNOWLEDGE_AFTER: Mono = 100 * MILLI;
/// How long a join may take before its command is answered.
pub(crate) const JOIN_PATIENCE: Mono = 60 * SECOND;
/// Time stamps further ahead than this are not shown yet, in milliseconds.
pub(crate) const SHOW_AHEAD_MS: u64 = 30 * 60 * 1000;
/// Time stamps up to this far ahead move the own clock along, in milliseconds.
pub(crate) const ADOPT_AHEAD_MS: u64 = 2 * 60 * 1000;
