//! A storage on its own thread. Whatever commits are queued when the disk becomes free share one
//! transaction, so that many senders wait for one sync of the disk and not for one each.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use revnet_core::storage::{Answer, Query, Storage, StorageError, Write};

/// Requests that may wait.
pub const MAX_QUEUED: usize = 1024;
/// Bytes of commits that may wait. One commit may be larger if nothing else waits.
pub const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Bytes of one transaction, exceeded by at most one commit.
const GROUP_BYTES: usize = 8 << 20;
/// After so long without a request, the storage settles what was committed.
const IDLE: Duration = Duration::from_secs(3);

type Done<T> = Box<dyn FnOnce(Result<T, StorageError>) + Send>;

enum Request {
    Commit {
        writes: Vec<Write>,
        bytes: usize,
        done: Done<()>,
    },
    Query {
        query: Box<Query>,
        done: Done<Answer>,
    },
    Shutdown,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too much waits already. Try again later.
    #[error("the store is busy")]
    Busy,
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

/// A request that was not taken, with what it asked for. Its callback is dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused<T> {
    /// Why.
    pub reason: Refusal,
    /// What was asked for.
    pub request: T,
}

/// The way to a store on its own thread. Clones lead to the same store, which ends with
/// [`StoreHandle::shutdown`] or with the last of them, after everything that was queued.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    queue: SyncSender<Request>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queued_bytes: AtomicUsize,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Moves a storage to a thread of its own.
///
/// # Panics
/// If the system gives no thread.
pub fn spawn(storage: impl Storage + 'static) -> StoreHandle {
    let (queue, requests) = sync_channel(MAX_QUEUED);
    let shared = Arc::new(Shared {
        queued_bytes: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
        thread: Mutex::new(None),
    });
    let task = Task {
        storage,
        requests,
        shared: Arc::clone(&shared),
        unsettled: false,
    };
    let thread = std::thread::Builder::new()
        .name("store".into())
        .spawn(move || task.run())
        .expect("a node without threads can't run");
    *lock(&shared.thread) = Some(thread);
    StoreHandle { queue, shared }
}

impl StoreHandle {
    /// Makes the writes durable, all or none, then calls `done` on the store's thread, which must not
    /// block. The order of commits is the order of their calls.
    ///
    /// # Errors
    /// [`Refused`], with the writes.
    pub fn commit(
        &self,
        writes: Vec<Write>,
        done: impl FnOnce(Result<(), StorageError>) + Send + 'static,
    ) -> Result<(), Refused<Vec<Write>>> {
        let bytes = writes.iter().map(size).sum();
        let before = self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        let request = Request::Commit {
            writes,
            bytes,
            done: Box::new(done),
        };
        let sent = if before > 0 && before.saturating_add(bytes) > MAX_QUEUED_BYTES {
            Err((Refusal::Busy, request))
        } else {
            self.send(request)
        };
        sent.map_err(|(reason, request)| {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            let Request::Commit { writes, .. } = request else {
                unreachable!("a queue gives back what it was given");
            };
            Refused {
                reason,
                request: writes,
            }
        })
    }

    /// Answers a question by `done`, on the store's thread, which must not block. The answer knows all
    /// commits that were queued before it, and perhaps some that were queued after.
    ///
    /// # Errors
    /// [`Refused`], with the query.
    pub fn query(
        &self,
        query: Query,
        done: impl FnOnce(Result<Answer, StorageError>) + Send + 'static,
    ) -> Result<(), Refused<Query>> {
        let (query, done) = (Box::new(query), Box::new(done));
        self.send(Request::Query { query, done })
            .map_err(|(reason, request)| {
                let Request::Query { query, .. } = request else {
                    unreachable!("a queue gives back what it was given");
                };
                Refused {
                    reason,
                    request: *query,
                }
            })
    }

    /// Does everything that is queued, closes the storage, and returns when that is done. Blocks; must not
    /// be called from a callback.
    pub fn shutdown(&self) {
        self.shared.closed.store(true, Ordering::Release);
        // An error means that the thread has ended already.
        let _ = self.queue.send(Request::Shutdown);
        if let Some(thread) = lock(&self.shared.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }

    fn send(&self, request: Request) -> Result<(), (Refusal, Request)> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err((Refusal::Closed, request));
        }
        self.queue.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => (Refusal::Busy, request),
            TrySendError::Disconnected(request) => (Refusal::Closed, request),
        })
    }
}

struct Task<S> {
    storage: S,
    requests: Receiver<Request>,
    shared: Arc<Shared>,
    /// There were commits since the storage settled.
    unsettled: bool,
}

/// What was queued when the store became free, in the order in which it is done.
#[derive(Default)]
struct Group {
    /// Queries that were queued before the first commit.
    early: Vec<(Box<Query>, Done<Answer>)>,
    batches: Vec<Vec<Write>>,
    committed: Vec<Done<()>>,
    bytes: usize,
    /// Queries that must know commits of this group.
    late: Vec<(Box<Query>, Done<Answer>)>,
    last: bool,
}

impl Group {
    fn add(&mut self, request: Request) {
        match request {
            Request::Commit {
                writes,
                bytes,
                done,
            } => {
                self.batches.push(writes);
                self.committed.push(done);
                self.bytes += bytes;
            }
            Request::Query { query, done } if self.batches.is_empty() => {
                self.early.push((query, done));
            }
            Request::Query { query, done } => self.late.push((query, done)),
            Request::Shutdown => self.last = true,
        }
    }
}

impl<S: Storage> Task<S> {
    fn run(mut self) {
        while let Some(group) = self.gather() {
            let last = group.last;
            self.serve(group);
            if last {
                break;
            }
        }
        // Some may have got in between the notice of shutdown and the shutdown itself.
        let mut rest = Group::default();
        self.requests
            .try_iter()
            .for_each(|request| rest.add(request));
        self.serve(rest);
    }

    /// Waits for a request, then takes what else is there. None when every handle is gone.
    fn gather(&mut self) -> Option<Group> {
        let mut group = Group::default();
        group.add(self.wait()?);
        while group.bytes < GROUP_BYTES && !group.last {
            match self.requests.try_recv() {
                Ok(request) => group.add(request),
                Err(_) => break,
            }
        }
        Some(group)
    }

    fn wait(&mut self) -> Option<Request> {
        if self.unsettled {
            match self.requests.recv_timeout(IDLE) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.settle(),
            }
        }
        self.requests.recv().ok()
    }

    /// Only makes the next opening quick, so that nobody needs to know if it fails.
    fn settle(&mut self) {
        self.unsettled = false;
        if let Err(error) = self.storage.commit(&[]) {
            tracing::debug!(%error, "the store could not settle");
        }
    }

    fn serve(&mut self, group: Group) {
        self.answer(group.early);
        if !group.batches.is_empty() {
            let result = self.storage.commit(&group.batches);
            self.unsettled = true;
            drop(group.batches);
            self.shared
                .queued_bytes
                .fetch_sub(group.bytes, Ordering::AcqRel);
            for done in group.committed {
                done(result.clone());
            }
        }
        self.answer(group.late);
    }

    fn answer(&self, queries: Vec<(Box<Query>, Done<Answer>)>) {
        for (query, done) in queries {
            done(self.storage.query(&query));
        }
    }
}

/// About what a write holds in memory, in bytes.
fn size(write: &Write) -> usize {
    size_of::<Write>()
        + match write {
            Write::Envelope { bytes, .. } => bytes.len(),
            Write::Chain { state, .. } => state.len(),
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Remove { key, .. } => key.len(),
            Write::Index { .. }
            | Write::Unindex { .. }
            | Write::Cut { .. }
            | Write::Forget { .. } => 0,
        }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
