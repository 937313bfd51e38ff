//! What goes wrong with a file, and what to tell people about it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use revnet_core::storage::StorageError;

/// Why a store could not be opened. The texts say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Someone holds the file's lock.
    #[error("{} is open in another process: stop the other node first, or use another directory", .0.display())]
    InUse(PathBuf),
    /// The file isn't what was written to it.
    #[error("{} is damaged ({what}): restore it from a backup, or move it away to start as a new device", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Something else lies there, or the first bytes are destroyed.
    #[error("{} is not a RevNet store: choose another path, or restore it from a backup", .0.display())]
    NotAStore(PathBuf),
    /// A later version of this program wrote it.
    #[error("{} has format {found}, and this version reads up to {known}: update revnet", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this version reads.
        known: u32,
    },
    /// The file or its directory may not be read or written.
    #[error("no permission to read and write {}: run as its owner, or correct its mode", .0.display())]
    Permission(PathBuf),
    /// No space left, or a quota.
    #[error("the disk of {} is full: free some space and start again", .0.display())]
    Full(PathBuf),
    /// Anything else that the system says.
    #[error("can't open {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a call into redb can end with.
#[derive(Debug)]
pub(crate) enum Fault {
    InUse,
    NotAStore,
    Newer(u32),
    Damaged(String),
    Io(io::Error),
}

impl Fault {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(crate) fn into_open(self, path: PathBuf) -> OpenError {
        match self {
            Self::InUse => OpenError::InUse(path),
            Self::NotAStore => OpenError::NotAStore(path),
            Self::Newer(found) => OpenError::Newer {
                path,
                found,
                known: crate::FORMAT,
            },
            Self::Damaged(what) => OpenError::Damaged { path, what },
            Self::Io(source) if is_full(&source) => OpenError::Full(path),
            Self::Io(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                OpenError::Permission(path)
            }
            Self::Io(source) => OpenError::Io { path, source },
        }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Io(error) if is_full(&error) => Self::Full,
            Fault::Io(error) => Self::Io(error.to_string()),
            Fault::InUse => Self::Io("another process has opened the database".into()),
            Fault::NotAStore => Self::Damaged("it was replaced by something else".into()),
            Fault::Newer(_) => Self::Damaged("it was replaced by a newer one".into()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => match error.kind() {
                // How redb says that the magic bytes are missing.
                io::ErrorKind::InvalidData => Self::NotAStore,
                io::ErrorKind::UnexpectedEof => Self::damaged("it ends too early"),
                _ => Self::Io(error),
            },
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_) => Self::NotAStore,
            redb::Error::Corrupted(what) => Self::Damaged(what),
            redb::Error::TableDoesNotExist(name) => Self::Damaged(format!("no table {name}")),
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

macro_rules! through_redb_error {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for Fault {
            fn from(error: redb::$kind) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

through_redb_error!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    DatabaseError,
    SetDurabilityError
);

/// No space, a quota, or the largest file size: wherever in the chain of sources it is said.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return true;
    }
    let mut source = error
        .get_ref()
        .map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(inner) = source {
        if inner.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        source = inner.source();
    }
    false
}

/// Calls redb, which panics on some damaged files instead of returning an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Whoever gets the fault throws away the database that panicked.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Fault::Damaged(said(&*panic))))
}

fn said(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a part can't be read".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_saying_full_is_full() {
        for code in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
            let plain = io::Error::from_raw_os_error(code);
            assert_eq!(StorageError::from(Fault::from(plain)), StorageError::Full);
            let wrapped = io::Error::other(io::Error::other(io::Error::from_raw_os_error(code)));
            let fault = Fault::from(redb::Error::Io(wrapped));
            assert_eq!(StorageError::from(fault), StorageError::Full);
        }
        let other = Fault::from(io::Error::from_raw_os_error(libc::EIO));
        assert!(matches!(StorageError::from(other), StorageError::Io(_)));
    }

    #[test]
    fn a_panic_is_a_fault_with_its_text() {
        let fault = guarded::<()>(|| panic!("page {} is odd", 7));
        assert!(matches!(fault, Err(Fault::Damaged(what)) if what == "page 7 is odd"));
    }
}
