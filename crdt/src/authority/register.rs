//! One value that several acts may write.

use super::graph::{Graph, Place};
use super::rank::Rank;

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
