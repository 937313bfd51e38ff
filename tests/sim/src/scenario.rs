//! What happens in a run: people found, join, write, edit, delete, are removed, while the network and the
//! machines misbehave; then peace, and a comparison.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::command::{Command, CommandError, Draft, MessageView, Place, Reply, Sent};
use revnet_core::{Mono, SECOND};
use revnet_protocol::act::Settings;
use revnet_protocol::{ChannelId, DeviceId, InviteLink, MessageId, RevoltId};

use crate::batch::Work;
use crate::fault::Fault;
use crate::network::NodeId;
use crate::oracle::{Closed, Expected, Oracle};
use crate::world::{Answered, Counters, World};

mod history;
mod powers;
mod rogue;
mod settle;

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many actions.
    pub actions: usize,
    /// A fault that the run has to notice.
    pub fault: Option<Fault>,
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
    /// Closed channels made.
    pub closed: u64,
    /// Messages that nodes came too late to read.
    pub unread: u64,
    /// Times that somebody was let into one.
    pub admitted: u64,
    /// Times that somebody was shut out again.
    pub shut_out: u64,
    /// Levels set.
    pub promotions: u64,
    /// Members silenced.
    pub silences: u64,
    /// Envelopes that a member's keys signed and its program didn't.
    pub forged: u64,
    /// Devices that were lost.
    pub devices_lost: u64,
    /// Lost devices that their owners took back.
    pub devices_revoked: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Commands cut off by a crash.
    pub cut_off: u64,
    /// Messages sent again with the same nonce.
    pub repeated: u64,
    /// Words that waited in an outbox.
    pub pending: u64,
    /// Pairs of a removed node and a secret that it must not have.
    pub locked_out: u64,
    /// Batches that crashes lost, by what they were about.
    pub lost: BTreeMap<Work, u64>,
    /// At the end everybody had only a few others to talk to.
    pub sparse: bool,
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
    Send { first: String, again: bool },
    Edit { first: String, text: String },
    Delete { first: String },
    React,
    Remove { node: NodeId, surely: bool },
    Close,
    CloseHistory,
    Admit { channel: ChannelId, node: NodeId },
    ShutOut,
    Promote,
    Silence,
    LastActs(DeviceId),
    Revoke,
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
    /// Who lost a device, and which.
    lost: BTreeMap<NodeId, DeviceId>,
    /// Sends that a crash cut off: whoever sent them doesn't know whether they happened.
    unsure: Vec<String>,
    report: Report,
    logs: BTreeMap<(NodeId, ChannelId), Vec<MessageView>>,
}

/// A throw of the dice for each kind of trouble in [`Run::step`].
const TROUBLES: [u64; 11] = [82, 77, 84, 97, 79, 90, 81, 98, 93, 95, 99];

/// Runs one seed.
///
/// # Errors
/// A sentence that says which law was broken, or what the run failed to exercise.
pub fn run(options: Options) -> Result<Report, String> {
    let work = || match options.fault {
        Some(Fault::Core(mutant)) => revnet_core::mutant::with(mutant, || run_with(options)),
        _ => run_with(options),
    };
    std::panic::catch_unwind(work).unwrap_or_else(|_| Err("a node panicked, as said above".into()))
}

fn run_with(options: Options) -> Result<Report, String> {
    let mut run = Run::new(options);
    run.found()?;
    for at in 0..options.actions {
        run.step(at);
        run.world.wire.verdict()?;
    }
    run.settle(options.seed % 2 == 1)?;
    run.check_end()?;
    run.check_history()?;
    run.require()?;
    Ok(run.report)
}

impl Run {
    fn new(options: Options) -> Self {
        let mut world = World::new(options.seed, options.nodes);
        world.links_unnumbered = options.fault == Some(Fault::LinksUnnumbered);
        for node in 0..options.nodes {
            world.start(node);
        }
        let report = Report {
            messages: 0,
            changes: 0,
            joins: 0,
            removals: 0,
            closed: 0,
            unread: 0,
            admitted: 0,
            shut_out: 0,
            promotions: 0,
            silences: 0,
            forged: 0,
            devices_lost: 0,
            devices_revoked: 0,
            refused: 0,
            cut_off: 0,
            repeated: 0,
            pending: 0,
            locked_out: 0,
            lost: BTreeMap::new(),
            sparse: false,
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
            lost: BTreeMap::new(),
            unsure: Vec::new(),
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
        for node in self.world.take_crashed() {
            self.cut_off(node);
        }
    }

    /// A crash took the answers that were still to come.
    fn cut_off(&mut self, node: NodeId) {
        let mine = |asked: &(NodeId, Asked)| asked.0 == node;
        let gone = self.asked.values().filter(|asked| mine(asked));
        self.report.cut_off += gone.clone().count() as u64;
        self.unsure
            .extend(gone.filter_map(|(_, asked)| match asked {
                Asked::Send { first, .. } => Some(first.clone()),
                _ => None,
            }));
        self.asked.retain(|_, asked| !mine(asked));
        self.joining.remove(&node);
    }

    fn answered(&mut self, answered: Answered) {
        let Some((node, asked)) = self.asked.remove(&answered.id) else {
            return;
        };
        match (asked, answered.result) {
            (Asked::Create, Ok(Reply::Revolt(detail))) => {
                self.revolt = Some(detail.info.id);
                self.world.wire.founded(detail.info.id);
                self.channels = detail.channels.iter().map(|channel| channel.id).collect();
                self.oracle.members.insert(node);
            }
            (Asked::Invite, Ok(Reply::Invite(_, link))) => self.links.push(link),
            (Asked::Channel, Ok(Reply::Channel(channel))) => self.channels.push(channel.id),
            (Asked::LastActs(device), Ok(Reply::LastActs(acts))) => {
                let revocations = self.world.revocations(node, device, &acts);
                self.ask(node, Asked::Revoke, Command::RevokeDevice { revocations });
            }
            (Asked::Revoke, Ok(_)) => self.report.devices_revoked += 1,
            (Asked::Join, Ok(Reply::Revolt(_))) => {
                self.report.joins += 1;
                if let Some(device) = self.lost.remove(&node) {
                    let before_ms = None;
                    let command = Command::LastActs { device, before_ms };
                    self.ask(node, Asked::LastActs(device), command);
                }
                self.joining.remove(&node);
                self.oracle.members.insert(node);
                self.oracle.joined.insert(node);
            }
            (Asked::Join, Err(_)) => {
                self.joining.remove(&node);
            }
            (Asked::Send { first, .. }, Ok(Reply::Sent(sent))) => {
                self.report.messages += 1;
                self.report.pending += u64::from(matches!(sent.first(), Some(Sent::Pending(_))));
                let expected = self
                    .oracle
                    .messages
                    .get_mut(&first)
                    .expect("registered when asked");
                expected.acknowledged = true;
                if let Some(Sent::Sealed(id) | Sent::Known(id)) = sent.first() {
                    // With another device it is sealed once more.
                    if expected.id.replace(*id) != Some(*id) {
                        expected.sealed_at = Some(self.world.now);
                    }
                }
            }
            (
                Asked::Send {
                    first,
                    again: false,
                },
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
            (Asked::Close, Ok(Reply::Channel(channel))) => {
                self.report.closed += 1;
                let mut known = Closed::default();
                known.viewers.insert(0);
                known.ever.insert(0);
                known.ever.extend(&self.oracle.admins);
                self.oracle.closed.insert(channel.id, known);
            }
            (Asked::CloseHistory, Ok(Reply::Channel(channel))) => {
                self.oracle.shy = Some(channel.id);
            }
            (Asked::Admit { channel, node }, Ok(_)) => {
                self.report.admitted += 1;
                let known = self.oracle.closed.get_mut(&channel);
                known.expect("admitted where one is").viewers.insert(node);
            }
            (Asked::ShutOut, Ok(_)) => self.report.shut_out += 1,
            (Asked::Promote, Ok(_)) => self.report.promotions += 1,
            (Asked::Silence, Ok(_)) => self.report.silences += 1,
            (Asked::Remove { surely: false, .. }, Ok(_)) => self.report.removals += 1,
            (Asked::Remove { node, .. }, Ok(_)) => {
                self.report.removals += 1;
                self.oracle.members.remove(&node);
                self.oracle.removed.insert(node);
                self.oracle.gone.insert(node);
                self.world.note_removal(0, node);
            }
            (Asked::Log { channel }, Ok(Reply::Log(log))) => {
                self.logs.insert((node, channel), log);
            }
            _ => self.report.refused += 1,
        }
    }

    /// Node 0 founds a revolt and makes an invite.
    fn found(&mut self) -> Result<(), String> {
        let settings = Settings {
            name: Some("Simulated".into()),
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

    fn step(&mut self, at: usize) {
        let Some(revolt) = self.revolt else { return };
        let chance = self.world.below(100);
        // Now and then by turns instead of by chance, so that no run lacks any kind of trouble.
        let chance = if at % 12 == 11 {
            TROUBLES[at / 12 % TROUBLES.len()]
        } else {
            chance
        };
        // What a run has to exercise is tried until it happened.
        if at > 10 && self.oracle.shy.is_none() {
            self.close_history(revolt);
        }
        if at > 20 && self.report.closed == 0 {
            self.close(revolt);
        } else if at > 20 && self.report.promotions == 0 {
            self.promote(revolt);
        } else if at > 60 && self.report.forged == 0 {
            self.forge(revolt);
        } else if at > 40 && self.report.devices_lost == 0 {
            self.lose_device();
        }
        match chance {
            0..=11 => self.join_somebody(),
            12..=50 => self.send(revolt),
            51..=56 => self.send_again(revolt),
            57..=63 => self.edit(revolt),
            64..=67 => self.delete(revolt),
            68..=71 => self.react(revolt),
            72..=73 => self.remove(revolt),
            76 => self.silence(revolt),
            77 => self.close(revolt),
            78..=79 => self.admit(revolt),
            80 => self.shut_out(revolt),
            81 => self.promote(revolt),
            97..=98 => self.forge(revolt),
            99 if self.report.devices_lost == 0 => self.lose_device(),
            74..=75 => {
                let edit = revnet_core::command::ChannelEdit {
                    name: Some(format!("channel-{}", self.next)),
                    ..Default::default()
                };
                if self.channels.len() < 4 {
                    self.ask(
                        0,
                        Asked::Channel,
                        Command::CreateChannel {
                            revolt,
                            edit,
                            private: false,
                        },
                    );
                }
            }
            82..=83 => self.crash(),
            84..=89 => self.ambush(),
            90..=92 => self.partition(),
            93..=94 => self.world.break_a_link(),
            95..=96 => self.world.replacements = 1 + self.world.below(4),
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
        self.note_coming(node);
        self.ask(node, Asked::Join, Command::Join { link });
    }

    fn send(&mut self, revolt: RevoltId) {
        let Some(node) = self.member() else { return };
        let closed = self.oracle.closed.iter();
        let seen = closed.filter(|(_, known)| known.viewers.contains(&node));
        let seen = seen.map(|(channel, _)| *channel);
        let seen = seen.chain(self.oracle.shy);
        let channels: Vec<_> = self.channels.iter().copied().chain(seen).collect();
        let Some(channel) = self.pick(&channels) else {
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
            sealed_at: None,
            acknowledged: false,
            texts: vec![(first.clone(), true)],
            deleted: None,
        };
        self.oracle.messages.insert(first.clone(), expected);
        let at = Place { revolt, channel };
        self.hand_in(node, at, first.clone(), false);
        if self.world.below(8) == 0 {
            // Impatient: the first answer is still to come.
            self.hand_in(node, at, first, true);
        }
    }

    fn hand_in(&mut self, node: NodeId, at: Place, first: String, again: bool) {
        let messages = vec![Draft {
            text: first.clone(),
            nonce: Some(first.clone()),
            ..Default::default()
        }];
        self.report.repeated += u64::from(again);
        let asked = Asked::Send { first, again };
        self.ask(node, asked, Command::Send { at, messages });
    }

    /// A program that doesn't know what became of its message sends it again, with the same nonce.
    fn send_again(&mut self, revolt: RevoltId) {
        let first = if self.unsure.is_empty() {
            let all: Vec<_> = self.oracle.messages.keys().cloned().collect();
            self.pick(&all)
        } else {
            Some(self.unsure.remove(0))
        };
        let Some(first) = first else { return };
        let Some(expected) = self.oracle.messages.get(&first) else {
            return;
        };
        let (node, channel) = (expected.by, expected.channel);
        self.hand_in(node, Place { revolt, channel }, first, true);
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
        let device = self.world.device(node);
        self.world.wire.removing(device);
        let admins: Vec<_> = self.oracle.admins.iter().copied().collect();
        let admin = self.pick(&admins).filter(|admin| *admin != node);
        // What an admin does may fall with the admin.
        let (by, surely) = match admin {
            Some(admin) if self.world.below(2) == 0 => (admin, false),
            _ => (0, true),
        };
        let command = if self.world.below(2) == 0 {
            Command::Ban {
                revolt,
                user,
                on: true,
            }
        } else {
            Command::SetMember {
                revolt,
                user,
                level: None,
            }
        };
        self.ask(by, Asked::Remove { node, surely }, command);
    }

    /// A member loses their device, and joins again with another by the newest link.
    fn lose_device(&mut self) {
        let Some(node) = self.member().filter(|node| *node != 0) else {
            return;
        };
        let trusted = self.oracle.rogue != Some(node) && !self.oracle.removed.contains(&node);
        if !trusted || self.world.nodes[node].core.is_none() {
            return;
        }
        self.report.devices_lost += 1;
        let device = self.world.lose_device(node);
        self.cut_off(node);
        self.lost.insert(node, device);
        self.oracle.lost.insert(node);
        self.oracle.came.remove(&node);
        self.oracle.members.remove(&node);
    }

    fn crash(&mut self) {
        let nodes: Vec<_> = (0..self.world.nodes.len()).collect();
        let Some(node) = self.pick(&nodes) else {
            return;
        };
        let back = self.world.absence();
        self.world.crash(node, back);
        self.cut_off(node);
    }

    /// Whoever does a certain thing next crashes before it is durable.
    fn ambush(&mut self) {
        if let Some(work) = self.pick(&Work::AIMS) {
            self.world.ambushes.insert(work);
        }
    }

    fn partition(&mut self) {
        let mut group = BTreeMap::new();
        for node in 0..self.world.nodes.len() {
            group.insert(node, u8::from(self.world.below(2) == 1));
        }
        self.world.partition(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let options = Options {
            seed: 3,
            nodes: 8,
            actions: 120,
            fault: None,
        };
        let digest = || run(options).expect("nothing is wrong").digest;
        assert_eq!(digest(), digest());
    }

    #[test]
    fn a_planted_fault_is_noticed() {
        let options = Options {
            seed: 3,
            nodes: 8,
            actions: 120,
            fault: Fault::named("gossip-before-durable"),
        };
        let error = run(options).expect_err("the fault shows at once");
        assert!(error.contains("before it was durable"), "{error}");
    }
}
