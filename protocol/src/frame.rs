//! What two linked nodes say to each other, and what members gossip.
//!
//! Every frame is one encoded [`Frame`] of at most 1 MiB; a link's transport prefixes its length.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, decode, encode};
use crate::envelope::{Envelope, Run};
use crate::epoch::{SlotChunk, Tag};
use crate::hash::hash;
use crate::identity::{DeviceKeys, Signature, verify};
use crate::ids::{DeviceId, EnvelopeId, KeyId, RevoltId, StreamId};
use crate::limits::{MAX_ENVELOPE, MAX_FRAME};
use crate::range::{Question, Split};

/// The version of the conversation on a link. Nodes with different ones part politely.
///
/// Version 3 compares ranges of chains, in which version 2 named all chains of a stream.
pub const LINK_VERSION: u16 = 3;

/// Summary of what a node has: equal fingerprints mean equal chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// Summarises parts in their order.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let full = hash("revnet/v1/fingerprint", parts);
        let mut out = [0; 16];
        out.copy_from_slice(&full.0[..16]);
        Self(out)
    }
}

/// A place in the order of arrival of one store: everything before it has been passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which store: another one, or a restored one, has another id.
    pub store: [u8; 16],
    /// How many envelopes had arrived.
    pub position: u64,
}

/// The first 16 bytes of an id: enough to tell apart what somebody has, and out of reach for who looks for two
/// alike (2^64 tries).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mark(pub [u8; 16]);

impl Mark {
    fn of(id: &[u8; 32]) -> Self {
        let mut out = [0; 16];
        out.copy_from_slice(&id[..16]);
        Self(out)
    }

    /// The lowest id that it stands for, as bytes.
    #[must_use]
    pub fn lowest(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..16].copy_from_slice(&self.0);
        out
    }
}

impl From<&DeviceId> for Mark {
    fn from(id: &DeviceId) -> Self {
        Self::of(&id.0)
    }
}

impl From<&EnvelopeId> for Mark {
    fn from(id: &EnvelopeId) -> Self {
        Self::of(&id.0)
    }
}

/// How far a node has one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// The author.
    pub device: Mark,
    /// The last number that it has without a gap.
    pub seq: u64,
    /// The envelope at that number.
    pub id: Mark,
    /// It knows that the author signed two envelopes for the next number, or for a later one.
    pub forked: bool,
}

/// Up to where a node has each chain of a stream. In a control stream, whose chains may have branches, each branch
/// has its own tip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tips {
    /// The stream.
    pub stream: StreamId,
    /// One for each chain or branch, in no order.
    pub tips: Vec<Tip>,
}

/// The words of an older version of the conversation: nobody can say them any more, and their numbers stay taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retired {}

/// Why a peer gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The device isn't a member's, as far as this node knows.
    NotMember,
    /// The invite has expired, was revoked or is used up.
    InviteEnded,
    /// Too much asked for at once.
    Busy,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// First on every link, from both sides.
    Hello {
        /// [`LINK_VERSION`] of the sender.
        version: u16,
        /// Fresh for this link.
        nonce: [u8; 32],
        /// The sender's clock in Unix milliseconds.
        unix_ms: u64,
    },
    /// "I hold these secrets": one tag a revolt, filled up with random ones.
    Prove {
        /// See [`MeetSecret::proof`](crate::epoch::MeetSecret::proof).
        proofs: Vec<Tag>,
    },
    /// "I have an invite."
    Knock {
        /// Proof of knowing the invite.
        proof: Tag,
        /// By the invite's key, over [`knock_digest`](crate::invite::knock_digest).
        signature: Signature,
    },
    /// `Pull` of versions 1 and 2.
    Retired4(Retired),
    /// `Compare` of versions 1 and 2.
    Retired5(Retired),
    /// `Want` of version 1.
    Retired6(Retired),
    /// Envelopes.
    Runs {
        /// Which revolt.
        revolt: RevoltId,
        /// In an order in which they can be accepted.
        runs: Vec<Run>,
    },
    /// `Pulled` of versions 1 and 2.
    Retired8(Retired),
    /// "I can't open what is encrypted with these."
    NeedKeys {
        /// Which revolt.
        revolt: RevoltId,
        /// The secrets' names.
        key_ids: Vec<KeyId>,
    },
    /// Slots for who asked.
    Keys {
        /// Which revolt.
        revolt: RevoltId,
        /// Chunks with a slot for the asker.
        chunks: Vec<SlotChunk>,
    },
    /// "Not for you."
    Refused {
        /// Which revolt; none where it couldn't be told.
        revolt: Option<RevoltId>,
        /// Why.
        reason: Refusal,
    },
    /// Signed acknowledgements, to an author that is linked.
    Held(Held),
    /// `Ask` of version 2.
    Retired13(Retired),
    /// "At these numbers I have these envelopes of a chain of which we have different ones." The receiver answers
    /// with numbers closer to the place where the chain parts, or with its own envelopes from there on.
    Parted {
        /// Which revolt.
        revolt: RevoltId,
        /// The stream, a channel.
        stream: StreamId,
        /// The author.
        device: DeviceId,
        /// Rising numbers, and what is there; at most [`MAX_MARKS`](crate::limits::MAX_MARKS).
        marks: Vec<(u64, Mark)>,
    },
    /// "Send me what I don't have of this revolt."
    Pull {
        /// Which.
        revolt: RevoltId,
        /// What the asker has of acts, and of words.
        have: [Option<Fingerprint>; 2],
        /// Where it stopped the last time.
        cursor: Option<Cursor>,
    },
    /// "Here we differ": the answer to a `Pull` whose cursor doesn't help, and to questions about ranges.
    Compare {
        /// Which revolt.
        revolt: RevoltId,
        /// The ranges.
        splits: Vec<Split>,
    },
    /// Questions about ranges that differ.
    Ask {
        /// Which revolt.
        revolt: RevoltId,
        /// About ranges that don't overlap.
        questions: Vec<Question>,
        /// Leaves out what comes before: where the last answer stopped.
        from: Option<Stop>,
    },
    /// Ends the answer to a `Pull` or an `Ask`.
    Pulled {
        /// Which revolt.
        revolt: RevoltId,
        /// Where to go on the next time, once all that differs has been asked for.
        cursor: Option<Cursor>,
        /// There is more from here on: ask again.
        more: Option<Stop>,
    },
}

/// Where an answer stopped: at a stream, an author, and a piece of what there is of them: 0 for the chain, others for
/// branches in the answerer's order. Stops only rise.
pub type Stop = (StreamId, DeviceId, u32);

/// "My disk has these": the last envelope of each chain, all before it included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whose disk.
    pub holder: DeviceId,
    /// Stream, author, sequence number and id.
    pub chains: Vec<(StreamId, DeviceId, u64, EnvelopeId)>,
    /// The holder's.
    pub signature: Signature,
}

impl Held {
    /// Signs an acknowledgement.
    #[must_use]
    pub fn sign(keys: &DeviceKeys, chains: Vec<(StreamId, DeviceId, u64, EnvelopeId)>) -> Self {
        let signature = keys.sign(&Self::digest(&keys.id(), &chains));
        Self {
            holder: keys.id(),
            chains,
            signature,
        }
    }

    fn digest(holder: &DeviceId, chains: &[(StreamId, DeviceId, u64, EnvelopeId)]) -> [u8; 32] {
        hash("revnet/v1/held", &[&encode(&(holder, chains))]).0
    }

    /// Whether the holder said it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        verify(
            &self.holder.0,
            &Self::digest(&self.holder, &self.chains),
            &self.signature,
        )
    }
}

/// What is gossiped under a revolt's topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gossip {
    /// A new envelope.
    Envelope(Box<Envelope>),
    /// Chains that grew by more than is worth gossiping: pull them.
    Advance(Vec<(StreamId, DeviceId, u64)>),
}

impl Frame {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`CodecError`]; the sender of a malformed frame is disconnected.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes, MAX_FRAME)
    }
}

impl Gossip {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a gossip message.
    ///
    /// # Errors
    /// [`CodecError`]; the message is then rejected, which costs who passed it on.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes, MAX_ENVELOPE + 64)
    }
}
