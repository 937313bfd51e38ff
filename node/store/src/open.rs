//! Opening and creating the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{
    BackendError, Builder, Database, ReadableDatabase as _, ReadableTable as _, StorageBackend,
    TableHandle as _,
};

use crate::FORMAT;
use crate::error::Fault;
use crate::names::Names;
use crate::storage::Options;
use crate::tables::{ARRIVALS, DEVICES, META, STREAMS};
use crate::write::create_tables;

/// No store that holds anything is smaller than its header, and none that was just begun is larger.
const LARGEST_EMPTY: u64 = 1 << 20;
/// What redb writes at the start of a new file fits in here.
const HEADER: usize = 512;
/// Length of the magic bytes at its start.
const MAGIC: usize = 9;

/// An open database and what memory keeps of it.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) db: Database,
    pub(crate) id: [u8; 16],
    pub(crate) streams: Names,
    pub(crate) devices: Names,
    /// The next position of the arrival log.
    pub(crate) position: u64,
}

/// A backend that outlives its database, which redb must throw away after an error of the disk.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    backend: Arc<dyn StorageBackend>,
    sync_failed: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn new(backend: impl StorageBackend) -> Self {
        Self {
            backend: Arc::new(backend),
            sync_failed: Arc::default(),
        }
    }

    /// Whether a sync ever failed. What was written before it may be on the disk or not.
    pub(crate) fn sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Relaxed)
    }
}

/// Opens or creates the file, readable and writable for its owner alone.
pub(crate) fn file(path: &Path) -> Result<File, Fault> {
    let mut how = OpenOptions::new();
    how.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    let file = how.open(path)?;
    let metadata = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
    }
    if metadata.len() == 0 {
        sync_directory(path)?;
    }
    Ok(file)
}

/// A new file survives a power cut only once its directory is on the disk, too.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Opens what lies behind the backend, or makes a store with this id there if it is empty.
pub(crate) fn open(backend: &Shared, fresh_id: [u8; 16], options: &Options) -> Result<Open, Fault> {
    let db = match database(backend, options) {
        Err(Fault::NotAStore) if clear_unfinished(backend)? => database(backend, options)?,
        result => result?,
    };
    let transaction = db.begin_read()?;
    let names: Vec<_> = transaction
        .list_tables()?
        .map(|table| table.name().to_owned())
        .collect();
    drop(transaction);
    if names.is_empty() {
        create(&db, fresh_id)?;
    } else if !names.iter().any(|name| name == META.name()) {
        return Err(Fault::NotAStore);
    }
    load(db)
}

fn database(backend: &Shared, options: &Options) -> Result<Database, Fault> {
    Ok(Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_check_integrity_on_open(options.verify)
        .set_repair_callback(|session| {
            tracing::info!(
                done = session.progress(),
                "checking the store after a crash"
            );
        })
        .create_with_backend(backend.clone())?)
}

fn create(db: &Database, id: [u8; 16]) -> Result<(), Fault> {
    let transaction = db.begin_write()?;
    create_tables(&transaction)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT.to_be_bytes().as_slice())?;
        meta.insert("store", id.as_slice())?;
    }
    Ok(transaction.commit()?)
}

fn load(db: Database) -> Result<Open, Fault> {
    let transaction = db.begin_read()?;
    let meta = transaction.open_table(META)?;
    let format = meta.get("format")?.ok_or(Fault::NotAStore)?;
    let format = format.value().try_into().map_err(|_| Fault::NotAStore)?;
    match u32::from_be_bytes(format) {
        FORMAT => {}
        newer if newer > FORMAT => return Err(Fault::Newer(newer)),
        _ => return Err(Fault::NotAStore),
    }
    let id = meta
        .get("store")?
        .ok_or_else(|| Fault::damaged("its id is missing"))?;
    let id = id
        .value()
        .try_into()
        .map_err(|_| Fault::damaged("its id is cut"))?;
    let arrivals = transaction.open_table(ARRIVALS)?;
    let last = arrivals.last()?.map(|(at, _)| at.value());
    let open = Open {
        id,
        streams: Names::load(&transaction.open_table(STREAMS)?)?,
        devices: Names::load(&transaction.open_table(DEVICES)?)?,
        position: last.map_or(0, |last| last + 1),
        db,
    };
    Ok(open)
}

/// Empties what a creation left behind that lost its power before redb wrote the magic bytes: a header
/// without them, and zeros. Says whether it was that.
fn clear_unfinished(backend: &Shared) -> Result<bool, Fault> {
    let len = backend.len()?;
    if len > LARGEST_EMPTY {
        return Ok(false);
    }
    // Nobody else may be in the middle of creating it.
    let whole = (Bound::Unbounded, Bound::Unbounded);
    let locked = match backend.try_lock_range(whole.0, whole.1) {
        Ok(true) => true,
        Ok(false) => return Err(Fault::InUse),
        Err(BackendError::Unsupported) => false,
        Err(error) => return Err(redb::Error::from(error).into()),
    };
    let mut bytes = vec![0; usize::try_from(len).expect("at most LARGEST_EMPTY")];
    backend.read(0, &mut bytes)?;
    let magic = &bytes[..bytes.len().min(MAGIC)];
    let rest = bytes.get(HEADER..).unwrap_or_default();
    let unfinished = magic.iter().chain(rest).all(|byte| *byte == 0);
    if unfinished {
        backend.set_len(0)?;
    }
    if locked {
        backend
            .unlock_range(whole.0, whole.1)
            .map_err(redb::Error::from)?;
    }
    Ok(unfinished)
}

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let result = self.backend.sync_data();
        if result.is_err() {
            self.sync_failed.store(true, Ordering::Relaxed);
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    /// Releases the locks; the backend itself stays for the next database.
    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
