//! Links: one long-lived stream of frames between two peers.
//!
//! The side with the smaller [`PeerKey`](crate::PeerKey) opens the stream, so that a pair never has two. What is on it,
//! [`frame`] says; how a dead path is noticed, [`beat`].

pub(crate) mod beat;
pub(crate) mod behaviour;
pub(crate) mod frame;
mod room;
pub(crate) mod table;
pub(crate) mod task;

use libp2p::StreamProtocol;

pub(crate) use self::room::Rooms;
pub use self::room::{MAX_STRANGER_FRAME, Room};

/// Largest frame: 1 MiB of content and 4 KiB for what the caller wraps around it.
pub const MAX_FRAME: usize = (1 << 20) + (4 << 10);

/// Protocol name of the link stream.
pub const LINK_PROTOCOL: StreamProtocol = StreamProtocol::new("/revnet/sync/1");
