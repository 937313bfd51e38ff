//! What a node makes of authentic events: the documents they form, and the messages they show.
//!
//! Everything here is pure: no clock, no random source, no I/O. The crate decides what a change may
//! look like, what a document holds and who may do what; it never checks a signature or decrypts.
//!
//! ```
//! use revnet_crdt::change::{Expected, check_change, make_change};
//! use revnet_protocol::{DeviceId, Hlc, MessageId};
//!
//! let device = DeviceId([7; 32]);
//! let id = MessageId { hlc: Hlc { ms: 1_700_000_000_000, counter: 0 }, device, seq: 1 };
//! let (bytes, tip) = make_change(None, &id, b"event");
//! let expected = Expected { device: &device, seq: 1, seg_seq: 1 };
//! let checked = check_change(&bytes, &expected).unwrap();
//! assert_eq!((checked.id, checked.tip), (id, tip));
//! assert!(checked.follows(None));
//! ```

pub mod authority;
pub mod change;
pub mod document;
pub mod view;
