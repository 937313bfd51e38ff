//! `run`, `sim` and `bench`: build what is needed in release, then become that program.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::workspace::Workspace;
use crate::{Failure, demo};

const RUN_HELP: &str = "\
Build the node in release and start it.

Usage: cargo xtask run [ARGUMENTS OF `revnet up`]
       cargo xtask run --demo

  --demo   a relay and two nodes in a temporary directory: one makes a revolt, the other
           joins it by an invite, both write; then they run until Ctrl-C

Everything else goes to `revnet up`, for example: cargo xtask run --data-dir DIR --no-open";

const SIM_HELP: &str = "\
Run the seeded network simulation in release.

Usage: cargo xtask sim [ARGUMENTS]     (`cargo xtask sim -- --help` lists them)

  cargo xtask sim --seed N --nodes 50    one run; the same seed replays exactly
  cargo xtask sim --seeds 200            many runs
  cargo xtask sim --laws 100000          schedules of people who cheat against each law of who may do what
  cargo xtask sim --mutant NAME          plants a fault, which has to be noticed (`list`, `all`)";

const BENCH_HELP: &str = "\
Run the benchmarks in release, against the goals in tests/bench/goals.toml.

Usage: cargo xtask bench [ARGUMENTS]   (`cargo xtask bench -- --help` lists them)";

/// `cargo xtask run`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    if asks_for_help(arguments) {
        println!("{RUN_HELP}");
        return Ok(());
    }
    if arguments.iter().any(|argument| argument == "--demo") {
        if arguments.len() > 1 {
            return Err(Failure::Usage(
                "--demo takes no other arguments; see `cargo xtask run --help`".into(),
            ));
        }
        return Ok(demo::run(&workspace.release_binary()?)?);
    }
    let binary = workspace.release_binary()?;
    // Not in the project's directory: relative paths in the arguments are the caller's.
    become_program(
        Command::new(binary)
            .arg("up")
            .args(past_separator(arguments)),
    )
}

/// `cargo xtask sim`.
pub(crate) fn sim(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    if asks_for_help(arguments) {
        println!("{SIM_HELP}");
        return Ok(());
    }
    let mut command = workspace.cargo(&["run", "--release", "-p", "revnet-sim", "--"]);
    become_program(command.args(past_separator(arguments)))
}

/// `cargo xtask bench`.
pub(crate) fn bench(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    if asks_for_help(arguments) {
        println!("{BENCH_HELP}");
        return Ok(());
    }
    // The benchmarks start the real program.
    let bench = workspace.release_of_all("revnet-bench")?;
    become_program(workspace.command(bench).args(past_separator(arguments)))
}

/// Only a help option before any `--` is ours.
fn asks_for_help(arguments: &[String]) -> bool {
    arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--help" || argument == "-h")
}

fn past_separator(arguments: &[String]) -> &[String] {
    match arguments.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => arguments,
    }
}

/// Replaces this process, so that signals and the exit code are the program's own.
fn become_program(command: &mut Command) -> Result<(), Failure> {
    let error = command.exec();
    Err(Failure::Failed(format!(
        "{} could not be started: {error}",
        command.get_program().to_string_lossy()
    )))
}
