//! `revnet doctor`: what is wrong, in plain words, and what to do.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use clap::Args;
use indicatif::ProgressBar;
use revnet_api::dto::{NetworkStatus, RelayState, Status};
use serde::Serialize;

use crate::client::Client;
use crate::commands::node::count;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::line;

/// Less free space than this deserves a warning.
const LOW_SPACE: u64 = 1024 * 1024 * 1024;
/// Less than this makes the node stop saving soon.
const NO_SPACE: u64 = 64 * 1024 * 1024;
/// Others hold messages back that are further ahead than two minutes.
const CLOCK_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    /// Works, with a limit.
    Limited,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    /// What was found.
    text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

fn finding(
    check: &'static str,
    state: State,
    text: impl Into<String>,
    advice: Option<&'static str>,
) -> Finding {
    Finding {
        check,
        state,
        text: text.into(),
        advice,
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is on disk as messages is the truth; the index that logs are read by follows from it. --rebuild makes it anew, and
says whether anything in it was wrong. Stop the node before ('revnet down').

Examples:
  revnet doctor
  revnet doctor --rebuild")]
pub(crate) struct DoctorArgs {
    /// Make the index of all messages anew; only while the node is stopped
    #[arg(long)]
    rebuild: bool,
}

pub(crate) fn run(context: &Context, args: &DoctorArgs) -> Result<()> {
    if args.rebuild {
        return rebuild(context);
    }
    let mut findings = vec![writable(&context.data_dir)];
    findings.extend(space(&context.data_dir));
    let asked = context.client().and_then(|client| node(&client));
    let unreached = match asked {
        Ok(more) => {
            findings.extend(more);
            None
        }
        Err(failure) => {
            let text = failure.message.clone();
            let advice = Some("start it with: revnet up");
            findings.push(finding("node", State::Bad, text, advice));
            Some(failure)
        }
    };
    context.out.show(&findings, || words(&findings))?;
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    match unreached {
        Some(failure) => Err(failure),
        None if bad => Err(Failure::failed("something needs your attention")),
        None => Ok(()),
    }
}

fn rebuild(context: &Context) -> Result<()> {
    let bar = if context.out.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    let told = |entries| bar.set_message(format!("{entries} entries"));
    let done = revnet_node::rebuild(&context.data_dir, told)
        .map_err(|error| Failure::failed(format!("{error:#}")))?;
    bar.finish_and_clear();
    context.out.show(&done, || {
        let what = if (done.added, done.removed) == (0, 0) {
            "nothing had been wrong".to_owned()
        } else {
            format!(
                "{} had been missing, {} had no ground",
                done.added, done.removed
            )
        };
        format!(
            "made the index anew: {} in {}; {what}\n",
            plural(done.entries, "entry", "entries"),
            plural(done.streams, "stream", "streams"),
        )
    })
}

fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.state {
            State::Good => "good   ",
            State::Limited => "limited",
            State::Bad => "BAD    ",
        };
        text.push_str(&format!("{mark}  {}\n", line(&finding.text)));
        if let Some(advice) = finding.advice {
            text.push_str(&format!("         → {advice}\n"));
        }
    }
    text
}

fn writable(dir: &Path) -> Finding {
    let probe = dir.join(format!("doctor-{}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|mut file| {
            file.write_all(b"doctor")?;
            file.sync_all()
        });
    let removed = std::fs::remove_file(&probe);
    match written.and(removed) {
        Ok(()) => finding(
            "data_dir",
            State::Good,
            format!("the data directory {} is writable", dir.display()),
            None,
        ),
        Err(error) => finding(
            "data_dir",
            State::Bad,
            format!("the data directory {}: {error}", dir.display()),
            Some(
                "make it with 'revnet up', or give another one with --data-dir; it must belong to you",
            ),
        ),
    }
}

fn space(dir: &Path) -> Option<Finding> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let mib = free / (1024 * 1024);
    let text = format!("{mib} MiB are free for the data directory");
    let (state, advice) = if free < NO_SPACE {
        (
            State::Bad,
            Some("free some space: a full disk stops the node from saving messages"),
        )
    } else if free < LOW_SPACE {
        (State::Limited, Some("free some space soon"))
    } else {
        (State::Good, None)
    };
    Some(finding("space", state, text, advice))
}

fn node(client: &Client) -> Result<Vec<Finding>> {
    let status: Status = client.get("/api/status")?;
    let network: NetworkStatus = client.get("/api/network")?;
    let mut findings = vec![finding(
        "node",
        State::Good,
        format!(
            "the node answers at {} (version {})",
            client.api, status.version
        ),
        None,
    )];
    findings.push(listen(&network));
    findings.extend(relays(&network));
    findings.push(links(&status, &network));
    findings.push(clock(&status));
    findings.extend(outbox(&status));
    Ok(findings)
}

fn listen(network: &NetworkStatus) -> Finding {
    if network.listen.is_empty() {
        return finding(
            "listen",
            State::Bad,
            "the node listens on no address: nobody can reach it directly",
            Some("start it with another --listen address: the port may be taken"),
        );
    }
    let local = |address: &String| address.contains("/127.0.0.1/") || address.contains("/ip6/::1/");
    let text = format!("the node listens on {}", network.listen.join(", "));
    if network.listen.iter().all(local) {
        return finding(
            "listen",
            State::Limited,
            text,
            Some(
                "these are addresses of this machine only; use --listen to be reached from others",
            ),
        );
    }
    finding("listen", State::Good, text, None)
}

fn relays(network: &NetworkStatus) -> Vec<Finding> {
    if network.relays.is_empty() {
        return vec![finding(
            "relay",
            State::Limited,
            "no relay is known: people on other networks may not reach this node",
            Some("give one with: revnet up --bootstrap ADDRESS"),
        )];
    }
    let one = |relay: &revnet_api::dto::RelayStatus| {
        let (state, what, advice) = match relay.state {
            RelayState::Reserved => (State::Good, "is in use", None),
            RelayState::Connecting => (State::Limited, "is being tried", None),
            RelayState::Failed => (
                State::Limited,
                "is not reachable",
                Some("check its address and your connection; the node keeps trying"),
            ),
        };
        let why = relay
            .error
            .as_ref()
            .map_or_else(String::new, |error| format!(" ({error})"));
        finding(
            "relay",
            state,
            format!("the relay {} {what}{why}", relay.address),
            advice,
        )
    };
    network.relays.iter().map(one).collect()
}

fn links(status: &Status, network: &NetworkStatus) -> Finding {
    let relayed = network.links.iter().filter(|link| link.relayed).count() as u64;
    if status.peers == 0 {
        let advice = if status.revolts == 0 {
            "join a revolt with 'revnet join LINK', or found one with 'revnet revolt new NAME'"
        } else {
            "nobody of your revolts is reachable right now; messages wait until somebody is"
        };
        return finding("links", State::Limited, "no peer is linked", Some(advice));
    }
    let text = if relayed == 0 {
        format!("{} linked, all directly", count(status.peers, "peer"))
    } else {
        format!(
            "{} linked; {} through a relay",
            count(status.peers, "peer"),
            count(relayed, "link")
        )
    };
    finding("links", State::Good, text, None)
}

fn clock(status: &Status) -> Finding {
    let off = status.clock_offset_ms.unsigned_abs();
    let text = format!("the clock differs from the peers' by {off} ms");
    if off >= CLOCK_MS {
        finding(
            "clock",
            State::Bad,
            text,
            Some("set this machine's clock, for instance by switching on NTP"),
        )
    } else {
        finding("clock", State::Good, text, None)
    }
}

fn outbox(status: &Status) -> Option<Finding> {
    (status.outbox > 0).then(|| {
        finding(
            "outbox",
            State::Limited,
            format!("{} in the outbox", count(status.outbox, "message")),
            Some("they leave by themselves when a member is reachable"),
        )
    })
}
