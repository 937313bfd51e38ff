//! How the people of an audience come to share the secret of an epoch.
//!
//! The rest of the program knows secrets by their names and asks a [`KeyAgreement`] to make, hand on and open them.
//! [`SealedSlots`] is the one that is built: a random secret, sealed to each recipient by HPKE. A tree (MLS, RFC 9420)
//! would be another.

use rand_core::CryptoRng;

use crate::epoch::{BackLink, EpochSecret, SlotChunk, seal_slots};
use crate::ids::RevoltId;
use crate::seal::{HpkePublic, HpkeSecret};

/// Makes, hands on and opens secrets of epochs.
pub trait KeyAgreement {
    /// A new secret, what carries it to its recipients, and what leads from it to earlier ones.
    fn begin(
        &self,
        revolt: &RevoltId,
        recipients: &[HpkePublic],
        earlier: &[&EpochSecret],
        rng: &mut impl CryptoRng,
    ) -> Begun;

    /// Carries a secret to more recipients; those with an unusable key get nothing.
    fn hand_on(
        &self,
        secret: &EpochSecret,
        revolt: &RevoltId,
        recipients: &[HpkePublic],
        rng: &mut impl CryptoRng,
    ) -> Vec<SlotChunk>;

    /// The secret that a chunk carries to a recipient, if it is the one that it names.
    fn receive(
        &self,
        chunk: &SlotChunk,
        revolt: &RevoltId,
        recipient: &HpkeSecret,
    ) -> Option<EpochSecret>;

    /// The earlier secret to which a link leads from a newer one.
    fn lead_back(&self, newer: &EpochSecret, link: &BackLink) -> Option<EpochSecret>;
}

/// A secret at its beginning.
#[derive(Debug)]
pub struct Begun {
    /// The secret.
    pub secret: EpochSecret,
    /// What carries it to recipients.
    pub chunks: Vec<SlotChunk>,
    /// What leads to earlier ones.
    pub back_links: Vec<BackLink>,
}

/// A random secret, sealed to each recipient.
#[derive(Clone, Copy, Debug)]
pub struct SealedSlots;

impl KeyAgreement for SealedSlots {
    fn begin(
        &self,
        revolt: &RevoltId,
        recipients: &[HpkePublic],
        earlier: &[&EpochSecret],
        rng: &mut impl CryptoRng,
    ) -> Begun {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let secret = EpochSecret::new(bytes);
        let links = earlier.iter();
        let back_links = links.map(|earlier| BackLink::seal(&secret, earlier));
        let back_links = back_links.collect();
        let chunks = seal_slots(&secret, revolt, recipients, rng);
        Begun {
            secret,
            chunks,
            back_links,
        }
    }

    fn hand_on(
        &self,
        secret: &EpochSecret,
        revolt: &RevoltId,
        recipients: &[HpkePublic],
        rng: &mut impl CryptoRng,
    ) -> Vec<SlotChunk> {
        seal_slots(secret, revolt, recipients, rng)
    }

    fn receive(
        &self,
        chunk: &SlotChunk,
        revolt: &RevoltId,
        recipient: &HpkeSecret,
    ) -> Option<EpochSecret> {
        chunk.open(revolt, recipient)
    }

    fn lead_back(&self, newer: &EpochSecret, link: &BackLink) -> Option<EpochSecret> {
        link.open(newer).ok()
    }
}
