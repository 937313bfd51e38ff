//! The tables of the file and their keys. Streams and devices stand in keys as numbers of 4 bytes.
//! All numbers in keys are big-endian, so that keys sort like what they name.

use redb::TableDefinition;
use revnet_core::storage::{RowKind, Space};
use revnet_protocol::{Hlc, MessageId};

use crate::error::Fault;

/// Format, store id and number of commits.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Numbers of streams.
pub(crate) const STREAMS: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("streams");
/// Numbers of devices.
pub(crate) const DEVICES: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("devices");
/// Stream, device, seq → envelope.
pub(crate) const ENVELOPES: TableDefinition<'_, &PlaceKey, &[u8]> =
    TableDefinition::new("envelopes");
/// Position → stream, device, seq.
pub(crate) const ARRIVALS: TableDefinition<'_, u64, &PlaceKey> = TableDefinition::new("arrivals");
/// Stream, device → state of the chain.
pub(crate) const CHAINS: TableDefinition<'_, &ChainKey, &[u8]> = TableDefinition::new("chains");
/// Everything that is indexed: stream, device, seq, time → kind, targets. The ids of a device lie together.
pub(crate) const INDEXED: TableDefinition<'_, &IndexedKey, &[u8]> = TableDefinition::new("indexed");
/// Messages alone: stream, id. Pages are ranges of it, whatever lies between them.
pub(crate) const MESSAGES: TableDefinition<'_, &MessageKey, ()> = TableDefinition::new("messages");
/// Stream, target, own id.
pub(crate) const OVERLAYS: TableDefinition<'_, &OverlayKey, ()> = TableDefinition::new("overlays");
/// Space, key → value.
pub(crate) const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

pub(crate) type PlaceKey = [u8; 16];
pub(crate) type ChainKey = [u8; 8];
pub(crate) type IndexedKey = [u8; 26];
pub(crate) type MessageKey = [u8; 4 + MessageId::BYTES];
pub(crate) type OverlayKey = [u8; 4 + 2 * MessageId::BYTES];

/// A key of parts that fill it exactly.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let (mut key, mut at) = ([0; N], 0);
    for part in parts {
        key[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    debug_assert_eq!(at, N, "parts fill the key");
    key
}

pub(crate) fn place(stream: u32, device: u32, seq: u64) -> PlaceKey {
    joined(&[
        &stream.to_be_bytes(),
        &device.to_be_bytes(),
        &seq.to_be_bytes(),
    ])
}

/// Stream, device and seq of a place.
pub(crate) fn split_place(key: &PlaceKey) -> (u32, u32, u64) {
    (
        number(&key[..4]),
        number(&key[4..8]),
        u64::from_be_bytes(key[8..].try_into().expect("16 - 8 bytes")),
    )
}

pub(crate) fn chain(stream: u32, device: u32) -> ChainKey {
    joined(&[&stream.to_be_bytes(), &device.to_be_bytes()])
}

/// Stream and device of a chain.
pub(crate) fn split_chain(key: &ChainKey) -> (u32, u32) {
    (number(&key[..4]), number(&key[4..]))
}

pub(crate) fn indexed(stream: u32, device: u32, seq: u64, hlc: Hlc) -> IndexedKey {
    joined(&[&place(stream, device, seq), &hlc.to_bytes()])
}

/// Device, seq and time of an indexed key.
pub(crate) fn split_indexed(key: &IndexedKey) -> (u32, u64, Hlc) {
    let seq = u64::from_be_bytes(key[8..16].try_into().expect("8 bytes"));
    let hlc = Hlc::from_bytes(key[16..].try_into().expect("26 - 16 bytes"));
    (number(&key[4..8]), seq, hlc)
}

pub(crate) fn message(stream: u32, id: &MessageId) -> MessageKey {
    joined(&[&stream.to_be_bytes(), &id.to_bytes()])
}

/// The id of a message key.
pub(crate) fn split_message(key: &MessageKey) -> MessageId {
    MessageId::from_bytes(key[4..].try_into().expect("52 - 4 bytes"))
}

pub(crate) fn overlay(stream: u32, target: &MessageId, own: &MessageId) -> OverlayKey {
    joined(&[&stream.to_be_bytes(), &target.to_bytes(), &own.to_bytes()])
}

/// The own id of an overlay key.
pub(crate) fn split_overlay(key: &OverlayKey) -> MessageId {
    MessageId::from_bytes(key[52..].try_into().expect("100 - 52 bytes"))
}

pub(crate) fn record(space: Space, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(space as u8);
    out.extend_from_slice(key);
    out
}

/// The smallest key of a record that starts with `prefix`, and the smallest after all of them.
pub(crate) fn records_with(space: Space, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let first = record(space, prefix);
    let mut after = first.clone();
    while after.last() == Some(&0xff) {
        after.pop();
    }
    // The number of the space is never 0xff, so something is left.
    if let Some(last) = after.last_mut() {
        *last += 1;
    }
    (first, after)
}

/// The smallest key of `N` bytes that starts with `prefix`, and the largest.
pub(crate) fn within<const N: usize>(prefix: &[u8]) -> ([u8; N], [u8; N]) {
    let (mut first, mut last) = ([0; N], [0xff; N]);
    first[..prefix.len()].copy_from_slice(prefix);
    last[..prefix.len()].copy_from_slice(prefix);
    (first, last)
}

/// A value of [`INDEXED`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: RowKind,
    pub(crate) targets: Vec<MessageId>,
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind as u8];
        for target in &self.targets {
            out.extend_from_slice(&target.to_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let bad = || Fault::damaged("an entry of the index can't be read");
        let (kind, rest) = bytes.split_first().ok_or_else(bad)?;
        let (targets, []) = rest.as_chunks::<{ MessageId::BYTES }>() else {
            return Err(bad());
        };
        Ok(Self {
            kind: match kind {
                1 => RowKind::Message,
                2 => RowKind::Overlay,
                _ => return Err(bad()),
            },
            targets: targets.iter().map(MessageId::from_bytes).collect(),
        })
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}
