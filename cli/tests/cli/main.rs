//! The built program against a fake node behind the real API.

#[path = "../../../node/api/tests/api/fake.rs"]
mod fake;

mod commands;
mod exits;
mod follow;
mod run;
mod transfer;
