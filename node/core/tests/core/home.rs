//! A core with a storage that answers at once, and links that deliver at once.

use std::time::Duration;

use revnet_core::command::{Command, Draft, MessageView, Notice, Place, Reply, Sent};
use revnet_core::storage::memory::MemoryStorage;
use revnet_core::storage::{Answer, Boot, Direction, Query, Storage as _, StorageError, Write};
use revnet_core::{Core, Effect, Identity, Input, MILLI, Mono, SECOND, Verdict};
use revnet_protocol::act::Settings;
use revnet_protocol::frame::Frame;
use revnet_protocol::{
    ChannelId, DeviceId, DeviceKeys, Envelope, EnvelopeId, InviteLink, MessageId, RevoltId,
    RootKey, StreamId,
};

/// 2026-01-01 in Unix milliseconds: where the clocks start.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

/// One hour in milliseconds.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// A node.
pub(crate) struct Home {
    pub(crate) core: Core,
    pub(crate) storage: MemoryStorage,
    pub(crate) identity: Identity,
    now: Mono,
    started: u8,
    next: u64,
    replies: Vec<(u64, Reply)>,
    refused: Vec<(u64, String)>,
    out: Vec<(DeviceId, Vec<u8>)>,
    holds: bool,
    held: Vec<(u64, Result<Answer, StorageError>)>,
    /// Whom it blamed, and for what.
    pub(crate) blamed: Vec<(DeviceId, &'static str)>,
    /// Messages that it told its listeners of.
    pub(crate) told: Vec<MessageView>,
    /// What it gossiped, with the topics.
    pub(crate) gossiped: Vec<(String, Vec<u8>)>,
    verdict: Option<Verdict>,
}

impl Home {
    /// Node `number` on an empty store.
    pub(crate) fn new(number: u8) -> Self {
        Self::further(number, number)
    }

    /// Node `number`, of the person whose first node has the number `person`.
    pub(crate) fn further(number: u8, person: u8) -> Self {
        let keys = DeviceKeys::from_seed([number; 32]);
        let cert = RootKey::from_seed([person + 100; 32]).certify(&keys, "test", START_MS);
        let identity = Identity {
            keys,
            cert,
            name: format!("person {number}"),
        };
        let storage = MemoryStorage::new([number; 16]);
        let core = start(&identity, &storage, SECOND, 1);
        let mut home = Self {
            core,
            storage,
            identity,
            now: SECOND,
            started: 1,
            next: 0,
            replies: Vec::new(),
            refused: Vec::new(),
            out: Vec::new(),
            holds: false,
            held: Vec::new(),
            blamed: Vec::new(),
            told: Vec::new(),
            gossiped: Vec::new(),
            verdict: None,
        };
        home.drain();
        home
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.identity.cert.device
    }

    /// Ends it and starts it again from its store.
    pub(crate) fn restart(&mut self) {
        self.started += 1;
        self.core = start(&self.identity, &self.storage, self.now, self.started);
        self.out.clear();
        self.drain();
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.core.handle(input, self.now);
        self.drain();
    }

    /// Lets its clock run, with everything that is due meanwhile.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds * MILLI;
        while let Some((at, _)) = self.core.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Unix milliseconds by its clock.
    pub(crate) fn unix_ms(&self) -> u64 {
        START_MS + (self.now - SECOND) / MILLI
    }

    pub(crate) fn begin(&mut self, command: Command) -> u64 {
        self.next += 1;
        let id = self.next;
        self.input(Input::Command { id, command });
        id
    }

    /// The answer to a command.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64) -> Reply {
        let refused = self.refused.iter().find(|(have, _)| *have == id);
        assert!(refused.is_none(), "{refused:?}");
        let at = self.replies.iter().position(|(have, _)| *have == id);
        self.replies.swap_remove(at.expect("it is answered")).1
    }

    /// Whether a command has been answered.
    pub(crate) fn answered(&self, id: u64) -> bool {
        self.replies.iter().any(|(have, _)| *have == id)
    }

    /// Whether a command has been refused.
    pub(crate) fn was_refused(&self, id: u64) -> bool {
        self.refused.iter().any(|(have, _)| *have == id)
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, command: Command) -> Reply {
        let id = self.begin(command);
        self.answer(id)
    }

    /// What becomes of gossip that a peer passes on.
    pub(crate) fn hear(&mut self, from: &Self, topic: &str, bytes: Vec<u8>) -> Option<Verdict> {
        self.verdict = None;
        self.input(Input::Gossip {
            peer: from.device(),
            topic: topic.to_owned(),
            bytes,
            token: 0,
        });
        self.verdict
    }

    /// Why a command is refused.
    #[track_caller]
    pub(crate) fn refusal(&mut self, command: Command) -> String {
        let id = self.begin(command);
        let at = self.refused.iter().position(|(have, _)| *have == id);
        self.refused.swap_remove(at.expect("it is refused")).1
    }

    /// A new revolt with its first channel.
    pub(crate) fn found(&mut self) -> Place {
        let settings = Settings {
            name: Some("Small".into()),
            ..Default::default()
        };
        let Reply::Revolt(revolt) = self.ask(Command::CreateRevolt { settings }) else {
            panic!("a revolt")
        };
        Place {
            revolt: revolt.info.id,
            channel: revolt.channels[0].id,
        }
    }

    pub(crate) fn invite(&mut self, revolt: RevoltId) -> InviteLink {
        let invite = Command::CreateInvite {
            revolt,
            expires_ms: None,
            max_uses: None,
            addresses: Vec::new(),
        };
        let Reply::Invite(_, link) = self.ask(invite) else {
            panic!("an invite")
        };
        link
    }

    /// Says something in a channel, heard or not.
    pub(crate) fn say(&mut self, at: Place, text: &str) -> Sent {
        let draft = Draft {
            text: text.to_owned(),
            ..Default::default()
        };
        let messages = vec![draft];
        let Reply::Sent(sent) = self.ask(Command::Send { at, messages }) else {
            panic!("sent")
        };
        sent[0].clone()
    }

    /// What a channel shows, oldest first.
    pub(crate) fn log(&mut self, at: Place) -> Vec<MessageView> {
        let log = Command::Log {
            at,
            from: None,
            direction: Direction::Before,
            limit: 1000,
        };
        let Reply::Log(views) = self.ask(log) else {
            panic!("a log")
        };
        views
    }

    /// The texts that a channel shows, oldest first.
    pub(crate) fn texts(&mut self, at: Place) -> Vec<String> {
        let log = self.log(at).into_iter();
        log.map(|view| view.text).collect()
    }

    /// The ids of what this node could read of a channel, whether it shows it or not.
    pub(crate) fn opened(&self, at: Place) -> Vec<MessageId> {
        self.timeline(stream(at))
    }

    /// The envelopes of a channel that it keeps.
    pub(crate) fn stored(&self, at: Place) -> Vec<DeviceId> {
        let boot = Boot::read(&self.storage).expect("memory reads");
        let chains = boot.chains.iter().filter(|(of, ..)| *of == stream(at));
        chains.map(|(_, device, _)| *device).collect()
    }

    /// The last act that it wrote.
    pub(crate) fn last_act(&self) -> EnvelopeId {
        let boot = Boot::read(&self.storage).expect("memory reads");
        let acts = boot.control.iter().map(|bytes| Envelope::decode(bytes));
        let acts = acts.map(|act| act.expect("stored").header);
        let own = acts.filter(|header| header.device == self.device());
        own.max_by_key(|header| header.seq).expect("one").id()
    }

    /// All keys of a stream's index.
    pub(crate) fn timeline(&self, stream: StreamId) -> Vec<MessageId> {
        match self.storage.query(&Query::Timeline { stream }) {
            Ok(Answer::Keys(keys)) => keys,
            other => panic!("{other:?}"),
        }
    }

    /// The names of a revolt's channels.
    pub(crate) fn channels(&mut self, revolt: RevoltId) -> Vec<String> {
        let Reply::Revolt(detail) = self.ask(Command::ShowRevolt { revolt }) else {
            panic!("a revolt")
        };
        let mut names: Vec<_> = detail.channels.into_iter().map(|c| c.name).collect();
        names.sort();
        names
    }

    /// What others are called here.
    pub(crate) fn names(&mut self, revolt: RevoltId) -> Vec<String> {
        let Reply::Members(members) = self.ask(Command::ListMembers { revolt }) else {
            panic!("members")
        };
        let mut names: Vec<_> = members.into_iter().map(|member| member.name).collect();
        names.sort();
        names
    }

    /// Sends a peer a frame that the core knows nothing of.
    pub(crate) fn slip(&mut self, to: &mut Self, frame: &Frame) {
        let (peer, bytes) = (self.device(), frame.encode());
        to.input(Input::Frame { peer, bytes });
    }

    /// Lets its store's answers come late, or gives all that are due. They tell how the store was when it was asked.
    pub(crate) fn hold_answers(&mut self, hold: bool) {
        self.holds = hold;
        for (id, answer) in std::mem::take(&mut self.held) {
            self.input(Input::Loaded { id, answer });
        }
    }

    /// Answers of its store that wait.
    pub(crate) fn held_answers(&self) -> usize {
        self.held.len()
    }

    /// What it is about to send.
    pub(crate) fn frames_out(&self) -> Vec<Frame> {
        let frames = self.out.iter().map(|(_, bytes)| Frame::decode(bytes));
        frames.map(|frame| frame.expect("its own")).collect()
    }

    /// Forgets what it is about to send.
    pub(crate) fn frames_out_dropped(&mut self) {
        self.out.clear();
    }

    fn frames_to(&mut self, peer: DeviceId) -> Vec<Vec<u8>> {
        let (theirs, others) = std::mem::take(&mut self.out)
            .into_iter()
            .partition(|(to, _)| *to == peer);
        self.out = others;
        let theirs: Vec<_> = theirs;
        theirs.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn drain(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Store { id, writes } => self.commit(id, writes),
                Effect::Load { id, query } => {
                    let answer = self.storage.query(&query);
                    if self.holds {
                        self.held.push((id, answer));
                        continue;
                    }
                    self.core.handle(Input::Loaded { id, answer }, self.now);
                }
                Effect::Send { peer, bytes } => self.out.push((peer, bytes)),
                Effect::Reply { id, result } => match result {
                    Ok(reply) => self.replies.push((id, reply)),
                    Err(error) => self.refused.push((id, error.to_string())),
                },
                Effect::Disconnect { peer, reason } | Effect::Ban { peer, reason, .. } => {
                    self.blamed.push((peer, reason));
                }
                Effect::Notice(Notice::Message { message, .. }) => self.told.push(*message),
                Effect::Gossip { topic, bytes } => self.gossiped.push((topic, bytes)),
                Effect::Verdict { verdict, .. } => self.verdict = Some(verdict),
                _ => {}
            }
        }
    }

    fn commit(&mut self, id: u64, writes: Vec<Write>) {
        self.storage.commit(&[writes]).expect("memory has room");
        self.core.handle(Input::Stored { id }, self.now);
    }
}

fn start(identity: &Identity, storage: &MemoryStorage, now: Mono, started: u8) -> Core {
    let boot = Boot::read(storage).expect("memory reads");
    let mut seed = [started; 32];
    seed[0] = identity.cert.device.0[0];
    let unix = Duration::from_millis(START_MS + (now - SECOND) / MILLI);
    Core::new(identity.clone(), seed, now, unix, boot)
}

/// Links two nodes and lets them talk.
pub(crate) fn link(a: &mut Home, b: &mut Home) {
    greet(a, b);
    talk(a, b);
}

/// Links two nodes.
pub(crate) fn greet(a: &mut Home, b: &mut Home) {
    let (of_a, of_b) = (a.device(), b.device());
    for (one, other) in [(of_a, &mut *b), (of_b, &mut *a)] {
        other.input(Input::LinkUp {
            peer: one,
            relayed: false,
            address: None,
        });
    }
}

/// Ends the link of two nodes.
pub(crate) fn part(a: &mut Home, b: &mut Home) {
    let (of_a, of_b) = (a.device(), b.device());
    a.input(Input::LinkDown { peer: of_b });
    b.input(Input::LinkDown { peer: of_a });
    a.out.retain(|(to, _)| *to != of_b);
    b.out.retain(|(to, _)| *to != of_a);
}

/// Carries frames between two linked nodes until neither has any. Gossip goes nowhere.
pub(crate) fn talk(a: &mut Home, b: &mut Home) {
    talk_and(a, b, |_| {});
}

/// Like [`talk`], and shows what the second one is about to say, again and again.
pub(crate) fn talk_and(a: &mut Home, b: &mut Home, mut see: impl FnMut(&[Frame])) {
    let (of_a, of_b) = (a.device(), b.device());
    loop {
        see(&b.frames_out());
        let (from_a, from_b) = (a.frames_to(of_b), b.frames_to(of_a));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        let frame = |peer, bytes| Input::Frame { peer, bytes };
        from_a
            .into_iter()
            .for_each(|bytes| b.input(frame(of_a, bytes)));
        from_b
            .into_iter()
            .for_each(|bytes| a.input(frame(of_b, bytes)));
    }
}

/// Carries frames between all nodes that are linked, those that `passes` lets through, until none has any.
pub(crate) fn talk_among(homes: &mut [Home], mut passes: impl FnMut(usize, usize, &Frame) -> bool) {
    let devices: Vec<_> = homes.iter().map(Home::device).collect();
    loop {
        let mut frames = Vec::new();
        for (from, home) in homes.iter_mut().enumerate() {
            let out = std::mem::take(&mut home.out);
            frames.extend(out.into_iter().map(|(to, bytes)| (from, to, bytes)));
        }
        if frames.is_empty() {
            return;
        }
        for (from, device, bytes) in frames {
            let to = devices
                .iter()
                .position(|to| *to == device)
                .expect("one of them");
            if passes(from, to, &Frame::decode(&bytes).expect("its own")) {
                let peer = devices[from];
                homes[to].input(Input::Frame { peer, bytes });
            }
        }
    }
}

/// Long texts of which none is like another.
pub(crate) fn pages(count: usize) -> Vec<String> {
    let mut noise = 1_u64;
    let mut word = || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{noise:016x}")
    };
    (0..count)
        .map(|_| (0..80).map(|_| word()).collect())
        .collect()
}

/// Links two nodes anew, and lets them talk for a while.
pub(crate) fn meet_again(a: &mut Home, b: &mut Home) {
    for _ in 0..2 {
        part(a, b);
        link(a, b);
        for home in [&mut *a, &mut *b] {
            home.pass(25_000);
        }
        talk(a, b);
    }
}

/// Lets `guest` join by a link of `host`'s; both stay linked.
pub(crate) fn join(host: &mut Home, guest: &mut Home, at: Place) {
    let link_text = host.invite(at.revolt);
    let command = guest.begin(Command::Join { link: link_text });
    link(host, guest);
    assert!(matches!(guest.answer(command), Reply::Revolt(_)));
}

/// The stream of a channel.
pub(crate) fn stream(at: Place) -> StreamId {
    let channel: &ChannelId = &at.channel;
    StreamId::channel(&at.revolt, channel)
}
