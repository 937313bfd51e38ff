//! Tens of thousands of hostile changes: none is accepted, none panics, and the document that the
//! honest ones form opens everywhere.

use std::collections::BTreeMap;

use automerge::{Change, ScalarValue, legacy};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use revnet_crdt::change::{ChangeError, Checked, DocTip, check_change, make_change};
use revnet_crdt::document::{ApplyError, Chain, Document};
use revnet_protocol::Hlc;
use revnet_protocol::limits::{MAX_CHANGE, MAX_EVENT, SEGMENT_EVENTS};

use crate::attack::{Attack, Header, Honest, run_length};
use crate::support::{Author, assert_holds, assert_same, below, events_of, shuffle};

/// How many segments are written and attacked.
const SEGMENTS: u64 = 450;
/// How many honest events each gets, with eight attacks before every one.
const EVENTS: usize = 12;

fn honest_next(author: &Author, rng: &mut ChaCha8Rng) -> (Honest, DocTip, Vec<u8>) {
    let hlc = Hlc {
        ms: 1_700_000_000_000 + below(rng, 10_000_000_000),
        counter: below(rng, 1 << 32) as u32,
    };
    let len = match below(rng, 20) {
        0 => MAX_EVENT as u64,
        1 => 1 + below(rng, MAX_EVENT as u64),
        _ => 1 + below(rng, 200),
    };
    let value = vec![below(rng, 256) as u8; len as usize];
    let id = author.id(hlc);
    let (bytes, tip) = make_change(author.tip.as_ref(), &id, &value);
    let mut fields = Change::from_bytes(bytes.clone()).expect("honest").decode();
    fields.hash = None;
    let header = Header {
        device: author.device,
        seq: id.seq,
        seg_seq: author.place(),
    };
    let honest = Honest {
        header,
        id,
        bytes,
        fields,
    };
    (honest, tip, value)
}

fn receive(bytes: &[u8], header: &Header, tip: Option<&DocTip>) -> Option<Checked> {
    let checked = check_change(bytes, &header.expected()).ok()?;
    checked.follows(tip).then_some(checked)
}

/// The rules of a change in the words of Automerge's own parser.
fn assert_lawful(bytes: &[u8], header: &Header, tip: Option<&DocTip>, checked: &Checked) {
    assert!(bytes.len() <= MAX_CHANGE);
    assert_eq!(bytes[8], 1, "a plain change");
    let change = Change::from_bytes(bytes.to_vec()).expect("Automerge reads it");
    assert_eq!(change.actor_id().to_bytes(), header.device.0);
    assert_eq!(change.other_actor_ids(), []);
    assert_eq!(change.seq(), u64::from(header.seg_seq));
    assert_eq!(change.start_op().get(), change.seq());
    let deps: Vec<_> = change.deps().iter().map(|dep| dep.0).collect();
    assert_eq!(deps, Vec::from_iter(tip.map(|tip| tip.change)));
    assert_eq!(change.timestamp(), (checked.id.hlc.ms / 1000) as i64);
    assert_eq!((change.author(), change.message()), (None, None));
    assert_eq!(change.extra_bytes(), []);
    assert_eq!(change.hash().0[..4], bytes[4..8], "the checksum");
    let operations = change.decode().operations;
    let [op] = operations.as_slice() else {
        panic!("{operations:?}");
    };
    assert_eq!(op.obj, legacy::ObjectId::Root);
    assert_eq!(op.key, legacy::Key::Map(checked.id.to_string().into()));
    assert_eq!(
        (checked.id.device, checked.id.seq),
        (header.device, header.seq)
    );
    assert!(op.pred.is_empty() && !op.insert);
    let put = legacy::OpType::Put(ScalarValue::Bytes(checked.value.clone()));
    assert_eq!(op.action, put);
    assert!((1..=MAX_EVENT).contains(&checked.value.len()));
}

/// Attacks the author's next event; what is lawful after all joins the chain.
fn attack(author: &mut Author, document: &mut Document, rng: &mut ChaCha8Rng) -> Option<Attack> {
    let (honest, _, _) = honest_next(author, rng);
    let kind = Attack::ALL[below(rng, Attack::ALL.len() as u64) as usize];
    let (header, bytes) = kind.spoil(&honest, rng)?;
    if let Some(checked) = receive(&bytes, &header, author.tip.as_ref()) {
        assert!(kind.may_be_lawful(), "{kind:?} was accepted: {bytes:02x?}");
        assert_lawful(&bytes, &header, author.tip.as_ref(), &checked);
        document.apply([bytes.clone()]).expect("lawful");
        author.accept(checked.id, checked.value, bytes, checked.tip);
    } else {
        // A document has no header to compare with; all the same it takes only what it can hold.
        match document.clone().apply([bytes]) {
            Ok(_) => assert!(kind.needs_header(), "{kind:?} was applied"),
            Err(ApplyError::Change(_) | ApplyError::Chain(_)) => {}
            Err(error) => panic!("{kind:?}: {error}"),
        }
    }
    Some(kind)
}

#[test]
fn hostile_changes_are_refused_and_documents_stay_whole() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut tried: BTreeMap<Attack, usize> = BTreeMap::new();
    for segment in 0..SEGMENTS {
        let mut authors =
            [1, 2, 3].map(|number| Author::new(number, segment % 7 * u64::from(number)));
        let mut document = Document::new();
        for _ in 0..EVENTS {
            let author = &mut authors[below(&mut rng, 3) as usize];
            for _ in 0..8 {
                if let Some(kind) = attack(author, &mut document, &mut rng) {
                    *tried.entry(kind).or_default() += 1;
                }
            }
            let (honest, _, value) = honest_next(author, &mut rng);
            let checked = receive(&honest.bytes, &honest.header, author.tip.as_ref())
                .expect("honest changes are accepted");
            assert_eq!((checked.id, &checked.value), (honest.id, &value));
            assert_lawful(&honest.bytes, &honest.header, author.tip.as_ref(), &checked);
            document.apply([honest.bytes.clone()]).expect("honest");
            author.accept(checked.id, checked.value, honest.bytes.clone(), checked.tip);
            assert_eq!(
                receive(&honest.bytes, &honest.header, author.tip.as_ref()),
                None
            );
        }
        let mut chains = authors.clone().map(|author| Chain {
            changes: author.changes,
            forked: None,
        });
        let forward = Document::from_chains(chains.clone()).expect("accepted changes");
        shuffle(&mut rng, &mut chains);
        let shuffled = Document::from_chains(chains).expect("accepted changes");
        assert_same(&forward, &shuffled);
        assert_same(&document, &shuffled);
        assert_holds(&shuffled, &events_of(&authors));
    }
    let hostile: usize = tried.values().sum();
    assert!(hostile >= 36_000, "only {hostile} hostile changes");
    for kind in Attack::ALL {
        assert!(tried[&kind] > 500, "{kind:?} was hardly tried");
    }
}

#[test]
fn a_few_bytes_that_stand_for_2_to_the_61_operations_are_refused_at_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (honest, _, _) = honest_next(&Author::new(1, 0), &mut rng);
    for with_value in [false, true] {
        let bytes = run_length(&honest, 1 << 61, with_value);
        assert!(bytes.len() < 256);
        assert!(check_change(&bytes, &honest.header.expected()).is_err());
    }
    // The same for one operation differs from an honest change in its column of values only.
    let one = run_length(&honest, 1, false);
    let change = Change::from_bytes(one).expect("the attack is well-formed");
    assert_eq!(change.len(), 1);
}

#[test]
fn reasons_of_refusal_name_what_is_wrong() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut author = Author::new(1, 0);
    author.write(Hlc::ZERO, b"first");
    let (honest, _, _) = honest_next(&author, &mut rng);
    let mut reason = |kind: Attack| {
        let (header, bytes) = kind.spoil(&honest, &mut rng).expect("writable");
        check_change(&bytes, &header.expected()).expect_err("spoilt")
    };
    assert_eq!(reason(Attack::Compressed), ChangeError::Compressed);
    assert_eq!(reason(Attack::HeaderDevice), ChangeError::Key);
    assert_eq!(reason(Attack::HeaderPlace), ChangeError::Place);
    assert_eq!(reason(Attack::ExtraDep), ChangeError::Deps);
    assert_eq!(reason(Attack::DepDroppedOrAdded), ChangeError::Deps);
    assert_eq!(reason(Attack::Pred), ChangeError::Form);
    assert_eq!(reason(Attack::Message), ChangeError::Form);
    assert_eq!(reason(Attack::Checksum), ChangeError::NotCanonical);
    let long = vec![0; MAX_CHANGE + 1];
    assert_eq!(
        check_change(&long, &honest.header.expected()),
        Err(ChangeError::TooLong(MAX_CHANGE + 1))
    );
    assert!(matches!(
        reason(Attack::LongValue),
        ChangeError::Value(_) | ChangeError::TooLong(_)
    ));
}

#[test]
fn a_segment_takes_1024_changes_of_a_device_and_no_more() {
    let mut author = Author::new(1, 0);
    for _ in 0..SEGMENT_EVENTS {
        author.write(Hlc::ZERO, b"x");
    }
    let full = Document::from_chains([Chain {
        changes: author.changes.clone(),
        forked: None,
    }])
    .expect("honest changes");
    assert_holds(&full, &author.events);
    // One more, as Automerge would write it.
    let last = author.changes.last().expect("written");
    let mut fields = Change::from_bytes(last.clone()).expect("honest").decode();
    fields.deps = vec![fields.hash.take().expect("decoded")];
    fields.seq += 1;
    fields.start_op = fields.start_op.saturating_add(1);
    let id = author.id(Hlc::ZERO);
    fields.operations[0].key = legacy::Key::Map(id.to_string().into());
    let header = Header {
        device: author.device,
        seq: id.seq,
        seg_seq: SEGMENT_EVENTS + 1,
    };
    assert_eq!(
        check_change(Change::from(fields).raw_bytes(), &header.expected()),
        Err(ChangeError::Place)
    );
}
