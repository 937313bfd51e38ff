//! One Automerge change: made and checked without a document.
//!
//! A change puts one value under one key of ROOT and depends on its author's previous change in the document, if there
//! is one. So everything about it follows from key, value and that one hash, and a change counts only if making it
//! again from these gives the same bytes. Whatever else Automerge's format can say never reaches Automerge.

use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ScalarValue, legacy};
use revnet_protocol::limits::{MAX_CHANGE, MAX_EVENT, SEGMENT_EVENTS};
use revnet_protocol::{DeviceId, MessageId};
use serde::{Deserialize, Serialize};

/// Where a device stands in one document: number and hash of its last change there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocTip {
    /// Automerge's sequence number, from 1.
    pub seg_seq: u32,
    /// Automerge's hash of the change.
    pub change: [u8; 32],
}

/// What the signed header says about a change.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The author.
    pub device: &'a DeviceId,
    /// Its number in the author's chain.
    pub seq: u64,
    /// Its number in the document.
    pub seg_seq: u32,
}

/// A change that is valid by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The key.
    pub id: MessageId,
    /// The value.
    pub value: Vec<u8>,
    /// The author's change before it in the document.
    pub previous: Option<[u8; 32]>,
    /// Where the author stands after it.
    pub tip: DocTip,
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Longer than any honest change.
    #[error("the change is too long")]
    TooLong,
    /// Compressed, damaged, or not a change.
    #[error("not a plain Automerge change")]
    Malformed,
    /// Does something else than putting one event under its key.
    #[error("the change isn't one that an honest author makes")]
    Dishonest,
}

impl Checked {
    /// Whether the change continues exactly at `previous`, the author's last one in the document.
    #[must_use]
    pub fn follows(&self, previous: Option<&DocTip>) -> bool {
        match previous {
            None => self.tip.seg_seq == 1 && self.previous.is_none(),
            Some(tip) => self.tip.seg_seq == tip.seg_seq + 1 && self.previous == Some(tip.change),
        }
    }
}

fn build(seg_seq: u32, previous: Option<[u8; 32]>, id: &MessageId, value: &[u8]) -> Change {
    let number = u64::from(seg_seq);
    let put = legacy::Op {
        action: legacy::OpType::Put(ScalarValue::Bytes(value.to_vec())),
        obj: legacy::ObjectId::Root,
        key: legacy::Key::Map(id.to_string().into()),
        pred: Vec::new().into(),
        insert: false,
    };
    Change::from(ExpandedChange {
        operations: vec![put],
        actor_id: ActorId::from(id.device.0.to_vec()),
        hash: None,
        seq: number,
        // Each change has one operation and follows only the author's own, so the counters run together.
        start_op: NonZeroU64::new(number).expect("numbers start at 1"),
        // The key has the time; another copy of it could only disagree.
        time: 0,
        message: None,
        deps: previous.map(ChangeHash).into_iter().collect(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

/// Makes the next change of `id.device` in a document: puts `value` under the key `id`.
#[must_use]
pub fn make_change(tip: Option<&DocTip>, id: &MessageId, value: &[u8]) -> (Vec<u8>, DocTip) {
    let seg_seq = tip.map_or(1, |tip| tip.seg_seq + 1);
    let change = build(seg_seq, tip.map(|tip| tip.change), id, value);
    (
        change.raw_bytes().to_vec(),
        DocTip {
            seg_seq,
            change: change.hash().0,
        },
    )
}

/// The type byte of an uncompressed change, behind magic number and checksum.
const PLAIN: (usize, u8) = (8, 1);

/// Checks the form of a change against what its author signed.
///
/// # Errors
/// [`ChangeError`]; no document was touched.
pub fn check_change(bytes: &[u8], expected: &Expected<'_>) -> Result<Checked, ChangeError> {
    if bytes.len() > MAX_CHANGE {
        return Err(ChangeError::TooLong);
    }
    // A compressed chunk can inflate a thousandfold before anything else is looked at.
    if bytes.get(PLAIN.0) != Some(&PLAIN.1) {
        return Err(ChangeError::Malformed);
    }
    if !(1..=SEGMENT_EVENTS).contains(&expected.seg_seq) {
        return Err(ChangeError::Dishonest);
    }
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        let change = Change::from_bytes(bytes.to_vec()).ok()?;
        (change.len() == 1).then(|| change.decode())
    }));
    let change = parsed.ok().flatten().ok_or(ChangeError::Malformed)?;
    let (id, value) = put_of(&change).ok_or(ChangeError::Dishonest)?;
    if id.device != *expected.device || id.seq != expected.seq || value.len() > MAX_EVENT {
        return Err(ChangeError::Dishonest);
    }
    let previous = match (change.deps.as_slice(), expected.seg_seq) {
        ([], 1) => None,
        ([one], 2..) => Some(one.0),
        _ => return Err(ChangeError::Dishonest),
    };
    let again = build(expected.seg_seq, previous, &id, &value);
    if again.raw_bytes() != bytes {
        return Err(ChangeError::Dishonest);
    }
    let tip = DocTip {
        seg_seq: expected.seg_seq,
        change: again.hash().0,
    };
    Ok(Checked {
        id,
        value,
        previous,
        tip,
    })
}

fn put_of(change: &ExpandedChange) -> Option<(MessageId, Vec<u8>)> {
    let op = change.operations.first()?;
    let legacy::OpType::Put(ScalarValue::Bytes(value)) = &op.action else {
        return None;
    };
    let legacy::Key::Map(key) = &op.key else {
        return None;
    };
    Some((key.parse().ok()?, value.clone()))
}
