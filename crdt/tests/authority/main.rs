//! The reducer against named scenarios, and against schedules of people who cheat.

mod fuzz;
mod judged;
mod laws;
mod roles;
mod scenarios;
mod world;
