//! Tasks that run in a process of their own: what they need of memory is then theirs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{open_channel, revolts};

/// The numbers that a task found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome(Vec<f64>);

impl Outcome {
    /// Of a task.
    pub(crate) fn new(values: impl Into<Vec<f64>>) -> Self {
        Self(values.into())
    }

    /// As many values as the caller knows of.
    pub(crate) fn values<const COUNT: usize>(&self, task: &str) -> Result<[f64; COUNT]> {
        let known = <[f64; COUNT]>::try_from(self.0.as_slice());
        known.with_context(|| format!("the task '{task}' said something else"))
    }
}

/// Runs a task in a new process and waits for it.
pub(crate) fn start(task: &str, arguments: &[&str]) -> Result<Outcome> {
    let here = std::env::current_exe().context("this program doesn't know where it lies")?;
    let output = Command::new(here)
        .args(["--child", task])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the task '{task}' ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("the task '{task}'"))
}

/// In the new process: does the task and prints its numbers.
pub(crate) fn run(task: &str, arguments: &[String]) -> Result<()> {
    let path = Path::new(arguments.first().context("no store")?);
    let outcome = match task {
        "start" => revolts::start(path)?,
        "open" => open_channel::open(path)?,
        _ => bail!("there is no task '{task}'"),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
