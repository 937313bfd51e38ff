//! What a node may be told about its network.

use std::{fmt, time::Duration};

use libp2p::Multiaddr;
use zeroize::Zeroizing;

use crate::{RelayAddress, link};

/// What part the node takes in the Kademlia table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KadMode {
    /// Asks and announces, stores nothing for others: right behind a NAT.
    #[default]
    Client,
    /// Also stores and answers for others; wants a reachable address.
    Server,
    /// No Kademlia at all.
    Off,
}

/// How fast a dead path is noticed, and what that costs when nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// How often we want to hear from a linked peer (250 ms to 60 s). The faster of the two sides counts for both. A link
    /// that is silent for longer by two seconds, or by half, is given up. Costs 8 bytes and their packet each way.
    pub pace: Duration,
    /// A QUIC connection, linked or not, that is silent for so long is dead.
    pub quic_idle: Duration,
    /// Silence after which QUIC sends a packet of its own; well under `quic_idle`.
    pub quic_interval: Duration,
    /// Time between pings of a connection, linked or not. Pings measure the round trip; failed ones end connections
    /// without links, such as those to relays over TCP.
    pub ping_interval: Duration,
    /// A ping that stays unanswered for so long has failed.
    pub ping_timeout: Duration,
    /// A connection with so many failed pings in a row is closed. libp2p doesn't count the first one, and takes 10 s
    /// for each of the others.
    pub ping_failures: u32,
    /// A connection that carries nothing (no link, no reservation, no query) is closed after this.
    pub idle_connection: Duration,
}

impl Default for KeepAlive {
    /// A linked peer's dead path is noticed within 7.5 s, a relay's within 10 s over QUIC and 35 s over TCP.
    fn default() -> Self {
        Self {
            pace: Duration::from_secs(5),
            quic_idle: Duration::from_secs(10),
            quic_interval: Duration::from_secs(4),
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
            ping_failures: 1,
            idle_connection: Duration::from_secs(60),
        }
    }
}

/// Bounds on what other peers can make this node hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections being set up from outside.
    pub pending_incoming: u32,
    /// Connections being set up by us.
    pub pending_outgoing: u32,
    /// Established connections from outside.
    pub incoming: u32,
    /// All established connections.
    pub connections: u32,
    /// Established connections of one peer.
    pub per_peer: u32,
    /// Connections from outside from one IPv4 address, or from one IPv6 network of 64 bits.
    pub per_address: u32,
    /// Resident memory of the process above which no new connection is accepted; `None`: no such limit.
    pub memory_bytes: Option<usize>,
    /// Frames waiting to be written to one link; one more closes the link as slow.
    pub link_queue_frames: usize,
    /// Bytes waiting to be written to one link; more close the link as slow.
    pub link_queue_bytes: usize,
    /// Bytes waiting to be written to all links; more close the one that has most of them.
    pub outbound_bytes: usize,
    /// Bytes of frames that trusted peers have on their way to the caller; beyond, their links wait.
    pub inbound_bytes: usize,
    /// The same of all other peers, which get room of their own.
    pub stranger_bytes: usize,
    /// Events waiting for the caller.
    pub event_queue: usize,
    /// Commands waiting for the swarm task.
    pub command_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_incoming: 128,
            pending_outgoing: 128,
            incoming: 768,
            connections: 1024,
            per_peer: 6,
            per_address: 64,
            memory_bytes: None,
            link_queue_frames: 1024,
            link_queue_bytes: 8 * link::MAX_FRAME,
            outbound_bytes: 24 * link::MAX_FRAME,
            inbound_bytes: 16 * link::MAX_FRAME,
            stranger_bytes: 4 * link::MAX_FRAME,
            event_queue: 128,
            command_queue: 1024,
        }
    }
}

/// All that [`crate::start`] needs.
#[derive(Clone)]
pub struct NetConfig {
    /// The device's Ed25519 secret.
    pub secret: Zeroizing<[u8; 32]>,
    /// Addresses to listen on. A failure is reported as an event; the node runs on without that address.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach us, where the operator knows better than we do.
    pub external: Vec<Multiaddr>,
    /// Relays to stay connected to and to hold a reservation at.
    pub relays: Vec<RelayAddress>,
    /// Look for peers on the local network.
    pub mdns: bool,
    /// Part in the Kademlia table.
    pub kad: KadMode,
    /// Dead-path detection.
    pub keep_alive: KeepAlive,
    /// Bounds.
    pub limits: Limits,
}

impl NetConfig {
    /// A node that listens on every interface at random ports, with mDNS, as a Kademlia client, without relays.
    #[must_use]
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let any = |text: &str| text.parse().expect("a constant address");
        Self {
            secret,
            listen: vec![any("/ip4/0.0.0.0/udp/0/quic-v1"), any("/ip4/0.0.0.0/tcp/0")],
            external: Vec::new(),
            relays: Vec::new(),
            mdns: true,
            kad: KadMode::default(),
            keep_alive: KeepAlive::default(),
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("listen", &self.listen)
            .field("external", &self.external)
            .field("relays", &self.relays)
            .field("mdns", &self.mdns)
            .field("kad", &self.kad)
            .field("keep_alive", &self.keep_alive)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
