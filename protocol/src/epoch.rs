//! Epoch secrets: one random secret per audience and generation, from which message keys and the
//! meeting places of its holders are derived, and the slots in which it travels.

use hkdf::Hkdf;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hash::{hash, keyed};
use crate::ids::{ChannelId, DeviceId, Hash, KeyId, RevoltId, StreamId};
use crate::limits::CHUNK_SLOTS;
use crate::seal::{HpkePublic, HpkeSecret, MessageKey, OpenError, SealedSecret};

/// The secret of one generation of one audience.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct EpochSecret([u8; 32]);

impl std::fmt::Debug for EpochSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochSecret({})", self.key_id().short())
    }
}

/// What a message key is for: the two plaintexts of an envelope never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Automerge change.
    Change,
    /// The body beside it.
    Body,
}

impl EpochSecret {
    /// Wraps 32 secret random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for sealing and for the local store.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name of this secret. It commits to the secret: whoever opens a slot checks it, so that one
    /// slot can't give one member another secret than the rest.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId(keyed("revnet/v1/epoch/key-id", &self.0, &[]))
    }

    /// What shows everybody who holds this secret that a device announcing it for a channel held it, too. Names of
    /// secrets are for all to read; with the name alone somebody could announce the secret of others for a channel
    /// of their own, and ask for it.
    #[must_use]
    pub fn claim(
        &self,
        revolt: &RevoltId,
        channel: &ChannelId,
        generation: u64,
        by: &DeviceId,
    ) -> Hash {
        let generation = generation.to_le_bytes();
        let parts: [&[u8]; 4] = [&revolt.0, &channel.0, &generation, &by.0];
        Hash(keyed("revnet/v1/epoch/claim", &self.0, &parts))
    }

    /// The key for one part of the envelope at (`stream`, `device`, `seq`).
    ///
    /// # Panics
    /// Never: HKDF-SHA256 gives up to 8160 bytes.
    #[must_use]
    pub fn message_key(
        &self,
        stream: &StreamId,
        device: &DeviceId,
        seq: u64,
        part: Part,
    ) -> MessageKey {
        let label: &[u8] = match part {
            Part::Change => b"revnet/v1/message/change",
            Part::Body => b"revnet/v1/message/body",
        };
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(&[label, &stream.0, &device.0, &seq.to_le_bytes()], &mut key)
            .expect("32 bytes are within HKDF's limit");
        MessageKey::new(key)
    }

    /// The secret by which holders of this epoch find and recognise each other.
    #[must_use]
    pub fn meet(&self) -> MeetSecret {
        MeetSecret(keyed("revnet/v1/epoch/meet", &self.0, &[]))
    }
}

/// Derived from an epoch secret: where its holders meet, and how they prove to each other that they hold it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MeetSecret([u8; 32]);

impl std::fmt::Debug for MeetSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeetSecret(..)")
    }
}

/// A tag that only holders of a secret can make or recognise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Tag(pub [u8; 16]);

fn tag(full: [u8; 32]) -> Tag {
    let mut out = [0; 16];
    out.copy_from_slice(&full[..16]);
    Tag(out)
}

impl MeetSecret {
    /// The meeting secret of those who know an invite: members and holders of its link.
    #[must_use]
    pub fn of_invite(invite: &crate::ids::InviteId) -> Self {
        Self(hash("revnet/v1/invite/meet", &[&invite.0]).0)
    }

    /// The gossip topic of `day` (days since 1970): another every day, so that topics don't name a revolt.
    #[must_use]
    pub fn topic(&self, day: u64) -> String {
        let bytes = keyed("revnet/v1/meet/topic", &self.0, &[&day.to_le_bytes()]);
        data_encoding::HEXLOWER.encode(&bytes)
    }

    /// The key under which members announce themselves in the DHT on `day`.
    #[must_use]
    pub fn dht_key(&self, day: u64) -> [u8; 32] {
        keyed("revnet/v1/meet/dht", &self.0, &[&day.to_le_bytes()])
    }

    /// "I hold this secret", said by `from` to `to` on a link with these fresh nonces. Worthless on any
    /// other link.
    #[must_use]
    pub fn proof(
        &self,
        from: &DeviceId,
        to: &DeviceId,
        from_nonce: &[u8; 32],
        to_nonce: &[u8; 32],
    ) -> Tag {
        tag(keyed(
            "revnet/v1/meet/proof",
            &self.0,
            &[&from.0, &to.0, from_nonce, to_nonce],
        ))
    }
}

/// One recipient's copy of an epoch secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Lets the recipient find its slot; see [`slot_tag`].
    pub tag: Tag,
    /// The secret, sealed to the recipient.
    pub sealed: SealedSecret,
}

/// Up to 256 slots of one epoch. Travels beside the control stream, readable by nobody but recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotChunk {
    /// Which secret the slots hold.
    pub key_id: KeyId,
    /// The slots.
    pub slots: Vec<Slot>,
}

/// Where the slot of a recipient is found in the chunks of `key_id`. Only who knows the recipient's
/// public key, that is a member, can tell whose slot it is.
#[must_use]
pub fn slot_tag(key_id: &KeyId, recipient: &HpkePublic) -> Tag {
    tag(hash("revnet/v1/epoch/slot-tag", &[&key_id.0, &recipient.0]).0)
}

/// Slots of one recipient in a chunk that are tried.
const MAX_OPENED: usize = 4;

fn slot_info(revolt: &RevoltId, key_id: &KeyId) -> Vec<u8> {
    [b"revnet/v1/epoch/slot".as_slice(), &revolt.0, &key_id.0].concat()
}

/// Seals a secret to recipients; those with an unusable key get no slot.
#[must_use]
pub fn seal_slots(
    secret: &EpochSecret,
    revolt: &RevoltId,
    recipients: &[HpkePublic],
    rng: &mut impl CryptoRng,
) -> Vec<SlotChunk> {
    let key_id = secret.key_id();
    let info = slot_info(revolt, &key_id);
    recipients
        .chunks(CHUNK_SLOTS)
        .map(|part| {
            let slots = part
                .iter()
                .filter_map(|to| {
                    let sealed = to.seal(&info, &secret.0, rng).ok()?;
                    Some(Slot {
                        tag: slot_tag(&key_id, to),
                        sealed,
                    })
                })
                .collect();
            SlotChunk { key_id, slots }
        })
        .collect()
}

/// What [`KeyRotate`](crate::act::KeyRotate) commits to: the chunks in their order.
#[must_use]
pub fn chunk_root(chunks: &[SlotChunk]) -> Hash {
    let encoded: Vec<Vec<u8>> = chunks.iter().map(crate::codec::encode).collect();
    let parts: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
    hash("revnet/v1/epoch/chunks", &parts)
}

impl SlotChunk {
    /// Opens the recipient's slot, if there is one, and checks that it holds the named secret.
    #[must_use]
    pub fn open(&self, revolt: &RevoltId, recipient: &HpkeSecret) -> Option<EpochSecret> {
        let wanted = slot_tag(&self.key_id, &recipient.public());
        let info = slot_info(revolt, &self.key_id);
        self.slots
            .iter()
            .filter(|slot| slot.tag == wanted)
            // Honest chunks have one; opening is dear.
            .take(MAX_OPENED)
            .filter_map(|slot| recipient.open(&info, &slot.sealed).ok())
            .map(|bytes| EpochSecret::new(*bytes))
            .find(|secret| secret.key_id() == self.key_id)
    }
}

/// An earlier secret of the same audience, sealed under a newer one: who gets the newer one reads on
/// into the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackLink {
    /// The earlier secret's name.
    pub key_id: KeyId,
    /// Nonce of the ciphertext.
    pub nonce: [u8; 24],
    /// The earlier secret, encrypted.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
}

fn back_link_key(newer: &EpochSecret) -> MessageKey {
    MessageKey::new(keyed("revnet/v1/epoch/back-link", &newer.0, &[]))
}

impl BackLink {
    /// Seals `earlier` under `newer`.
    #[must_use]
    pub fn seal(newer: &EpochSecret, earlier: &EpochSecret) -> Self {
        let key_id = earlier.key_id();
        let (nonce, ciphertext) = back_link_key(newer).seal(&key_id.0, &earlier.0);
        Self {
            key_id,
            nonce,
            ciphertext,
        }
    }

    /// Opens the earlier secret and checks its name.
    ///
    /// # Errors
    /// [`OpenError`] where `newer` isn't the secret it was sealed under, or the name is a lie.
    pub fn open(&self, newer: &EpochSecret) -> Result<EpochSecret, OpenError> {
        let plain = Zeroizing::new(back_link_key(newer).open(
            &self.key_id.0,
            &self.nonce,
            &self.ciphertext,
        )?);
        let bytes: [u8; 32] = plain.as_slice().try_into().map_err(|_| OpenError)?;
        let secret = EpochSecret::new(bytes);
        if secret.key_id() == self.key_id {
            Ok(secret)
        } else {
            Err(OpenError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;

    #[test]
    fn recipients_open_their_slot_and_nobody_else_does() {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
        let keys: Vec<_> = (0..300u16)
            .map(|i| {
                let mut seed = [0; 32];
                seed[..2].copy_from_slice(&i.to_le_bytes());
                HpkeSecret::derive(&seed)
            })
            .collect();
        let publics: Vec<_> = keys.iter().map(HpkeSecret::public).collect();
        let revolt = RevoltId([7; 32]);
        let secret = EpochSecret::new([8; 32]);
        let chunks = seal_slots(&secret, &revolt, &publics[..299], &mut rng);
        assert_eq!(chunks.len(), 2);
        let open = |key| chunks.iter().find_map(|chunk| chunk.open(&revolt, key));
        assert_eq!(open(&keys[0]), Some(secret.clone()));
        assert_eq!(open(&keys[298]), Some(secret.clone()));
        assert_eq!(open(&keys[299]), None);
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk.open(&RevoltId([6; 32]), &keys[0]).is_none())
        );
    }

    #[test]
    fn a_slot_with_another_secret_than_its_name_says_is_refused() {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
        let (key, revolt) = (HpkeSecret::derive(&[2; 32]), RevoltId([7; 32]));
        let named = EpochSecret::new([8; 32]).key_id();
        let lie = EpochSecret::new([9; 32]);
        let info = slot_info(&revolt, &named);
        let sealed = key
            .public()
            .seal(&info, lie.bytes(), &mut rng)
            .expect("a real key");
        let slot = Slot {
            tag: slot_tag(&named, &key.public()),
            sealed,
        };
        let chunk = SlotChunk {
            key_id: named,
            slots: vec![slot],
        };
        assert_eq!(chunk.open(&revolt, &key), None);
    }

    #[test]
    fn back_links_lead_from_newer_to_earlier_only() {
        let (old, new) = (EpochSecret::new([1; 32]), EpochSecret::new([2; 32]));
        let link = BackLink::seal(&new, &old);
        assert_eq!(link.open(&new), Ok(old.clone()));
        assert_eq!(link.open(&old), Err(OpenError));
    }
}
