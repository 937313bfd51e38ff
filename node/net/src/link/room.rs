//! Room for frames on their way from the peers to the caller: what a peer can make this node hold.
//!
//! A frame takes room before its content is read and gives it back when the caller has dealt with it. A link has a
//! share, and all links together have two pools: one for peers that the caller trusts, and a small one for strangers,
//! so that however many of those hold what they were given, the others go on.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use super::MAX_FRAME;
use crate::{DownReason, Limits};

/// Largest frame of a stranger, in bytes.
pub const MAX_STRANGER_FRAME: usize = 128 << 10;

/// What one link may have on its way, in bytes.
const LINK_SHARE: usize = 2 * MAX_FRAME;

/// What even an empty frame counts as, in bytes.
const SMALLEST: usize = 256;

/// How long a peer with a larger frame than strangers may send waits to be trusted. It may have recognised us before
/// the caller has looked at its proof.
const RECOGNISED_WITHIN: Duration = Duration::from_secs(10);

/// The pools of all links of a node.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    strangers: Arc<Semaphore>,
    trusted: Arc<Semaphore>,
}

/// What a frame takes up. Keep it until the frame has been dealt with.
#[derive(Clone, Debug, Default)]
pub struct Room(
    #[expect(dead_code, reason = "gives its room back when dropped")] Option<Arc<Taken>>,
);

#[derive(Debug)]
struct Taken {
    _share: OwnedSemaphorePermit,
    _pool: OwnedSemaphorePermit,
}

/// One link's way to its room.
#[derive(Debug)]
pub(crate) struct Gate {
    rooms: Rooms,
    share: Arc<Semaphore>,
    trusted: watch::Receiver<bool>,
}

impl Rooms {
    pub(crate) fn new(limits: &Limits) -> Self {
        let pool = |bytes: usize| Arc::new(Semaphore::new(bytes.max(MAX_FRAME)));
        Self {
            strangers: pool(limits.stranger_bytes),
            trusted: pool(limits.inbound_bytes),
        }
    }

    pub(crate) fn gate(&self, trusted: watch::Receiver<bool>) -> Gate {
        Gate {
            rooms: self.clone(),
            share: Arc::new(Semaphore::new(LINK_SHARE)),
            trusted,
        }
    }
}

impl Gate {
    /// Waits for room for a frame of this length, at most [`MAX_FRAME`].
    pub(crate) async fn room(&mut self, length: usize) -> Result<Room, DownReason> {
        if length > MAX_STRANGER_FRAME {
            let trusted = self.trusted.wait_for(|trusted| *trusted);
            if !matches!(timeout(RECOGNISED_WITHIN, trusted).await, Ok(Ok(_))) {
                return Err(DownReason::Oversized {
                    bytes: length,
                    limit: MAX_STRANGER_FRAME,
                });
            }
        }
        let pool = if *self.trusted.borrow() {
            &self.rooms.trusted
        } else {
            &self.rooms.strangers
        };
        let weight = u32::try_from(length.max(SMALLEST)).expect("at most MAX_FRAME");
        let take = |from: &Arc<Semaphore>| Arc::clone(from).acquire_many_owned(weight);
        let taken = Taken {
            _share: take(&self.share).await.expect("never closed"),
            _pool: take(pool).await.expect("never closed"),
        };
        Ok(Room(Some(Arc::new(taken))))
    }

    /// For tests of what lies behind it.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        let (_, trusted) = watch::channel(true);
        Rooms::new(&Limits::default()).gate(trusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at_once(gate: &mut Gate, length: usize) -> Option<Room> {
        let waited = timeout(Duration::from_millis(20), gate.room(length)).await;
        waited.ok().map(|room| room.expect("within the limit"))
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_that_hold_all_their_room_leave_the_trusted_theirs() {
        let limits = Limits {
            stranger_bytes: 16 * MAX_STRANGER_FRAME,
            ..Limits::default()
        };
        let rooms = Rooms::new(&limits);
        let (_stranger, is_stranger) = watch::channel(false);
        let (_member, is_member) = watch::channel(true);
        let mut held = Vec::new();
        loop {
            let mut gate = rooms.gate(is_stranger.clone());
            let Some(room) = at_once(&mut gate, MAX_STRANGER_FRAME).await else {
                break;
            };
            held.push(room);
        }
        assert_eq!(held.len(), limits.stranger_bytes / MAX_STRANGER_FRAME);
        let mut member = rooms.gate(is_member);
        assert!(at_once(&mut member, MAX_FRAME).await.is_some());
        let mut another = rooms.gate(is_stranger);
        assert!(at_once(&mut another, 1).await.is_none());
        held.pop();
        assert!(at_once(&mut another, 1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_has_its_share_however_much_is_free() {
        let (_member, trusted) = watch::channel(true);
        let mut gate = Rooms::new(&Limits::default()).gate(trusted);
        let held = [
            at_once(&mut gate, MAX_FRAME).await,
            at_once(&mut gate, MAX_FRAME).await,
        ];
        assert!(held.iter().all(Option::is_some));
        assert!(at_once(&mut gate, 1).await.is_none());
        drop(held);
        assert!(at_once(&mut gate, 1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_frame_waits_until_its_sender_is_trusted() {
        let (member, trusted) = watch::channel(false);
        let mut gate = Rooms::new(&Limits::default()).gate(trusted);
        let large = MAX_STRANGER_FRAME + 1;
        assert!(matches!(
            gate.room(large).await,
            Err(DownReason::Oversized { .. })
        ));
        let recognised = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            member.send_replace(true);
        };
        let (room, ()) = tokio::join!(gate.room(large), recognised);
        assert!(room.is_ok());
    }
}
