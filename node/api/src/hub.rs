//! The last events and whoever listens. One task numbers nothing and drops nothing by itself: it turns
//! notices into frames, keeps a bounded ring for readers who come back, and hands them on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::dto::{Event, EventFrame, NoDetail};
use crate::node::Sequenced;

/// How many events are kept for readers who come back.
pub const RING: usize = 4096;

/// How many frames a reader may be behind before it is told to read again.
const QUEUE: usize = 1024;

/// A frame as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) text: Utf8Bytes,
}

impl Frame {
    pub(crate) fn new(seq: u64, event: Event) -> Self {
        let text = serde_json::to_string(&EventFrame { seq, event })
            .expect("frames have text keys and finite numbers");
        Self {
            seq,
            text: text.into(),
        }
    }
}

/// What a reader gets on arrival.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Frames that it missed, in order.
    pub(crate) missed: Vec<Frame>,
    /// What it missed isn't known any more.
    pub(crate) resync: bool,
    /// The last number so far.
    pub(crate) seq: u64,
    /// What comes from now on.
    pub(crate) live: broadcast::Receiver<Frame>,
}

#[derive(Debug)]
pub(crate) struct Hub {
    ring: Mutex<Ring>,
    live: broadcast::Sender<Frame>,
}

#[derive(Debug, Default)]
struct Ring {
    frames: VecDeque<Frame>,
    /// The last number seen, kept or not.
    last: u64,
}

impl Hub {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::default(),
            live: broadcast::Sender::new(QUEUE),
        })
    }

    /// Takes in notices until the node ends.
    pub(crate) async fn run(&self, mut notices: broadcast::Receiver<Arc<Sequenced>>) {
        loop {
            match notices.recv().await {
                Ok(notice) => self.push(Frame::new(notice.seq, notice.notice.clone().into())),
                Err(RecvError::Lagged(lost)) => self.lose(lost),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn push(&self, frame: Frame) {
        let mut ring = self.lock();
        if ring.frames.len() == RING {
            ring.frames.pop_front();
        }
        ring.last = frame.seq;
        ring.frames.push_back(frame.clone());
        // Under the lock, so that a reader who arrives gets each frame once. Fails where nobody listens.
        let _ = self.live.send(frame);
    }

    /// The node was faster than this task: nobody can resume across the gap.
    fn lose(&self, lost: u64) {
        let mut ring = self.lock();
        ring.frames.clear();
        ring.last = ring.last.saturating_add(lost);
        let frame = Frame::new(ring.last, Event::Resync(NoDetail {}));
        let _ = self.live.send(frame);
    }

    /// Lets a reader in, who saw everything up to `since`.
    pub(crate) fn arrive(&self, since: Option<u64>) -> Arrival {
        let ring = self.lock();
        let live = self.live.subscribe();
        let seq = ring.last;
        let (missed, resync) = match since {
            None => (Vec::new(), false),
            Some(since) if since == seq => (Vec::new(), false),
            Some(since) => match ring.frames.front() {
                Some(first) if since < seq && since + 1 >= first.seq => {
                    let from = ring.frames.partition_point(|frame| frame.seq <= since);
                    (ring.frames.range(from..).cloned().collect(), false)
                }
                _ => (Vec::new(), true),
            },
        };
        Arrival {
            missed,
            resync,
            seq,
            live,
        }
    }

    /// The last number so far.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A push is two assignments and an append: a panic elsewhere leaves the ring whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(from: u64, to: u64) -> Arc<Hub> {
        let hub = Hub::new();
        for seq in from..=to {
            hub.push(Frame::new(seq, Event::PeersChanged(NoDetail {})));
        }
        hub
    }

    fn seqs(arrival: &Arrival) -> Vec<u64> {
        arrival.missed.iter().map(|frame| frame.seq).collect()
    }

    #[test]
    fn a_reader_gets_exactly_what_it_missed() {
        let hub = filled(100, 110);
        assert_eq!(seqs(&hub.arrive(Some(107))), vec![108, 109, 110]);
        assert_eq!(seqs(&hub.arrive(Some(99))).len(), 11);
        let fresh = hub.arrive(Some(110));
        assert!(!fresh.resync && fresh.missed.is_empty());
        assert!(!hub.arrive(None).resync);
    }

    #[test]
    fn a_reader_from_before_the_ring_or_from_another_run_reads_again() {
        let hub = filled(100, 110);
        assert!(hub.arrive(Some(98)).resync, "one is lost");
        assert!(hub.arrive(Some(111)).resync, "a number of the future");
        assert!(Hub::new().arrive(Some(5)).resync, "nothing kept");
        let long = filled(1, RING as u64 + 10);
        assert!(long.arrive(Some(9)).resync);
        assert_eq!(seqs(&long.arrive(Some(10))).len(), RING);
    }

    #[test]
    fn a_gap_ends_every_resumption_across_it() {
        let hub = filled(1, 10);
        hub.lose(5);
        hub.push(Frame::new(16, Event::PeersChanged(NoDetail {})));
        assert!(hub.arrive(Some(9)).resync);
        assert_eq!(seqs(&hub.arrive(Some(15))), vec![16]);
    }
}
