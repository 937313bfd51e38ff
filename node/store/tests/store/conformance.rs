//! The same answers as the reference, whatever was written, and after every opening.

use proptest::collection::vec;
use proptest::prelude::*;
use revnet_core::storage::Storage as _;
use revnet_core::storage::memory::MemoryStorage;
use revnet_store::{Options, RedbStorage};

use crate::disk::Disk;
use crate::workload::{STORE, commit, dump, query};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_the_reference(
        steps in vec((commit(), vec(query(), 0..12), prop::bool::weighted(0.2)), 1..12)
    ) {
        let disk = Disk::default();
        let open = || RedbStorage::open_backend(disk.clone(), STORE, &Options::default());
        let (mut memory, mut store) = (MemoryStorage::new(STORE), open()?);
        for (commit, queries, reopen) in steps {
            memory.commit(&commit)?;
            store.commit(&commit)?;
            if reopen {
                drop(store);
                store = open()?;
            }
            for query in queries {
                prop_assert_eq!(store.query(&query)?, memory.query(&query)?, "{:?}", query);
            }
            prop_assert_eq!(dump(&store)?, dump(&memory)?);
        }
    }
}
