//! How much an act may do: the rank of its author, the protection of its target, and what a cut keeps.
//!
//! Power is causal: only what an act's author knew can lift it. Loss is global: what takes power away
//! reaches acts that were written without knowing it.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::{Keep, Level};
use revnet_protocol::{DeviceId, Hlc, UserId};

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
    /// The person went. Like an entry it reaches only acts that know it: whatever it cut of what its author
    /// wrote aside, others may have built on, and citing an act must not be what makes it count. Whoever
    /// went can thus still write acts aside, by forking a chain, until a superior removes them.
    Leave,
}

/// How a device came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) device: DeviceId,
    /// The accepted acts that made the invite, as far as the joiner knew them.
    pub(super) invites: Vec<Place>,
    /// Whether the person was a member already by what the act knew, whose level it leaves alone.
    pub(super) further: bool,
    /// Whether somebody set the person's level knowing of the join, which so stands without its invite.
    pub(super) confirmed: bool,
    /// The revocation of the invite that ends an unconfirmed join.
    pub(super) ended_by: Option<Place>,
}

impl Entry {
    fn is_ended(&self) -> bool {
        self.ended_by.is_some() && !self.confirmed
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
}

impl Event {
    /// What it sets the level to. Of a join that was ended nothing remains.
    pub(super) fn value(&self) -> Rank {
        match &self.kind {
            Kind::Entry(entry) if entry.is_ended() => Rank::NONE,
            _ => self.level,
        }
    }

    fn is_end(&self) -> bool {
        matches!(self.kind, Kind::Removal | Kind::Leave)
    }

    fn sets_level(&self) -> bool {
        !matches!(&self.kind, Kind::Entry(entry) if entry.further)
    }

    /// Whether it takes the place of `earlier`.
    ///
    /// Only a join brings back who went or was removed. After a removal its invite must be younger than
    /// the removal: whoever was removed may hold older links, and would walk in again by the next one.
    /// An invite whose author knew of the removal is somebody's decision.
    fn supersedes(&self, graph: &Graph, earlier: &Self) -> bool {
        if !graph.knew(self.place, earlier.place) {
            return false;
        }
        match (&earlier.kind, &self.kind) {
            (Kind::Removal, Kind::Entry(entry)) => {
                let knew = |invite: &Place| graph.knew(*invite, earlier.place);
                is_active(Mutant::OldInvitesReadmit) || entry.invites.iter().any(knew)
            }
            (Kind::Leave, Kind::Entry(_)) => true,
            (Kind::Removal | Kind::Leave, _) => false,
            (Kind::Entry(_) | Kind::Set, _) => true,
        }
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
}

/// What was accepted about one person, in the order of acceptance, and so by falling rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(pub(super) Vec<Event>);

/// All events so far.
pub(super) type Ledger = BTreeMap<UserId, Events>;

impl Subject<'_> {
    fn knows(self, graph: &Graph, event: Place) -> bool {
        match self {
            Self::Act(place) => graph.knew(place, event),
            Self::Words { known, .. } => known.has(event),
        }
    }

    /// Whether an event that the author did not know leaves this alone.
    ///
    /// A cut spares the acts of its kept history. Words are in nobody's history, as whoever removes or
    /// demotes does not cite channels, so there the cut lies at its own stamp: what claims an earlier one
    /// stays. A removed person can thus still backdate words, down to their own last word, because stamps
    /// rise along a chain.
    fn is_spared(self, graph: &Graph, event: &Event) -> bool {
        match self {
            Self::Act(place) => match &event.kept {
                Some(kept) => kept.contains(&place),
                None => graph.knew(event.place, place),
            },
            Self::Words { hlc, .. } => hlc.is_some_and(|hlc| hlc < event.hlc),
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
        let mut rank = self.granted(graph, device, subject);
        let mut cause = None;
        if is_active(Mutant::CausalPower) {
            return (rank, cause);
        }
        for event in &self.0 {
            let reaches = match (&event.kind, subject) {
                // Only who stands above an act cuts it.
                (Kind::Set | Kind::Removal, _) => event.by > rank,
                (Kind::Leave, Subject::Words { .. }) => true,
                (Kind::Leave, Subject::Act(_)) | (Kind::Entry(_), _) => false,
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

    /// The rank by those events alone that the author knew, if the device is in by them.
    fn granted(&self, graph: &Graph, device: &DeviceId, subject: Subject<'_>) -> Rank {
        let knows = |event: &Event| subject.knows(graph, event.place);
        if self
            .entries(device)
            .any(|entry| self.is_in(graph, entry, knows))
        {
            self.level(graph, knows)
        } else {
            Rank::NONE
        }
    }

    /// Adds an event.
    pub(super) fn accept(&mut self, graph: &Graph, event: Event) {
        let place = event.place;
        self.0.push(event);
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
        let mut entries: Vec<usize> = (0..self.0.len())
            .filter(|at| concerns(&self.0[*at]))
            .collect();
        entries.sort_unstable_by_key(|at| graph.order(self.0[*at].place));
        for at in entries {
            let place = self.0[at].place;
            let level = self.level(graph, |event| graph.knew(place, event.place));
            if let Kind::Entry(entry) = &mut self.0[at].kind {
                entry.further = level > Rank::NONE;
            }
        }
    }

    /// The person's level by all that was accepted so far, concurrent acts included, but not by what was
    /// done knowing of `act`: otherwise an honest promotion would undo what came before it.
    pub(super) fn protection(&self, graph: &Graph, act: Place) -> Rank {
        self.level(graph, |event| {
            is_active(Mutant::LaterPromotionsErase) || !graph.knew(event.place, act)
        })
    }

    /// The level by those events that `counts` lets through: the lowest of those that none supersedes.
    pub(super) fn level(&self, graph: &Graph, counts: impl Fn(&Event) -> bool + Copy) -> Rank {
        let in_force = self.in_force(graph, counts);
        in_force.map(Event::value).min().unwrap_or(Rank::NONE)
    }

    pub(super) fn in_force(
        &self,
        graph: &Graph,
        counts: impl Fn(&Event) -> bool + Copy,
    ) -> impl Iterator<Item = &Event> {
        let events = move || {
            let events = self.0.iter();
            events.filter(move |event| event.sets_level() && counts(event))
        };
        events().filter(move |event| !events().rev().any(|later| later.supersedes(graph, event)))
    }

    fn entries(&self, device: &DeviceId) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(
            move |event| matches!(&event.kind, Kind::Entry(entry) if entry.device == *device),
        )
    }

    /// Whether a device is in by an entry: it stands, and undoes every end of the membership that `counts`.
    /// Who comes back does so device by device, as the others may be lost.
    pub(super) fn is_in(
        &self,
        graph: &Graph,
        entry: &Event,
        counts: impl Fn(&Event) -> bool + Copy,
    ) -> bool {
        let mut ends = self
            .0
            .iter()
            .filter(|event| event.is_end() && counts(event));
        counts(entry) && entry.value() > Rank::NONE && ends.all(|end| entry.supersedes(graph, end))
    }

    /// A removal that a join does not undo because its invite is not newer, whether the join knew it or was
    /// written aside. Joins that the remover knew stay in the record.
    pub(super) fn removal_against(&self, graph: &Graph, join: Place) -> Option<Place> {
        let entry = self.0.iter().find(|event| event.place == join)?;
        let mut removals = self.0.iter().filter(|event| event.kind == Kind::Removal);
        removals
            .find(|end| !graph.knew(end.place, join) && !entry.supersedes(graph, end))
            .map(|end| end.place)
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
