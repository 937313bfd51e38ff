//! Answers, each from one reading transaction.

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase as _};
use revnet_core::storage::{Answer, Boot, Direction, PageRow, Query, Space};
use revnet_protocol::hlc::MAX_MS;
use revnet_protocol::limits::MAX_SEQ;
use revnet_protocol::{DeviceId, Hlc, MessageId, StreamId};

use crate::error::Fault;
use crate::open::Open;
use crate::tables::{
    self, ARRIVALS, CHAINS, ENVELOPES, INDEXED, MESSAGES, MessageKey, OVERLAYS, OverlayKey,
    PlaceKey, RECORDS, within,
};

pub(crate) fn boot(open: &Open) -> Result<Boot, Fault> {
    let transaction = open.db.begin_read()?;
    let mut boot = Boot {
        store: open.id,
        position: open.position,
        ..Boot::default()
    };
    let records = transaction.open_table(RECORDS)?;
    for space in Space::BOOT {
        for row in records.range::<&[u8]>([space as u8].as_slice()..[space as u8 + 1].as_slice())? {
            let (key, value) = row?;
            boot.records
                .insert((space, key.value()[1..].to_vec()), value.value().to_vec());
        }
    }
    for row in transaction
        .open_table(CHAINS)?
        .range::<&tables::ChainKey>(..)?
    {
        let (key, state) = row?;
        let (stream, device) = tables::split_chain(key.value());
        let stream = StreamId(open.streams.id(stream)?);
        let device = DeviceId(open.devices.id(device)?);
        boot.chains.push((stream, device, state.value().to_vec()));
    }
    boot.chains.sort_unstable();
    Ok(boot)
}

pub(crate) fn query(open: &Open, query: &Query) -> Result<Answer, Fault> {
    let reader = Reader {
        open,
        transaction: open.db.begin_read()?,
    };
    match query {
        Query::Get { space, key } => {
            let mut values = reader.records(*space, std::slice::from_ref(key))?;
            Ok(Answer::Value(values.pop().flatten()))
        }
        Query::GetMany { space, keys } => Ok(Answer::Values(reader.records(*space, keys)?)),
        Query::Ranges { ranges, max_bytes } => reader.ranges(ranges, *max_bytes),
        Query::Envelopes { places } => reader.envelopes(places),
        Query::Page {
            stream,
            from,
            direction,
            limit,
        } => reader.page(*stream, *from, *direction, *limit),
        Query::Message { stream, id } => reader.message(*stream, id),
        Query::Timeline { stream } => reader.timeline(*stream),
        Query::Arrivals { from, limit } => reader.arrivals(*from, *limit),
    }
}

struct Reader<'o> {
    open: &'o Open,
    transaction: ReadTransaction,
}

impl Reader<'_> {
    fn records(&self, space: Space, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let table = self.transaction.open_table(RECORDS)?;
        keys.iter()
            .map(|key| {
                let value = table.get(tables::record(space, key).as_slice())?;
                Ok(value.map(|value| value.value().to_vec()))
            })
            .collect()
    }

    fn ranges(
        &self,
        ranges: &[(StreamId, DeviceId, u64)],
        max_bytes: usize,
    ) -> Result<Answer, Fault> {
        let table = self.transaction.open_table(ENVELOPES)?;
        let (mut envelopes, mut bytes) = (Vec::new(), 0);
        for (stream, device, from) in ranges {
            let Some((stream, device)) = self.numbers(*stream, *device) else {
                continue;
            };
            let mut next = Some(*from);
            let first = tables::place(stream, device, *from);
            let last = tables::place(stream, device, u64::MAX);
            for row in table.range::<&PlaceKey>(&first..=&last)? {
                let (key, envelope) = row?;
                let (.., seq) = tables::split_place(key.value());
                if next != Some(seq) {
                    break;
                }
                if bytes >= max_bytes && !envelopes.is_empty() {
                    return Ok(Answer::Envelopes {
                        envelopes,
                        complete: false,
                    });
                }
                next = seq.checked_add(1);
                bytes += envelope.value().len();
                envelopes.push(envelope.value().to_vec());
            }
        }
        Ok(Answer::Envelopes {
            envelopes,
            complete: true,
        })
    }

    fn envelopes(&self, places: &[(StreamId, DeviceId, u64)]) -> Result<Answer, Fault> {
        let table = self.transaction.open_table(ENVELOPES)?;
        let one = |(stream, device, seq): &(StreamId, DeviceId, u64)| {
            let Some((stream, device)) = self.numbers(*stream, *device) else {
                return Ok(None);
            };
            let envelope = table.get(&tables::place(stream, device, *seq))?;
            Ok(envelope.map(|envelope| envelope.value().to_vec()))
        };
        let envelopes = places.iter().map(one).collect::<Result<_, Fault>>()?;
        Ok(Answer::Values(envelopes))
    }

    fn page(
        &self,
        stream: StreamId,
        from: Option<MessageId>,
        direction: Direction,
        limit: usize,
    ) -> Result<Answer, Fault> {
        let Some(stream) = self.open.streams.number(&stream.0) else {
            return Ok(Answer::Rows(Vec::new()));
        };
        let table = self.transaction.open_table(MESSAGES)?;
        let (mut first, mut last) = within::<52>(&stream.to_be_bytes());
        let bound = from.map(|from| tables::message(stream, &encodable(from)));
        match (direction, bound) {
            (Direction::Before, Some(bound)) => last = bound,
            (Direction::After, Some(bound)) => first = bound,
            (_, None) => {}
        }
        let range = table.range::<&MessageKey>(&first..=&last)?;
        // A range is left out at its bound, which is one row at most.
        let mut ids = match direction {
            Direction::Before => keys(range.rev(), bound, limit),
            Direction::After => keys(range, bound, limit),
        }?;
        ids.sort_unstable();
        let rows = Rows::new(self, stream)?;
        let found = ids.into_iter().map(|id| rows.row(id));
        let found: Result<Vec<_>, _> = found.collect();
        Ok(Answer::Rows(found?.into_iter().flatten().collect()))
    }

    fn message(&self, stream: StreamId, id: &MessageId) -> Result<Answer, Fault> {
        let mut row = None;
        if let Some((number, device)) = self.numbers(stream, id.device) {
            let table = self.transaction.open_table(INDEXED)?;
            let key = tables::indexed(number, device, id.seq, id.hlc);
            if table.get(&key)?.is_some() {
                row = Rows::new(self, number)?.row(*id)?;
            }
        }
        Ok(Answer::Rows(row.into_iter().collect()))
    }

    fn timeline(&self, stream: StreamId) -> Result<Answer, Fault> {
        let mut ids = Vec::new();
        if let Some(stream) = self.open.streams.number(&stream.0) {
            let (first, last) = within::<26>(&stream.to_be_bytes());
            let table = self.transaction.open_table(INDEXED)?;
            for row in table.range::<&tables::IndexedKey>(&first..=&last)? {
                let (device, seq, hlc) = tables::split_indexed(row?.0.value());
                let device = DeviceId(self.open.devices.id(device)?);
                ids.push(MessageId { hlc, device, seq });
            }
        }
        ids.sort_unstable();
        Ok(Answer::Keys(ids))
    }

    fn arrivals(&self, from: u64, limit: usize) -> Result<Answer, Fault> {
        let table = self.transaction.open_table(ARRIVALS)?;
        let rows = table.range(from..)?.take(limit).map(|row| {
            let (at, place) = row?;
            let (stream, device, seq) = tables::split_place(place.value());
            let stream = StreamId(self.open.streams.id(stream)?);
            let device = DeviceId(self.open.devices.id(device)?);
            Ok((at.value(), stream, device, seq))
        });
        Ok(Answer::Arrivals(rows.collect::<Result<_, Fault>>()?))
    }

    fn numbers(&self, stream: StreamId, device: DeviceId) -> Option<(u32, u32)> {
        let stream = self.open.streams.number(&stream.0)?;
        Some((stream, self.open.devices.number(&device.0)?))
    }
}

/// The ids of the first `limit` rows that are not at the bound.
fn keys<'r>(
    rows: impl Iterator<
        Item = redb::Result<(
            redb::AccessGuard<'r, &'static MessageKey>,
            redb::AccessGuard<'r, ()>,
        )>,
    >,
    bound: Option<MessageKey>,
    limit: usize,
) -> Result<Vec<MessageId>, Fault> {
    let mut ids = Vec::new();
    for row in rows {
        if ids.len() == limit {
            break;
        }
        let (key, _) = row?;
        if bound.as_ref() != Some(key.value()) {
            ids.push(tables::split_message(key.value()));
        }
    }
    Ok(ids)
}

/// The id, or the largest if its parts are beyond what an id's bytes can say.
fn encodable(id: MessageId) -> MessageId {
    if id.hlc.ms > MAX_MS {
        return MessageId {
            hlc: Hlc {
                ms: MAX_MS,
                counter: u32::MAX,
            },
            device: DeviceId([0xff; 32]),
            seq: MAX_SEQ,
        };
    }
    id
}

/// Reads whole rows of one stream.
struct Rows<'o> {
    open: &'o Open,
    stream: u32,
    envelopes: ReadOnlyTable<&'static PlaceKey, &'static [u8]>,
    overlays: ReadOnlyTable<&'static OverlayKey, ()>,
}

impl<'o> Rows<'o> {
    fn new(reader: &Reader<'o>, stream: u32) -> Result<Self, Fault> {
        Ok(Self {
            open: reader.open,
            stream,
            envelopes: reader.transaction.open_table(ENVELOPES)?,
            overlays: reader.transaction.open_table(OVERLAYS)?,
        })
    }

    /// The message with its overlays, if its envelope is there.
    fn row(&self, id: MessageId) -> Result<Option<PageRow>, Fault> {
        let Some(envelope) = self.envelope(&id)? else {
            return Ok(None);
        };
        let mut overlays = Vec::new();
        let (first, last) = within::<100>(&tables::message(self.stream, &id));
        for row in self.overlays.range::<&OverlayKey>(&first..=&last)? {
            let own = tables::split_overlay(row?.0.value());
            if let Some(envelope) = self.envelope(&own)? {
                overlays.push((own, envelope));
            }
        }
        Ok(Some(PageRow {
            id,
            envelope,
            overlays,
        }))
    }

    fn envelope(&self, id: &MessageId) -> Result<Option<Vec<u8>>, Fault> {
        let Some(device) = self.open.devices.number(&id.device.0) else {
            return Ok(None);
        };
        let envelope = self
            .envelopes
            .get(&tables::place(self.stream, device, id.seq))?;
        Ok(envelope.map(|envelope| envelope.value().to_vec()))
    }
}
