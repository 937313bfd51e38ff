//! The identity on disk: device keys, the certificate, and where it was made also the root key, sealed.
//!
//! `identity.json` (mode 0600) lies in the data directory. Without a passphrase the root key is as safe as that
//! file; with one, it is encrypted with a key stretched by argon2id (RFC 9106).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64;
use revnet_core::Identity;
use revnet_protocol::seal::MessageKey;
use revnet_protocol::{
    DeviceCert, DeviceId, DeviceKeys, DeviceRevocation, EnvelopeId, RootKey, UserId, decode, encode,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const FILE: &str = "identity.json";
const FORMAT: u32 = 1;
/// Memory of argon2id in KiB, and its passes: the second choice of RFC 9106, for machines of any size.
const ARGON2_MEMORY: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const BACKUP_MAGIC: &[u8] = b"revnet-backup-1\n";

/// Why an identity can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is one already, and it isn't overwritten.
    #[error("there is an identity in {0} already; use another --data-dir for another one")]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no identity in {0}; make one with: revnet id new --name NAME")]
    Missing(PathBuf),
    /// The file isn't an identity.
    #[error(
        "{0} is damaged: put a copy of it back; or move it away, and restore who you are with: revnet id restore"
    )]
    Damaged(PathBuf),
    /// The passphrase doesn't fit, or is missing.
    #[error(
        "the passphrase is wrong or missing; give it with --passphrase-file FILE or in REVNET_PASSPHRASE"
    )]
    Passphrase,
    /// The root key is on another device.
    #[error("the root key isn't on this device: ask the device where the identity was made")]
    NotHere,
    /// A phrase or backup that isn't one.
    #[error("{0}")]
    Invalid(String),
    /// The system refuses.
    #[error("can't use {path}: {why}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

#[derive(Clone, Serialize, Deserialize)]
struct Sealed {
    salt: String,
    nonce: String,
    ciphertext: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Root {
    /// Base64 of the seed.
    Plain(String),
    /// Encrypted with a passphrase.
    Sealed(Sealed),
    /// On another device.
    Elsewhere,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    format: u32,
    name: String,
    device_seed: String,
    cert: String,
    root: Root,
}

/// What can be told of an identity without its secrets.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The person.
    pub user: String,
    /// The device.
    pub device: String,
    /// The name that it was made with.
    pub name: String,
    /// The root key is sealed with a passphrase.
    pub sealed: bool,
}

#[derive(Serialize, Deserialize)]
struct Backup {
    name: String,
    seed: [u8; 32],
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    bytes
}

fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

fn stretch(passphrase: &str, salt: &[u8]) -> Result<MessageKey, IdentityError> {
    let params = Params::new(ARGON2_MEMORY, ARGON2_PASSES, 1, Some(32))
        .expect("constant parameters are valid");
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|_| IdentityError::Passphrase)?;
    Ok(MessageKey::new(*key))
}

fn seal(passphrase: &str, plain: &[u8]) -> Result<Sealed, IdentityError> {
    let salt: [u8; 16] = random();
    let (nonce, ciphertext) = stretch(passphrase, &salt)?.seal(b"revnet/v1/identity", plain);
    Ok(Sealed {
        salt: BASE64.encode(&salt),
        nonce: BASE64.encode(&nonce),
        ciphertext: BASE64.encode(&ciphertext),
    })
}

fn unseal(passphrase: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let part = |text: &str| {
        BASE64
            .decode(text.as_bytes())
            .map_err(|_| IdentityError::Passphrase)
    };
    let nonce: [u8; 24] = part(&sealed.nonce)?
        .try_into()
        .map_err(|_| IdentityError::Passphrase)?;
    stretch(passphrase, &part(&sealed.salt)?)?
        .open(b"revnet/v1/identity", &nonce, &part(&sealed.ciphertext)?)
        .map(Zeroizing::new)
        .map_err(|_| IdentityError::Passphrase)
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError + '_ {
    move |why| IdentityError::Io {
        path: path.to_owned(),
        why,
    }
}

/// Makes the data directory, readable by its owner only.
pub(crate) fn prepare(data_dir: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if data_dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(io(data_dir))
}

fn save(
    data_dir: &Path,
    root: &RootKey,
    name: &str,
    passphrase: Option<&str>,
) -> Result<Summary, IdentityError> {
    prepare(data_dir)?;
    let path = data_dir.join(FILE);
    if path.exists() {
        return Err(IdentityError::Exists(data_dir.to_owned()));
    }
    let wrong = name.contains('/') || name.chars().any(char::is_control);
    if name.trim().is_empty() || name.len() > revnet_protocol::limits::MAX_NAME || wrong {
        return Err(IdentityError::Invalid(
            "a name has 1 to 64 bytes, without '/' and control characters".into(),
        ));
    }
    let device = DeviceKeys::from_seed(random());
    let cert = root.certify(&device, &label(), unix_ms());
    let seed = root.seed();
    let sealed = match passphrase {
        Some(passphrase) => Root::Sealed(seal(passphrase, &*seed)?),
        None => Root::Plain(BASE64.encode(&*seed)),
    };
    let stored = Stored {
        format: FORMAT,
        name: name.to_owned(),
        device_seed: BASE64.encode(&*device.seed()),
        cert: BASE64.encode(&encode(&cert)),
        root: sealed,
    };
    let text = serde_json::to_vec_pretty(&stored).expect("strings serialise");
    write_private(&path, &text).map_err(io(&path))?;
    show(data_dir)
}

fn label() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "device".into(), |text| text.trim().to_owned())
}

fn read(data_dir: &Path) -> Result<Stored, IdentityError> {
    let path = data_dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(IdentityError::Missing(data_dir.to_owned()));
        }
        Err(error) => return Err(io(&path)(error)),
    };
    serde_json::from_slice::<Stored>(&bytes)
        .ok()
        .filter(|stored| stored.format == FORMAT)
        .ok_or(IdentityError::Damaged(path))
}

/// Makes a new identity in `data_dir`.
///
/// # Errors
/// [`IdentityError`]; an identity that is there is never overwritten.
pub fn create(
    data_dir: &Path,
    name: &str,
    passphrase: Option<&str>,
) -> Result<Summary, IdentityError> {
    save(data_dir, &RootKey::from_seed(random()), name, passphrase)
}

/// Restores a person from their 24 words, as a new device.
///
/// # Errors
/// [`IdentityError`].
pub fn restore(
    data_dir: &Path,
    phrase: &str,
    name: &str,
    passphrase: Option<&str>,
) -> Result<Summary, IdentityError> {
    let root =
        RootKey::from_phrase(phrase).map_err(|error| IdentityError::Invalid(error.to_string()))?;
    save(data_dir, &root, name, passphrase)
}

/// Restores a person from a backup file, as a new device, under another name if one is given.
///
/// # Errors
/// [`IdentityError`].
pub fn restore_backup(
    data_dir: &Path,
    file: &[u8],
    passphrase: &str,
    name: Option<&str>,
) -> Result<Summary, IdentityError> {
    let invalid = || IdentityError::Invalid("this is not a revnet backup file".into());
    let text = file.strip_prefix(BACKUP_MAGIC).ok_or_else(invalid)?;
    let sealed: Sealed = serde_json::from_slice(text).map_err(|_| invalid())?;
    let plain = unseal(passphrase, &sealed)?;
    let backup: Backup = decode(&plain, 4096).map_err(|_| invalid())?;
    save(
        data_dir,
        &RootKey::from_seed(backup.seed),
        name.unwrap_or(&backup.name),
        Some(passphrase),
    )
}

/// What can be told of the identity in `data_dir`.
///
/// # Errors
/// [`IdentityError`].
pub fn show(data_dir: &Path) -> Result<Summary, IdentityError> {
    let stored = read(data_dir)?;
    let identity = parse(data_dir, &stored)?;
    Ok(Summary {
        user: identity.cert.user.to_string(),
        device: identity.cert.device.to_string(),
        name: stored.name,
        sealed: matches!(stored.root, Root::Sealed(_)),
    })
}

fn parse(data_dir: &Path, stored: &Stored) -> Result<Identity, IdentityError> {
    let damaged = || IdentityError::Damaged(data_dir.join(FILE));
    let seed = Zeroizing::new(
        BASE64
            .decode(stored.device_seed.as_bytes())
            .map_err(|_| damaged())?,
    );
    let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| damaged())?;
    let cert = BASE64
        .decode(stored.cert.as_bytes())
        .map_err(|_| damaged())?;
    let cert: DeviceCert = decode(&cert, 4096).map_err(|_| damaged())?;
    let keys = DeviceKeys::from_seed(seed);
    if cert.verify().is_err() || cert.device != keys.id() {
        return Err(damaged());
    }
    Ok(Identity {
        keys,
        cert,
        name: stored.name.clone(),
    })
}

/// The identity to run a node with.
///
/// # Errors
/// [`IdentityError`].
pub fn load(data_dir: &Path) -> Result<Identity, IdentityError> {
    parse(data_dir, &read(data_dir)?)
}

fn root(data_dir: &Path, passphrase: Option<&str>) -> Result<(RootKey, Stored), IdentityError> {
    let stored = read(data_dir)?;
    let seed = match &stored.root {
        Root::Plain(text) => Zeroizing::new(
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| IdentityError::Damaged(data_dir.join(FILE)))?,
        ),
        Root::Sealed(sealed) => unseal(passphrase.ok_or(IdentityError::Passphrase)?, sealed)?,
        Root::Elsewhere => return Err(IdentityError::NotHere),
    };
    let seed = seed
        .as_slice()
        .try_into()
        .map_err(|_| IdentityError::Damaged(data_dir.join(FILE)))?;
    Ok((RootKey::from_seed(seed), stored))
}

/// The 24 words of the identity in `data_dir`.
///
/// # Errors
/// [`IdentityError`].
pub fn phrase(
    data_dir: &Path,
    passphrase: Option<&str>,
) -> Result<Zeroizing<String>, IdentityError> {
    Ok(root(data_dir, passphrase)?.0.phrase())
}

/// The root key's word that a device is this person's no longer, for each act in `keep` that it stands by.
///
/// # Errors
/// [`IdentityError`].
pub fn revocations(
    data_dir: &Path,
    device: DeviceId,
    keep: &[(u64, EnvelopeId)],
    passphrase: Option<&str>,
) -> Result<Vec<DeviceRevocation>, IdentityError> {
    let (root, _) = root(data_dir, passphrase)?;
    let keep = keep.iter().copied().map(Some);
    Ok(keep.map(|keep| root.revoke(device, keep)).collect())
}

/// A backup file, encrypted with `passphrase`; where the identity has a passphrase it must be the same.
///
/// # Errors
/// [`IdentityError`].
pub fn backup(data_dir: &Path, passphrase: &str, name: String) -> Result<Vec<u8>, IdentityError> {
    if passphrase.is_empty() {
        return Err(IdentityError::Invalid("a backup needs a passphrase".into()));
    }
    let (root, _) = root(data_dir, Some(passphrase))?;
    let plain = Zeroizing::new(encode(&Backup {
        name,
        seed: *root.seed(),
    }));
    let sealed = seal(passphrase, &plain)?;
    let mut file = BACKUP_MAGIC.to_vec();
    file.extend(serde_json::to_vec(&sealed).expect("strings serialise"));
    Ok(file)
}

/// Whose phrase this is, without storing anything.
#[must_use]
pub fn whose(phrase: &str) -> Option<UserId> {
    RootKey::from_phrase(phrase).ok().map(|root| root.user())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_phrase_backup_and_restore() {
        let dir = tempfile::tempdir().expect("a directory");
        let (a, b, c) = (
            dir.path().join("a"),
            dir.path().join("b"),
            dir.path().join("c"),
        );
        let made = create(&a, "Ada", Some("secret")).expect("made");
        assert!(matches!(
            create(&a, "Ada", None),
            Err(IdentityError::Exists(_))
        ));
        assert!(matches!(phrase(&a, None), Err(IdentityError::Passphrase)));
        assert!(matches!(
            phrase(&a, Some("wrong")),
            Err(IdentityError::Passphrase)
        ));
        let words = phrase(&a, Some("secret")).expect("the right passphrase");
        let again = restore(&b, &words, "Ada", None).expect("restored");
        assert_eq!(again.user, made.user);
        assert_ne!(
            again.device, made.device,
            "a restored person is on a new device"
        );
        let file = backup(&a, "secret", "Ada B.".into()).expect("backed up");
        assert!(matches!(
            restore_backup(&c, &file, "wrong", None),
            Err(IdentityError::Passphrase)
        ));
        assert_eq!(
            restore_backup(&c, &file, "secret", None)
                .expect("restored")
                .user,
            made.user
        );
    }

    #[test]
    fn a_damaged_or_missing_file_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = load(dir.path()).expect_err("nothing there").to_string();
        assert!(text.contains("revnet id new"), "{text}");
        fs::write(dir.path().join(FILE), b"{").expect("written");
        let text = load(dir.path()).expect_err("damaged").to_string();
        assert!(text.contains("revnet id restore"), "{text}");
    }
}
