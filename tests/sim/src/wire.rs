//! What must hold for everything that leaves a node, whatever the node thinks of it.
//!
//! - Own envelopes leave only when the disk has them, so a place in a chain never gets two contents.
//! - "I hold this" is said only of what the disk has, and a cursor never points behind its end.
//! - Own words get their place only after a member was heard to the end.
//! - A message is read only where the control acts that it cites are.
//! - Whoever knows of a removal writes nothing that the removed one can read.

use std::collections::{BTreeMap, BTreeSet};

use revnet_core::storage::{Answer, Query, Space, Write};
use revnet_protocol::envelope::{Envelope, Header};
use revnet_protocol::frame::{Frame, Gossip};
use revnet_protocol::{DeviceId, EnvelopeId, KeyId, RevoltId, StreamId};

use crate::disk::Disk;
use crate::network::NodeId;

/// What a node has been seen to store, under way or durable.
#[derive(Debug, Default)]
pub struct Known {
    /// Control acts, read or not.
    acts: BTreeSet<EnvelopeId>,
    /// Control acts that were read.
    read: BTreeSet<(DeviceId, u64)>,
    /// Peers that were pulled from to the end over the present link.
    pub heard: BTreeSet<NodeId>,
}

/// A removal that was answered.
#[derive(Clone, Debug)]
struct Removal {
    node: NodeId,
    /// Whoever has read these acts knows of the removal: all that the remover had read.
    acts: BTreeSet<(DeviceId, u64)>,
    /// And has these of devices in wrong hands, whose chains part.
    forged: BTreeSet<EnvelopeId>,
}

/// Who is acting, with its disk.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// Its number.
    pub node: NodeId,
    /// Its device.
    pub device: DeviceId,
    /// What it has.
    pub disk: &'a Disk,
}

/// Watches all wires.
#[derive(Debug, Default)]
pub struct Wire {
    revolt: Option<RevoltId>,
    headers: BTreeMap<(DeviceId, StreamId, u64), Header>,
    removals: Vec<Removal>,
    /// Devices whose owners' removal was asked for, answered or not.
    leaving: BTreeSet<DeviceId>,
    /// Devices whose keys sign what their programs don't know.
    rogues: BTreeSet<DeviceId>,
    /// Who must never have which secret.
    secrets: BTreeMap<(NodeId, KeyId), String>,
    /// The first thing that was wrong.
    wrong: Option<String>,
}

impl Wire {
    /// From here on it is known what is a control act.
    pub fn founded(&mut self, revolt: RevoltId) {
        self.revolt = Some(revolt);
    }

    /// From here on nothing is expected of what a device signs.
    pub fn distrust(&mut self, device: DeviceId) {
        self.rogues.insert(device);
    }

    fn control(&self) -> Option<StreamId> {
        self.revolt.as_ref().map(StreamId::control)
    }

    /// Something is wrong; what was wrong first stays.
    pub fn fail(&mut self, text: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(text);
    }

    /// What was wrong so far.
    ///
    /// # Errors
    /// A sentence that says it.
    pub fn verdict(&self) -> Result<(), String> {
        self.wrong.clone().map_or(Ok(()), Err)
    }

    /// Somebody is to be removed: from now on there may be nobody else to hear.
    pub fn removing(&mut self, device: DeviceId) {
        self.leaving.insert(device);
    }

    /// `remover` was told that it removed `node`.
    pub fn removed(&mut self, node: NodeId, remover: Actor<'_>) {
        let Some(control) = self.control() else {
            return;
        };
        let acts = read_acts(control, remover.disk);
        let all = stored_acts(remover.disk).into_iter();
        let forged = all.filter(|(author, _)| self.rogues.contains(author));
        let forged = forged.map(|(_, id)| id).collect();
        self.removals.push(Removal { node, acts, forged });
    }

    /// What a node knows after a start.
    #[must_use]
    pub fn known(&self, actor: Actor<'_>) -> Known {
        let mut known = Known::default();
        let Some(control) = self.control() else {
            return known;
        };
        let acts = stored_acts(actor.disk).into_iter();
        known.acts = acts.map(|(_, id)| id).collect();
        known.read = read_acts(control, actor.disk);
        known
    }

    /// A frame leaves a node. True if it ends the answer to a pull.
    pub fn sent(&mut self, actor: Actor<'_>, bytes: &[u8]) -> bool {
        match Frame::decode(bytes) {
            Ok(Frame::Runs { runs, .. }) => {
                for run in runs {
                    match run.open() {
                        Ok(envelopes) => {
                            for envelope in envelopes {
                                self.emitted(actor, envelope.header());
                            }
                        }
                        Err(error) => {
                            self.fail(|| format!("node {} sent a false run: {error}", actor.node));
                        }
                    }
                }
            }
            Ok(Frame::Held(held)) => {
                for (stream, device, seq, id) in held.chains {
                    if seq > 0 && actor.disk.holds(stream, device, seq) != Some(id) {
                        let node = actor.node;
                        self.fail(|| format!("node {node} holds number {seq} only in its words"));
                    }
                }
            }
            Ok(Frame::Pulled { more, cursor, .. }) => {
                let durable = actor.disk.position();
                if cursor.is_some_and(|cursor| cursor.position > durable) {
                    let node = actor.node;
                    self.fail(|| format!("node {node} gave a cursor ahead of its disk"));
                }
                return more.is_none();
            }
            Ok(_) => {}
            Err(error) => self.fail(|| format!("node {} sent no frame: {error}", actor.node)),
        }
        false
    }

    /// Gossip leaves the node that wrote it.
    pub fn gossiped(&mut self, actor: Actor<'_>, bytes: &[u8]) {
        if let Ok(Gossip::Envelope(envelope)) = Gossip::decode(bytes) {
            self.emitted(actor, &envelope.header);
        }
    }

    fn emitted(&mut self, actor: Actor<'_>, header: &Header) {
        let Actor { node, device, disk } = actor;
        let place = (header.device, header.stream, header.seq);
        if self.rogues.contains(&header.device) {
            return;
        }
        let id = header.id();
        if device == header.device && disk.holds(header.stream, device, header.seq) != Some(id) {
            let seq = header.seq;
            self.fail(|| format!("node {node} let its envelope {seq} go before it was durable"));
        }
        let first = self.headers.entry(place).or_insert_with(|| header.clone());
        if first.id() != id {
            let seq = header.seq;
            self.fail(|| format!("node {node} sent another envelope {seq} of one chain"));
        }
    }

    /// A node hands a batch to its disk.
    pub fn stored(&mut self, actor: Actor<'_>, known: &mut Known, writes: &[Write]) {
        let Some(control) = self.control() else {
            return;
        };
        for write in writes {
            match write {
                Write::Envelope {
                    stream,
                    device,
                    bytes,
                    ..
                } => {
                    let Ok(envelope) = Envelope::decode(bytes) else {
                        self.fail(|| format!("node {} stored no envelope", actor.node));
                        continue;
                    };
                    if *stream == control {
                        known.acts.insert(envelope.header.id());
                    } else if *device == actor.device && !self.rogues.contains(device) {
                        self.placed(actor, known, &envelope.header);
                    }
                }
                Write::Index { stream, id, .. } if *stream == control => {
                    known.read.insert((id.device, id.seq));
                }
                _ => {}
            }
        }
        for write in writes {
            if let Write::Index { stream, id, .. } = write
                && *stream != control
                && !self.rogues.contains(&id.device)
            {
                let header = self.headers.get(&(id.device, *stream, id.seq));
                let heads = header.into_iter().flat_map(|h| &h.control_heads);
                if heads.into_iter().any(|head| !known.acts.contains(head)) {
                    let (node, seq) = (actor.node, id.seq);
                    self.fail(|| {
                        format!("node {node} read message {seq} without the acts that it cites")
                    });
                }
            }
        }
    }

    /// Own words got their place.
    fn placed(&mut self, actor: Actor<'_>, known: &Known, header: &Header) {
        let is_gone = |device: &&DeviceId| self.leaving.contains(*device);
        // Only who has read somebody else's acts knows that there is anybody to hear.
        let others = known.read.iter().map(|(author, _)| author);
        let mut others = others.filter(|author| **author != actor.device && !is_gone(author));
        if others.next().is_some() && known.heard.is_empty() {
            let (node, seq) = (actor.node, header.seq);
            self.fail(|| format!("node {node} sealed message {seq} before it heard a member"));
        }
        let knows = |removal: &&Removal| {
            removal.acts.is_subset(&known.read) && removal.forged.is_subset(&known.acts)
        };
        let locked_out = self.removals.iter().filter(knows);
        for removal in locked_out {
            let (node, seq) = (actor.node, header.seq);
            let used = self.secrets.entry((removal.node, header.key_id));
            used.or_insert_with(|| format!("message {seq} of node {node}"));
        }
    }

    /// Whether somebody who was removed holds a secret that was used after that.
    ///
    /// # Errors
    /// A sentence that names them.
    pub fn check_secrets(&self, disks: &[&Disk]) -> Result<(), String> {
        let Some(revolt) = self.revolt else {
            return Ok(());
        };
        let leaked = self.secrets.iter().find(|((node, key_id), _)| {
            let query = Query::Get {
                space: Space::Secret,
                key: [revolt.0, key_id.0].concat(),
            };
            matches!(disks[*node].query(&query), Answer::Value(Some(_)))
        });
        match leaked {
            Some(((node, _), words)) => Err(format!(
                "node {node} reads words from after its removal: {words}"
            )),
            None => Ok(()),
        }
    }

    /// How many pairs of a removed node and a later secret were compared.
    #[must_use]
    pub fn secrets_compared(&self) -> u64 {
        self.secrets.len() as u64
    }
}

/// All acts on a disk, with their authors.
fn stored_acts(disk: &Disk) -> Vec<(DeviceId, EnvelopeId)> {
    let boot = disk.boot();
    let of_branches = boot.branches.iter().flat_map(|(.., acts)| acts);
    let all = boot.control.iter().chain(of_branches);
    let all = all.filter_map(|bytes| Envelope::decode(bytes).ok());
    all.map(|act| (act.header.device, act.header.id()))
        .collect()
}

fn read_acts(control: StreamId, disk: &Disk) -> BTreeSet<(DeviceId, u64)> {
    match disk.query(&Query::Timeline { stream: control }) {
        Answer::Keys(keys) => keys.iter().map(|id| (id.device, id.seq)).collect(),
        _ => BTreeSet::new(),
    }
}
