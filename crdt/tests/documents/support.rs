//! Authors who write, and stock Automerge as the judge of what comes out.

use std::collections::BTreeMap;

use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue, Value};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use revnet_crdt::change::{DocTip, make_change};
use revnet_crdt::document::Document;
use revnet_protocol::{DeviceId, Hlc, MessageId};

/// A number below `end`.
pub(crate) fn below(rng: &mut ChaCha8Rng, end: u64) -> u64 {
    rng.next_u64() % end
}

pub(crate) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last as u64 + 1) as usize);
    }
}

/// A device's chain in one segment of a stream in which it has written before.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) device: DeviceId,
    /// Its number of the last event in the stream.
    pub(crate) seq: u64,
    pub(crate) tip: Option<DocTip>,
    pub(crate) changes: Vec<Vec<u8>>,
    pub(crate) events: BTreeMap<MessageId, Vec<u8>>,
}

impl Author {
    pub(crate) fn new(number: u8, seq: u64) -> Self {
        Self {
            device: DeviceId([number; 32]),
            seq,
            tip: None,
            changes: Vec::new(),
            events: BTreeMap::new(),
        }
    }

    pub(crate) fn place(&self) -> u32 {
        self.tip.map_or(1, |tip| tip.seg_seq + 1)
    }

    pub(crate) fn id(&self, hlc: Hlc) -> MessageId {
        MessageId {
            hlc,
            device: self.device,
            seq: self.seq + 1,
        }
    }

    /// Adds the next event to the chain.
    pub(crate) fn write(&mut self, hlc: Hlc, value: &[u8]) {
        let id = self.id(hlc);
        let (bytes, tip) = make_change(self.tip.as_ref(), &id, value);
        self.accept(id, value.to_vec(), bytes, tip);
    }

    pub(crate) fn accept(&mut self, id: MessageId, value: Vec<u8>, bytes: Vec<u8>, tip: DocTip) {
        self.seq += 1;
        self.tip = Some(tip);
        self.changes.push(bytes);
        self.events.insert(id, value);
    }
}

/// What these authors' document must hold.
pub(crate) fn events_of(authors: &[Author]) -> BTreeMap<MessageId, Vec<u8>> {
    let all = authors.iter().flat_map(|author| author.events.clone());
    all.collect()
}

/// What stock Automerge reads from a saved document, conflicts being faults.
pub(crate) fn stock(saved: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let document = AutoCommit::load(saved).expect("stock Automerge opens it");
    let mut found = BTreeMap::new();
    for key in document.keys(ROOT) {
        let values = document.get_all(ROOT, &key).expect("a map");
        let [(Value::Scalar(value), _)] = values.as_slice() else {
            panic!("{key}: {values:?}");
        };
        let ScalarValue::Bytes(bytes) = value.as_ref() else {
            panic!("{key}: {value:?}");
        };
        found.insert(key, bytes.clone());
    }
    found
}

/// The document holds just `events`, as it stands, saved, loaded again, and read and edited by others.
pub(crate) fn assert_holds(document: &Document, events: &BTreeMap<MessageId, Vec<u8>>) {
    let wanted: Vec<_> = events.clone().into_iter().collect();
    assert_eq!(document.entries(), wanted);
    assert_eq!(document.keys(), events.keys().copied().collect::<Vec<_>>());
    assert_eq!(document.len(), events.len());
    let saved = document.save();
    let texts = events
        .iter()
        .map(|(id, value)| (id.to_string(), value.clone()));
    assert_eq!(stock(&saved), texts.collect());
    let loaded = Document::load(&saved).expect("own document");
    assert_eq!(loaded.entries(), wanted);
    assert_eq!(loaded.tips(), document.tips());
    edit_elsewhere(&saved);
}

/// Somebody opens the document in another program, writes into it and saves it.
fn edit_elsewhere(saved: &[u8]) {
    use automerge::transaction::Transactable;
    let mut document = AutoCommit::load(saved).expect("stock Automerge opens it");
    document.put(ROOT, "note", 1).expect("a map");
    document.commit();
    AutoCommit::load(&document.save()).expect("still a document");
}

/// Equal by everything that replicas are compared by.
pub(crate) fn assert_same(one: &Document, other: &Document) {
    assert_eq!(one.entries(), other.entries());
    assert_eq!(one.heads(), other.heads());
    assert_eq!(one.tips(), other.tips());
}
