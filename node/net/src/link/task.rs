//! Moves the frames of one link between its stream, its queue and the caller.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, io::BufReader};
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    beat::{self, Ear, Paces, SLOWEST},
    frame::{self, BUFFER, Incoming},
    room::Gate,
};
use crate::{DownReason, LinkId, NetEvent, PeerKey};

/// How long a link may take to write out its queue when it is closed on purpose.
const DRAIN: Duration = Duration::from_secs(1);

/// How long what arrived before the connection closed may take to reach the caller.
const READ_OUT: Duration = Duration::from_millis(250);

/// Counters of a link, shared with the swarm task.
#[derive(Debug, Default)]
pub(crate) struct LinkStats {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Bytes of frames in the queue.
    pub(crate) queued: AtomicUsize,
    /// The same of all links.
    pub(crate) queued_everywhere: Arc<AtomicUsize>,
}

impl LinkStats {
    /// Those of a new link, whose queue counts among all.
    pub(crate) fn among(queued_everywhere: &Arc<AtomicUsize>) -> Self {
        let mut stats = Self::default();
        stats.queued_everywhere = Arc::clone(queued_everywhere);
        stats
    }

    /// Counts a frame into the queue, and says how much this link and all links have queued.
    pub(crate) fn queue(&self, bytes: usize) -> (usize, usize) {
        let add = |to: &AtomicUsize| to.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (add(&self.queued), add(&self.queued_everywhere))
    }

    /// Counts a frame out of it.
    pub(crate) fn unqueue(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.queued_everywhere.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for LinkStats {
    /// What was never written isn't queued any more.
    fn drop(&mut self) {
        let left = *self.queued.get_mut();
        self.queued_everywhere.fetch_sub(left, Ordering::Relaxed);
    }
}

/// Ends a link.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reason: DownReason,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// At once.
    Cut,
    /// After the queue has been written and the peer has read it.
    Drain,
    /// After what has already arrived has been handed over.
    ReadOut,
}

/// Everything a link's task owns.
pub(crate) struct LinkTask {
    pub(crate) id: PeerId,
    pub(crate) number: LinkId,
    pub(crate) peer: PeerKey,
    pub(crate) address: Multiaddr,
    pub(crate) relayed: bool,
    pub(crate) stream: Stream,
    pub(crate) queue: mpsc::Receiver<Bytes>,
    pub(crate) stop: oneshot::Receiver<Stop>,
    pub(crate) stats: Arc<LinkStats>,
    pub(crate) events: mpsc::Sender<NetEvent>,
    /// How often we want to hear from the peer.
    pub(crate) pace: watch::Receiver<Duration>,
    /// Where frames get their room.
    pub(crate) gate: Gate,
}

impl LinkTask {
    /// Runs until the link ends and says whose link it was and why it ended.
    ///
    /// It reports `LinkUp`, the frames and `LinkDown` itself, so that their order holds whatever the swarm task does.
    pub(crate) async fn run(self) -> (PeerId, DownReason) {
        let Self {
            id,
            number,
            peer,
            address,
            relayed,
            stream,
            queue,
            stop,
            stats,
            events,
            pace: own,
            gate,
        } = self;
        if events
            .send(NetEvent::LinkUp {
                peer,
                link: number,
                address,
                relayed,
            })
            .await
            .is_err()
        {
            return (id, DownReason::Shutdown);
        }
        let (pace, theirs) = watch::channel(SLOWEST);
        let paces = Paces { own, theirs };
        let inward = Inward {
            peer,
            stats: &stats,
            events: &events,
            pace,
            gate,
        };
        let reason = pump(stream, queue, stop, paces, inward).await;
        // An ended caller needs no report.
        let _ = events
            .send(NetEvent::LinkDown {
                peer,
                reason: reason.clone(),
            })
            .await;
        (id, reason)
    }
}

struct Inward<'a> {
    peer: PeerKey,
    stats: &'a LinkStats,
    events: &'a mpsc::Sender<NetEvent>,
    /// Where the peer's pace is put.
    pace: watch::Sender<Duration>,
    gate: Gate,
}

async fn pump(
    stream: Stream,
    queue: mpsc::Receiver<Bytes>,
    stop: oneshot::Receiver<Stop>,
    paces: Paces,
    mut inward: Inward<'_>,
) -> DownReason {
    let (ear, stats) = (Ear::new(), inward.stats);
    let (reader, writer) = stream.split();
    let mut read = pin!(read_frames(ear.wrap(reader), &mut inward));
    let mut write = pin!(frame::write_all(writer, queue, stats, paces.clone()));
    tokio::select! {
        // A stop comes together with the end of the queue and must be seen first.
        biased;
        stop = stop => match stop {
            Ok(Stop { reason, how: How::Cut }) => reason,
            Ok(Stop { reason, how: How::Drain }) => {
                // The peer closes its side when it has read ours to the end. Without waiting for that, the end of the
                // connection could overtake the last frames.
                let _ = tokio::time::timeout(DRAIN, futures::future::join(write, read)).await;
                reason
            }
            Ok(Stop { reason, how: How::ReadOut }) => {
                tokio::time::timeout(READ_OUT, read).await.unwrap_or(reason)
            }
            Err(_) => DownReason::Shutdown,
        },
        written = &mut write => match written {
            Ok(()) => DownReason::Shutdown,
            Err(error) => DownReason::Lost(error.to_string()),
        },
        reason = &mut read => reason,
        silent = beat::silence(&ear, paces) => DownReason::Silent(silent),
    }
}

async fn read_frames(reader: impl AsyncRead + Unpin, inward: &mut Inward<'_>) -> DownReason {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    loop {
        let (bytes, room) = match frame::read(&mut reader, &mut inward.gate).await {
            Ok(Incoming::Frame(bytes, room)) => (bytes, room),
            Ok(Incoming::Beat(pace)) => {
                inward
                    .pace
                    .send_if_modified(|old| std::mem::replace(old, pace) != pace);
                continue;
            }
            Err(reason) => return reason,
        };
        inward
            .stats
            .bytes_in
            .fetch_add(bytes.len() as u64 + 4, Ordering::Relaxed);
        // Waiting here is the back-pressure: the stream's window fills and the peer's queue with it.
        if inward
            .events
            .send(NetEvent::Frame {
                peer: inward.peer,
                bytes,
                room,
            })
            .await
            .is_err()
        {
            return DownReason::Shutdown;
        }
    }
}
