//! Prints how fast the store is on the disk of a directory: `cargo run --release -p revnet-store --example
//! rates [DIRECTORY]`.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use revnet_core::storage::{Answer, Direction, Query, RowKind, Storage as _, Write};
use revnet_protocol::{DeviceId, Hlc, MessageId, StreamId};
use revnet_store::{Options, RedbStorage, spawn};

const STREAM: StreamId = StreamId([1; 32]);
const ENVELOPE: usize = 650;
const DEVICES: u64 = 500;
const ROWS: u64 = 1_000_000;
const BATCH: u64 = 10_000;

/// Message number `at` of a busy channel.
fn id(at: u64) -> MessageId {
    let mut device = [7; 32];
    device[..8].copy_from_slice(&(at % DEVICES).to_be_bytes());
    MessageId {
        hlc: Hlc {
            ms: 1_700_000_000_000 + at * 977,
            counter: 0,
        },
        device: DeviceId(device),
        seq: at / DEVICES,
    }
}

fn event(stream: StreamId, at: u64, target: Option<MessageId>) -> [Write; 2] {
    let id = id(at);
    let envelope = Write::Envelope {
        stream,
        device: id.device,
        seq: id.seq,
        bytes: vec![at.to_le_bytes()[0]; ENVELOPE],
    };
    let kind = match target {
        None => RowKind::Message,
        Some(_) => RowKind::Overlay,
    };
    let index = Write::Index {
        stream,
        id,
        kind,
        target,
    };
    [envelope, index]
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args().nth(1) {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let path = dir.path().join("rates.redb");
    single(&path)?;
    grouped(&path)?;
    let mut store = open(&path)?;
    catch_up(&mut store)?;
    batches(&mut store)?;
    pages(&store, "1M messages")?;
    reactions(&mut store)?;
    pages(&store, "1M messages, then 1M reactions")?;
    whole(&store)?;
    reopening(store, &path)
}

fn open(path: &Path) -> Result<RedbStorage, Box<dyn Error>> {
    Ok(RedbStorage::open(path, [1; 16], &Options::default())?)
}

fn single(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut store = open(path)?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(3) {
        store.commit(&[event(StreamId([2; 32]), count, None).to_vec()])?;
        count += 1;
    }
    println!("single commits: {:.0} /s", rate(count, start));
    Ok(())
}

/// A thousand commits always wait.
fn grouped(path: &Path) -> Result<(), Box<dyn Error>> {
    let handle = spawn(open(path)?);
    let (done, results) = channel();
    let start = Instant::now();
    let (mut sent, mut finished) = (0, 0);
    while start.elapsed() < Duration::from_secs(3) {
        while sent - finished < 1000 {
            let done = done.clone();
            let event = event(StreamId([3; 32]), sent, None).to_vec();
            handle.commit(event, move |result| {
                // Nobody waits for the last ones.
                let _ = done.send(result);
            })?;
            sent += 1;
        }
        results.recv()??;
        finished += 1;
    }
    println!(
        "grouped commits, 1000 waiting: {:.0} /s",
        rate(finished, start)
    );
    handle.shutdown();
    Ok(())
}

/// As from a peer after a long absence: chain after chain.
fn catch_up(store: &mut RedbStorage) -> Result<(), Box<dyn Error>> {
    let total = 100_000;
    let chains = (0..DEVICES).flat_map(|device| (device..total).step_by(500));
    let events: Vec<_> = chains
        .map(|at| event(StreamId([4; 32]), at, None).to_vec())
        .collect();
    let start = Instant::now();
    for batch in events.chunks(BATCH.try_into()?) {
        store.commit(batch)?;
    }
    println!(
        "{total} messages chain by chain in batches of {BATCH}: {:.0} /s",
        rate(total, start)
    );
    Ok(())
}

fn batches(store: &mut RedbStorage) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for first in (0..ROWS).step_by(BATCH.try_into()?) {
        let batch = (first..first + BATCH).flat_map(|at| event(STREAM, at, None));
        store.commit(&[batch.collect()])?;
    }
    println!(
        "messages in batches of {BATCH}: {:.0} /s",
        rate(ROWS, start)
    );
    Ok(())
}

fn reactions(store: &mut RedbStorage) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for first in (0..ROWS).step_by(BATCH.try_into()?) {
        let batch = (first..first + BATCH).flat_map(|at| event(STREAM, ROWS + at, Some(id(at))));
        store.commit(&[batch.collect()])?;
    }
    println!(
        "reactions in batches of {BATCH}: {:.0} /s",
        rate(ROWS, start)
    );
    Ok(())
}

fn pages(store: &RedbStorage, what: &str) -> Result<(), Box<dyn Error>> {
    let page = Query::Page {
        stream: STREAM,
        from: None,
        direction: Direction::Before,
        limit: 50,
    };
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let Answer::Rows(rows) = store.query(&page)? else {
            return Err("a page is rows".into());
        };
        times.push(start.elapsed());
        assert_eq!(rows.len(), 50, "a full page");
    }
    let (first, rest) = times.split_first().ok_or("20 pages")?;
    let best = rest.iter().min().ok_or("20 pages")?;
    println!("last 50 of {what}: first {first:?}, then {best:?}");
    Ok(())
}

fn whole(store: &RedbStorage) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let Answer::Keys(keys) = store.query(&Query::Timeline { stream: STREAM })? else {
        return Err("a timeline is keys".into());
    };
    println!("timeline of {} keys: {:?}", keys.len(), start.elapsed());
    Ok(())
}

fn reopening(mut store: RedbStorage, path: &Path) -> Result<(), Box<dyn Error>> {
    let copy = path.with_extension("crashed");
    let settled = path.with_extension("settled");
    std::fs::copy(path, &copy)?;
    let start = Instant::now();
    store.commit(&[])?;
    println!("settle: {:?}", start.elapsed());
    std::fs::copy(path, &settled)?;
    let start = Instant::now();
    drop(store);
    println!(
        "close: {:?}, {} MB",
        start.elapsed(),
        std::fs::metadata(path)?.len() >> 20
    );
    let start = Instant::now();
    open(path)?.boot()?;
    println!("open after a close: {:?}", start.elapsed());
    let start = Instant::now();
    open(&copy)?.boot()?;
    println!("open after a crash: {:?}", start.elapsed());
    let start = Instant::now();
    open(&settled)?.boot()?;
    println!("open after a settled crash: {:?}", start.elapsed());
    Ok(())
}

fn rate(count: u64, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}
