//! A store in memory: the reference for the rules, and the disk of the simulation.

use std::collections::BTreeMap;

use revnet_protocol::{DeviceId, MessageId, StreamId};

use super::{
    Answer, Boot, Direction, PageRow, Query, RowKind, Space, Storage, StorageError, Write,
};

type Place = (StreamId, DeviceId, u64);

/// A store that forgets everything with its value, and clones for a crash.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    id: [u8; 16],
    envelopes: BTreeMap<Place, Vec<u8>>,
    arrivals: Vec<Place>,
    chains: BTreeMap<(StreamId, DeviceId), Vec<u8>>,
    timeline: BTreeMap<(StreamId, MessageId), (RowKind, Option<MessageId>)>,
    overlays: BTreeMap<(StreamId, MessageId, MessageId), ()>,
    records: BTreeMap<(Space, Vec<u8>), Vec<u8>>,
}

impl MemoryStorage {
    /// An empty store with an id of its own.
    #[must_use]
    pub fn new(id: [u8; 16]) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Envelope {
                stream,
                device,
                seq,
                bytes,
            } => {
                let place = (*stream, *device, *seq);
                if self.envelopes.insert(place, bytes.clone()).is_none() {
                    self.arrivals.push(place);
                }
            }
            Write::Chain {
                stream,
                device,
                state,
            } => {
                self.chains.insert((*stream, *device), state.clone());
            }
            Write::Index {
                stream,
                id,
                kind,
                target,
            } => {
                self.timeline.insert((*stream, *id), (*kind, *target));
                if let Some(target) = target {
                    self.overlays.insert((*stream, *target, *id), ());
                }
            }
            Write::Unindex {
                stream,
                device,
                from,
            } => self.unindex(stream, device, *from),
            Write::Cut {
                stream,
                device,
                from,
            } => {
                self.envelopes
                    .retain(|(s, d, seq), _| s != stream || d != device || seq < from);
                self.unindex(stream, device, *from);
            }
            Write::Put { space, key, value } => {
                self.records.insert((*space, key.clone()), value.clone());
            }
            Write::Remove { space, key } => {
                self.records.remove(&(*space, key.clone()));
            }
            Write::Forget { stream } => {
                self.envelopes.retain(|(s, ..), _| s != stream);
                self.chains.retain(|(s, _), _| s != stream);
                self.timeline.retain(|(s, _), _| s != stream);
                self.overlays.retain(|(s, ..), ()| s != stream);
                self.records.retain(|(space, key), _| {
                    *space != Space::Nonce || !key.starts_with(&stream.0)
                });
            }
        }
    }

    fn unindex(&mut self, stream: &StreamId, device: &DeviceId, from: u64) {
        let gone = |id: &MessageId| id.device == *device && id.seq >= from;
        self.timeline.retain(|(s, id), _| s != stream || !gone(id));
        self.overlays
            .retain(|(s, _, id), ()| s != stream || !gone(id));
    }

    fn envelope(&self, stream: StreamId, id: &MessageId) -> Option<Vec<u8>> {
        self.envelopes.get(&(stream, id.device, id.seq)).cloned()
    }

    fn row(&self, stream: StreamId, id: MessageId) -> Option<PageRow> {
        let overlays = self
            .overlays
            .range((stream, id, FIRST)..=(stream, id, LAST))
            .filter_map(|((_, _, own), ())| Some((*own, self.envelope(stream, own)?)))
            .collect();
        Some(PageRow {
            id,
            envelope: self.envelope(stream, &id)?,
            overlays,
        })
    }

    fn page(
        &self,
        stream: StreamId,
        from: Option<MessageId>,
        direction: Direction,
        limit: usize,
    ) -> Vec<PageRow> {
        let messages = self
            .timeline
            .range((stream, FIRST)..=(stream, LAST))
            .filter(|(_, (kind, _))| *kind == RowKind::Message)
            .map(|((_, id), _)| *id);
        let mut ids: Vec<_> = match direction {
            Direction::Before => messages
                .rev()
                .filter(|id| from.is_none_or(|from| *id < from))
                .take(limit)
                .collect(),
            Direction::After => messages
                .filter(|id| from.is_none_or(|from| *id > from))
                .take(limit)
                .collect(),
        };
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|id| self.row(stream, id))
            .collect()
    }

    fn ranges(&self, ranges: &[Place], max_bytes: usize) -> Answer {
        let (mut envelopes, mut bytes) = (Vec::new(), 0);
        for (stream, device, from) in ranges {
            let place = |seq| (*stream, *device, seq);
            let held = self.envelopes.range(place(*from)..=place(u64::MAX));
            let consecutive = (*from..)
                .zip(held)
                .take_while(|(next, ((.., seq), _))| next == seq);
            for (_, (_, envelope)) in consecutive {
                if bytes >= max_bytes {
                    return Answer::Envelopes {
                        envelopes,
                        complete: false,
                    };
                }
                bytes += envelope.len();
                envelopes.push(envelope.clone());
            }
        }
        Answer::Envelopes {
            envelopes,
            complete: true,
        }
    }
}

const FIRST: MessageId = MessageId {
    hlc: revnet_protocol::Hlc::ZERO,
    device: DeviceId([0; 32]),
    seq: 0,
};
const LAST: MessageId = MessageId {
    hlc: revnet_protocol::Hlc {
        ms: u64::MAX,
        counter: u32::MAX,
    },
    device: DeviceId([0xff; 32]),
    seq: u64::MAX,
};

impl Storage for MemoryStorage {
    fn boot(&self) -> Result<Boot, StorageError> {
        Ok(Boot {
            store: self.id,
            position: self.arrivals.len() as u64,
            records: self
                .records
                .iter()
                .filter(|((space, _), _)| Space::BOOT.contains(space))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            control: Vec::new(),
            branches: Vec::new(),
            chains: self
                .chains
                .iter()
                .map(|((s, d), state)| (*s, *d, state.clone()))
                .collect(),
        })
    }

    fn commit(&mut self, batches: &[Vec<Write>]) -> Result<(), StorageError> {
        batches.iter().flatten().for_each(|write| self.write(write));
        Ok(())
    }

    fn query(&self, query: &Query) -> Result<Answer, StorageError> {
        Ok(match query {
            Query::Get { space, key } => {
                Answer::Value(self.records.get(&(*space, key.clone())).cloned())
            }
            Query::GetMany { space, keys } => Answer::Values(
                keys.iter()
                    .map(|key| self.records.get(&(*space, key.clone())).cloned())
                    .collect(),
            ),
            Query::Ranges { ranges, max_bytes } => self.ranges(ranges, *max_bytes),
            Query::Envelopes { places } => Answer::Values(
                places
                    .iter()
                    .map(|place| self.envelopes.get(place).cloned())
                    .collect(),
            ),
            Query::Page {
                stream,
                from,
                direction,
                limit,
            } => Answer::Rows(self.page(*stream, *from, *direction, *limit)),
            Query::Message { stream, id } => {
                let known = self.timeline.contains_key(&(*stream, *id));
                Answer::Rows(
                    known
                        .then(|| self.row(*stream, *id))
                        .flatten()
                        .into_iter()
                        .collect(),
                )
            }
            Query::Timeline { stream } => Answer::Keys(
                self.timeline
                    .range((*stream, FIRST)..=(*stream, LAST))
                    .map(|((_, id), _)| *id)
                    .collect(),
            ),
            Query::Arrivals { from, limit } => Answer::Arrivals(
                (*from..)
                    .zip(
                        self.arrivals
                            .iter()
                            .skip(usize::try_from(*from).unwrap_or(usize::MAX)),
                    )
                    .take(*limit)
                    .map(|(at, (stream, device, seq))| (at, *stream, *device, *seq))
                    .collect(),
            ),
        })
    }
}
