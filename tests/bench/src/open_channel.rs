//! Opening a channel with a long past.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use revnet_core::command::{Command, Draft, Place, Reply};
use revnet_core::storage::Direction;
use revnet_protocol::act::Settings;
use revnet_store::{Options, RedbStorage};

use crate::Setting;
use crate::child::{self, Outcome};
use crate::local::Local;
use crate::process::resident_mb;
use crate::report::Figure;
use crate::samples::{Samples, ms};

const PAGE: usize = 50;
/// Messages of one command.
const BATCH: usize = 500;

/// Writes the messages into a store as their author, and reads the last ones in a process of its own.
pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let messages = if setting.quick { 100_000 } else { 1_000_000 };
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("long.redb");
    let started = Instant::now();
    make(&path, messages)?;
    let made = started.elapsed().as_secs_f64();
    let size = std::fs::metadata(&path)?.len();
    let outcome = child::start("open", &[&path.display().to_string()])?;
    let [start, first, median, memory] = outcome.values("open")?;
    let what = format!(
        "{messages} messages, median of 20; the first time {first:.2} ms; store and core start in {start:.0} ms; the pages of the file lay in the system's cache"
    );
    let rate = size as f64 / messages as f64;
    let written = format!(
        "sealing and storing them took {made:.0} s ({:.0} a second, one author), {rate:.0} B of file each",
        messages as f64 / made
    );
    Ok(vec![
        Figure::new("open_channel_time", median, "ms").note(what),
        Figure::new("open_channel_memory", memory, "MB").note(written),
    ])
}

fn make(path: &Path, messages: usize) -> Result<()> {
    let storage = RedbStorage::open(path, [4; 16], &Options::default())?;
    let mut node = Local::start(0, storage, 8)?;
    let settings = Settings {
        name: Some("Long".to_owned()),
        ..Settings::default()
    };
    node.command(Command::CreateRevolt { settings })?;
    let at = place(&mut node)?;
    for batch in 0..messages.div_ceil(BATCH) {
        let messages = (0..BATCH)
            .map(|number| Draft {
                text: format!(
                    "message {number} of batch {batch}, about as long as people write it"
                ),
                ..Draft::default()
            })
            .collect();
        node.reach(400 * batch as u64);
        node.ask(Command::Send { at, messages })?;
    }
    node.end()?;
    Ok(())
}

fn place(node: &mut Local<RedbStorage>) -> Result<Place> {
    let Reply::Revolts(revolts) = node.command(Command::ListRevolts)? else {
        bail!("another answer than asked for");
    };
    let revolt = revolts.first().context("a revolt is there")?.id;
    let Reply::Revolt(detail) = node.command(Command::ShowRevolt { revolt })? else {
        bail!("another answer than asked for");
    };
    let channel = detail.channels.first().context("it has a channel")?.id;
    Ok(Place { revolt, channel })
}

/// In the child: milliseconds to start, to the first page, to a page (median), and megabytes more than before.
pub(crate) fn open(path: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let storage = RedbStorage::open(path, [4; 16], &Options::default())?;
    let mut node = Local::start(0, storage, 8)?;
    let at = place(&mut node)?;
    let start = ms(started.elapsed());
    let before = resident_mb(std::process::id())?;
    let (mut first, mut samples) = (0.0, Samples::default());
    for round in 0..20 {
        let started = Instant::now();
        let reply = node.command(Command::Log {
            at,
            from: None,
            direction: Direction::Before,
            limit: PAGE,
        })?;
        let elapsed = started.elapsed();
        if !matches!(reply, Reply::Log(page) if page.len() == PAGE) {
            bail!("the page isn't full");
        }
        if round == 0 {
            first = ms(elapsed);
        }
        samples.add(elapsed);
    }
    let more = resident_mb(std::process::id())? - before;
    let median = samples.percentile_ms(50);
    Ok(Outcome::new([start, first, median, more]))
}
