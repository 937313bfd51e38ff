//! The node's store on disk: one redb file that keeps envelopes, chains, the timeline index and small
//! records, by the rules of [`revnet_core::storage`]. [`RedbStorage`] is the file; [`spawn`] puts it (or
//! any other storage) on a thread of its own that makes many commits durable with one.
//!
//! It never looks into an envelope or a record, never decides what is kept, and never talks to anyone.
//!
//! ```
//! use revnet_core::storage::{Answer, Query, Space, Storage as _, Write};
//! use revnet_store::{Options, RedbStorage};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("node.redb");
//! let mut store = RedbStorage::open(&path, [7; 16], &Options::default())?;
//! let put = Write::Put { space: Space::Local, key: b"name".to_vec(), value: b"Ada".to_vec() };
//! store.commit(&[vec![put]])?;
//!
//! let get = Query::Get { space: Space::Local, key: b"name".to_vec() };
//! assert_eq!(store.query(&get)?, Answer::Value(Some(b"Ada".to_vec())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod names;
mod open;
mod read;
mod storage;
mod tables;
mod task;
mod write;

pub use error::OpenError;
pub use storage::{Options, RedbStorage};
pub use task::{MAX_QUEUED, MAX_QUEUED_BYTES, Refusal, Refused, StoreHandle, spawn};

/// Of the layout of the tables. Stores with a larger number belong to a newer program.
pub const FORMAT: u32 = 1;
