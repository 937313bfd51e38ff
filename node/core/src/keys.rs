//! Epoch secrets: asking for those that are missing, sealing them for who asks, following back-links,
//! rotating.

use std::collections::BTreeSet;
use std::ops::Bound;

use revnet_crdt::authority::{Epoch, Recipient};
use revnet_protocol::act::{Audience, KeyRotate};
use revnet_protocol::agreement::{Begun, KeyAgreement as _, SealedSlots};
use revnet_protocol::epoch::{EpochSecret, SlotChunk, chunk_root, slot_tag};
use revnet_protocol::frame::{Frame, Refusal};
use revnet_protocol::limits::{MAX_BACK_LINKS, MAX_SHARED_SLOTS};
use revnet_protocol::seal::{HpkePublic, HpkeSecret};
use revnet_protocol::{Act, DeviceCert, DeviceId, InviteSecret, KeyId, RevoltId, encode};

use crate::chain::Waiting;
use crate::core::{Core, Timer};
use crate::io::SECOND;
use crate::mutant::{Mutant, is_active, is_asked_again};
use crate::purse::SIGNATURE;
use crate::revolt::{Revolt, secret_key};
use crate::storage::{Space, Write};

/// How people come to share secrets.
pub(crate) const AGREEMENT: SealedSlots = SealedSlots;
/// Most secrets asked for at once.
const MAX_ASKED: usize = 64;

/// What a peer was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AskedKeys {
    /// The last ones, of both kinds.
    last: [KeyId; 2],
    /// Questions that brought nothing.
    questions: usize,
}

/// The secrets that are missing.
#[derive(Debug, Default)]
struct Wanted {
    /// Under which people who have come wrote acts: without them nothing goes on.
    acts: BTreeSet<KeyId>,
    others: BTreeSet<KeyId>,
}

impl Wanted {
    fn has(&self, key_id: &KeyId) -> bool {
        self.acts.contains(key_id) || self.others.contains(key_id)
    }
}

impl Revolt {
    /// The secrets of a closed channel that are known here and that some devices which see it were not handed: of
    /// the newest ones, which lead to all before them. The own device has them, and who made them.
    fn unshared(&self, audience: &Audience, me: &DeviceCert) -> Vec<(KeyId, Vec<HpkePublic>)> {
        if *audience == Audience::Revolt {
            return Vec::new();
        }
        let mut newest = self.unlinked_secrets(audience);
        let clean = self.newest_clean(audience);
        newest.extend(clean.map(|(epoch, _)| epoch.key_id));
        let epochs = self.authority.state().epochs.get(audience);
        let epochs = epochs.into_iter().flatten();
        let newest = epochs.filter(|epoch| newest.contains(&epoch.key_id));
        let newest = newest.filter(|epoch| self.is_of(&epoch.key_id, audience));
        let lacking = newest.map(|epoch| (epoch.key_id, self.lacking(audience, epoch, me)));
        lacking.filter(|(_, keys)| !keys.is_empty()).collect()
    }

    fn lacking(&self, audience: &Audience, epoch: &Epoch, me: &DeviceCert) -> Vec<HpkePublic> {
        let handed = self.authority.state().slots(audience, &epoch.key_id);
        let has = |recipient: &Recipient, key: &HpkePublic| {
            let holder = [me.device, epoch.by]
                .map(Recipient::Device)
                .contains(recipient);
            let tag = slot_tag(&epoch.key_id, key);
            holder || handed.iter().any(|slot| slot.tag == tag)
        };
        let is_late = |recipient: &Recipient| match recipient {
            Recipient::Device(device) => epoch.late.contains(device),
            Recipient::Invite(_) => false,
        };
        let recipients = self.authority.state().recipients(audience).into_iter();
        let lacking = recipients.filter(|(to, key)| !has(to, key) && !is_late(to));
        lacking.map(|(_, key)| key).collect()
    }

    /// The known secrets of an audience to which no other known one leads back: one, unless several people made new
    /// ones at the same time.
    fn unlinked_secrets(&self, audience: &Audience) -> BTreeSet<KeyId> {
        let epochs = self.authority.state().epochs.get(audience);
        let known = epochs.into_iter().flatten();
        let known = known.filter_map(|epoch| Some((epoch, self.secrets.get(&epoch.key_id)?)));
        let mut unlinked: BTreeSet<KeyId> = known.clone().map(|(epoch, _)| epoch.key_id).collect();
        for (epoch, secret) in known {
            let links = epoch.back_links.iter();
            for link in links
                .filter(|link| unlinked.contains(&link.key_id))
                .collect::<Vec<_>>()
            {
                // Somebody may name what they don't seal.
                if AGREEMENT.lead_back(secret, link).is_some() {
                    unlinked.remove(&link.key_id);
                }
            }
        }
        unlinked
    }

    /// Whose secret this is: everybody's, if it was announced to them; else that of the channels for which somebody
    /// announced it who had it, by acts that count if there are any. Several, if that somebody wanted one channel to
    /// read what is written in another.
    fn audiences_of(&self, key_id: &KeyId) -> BTreeSet<Audience> {
        if self.authority.is_announced(key_id) {
            return BTreeSet::from([Audience::Revolt]);
        }
        let Some(secret) = self.secrets.get(key_id) else {
            return BTreeSet::new();
        };
        let proven = self.authority.claims(key_id).filter(|(by, rotate, _)| {
            let Audience::Channel(channel) = rotate.audience else {
                return false;
            };
            let claim = secret.claim(&self.id, &channel, rotate.generation, by);
            claim == rotate.commitment
        });
        let proven: Vec<_> = proven.collect();
        let any_counts = proven.iter().any(|(.., counts)| *counts);
        let standing = proven.iter().filter(|(.., counts)| *counts || !any_counts);
        standing.map(|(_, rotate, _)| rotate.audience).collect()
    }

    /// Whether a secret is this audience's and no other's.
    pub(crate) fn is_of(&self, key_id: &KeyId, audience: &Audience) -> bool {
        self.audiences_of(key_id) == BTreeSet::from([*audience])
    }

    /// Whether secrets are to be made or handed on.
    pub(crate) fn is_key_work_due(&self, me: &DeviceCert) -> bool {
        let state = self.authority.state();
        self.audiences(me).iter().any(|audience| {
            let lacks = *audience != Audience::Revolt && self.newest_clean(audience).is_none();
            lacks || state.rotation_due(audience) || !self.unshared(audience, me).is_empty()
        })
    }

    /// Whether a device may have a secret: it is let in, and its owner in every audience whose secret it is. A
    /// secret can come before the acts that led to it, and with them perhaps the asker's removal.
    fn may_have(&self, device: &DeviceId, key_id: &KeyId) -> bool {
        let audiences = self.audiences_of(key_id);
        let state = self.authority.state();
        let user = state.user_of(device).map(|(user, _)| user);
        let is_in = |audience: &Audience| {
            let is_in = user.is_some_and(|user| state.is_in(audience, &user));
            *audience == Audience::Revolt || (is_in && !self.is_late(audience, device, key_id))
        };
        let read = !audiences.is_empty() || is_active(Mutant::KeysUnread);
        read && (audiences.iter().all(is_in) || is_active(Mutant::KeysForAll))
    }

    /// Whether a secret is only known as that of closed channels which somebody with these audiences doesn't see.
    fn is_for_others(&self, key_id: &KeyId, mine: &BTreeSet<Audience>) -> bool {
        let claims = self.authority.claims(key_id);
        let audiences: BTreeSet<_> = claims.map(|(_, rotate, _)| rotate.audience).collect();
        let asks_anyway = is_active(Mutant::KeysForAll);
        !audiences.is_empty()
            && audiences.is_disjoint(mine)
            && !self.authority.is_announced(key_id)
            && !asks_anyway
    }

    /// Whether a device came to a channel after an epoch, where newcomers may not read what was written before.
    fn is_late(&self, audience: &Audience, device: &DeviceId, key_id: &KeyId) -> bool {
        if is_active(Mutant::HistoryOpen) {
            return false;
        }
        self.authority.is_late(audience, device, key_id)
    }

    /// Whether this device is never to have a secret, because it came later.
    pub(crate) fn is_before(&self, device: &DeviceId, key_id: &KeyId) -> bool {
        !is_active(Mutant::HistoryOpen) && self.authority.is_late_anywhere(device, key_id)
    }

    /// Whether the secrets of an audience lead back to earlier ones.
    fn leads_back(&self, audience: &Audience) -> bool {
        let state = self.authority.state();
        match audience {
            Audience::Revolt => true,
            Audience::Channel(channel) => {
                let known = state.channels.get(channel);
                known.is_some_and(|known| known.history) || is_active(Mutant::HistoryOpen)
            }
        }
    }
}

impl Core {
    /// Asks a peer for the secrets that chains of a revolt wait for: first for those that acts of people who have
    /// come wait for. Anybody can write something under a secret of nobody, and so much that one question doesn't
    /// hold it; so each question goes on where the one before ended.
    pub(crate) fn ask_for_keys(&mut self, peer: DeviceId, revolt: RevoltId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.asked_keys.entry(revolt).or_default().questions = 0;
            self.ask_for_more_keys(peer, revolt);
        }
    }

    fn ask_for_more_keys(&mut self, peer: DeviceId, revolt: RevoltId) {
        let wanted = self.wanted_keys(&revolt);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let asked = link.asked_keys.entry(revolt).or_default();
        asked.questions += 1;
        if asked.questions > 1 + wanted.others.len() / (MAX_ASKED / 2) {
            return;
        }
        let mut key_ids: Vec<KeyId> = Vec::new();
        let halves = [(&wanted.acts, MAX_ASKED / 2), (&wanted.others, MAX_ASKED)];
        for ((keys, most), last) in halves.into_iter().zip(&mut asked.last) {
            let later = keys.range((Bound::Excluded(*last), Bound::Unbounded));
            let circle = later.chain(keys.range(..=*last));
            key_ids.extend(circle.take(most - key_ids.len()));
            *last = key_ids.last().copied().unwrap_or(*last);
        }
        key_ids.retain(|key_id| !is_asked_again(&self.me.cert.device, key_id));
        if !key_ids.is_empty() {
            self.send(peer, &Frame::NeedKeys { revolt, key_ids });
        }
    }

    /// The names of the secrets that chains of a revolt wait for, that aren't here, and that this device may have as
    /// far as is known.
    fn wanted_keys(&self, id: &RevoltId) -> Wanted {
        let mut wanted = Wanted::default();
        let Some(revolt) = self.revolts.get(id) else {
            return wanted;
        };
        let mine: BTreeSet<Audience> = revolt.audiences(&self.me.cert).into_iter().collect();
        let streams = revolt.streams.iter();
        let streams = streams.filter_map(|stream| self.streams.get(stream));
        for stream in streams {
            for (author, chain) in stream.read_chains() {
                let Some(Waiting::Key(key_id)) = chain.waiting else {
                    continue;
                };
                if revolt.secrets.contains_key(&key_id) || revolt.is_for_others(&key_id, &mine) {
                    continue;
                }
                let has_come = || revolt.authority.has_come(&stream.author(*author));
                if stream.channel.is_none() && has_come() {
                    wanted.acts.insert(key_id);
                } else {
                    wanted.others.insert(key_id);
                }
            }
        }
        wanted
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
        if !self.pays(peer, 2 * SIGNATURE * key_ids.len() as u64) {
            return;
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
                chunks.extend(AGREEMENT.hand_on(secret, &revolt, &[recipient], &mut self.rng));
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
        if !self.pays(peer, SIGNATURE * chunks.len().min(MAX_ASKED) as u64) {
            return;
        }
        let wanted = self.wanted_keys(&revolt);
        let proved = self
            .links
            .get(&peer)
            .is_some_and(|link| link.proved.contains(&revolt));
        let found: Vec<EpochSecret> = chunks
            .iter()
            .take(MAX_ASKED)
            .filter(|chunk| proved && wanted.has(&chunk.key_id))
            .filter_map(|chunk| {
                let mut own = own.iter();
                own.find_map(|key| AGREEMENT.receive(chunk, &revolt, key))
            })
            .collect();
        if found.is_empty() {
            return self.ask_for_more_keys(peer, revolt);
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

    /// Opens secrets that were handed on, and earlier ones that rotations sealed under known ones, as far back as
    /// they lead.
    pub(crate) fn follow_back_links(&mut self, id: RevoltId) {
        loop {
            let Some(revolt) = self.revolts.get(&id) else {
                return;
            };
            let state = revolt.authority.state();
            let epochs = state.epochs.values().flatten();
            let own = self.me.keys.hpke();
            let shared = state
                .shared()
                .filter(|(key_id, _)| !revolt.secrets.contains_key(key_id))
                .filter_map(|(key_id, slots)| {
                    let chunk = SlotChunk {
                        key_id: *key_id,
                        slots: slots.to_vec(),
                    };
                    AGREEMENT.receive(&chunk, &id, own)
                });
            let linked = epochs
                .clone()
                .filter_map(|epoch| Some((revolt.secrets.get(&epoch.key_id)?, epoch)))
                .flat_map(|(secret, epoch)| epoch.back_links.iter().map(move |link| (secret, link)))
                .filter(|(_, link)| !revolt.secrets.contains_key(&link.key_id))
                .filter_map(|(secret, link)| AGREEMENT.lead_back(secret, link));
            let found: Vec<EpochSecret> = shared.chain(linked).collect();
            if found.is_empty() {
                return;
            }
            self.learn(id, found);
        }
    }

    /// Makes the secrets that are due, and hands those of closed channels on.
    pub(crate) fn rotate_if_due(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        if revolt.is_key_work_due(&self.me.cert) && !self.may_author(&id) {
            return self.arm(Timer::Rotate(id), SECOND);
        }
        for audience in revolt.audiences(&self.me.cert) {
            let revolt = &self.revolts[&id];
            let lacks = audience != Audience::Revolt && revolt.newest_clean(&audience).is_none();
            if lacks || revolt.authority.state().rotation_due(&audience) {
                self.rotate(id, audience);
            }
            self.share(id, audience);
        }
    }

    /// Hands the secrets of a closed channel to those who see it and were not handed them yet. They go through the
    /// control stream: between two who see the channel may be only others.
    fn share(&mut self, id: RevoltId, audience: Audience) {
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let Some(under) = revolt.sending_secret().cloned() else {
            return;
        };
        let unshared = revolt.unshared(&audience, &self.me.cert).into_iter();
        let unshared = unshared.map(|(key_id, keys)| (revolt.secrets[&key_id].clone(), keys));
        for (secret, lacking) in unshared.collect::<Vec<_>>() {
            for part in lacking.chunks(MAX_SHARED_SLOTS) {
                for chunk in AGREEMENT.hand_on(&secret, &id, part, &mut self.rng) {
                    // Somebody's key may be none; nothing is written for them, again and again.
                    if !chunk.slots.is_empty() {
                        self.author(id, &Act::KeyShare(chunk), &under, Vec::new());
                    }
                }
            }
        }
    }

    /// Starts a new epoch for those who are in an audience now.
    pub(crate) fn rotate(&mut self, id: RevoltId, audience: Audience) {
        if is_active(Mutant::NoRotation) {
            return;
        }
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let state = revolt.authority.state();
        // Those of a closed channel get theirs by the control stream.
        let mut recipients = state.recipients(&audience);
        recipients.retain(|_| audience == Audience::Revolt);
        let recipients: Vec<HpkePublic> = recipients.into_iter().map(|(_, key)| key).collect();
        let unlinked = revolt.unlinked_secrets(&audience);
        let mut earlier = revolt.known_secrets(&audience);
        let leads_back = revolt.leads_back(&audience);
        earlier.retain(|earlier| {
            let key_id = earlier.key_id();
            leads_back && unlinked.contains(&key_id) && revolt.is_of(&key_id, &audience)
        });
        earlier.truncate(MAX_BACK_LINKS);
        let Begun {
            secret,
            chunks,
            back_links,
        } = AGREEMENT.begin(&id, &recipients, &earlier, &mut self.rng);
        // A new secret of the revolt is announced under itself, so that newcomers read it and those who were
        // removed don't; that of a channel for all members, who could else not go on in the chain.
        let under = match audience {
            Audience::Revolt => secret.clone(),
            Audience::Channel(_) => match revolt.sending_secret() {
                Some(known) => known.clone(),
                None => return,
            },
        };
        let own = self.streams[&revolt.control]
            .chains
            .get(&self.me.cert.device);
        let own_tip = own.map(|own| own.tip_id).unwrap_or_default();
        let generation = revolt.authority.generation_after(&audience, &own_tip);
        let commitment = match &audience {
            Audience::Revolt => chunk_root(&chunks),
            Audience::Channel(channel) => {
                secret.claim(&id, channel, generation, &self.me.cert.device)
            }
        };
        let act = Act::KeyRotate(KeyRotate {
            audience,
            generation,
            key_id: secret.key_id(),
            commitment,
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
        if audience != Audience::Revolt {
            self.share(id, audience);
        }
    }
}

pub(crate) fn chunk_write(revolt: &RevoltId, chunk: &SlotChunk) -> Write {
    Write::Put {
        space: Space::Chunk,
        key: chunk_key(revolt, chunk),
        value: encode(chunk),
    }
}

pub(crate) fn chunk_key(revolt: &RevoltId, chunk: &SlotChunk) -> Vec<u8> {
    let hash = revnet_protocol::hash::content(&encode(chunk));
    [revolt.0, chunk.key_id.0, hash.0].concat()
}
