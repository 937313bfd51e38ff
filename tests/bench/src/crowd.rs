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

type Member = Local<MemoryStorage>;
type Hub = Local<RedbStorage>;

/// Makes the store at `path`: `members` devices, each with an invite of its own kind of person, say what the authors of
/// the chat said, in its order.
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

    let mut crowd = join(&mut hub, &invite, members)?;
    for member in &mut crowd {
        // Who has heard nobody keeps their words to themselves.
        link(&mut hub, member)?;
        talk(&mut hub, member, |_, _| {})?;
    }
    let withheld = say_all(&mut hub, &mut crowd, place, entries, messages)?;
    hub.end()?;
    Ok(Crowd {
        invite,
        place,
        messages: messages as u64,
        withheld,
    })
}

/// Each joins by itself, so that each knows those before it.
fn join(hub: &mut Hub, invite: &InviteLink, members: usize) -> Result<Vec<Member>> {
    let mut crowd = Vec::with_capacity(members);
    for number in 1..=members as u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let mut member = Local::start(number, MemoryStorage::new(id), 1)?;
        hub.pass(20);
        member.pass(20 * number);
        let asked = member.ask(Command::Join {
            link: invite.clone(),
        })?;
        link(hub, &mut member)?;
        talk(hub, &mut member, |_, _| {})?;
        member
            .answer(asked)
            .with_context(|| format!("member {number} did not get in"))??;
        part(hub, &mut member)?;
        // Nobody listens yet to what was gossiped about it.
        hub.take();
        member.take();
        crowd.push(member);
    }
    Ok(crowd)
}

/// One message after the other by the author's device; all but the last reach the hub.
fn say_all(
    hub: &mut Hub,
    crowd: &mut [Member],
    at: Place,
    entries: &[Entry],
    messages: usize,
) -> Result<Withheld> {
    let authors = authors(entries, crowd.len());
    let said = entries
        .iter()
        .filter_map(|entry| Some((*authors.get(entry.author.as_str())?, &entry.body)));
    // A shorter log is said again from its beginning.
    let mut said = said.cycle();
    for number in 0..=messages {
        let (author, body) = said.next().context("the chat has no messages")?;
        for member in crowd.iter_mut() {
            member.pass(5);
        }
        hub.pass(5);
        let member = &mut crowd[author];
        let draft = Draft {
            text: body.clone(),
            ..Draft::default()
        };
        let messages_of = vec![draft];
        member.command(Command::Send {
            at,
            messages: messages_of,
        })?;
        let gossip = member.take().into_iter().find_map(|out| match out {
            Out::Gossip(topic, bytes) => Some((topic, bytes)),
            Out::Frame(..) => None,
        });
        let (topic, bytes) = gossip.context("a sent message was not gossiped")?;
        let message = Withheld {
            author: member.device(),
            topic,
            bytes,
        };
        if number == messages {
            return Ok(message);
        }
        hub.input(message.input())?;
        hub.take();
    }
    bail!("the last message is always kept back")
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
