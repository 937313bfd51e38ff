//! How much is kept of what can't be read, or of devices that nobody invited.
//!
//! What lacks a key or a control head is parked, with a quota for each author and stream; what is beyond stays with the
//! peers and is fetched when the chain can be read on. Anybody who may knock can write into a control stream, because
//! joining starts there; devices that didn't come by an invite share a quota, and who brings an invite passes it by.

use revnet_protocol::envelope::{Authentic, Envelope};
use revnet_protocol::frame::Tip;
use revnet_protocol::limits::MAX_SEQ;
use revnet_protocol::{Act, DeviceId, RevoltId, StreamId};

use crate::chain::{Chain, Waiting as ChainWaiting};
use crate::core::Core;
use crate::open::read_change;
use crate::revolt::Revolt;

/// Most envelopes of one author that wait in a channel for something that nobody has announced.
const MAX_PARKED: u64 = 1024;
/// Most acts of a device that didn't come by an invite, as far as newcomers bring them.
const MAX_STRANGE_ACTS: u64 = 16;
/// Most devices that didn't come by an invite, in one revolt, as far as newcomers bring them; members bring more.
const MAX_STRANGERS: usize = 512;
/// Bytes of their envelopes.
const MAX_STRANGE_BYTES: usize = 2 << 20;
/// How many times as much a peer may bring that has proven to share the revolt: it may know acts that aren't here.
const TRUSTED_TIMES: usize = 16;

impl Core {
    /// Whether an envelope that would continue a chain is beyond a quota.
    pub(crate) fn is_beyond_quota(
        &self,
        peer: &DeviceId,
        id: &RevoltId,
        stream: &StreamId,
        authentic: &Authentic,
    ) -> bool {
        let (Some(revolt), Some(known)) = (self.revolts.get(id), self.streams.get(stream)) else {
            return true;
        };
        let header = authentic.header();
        if known.channel.is_some() {
            let chain = known.chains.get(&header.device);
            return chain.is_some_and(|chain| is_parked_full(revolt, chain));
        }
        if revolt.authority.has_come(&header.device)
            || comes_by_invite(revolt, authentic.envelope())
        {
            return false;
        }
        // The chains of members come before the acts that admit them as often as not.
        let is_trusted = self.links.get(peer).is_some_and(|link| link.is_trusted);
        let times = if is_trusted { TRUSTED_TIMES } else { 1 };
        let strangers = known.strangers.values();
        header.seq > MAX_STRANGE_ACTS && !is_trusted
            || !known.strangers.contains_key(&header.device)
                && known.strangers.len() >= MAX_STRANGERS * times
            || strangers.sum::<usize>() + authentic.envelope().stored_size()
                > MAX_STRANGE_BYTES * times
    }

    /// Counts an envelope that was taken into a control stream.
    pub(crate) fn count_stranger(&mut self, id: &RevoltId, stream: &StreamId, envelope: &Envelope) {
        let (Some(revolt), Some(known)) = (self.revolts.get(id), self.streams.get_mut(stream))
        else {
            return;
        };
        let device = envelope.header.device;
        if known.channel.is_some() || revolt.authority.has_come(&device) {
            return;
        }
        *known.strangers.entry(device).or_default() += envelope.stored_size();
        if known.strangers.len().is_multiple_of(MAX_STRANGERS / 2) {
            let authority = &revolt.authority;
            known
                .strangers
                .retain(|device, _| !authority.has_come(device));
        }
    }

    /// What a peer is told of a chain here, so that it brings nothing that isn't taken.
    pub(crate) fn told(
        &self,
        id: &RevoltId,
        stream: &StreamId,
        author: &DeviceId,
        tip: Tip,
    ) -> Tip {
        let revolt = self.revolts.get(id);
        let chain = self
            .streams
            .get(stream)
            .filter(|known| known.channel.is_some())
            .and_then(|known| known.chains.get(author));
        match (revolt, chain) {
            (Some(revolt), Some(chain)) if is_parked_full(revolt, chain) => Tip {
                seq: MAX_SEQ,
                ..tip
            },
            _ => tip,
        }
    }

    /// A chain that had been full is read on: what comes after it lies before the cursors.
    pub(crate) fn was_full(&mut self, id: RevoltId) {
        let of_revolt = self.cursors.keys().filter(|(revolt, _)| *revolt == id);
        for (revolt, peer) in of_revolt.copied().collect::<Vec<_>>() {
            self.cursors.remove(&(revolt, peer));
        }
        self.pull_from_all(id);
    }
}

/// Whether so much of a chain waits for what nobody has announced that no more is taken. Words in channels that
/// aren't for this device are no such case: others get them from here.
pub(crate) fn is_parked_full(revolt: &Revolt, chain: &Chain) -> bool {
    let unannounced = match chain.waiting {
        Some(ChainWaiting::Key(key_id)) => !revolt.authority.is_named(&key_id),
        Some(ChainWaiting::Head(head)) => !revolt.authority.contains(&head),
        _ => false,
    };
    unannounced && chain.tip.saturating_sub(chain.opened) >= MAX_PARKED
}

/// Whether an act is a join by an invite that somebody made here.
fn comes_by_invite(revolt: &Revolt, envelope: &Envelope) -> bool {
    let secret = revolt.secrets.get(&envelope.header.key_id);
    let checked = secret.and_then(|secret| read_change(envelope, secret));
    match checked.and_then(|checked| Act::decode(&checked.value).ok()) {
        Some(Act::Join(join)) => revolt.authority.is_invite(&join.invite),
        _ => false,
    }
}
