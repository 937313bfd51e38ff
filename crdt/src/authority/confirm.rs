//! Joins that members vouch for, so that they outlast their invites.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::Join;
use revnet_protocol::{Act, EnvelopeId, InviteId, UserId};

use super::Authority;
use super::graph::Place;
use super::mutant::{Mutant, is_active};
use super::rank::Rank;
use super::reduce::Loop;

impl Loop<'_> {
    /// A member vouches for joins of others that they knew.
    pub(super) fn confirmed_joins(&mut self, place: Place, rank: Rank, joins: &[EnvelopeId]) {
        let author = self.graph.nodes[place].author;
        let named = joins.iter().filter_map(|join| self.graph.place(join));
        let of_others = named.filter_map(|join| {
            let user = self.graph.nodes[join].author?;
            let is_own = Some(user) == author && !is_active(Mutant::ConfirmOneself);
            let is_sound = self.joins.get(&user)?.contains(&join);
            (is_sound && !is_own && self.may_confirm(place, join)).then_some(join)
        });
        let joins: Vec<Place> = of_others.collect();
        self.confirm(&joins, rank);
    }

    /// The joins that who sets a member's level vouches for: those that they knew.
    pub(super) fn confirmed_by(&self, set: Place, user: &UserId) -> Vec<Place> {
        let joins = self.joins.get(user).into_iter().flatten().copied();
        joins.filter(|join| self.may_confirm(set, *join)).collect()
    }

    /// Whether the author of `by` knew a join, and not that the device left since. A void leave would come to count
    /// with the join before it.
    fn may_confirm(&self, by: Place, join: Place) -> bool {
        let knew = |place: &Place| self.graph.knew(by, *place);
        knew(&join) && !self.leaves_of(join, false).iter().any(knew)
    }

    pub(super) fn confirm(&mut self, joins: &[Place], rank: Rank) {
        for join in joins {
            let highest = self.confirmed.entry(*join).or_insert(rank);
            *highest = rank.max(*highest);
            let confirmed = Some(*highest);
            self.vouch(*join, rank);
            self.change_entry(*join, |entry| entry.confirmed = confirmed);
        }
    }
}

impl Authority {
    /// The joins that brought in devices of members and that nobody confirmed, with who joined. Those by an invite
    /// beyond its uses or after its end are not among them: whoever may should revoke it. Nor are those by an invite
    /// that expired before `since_ms`, whenever they were stamped.
    #[must_use]
    pub fn unconfirmed(&self, since_ms: u64) -> Vec<(EnvelopeId, UserId)> {
        let rightful = self.rightful_joins(since_ms);
        let decided = &self.outcome().decided;
        let members = decided.ledger.iter();
        let members = members.filter(|(user, _)| self.state().members.contains_key(user));
        let mut found = Vec::new();
        for (user, events) in members {
            let (_, standing) = events.standing(&self.graph);
            let open = standing.into_iter().filter(|event| event.is_provisional());
            let rightful = open.filter(|event| rightful.contains(&event.place));
            found.extend(rightful.map(|event| (self.graph.nodes[event.place].record.id, *user)));
        }
        found
    }

    /// Joins within the uses of their invites, the earliest first, and before their ends, of which none is before
    /// `since_ms`.
    fn rightful_joins(&self, since_ms: u64) -> BTreeSet<Place> {
        let accepted = self.outcome().decided.accepted.iter();
        let mut by_invite: BTreeMap<InviteId, Vec<Place>> = BTreeMap::new();
        for place in accepted {
            if let Act::Join(Join { invite, .. }) = self.graph.act(*place) {
                by_invite.entry(*invite).or_default().push(*place);
            }
        }
        let mut rightful = BTreeSet::new();
        for (invite, mut joins) in by_invite {
            let Some(invite) = self.state().invites.get(&invite) else {
                continue;
            };
            let record = |place: &Place| &self.graph.nodes[*place].record;
            joins.retain(|join| {
                let stamped = record(join).hlc.ms;
                let end = invite.expires_ms;
                end.is_none_or(|end| stamped <= end && since_ms <= end)
            });
            joins.sort_unstable_by_key(|join| (record(join).hlc, record(join).id));
            let most = invite.max_uses.map_or(usize::MAX, |most| most as usize);
            rightful.extend(joins.into_iter().take(most));
        }
        rightful
    }
}
