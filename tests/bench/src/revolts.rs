//! Starting with many revolts.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use revnet_core::command::{ChannelEdit, Command, Reply};
use revnet_core::storage::Boot;
use revnet_protocol::act::Settings;
use revnet_store::{Options, RedbStorage};

use crate::Setting;
use crate::child::{self, Outcome};
use crate::local::{self, Local};
use crate::process::resident_mb;
use crate::report::Figure;
use crate::samples::ms;

/// Channels of a revolt, the first one that comes with it included.
const CHANNELS: usize = 5;

/// Makes the revolts in a store, and starts a core on it in a process of its own.
pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let revolts = if setting.quick { 100 } else { 2000 };
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("revolts.redb");
    make(&path, revolts)?;
    let outcome = child::start("start", &[&path.display().to_string()])?;
    let [seconds, memory] = outcome.values("start")?;
    let what = format!(
        "{revolts} revolts of {CHANNELS} channels: store opened, all acts replayed and judged; no sockets"
    );
    Ok(vec![
        Figure::new("many_revolts_start", seconds, "s").note(what),
        Figure::new("many_revolts_memory", memory, "MB")
            .note("resident memory of a process with core and store, no sockets"),
    ])
}

fn make(path: &Path, revolts: usize) -> Result<()> {
    let storage = RedbStorage::open(path, [2; 16], &Options::default())?;
    let mut node = Local::start(0, storage, 4096)?;
    for number in 0..revolts {
        let settings = Settings {
            name: Some(format!("Revolt {number}")),
            ..Settings::default()
        };
        // Not awaited: each wait would be a commit.
        let asked = node.ask(Command::CreateRevolt { settings })?;
        if number % 200 != 199 && number + 1 != revolts {
            continue;
        }
        node.sync()?;
        node.answer(asked).context("a revolt was not made")??;
    }
    let Reply::Revolts(all) = node.command(Command::ListRevolts)? else {
        anyhow::bail!("another answer than asked for");
    };
    for (number, revolt) in all.iter().enumerate() {
        for channel in 1..CHANNELS {
            let edit = ChannelEdit {
                name: Some(format!("channel-{channel}")),
                ..ChannelEdit::default()
            };
            node.ask(Command::CreateChannel {
                private: false,
                revolt: revolt.id,
                edit,
            })?;
        }
        if number % 200 == 199 {
            node.sync()?;
        }
    }
    anyhow::ensure!(all.len() == revolts, "{} revolts were made", all.len());
    node.end()?;
    Ok(())
}

/// In the child: seconds until the core stands, and megabytes then.
pub(crate) fn start(path: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let storage = RedbStorage::open(path, [2; 16], &Options::default())?;
    let boot = Boot::read(&storage)?;
    let mut core = local::core(0, boot);
    while core.poll_effect().is_some() {}
    let seconds = ms(started.elapsed()) / 1000.0;
    Ok(Outcome::new([seconds, resident_mb(std::process::id())?]))
}
