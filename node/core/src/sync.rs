//! What a node has of its revolts, from whom it has heard, and how far it has come with each peer.

use std::collections::BTreeSet;

use revnet_protocol::frame::{Cursor, Fingerprint};
use revnet_protocol::range::{Part, Range};
use revnet_protocol::{DeviceId, RevoltId, StreamId, decode, encode};

use crate::core::Core;
use crate::inventory::Inventory;
use crate::storage::Space;

/// What is here of one revolt.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) acts: Inventory,
    pub(crate) words: Inventory,
    /// The streams that are in it: those of channels that exist. Who knew a channel that is void now, and who never
    /// did, have the same.
    streams: BTreeSet<StreamId>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            acts: Inventory::new(Part::Acts),
            words: Inventory::new(Part::Words),
            streams: BTreeSet::new(),
        }
    }
}

impl Summary {
    pub(crate) fn of(&mut self, part: Part) -> &mut Inventory {
        match part {
            Part::Acts => &mut self.acts,
            Part::Words => &mut self.words,
        }
    }

    /// The fingerprints of everything.
    pub(crate) fn whole(&mut self) -> [Option<Fingerprint>; 2] {
        [Part::Acts, Part::Words].map(|part| self.of(part).fingerprint(&Range::whole(part)))
    }
}

pub(crate) fn cursor_key(revolt: &RevoltId, peer: &DeviceId) -> Vec<u8> {
    [revolt.0, peer.0].concat()
}

impl Core {
    /// The summary of a revolt as it is now.
    pub(crate) fn summary(&mut self, id: &RevoltId) -> &mut Summary {
        let summary = self.summaries.entry(*id).or_default();
        let Some(revolt) = self.revolts.get(id) else {
            return summary;
        };
        for stream in &revolt.streams {
            let Some(known) = self.streams.get_mut(stream) else {
                continue;
            };
            let part = if known.channel.is_none() {
                Part::Acts
            } else {
                Part::Words
            };
            let changed = known.take_changed();
            let authors = if summary.streams.insert(*stream) {
                known.chains.keys().copied().collect()
            } else {
                changed
            };
            for author in authors {
                summary
                    .of(part)
                    .set(*stream, author, known.fingerprint(&author));
            }
        }
        if summary.streams.len() > revolt.streams.len() {
            summary
                .streams
                .retain(|stream| revolt.streams.contains(stream));
            summary.words.keep_only(&summary.streams);
        }
        summary
    }

    pub(crate) fn remember_cursor(&mut self, peer: DeviceId, revolt: RevoltId, cursor: Cursor) {
        if self.cursors.insert((revolt, peer), cursor) != Some(cursor) {
            // In the same queue as the envelopes, so it never overtakes them.
            self.store(
                vec![Self::put(
                    Space::Cursor,
                    cursor_key(&revolt, &peer),
                    encode(&cursor),
                )],
                None,
            );
        }
    }

    pub(crate) fn restore_cursor(&mut self, key: &[u8], value: &[u8]) {
        if let (Some(revolt), Some(peer), Ok(cursor)) = (
            key.first_chunk::<32>(),
            key.last_chunk::<32>(),
            decode::<Cursor>(value, 64),
        ) {
            self.cursors
                .insert((RevoltId(*revolt), DeviceId(*peer)), cursor);
        }
    }

    /// All acts that the peer had are here.
    pub(crate) fn now_heard(&mut self, peer: DeviceId, revolt: RevoltId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.heard.insert(revolt);
            self.note_heard(revolt);
        }
    }

    /// Own acts may follow as soon as all acts are here that some member had. That it is one may show only later,
    /// when those acts can be read.
    pub(crate) fn note_heard(&mut self, revolt: RevoltId) {
        let Some(known) = self.revolts.get_mut(&revolt) else {
            return;
        };
        let state = known.authority.state();
        let mut links = self.links.iter();
        let from_member = links.any(|(peer, link)| {
            let user = state.user_of(peer);
            link.heard.contains(&revolt) && user.is_some_and(|(_, current)| current)
        });
        if from_member && !known.heard {
            known.heard = true;
            self.run_early();
            self.continue_join(revolt);
        }
    }

    /// Everything that the peer had is here: own words may leave, they will find their place.
    pub(crate) fn now_synced(&mut self, peer: DeviceId, revolt: RevoltId) {
        self.now_heard(peer, revolt);
        let Some(known) = self.revolts.get(&revolt) else {
            return;
        };
        let user = known.authority.state().user_of(&peer);
        let is_member = user.is_some_and(|(_, current)| current);
        let link = self.links.get_mut(&peer).filter(|_| is_member);
        if link.is_some_and(|link| link.synced.insert(revolt)) {
            self.flush_outbox(revolt);
        }
    }

    /// Pulls from everybody who shares a revolt.
    pub(crate) fn pull_from_all(&mut self, revolt: RevoltId) {
        for peer in self.peers_of(&revolt) {
            self.start_pull(peer, revolt);
        }
    }

    /// Pulls from members that count as unheard, because they weren't members yet when they were heard.
    pub(crate) fn pull_from_unheard(&mut self, revolt: RevoltId) {
        let Some(known) = self.revolts.get(&revolt) else {
            return;
        };
        let state = known.authority.state();
        let unheard: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.proved.contains(&revolt) && !link.synced.contains(&revolt))
            .map(|(peer, _)| *peer)
            .filter(|peer| state.user_of(peer).is_some_and(|(_, current)| current))
            .collect();
        for peer in unheard {
            self.start_pull(peer, revolt);
        }
    }

    /// Whether any member was heard to the end since its link came up.
    pub(crate) fn is_synced(&self, revolt: &RevoltId) -> bool {
        self.links.values().any(|link| link.synced.contains(revolt))
    }
}
