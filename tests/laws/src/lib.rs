//! What must hold of the reducer in every schedule of people who cheat, and scenarios with a name each.
//!
//! A schedule is a set of acts made from a seed: people who join, grant, remove and write, some honestly, some
//! backdated, forked or aimed at whoever removed them. `cargo xtask sim --laws N` tries `N` schedules of each law.
#![cfg_attr(not(test), allow(dead_code, reason = "the scenarios use it"))]

#[cfg(test)]
mod attacks;
mod forged;
mod fuzz;
mod joins;
#[cfg(test)]
mod judged;
mod laws;
mod lifts;
mod outs;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod scenarios;
mod world;

pub use laws::{LAWS, Law, noticed};
