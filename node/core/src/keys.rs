//! Epoch secrets: asking for those that are missing, sealing them for who asks, following back-links,
//! rotating.

use revnet_protocol::act::{Audience, KeyRotate};
use revnet_protocol::epoch::{BackLink, EpochSecret, SlotChunk, chunk_root, seal_slots, slot_tag};
use revnet_protocol::frame::{Frame, Refusal};
use revnet_protocol::seal::{HpkePublic, HpkeSecret};
use revnet_protocol::{Act, DeviceId, InviteSecret, KeyId, RevoltId, encode};

use crate::chain::Waiting;
use crate::core::{Core, Timer};
use crate::io::SECOND;
use crate::mutant::{Mutant, is_active, is_asked_again};
use crate::revolt::{Revolt, secret_key};
use crate::storage::{Space, Write};

/// Most secrets asked for at once.
const MAX_ASKED: usize = 64;

impl Revolt {
    /// Whether a device may have a secret: it is let in, and its owner in every audience whose secret it is. A
    /// secret can come before the acts that led to it, and with them perhaps the asker's removal.
    fn may_have(&self, device: &DeviceId, key_id: &KeyId) -> bool {
        let audiences = self.authority.audiences_of(key_id);
        let state = self.authority.state();
        let user = state.user_of(device).map(|(user, _)| user);
        let is_in = |audience: &Audience| {
            *audience == Audience::Revolt || user.is_some_and(|user| state.is_in(audience, &user))
        };
        let read = !audiences.is_empty() || is_active(Mutant::KeysUnread);
        read && (audiences.iter().all(is_in) || is_active(Mutant::KeysForAll))
    }
}

impl Core {
    /// Asks a peer for the secrets that chains of a revolt wait for.
    pub(crate) fn ask_for_keys(&mut self, peer: DeviceId, revolt: RevoltId) {
        let mut key_ids: Vec<KeyId> = self
            .streams
            .values()
            .filter(|stream| stream.revolt == revolt)
            .flat_map(|stream| stream.chains.values())
            .filter_map(|chain| match chain.waiting {
                Some(Waiting::Key(key)) => Some(key),
                _ => None,
            })
            .collect();
        key_ids.sort_unstable();
        key_ids.dedup();
        key_ids.truncate(MAX_ASKED);
        key_ids.retain(|key_id| !is_asked_again(&self.me.cert.device, key_id));
        if !key_ids.is_empty() && self.links.contains_key(&peer) {
            self.send(peer, &Frame::NeedKeys { revolt, key_ids });
        }
    }

    /// The key that secrets for a peer are sealed to, if it may read.
    fn recipient(&self, peer: &DeviceId, revolt: &RevoltId) -> Result<HpkePublic, Refusal> {
        self.may_read(peer, revolt)?;
        let state = self.revolts[revolt].authority.state();
        let cert = state
            .members
            .values()
            .find_map(|member| member.devices.get(peer));
        if let Some(cert) = cert {
            return Ok(cert.hpke);
        }
        let invite = self.links[peer]
            .knocked
            .get(revolt)
            .and_then(|invite| state.invites.get(invite));
        invite.map(|invite| invite.hpke).ok_or(Refusal::NotMember)
    }

    pub(crate) fn need_keys(&mut self, peer: DeviceId, revolt: RevoltId, key_ids: &[KeyId]) {
        let recipient = match self.recipient(&peer, &revolt) {
            Ok(recipient) => recipient,
            Err(reason) => {
                return self.send(
                    peer,
                    &Frame::Refused {
                        revolt: Some(revolt),
                        reason,
                    },
                );
            }
        };
        if key_ids.len() > MAX_ASKED {
            return self.blame(peer, "asked for too many keys");
        }
        let known = &self.revolts[&revolt];
        let mut chunks = Vec::new();
        for key_id in key_ids
            .iter()
            .filter(|key_id| known.may_have(&peer, key_id))
        {
            let tag = slot_tag(key_id, &recipient);
            let own_chunks = known.chunks.get(key_id).into_iter().flatten();
            let ready = own_chunks
                .flat_map(|chunk| &chunk.slots)
                .find(|slot| slot.tag == tag)
                .cloned();
            if let Some(slot) = ready {
                chunks.push(SlotChunk {
                    key_id: *key_id,
                    slots: vec![slot],
                });
            } else if let Some(secret) = known.secrets.get(key_id) {
                chunks.extend(seal_slots(secret, &revolt, &[recipient], &mut self.rng));
            }
        }
        self.send(peer, &Frame::Keys { revolt, chunks });
    }

    pub(crate) fn keys(&mut self, peer: DeviceId, revolt: RevoltId, chunks: &[SlotChunk]) {
        let Some(known) = self.revolts.get(&revolt) else {
            return;
        };
        let mut own: Vec<HpkeSecret> = vec![self.me.keys.hpke().clone()];
        if let Some(joining) = &known.joining {
            own.push(InviteSecret::from_seed(joining.seed).hpke().clone());
        }
        let found: Vec<EpochSecret> = chunks
            .iter()
            .take(MAX_ASKED)
            .filter(|chunk| !known.secrets.contains_key(&chunk.key_id))
            .filter_map(|chunk| own.iter().find_map(|key| chunk.open(&revolt, key)))
            .collect();
        if found.is_empty() {
            return;
        }
        self.learn(revolt, found);
        self.reopen(revolt);
        self.ask_for_keys(peer, revolt);
    }

    /// Keeps secrets. A secret is useless to keep if what it opens isn't, so they share the queue.
    pub(crate) fn learn(&mut self, id: RevoltId, secrets: Vec<EpochSecret>) {
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        let mut writes = Vec::new();
        for secret in secrets {
            let key = secret_key(&id, &secret.key_id());
            writes.push(Self::put(Space::Secret, key, secret.bytes().to_vec()));
            revolt.secrets.insert(secret.key_id(), secret);
        }
        self.store(writes, None);
    }

    /// Opens earlier secrets that rotations sealed under known ones, as far back as they lead.
    pub(crate) fn follow_back_links(&mut self, id: RevoltId) {
        loop {
            let Some(revolt) = self.revolts.get(&id) else {
                return;
            };
            let epochs = revolt.authority.state().epochs.values().flatten();
            let found: Vec<EpochSecret> = epochs
                .filter_map(|epoch| Some((revolt.secrets.get(&epoch.key_id)?, epoch)))
                .flat_map(|(secret, epoch)| epoch.back_links.iter().map(move |link| (secret, link)))
                .filter(|(_, link)| !revolt.secrets.contains_key(&link.key_id))
                .filter_map(|(secret, link)| link.open(secret).ok())
                .collect();
            if found.is_empty() {
                return;
            }
            self.learn(id, found);
        }
    }

    pub(crate) fn rotate_if_due(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let due = revolt.due_rotations(&self.user());
        if !due.is_empty() && !self.may_author(&id) {
            return self.arm(Timer::Rotate(id), SECOND);
        }
        for audience in due {
            self.rotate(id, audience);
        }
    }

    /// Starts a new epoch for those who are in an audience now.
    pub(crate) fn rotate(&mut self, id: RevoltId, audience: Audience) {
        if is_active(Mutant::NoRotation) {
            return;
        }
        let bytes = self.random();
        let secret = EpochSecret::new(bytes);
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let state = revolt.authority.state();
        let recipients = state.recipients(&audience);
        let recipients: Vec<HpkePublic> = recipients.into_iter().map(|(_, key)| key).collect();
        let chunks = seal_slots(&secret, &id, &recipients, &mut self.rng);
        let earlier = revolt.known_secrets(&audience).into_iter().take(1);
        let back_links = earlier
            .map(|earlier| BackLink::seal(&secret, earlier))
            .collect();
        // A new secret of the revolt is announced under itself, so that newcomers read it and those who were
        // removed don't; that of a channel for all members, who could else not go on in the chain.
        let under = match audience {
            Audience::Revolt => secret.clone(),
            Audience::Channel(_) => match revolt.sending_secret() {
                Some(known) => known.clone(),
                None => return,
            },
        };
        let act = Act::KeyRotate(KeyRotate {
            audience,
            generation: state.generation_after(&audience),
            key_id: secret.key_id(),
            chunk_root: chunk_root(&chunks),
            back_links,
        });
        let mut writes = vec![Self::put(
            Space::Secret,
            secret_key(&id, &secret.key_id()),
            secret.bytes().to_vec(),
        )];
        writes.extend(chunks.iter().map(|chunk| chunk_write(&id, chunk)));
        let revolt = self.revolts.get_mut(&id).expect("looked up above");
        revolt.chunks.insert(secret.key_id(), chunks);
        revolt.secrets.insert(secret.key_id(), secret);
        self.author(id, &act, &under, writes);
    }
}

pub(crate) fn chunk_write(revolt: &RevoltId, chunk: &SlotChunk) -> Write {
    let bytes = encode(chunk);
    let key = [
        &revolt.0[..],
        &chunk.key_id.0,
        &revnet_protocol::hash::content(&bytes).0,
    ]
    .concat();
    Write::Put {
        space: Space::Chunk,
        key,
        value: bytes,
    }
}
