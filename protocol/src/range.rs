//! Comparing what two nodes have of a revolt: range-based set reconciliation over the chains.
//!
//! Every chain has a [`place`], a hash of its stream and author. Two nodes compare fingerprints of ranges of places,
//! each a sixteenth of the range before, until few enough chains are left to name them. One chain that differs of
//! `n` costs `log₂₅₆ n` round trips, since either side goes down a step. (Meyer, "Range-Based Set Reconciliation",
//! 2022, over a trie instead of a sorted list, so that bounds need not be sent.)

use serde::{Deserialize, Serialize};

use crate::frame::{Fingerprint, Tips};
use crate::hash::hash;
use crate::ids::{DeviceId, StreamId};

/// Into how many ranges one is split.
pub const FANOUT: usize = 16;
/// How often a range can be split until a single place is left.
pub const MAX_DEPTH: u8 = 16;

/// What is compared apart: acts decide what words are worth, and go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// The chains of the control stream.
    Acts,
    /// The chains of all channels.
    Words,
}

/// Where a chain stands among all.
#[must_use]
pub fn place(stream: &StreamId, device: &DeviceId) -> u64 {
    let full = hash("revnet/v1/place", &[&stream.0, &device.0]);
    let (first, _) = full.0.split_first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first)
}

/// All places that begin with the same hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    part: Part,
    depth: u8,
    first: u64,
}

impl Range {
    /// All places.
    #[must_use]
    pub const fn whole(part: Part) -> Self {
        Self {
            part,
            depth: 0,
            first: 0,
        }
    }

    /// Of what.
    #[must_use]
    pub const fn part(&self) -> Part {
        self.part
    }

    /// Whether it is a range at all: with a known number of digits, and nothing after them.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.depth <= MAX_DEPTH && self.first & self.rest() == 0
    }

    /// The digits that are left open, as ones.
    const fn rest(&self) -> u64 {
        match u64::MAX.checked_shr(4 * self.depth as u32) {
            Some(rest) => rest,
            None => 0,
        }
    }

    /// The lowest and the highest place in it.
    #[must_use]
    pub const fn bounds(&self) -> (u64, u64) {
        (self.first, self.first | self.rest())
    }

    /// Whether it lies before another one, without a place in common.
    #[must_use]
    pub const fn is_before(&self, other: &Self) -> bool {
        match (self.part, other.part) {
            (Part::Acts, Part::Words) => true,
            (Part::Words, Part::Acts) => false,
            _ => self.bounds().1 < other.bounds().0,
        }
    }

    /// Its sixteenths in their order; none of a single place.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let depth = self.depth + 1;
        let digits = if self.depth < MAX_DEPTH {
            FANOUT as u64
        } else {
            0
        };
        (0..digits).map(move |digit| Self {
            part: self.part,
            depth,
            first: self.first | digit << (64 - 4 * u32::from(depth)),
        })
    }

    /// The range of this part with so many digits that a place is in.
    #[must_use]
    pub const fn around(part: Part, depth: u8, place: u64) -> Self {
        let whole = Self {
            part,
            depth,
            first: 0,
        };
        Self {
            part,
            depth,
            first: place & !whole.rest(),
        }
    }
}

/// The fingerprints of the sixteenths of a range; none where there is no chain.
pub type Children = [Option<Fingerprint>; FANOUT];

/// "In this range we differ."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Which.
    pub range: Range,
    /// What the sender has there; none if that is so little that the other side had better name its own.
    pub children: Option<Children>,
}

/// "What do you have of this range that I lack?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Which.
    pub range: Range,
    /// What the asker has.
    pub have: Have,
}

/// What somebody has in a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Have {
    /// Too much to name it: tell where we differ.
    Split(Box<Children>),
    /// All of it: send the rest.
    Tips(Vec<Tips>),
}

#[cfg(test)]
mod tests {
    use super::{FANOUT, MAX_DEPTH, Part, Range};

    #[test]
    fn children_cover_their_range_without_gaps() {
        let mut range = Range::whole(Part::Words);
        for depth in 0..MAX_DEPTH {
            let children: Vec<_> = range.children().collect();
            assert_eq!(children.len(), FANOUT);
            assert!(children.iter().all(Range::is_valid));
            assert_eq!(children[0].bounds().0, range.bounds().0);
            assert_eq!(children[FANOUT - 1].bounds().1, range.bounds().1);
            for pair in children.windows(2) {
                assert_eq!(pair[0].bounds().1 + 1, pair[1].bounds().0);
            }
            let (first, last) = children[7].bounds();
            for inside in [first, last] {
                assert_eq!(Range::around(Part::Words, depth + 1, inside), children[7]);
            }
            range = children[usize::from(depth) % FANOUT];
        }
        assert_eq!(range.bounds().0, range.bounds().1);
        assert_eq!(range.children().count(), 0);
    }

    #[test]
    fn what_has_digits_after_its_own_is_no_range() {
        let bent = Range {
            part: Part::Acts,
            depth: 2,
            first: 1,
        };
        assert!(!bent.is_valid());
        let deep = Range {
            part: Part::Acts,
            depth: MAX_DEPTH + 1,
            first: 0,
        };
        assert!(!deep.is_valid());
    }
}
