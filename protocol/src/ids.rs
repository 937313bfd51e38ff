//! Identifiers. All are 32 bytes; their text is lower-case base32 with a letter in front that tells
//! the kind, and for people and invites a checksum behind, because those are typed and compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hash::hash;

const BASE32: data_encoding::Encoding = data_encoding::BASE32_NOPAD_NOCASE;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The first letter belongs to another kind of id, or to none.
    #[error("expected an id that starts with '{0}'")]
    Kind(char),
    /// Not base32, or not 32 bytes.
    #[error("not a complete id: copy it again, from its first letter to its last")]
    Malformed,
    /// A character was mistyped.
    #[error("the id's checksum is wrong: a character is mistyped")]
    Checksum,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $check:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first ten characters of the text form, for logs and lists.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(10).collect()
            }

            /// The raw bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&print($prefix, &self.0, $check))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse($prefix, text, $check).map(Self)
            }
        }
    };
}

id!(/** A BLAKE3 hash. */ Hash, 'h', false);
id!(/** A person: the public half of the Ed25519 root key. */ UserId, 'u', true);
id!(/** One installation: its Ed25519 public key, and so its libp2p peer id. */ DeviceId, 'd', false);
id!(/** A community: the hash of its signed genesis. */ RevoltId, 'r', false);
id!(/** A channel: the id of the act that created it. */ ChannelId, 'c', false);
id!(/** A role: the id of the act that created it. */ RoleId, 'a', false);
id!(/** A stream: the control stream of a revolt, or one of its channels. */ StreamId, 's', false);
id!(/** One segment of a stream: one Automerge document. */ DocId, 'o', false);
id!(/** An envelope: the hash of its header. */ EnvelopeId, 'e', false);
id!(/** An epoch secret, named by a hash that commits to it. */ KeyId, 'k', false);
id!(/** An invite: the public half of the key that its link carries. */ InviteId, 'i', true);

impl From<Hash> for EnvelopeId {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

impl From<EnvelopeId> for ChannelId {
    fn from(id: EnvelopeId) -> Self {
        Self(id.0)
    }
}

impl From<EnvelopeId> for RoleId {
    fn from(id: EnvelopeId) -> Self {
        Self(id.0)
    }
}

impl RoleId {
    /// The role that every member has.
    pub const EVERYONE: Self = Self([0; 32]);
}

impl StreamId {
    /// The control stream of a revolt.
    #[must_use]
    pub fn control(revolt: &RevoltId) -> Self {
        Self(hash("revnet/v1/stream/control", &[&revolt.0]).0)
    }

    /// The stream of a channel.
    #[must_use]
    pub fn channel(revolt: &RevoltId, channel: &ChannelId) -> Self {
        Self(hash("revnet/v1/stream/channel", &[&revolt.0, &channel.0]).0)
    }

    /// The document that holds segment `seg` of this stream.
    #[must_use]
    pub fn document(&self, seg: u32) -> DocId {
        DocId(hash("revnet/v1/document", &[&self.0, &seg.to_le_bytes()]).0)
    }
}

fn checksum(prefix: char, bytes: &[u8; 32]) -> [u8; 3] {
    let full = hash("revnet/v1/checksum", &[&[prefix as u8], bytes]);
    [full.0[0], full.0[1], full.0[2]]
}

fn print(prefix: char, bytes: &[u8; 32], check: bool) -> String {
    let mut data = bytes.to_vec();
    if check {
        data.extend_from_slice(&checksum(prefix, bytes));
    }
    let mut text = String::with_capacity(1 + data.len() * 8 / 5 + 1);
    text.push(prefix);
    text.push_str(&BASE32.encode(&data).to_ascii_lowercase());
    text
}

fn parse(prefix: char, text: &str, check: bool) -> Result<[u8; 32], ParseIdError> {
    let rest = text
        .strip_prefix(prefix)
        .ok_or(ParseIdError::Kind(prefix))?;
    let data = BASE32
        .decode(rest.as_bytes())
        .map_err(|_| ParseIdError::Malformed)?;
    let (bytes, sum) = data.split_at_checked(32).ok_or(ParseIdError::Malformed)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| ParseIdError::Malformed)?;
    match (check, sum) {
        (false, []) => Ok(bytes),
        (true, sum) if sum == checksum(prefix, &bytes) => Ok(bytes),
        (true, sum) if sum.len() == 3 => Err(ParseIdError::Checksum),
        _ => Err(ParseIdError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip_and_tells_kinds_apart() {
        let user = UserId([7; 32]);
        assert_eq!(user.to_string().parse::<UserId>(), Ok(user));
        let stream = StreamId([9; 32]);
        assert_eq!(stream.to_string().parse::<StreamId>(), Ok(stream));
        assert_eq!(
            user.to_string().parse::<DeviceId>(),
            Err(ParseIdError::Kind('d'))
        );
    }

    #[test]
    fn a_mistyped_user_id_is_noticed() {
        let text = UserId([7; 32]).to_string();
        for at in 1..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).expect("ascii");
            assert!(changed.parse::<UserId>().is_err(), "{changed}");
        }
    }
}
