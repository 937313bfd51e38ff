//! One value that several acts may write.

use revnet_protocol::Hlc;

use super::graph::{Graph, Place};
use super::rank::{Rank, Subject};

/// Keeps the writes that no other write knew: the causally latest ones.
#[derive(Debug)]
pub(super) struct Register<T>(Vec<(Place, Rank, T)>);

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Register<T> {
    pub(super) fn write(&mut self, graph: &Graph, place: Place, rank: Rank, value: Option<T>) {
        let Some(value) = value else { return };
        if self.0.iter().any(|(later, ..)| graph.knew(*later, place)) {
            return;
        }
        self.0.retain(|(earlier, ..)| !graph.knew(place, *earlier));
        self.0.push((place, rank, value));
    }

    /// The latest value; of concurrent ones that of the highest rank, then the more restrictive, then that
    /// of the lowest id.
    pub(super) fn read(&self, graph: &Graph, restricts: impl Fn(&T) -> bool) -> Option<T> {
        self.0
            .iter()
            .max_by_key(|(place, rank, value)| {
                let id = graph.nodes[*place].record.id;
                (*rank, restricts(value), std::cmp::Reverse(id))
            })
            .map(|(.., value)| *value)
    }

    /// Like [`Register::read`] where no value is more restrictive than another.
    pub(super) fn get(&self, graph: &Graph) -> Option<T> {
        self.read(graph, |_| false)
    }
}

/// One accepted write.
#[derive(Clone, Debug)]
struct Write<T> {
    place: Place,
    by: Rank,
    hlc: Hlc,
    value: T,
}

/// All writes to a value that is asked for as it was for single acts.
#[derive(Clone, Debug)]
pub(super) struct Writes<T>(Vec<Write<T>>);

impl<T> Default for Writes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Writes<T> {
    pub(super) fn write(&mut self, graph: &Graph, place: Place, by: Rank, value: Option<T>) {
        let Some(value) = value else { return };
        let hlc = graph.nodes[place].record.hlc;
        self.0.push(Write {
            place,
            by,
            hlc,
            value,
        });
    }

    /// The acts that wrote.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.0.iter().map(|write| write.place)
    }

    /// Of the writes that `counts` lets through, by place and rank, those that no other of them knew.
    pub(super) fn latest(
        &self,
        graph: &Graph,
        counts: impl Fn(Place, Rank) -> bool + Copy,
    ) -> impl Iterator<Item = T> {
        self.in_force(graph, move |write| counts(write.place, write.by))
            .map(|write| write.value)
    }

    fn in_force(
        &self,
        graph: &Graph,
        counts: impl Fn(&Write<T>) -> bool + Copy,
    ) -> impl Iterator<Item = &Write<T>> {
        let counted = move || self.0.iter().filter(move |write| counts(write));
        counted().filter(move |write| !counted().any(|later| graph.knew(later.place, write.place)))
    }

    /// The values that a subject knew, of those that at least the rank `at` decided: the causally latest, of
    /// concurrent ones those of the highest rank. More than one if several had it.
    pub(super) fn known(
        &self,
        graph: &Graph,
        subject: Subject<'_>,
        at: Rank,
    ) -> impl Iterator<Item = T> {
        self.highest(graph, move |write| {
            write.by >= at && subject.knows(graph, write.place)
        })
    }

    /// The values that hold for something said at a time: known to who said it, or written before.
    pub(super) fn at(
        &self,
        graph: &Graph,
        subject: Subject<'_>,
        hlc: Hlc,
    ) -> impl Iterator<Item = T> {
        self.highest(graph, move |write| {
            write.hlc <= hlc || subject.knows(graph, write.place)
        })
    }

    fn highest(
        &self,
        graph: &Graph,
        counts: impl Fn(&Write<T>) -> bool + Copy,
    ) -> impl Iterator<Item = T> {
        let top = self.in_force(graph, counts).map(|write| write.by).max();
        self.in_force(graph, counts)
            .filter(move |write| Some(write.by) == top)
            .map(|write| write.value)
    }

    /// The values that who stands above `at` wrote without the subject knowing it, and that reach it.
    pub(super) fn losses(
        &self,
        graph: &Graph,
        subject: Subject<'_>,
        at: Rank,
    ) -> impl Iterator<Item = T> {
        let reaches = move |write: &&Write<T>| {
            write.by > at
                && !subject.knows(graph, write.place)
                && !subject.is_before(graph, write.place, write.hlc)
        };
        self.0.iter().filter(reaches).map(|write| write.value)
    }
}
