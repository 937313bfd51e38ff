//! The relay's key file: its address contains the key, so it has to outlive restarts.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER_PERMISSIVE;
use libp2p::identity::{Keypair, ed25519};
use zeroize::Zeroizing;

/// Why the key file is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// It exists but can't be read.
    #[error(
        "the key file {path} cannot be read; check its owner, or name another one with --key-file"
    )]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It doesn't exist and can't be made.
    #[error(
        "the key file {path} cannot be created; check that its directory is writable, or name another one with --key-file"
    )]
    Create {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the key file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "{path} is not a relay's key file (64 hexadecimal digits); name another file with --key-file, or move it away to get a new key and address"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
}

/// Reads the key, or makes a new one on the first start.
pub(crate) fn load_or_create(path: &Path) -> Result<Keypair, IdentityError> {
    match load(path) {
        Err(IdentityError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(|source| IdentityError::Create {
                path: path.to_owned(),
                source,
            })?;
            // Not the key just made: somebody else may have been quicker, and then theirs is the one.
            load(path)
        }
        other => other,
    }
}

fn load(path: &Path) -> Result<Keypair, IdentityError> {
    let unreadable = |source| IdentityError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let malformed = || IdentityError::Malformed {
        path: path.to_owned(),
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed()),
        Err(error) => return Err(unreadable(error)),
    };
    let bytes = HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .map_err(|_| malformed())?;
    // The parser wipes what it is given.
    let mut bytes = Zeroizing::new(bytes);
    Keypair::ed25519_from_bytes(bytes.as_mut_slice()).map_err(|_| malformed())
}

/// Writes a new key beside the file and links it into place: whole or not at all, and never over another one.
fn create(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = directory.join(name);
    let written = write_key(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(directory)?.sync_all(),
    });
    fs::remove_file(&draft)?;
    written
}

fn write_key(path: &Path) -> io::Result<()> {
    let secret = ed25519::Keypair::generate().secret();
    let text = Zeroizing::new(HEXLOWER_PERMISSIVE.encode(secret.as_ref()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("is ours");
    }

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new/relay.key");
        let first = load_or_create(&path).expect("made").public();
        assert_eq!(
            fs::metadata(&path).expect("exists").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(load_or_create(&path).expect("read").public(), first);
        assert_eq!(
            fs::read_dir(path.parent().expect("has one"))
                .expect("exists")
                .count(),
            1,
            "nothing is left over"
        );
        create(&path).expect("leaves it alone");
        assert_eq!(load_or_create(&path).expect("read").public(), first);
    }

    #[test]
    fn an_unfit_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("relay.key");
        load_or_create(&path).expect("made");
        mode(&path, 0o640);
        assert!(matches!(
            load_or_create(&path),
            Err(IdentityError::Exposed { mode: 0o640, .. })
        ));
        for content in [&b"hello"[..], b"", b"00ff", b"\xff\xfe", &[b'a'; 66]] {
            fs::write(&path, content).expect("is ours");
            mode(&path, 0o600);
            assert!(matches!(
                load_or_create(&path),
                Err(IdentityError::Malformed { .. })
            ));
            assert_eq!(fs::read(&path).expect("exists"), content);
        }
        assert!(matches!(
            load_or_create(directory.path()),
            Err(IdentityError::Exposed { .. } | IdentityError::Read { .. })
        ));
        let nowhere = path.join("below/a/file");
        assert!(matches!(
            load_or_create(&nowhere),
            Err(IdentityError::Read { .. } | IdentityError::Create { .. })
        ));
    }
}
