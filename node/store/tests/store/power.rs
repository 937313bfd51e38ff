//! The power goes at every write: what was acknowledged is there, and nothing is there in part.

use revnet_core::storage::Storage as _;
use revnet_store::{Options, RedbStorage};

use crate::disk::{Disk, Fault};
use crate::workload::{Commit, Dump, STORE, dump, fixed_commits, states};

/// Commits until the power goes. Returns how many were acknowledged.
fn run(disk: &Disk, commits: &[Commit]) -> usize {
    let Ok(mut store) = RedbStorage::open_backend(disk.clone(), STORE, &Options::default()) else {
        return 0;
    };
    commits
        .iter()
        .take_while(|commit| store.commit(commit).is_ok())
        .count()
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
