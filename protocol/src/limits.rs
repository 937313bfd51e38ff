//! Hard limits of what a node accepts. A larger object is refused before it is looked at further.

/// Largest wire frame in bytes, header excluded.
pub const MAX_FRAME: usize = 1024 * 1024;
/// Largest plaintext body (text and attributes) in bytes.
pub const MAX_BODY: usize = 8 * 1024;
/// Largest encoded event or act in bytes: the value of one document key.
pub const MAX_EVENT: usize = 8 * 1024;
/// Largest ciphertext of a change: an event, its key, and Automerge's own fields.
pub const MAX_CHANGE: usize = MAX_EVENT + 1024;
/// Largest encoded envelope in bytes.
pub const MAX_ENVELOPE: usize = MAX_CHANGE + MAX_BODY + 2048;
/// Most control heads that one envelope cites.
pub const MAX_HEADS: usize = 4;
/// Most events of one device in one segment.
pub const SEGMENT_EVENTS: u32 = 1024;
/// Most envelopes in one run on the wire.
pub const MAX_RUN: usize = 4096;
/// Most slots in one chunk of a key rotation.
pub const CHUNK_SLOTS: usize = 256;
/// Longest name of a person, revolt, channel or device in bytes of UTF-8.
pub const MAX_NAME: usize = 64;
/// Longest topic or description in bytes of UTF-8.
pub const MAX_TOPIC: usize = 1024;
/// Longest reaction in bytes of UTF-8 (an emoji with modifiers, or a short name).
pub const MAX_EMOJI: usize = 32;
/// Most addresses in an invite link.
pub const MAX_LINK_ADDRESSES: usize = 8;
/// Longest invite link in bytes.
pub const MAX_LINK: usize = 4096;
/// Most back-links of one key rotation.
pub const MAX_BACK_LINKS: usize = 16;
/// Most slots in one [`KeyShare`](crate::act::Act::KeyShare): about 6 KB.
pub const MAX_SHARED_SLOTS: usize = 64;
/// Most joins in one confirmation.
pub const MAX_CONFIRMED: usize = 64;
/// Most headers of one history in a proof that there are two: about 3 KB.
pub const MAX_PROOF_HEADERS: usize = 8;
/// Most places of a chain in one [`Parted`](crate::frame::Frame::Parted).
pub const MAX_MARKS: usize = 64;
/// Highest sequence number of a chain (48 bits, so that it fits into an event key).
pub const MAX_SEQ: u64 = (1 << 48) - 1;
