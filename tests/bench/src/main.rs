//! Measures what the goals in `goals.toml` ask for, beside bare figures of the same machine and run.
//!
//! It prints and records; it never fails because something took long. Part A's goals that are not measured here are
//! listed with the reason.

#![allow(clippy::print_stdout)]

mod authority;
mod catch_up;
mod child;
mod crowd;
mod disk;
mod door;
mod goals;
mod gossip;
mod group;
mod idle;
mod local;
mod one_missing;
mod open_channel;
mod process;
mod quic;
mod report;
mod revolts;
mod samples;
mod send;
mod wire;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::goals::Goals;
use crate::report::{Figure, Report, Yardsticks};

/// Measures the node against its goals.
#[derive(Debug, Parser)]
#[command(name = "revnet-bench")]
struct Arguments {
    /// Writes the figures as a list of JSON objects, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Smaller amounts: shows that everything runs, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Only one measurement: send, idle, group, catch-up, open-channel, revolts or authority
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Measures in a process of its own whose memory nothing else has touched
    #[arg(long, value_name = "TASK", hide = true)]
    child: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// What every measurement may look at.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Smaller amounts.
    pub(crate) quick: bool,
    /// The bare figures.
    pub(crate) yardsticks: Yardsticks,
}

type Measurement = fn(&Setting) -> Result<Vec<Figure>>;

const MEASUREMENTS: [(&str, Measurement); 7] = [
    ("group", group::measure),
    ("send", send::measure),
    ("idle", idle::measure),
    ("revolts", revolts::measure),
    ("open-channel", open_channel::measure),
    ("catch-up", catch_up::measure),
    ("authority", authority::measure),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(task) = &arguments.child {
        return child::run(task, &arguments.rest);
    }
    name_the_program()?;
    let goals = Goals::load()?;
    if let Some(only) = &arguments.only {
        let known = MEASUREMENTS.map(|(name, _)| name);
        anyhow::ensure!(
            known.contains(&only.as_str()),
            "there is no measurement '{only}'; there are {}",
            known.join(", ")
        );
    }
    let mut report = Report::new(&goals);
    println!("{}", process::machine());
    if arguments.quick {
        println!("quick: small amounts, the numbers mean little");
    }
    let yardsticks = yardsticks(arguments.quick)?;
    for figure in yardsticks.figures() {
        report.add(figure);
    }
    let setting = Setting {
        quick: arguments.quick,
        yardsticks,
    };
    for (name, measure) in MEASUREMENTS {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let started = Instant::now();
        let figures = measure(&setting).with_context(|| format!("the measurement '{name}'"))?;
        eprintln!("{name}: {:.0} s", started.elapsed().as_secs_f64());
        for figure in figures {
            report.add(figure);
        }
    }
    report.end(arguments.only.is_none());
    println!("{}", process::machine());
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    Ok(())
}

fn yardsticks(quick: bool) -> Result<Yardsticks> {
    let count = if quick { 50 } else { 400 };
    Ok(Yardsticks {
        fsync: disk::fsync(count)?,
        redb: disk::redb_commit(count)?,
        quic: quic::round_trip(count * 5)?,
        gossip: gossip::one_hop(count)?,
    })
}

/// The lab looks for the program beside a test; here it lies beside this program. Begins again with that said.
fn name_the_program() -> Result<()> {
    const VARIABLE: &str = "REVNET_BIN";
    if std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    let here = std::env::current_exe().context("this program doesn't know where it lies")?;
    let revnet = here.with_file_name("revnet");
    anyhow::ensure!(
        revnet.is_file(),
        "there is no `revnet` program yet: run `cargo xtask bench`, or name one in {VARIABLE}"
    );
    let error = Command::new(&here)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, revnet)
        .exec();
    Err(error).context("this program can't be started again")
}
