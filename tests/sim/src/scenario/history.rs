//! A channel where newcomers don't read what was written before they came.

use revnet_core::command::{ChannelEdit, Command, Place};
use revnet_core::storage::{Answer, Direction, Query};
use revnet_core::{Mono, SECOND};
use revnet_protocol::{ChannelId, RevoltId, StreamId};

use super::{Asked, Run};
use crate::network::NodeId;
use crate::oracle::Expected;

impl Run {
    /// The founder makes the one channel of a run with closed history.
    pub(super) fn close_history(&mut self, revolt: RevoltId) {
        if self.oracle.shy.is_some() {
            return;
        }
        let edit = ChannelEdit {
            name: Some(format!("channel-{}", self.next)),
            history: Some(false),
            ..Default::default()
        };
        let make = Command::CreateChannel {
            revolt,
            edit,
            private: false,
        };
        self.ask(0, Asked::CloseHistory, make);
    }

    /// Nobody holds what was sealed in the channel before they asked to come in, or came in with another device.
    pub(super) fn check_history(&mut self) -> Result<(), String> {
        let (Some(revolt), Some(channel)) = (self.revolt, self.oracle.shy) else {
            return Ok(());
        };
        let said = self.oracle.messages.iter();
        let said = said.filter(|(_, message)| message.channel == channel);
        let sealed: Vec<_> = said
            .filter_map(|(first, message)| Some((first, message.id?, message.sealed_at?)))
            .collect();
        let stream = StreamId::channel(&revolt, &channel);
        for (node, came) in &self.oracle.came {
            let disk = &self.world.nodes[*node].disk;
            let Answer::Keys(read) = disk.query(&Query::Timeline { stream }) else {
                return Err("a timeline is a list of keys".into());
            };
            let before = sealed.iter().filter(|(.., at)| at < came);
            for (first, id, _) in before {
                self.report.unread += 1;
                if read.contains(id) {
                    return Err(format!("node {node} came later and reads '{first}'"));
                }
            }
        }
        self.say_goodbye(revolt, channel)
    }

    /// What is said when all is calm is read by every member.
    fn say_goodbye(&mut self, revolt: RevoltId, channel: ChannelId) -> Result<(), String> {
        let at = Place { revolt, channel };
        let goodbye = "goodbye".to_owned();
        let expected = Expected {
            by: 0,
            channel,
            id: None,
            sealed_at: None,
            acknowledged: false,
            texts: vec![(goodbye.clone(), true)],
            deleted: None,
        };
        self.oracle.messages.insert(goodbye.clone(), expected);
        self.hand_in(0, at, goodbye, false);
        self.pass(60 * SECOND);
        let trusted = |node: &NodeId| {
            let is_out = self.oracle.removed.contains(node) || self.oracle.rogue == Some(*node);
            !is_out && !self.oracle.lost.contains(node)
        };
        let members = self.oracle.members.iter().copied();
        let members: Vec<NodeId> = members.filter(trusted).collect();
        for node in &members {
            let log = Command::Log {
                at,
                from: None,
                direction: Direction::Before,
                limit: 10,
            };
            self.ask(*node, Asked::Log { channel }, log);
        }
        // A page takes several readings of disks that are slow.
        self.pass(10 * SECOND);
        for node in members {
            let log = self.logs.get(&(node, channel));
            let heard = log.is_some_and(|log| log.iter().any(|view| view.text == "goodbye"));
            if !heard {
                return Err(format!(
                    "node {node} is a member and doesn't hear a goodbye"
                ));
            }
        }
        Ok(())
    }

    /// A node asks to come in. It may be in since an earlier time, of which a crash took the answer.
    pub(super) fn note_coming(&mut self, node: NodeId) {
        let now: Mono = self.world.now;
        self.oracle.came.entry(node).or_insert(now);
    }
}
