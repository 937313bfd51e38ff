//! Taking out devices that signed two histories.

use revnet_protocol::Equivocation;

use super::graph::Place;
use super::mutant::{Mutant, is_active};
use super::rank::Rank;
use super::reduce::{Loop, Suspension};
use super::verdict::Why;

impl Loop<'_> {
    /// The proof is as good from anybody; who may bring it is whoever may remove people, against equals, too. From
    /// here on the device is out. What it did and this act's author didn't know counts below the rank of those who
    /// built on it, like what a revoked device did; what has its verdict keeps it.
    pub(super) fn expelled(
        &mut self,
        place: Place,
        rank: Rank,
        proof: &Equivocation,
    ) -> Result<(), Why> {
        let graph = self.graph;
        let device = proof.device().ok_or(Why::NoDevice)?;
        let node = &graph.nodes[place];
        let user = graph.author_by(&device, &node.past).ok_or(Why::NoDevice)?;
        if node.record.device == device {
            return Err(Why::NoDevice);
        }
        let events = self.decided.ledger.entry(user).or_default();
        let stands = events.protection(graph, place);
        if stands > rank && node.author != Some(user) {
            return Err(Why::Protected);
        }
        let all = self.decided.expelled.entry((user, device)).or_default();
        all.push(place);
        if is_active(Mutant::ExpelledActOn) {
            return Ok(());
        }
        for act in self.open_of(&user) {
            let own = &graph.nodes[act];
            if own.record.device == device && !graph.knew(place, act) {
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
        self.requeue(&user);
        Ok(())
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

fn is_join(act: &revnet_protocol::Act) -> bool {
    matches!(act, revnet_protocol::Act::Join(_))
}
