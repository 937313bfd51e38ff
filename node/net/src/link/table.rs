//! Which peer has a link, over which of its connections, and when to try again.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId, Stream, swarm::ConnectionId};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    MAX_FRAME,
    behaviour::OpenError,
    task::{How, LinkStats, LinkTask, Stop},
};
use crate::{
    DownReason, Limits, LinkStatus, NetEvent, PeerKey,
    backoff::{Backoff, jitter},
    peer::peer_key,
};

/// Pauses between attempts to open a stream while a connection stands.
const REOPEN: Backoff = Backoff {
    first: Duration::from_millis(250),
    most: Duration::from_secs(30),
};

/// A peer that doesn't speak the link protocol (a relay) is asked again after this.
const UNSUPPORTED: Duration = Duration::from_secs(600);

/// A link that stood for so long has worked: failures before it don't count any more.
const PROVEN: Duration = Duration::from_secs(10);

/// Connections of a linked peer that don't carry the link are closed after this: long enough for a switch to settle.
const SURPLUS_AFTER: Duration = Duration::from_secs(5);

/// One connection of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) address: Multiaddr,
    pub(crate) relayed: bool,
    pub(crate) rtt: Option<Duration>,
}

/// What the swarm has to do for the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open(PeerId, ConnectionId),
    Close(ConnectionId),
    /// Closes all connections of a peer.
    Part(PeerId),
}

struct Running {
    connection: ConnectionId,
    path: Path,
    since: Instant,
    /// `None` once the link has been told to end.
    control: Option<(mpsc::Sender<Bytes>, oneshot::Sender<Stop>)>,
    stats: Arc<LinkStats>,
}

#[derive(Default)]
struct Peer {
    connections: BTreeMap<ConnectionId, Path>,
    link: Option<Running>,
    opening: Option<ConnectionId>,
    /// A stream that becomes the link as soon as the present one has ended.
    next: Option<(ConnectionId, Stream)>,
    retry_at: Option<Instant>,
    tidy_at: Option<Instant>,
    failures: u32,
    unsupported: bool,
    /// All connections go as soon as the link has ended.
    parting: bool,
}

/// All peers with a connection, and the tasks of their links.
pub(crate) struct LinkTable {
    me: PeerKey,
    limits: Limits,
    events: mpsc::Sender<NetEvent>,
    peers: BTreeMap<PeerId, Peer>,
    /// Finished tasks are to be handed to [`LinkTable::on_ended`].
    pub(crate) tasks: JoinSet<(PeerId, DownReason)>,
}

impl LinkTable {
    pub(crate) fn new(me: PeerKey, limits: Limits, events: mpsc::Sender<NetEvent>) -> Self {
        Self {
            me,
            limits,
            events,
            peers: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(crate) fn on_connected(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        path: Path,
        now: Instant,
    ) -> Option<Action> {
        let opener = self.is_opener(&id);
        let peer = self.peers.entry(id).or_default();
        if peer.parting && peer.link.is_none() {
            return Some(Action::Close(connection));
        }
        let better = peer
            .link
            .as_ref()
            .is_some_and(|link| link.path.relayed && !path.relayed);
        peer.connections.insert(connection, path);
        if opener && peer.link.is_some() {
            peer.tidy_at = Some(now + SURPLUS_AFTER);
        }
        let wanted = better || peer.link.is_none() && peer.next.is_none();
        if !opener || !wanted || peer.opening.is_some() || peer.unsupported || peer.parting {
            return None;
        }
        peer.retry_at = None;
        peer.opening = Some(connection);
        Some(Action::Open(id, connection))
    }

    pub(crate) fn on_disconnected(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        cause: &str,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.connections.remove(&connection);
        // A stream of a connection that we closed ourselves never tells its reader.
        if let Some(link) = &mut peer.link
            && link.connection == connection
        {
            link.end(DownReason::Lost(cause.to_owned()), How::ReadOut);
        }
        if peer
            .next
            .as_ref()
            .is_some_and(|(over, _)| *over == connection)
        {
            peer.next = None;
        }
        if peer.opening == Some(connection) {
            peer.opening = None;
            peer.retry_at = Some(now);
        }
        self.forget_if_gone(&id);
    }

    /// A peer told which protocols it speaks: saves asking a relay in vain.
    pub(crate) fn on_protocols(&mut self, id: PeerId, speaks: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if speaks && peer.unsupported {
            peer.retry_at = Some(now);
        }
        peer.unsupported = !speaks;
    }

    pub(crate) fn on_opened(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        stream: Stream,
        now: Instant,
    ) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.opening = None;
            self.adopt(id, connection, stream, now);
        }
    }

    pub(crate) fn on_open_failed(&mut self, id: PeerId, error: &OpenError, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        tracing::debug!(peer = %id, %error, "no link stream");
        peer.opening = None;
        peer.failures += 1;
        let pause = match error {
            OpenError::Unsupported => UNSUPPORTED,
            OpenError::Io(_) => REOPEN.pause(peer.failures, jitter()),
        };
        peer.unsupported = matches!(error, OpenError::Unsupported);
        peer.retry_at = Some(now + pause);
    }

    pub(crate) fn on_inbound(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        stream: Stream,
        now: Instant,
    ) {
        if self.is_opener(&id) {
            tracing::debug!(peer = %id, "opened a link stream that is ours to open");
            return;
        }
        self.adopt(id, connection, stream, now);
    }

    /// A link's task has ended.
    pub(crate) fn on_ended(
        &mut self,
        id: PeerId,
        reason: &DownReason,
        now: Instant,
    ) -> Option<Action> {
        let opener = self.is_opener(&id);
        let peer = self.peers.get_mut(&id)?;
        let link = peer.link.take()?;
        tracing::debug!(peer = %id, %reason, "link down");
        if peer.parting {
            peer.next = None;
            let gone = peer.connections.is_empty();
            self.forget_if_gone(&id);
            return (!gone).then_some(Action::Part(id));
        }
        if let Some((connection, stream)) = peer.next.take() {
            self.start(id, connection, stream, now);
            return None;
        }
        peer.failures = if now.duration_since(link.since) >= PROVEN {
            1
        } else {
            peer.failures + 1
        };
        if opener && peer.opening.is_none() {
            peer.retry_at = Some(now + REOPEN.pause(peer.failures, jitter()));
        }
        self.forget_if_gone(&id);
        None
    }

    /// Puts a frame on a link's queue.
    pub(crate) fn send(&mut self, id: &PeerId, frame: Bytes) {
        let Some(link) = self.peers.get_mut(id).and_then(|peer| peer.link.as_mut()) else {
            return;
        };
        let Some((queue, _)) = &link.control else {
            return;
        };
        let bytes = frame.len();
        if bytes > MAX_FRAME {
            link.end(
                DownReason::Oversized {
                    bytes,
                    limit: MAX_FRAME,
                },
                How::Cut,
            );
        } else if link.stats.queued.fetch_add(bytes, Ordering::Relaxed) + bytes
            > self.limits.link_queue_bytes
        {
            link.end(DownReason::Slow, How::Cut);
        } else if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(frame) {
            link.end(DownReason::Slow, How::Cut);
        }
    }

    /// Ends the link after its queue, then all connections.
    pub(crate) fn part(&mut self, id: &PeerId, reason: String) -> Option<Action> {
        let peer = self.peers.get_mut(id)?;
        peer.parting = true;
        match &mut peer.link {
            Some(link) => {
                link.end(DownReason::Disconnected(reason), How::Drain);
                None
            }
            None => Some(Action::Part(*id)),
        }
    }

    /// Ends all links after their queues.
    pub(crate) fn shut_down(&mut self) {
        for peer in self.peers.values_mut() {
            peer.parting = true;
            if let Some(link) = &mut peer.link {
                link.end(DownReason::Shutdown, How::Drain);
            }
        }
    }

    /// What is due, one thing at a time.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        let me = self.me;
        for (id, peer) in &mut self.peers {
            if peer.retry_at.is_some_and(|at| at <= now) {
                peer.retry_at = None;
                if let Some(connection) = peer.reopen(opens(me, id)) {
                    return Some(Action::Open(*id, connection));
                }
            }
            if peer.tidy_at.is_some_and(|at| at <= now) {
                if let Some(connection) = peer.surplus() {
                    // The connection stays in the list until the swarm reports its end; don't close it twice.
                    peer.connections.remove(&connection);
                    return Some(Action::Close(connection));
                }
                peer.tidy_at = None;
            }
        }
        None
    }

    /// When [`LinkTable::poll`] is to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.peers
            .values()
            .flat_map(|peer| [peer.retry_at, peer.tidy_at])
            .flatten()
            .min()
    }

    pub(crate) fn set_rtt(&mut self, id: &PeerId, connection: ConnectionId, rtt: Duration) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if let Some(path) = peer.connections.get_mut(&connection) {
            path.rtt = Some(rtt);
        }
    }

    pub(crate) fn is_direct(&self, id: &PeerId) -> bool {
        self.peers
            .get(id)
            .is_some_and(|peer| peer.connections.values().any(|path| !path.relayed))
    }

    pub(crate) fn is_connected(&self, id: &PeerId) -> bool {
        self.peers
            .get(id)
            .is_some_and(|peer| !peer.connections.is_empty())
    }

    pub(crate) fn connections(&self) -> usize {
        self.peers.values().map(|peer| peer.connections.len()).sum()
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<LinkStatus> {
        let one = |(id, peer): (&PeerId, &Peer)| {
            let link = peer.link.as_ref()?;
            Some(LinkStatus {
                peer: peer_key(id)?,
                address: link.path.address.clone(),
                relayed: link.path.relayed,
                rtt: peer
                    .connections
                    .get(&link.connection)
                    .and_then(|path| path.rtt),
                age: now.duration_since(link.since),
                bytes_in: link.stats.bytes_in.load(Ordering::Relaxed),
                bytes_out: link.stats.bytes_out.load(Ordering::Relaxed),
                queued: link.stats.queued.load(Ordering::Relaxed),
            })
        };
        self.peers.iter().filter_map(one).collect()
    }

    /// Makes the stream the peer's link, after the present one if there is one.
    fn adopt(&mut self, id: PeerId, connection: ConnectionId, stream: Stream, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(path) = peer.connections.get(&connection) else {
            return;
        };
        if peer.parting {
            return;
        }
        let Some(link) = &mut peer.link else {
            self.start(id, connection, stream, now);
            return;
        };
        if link.path.relayed && !path.relayed {
            link.end(DownReason::Moved, How::Drain);
        } else {
            link.end(DownReason::Replaced, How::Cut);
        }
        peer.next = Some((connection, stream));
    }

    fn start(&mut self, id: PeerId, connection: ConnectionId, stream: Stream, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(path) = peer.connections.get(&connection).cloned() else {
            return;
        };
        let Some(key) = peer_key(&id) else { return };
        let (queue, frames) = mpsc::channel(self.limits.link_queue_frames);
        let (stop, stopped) = oneshot::channel();
        let stats = Arc::<LinkStats>::default();
        let task = LinkTask {
            id,
            peer: key,
            address: path.address.clone(),
            relayed: path.relayed,
            stream,
            queue: frames,
            stop: stopped,
            stats: Arc::clone(&stats),
            events: self.events.clone(),
        };
        self.tasks.spawn(task.run());
        let opener = opens(self.me, &id);
        peer.link = Some(Running {
            connection,
            path,
            since: now,
            control: Some((queue, stop)),
            stats,
        });
        peer.retry_at = None;
        peer.unsupported = false;
        // One side alone tidies up, or each might close what the other one keeps.
        peer.tidy_at = opener.then(|| now + SURPLUS_AFTER);
    }

    fn is_opener(&self, id: &PeerId) -> bool {
        opens(self.me, id)
    }

    fn forget_if_gone(&mut self, id: &PeerId) {
        if self
            .peers
            .get(id)
            .is_some_and(|peer| peer.connections.is_empty() && peer.link.is_none())
        {
            self.peers.remove(id);
        }
    }
}

/// Whether the link to this peer is ours to open.
fn opens(me: PeerKey, id: &PeerId) -> bool {
    peer_key(id).is_some_and(|key| me < key)
}

impl Peer {
    fn reopen(&mut self, opener: bool) -> Option<ConnectionId> {
        if !opener || self.parting || self.opening.is_some() || self.next.is_some() {
            return None;
        }
        let (connection, best) = self
            .connections
            .iter()
            .min_by_key(|(id, path)| (path.relayed, **id))?;
        if self
            .link
            .as_ref()
            .is_some_and(|link| !link.path.relayed || best.relayed)
        {
            return None;
        }
        self.opening = Some(*connection);
        self.opening
    }

    /// A connection that nobody needs beside the one that carries the link.
    fn surplus(&self) -> Option<ConnectionId> {
        let link = self.link.as_ref()?;
        if self.opening.is_some() || self.next.is_some() || link.path.relayed {
            return None;
        }
        self.connections
            .keys()
            .copied()
            .find(|id| *id != link.connection)
    }
}

impl Running {
    fn end(&mut self, reason: DownReason, how: How) {
        if let Some((queue, stop)) = self.control.take() {
            // The order matters: the task must find the reason when it finds the queue's end.
            let _ = stop.send(Stop { reason, how });
            drop(queue);
        }
    }
}
