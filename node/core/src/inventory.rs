//! What a node has of a revolt, summed up by ranges: a trie of fingerprints over its chains.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::frame::Fingerprint;
use revnet_protocol::range::{Children, FANOUT, MAX_DEPTH, Part, Range, place};
use revnet_protocol::{DeviceId, StreamId};

/// Ranges with at most so many chains have the fingerprint of their list; others that of their sixteenths.
pub(crate) const FEW: usize = 16;

/// The chains of one part of a revolt. Equal fingerprints of a range mean equal chains there.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    part: Part,
    /// The fingerprint of each chain, by its place.
    chains: BTreeMap<(u64, StreamId, DeviceId), Fingerprint>,
    /// Fingerprints of ranges with more than a few chains, as far as they have been asked for.
    known: BTreeMap<Range, Fingerprint>,
}

impl Inventory {
    pub(crate) fn new(part: Part) -> Self {
        Self {
            part,
            chains: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Notes what a chain is by now; none if it isn't there.
    pub(crate) fn set(&mut self, stream: StreamId, device: DeviceId, now: Option<Fingerprint>) {
        let place = place(&stream, &device);
        let key = (place, stream, device);
        let before = match now {
            Some(now) => self.chains.insert(key, now),
            None => self.chains.remove(&key),
        };
        if before == now {
            return;
        }
        for depth in 0..=MAX_DEPTH {
            self.known.remove(&Range::around(self.part, depth, place));
        }
    }

    /// The chains in a range.
    pub(crate) fn within(&self, range: &Range) -> impl Iterator<Item = (StreamId, DeviceId)> {
        self.entries(range)
            .map(|((_, stream, device), _)| (*stream, *device))
    }

    fn entries(
        &self,
        range: &Range,
    ) -> impl Iterator<Item = (&(u64, StreamId, DeviceId), &Fingerprint)> {
        let (first, last) = range.bounds();
        let lowest = (first, StreamId([0; 32]), DeviceId([0; 32]));
        let highest = (last, StreamId([0xff; 32]), DeviceId([0xff; 32]));
        self.chains.range(lowest..=highest)
    }

    /// Whether there are more chains in a range than `most`.
    pub(crate) fn has_more(&self, range: &Range, most: usize) -> bool {
        self.entries(range).nth(most).is_some()
    }

    /// The fingerprint of a range; none if nothing is there.
    pub(crate) fn fingerprint(&mut self, range: &Range) -> Option<Fingerprint> {
        if let Some(known) = self.known.get(range) {
            return Some(*known);
        }
        if self.has_more(range, FEW) && range.children().next().is_some() {
            let fingerprint = Fingerprint::of(&flat(&self.children(range)));
            self.known.insert(*range, fingerprint);
            return Some(fingerprint);
        }
        let chains: Vec<_> = self.entries(range).map(|(_, chain)| chain.0).collect();
        let few = || Fingerprint::of(&[b"few".as_slice(), chains.as_flattened()]);
        (!chains.is_empty()).then(few)
    }

    /// The fingerprints of the sixteenths of a range.
    pub(crate) fn children(&mut self, range: &Range) -> Children {
        let mut children = [None; FANOUT];
        for (child, fingerprint) in range.children().zip(&mut children) {
            *fingerprint = self.fingerprint(&child);
        }
        children
    }

    /// Forgets the chains of streams that aren't among these.
    pub(crate) fn keep_only(&mut self, streams: &BTreeSet<StreamId>) {
        let before = self.chains.len();
        self.chains
            .retain(|(_, stream, _), _| streams.contains(stream));
        if self.chains.len() != before {
            self.known.clear();
        }
    }
}

fn flat(children: &Children) -> [&[u8]; FANOUT] {
    children
        .each_ref()
        .map(|child| child.as_ref().map_or(&[][..], |fingerprint| &fingerprint.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(number: u16) -> (StreamId, DeviceId) {
        let (stream, device) = (number % 7, number);
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&device.to_be_bytes());
        (
            StreamId([u8::try_from(stream).expect("below 7"); 32]),
            DeviceId(bytes),
        )
    }

    fn set(inventory: &mut Inventory, number: u16, state: Option<u8>) {
        let (stream, device) = chain(number);
        inventory.set(stream, device, state.map(|state| Fingerprint([state; 16])));
    }

    /// Where two inventories differ, by going down as two nodes do.
    fn unlike(a: &mut Inventory, b: &mut Inventory, range: Range) -> Vec<(StreamId, DeviceId)> {
        if a.fingerprint(&range) == b.fingerprint(&range) {
            return Vec::new();
        }
        if !a.has_more(&range, FEW) && !b.has_more(&range, FEW) {
            let mut chains: Vec<_> = a.within(&range).chain(b.within(&range)).collect();
            chains.sort_unstable();
            chains.dedup();
            return chains;
        }
        range
            .children()
            .flat_map(|child| unlike(a, b, child))
            .collect()
    }

    proptest! {
        #[test]
        fn the_way_does_not_matter(
            steps in prop::collection::vec((0..400_u16, prop::option::of(0..3_u8)), 0..1200),
            asked in prop::collection::vec(any::<u64>(), 0..20),
        ) {
            let mut grown = Inventory::new(Part::Words);
            let mut last = BTreeMap::new();
            for (at, (number, state)) in steps.iter().enumerate() {
                set(&mut grown, *number, *state);
                last.insert(*number, *state);
                if let Some(place) = asked.get(at / 60) {
                    grown.fingerprint(&Range::around(Part::Words, u8::try_from(at % 4).expect("small"), *place));
                }
            }
            let mut made = Inventory::new(Part::Words);
            for (number, state) in last {
                set(&mut made, number, state);
            }
            let whole = Range::whole(Part::Words);
            prop_assert_eq!(grown.fingerprint(&whole), made.fingerprint(&whole));
            prop_assert_eq!(grown.children(&whole), made.children(&whole));
        }

        #[test]
        fn what_differs_is_found(
            common in prop::collection::btree_map(0..1000_u16, 0..2_u8, 0..600),
            changes in prop::collection::btree_map(0..1000_u16, prop::option::of(2..4_u8), 0..20),
        ) {
            let (mut a, mut b) = (Inventory::new(Part::Words), Inventory::new(Part::Words));
            for (number, state) in &common {
                set(&mut a, *number, Some(*state));
                set(&mut b, *number, Some(*state));
            }
            let mut expected = BTreeSet::new();
            for (number, state) in &changes {
                set(&mut b, *number, *state);
                if common.contains_key(number) || state.is_some() {
                    expected.insert(chain(*number));
                }
            }
            let found = unlike(&mut a, &mut b, Range::whole(Part::Words));
            let found: BTreeSet<_> = found.into_iter().collect();
            prop_assert!(found.is_superset(&expected));
            prop_assert!(found.len() <= expected.len() * FEW * 2);
        }
    }

    #[test]
    fn streams_that_are_gone_leave_nothing() {
        let mut inventory = Inventory::new(Part::Words);
        let mut without = Inventory::new(Part::Words);
        for number in 0..300 {
            set(&mut inventory, number, Some(1));
            if number % 7 != 3 {
                set(&mut without, number, Some(1));
            }
        }
        let whole = Range::whole(Part::Words);
        assert_ne!(inventory.fingerprint(&whole), without.fingerprint(&whole));
        let stay = (0..7)
            .filter(|number| *number != 3)
            .map(|number| StreamId([number; 32]));
        inventory.keep_only(&stay.collect());
        assert_eq!(inventory.fingerprint(&whole), without.fingerprint(&whole));
    }
}
