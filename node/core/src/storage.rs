//! What the core asks of a store, and the store's rules. `revnet-store` keeps them on disk; [`memory`]
//! is the reference that simulation and conformance tests compare with.
//!
//! Envelopes are the truth. The arrival log and the timeline index can be rebuilt from them.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::{DeviceId, MessageId, RevoltId, StreamId};

pub mod memory;

/// A kind of small record, each with its own key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Revolts that this node takes part in. Key: revolt.
    Revolt = 1,
    /// Epoch secrets. Key: revolt, key id.
    Secret = 2,
    /// Slot chunks of epochs. Key: revolt, key id, hash of the chunk.
    Chunk = 3,
    /// Where pulling stopped. Key: revolt, device of the peer.
    Cursor = 4,
    /// Which message a client's nonce became, so that a repeated send does nothing. Key: stream, hash of the nonce.
    Nonce = 5,
    /// Events that wait for their first transmission. Key: stream, number.
    Outbox = 6,
    /// Settings of this node.
    Local = 7,
    /// Branches of chains that their authors parted. Key: stream, name of the branch, which stands for the author's
    /// device in [`Write::Envelope`].
    Branch = 8,
}

impl Space {
    /// Spaces whose records are all handed over at start.
    pub const BOOT: [Self; 7] = [
        Self::Revolt,
        Self::Secret,
        Self::Chunk,
        Self::Cursor,
        Self::Outbox,
        Self::Local,
        Self::Branch,
    ];

    /// All spaces.
    pub const ALL: [Self; 8] = [
        Self::Revolt,
        Self::Secret,
        Self::Chunk,
        Self::Cursor,
        Self::Nonce,
        Self::Outbox,
        Self::Local,
        Self::Branch,
    ];
}

/// What an indexed event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// A message: a row of pages.
    Message = 1,
    /// An edit, deletion or reaction: shown with its target.
    Overlay = 2,
}

/// One change of the store. The writes of a batch happen together or not at all, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Keeps an envelope and appends it to the arrival log. An envelope that is already at this place is
    /// replaced, without a new arrival.
    Envelope {
        /// Its stream.
        stream: StreamId,
        /// Its author.
        device: DeviceId,
        /// Its place in the chain.
        seq: u64,
        /// [`Envelope::encode`](revnet_protocol::Envelope::encode).
        bytes: Vec<u8>,
    },
    /// Remembers the core's state of a chain.
    Chain {
        /// The stream.
        stream: StreamId,
        /// The author.
        device: DeviceId,
        /// Opaque.
        state: Vec<u8>,
    },
    /// Adds an event to the timeline index of its stream.
    Index {
        /// The stream.
        stream: StreamId,
        /// The event's place, also naming its envelope.
        id: MessageId,
        /// What it is.
        kind: RowKind,
        /// The message it belongs to, for overlays.
        target: Option<MessageId>,
    },
    /// Takes all events of a device from number `from` on out of the index of a stream.
    Unindex {
        /// The stream.
        stream: StreamId,
        /// The author.
        device: DeviceId,
        /// The first number that goes.
        from: u64,
    },
    /// Forgets the envelopes of a device from number `from` on, and takes them out of the index. Their entries in
    /// the arrival log lead nowhere afterwards.
    Cut {
        /// The stream.
        stream: StreamId,
        /// The author.
        device: DeviceId,
        /// The first number that goes.
        from: u64,
    },
    /// Sets a record.
    Put {
        /// Where.
        space: Space,
        /// Its key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Removes a record, if it is there.
    Remove {
        /// Where.
        space: Space,
        /// Its key.
        key: Vec<u8>,
    },
    /// Forgets a stream: envelopes, chains, index, and the nonces that were sent there. Its entries in the arrival log
    /// lead nowhere afterwards.
    Forget {
        /// The stream.
        stream: StreamId,
    },
}

/// Which way a page reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The newest messages before the bound (or the newest of all).
    Before,
    /// The oldest messages after the bound (or the oldest of all).
    After,
}

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// One record.
    Get {
        /// Where.
        space: Space,
        /// Its key.
        key: Vec<u8>,
    },
    /// Several records at once, in the order of the keys.
    GetMany {
        /// Where.
        space: Space,
        /// Their keys.
        keys: Vec<Vec<u8>>,
    },
    /// Consecutive envelopes of chains, in the order of the ranges.
    Ranges {
        /// Stream, author, and first number of each.
        ranges: Vec<(StreamId, DeviceId, u64)>,
        /// Stops after about this many bytes; at least one envelope is given.
        max_bytes: usize,
    },
    /// Single envelopes, in the order of the places.
    Envelopes {
        /// Stream, author and number of each.
        places: Vec<(StreamId, DeviceId, u64)>,
    },
    /// A page of messages with their overlays.
    Page {
        /// The stream.
        stream: StreamId,
        /// The bound, itself left out.
        from: Option<MessageId>,
        /// Which way.
        direction: Direction,
        /// At most this many messages.
        limit: usize,
    },
    /// One message with its overlays; no rows if it isn't there.
    Message {
        /// The stream.
        stream: StreamId,
        /// Which.
        id: MessageId,
    },
    /// All keys of the timeline index of a stream, in their order.
    Timeline {
        /// The stream.
        stream: StreamId,
    },
    /// The arrival log from a position on.
    Arrivals {
        /// The first position.
        from: u64,
        /// At most this many entries.
        limit: usize,
    },
}

/// A message of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Its place.
    pub id: MessageId,
    /// Its encoded envelope.
    pub envelope: Vec<u8>,
    /// Places and encoded envelopes of what changes it, by place.
    pub overlays: Vec<(MessageId, Vec<u8>)>,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Get`.
    Value(Option<Vec<u8>>),
    /// To `GetMany` and `Envelopes`.
    Values(Vec<Option<Vec<u8>>>),
    /// To `Ranges`: encoded envelopes, and whether all there is was given.
    Envelopes {
        /// In the order of the ranges and numbers.
        envelopes: Vec<Vec<u8>>,
        /// Nothing was left out.
        complete: bool,
    },
    /// To `Page` and `Message`: messages by place, oldest first.
    Rows(Vec<PageRow>),
    /// To `Timeline`.
    Keys(Vec<MessageId>),
    /// To `Arrivals`: position, stream, author and number of each.
    Arrivals(Vec<(u64, StreamId, DeviceId, u64)>),
}

/// Everything that a core needs at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Random, made with the store: names it in cursors.
    pub store: [u8; 16],
    /// The next position of the arrival log.
    pub position: u64,
    /// All records of [`Space::BOOT`].
    pub records: BTreeMap<(Space, Vec<u8>), Vec<u8>>,
    /// All chain states.
    pub chains: Vec<(StreamId, DeviceId, Vec<u8>)>,
    /// All envelopes of the control streams, without those of branches; filled in by [`Boot::read`].
    pub control: Vec<Vec<u8>>,
    /// The branches of control streams by name, with all their envelopes; filled in by [`Boot::read`].
    pub branches: Vec<(StreamId, DeviceId, Vec<Vec<u8>>)>,
}

impl Boot {
    /// Reads from a store what a core needs, the control streams of all revolts included.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn read(storage: &dyn Storage) -> Result<Self, StorageError> {
        let mut boot = storage.boot()?;
        let control: BTreeSet<StreamId> = boot
            .records
            .keys()
            .filter(|(space, _)| *space == Space::Revolt)
            .filter_map(|(_, key)| {
                Some(StreamId::control(&RevoltId(
                    key.as_slice().try_into().ok()?,
                )))
            })
            .collect();
        let ranges: Vec<_> = boot
            .chains
            .iter()
            .filter(|(stream, ..)| control.contains(stream))
            .map(|(stream, device, _)| (*stream, *device, 1))
            .collect();
        if !ranges.is_empty() {
            let query = Query::Ranges {
                ranges,
                max_bytes: usize::MAX,
            };
            if let Answer::Envelopes { envelopes, .. } = storage.query(&query)? {
                boot.control = envelopes;
            }
        }
        let branches = boot.records.keys().filter_map(|(space, key)| {
            let (stream, name) = key.split_first_chunk::<32>()?;
            let stream = StreamId(*stream);
            let is_control = *space == Space::Branch && control.contains(&stream);
            Some((stream, DeviceId(name.try_into().ok()?))).filter(|_| is_control)
        });
        for (stream, name) in branches {
            let query = Query::Ranges {
                ranges: vec![(stream, name, 1)],
                max_bytes: usize::MAX,
            };
            if let Answer::Envelopes { envelopes, .. } = storage.query(&query)? {
                boot.branches.push((stream, name, envelopes));
            }
        }
        Ok(boot)
    }
}

/// Why a store could not do what it was asked. What was committed before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// No space left, or a quota.
    #[error("the disk is full; free some space, and the node goes on by itself")]
    Full,
    /// The file isn't what was written to it.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Anything else that the system says.
    #[error("the disk can't be used: {0}")]
    Io(String),
}

/// A store. Calls block; whoever needs to go on meanwhile calls from another thread.
pub trait Storage: Send {
    /// What a core needs at its start.
    ///
    /// # Errors
    /// [`StorageError`].
    fn boot(&self) -> Result<Boot, StorageError>;

    /// Makes all batches durable, together, in their order.
    ///
    /// # Errors
    /// [`StorageError`]; then none of the batches happened.
    fn commit(&mut self, batches: &[Vec<Write>]) -> Result<(), StorageError>;

    /// Answers a question about what is committed.
    ///
    /// # Errors
    /// [`StorageError`].
    fn query(&self, query: &Query) -> Result<Answer, StorageError>;
}
