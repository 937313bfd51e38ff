//! The disk fills up at every write: the error says so, earlier commits stay, and with space all goes on.

use revnet_core::storage::{Storage as _, StorageError};
use revnet_store::{OpenError, Options, RedbStorage};

use crate::disk::{Disk, Fault};
use crate::workload::{Commit, STORE, dump, fixed_commits, states};

/// How often a good disk is written or synced for these commits.
fn operations(commits: &[Commit]) -> usize {
    let disk = Disk::default();
    let store = RedbStorage::open_backend(disk.clone(), STORE, &Options::default());
    let mut store = store.expect("a good disk");
    for commit in commits {
        store.commit(commit).expect("a good disk");
    }
    disk.operations()
}

fn fill_up_at_every_write(fault: Fault) -> usize {
    let commits = fixed_commits(10);
    let states = states(&commits);
    let operations = operations(&commits);
    let mut failures = 0;
    for at in 0..operations {
        let disk = Disk::default();
        disk.fail_at(at, fault);
        let open = || RedbStorage::open_backend(disk.clone(), STORE, &Options::default());
        let mut store = match open() {
            Ok(store) => store,
            Err(OpenError::Full(_)) => {
                disk.mend();
                open().expect("opens with space")
            }
            Err(error) => panic!("full at {at}: {error}"),
        };
        for (number, commit) in commits.iter().enumerate() {
            let Err(error) = store.commit(commit) else {
                continue;
            };
            failures += 1;
            assert_eq!(error, StorageError::Full, "full at {at}");
            match store.commit(commit) {
                Err(StorageError::Full) => {}
                // What the failed commit gave back was enough.
                Ok(()) if fault == Fault::FullForNewBlocks => {
                    disk.mend();
                    continue;
                }
                other => panic!("still full at {at}: {other:?}"),
            }
            if fault == Fault::FullForNewBlocks {
                let found = dump(&store).expect("reads while the disk is full");
                assert_eq!(found, states[number], "full at {at}");
            }
            disk.mend();
            assert_eq!(dump(&store).as_ref(), Ok(&states[number]), "full at {at}");
            store.commit(commit).expect("commits with space");
        }
        let found = dump(&store);
        assert_eq!(found.as_ref(), Ok(&states[commits.len()]), "full at {at}");
    }
    failures
}

#[test]
fn a_full_disk_fails_whole_commits_only() {
    assert!(fill_up_at_every_write(Fault::Full) > 50);
}

#[test]
fn a_disk_without_new_blocks_can_still_be_read() {
    assert!(fill_up_at_every_write(Fault::FullForNewBlocks) > 10);
}

#[test]
fn after_a_failed_sync_only_a_new_opening_tells_what_is_there() {
    let commits = fixed_commits(6);
    let states = states(&commits);
    let (mut failures, mut landed) = (0, 0);
    for at in 0..operations(&commits) {
        let disk = Disk::default();
        let open = || RedbStorage::open_backend(disk.clone(), STORE, &Options::default());
        let mut store = open().expect("a good disk");
        disk.fail_at(disk.operations() + at, Fault::Sync);
        let failed = commits
            .iter()
            .position(|commit| store.commit(commit).is_err());
        disk.mend();
        let Some(failed) = failed else { continue };
        failures += 1;
        let error = store.commit(&commits[failed]).expect_err("it can't know");
        assert!(
            matches!(error, StorageError::Io(_)),
            "no sync at {at}: {error}"
        );
        dump(&store).expect("still answers");
        drop(store);
        let found = dump(&open().expect("a good disk")).expect("a good disk");
        assert!(
            states[failed..failed + 2].contains(&found),
            "no sync at {at}"
        );
        landed += usize::from(found != states[failed]);
    }
    assert!(
        failures > 20 && landed > 0,
        "{failures} commits failed, {landed} landed"
    );
}
