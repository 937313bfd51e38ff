//! A disk that makes batches durable a little later, and loses those under way when its node crashes.

use std::collections::{BTreeMap, VecDeque};

use revnet_core::storage::memory::MemoryStorage;
use revnet_core::storage::{Answer, Boot, Query, Storage as _, Write};
use revnet_protocol::{DeviceId, Envelope, EnvelopeId, StreamId};

use crate::batch::Work;

/// Something the node asked of its disk.
#[derive(Debug)]
enum Job {
    Commit {
        id: u64,
        work: Work,
        writes: Vec<Write>,
    },
    Load {
        id: u64,
        query: Query,
    },
}

/// What the disk answers.
#[derive(Debug)]
pub enum Done {
    /// A batch is durable.
    Stored(u64),
    /// The answer to a query.
    Loaded(u64, Answer),
}

/// A disk with a queue.
#[derive(Debug)]
pub struct Disk {
    durable: MemoryStorage,
    queue: VecDeque<Job>,
    /// Batches that became durable.
    pub commits: u64,
    /// Batches that crashes lost, by what they were about.
    pub lost: BTreeMap<Work, u64>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(id: [u8; 16]) -> Self {
        Self {
            durable: MemoryStorage::new(id),
            queue: VecDeque::new(),
            commits: 0,
            lost: BTreeMap::new(),
        }
    }

    /// Queues a batch.
    pub fn commit(&mut self, id: u64, work: Work, writes: Vec<Write>) {
        self.queue.push_back(Job::Commit { id, work, writes });
    }

    /// Queues a question.
    pub fn load(&mut self, id: u64, query: Query) {
        self.queue.push_back(Job::Load { id, query });
    }

    /// Whether anything waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Does everything that waits, in order: a group commit.
    ///
    /// # Panics
    /// Never: a store in memory doesn't fail.
    pub fn work(&mut self) -> Vec<Done> {
        let queue = std::mem::take(&mut self.queue);
        queue
            .into_iter()
            .map(|job| match job {
                Job::Commit { id, writes, .. } => {
                    self.durable.commit(&[writes]).expect("memory doesn't fail");
                    self.commits += 1;
                    Done::Stored(id)
                }
                Job::Load { id, query } => Done::Loaded(id, self.query(&query)),
            })
            .collect()
    }

    /// The node is gone; of the batches that wait, only the first `kept` reached the disk.
    ///
    /// # Panics
    /// Never: a store in memory doesn't fail.
    pub fn crash(&mut self, kept: usize) {
        let commits = self.queue.drain(..).filter_map(|job| match job {
            Job::Commit { work, writes, .. } => Some((work, writes)),
            Job::Load { .. } => None,
        });
        for (at, (work, writes)) in commits.enumerate() {
            if at < kept {
                self.durable.commit(&[writes]).expect("memory doesn't fail");
            } else {
                *self.lost.entry(work).or_default() += 1;
            }
        }
    }

    /// How many batches wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue
            .iter()
            .filter(|job| matches!(job, Job::Commit { .. }))
            .count()
    }

    /// What a core starts with.
    ///
    /// # Panics
    /// Never: a store in memory doesn't fail.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot::read(&self.durable).expect("memory doesn't fail")
    }

    /// Answers a question about what is durable.
    ///
    /// # Panics
    /// Never: a store in memory doesn't fail.
    #[must_use]
    pub fn query(&self, query: &Query) -> Answer {
        self.durable.query(query).expect("memory doesn't fail")
    }

    /// Which envelope is durable at a place of a chain.
    #[must_use]
    pub fn holds(&self, stream: StreamId, device: DeviceId, seq: u64) -> Option<EnvelopeId> {
        let query = Query::Ranges {
            ranges: vec![(stream, device, seq)],
            max_bytes: 1,
        };
        match self.query(&query) {
            Answer::Envelopes { envelopes, .. } => {
                let envelope = Envelope::decode(envelopes.first()?).ok()?;
                Some(envelope.header.id())
            }
            _ => None,
        }
    }

    /// How many envelopes of a chain are durable, and how many of them were read.
    #[must_use]
    pub fn progress(&self, stream: StreamId, device: DeviceId) -> (usize, usize) {
        let query = Query::Ranges {
            ranges: vec![(stream, device, 1)],
            max_bytes: usize::MAX,
        };
        let stored = match self.query(&query) {
            Answer::Envelopes { envelopes, .. } => envelopes.len(),
            _ => 0,
        };
        let read = match self.query(&Query::Timeline { stream }) {
            Answer::Keys(keys) => keys.iter().filter(|id| id.device == device).count(),
            _ => 0,
        };
        (stored, read)
    }

    /// How many envelopes have arrived durably.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.durable.boot().expect("memory doesn't fail").position
    }
}
