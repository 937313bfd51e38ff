//! Taking out devices that signed two histories.

use std::collections::BTreeSet;

use revnet_protocol::{DeviceId, Equivocation, UserId};

use super::graph::{Graph, Place, Places, certified_by};
use super::mutant::{Mutant, is_active};
use super::rank::Rank;
use super::reduce::{Loop, Suspension};
use super::verdict::Why;

impl Loop<'_> {
    /// The proof is as good from anybody; who may bring it is whoever may remove people, against equals, too. From
    /// here on the device is out, whoever certified it. What it did after the fork and this act's author didn't know
    /// counts below the rank of those who built on it, like what a revoked device did; what has its verdict keeps it.
    pub(super) fn expelled(
        &mut self,
        place: Place,
        rank: Rank,
        proof: &Equivocation,
    ) -> Result<(), Why> {
        let graph = self.graph;
        let device = proof.device().ok_or(Why::NoDevice)?;
        let node = &graph.nodes[place];
        let author = graph.author_by(&device, &node.past);
        let author = author.ok_or(Why::NoDevice)?;
        if node.record.device == device {
            return Err(Why::NoDevice);
        }
        let mut owners = self.owners(&device);
        for owner in &owners {
            let is_known = *owner == author || self.is_known_owner(place, &device, owner);
            let events = self.decided.ledger.entry(*owner).or_default();
            if is_known && node.author != Some(*owner) && events.protection(graph, place) > rank {
                return Err(Why::Protected);
            }
        }
        let all = self.decided.expelled.entry(device).or_default();
        all.push(place);
        if is_active(Mutant::ExpelledActOn) {
            return Ok(());
        }
        if is_active(Mutant::ExpelledOnce) {
            owners.retain(|owner| *owner == author);
        }
        let fork = Fork::of(proof, graph);
        for owner in owners {
            self.suspend(place, &device, &owner, &fork);
        }
        Ok(())
    }

    /// The people who certified a device.
    fn owners(&self, device: &DeviceId) -> BTreeSet<UserId> {
        let certified = self.graph.certified(device).iter();
        let owners = certified.filter_map(|place| certified_by(self.graph.act(*place)));
        owners.collect()
    }

    fn is_known_owner(&self, place: Place, device: &DeviceId, owner: &UserId) -> bool {
        let mut certified = self.graph.certified(device).iter();
        certified.any(|cert| {
            self.graph.knew(place, *cert) && certified_by(self.graph.act(*cert)) == Some(*owner)
        })
    }

    /// Lets what an expelled device did as one of its owners count only as far as others vouch for it.
    fn suspend(&mut self, place: Place, device: &DeviceId, owner: &UserId, fork: &Fork) {
        let graph = self.graph;
        for act in self.open_of(owner) {
            let own = &graph.nodes[act];
            let is_its_own = own.record.device == *device;
            if is_its_own && !graph.knew(place, act) && !fork.spares(graph, act) {
                let vouched = self.vouched(act, place);
                let suspension = self.decided.suspended.entry(act);
                let suspension = suspension.or_insert(Suspension {
                    by: Vec::new(),
                    vouched,
                });
                suspension.by.push(place);
                suspension.vouched = suspension.vouched.min(vouched);
            }
        }
        self.requeue(owner);
    }

    /// The rank of those who built on an act unaware of what took its device out, less one, as far as is decided.
    fn vouched(&self, act: Place, end: Place) -> Rank {
        let graph = self.graph;
        let author = graph.nodes[act].author;
        let unaware = self.decided.accepted.iter().filter(|by| {
            graph.knew(**by, act) && !graph.knew(**by, end) && graph.nodes[**by].author != author
        });
        let ranks = unaware.filter(|by| !is_join(graph.act(**by)));
        let ranks = ranks.map(|by| self.decided.ranks[*by].below());
        ranks.max().unwrap_or(Rank::NONE)
    }
}

/// Where a device's histories part, as far as that says which of its acts came before.
enum Fork {
    /// At a number of its control chain.
    Acts(u64),
    /// In a channel, from where headers cite these acts and what they build on.
    Words(Places),
}

impl Fork {
    fn of(proof: &Equivocation, graph: &Graph) -> Self {
        let headers = || proof.first.headers.iter().chain(&proof.second.headers);
        if proof.channel.is_none() {
            let first = headers().map(|header| header.seq).min();
            return Self::Acts(first.unwrap_or_default());
        }
        let cited = headers().flat_map(|header| &header.control_heads);
        Self::Words(graph.known_from(cited.filter_map(|id| graph.place(id))))
    }

    /// Whether an act of the device came before. Whoever brings the proof decides what they knew, and an equal could
    /// otherwise take back all that the device ever did.
    fn spares(&self, graph: &Graph, act: Place) -> bool {
        let before = match self {
            Self::Acts(first) => graph.nodes[act].record.seq < *first,
            Self::Words(known) => known.has(act),
        };
        before && !is_active(Mutant::ProofsErase)
    }
}

fn is_join(act: &revnet_protocol::Act) -> bool {
    matches!(act, revnet_protocol::Act::Join(_))
}
