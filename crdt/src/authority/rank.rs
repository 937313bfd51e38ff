//! How much an act may do: the rank of its author, the protection of its target, and what a cut keeps.
//!
//! Power is causal: only what an act's author knew can lift it. Loss is global: what takes power away
//! reaches acts that were written without knowing it.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::{Keep, Level};
use revnet_protocol::{Act, DeviceId, Hlc, UserId};

use super::graph::{Graph, Place, Places};
use super::mutant::{Mutant, is_active};

/// A level, or [`Rank::NONE`] for who has none: never joined, removed, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(i32);

impl Rank {
    /// Of somebody who is no member.
    pub(super) const NONE: Self = Self(-1);

    pub(super) fn of(level: Level) -> Self {
        Self(i32::from(level.0))
    }

    /// The next lower one.
    pub(super) fn below(self) -> Self {
        Self((self.0 - 1).max(Self::NONE.0))
    }

    /// The level, unless there is none.
    pub(super) fn level(self) -> Option<Level> {
        u16::try_from(self.0).ok().map(Level)
    }
}

/// How an accepted act bears on somebody's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Founding or joining. It lets acts count that know it and cuts none: otherwise somebody could
    /// erase own acts, on which others built, by a join of their own.
    Entry(Entry),
    /// Somebody of higher rank set the level.
    Set,
    /// Somebody of higher rank removed the person.
    Removal,
    /// The same for good: no invite lets the person in whose author did not know that it was lifted.
    Ban,
    /// The person went. Like an entry it reaches only acts that know it: whatever it cut of what its author
    /// wrote aside, others may have built on, and citing an act must not be what makes it count. Whoever
    /// went can thus still write acts aside, by forking a chain, until a superior removes them.
    Leave,
}

/// How a device came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) device: DeviceId,
    /// The accepted acts that made the invite, as far as the joiner knew them, with their ranks.
    pub(super) invites: Vec<(Place, Rank)>,
    /// The device's own leaves that the join did not know. They end it for whoever knows them, counting or
    /// not: only this device can have written them, and a leave that came to count later would erase acts.
    pub(super) left: Vec<Place>,
    /// The device's own leaves that the join knew.
    pub(super) returned: Vec<Place>,
    /// Whether the person was a member already by what the act knew, whose level it leaves alone.
    pub(super) further: bool,
    /// The highest rank of those who confirmed the join, or set the person's level knowing of it. It so stands
    /// without its invite, with at most that rank.
    pub(super) confirmed: Option<Rank>,
    /// The revocation of the invite that ends an unconfirmed join, with its rank.
    pub(super) ended_by: Option<(Place, Rank)>,
}

impl Entry {
    fn is_ended(&self) -> bool {
        self.ended_by.is_some() && self.confirmed.is_none()
    }
}

/// One accepted act that bears on somebody's level.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) place: Place,
    pub(super) level: Rank,
    /// The rank it was accepted with.
    pub(super) by: Rank,
    pub(super) hlc: Hlc,
    pub(super) kind: Kind,
    /// The acts that it keeps, if it says so; otherwise all that its author knew.
    pub(super) kept: Option<BTreeSet<Place>>,
    /// Where it sets a level: the joins that it confirms.
    pub(super) confirms: Vec<Place>,
}

impl Event {
    /// What it sets the level to. Of a join that was ended from above nothing remains. Ended by an equal it lets
    /// nobody in any more, but what its person did has its verdict by then.
    pub(super) fn value(&self) -> Rank {
        let entry = self.entry().filter(|entry| entry.is_ended());
        let end = entry.and_then(|entry| entry.ended_by);
        if end.is_some_and(|(_, by)| by > self.level) {
            Rank::NONE
        } else {
            self.level
        }
    }

    fn entry(&self) -> Option<&Entry> {
        match &self.kind {
            Kind::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// Whether it is a join that nobody confirmed.
    pub(super) fn is_provisional(&self) -> bool {
        self.entry().is_some_and(|entry| entry.confirmed.is_none())
    }

    fn is_end(&self) -> bool {
        self.is_removal() || self.kind == Kind::Leave
    }

    /// Whether it set a level, with which every permission may come.
    pub(super) fn is_set(&self) -> bool {
        matches!(self.kind, Kind::Set)
    }

    pub(super) fn is_removal(&self) -> bool {
        matches!(self.kind, Kind::Removal | Kind::Ban)
    }

    /// Whether it keeps something that knows an act.
    fn keeps_after(&self, graph: &Graph, act: Place) -> bool {
        let mut kept = self.kept.iter().flatten();
        kept.any(|place| graph.knew(*place, act))
    }

    fn sets_level(&self) -> bool {
        !self.entry().is_some_and(|entry| entry.further)
    }

    /// Whether it takes back an `end` of the membership for who had come in by `entry`. It does so for the
    /// joins that it confirms; if there are some from after the end, for these alone, because other devices
    /// may be lost. What it confirms doesn't depend on verdicts.
    fn takes_back(&self, graph: &Graph, end: &Self, entry: &Self) -> bool {
        let after = |join: &Place| graph.knew(*join, end.place);
        self.kind == Kind::Set
            && graph.knew(self.place, end.place)
            && self.confirms.contains(&entry.place)
            && (after(&entry.place) || !self.confirms.iter().any(after))
    }
}

/// An act that is judged, or words that are judged like one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// A control act.
    Act(Place),
    /// Something outside the control stream.
    Words {
        /// The control acts that its author knew.
        known: &'a Places,
        /// When its author says it was written; none counts as the present.
        hlc: Option<Hlc>,
    },
    /// The present, which knows everything.
    Now,
}

/// What was accepted about one person.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// What bears on the level, in the order of acceptance, and so by falling rank.
    pub(super) all: Vec<Event>,
    /// Those of them that set levels and that end the membership: people can write as many joins as they like.
    sets: Vec<usize>,
    ends: Vec<usize>,
    /// All of them, causes before effects.
    causal: Vec<usize>,
    /// Acts that lifted bans, with their ranks.
    pub(super) pardons: Vec<(Place, Rank)>,
}

/// All events so far.
pub(super) type Ledger = BTreeMap<UserId, Events>;

impl Subject<'_> {
    pub(super) fn knows(self, graph: &Graph, event: Place) -> bool {
        match self {
            Self::Act(place) => graph.knew(place, event),
            Self::Words { known, .. } => known.has(event),
            Self::Now => true,
        }
    }

    /// Whether it came before an event: known to its author, or, for words, stamped before.
    pub(super) fn is_before(self, graph: &Graph, event: Place, hlc: Hlc) -> bool {
        match self {
            Self::Act(place) => graph.knew(event, place),
            Self::Words { hlc: said, .. } => said.is_some_and(|said| said < hlc),
            Self::Now => false,
        }
    }

    /// Whether it came after an event: known to its author, or, for words, not stamped before.
    fn is_after(self, graph: &Graph, event: Place) -> bool {
        let hlc = graph.nodes[event].record.hlc;
        match self {
            Self::Act(place) => graph.knew(place, event),
            Self::Words { .. } | Self::Now => {
                self.knows(graph, event) || !self.is_before(graph, event, hlc)
            }
        }
    }

    /// Whether an event that the author did not know leaves this alone.
    ///
    /// A cut spares the acts of its kept history. Words are in nobody's history, as whoever removes or
    /// demotes does not cite channels, so there the cut lies at its own stamp: what claims an earlier one
    /// stays. A removed person can thus still backdate words, down to their own last word, because stamps
    /// rise along a chain.
    fn is_spared(self, graph: &Graph, event: &Event) -> bool {
        match (self, &event.kept) {
            (Self::Act(place), Some(kept)) => kept.contains(&place),
            _ => self.is_before(graph, event.place, event.hlc),
        }
    }
}

impl Events {
    /// The rank of an act of this person's `device`, by what was accepted so far, and the event that took
    /// power from it unknown to its author.
    pub(super) fn rank(
        &self,
        graph: &Graph,
        device: &DeviceId,
        subject: Subject<'_>,
    ) -> (Rank, Option<Place>) {
        let (mut rank, mut cause) = self.granted(graph, device, subject);
        if is_active(Mutant::CausalPower) {
            return (rank, cause);
        }
        for event in &self.all {
            let reaches = match (&event.kind, subject) {
                // Only who stands above an act cuts it.
                (Kind::Set | Kind::Removal | Kind::Ban, _) => event.by > rank,
                (Kind::Leave, Subject::Words { .. }) => true,
                (Kind::Leave, _) | (Kind::Entry(_), _) => false,
            };
            if reaches
                && event.value() < rank
                && !subject.knows(graph, event.place)
                && !subject.is_spared(graph, event)
            {
                rank = event.value();
                cause = Some(event.place);
            }
        }
        (rank, cause)
    }

    /// The rank by those events alone that the author knew, if the device is in by them. It is not above
    /// the rank of who let the device in: acts of that rank have their verdicts by then. Or what ended the
    /// join, which reaches only what stands below it.
    fn granted(
        &self,
        graph: &Graph,
        device: &DeviceId,
        subject: Subject<'_>,
    ) -> (Rank, Option<Place>) {
        let knows = |place| subject.knows(graph, place);
        let (mut highest, mut cause) = (Rank::NONE, None);
        // Most joins know no leaves: the same level for all of these.
        let mut plain = None;
        for event in &self.all {
            let Some(entry) = event.entry().filter(|entry| entry.device == *device) else {
                continue;
            };
            let Some(by) = self.let_in(graph, event, knows) else {
                continue;
            };
            let level = match (entry.returned.is_empty(), plain) {
                (true, Some(level)) => level,
                _ => self.level(graph, knows, &entry.returned),
            };
            plain = plain.or(Some(level).filter(|_| entry.returned.is_empty()));
            let rank = if is_active(Mutant::JoinsLift) {
                level
            } else {
                by.min(level)
            };
            match (entry.ended_by, entry.confirmed) {
                // Acts above the rank of who confirmed it have their verdicts by then.
                (Some((_, by)), Some(confirmed))
                    if by > rank && !is_active(Mutant::ConfirmLifts) =>
                {
                    highest = highest.max(rank.min(confirmed));
                }
                (Some((end, by)), None) if by > rank => cause = Some(end),
                // Of an equal it takes nothing that has its verdict.
                (Some((end, by)), None) if by == rank && subject.is_after(graph, end) => {
                    cause = Some(end);
                }
                _ => highest = highest.max(rank),
            }
        }
        (highest, cause.filter(|_| highest == Rank::NONE))
    }

    /// Lets a person in again who was banned, by invites whose authors know of it.
    pub(super) fn pardon(&mut self, graph: &Graph, place: Place, rank: Rank) {
        self.pardons.push((place, rank));
        self.revise(graph, place);
    }

    /// Whether `later` takes the place of `earlier`.
    ///
    /// A join brings back who was removed only by an invite whose author knew of the removal, which is
    /// somebody's decision: whoever was removed may hold older links, and would walk in again by the next
    /// one. A level that is set knowing of the removal is such a decision, too. It has to be: a removal by
    /// a lower rank gets its verdict after what the new level allows.
    fn supersedes(&self, graph: &Graph, later: &Event, earlier: &Event) -> bool {
        if !graph.knew(later.place, earlier.place) {
            return false;
        }
        match &later.kind {
            Kind::Entry(entry) if earlier.is_removal() => {
                self.readmitted_by(graph, entry, earlier).is_some()
            }
            // A level that was set knowing of every end stays; another doesn't count anyway. Whether there is an end
            // may be decided by lower ranks than what the level allows.
            Kind::Entry(_) if earlier.is_set() => false,
            _ => !(earlier.is_end() && later.is_end()),
        }
    }

    /// The highest rank of an invite whose author knew of a removal, and of a ban that it was lifted.
    fn readmitted_by(&self, graph: &Graph, entry: &Entry, removal: &Event) -> Option<Rank> {
        let knew = |invite: Place| graph.knew(invite, removal.place);
        let invites = entry.invites.iter().copied();
        let young =
            invites.filter(|(invite, _)| is_active(Mutant::OldInvitesReadmit) || knew(*invite));
        let lifts = |pardon: Place, invite: Place| {
            graph.knew(pardon, removal.place) && graph.knew(invite, pardon)
        };
        young
            .filter_map(|(invite, rank)| match removal.kind {
                Kind::Ban if !is_active(Mutant::InvitesLiftBans) => {
                    let pardons = self.pardons.iter();
                    let lifted = pardons.filter(|(pardon, _)| lifts(*pardon, invite));
                    Some(lifted.map(|(_, by)| *by).max()?.min(rank))
                }
                _ => Some(rank),
            })
            .max()
    }

    /// Whether the person is banned: by an act that nothing lifted.
    pub(super) fn is_banned(&self, graph: &Graph) -> bool {
        let mut bans = self.all.iter().filter(|event| event.kind == Kind::Ban);
        bans.any(|ban| !self.is_lifted(graph, ban, |_| true))
    }

    /// Whether the author of an act knew of a ban from above its own rank, and not that somebody lifted it.
    pub(super) fn is_banned_above(&self, graph: &Graph, act: Place, rank: Rank) -> bool {
        let knew = |place: Place| graph.knew(act, place);
        let bans = self.all.iter().filter(|event| event.kind == Kind::Ban);
        let mut above = bans.filter(|ban| ban.by > rank && knew(ban.place));
        above.any(|ban| !self.is_lifted(graph, ban, knew)) && !is_active(Mutant::AnybodyPardons)
    }

    /// Whether one of `those` lifts a ban: a pardon, or a level that was set.
    fn is_lifted(&self, graph: &Graph, ban: &Event, those: impl Fn(Place) -> bool) -> bool {
        let pardons = self.pardons.iter().map(|(place, _)| *place);
        let mut later = pardons.chain(self.sets().map(|event| event.place));
        later.any(|place| those(place) && graph.knew(place, ban.place))
    }

    /// Adds an event.
    pub(super) fn accept(&mut self, graph: &Graph, event: Event) {
        let place = event.place;
        if event.is_set() {
            self.sets.push(self.all.len());
        }
        if event.is_end() {
            self.ends.push(self.all.len());
        }
        let order = |at: &usize| graph.order(self.all[*at].place);
        let before = |at: &usize| order(at) < graph.order(place);
        let at = self.causal.partition_point(before);
        self.causal.insert(at, self.all.len());
        self.all.push(event);
        self.revise(graph, place);
    }

    /// Looks again at the joins that knew an event which is new or was changed. What a join does depends
    /// on what it knew, of which lower ranks may decide later: one that seemed to bring in a further device
    /// may come after a removal.
    pub(super) fn revise(&mut self, graph: &Graph, changed: Place) {
        let concerns = |event: &Event| {
            let knew = event.place == changed || graph.knew(event.place, changed);
            knew && matches!(event.kind, Kind::Entry(_))
        };
        let mut entries: Vec<usize> = (0..self.all.len())
            .filter(|at| concerns(&self.all[*at]))
            .collect();
        entries.sort_unstable_by_key(|at| graph.order(self.all[*at].place));
        for at in entries {
            let place = self.all[at].place;
            let knew = |event| graph.knew(place, event);
            let is_in = |entry| self.let_in(graph, entry, knew).is_some();
            let further = self.all.iter().any(is_in);
            if let Kind::Entry(entry) = &mut self.all[at].kind {
                entry.further = further;
            }
        }
    }

    /// The person's level by all that was accepted so far, concurrent acts included, but not by what was
    /// done knowing of `act`: otherwise an honest promotion would undo what came before it. A cut knows what it keeps:
    /// it would else expose its person to lower ranks, who would take from kept acts what these had. A leave aside
    /// does not expose who wrote it, as nobody can lower themselves.
    pub(super) fn protection(&self, graph: &Graph, act: Place) -> Rank {
        let is_leave = |place| matches!(graph.act(place), Act::Leave);
        let reaches = |event| {
            let later = graph.knew(event, act) && !is_active(Mutant::LaterPromotionsErase);
            !later && (!is_leave(event) || graph.knew(act, event))
        };
        let cuts = self.all.iter();
        let cuts = cuts.filter(|event| reaches(event.place) && event.keeps_after(graph, act));
        let cuts: Vec<&Event> = cuts.collect();
        let is_cut = |place, cuts: &[&Event]| cuts.iter().any(|cut| cut.place == place);
        let without = |cuts: &[&Event]| {
            let counts = |place| reaches(place) && !is_cut(place, cuts);
            self.level(graph, counts, &[])
        };
        let level = without(&cuts);
        // What raises the person exposes nobody.
        let lowers = |cut: &&Event| !cut.is_set() || cut.level < level;
        let lowering: Vec<&Event> = cuts.iter().copied().filter(lowers).collect();
        if lowering.len() == cuts.len() {
            level
        } else {
            without(&lowering)
        }
    }

    /// The level by those events that `counts` lets through: none after an end; otherwise the lowest that
    /// was set knowing of every end, as coming back restores no level; otherwise that of an entry. Who joins
    /// twice neither loses nor gains by it: if people could lower themselves, others of less rank could
    /// remove them, and would not reach what they did above.
    ///
    /// Leaves from which a device `returned` are ends for its acts even before they have a verdict.
    fn level(
        &self,
        graph: &Graph,
        counts: impl Fn(Place) -> bool + Copy,
        returned: &[Place],
    ) -> Rank {
        let (mut set, mut entered) = (None, Rank::NONE);
        let causal = self.causal.iter().map(|at| &self.all[*at]);
        let known: Vec<&Event> = causal.filter(|event| counts(event.place)).collect();
        // Of several joins the others count on where one was ended.
        let further = known.iter().filter(|event| !event.sets_level());
        let further = further.map(|event| event.value()).max();
        for event in self.in_force(graph, &known) {
            let ends = self.ends(counts).map(|end| end.place);
            let mut ends = ends.chain(returned.iter().copied());
            let knows = |end| graph.knew(event.place, end);
            match &event.kind {
                Kind::Removal | Kind::Ban | Kind::Leave => return Rank::NONE,
                Kind::Entry(_) => {
                    entered = entered.max(event.value());
                    entered = entered.max(further.unwrap_or(Rank::NONE));
                }
                Kind::Set if ends.all(knows) => {
                    set = Some(set.map_or(event.level, |lowest: Rank| lowest.min(event.level)));
                }
                Kind::Set => entered = entered.max(Rank::of(Level::MEMBER)),
            }
        }
        match set {
            Some(set) if is_active(Mutant::JoinsLower) && entered > Rank::NONE => set.min(entered),
            _ => set.unwrap_or(entered),
        }
    }

    /// The ends of the membership that `counts` lets through.
    fn ends(&self, counts: impl Fn(Place) -> bool) -> impl Iterator<Item = &Event> {
        let ends = self.ends.iter().map(|at| &self.all[*at]);
        ends.filter(move |event| counts(event.place))
    }

    fn sets(&self) -> impl Iterator<Item = &Event> {
        self.sets.iter().map(|at| &self.all[*at])
    }

    /// Those of some events, causes before effects, that no other of them takes the place of.
    fn in_force<'a>(&self, graph: &Graph, events: &[&'a Event]) -> impl Iterator<Item = &'a Event> {
        let setting = || events.iter().filter(|event| event.sets_level());
        let superseded = move |event: &Event| {
            let mut later = setting().rev();
            later.any(|later| self.supersedes(graph, later, event))
        };
        setting().copied().filter(move |event| !superseded(event))
    }

    /// The level by everything, and the joins by which devices are in.
    pub(super) fn standing(&self, graph: &Graph) -> (Option<Level>, Vec<&Event>) {
        let all = |_| true;
        let stands = |event: &&Event| {
            let ended = event.entry().is_some_and(Entry::is_ended);
            !ended && self.let_in(graph, event, all).is_some()
        };
        let level = self.level(graph, all, &[]).level();
        (level, self.all.iter().filter(stands).collect())
    }

    /// By whose rank a device is in by an entry, unless that was ended: the device did not leave after it,
    /// and every end of the membership that `counts` was undone for it. Who comes back does so device by
    /// device.
    fn let_in(
        &self,
        graph: &Graph,
        event: &Event,
        counts: impl Fn(Place) -> bool + Copy,
    ) -> Option<Rank> {
        let entry = event.entry().filter(|_| counts(event.place))?;
        let left = entry.left.iter().any(|left| counts(*left));
        if left && !is_active(Mutant::LeavesWait) {
            return None;
        }
        let undone = |end| self.undone(graph, end, event, counts);
        let ends = self.ends(counts);
        ends.map(undone).fold(Some(event.by), Option::min)
    }

    /// The highest rank that undid an end of the membership for who came in by an entry: of an invite or a
    /// level that was given knowing of it. Who left comes back by any join.
    fn undone(
        &self,
        graph: &Graph,
        end: &Event,
        event: &Event,
        counts: impl Fn(Place) -> bool,
    ) -> Option<Rank> {
        let entry = event.entry()?;
        let readmitted = match end.kind {
            _ if !graph.knew(event.place, end.place) => None,
            Kind::Leave => Some(event.by),
            _ => self.readmitted_by(graph, entry, end),
        };
        let sets = self.sets().filter(|set| counts(set.place));
        let sets = sets.filter(|set| set.takes_back(graph, end, event));
        sets.map(|set| set.by).max().max(readmitted)
    }

    /// A removal that nothing undid for a join, whether the join knew it or was written aside. Joins that
    /// the remover knew stay in the record.
    pub(super) fn removal_against(&self, graph: &Graph, join: Place) -> Option<Place> {
        let entry = self.all.iter().find(|event| event.place == join)?;
        let removals = self.all.iter().filter(|event| event.is_removal());
        let mut aside = removals.filter(|end| !graph.knew(end.place, join));
        aside
            .find(|end| self.undone(graph, end, entry, |_| true).is_none())
            .map(|end| end.place)
    }

    /// Whether who knows `known` knows that a former member is out: for each of their joins an end that
    /// nothing undid for it. Only where there is none, the revocation of the invite shows it, or that the
    /// device left: beside a removal they may be of joins that the person wrote after being removed.
    pub(super) fn is_known_out(&self, graph: &Graph, known: impl Fn(Place) -> bool + Copy) -> bool {
        let mut entries = self
            .all
            .iter()
            .filter_map(|event| Some((event, event.entry()?)));
        entries.all(|(event, entry)| {
            let stands = |end: &&Event| self.undone(graph, end, event, |_| true).is_none();
            let mut ends = self.ends(|_| true).filter(stands).peekable();
            if ends.peek().is_some() {
                ends.any(|end| known(end.place))
            } else {
                let ended = entry.ended_by.map(|(end, _)| end);
                entry.left.iter().copied().chain(ended).any(known)
            }
        })
    }
}

/// The acts that a cut keeps: those on the hash chain of a named position that its author knew, and the
/// position. Other branches of a forked chain are not on it, and devices that are not named keep nothing.
pub(super) fn kept(graph: &Graph, cut: Place, keep: &Keep) -> BTreeSet<Place> {
    let mut kept = BTreeSet::new();
    for (device, seq, id) in &keep.0 {
        let named = |place: &Place| {
            let record = &graph.nodes[*place].record;
            record.device == *device && record.seq == *seq
        };
        let Some(position) = graph.place(id).filter(named) else {
            continue;
        };
        kept.insert(position);
        kept.extend(graph.chain(position).filter(|act| graph.knew(cut, *act)));
    }
    kept
}
