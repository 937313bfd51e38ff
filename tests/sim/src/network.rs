//! Links, gossip, meeting places and partitions between nodes that are numbers.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::Mono;

/// A node's number.
pub type NodeId = usize;

/// Who is connected with whom, and who could be.
#[derive(Debug, Default)]
pub struct Network {
    links: BTreeMap<(NodeId, NodeId), Link>,
    generation: u64,
    /// When the last news of a link arrives at the first node about the second, so that news keep their order.
    news: BTreeMap<(NodeId, NodeId), Mono>,
    /// Pairs that can reach each other at all; everybody if there is none.
    roads: Option<BTreeSet<(NodeId, NodeId)>>,
    group: BTreeMap<NodeId, u8>,
    down: BTreeSet<NodeId>,
    topics: BTreeMap<String, BTreeSet<NodeId>>,
    providers: BTreeMap<[u8; 32], BTreeSet<NodeId>>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    /// Names this link among all that there ever were.
    generation: u64,
    /// When the last frame of each direction arrives, so that frames keep their order.
    busy: [Mono; 2],
}

/// A link that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// Its ends.
    pub ends: (NodeId, NodeId),
    /// Which of all links between them.
    pub generation: u64,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Network {
    /// Whether two nodes could talk now.
    #[must_use]
    pub fn reachable(&self, a: NodeId, b: NodeId) -> bool {
        !self.down.contains(&a) && !self.down.contains(&b) && self.has_way(a, b)
    }

    /// Whether what one node sent arrives at the other, should that one be up.
    #[must_use]
    pub fn has_way(&self, a: NodeId, b: NodeId) -> bool {
        let group = |node| self.group.get(node).copied().unwrap_or(0);
        let road = self.roads.as_ref().is_none_or(|r| r.contains(&pair(a, b)));
        a != b && road && group(&a) == group(&b)
    }

    /// Connects two nodes, unless they are. Each hears of it at its time or later; gives these times and
    /// the link's generation.
    pub fn connect(
        &mut self,
        a: NodeId,
        b: NodeId,
        heard: (Mono, Mono),
    ) -> Option<(u64, (Mono, Mono))> {
        if self.links.contains_key(&pair(a, b)) {
            return None;
        }
        self.generation += 1;
        let heard = (self.tell(a, b, heard.0), self.tell(b, a, heard.1));
        let busy = if a < b {
            [heard.1, heard.0]
        } else {
            [heard.0, heard.1]
        };
        let generation = self.generation;
        self.links.insert(pair(a, b), Link { generation, busy });
        Some((generation, heard))
    }

    /// When news at `node` about `other` arrive: never before the ones ahead of them.
    pub fn tell(&mut self, node: NodeId, other: NodeId, when: Mono) -> Mono {
        let last = self.news.entry((node, other)).or_default();
        *last = (*last + 1).max(when);
        *last
    }

    /// Disconnects two nodes, if they are connected.
    pub fn disconnect(&mut self, a: NodeId, b: NodeId) -> Option<Broken> {
        let link = self.links.remove(&pair(a, b))?;
        Some(Broken {
            ends: (a, b),
            generation: link.generation,
        })
    }

    /// When a frame that takes `delay` arrives: never before the one ahead of it.
    pub fn pass(&mut self, from: NodeId, to: NodeId, now: Mono, delay: Mono) -> Option<Mono> {
        let link = self.links.get_mut(&pair(from, to))?;
        let lane = &mut link.busy[usize::from(from > to)];
        *lane = (*lane + 1).max(now + delay);
        Some(*lane)
    }

    /// The link between two nodes as it is now.
    #[must_use]
    pub fn generation(&self, a: NodeId, b: NodeId) -> Option<u64> {
        self.links.get(&pair(a, b)).map(|link| link.generation)
    }

    /// Links with frames on their way in both directions.
    #[must_use]
    pub fn busy_links(&self, now: Mono) -> Vec<(NodeId, NodeId)> {
        self.links
            .iter()
            .filter(|(_, link)| link.busy.iter().all(|busy| *busy > now))
            .map(|(pair, _)| *pair)
            .collect()
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
    pub fn partition(&mut self, group: BTreeMap<NodeId, u8>) -> Vec<Broken> {
        self.group = group;
        self.drop_unreachable()
    }

    /// Lets only these pairs reach each other, whatever happens; gives the links that broke.
    pub fn set_roads(&mut self, roads: impl IntoIterator<Item = (NodeId, NodeId)>) -> Vec<Broken> {
        self.roads = Some(roads.into_iter().map(|(a, b)| pair(a, b)).collect());
        self.drop_unreachable()
    }

    /// A node is gone or back; gives the links that broke.
    pub fn set_down(&mut self, node: NodeId, down: bool) -> Vec<Broken> {
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

    fn drop_unreachable(&mut self) -> Vec<Broken> {
        let lost: Vec<_> = self
            .links
            .keys()
            .copied()
            .filter(|(a, b)| !self.reachable(*a, *b))
            .collect();
        lost.into_iter()
            .filter_map(|(a, b)| self.disconnect(a, b))
            .collect()
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
