//! Planted faults by name: each must be noticed, or the simulation isn't looking there.

use revnet_core::mutant::Mutant;

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// In every core.
    Core(Mutant),
    /// In the network below: frames of a link that ended find their way to the next one.
    LinksUnnumbered,
}

impl Fault {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let cores = Mutant::ALL.into_iter().map(Self::Core);
        cores.chain([Self::LinksUnnumbered])
    }

    /// The fault's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Core(mutant) => mutant.name(),
            Self::LinksUnnumbered => "links-unnumbered",
        }
    }

    /// The fault with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|fault| fault.name() == name)
    }
}
