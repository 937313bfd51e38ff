//! What RevNet nodes say to each other: ids, keys, certificates, signed envelopes, control acts,
//! channel events, invites and wire frames, with their encodings and hard limits.
//!
//! Everything here is pure: no clock, no random source, no I/O. Randomness is an argument, time is
//! a number. The crate decides what a *well-formed* object is; who may do what is decided in
//! `revnet-crdt`, and when something is sent in `revnet-core`.
//!
//! ```
//! use revnet_protocol::{DeviceKeys, RootKey};
//!
//! let root = RootKey::from_seed([1; 32]);
//! let device = DeviceKeys::from_seed([2; 32]);
//! let cert = root.certify(&device, "laptop", 1_700_000_000_000);
//! assert!(cert.verify().is_ok());
//! assert_eq!(cert.user, root.user());
//! ```

pub mod act;
pub mod agreement;
pub mod codec;
pub mod envelope;
pub mod epoch;
pub mod event;
pub mod frame;
pub mod hash;
pub mod hlc;
pub mod identity;
pub mod ids;
pub mod invite;
pub mod limits;
pub mod proof;
pub mod range;
pub mod role;
pub mod seal;

pub use act::{Act, Audience, ChannelKind, Genesis, SignedGenesis};
pub use codec::{CodecError, decode, encode};
pub use envelope::{Body, Envelope, EnvelopeError, Header, Run, RunItem};
pub use epoch::{EpochSecret, Slot, SlotChunk};
pub use event::{Content, Event, Imported, MessageId};
pub use hlc::Hlc;
pub use identity::{CertError, DeviceCert, DeviceKeys, DeviceRevocation, RootKey, Signature};
pub use ids::{
    ChannelId, DeviceId, DocId, EnvelopeId, Hash, InviteId, KeyId, RevoltId, RoleId, StreamId,
    UserId,
};
pub use invite::{InviteLink, InviteSecret, LinkError};
pub use proof::Equivocation;
pub use role::{Permission, Permissions};
