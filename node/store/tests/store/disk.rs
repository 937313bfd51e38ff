//! A disk in memory that loses its power, or its space, at a chosen operation.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// What is lost or kept on its own when the power goes.
const SECTOR: usize = 512;
/// What a file system gives out at a time.
const BLOCK: u64 = 4096;

#[derive(Clone, Debug)]
enum Pending {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

/// What happens to the operation with a chosen number and to all that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine is off.
    PowerCut,
    /// Nothing can be written.
    Full,
    /// Blocks that were written before can be written again; new ones can't.
    FullForNewBlocks,
    /// Nothing can be synced.
    Sync,
}

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    blocks: BTreeSet<u64>,
    operations: usize,
    fault: Option<(usize, Fault)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn with_image(image: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state().live.clone_from(&image);
        disk.state().durable = image;
        disk
    }

    /// From the operation with this number on, counted from the start.
    pub(crate) fn fail_at(&self, operation: usize, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    pub(crate) fn mend(&self) {
        self.state().fault = None;
    }

    /// Writes, changes of the length, and syncs so far.
    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Whether the fault has struck.
    pub(crate) fn failed(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|(at, _)| state.operations > at)
    }

    /// What is on the disk without a power cut.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.state().live.clone()
    }

    /// What is on the disk after a power cut: all that was synced, and of the rest the sectors that `keep`
    /// says yes to.
    pub(crate) fn image_after_cut(&self, mut keep: impl FnMut() -> bool) -> Vec<u8> {
        let state = self.state();
        let mut image = state.durable.clone();
        for pending in &state.pending {
            match pending {
                Pending::SetLen(len) if keep() => image.resize(at(*len), 0),
                Pending::SetLen(_) => {}
                Pending::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if keep() {
                            put(&mut image, at(*offset) + index * SECTOR, sector);
                        }
                    }
                }
            }
        }
        image
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic inside a disk")
    }
}

impl State {
    /// Counts an operation and says whether the fault strikes it.
    fn step(&mut self) -> Option<Fault> {
        let now = self.operations;
        self.operations += 1;
        self.fault
            .filter(|(at, _)| now >= *at)
            .map(|(_, fault)| fault)
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("disks of tests are small")
}

/// A write beyond the end of an image happens where its change of length was lost.
fn put(image: &mut Vec<u8>, start: usize, data: &[u8]) {
    if image.len() < start + data.len() {
        image.resize(start + data.len(), 0);
    }
    image[start..start + data.len()].copy_from_slice(data);
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let range = at(offset)..at(offset) + out.len();
        let bytes = state.live.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        match state.step() {
            Some(Fault::PowerCut) => return Err(off()),
            Some(Fault::Full) if at(len) > state.live.len() => return Err(no_space()),
            _ => {}
        }
        state.live.resize(at(len), 0);
        state.blocks.retain(|block| block * BLOCK < len);
        state.pending.push(Pending::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.step() {
            Some(Fault::PowerCut) => return Err(off()),
            Some(Fault::Sync) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            _ => {}
        }
        for pending in std::mem::take(&mut state.pending) {
            match pending {
                Pending::SetLen(len) => state.durable.resize(at(len), 0),
                Pending::Write(offset, data) => put(&mut state.durable, at(offset), &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let blocks = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
        match state.step() {
            Some(Fault::PowerCut) => return Err(off()),
            Some(Fault::Full) => return Err(no_space()),
            Some(Fault::FullForNewBlocks)
                if blocks.clone().any(|block| !state.blocks.contains(&block)) =>
            {
                return Err(no_space());
            }
            _ => {}
        }
        state.blocks.extend(blocks);
        put(&mut state.live, at(offset), data);
        state.pending.push(Pending::Write(offset, data.to_vec()));
        Ok(())
    }
}
