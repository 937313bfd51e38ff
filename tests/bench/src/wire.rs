//! Two nodes on threads of their own, joined by queues in place of a network: cores and stores as they are.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use revnet_core::command::Reply;
use revnet_core::storage::{Boot, Write};
use revnet_core::{Core, Effect, Input, Mono, SECOND};
use revnet_protocol::{DeviceId, StreamId};
use revnet_store::{RedbStorage, StoreHandle, spawn};

use crate::local;

/// Something for a node.
#[derive(Debug)]
pub(crate) enum Event {
    /// For its core.
    Input(Box<Input>),
    /// It is enough.
    Stop,
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self::Input(Box::new(input))
    }
}

/// What a node did so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Bytes of the frames that it sent.
    pub(crate) bytes: u64,
    /// Frames that it sent.
    pub(crate) frames: u64,
    /// Envelopes that became durable here, by stream.
    pub(crate) durable: BTreeMap<StreamId, u64>,
    /// Bytes of the durable envelopes.
    pub(crate) durable_bytes: u64,
    /// Time in the core, without waiting for anything.
    pub(crate) busy: Duration,
    /// The newest answer to a command.
    pub(crate) answer: Option<Result<Reply, String>>,
}

/// A node with one peer.
#[derive(Debug)]
pub(crate) struct Node {
    core: Core,
    store: StoreHandle,
    device: DeviceId,
    inbox: Receiver<Event>,
    own: Sender<Event>,
    peer: Sender<Event>,
    peer_device: DeviceId,
    under_way: BTreeMap<u64, Vec<(StreamId, u64)>>,
    started: Instant,
    /// What it did.
    pub(crate) seen: Seen,
}

impl Node {
    /// Node `number` on a store; `own` leads to `inbox`, `peer` to the other's.
    pub(crate) fn start(
        number: u64,
        storage: RedbStorage,
        (own, inbox): (Sender<Event>, Receiver<Event>),
        peer: Sender<Event>,
        peer_number: u64,
    ) -> Result<Self> {
        let boot = Boot::read(&storage)?;
        let mut node = Self {
            core: local::core(number, boot),
            store: spawn(storage),
            device: local::identity(number).cert.device,
            inbox,
            own,
            peer,
            peer_device: local::identity(peer_number).cert.device,
            under_way: BTreeMap::new(),
            started: Instant::now(),
            seen: Seen::default(),
        };
        node.drain()?;
        Ok(node)
    }

    fn now(&self) -> Mono {
        SECOND + u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Works until `enough` says so after some event, or it is stopped, or nothing happens for `patience`.
    pub(crate) fn run(
        &mut self,
        patience: Duration,
        mut enough: impl FnMut(&Seen) -> bool,
    ) -> Result<()> {
        loop {
            if enough(&self.seen) {
                return Ok(());
            }
            let event = match self.inbox.recv_timeout(patience) {
                Ok(Event::Input(input)) => *input,
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("nothing more happens; so far: {:?}", self.seen)
                }
            };
            self.input(event)?;
        }
    }

    /// Gives it an input at once.
    pub(crate) fn input(&mut self, input: Input) -> Result<()> {
        if let Input::Stored { id } = &input {
            for (stream, bytes) in self.under_way.remove(id).unwrap_or_default() {
                *self.seen.durable.entry(stream).or_default() += 1;
                self.seen.durable_bytes += bytes;
            }
        }
        let (now, started) = (self.now(), Instant::now());
        self.core.handle(input, now);
        self.seen.busy += started.elapsed();
        self.drain()
    }

    /// Ends it when its store has done everything.
    pub(crate) fn end(self) -> Seen {
        self.store.shutdown();
        self.seen
    }

    fn drain(&mut self) -> Result<()> {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Send { peer, bytes } if peer == self.peer_device => {
                    self.seen.bytes += bytes.len() as u64;
                    self.seen.frames += 1;
                    let peer = self.device;
                    // The other may have stopped already.
                    let _ = self.peer.send(Input::Frame { peer, bytes }.into());
                }
                Effect::Store { id, writes } => self.store(id, writes)?,
                Effect::Load { id, query } => {
                    let own = self.own.clone();
                    let done = move |answer| {
                        let _ = own.send(Input::Loaded { id, answer }.into());
                    };
                    self.store.query(query, done).context("the store")?;
                }
                Effect::Reply { result, .. } => {
                    self.seen.answer = Some(result.map_err(|error| error.to_string()));
                }
                Effect::Disconnect { reason, .. } | Effect::Ban { reason, .. } => {
                    bail!("a node blamed another: {reason}")
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn store(&mut self, id: u64, writes: Vec<Write>) -> Result<()> {
        let envelopes = writes.iter().filter_map(|write| match write {
            Write::Envelope { stream, bytes, .. } => Some((*stream, bytes.len() as u64)),
            _ => None,
        });
        self.under_way.insert(id, envelopes.collect());
        let own = self.own.clone();
        let done = move |result| {
            let input = match result {
                Ok(()) => Input::Stored { id },
                Err(error) => Input::StoreFailed { id, error },
            };
            // It may have stopped already.
            let _ = own.send(input.into());
        };
        self.store.commit(writes, done).context("the store")
    }
}
