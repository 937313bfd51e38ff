//! Serving: what a peer asks for of a revolt, by cursor, by ranges that differ, by what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use revnet_protocol::envelope::{Envelope, Run};
use revnet_protocol::frame::{Cursor, Fingerprint, Frame, Refusal, Stop, Tip};
use revnet_protocol::limits::MAX_RUN;
use revnet_protocol::range::{Children, Have, Part, Question, Range, Split};
use revnet_protocol::{DeviceId, EnvelopeId, RevoltId, StreamId};

use crate::core::{Core, Waiting};
use crate::fork::Suspect;
use crate::inventory::FEW;
use crate::mutant::{Mutant, is_active};
use crate::purse::LOAD;
use crate::storage::Query;

/// How many stored bytes go into one answer. Runs are smaller than what is stored, so a frame holds them.
const SERVE_BYTES: usize = 384 * 1024;
/// How far an answer is stretched to reach an envelope with a signature.
pub(crate) const STRETCH_BYTES: usize = 1024 * 1024;
/// Questions to the store that one peer may cause at the same time.
const MAX_LOADS: usize = 32;
/// Questions of all peers that are put to the store at the same time: own words wait behind them.
const AT_ONCE: usize = 4;
/// Most runs in one frame: each has a signature to be verified, and others wait meanwhile.
pub(crate) const MAX_RUNS: usize = 256;
/// Most questions in one frame.
pub(crate) const MAX_QUESTIONS: usize = 4096;
/// Most questions in one frame that are answered by fingerprints: the answer has to fit into a frame.
pub(crate) const MAX_SPLITS: usize = 64;
/// Most chains and branches that one answer is taken from; as many as it could hold.
const MAX_RANGES: usize = 2048;
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
            if self.streams.get(stream).is_some_and(|s| s.revolt == revolt) {
                // What proves that a chain parts is of use only as a whole.
                let seq = if self.is_proof(stream, device) {
                    &1
                } else {
                    seq
                };
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
            (is_channel, self.stop_at(stream, key))
        });
    }

    fn stop_at(&self, stream: &StreamId, key: &DeviceId) -> Stop {
        let known = self.streams.get(stream);
        let (author, piece) =
            known.map_or((*key, 0), |known| (known.author(*key), known.piece(key)));
        (*stream, author, piece)
    }

    /// Whether a place is the beginning of a piece of a proof that a chain of words parts.
    fn is_proof(&self, stream: &StreamId, key: &DeviceId) -> bool {
        let known = self.streams.get(stream);
        known.is_some_and(|known| known.channel.is_some() && known.branches.contains_key(key))
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
        let ends = |pair: &[Question]| pair[0].range.is_before(&pair[1].range);
        if questions.len() > MAX_QUESTIONS
            || questions.iter().filter(is_split).count() > MAX_SPLITS
            || !questions.iter().all(|question| question.range.is_valid())
            || !questions.windows(2).all(ends)
        {
            return self.blame(peer, "asked too much at once");
        }
        if !self.pays(peer, 2 * questions.len() as u64) {
            return;
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
            ranges.retain(|(stream, key, _)| self.stop_at(stream, key) >= from);
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

    /// Serves the first of some ranges, up to a piece of a proof: it is of use only as a whole, with the end of the
    /// chain before it whose signature it may hold, and two may be more than one answer holds.
    fn serve(&mut self, peer: DeviceId, revolt: RevoltId, mut ranges: Vec<Place>, max: usize) {
        let mut proofs = ranges
            .iter()
            .map(|(stream, key, _)| self.is_proof(stream, key));
        let proof = proofs.position(|is_proof| is_proof);
        let most = proof.map_or(MAX_RANGES, |at| at + 1).min(MAX_RANGES);
        let later = ranges.split_off(most.min(ranges.len()));
        let next = later.first();
        let next = next.map(|(stream, key, _)| self.stop_at(stream, key));
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
            next,
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

    /// What was asked for in `ranges` is here, as much as an answer holds; `next` is what comes after them.
    pub(crate) fn serve_loaded(
        &mut self,
        (peer, revolt): (DeviceId, RevoltId),
        mut ranges: Vec<Place>,
        next: Option<Stop>,
        max: usize,
        (envelopes, complete): (Vec<Vec<u8>>, bool),
    ) {
        if self.may_read(&peer, &revolt).is_err() {
            return;
        }
        let control = self.revolts.get(&revolt).map(|revolt| revolt.control);
        let runs = pack(envelopes, control);
        if runs.is_empty() && !complete && max < STRETCH_BYTES {
            let query = Query::Ranges {
                ranges: ranges.clone(),
                max_bytes: STRETCH_BYTES,
            };
            let max = STRETCH_BYTES;
            let then = Waiting::Serve {
                peer,
                revolt,
                ranges,
                next,
                max,
            };
            return self.load_for(peer, revolt, query, then);
        }
        let mut more = next;
        if let Some(run) = runs.last()
            && !complete
        {
            more = Some(self.stop_after(run, &ranges));
        } else if !complete {
            // Nothing in a whole stretch is signed: that chain can't be passed on, the others can. Without a cursor,
            // as what comes after was not looked at.
            self.serving(peer, revolt).is_partial = true;
            ranges.remove(0);
            let rest = ranges.first();
            more = rest
                .map(|(stream, key, _)| self.stop_at(stream, key))
                .or(next);
        }
        if is_active(Mutant::CursorFirst) {
            self.end_serving(peer, revolt, more);
            return self.send_runs(peer, revolt, runs);
        }
        self.send_runs(peer, revolt, runs);
        self.end_serving(peer, revolt, more);
    }

    /// Where an answer stopped whose last run this is: the chain or branch that may go on.
    fn stop_after(&self, run: &Run, ranges: &[Place]) -> Stop {
        let of_author = ranges.iter().filter(|(stream, key, _)| {
            let (of, author, _) = self.stop_at(stream, key);
            (of, author) == (run.stream, run.device)
        });
        let last = run.first + run.items.len() as u64 - 1;
        let holds = |(stream, key, _): &&Place| {
            let known = self.streams.get(stream);
            let chain = known.and_then(|known| Some((known.chain(key)?, known.branches.get(key))));
            chain.is_some_and(|(chain, branch)| {
                last <= chain.tip && branch.is_none_or(|branch| branch.base < last)
            })
        };
        let mut stops = of_author.filter(holds);
        let first = stops.next();
        first.map_or((run.stream, run.device, 0), |(stream, key, _)| {
            self.stop_at(stream, key)
        })
    }

    /// Sends runs, as many in a frame as it holds.
    pub(crate) fn send_runs(&mut self, peer: DeviceId, revolt: RevoltId, runs: Vec<Run>) {
        let mut part = Vec::new();
        let mut size = 0;
        for run in runs {
            let more = run.stored_size();
            if !part.is_empty() && (size + more > STRETCH_BYTES || part.len() >= MAX_RUNS) {
                let runs = std::mem::take(&mut part);
                self.send(peer, &Frame::Runs { revolt, runs });
                size = 0;
            }
            size += more;
            part.push(run);
        }
        if !part.is_empty() {
            let runs = part;
            self.send(peer, &Frame::Runs { revolt, runs });
        }
    }

    /// Asks the store something for a peer, unless the peer has too many questions open.
    fn load_for(&mut self, peer: DeviceId, revolt: RevoltId, query: Query, then: Waiting) {
        if self.may_load_for(&peer) {
            let link = self.links.get_mut(&peer).expect("who may has a link");
            link.later.push_back((query, then));
            return self.load_next();
        }
        if self.links.contains_key(&peer) {
            self.refuse(peer, revolt, Refusal::Busy);
        }
    }

    /// Puts the next questions of peers to the store, in turn.
    fn load_next(&mut self) {
        while self.loading.len() < AT_ONCE {
            let waits = |(_, link): &(&DeviceId, &crate::link::Link)| !link.later.is_empty();
            let last = self.last_loaded;
            let mut after = self.links.range((Excluded(last), Unbounded));
            let next = after.find(waits).or_else(|| self.links.iter().find(waits));
            let Some(peer) = next.map(|(peer, _)| *peer) else {
                return;
            };
            self.last_loaded = peer;
            let link = self.links.get_mut(&peer).expect("found above");
            let (query, then) = link.later.pop_front().expect("something waits");
            let id = self.load(query, then);
            self.loading.insert(id);
        }
    }

    /// The store has answered: if it was for a peer, another one has its turn.
    pub(crate) fn end_loading(&mut self, id: u64) {
        if self.loading.remove(&id) {
            self.load_next();
        }
    }

    /// Whether a linked peer may cause one more question to the store; counts it.
    pub(crate) fn may_load_for(&mut self, peer: &DeviceId) -> bool {
        let few = |link: &crate::link::Link| link.loads < MAX_LOADS;
        if !self.links.get(peer).is_some_and(few) || !self.pays(*peer, LOAD) {
            return false;
        }
        let link = self.links.get_mut(peer).expect("looked up above");
        link.loads += 1;
        true
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

/// Packs stored envelopes into runs that anybody can pass on in one piece. What no signature vouches for at the end of
/// a chain stays behind. Acts keep their own signatures, as each may have to prove something by itself.
pub(crate) fn pack(envelopes: Vec<Vec<u8>>, control: Option<StreamId>) -> Vec<Run> {
    let mut packer = Packer::default();
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
        if header.prev != last || header.seq == 1 {
            packer.end_chain();
        }
        last = id;
        let is_act = control == Some(header.stream);
        packer.add(envelope, is_act);
    }
    packer.end_chain();
    packer.runs
}

/// Envelopes on their way into runs.
#[derive(Default)]
struct Packer {
    runs: Vec<Run>,
    /// Ends with a signature.
    signed: Vec<Envelope>,
    signed_size: usize,
    /// Waits for one.
    open: Vec<Envelope>,
    open_size: usize,
}

impl Packer {
    fn add(&mut self, envelope: Envelope, is_act: bool) {
        let is_signed = envelope.signature.is_some();
        self.open_size += envelope.stored_size();
        self.open.push(envelope);
        if !is_signed {
            return;
        }
        let fits = self.signed_size + self.open_size <= SERVE_BYTES
            && self.signed.len() + self.open.len() <= MAX_RUN;
        if is_act || !fits {
            self.close();
        }
        self.signed.append(&mut self.open);
        self.signed_size += std::mem::take(&mut self.open_size);
    }

    fn close(&mut self) {
        self.signed_size = 0;
        if let Ok(run) = Run::pack(std::mem::take(&mut self.signed)) {
            self.runs.push(run);
        }
    }

    fn end_chain(&mut self) {
        self.close();
        self.open.clear();
        self.open_size = 0;
    }
}
