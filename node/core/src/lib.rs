//! The node as a pure state machine: inputs in, effects out. No clock, no random source, no I/O.

pub mod command;
pub mod storage;
