//! The store as the core knows it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;
use revnet_core::storage::{Answer, Boot, Query, Storage, StorageError, Write};

use crate::error::{Fault, OpenError, guarded};
use crate::open::{self, Open, Shared};
use crate::{read, write};

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages of the file, in bytes. A write transaction may fill half of it before it spills.
    pub cache_bytes: usize,
    /// Checks every page of the file first, which reads all of it. Otherwise only what a crash left.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            verify: false,
        }
    }
}

/// A store in one redb file. After an error of the disk it opens the file anew with the next call.
///
/// A full disk leaves it as it was, and commits work again once there is space. After any other failure of
/// a commit, and after a sync that failed, nobody can know whether the disk has the batches: then it still
/// answers queries, but refuses commits until a new [`RedbStorage`] has found out what the file holds.
///
/// A commit of no batches settles the file: it opens quickly even after a crash, until the next commit.
/// Without that, opening after a crash reads all of it (about 5 s for 1 GB).
#[derive(Debug)]
pub struct RedbStorage {
    backend: Shared,
    options: Options,
    id: [u8; 16],
    state: RefCell<Option<Open>>,
    /// Why commits are refused.
    uncertain: Option<StorageError>,
}

impl RedbStorage {
    /// Opens the store at `path`, or makes one with the random id `fresh_id` if nothing is there. The
    /// directory must exist.
    ///
    /// # Errors
    /// [`OpenError`], with a text for people.
    pub fn open(path: &Path, fresh_id: [u8; 16], options: &Options) -> Result<Self, OpenError> {
        let fault = |fault: Fault| fault.into_open(path.to_owned());
        let file = open::file(path).map_err(fault)?;
        let backend = FileBackend::new(file).map_err(|error| fault(error.into()))?;
        Self::with_backend(Shared::new(backend), fresh_id, options).map_err(fault)
    }

    /// The same on something else than a file. After an error the backend is used again although it was
    /// closed: closing releases locks and nothing else.
    ///
    /// # Errors
    /// [`OpenError`], with the path "(backend)".
    pub fn open_backend(
        backend: impl StorageBackend,
        fresh_id: [u8; 16],
        options: &Options,
    ) -> Result<Self, OpenError> {
        Self::with_backend(Shared::new(backend), fresh_id, options)
            .map_err(|fault| fault.into_open(PathBuf::from("(backend)")))
    }

    fn with_backend(backend: Shared, fresh_id: [u8; 16], options: &Options) -> Result<Self, Fault> {
        let open = guarded(|| open::open(&backend, fresh_id, options))?;
        Ok(Self {
            backend,
            options: options.clone(),
            id: open.id,
            state: RefCell::new(Some(open)),
            uncertain: None,
        })
    }

    /// Calls with the open database, and throws it away if the call fails: redb refuses everything after
    /// an error of the disk, and memory may know of rows that were never committed.
    fn with<T>(&self, call: impl FnOnce(&mut Open) -> Result<T, Fault>) -> Result<T, StorageError> {
        let mut state = self.state.borrow_mut();
        let mut open = match state.take() {
            Some(open) => open,
            None => guarded(|| open::open(&self.backend, self.id, &self.options))?,
        };
        let result = guarded(|| call(&mut open));
        if result.is_ok() {
            *state = Some(open);
        } else {
            let closed = guarded(|| {
                drop(open);
                Ok(())
            });
            if closed.is_err() {
                tracing::warn!("closing the database after an error failed, too");
            }
        }
        Ok(result?)
    }
}

impl Storage for RedbStorage {
    fn boot(&self) -> Result<Boot, StorageError> {
        self.with(|open| read::boot(open))
    }

    fn commit(&mut self, batches: &[Vec<Write>]) -> Result<(), StorageError> {
        if !batches.is_empty() && batches.iter().all(Vec::is_empty) {
            return Ok(());
        }
        if let Some(error) = &self.uncertain {
            return Err(error.clone());
        }
        let result = self.with(|open| match batches {
            [] => write::settle(open),
            batches => write::commit(open, batches),
        });
        if let Err(error) = &result
            && (*error != StorageError::Full || self.backend.sync_failed())
        {
            self.uncertain = Some(error.clone());
        }
        result
    }

    fn query(&self, query: &Query) -> Result<Answer, StorageError> {
        self.with(|open| read::query(open, query))
    }
}
