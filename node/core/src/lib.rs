//! The node as a pure state machine.
//!
//! [`Core::handle`] takes what happened, [`Core::poll_effect`] gives what is to be done about it, and
//! [`Core::poll_timeout`] says when to come back. There is no clock, no random source and no I/O in here:
//! time and seed are arguments, so a whole network of cores runs in one thread and replays from a seed.
//!
//! What is accepted, shown, sent or encrypted is decided here or below, never in the runtime around.

mod audit;
mod chain;
pub mod command;
mod commands;
mod confirm;
mod connect;
mod core;
mod departing;
mod expel;
mod fork;
mod held;
mod inventory;
pub mod io;
mod join;
mod keys;
mod link;
pub mod mutant;
mod open;
mod people;
mod pull;
mod purse;
mod query;
mod quota;
pub mod rebuild;
mod receive;
mod revolt;
mod serve;
pub mod storage;
mod sync;
mod turn;
mod write;

pub use crate::core::{Core, Identity};
pub use crate::io::{Effect, Input, MILLI, Mono, SECOND, Verdict};
