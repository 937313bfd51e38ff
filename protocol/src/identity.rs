//! People and their devices: the root key with its recovery phrase, device keys, and the certificate
//! that joins the two.

use bip39::{Language, Mnemonic};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codec::encode;
use crate::hash::{hash, keyed};
use crate::ids::{DeviceId, EnvelopeId, UserId};
use crate::limits::MAX_NAME;
use crate::seal::{HpkePublic, HpkeSecret};

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// Verifies `signature` of `key` over `message` by the network's one rule, `verify_strict`: it refuses
/// weak keys and malleable signatures, and all nodes must agree on what they refuse.
#[must_use]
pub fn verify(key: &[u8; 32], message: &[u8; 32], signature: &Signature) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| {
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .is_ok()
    })
}

/// A person's root key. It certifies devices and is needed for nothing else.
#[derive(Clone)]
pub struct RootKey(SigningKey);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootKey({})", self.user().short())
    }
}

/// Why a text is not a recovery phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a recovery phrase: it has 24 English words, and its last word checks the others")]
pub struct PhraseError;

impl RootKey {
    /// The key made of 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(SigningKey::from_bytes(&seed))
    }

    /// The secret bytes, for sealing.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The 24 words (BIP39, English) that restore this key.
    ///
    /// # Panics
    /// Never: 32 bytes are a valid BIP39 entropy.
    #[must_use]
    pub fn phrase(&self) -> Zeroizing<String> {
        let words = Mnemonic::from_entropy_in(Language::English, &*self.seed())
            .expect("32 bytes are a valid entropy");
        Zeroizing::new(words.words().collect::<Vec<_>>().join(" "))
    }

    /// Restores the key from its 24 words; case and extra spaces don't matter.
    ///
    /// # Errors
    /// [`PhraseError`] for another number of words, unknown words, or a wrong checksum.
    pub fn from_phrase(text: &str) -> Result<Self, PhraseError> {
        let tidy = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        let words =
            Mnemonic::parse_in_normalized(Language::English, &tidy).map_err(|_| PhraseError)?;
        let entropy = Zeroizing::new(words.to_entropy());
        let seed: [u8; 32] = entropy.as_slice().try_into().map_err(|_| PhraseError)?;
        Ok(Self::from_seed(seed))
    }

    /// Who this is.
    #[must_use]
    pub fn user(&self) -> UserId {
        UserId(self.0.verifying_key().to_bytes())
    }

    /// Certifies a device as this person's. `issued_ms` is Unix milliseconds, for people to read only.
    #[must_use]
    pub fn certify(&self, device: &DeviceKeys, label: &str, issued_ms: u64) -> DeviceCert {
        let mut cert = DeviceCert {
            user: self.user(),
            device: device.id(),
            hpke: device.hpke().public(),
            label: clip(label).to_owned(),
            issued_ms,
            signature: Signature([0; 64]),
        };
        cert.signature = Signature(self.0.sign(&cert.digest()).to_bytes());
        cert
    }

    /// Takes a device's certificate back, for good.
    #[must_use]
    pub fn revoke(&self, device: DeviceId, keep: Option<(u64, EnvelopeId)>) -> DeviceRevocation {
        let mut revocation = DeviceRevocation {
            user: self.user(),
            device,
            keep,
            signature: Signature([0; 64]),
        };
        revocation.signature = Signature(self.0.sign(&revocation.digest()).to_bytes());
        revocation
    }
}

/// "This device is mine no longer", said by a root key: it was lost, stolen, or put away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRevocation {
    /// Whose device it was.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// The last control act of the device that its owner stands by, as number and id; without it all that
    /// the act with this revocation knows.
    pub keep: Option<(u64, EnvelopeId)>,
    /// The root key's signature over the rest.
    pub signature: Signature,
}

impl DeviceRevocation {
    fn digest(&self) -> [u8; 32] {
        let fields = (&self.user, &self.device, &self.keep);
        hash("revnet/v1/device-revocation", &[&encode(&fields)]).0
    }

    /// Whether the user's root key signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        verify(&self.user.0, &self.digest(), &self.signature)
    }
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NAME)]
}

/// The secret keys of one installation, all derived from one seed.
#[derive(Clone)]
pub struct DeviceKeys {
    sign: SigningKey,
    hpke: HpkeSecret,
}

impl std::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKeys({})", self.id().short())
    }
}

impl DeviceKeys {
    /// Derives the keys of the device from its 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let hpke = Zeroizing::new(keyed("revnet/v1/device/hpke", &seed, &[]));
        Self {
            sign: SigningKey::from_bytes(&seed),
            hpke: HpkeSecret::derive(&hpke),
        }
    }

    /// The device's id: its public key.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        DeviceId(self.sign.verifying_key().to_bytes())
    }

    /// The key that epoch secrets are sealed to.
    #[must_use]
    pub fn hpke(&self) -> &HpkeSecret {
        &self.hpke
    }

    /// The Ed25519 seed: the network layer uses the same key.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.sign.to_bytes())
    }

    /// Signs a 32-byte digest.
    #[must_use]
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        Signature(self.sign.sign(digest).to_bytes())
    }
}

/// "This device is mine", said by a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCert {
    /// Whose device it is.
    pub user: UserId,
    /// The device's signing key.
    pub device: DeviceId,
    /// The key that secrets for the device are sealed to.
    pub hpke: HpkePublic,
    /// What its owner calls it, at most 64 bytes.
    pub label: String,
    /// When it was issued, in Unix milliseconds by the issuer's clock. Decides nothing.
    pub issued_ms: u64,
    /// The root key's signature over the rest.
    pub signature: Signature,
}

/// Why a device certificate counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertError {
    /// The signature isn't the user's.
    #[error("the device certificate isn't signed by its user")]
    Signature,
    /// The label is over 64 bytes.
    #[error("the device's label is too long")]
    Label,
}

impl DeviceCert {
    fn digest(&self) -> [u8; 32] {
        let fields = (
            &self.user,
            &self.device,
            &self.hpke,
            &self.label,
            self.issued_ms,
        );
        hash("revnet/v1/device-cert", &[&encode(&fields)]).0
    }

    /// Checks form and signature.
    ///
    /// # Errors
    /// [`CertError`] says which.
    pub fn verify(&self) -> Result<(), CertError> {
        if self.label.len() > MAX_NAME {
            return Err(CertError::Label);
        }
        if verify(&self.user.0, &self.digest(), &self.signature) {
            Ok(())
        } else {
            Err(CertError::Signature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phrase_restores_the_key() {
        let root = RootKey::from_seed([5; 32]);
        let phrase = root.phrase();
        assert_eq!(phrase.split(' ').count(), 24);
        let again = RootKey::from_phrase(&format!("  {} ", phrase.to_uppercase()));
        assert_eq!(again.expect("the same words").user(), root.user());
    }

    #[test]
    fn a_wrong_phrase_is_refused() {
        let phrase = RootKey::from_seed([5; 32]).phrase();
        let mut words: Vec<_> = phrase.split(' ').collect();
        words.swap(0, 1);
        assert!(RootKey::from_phrase(&words.join(" ")).is_err());
        assert!(RootKey::from_phrase("abandon").is_err());
    }

    #[test]
    fn a_certificate_covers_each_of_its_fields() {
        let root = RootKey::from_seed([1; 32]);
        let device = DeviceKeys::from_seed([2; 32]);
        let cert = root.certify(&device, "laptop", 7);
        assert_eq!(cert.verify(), Ok(()));
        let other = DeviceKeys::from_seed([3; 32]);
        let changed = [
            DeviceCert {
                user: RootKey::from_seed([9; 32]).user(),
                ..cert.clone()
            },
            DeviceCert {
                device: other.id(),
                ..cert.clone()
            },
            DeviceCert {
                hpke: other.hpke().public(),
                ..cert.clone()
            },
            DeviceCert {
                label: "phone".into(),
                ..cert.clone()
            },
            DeviceCert {
                issued_ms: 8,
                ..cert.clone()
            },
        ];
        for cert in changed {
            assert_eq!(cert.verify(), Err(CertError::Signature));
        }
    }
}
