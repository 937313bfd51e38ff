//! One postcard encoding behind a version byte. Decoders refuse unknown versions, trailing bytes and
//! every encoding that is not the one the encoder makes, so that one object has one hash.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that this crate writes.
pub const VERSION: u8 = 1;

/// Why bytes are not an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Longer than the limit of its kind.
    #[error("{len} bytes, more than the {max} allowed")]
    TooLong {
        /// Length found.
        len: usize,
        /// Length allowed.
        max: usize,
    },
    /// Written by another version of the program.
    #[error("version {0} of the format is not known here")]
    Version(u8),
    /// Not an encoding of the expected type.
    #[error("malformed")]
    Malformed,
    /// Decodes, but is not what the encoder would have written.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// Encodes `value` behind the version byte.
///
/// # Panics
/// Never for the types of this crate: postcard fails only on types without a known length.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("protocol types have known lengths")
}

/// Decodes at most `max` bytes of a canonical encoding.
///
/// # Errors
/// See [`CodecError`]; nothing is allocated beyond what the input's own length allows.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLong {
            len: bytes.len(),
            max,
        });
    }
    let (&version, rest) = bytes.split_first().ok_or(CodecError::Malformed)?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let (value, trailing) =
        postcard::take_from_bytes::<T>(rest).map_err(|_| CodecError::Malformed)?;
    if !trailing.is_empty() || encode(&value) != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_bytes_decode() {
        let good = encode(&(5u32, "x".to_owned()));
        assert_eq!(decode::<(u32, String)>(&good, 99), Ok((5, "x".to_owned())));
        let mut trailing = good.clone();
        trailing.push(0);
        assert_eq!(
            decode::<(u32, String)>(&trailing, 99),
            Err(CodecError::NotCanonical)
        );
        // 5 as a two-byte varint: same value, other bytes.
        let padded = [VERSION, 0x85, 0x00, 1, b'x'];
        assert_eq!(
            decode::<(u32, String)>(&padded, 99),
            Err(CodecError::NotCanonical)
        );
        let mut newer = good.clone();
        newer[0] = 9;
        assert_eq!(
            decode::<(u32, String)>(&newer, 99),
            Err(CodecError::Version(9))
        );
        assert_eq!(
            decode::<(u32, String)>(&good, 2),
            Err(CodecError::TooLong { len: 4, max: 2 })
        );
    }
}
