//! What goes into the swarm task and what comes out of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId, gossipsub};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::{PeerKey, RelayAddress, Room};

/// An order for the swarm task. None of them fails by itself: what comes of it is an event.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetCommand {
    /// Puts a frame on a link. When the link has ended it is dropped, and its `LinkDown` says so.
    /// A full queue closes the link with [`DownReason::Slow`], a frame over [`crate::MAX_FRAME`] with
    /// [`DownReason::Oversized`].
    Send {
        /// Whose link.
        peer: PeerKey,
        /// Which one: from its `LinkUp`.
        link: LinkId,
        /// An opaque message.
        frame: Bytes,
    },
    /// Connects to a peer: at `addresses`, at all addresses known of it, and through each connected relay, whichever
    /// answers first. Does nothing where a direct connection exists; where only a relayed one does, tries for a direct
    /// one, to which the link then moves.
    Dial {
        /// Whom.
        peer: PeerKey,
        /// Addresses learned elsewhere; may be empty.
        addresses: Vec<Multiaddr>,
    },
    /// Connects to an address, with or without `/p2p/PEER` at its end.
    DialAddress {
        /// Where.
        address: Multiaddr,
    },
    /// Writes out what is queued for the peer (for one second at most), then closes all its connections.
    Disconnect {
        /// Whom.
        peer: PeerKey,
        /// Why, for the log and the `LinkDown`; the peer doesn't see it.
        reason: String,
    },
    /// Lets a peer send larger frames, and more of them at a time, as long as this link stands: it has shown that it
    /// has business here.
    Trust {
        /// Whose link.
        peer: PeerKey,
        /// Which one: from its `LinkUp`.
        link: LinkId,
    },
    /// Refuses a peer: closes its connections at once and accepts none for a while, or until `Unblock`.
    Block {
        /// Whom.
        peer: PeerKey,
        /// For how long.
        period: Duration,
    },
    /// Ends `Block`.
    Unblock {
        /// Whom.
        peer: PeerKey,
    },
    /// Stays connected to a relay from now on, and holds a reservation there.
    AddRelay {
        /// Which.
        relay: RelayAddress,
    },
    /// Ends `AddRelay`, also for a relay of the configuration.
    RemoveRelay {
        /// Which.
        peer: PeerKey,
    },
    /// Tells the network an address at which others reach us. Only nodes with such an address (or a reservation at a
    /// relay) can be found as providers; public addresses on our own interfaces are found by themselves.
    AddExternal {
        /// Where.
        address: Multiaddr,
    },
    /// Joins a gossip topic.
    Subscribe {
        /// Its name as it is on the wire.
        topic: String,
    },
    /// Leaves a gossip topic.
    Unsubscribe {
        /// Its name.
        topic: String,
    },
    /// Gossips `data`. With nobody to send it to, nothing happens.
    Publish {
        /// Topic, joined or not.
        topic: String,
        /// At most [`crate::MAX_GOSSIP`] bytes.
        data: Bytes,
    },
    /// What became of a gossip message: only accepted ones are passed on. Due within about 5 s.
    Verdict {
        /// From [`NetEvent::Gossip`].
        message: GossipRef,
        /// Judgement.
        verdict: Verdict,
    },
    /// Announces under an opaque key that this node has something, again whenever that helps, until `StopProviding`.
    Provide {
        /// Key.
        key: [u8; 32],
    },
    /// Ends `Provide`; what others stored runs out within two days.
    StopProviding {
        /// Key.
        key: [u8; 32],
    },
    /// Looks for nodes that provide a key; answered by one or more [`NetEvent::Providers`].
    FindProviders {
        /// Key.
        key: [u8; 32],
    },
    /// Changes [`crate::KeepAlive::pace`], for the links that stand, too.
    SetPace {
        /// From 250 ms to 60 s.
        pace: Duration,
    },
    /// Asks for a snapshot.
    Status(oneshot::Sender<NetStatus>),
    /// Writes out what is queued (for one second at most), closes everything and ends the task.
    Shutdown,
}

/// Judgement on a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Don't pass it on; nobody is to blame.
    Ignore,
    /// Don't pass it on; who sent it should have known better.
    Reject,
}

/// One link with one peer. A link can be replaced (by a better path, say) before the caller has seen the end of the
/// old one; what it wrote for the old one must not open the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(crate) u64);

/// Names a received gossip message for its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipRef {
    pub(crate) id: gossipsub::MessageId,
    pub(crate) source: PeerId,
}

/// How an address was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// On the local network.
    Mdns,
    /// From the Kademlia table.
    Kad,
    /// From the peer itself.
    Identify,
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// The peer closed it.
    #[error("the peer closed the link")]
    Closed,
    /// The stream or the connection under it broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nothing was heard for so long that the path must be dead; its connection is closed.
    #[error("nothing heard for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The peer didn't read as fast as we wrote, and its queue ran full.
    #[error("the peer reads too slowly")]
    Slow,
    /// A frame over the limit, theirs or ours.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    Oversized {
        /// Its length as announced.
        bytes: usize,
        /// [`crate::MAX_FRAME`].
        limit: usize,
    },
    /// The peer began a frame and didn't go on with it.
    #[error("the peer sends too slowly")]
    Stalled,
    /// A better path exists; the next `LinkUp` follows.
    #[error("moved to a better path")]
    Moved,
    /// The peer opened a new stream for the link; the next `LinkUp` follows.
    #[error("replaced by the peer")]
    Replaced,
    /// We were told to.
    #[error("disconnected: {0}")]
    Disconnected(String),
    /// The node stops.
    #[error("the node is shutting down")]
    Shutdown,
}

/// What happened on the network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetEvent {
    /// We listen here.
    Listening {
        /// With the real port.
        address: Multiaddr,
    },
    /// We don't or no longer listen here.
    ListenFailed {
        /// Where.
        address: Multiaddr,
        /// Why.
        error: String,
    },
    /// A link stands. Reported once per link, before its frames, on both sides.
    LinkUp {
        /// With whom.
        peer: PeerKey,
        /// Names this link among those that there were with the peer.
        link: LinkId,
        /// Over which path.
        address: Multiaddr,
        /// Whether that path leads through a relay.
        relayed: bool,
    },
    /// A link ended. Reported once per link, after its frames. Frames on their way are lost.
    LinkDown {
        /// With whom.
        peer: PeerKey,
        /// Why.
        reason: DownReason,
    },
    /// A message on a link: in order, without gaps.
    Frame {
        /// From whom.
        peer: PeerKey,
        /// Opaque.
        bytes: Bytes,
        /// What it takes up; to be kept until the frame has been dealt with.
        room: Room,
    },
    /// A `Dial` or `DialAddress` came to nothing.
    DialFailed {
        /// Whom we wanted.
        peer: Option<PeerKey>,
        /// Where, for a `DialAddress`.
        address: Option<Multiaddr>,
        /// What each address answered.
        error: String,
    },
    /// Addresses of a peer. Only a hint: anybody can claim anything.
    Discovered {
        /// Whose.
        peer: PeerKey,
        /// Where.
        addresses: Vec<Multiaddr>,
        /// How we know.
        source: Source,
    },
    /// A gossip message; wants a [`NetCommand::Verdict`].
    Gossip {
        /// Who passed it to us; the author is unknown to the network.
        peer: PeerKey,
        /// Topic.
        topic: String,
        /// Opaque.
        data: Bytes,
        /// For the verdict.
        message: GossipRef,
    },
    /// A `Publish` came to nothing for a reason of our own (too large, queues full).
    GossipFailed {
        /// Topic.
        topic: String,
        /// Why.
        error: String,
    },
    /// A connected peer joined a topic of ours.
    SubscribedPeer {
        /// Topic.
        topic: String,
        /// Who.
        peer: PeerKey,
    },
    /// A connected peer left a topic of ours.
    UnsubscribedPeer {
        /// Topic.
        topic: String,
        /// Who.
        peer: PeerKey,
    },
    /// Nodes that say they provide a key.
    Providers {
        /// Key.
        key: [u8; 32],
        /// New since the last answer to this search.
        peers: Vec<PeerKey>,
        /// Whether the search is over.
        done: bool,
    },
    /// A relay keeps a place for us: others reach us at `address`.
    RelayUp {
        /// Relay.
        peer: PeerKey,
        /// Our address there.
        address: Multiaddr,
    },
    /// The place at a relay is lost; it is sought again by itself.
    RelayDown {
        /// Relay.
        peer: PeerKey,
        /// Why.
        error: String,
    },
}

/// A snapshot of the swarm.
#[derive(Clone, Debug)]
pub struct NetStatus {
    /// Our own key.
    pub peer: PeerKey,
    /// Our own libp2p name.
    pub peer_id: PeerId,
    /// Where we listen, circuits included.
    pub listen: Vec<Multiaddr>,
    /// Where we believe others reach us.
    pub external: Vec<Multiaddr>,
    /// Relays we were told of.
    pub relays: Vec<RelayStatus>,
    /// Links that stand.
    pub links: Vec<LinkStatus>,
    /// Established connections, those without a link included.
    pub connections: usize,
    /// Topics joined.
    pub topics: usize,
    /// Gossip and hints that were dropped because the caller didn't take events fast enough.
    pub dropped_events: u64,
}

/// One relay in [`NetStatus`].
#[derive(Clone, Debug)]
pub struct RelayStatus {
    /// As it was given.
    pub relay: RelayAddress,
    /// Whether there is a connection.
    pub connected: bool,
    /// Our address there while a reservation stands.
    pub reserved: Option<Multiaddr>,
    /// What went wrong last, until it goes right.
    pub last_error: Option<String>,
}

/// One link in [`NetStatus`].
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// With whom.
    pub peer: PeerKey,
    /// Over which path.
    pub address: Multiaddr,
    /// Whether that path leads through a relay.
    pub relayed: bool,
    /// Last round trip measured on that path.
    pub rtt: Option<Duration>,
    /// How long it stands.
    pub age: Duration,
    /// Bytes of frames received, lengths included.
    pub bytes_in: u64,
    /// Bytes of frames written, lengths included.
    pub bytes_out: u64,
    /// Bytes that wait to be written.
    pub queued: usize,
}

/// The swarm task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network task has ended")]
pub struct NetClosed;

/// Why [`NetHandle::try_send`] gave the command back.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError {
    /// The swarm task doesn't keep up.
    #[error("the network task's queue is full")]
    Full(Box<NetCommand>),
    /// The swarm task has ended.
    #[error("the network task has ended")]
    Closed(Box<NetCommand>),
}

/// The way to the swarm task. Clones are cheap; the task ends when the last one is gone.
#[derive(Clone, Debug)]
pub struct NetHandle {
    pub(crate) peer: PeerKey,
    pub(crate) commands: mpsc::Sender<NetCommand>,
    pub(crate) registry: Arc<Registry>,
}

impl NetHandle {
    /// Our own key.
    #[must_use]
    pub fn peer(&self) -> PeerKey {
        self.peer
    }

    /// Gives an order, waiting for room in the queue.
    ///
    /// # Errors
    /// The task has ended.
    pub async fn send(&self, command: NetCommand) -> Result<(), NetClosed> {
        self.commands.send(command).await.map_err(|_| NetClosed)
    }

    /// Gives an order if there is room in the queue, for callers that mustn't wait.
    ///
    /// # Errors
    /// The queue is full or the task has ended; the command comes back.
    pub fn try_send(&self, command: NetCommand) -> Result<(), TrySendError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(command) => TrySendError::Full(Box::new(command)),
                mpsc::error::TrySendError::Closed(command) => {
                    TrySendError::Closed(Box::new(command))
                }
            })
    }

    /// Asks for a snapshot.
    ///
    /// # Errors
    /// The task has ended.
    pub async fn status(&self) -> Result<NetStatus, NetClosed> {
        let (reply, answer) = oneshot::channel();
        self.send(NetCommand::Status(reply)).await?;
        answer.await.map_err(|_| NetClosed)
    }

    /// libp2p's counters in the Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a String takes any text");
        text
    }
}
