//! Writes: one transaction for all batches of a commit.

use redb::{Durability, ReadableTable, Table, WriteTransaction};
use revnet_core::storage::{RowKind, Space, Write};
use revnet_protocol::{DeviceId, MessageId, StreamId};

use crate::error::Fault;
use crate::open::Open;
use crate::tables::{
    self, ARRIVALS, CHAINS, ChainKey, DEVICES, ENVELOPES, Entry, INDEXED, IndexedKey, MESSAGES,
    META, MessageKey, OVERLAYS, OverlayKey, PlaceKey, RECORDS, STREAMS, within,
};

/// Makes all batches durable together. After an error the caller takes back what memory has of them.
pub(crate) fn commit(open: &mut Open, batches: &[Vec<Write>]) -> Result<(), Fault> {
    let mut transaction = open.db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut tables = Tables::open(&transaction, open)?;
    for write in batches.iter().flatten() {
        tables.apply(write)?;
    }
    drop(tables);
    Ok(transaction.commit()?)
}

/// Writes down which parts of the file are free. A crash after this and before the next commit leaves nothing
/// to be found out by reading the whole file. It syncs twice, so it isn't for every commit.
pub(crate) fn settle(open: &Open) -> Result<(), Fault> {
    let mut transaction = open.db.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction.commit()?)
}

/// All tables, created where they are missing, so that reading transactions find them.
pub(crate) fn create_tables(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(META)?;
    transaction.open_table(STREAMS)?;
    transaction.open_table(DEVICES)?;
    transaction.open_table(ENVELOPES)?;
    transaction.open_table(ARRIVALS)?;
    transaction.open_table(CHAINS)?;
    transaction.open_table(INDEXED)?;
    transaction.open_table(MESSAGES)?;
    transaction.open_table(OVERLAYS)?;
    transaction.open_table(RECORDS)?;
    Ok(())
}

struct Tables<'t> {
    stream_table: Table<'t, &'static [u8; 32], u32>,
    device_table: Table<'t, &'static [u8; 32], u32>,
    envelopes: Table<'t, &'static PlaceKey, &'static [u8]>,
    arrivals: Table<'t, u64, &'static PlaceKey>,
    chains: Table<'t, &'static ChainKey, &'static [u8]>,
    indexed: Table<'t, &'static IndexedKey, &'static [u8]>,
    messages: Table<'t, &'static MessageKey, ()>,
    overlays: Table<'t, &'static OverlayKey, ()>,
    records: Table<'t, &'static [u8], &'static [u8]>,
    streams: &'t mut crate::names::Names,
    devices: &'t mut crate::names::Names,
    position: &'t mut u64,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction, open: &'t mut Open) -> Result<Self, Fault> {
        Ok(Self {
            stream_table: transaction.open_table(STREAMS)?,
            device_table: transaction.open_table(DEVICES)?,
            envelopes: transaction.open_table(ENVELOPES)?,
            arrivals: transaction.open_table(ARRIVALS)?,
            chains: transaction.open_table(CHAINS)?,
            indexed: transaction.open_table(INDEXED)?,
            messages: transaction.open_table(MESSAGES)?,
            overlays: transaction.open_table(OVERLAYS)?,
            records: transaction.open_table(RECORDS)?,
            streams: &mut open.streams,
            devices: &mut open.devices,
            position: &mut open.position,
        })
    }

    fn stream(&mut self, id: StreamId) -> Result<u32, Fault> {
        self.streams.intern(&mut self.stream_table, &id.0)
    }

    fn device(&mut self, id: DeviceId) -> Result<u32, Fault> {
        self.devices.intern(&mut self.device_table, &id.0)
    }

    fn apply(&mut self, write: &Write) -> Result<(), Fault> {
        match write {
            Write::Envelope {
                stream,
                device,
                seq,
                bytes,
            } => self.envelope(*stream, *device, *seq, bytes),
            Write::Chain {
                stream,
                device,
                state,
            } => {
                let key = tables::chain(self.stream(*stream)?, self.device(*device)?);
                self.chains.insert(&key, state.as_slice())?;
                Ok(())
            }
            Write::Index {
                stream,
                id,
                kind,
                target,
            } => self.index(*stream, id, *kind, *target),
            Write::Unindex {
                stream,
                device,
                from,
            } => self.unindex(*stream, *device, *from),
            Write::Cut {
                stream,
                device,
                from,
            } => self.cut(*stream, *device, *from),
            Write::Put { space, key, value } => {
                let key = tables::record(*space, key);
                self.records.insert(key.as_slice(), value.as_slice())?;
                Ok(())
            }
            Write::Remove { space, key } => {
                self.records
                    .remove(tables::record(*space, key).as_slice())?;
                Ok(())
            }
            Write::Forget { stream } => self.forget(*stream),
        }
    }

    fn envelope(
        &mut self,
        stream: StreamId,
        device: DeviceId,
        seq: u64,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let key = tables::place(self.stream(stream)?, self.device(device)?, seq);
        let known = self.envelopes.insert(&key, bytes)?.is_some();
        if !known {
            self.arrivals.insert(*self.position, &key)?;
            *self.position += 1;
        }
        Ok(())
    }

    fn index(
        &mut self,
        stream: StreamId,
        id: &MessageId,
        kind: RowKind,
        target: Option<MessageId>,
    ) -> Result<(), Fault> {
        let stream = self.stream(stream)?;
        let device = self.device(id.device)?;
        let key = tables::indexed(stream, device, id.seq, id.hlc);
        let mut entry = Entry {
            kind,
            targets: target.into_iter().collect(),
        };
        let before = self
            .indexed
            .insert(&key, entry.encode().as_slice())?
            .map(|old| Entry::decode(old.value()))
            .transpose()?;
        if let Some(before) = before.filter(|before| *before != entry) {
            // Overlay rows stay until the event goes, so their targets must stay findable.
            let new: Vec<_> = before
                .targets
                .into_iter()
                .filter(|t| Some(*t) != target)
                .collect();
            entry.targets.extend(new);
            self.indexed.insert(&key, entry.encode().as_slice())?;
            if kind != RowKind::Message {
                self.messages.remove(&tables::message(stream, id))?;
            }
        }
        if kind == RowKind::Message {
            self.messages.insert(&tables::message(stream, id), ())?;
        }
        if let Some(target) = target {
            self.overlays
                .insert(&tables::overlay(stream, &target, id), ())?;
        }
        Ok(())
    }

    fn unindex(&mut self, stream: StreamId, device: DeviceId, from: u64) -> Result<(), Fault> {
        let numbers = (
            self.streams.number(&stream.0),
            self.devices.number(&device.0),
        );
        let (Some(stream), Some(number)) = numbers else {
            return Ok(());
        };
        let (first, _) = within::<26>(&tables::place(stream, number, from));
        let (_, last) = within::<26>(&tables::chain(stream, number));
        for row in self.indexed.range::<&IndexedKey>(&first..=&last)? {
            let (key, value) = row?;
            let (_, seq, hlc) = tables::split_indexed(key.value());
            let id = MessageId { hlc, device, seq };
            self.messages.remove(&tables::message(stream, &id))?;
            for target in Entry::decode(value.value())?.targets {
                self.overlays
                    .remove(&tables::overlay(stream, &target, &id))?;
            }
        }
        self.indexed
            .retain_in::<&IndexedKey, _>(&first..=&last, |_, _| false)?;
        Ok(())
    }

    fn cut(&mut self, stream: StreamId, device: DeviceId, from: u64) -> Result<(), Fault> {
        let numbers = (
            self.streams.number(&stream.0),
            self.devices.number(&device.0),
        );
        if let (Some(stream), Some(device)) = numbers {
            let first = tables::place(stream, device, from);
            let last = tables::place(stream, device, u64::MAX);
            self.envelopes
                .retain_in::<&PlaceKey, _>(&first..=&last, |_, _| false)?;
        }
        self.unindex(stream, device, from)
    }

    fn forget(&mut self, stream: StreamId) -> Result<(), Fault> {
        let (first, after) = tables::records_with(Space::Nonce, &stream.0);
        self.records
            .retain_in::<&[u8], _>(first.as_slice()..after.as_slice(), |_, _| false)?;
        let Some(stream) = self.streams.number(&stream.0) else {
            return Ok(());
        };
        let prefix = stream.to_be_bytes();
        let (first, last) = within::<16>(&prefix);
        self.envelopes
            .retain_in::<&PlaceKey, _>(&first..=&last, |_, _| false)?;
        let (first, last) = within::<8>(&prefix);
        self.chains
            .retain_in::<&ChainKey, _>(&first..=&last, |_, _| false)?;
        let (first, last) = within::<26>(&prefix);
        self.indexed
            .retain_in::<&IndexedKey, _>(&first..=&last, |_, _| false)?;
        let (first, last) = within::<52>(&prefix);
        self.messages
            .retain_in::<&MessageKey, _>(&first..=&last, |_, ()| false)?;
        let (first, last) = within::<100>(&prefix);
        self.overlays
            .retain_in::<&OverlayKey, _>(&first..=&last, |_, ()| false)?;
        Ok(())
    }
}
