//! What a document holds depends on the set of its changes alone.

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use revnet_crdt::change::make_change;
use revnet_crdt::document::{ApplyError, Chain, Document, LoadError};
use revnet_protocol::{Hlc, MessageId};

use crate::support::{Author, assert_holds, assert_same, below, events_of, shuffle};

type Events = Vec<(u64, u32, Vec<u8>)>;

/// What one device writes: times in any order, so that keys interleave.
fn events(max: usize) -> impl Strategy<Value = Events> {
    let value = prop::collection::vec(any::<u8>(), 1..40);
    prop::collection::vec((0..5_000_000_000_000u64, 0..3u32, value), 0..max)
}

fn write(mut author: Author, events: &Events) -> Author {
    for (ms, counter, value) in events {
        let hlc = Hlc {
            ms: *ms,
            counter: *counter,
        };
        author.write(hlc, value);
    }
    author
}

fn authors() -> impl Strategy<Value = Vec<Author>> {
    prop::collection::vec((events(12), 0..9u64), 1..6).prop_map(|chains| {
        let numbered = (1..).zip(chains);
        numbered
            .map(|(number, (events, seq))| write(Author::new(number, seq), &events))
            .collect()
    })
}

fn chains(authors: &[Author]) -> Vec<Chain> {
    let chain = |author: &Author| Chain {
        changes: author.changes.clone(),
        forked: None,
    };
    authors.iter().map(chain).collect()
}

/// Delivers the chains interleaved, in batches in which order is lost and some come twice.
fn deliver(authors: &[Author], rng: &mut ChaCha8Rng) -> Document {
    let mut document = Document::new();
    let mut left: Vec<_> = authors
        .iter()
        .map(|author| author.changes.as_slice())
        .collect();
    let mut batch = Vec::new();
    let mut new = 0;
    while left.iter().any(|chain| !chain.is_empty()) {
        let chain = &mut left[below(rng, authors.len() as u64) as usize];
        let Some((next, rest)) = chain.split_first() else {
            continue;
        };
        *chain = rest;
        new += 1;
        batch.push(next.clone());
        if below(rng, 5) == 0 {
            batch.push(next.clone());
        }
        if below(rng, 4) == 0 {
            shuffle(rng, &mut batch);
            let again = batch.clone();
            assert_eq!(document.apply(batch.drain(..)), Ok(new));
            assert_eq!(document.apply(again), Ok(0));
            new = 0;
        }
    }
    assert_eq!(document.apply(batch), Ok(new));
    document
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn order_and_batches_leave_no_trace(mut authors in authors(), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let one = deliver(&authors, &mut rng);
        let other = deliver(&authors, &mut rng);
        assert_same(&one, &other);
        let built = Document::from_chains(chains(&authors)).expect("honest");
        shuffle(&mut rng, &mut authors);
        let shuffled = Document::from_chains(chains(&authors)).expect("honest");
        assert_same(&one, &built);
        prop_assert_eq!(built.save(), shuffled.save());
        assert_holds(&one, &events_of(&authors));
    }

    #[test]
    fn a_fork_leaves_the_same_document_whichever_branch_came_first(
        shared in events(8),
        branches in (events(6), events(6)),
        others in authors(),
        seq in 0..9u64,
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let trunk = write(Author::new(99, seq), &shared);
        let (one, two) = (write(trunk.clone(), &branches.0), write(trunk.clone(), &branches.1));
        let forked = trunk.seq + 1;
        let (mut results, mut saved) = (Vec::new(), Vec::new());
        for branch in [&trunk, &one, &two] {
            let everyone = [others.clone(), vec![branch.clone()]].concat();
            let mut cut = chains(&everyone);
            cut.last_mut().expect("the branch").forked = Some(forked);
            shuffle(&mut rng, &mut cut);
            let built = Document::from_chains(cut).expect("honest");
            saved.push(built.save());
            results.push(built);
            let mut late = deliver(&everyone, &mut rng);
            late.cut(&trunk.device, forked).expect("honest");
            saved.push(late.save());
            results.push(late);
        }
        for result in &results {
            assert_same(&results[0], result);
        }
        prop_assert!(saved.iter().all(|bytes| *bytes == saved[0]));
        let everyone = [others, vec![trunk]].concat();
        assert_holds(&results[0], &events_of(&everyone));
    }

    #[test]
    fn a_change_with_a_gap_before_it_changes_nothing(authors in authors(), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let author = &authors[below(&mut rng, authors.len() as u64) as usize];
        prop_assume!(author.changes.len() >= 2);
        let gap = below(&mut rng, author.changes.len() as u64 - 1) as usize;
        let mut document = Document::new();
        document.apply(author.changes[..gap].to_vec()).expect("honest");
        let before = document.clone();
        let refused = document.apply(author.changes[gap + 1..].to_vec());
        prop_assert!(matches!(refused, Err(ApplyError::Chain(_))), "{:?}", refused);
        assert_same(&document, &before);
        document.apply(author.changes[gap..].to_vec()).expect("honest");
        assert_holds(&document, &author.events);
    }
}

#[test]
fn the_second_branch_of_a_fork_is_refused_and_the_first_stays() {
    let trunk = write(Author::new(1, 0), &vec![(1000, 0, b"shared".to_vec())]);
    let one = write(trunk.clone(), &vec![(2000, 0, b"to her".to_vec())]);
    let two = write(trunk, &vec![(2000, 0, b"to him".to_vec())]);
    let mut document = Document::new();
    document.apply(one.changes.clone()).expect("honest");
    let refused = document.apply(two.changes.clone());
    assert!(matches!(refused, Err(ApplyError::Chain(_))), "{refused:?}");
    assert_holds(&document, &one.events);
    let both = document.apply([one.changes[1].clone(), two.changes[1].clone()]);
    assert!(matches!(both, Err(ApplyError::Chain(_))), "{both:?}");
}

#[test]
fn what_another_program_wrote_into_a_document_is_not_loaded() {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, AutoCommit, ROOT, ScalarValue};
    let id = MessageId {
        hlc: Hlc::ZERO,
        device: revnet_protocol::DeviceId([1; 32]),
        seq: 1,
    };
    let bytes = || ScalarValue::Bytes(vec![1]);
    let refused = |write: &dyn Fn(&mut AutoCommit)| {
        let mut document = AutoCommit::new().with_actor(ActorId::from([1; 32]));
        document.put(ROOT, id.to_string(), bytes()).expect("a map");
        document.commit();
        assert!(Document::load(&document.save()).is_ok());
        write(&mut document);
        Document::load(&document.save()).expect_err("another layout")
    };
    assert_eq!(
        refused(&|d| d.put(ROOT, "note", bytes()).expect("a map")),
        LoadError::Layout
    );
    assert_eq!(
        refused(&|d| d.put(ROOT, id.to_string(), 1).expect("a map")),
        LoadError::Layout
    );
    let other = MessageId { seq: 2, ..id };
    let depends_on_another = refused(&|d| {
        d.set_actor(ActorId::from([2; 32]));
        d.put(ROOT, other.to_string(), bytes()).expect("a map");
    });
    assert_eq!(depends_on_another, LoadError::Layout);
    assert!(matches!(
        Document::load(b"\x85\x6f\x4a\x83"),
        Err(LoadError::Library(_))
    ));
}

#[test]
fn a_change_is_what_automerge_writes_in_a_document_of_that_device_alone() {
    use automerge::transaction::{CommitOptions, Transactable};
    use automerge::{ActorId, Automerge, ROOT, ScalarValue};
    let mut everyone = Automerge::new();
    let mut authors = [Author::new(1, 4), Author::new(2, 0)];
    for author in &mut authors {
        let mut document = Automerge::new().with_actor(ActorId::from(author.device.0));
        for round in 0..20u64 {
            let hlc = Hlc {
                ms: 1_700_000_000_000 + round * 700,
                counter: 3,
            };
            let (id, value) = (author.id(hlc), vec![round as u8; 1 + round as usize * 70]);
            let (made, tip) = make_change(author.tip.as_ref(), &id, &value);
            let mut transaction = document.transaction();
            transaction
                .put(ROOT, id.to_string(), ScalarValue::Bytes(value.clone()))
                .expect("a map");
            transaction.commit_with(CommitOptions::default().with_time((hlc.ms / 1000) as i64));
            let written = document.get_last_local_change().expect("committed");
            assert_eq!(written.raw_bytes(), made);
            author.accept(id, value, made, tip);
        }
        everyone.merge(&mut document).expect("chains");
    }
    let own = Document::from_chains(chains(&authors)).expect("honest");
    assert_eq!(own.heads(), sorted(everyone.get_heads()));
    assert_holds(&own, &events_of(&authors));
}

fn sorted(heads: Vec<automerge::ChangeHash>) -> Vec<[u8; 32]> {
    let mut heads: Vec<_> = heads.into_iter().map(|head| head.0).collect();
    heads.sort_unstable();
    heads
}
