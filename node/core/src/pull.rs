//! Pulling: asking a peer for what it has and this node doesn't.

use std::collections::BTreeMap;

use revnet_protocol::frame::{Cursor, Frame, Stop, Tips};
use revnet_protocol::range::{Have, Part, Question, Range, Split};
use revnet_protocol::{DeviceId, RevoltId, StreamId};

use crate::core::Core;
use crate::inventory::FEW;
use crate::serve::{MAX_QUESTIONS, MAX_SPLITS};

/// Revolts that are pulled from one peer at the same time. Their answers fit into the queue of a link.
const PULLS_AT_ONCE: usize = 32;
/// Most chains that are named in one frame: about 100 kB.
const MAX_TIPS: usize = 2048;
/// Most ranges that a peer may leave open.
const MAX_DIFFERING: usize = 1 << 18;

/// How far a pull from a peer has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pull {
    /// Asked, and not yet answered to the end.
    pub(crate) under_way: bool,
    /// To be asked as soon as another answer is complete: too much is under way on the link.
    pub(crate) waits: bool,
    /// The peer has something, and waits for its turn to bring it.
    pub(crate) queued: bool,
    /// Asked for again meanwhile.
    pub(crate) again: bool,
    /// Something came since the last question that was not here. Who brings nothing new is not asked on.
    pub(crate) took: bool,
    /// An answer came since the last comparison was due.
    pub(crate) answers: bool,
    /// Something that came could not be taken: the cursor would skip it.
    pub(crate) dropped: bool,
    /// A question about ranges is open, and ends with `Pulled`.
    asking: bool,
    /// All acts that the peer has are here.
    has_acts: bool,
    /// The ranges that differ and are still to be asked about, acts first; and whether the peer has few chains there.
    /// Whoever may write and read is settled before any words come, and doesn't wait for them.
    differing: BTreeMap<Range, bool>,
    /// The ranges that were asked about by naming what is here.
    named: Vec<Range>,
    /// Where the last answer stopped.
    stopped: Option<Stop>,
}

impl Core {
    /// Asks a peer for what it has and this node doesn't.
    pub(crate) fn start_pull(&mut self, peer: DeviceId, revolt: RevoltId) {
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
        *pull = Pull {
            under_way: true,
            ..Default::default()
        };
        let have = self.summary(&revolt).whole();
        // A cursor is answered with all that is new; who only compares leaves it out.
        let cursor = self.cursors.get(&(revolt, peer)).copied();
        let cursor = cursor.filter(|_| self.has_turn(peer, revolt));
        let frame = Frame::Pull {
            revolt,
            have,
            cursor,
        };
        self.send(peer, &frame);
    }

    fn pull_of(&mut self, peer: &DeviceId, revolt: &RevoltId) -> Option<&mut Pull> {
        let pull = self.links.get_mut(peer)?.pulls.get_mut(revolt)?;
        pull.under_way.then_some(pull)
    }

    /// A peer says where the two differ.
    pub(crate) fn compare(&mut self, peer: DeviceId, revolt: RevoltId, splits: &[Split]) {
        if self.pull_of(&peer, &revolt).is_none() {
            return;
        }
        if !splits.iter().all(|split| split.range.is_valid()) {
            return self.blame(peer, "compared what is no range");
        }
        if !self.pays(peer, 10 * splits.len() as u64) {
            return;
        }
        let mut differing = Vec::new();
        for Split { range, children } in splits {
            let Some(theirs) = children else {
                differing.push((*range, true));
                continue;
            };
            let own = self.summary(&revolt).of(range.part()).children(range);
            let pairs = range.children().zip(own.iter().zip(theirs));
            let unlike = pairs.filter(|(_, (own, theirs))| theirs.is_some() && own != theirs);
            differing.extend(unlike.map(|(child, _)| (child, false)));
        }
        let Some(pull) = self.pull_of(&peer, &revolt) else {
            return;
        };
        pull.differing.extend(differing);
        if pull.differing.len() > MAX_DIFFERING {
            return self.blame(peer, "differs everywhere");
        }
        if !pull.asking {
            self.ask_on(peer, revolt);
        }
    }

    /// Whether a peer may be asked now. If not, the pull ends here, and begins anew when its turn comes.
    fn may_ask(&mut self, peer: DeviceId, revolt: RevoltId) -> bool {
        if self.has_turn(peer, revolt) {
            return true;
        }
        if let Some(pull) = self.pull_of(&peer, &revolt) {
            pull.under_way = false;
            pull.queued = true;
        }
        self.pull_next(peer);
        false
    }

    /// Asks about the next ranges that differ. Without any, the question only ends the pull.
    fn ask_on(&mut self, peer: DeviceId, revolt: RevoltId) {
        let differs = |pull: &mut Pull| !pull.differing.is_empty();
        if self.pull_of(&peer, &revolt).is_some_and(differs) && !self.may_ask(peer, revolt) {
            return;
        }
        let Some(pull) = self.pull_of(&peer, &revolt) else {
            return;
        };
        let mut next = std::mem::take(&mut pull.differing);
        let words = next.split_off(&Range::whole(Part::Words));
        let has_acts = next.is_empty();
        if has_acts {
            next = words;
            if !std::mem::replace(&mut pull.has_acts, true) && !pull.dropped {
                self.now_heard(peer, revolt);
            }
            if self.membership(&peer, &revolt) != Some(true) {
                return self.end_pull(peer, revolt);
            }
        } else {
            pull.differing = words;
        }
        let (mut questions, mut named, mut tips, mut splits) = (Vec::new(), Vec::new(), 0, 0);
        while let Some((range, few)) = next.pop_first() {
            let own = self.summary(&revolt).of(range.part());
            // Where the peer has few chains, naming own ones costs little more than another step.
            let most = if few { 4 * FEW } else { FEW };
            let have = if range.children().next().is_some() && own.has_more(&range, most) {
                splits += 1;
                Have::Split(Box::new(own.children(&range)))
            } else {
                named.push(range);
                let have = self.tips_within(peer, &revolt, &range, None);
                tips += have.iter().map(|tips| tips.tips.len()).sum::<usize>();
                Have::Tips(have)
            };
            questions.push(Question { range, have });
            if tips >= MAX_TIPS || splits >= MAX_SPLITS || questions.len() >= MAX_QUESTIONS {
                break;
            }
        }
        let Some(pull) = self.pull_of(&peer, &revolt) else {
            return;
        };
        pull.differing.append(&mut next);
        in_order(&mut named, |range| range);
        in_order(&mut questions, |question| &question.range);
        pull.named = named;
        pull.stopped = None;
        pull.asking = true;
        let frame = Frame::Ask {
            revolt,
            questions,
            from: None,
        };
        self.send(peer, &frame);
    }

    /// Asks for the rest of an answer that stopped.
    fn ask_from(&mut self, peer: DeviceId, revolt: RevoltId, from: Stop) {
        if !self.may_ask(peer, revolt) {
            return;
        }
        let Some(pull) = self.pull_of(&peer, &revolt) else {
            return;
        };
        pull.stopped = Some(from);
        let named = pull.named.clone();
        let questions = named.into_iter().map(|range| Question {
            range,
            have: Have::Tips(self.tips_within(peer, &revolt, &range, Some(from))),
        });
        let frame = Frame::Ask {
            revolt,
            questions: questions.collect(),
            from: Some(from),
        };
        self.send(peer, &frame);
    }

    /// What is here in a range, without what comes before the place where an answer stopped. Who is out learns nothing
    /// of it, but may know acts that are missing here; then all of them come.
    fn tips_within(
        &mut self,
        peer: DeviceId,
        revolt: &RevoltId,
        range: &Range,
        from: Option<Stop>,
    ) -> Vec<Tips> {
        let mut tips: BTreeMap<StreamId, Vec<_>> = BTreeMap::new();
        if self.membership(&peer, revolt) == Some(false) {
            return Vec::new();
        }
        let chains: Vec<_> = self
            .summary(revolt)
            .of(range.part())
            .within(range)
            .collect();
        for (stream, author) in chains {
            if from.is_none_or(|(of, first, _)| (stream, author) >= (of, first)) {
                let known = &self.streams[&stream];
                let marks = known.marks(&author).into_iter();
                let marks = marks.map(|tip| self.told(revolt, &stream, &author, tip));
                tips.entry(stream).or_default().extend(marks);
            }
        }
        let tips = tips.into_iter();
        tips.map(|(stream, tips)| Tips { stream, tips }).collect()
    }

    /// A peer has answered to the end, or as far as one answer goes.
    pub(crate) fn pulled(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        cursor: Option<Cursor>,
        more: Option<Stop>,
    ) {
        let Some(pull) = self.pull_of(&peer, &revolt) else {
            return;
        };
        let took = std::mem::take(&mut pull.took);
        if let Some(stop) = more
            && !pull.dropped
            && (took || pull.stopped < more)
        {
            if !pull.asking {
                // The cursor led to more than one answer holds; from its place the same would come again.
                pull.under_way = false;
                self.cursors.remove(&(revolt, peer));
                return self.start_pull(peer, revolt);
            }
            return self.ask_from(peer, revolt, stop);
        }
        if more.is_none() && !pull.differing.is_empty() {
            return self.ask_on(peer, revolt);
        }
        if !pull.dropped && more.is_none() {
            if let Some(cursor) = cursor {
                self.remember_cursor(peer, revolt, cursor);
            }
            self.now_synced(peer, revolt);
        }
        self.end_pull(peer, revolt);
    }

    /// Whether a peer's device is a member's, as far as is known: not at all before the acts are here that say it.
    fn membership(&self, peer: &DeviceId, revolt: &RevoltId) -> Option<bool> {
        let state = self.revolts.get(revolt)?.authority.state();
        state.user_of(peer).map(|(_, current)| current)
    }

    fn end_pull(&mut self, peer: DeviceId, revolt: RevoltId) {
        let Some(pull) = self.pull_of(&peer, &revolt) else {
            return;
        };
        pull.under_way = false;
        let again = std::mem::take(&mut pull.again);
        self.end_turn(peer, revolt);
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
}

/// Sorts by places, in which questions are asked.
fn in_order<T>(asked: &mut [T], range: impl Fn(&T) -> &Range) {
    asked.sort_by_key(|one| (range(one).part(), range(one).bounds()));
}
