//! The end of a run: peace, then a comparison of what members show with each other and with the oracle.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::SECOND;
use revnet_core::command::{Command, MessageView, Place, Reply};
use revnet_core::storage::{Answer, Direction, Query, Space};
use revnet_protocol::{ChannelId, MessageId, StreamId};

use super::{Asked, Run};
use crate::network::NodeId;

impl Run {
    /// Peace: everybody is up and reachable, in the sparse case through others only. Waits until all
    /// members agree with each other and the oracle.
    pub(super) fn settle(&mut self, sparse: bool) -> Result<(), String> {
        self.report.sparse = sparse;
        if sparse {
            let roads = self.roads();
            self.world.set_roads(roads);
        }
        self.world.partition(BTreeMap::new());
        self.world.loss = 0;
        self.world.ambushes.clear();
        self.world.replacements = 0;
        self.pass(30 * SECOND);
        for node in 0..self.world.nodes.len() {
            self.world.start(node);
        }
        let from = self.world.now;
        let mut verdict = Err("nothing was compared".to_owned());
        for _ in 0..60 {
            self.pass(10 * SECOND);
            self.world.wire.verdict()?;
            self.find_members();
            verdict = self.compare();
            if verdict.is_ok() {
                break;
            }
        }
        self.report.settled_after = (self.world.now - from) / SECOND;
        self.report.world = self.world.counters.clone();
        self.report.digest = self.world.digest();
        self.report.lost = self.world.lost();
        self.report.locked_out = self.world.wire.secrets_compared();
        verdict.map_err(|error| error + &self.differences())
    }

    /// Where the disks of members differ: for each author and stream, how much is stored and how much is read.
    fn differences(&self) -> String {
        let Some(revolt) = self.revolt else {
            return String::new();
        };
        let channels = self.channels.iter().chain(self.oracle.closed.keys());
        let channels = channels.map(|c| StreamId::channel(&revolt, c));
        let streams: Vec<_> = std::iter::once(StreamId::control(&revolt))
            .chain(channels)
            .collect();
        let mut text = String::new();
        for (number, stream) in streams.iter().enumerate() {
            for (author, known) in self.world.nodes.iter().enumerate() {
                let device = known.identity.cert.device;
                let have = |node: &NodeId| self.world.nodes[*node].disk.progress(*stream, device);
                let all: BTreeMap<_, _> = self
                    .oracle
                    .members
                    .iter()
                    .map(|node| (*node, have(node)))
                    .collect();
                if all.values().collect::<BTreeSet<_>>().len() > 1 {
                    text.push_str(&format!(
                        "\n  stream {number}, author {author}: (stored, read) by node: {all:?}"
                    ));
                }
            }
        }
        text
    }

    /// A tree of members, with everybody else at its leaves: what somebody lacks has to come through others.
    fn roads(&mut self) -> Vec<(NodeId, NodeId)> {
        let trusted: Vec<_> = self
            .oracle
            .members
            .difference(&self.oracle.removed)
            .copied()
            .filter(|node| self.oracle.rogue != Some(*node))
            .collect();
        let mut roads = Vec::new();
        for (at, node) in trusted.iter().enumerate().skip(1) {
            let to = at - 1 - usize::try_from(self.world.below(at.min(3) as u64)).expect("small");
            roads.push((*node, trusted[to]));
        }
        for node in (0..self.world.nodes.len()).filter(|node| !trusted.contains(node)) {
            if let Some(to) = self.pick(&trusted) {
                roads.push((node, to));
            }
        }
        roads
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
                let devices = members.iter().flat_map(|member| &member.devices);
                let devices: BTreeSet<_> = devices.collect();
                let is_member = |node: &NodeId| devices.contains(&self.world.device(*node));
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
        self.oracle.check_members()?;
        self.logs.clear();
        let members: Vec<_> = self.oracle.members.iter().copied().collect();
        let compared = self.compared(&members);
        for (channel, nodes) in &compared {
            for node in nodes {
                let channel = *channel;
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
        for (channel, nodes) in compared {
            let mut reference: Option<(NodeId, Vec<MessageView>)> = None;
            for node in &nodes {
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
                        let only = |these: &[MessageView], those: &[MessageView]| -> Vec<String> {
                            let these = these.iter().filter(|view| !those.contains(view));
                            these.map(|view| view.text.clone()).take(3).collect()
                        };
                        return Err(format!(
                            "nodes {other} and {node} differ ({} and {} messages): only the first {:?}, \
                             only the second {:?}; the rogue is {:?}",
                            have.len(),
                            log.len(),
                            only(have, &log),
                            only(&log, have),
                            self.oracle.rogue,
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        self.check_timelines()?;
        self.check_states()
    }

    /// Each channel with the members who surely see it.
    fn compared(&self, members: &[NodeId]) -> Vec<(ChannelId, Vec<NodeId>)> {
        let open = self
            .channels
            .iter()
            .map(|channel| (*channel, members.to_vec()));
        let closed = self.oracle.closed.iter().map(|(channel, known)| {
            let seeing = members.iter().filter(|node| known.viewers.contains(*node));
            (*channel, seeing.copied().collect())
        });
        open.chain(closed).collect()
    }

    /// What can only be looked at when all is done.
    pub(super) fn check_end(&self) -> Result<(), String> {
        self.check_closed()?;
        self.check_ciphertext()?;
        let disks: Vec<_> = self.world.nodes.iter().map(|node| &node.disk).collect();
        self.world.wire.check_secrets(&disks)
    }

    /// Whoever keeps everything but the secrets finds no word and no name in it.
    fn check_ciphertext(&self) -> Result<(), String> {
        let disk = &self.world.nodes[0].disk;
        let boot = disk.boot();
        let ranges = boot
            .chains
            .iter()
            .map(|(stream, device, _)| (*stream, *device, 1));
        let query = Query::Ranges {
            ranges: ranges.collect(),
            max_bytes: usize::MAX,
        };
        let Answer::Envelopes { envelopes, .. } = disk.query(&query) else {
            return Err("ranges give envelopes".into());
        };
        let records = |wanted: Space| {
            let records = boot.records.iter();
            let records = records.filter(move |((space, _), _)| *space == wanted);
            records.map(|(_, value)| value.clone())
        };
        let secrets: Vec<_> = records(Space::Secret).collect();
        let words = [
            &b"message "[..],
            b"forged ",
            b"channel-",
            b"node1",
            b"Simulated",
        ];
        let secret = secrets.iter().map(Vec::as_slice);
        let telling: Vec<&[u8]> = words.into_iter().chain(secret).collect();
        let kept = envelopes.into_iter().chain(records(Space::Chunk));
        let mut looked_at = 0;
        for bytes in kept {
            looked_at += 1;
            let found = telling.iter().find(|what| {
                let mut windows = bytes.windows(what.len());
                windows.any(|window| window == **what)
            });
            if let Some(what) = found {
                let what = String::from_utf8_lossy(what);
                return Err(format!("'{what}' is readable without any secret"));
            }
        }
        if looked_at < 20 {
            return Err(format!("only {looked_at} envelopes were kept"));
        }
        Ok(())
    }

    /// The timeline index is equal on all disks of members. But a program whose device has signed something from far
    /// ahead has to go on from there, and so has read its own words before their time.
    fn check_timelines(&self) -> Result<(), String> {
        let Some(revolt) = self.revolt else {
            return Err("no revolt".into());
        };
        for channel in &self.channels {
            let stream = StreamId::channel(&revolt, channel);
            let mut reference: Option<(NodeId, Vec<MessageId>)> = None;
            let members = self.oracle.members.iter();
            for node in members.filter(|node| self.oracle.rogue != Some(**node)) {
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
    pub(super) fn require(&self) -> Result<(), String> {
        let world = &self.report.world;
        let needed = [
            ("messages", self.report.messages),
            ("changes", self.report.changes),
            ("joins", self.report.joins),
            ("closed channels", self.report.closed),
            ("forged envelopes", self.report.forged),
            ("lost devices", self.report.devices_lost),
            ("promotions", self.report.promotions),
            ("crashes", world.crashes),
            ("crashes in the middle of a batch", world.crashes_aimed),
            ("partitions", world.partitions),
            ("lost gossip", world.gossip_lost),
            ("doubled gossip", world.gossip_doubled),
            ("broken links", world.links_broken),
            ("replaced links", world.links_replaced),
        ];
        match needed.iter().find(|(_, count)| *count == 0) {
            Some((what, _)) => Err(format!("the run exercised no {what}: give it more actions")),
            None => Ok(()),
        }
    }
}
