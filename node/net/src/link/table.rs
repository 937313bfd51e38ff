//! Which peer has a link, over which of its connections, and when to try again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId, Stream, swarm::ConnectionId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    MAX_FRAME, Rooms,
    behaviour::OpenError,
    task::{How, LinkStats, LinkTask, Stop},
};
use crate::{
    DownReason, Limits, LinkId, LinkStatus, NetEvent, PeerKey,
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

/// A second circuit is there for another attempt at a direct path, which has failed or succeeded by then.
const PUNCHED_AFTER: Duration = Duration::from_secs(30);

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
    number: LinkId,
    connection: ConnectionId,
    path: Path,
    since: Instant,
    /// `None` once the link has been told to end.
    control: Option<(mpsc::Sender<Bytes>, oneshot::Sender<Stop>)>,
    stats: Arc<LinkStats>,
    trusted: watch::Sender<bool>,
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
    pace: watch::Sender<Duration>,
    rooms: Rooms,
    /// Bytes that wait to be written to all links.
    queued: Arc<AtomicUsize>,
    peers: BTreeMap<PeerId, Peer>,
    started: u64,
    /// Finished tasks are to be handed to [`LinkTable::on_ended`].
    pub(crate) tasks: JoinSet<(PeerId, DownReason)>,
}

impl LinkTable {
    pub(crate) fn new(
        me: PeerKey,
        limits: Limits,
        pace: Duration,
        events: mpsc::Sender<NetEvent>,
    ) -> Self {
        Self {
            me,
            rooms: Rooms::new(&limits),
            queued: Arc::default(),
            limits,
            events,
            pace: watch::Sender::new(pace),
            peers: BTreeMap::new(),
            started: 0,
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
        if opener && peer.link.is_some() {
            peer.tidy_at = Some(
                now + if path.relayed {
                    PUNCHED_AFTER
                } else {
                    SURPLUS_AFTER
                },
            );
        }
        peer.connections.insert(connection, path);
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
        // Closing a dead connection can take TCP a quarter of an hour; for us it is gone.
        let dead = matches!(reason, DownReason::Silent(_)).then_some(link.connection);
        let close = dead
            .and_then(|dead| peer.connections.remove(&dead))
            .map(|_| Action::Close(link.connection));
        if let Some((connection, stream)) = peer.next.take() {
            self.start(id, connection, stream, now);
            return close;
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
        close
    }

    /// Changes how often the peers are to be heard.
    pub(crate) fn set_pace(&self, pace: Duration) {
        self.pace
            .send_if_modified(|old| std::mem::replace(old, pace) != pace);
    }

    /// Puts a frame on a link's queue, unless that link has been replaced.
    pub(crate) fn send(&mut self, id: &PeerId, number: LinkId, frame: Bytes) {
        let current = self.peers.get_mut(id).and_then(|peer| peer.link.as_mut());
        let Some(link) = current.filter(|link| link.number == number) else {
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
            return;
        }
        let (here, everywhere) = link.stats.queue(bytes);
        let full = matches!(
            queue.try_send(frame),
            Err(mpsc::error::TrySendError::Full(_))
        );
        if full || here > self.limits.link_queue_bytes {
            link.end(DownReason::Slow, How::Cut);
        } else if everywhere > self.limits.outbound_bytes {
            self.end_slowest();
        }
    }

    /// Ends the link for which most waits to be written: of peers that ask and don't read.
    fn end_slowest(&mut self) {
        let links = self
            .peers
            .values_mut()
            .filter_map(|peer| peer.link.as_mut());
        let standing = links.filter(|link| link.control.is_some());
        let slowest = standing.max_by_key(|link| link.stats.queued.load(Ordering::Relaxed));
        if let Some(link) = slowest {
            link.end(DownReason::Slow, How::Cut);
        }
    }

    /// Lets the peer of a link send as one that has business here.
    pub(crate) fn trust(&self, id: &PeerId, number: LinkId) {
        let link = self.peers.get(id).and_then(|peer| peer.link.as_ref());
        if let Some(link) = link.filter(|link| link.number == number) {
            link.trusted.send_replace(true);
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
        self.connections_of(id) > 0
    }

    pub(crate) fn connections_of(&self, id: &PeerId) -> usize {
        self.peers.get(id).map_or(0, |peer| peer.connections.len())
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
        let stats = Arc::new(LinkStats::among(&self.queued));
        let (trusted, is_trusted) = watch::channel(false);
        self.started += 1;
        let number = LinkId(self.started);
        let task = LinkTask {
            id,
            number,
            peer: key,
            address: path.address.clone(),
            relayed: path.relayed,
            stream,
            queue: frames,
            stop: stopped,
            stats: Arc::clone(&stats),
            events: self.events.clone(),
            pace: self.pace.subscribe(),
            gate: self.rooms.gate(is_trusted),
        };
        self.tasks.spawn(task.run());
        let opener = opens(self.me, &id);
        peer.link = Some(Running {
            number,
            connection,
            path,
            since: now,
            control: Some((queue, stop)),
            stats,
            trusted,
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
        if self.opening.is_some() || self.next.is_some() {
            return None;
        }
        let spare = |(id, path): &(&ConnectionId, &Path)| {
            // A direct connection is what a relayed link waits for.
            **id != link.connection && (path.relayed || !link.path.relayed)
        };
        self.connections.iter().find(spare).map(|(id, _)| *id)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::peer_id;

    const SMALL: PeerKey = [1; 32];
    const LARGE: PeerKey = [2; 32];

    fn table(me: PeerKey) -> LinkTable {
        LinkTable::new(
            me,
            Limits::default(),
            Duration::from_secs(5),
            mpsc::channel(1).0,
        )
    }

    fn path(relayed: bool) -> Path {
        Path {
            address: Multiaddr::empty(),
            relayed,
            rtt: None,
        }
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn linked(relayed: bool, now: Instant) -> (LinkTable, PeerId) {
        let (mut table, peer) = (table(SMALL), peer_id(&LARGE));
        table.on_connected(peer, id(1), path(relayed), now);
        let link = Running {
            number: LinkId(1),
            connection: id(1),
            path: path(relayed),
            since: now,
            control: None,
            stats: Arc::default(),
            trusted: watch::Sender::new(false),
        };
        let state = table.peers.get_mut(&peer).expect("connected");
        (state.link, state.opening) = (Some(link), None);
        (table, peer)
    }

    #[test]
    fn only_the_smaller_key_opens_and_only_one_stream() {
        let now = Instant::now();
        let (mut small, mut large) = (table(SMALL), table(LARGE));
        let (to_small, to_large) = (peer_id(&SMALL), peer_id(&LARGE));
        assert_eq!(large.on_connected(to_small, id(1), path(false), now), None);
        assert_eq!(large.deadline(), None);
        let open = Some(Action::Open(to_large, id(1)));
        assert_eq!(small.on_connected(to_large, id(1), path(false), now), open);
        assert_eq!(small.on_connected(to_large, id(2), path(false), now), None);
    }

    #[test]
    fn a_failed_stream_is_tried_again_but_a_relay_is_left_alone() {
        let now = Instant::now();
        let (mut table, peer) = (table(SMALL), peer_id(&LARGE));
        table.on_connected(peer, id(1), path(true), now);
        table.on_connected(peer, id(2), path(false), now);
        table.on_open_failed(peer, &OpenError::Io("reset".to_owned()), now);
        let at = table.deadline().expect("again");
        assert!(at <= now + REOPEN.first);
        assert_eq!(table.poll(now), None);
        assert_eq!(
            table.poll(at),
            Some(Action::Open(peer, id(2))),
            "the direct one"
        );
        assert_eq!(table.poll(at), None);

        table.on_open_failed(peer, &OpenError::Unsupported, at);
        assert_eq!(table.deadline(), Some(at + UNSUPPORTED));
        assert_eq!(
            table.on_connected(peer, id(3), path(false), at),
            None,
            "nor on another connection"
        );
        // It was updated and says so.
        table.on_protocols(peer, true, at);
        assert_eq!(table.poll(at), Some(Action::Open(peer, id(2))));
    }

    #[test]
    fn a_connection_lost_while_opening_is_made_up_for() {
        let now = Instant::now();
        let (mut table, peer) = (table(SMALL), peer_id(&LARGE));
        table.on_connected(peer, id(1), path(false), now);
        table.on_connected(peer, id(2), path(false), now);
        table.on_disconnected(peer, id(1), "reset", now);
        assert_eq!(table.poll(now), Some(Action::Open(peer, id(2))));
        table.on_disconnected(peer, id(2), "reset", now);
        assert_eq!(
            (table.poll(now), table.deadline(), table.peers.len()),
            (None, None, 0)
        );
    }

    #[test]
    fn a_relayed_link_moves_and_what_it_leaves_behind_is_closed() {
        let now = Instant::now();
        let (mut table, peer) = linked(true, now);
        let open = Some(Action::Open(peer, id(2)));
        assert_eq!(table.on_connected(peer, id(2), path(false), now), open);
        table.on_open_failed(peer, &OpenError::Io("reset".to_owned()), now);
        let again = table.deadline().expect("again");
        assert_eq!(table.poll(again), open);
        let state = table.peers.get_mut(&peer).expect("connected");
        state.opening = None;
        let link = state.link.as_mut().expect("linked");
        (link.connection, link.path.relayed) = (id(2), false);
        let tidy = now + SURPLUS_AFTER;
        assert_eq!(table.poll(tidy), Some(Action::Close(id(1))));
        assert_eq!(table.poll(tidy), None);
    }

    #[test]
    fn a_second_circuit_has_its_time_to_make_a_direct_path() {
        let now = Instant::now();
        let (mut table, peer) = linked(true, now);
        assert_eq!(table.on_connected(peer, id(2), path(true), now), None);
        assert_eq!(table.poll(now + SURPLUS_AFTER), None);
        assert_eq!(table.poll(now + PUNCHED_AFTER), Some(Action::Close(id(2))));
        assert_eq!(table.deadline().and_then(|at| table.poll(at)), None);
    }

    #[test]
    fn a_peer_that_has_to_go_is_not_linked_again() {
        let now = Instant::now();
        let (mut table, peer) = linked(false, now);
        assert_eq!(
            table.part(&peer, "enough".to_owned()),
            None,
            "after the link's queue"
        );
        assert_eq!(table.on_connected(peer, id(2), path(false), now), None);
        let closed = DownReason::Disconnected("enough".to_owned());
        assert_eq!(table.on_ended(peer, &closed, now), Some(Action::Part(peer)));
        assert_eq!(
            table.on_connected(peer, id(3), path(false), now),
            Some(Action::Close(id(3)))
        );
        assert_eq!(table.poll(now + UNSUPPORTED), None);
    }

    #[test]
    fn a_silent_connection_is_given_up_at_once() {
        let now = Instant::now();
        let (mut table, peer) = linked(false, now);
        table.on_connected(peer, id(2), path(true), now);
        let silent = DownReason::Silent(Duration::from_secs(3));
        assert_eq!(
            table.on_ended(peer, &silent, now),
            Some(Action::Close(id(1)))
        );
        assert!(!table.is_direct(&peer), "it doesn't wait for the close");
        let again = table.deadline().expect("again");
        assert_eq!(table.poll(again), Some(Action::Open(peer, id(2))));
    }
}
