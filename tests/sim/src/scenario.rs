//! What happens in a run: people found, join, write, edit, delete, are removed, while the network and the
//! machines misbehave; then peace, and a comparison.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::command::{Command, CommandError, Draft, MessageView, Place, Reply, Sent};
use revnet_core::storage::{Answer, Direction, Query};
use revnet_core::{Mono, SECOND};
use revnet_protocol::act::Settings;
use revnet_protocol::{ChannelId, InviteLink, MessageId, RevoltId, StreamId};

use crate::network::NodeId;
use crate::oracle::{Expected, Oracle};
use crate::world::{Answered, Counters, World};

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many actions.
    pub actions: usize,
}

/// What a run exercised.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages acknowledged.
    pub messages: u64,
    /// Edits, deletions and reactions acknowledged.
    pub changes: u64,
    /// Nodes that joined.
    pub joins: u64,
    /// Nodes that were removed.
    pub removals: u64,
    /// Commands that were refused or cut off by a crash.
    pub unanswered: u64,
    /// What the world did.
    pub world: Counters,
    /// Equal for equal seeds.
    pub digest: String,
    /// Virtual seconds until everybody agreed after the last disturbance.
    pub settled_after: u64,
}

/// What an outstanding command was for.
#[derive(Clone, Debug)]
enum Asked {
    Create,
    Invite,
    Join,
    Channel,
    Send { first: String },
    Edit { first: String, text: String },
    Delete { first: String },
    React,
    Remove { node: NodeId },
    Log { channel: ChannelId },
}

struct Run {
    world: World,
    oracle: Oracle,
    asked: BTreeMap<u64, (NodeId, Asked)>,
    next: u64,
    revolt: Option<RevoltId>,
    channels: Vec<ChannelId>,
    links: Vec<InviteLink>,
    joining: BTreeSet<NodeId>,
    report: Report,
    logs: BTreeMap<(NodeId, ChannelId), Vec<MessageView>>,
}

/// Runs one seed.
///
/// # Errors
/// A sentence that says which law was broken, or what the run failed to exercise.
pub fn run(options: Options) -> Result<Report, String> {
    let mut run = Run::new(options);
    run.found()?;
    for _ in 0..options.actions {
        run.step();
    }
    run.settle()?;
    run.check_timelines()?;
    run.require()?;
    Ok(run.report)
}

impl Run {
    fn new(options: Options) -> Self {
        let mut world = World::new(options.seed, options.nodes);
        for node in 0..options.nodes {
            world.start(node);
        }
        let report = Report {
            messages: 0,
            changes: 0,
            joins: 0,
            removals: 0,
            unanswered: 0,
            world: Counters::default(),
            digest: String::new(),
            settled_after: 0,
        };
        Self {
            world,
            oracle: Oracle::default(),
            asked: BTreeMap::new(),
            next: 0,
            revolt: None,
            channels: Vec::new(),
            links: Vec::new(),
            joining: BTreeSet::new(),
            report,
            logs: BTreeMap::new(),
        }
    }

    fn ask(&mut self, node: NodeId, asked: Asked, command: Command) {
        self.next += 1;
        // Registered first: some commands are answered at once.
        self.asked.insert(self.next, (node, asked));
        if !self.world.command(node, self.next, command) {
            self.asked.remove(&self.next);
        }
    }

    fn pass(&mut self, time: Mono) {
        let until = self.world.now + time;
        self.world.run_until(until);
        for answered in self.world.take_answers() {
            self.answered(answered);
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Some((node, asked)) = self.asked.remove(&answered.id) else {
            return;
        };
        match (asked, answered.result) {
            (Asked::Create, Ok(Reply::Revolt(detail))) => {
                self.revolt = Some(detail.info.id);
                self.channels = detail.channels.iter().map(|channel| channel.id).collect();
                self.oracle.members.insert(node);
            }
            (Asked::Invite, Ok(Reply::Invite(_, link))) => self.links.push(link),
            (Asked::Channel, Ok(Reply::Channel(channel))) => self.channels.push(channel.id),
            (Asked::Join, Ok(Reply::Revolt(_))) => {
                self.report.joins += 1;
                self.joining.remove(&node);
                self.oracle.members.insert(node);
            }
            (Asked::Join, Err(_)) => {
                self.joining.remove(&node);
            }
            (Asked::Send { first }, Ok(Reply::Sent(sent))) => {
                self.report.messages += 1;
                let expected = self
                    .oracle
                    .messages
                    .get_mut(&first)
                    .expect("registered when asked");
                expected.acknowledged = true;
                if let Some(Sent::Sealed(id) | Sent::Known(id)) = sent.first() {
                    expected.id = Some(*id);
                }
            }
            (
                Asked::Send { first },
                Err(CommandError::NotPermitted(_) | CommandError::NotFound(_)),
            ) => {
                self.oracle.messages.remove(&first);
            }
            (Asked::Edit { first, text }, Ok(_)) => {
                self.report.changes += 1;
                let expected = self
                    .oracle
                    .messages
                    .get_mut(&first)
                    .expect("registered when asked");
                if let Some(entry) = expected.texts.iter_mut().find(|(have, _)| *have == text) {
                    entry.1 = true;
                }
            }
            (Asked::Delete { first }, Ok(_)) => {
                self.report.changes += 1;
                self.oracle
                    .messages
                    .get_mut(&first)
                    .expect("registered when asked")
                    .deleted = Some(true);
            }
            (Asked::React, Ok(_)) => self.report.changes += 1,
            (Asked::Remove { node }, Ok(_)) => {
                self.report.removals += 1;
                self.oracle.members.remove(&node);
                self.oracle.removed.insert(node);
            }
            (Asked::Log { channel }, Ok(Reply::Log(log))) => {
                self.logs.insert((node, channel), log);
            }
            _ => self.report.unanswered += 1,
        }
    }

    /// Node 0 founds a revolt and makes an invite.
    fn found(&mut self) -> Result<(), String> {
        let settings = Settings {
            name: Some("Sim".into()),
            ..Default::default()
        };
        self.ask(0, Asked::Create, Command::CreateRevolt { settings });
        self.pass(SECOND);
        let revolt = self.revolt.ok_or("the revolt was not founded")?;
        self.invite(revolt);
        self.pass(SECOND);
        if self.links.is_empty() {
            Err("no invite was made".into())
        } else {
            Ok(())
        }
    }

    fn invite(&mut self, revolt: RevoltId) {
        let addresses = (0..self.world.nodes.len().min(3))
            .map(|node| format!("sim:{node}"))
            .collect();
        let command = Command::CreateInvite {
            revolt,
            expires_ms: None,
            max_uses: None,
            addresses,
        };
        self.ask(0, Asked::Invite, command);
    }

    fn step(&mut self) {
        let Some(revolt) = self.revolt else { return };
        match self.world.below(100) {
            0..=11 => self.join_somebody(),
            12..=59 => self.send(revolt),
            60..=67 => self.edit(revolt),
            68..=71 => self.delete(revolt),
            72..=77 => self.react(revolt),
            78..=79 => self.remove(revolt),
            80..=81 => {
                let edit = revnet_core::command::ChannelEdit {
                    name: Some(format!("channel-{}", self.next)),
                    ..Default::default()
                };
                if self.channels.len() < 4 {
                    self.ask(0, Asked::Channel, Command::CreateChannel { revolt, edit });
                }
            }
            82..=87 => self.crash(),
            88..=91 => self.partition(),
            92..=96 => self.world.break_a_link(),
            _ => self.world.partition(BTreeMap::new()),
        }
        let pause = 50_000_000 + self.world.below(2 * SECOND);
        self.pass(pause);
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = usize::try_from(self.world.below(from.len() as u64)).expect("small");
        from.get(at).cloned()
    }

    fn member(&mut self) -> Option<NodeId> {
        let members: Vec<_> = self.oracle.members.iter().copied().collect();
        self.pick(&members)
    }

    fn join_somebody(&mut self) {
        let outside: Vec<_> = (0..self.world.nodes.len())
            .filter(|n| !self.oracle.members.contains(n) && !self.oracle.removed.contains(n))
            .filter(|n| !self.joining.contains(n))
            .collect();
        let (Some(node), Some(link)) = (self.pick(&outside), self.links.last().cloned()) else {
            return;
        };
        self.joining.insert(node);
        self.ask(node, Asked::Join, Command::Join { link });
    }

    fn send(&mut self, revolt: RevoltId) {
        let channels = self.channels.clone();
        let (Some(node), Some(channel)) = (self.member(), self.pick(&channels)) else {
            return;
        };
        if self.world.nodes[node].core.is_none() {
            return;
        }
        let first = format!("message {} of node {node}", self.next + 1);
        let expected = Expected {
            by: node,
            channel,
            id: None,
            acknowledged: false,
            texts: vec![(first.clone(), true)],
            deleted: None,
        };
        self.oracle.messages.insert(first.clone(), expected);
        let at = Place { revolt, channel };
        let messages = vec![Draft {
            text: first.clone(),
            ..Default::default()
        }];
        self.ask(node, Asked::Send { first }, Command::Send { at, messages });
    }

    fn own_message(&mut self) -> Option<(String, Expected, MessageId)> {
        let known: Vec<_> = self
            .oracle
            .messages
            .iter()
            .filter(|(_, e)| {
                e.deleted.is_none() && e.id.is_some() && self.oracle.members.contains(&e.by)
            })
            .map(|(first, e)| (first.clone(), e.clone()))
            .collect();
        let (first, expected) = self.pick(&known)?;
        let id = expected.id?;
        // One change at a time, so that the oracle knows their order.
        let busy = self.asked.values().any(|(_, asked)| {
            matches!(asked, Asked::Edit { first: f, .. } | Asked::Delete { first: f } if *f == first)
        });
        let up = self.world.nodes[expected.by].core.is_some();
        (!busy && up).then_some((first, expected, id))
    }

    fn edit(&mut self, revolt: RevoltId) {
        let Some((first, expected, message)) = self.own_message() else {
            return;
        };
        let text = format!("{first}, edit {}", self.next + 1);
        self.oracle
            .messages
            .get_mut(&first)
            .expect("just picked")
            .texts
            .push((text.clone(), false));
        let at = Place {
            revolt,
            channel: expected.channel,
        };
        let asked = Asked::Edit {
            first,
            text: text.clone(),
        };
        self.ask(expected.by, asked, Command::Edit { at, message, text });
    }

    fn delete(&mut self, revolt: RevoltId) {
        let Some((first, expected, message)) = self.own_message() else {
            return;
        };
        self.oracle
            .messages
            .get_mut(&first)
            .expect("just picked")
            .deleted = Some(false);
        let at = Place {
            revolt,
            channel: expected.channel,
        };
        self.ask(
            expected.by,
            Asked::Delete { first },
            Command::Delete { at, message },
        );
    }

    fn react(&mut self, revolt: RevoltId) {
        let (Some((_, expected, message)), Some(node)) = (self.own_message(), self.member()) else {
            return;
        };
        let at = Place {
            revolt,
            channel: expected.channel,
        };
        let on = self.world.below(4) > 0;
        self.ask(
            node,
            Asked::React,
            Command::React {
                at,
                message,
                emoji: "👍".into(),
                on,
            },
        );
    }

    fn remove(&mut self, revolt: RevoltId) {
        if self.report.removals >= self.world.nodes.len() as u64 / 5
            || self.oracle.members.len() < 4
        {
            return;
        }
        let Some(node) = self.member().filter(|node| *node != 0) else {
            return;
        };
        let user = self.world.nodes[node].identity.cert.user;
        // From now on it may be gone, whatever becomes of the answer.
        self.oracle.removed.insert(node);
        self.ask(
            0,
            Asked::Remove { node },
            Command::SetMember {
                revolt,
                user,
                level: None,
            },
        );
    }

    fn crash(&mut self) {
        let nodes: Vec<_> = (0..self.world.nodes.len()).collect();
        let Some(node) = self.pick(&nodes) else {
            return;
        };
        self.asked.retain(|_, (at, _)| *at != node);
        self.joining.remove(&node);
        let back = SECOND + self.world.below(20 * SECOND);
        self.world.crash(node, back);
    }

    fn partition(&mut self) {
        let mut group = BTreeMap::new();
        for node in 0..self.world.nodes.len() {
            group.insert(node, u8::from(self.world.below(2) == 1));
        }
        self.world.partition(group);
    }

    /// Peace: everybody is up and reachable. Waits until all members agree with each other and the oracle.
    fn settle(&mut self) -> Result<(), String> {
        self.world.partition(BTreeMap::new());
        self.world.loss = 0;
        self.pass(30 * SECOND);
        for node in 0..self.world.nodes.len() {
            self.world.start(node);
        }
        let from = self.world.now;
        let mut verdict = Err("nothing was compared".to_owned());
        for _ in 0..30 {
            self.pass(10 * SECOND);
            self.find_members();
            verdict = self.compare();
            if verdict.is_ok() {
                break;
            }
        }
        self.report.settled_after = (self.world.now - from) / SECOND;
        self.report.world = self.world.counters.clone();
        self.report.digest = self.world.digest();
        verdict
    }

    /// Whoever joined or was removed without an answer, because of a crash, is counted by what node 0 sees.
    fn find_members(&mut self) {
        let Some(revolt) = self.revolt else { return };
        self.next += 1;
        let id = self.next;
        self.world.command(0, id, Command::ListMembers { revolt });
        self.world.run_until(self.world.now + SECOND);
        for answered in self.world.take_answers() {
            if let (true, Ok(Reply::Members(members))) = (answered.id == id, &answered.result) {
                let users: BTreeSet<_> = members.iter().map(|member| member.user).collect();
                let is_member =
                    |node: &NodeId| users.contains(&self.world.nodes[*node].identity.cert.user);
                self.oracle.members = (0..self.world.nodes.len()).filter(is_member).collect();
            } else {
                self.answered(answered);
            }
        }
    }

    fn compare(&mut self) -> Result<(), String> {
        let Some(revolt) = self.revolt else {
            return Err("no revolt".into());
        };
        self.logs.clear();
        let members: Vec<_> = self.oracle.members.iter().copied().collect();
        for node in &members {
            for channel in self.channels.clone() {
                let at = Place { revolt, channel };
                let log = Command::Log {
                    at,
                    from: None,
                    direction: Direction::Before,
                    limit: 1000,
                };
                self.ask(*node, Asked::Log { channel }, log);
            }
        }
        self.pass(SECOND);
        for channel in self.channels.clone() {
            let mut reference: Option<(NodeId, Vec<MessageView>)> = None;
            for node in &members {
                let log = self
                    .logs
                    .get(&(*node, channel))
                    .ok_or(format!("node {node} shows no log"))?;
                self.oracle.check(*node, channel, log)?;
                let log: Vec<_> = log
                    .iter()
                    .cloned()
                    .map(|view| MessageView { held_by: 0, ..view })
                    .collect();
                match &reference {
                    None => reference = Some((*node, log)),
                    Some((other, have)) if *have != log => {
                        return Err(format!(
                            "nodes {other} and {node} differ ({} and {} messages)",
                            have.len(),
                            log.len()
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The timeline index is equal on all disks of members.
    fn check_timelines(&self) -> Result<(), String> {
        let Some(revolt) = self.revolt else {
            return Err("no revolt".into());
        };
        for channel in &self.channels {
            let stream = StreamId::channel(&revolt, channel);
            let mut reference: Option<(NodeId, Vec<MessageId>)> = None;
            for node in &self.oracle.members {
                let Answer::Keys(keys) = self.world.nodes[*node]
                    .disk
                    .query(&Query::Timeline { stream })
                else {
                    return Err("a timeline is a list of keys".into());
                };
                match &reference {
                    None => reference = Some((*node, keys)),
                    Some((other, have)) if *have != keys => {
                        return Err(format!("the timelines of nodes {other} and {node} differ"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// A run that exercised nothing proves nothing.
    fn require(&self) -> Result<(), String> {
        let world = &self.report.world;
        let needed = [
            ("messages", self.report.messages),
            ("changes", self.report.changes),
            ("joins", self.report.joins),
            ("crashes", world.crashes),
            ("partitions", world.partitions),
            ("lost gossip", world.gossip_lost),
            ("doubled gossip", world.gossip_doubled),
            ("broken links", world.links_broken),
        ];
        match needed.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(format!("the run exercised no {what}: give it more actions")),
            None => Ok(()),
        }
    }
}
