//! What people may do changes during a run: closed channels, bans, promotions, silence.

use std::collections::BTreeSet;

use revnet_core::command::{ChannelEdit, Command, Place};
use revnet_core::storage::{Answer, Query};
use revnet_protocol::act::Level;
use revnet_protocol::role::Target;
use revnet_protocol::{ChannelId, Permission, Permissions, RevoltId, StreamId};

use super::{Asked, Run};
use crate::network::NodeId;

/// Most closed channels of a run.
const CLOSED: usize = 2;
/// Most members who are silenced: what they say is not compared.
const SILENCED: usize = 1;

impl Run {
    pub(super) fn close(&mut self, revolt: RevoltId) {
        if self.oracle.closed.len() >= CLOSED {
            return;
        }
        let edit = ChannelEdit {
            name: Some(format!("closed-{}", self.next)),
            ..Default::default()
        };
        let make = Command::CreateChannel {
            revolt,
            edit,
            private: true,
        };
        self.ask(0, Asked::Close, make);
    }

    /// The founder lets somebody see a closed channel.
    pub(super) fn admit(&mut self, revolt: RevoltId) {
        let closed: Vec<_> = self.oracle.closed.keys().copied().collect();
        let (Some(channel), Some(node)) = (self.pick(&closed), self.member()) else {
            return;
        };
        let busy = self
            .asked
            .values()
            .any(|(_, asked)| matches!(asked, Asked::Admit { .. } | Asked::ShutOut));
        if node == 0 || busy || self.world.nodes[0].core.is_none() {
            return;
        }
        let of_channel = self.oracle.closed.get_mut(&channel).expect("just picked");
        of_channel.ever.insert(node);
        let asked = Asked::Admit { channel, node };
        self.except(revolt, channel, node, Permission::View.into(), asked);
    }

    /// The founder takes that back. What the person says about that time may be hidden.
    pub(super) fn shut_out(&mut self, revolt: RevoltId) {
        let seeing = self.oracle.closed.iter().flat_map(|(channel, known)| {
            let nodes = known.viewers.iter().filter(|node| **node != 0);
            nodes.map(|node| (*channel, *node))
        });
        let seeing: Vec<(ChannelId, NodeId)> = seeing.collect();
        let Some((channel, node)) = self.pick(&seeing) else {
            return;
        };
        let busy = self
            .asked
            .values()
            .any(|(_, asked)| matches!(asked, Asked::Admit { .. }));
        if busy || self.world.nodes[0].core.is_none() {
            return;
        }
        let of_channel = self.oracle.closed.get_mut(&channel).expect("just picked");
        of_channel.viewers.remove(&node);
        self.oracle.unsure.insert((node, channel));
        self.except(revolt, channel, node, Permissions::NONE, Asked::ShutOut);
    }

    fn except(
        &mut self,
        revolt: RevoltId,
        channel: ChannelId,
        node: NodeId,
        allow: Permissions,
        asked: Asked,
    ) {
        let user = self.world.nodes[node].identity.cert.user;
        let set = Command::SetException {
            at: Place { revolt, channel },
            target: Target::User(user),
            allow,
            deny: Permissions::NONE,
        };
        self.ask(0, asked, set);
    }

    /// The founder makes somebody an admin, or an ordinary member again.
    pub(super) fn promote(&mut self, revolt: RevoltId) {
        let Some(node) = self.member().filter(|node| *node != 0) else {
            return;
        };
        if self.oracle.rogue == Some(node) {
            return;
        }
        let level = if self.oracle.admins.insert(node) {
            Level::ADMIN
        } else {
            // What they say in closed channels before they know by what else they see them may be hidden.
            let closed = self.oracle.closed.keys();
            self.oracle
                .unsure
                .extend(closed.map(|channel| (node, *channel)));
            Level::MEMBER
        };
        let user = self.world.nodes[node].identity.cert.user;
        // From now on they may see everything.
        for known in self.oracle.closed.values_mut() {
            known.ever.insert(node);
        }
        let set = Command::SetMember {
            revolt,
            user,
            level: Some(level),
        };
        self.ask(0, Asked::Promote, set);
    }

    pub(super) fn silence(&mut self, revolt: RevoltId) {
        let Some(node) = self.member().filter(|node| *node != 0) else {
            return;
        };
        if self.oracle.silenced.len() >= SILENCED && !self.oracle.silenced.contains(&node) {
            return;
        }
        self.oracle.silenced.insert(node);
        let user = self.world.nodes[node].identity.cert.user;
        let until_ms = Some(self.world.unix_ms() + 30_000);
        let timeout = Command::Timeout {
            revolt,
            user,
            until_ms,
        };
        self.ask(0, Asked::Silence, timeout);
    }

    /// Nobody reads a closed channel who was never let in.
    pub(super) fn check_closed(&self) -> Result<(), String> {
        let Some(revolt) = self.revolt else {
            return Ok(());
        };
        for (channel, known) in &self.oracle.closed {
            let stream = StreamId::channel(&revolt, channel);
            let all: BTreeSet<NodeId> = (0..self.world.nodes.len()).collect();
            for node in all.difference(&known.ever) {
                let disk = &self.world.nodes[*node].disk;
                let read = match disk.query(&Query::Timeline { stream }) {
                    Answer::Keys(keys) => keys.len(),
                    _ => return Err("a timeline is a list of keys".into()),
                };
                if read > 0 {
                    return Err(format!(
                        "node {node} reads a closed channel: {read} messages"
                    ));
                }
            }
        }
        Ok(())
    }
}
