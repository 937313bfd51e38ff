//! Virtual time and its queue: cores, disks and the network between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use revnet_core::command::{Command, CommandError, Reply};
use revnet_core::{Core, Identity, Input, MILLI, Mono, SECOND};
use revnet_protocol::{DeviceId, DeviceKeys, DeviceRevocation, EnvelopeId, RootKey};

use crate::batch::Work;
use crate::disk::{Disk, Done};
use crate::network::{Network, NodeId};
use crate::wire::{Actor, Known, Wire};

mod effects;
mod links;

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
    /// Links that were replaced at once.
    pub links_replaced: u64,
    /// Frames of a link that was replaced, kept off the next one.
    pub frames_stale: u64,
    /// Crashes.
    pub crashes: u64,
    /// Crashes in the middle of a batch that they were aimed at.
    pub crashes_aimed: u64,
    /// Batches that crashes lost.
    pub batches_lost: u64,
    /// Partitions.
    pub partitions: u64,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Who it is.
    pub identity: Identity,
    /// The person's root key, which is on paper.
    root: RootKey,
    /// Another device with an empty disk, from the next start on.
    replacement: Option<(Identity, Disk)>,
    /// Its disk.
    pub disk: Disk,
    /// Its core; none while it is down.
    pub core: Option<Core>,
    skew_ms: i64,
    /// Grows with each start, so that answers to an earlier life are ignored.
    life: u64,
    /// When the disk is done with what waits.
    disk_due: Option<Mono>,
    /// When the core is woken next.
    wake: Option<Mono>,
    /// Links as the core knows them: the real ones change a little earlier.
    links: BTreeMap<NodeId, u64>,
    known: Known,
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
        /// It ends the answer to a pull.
        ends: bool,
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
        due: Mono,
    },
    Connected {
        from: NodeId,
        to: NodeId,
    },
    Up {
        node: NodeId,
        life: u64,
        peer: NodeId,
        generation: u64,
        dialled: bool,
    },
    Down {
        node: NodeId,
        peer: NodeId,
        generation: u64,
    },
    Replace {
        ends: (NodeId, NodeId),
    },
    Crash {
        node: NodeId,
        life: u64,
        back_after: Mono,
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
    /// The next batches about this end in a crash.
    pub ambushes: BTreeSet<Work>,
    /// The links of so many frames to come are replaced while these are under way.
    pub replacements: u64,
    /// A planted fault: links have no numbers, so frames find their way to the next one.
    pub links_unnumbered: bool,
    /// Whose keys are in wrong hands: this node may be blamed.
    pub rogue: Option<NodeId>,
    /// Watches what leaves the nodes.
    pub wire: Wire,
    queue: BinaryHeap<Reverse<(Mono, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    answers: Vec<Answered>,
    crashed: BTreeSet<NodeId>,
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
                let root = RootKey::from_seed(random());
                let cert = root.certify(&keys, "sim", EPOCH_MS);
                let id = *random().first_chunk().expect("32 bytes have 16");
                // Clocks are wrong by up to ten minutes.
                let skew_ms = i64::from(random()[0]) * 4706 - 600_000;
                Node {
                    identity: Identity {
                        keys,
                        cert,
                        name: format!("node{at}"),
                    },
                    root,
                    replacement: None,
                    disk: Disk::new(id),
                    core: None,
                    skew_ms,
                    life: 0,
                    disk_due: None,
                    wake: None,
                    links: BTreeMap::new(),
                    known: Known::default(),
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
            ambushes: BTreeSet::new(),
            replacements: 0,
            links_unnumbered: false,
            rogue: None,
            wire: Wire::default(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            answers: Vec::new(),
            crashed: BTreeSet::new(),
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
        if let Some((identity, disk)) = known.replacement.take() {
            (known.identity, known.disk) = (identity, disk);
        }
        known.life += 1;
        known.disk_due = None;
        known.wake = None;
        known.links.clear();
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
        let actor = Actor {
            node,
            device: known.identity.cert.device,
            disk: &known.disk,
        };
        known.known = self.wire.known(actor);
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
        self.nodes[node]
            .disk
            .crash(usize::try_from(kept).expect("small"));
        self.nodes[node].links.clear();
        self.counters.batches_lost += waiting - kept;
        self.counters.crashes += 1;
        self.crashed.insert(node);
        let broken = self.network.set_down(node, true);
        self.links_ended(broken);
        self.at(self.now + back_after, Event::Start { node });
    }

    /// A person loses their device with all that is on it, and begins again with another. Says which it was.
    pub fn lose_device(&mut self, node: NodeId) -> DeviceId {
        self.crash(node, SECOND);
        let (mut seed, mut id) = ([0; 32], [0; 16]);
        self.rng.fill_bytes(&mut seed);
        self.rng.fill_bytes(&mut id);
        let known = &mut self.nodes[node];
        let keys = DeviceKeys::from_seed(seed);
        let replacement = Identity {
            cert: known.root.certify(&keys, "sim", EPOCH_MS),
            keys,
            name: known.identity.name.clone(),
        };
        // Others hear of the end of its links before.
        known.replacement = Some((replacement, Disk::new(id)));
        known.identity.cert.device
    }

    /// What takes a person's device back.
    #[must_use]
    pub fn revocations(
        &self,
        node: NodeId,
        device: DeviceId,
        keep: &[(u64, EnvelopeId)],
    ) -> Vec<DeviceRevocation> {
        let root = &self.nodes[node].root;
        let keep = keep.iter().copied().map(Some);
        keep.map(|keep| root.revoke(device, keep)).collect()
    }

    /// Unix milliseconds by a clock that is right.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        EPOCH_MS + self.now / MILLI
    }

    /// How long a node that crashed stays away: some are back before anybody noticed.
    pub fn absence(&mut self) -> Mono {
        match self.below(3) {
            0 => 20 * MILLI + self.below(300 * MILLI),
            _ => SECOND + self.below(20 * SECOND),
        }
    }

    /// Nodes that crashed since the last call: what they had not answered, they never will.
    pub fn take_crashed(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.crashed)
    }

    /// One node was told that it removed another.
    pub fn note_removal(&mut self, remover: NodeId, node: NodeId) {
        let known = &self.nodes[remover];
        let actor = Actor {
            node: remover,
            device: known.identity.cert.device,
            disk: &known.disk,
        };
        self.wire.removed(node, actor);
    }

    /// Batches that crashes lost, by what they were about.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<Work, u64> {
        let mut all = BTreeMap::new();
        for (work, count) in self.nodes.iter().flat_map(|node| &node.disk.lost) {
            *all.entry(*work).or_default() += count;
        }
        all
    }

    /// The device of a node.
    #[must_use]
    pub fn device(&self, node: NodeId) -> DeviceId {
        self.nodes[node].identity.cert.device
    }

    /// Sends a frame that the core of `from` knows nothing of, over its present link.
    pub fn inject(&mut self, from: NodeId, to: NodeId, bytes: Vec<u8>) {
        self.send(from, to, bytes, false);
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
                ends,
            } => self.frame(from, to, generation, bytes, ends),
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
                self.nodes[node].disk_due = None;
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
            Event::Wake { node, life, due } => {
                let now = self.now;
                let known = &mut self.nodes[node];
                if known.life != life || known.wake != Some(due) {
                    return;
                }
                known.wake = None;
                if let Some(core) = known.core.as_mut() {
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
            Event::Up {
                node,
                life,
                peer,
                generation,
                dialled,
            } => {
                if self.nodes[node].life == life {
                    self.link_up(node, peer, generation, dialled);
                }
            }
            Event::Down {
                node,
                peer,
                generation,
            } => self.link_down(node, peer, generation),
            Event::Replace { ends: (a, b) } => self.replace(a, b),
            Event::Crash {
                node,
                life,
                back_after,
            } => {
                if self.nodes[node].life == life && self.nodes[node].core.is_some() {
                    self.counters.crashes_aimed += 1;
                    self.crash(node, back_after);
                }
            }
        }
    }
}
