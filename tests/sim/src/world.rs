//! Virtual time and its queue: cores, disks and the network between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use revnet_core::command::{Command, CommandError, Reply};
use revnet_core::{Core, Effect, Identity, Input, MILLI, Mono, SECOND, Verdict};
use revnet_protocol::{DeviceId, DeviceKeys, RootKey};

use crate::disk::{Disk, Done};
use crate::network::{Network, NodeId};

/// 2026-01-01 in Unix milliseconds: where virtual time starts.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// What the world did, to see what a run exercised.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames that arrived.
    pub frames: u64,
    /// Frames lost with their link.
    pub frames_lost: u64,
    /// Gossip messages that arrived.
    pub gossip: u64,
    /// Gossip messages lost on purpose.
    pub gossip_lost: u64,
    /// Gossip messages delivered twice.
    pub gossip_doubled: u64,
    /// Links that broke by chance.
    pub links_broken: u64,
    /// Crashes.
    pub crashes: u64,
    /// Batches that crashes lost.
    pub batches_lost: u64,
    /// Partitions.
    pub partitions: u64,
    /// Peers that were blamed for something.
    pub blamed: u64,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Who it is.
    pub identity: Identity,
    /// Its disk.
    pub disk: Disk,
    /// Its core; none while it is down.
    pub core: Option<Core>,
    skew_ms: i64,
    /// Grows with each start, so that answers to an earlier life are ignored.
    life: u64,
    disk_busy: bool,
    seen: BTreeSet<[u8; 32]>,
    tokens: BTreeMap<u64, (String, Vec<u8>, NodeId)>,
}

#[derive(Debug)]
enum Event {
    Frame {
        from: NodeId,
        to: NodeId,
        generation: u64,
        bytes: Vec<u8>,
    },
    Gossip {
        from: NodeId,
        to: NodeId,
        topic: String,
        bytes: Vec<u8>,
    },
    Disk {
        node: NodeId,
        life: u64,
    },
    Wake {
        node: NodeId,
        life: u64,
    },
    Connected {
        from: NodeId,
        to: NodeId,
    },
    Found {
        node: NodeId,
        life: u64,
        key: [u8; 32],
    },
    Start {
        node: NodeId,
    },
}

/// An answered command.
#[derive(Debug)]
pub struct Answered {
    /// Which node.
    pub node: NodeId,
    /// The command's number.
    pub id: u64,
    /// The answer.
    pub result: Result<Reply, CommandError>,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// The one random source of a run.
    pub rng: ChaCha20Rng,
    /// Virtual time.
    pub now: Mono,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The network.
    pub network: Network,
    /// What happened.
    pub counters: Counters,
    /// Gossip loss in percent.
    pub loss: u64,
    queue: BinaryHeap<Reverse<(Mono, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    answers: Vec<Answered>,
    trace: blake3::Hasher,
}

impl World {
    /// A world with `count` nodes that are down.
    #[must_use]
    pub fn new(seed: u64, count: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut random = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let nodes = (0..count)
            .map(|at| {
                let keys = DeviceKeys::from_seed(random());
                let cert = RootKey::from_seed(random()).certify(&keys, "sim", EPOCH_MS);
                let id = *random().first_chunk().expect("32 bytes have 16");
                // Clocks are wrong by up to ten minutes.
                let skew_ms = i64::from(random()[0]) * 4706 - 600_000;
                Node {
                    identity: Identity {
                        keys,
                        cert,
                        name: format!("node{at}"),
                    },
                    disk: Disk::new(id),
                    core: None,
                    skew_ms,
                    life: 0,
                    disk_busy: false,
                    seen: BTreeSet::new(),
                    tokens: BTreeMap::new(),
                }
            })
            .collect();
        Self {
            rng,
            now: SECOND,
            nodes,
            network: Network::default(),
            counters: Counters::default(),
            loss: 10,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            answers: Vec::new(),
            trace: blake3::Hasher::new(),
        }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    /// A digest of everything that happened: equal for equal seeds.
    #[must_use]
    pub fn digest(&self) -> String {
        self.trace.finalize().to_hex()[..16].to_owned()
    }

    fn at(&mut self, when: Mono, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((when, self.next)));
        self.events.insert(self.next, event);
    }

    /// Starts a node from its disk.
    pub fn start(&mut self, node: NodeId) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let now = self.now;
        let known = &mut self.nodes[node];
        if known.core.is_some() {
            return;
        }
        known.life += 1;
        known.disk_busy = false;
        known.seen.clear();
        known.tokens.clear();
        let unix =
            Duration::from_millis((EPOCH_MS + now / MILLI).saturating_add_signed(known.skew_ms));
        known.core = Some(Core::new(
            known.identity.clone(),
            seed,
            now,
            unix,
            known.disk.boot(),
        ));
        self.network.set_down(node, false);
        self.drain(node);
    }

    /// Kills a node; some of the batches under way may have reached the disk.
    pub fn crash(&mut self, node: NodeId, back_after: Mono) {
        if self.nodes[node].core.take().is_none() {
            return;
        }
        let waiting = self.nodes[node].disk.waiting() as u64;
        let kept = self.below(waiting + 1);
        let disk = &mut self.nodes[node].disk;
        let before = disk.lost;
        disk.crash(usize::try_from(kept).expect("small"));
        self.counters.batches_lost += disk.lost - before;
        self.counters.crashes += 1;
        let broken = self.network.set_down(node, true);
        self.links_down(&broken);
        self.at(self.now + back_after, Event::Start { node });
    }

    /// Splits the network.
    pub fn partition(&mut self, group: BTreeMap<NodeId, u8>) {
        self.counters.partitions += u64::from(!group.is_empty());
        let broken = self.network.partition(group);
        self.links_down(&broken);
    }

    /// Breaks one link by chance.
    pub fn break_a_link(&mut self) {
        let links = self.network.links();
        if links.is_empty() {
            return;
        }
        let at = self.below(links.len() as u64);
        let (a, b) = links[usize::try_from(at).expect("small")];
        self.network.disconnect(a, b);
        self.counters.links_broken += 1;
        self.links_down(&[(a, b)]);
    }

    fn links_down(&mut self, broken: &[(NodeId, NodeId)]) {
        for (a, b) in broken {
            self.input(
                *a,
                Input::LinkDown {
                    peer: self.device(*b),
                },
            );
            self.input(
                *b,
                Input::LinkDown {
                    peer: self.device(*a),
                },
            );
        }
    }

    /// The device of a node.
    #[must_use]
    pub fn device(&self, node: NodeId) -> DeviceId {
        self.nodes[node].identity.cert.device
    }

    fn node_of(&self, device: &DeviceId) -> Option<NodeId> {
        self.nodes
            .iter()
            .position(|node| node.identity.cert.device == *device)
    }

    /// Gives a command to a node; false if it is down.
    pub fn command(&mut self, node: NodeId, id: u64, command: Command) -> bool {
        if self.nodes[node].core.is_none() {
            return false;
        }
        self.input(node, Input::Command { id, command });
        true
    }

    /// Answers since the last call.
    pub fn take_answers(&mut self) -> Vec<Answered> {
        std::mem::take(&mut self.answers)
    }

    fn input(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        let Some(core) = self.nodes[node].core.as_mut() else {
            return;
        };
        core.handle(input, now);
        self.drain(node);
    }

    /// Runs until virtual time `until`, or until nothing is left to happen.
    pub fn run_until(&mut self, until: Mono) {
        while let Some(Reverse((when, id))) = self.queue.peek().copied() {
            if when > until {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(when);
            let event = self.events.remove(&id).expect("queued with its number");
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame {
                from,
                to,
                generation,
                bytes,
            } => {
                if self.network.is_current(from, to, generation) {
                    self.counters.frames += 1;
                    let peer = self.device(from);
                    self.input(to, Input::Frame { peer, bytes });
                } else {
                    self.counters.frames_lost += 1;
                }
            }
            Event::Gossip {
                from,
                to,
                topic,
                bytes,
            } => self.gossip(from, to, topic, bytes),
            Event::Disk { node, life } => {
                if self.nodes[node].life != life || self.nodes[node].core.is_none() {
                    return;
                }
                self.nodes[node].disk_busy = false;
                for done in self.nodes[node].disk.work() {
                    self.input(
                        node,
                        match done {
                            Done::Stored(id) => Input::Stored { id },
                            Done::Loaded(id, answer) => Input::Loaded {
                                id,
                                answer: Ok(answer),
                            },
                        },
                    );
                }
            }
            Event::Wake { node, life } => {
                let now = self.now;
                let known = &mut self.nodes[node];
                if let Some(core) = known.core.as_mut().filter(|_| known.life == life) {
                    core.handle_timeout(now);
                    self.drain(node);
                }
            }
            Event::Connected { from, to } => self.connected(from, to),
            Event::Found { node, life, key } => {
                if self.nodes[node].life == life {
                    let peers = self
                        .network
                        .find(node, &key)
                        .into_iter()
                        .map(|peer| self.device(peer))
                        .collect();
                    self.input(node, Input::Providers { key, peers });
                }
            }
            Event::Start { node } => self.start(node),
        }
    }

    fn connected(&mut self, from: NodeId, to: NodeId) {
        let (a, b) = (self.device(from), self.device(to));
        if !self.network.reachable(from, to) {
            return self.input(from, Input::DialFailed { peer: b });
        }
        if self.network.connect(from, to) {
            let address = Some(format!("sim:{to}"));
            self.input(
                from,
                Input::LinkUp {
                    peer: b,
                    relayed: false,
                    address,
                },
            );
            self.input(
                to,
                Input::LinkUp {
                    peer: a,
                    relayed: false,
                    address: None,
                },
            );
        }
    }

    fn gossip(&mut self, from: NodeId, to: NodeId, topic: String, bytes: Vec<u8>) {
        if !self.network.reachable(from, to) || self.nodes[to].core.is_none() {
            return;
        }
        let digest = *blake3::hash(&bytes).as_bytes();
        if !self.nodes[to].seen.insert(digest) {
            return;
        }
        self.counters.gossip += 1;
        self.next += 1;
        let token = self.next;
        self.nodes[to]
            .tokens
            .insert(token, (topic.clone(), bytes.clone(), from));
        let peer = self.device(from);
        self.input(
            to,
            Input::Gossip {
                peer,
                topic,
                bytes,
                token,
            },
        );
    }

    fn spread(&mut self, node: NodeId, topic: &str, bytes: &[u8], except: Option<NodeId>) {
        self.nodes[node]
            .seen
            .insert(*blake3::hash(bytes).as_bytes());
        for to in self.network.listeners(node, topic) {
            if Some(to) == except {
                continue;
            }
            if self.below(100) < self.loss {
                self.counters.gossip_lost += 1;
                continue;
            }
            let copies = if self.below(20) == 0 { 2 } else { 1 };
            self.counters.gossip_doubled += copies - 1;
            for _ in 0..copies {
                // No order between messages: each has its own delay.
                let when = self.now + MILLI + self.below(200 * MILLI);
                self.at(
                    when,
                    Event::Gossip {
                        from: node,
                        to,
                        topic: topic.to_owned(),
                        bytes: bytes.to_vec(),
                    },
                );
            }
        }
    }

    /// Does what the core wants done.
    fn drain(&mut self, node: NodeId) {
        while let Some(effect) = self.nodes[node].core.as_mut().and_then(Core::poll_effect) {
            self.trace
                .update(format!("{node} {} {effect:?}", self.now).as_bytes());
            self.effect(node, effect);
        }
        let life = self.nodes[node].life;
        let wake = self.nodes[node].core.as_ref().and_then(Core::poll_timeout);
        if let Some((when, _)) = wake {
            self.at(when.max(self.now), Event::Wake { node, life });
        }
    }

    fn effect(&mut self, node: NodeId, effect: Effect) {
        let (now, life) = (self.now, self.nodes[node].life);
        match effect {
            Effect::Send { peer, bytes } => {
                let Some(to) = self.node_of(&peer) else {
                    return;
                };
                let delay = MILLI + self.below(100 * MILLI);
                if let Some((when, generation)) = self.network.pass(node, to, now, delay) {
                    self.at(
                        when,
                        Event::Frame {
                            from: node,
                            to,
                            generation,
                            bytes,
                        },
                    );
                }
            }
            Effect::Gossip { topic, bytes } => self.spread(node, &topic, &bytes, None),
            Effect::Verdict { token, verdict } => {
                if let Some((topic, bytes, from)) = self.nodes[node].tokens.remove(&token) {
                    match verdict {
                        Verdict::Accept => self.spread(node, &topic, &bytes, Some(from)),
                        Verdict::Reject => self.counters.blamed += 1,
                        Verdict::Ignore => {}
                    }
                }
            }
            Effect::Subscribe { topic } => self.network.subscribe(node, topic, true),
            Effect::Unsubscribe { topic } => self.network.subscribe(node, topic, false),
            Effect::Dial { peer, .. } => {
                if let Some(to) = self.node_of(&peer) {
                    let when = now + 5 * MILLI + self.below(100 * MILLI);
                    self.at(when, Event::Connected { from: node, to });
                }
            }
            Effect::DialAddress { address } => {
                if let Some(to) = address.strip_prefix("sim:").and_then(|n| n.parse().ok()) {
                    let when = now + 5 * MILLI + self.below(100 * MILLI);
                    self.at(when, Event::Connected { from: node, to });
                }
            }
            Effect::Disconnect { peer, .. } => {
                self.counters.blamed += 1;
                if let Some(to) = self
                    .node_of(&peer)
                    .filter(|to| self.network.disconnect(node, *to))
                {
                    let me = self.device(node);
                    self.input(to, Input::LinkDown { peer: me });
                    self.input(node, Input::LinkDown { peer });
                }
            }
            Effect::Provide { key } => self.network.provide(node, key, true),
            Effect::StopProviding { key } => self.network.provide(node, key, false),
            Effect::FindProviders { key } => {
                let when = now + 20 * MILLI + self.below(300 * MILLI);
                self.at(when, Event::Found { node, life, key });
            }
            Effect::Store { id, writes } => {
                self.nodes[node].disk.commit(id, writes);
                self.disk_soon(node);
            }
            Effect::Load { id, query } => {
                self.nodes[node].disk.load(id, query);
                self.disk_soon(node);
            }
            Effect::Reply { id, result } => self.answers.push(Answered { node, id, result }),
            Effect::Notice(_) => {}
        }
    }

    fn disk_soon(&mut self, node: NodeId) {
        if !self.nodes[node].disk_busy {
            self.nodes[node].disk_busy = true;
            let life = self.nodes[node].life;
            let when = self.now + MILLI + self.below(5 * MILLI);
            self.at(when, Event::Disk { node, life });
        }
    }
}
