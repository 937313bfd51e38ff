//! Random commits and questions over few streams, devices and numbers, so that they meet often.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use revnet_core::storage::memory::MemoryStorage;
use revnet_core::storage::{
    Answer, Boot, Direction, Query, RowKind, Space, Storage, StorageError, Write,
};
use revnet_protocol::hlc::MAX_MS;
use revnet_protocol::{DeviceId, Hlc, MessageId, StreamId};

pub(crate) const STORE: [u8; 16] = [7; 16];

const STREAMS: u8 = 2;
const DEVICES: u8 = 3;
const SEQS: u64 = 4;
const KEYS: u8 = 10;

pub(crate) type Commit = Vec<Vec<Write>>;

pub(crate) fn commit() -> impl Strategy<Value = Commit> {
    vec(vec(write(), 0..12), 0..4)
}

/// The same commits in every run.
pub(crate) fn fixed_commits(count: usize) -> Vec<Commit> {
    let mut runner = TestRunner::deterministic();
    let commits = vec(
        commit().prop_filter("writes something", |c| !c.concat().is_empty()),
        count,
    );
    let tree = commits.new_tree(&mut runner).expect("few are empty");
    tree.current()
}

/// What a store says before the first of the commits and after each.
pub(crate) fn states(commits: &[Commit]) -> Vec<Dump> {
    let mut memory = MemoryStorage::new(STORE);
    let mut states = vec![dump(&memory).expect("memory does not fail")];
    for commit in commits {
        memory.commit(commit).expect("memory does not fail");
        states.push(dump(&memory).expect("memory does not fail"));
    }
    states
}

/// All that can be asked of a store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dump(Boot, Vec<Answer>);

pub(crate) fn dump(storage: &impl Storage) -> Result<Dump, StorageError> {
    let mut questions = vec![Query::Arrivals {
        from: 0,
        limit: usize::MAX,
    }];
    for stream in (0..STREAMS).map(stream_of) {
        questions.push(Query::Timeline { stream });
        questions.push(Query::Page {
            stream,
            from: None,
            direction: Direction::After,
            limit: usize::MAX,
        });
        let places = (0..DEVICES).flat_map(|device| (0..SEQS).map(move |seq| (device, seq)));
        questions.push(Query::Ranges {
            ranges: places
                .map(|(device, seq)| (stream, device_of(device), seq))
                .collect(),
            max_bytes: usize::MAX,
        });
    }
    for space in Space::ALL {
        questions.push(Query::GetMany {
            space,
            keys: (0..KEYS).map(record_key).collect(),
        });
    }
    let answers = questions.iter().map(|question| storage.query(question));
    Ok(Dump(storage.boot()?, answers.collect::<Result<_, _>>()?))
}

pub(crate) fn query() -> impl Strategy<Value = Query> {
    let direction = prop_oneof![Just(Direction::Before), Just(Direction::After)];
    let page = (
        stream(),
        proptest::option::of(bound()),
        direction,
        0..6_usize,
    );
    prop_oneof![
        1 => (space(), key()).prop_map(|(space, key)| Query::Get { space, key }),
        1 => (space(), vec(key(), 0..4)).prop_map(|(space, keys)| Query::GetMany { space, keys }),
        2 => (vec((stream(), device(), 0..SEQS), 0..4), 1..6000_usize)
            .prop_map(|(ranges, max_bytes)| Query::Ranges { ranges, max_bytes }),
        1 => vec((stream(), device(), 0..SEQS), 0..4).prop_map(|places| Query::Envelopes { places }),
        6 => page.prop_map(|(stream, from, direction, limit)| Query::Page {
            stream, from, direction, limit,
        }),
        2 => (stream(), id()).prop_map(|(stream, id)| Query::Message { stream, id }),
        1 => stream().prop_map(|stream| Query::Timeline { stream }),
        1 => (0..30_u64, 0..10_usize).prop_map(|(from, limit)| Query::Arrivals { from, limit }),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (stream(), device(), 0..SEQS, bytes()).prop_map(|(stream, device, seq, bytes)| {
            Write::Envelope { stream, device, seq, bytes }
        }),
        1 => (stream(), device(), bytes())
            .prop_map(|(stream, device, state)| Write::Chain { stream, device, state }),
        8 => (stream(), id(), kind(), proptest::option::of(id())).prop_map(
            |(stream, id, kind, target)| Write::Index { stream, id, kind, target }
        ),
        1 => (stream(), device(), 0..SEQS)
            .prop_map(|(stream, device, from)| Write::Unindex { stream, device, from }),
        1 => (stream(), device(), 0..SEQS)
            .prop_map(|(stream, device, from)| Write::Cut { stream, device, from }),
        2 => (space(), key(), bytes())
            .prop_map(|(space, key, value)| Write::Put { space, key, value }),
        1 => (space(), key()).prop_map(|(space, key)| Write::Remove { space, key }),
        1 => stream().prop_map(|stream| Write::Forget { stream }),
    ]
}

fn stream_of(number: u8) -> StreamId {
    StreamId([number * 60 + 3; 32])
}

fn device_of(number: u8) -> DeviceId {
    DeviceId([200 - number * 60; 32])
}

/// Short keys, and some that begin with a stream.
fn record_key(number: u8) -> Vec<u8> {
    match number.checked_sub(4) {
        None => vec![0xff; usize::from(number)],
        Some(number) => [
            stream_of(number % STREAMS).0.as_slice(),
            &vec![0xff; usize::from(number / STREAMS)],
        ]
        .concat(),
    }
}

fn stream() -> impl Strategy<Value = StreamId> {
    (0..STREAMS).prop_map(stream_of)
}

fn device() -> impl Strategy<Value = DeviceId> {
    (0..DEVICES).prop_map(device_of)
}

fn space() -> impl Strategy<Value = Space> {
    proptest::sample::select(&Space::ALL[..])
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (0..KEYS).prop_map(record_key)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => vec(any::<u8>(), 0..30), 1 => vec(any::<u8>(), 3000..5000)]
}

fn kind() -> impl Strategy<Value = RowKind> {
    prop_oneof![Just(RowKind::Message), Just(RowKind::Overlay)]
}

/// Two times for each number of a device, so that an event can come back with another time.
fn id() -> impl Strategy<Value = MessageId> {
    (weighted(0.1), device(), 0..SEQS).prop_map(|(late, device, seq)| MessageId {
        hlc: Hlc {
            ms: 1000 + (seq * 3) % 4 + 2 * u64::from(late),
            counter: 0,
        },
        device,
        seq,
    })
}

fn bound() -> impl Strategy<Value = MessageId> {
    let far = MessageId {
        hlc: Hlc {
            ms: MAX_MS + 1,
            counter: 0,
        },
        device: DeviceId([0; 32]),
        seq: 0,
    };
    prop_oneof![8 => id(), 1 => Just(far)]
}
