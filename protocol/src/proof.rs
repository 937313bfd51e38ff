//! Proof that a device signed two histories: two headers for one place of its chain.
//!
//! A header inside a run carries no signature of its own; there the headers up to the next signed one are part of
//! the proof, each naming the one before it.

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Header};
use crate::identity::{Signature, verify};
use crate::ids::{ChannelId, DeviceId, RevoltId, StreamId};
use crate::limits::MAX_PROOF_HEADERS;

/// Consecutive headers of one chain under one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeaders {
    /// At most [`MAX_PROOF_HEADERS`].
    pub headers: Vec<Header>,
    /// The device's, over the id of the last one.
    pub signature: Signature,
}

impl SignedHeaders {
    /// The headers of envelopes up to the first that is signed itself; none if that is too far.
    #[must_use]
    pub fn of(envelopes: &[Envelope]) -> Option<Self> {
        let signed = envelopes.iter().position(|e| e.signature.is_some())?;
        let signature = envelopes[signed].signature?;
        let headers = envelopes[..=signed].iter().map(|e| e.header.clone());
        let headers: Vec<Header> = headers.collect();
        (headers.len() <= MAX_PROOF_HEADERS).then_some(Self { headers, signature })
    }

    /// The first header, if all of them follow one another and the device signed the last.
    fn proven(&self) -> Option<&Header> {
        let (first, last) = (self.headers.first()?, self.headers.last()?);
        let follows = |pair: &[Header]| {
            pair[1].prev == pair[0].id()
                && pair[0].seq.checked_add(1) == Some(pair[1].seq)
                && (pair[1].device, pair[1].stream) == (first.device, first.stream)
        };
        let whole = self.headers.windows(2).all(follows);
        let signed = verify(&last.device.0, &last.id().0, &self.signature);
        Some(first).filter(|_| whole && signed)
    }
}

/// Takes a device out of a revolt that signed two envelopes for one place of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equivocation {
    /// The channel of the chain; none for the control stream.
    pub channel: Option<ChannelId>,
    /// One history from that place on.
    pub first: SignedHeaders,
    /// The other.
    pub second: SignedHeaders,
}

impl Equivocation {
    /// The device that both histories start with.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        self.first.headers.first().map(|header| header.device)
    }

    /// Whether it proves what it says.
    #[must_use]
    pub fn is_sound(&self, revolt: &RevoltId) -> bool {
        let stream = match &self.channel {
            Some(channel) => StreamId::channel(revolt, channel),
            None => StreamId::control(revolt),
        };
        let (Some(one), Some(other)) = (self.first.proven(), self.second.proven()) else {
            return false;
        };
        (one.stream, one.device, one.seq) == (stream, other.device, other.seq)
            && other.stream == stream
            && one.id() != other.id()
    }

    pub(crate) fn is_within_limits(&self) -> bool {
        let few = |proof: &SignedHeaders| proof.headers.len() <= MAX_PROOF_HEADERS;
        few(&self.first) && few(&self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EnvelopeId, Hash, KeyId};
    use crate::{Act, DeviceKeys};

    fn keys() -> DeviceKeys {
        DeviceKeys::from_seed([1; 32])
    }

    /// Headers of a history that starts at number 3, told apart by a byte.
    fn history(count: usize, which: u8) -> Vec<Header> {
        let mut prev = EnvelopeId([9; 32]);
        let headers = (3..).take(count).map(|seq| {
            let header = Header {
                stream: StreamId::control(&RevoltId([2; 32])),
                device: keys().id(),
                seq,
                prev,
                seg: 0,
                seg_seq: 1,
                control_heads: vec![EnvelopeId([8; 32]); 4],
                key_id: KeyId::default(),
                nonce: [which; 24],
                change_hash: Hash::default(),
                body_hash: Some(Hash::default()),
            };
            prev = header.id();
            header
        });
        headers.collect()
    }

    fn signed(headers: Vec<Header>) -> SignedHeaders {
        let signature = keys().sign(&headers.last().expect("some").id().0);
        SignedHeaders { headers, signature }
    }

    fn proof(first: Vec<Header>, second: Vec<Header>) -> Equivocation {
        Equivocation {
            channel: None,
            first: signed(first),
            second: signed(second),
        }
    }

    #[test]
    fn two_histories_from_one_number_are_a_proof() {
        let revolt = RevoltId([2; 32]);
        for (one, other) in [(1, 1), (1, 4), (MAX_PROOF_HEADERS, MAX_PROOF_HEADERS)] {
            let proof = proof(history(one, 1), history(other, 2));
            assert!(proof.is_sound(&revolt));
            assert_eq!(proof.device(), Some(keys().id()));
            let act = Act::Equivocation(Box::new(proof));
            assert_eq!(Act::decode(&act.encode()), Ok(act), "it fits into an act");
        }
    }

    #[test]
    fn everything_else_is_none() {
        let revolt = RevoltId([2; 32]);
        let fair = || proof(history(2, 1), history(2, 2));
        assert!(!fair().is_sound(&RevoltId([3; 32])), "another revolt");
        let same = proof(history(2, 1), history(2, 1));
        assert!(!same.is_sound(&revolt), "one history twice");
        let later = proof(history(2, 1), history(2, 2)[1..].to_vec());
        assert!(!later.is_sound(&revolt), "different numbers");
        let mut of_channel = fair();
        of_channel.channel = Some(ChannelId([4; 32]));
        assert!(!of_channel.is_sound(&revolt), "another stream");
        let mut unsigned = fair();
        unsigned.second.signature = unsigned.first.signature;
        assert!(
            !unsigned.is_sound(&revolt),
            "the signature of another header"
        );
        let mut torn = history(3, 1);
        torn.remove(1);
        assert!(!proof(torn, history(1, 2)).is_sound(&revolt), "a gap");
        let mut foreign = history(2, 1);
        foreign[1].device = DeviceId([7; 32]);
        assert!(!proof(foreign, history(1, 2)).is_sound(&revolt));
        let mut empty = fair();
        empty.first.headers.clear();
        assert!(!empty.is_sound(&revolt) && empty.device().is_none());
        let long = proof(history(MAX_PROOF_HEADERS + 1, 1), history(1, 2));
        let act = Act::Equivocation(Box::new(long));
        assert!(Act::decode(&act.encode()).is_err(), "too long");
    }
}
