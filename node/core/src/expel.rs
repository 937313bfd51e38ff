//! Taking out devices that signed two histories: whoever may remove people writes the proof down for all.

use revnet_protocol::envelope::Envelope;
use revnet_protocol::limits::MAX_PROOF_HEADERS;
use revnet_protocol::proof::{Equivocation, SignedHeaders};
use revnet_protocol::{Act, ChannelId, DeviceId, Permission, RevoltId, StreamId};

use crate::chain::Stream;
use crate::core::{Core, Timer, Waiting};
use crate::io::SECOND;
use crate::storage::Query;

impl Core {
    /// Looks at a revolt again in a while, if a device is to be taken out there. Others may be first.
    pub(crate) fn expel_soon(&mut self, id: RevoltId) {
        if self.culprit(&id).is_some() && !self.is_armed(Timer::Expel(id)) {
            let wait = 2 * SECOND + self.jitter(20 * SECOND);
            self.arm(Timer::Expel(id), wait);
        }
    }

    /// A member's device that signed two histories, with the streams where, if this person may remove its owner.
    fn culprit(&self, id: &RevoltId) -> Option<(StreamId, DeviceId)> {
        let revolt = self.revolts.get(id)?;
        let me = self.device();
        let parted = self.streams.iter().filter(|(_, s)| s.revolt == *id);
        let mut parted = parted.flat_map(|(stream, known)| {
            let branches = known.branches.values();
            branches.map(|branch| (*stream, branch.device))
        });
        let may = |device: &DeviceId| {
            let state = revolt.authority.state();
            let owner = state.user_of(device).filter(|(_, current)| *current);
            let (owner, _) = owner?;
            let (own, theirs) = (revolt.level_of(&self.user())?, revolt.level_of(&owner)?);
            (theirs <= own || owner == self.user()).then_some(())
        };
        let held = revolt.authority.permissions(&self.user(), None);
        if !held.has(Permission::Kick) {
            return None;
        }
        parted.find(|(stream, device)| {
            let is_open = !self.unprovable.contains(&(*stream, *device));
            *device != me && is_open && may(device).is_some()
        })
    }

    pub(crate) fn expel(&mut self, id: RevoltId) {
        let Some((stream, device)) = self.culprit(&id) else {
            return;
        };
        if !self.may_author(&id) {
            return self.arm(Timer::Expel(id), SECOND);
        }
        let known = &self.streams[&stream];
        // Asked again only where it leads to something.
        let histories = histories(known, &device);
        let channel = known.channel;
        self.unprovable.insert((stream, device));
        let places = histories.into_iter().flatten().flat_map(|(key, first)| {
            let numbers = first..first + MAX_PROOF_HEADERS as u64;
            numbers.map(move |at| (stream, key, at))
        });
        let query = Query::Envelopes {
            places: places.collect(),
        };
        self.load(
            query,
            Waiting::Proof {
                revolt: id,
                channel,
            },
        );
    }

    pub(crate) fn proof_loaded(
        &mut self,
        id: RevoltId,
        channel: Option<ChannelId>,
        envelopes: &[Option<Vec<u8>>],
    ) {
        let (first, second) = envelopes.split_at(envelopes.len() / 2);
        let (Some(first), Some(second)) = (signed(first), signed(second)) else {
            return self.expel_soon(id);
        };
        let proof = Equivocation {
            channel,
            first,
            second,
        };
        let act = Act::Equivocation(Box::new(proof));
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let secret = revolt.sending_secret().cloned();
        if let (Some(secret), Ok(())) = (secret, self.would_count(&id, &act)) {
            self.author(id, &act, &secret, Vec::new());
        }
        self.expel_soon(id);
    }
}

/// Two chains or branches with the places in the store from which on they differ.
fn histories(known: &Stream, device: &DeviceId) -> Option<[(DeviceId, u64); 2]> {
    let mut branches = known.branches.iter().filter(|(_, b)| b.device == *device);
    let (name, branch) = branches.next()?;
    if known.channel.is_some() {
        let (other, _) = branches.next()?;
        return Some([(*name, 1), (*other, 1)]);
    }
    let parent = known.seat_of(&branch.prev).map_or(*device, |(key, _)| key);
    let beside = known.stored_at(&parent, branch.base + 1);
    Some([(*name, 1), (parent, beside)])
}

fn signed(envelopes: &[Option<Vec<u8>>]) -> Option<SignedHeaders> {
    let read = envelopes.iter().map_while(Option::as_ref);
    let read = read.map_while(|bytes| Envelope::decode(bytes).ok());
    SignedHeaders::of(&read.collect::<Vec<_>>())
}
