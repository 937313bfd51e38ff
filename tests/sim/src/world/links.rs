//! Links as nodes see them: a core hears a little later what became of one, and meanwhile writes on.

use std::collections::BTreeMap;

use revnet_core::{Input, MILLI};

use super::{Event, World};
use crate::network::{Broken, NodeId};

impl World {
    /// Splits the network.
    pub fn partition(&mut self, group: BTreeMap<NodeId, u8>) {
        self.counters.partitions += u64::from(!group.is_empty());
        let broken = self.network.partition(group);
        self.links_ended(broken);
    }

    /// Leaves only these pairs of nodes a way to each other.
    pub fn set_roads(&mut self, roads: Vec<(NodeId, NodeId)>) {
        let broken = self.network.set_roads(roads);
        self.links_ended(broken);
    }

    /// Breaks one link by chance.
    pub fn break_a_link(&mut self) {
        let links = self.network.links();
        if links.is_empty() {
            return;
        }
        let at = self.below(links.len() as u64);
        let (a, b) = links[usize::try_from(at).expect("small")];
        let broken = self.network.disconnect(a, b);
        self.counters.links_broken += 1;
        self.links_ended(broken);
    }

    /// Ends a link and makes another at once, with frames of the first on their way in both directions.
    pub(super) fn replace(&mut self, a: NodeId, b: NodeId) {
        if let Some(broken) = self.network.disconnect(a, b) {
            self.counters.links_replaced += 1;
            self.links_ended([broken]);
            self.connect(a, b);
        }
    }

    pub(super) fn links_ended(&mut self, broken: impl IntoIterator<Item = Broken>) {
        for Broken {
            ends: (a, b),
            generation,
        } in broken
        {
            for (node, peer) in [(a, b), (b, a)] {
                let soon = self.now + self.below(80 * MILLI);
                let when = self.network.tell(node, peer, soon);
                self.at(
                    when,
                    Event::Down {
                        node,
                        peer,
                        generation,
                    },
                );
            }
        }
    }

    /// A dial that has run its time.
    pub(super) fn connected(&mut self, from: NodeId, to: NodeId) {
        if self.network.reachable(from, to) {
            self.connect(from, to);
        } else {
            let peer = self.device(to);
            self.input(from, Input::DialFailed { peer });
        }
    }

    fn connect(&mut self, from: NodeId, to: NodeId) {
        let soon = (
            self.now + self.below(20 * MILLI),
            self.now + self.below(20 * MILLI),
        );
        let Some((generation, heard)) = self.network.connect(from, to, soon) else {
            return;
        };
        for (node, peer, when, dialled) in [(from, to, heard.0, true), (to, from, heard.1, false)] {
            let life = self.nodes[node].life;
            self.at(
                when,
                Event::Up {
                    node,
                    life,
                    peer,
                    generation,
                    dialled,
                },
            );
        }
    }

    pub(super) fn link_up(&mut self, node: NodeId, peer: NodeId, generation: u64, dialled: bool) {
        if self.nodes[node].core.is_none() {
            return;
        }
        self.nodes[node].links.insert(peer, generation);
        let input = Input::LinkUp {
            peer: self.device(peer),
            relayed: false,
            address: dialled.then(|| format!("sim:{peer}")),
        };
        self.input(node, input);
    }

    pub(super) fn link_down(&mut self, node: NodeId, peer: NodeId, generation: u64) {
        let known = &mut self.nodes[node];
        if known.links.get(&peer) != Some(&generation) {
            return;
        }
        known.links.remove(&peer);
        known.known.heard.remove(&peer);
        let peer = self.device(peer);
        self.input(node, Input::LinkDown { peer });
    }

    /// A core sends over the link that it knows, which may be gone or another one by now.
    pub(super) fn send(&mut self, node: NodeId, to: NodeId, bytes: Vec<u8>, ends: bool) {
        let Some(known) = self.nodes[node].links.get(&to).copied() else {
            return;
        };
        let generation = match self.network.generation(node, to) {
            Some(present) if present == known || self.links_unnumbered => present,
            Some(_) => {
                self.counters.frames_stale += 1;
                return;
            }
            None => {
                self.counters.frames_lost += 1;
                return;
            }
        };
        let delay = MILLI + self.below(100 * MILLI);
        let Some(when) = self.network.pass(node, to, self.now, delay) else {
            return;
        };
        if self.replacements > 0 {
            self.replacements -= 1;
            let during = self.now + self.below(when - self.now);
            self.at(during, Event::Replace { ends: (node, to) });
        }
        self.at(
            when,
            Event::Frame {
                from: node,
                to,
                generation,
                bytes,
                ends,
            },
        );
    }

    /// A frame arrives: for the link on which it was sent, and no other.
    pub(super) fn frame(
        &mut self,
        from: NodeId,
        to: NodeId,
        generation: u64,
        bytes: Vec<u8>,
        ends: bool,
    ) {
        match self.nodes[to].links.get(&from) {
            Some(present) if *present == generation || self.links_unnumbered => {
                self.counters.frames += 1;
                if ends {
                    self.nodes[to].known.heard.insert(from);
                }
                let peer = self.device(from);
                self.input(to, Input::Frame { peer, bytes });
            }
            Some(_) => self.counters.frames_stale += 1,
            None => self.counters.frames_lost += 1,
        }
    }
}
