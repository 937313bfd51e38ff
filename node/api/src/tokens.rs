//! Bearer tokens: 32 random bytes that are kept as hashes only. They live in one small file, which is
//! replaced as a whole, so that a crash leaves the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::{BASE32_NOPAD_NOCASE, HEXLOWER};
use revnet_protocol::hash::hash;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::dto::{Scope, Token};

/// Most tokens that one node keeps.
const MAX_TOKENS: usize = 256;
/// Longest name of a token in bytes.
const MAX_NAME: usize = 64;
/// What every token's text starts with, so that a leaked one is recognised.
const PREFIX: &str = "rvt_";

/// A fresh random token, such as the one that a node makes for its own command line at each start.
///
/// # Errors
/// The system has no random bytes.
pub fn new_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let text = BASE32_NOPAD_NOCASE.encode(&bytes).to_ascii_lowercase();
    Ok(format!("{PREFIX}{text}"))
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The token's id; empty for the node's own.
    pub(crate) token: String,
    pub(crate) scope: Scope,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    info: Token,
    /// Hash of the token's text, in hex.
    hash: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    tokens: Vec<Entry>,
}

/// Why a token wasn't made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("a token's name has 1 to {MAX_NAME} bytes")]
    Name,
    #[error("there are {MAX_TOKENS} tokens already: revoke one first")]
    TooMany,
    #[error("the token can't be saved: {0}")]
    Storage(#[from] io::Error),
}

/// All tokens of a node.
#[derive(Debug)]
pub(crate) struct Tokens {
    file: PathBuf,
    own: [u8; 32],
    entries: Mutex<Vec<Entry>>,
    revision: watch::Sender<u64>,
}

impl Tokens {
    /// Reads the file; a missing one holds no tokens.
    pub(crate) fn open(file: PathBuf, own: &str) -> io::Result<Self> {
        let kept: Kept = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{} is damaged: {error}; move it away, and make all tokens anew with 'revnet token new'",
                        file.display()
                    ),
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        if kept.version > VERSION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} was written by a newer version", file.display()),
            ));
        }
        Ok(Self {
            file,
            own: digest(own),
            entries: Mutex::new(kept.tokens),
            revision: watch::Sender::new(0),
        })
    }

    /// Whose token this is. Compares with every kept hash in constant time.
    pub(crate) fn find(&self, text: &str) -> Option<Caller> {
        let given = digest(text);
        if bool::from(given.ct_eq(&self.own)) {
            return Some(Caller {
                token: String::new(),
                scope: Scope::Admin,
            });
        }
        let mut found = None;
        let entries = self.lock();
        for entry in entries.iter() {
            let Ok(kept) = HEXLOWER.decode(entry.hash.as_bytes()) else {
                continue;
            };
            if bool::from(given.as_slice().ct_eq(&kept)) {
                found = Some(Caller {
                    token: entry.info.id.clone(),
                    scope: entry.info.scope,
                });
            }
        }
        found
    }

    /// Whether a token that was found earlier is still there.
    pub(crate) fn is_current(&self, caller: &Caller) -> bool {
        caller.token.is_empty()
            || self
                .lock()
                .iter()
                .any(|entry| entry.info.id == caller.token)
    }

    /// Changes whenever a token is revoked.
    pub(crate) fn revocations(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(crate) fn list(&self) -> Vec<Token> {
        self.lock().iter().map(|entry| entry.info.clone()).collect()
    }

    /// Makes a token; answers with its text, which isn't kept. Blocks on the disk.
    pub(crate) fn create(
        &self,
        name: String,
        scope: Scope,
        now_ms: u64,
    ) -> Result<(Token, String), TokenError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(TokenError::Name);
        }
        let text = new_token()?;
        let hashed = digest(&text);
        let info = Token {
            id: HEXLOWER.encode(&hashed[..8]),
            name,
            scope,
            created_ms: now_ms,
        };
        let mut entries = self.lock();
        if entries.len() >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        let mut next = entries.clone();
        next.push(Entry {
            info: info.clone(),
            hash: HEXLOWER.encode(&hashed),
        });
        save(&self.file, &next)?;
        *entries = next;
        Ok((info, text))
    }

    /// Revokes a token; false where there is none. Blocks on the disk.
    pub(crate) fn revoke(&self, id: &str) -> io::Result<bool> {
        let mut entries = self.lock();
        let mut next = entries.clone();
        next.retain(|entry| entry.info.id != id);
        if next.len() == entries.len() {
            return Ok(false);
        }
        save(&self.file, &next)?;
        *entries = next;
        drop(entries);
        self.revision.send_modify(|revision| *revision += 1);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // The list is replaced as a whole, so a panic elsewhere leaves no half-made one.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of the file's format.
const VERSION: u32 = 1;

fn digest(text: &str) -> [u8; 32] {
    hash("revnet/v1/api-token", &[text.as_bytes()]).0
}

fn save(file: &Path, entries: &[Entry]) -> io::Result<()> {
    let kept = Kept {
        version: VERSION,
        tokens: entries.to_vec(),
    };
    let bytes = serde_json::to_vec_pretty(&kept)?;
    let next = file.with_extension("new");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    out.write_all(&bytes)?;
    out.sync_all()?;
    fs::rename(&next, file)?;
    if let Some(folder) = file.parent().filter(|path| !path.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn tokens_survive_a_restart_as_hashes_and_end_when_revoked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("tokens.json");
        let own = new_token().expect("random bytes");
        let tokens = Tokens::open(file.clone(), &own).expect("no file yet");
        let (info, text) = tokens
            .create("bot".into(), Scope::Write, 7)
            .expect("a token");

        let kept = fs::read_to_string(&file).expect("the file");
        assert!(!kept.contains(&text) && !kept.contains(&own));
        let mode = fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let again = Tokens::open(file, &own).expect("the file");
        let caller = again.find(&text).expect("known");
        assert_eq!(caller.scope, Scope::Write);
        assert_eq!(again.find(&own).map(|own| own.scope), Some(Scope::Admin));
        assert_eq!(again.find("rvt_"), None);
        assert_eq!(again.list(), vec![info.clone()]);

        assert!(again.revoke(&info.id).expect("saved"));
        assert!(!again.revoke(&info.id).expect("nothing to save"));
        assert_eq!(again.find(&text), None);
        assert!(!again.is_current(&caller));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_list() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("tokens.json");
        fs::write(&file, b"{").expect("written");
        assert!(Tokens::open(file, "own").is_err());
    }
}
