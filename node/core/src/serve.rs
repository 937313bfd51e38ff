//! Serving: what a peer asks for of a revolt, by cursor, by ranges that differ, by what it has.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::envelope::{Envelope, Run};
use revnet_protocol::frame::{Cursor, Fingerprint, Frame, Refusal, Stop, Tip};
use revnet_protocol::limits::MAX_RUN;
use revnet_protocol::range::{Children, Have, Part, Question, Range, Split};
use revnet_protocol::{DeviceId, EnvelopeId, RevoltId, StreamId};

use crate::core::{Core, Waiting};
use crate::fork::Suspect;
use crate::inventory::FEW;
use crate::mutant::{Mutant, is_active};
use crate::storage::Query;

/// How many stored bytes go into one answer. Runs are smaller than what is stored, so a frame holds them.
const SERVE_BYTES: usize = 384 * 1024;
/// How far an answer is stretched to reach an envelope with a signature.
pub(crate) const STRETCH_BYTES: usize = 1024 * 1024;
/// Questions to the store that one peer may cause at the same time.
const MAX_LOADS: usize = 64;
/// Most questions in one frame.
pub(crate) const MAX_QUESTIONS: usize = 4096;
/// Most questions in one frame that are answered by fingerprints: the answer has to fit into a frame.
pub(crate) const MAX_SPLITS: usize = 64;
/// How many arrivals are looked at for one answer.
const ARRIVALS: usize = 4096;

/// What a chain is served from: stream, chain or branch, place in the store.
type Place = (StreamId, DeviceId, u64);

impl Core {
    /// A peer asks for what it doesn't have.
    pub(crate) fn pulled_from(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        have: [Option<Fingerprint>; 2],
        cursor: Option<Cursor>,
    ) {
        if let Err(reason) = self.may_read(&peer, &revolt) {
            return self.refuse(peer, revolt, reason);
        }
        let position = self.arrivals;
        self.serving(peer, revolt).position = position;
        self.serving(peer, revolt).is_partial = false;
        if self.summary(&revolt).whole() == have {
            return self.end_serving(peer, revolt, None);
        }
        match cursor.filter(|cursor| cursor.store == self.store_id) {
            // The fingerprints differ because the asker has more: there is nothing for it here.
            Some(cursor) if cursor.position == position => self.end_serving(peer, revolt, None),
            Some(cursor) if cursor.position < position => {
                let query = Query::Arrivals {
                    from: cursor.position,
                    limit: ARRIVALS,
                };
                let then = Waiting::Arrivals { peer, revolt, have };
                self.load_for(peer, revolt, query, then);
            }
            _ => self.send_splits(peer, revolt, have),
        }
    }

    fn serving(&mut self, peer: DeviceId, revolt: RevoltId) -> &mut crate::link::Serving {
        let link = self.links.get_mut(&peer);
        let link = link.expect("only called for a link that may read");
        link.serving.entry(revolt).or_default()
    }

    fn refuse(&mut self, peer: DeviceId, revolt: RevoltId, reason: Refusal) {
        let revolt = Some(revolt);
        self.send(peer, &Frame::Refused { revolt, reason });
    }

    /// The first step down: the sixteenths of what differs.
    fn send_splits(&mut self, peer: DeviceId, revolt: RevoltId, have: [Option<Fingerprint>; 2]) {
        let summary = self.summary(&revolt);
        let own = summary.whole();
        let mut splits = Vec::new();
        for (part, at) in [Part::Acts, Part::Words].into_iter().zip(0..) {
            if own[at] != have[at] && own[at].is_some() {
                splits.push(split(summary.of(part), Range::whole(part)));
            }
        }
        self.send(peer, &Frame::Compare { revolt, splits });
    }

    pub(crate) fn arrivals_loaded(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        have: [Option<Fingerprint>; 2],
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
            return self.send_splits(peer, revolt, have);
        }
        let mut ranges: Vec<_> = first.into_iter().map(|((s, d), seq)| (s, d, seq)).collect();
        self.control_first(&mut ranges);
        self.serve(peer, revolt, ranges, SERVE_BYTES);
    }

    /// Without the acts that make a channel or admit an author, what they wrote there can't be taken. And what proves
    /// that a chain parts follows the chain: the last envelopes before it may have their signature only there.
    pub(crate) fn control_first(&self, ranges: &mut [Place]) {
        ranges.sort_by_key(|(stream, key, _)| {
            let known = self.streams.get(stream);
            let is_channel = known.is_none_or(|known| known.channel.is_some());
            let is_branch = known.is_some_and(|known| known.branches.contains_key(key));
            (is_channel, *stream, self.author_at(stream, key), is_branch)
        });
    }

    fn author_at(&self, stream: &StreamId, key: &DeviceId) -> DeviceId {
        let known = self.streams.get(stream);
        known.map_or(*key, |known| known.author(*key))
    }

    /// A peer tells what it has in some ranges: name where the two differ, and send what it lacks.
    pub(crate) fn asked(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        questions: &[Question],
        from: Option<Stop>,
    ) {
        if let Err(reason) = self.may_read(&peer, &revolt) {
            return self.refuse(peer, revolt, reason);
        }
        let is_split = |question: &&Question| matches!(question.have, Have::Split(_));
        if questions.len() > MAX_QUESTIONS
            || questions.iter().filter(is_split).count() > MAX_SPLITS
            || !questions.iter().all(|question| question.range.is_valid())
        {
            return self.blame(peer, "asked too much at once");
        }
        let mut splits = Vec::new();
        let mut asked: BTreeMap<StreamId, (BTreeSet<DeviceId>, Vec<Tip>)> = BTreeMap::new();
        for Question { range, have } in questions {
            let own = self.summary(&revolt).of(range.part());
            match have {
                Have::Split(theirs) => splits.extend(differing(own, range, theirs)),
                Have::Tips(theirs) => {
                    for (stream, author) in own.within(range) {
                        asked.entry(stream).or_default().0.insert(author);
                    }
                    for tips in theirs {
                        if let Some((_, have)) = asked.get_mut(&tips.stream) {
                            have.extend(&tips.tips);
                        }
                    }
                }
            }
        }
        if !splits.is_empty() {
            self.send(peer, &Frame::Compare { revolt, splits });
        }
        let mut ranges = self.lacking(peer, revolt, &asked);
        if let Some(from) = from {
            let control = StreamId::control(&revolt);
            let order = |(stream, author): Stop| (stream != control, stream, author);
            ranges.retain(|(stream, key, _)| {
                order((*stream, self.author_at(stream, key))) >= order(from)
            });
        }
        self.control_first(&mut ranges);
        self.serve(peer, revolt, ranges, SERVE_BYTES);
    }

    /// What a peer lacks of some chains. Where it has another history, the search for the place begins.
    fn lacking(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        asked: &BTreeMap<StreamId, (BTreeSet<DeviceId>, Vec<Tip>)>,
    ) -> Vec<Place> {
        let (mut ranges, mut parted) = (Vec::new(), Vec::new());
        for (stream, (authors, tips)) in asked {
            let Some(known) = self.streams.get(stream) else {
                continue;
            };
            let lacking = known.lacking(authors, tips);
            let places = lacking.ranges.into_iter();
            ranges.extend(places.map(|(key, at)| (*stream, key, at)));
            let places = lacking.parted.into_iter();
            parted.extend(places.map(|(device, seq)| (*stream, device, seq)));
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
        ranges
    }

    fn serve(&mut self, peer: DeviceId, revolt: RevoltId, ranges: Vec<Place>, max: usize) {
        if ranges.is_empty() {
            return self.end_serving(peer, revolt, None);
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

    /// Ends an answer. The cursor is where the arrivals were when the comparison was made.
    fn end_serving(&mut self, peer: DeviceId, revolt: RevoltId, more: Option<Stop>) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        let serving = link.serving.get(&revolt).cloned().unwrap_or_default();
        let cursor = (more.is_none() && !serving.is_partial).then_some(Cursor {
            store: self.store_id,
            position: serving.position,
        });
        let frame = Frame::Pulled {
            revolt,
            cursor,
            more,
        };
        self.send(peer, &frame);
    }

    pub(crate) fn serve_loaded(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        ranges: Vec<Place>,
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
        let last = runs.last().map(|run| (run.stream, run.device));
        let more = last.filter(|_| !complete);
        if is_active(Mutant::CursorFirst) {
            self.end_serving(peer, revolt, more);
            return self.send(peer, &Frame::Runs { revolt, runs });
        }
        if !runs.is_empty() {
            self.send(peer, &Frame::Runs { revolt, runs });
        }
        self.end_serving(peer, revolt, more);
    }

    /// Asks the store something for a peer, unless the peer has too many questions open.
    fn load_for(&mut self, peer: DeviceId, revolt: RevoltId, query: Query, then: Waiting) {
        if self.may_load_for(&peer) {
            self.load(query, then);
            return;
        }
        self.refuse(peer, revolt, Refusal::Busy);
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
}

/// A range that differs, as the other side is told.
fn split(own: &mut crate::inventory::Inventory, range: Range) -> Split {
    let children = own.has_more(&range, FEW).then(|| own.children(&range));
    Split { range, children }
}

/// The sixteenths of a range that differ, as far as there is something here.
fn differing(
    own: &mut crate::inventory::Inventory,
    range: &Range,
    theirs: &Children,
) -> Vec<Split> {
    let mut splits = Vec::new();
    for (child, theirs) in range.children().zip(theirs) {
        let here = own.fingerprint(&child);
        if here.is_some() && here != *theirs {
            splits.push(split(own, child));
        }
    }
    splits
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
