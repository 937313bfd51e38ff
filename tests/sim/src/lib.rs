//! A whole network of cores in one thread, under virtual time, from one seed.
//!
//! The cores are those of the real node; network, disks and clocks are modelled: links that break, gossip
//! that is lost, doubled and reordered, partitions, disks that lose what wasn't synced, clocks that are
//! wrong by minutes. An [oracle](oracle::Oracle) outside the cores says what must be visible where. A run
//! never looks at the real clock, so a seed replays exactly.

pub mod batch;
pub mod disk;
pub mod fault;
pub mod forger;
pub mod network;
pub mod oracle;
pub mod scenario;
pub mod wire;
pub mod world;

pub use fault::Fault;
pub use scenario::{Options, Report, run};
