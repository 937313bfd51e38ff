//! Bare figures of the disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use anyhow::Result;
use redb::{Database, TableDefinition};

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

/// Commits one row of a message's size in a transaction of its own.
pub(crate) fn redb_commit(count: usize) -> Result<Samples> {
    let directory = tempfile::tempdir()?;
    let database = Database::create(directory.path().join("rows.redb"))?;
    let mut samples = Samples::default();
    for at in 0..count {
        let started = Instant::now();
        let transaction = database.begin_write()?;
        transaction
            .open_table(ROWS)?
            .insert(at as u64, [3; 650].as_slice())?;
        transaction.commit()?;
        samples.add(started.elapsed());
    }
    Ok(samples)
}
