//! What a member with a hostile program can sign: changes that differ from the honest one in a field,
//! in an encoding, or in what their header says.

use std::io::Write;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ScalarValue, legacy};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rand_chacha::ChaCha8Rng;
use revnet_crdt::change::Expected;
use revnet_protocol::limits::{MAX_CHANGE, MAX_EVENT};
use revnet_protocol::{DeviceId, MessageId};
use sha2::{Digest, Sha256};

use crate::support::below;

/// Owned form of [`Expected`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) device: DeviceId,
    pub(crate) seq: u64,
    pub(crate) seg_seq: u32,
}

impl Header {
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected {
            device: &self.device,
            seq: self.seq,
            seg_seq: self.seg_seq,
        }
    }
}

/// An honest change, ready to be spoilt.
#[derive(Clone, Debug)]
pub(crate) struct Honest {
    pub(crate) header: Header,
    pub(crate) id: MessageId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: ExpandedChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attack {
    Seq,
    StartOp,
    Time,
    ExtraDep,
    OtherDep,
    DepDroppedOrAdded,
    Pred,
    Object,
    Action,
    Insert,
    Key,
    KeyOfAnother,
    EmptyValue,
    LongValue,
    NoOperation,
    TwoOperations,
    Actor,
    Message,
    Author,
    ExtraBytes,
    HeaderDevice,
    HeaderSeq,
    HeaderPlace,
    Place,
    Flip,
    FlipSealed,
    Cut,
    Longer,
    Checksum,
    PaddedNumber,
    Compressed,
    Bomb,
    RunLength,
    OtherChunk,
}

impl Attack {
    pub(crate) const ALL: [Self; 34] = [
        Self::Seq,
        Self::StartOp,
        Self::Time,
        Self::ExtraDep,
        Self::OtherDep,
        Self::DepDroppedOrAdded,
        Self::Pred,
        Self::Object,
        Self::Action,
        Self::Insert,
        Self::Key,
        Self::KeyOfAnother,
        Self::EmptyValue,
        Self::LongValue,
        Self::NoOperation,
        Self::TwoOperations,
        Self::Actor,
        Self::Message,
        Self::Author,
        Self::ExtraBytes,
        Self::HeaderDevice,
        Self::HeaderSeq,
        Self::HeaderPlace,
        Self::Place,
        Self::Flip,
        Self::FlipSealed,
        Self::Cut,
        Self::Longer,
        Self::Checksum,
        Self::PaddedNumber,
        Self::Compressed,
        Self::Bomb,
        Self::RunLength,
        Self::OtherChunk,
    ];

    /// A flipped bit in the value makes another honest change; only the oracle can tell.
    pub(crate) fn may_be_lawful(self) -> bool {
        self == Self::FlipSealed
    }

    /// Only the header shows that it's wrong.
    pub(crate) fn needs_header(self) -> bool {
        self.is_in_header() || matches!(self, Self::KeyOfAnother | Self::FlipSealed)
    }

    fn is_in_header(self) -> bool {
        matches!(
            self,
            Self::HeaderDevice | Self::HeaderSeq | Self::HeaderPlace
        )
    }

    /// The spoilt change under its header; none where Automerge can't even write it.
    pub(crate) fn spoil(self, honest: &Honest, rng: &mut ChaCha8Rng) -> Option<(Header, Vec<u8>)> {
        let mut header = honest.header;
        match self {
            Self::HeaderDevice => header.device.0[below(rng, 32) as usize] ^= 1,
            Self::HeaderSeq => header.seq = off(header.seq, rng),
            Self::HeaderPlace => header.seg_seq = off(u64::from(header.seg_seq), rng) as u32,
            Self::Place => header.seg_seq += 1 + below(rng, 3) as u32,
            _ => {}
        }
        let bytes = if self.is_in_header() {
            honest.bytes.clone()
        } else if self >= Self::Flip {
            self.spoil_bytes(honest, rng)
        } else {
            let mut fields = honest.fields.clone();
            self.spoil_fields(&mut fields, &header, honest, rng);
            catch_unwind(AssertUnwindSafe(|| Change::from(fields)))
                .ok()?
                .raw_bytes()
                .to_vec()
        };
        Some((header, bytes))
    }

    fn spoil_fields(
        self,
        fields: &mut ExpandedChange,
        header: &Header,
        honest: &Honest,
        rng: &mut ChaCha8Rng,
    ) {
        let stranger = ActorId::from([200 + below(rng, 9) as u8; 32]);
        let op = &mut fields.operations[0];
        match self {
            Self::Seq => fields.seq = off(fields.seq, rng),
            Self::StartOp => {
                let place = off(fields.start_op.get(), rng).max(1);
                fields.start_op = NonZeroU64::new(place).expect("at least 1");
                if place == honest.fields.start_op.get() {
                    fields.start_op = NonZeroU64::MAX;
                }
            }
            // A gap in the chain, with a header that says so, too.
            Self::Place => {
                let place = u64::from(header.seg_seq);
                (fields.seq, fields.start_op) = (place, NonZeroU64::new(place).expect("later"));
            }
            Self::Time => {
                let other = [
                    fields.time + 1,
                    -1,
                    0,
                    i64::MIN,
                    i64::MAX,
                    fields.time * 1000,
                ];
                fields.time = other[below(rng, 6) as usize];
            }
            Self::ExtraDep => fields.deps.push(ChangeHash([below(rng, 256) as u8; 32])),
            Self::OtherDep => fields.deps = vec![ChangeHash([below(rng, 256) as u8; 32])],
            Self::DepDroppedOrAdded => {
                fields.deps = match fields.deps.as_slice() {
                    [] => vec![ChangeHash([1; 32])],
                    _ => Vec::new(),
                };
            }
            Self::Pred => op.pred = vec![legacy::OpId(below(rng, 9) + 1, stranger)].into(),
            Self::Object => {
                let own = fields.actor_id.clone();
                let actor = if below(rng, 2) == 0 { own } else { stranger };
                op.obj = legacy::ObjectId::Id(legacy::OpId(below(rng, 9) + 1, actor));
            }
            Self::Action => op.action = other_action(rng),
            Self::Insert => {
                op.insert = true;
                if below(rng, 2) == 0 {
                    op.key = legacy::Key::Seq(legacy::ElementId::Head);
                }
            }
            Self::Key => op.key = legacy::Key::Map(other_key(honest, rng).as_str().into()),
            Self::KeyOfAnother => op.key = legacy::Key::Map(lying_key(honest, rng).as_str().into()),
            Self::EmptyValue => op.action = put(Vec::new()),
            Self::LongValue => op.action = put(vec![7; MAX_EVENT + 1 + below(rng, 2000) as usize]),
            Self::NoOperation => fields.operations.clear(),
            Self::TwoOperations => {
                let again = op.clone();
                fields.operations.push(again);
            }
            Self::Actor => {
                let own = honest.id.device.0;
                fields.actor_id = match below(rng, 4) {
                    0 => stranger,
                    1 => ActorId::from(&own[..31]),
                    2 => ActorId::from(&[&own[..], &[0]].concat()[..]),
                    _ => ActorId::from(&[][..]),
                };
            }
            Self::Message => fields.message = Some("x".repeat(1 + below(rng, 300) as usize)),
            Self::Author => {
                let text = "y".repeat(1 + below(rng, 40) as usize);
                // The form in which Automerge keeps an author: kind 1 and a length before the bytes.
                fields.extra_bytes = [&[1, text.len() as u8], text.as_bytes()].concat();
            }
            Self::ExtraBytes => {
                fields.extra_bytes = vec![below(rng, 256) as u8; 1 + below(rng, 40) as usize];
            }
            _ => unreachable!("not an attack on a field"),
        }
    }

    fn spoil_bytes(self, honest: &Honest, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut bytes = honest.bytes.clone();
        let place = |rng: &mut ChaCha8Rng, len: usize| below(rng, len as u64) as usize;
        match self {
            Self::Flip | Self::FlipSealed => {
                for _ in 0..=below(rng, 3) {
                    let at = place(rng, bytes.len());
                    bytes[at] ^= 1 << below(rng, 8);
                }
                if self == Self::FlipSealed {
                    bytes = sealed(bytes[8], data_of(&bytes));
                }
            }
            Self::Cut => bytes.truncate(place(rng, bytes.len())),
            Self::Longer => {
                let more = [1, 10, MAX_CHANGE][place(rng, 3)];
                bytes.resize(bytes.len() + more, below(rng, 256) as u8);
            }
            Self::Checksum => bytes[4 + place(rng, 4)] ^= 1,
            Self::PaddedNumber => {
                // The chunk's length with one more byte that adds nothing.
                let end = 9 + bytes[9..]
                    .iter()
                    .position(|b| b & 0x80 == 0)
                    .expect("a number");
                bytes[end] |= 0x80;
                bytes.insert(end + 1, 0);
            }
            Self::Compressed => {
                let plain = data_of(&bytes).to_vec();
                bytes = [&bytes[..8], &[2], &chunk_tail(&deflate(&plain))].concat();
            }
            Self::Bomb => bytes = bomb(1 << (10 + below(rng, 8))),
            Self::RunLength => {
                bytes = run_length(honest, 1 << (1 + below(rng, 61)), below(rng, 2) == 0);
            }
            Self::OtherChunk => {
                let kind = [0, 3, 4, 255][place(rng, 4)];
                bytes = sealed(kind, data_of(&honest.bytes));
            }
            _ => unreachable!("not an attack on the bytes"),
        }
        bytes
    }
}

/// Another number: near, or at the ends of what the formats can hold.
fn off(number: u64, rng: &mut ChaCha8Rng) -> u64 {
    let ends = [
        0,
        1,
        1025,
        u64::from(u32::MAX) - 1,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX,
    ];
    let other = match below(rng, 3) {
        0 => number + 1 + below(rng, 3),
        1 => number.saturating_sub(1 + below(rng, 3)),
        _ => ends[below(rng, ends.len() as u64) as usize],
    };
    if other == number {
        u64::from(u32::MAX)
    } else {
        other
    }
}

fn put(value: Vec<u8>) -> legacy::OpType {
    legacy::OpType::Put(ScalarValue::Bytes(value))
}

fn other_action(rng: &mut ChaCha8Rng) -> legacy::OpType {
    let text = "z".repeat(below(rng, 90) as usize);
    match below(rng, 9) {
        0 => legacy::OpType::Delete,
        1 => legacy::OpType::Increment(-1),
        2 => legacy::OpType::Make(automerge::ObjType::Map),
        3 => legacy::OpType::Make(automerge::ObjType::Text),
        4 => legacy::OpType::Put(ScalarValue::Str(text.as_str().into())),
        5 => legacy::OpType::Put(ScalarValue::Int(i64::MIN)),
        6 => legacy::OpType::Put(ScalarValue::counter(7)),
        7 => legacy::OpType::Put(ScalarValue::Unknown {
            type_code: 10 + below(rng, 6) as u8,
            bytes: text.into_bytes(),
        }),
        _ => legacy::OpType::Put(ScalarValue::Null),
    }
}

fn other_key(honest: &Honest, rng: &mut ChaCha8Rng) -> String {
    let own = honest.id.to_string();
    match below(rng, 6) {
        0 => own[..63].to_owned(),
        1 => format!("{own}-"),
        2 => "k".to_owned(),
        3 => format!("{}+", &own[..63]),
        4 => format!("{}é", &own[..62]),
        _ => own.repeat(90),
    }
}

fn lying_key(honest: &Honest, rng: &mut ChaCha8Rng) -> String {
    let mut id = honest.id;
    match below(rng, 3) {
        0 => id.device.0[below(rng, 32) as usize] ^= 128,
        1 => id.seq += 1 + below(rng, 3),
        // Seconds are Automerge's time: it must go with the key.
        _ => id.hlc.ms += 1000 * (1 + below(rng, 1000)),
    }
    id.to_string()
}

fn data_of(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().skip(9).position(|byte| byte & 0x80 == 0);
    &bytes[start.map_or(bytes.len(), |at| at + 10)..]
}

fn unsigned(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// Signed LEB128 of a number that isn't negative.
fn signed(number: u64) -> Vec<u8> {
    let mut out = unsigned(number);
    let last = out.last_mut().expect("never empty");
    if *last & 0x40 != 0 {
        *last |= 0x80;
        out.push(0);
    }
    out
}

fn chunk_tail(data: &[u8]) -> Vec<u8> {
    [&unsigned(data.len() as u64), data].concat()
}

/// A chunk with the right checksum.
pub(crate) fn sealed(kind: u8, data: &[u8]) -> Vec<u8> {
    let tail = [&[kind][..], &chunk_tail(data)].concat();
    let checksum = Sha256::digest(&tail);
    [&[0x85, 0x6f, 0x4a, 0x83], &checksum[..4], &tail].concat()
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

fn bomb(zeros: usize) -> Vec<u8> {
    let tail = chunk_tail(&deflate(&vec![0; zeros]));
    [&[0x85, 0x6f, 0x4a, 0x83, 1, 2, 3, 4, 2], &tail[..]].concat()
}

/// A change of `count` equal operations in run-length encoding: some 200 bytes for any count.
pub(crate) fn run_length(honest: &Honest, count: u64, with_value: bool) -> Vec<u8> {
    let key = honest.id.to_string();
    let columns: [(u8, Vec<u8>); 6] = [
        (0x15, [&signed(count)[..], &[64], key.as_bytes()].concat()),
        (0x34, unsigned(count)),
        (0x42, [&signed(count)[..], &[1]].concat()),
        (0x56, [&signed(count)[..], &[7]].concat()),
        (0x57, vec![9; 20]),
        (0x70, [&signed(count)[..], &[0]].concat()),
    ];
    let columns: Vec<_> = columns
        .into_iter()
        .filter(|(kind, _)| with_value || *kind != 0x57)
        .collect();
    let fields = &honest.fields;
    let mut data = unsigned(fields.deps.len() as u64);
    for dep in &fields.deps {
        data.extend(dep.0);
    }
    data.push(32);
    data.extend(honest.id.device.0);
    data.extend(unsigned(fields.seq));
    data.extend(unsigned(fields.start_op.get()));
    data.extend(signed(fields.time as u64));
    data.extend([0, 0, columns.len() as u8]);
    for (kind, column) in &columns {
        data.push(*kind);
        data.extend(unsigned(column.len() as u64));
    }
    data.extend(columns.into_iter().flat_map(|(_, column)| column));
    sealed(1, &data)
}
