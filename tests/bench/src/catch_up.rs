//! A newcomer reads everything that a crowd said, from one member.

use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use revnet_core::Input;
use revnet_core::command::{Command, Reply};
use revnet_core::storage::{Answer, Direction, Query, Storage as _, Write};
use revnet_lab::{ChatLog, Lab};
use revnet_protocol::{DeviceId, StreamId};
use revnet_store::{Options, RedbStorage};

use crate::Setting;
use crate::crowd::{self, Crowd, HUB};
use crate::local::{Local, identity};
use crate::one_missing;
use crate::report::{Figure, Yardstick};
use crate::wire::{Event, Node, Seen};

/// Number of the node that comes later.
pub(crate) const NEWCOMER: u64 = 1_000_000;
/// Longer silence means that something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the crowd, lets the newcomer join and catch up, and then lets it miss one message.
pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let (members, messages) = if setting.quick {
        (20, 2_000)
    } else {
        (500, 100_000)
    };
    let chat = ChatLog::load(&Lab::open());
    let directory = tempfile::tempdir()?;
    let hub = directory.path().join("hub.redb");
    let newcomer = directory.path().join("newcomer.redb");
    let started = Instant::now();
    let crowd = crowd::make(&hub, &chat.entries, members, messages)?;
    let made = started.elapsed().as_secs_f64();
    let mut check = Local::start(HUB, open(&hub)?, 1)?;
    crowd::check(&mut check, &crowd)?;
    drop(check.end()?);
    eprintln!("the crowd was made in {made:.0} s");

    let run = catch_up(&hub, &newcomer, &crowd)?;
    let bare = bare_store(&hub, &directory.path().join("bare.redb"), &crowd)?;
    let wire = run.served.bytes + run.read.bytes;
    let ratio = wire as f64 / run.read.durable_bytes as f64;
    let time = format!(
        "{messages} messages of {members} devices from one member, in memory without sockets; joined after {:.2} s; \
         time in the newcomer's core {:.2} s, in the member's {:.2} s",
        run.joined.as_secs_f64(),
        run.read.busy.as_secs_f64(),
        run.served.busy.as_secs_f64(),
    );
    let bytes = format!(
        "frames both ways, {:.1} MB ({:.2} MB of it asking, {} frames), for {:.1} MB of stored envelopes; a transport adds its own",
        wire as f64 / 1e6,
        run.read.bytes as f64 / 1e6,
        run.read.frames,
        run.read.durable_bytes as f64 / 1e6,
    );
    let mut figures = vec![
        Figure::new("catch_up_time", run.whole.as_secs_f64(), "s")
            .beside(Yardstick::new(
                "the same envelopes into the bare store",
                bare.as_secs_f64(),
                "s",
            ))
            .note(time),
        Figure::new("catch_up_bytes", ratio, "ratio").note(bytes),
    ];
    figures.extend(one_missing::measure(&hub, &newcomer, &crowd)?);
    Ok(figures)
}

/// Opens a store.
pub(crate) fn open(path: &Path) -> Result<RedbStorage> {
    Ok(RedbStorage::open(path, [6; 16], &Options::default())?)
}

struct Run {
    joined: Duration,
    whole: Duration,
    served: Seen,
    read: Seen,
}

/// From the link until everything is durable with the newcomer and its last page was read.
fn catch_up(hub: &Path, newcomer: &Path, crowd: &Crowd) -> Result<Run> {
    let ((to_hub, hub_inbox), (to_new, new_inbox)) = (channel(), channel());
    let hub = Node::start(
        HUB,
        open(hub)?,
        (to_hub.clone(), hub_inbox),
        to_new.clone(),
        NEWCOMER,
    )?;
    let mut new = Node::start(
        NEWCOMER,
        open(newcomer)?,
        (to_new, new_inbox),
        to_hub.clone(),
        HUB,
    )?;
    let link = crowd.invite.clone();
    let command = Command::Join { link };
    new.input(Input::Command { id: 1, command })?;

    let serving = thread::spawn(move || {
        let mut hub = hub;
        let result = hub.run(PATIENCE, |_| false);
        (result, hub.end())
    });
    let started = Instant::now();
    let up = |number| Input::LinkUp {
        peer: identity(number).cert.device,
        relayed: false,
        address: None,
    };
    // Only an error if that thread has ended, which its result tells.
    let _ = to_hub.send(up(NEWCOMER).into());
    new.input(up(HUB))?;
    new.run(PATIENCE, |seen| seen.answer.is_some())?;
    let joined = started.elapsed();
    answer(&mut new)?;
    let stream = StreamId::channel(&crowd.place.revolt, &crowd.place.channel);
    let whole = |seen: &Seen| seen.durable.get(&stream).copied().unwrap_or(0) >= crowd.messages;
    new.run(PATIENCE, whole)?;
    let command = Command::Log {
        at: crowd.place,
        from: None,
        direction: Direction::Before,
        limit: 50,
    };
    new.input(Input::Command { id: 2, command })?;
    new.run(PATIENCE, |seen| seen.answer.is_some())?;
    let whole = started.elapsed();
    let reply = answer(&mut new)?;
    if !matches!(reply, Reply::Log(page) if page.len() == 50) {
        bail!("the newcomer's last page isn't full");
    }
    // The end of the pull brings the cursor.
    new.run(Duration::from_secs(1), |_| false).err();
    let _ = to_hub.send(Event::Stop);
    let (result, served) = serving
        .join()
        .ok()
        .context("the member's thread panicked")?;
    result?;
    let read = new.end();
    Ok(Run {
        joined,
        whole,
        served,
        read,
    })
}

fn answer(node: &mut Node) -> Result<Reply> {
    let answer = node.seen.answer.take().context("it was waited for")?;
    answer.map_err(anyhow::Error::msg)
}

/// How long the store alone takes for the same envelopes, without index and chains.
fn bare_store(hub: &Path, bare: &Path, crowd: &Crowd) -> Result<Duration> {
    let stream = StreamId::channel(&crowd.place.revolt, &crowd.place.channel);
    let from = open(hub)?;
    let chains = from.boot()?.chains;
    let ranges = chains
        .iter()
        .filter(|(of, ..)| *of == stream)
        .map(|(stream, device, _)| (*stream, *device, 1))
        .collect();
    let query = Query::Ranges {
        ranges,
        max_bytes: usize::MAX,
    };
    let Answer::Envelopes { envelopes, .. } = from.query(&query)? else {
        bail!("another answer than asked for");
    };
    let mut to = open(bare)?;
    let started = Instant::now();
    for (number, batch) in envelopes.chunks(1000).enumerate() {
        let write = |(at, bytes): (usize, &Vec<u8>)| Write::Envelope {
            stream,
            device: DeviceId([1; 32]),
            seq: (number * 1000 + at) as u64 + 1,
            bytes: bytes.clone(),
        };
        to.commit(&[batch.iter().enumerate().map(write).collect()])?;
    }
    Ok(started.elapsed())
}
