//! The store on its own thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use revnet_core::storage::memory::MemoryStorage;
use revnet_core::storage::{Answer, Boot, Query, Space, Storage, StorageError, Write};
use revnet_store::{MAX_QUEUED, MAX_QUEUED_BYTES, Options, RedbStorage, Refusal, spawn};

/// Counts transactions and holds each until it is let go.
struct Gated<S> {
    storage: S,
    transactions: Arc<AtomicUsize>,
    entered: Sender<()>,
    gate: Receiver<()>,
}

impl<S: Storage> Storage for Gated<S> {
    fn boot(&self) -> Result<Boot, StorageError> {
        self.storage.boot()
    }

    fn commit(&mut self, batches: &[Vec<Write>]) -> Result<(), StorageError> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.entered.send(()).expect("the test waits for it");
        // Once the test drops its end, nothing is held any more.
        let _ = self.gate.recv();
        self.storage.commit(batches)
    }

    fn query(&self, query: &Query) -> Result<Answer, StorageError> {
        self.storage.query(query)
    }
}

struct Control {
    transactions: Arc<AtomicUsize>,
    entered: Receiver<()>,
    gate: Sender<()>,
}

fn gated<S: Storage>(storage: S) -> (Gated<S>, Control) {
    let (enter, entered) = channel();
    let (gate, held) = channel();
    let transactions = Arc::new(AtomicUsize::new(0));
    let control = Control {
        transactions: Arc::clone(&transactions),
        entered,
        gate,
    };
    let storage = Gated {
        storage,
        transactions,
        entered: enter,
        gate: held,
    };
    (storage, control)
}

fn put(key: usize) -> Write {
    put_bytes(key, 1)
}

fn put_bytes(key: usize, len: usize) -> Write {
    Write::Put {
        space: Space::Local,
        key: key.to_be_bytes().to_vec(),
        value: vec![1; len],
    }
}

fn get(key: usize) -> Query {
    Query::Get {
        space: Space::Local,
        key: key.to_be_bytes().to_vec(),
    }
}

#[test]
fn commits_that_wait_share_a_transaction() {
    let disk = crate::disk::Disk::default();
    let store = RedbStorage::open_backend(disk.clone(), [1; 16], &Options::default());
    let (storage, control) = gated(store.expect("an empty disk"));
    let handle = spawn(storage);
    let (done, results) = channel();
    for key in 0..500 {
        let done = done.clone();
        let commit = handle.commit(vec![put(key)], move |result| {
            done.send((key, result)).expect("the test waits for it");
        });
        commit.expect("room for 500");
    }
    drop(control.gate);
    handle.shutdown();
    let results: Vec<_> = results.try_iter().collect();
    let expected: Vec<_> = (0..500).map(|key| (key, Ok(()))).collect();
    assert_eq!(results, expected);
    let transactions = control.transactions.load(Ordering::Relaxed);
    assert!(
        transactions <= 2,
        "{transactions} transactions for 500 commits"
    );
    let again = RedbStorage::open_backend(disk, [1; 16], &Options::default()).expect("a store");
    assert_eq!(again.boot().expect("a good disk").records.len(), 500);
}

#[test]
fn a_query_knows_the_commits_before_it() {
    let (storage, control) = gated(MemoryStorage::default());
    let handle = spawn(storage);
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let log = Arc::clone(&log);
        move |value: Option<Answer>| log.lock().expect("no panic").push((name, value))
    };
    let ask = |name: &'static str, key| {
        let note = note(name);
        handle
            .query(get(key), move |answer| note(answer.ok()))
            .expect("room");
    };
    let write = |name: &'static str, key| {
        let note = note(name);
        handle
            .commit(vec![put(key)], move |result| {
                note(result.ok().map(|()| Answer::Value(None)));
            })
            .expect("room");
    };
    write("first", 1);
    control.entered.recv().expect("the first commit");
    ask("early", 1);
    write("second", 2);
    ask("late", 2);
    drop(control.gate);
    handle.shutdown();
    let there = Some(Answer::Value(Some(vec![1])));
    let done = Some(Answer::Value(None));
    let expected = [
        ("first", done.clone()),
        ("early", there.clone()),
        ("second", done),
        ("late", there),
    ];
    assert_eq!(*log.lock().expect("no panic"), expected);
}

#[test]
fn a_full_queue_gives_the_request_back() {
    let (storage, control) = gated(MemoryStorage::default());
    let handle = spawn(storage);
    handle.commit(vec![put(0)], |_| ()).expect("room");
    control.entered.recv().expect("the first commit");
    for key in 0..MAX_QUEUED {
        handle.commit(vec![put(key)], |_| ()).expect("room");
    }
    let refused = handle.commit(vec![put(9)], |_| ()).expect_err("no room");
    assert_eq!(
        (refused.reason, refused.request),
        (Refusal::Busy, vec![put(9)])
    );
    let refused = handle.query(get(9), |_| ()).expect_err("no room");
    assert_eq!((refused.reason, refused.request), (Refusal::Busy, get(9)));
    drop(control.gate);
    handle.shutdown();
    let refused = handle
        .commit(vec![put(9)], |_| ())
        .expect_err("it is closed");
    assert_eq!(refused.reason, Refusal::Closed);
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let (storage, control) = gated(MemoryStorage::default());
    let handle = spawn(storage);
    handle
        .commit(vec![put_bytes(0, MAX_QUEUED_BYTES * 2)], |_| ())
        .expect("nothing waits");
    control.entered.recv().expect("the first commit");
    let refused = handle.commit(vec![put(1)], |_| ()).expect_err("no room");
    assert_eq!(refused.reason, Refusal::Busy);
    control.gate.send(()).expect("the store waits");
    let (done, finished) = channel();
    // The answer to a query behind it tells that the large commit is over.
    handle
        .query(get(0), move |_| done.send(()).expect("the test waits"))
        .expect("room");
    finished.recv().expect("an answer");
    handle.commit(vec![put(1)], |_| ()).expect("room again");
    drop(control.gate);
    handle.shutdown();
}

#[test]
fn an_idle_store_settles_once() {
    let (storage, control) = gated(MemoryStorage::default());
    drop(control.gate);
    let handle = spawn(storage);
    handle.commit(vec![put(0)], |_| ()).expect("room");
    for _ in ["the commit", "the settling"] {
        let entered = control.entered.recv_timeout(Duration::from_secs(30));
        entered.expect("the store works");
    }
    let again = control.entered.recv_timeout(Duration::from_secs(4));
    assert_eq!(again, Err(RecvTimeoutError::Timeout));
    handle.shutdown();
}
