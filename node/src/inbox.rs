//! Whose frame comes next: start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996) by the time that handling takes.
//!
//! Peers share the loop by what they cost it. Who sends little is served at once, however many others send as much as
//! they can. What waits is bounded elsewhere: frames by the room that they took in `revnet-net`, gossip by its size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use revnet_net::{GossipRef, LinkId, Room};
use revnet_protocol::DeviceId;

/// Bytes of gossip that may wait from one peer; what comes beyond is lost, and a comparison brings it later.
const MAX_GOSSIP: usize = 256 << 10;
/// How many times a stranger's share a peer gets that has business here.
const TRUSTED_SHARE: u64 = 8;
/// What any item costs, in nanoseconds, so that nothing is free.
const LEAST: u64 = 1_000;

/// What came from a peer. Kept in its order.
#[derive(Debug)]
pub(crate) enum Item {
    /// A link stands.
    Up {
        link: LinkId,
        address: String,
        relayed: bool,
    },
    /// It ended.
    Down,
    /// A frame, with the room that it takes up.
    Frame(Bytes, Room),
    /// A gossip message.
    Gossip {
        topic: String,
        data: Bytes,
        message: GossipRef,
    },
}

/// Items by peer.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    lanes: BTreeMap<DeviceId, Lane>,
    /// Peers with items, by when their next one starts in virtual time.
    ready: BTreeSet<(u64, DeviceId)>,
    /// Virtual time: the start of the item that was taken last.
    clock: u64,
}

#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    /// When its next item starts.
    start: u64,
    gossip: usize,
    is_trusted: bool,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes an item in; gossip is given back if too much of the peer waits.
    pub(crate) fn push(&mut self, peer: DeviceId, item: Item) -> Result<(), GossipRef> {
        let lane = self.lanes.entry(peer).or_default();
        if let Item::Gossip { data, message, .. } = &item {
            if lane.gossip + data.len() > MAX_GOSSIP {
                return Err(message.clone());
            }
            lane.gossip += data.len();
        }
        if lane.items.is_empty() {
            lane.start = lane.start.max(self.clock);
            self.ready.insert((lane.start, peer));
        }
        lane.items.push_back(item);
        Ok(())
    }

    /// The next item, of the peer that cost least.
    pub(crate) fn pop(&mut self) -> Option<(DeviceId, Item)> {
        let (start, peer) = self.ready.pop_first()?;
        self.clock = start;
        let lane = self.lanes.get_mut(&peer).expect("who is ready has a lane");
        let item = lane.items.pop_front().expect("and an item in it");
        if let Item::Gossip { data, .. } = &item {
            lane.gossip -= data.len();
        }
        if !lane.items.is_empty() {
            self.ready.insert((start, peer));
        }
        Some((peer, item))
    }

    /// Counts what handling an item took.
    pub(crate) fn charge(&mut self, peer: DeviceId, took: Duration) {
        let clock = self.clock;
        let Some(lane) = self.lanes.get_mut(&peer) else {
            return;
        };
        let share = if lane.is_trusted { TRUSTED_SHARE } else { 1 };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let start = lane.start.saturating_add(nanos.max(LEAST) / share);
        if self.ready.remove(&(lane.start, peer)) {
            self.ready.insert((start, peer));
        }
        lane.start = start;
        // A peer whose time has passed is as good as a new one.
        if self.lanes.len() > self.ready.len() + SPARE {
            self.lanes
                .retain(|_, lane| !lane.items.is_empty() || lane.start > clock || lane.is_trusted);
        }
    }

    /// Gives a peer the larger share as long as its link stands, or takes it back.
    pub(crate) fn trust(&mut self, peer: DeviceId, is_trusted: bool) {
        if is_trusted || self.lanes.contains_key(&peer) {
            self.lanes.entry(peer).or_default().is_trusted = is_trusted;
        }
    }
}

/// Lanes without items that are kept before it is looked which of them are of no use.
const SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn frame() -> Item {
        Item::Frame(Bytes::new(), Room::default())
    }

    fn push(inbox: &mut Inbox, number: u8) {
        assert!(inbox.push(peer(number), frame()).is_ok());
    }

    /// Takes an item that costs so many milliseconds, and says whose it was.
    fn serve(inbox: &mut Inbox, cost: u64) -> u8 {
        let (peer, _) = inbox.pop().expect("something waits");
        inbox.charge(peer, Duration::from_millis(cost));
        peer.0[0]
    }

    #[test]
    fn who_sends_little_is_served_before_the_rest_of_a_flood() {
        let mut inbox = Inbox::default();
        for _ in 0..1000 {
            push(&mut inbox, 1);
        }
        for _ in 0..10 {
            assert_eq!(serve(&mut inbox, 5), 1);
        }
        push(&mut inbox, 2);
        assert!([serve(&mut inbox, 5), serve(&mut inbox, 5)].contains(&2));
    }

    #[test]
    fn a_peer_that_sends_one_frame_at_a_time_has_no_more_than_its_share() {
        let mut inbox = Inbox::default();
        let mut served = [0; 3];
        for _ in 0..100 {
            push(&mut inbox, 1);
        }
        push(&mut inbox, 2);
        for _ in 0..100 {
            let who = serve(&mut inbox, 5);
            served[usize::from(who)] += 1;
            if who == 2 {
                push(&mut inbox, 2);
            }
        }
        assert!((45..=55).contains(&served[2]), "{served:?}");
    }

    #[test]
    fn time_counts_and_not_frames() {
        let mut inbox = Inbox::default();
        for _ in 0..300 {
            push(&mut inbox, 1);
            push(&mut inbox, 2);
        }
        let mut time = [0; 3];
        for _ in 0..200 {
            let (peer, _) = inbox.pop().expect("something waits");
            let cost = if peer.0[0] == 1 { 20 } else { 1 };
            inbox.charge(peer, Duration::from_millis(cost));
            time[usize::from(peer.0[0])] += cost;
        }
        assert!(time[1].abs_diff(time[2]) <= 40, "{time:?}");
    }

    #[test]
    fn a_trusted_peer_gets_the_larger_share_until_its_link_ends() {
        let mut inbox = Inbox::default();
        inbox.trust(peer(1), true);
        let served = |inbox: &mut Inbox| {
            for _ in 0..100 {
                push(inbox, 1);
                push(inbox, 2);
            }
            let first = (0..90).filter(|_| serve(inbox, 5) == 1).count();
            while inbox.pop().is_some() {}
            first
        };
        assert!((75..=85).contains(&served(&mut inbox)));
        inbox.trust(peer(1), false);
        assert!((40..=50).contains(&served(&mut inbox)));
    }

    #[test]
    fn peers_that_are_gone_leave_nothing() {
        let mut inbox = Inbox::default();
        for number in 0..255 {
            push(&mut inbox, number);
            serve(&mut inbox, 0);
        }
        for _ in 0..SPARE + 2 {
            push(&mut inbox, 255);
            serve(&mut inbox, 1000);
        }
        assert!(inbox.lanes.len() <= SPARE + 2, "{}", inbox.lanes.len());
    }
}
