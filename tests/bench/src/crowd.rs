//! A revolt of many devices with a long talk, in one member's store: made by the devices' own cores.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use revnet_core::Input;
use revnet_core::command::{Command, Draft, Place, Reply};
use revnet_core::storage::memory::MemoryStorage;
use revnet_lab::Entry;
use revnet_protocol::act::Settings;
use revnet_protocol::{DeviceId, InviteLink};
use revnet_store::{Options, RedbStorage};

use crate::local::{Local, Out, link, part, talk};

/// Number of the node whose store is made.
pub(crate) const HUB: u64 = 0;
/// The hub's commits while the talk is made.
const GROUP: usize = 2048;

/// A gossip message that the hub has not been given.
#[derive(Debug)]
pub(crate) struct Withheld {
    author: DeviceId,
    topic: String,
    bytes: Vec<u8>,
}

impl Withheld {
    /// As it arrives.
    pub(crate) fn input(&self) -> Input {
        Input::Gossip {
            peer: self.author,
            topic: self.topic.clone(),
            bytes: self.bytes.clone(),
            token: u64::MAX,
        }
    }
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// An open invite.
    pub(crate) invite: InviteLink,
    /// Where they talk.
    pub(crate) place: Place,
    /// How many messages the hub has there.
    pub(crate) messages: u64,
    /// One more message, which the hub has not.
    pub(crate) withheld: Withheld,
}

type Hub = Local<RedbStorage>;

/// Makes the store at `path`: `members` devices join and say what the authors of the chat said, in its
/// order.
pub(crate) fn make(
    path: &Path,
    entries: &[Entry],
    members: usize,
    messages: usize,
) -> Result<Crowd> {
    let storage = RedbStorage::open(path, [5; 16], &Options::default())?;
    let mut hub = Local::start(HUB, storage, GROUP)?;
    let settings = Settings {
        name: Some("Crowd".to_owned()),
        ..Settings::default()
    };
    let Reply::Revolt(detail) = hub.command(Command::CreateRevolt { settings })? else {
        bail!("another answer than asked for");
    };
    let revolt = detail.info.id;
    let invite = Command::CreateInvite {
        revolt,
        expires_ms: None,
        max_uses: None,
        addresses: Vec::new(),
    };
    let Reply::Invite(_, invite) = hub.command(invite)? else {
        bail!("another answer than asked for");
    };
    let Reply::Revolt(detail) = hub.command(Command::ShowRevolt { revolt })? else {
        bail!("another answer than asked for");
    };
    let channel = detail.channels.first().context("it has a channel")?.id;
    let place = Place { revolt, channel };

    let words = Talk::from_log(entries, members, messages + 1)?;
    let mut said = Vec::with_capacity(messages + 1);
    for number in 1..=members {
        said.extend(member(&mut hub, &invite, place, &words, number)?);
    }
    said.sort_by_key(|(at, _)| *at);
    let (_, withheld) = said.pop().context("somebody said something")?;
    for (at, message) in said {
        hub.reach(words.time_of(at));
        hub.input(message.input())?;
        hub.take();
    }
    hub.end()?;
    Ok(Crowd {
        invite,
        place,
        messages: messages as u64,
        withheld,
    })
}

/// Who says what, in order.
struct Talk<'log> {
    lines: Vec<(usize, &'log str)>,
    members: usize,
}

impl<'log> Talk<'log> {
    /// A sample of `count` lines of the `members` busiest authors, from the beginning of the log to its end. A shorter
    /// log is stretched: lines occur again.
    fn from_log(entries: &'log [Entry], members: usize, count: usize) -> Result<Self> {
        let authors = authors(entries, members);
        let all: Vec<_> = entries
            .iter()
            .filter(|entry| !entry.body.trim().is_empty())
            .filter_map(|entry| Some((*authors.get(entry.author.as_str())?, entry.body.as_str())))
            .collect();
        ensure!(!all.is_empty(), "the chat log has no messages");
        let lines = (0..count).map(|at| all[at * all.len() / count]).collect();
        Ok(Self { lines, members })
    }

    /// When a line is said, in milliseconds after the start: after all have joined.
    fn time_of(&self, at: usize) -> u64 {
        self.joined(self.members + 1) + 5 * at as u64
    }

    /// When a member joins.
    fn joined(&self, number: usize) -> u64 {
        20 * number as u64
    }
}

/// One device joins and says what it will ever say, which the others hear later: so it knows those before it, and nobody
/// has to keep 500 nodes at once.
fn member(
    hub: &mut Hub,
    invite: &InviteLink,
    at: Place,
    words: &Talk<'_>,
    number: usize,
) -> Result<Vec<(usize, Withheld)>> {
    let storage = MemoryStorage::new(u128::to_be_bytes(number as u128));
    let mut member = Local::start(number as u64, storage, 1)?;
    hub.reach(words.joined(number));
    member.reach(words.joined(number));
    let link_to_it = invite.clone();
    let asked = member.ask(Command::Join { link: link_to_it })?;
    link(hub, &mut member)?;
    talk(hub, &mut member, |_, _| {})?;
    member
        .answer(asked)
        .with_context(|| format!("member {number} did not get in"))??;
    let mut said = Vec::new();
    for (line, (_, text)) in words
        .lines
        .iter()
        .enumerate()
        .filter(|(_, (author, _))| author + 1 == number)
    {
        member.reach(words.time_of(line));
        let text = (*text).to_owned();
        let messages = vec![Draft {
            text,
            ..Draft::default()
        }];
        member.command(Command::Send { at, messages })?;
        let gossip = member.take().into_iter().find_map(|out| match out {
            Out::Gossip(topic, bytes) => Some((topic, bytes)),
            Out::Frame(..) => None,
        });
        let (topic, bytes) = gossip.context("a sent message was not gossiped")?;
        let author = member.device();
        said.push((
            line,
            Withheld {
                author,
                topic,
                bytes,
            },
        ));
    }
    part(hub, &mut member)?;
    hub.take();
    Ok(said)
}

/// The busiest authors of a log, each with a number: its place by number of messages.
fn authors(entries: &[Entry], most: usize) -> BTreeMap<&str, usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.body.trim().is_empty()) {
        *counts.entry(&entry.author).or_default() += 1;
    }
    let mut ranked: Vec<_> = counts.into_iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let names = ranked.into_iter().take(most);
    names
        .enumerate()
        .map(|(number, (name, _))| (name, number))
        .collect()
}

/// Requires that a store holds what was made.
pub(crate) fn check(hub: &mut Hub, crowd: &Crowd) -> Result<()> {
    let revolt = crowd.place.revolt;
    let Reply::Revolt(detail) = hub.command(Command::ShowRevolt { revolt })? else {
        bail!("another answer than asked for");
    };
    let events = detail.channels.first().context("it has a channel")?.events;
    ensure!(
        events == crowd.messages,
        "{events} of {} messages are there",
        crowd.messages
    );
    Ok(())
}
