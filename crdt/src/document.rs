//! One segment of a stream as an Automerge document: the union of its devices' accepted chains.
//!
//! What a document holds depends on the set of changes alone, not on the order or the batches in which
//! they came. Its keys in order are the segment's timeline, and what [`Document::save`] writes opens in
//! stock Automerge.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change, ChangeHash, ROOT, ReadDoc, ScalarValueRef, ValueRef};
use revnet_protocol::{DeviceId, MessageId};

use crate::change::{ChangeError, Checked, DocTip, read_change};

/// Why a document couldn't take changes; it is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Not a change in its one form.
    #[error("not an acceptable change")]
    Change(#[from] ChangeError),
    /// The change doesn't continue its device's chain: one before it is missing, or the chain forks.
    #[error("{0} doesn't continue its device's chain")]
    Chain(MessageId),
    /// Automerge refused the batch, or panicked. No change in its one form is known to do that.
    #[error("the document library failed: {0}")]
    Library(String),
}

/// Why saved bytes are not a document of this kind. The envelopes are the truth: build it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Automerge can't read it.
    #[error("the document library failed: {0}")]
    Library(String),
    /// A document, but not one of devices' chains of single puts.
    #[error("not a document of chains")]
    Layout,
}

/// What is known of one device's chain in a segment, for [`Document::from_chains`].
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Its changes from the first on, in order.
    pub changes: Vec<Vec<u8>>,
    /// The lowest forked number (`seq` in the stream): from there on the chain is left out,
    /// whichever branch is at hand.
    pub forked: Option<u64>,
}

/// The union of the accepted chains of one segment.
#[derive(Clone, Debug, Default)]
pub struct Document {
    inner: Automerge,
    tips: BTreeMap<DeviceId, DocTip>,
}

impl Document {
    /// A document without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds the document of these chains; in what order they come doesn't matter.
    ///
    /// # Errors
    /// [`ApplyError`], for the whole document.
    pub fn from_chains(chains: impl IntoIterator<Item = Chain>) -> Result<Self, ApplyError> {
        let mut batch = Vec::new();
        for chain in chains {
            let end = chain.forked.unwrap_or(u64::MAX);
            for bytes in chain.changes {
                let (checked, change) = read_change(&bytes)?;
                if checked.id.seq >= end {
                    break;
                }
                batch.push((checked, change));
            }
        }
        let mut document = Self::new();
        document.apply_batch(batch)?;
        Ok(document)
    }

    /// Applies changes, all or none, and says how many were new. Their order doesn't matter; those that
    /// the document already holds are skipped.
    ///
    /// Costs time in proportion to the document for each call (0.2 ms at 1,000 changes), and little for
    /// each change: give as many as there are.
    ///
    /// # Errors
    /// [`ApplyError`]; the document is unchanged then.
    pub fn apply(
        &mut self,
        changes: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<usize, ApplyError> {
        let batch = changes
            .into_iter()
            .map(|bytes| read_change(&bytes))
            .collect::<Result<Vec<_>, _>>()?;
        self.apply_batch(batch)
    }

    /// Takes the changes of `device` from stream number `from` on out of the document, as if they had
    /// never come. For forks.
    ///
    /// # Errors
    /// [`ApplyError::Library`]; the document is unchanged then.
    pub fn cut(&mut self, device: &DeviceId, from: u64) -> Result<(), ApplyError> {
        let kept = guard(|| self.inner.get_changes(&[]))
            .map_err(ApplyError::Library)?
            .iter()
            .map(|change| read_change(change.raw_bytes()))
            .filter(|read| {
                !matches!(read, Ok((checked, _)) if checked.id.device == *device && checked.id.seq >= from)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut document = Self::new();
        document.apply_batch(kept)?;
        *self = document;
        Ok(())
    }

    /// Where each device stands.
    #[must_use]
    pub fn tips(&self) -> &BTreeMap<DeviceId, DocTip> {
        &self.tips
    }

    /// How many changes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tips.values().map(|tip| tip.seg_seq as usize).sum()
    }

    /// Whether it holds no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tips.is_empty()
    }

    /// The ids of its events, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<MessageId> {
        self.inner
            .keys(ROOT)
            .map(|key| key.parse().expect("only message ids are put"))
            .collect()
    }

    /// Its events in the order of their ids, encoded as they were put.
    #[must_use]
    pub fn entries(&self) -> Vec<(MessageId, Vec<u8>)> {
        self.inner
            .map_range(ROOT, ..)
            .map(|item| {
                let id = item.key.parse().expect("only message ids are put");
                let ValueRef::Scalar(ScalarValueRef::Bytes(bytes)) = item.value else {
                    unreachable!("only byte strings are put");
                };
                (id, bytes.into_owned())
            })
            .collect()
    }

    /// The last change of every device, sorted: documents with equal heads hold the same changes.
    #[must_use]
    pub fn heads(&self) -> Vec<[u8; 32]> {
        let mut heads: Vec<_> = self.tips.values().map(|tip| tip.change).collect();
        heads.sort_unstable();
        heads
    }

    /// The document in Automerge's format, compressed. Equal documents give equal bytes if each was made
    /// in one batch, as [`Document::from_chains`] and [`Document::cut`] do; otherwise the order of the
    /// batches shows in them.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    /// Reads what [`Document::save`] wrote. For the node's own files only: Automerge inflates without
    /// limit, so foreign bytes must come as changes.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let inner = guard(|| Automerge::load(bytes))
            .map_err(LoadError::Library)?
            .map_err(|error| LoadError::Library(error.to_string()))?;
        let tips = tips_of(&inner).ok_or(LoadError::Layout)?;
        let document = Self { inner, tips };
        let puts = document
            .inner
            .map_range(ROOT, ..)
            .try_fold(0, |count, item| {
                let event = matches!(item.value, ValueRef::Scalar(ScalarValueRef::Bytes(_)))
                    && item.key.parse::<MessageId>().is_ok();
                event.then_some(count + 1)
            });
        if puts == Some(document.len()) {
            Ok(document)
        } else {
            Err(LoadError::Layout)
        }
    }

    fn apply_batch(&mut self, mut batch: Vec<(Checked, Change)>) -> Result<usize, ApplyError> {
        batch.sort_by_key(|(checked, _)| (checked.id.device, checked.tip.seg_seq));
        let mut tips = self.tips.clone();
        let mut fresh = Vec::new();
        let mut fresh_hashes = BTreeSet::new();
        for (checked, change) in batch {
            let tip = tips.get(&checked.id.device);
            if checked.follows(tip) {
                fresh_hashes.insert(change.hash());
                fresh.push(change);
                tips.insert(checked.id.device, checked.tip);
            } else if !fresh_hashes.contains(&change.hash()) && !self.holds(&change.hash()) {
                return Err(ApplyError::Chain(checked.id));
            }
        }
        let count = fresh.len();
        if count > 0 {
            // A clone costs a tenth of what applying does, and a panic leaves the original whole.
            let mut inner = self.inner.clone();
            guard(|| inner.apply_changes(fresh))
                .map_err(ApplyError::Library)?
                .map_err(|error| ApplyError::Library(error.to_string()))?;
            *self = Self { inner, tips };
        }
        Ok(count)
    }

    fn holds(&self, hash: &ChangeHash) -> bool {
        self.inner.get_change_meta_by_hash(hash).is_some()
    }
}

/// The devices' last changes: just the heads, because no chain depends on another.
fn tips_of(inner: &Automerge) -> Option<BTreeMap<DeviceId, DocTip>> {
    let mut tips = BTreeMap::new();
    for head in inner.get_heads() {
        let meta = inner.get_change_meta_by_hash(&head)?;
        let device = DeviceId(meta.actor.to_bytes().try_into().ok()?);
        let tip = DocTip {
            seg_seq: u32::try_from(meta.seq).ok()?,
            change: head.0,
        };
        if tips.insert(device, tip).is_some() {
            return None;
        }
    }
    Some(tips)
}

/// Runs a call into Automerge; its panics come out as text.
fn guard<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default()
    })
}
