//! One message is missing: what finding it costs.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use revnet_core::command::{Command, Reply};
use revnet_core::storage::{Answer, Query, Space, Storage as _, Write};
use revnet_protocol::StreamId;
use revnet_protocol::frame::Frame;
use revnet_store::RedbStorage;

use crate::catch_up::{NEWCOMER, open};
use crate::crowd::{Crowd, HUB};
use crate::local::{Local, link, part, talk};
use crate::report::Figure;

/// Why a message in the middle isn't another case.
const PLACE: &str = "the missing one ends its author's chain: chains have no holes";

/// What one exchange took.
#[derive(Debug, Default)]
struct Cost {
    bytes: u64,
    rounds: u32,
    /// The part of the greeting: proofs of shared revolts, before anybody knows that something is missing.
    greeting: u64,
    /// The part of the other side, which pulls, too, and lacks nothing.
    back: u64,
}

/// What both sides remember of each other when they meet with one message missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// They met once more after the catch-up, as linked nodes do every few seconds.
    Fresh,
    /// The link broke with the end of the catch-up.
    Stale,
    /// Neither has a cursor of the other.
    None,
}

/// Measures each case on copies of the two stores.
pub(crate) fn measure(hub: &Path, newcomer: &Path, crowd: &Crowd) -> Result<Vec<Figure>> {
    let none = case(hub, newcomer, crowd, Memory::None).context("without a cursor")?;
    let fresh = case(hub, newcomer, crowd, Memory::Fresh).context("with a cursor")?;
    let stale = case(hub, newcomer, crowd, Memory::Stale).context("with an old cursor")?;
    let bytes = |name, cost: &Cost| {
        let note = format!(
            "{PLACE}; frames both ways, {:.1} kB of it what the other side pulls meanwhile; \
             greeting and proofs, {:.1} kB, left out",
            cost.back as f64 / 1000.0,
            cost.greeting as f64 / 1000.0,
        );
        Figure::new(name, cost.bytes as f64 / 1000.0, "kB").note(note)
    };
    let rounds = |name, cost: &Cost| Figure::new(name, f64::from(cost.rounds), "round trips");
    Ok(vec![
        bytes("one_missing_bytes", &none),
        rounds("one_missing_round_trips", &none),
        bytes("one_missing_with_cursor_bytes", &fresh),
        rounds("one_missing_with_cursor_round_trips", &fresh),
        bytes("one_missing_after_catch_up_bytes", &stale),
    ])
}

/// The hub has the message that was kept back; the newcomer meets it.
fn case(hub: &Path, newcomer: &Path, crowd: &Crowd, memory: Memory) -> Result<Cost> {
    let directory = tempfile::tempdir()?;
    let copy = |from: &Path, name: &str| -> Result<RedbStorage> {
        let to = directory.path().join(name);
        std::fs::copy(from, &to)?;
        open(&to)
    };
    let mut stores = [copy(newcomer, "newcomer.redb")?, copy(hub, "hub.redb")?];
    if memory == Memory::None {
        for store in &mut stores {
            forget_cursors(store)?;
        }
    }
    let [newcomer, hub] = stores;
    let mut newcomer = Local::start(NEWCOMER, newcomer, 1)?;
    let mut member = Local::start(HUB, hub, 1)?;
    if memory == Memory::Fresh {
        link(&mut newcomer, &mut member)?;
        talk(&mut newcomer, &mut member, |_, _| {})?;
        part(&mut newcomer, &mut member)?;
    }
    member.input(crowd.withheld.input())?;
    member.take();
    meet(&mut newcomer, &mut member, crowd)
}

fn forget_cursors(storage: &mut RedbStorage) -> Result<()> {
    let records = storage.boot()?.records;
    let cursors = records
        .into_keys()
        .filter(|(space, _)| *space == Space::Cursor)
        .map(|(space, key)| Write::Remove { space, key })
        .collect();
    Ok(storage.commit(&[cursors])?)
}

fn meet(
    newcomer: &mut Local<RedbStorage>,
    member: &mut Local<RedbStorage>,
    crowd: &Crowd,
) -> Result<Cost> {
    let mut cost = Cost::default();
    let mut arrived = false;
    link(newcomer, member)?;
    talk(newcomer, member, |by_newcomer, bytes| {
        let Ok(frame) = Frame::decode(bytes) else {
            return;
        };
        let size = bytes.len() as u64;
        if matches!(frame, Frame::Hello { .. } | Frame::Prove { .. }) {
            cost.greeting += size;
            return;
        }
        cost.bytes += size;
        let asks = matches!(frame, Frame::Pull { .. } | Frame::Ask { .. });
        let answers = matches!(
            frame,
            Frame::Runs { .. } | Frame::Pulled { .. } | Frame::Compare { .. }
        );
        cost.back += size * u64::from(if by_newcomer { answers } else { asks });
        // Questions after the message came are no part of the way to it.
        cost.rounds += u32::from(by_newcomer && asks && !arrived);
        arrived |= !by_newcomer && matches!(frame, Frame::Runs { .. });
    })?;
    let revolt = crowd.place.revolt;
    let Reply::Revolt(detail) = newcomer.command(Command::ShowRevolt { revolt })? else {
        bail!("another answer than asked for");
    };
    let events = detail.channels.first().context("it has a channel")?.events;
    if events != crowd.messages + 1 {
        bail!("the missing message did not come: {events} are there");
    }
    // Asking once more shows that it is readable, not just counted.
    let stream = StreamId::channel(&revolt, &crowd.place.channel);
    let answer = newcomer.storage.query(&Query::Timeline { stream })?;
    if !matches!(answer, Answer::Keys(keys) if keys.len() as u64 == events) {
        bail!("the index lacks the message that came");
    }
    Ok(cost)
}
