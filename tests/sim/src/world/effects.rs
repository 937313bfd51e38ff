//! Doing what cores want done.

use revnet_core::storage::Write;
use revnet_core::{Core, Effect, Input, MILLI, Verdict};

use super::{Answered, Event, World};
use crate::batch::Work;
use crate::network::NodeId;
use crate::wire::Actor;

impl World {
    /// Does what a core wants done, and notes when it wants to be woken.
    pub(super) fn drain(&mut self, node: NodeId) {
        while let Some(effect) = self.nodes[node].core.as_mut().and_then(Core::poll_effect) {
            self.record(node, &effect);
            self.effect(node, effect);
        }
        let known = &mut self.nodes[node];
        let wanted = known.core.as_ref().and_then(Core::poll_timeout);
        let (life, now) = (known.life, self.now);
        if let Some(due) = wanted
            .map(|(when, _)| when.max(now))
            .filter(|due| known.wake.is_none_or(|wake| *due < wake))
        {
            known.wake = Some(due);
            self.at(due, Event::Wake { node, life, due });
        }
    }

    /// Everything that a core does goes into the digest of the run.
    fn record(&mut self, node: NodeId, effect: &Effect) {
        self.trace.update(&(node as u64).to_le_bytes());
        self.trace.update(&self.now.to_le_bytes());
        match effect {
            Effect::Send { bytes, .. } | Effect::Gossip { bytes, .. } => {
                self.trace.update(bytes);
            }
            Effect::Store { id, writes } => {
                self.trace.update(&id.to_le_bytes());
                for write in writes {
                    if let Write::Envelope { bytes, .. }
                    | Write::Put { value: bytes, .. }
                    | Write::Chain { state: bytes, .. } = write
                    {
                        self.trace.update(bytes);
                    }
                }
            }
            other => {
                self.trace.update(format!("{other:?}").as_bytes());
            }
        }
    }

    fn effect(&mut self, node: NodeId, effect: Effect) {
        let (now, life) = (self.now, self.nodes[node].life);
        match effect {
            Effect::Send { peer, bytes } => {
                let ends = self.wire.sent(actor(&self.nodes, node), &bytes);
                if let Some(to) = self.node_of(&peer) {
                    self.send(node, to, bytes, ends);
                }
            }
            Effect::Gossip { topic, bytes } => {
                self.wire.gossiped(actor(&self.nodes, node), &bytes);
                self.spread(node, &topic, &bytes, None);
            }
            Effect::Verdict { token, verdict } => {
                if let Some((topic, bytes, from)) = self.nodes[node].tokens.remove(&token) {
                    match verdict {
                        Verdict::Accept => self.spread(node, &topic, &bytes, Some(from)),
                        Verdict::Reject if self.rogue != Some(from) => self
                            .wire
                            .fail(|| format!("node {node} blames node {from} for gossip")),
                        Verdict::Reject | Verdict::Ignore => {}
                    }
                }
            }
            Effect::Subscribe { topic } => self.network.subscribe(node, topic, true),
            Effect::Unsubscribe { topic } => self.network.subscribe(node, topic, false),
            Effect::Dial { peer, .. } => {
                if let Some(to) = self.node_of(&peer) {
                    self.dial(node, to);
                }
            }
            Effect::DialAddress { address } => {
                if let Some(to) = address.strip_prefix("sim:").and_then(|n| n.parse().ok()) {
                    self.dial(node, to);
                }
            }
            Effect::Disconnect { peer, reason } | Effect::Ban { peer, reason, .. } => {
                // Only one here misbehaves.
                let is_rogue = self.node_of(&peer).is_some_and(|to| self.rogue == Some(to));
                let is_peaceful = [
                    "makes room for another member",
                    "shares nothing with this node",
                ]
                .contains(&reason);
                if !is_peaceful && !is_rogue {
                    self.wire
                        .fail(|| format!("node {node} parts with a peer: {reason}"));
                }
                if let Some(to) = self.node_of(&peer) {
                    let broken = self.network.disconnect(node, to);
                    self.links_ended(broken);
                }
            }
            Effect::Provide { key } => self.network.provide(node, key, true),
            Effect::StopProviding { key } => self.network.provide(node, key, false),
            Effect::FindProviders { key } => {
                let when = now + 20 * MILLI + self.below(300 * MILLI);
                self.at(when, Event::Found { node, life, key });
            }
            Effect::Store { id, writes } => self.store(node, id, writes),
            Effect::Load { id, query } => {
                self.nodes[node].disk.load(id, query);
                self.disk_soon(node);
            }
            Effect::Reply { id, result } => self.answers.push(Answered { node, id, result }),
            Effect::Trust { .. } | Effect::Notice(_) => {}
        }
    }

    fn dial(&mut self, from: NodeId, to: NodeId) {
        let when = self.now + 5 * MILLI + self.below(100 * MILLI);
        self.at(when, Event::Connected { from, to });
    }

    fn store(&mut self, node: NodeId, id: u64, writes: Vec<Write>) {
        let known = &mut self.nodes[node];
        let device = known.identity.cert.device;
        let acting = Actor {
            node,
            device,
            disk: &known.disk,
        };
        self.wire.stored(acting, &mut known.known, &writes);
        let (work, life) = (Work::of(&writes, &device), known.life);
        known.disk.commit(id, work, writes);
        let due = self.disk_soon(node);
        if self.ambushes.remove(&work) {
            let when = self.now + self.below(due - self.now);
            let back_after = self.absence();
            self.at(
                when,
                Event::Crash {
                    node,
                    life,
                    back_after,
                },
            );
        }
    }

    /// Most disks take some milliseconds, and now and then one takes a second.
    fn disk_soon(&mut self, node: NodeId) -> u64 {
        if let Some(due) = self.nodes[node].disk_due {
            return due;
        }
        let slow = self.below(16) == 0;
        let due = self.now + MILLI + self.below(if slow { 1000 } else { 5 } * MILLI);
        self.nodes[node].disk_due = Some(due);
        let life = self.nodes[node].life;
        self.at(due, Event::Disk { node, life });
        due
    }

    pub(super) fn gossip(&mut self, from: NodeId, to: NodeId, topic: String, bytes: Vec<u8>) {
        if !self.network.has_way(from, to) || self.nodes[to].core.is_none() {
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
}

fn actor(nodes: &[super::Node], node: NodeId) -> Actor<'_> {
    Actor {
        node,
        device: nodes[node].identity.cert.device,
        disk: &nodes[node].disk,
    }
}
