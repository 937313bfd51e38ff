//! How long a message takes from one person's node to the other's screen.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use revnet_lab::{Lab, Node};
use serde_json::json;

use crate::Setting;
use crate::disk::Rows;
use crate::door::Door;
use crate::report::{Figure, Yardstick};
use crate::samples::{Samples, ms};

/// A message that isn't there after so long never comes; pulling would have brought it by then.
const LOST: Duration = Duration::from_secs(60);

/// Two real processes on loopback: one sends over HTTP, the other's WebSocket is read.
pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let count = if setting.quick { 50 } else { 500 };
    let lab = Lab::open();
    let ada = Node::start_new(&lab, "ada", None);
    let ben = Node::start_new(&lab, "ben", None);
    let revolt = ada.field(&["revolt", "new", "Bench"], "id");
    let link = ada.field(&["invite", "new", &revolt], "link");
    ben.json(&["join", &link]);
    let (from, to) = (Door::of(ada.client())?, Door::of(ben.client())?);
    let channel = from.get(&format!("revolts/{revolt}"))?["channels"][0]["id"]
        .as_str()
        .context("a revolt has a channel")?
        .to_owned();
    let path = format!("revolts/{revolt}/channels/{channel}/messages");
    let arrivals = to.messages()?;
    let mut disk = Rows::open()?;
    let (mut seen, mut durable, mut bare) =
        (Samples::default(), Samples::default(), Samples::default());
    let (mut late, warm_up) = (0, 20);
    for number in 0..count + warm_up {
        let words = format!("message {number} of a person who says a sentence of usual length");
        let started = Instant::now();
        from.post(&path, &json!({ "text": words }))?;
        let acknowledged = started.elapsed();
        let latency = arrival(&arrivals, &words)? - started;
        late += usize::from(latency > Duration::from_secs(1));
        if number >= warm_up {
            seen.add(latency);
            durable.add(acknowledged);
            // In between, so that both see the same load.
            bare.add(disk.commit()?);
        }
    }
    let acknowledged = format!(
        "answered as durable to the sender: median {:.1} ms, 99 of 100 within {:.1} ms; {late} of {} came late, by a pull",
        durable.percentile_ms(50),
        durable.percentile_ms(99),
        seen.len(),
    );
    let slowest = format!("slowest {:.1} ms", seen.percentile_ms(100));
    let beside = |percent| {
        let value = bare.percentile_ms(percent) + setting.yardsticks.gossip.percentile_ms(percent);
        Yardstick::new("bare redb commit + gossip hop", value, "ms")
    };
    Ok(vec![
        Figure::new("send_p50", seen.percentile_ms(50), "ms")
            .beside(beside(50))
            .note(acknowledged),
        Figure::new("send_p99", seen.percentile_ms(99), "ms")
            .beside(beside(99))
            .note(slowest),
    ])
}

/// When the event of the message with these words came.
fn arrival(arrivals: &Receiver<(String, Instant)>, words: &str) -> Result<Instant> {
    let started = Instant::now();
    loop {
        let left = LOST.saturating_sub(started.elapsed());
        let (arrived, at) = arrivals
            .recv_timeout(left)
            .with_context(|| format!("'{words}' did not arrive in {:.0} ms", ms(LOST)))?;
        if arrived == words {
            return Ok(at);
        }
    }
}
