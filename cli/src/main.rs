//! `revnet`: runs a node, and talks to the running one over its local API.
//!
//! The commands hold no state and no rules of their own: each turns words into requests and answers
//! into words or JSON. Exit codes are stable; see [`failure::Kind`].

use std::process::ExitCode;

use clap::Parser;

mod args;
mod client;
mod commands;
mod context;
mod events;
mod failure;
mod names;
mod output;
mod passphrase;
mod times;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            failure.exit_code()
        }
    }
}
