//! Sealing: to a device (HPKE, RFC 9180, base mode), and with a shared message key (XChaCha20-Poly1305).

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::hash::keyed;

type Kem = X25519HkdfSha256;

/// Length of an XChaCha20-Poly1305 nonce in bytes.
pub const NONCE: usize = 24;

/// Why something sealed did not open. Says nothing about the contents on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed for somebody else, or damaged")]
pub struct OpenError;

/// The public half of an X25519 HPKE key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HpkePublic(pub [u8; 32]);

/// The secret half of an X25519 HPKE key, derived from 32 secret bytes.
#[derive(Clone)]
pub struct HpkeSecret {
    secret: <Kem as hpke::Kem>::PrivateKey,
    public: HpkePublic,
}

impl std::fmt::Debug for HpkeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HpkeSecret({:?})", self.public)
    }
}

/// A short secret sealed to one HPKE key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// The encapsulated key.
    pub encapped: [u8; 32],
    /// The ciphertext with its tag: 48 bytes for a 32-byte secret.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
}

impl HpkeSecret {
    /// Derives the key pair (RFC 9180, `DeriveKeyPair`).
    #[must_use]
    pub fn derive(seed: &[u8; 32]) -> Self {
        let (secret, public) = Kem::derive_keypair(seed);
        let public = HpkePublic(public.to_bytes().into());
        Self { secret, public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> HpkePublic {
        self.public
    }

    /// Opens a secret that was sealed to this key under the same `info`.
    ///
    /// # Errors
    /// [`OpenError`] where it was sealed to another key or for another use.
    pub fn open(
        &self,
        info: &[u8],
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<[u8; 32]>, OpenError> {
        let encapped =
            <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapped).map_err(|_| OpenError)?;
        let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.secret,
            &encapped,
            info,
            &sealed.ciphertext,
            b"",
        )
        .map(Zeroizing::new)
        .map_err(|_| OpenError)?;
        let secret: [u8; 32] = plain.as_slice().try_into().map_err(|_| OpenError)?;
        Ok(Zeroizing::new(secret))
    }
}

impl HpkePublic {
    /// Seals a 32-byte secret to this key for the use named by `info`.
    ///
    /// # Errors
    /// [`OpenError`] if the key is not a point that can be sealed to: an attacker may announce one.
    pub fn seal(
        &self,
        info: &[u8],
        secret: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Result<SealedSecret, OpenError> {
        let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&self.0).map_err(|_| OpenError)?;
        let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<
            ChaCha20Poly1305,
            HkdfSha256,
            Kem,
        >(&OpModeS::Base, &public, info, secret, b"", rng)
        .map_err(|_| OpenError)?;
        Ok(SealedSecret {
            encapped: encapped.to_bytes().into(),
            ciphertext,
        })
    }
}

/// A key for one plaintext of one place in one chain.
///
/// The nonce is derived from key, associated data and plaintext, so that two plaintexts under one key
/// (a device restored from an old copy) never share a nonce.
#[derive(Clone)]
pub struct MessageKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageKey(..)")
    }
}

impl MessageKey {
    /// Wraps derived key bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Encrypts; returns the nonce and the ciphertext with its 16-byte tag.
    ///
    /// # Panics
    /// Never: the cipher fails only above 256 GiB.
    #[must_use]
    pub fn seal(&self, ad: &[u8], plain: &[u8]) -> ([u8; NONCE], Vec<u8>) {
        let full = keyed("revnet/v1/message/nonce", &self.0, &[ad, plain]);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&full[..NONCE]);
        let ciphertext = XChaCha20Poly1305::new((&*self.0).into())
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: plain,
                    aad: ad,
                },
            )
            .expect("plaintexts are far below the cipher's limit");
        (nonce, ciphertext)
    }

    /// Decrypts.
    ///
    /// # Errors
    /// [`OpenError`] where key, nonce, associated data or ciphertext don't belong together.
    pub fn open(
        &self,
        ad: &[u8],
        nonce: &[u8; NONCE],
        cipher: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        XChaCha20Poly1305::new((&*self.0).into())
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: cipher,
                    aad: ad,
                },
            )
            .map_err(|_| OpenError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;

    #[test]
    fn only_the_named_key_and_use_open_a_sealed_secret() {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
        let (alice, eve) = (HpkeSecret::derive(&[2; 32]), HpkeSecret::derive(&[3; 32]));
        let sealed = alice
            .public()
            .seal(b"use", &[9; 32], &mut rng)
            .expect("a real key");
        assert_eq!(*alice.open(b"use", &sealed).expect("own"), [9; 32]);
        assert_eq!(eve.open(b"use", &sealed), Err(OpenError));
        assert_eq!(alice.open(b"other", &sealed), Err(OpenError));
    }

    #[test]
    fn changing_anything_makes_opening_fail() {
        let key = MessageKey::new([4; 32]);
        let (nonce, cipher) = key.seal(b"ad", b"hello");
        assert_eq!(
            key.open(b"ad", &nonce, &cipher).as_deref(),
            Ok(&b"hello"[..])
        );
        assert!(key.open(b"ae", &nonce, &cipher).is_err());
        assert!(
            MessageKey::new([5; 32])
                .open(b"ad", &nonce, &cipher)
                .is_err()
        );
        let mut bad = cipher.clone();
        bad[0] ^= 1;
        assert!(key.open(b"ad", &nonce, &bad).is_err());
    }

    #[test]
    fn one_key_never_uses_a_nonce_for_two_texts() {
        let key = MessageKey::new([4; 32]);
        assert_ne!(key.seal(b"ad", b"one").0, key.seal(b"ad", b"two").0);
        assert_eq!(key.seal(b"ad", b"one"), key.seal(b"ad", b"one"));
    }
}
