//! Durable messages a second when many wait at once.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use revnet_core::storage::{RowKind, Write};
use revnet_protocol::{DeviceId, Hlc, MessageId, StreamId};
use revnet_store::{Options, RedbStorage, StoreHandle, spawn};

use crate::Setting;
use crate::report::{Figure, Yardstick};

/// Senders that each wait for their message to be durable before they send the next.
const SENDERS: u8 = 64;
/// A message of the real chat as a stored envelope.
const ENVELOPE: usize = 650;
/// The core's state of a chain.
const CHAIN: usize = 180;

/// 64 senders through the store's own thread, beside one alone.
pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let time = Duration::from_secs(if setting.quick { 1 } else { 5 });
    let one = rate(1, time)?;
    let many = rate(SENDERS, time)?;
    let fsync = 1000.0 / setting.yardsticks.fsync.percentile_ms(50).max(1e-6);
    Ok(vec![
        Figure::new("single_commit", one, "messages/s").beside(Yardstick::new(
            "bare fsyncs",
            fsync,
            "a second",
        )),
        Figure::new("group_commit", many, "messages/s")
            .beside(Yardstick::new("one sender alone", one, "messages/s"))
            .note(format!(
                "{SENDERS} senders, each with one message of {ENVELOPE} B, its index row and chain under way"
            )),
    ])
}

fn rate(senders: u8, time: Duration) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("group.redb");
    let store = spawn(RedbStorage::open(&path, [1; 16], &Options::default())?);
    let started = Instant::now();
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let store = store.clone();
            thread::spawn(move || send(&store, sender, started, time))
        })
        .collect();
    let mut sent = 0;
    for thread in threads {
        sent += thread.join().ok().context("a sender panicked")??;
    }
    let elapsed = started.elapsed().as_secs_f64();
    store.shutdown();
    Ok(f64::from(sent) / elapsed)
}

/// Sends until the time is over; gives how many became durable.
fn send(store: &StoreHandle, sender: u8, started: Instant, time: Duration) -> Result<u32> {
    let (tell, told) = sync_channel(1);
    let mut sent = 0;
    while started.elapsed() < time {
        let tell = tell.clone();
        let writes = message(sender, u64::from(sent) + 1);
        store.commit(writes, move |result| {
            // The channel has room for the one answer that is awaited.
            let _ = tell.try_send(result);
        })?;
        told.recv()??;
        sent += 1;
    }
    Ok(sent)
}

/// What the core writes for one message.
fn message(sender: u8, seq: u64) -> Vec<Write> {
    let (stream, device) = (StreamId([7; 32]), DeviceId([sender; 32]));
    let id = MessageId {
        hlc: Hlc::ZERO.next(1_767_225_600_000 + seq),
        device,
        seq,
    };
    vec![
        Write::Envelope {
            stream,
            device,
            seq,
            bytes: vec![sender; ENVELOPE],
        },
        Write::Index {
            stream,
            id,
            kind: RowKind::Message,
            target: None,
        },
        Write::Chain {
            stream,
            device,
            state: vec![sender; CHAIN],
        },
    ]
}
