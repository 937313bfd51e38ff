//! Pulling and serving: cursor, fingerprints, version vectors, each tried when the one before did not settle it.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::envelope::{Envelope, Run};
use revnet_protocol::frame::{Cursor, Fingerprint, Frame, Refusal, Tips};
use revnet_protocol::limits::MAX_RUN;
use revnet_protocol::{DeviceId, EnvelopeId, RevoltId, StreamId, decode, encode};

use crate::core::{Core, Waiting};
use crate::fork::Suspect;
use crate::mutant::{Mutant, is_active};
use crate::storage::{Query, Space};

/// How many stored bytes go into one answer. Runs are smaller than what is stored, so a frame holds them.
pub(crate) const SERVE_BYTES: usize = 384 * 1024;
/// How far an answer is stretched to reach an envelope with a signature.
pub(crate) const STRETCH_BYTES: usize = 1024 * 1024;
/// Revolts that are pulled from one peer at the same time. Their answers fit into the queue of a link.
const PULLS_AT_ONCE: usize = 32;
/// Questions to the store that one peer may cause at the same time.
const MAX_LOADS: usize = 64;
/// Most streams in one question.
const MAX_STREAMS: usize = 10_000;
/// How many arrivals are looked at for one answer.
const ARRIVALS: usize = 4096;

pub(crate) fn cursor_key(revolt: &RevoltId, peer: &DeviceId) -> Vec<u8> {
    [revolt.0, peer.0].concat()
}

impl Core {
    /// The summary of everything in a revolt, and of each stream.
    fn summary(&mut self, revolt: &RevoltId) -> (Fingerprint, Vec<(StreamId, Fingerprint)>) {
        let streams: Vec<_> = self
            .streams
            .iter_mut()
            .filter(|(_, stream)| stream.revolt == *revolt && !stream.chains.is_empty())
            .map(|(id, stream)| (*id, stream.fingerprint()))
            .collect();
        (Fingerprint::of(&[&encode(&streams)]), streams)
    }

    /// Asks a peer for what it has and this node doesn't.
    pub(crate) fn start_pull(&mut self, peer: DeviceId, revolt: RevoltId) {
        let have = self.summary(&revolt).0;
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let busy = link.pulls.values().filter(|pull| pull.under_way).count() >= PULLS_AT_ONCE;
        let pull = link.pulls.entry(revolt).or_default();
        if pull.under_way {
            pull.again = true;
            return;
        }
        if busy {
            pull.waits = true;
            return;
        }
        *pull = crate::link::Pull {
            under_way: true,
            ..Default::default()
        };
        let cursor = self.cursors.get(&(revolt, peer)).copied();
        self.send(
            peer,
            &Frame::Pull {
                revolt,
                have,
                cursor,
            },
        );
    }

    /// A peer asks for what it doesn't have.
    pub(crate) fn pulled_from(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        have: Fingerprint,
        cursor: Option<Cursor>,
    ) {
        if let Err(reason) = self.may_read(&peer, &revolt) {
            return self.send(
                peer,
                &Frame::Refused {
                    revolt: Some(revolt),
                    reason,
                },
            );
        }
        let (whole, streams) = self.summary(&revolt);
        let position = self.arrivals;
        if whole == have {
            let cursor = Some(Cursor {
                store: self.store_id,
                position,
            });
            return self.send(
                peer,
                &Frame::Pulled {
                    revolt,
                    cursor,
                    more: false,
                },
            );
        }
        *self.serving(peer, revolt) = crate::link::Serving {
            position,
            is_partial: false,
        };
        match cursor {
            // The fingerprints differ because the asker has more: there is nothing for it here.
            Some(cursor) if cursor.store == self.store_id && cursor.position == position => {
                let cursor = Some(cursor);
                let more = false;
                self.send(
                    peer,
                    &Frame::Pulled {
                        revolt,
                        cursor,
                        more,
                    },
                );
            }
            Some(cursor) if cursor.store == self.store_id && cursor.position < position => {
                let query = Query::Arrivals {
                    from: cursor.position,
                    limit: ARRIVALS,
                };
                self.load_for(peer, revolt, query, Waiting::Arrivals { peer, revolt });
            }
            _ => self.send(peer, &Frame::Compare { revolt, streams }),
        }
    }

    fn serving(&mut self, peer: DeviceId, revolt: RevoltId) -> &mut crate::link::Serving {
        let link = self
            .links
            .get_mut(&peer)
            .expect("only called for a link that may read");
        link.serving.entry(revolt).or_default()
    }

    pub(crate) fn arrivals_loaded(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        arrivals: &[(u64, StreamId, DeviceId, u64)],
    ) {
        if self.may_read(&peer, &revolt).is_err() {
            return;
        }
        let mut first: BTreeMap<(StreamId, DeviceId), u64> = BTreeMap::new();
        for (_, stream, device, seq) in arrivals {
            if let Some(known) = self.streams.get(stream).filter(|s| s.revolt == revolt) {
                // What proves that a chain parts is of use only as a whole.
                let is_proof = known.channel.is_some() && known.branches.contains_key(device);
                let seq = if is_proof { &1 } else { seq };
                let at = first.entry((*stream, *device)).or_insert(*seq);
                *at = (*at).min(*seq);
            }
        }
        let whole = arrivals.len() < ARRIVALS;
        if first.is_empty() || !whole {
            let streams = self.summary(&revolt).1;
            return self.send(peer, &Frame::Compare { revolt, streams });
        }
        let mut ranges: Vec<_> = first.into_iter().map(|((s, d), seq)| (s, d, seq)).collect();
        self.control_first(&mut ranges);
        self.serve(peer, revolt, ranges, SERVE_BYTES);
    }

    /// Without the acts that make a channel or admit an author, what they wrote there can't be taken. And what proves
    /// that a chain parts follows the chain: the last envelopes before it may have their signature only there.
    pub(crate) fn control_first(&self, ranges: &mut [(StreamId, DeviceId, u64)]) {
        ranges.sort_by_key(|(stream, key, _)| {
            let known = self.streams.get(stream);
            let is_channel = known.is_none_or(|known| known.channel.is_some());
            let branch = known.and_then(|known| known.branches.get(key));
            let author = branch.map_or(*key, |branch| branch.device);
            (is_channel, *stream, author, branch.is_some())
        });
    }

    /// A peer says what it has; ask for the streams that differ, with what is here.
    pub(crate) fn compare(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        streams: &[(StreamId, Fingerprint)],
    ) {
        let (_, own) = self.summary(&revolt);
        let own: BTreeMap<_, _> = own.into_iter().collect();
        let mut differing: Vec<_> = streams
            .iter()
            .filter(|(id, fp)| own.get(id) != Some(fp))
            .map(|(id, _)| *id)
            .collect();
        let control = StreamId::control(&revolt);
        differing.sort_by_key(|stream| *stream != control);
        let Some(pull) = self
            .links
            .get_mut(&peer)
            .and_then(|link| link.pulls.get_mut(&revolt))
        else {
            return;
        };
        if !pull.under_way {
            return;
        }
        let has_acts = differing.first() != Some(&control);
        pull.differing = differing;
        if has_acts {
            self.now_heard(peer, revolt);
        }
        self.ask_on(peer, revolt);
    }

    fn ask_on(&mut self, peer: DeviceId, revolt: RevoltId) {
        let Some(pull) = self
            .links
            .get(&peer)
            .and_then(|link| link.pulls.get(&revolt))
        else {
            return;
        };
        let asked = match pull.differing.as_slice() {
            [first, ..] if *first == StreamId::control(&revolt) => std::slice::from_ref(first),
            all => all,
        };
        let tips = asked.iter().map(|id| {
            let known = self.streams.get(id).filter(|s| s.revolt == revolt);
            Tips {
                stream: *id,
                tips: known.map(crate::chain::Stream::marks).unwrap_or_default(),
            }
        });
        let streams = tips.collect();
        self.send(peer, &Frame::Ask { revolt, streams });
    }

    pub(crate) fn asked(&mut self, peer: DeviceId, revolt: RevoltId, streams: &[Tips]) {
        if let Err(reason) = self.may_read(&peer, &revolt) {
            return self.send(
                peer,
                &Frame::Refused {
                    revolt: Some(revolt),
                    reason,
                },
            );
        }
        if streams.len() > MAX_STREAMS {
            return self.blame(peer, "asked for too many streams");
        }
        let (mut ranges, mut parted) = (Vec::new(), Vec::new());
        for Tips { stream, tips } in streams {
            let Some(known) = self.streams.get(stream).filter(|s| s.revolt == revolt) else {
                continue;
            };
            let lacking = known.lacking(tips);
            ranges.extend(
                lacking
                    .ranges
                    .into_iter()
                    .map(|(key, at)| (*stream, key, at)),
            );
            parted.extend(
                lacking
                    .parted
                    .into_iter()
                    .map(|(device, seq)| (*stream, device, seq)),
            );
        }
        for (stream, device, seq) in parted {
            let suspect = Suspect {
                peer,
                revolt,
                stream,
                device,
            };
            let link = self.links.get_mut(&peer);
            if link.is_some_and(|link| link.searched.insert((stream, device))) {
                self.search(suspect, 0, seq);
            }
        }
        self.control_first(&mut ranges);
        self.serve(peer, revolt, ranges, SERVE_BYTES);
    }

    fn serve(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        ranges: Vec<(StreamId, DeviceId, u64)>,
        max: usize,
    ) {
        if ranges.is_empty() {
            return self.end_serving(peer, revolt, false);
        }
        let query = Query::Ranges {
            ranges: ranges.clone(),
            max_bytes: max,
        };
        let then = Waiting::Serve {
            peer,
            revolt,
            ranges,
            max,
        };
        self.load_for(peer, revolt, query, then);
    }

    fn end_serving(&mut self, peer: DeviceId, revolt: RevoltId, more: bool) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        let position = link
            .serving
            .get(&revolt)
            .map_or(0, |serving| serving.position);
        let whole = link
            .serving
            .get(&revolt)
            .is_none_or(|serving| !serving.is_partial);
        let cursor = (!more && whole).then_some(Cursor {
            store: self.store_id,
            position,
        });
        self.send(
            peer,
            &Frame::Pulled {
                revolt,
                cursor,
                more,
            },
        );
    }

    pub(crate) fn serve_loaded(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        ranges: Vec<(StreamId, DeviceId, u64)>,
        max: usize,
        envelopes: Vec<Vec<u8>>,
        complete: bool,
    ) {
        if self.may_read(&peer, &revolt).is_err() {
            return;
        }
        let control = self.revolts.get(&revolt).map(|revolt| revolt.control);
        let runs = pack(envelopes, control);
        if runs.is_empty() && !complete && max < STRETCH_BYTES {
            return self.serve(peer, revolt, ranges, STRETCH_BYTES);
        }
        if runs.is_empty() && !complete {
            // Nothing in a whole stretch is signed: that chain can't be passed on, the others can. Without a cursor,
            // as what comes after was not looked at.
            self.serving(peer, revolt).is_partial = true;
            let rest = ranges.into_iter().skip(1).collect();
            return self.serve(peer, revolt, rest, SERVE_BYTES);
        }
        if runs.is_empty() {
            return self.end_serving(peer, revolt, false);
        }
        if is_active(Mutant::CursorFirst) {
            self.end_serving(peer, revolt, !complete);
            return self.send(peer, &Frame::Runs { revolt, runs });
        }
        self.send(peer, &Frame::Runs { revolt, runs });
        self.end_serving(peer, revolt, !complete);
    }

    pub(crate) fn pulled(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        cursor: Option<Cursor>,
        more: bool,
    ) {
        let Some(pull) = self
            .links
            .get_mut(&peer)
            .and_then(|link| link.pulls.get_mut(&revolt))
        else {
            return;
        };
        if !pull.under_way {
            return;
        }
        if more && !pull.dropped && std::mem::take(&mut pull.took) {
            if pull.differing.is_empty() {
                // The cursor led to more than one answer holds; from its place the same would come again.
                pull.under_way = false;
                self.cursors.remove(&(revolt, peer));
                return self.start_pull(peer, revolt);
            }
            return self.ask_on(peer, revolt);
        }
        if !more && pull.differing.first() == Some(&StreamId::control(&revolt)) {
            pull.differing.remove(0);
            pull.took = false;
            let (dropped, is_last) = (pull.dropped, pull.differing.is_empty());
            if !dropped {
                self.now_heard(peer, revolt);
            }
            if !is_last {
                return self.ask_on(peer, revolt);
            }
        }
        let link = self.links.get_mut(&peer);
        let Some(pull) = link.and_then(|link| link.pulls.get_mut(&revolt)) else {
            return;
        };
        pull.under_way = false;
        let (again, dropped) = (std::mem::take(&mut pull.again), pull.dropped);
        if !dropped {
            if let Some(cursor) = cursor {
                self.remember_cursor(peer, revolt, cursor);
            }
            self.now_synced(peer, revolt);
        }
        if again {
            self.start_pull(peer, revolt);
        }
        self.pull_next(peer);
        // An earlier link may have brought what no key came for any more.
        self.ask_for_keys(peer, revolt);
    }

    /// Asks the next question that waited for others to be answered.
    pub(crate) fn pull_next(&mut self, peer: DeviceId) {
        let waiting = self.links.get(&peer).and_then(|link| {
            let mut pulls = link.pulls.iter();
            pulls.find_map(|(revolt, pull)| pull.waits.then_some(*revolt))
        });
        if let Some(revolt) = waiting {
            self.start_pull(peer, revolt);
        }
    }

    /// Asks the store something for a peer, unless the peer has too many questions open.
    fn load_for(&mut self, peer: DeviceId, revolt: RevoltId, query: Query, then: Waiting) {
        if self.may_load_for(&peer) {
            return self.load(query, then);
        }
        let reason = Refusal::Busy;
        let revolt = Some(revolt);
        self.send(peer, &Frame::Refused { revolt, reason });
    }

    /// Whether a linked peer may cause one more question to the store; counts it.
    pub(crate) fn may_load_for(&mut self, peer: &DeviceId) -> bool {
        let link = self
            .links
            .get_mut(peer)
            .filter(|link| link.loads < MAX_LOADS);
        link.map(|link| link.loads += 1).is_some()
    }

    pub(crate) fn loaded_for(&mut self, peer: &DeviceId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.loads = link.loads.saturating_sub(1);
        }
    }

    fn remember_cursor(&mut self, peer: DeviceId, revolt: RevoltId, cursor: Cursor) {
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
    fn now_heard(&mut self, peer: DeviceId, revolt: RevoltId) {
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
    fn now_synced(&mut self, peer: DeviceId, revolt: RevoltId) {
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

/// Packs stored envelopes into runs. What no signature vouches for at the end of a group stays behind. Acts keep
/// their own signatures, as each may have to prove something by itself.
pub(crate) fn pack(envelopes: Vec<Vec<u8>>, control: Option<StreamId>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut group: Vec<Envelope> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut last = EnvelopeId::default();
    for bytes in envelopes {
        let Ok(envelope) = Envelope::decode(&bytes) else {
            continue;
        };
        let header = &envelope.header;
        let id = header.id();
        if !seen.insert(id) {
            continue;
        }
        let continues = group.last().is_some_and(|before| {
            let is_whole = control == Some(header.stream) && before.signature.is_some();
            !is_whole && header.prev == last && group.len() < MAX_RUN
        });
        last = id;
        if !continues {
            close(&mut group, &mut runs);
        }
        group.push(envelope);
    }
    close(&mut group, &mut runs);
    runs
}

fn close(group: &mut Vec<Envelope>, runs: &mut Vec<Run>) {
    let signed = group
        .iter()
        .rposition(|e| e.signature.is_some())
        .map_or(0, |at| at + 1);
    let mut whole = std::mem::take(group);
    whole.truncate(signed);
    if let Ok(run) = Run::pack(whole) {
        runs.push(run);
    }
}
