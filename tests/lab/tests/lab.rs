//! Real nodes on loopback: what the README promises, and what must survive kills and partings.

#[path = "lab/errors.rs"]
mod errors;
#[path = "lab/first_steps.rs"]
mod first_steps;
#[path = "lab/full_disk.rs"]
mod full_disk;
#[path = "lab/import.rs"]
mod import;
#[path = "lab/kill.rs"]
mod kill;
#[path = "lab/powers.rs"]
mod powers;
#[path = "lab/rebuild.rs"]
mod rebuild;
#[path = "lab/three_nodes.rs"]
mod three_nodes;
