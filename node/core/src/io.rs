//! What goes into the core and what comes out of it.

use revnet_protocol::DeviceId;

use crate::command::{Command, CommandError, Notice, Reply};
use crate::storage::{Answer, Query, StorageError, Write};

/// Nanoseconds from an arbitrary start that never run backwards.
pub type Mono = u64;

/// One second of [`Mono`].
pub const SECOND: Mono = 1_000_000_000;
/// One millisecond of [`Mono`].
pub const MILLI: Mono = 1_000_000;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody asks or wishes something. Answered by [`Effect::Reply`] with the same number.
    Command {
        /// Names the answer.
        id: u64,
        /// What.
        command: Command,
    },
    /// A link to a peer is usable.
    LinkUp {
        /// The peer, proven by the transport.
        peer: DeviceId,
        /// It runs through a relay.
        relayed: bool,
        /// Where the peer was reached, if this side dialled.
        address: Option<String>,
    },
    /// A link is gone.
    LinkDown {
        /// The peer.
        peer: DeviceId,
    },
    /// A frame came over a link.
    Frame {
        /// From whom.
        peer: DeviceId,
        /// Encoded [`Frame`](revnet_protocol::frame::Frame).
        bytes: Vec<u8>,
    },
    /// A gossip message came; answered by [`Effect::Verdict`].
    Gossip {
        /// Who passed it on.
        peer: DeviceId,
        /// Under which topic.
        topic: String,
        /// Encoded [`Gossip`](revnet_protocol::frame::Gossip).
        bytes: Vec<u8>,
        /// Names the verdict.
        token: u64,
    },
    /// A batch is durable.
    Stored {
        /// Which.
        id: u64,
    },
    /// A batch failed. The core is of no use any more: make a new one from the store.
    StoreFailed {
        /// Which.
        id: u64,
        /// Why.
        error: StorageError,
    },
    /// The answer to a query.
    Loaded {
        /// Which.
        id: u64,
        /// The answer.
        answer: Result<Answer, StorageError>,
    },
    /// Members announced themselves under a key.
    Providers {
        /// The key.
        key: [u8; 32],
        /// Who.
        peers: Vec<DeviceId>,
    },
    /// A peer was seen on the local network.
    Nearby {
        /// Who.
        peer: DeviceId,
    },
    /// A peer could not be reached.
    DialFailed {
        /// Who.
        peer: DeviceId,
    },
}

/// What is to be done with a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Don't, and nobody is to blame.
    Ignore,
    /// Don't, and whoever brought it is to blame.
    Reject,
}

/// Something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame over a link.
    Send {
        /// To whom.
        peer: DeviceId,
        /// Encoded frame.
        bytes: Vec<u8>,
    },
    /// A peer has proven to share a revolt: it may send more than a stranger, as long as its link stands.
    Trust {
        /// Whom.
        peer: DeviceId,
    },
    /// Gossip under a topic.
    Gossip {
        /// The topic.
        topic: String,
        /// Encoded message.
        bytes: Vec<u8>,
    },
    /// Say what happens to a gossip message.
    Verdict {
        /// Which.
        token: u64,
        /// What.
        verdict: Verdict,
    },
    /// Listen to a topic.
    Subscribe {
        /// Which.
        topic: String,
    },
    /// Stop listening.
    Unsubscribe {
        /// Which.
        topic: String,
    },
    /// Reach a peer.
    Dial {
        /// Whom.
        peer: DeviceId,
        /// Known addresses, best first; none where only discovery can help.
        addresses: Vec<String>,
    },
    /// Reach whoever is at an address.
    DialAddress {
        /// A multiaddress.
        address: String,
    },
    /// Close the link to a peer.
    Disconnect {
        /// Whom.
        peer: DeviceId,
        /// For the log.
        reason: &'static str,
    },
    /// Close all connections to a peer that broke the rules, and take none for a while.
    Ban {
        /// Whom.
        peer: DeviceId,
        /// For how long, in nanoseconds.
        period: Mono,
        /// For the log.
        reason: &'static str,
    },
    /// Announce this node under a key.
    Provide {
        /// The key.
        key: [u8; 32],
    },
    /// Stop announcing.
    StopProviding {
        /// The key.
        key: [u8; 32],
    },
    /// Ask who announced themselves.
    FindProviders {
        /// The key.
        key: [u8; 32],
    },
    /// Make a batch durable; answered by [`Input::Stored`].
    Store {
        /// Names the answer.
        id: u64,
        /// The batch.
        writes: Vec<Write>,
    },
    /// Ask the store; answered by [`Input::Loaded`] after all batches before it are durable.
    Load {
        /// Names the answer.
        id: u64,
        /// The question.
        query: Query,
    },
    /// Answer a command.
    Reply {
        /// Which.
        id: u64,
        /// The answer.
        result: Result<Reply, CommandError>,
    },
    /// Tell whoever listens.
    Notice(Notice),
}
