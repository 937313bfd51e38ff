//! The reducer against named scenarios, and against schedules of people who cheat.

mod judged;

mod scenarios;
mod world;
