//! One Automerge change, made and checked without a document.
//!
//! A change has a single form: one `put` of a byte string under a ROOT key that is the text of a
//! [`MessageId`], depending only on the same device's previous change in that document. Every field
//! follows from the device, its place in the document, the key and the value, so there is one encoding
//! of it, and checking is to read key and value and to make the change again. Automerge never parses
//! bytes that aren't its own: in a hostile change a few bytes stand for gigabytes or for 2^62 operations.

use std::num::NonZeroU64;

use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ScalarValue, legacy};
use revnet_protocol::limits::{MAX_CHANGE, MAX_EVENT, SEGMENT_EVENTS};
use revnet_protocol::{DeviceId, MessageId};
use serde::{Deserialize, Serialize};

/// Length of a key: the text of a [`MessageId`].
const KEY: usize = 64;
/// Automerge's number for a chunk that holds one change as it is.
const CHUNK_CHANGE: u8 = 1;
/// Automerge's number for a deflated change.
const CHUNK_COMPRESSED: u8 = 2;

/// Where a device stands in one document: number and hash of its last change there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocTip {
    /// How many changes it has made there: 1 to [`SEGMENT_EVENTS`].
    pub seg_seq: u32,
    /// Automerge's hash of the last one.
    pub change: [u8; 32],
}

/// What the signed header says about a change.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its author.
    pub device: &'a DeviceId,
    /// Its place in the author's chain in the stream.
    pub seq: u64,
    /// Its place among the author's changes in the document, from 1.
    pub seg_seq: u32,
}

/// Why bytes are not the change that their header announces. Each costs the author's device, not the
/// peer that brought it: the contents were signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// More than [`MAX_CHANGE`] bytes.
    #[error("{0} bytes, more than a change may have")]
    TooLong(usize),
    /// A deflated chunk; only plain ones are allowed.
    #[error("the change is compressed")]
    Compressed,
    /// Ends too early, or has other columns than one `put` needs.
    #[error("not a change with a single put of bytes")]
    Form,
    /// The key isn't a message id of the header's device and number.
    #[error("the key doesn't name this event")]
    Key,
    /// The value is empty or longer than [`MAX_EVENT`].
    #[error("the value has {0} bytes")]
    Value(usize),
    /// The first change in a document depends on nothing, every other on one.
    #[error("the change doesn't depend on its author's previous one alone")]
    Deps,
    /// Its place in the document isn't the header's, or is outside 1 to [`SEGMENT_EVENTS`].
    #[error("the change has another place in the document")]
    Place,
    /// Some other field, or the encoding, isn't what [`make_change`] writes.
    #[error("not the canonical encoding of the change")]
    NotCanonical,
}

/// A change whose form is right by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its key.
    pub id: MessageId,
    /// The encoded event or act.
    pub value: Vec<u8>,
    /// The change that it builds on; none for the first of its author in the document.
    pub deps: Option<[u8; 32]>,
    /// Where its author stands after it.
    pub tip: DocTip,
}

impl Checked {
    /// Whether it continues exactly at `previous`, the author's last change in the document.
    #[must_use]
    pub fn follows(&self, previous: Option<&DocTip>) -> bool {
        match previous {
            None => self.tip.seg_seq == 1 && self.deps.is_none(),
            Some(tip) => {
                self.tip.seg_seq.checked_sub(1) == Some(tip.seg_seq)
                    && self.deps == Some(tip.change)
            }
        }
    }
}

/// Builds the next change of `id.device` in a document: puts `value` under the key `id`.
///
/// The bytes depend on nothing but the arguments. Automerge's time field is the id's time in whole
/// seconds (at most 2^32 − 1), and its sequence and first operation number are the place in the document.
///
/// # Panics
/// If `value` is empty or longer than [`MAX_EVENT`], or the document already holds
/// [`SEGMENT_EVENTS`] changes of the device: the author takes the next segment then.
#[must_use]
pub fn make_change(tip: Option<&DocTip>, id: &MessageId, value: &[u8]) -> (Vec<u8>, DocTip) {
    assert!(
        (1..=MAX_EVENT).contains(&value.len()),
        "events are neither empty nor too long"
    );
    let seg_seq = tip.map_or(1, |tip| tip.seg_seq + 1);
    assert!(seg_seq <= SEGMENT_EVENTS, "the segment is full");
    let change = build(seg_seq, tip.map(|tip| tip.change), id, value);
    let tip = DocTip {
        seg_seq,
        change: change.hash().0,
    };
    (change.raw_bytes().to_vec(), tip)
}

/// Checks the form of a change: that [`make_change`] would write just these bytes for what the header
/// says and for the key and the value found in them.
///
/// Whether it continues its author's chain is for [`Checked::follows`].
///
/// # Errors
/// [`ChangeError`]. Costs no more than a few microseconds and a copy of the value, whatever the bytes.
pub fn check_change(bytes: &[u8], expected: &Expected<'_>) -> Result<Checked, ChangeError> {
    let (checked, _) = read_change(bytes)?;
    if checked.id.device != *expected.device || checked.id.seq != expected.seq {
        return Err(ChangeError::Key);
    }
    if checked.tip.seg_seq != expected.seg_seq {
        return Err(ChangeError::Place);
    }
    Ok(checked)
}

/// Reads a change in its one form, as a value of ours and as Automerge's, made from the same fields.
pub(crate) fn read_change(bytes: &[u8]) -> Result<(Checked, Change), ChangeError> {
    if bytes.len() > MAX_CHANGE {
        return Err(ChangeError::TooLong(bytes.len()));
    }
    let parts = Parts::read(bytes)?;
    let id: MessageId = parts.key.parse().map_err(|_| ChangeError::Key)?;
    if !(1..=MAX_EVENT).contains(&parts.value.len()) {
        return Err(ChangeError::Value(parts.value.len()));
    }
    let seg_seq = u32::try_from(parts.seq)
        .ok()
        .filter(|place| (1..=SEGMENT_EVENTS).contains(place))
        .ok_or(ChangeError::Place)?;
    if parts.dep.is_none() != (seg_seq == 1) {
        return Err(ChangeError::Deps);
    }
    let change = build(seg_seq, parts.dep, &id, parts.value);
    if change.raw_bytes() != bytes {
        return Err(ChangeError::NotCanonical);
    }
    let checked = Checked {
        id,
        value: parts.value.to_vec(),
        deps: parts.dep,
        tip: DocTip {
            seg_seq,
            change: change.hash().0,
        },
    };
    Ok((checked, change))
}

fn build(seg_seq: u32, dep: Option<[u8; 32]>, id: &MessageId, value: &[u8]) -> Change {
    let place = NonZeroU64::new(u64::from(seg_seq)).expect("places count from 1");
    let put = legacy::Op {
        action: legacy::OpType::Put(ScalarValue::Bytes(value.to_vec())),
        obj: legacy::ObjectId::Root,
        key: legacy::Key::Map(id.to_string().into()),
        pred: Vec::new().into(),
        insert: false,
    };
    Change::from(ExpandedChange {
        operations: vec![put],
        actor_id: ActorId::from(id.device.0),
        hash: None,
        seq: place.get(),
        start_op: place,
        time: i64::from(u32::try_from(id.hlc.ms / 1000).unwrap_or(u32::MAX)),
        message: None,
        deps: dep.map(ChangeHash).into_iter().collect(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

/// What is read from a change before it is made again.
struct Parts<'a> {
    seq: usize,
    dep: Option<[u8; 32]>,
    key: &'a str,
    value: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Finds the parts in the layout of Automerge's binary format (automerge.org/automerge-binary-format-spec),
    /// stepping over whatever the comparison with the canonical bytes covers.
    fn read(bytes: &'a [u8]) -> Result<Self, ChangeError> {
        let mut reader = Reader(bytes);
        let _magic_and_checksum = reader.take(8)?;
        match reader.byte()? {
            CHUNK_CHANGE => {}
            CHUNK_COMPRESSED => return Err(ChangeError::Compressed),
            _ => return Err(ChangeError::Form),
        }
        let _chunk_length = reader.number()?;
        let dep = match reader.byte()? {
            0 => None,
            1 => Some(*reader.array()?),
            _ => return Err(ChangeError::Deps),
        };
        let _actor = reader.take(1 + 32)?;
        let seq = reader.number()?;
        let _start_op = reader.number()?;
        let _time = reader.number()?;
        let _no_message_no_other_actors = reader.take(2)?;
        // Key, insert, action, value's type and length, value, predecessors.
        if reader.byte()? != 6 {
            return Err(ChangeError::Form);
        }
        let mut lengths = [0; 6];
        for length in &mut lengths {
            let _column = reader.byte()?;
            *length = reader.number()?;
        }
        // Each column is a run of one: a byte that says so, then the item.
        let _run_and_length = reader.take(2)?;
        let key = str::from_utf8(reader.take(KEY)?).map_err(|_| ChangeError::Key)?;
        let _insert_and_action = reader.take(1 + 2)?;
        let _value_type = reader.take(lengths[3])?;
        let value = reader.take(lengths[4])?;
        Ok(Self {
            seq,
            dep,
            key,
            value,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ChangeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ChangeError::Form)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], ChangeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ChangeError::Form)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ChangeError> {
        Ok(self.array::<1>()?[0])
    }

    /// A LEB128 number of at most five bytes, which is more than any field of a change needs.
    fn number(&mut self) -> Result<usize, ChangeError> {
        let mut value = 0;
        for shift in (0..5).map(|group| group * 7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ChangeError::Form)
    }
}
