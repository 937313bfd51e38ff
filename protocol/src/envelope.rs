//! Envelopes: one Automerge change and its body, encrypted, in a signed place of its author's chain.
//!
//! A header's id leaves the signature out and covers the id before it, so one signature
//! authenticates a whole run of a chain.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, decode, encode};
use crate::epoch::{EpochSecret, Part};
use crate::hash::{content, hash};
use crate::identity::{DeviceKeys, Signature, verify};
use crate::ids::{DeviceId, EnvelopeId, Hash, KeyId, StreamId};
use crate::limits::{
    MAX_BODY, MAX_CHANGE, MAX_ENVELOPE, MAX_HEADS, MAX_RUN, MAX_SEQ, SEGMENT_EVENTS,
};
use crate::seal::{NONCE, OpenError};

/// Bytes that encryption adds to a body: nonce and tag.
const BODY_OVERHEAD: usize = NONCE + 16;

/// Everything about an envelope that others can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its author.
    pub device: DeviceId,
    /// Its place in the author's chain in this stream, from 1.
    pub seq: u64,
    /// The envelope before it in the chain; zeros for the first.
    pub prev: EnvelopeId,
    /// The segment, that is the document, that its event belongs to.
    pub seg: u32,
    /// Its place among the author's changes in that document, from 1 to 1024.
    pub seg_seq: u32,
    /// The newest control acts that its author knew; at most 4.
    pub control_heads: Vec<EnvelopeId>,
    /// Which epoch secret it is encrypted with.
    pub key_id: KeyId,
    /// Nonce of the change.
    pub nonce: [u8; NONCE],
    /// Hash of the encrypted change.
    pub change_hash: Hash,
    /// Hash of the encrypted body, where there is one.
    pub body_hash: Option<Hash>,
}

impl Header {
    /// The envelope's id.
    #[must_use]
    pub fn id(&self) -> EnvelopeId {
        hash("revnet/v1/envelope", &[&encode(self)]).into()
    }

    fn associated_data(&self) -> Vec<u8> {
        encode(&(
            &self.stream,
            &self.device,
            self.seq,
            &self.prev,
            self.seg,
            self.seg_seq,
            &self.control_heads,
            &self.key_id,
        ))
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        let seq = (1..=MAX_SEQ).contains(&self.seq);
        let first = (self.seq == 1) == (self.prev == EnvelopeId::default());
        let seg_seq =
            (1..=SEGMENT_EVENTS).contains(&self.seg_seq) && u64::from(self.seg_seq) <= self.seq;
        if seq && first && seg_seq && self.control_heads.len() <= MAX_HEADS {
            Ok(())
        } else {
            Err(EnvelopeError::Header)
        }
    }
}

/// The encrypted words beside a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The event has none.
    None,
    /// Nonce and ciphertext.
    Kept(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It was deleted; its hash stays.
    Dropped(Hash),
}

impl Body {
    /// The bytes of its ciphertext.
    const fn size(&self) -> usize {
        match self {
            Self::Kept(bytes) => bytes.len(),
            Self::None | Self::Dropped(_) => 0,
        }
    }

    fn hash(&self) -> Option<Hash> {
        match self {
            Self::None => None,
            Self::Kept(bytes) => Some(content(bytes)),
            Self::Dropped(hash) => Some(*hash),
        }
    }
}

/// Why an envelope is refused. Each of these costs the peer that brought it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not an encoding of an envelope.
    #[error("not an envelope")]
    Codec(#[from] CodecError),
    /// A field of the header is out of its range.
    #[error("the header contradicts itself")]
    Header,
    /// Change or body are too long.
    #[error("the contents are longer than allowed")]
    TooLong,
    /// The contents aren't those that the header names.
    #[error("the contents don't match the header")]
    Contents,
    /// The signature is missing or not the author's.
    #[error("not signed by its author")]
    Signature,
    /// A run without envelopes, or with too many, or with references that lead nowhere.
    #[error("not a run of a chain")]
    Run,
}

/// An envelope as it is stored and gossiped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What others can see.
    pub header: Header,
    /// The author's signature over the id; none inside a run that a later signature vouches for.
    pub signature: Option<Signature>,
    /// The encrypted change.
    #[serde(with = "serde_bytes")]
    pub change: Vec<u8>,
    /// The encrypted body.
    pub body: Body,
}

/// An envelope whose author is proven, with its id. Only this module makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentic {
    id: EnvelopeId,
    envelope: Envelope,
}

/// The place of a new envelope; everything of a header that isn't made by sealing.
#[derive(Clone, Debug)]
pub struct Place {
    /// The stream.
    pub stream: StreamId,
    /// The next number of the own chain.
    pub seq: u64,
    /// The own envelope before.
    pub prev: EnvelopeId,
    /// The segment.
    pub seg: u32,
    /// The next number in that segment.
    pub seg_seq: u32,
    /// The newest control acts known; at most 4.
    pub control_heads: Vec<EnvelopeId>,
}

/// Upper bound of what an envelope takes beside its ciphertexts, in bytes.
const OVERHEAD: usize = 512;

impl Envelope {
    /// More bytes than it takes in a store or a frame, and the same for everybody.
    #[must_use]
    pub fn stored_size(&self) -> usize {
        OVERHEAD + self.change.len() + self.body.size()
    }

    /// Encrypts and signs a change and its body.
    #[must_use]
    pub fn seal(
        place: Place,
        keys: &DeviceKeys,
        secret: &EpochSecret,
        change: &[u8],
        body: Option<&[u8]>,
    ) -> Authentic {
        let mut header = Header {
            stream: place.stream,
            device: keys.id(),
            seq: place.seq,
            prev: place.prev,
            seg: place.seg,
            seg_seq: place.seg_seq,
            control_heads: place.control_heads,
            key_id: secret.key_id(),
            nonce: [0; NONCE],
            change_hash: Hash::default(),
            body_hash: None,
        };
        let ad = header.associated_data();
        let key = |part| secret.message_key(&header.stream, &header.device, header.seq, part);
        let (nonce, change) = key(Part::Change).seal(&ad, change);
        let body = body.map_or(Body::None, |plain| {
            let (nonce, cipher) = key(Part::Body).seal(&ad, plain);
            Body::Kept([&nonce[..], &cipher].concat())
        });
        header.nonce = nonce;
        header.change_hash = content(&change);
        header.body_hash = body.hash();
        let id = header.id();
        let signature = Some(keys.sign(&id.0));
        Authentic {
            id,
            envelope: Self {
                header,
                signature,
                change,
                body,
            },
        }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads an envelope's form; proves nothing about its author.
    ///
    /// # Errors
    /// [`EnvelopeError::Codec`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Ok(decode(bytes, MAX_ENVELOPE)?)
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        self.header.check()?;
        let body = match &self.body {
            Body::Kept(bytes) => bytes.len(),
            Body::None | Body::Dropped(_) => 0,
        };
        if self.change.len() > MAX_CHANGE || body > MAX_BODY + BODY_OVERHEAD {
            return Err(EnvelopeError::TooLong);
        }
        if content(&self.change) != self.header.change_hash
            || self.body.hash() != self.header.body_hash
        {
            return Err(EnvelopeError::Contents);
        }
        Ok(())
    }

    /// Checks form, contents and signature.
    ///
    /// # Errors
    /// [`EnvelopeError`] says which.
    pub fn verify(self) -> Result<Authentic, EnvelopeError> {
        self.check()?;
        let id = self.header.id();
        let signature = self.signature.as_ref().ok_or(EnvelopeError::Signature)?;
        if !verify(&self.header.device.0, &id.0, signature) {
            return Err(EnvelopeError::Signature);
        }
        Ok(Authentic { id, envelope: self })
    }

    /// Takes an envelope from the own store, where only authentic ones lie.
    #[must_use]
    pub fn trusted(self) -> Authentic {
        Authentic {
            id: self.header.id(),
            envelope: self,
        }
    }

    /// Decrypts the change.
    ///
    /// # Errors
    /// [`OpenError`] where `secret` isn't the one it was encrypted with.
    pub fn open_change(&self, secret: &EpochSecret) -> Result<Vec<u8>, OpenError> {
        let header = &self.header;
        secret
            .message_key(&header.stream, &header.device, header.seq, Part::Change)
            .open(&header.associated_data(), &header.nonce, &self.change)
    }

    /// Decrypts the body; none where there is none or it was dropped.
    ///
    /// # Errors
    /// [`OpenError`] as for the change.
    pub fn open_body(&self, secret: &EpochSecret) -> Result<Option<Vec<u8>>, OpenError> {
        let Body::Kept(bytes) = &self.body else {
            return Ok(None);
        };
        let (nonce, cipher) = bytes.split_first_chunk::<NONCE>().ok_or(OpenError)?;
        let header = &self.header;
        secret
            .message_key(&header.stream, &header.device, header.seq, Part::Body)
            .open(&header.associated_data(), nonce, cipher)
            .map(Some)
    }
}

impl Authentic {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> EnvelopeId {
        self.id
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.envelope.header
    }

    /// Gives the envelope away.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }
}

/// Consecutive envelopes of one chain under one signature: what sync sends. What repeats is sent once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The stream.
    pub stream: StreamId,
    /// The author.
    pub device: DeviceId,
    /// Number of the first envelope.
    pub first: u64,
    /// The envelope before the first.
    pub prev: EnvelopeId,
    /// The different sets of control heads.
    pub heads: Vec<Vec<EnvelopeId>>,
    /// The different epoch secrets.
    pub keys: Vec<KeyId>,
    /// The envelopes.
    pub items: Vec<RunItem>,
    /// The author's signature over the last envelope's id.
    pub signature: Signature,
}

/// One envelope of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunItem {
    /// See [`Header::seg`].
    pub seg: u32,
    /// See [`Header::seg_seq`].
    pub seg_seq: u32,
    /// Index into [`Run::heads`].
    pub heads: u16,
    /// Index into [`Run::keys`].
    pub key: u16,
    /// See [`Header::nonce`].
    pub nonce: [u8; NONCE],
    /// See [`Envelope::change`].
    #[serde(with = "serde_bytes")]
    pub change: Vec<u8>,
    /// See [`Envelope::body`].
    pub body: Body,
}

impl Run {
    /// The [`Envelope::stored_size`] of all its envelopes.
    #[must_use]
    pub fn stored_size(&self) -> usize {
        let items = self.items.iter();
        let sizes = items.map(|item| OVERHEAD + item.change.len() + item.body.size());
        sizes.sum()
    }

    /// Packs consecutive envelopes of one chain; the last must carry a signature.
    ///
    /// # Errors
    /// [`EnvelopeError::Run`] where they aren't that.
    pub fn pack(envelopes: Vec<Envelope>) -> Result<Self, EnvelopeError> {
        let first = &envelopes.first().ok_or(EnvelopeError::Run)?.header;
        let signature = envelopes
            .last()
            .and_then(|e| e.signature)
            .ok_or(EnvelopeError::Run)?;
        let mut run = Self {
            stream: first.stream,
            device: first.device,
            first: first.seq,
            prev: first.prev,
            heads: Vec::new(),
            keys: Vec::new(),
            items: Vec::with_capacity(envelopes.len()),
            signature,
        };
        if envelopes.len() > MAX_RUN {
            return Err(EnvelopeError::Run);
        }
        for (
            at,
            Envelope {
                header,
                change,
                body,
                ..
            },
        ) in (run.first..).zip(envelopes)
        {
            if header.seq != at || header.stream != run.stream || header.device != run.device {
                return Err(EnvelopeError::Run);
            }
            run.items.push(RunItem {
                seg: header.seg,
                seg_seq: header.seg_seq,
                heads: intern(&mut run.heads, header.control_heads),
                key: intern(&mut run.keys, header.key_id),
                nonce: header.nonce,
                change,
                body,
            });
        }
        Ok(run)
    }

    /// Rebuilds the envelopes and checks all of them with the one signature.
    ///
    /// # Errors
    /// [`EnvelopeError`]; then nothing of the run is proven.
    pub fn open(self) -> Result<Vec<Authentic>, EnvelopeError> {
        if self.items.is_empty() || self.items.len() > MAX_RUN {
            return Err(EnvelopeError::Run);
        }
        let (mut prev, last) = (self.prev, self.items.len() - 1);
        let mut out = Vec::with_capacity(self.items.len());
        for (index, item) in self.items.into_iter().enumerate() {
            let header = Header {
                stream: self.stream,
                device: self.device,
                seq: self
                    .first
                    .checked_add(index as u64)
                    .ok_or(EnvelopeError::Run)?,
                prev,
                seg: item.seg,
                seg_seq: item.seg_seq,
                control_heads: self
                    .heads
                    .get(usize::from(item.heads))
                    .ok_or(EnvelopeError::Run)?
                    .clone(),
                key_id: *self
                    .keys
                    .get(usize::from(item.key))
                    .ok_or(EnvelopeError::Run)?,
                nonce: item.nonce,
                change_hash: content(&item.change),
                body_hash: item.body.hash(),
            };
            let signature = (index == last).then_some(self.signature);
            let envelope = Envelope {
                header,
                signature,
                change: item.change,
                body: item.body,
            };
            envelope.check()?;
            prev = envelope.header.id();
            out.push(Authentic { id: prev, envelope });
        }
        if verify(&self.device.0, &prev.0, &self.signature) {
            Ok(out)
        } else {
            Err(EnvelopeError::Signature)
        }
    }
}

fn intern<T: PartialEq>(table: &mut Vec<T>, value: T) -> u16 {
    // Neighbours mostly share a value, so the search runs from the end.
    let at = table
        .iter()
        .rposition(|have| *have == value)
        .unwrap_or_else(|| {
            table.push(value);
            table.len() - 1
        });
    u16::try_from(at).expect("a run has at most 4096 items")
}

#[cfg(test)]
mod tests;
