//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): wall milliseconds that never
//! run backwards, and a counter for what happens within one of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A time stamp: 48 bits of Unix milliseconds and a counter. Sorts by time, then counter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Hlc {
    /// Milliseconds since 1970, below 2^48.
    pub ms: u64,
    /// Distinguishes stamps of one millisecond.
    pub counter: u32,
}

/// Largest millisecond value (the year 10889).
pub const MAX_MS: u64 = (1 << 48) - 1;

impl Hlc {
    /// The earliest stamp.
    pub const ZERO: Self = Self { ms: 0, counter: 0 };

    /// The next stamp after `self` for a clock that shows `now_ms`.
    #[must_use]
    pub fn next(self, now_ms: u64) -> Self {
        let now = Self {
            ms: now_ms.min(MAX_MS),
            counter: 0,
        };
        if now > self {
            now
        } else if self.counter == u32::MAX {
            Self {
                ms: (self.ms + 1).min(MAX_MS),
                counter: 0,
            }
        } else {
            Self {
                ms: self.ms,
                counter: self.counter + 1,
            }
        }
    }

    /// Ten bytes that sort like the stamp.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 10] {
        let mut out = [0; 10];
        out[..6].copy_from_slice(&self.ms.to_be_bytes()[2..]);
        out[6..].copy_from_slice(&self.counter.to_be_bytes());
        out
    }

    /// Reads what [`Hlc::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 10]) -> Self {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&bytes[..6]);
        let mut counter = [0; 4];
        counter.copy_from_slice(&bytes[6..]);
        Self {
            ms: u64::from_be_bytes(ms),
            counter: u32::from_be_bytes(counter),
        }
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_sort_like_stamps(a in 0..=MAX_MS, b in 0..=MAX_MS, c: u32, d: u32) {
            let (x, y) = (Hlc { ms: a, counter: c }, Hlc { ms: b, counter: d });
            prop_assert_eq!(x.cmp(&y), x.to_bytes().cmp(&y.to_bytes()));
            prop_assert_eq!(Hlc::from_bytes(&x.to_bytes()), x);
        }

        #[test]
        fn next_is_always_later(ms in 0..MAX_MS, counter: u32, now in 0..=MAX_MS) {
            let stamp = Hlc { ms, counter };
            prop_assert!(stamp.next(now) > stamp);
        }
    }
}
