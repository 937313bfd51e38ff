//! The two names of a peer: RevNet's 32-byte device key and libp2p's `PeerId`.

use libp2p::PeerId;

/// A device's Ed25519 public key.
pub type PeerKey = [u8; 32];

/// Identity multihash of a protobuf-encoded Ed25519 key: code 0, length 36, key type 1, 32 bytes of key.
/// <https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The `PeerId` of a device. A key that is no point on the curve gives an id that nobody can prove.
#[must_use]
pub fn peer_id(key: &PeerKey) -> PeerId {
    let mut bytes = [0; 38];
    bytes[..6].copy_from_slice(&PREFIX);
    bytes[6..].copy_from_slice(key);
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

/// The device key inside a `PeerId`; `None` for ids of another key type or of a hashed key.
#[must_use]
pub fn peer_key(id: &PeerId) -> Option<PeerKey> {
    let bytes = id.to_bytes();
    bytes.strip_prefix(&PREFIX)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn key_and_id_are_one_name() {
        let pair = Keypair::ed25519_from_bytes([7; 32]).expect("any 32 bytes are a secret");
        let public = pair
            .public()
            .try_into_ed25519()
            .expect("the pair is Ed25519")
            .to_bytes();
        let id = pair.public().to_peer_id();
        assert_eq!(peer_id(&public), id);
        assert_eq!(peer_key(&id), Some(public));
        assert_eq!(peer_key(&PeerId::random()), None);
    }
}
