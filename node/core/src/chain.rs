//! Chains and streams: what is known of each author's envelopes.

use std::collections::BTreeMap;

use revnet_crdt::change::DocTip;
use revnet_protocol::frame::{Fingerprint, Vector};
use revnet_protocol::{ChannelId, DeviceId, EnvelopeId, Hlc, KeyId, RevoltId, StreamId};
use serde::{Deserialize, Serialize};

/// Why a chain is read no further for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Waiting {
    /// The secret of this epoch is missing.
    Key(KeyId),
    /// It cites control acts that aren't known.
    Heads,
}

/// One author's chain in one stream. Two numbers matter: up to `tip` the envelopes are authentic and
/// stored; up to `opened` they are also decrypted, checked and indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) tip: u64,
    pub(crate) tip_id: EnvelopeId,
    pub(crate) opened: u64,
    /// Segment of the last opened event, and the author's place in that document.
    pub(crate) seg: u32,
    pub(crate) doc: Option<DocTip>,
    /// Time of the last opened event.
    pub(crate) hlc: Hlc,
    pub(crate) key_id: KeyId,
    pub(crate) waiting: Option<Waiting>,
    /// From this number on nothing counts: the author wrote something that no honest program writes.
    pub(crate) broken: Option<u64>,
    /// From this number on nothing counts: the author signed two histories.
    pub(crate) forked: Option<u64>,
    /// Up to where the disk has it; only that is acknowledged.
    #[serde(skip)]
    pub(crate) durable: (u64, EnvelopeId),
}

impl Chain {
    /// A chain that was read from the disk.
    pub(crate) fn restored(self) -> Self {
        // Reading on may have been under way, which the state on the disk calls waiting for nothing.
        let unread = (self.opened < self.tip).then_some(Waiting::Heads);
        Self {
            durable: (self.tip, self.tip_id),
            waiting: self.waiting.or(unread),
            ..self
        }
    }

    /// Whether the event with this number may be indexed.
    pub(crate) fn counts(&self, seq: u64) -> bool {
        self.broken.is_none_or(|from| seq < from) && self.forked.is_none_or(|from| seq < from)
    }
}

/// A stream: the control stream of a revolt, or one of its channels.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) revolt: RevoltId,
    pub(crate) channel: Option<ChannelId>,
    pub(crate) chains: BTreeMap<DeviceId, Chain>,
    fingerprint: Option<Fingerprint>,
}

impl Stream {
    pub(crate) fn new(revolt: RevoltId, channel: Option<ChannelId>) -> Self {
        Self {
            revolt,
            channel,
            chains: BTreeMap::new(),
            fingerprint: None,
        }
    }

    /// The chain of a device, to change it.
    pub(crate) fn chain_mut(&mut self, device: DeviceId) -> &mut Chain {
        self.fingerprint = None;
        self.chains.entry(device).or_default()
    }

    /// Events known here: what honest authors choose their segment by.
    pub(crate) fn events(&self) -> u64 {
        self.chains.values().map(|chain| chain.opened).sum()
    }

    /// Summary of all tips. Tips name their whole history, so equal summaries mean equal chains.
    pub(crate) fn fingerprint(&mut self) -> Fingerprint {
        *self.fingerprint.get_or_insert_with(|| {
            let mut bytes = Vec::with_capacity(self.chains.len() * 72);
            for (device, chain) in self.chains.iter().filter(|(_, chain)| chain.tip > 0) {
                bytes.extend_from_slice(&device.0);
                bytes.extend_from_slice(&chain.tip.to_le_bytes());
                bytes.extend_from_slice(&chain.tip_id.0);
            }
            Fingerprint::of(&[&bytes])
        })
    }

    /// What this node has of the stream.
    pub(crate) fn vector(&self, stream: StreamId) -> Vector {
        let tips = self
            .chains
            .iter()
            .map(|(device, chain)| (*device, chain.tip))
            .collect();
        Vector { stream, tips }
    }

    /// Where a node with `vector` lacks envelopes that are here: author and first missing number.
    pub(crate) fn ahead_of(&self, vector: &[(DeviceId, u64)]) -> Vec<(DeviceId, u64)> {
        let theirs: BTreeMap<_, _> = vector.iter().copied().collect();
        self.chains
            .iter()
            .filter_map(|(device, chain)| {
                let have = theirs.get(device).copied().unwrap_or(0);
                (chain.tip > have).then_some((*device, have + 1))
            })
            .collect()
    }
}
