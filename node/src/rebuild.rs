//! `revnet doctor --rebuild`: a node without a network that reads its own store again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use revnet_core::rebuild::{forget_readings, streams};
use revnet_core::storage::{Answer, Boot, Query, Storage, Write};
use revnet_core::{Core, Effect, Input};
use revnet_protocol::{MessageId, StreamId};
use revnet_store::{Options, RedbStorage};
use serde::Serialize;

use crate::{DATABASE, explain, identity, runtime};

/// What a rebuild did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Streams: control streams and channels.
    pub streams: usize,
    /// Entries of the timeline index now.
    pub entries: usize,
    /// Entries that had been missing.
    pub added: usize,
    /// Entries that had no ground.
    pub removed: usize,
}

/// Makes the indexes in `data_dir` again from the envelopes. No node may run there meanwhile. `progress` is told how
/// many entries there are.
///
/// It may be broken off at any time: the next start of the node, or the next rebuild, goes on with the rest.
///
/// # Errors
/// A missing identity, a store that can't be opened or written.
pub fn rebuild(data_dir: &Path, progress: impl FnMut(usize)) -> anyhow::Result<Rebuilt> {
    let me = identity::load(data_dir)?;
    let path = data_dir.join(DATABASE);
    if !path.exists() {
        return Err(anyhow!(
            "there is no database in {} yet; 'revnet up' makes one",
            data_dir.display()
        ));
    }
    let mut storage = RedbStorage::open(&path, [0; 16], &Options::default())
        .map_err(|error| anyhow!(explain(&error.to_string(), data_dir)))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("no random source: {error}"))?;
    let make = |boot| Core::new(me, seed, 0, runtime::unix(), boot);
    rebuild_in(&mut storage, make, progress).context("the database can't be made again")
}

fn rebuild_in(
    storage: &mut dyn Storage,
    make: impl FnOnce(Boot) -> Core,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Rebuilt> {
    let boot = Boot::read(storage)?;
    let streams = streams(&boot);
    let before = timelines(storage, &streams)?;
    storage.commit(&[forget_readings(&boot)])?;
    let mut core = make(Boot::read(storage)?);
    let (mut batches, mut numbers, mut entries) = (Vec::new(), Vec::new(), 0);
    loop {
        match core.poll_effect() {
            Some(Effect::Store { id, writes }) => {
                let indexed = writes.iter().filter(|w| matches!(w, Write::Index { .. }));
                entries += indexed.count();
                batches.push(writes);
                numbers.push(id);
            }
            Some(Effect::Load { id, query }) => {
                let answer = storage.query(&query);
                core.handle(Input::Loaded { id, answer }, 0);
            }
            // There is no network: what it says to others has no listener.
            Some(_) => {}
            None if batches.is_empty() => break,
            None => {
                storage.commit(&std::mem::take(&mut batches))?;
                progress(entries);
                for id in numbers.drain(..) {
                    core.handle(Input::Stored { id }, 0);
                }
            }
        }
    }
    if let Some(error) = core.failed() {
        return Err(error.clone().into());
    }
    let after = timelines(storage, &streams)?;
    let lacking = |of: &BTreeMap<StreamId, BTreeSet<MessageId>>, other: &BTreeMap<_, _>| {
        let none = BTreeSet::new();
        let of_stream = |(id, keys): (&StreamId, &BTreeSet<MessageId>)| {
            keys.difference(other.get(id).unwrap_or(&none)).count()
        };
        of.iter().map(of_stream).sum()
    };
    Ok(Rebuilt {
        streams: streams.len(),
        entries: after.values().map(BTreeSet::len).sum(),
        added: lacking(&after, &before),
        removed: lacking(&before, &after),
    })
}

fn timelines(
    storage: &dyn Storage,
    streams: &BTreeSet<StreamId>,
) -> anyhow::Result<BTreeMap<StreamId, BTreeSet<MessageId>>> {
    let one = |stream: &StreamId| {
        let stream = *stream;
        match storage.query(&Query::Timeline { stream })? {
            Answer::Keys(keys) => Ok((stream, keys.into_iter().collect())),
            other => Err(anyhow!("a timeline was answered by {other:?}")),
        }
    };
    streams.iter().map(one).collect()
}
