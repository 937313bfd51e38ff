//! What a peer may cost. Each has a purse that fills with time; every frame is paid from it by a rough estimate of the
//! work it makes, and bringing something new costs nothing. Whoever empties it is sent away for a while.
//!
//! That bounds the work of all that one peer sends, whatever it is. That others don't wait meanwhile is the runtime's
//! part, which shares its time fairly.

use revnet_protocol::DeviceId;

use crate::core::Core;
use crate::io::{Mono, SECOND};

/// Estimated microseconds of work.
pub(crate) type Cost = u64;

/// What any frame costs, its decoding aside.
const FRAME: Cost = 20;
/// Bytes that are decoded and hashed in a microsecond.
const BYTES: usize = 500;
/// A new link, with the greeting and the timers that it brings.
pub(crate) const LINK: Cost = 500;
/// A signature that is verified, or a key that is sealed or opened.
pub(crate) const SIGNATURE: Cost = 60;
/// A question to the store.
pub(crate) const LOAD: Cost = 1000;

/// What a stranger's purse holds, and what comes into it in a second.
const STRANGER: (Cost, Cost) = (500_000, 50_000);
/// The same for a peer that has proven to share a revolt.
const MEMBER: (Cost, Cost) = (3_000_000, 300_000);

/// What a peer may still cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purse {
    left: Cost,
    at: Mono,
}

impl Core {
    fn terms(&self, peer: &DeviceId) -> (Cost, Cost) {
        let link = self.links.get(peer);
        if link.is_some_and(|link| link.is_trusted) {
            MEMBER
        } else {
            STRANGER
        }
    }

    fn filled(&self, peer: &DeviceId, purse: Purse) -> Cost {
        let (most, rate) = self.terms(peer);
        let since = self.now().saturating_sub(purse.at);
        let came = u128::from(since) * u128::from(rate) / u128::from(SECOND);
        let came = u64::try_from(came).unwrap_or(most);
        purse.left.saturating_add(came).min(most)
    }

    /// What a frame of this length costs before it is looked at.
    pub(crate) fn frame_cost(length: usize) -> Cost {
        FRAME + (length / BYTES) as Cost
    }

    /// Takes from a peer's purse. If too little is in it, the peer is sent away, and nothing more is to be done for it.
    pub(crate) fn pays(&mut self, peer: DeviceId, cost: Cost) -> bool {
        let at = self.now();
        let purse = self.purses.get(&peer).copied();
        let left = match purse {
            Some(purse) => self.filled(&peer, purse),
            None => self.terms(&peer).0,
        };
        let rest = left.checked_sub(cost);
        let left = rest.unwrap_or(0);
        self.purses.insert(peer, Purse { left, at });
        if rest.is_none() {
            self.blame(peer, "costs more than a peer may");
        }
        rest.is_some()
    }

    /// Gives back what a frame cost that brought something new.
    pub(crate) fn earns(&mut self, peer: DeviceId, cost: Cost) {
        let most = self.terms(&peer).0;
        if let Some(purse) = self.purses.get_mut(&peer) {
            purse.left = purse.left.saturating_add(cost).min(most);
        }
    }

    /// Forgets purses that are full again: they are as good as new ones.
    pub(crate) fn forget_full_purses(&mut self) {
        let mut purses = std::mem::take(&mut self.purses);
        purses.retain(|peer, purse| self.filled(peer, *purse) < self.terms(peer).0);
        self.purses = purses;
    }
}
