//! Planted faults by name: each must be noticed, or the simulation isn't looking there.

use revnet_core::mutant::Mutant;
use revnet_crdt::authority::mutant::Mutant as Reducer;

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// In every core.
    Core(Mutant),
    /// In the network below: frames of a link that ended find their way to the next one.
    LinksUnnumbered,
    /// In every reducer: the laws of schedules must notice it.
    Reducer(Reducer),
}

impl Fault {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let cores = Mutant::ALL.into_iter().map(Self::Core);
        let reducers = Reducer::ALL.into_iter().map(Self::Reducer);
        cores.chain([Self::LinksUnnumbered]).chain(reducers)
    }

    /// The fault's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Core(mutant) => mutant.name(),
            Self::LinksUnnumbered => "links-unnumbered",
            Self::Reducer(mutant) => mutant.name(),
        }
    }

    /// The fault with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|fault| fault.name() == name)
    }
}
