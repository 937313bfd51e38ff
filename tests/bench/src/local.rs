//! A node without sockets: a core on a storage that is asked at once, driven by hand. For making what is measured.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use revnet_core::command::{Command, Reply};
use revnet_core::storage::{Answer, Boot, Query, Storage, Write};
use revnet_core::{Core, Effect, Identity, Input, MILLI, Mono, SECOND};
use revnet_protocol::{DeviceId, DeviceKeys, RootKey};

/// 2026-01-01 in Unix milliseconds: where the time of made nodes starts.
const START_MS: u64 = 1_767_225_600_000;

/// Something for others.
#[derive(Debug)]
pub(crate) enum Out {
    /// A frame over the link to a peer.
    Frame(DeviceId, Vec<u8>),
    /// A gossip message with its topic.
    Gossip(String, Vec<u8>),
}

/// A core with its storage.
#[derive(Debug)]
pub(crate) struct Local<S> {
    core: Core,
    /// Where it keeps things.
    pub(crate) storage: S,
    device: DeviceId,
    now: Mono,
    /// How many batches may share a commit.
    group: usize,
    batches: Vec<Vec<Write>>,
    numbers: Vec<u64>,
    replies: Vec<(u64, Result<Reply, String>)>,
    next_command: u64,
    out: Vec<Out>,
}

/// Who node `number` is: the same in every process.
pub(crate) fn identity(number: u64) -> Identity {
    let seed = |purpose: u8| {
        let mut seed = [purpose; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        seed
    };
    let keys = DeviceKeys::from_seed(seed(1));
    let cert = RootKey::from_seed(seed(2)).certify(&keys, "bench", START_MS);
    Identity {
        keys,
        cert,
        name: format!("member {number}"),
    }
}

/// A core of node `number` on what its store holds.
pub(crate) fn core(number: u64, boot: Boot) -> Core {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    // A second life on one store must not repeat the first one's random numbers.
    seed[8..16].copy_from_slice(&boot.position.to_be_bytes());
    let unix = Duration::from_millis(START_MS + boot.position);
    Core::new(identity(number), seed, SECOND, unix, boot)
}

impl<S: Storage> Local<S> {
    /// Starts node `number` on a storage. Up to `group` batches share a commit.
    pub(crate) fn start(number: u64, storage: S, group: usize) -> Result<Self> {
        let boot = Boot::read(&storage)?;
        let mut local = Self {
            core: core(number, boot),
            storage,
            device: identity(number).cert.device,
            now: SECOND,
            group,
            batches: Vec::new(),
            numbers: Vec::new(),
            replies: Vec::new(),
            next_command: 0,
            out: Vec::new(),
        };
        let now = local.now;
        local.core.handle_timeout(now);
        local.drain()?;
        Ok(local)
    }

    /// Its device.
    pub(crate) fn device(&self) -> DeviceId {
        self.device
    }

    /// Lets time pass until so many milliseconds after its start, without timers: they would dial and look around.
    pub(crate) fn reach(&mut self, milliseconds: u64) {
        self.now = self.now.max(SECOND + milliseconds * MILLI);
    }

    /// Gives it an input and does what it wants done.
    pub(crate) fn input(&mut self, input: Input) -> Result<()> {
        self.core.handle(input, self.now);
        self.drain()
    }

    /// Gives it a command; the answer may come later.
    pub(crate) fn ask(&mut self, command: Command) -> Result<u64> {
        self.next_command += 1;
        let id = self.next_command;
        self.input(Input::Command { id, command })?;
        Ok(id)
    }

    /// The answer to a command, if it is there.
    pub(crate) fn answer(&mut self, id: u64) -> Option<Result<Reply>> {
        let at = self.replies.iter().position(|(have, _)| *have == id)?;
        let (_, reply) = self.replies.swap_remove(at);
        Some(reply.map_err(anyhow::Error::msg))
    }

    /// Gives it a command that is answered without others.
    pub(crate) fn command(&mut self, command: Command) -> Result<Reply> {
        let id = self.ask(command)?;
        self.sync()?;
        self.answer(id).context("a command was not answered")?
    }

    /// What it has for others since the last call.
    pub(crate) fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        while !self.batches.is_empty() {
            self.commit()?;
            self.drain()?;
        }
        Ok(())
    }

    /// Ends it and gives its storage back.
    pub(crate) fn end(mut self) -> Result<S> {
        self.sync()?;
        Ok(self.storage)
    }

    fn commit(&mut self) -> Result<()> {
        self.storage.commit(&std::mem::take(&mut self.batches))?;
        for id in std::mem::take(&mut self.numbers) {
            self.core.handle(Input::Stored { id }, self.now);
        }
        Ok(())
    }

    fn load(&mut self, id: u64, query: &Query) -> Result<()> {
        if !self.batches.is_empty() {
            self.commit()?;
        }
        let answer: Answer = self.storage.query(query)?;
        let answer = Ok(answer);
        self.core.handle(Input::Loaded { id, answer }, self.now);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Store { id, writes } => {
                    self.batches.push(writes);
                    self.numbers.push(id);
                    if self.batches.len() >= self.group {
                        self.commit()?;
                    }
                }
                Effect::Load { id, query } => self.load(id, &query)?,
                Effect::Send { peer, bytes } => self.out.push(Out::Frame(peer, bytes)),
                Effect::Gossip { topic, bytes } => self.out.push(Out::Gossip(topic, bytes)),
                Effect::Reply { id, result } => {
                    let result = result.map_err(|error| error.to_string());
                    self.replies.push((id, result));
                }
                Effect::Disconnect { reason, .. } | Effect::Ban { reason, .. } => {
                    bail!("a node blamed another: {reason}")
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Links two nodes.
pub(crate) fn link<A: Storage, B: Storage>(a: &mut Local<A>, b: &mut Local<B>) -> Result<()> {
    let up = |peer| Input::LinkUp {
        peer,
        relayed: false,
        address: None,
    };
    let (of_a, of_b) = (a.device(), b.device());
    a.input(up(of_b))?;
    b.input(up(of_a))
}

/// Ends the link of two nodes.
pub(crate) fn part<A: Storage, B: Storage>(a: &mut Local<A>, b: &mut Local<B>) -> Result<()> {
    let (of_a, of_b) = (a.device(), b.device());
    a.input(Input::LinkDown { peer: of_b })?;
    b.input(Input::LinkDown { peer: of_a })
}

/// Carries frames between two linked nodes until neither has any; shows each one with whether it comes from `a`. What
/// they have for others is dropped.
pub(crate) fn talk<A: Storage, B: Storage>(
    a: &mut Local<A>,
    b: &mut Local<B>,
    mut seen: impl FnMut(bool, &[u8]),
) -> Result<()> {
    loop {
        a.sync()?;
        b.sync()?;
        let (from_a, from_b) = (a.take(), b.take());
        if from_a.is_empty() && from_b.is_empty() {
            return Ok(());
        }
        let (of_a, of_b) = (a.device(), b.device());
        for out in from_a {
            if let Out::Frame(to, bytes) = out
                && to == of_b
            {
                seen(true, &bytes);
                b.input(Input::Frame { peer: of_a, bytes })?;
            }
        }
        for out in from_b {
            if let Out::Frame(to, bytes) = out
                && to == of_a
            {
                seen(false, &bytes);
                a.input(Input::Frame { peer: of_b, bytes })?;
            }
        }
    }
}
