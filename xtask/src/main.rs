//! The project's own commands, run as `cargo xtask COMMAND`: building and starting a node, and every check.
//!
//! It has no dependencies, so that the first command in a fresh clone answers within seconds, and it never changes
//! a tracked file.
#![allow(
    clippy::print_stdout,
    reason = "its output is the point of a command-line tool"
)]

mod demo;
mod direction;
mod hygiene;
mod launch;
mod options;
mod purity;
mod rustsource;
mod stage;
mod suites;
mod supply;
mod tools;
mod workspace;

use std::process::ExitCode;

use crate::workspace::Workspace;

const HELP: &str = "\
The commands of this project.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  run     build the node in release and start it     (--demo: a relay and two nodes that talk)
  check   the quick checks, before each commit
  ci      every check and every test, before a merge (the same as .ci/run)
  sim     the seeded network simulation
  bench   the benchmarks, against tests/bench/goals.toml

`cargo xtask COMMAND --help` says more about each.";

/// Exit code for a wrong command line, the same as that of the `revnet` program.
const USAGE: u8 = 2;

/// Why a command did not succeed.
pub(crate) enum Failure {
    /// The command line is wrong; the text says how it should look.
    Usage(String),
    /// The work failed; the text says what to do next.
    Failed(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed(text)) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = arguments.split_first() else {
        println!("{HELP}");
        return Err(Failure::Usage(
            "no command given; try `cargo xtask check`".into(),
        ));
    };
    match command.as_str() {
        "run" => launch::run(&Workspace::find()?, rest),
        "check" => suites::check(&Workspace::find()?, rest),
        "ci" => suites::ci(&Workspace::find()?, rest),
        "sim" => launch::sim(&Workspace::find()?, rest),
        "bench" => launch::bench(&Workspace::find()?, rest),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        unknown => Err(Failure::Usage(format!(
            "there is no command `{unknown}`; the commands are run, check, ci, sim and bench (`cargo xtask --help`)"
        ))),
    }
}
