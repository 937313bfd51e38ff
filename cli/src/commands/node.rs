//! `revnet status`, `revnet peers`, `revnet down`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use revnet_api::dto::{Peer, Peers, Status};
use revnet_protocol::UserId;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{line, table};

/// How long a node may take to stop.
const STOP: Duration = Duration::from_secs(20);

pub(crate) fn status(context: &Context) -> Result<()> {
    let status: Status = context.client()?.get("/api/status")?;
    context.out.show(&status, || words(&status))
}

fn words(status: &Status) -> String {
    let mut text = format!(
        "You are {} ({})\nThis device is {}\nThe node's API is at {}\n{} and {} linked\n",
        line(&status.name),
        status.user,
        status.device,
        status.api,
        count(status.revolts, "revolt"),
        count(status.peers, "peer"),
    );
    if status.outbox > 0 {
        text.push_str(&format!(
            "{} until a member is reachable\n",
            if status.outbox == 1 {
                "1 message waits".to_owned()
            } else {
                format!("{} messages wait", status.outbox)
            }
        ));
    }
    text
}

/// `1 revolt`, `2 revolts`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

pub(crate) fn peers(context: &Context) -> Result<()> {
    let Peers { peers } = context.client()?.get("/api/peers")?;
    context.out.show(&peers, || {
        if peers.is_empty() {
            return "No peer is linked. 'revnet doctor' says why that may be.".to_owned();
        }
        let rows: Vec<Vec<String>> = peers.iter().map(row).collect();
        table(&["NAME", "PATH", "SHARED", "DEVICE"], &rows)
    })
}

fn row(peer: &Peer) -> Vec<String> {
    let name = match (&peer.name, &peer.user) {
        (Some(name), _) => line(name),
        (None, Some(user)) => UserId::short(&user.0),
        (None, None) => "-".to_owned(),
    };
    let path = if peer.relayed { "relay" } else { "direct" };
    vec![
        name,
        path.to_owned(),
        count(peer.revolts.len() as u64, "revolt"),
        peer.device.to_string(),
    ]
}

/// Whether a process runs. One that has ended may stay in the list until its parent looks.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The name before it stands in parentheses and may hold anything.
    let state = |stat: &str| stat.rsplit_once(')')?.1.trim_start().chars().next();
    stat.is_ok_and(|stat| state(&stat) != Some('Z'))
}

pub(crate) fn down(context: &Context) -> Result<()> {
    let client = context.client()?;
    client.post_bytes("/api/shutdown", &serde_json::json!({}))?;
    // Until the process is gone, its database is locked.
    let start = Instant::now();
    while start.elapsed() < STOP {
        if !is_running(client.pid) {
            return context.out.done("The node has stopped.");
        }
        sleep(Duration::from_millis(20));
    }
    Err(Failure::failed("the node is still stopping"))
}
