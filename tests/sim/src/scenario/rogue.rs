//! A member whose keys are in wrong hands: two histories, backdated and far-off stamps, acts far above the own
//! level, words that cite what isn't there. Everybody else must agree about all of it.

use revnet_core::command::{Command, CommandError, Reply};
use revnet_protocol::act::{Channel, ChannelKind, Level, SetMember, Settings};
use revnet_protocol::envelope::{Envelope, Run};
use revnet_protocol::frame::Frame;
use revnet_protocol::role::Ban;
use revnet_protocol::{Act, EnvelopeId, RevoltId, StreamId};

use super::Run as Simulation;
use crate::forger::{Forger, acts};
use crate::network::NodeId;

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

impl Simulation {
    /// Whose keys are in wrong hands: from some time on one member's, never the founder's.
    fn rogue(&mut self) -> Option<NodeId> {
        if self.oracle.rogue.is_none() && self.oracle.members.len() > 3 {
            let node = self.member().filter(|node| *node != 0);
            let node = node.filter(|node| !self.oracle.admins.contains(node))?;
            self.oracle.rogue = Some(node);
            let device = self.world.device(node);
            self.world.wire.distrust(device);
            self.world.rogue = Some(node);
        }
        self.oracle.rogue
    }

    /// The rogue signs something beside what its program writes, and shows it to one other.
    pub(super) fn forge(&mut self, revolt: RevoltId) {
        let Some(node) = self.rogue() else { return };
        let channels = self.channels.clone();
        let in_control = self.world.below(2) == 0;
        let stream = match self.pick(&channels) {
            Some(channel) if !in_control => StreamId::channel(&revolt, &channel),
            _ => StreamId::control(&revolt),
        };
        let back = usize::try_from(self.world.below(3)).expect("small");
        let known = &self.world.nodes[node];
        let forger = Forger::at(&known.identity.keys, &known.disk, revolt, stream, back);
        let (Some(mut forger), acts) = (forger, acts(&known.disk, revolt)) else {
            return;
        };
        for _ in 0..self.world.below(3) {
            forger.heads.extend(self.pick(&acts));
        }
        if self.world.below(12) == 0 {
            forger
                .heads
                .push(EnvelopeId([self.world.below(256) as u8; 32]));
        }
        forger.heads.truncate(4);
        let count = 1 + self.world.below(4);
        let envelopes = (0..count).map(|_| {
            let ms = self.forged_time(&forger);
            let text = format!("forged {}", self.report.forged);
            self.report.forged += 1;
            if in_control {
                let act = self.forged_act(&text);
                forger.write(ms, &act.encode(), None)
            } else {
                self.oracle.forged.insert(text.clone());
                forger.say(ms, &text)
            }
        });
        let envelopes: Vec<_> = envelopes.collect();
        self.show(node, revolt, envelopes);
    }

    /// Mostly the present, sometimes as early as the chain allows, sometimes far ahead.
    fn forged_time(&mut self, forger: &Forger) -> u64 {
        let now = self.world.unix_ms();
        match self.world.below(8) {
            0 => forger.hlc.ms + 1,
            1 => now + 10 * DAY,
            _ => now.max(forger.hlc.ms + 1),
        }
    }

    fn forged_act(&mut self, text: &str) -> Act {
        let rogue = self.oracle.rogue.unwrap_or_default();
        let user = |run: &Self, node: NodeId| run.world.nodes[node].identity.cert.user;
        let members: Vec<_> = self.oracle.members.iter().copied().collect();
        let victim = self.pick(&members).unwrap_or_default();
        match self.world.below(7) {
            0 => Act::SetMember(SetMember {
                user: user(self, rogue),
                level: Some(Level(900)),
                keep: None,
            }),
            1 => Act::SetMember(SetMember {
                user: user(self, victim),
                level: None,
                keep: None,
            }),
            2 => Act::Ban(Ban {
                user: user(self, victim),
                on: true,
                keep: None,
            }),
            3 => Act::Settings(Settings {
                name: Some(text.to_owned()),
                ..Settings::default()
            }),
            4 => Act::Channel(Channel {
                channel: None,
                kind: ChannelKind::Text,
                name: Some(text.to_owned()),
                topic: None,
                category: None,
                position: None,
                archived: None,
            }),
            _ => Act::Profile {
                name: text.to_owned(),
            },
        }
    }

    fn show(&mut self, node: NodeId, revolt: RevoltId, envelopes: Vec<Envelope>) {
        let peers = self.world.network.peers(node);
        let Some(to) = self.pick(&peers) else { return };
        let Ok(run) = Run::pack(envelopes) else {
            return;
        };
        let runs = vec![run];
        self.world
            .inject(node, to, Frame::Runs { revolt, runs }.encode());
    }

    /// All members show the same people, names, levels and channels.
    pub(super) fn check_states(&mut self) -> Result<(), String> {
        let Some(revolt) = self.revolt else {
            return Err("no revolt".into());
        };
        let members: Vec<_> = self.oracle.members.iter().copied().collect();
        let mut first: Option<(NodeId, String)> = None;
        for node in members {
            let mut shown = String::new();
            for command in [Command::ListMembers { revolt }, Command::Audit { revolt }] {
                self.next += 1;
                let id = self.next;
                self.world.command(node, id, command);
                self.world.run_until(self.world.now + 1);
                for answered in self.world.take_answers() {
                    if answered.id == id {
                        shown.push_str(&shown_by(answered.result));
                    } else {
                        self.answered(answered);
                    }
                }
            }
            match &first {
                None => first = Some((node, shown)),
                Some((other, have)) if *have != shown => {
                    return Err(format!(
                        "nodes {other} and {node} see different acts or people"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// What has to be the same everywhere.
fn shown_by(result: Result<Reply, CommandError>) -> String {
    match result {
        Ok(Reply::Members(mut members)) => {
            for member in &mut members {
                member.online = false;
            }
            format!("{members:?}")
        }
        other => format!("{other:?}"),
    }
}
