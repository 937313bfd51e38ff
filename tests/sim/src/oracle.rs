//! What must be visible where, worked out without the cores: from what was asked and acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::Mono;
use revnet_core::command::MessageView;
use revnet_protocol::{ChannelId, MessageId};

use crate::network::NodeId;

/// What is known of one message.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Who sent it.
    pub by: NodeId,
    /// The channel.
    pub channel: ChannelId,
    /// Its id, once one of the nodes has shown it.
    pub id: Option<MessageId>,
    /// When it surely was sealed under that id.
    pub sealed_at: Option<Mono>,
    /// The send was acknowledged: it must be everywhere. Otherwise it may be.
    pub acknowledged: bool,
    /// The last acknowledged edit, and later ones that may have happened.
    pub texts: Vec<(String, bool)>,
    /// Deletion: none, asked, acknowledged.
    pub deleted: Option<bool>,
}

/// What is known of one closed channel.
#[derive(Clone, Debug, Default)]
pub struct Closed {
    /// Who surely sees it.
    pub viewers: BTreeSet<NodeId>,
    /// Who may have seen it at some time.
    pub ever: BTreeSet<NodeId>,
}

/// The expectations of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    /// By first text, which is unique.
    pub messages: BTreeMap<String, Expected>,
    /// Members at the end.
    pub members: BTreeSet<NodeId>,
    /// Nodes whose join was acknowledged.
    pub joined: BTreeSet<NodeId>,
    /// Nodes whose removal was asked for at some time: what they wrote may be hidden.
    pub removed: BTreeSet<NodeId>,
    /// Nodes whose removal was acknowledged.
    pub gone: BTreeSet<NodeId>,
    /// Closed channels.
    pub closed: BTreeMap<ChannelId, Closed>,
    /// The channel where newcomers don't read what was written before they came.
    pub shy: Option<ChannelId>,
    /// When nodes first asked to come in with the device that they have.
    pub came: BTreeMap<NodeId, Mono>,
    /// Nodes that may be admins or have been.
    pub admins: BTreeSet<NodeId>,
    /// Nodes that were silenced at some time: what they wrote may be hidden.
    pub silenced: BTreeSet<NodeId>,
    /// Whose keys are in wrong hands: what they wrote may be hidden.
    pub rogue: Option<NodeId>,
    /// Who lost a device, and with it perhaps words that nobody else had.
    pub lost: BTreeSet<NodeId>,
    /// What was said with them.
    pub forged: BTreeSet<String>,
    /// Nodes that lost sight of a channel: what they wrote there may be hidden.
    pub unsure: BTreeSet<(NodeId, ChannelId)>,
}

impl Oracle {
    /// Compares those who are members at the end with what was acknowledged.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check_members(&self) -> Result<(), String> {
        if let Some(node) = self.members.intersection(&self.gone).next() {
            return Err(format!("node {node} was removed and is a member"));
        }
        let lost = self
            .joined
            .iter()
            .filter(|node| self.rogue != Some(**node) && !self.lost.contains(node))
            .find(|node| !self.members.contains(node) && !self.removed.contains(node));
        match lost {
            Some(node) => Err(format!("node {node} joined and is no member")),
            None => Ok(()),
        }
    }

    /// Whether a message may be hidden by what became of its author.
    fn may_be_hidden(&self, expected: &Expected) -> bool {
        let Expected { by, channel, .. } = expected;
        self.removed.contains(by)
            || self.rogue == Some(*by)
            || self.lost.contains(by)
            || self.silenced.contains(by)
            || self.unsure.contains(&(*by, *channel))
    }

    /// Compares the log of a channel at one node with what must be there.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(
        &self,
        node: NodeId,
        channel: ChannelId,
        log: &[MessageView],
    ) -> Result<(), String> {
        let mut ids = BTreeSet::new();
        for pair in log.windows(2) {
            if pair[0].id >= pair[1].id {
                return Err(format!("node {node}: messages out of order"));
            }
        }
        for view in log {
            if !ids.insert(view.id) {
                return Err(format!("node {node}: {} twice", view.id));
            }
        }
        let mut by_text: BTreeMap<&str, usize> = BTreeMap::new();
        for view in log {
            *by_text.entry(view.text.as_str()).or_default() += 1;
        }
        for (first, expected) in self.messages.iter().filter(|(_, e)| e.channel == channel) {
            let seen: usize = expected
                .texts
                .iter()
                .map(|(text, _)| by_text.get(text.as_str()).copied().unwrap_or(0))
                .sum();
            let gone = expected.deleted.is_some();
            if seen > 1 && !self.lost.contains(&expected.by) {
                return Err(format!("node {node}: '{first}' is there {seen} times"));
            }
            if expected.deleted == Some(true) && seen > 0 && !self.may_be_hidden(expected) {
                return Err(format!("node {node}: '{first}' was deleted and is there"));
            }
            if expected.acknowledged && seen == 0 && !gone && !self.may_be_hidden(expected) {
                let place = match self.closed.get(&channel) {
                    Some(known) => format!(" from a closed channel, seen by {:?}", known.viewers),
                    None => String::new(),
                };
                return Err(format!(
                    "node {node}: '{first}' of node {} was acknowledged and is missing{place}",
                    expected.by
                ));
            }
            self.check_text(node, first, expected, &by_text)?;
        }
        let known: BTreeSet<&str> = self
            .messages
            .values()
            .flat_map(|e| e.texts.iter().map(|(text, _)| text.as_str()))
            .collect();
        match log
            .iter()
            .filter(|view| !self.forged.contains(&view.text))
            .find(|view| !view.deleted && !known.contains(view.text.as_str()))
        {
            Some(view) => Err(format!("node {node}: '{}' was never written", view.text)),
            None => Ok(()),
        }
    }

    /// After an acknowledged edit an older text must not be shown.
    fn check_text(
        &self,
        node: NodeId,
        first: &str,
        expected: &Expected,
        seen: &BTreeMap<&str, usize>,
    ) -> Result<(), String> {
        let last_sure = expected
            .texts
            .iter()
            .rposition(|(_, acknowledged)| *acknowledged)
            .unwrap_or(0);
        let stale = expected.texts[..last_sure]
            .iter()
            .find(|(text, _)| seen.contains_key(text.as_str()));
        match stale {
            Some((text, _)) if !self.may_be_hidden(expected) => Err(format!(
                "node {node}: '{first}' is shown as '{text}' after a later edit was acknowledged"
            )),
            _ => Ok(()),
        }
    }
}
