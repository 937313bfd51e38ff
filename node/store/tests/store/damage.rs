//! Files that can't be opened say why; none brings the program down.

use std::fs;
use std::path::Path;

use redb::{Database, TableDefinition};
use revnet_core::storage::{Storage as _, StorageError};
use revnet_store::{FORMAT, OpenError, Options, RedbStorage};

use crate::disk::Disk;
use crate::workload::{STORE, dump, fixed_commits, states};

fn open(path: &Path) -> Result<RedbStorage, OpenError> {
    RedbStorage::open(path, STORE, &Options::default())
}

/// A store of some commits that was closed in order.
fn image() -> (Vec<u8>, crate::workload::Dump) {
    let commits = fixed_commits(8);
    let disk = Disk::default();
    let mut store =
        RedbStorage::open_backend(disk.clone(), STORE, &Options::default()).expect("an empty disk");
    for commit in &commits {
        store.commit(commit).expect("a good disk");
    }
    drop(store);
    (disk.image(), states(&commits).pop().expect("a state"))
}

#[test]
fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let first = open(&path).expect("nothing is there");
    let error = open(&path).expect_err("the first holds it");
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    open(&path).expect("the first is gone");
}

#[test]
fn the_file_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let mode = || fs::metadata(&path).expect("it exists").permissions().mode() & 0o777;
    drop(open(&path).expect("nothing is there"));
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner");
    drop(open(&path).expect("a store"));
    assert_eq!(mode(), 0o600);
}

#[test]
fn the_first_id_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(open(&path).expect("nothing is there"));
    let again = RedbStorage::open(&path, [9; 16], &Options::default()).expect("a store");
    assert_eq!(again.boot().expect("a good disk").store, STORE);
}

#[test]
fn other_files_are_not_stores() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = dir.path().join("text");
    fs::write(&text, "Dear diary, today I fed the cat.").expect("a directory");
    assert!(matches!(open(&text), Err(OpenError::NotAStore(_))));
    assert!(
        fs::read_to_string(&text)
            .expect("still there")
            .starts_with("Dear")
    );

    let other = dir.path().join("other");
    const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("other");
    let db = Database::create(&other).expect("a directory");
    let transaction = db.begin_write().expect("a good disk");
    transaction.open_table(OTHER).expect("a table");
    transaction.commit().expect("a good disk");
    drop(db);
    assert!(matches!(open(&other), Err(OpenError::NotAStore(_))));

    let missing = dir.path().join("no/such/directory");
    assert!(matches!(open(&missing), Err(OpenError::Io { .. })));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(open(&path).expect("nothing is there"));
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let db = Database::open(&path).expect("a database");
    let transaction = db.begin_write().expect("a good disk");
    let newer = (FORMAT + 1).to_be_bytes();
    let mut meta = transaction.open_table(META).expect("a table");
    meta.insert("format", newer.as_slice())
        .expect("a good disk");
    drop(meta);
    transaction.commit().expect("a good disk");
    drop(db);
    let error = open(&path).expect_err("too new");
    assert!(matches!(error, OpenError::Newer { found, .. } if found == FORMAT + 1));
    assert!(error.to_string().contains("update"), "{error}");
}

/// Opens and reads a file. Either it is as it was, or an error says that it isn't.
fn check(bytes: Vec<u8>, verify: bool, whole: &crate::workload::Dump, what: &str) -> bool {
    let options = Options {
        verify,
        ..Options::default()
    };
    match RedbStorage::open_backend(Disk::with_image(bytes), STORE, &options) {
        Ok(store) => match dump(&store) {
            Ok(found) => {
                assert!(!verify || found == *whole, "{what}: another state");
                false
            }
            Err(StorageError::Damaged(_)) => true,
            Err(error) => panic!("{what}: {error}"),
        },
        Err(OpenError::Damaged { .. } | OpenError::NotAStore(_) | OpenError::Newer { .. }) => true,
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn flipped_bytes_never_bring_it_down() {
    let (image, whole) = image();
    let mut caught = 0;
    // All of the header that redb uses, then some bytes of every page.
    let places = (0..400).chain((400..image.len()).step_by(389));
    for at in places {
        for verify in [false, true] {
            let mut bytes = image.clone();
            bytes[at] ^= 0x55;
            caught += usize::from(check(bytes, verify, &whole, &format!("flip at {at}")));
        }
    }
    assert!(caught > 100, "only {caught} flips were noticed");
}

#[test]
fn a_truncated_file_never_brings_it_down() {
    let (image, whole) = image();
    for len in (1..image.len())
        .step_by(1021)
        .chain([9, 10, 4095, 4096, image.len() - 1])
    {
        for verify in [false, true] {
            let what = format!("cut to {len}");
            assert!(
                check(image[..len].to_vec(), verify, &whole, &what),
                "{what}"
            );
        }
    }
}
