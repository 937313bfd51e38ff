//! Invite links. The secret stays in the link: `revnet:…`, or the fragment of an `https` address, which
//! browsers don't send to servers.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codec::{decode, encode};
use crate::hash::{hash, keyed};
use crate::identity::{DeviceKeys, Signature};
use crate::ids::{DeviceId, InviteId, RevoltId};
use crate::limits::{MAX_LINK, MAX_LINK_ADDRESSES, MAX_NAME, MAX_TOPIC};
use crate::seal::{HpkePublic, HpkeSecret};

/// The secret that a link carries: an Ed25519 key that proves the invitation, and an HPKE key that epoch
/// secrets are sealed to.
#[derive(Clone)]
pub struct InviteSecret {
    seed: Zeroizing<[u8; 32]>,
    keys: DeviceKeys,
}

impl std::fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InviteSecret({:?})", self.id())
    }
}

impl InviteSecret {
    /// Derives the keys of an invite from 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let derived = keyed("revnet/v1/invite/keys", &seed, &[]);
        Self {
            seed: Zeroizing::new(seed),
            keys: DeviceKeys::from_seed(derived),
        }
    }

    /// The secret bytes.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The invite's public name.
    #[must_use]
    pub fn id(&self) -> InviteId {
        InviteId(self.keys.id().0)
    }

    /// The key that epoch secrets are sealed to.
    #[must_use]
    pub fn hpke(&self) -> &HpkeSecret {
        self.keys.hpke()
    }

    /// The public half of [`InviteSecret::hpke`].
    #[must_use]
    pub fn hpke_public(&self) -> HpkePublic {
        self.keys.hpke().public()
    }

    /// Signs as the invite.
    #[must_use]
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        self.keys.sign(digest)
    }
}

/// What a newcomer signs with the invite's key to be let in on a link between two devices.
#[must_use]
pub fn knock_digest(
    from: &DeviceId,
    to: &DeviceId,
    from_nonce: &[u8; 32],
    to_nonce: &[u8; 32],
) -> [u8; 32] {
    hash(
        "revnet/v1/invite/knock",
        &[&from.0, &to.0, from_nonce, to_nonce],
    )
    .0
}

/// The contents of a link. Everything but the secret is for a preview, and only as true as who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteLink {
    /// The revolt.
    pub revolt: RevoltId,
    /// The secret; see [`InviteSecret`].
    pub seed: [u8; 32],
    /// The revolt's name.
    pub name: String,
    /// The revolt's icon, an emoji.
    pub icon: Option<String>,
    /// Who invites.
    pub inviter: String,
    /// Unix milliseconds after which it lets nobody in.
    pub expires_ms: Option<u64>,
    /// Where members and relays are found: libp2p multiaddresses that end with a peer id.
    pub addresses: Vec<String>,
}

/// Why a text is not an invite link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Neither `revnet:` nor `https://HOST/i#`.
    #[error("not an invite link: it starts with 'revnet:' or 'https://HOST/i#'")]
    Scheme,
    /// Cut off or mistyped.
    #[error("the invite link is incomplete or mistyped: copy the whole line again")]
    Damaged,
    /// Made by a newer program.
    #[error("the invite link was made by a newer version of revnet: update this one")]
    Newer,
    /// Longer than a link can be.
    #[error("the invite link is too long to be one")]
    TooLong,
}

impl InviteLink {
    /// The secret's keys.
    #[must_use]
    pub fn secret(&self) -> InviteSecret {
        InviteSecret::from_seed(self.seed)
    }

    fn payload(&self) -> String {
        let mut bytes = encode(self);
        let sum = hash("revnet/v1/link", &[&bytes]);
        bytes.extend_from_slice(&sum.0[..4]);
        data_encoding::BASE64URL_NOPAD.encode(&bytes)
    }

    /// The link as `revnet:…`.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("revnet:{}", self.payload())
    }

    /// The link as `https://HOST/i#…` of a community's own server.
    #[must_use]
    pub fn to_web(&self, host: &str) -> String {
        format!("https://{host}/i#{}", self.payload())
    }

    /// Reads either form; spaces around it don't matter.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.len() > MAX_LINK {
            return Err(LinkError::TooLong);
        }
        let payload = match text.strip_prefix("revnet:") {
            Some(rest) => rest,
            None => text
                .strip_prefix("https://")
                .and_then(|rest| rest.split_once("/i#"))
                .map(|(_, payload)| payload)
                .ok_or(LinkError::Scheme)?,
        };
        let bytes = data_encoding::BASE64URL_NOPAD
            .decode(payload.as_bytes())
            .map_err(|_| LinkError::Damaged)?;
        let (bytes, sum) = bytes.split_last_chunk::<4>().ok_or(LinkError::Damaged)?;
        if hash("revnet/v1/link", &[bytes]).0[..4] != sum[..] {
            return Err(LinkError::Damaged);
        }
        let link: Self = decode(bytes, MAX_LINK).map_err(|error| match error {
            crate::CodecError::Version(_) => LinkError::Newer,
            _ => LinkError::Damaged,
        })?;
        let sizes = link.name.len() <= MAX_NAME
            && link.inviter.len() <= MAX_NAME
            && link
                .icon
                .as_ref()
                .is_none_or(|icon| icon.len() <= crate::limits::MAX_EMOJI)
            && link.addresses.len() <= MAX_LINK_ADDRESSES
            && link
                .addresses
                .iter()
                .all(|address| address.len() <= MAX_TOPIC);
        if sizes {
            Ok(link)
        } else {
            Err(LinkError::Damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> InviteLink {
        InviteLink {
            revolt: RevoltId([1; 32]),
            seed: [2; 32],
            name: "Gardeners".into(),
            icon: Some("🌱".into()),
            inviter: "Ada".into(),
            expires_ms: None,
            addresses: vec!["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW".into()],
        }
    }

    #[test]
    fn both_forms_survive_a_round_trip() {
        assert_eq!(InviteLink::parse(&link().to_text()), Ok(link()));
        assert_eq!(
            InviteLink::parse(&format!(" {}\n", link().to_web("example.org"))),
            Ok(link())
        );
    }

    #[test]
    fn every_cut_or_mistyped_link_is_noticed() {
        let text = link().to_text();
        assert_eq!(
            InviteLink::parse("http://example.org"),
            Err(LinkError::Scheme)
        );
        for end in 7..text.len() {
            assert_eq!(InviteLink::parse(&text[..end]), Err(LinkError::Damaged));
        }
        for at in 7..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ascii");
            assert!(InviteLink::parse(&changed).is_err());
        }
    }
}
