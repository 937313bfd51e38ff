//! All libp2p I/O of a node: it finds peers, connects to them, keeps one [link](NetEvent::LinkUp) to each, gossips, and
//! holds its place at the relays it was told of.
//!
//! It never decides anything about communities: frames, topics, gossip payloads and table keys are opaque bytes, and
//! whom to dial, whom to keep and what to believe is the caller's business. It never redials an ordinary peer, never
//! drops a frame of a standing link silently, and never lets one slow peer hold up the others.
//!
//! [`start`] spawns one task that owns the swarm. Orders go in through [`NetHandle`], what happens comes out as
//! [`NetEvent`]s; both queues are bounded. A caller that takes no events stops the reading of frames (the peers feel
//! it as back-pressure) and loses gossip and address hints, which are counted in [`NetStatus::dropped_events`].
//!
//! ```
//! use revnet_net::{NetConfig, start};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = NetConfig::new([7; 32].into());
//! config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
//! config.mdns = false;
//! let (net, mut events) = start(&config)?;
//! let listening = events.recv().await;
//! assert!(matches!(listening, Some(revnet_net::NetEvent::Listening { .. })));
//! assert!(net.status().await?.links.is_empty());
//! # Ok(()) }
//! ```

mod actor;
mod address;
pub mod address_limit;
mod announce;
mod api;
mod backoff;
mod book;
mod config;
mod link;
mod peer;
mod relays;
mod swarm;

pub use libp2p::{Multiaddr, PeerId};

pub use self::{
    actor::start,
    address::{RELAY_PREFIX, RelayAddress, RelayAddressError, check_free, is_public},
    api::{
        DownReason, GossipRef, LinkId, LinkStatus, NetClosed, NetCommand, NetEvent, NetHandle,
        NetStatus, RelayStatus, Source, TrySendError, Verdict,
    },
    config::{KadMode, KeepAlive, Limits, NetConfig},
    link::{LINK_PROTOCOL, MAX_FRAME, MAX_STRANGER_FRAME, Room},
    peer::{PeerKey, peer_id, peer_key},
    swarm::{IDENTIFY_PROTOCOL, KAD_PROTOCOL, MAX_GOSSIP, StartError, learn_server},
};
