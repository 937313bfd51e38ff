//! Links, gossip, meeting places and partitions between nodes that are numbers.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::Mono;

/// A node's number.
pub type NodeId = usize;

/// Who is connected with whom, and who could be.
#[derive(Debug, Default)]
pub struct Network {
    /// Each link with the time until which its pipe is full, so that frames keep their order, and its
    /// generation, so that frames of a broken link are lost.
    links: BTreeMap<(NodeId, NodeId), Link>,
    generation: u64,
    group: BTreeMap<NodeId, u8>,
    down: BTreeSet<NodeId>,
    topics: BTreeMap<String, BTreeSet<NodeId>>,
    providers: BTreeMap<[u8; 32], BTreeSet<NodeId>>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    generation: u64,
    busy: [Mono; 2],
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Network {
    /// Whether two nodes could talk now.
    #[must_use]
    pub fn reachable(&self, a: NodeId, b: NodeId) -> bool {
        let group = |node| self.group.get(node).copied().unwrap_or(0);
        a != b && !self.down.contains(&a) && !self.down.contains(&b) && group(&a) == group(&b)
    }

    /// Connects two nodes; false if they are.
    pub fn connect(&mut self, a: NodeId, b: NodeId) -> bool {
        if self.links.contains_key(&pair(a, b)) {
            return false;
        }
        self.generation += 1;
        self.links.insert(
            pair(a, b),
            Link {
                generation: self.generation,
                busy: [0; 2],
            },
        );
        true
    }

    /// Disconnects two nodes; false if they weren't connected.
    pub fn disconnect(&mut self, a: NodeId, b: NodeId) -> bool {
        self.links.remove(&pair(a, b)).is_some()
    }

    /// When a frame that takes `delay` arrives: never before the one ahead of it. Gives the link's generation, too.
    pub fn pass(
        &mut self,
        from: NodeId,
        to: NodeId,
        now: Mono,
        delay: Mono,
    ) -> Option<(Mono, u64)> {
        let link = self.links.get_mut(&pair(from, to))?;
        let lane = &mut link.busy[usize::from(from > to)];
        *lane = (*lane + 1).max(now + delay);
        Some((*lane, link.generation))
    }

    /// Whether a frame of this generation still has its link.
    #[must_use]
    pub fn is_current(&self, a: NodeId, b: NodeId, generation: u64) -> bool {
        self.links
            .get(&pair(a, b))
            .is_some_and(|link| link.generation == generation)
    }

    /// All links.
    #[must_use]
    pub fn links(&self) -> Vec<(NodeId, NodeId)> {
        self.links.keys().copied().collect()
    }

    /// Peers linked with a node.
    #[must_use]
    pub fn peers(&self, node: NodeId) -> Vec<NodeId> {
        let others = self.links.keys().filter(|(a, b)| *a == node || *b == node);
        others
            .map(|(a, b)| if *a == node { *b } else { *a })
            .collect()
    }

    /// Puts nodes into groups that can't reach each other; gives the links that broke.
    pub fn partition(&mut self, group: BTreeMap<NodeId, u8>) -> Vec<(NodeId, NodeId)> {
        self.group = group;
        self.drop_unreachable()
    }

    /// A node is gone or back; gives the links that broke.
    pub fn set_down(&mut self, node: NodeId, down: bool) -> Vec<(NodeId, NodeId)> {
        if down {
            self.down.insert(node);
            for members in self.topics.values_mut().chain(self.providers.values_mut()) {
                members.remove(&node);
            }
        } else {
            self.down.remove(&node);
        }
        self.drop_unreachable()
    }

    fn drop_unreachable(&mut self) -> Vec<(NodeId, NodeId)> {
        let broken: Vec<_> = self
            .links
            .keys()
            .copied()
            .filter(|(a, b)| !self.reachable(*a, *b))
            .collect();
        for link in &broken {
            self.links.remove(link);
        }
        broken
    }

    /// Joins or leaves a topic.
    pub fn subscribe(&mut self, node: NodeId, topic: String, on: bool) {
        let members = self.topics.entry(topic).or_default();
        if on {
            members.insert(node);
        } else {
            members.remove(&node);
        }
    }

    /// Linked peers that listen to a topic.
    #[must_use]
    pub fn listeners(&self, node: NodeId, topic: &str) -> Vec<NodeId> {
        let Some(members) = self.topics.get(topic) else {
            return Vec::new();
        };
        self.peers(node)
            .into_iter()
            .filter(|peer| members.contains(peer))
            .collect()
    }

    /// Announces or withdraws.
    pub fn provide(&mut self, node: NodeId, key: [u8; 32], on: bool) {
        let members = self.providers.entry(key).or_default();
        if on {
            members.insert(node);
        } else {
            members.remove(&node);
        }
    }

    /// Who announced themselves, as far as `node` can learn it.
    #[must_use]
    pub fn find(&self, node: NodeId, key: &[u8; 32]) -> Vec<NodeId> {
        let Some(members) = self.providers.get(key) else {
            return Vec::new();
        };
        members
            .iter()
            .copied()
            .filter(|peer| self.reachable(node, *peer))
            .collect()
    }
}
