//! Bare figures of the disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::samples::Samples;

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Overwrites 4 KiB of a file that is there already, and syncs.
pub(crate) fn fsync(count: usize) -> Result<Samples> {
    const BLOCK: usize = 4096;
    const BLOCKS: usize = 1024;
    let directory = tempfile::tempdir()?;
    let file = File::create(directory.path().join("blocks"))?;
    file.write_all_at(&vec![1; BLOCK * BLOCKS], 0)?;
    file.sync_all()?;
    let mut samples = Samples::default();
    for at in 0..count {
        let started = Instant::now();
        // Not one after the other: a database doesn't write that way.
        file.write_all_at(&[2; BLOCK], ((at * 37 % BLOCKS) * BLOCK) as u64)?;
        file.sync_data()?;
        samples.add(started.elapsed());
    }
    Ok(samples)
}

/// A bare redb file with one table.
#[derive(Debug)]
pub(crate) struct Rows {
    database: Database,
    rows: u64,
    _directory: TempDir,
}

impl Rows {
    /// An empty one.
    pub(crate) fn open() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let database = Database::create(directory.path().join("rows.redb"))?;
        Ok(Self {
            database,
            rows: 0,
            _directory: directory,
        })
    }

    /// Commits one row of a message's size in a transaction of its own.
    pub(crate) fn commit(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let transaction = self.database.begin_write()?;
        transaction
            .open_table(ROWS)?
            .insert(self.rows, [3; 650].as_slice())?;
        transaction.commit()?;
        self.rows += 1;
        Ok(started.elapsed())
    }
}

/// One row after another, each durable before the next.
pub(crate) fn redb_commit(count: usize) -> Result<Samples> {
    let mut rows = Rows::open()?;
    let mut samples = Samples::default();
    for _ in 0..count {
        samples.add(rows.commit()?);
    }
    Ok(samples)
}
