//! One module for each noun.

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Result;

pub(crate) mod audit;
pub(crate) mod channel;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod id;
pub(crate) mod identity;
pub(crate) mod import;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod member;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod revolt;
pub(crate) mod role;
pub(crate) mod send;
pub(crate) mod token;
pub(crate) mod up;

pub(crate) fn run(cli: Cli) -> Result<()> {
    let context = Context::new(cli.global)?;
    cli.command.run(&context)
}
