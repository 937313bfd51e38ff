//! Who came later to a channel where newcomers don't read what was written before they came.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::Audience;
use revnet_protocol::{Act, DeviceId, KeyId, UserId};

use super::graph::{Graph, Place};
use super::rank::Event;
use super::reduce::Decided;
use super::state::{Epoch, State};
use super::{Authority, settle};

/// Devices that came after an epoch began, for epochs whose rotations don't count.
pub(super) type VoidEpochs = BTreeMap<(Audience, KeyId), BTreeSet<DeviceId>>;

impl Authority {
    /// Whether a device came to an audience after an epoch, of which it is not to read. Words under a secret whose
    /// rotation doesn't count any more were written by people who relied on it, so it is looked at, too.
    #[must_use]
    pub fn is_late(&self, audience: &Audience, device: &DeviceId, key_id: &KeyId) -> bool {
        let epochs = self.state().epochs.get(audience).into_iter().flatten();
        let mut named: Vec<&Epoch> = epochs.filter(|epoch| epoch.key_id == *key_id).collect();
        if named.is_empty() {
            let void = self.void_epochs().get(&(*audience, *key_id));
            return void.is_some_and(|late| late.contains(device));
        }
        named.retain(|epoch| epoch.late.contains(device));
        !named.is_empty()
    }

    /// Whether a device came after an epoch, whoever's it is.
    #[must_use]
    pub fn is_late_anywhere(&self, device: &DeviceId, key_id: &KeyId) -> bool {
        let counting = self.state().epochs.keys();
        let void = self.void_epochs().keys().map(|(audience, _)| audience);
        let audiences: BTreeSet<&Audience> = counting.chain(void).collect();
        let mut audiences = audiences.into_iter();
        audiences.any(|audience| self.is_late(audience, device, key_id))
    }

    fn void_epochs(&self) -> &VoidEpochs {
        let outcome = self.outcome();
        outcome.void_epochs.get_or_init(|| {
            let mut all = VoidEpochs::new();
            for (place, verdict) in outcome.decided.verdicts.iter().enumerate() {
                if let Act::KeyRotate(rotate) = self.graph.act(place)
                    && !verdict.counts()
                {
                    let (state, decided) = (&outcome.state, &outcome.decided);
                    let late = late(state, &self.graph, decided, &rotate.audience, place);
                    let of = (rotate.audience, rotate.key_id);
                    all.entry(of).or_default().extend(late);
                }
            }
            all
        })
    }
}

/// The devices that came to a channel after an epoch of it began, where newcomers may not read what was before.
pub(super) fn late(
    state: &State,
    graph: &Graph,
    decided: &Decided,
    audience: &Audience,
    epoch: Place,
) -> BTreeSet<DeviceId> {
    let Audience::Channel(channel) = audience else {
        return BTreeSet::new();
    };
    if state
        .channels
        .get(channel)
        .is_none_or(|known| known.history)
    {
        return BTreeSet::new();
    }
    let unknown = |place: Place| !graph.knew(epoch, place);
    let came_to_see = |user: &UserId| {
        let was_raised = |event: &Event| event.is_set() && unknown(event.place);
        decided.rights.is_view_changed(channel, user, unknown)
            || decided.ledger[user].all.iter().any(was_raised)
    };
    let inside = state.members.iter();
    let inside = inside.filter(|(user, _)| state.is_in(audience, user));
    let mut late = BTreeSet::new();
    for (user, member) in inside {
        let user_is_late = state.channels[channel].private && came_to_see(user);
        // By an entry that stands: who was out meanwhile missed what was said then.
        let (_, standing) = decided.ledger[user].standing(graph);
        let known = standing.into_iter().filter(|event| !unknown(event.place));
        let known = known.filter_map(|event| settle::entry_of(graph, event));
        let known: BTreeSet<DeviceId> = known.map(|(cert, _)| cert.device).collect();
        let devices = member.devices.keys().copied();
        late.extend(devices.filter(|device| user_is_late || !known.contains(device)));
    }
    late
}
