//! The power goes at every write: what was acknowledged is there, and nothing is there in part.

use revnet_core::storage::{Space, Storage as _, Write};
use revnet_store::{Options, RedbStorage};

use crate::disk::{Disk, Fault};
use crate::workload::{Commit, Dump, STORE, dump, fixed_commits, states};

/// Commits until the power goes. Returns how many were acknowledged.
fn run(disk: &Disk, commits: &[Commit]) -> usize {
    let Ok(mut store) = RedbStorage::open_backend(disk.clone(), STORE, &Options::default()) else {
        return 0;
    };
    let mut acknowledged = 0;
    for commit in commits {
        if store.commit(commit).is_err() {
            break;
        }
        acknowledged += 1;
        if acknowledged % 4 == 0 && store.commit(&[]).is_err() {
            break;
        }
    }
    acknowledged
}

fn reopened(image: Vec<u8>) -> Dump {
    let store = RedbStorage::open_backend(Disk::with_image(image), STORE, &Options::default());
    dump(&store.expect("opens after a power cut")).expect("answers after a power cut")
}

/// Small numbers that look random.
fn coin(seed: usize) -> impl FnMut() -> bool {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state & 1 == 0
    }
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_acknowledged() {
    let commits = fixed_commits(14);
    let states = states(&commits);
    let whole = Disk::default();
    assert_eq!(run(&whole, &commits), commits.len());
    let operations = whole.operations();
    assert!(operations > 100, "the workload writes {operations} times");

    let mut in_flight = 0;
    for at in 0..operations {
        let disk = Disk::default();
        disk.fail_at(at, Fault::PowerCut);
        let acknowledged = run(&disk, &commits);
        let allowed = &states[acknowledged..states.len().min(acknowledged + 2)];
        let mut images = vec![
            disk.image_after_cut(|| false),
            disk.image_after_cut(|| true),
        ];
        images.extend((0..4).map(|seed| disk.image_after_cut(coin(at * 4 + seed))));
        for (variant, image) in images.into_iter().enumerate() {
            let found = reopened(image);
            assert!(allowed.contains(&found), "cut at {at}, variant {variant}");
            in_flight += usize::from(found != states[acknowledged]);
        }
    }
    assert!(in_flight > 0, "no cut fell behind the point of no return");
}

#[test]
fn a_power_cut_during_recovery_changes_nothing() {
    let commits = fixed_commits(6);
    let states = states(&commits);
    let disk = Disk::default();
    let mut store =
        RedbStorage::open_backend(disk.clone(), STORE, &Options::default()).expect("an empty disk");
    for commit in &commits {
        store.commit(commit).expect("a good disk");
    }
    let image = disk.image_after_cut(|| false);
    for at in 0..1000 {
        let disk = Disk::with_image(image.clone());
        disk.fail_at(at, Fault::PowerCut);
        run(&disk, &[]);
        if !disk.failed() {
            assert!(at > 2, "recovery writes");
            return;
        }
        for seed in 0..4 {
            let found = reopened(disk.image_after_cut(coin(at * 4 + seed)));
            assert_eq!(Some(&found), states.last(), "cut at {at}, variant {seed}");
        }
    }
    panic!("recovery does not end");
}

#[test]
fn a_settled_store_opens_after_a_crash_without_a_repair() {
    let disk = Disk::default();
    let open = |disk: Disk| RedbStorage::open_backend(disk, STORE, &Options::default());
    let mut store = open(disk.clone()).expect("an empty disk");
    let put = |key: u8| Write::Put {
        space: Space::Nonce,
        key: vec![key],
        value: vec![1; 1000],
    };
    // A repair reads everything and commits what it found. Debug builds of redb always read everything,
    // so that only the commit tells.
    let writes_to_open = || {
        let crashed = Disk::with_image(disk.image_after_cut(|| false));
        let _store = open(crashed.clone()).expect("opens after a crash");
        crashed.operations()
    };
    let mut commit = |batches: &[Vec<Write>]| store.commit(batches).expect("a good disk");
    commit(&[(0..200).map(put).collect()]);
    let repaired = writes_to_open();
    commit(&[]);
    assert!(writes_to_open() < repaired, "it settled");
    commit(&[vec![put(0)]]);
    assert_eq!(writes_to_open(), repaired, "it has to settle again");
}
