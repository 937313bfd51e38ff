//! Domain-separated BLAKE3. Each kind of object has its own domain string, so that bytes of one kind
//! never count as another.

use crate::ids::Hash;

/// Hashes `parts`, each preceded by its length, under `domain`.
///
/// The lengths keep `("ab", "c")` and `("a", "bc")` apart.
#[must_use]
pub fn hash(domain: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

/// A keyed hash of `parts` under `domain`: a MAC, and the way one secret becomes another.
#[must_use]
pub fn keyed(domain: &str, key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let key = blake3::derive_key(domain, key);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The plain hash of a ciphertext; its place in a signed header gives it its meaning.
#[must_use]
pub fn content(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}
