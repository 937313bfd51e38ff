//! Channel events and their bodies. An event has fixed fields and lives in the document; a body holds
//! the words and lives beside it, so that words can be dropped and the document stays whole.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, decode, encode};
use crate::hash::hash;
use crate::hlc::Hlc;
use crate::ids::{DeviceId, Hash};
use crate::limits::{MAX_BODY, MAX_EMOJI, MAX_EVENT, MAX_SEQ};

/// The place of an event in its stream, and the name of a message: when, by which device, its how-manieth.
/// As text it is the event's key in the document: 64 characters that sort like the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// When its author wrote it.
    pub hlc: Hlc,
    /// Who wrote it.
    pub device: DeviceId,
    /// Its number in the author's chain, below 2^48.
    pub seq: u64,
}

/// Why a text is not a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: it has 64 letters, digits, '_' or '~'")]
pub struct ParseMessageIdError;

/// Base64 with its digits in ASCII order, so that texts sort like bytes.
fn ordered_base64() -> &'static data_encoding::Encoding {
    static ENCODING: std::sync::LazyLock<data_encoding::Encoding> =
        std::sync::LazyLock::new(|| {
            let mut spec = data_encoding::Specification::new();
            spec.symbols
                .push_str("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~");
            spec.encoding().expect("64 different ASCII symbols")
        });
    &ENCODING
}

impl MessageId {
    /// Length of the byte form.
    pub const BYTES: usize = 48;

    /// 48 bytes that sort like the id.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..10].copy_from_slice(&self.hlc.to_bytes());
        out[10..42].copy_from_slice(&self.device.0);
        out[42..].copy_from_slice(&self.seq.min(MAX_SEQ).to_be_bytes()[2..]);
        out
    }

    /// Reads what [`MessageId::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut hlc, mut device, mut seq) = ([0; 10], [0; 32], [0; 8]);
        hlc.copy_from_slice(&bytes[..10]);
        device.copy_from_slice(&bytes[10..42]);
        seq[2..].copy_from_slice(&bytes[42..]);
        Self {
            hlc: Hlc::from_bytes(&hlc),
            device: DeviceId(device),
            seq: u64::from_be_bytes(seq),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ordered_base64().encode(&self.to_bytes()))
    }
}

impl FromStr for MessageId {
    type Err = ParseMessageIdError;

    fn from_str(text: &str) -> Result<Self, ParseMessageIdError> {
        let bytes = ordered_base64()
            .decode(text.as_bytes())
            .map_err(|_| ParseMessageIdError)?;
        let bytes: [u8; Self::BYTES] = bytes.try_into().map_err(|_| ParseMessageIdError)?;
        Ok(Self::from_bytes(&bytes))
    }
}

/// One event of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Somebody says something.
    Message {
        /// The message that this one answers.
        reply_to: Option<MessageId>,
        /// Hash of the body; see [`Content::hash`].
        body: Hash,
    },
    /// The author of `target` says it differently.
    Edit {
        /// Which message.
        target: MessageId,
        /// Hash of the new body.
        body: Hash,
    },
    /// The author of `target`, or a moderator, takes it away.
    Delete {
        /// Which message.
        target: MessageId,
    },
    /// Adds or removes a reaction.
    React {
        /// To which message.
        target: MessageId,
        /// At most 32 bytes.
        emoji: String,
        /// Whether the author's reaction is there from now on.
        on: bool,
    },
}

impl Event {
    /// The bytes that the channel's document holds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads and checks an event's form.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let event: Self = decode(bytes, MAX_EVENT)?;
        match &event {
            Self::React { emoji, .. } if emoji.is_empty() || emoji.len() > MAX_EMOJI => {
                Err(CodecError::Malformed)
            }
            _ => Ok(event),
        }
    }

    /// The message that this event changes, unless it is a message itself.
    #[must_use]
    pub fn target(&self) -> Option<MessageId> {
        match self {
            Self::Message { .. } => None,
            Self::Edit { target, .. } | Self::Delete { target } | Self::React { target, .. } => {
                Some(*target)
            }
        }
    }

    /// The hash of the body that belongs to this event.
    #[must_use]
    pub fn body(&self) -> Option<Hash> {
        match self {
            Self::Message { body, .. } | Self::Edit { body, .. } => Some(*body),
            Self::Delete { .. } | Self::React { .. } => None,
        }
    }
}

/// Where an imported message comes from. It stands under the importer's signature: others see who vouches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Name of the import, such as the file's name.
    pub source: String,
    /// The message's id there.
    pub id: String,
    /// Who wrote it there.
    pub author: String,
    /// When, in Unix milliseconds.
    pub time_ms: i64,
    /// The id there of the message that it answers.
    pub reply_to: Option<String>,
}

/// The words of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Random, and gone with the body: without it the hash in the document tells nobody what a deleted
    /// message said.
    pub salt: [u8; 16],
    /// Markdown.
    pub text: String,
    /// Where it comes from, if it was imported.
    pub imported: Option<Imported>,
}

/// Smallest size class of a body in bytes.
const MIN_CLASS: usize = 64;

impl Content {
    /// Encodes and pads to the next size class (powers of two and their middles from 64 bytes), so that
    /// lengths tell little. The padding is zeros behind the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let plain = encode(self);
        let mut out = (plain.len() as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&plain);
        out.resize(size_class(out.len()), 0);
        out
    }

    /// Reads a padded body.
    ///
    /// # Errors
    /// [`CodecError`]; also where the padding isn't what the encoder makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > MAX_BODY {
            return Err(CodecError::TooLong {
                len: bytes.len(),
                max: MAX_BODY,
            });
        }
        let (len, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or(CodecError::Malformed)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (plain, padding) = rest.split_at_checked(len).ok_or(CodecError::Malformed)?;
        if bytes.len() != size_class(len + 4) || padding.iter().any(|byte| *byte != 0) {
            return Err(CodecError::NotCanonical);
        }
        decode(plain, MAX_BODY)
    }

    /// What an event says about its body. Covers the salt.
    #[must_use]
    pub fn hash(encoded: &[u8]) -> Hash {
        hash("revnet/v1/body", &[encoded])
    }

    /// Whether it fits into a body.
    #[must_use]
    pub fn fits(&self) -> bool {
        encode(self).len() + 4 <= MAX_BODY
    }
}

fn size_class(len: usize) -> usize {
    let power = len.max(MIN_CLASS).next_power_of_two();
    let middle = power / 4 * 3;
    let class = if power > MIN_CLASS && len <= middle {
        middle
    } else {
        power
    };
    class.min(MAX_BODY.max(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(ms: u64, counter: u32, device: u8, seq: u64) -> MessageId {
        MessageId {
            hlc: Hlc { ms, counter },
            device: DeviceId([device; 32]),
            seq,
        }
    }

    proptest! {
        #[test]
        fn message_ids_sort_alike_as_values_bytes_and_text(
            a in (0..crate::hlc::MAX_MS, any::<u32>(), any::<u8>(), 0..MAX_SEQ),
            b in (0..crate::hlc::MAX_MS, any::<u32>(), any::<u8>(), 0..MAX_SEQ),
        ) {
            let (x, y) = (id(a.0, a.1, a.2, a.3), id(b.0, b.1, b.2, b.3));
            prop_assert_eq!(x.cmp(&y), x.to_bytes().cmp(&y.to_bytes()));
            prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
            prop_assert_eq!(x.to_string().parse::<MessageId>(), Ok(x));
            prop_assert_eq!(x.to_string().len(), 64);
        }

        #[test]
        fn bodies_survive_a_round_trip_and_hide_their_length(text in ".{0,300}") {
            let content = Content { salt: [3; 16], text, imported: None };
            let bytes = content.encode();
            prop_assert!(bytes.len().is_power_of_two() || (bytes.len() / 3 * 4).is_power_of_two());
            prop_assert_eq!(Content::decode(&bytes), Ok(content));
        }
    }

    #[test]
    fn a_body_with_something_in_its_padding_is_refused() {
        let mut bytes = Content {
            salt: [3; 16],
            text: "x".into(),
            imported: None,
        }
        .encode();
        *bytes.last_mut().expect("padded") = 1;
        assert_eq!(Content::decode(&bytes), Err(CodecError::NotCanonical));
    }

    #[test]
    fn the_longest_text_fits_and_one_more_does_not() {
        let mut content = Content {
            salt: [3; 16],
            text: String::new(),
            imported: None,
        };
        while content.fits() {
            content.text.push('x');
        }
        content.text.pop();
        assert!(content.fits());
        assert_eq!(content.encode().len(), MAX_BODY);
        assert_eq!(Content::decode(&content.encode()), Ok(content));
    }
}
