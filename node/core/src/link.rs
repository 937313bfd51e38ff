//! A link from its first frame to its last: greeting, proving which revolts are shared, blame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use revnet_protocol::epoch::{MeetSecret, Tag};
use revnet_protocol::frame::{Frame, LINK_VERSION, Refusal};
use revnet_protocol::identity::verify;
use revnet_protocol::invite::knock_digest;
use revnet_protocol::{DeviceId, InviteId, InviteSecret, RevoltId, Signature, StreamId, UserId};

use crate::command::Notice;
use crate::core::{ANTI_ENTROPY, Core, GOSSIP_SETTLES, Timer, Waiting};
use crate::fork::Suspect;
use crate::io::{Effect, Mono, SECOND};
use crate::keys::AskedKeys;
use crate::pull::Pull;
use crate::purse::{LINK, SIGNATURE};
use crate::storage::Query;

/// How far serving a peer has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serving {
    /// The arrival position when the comparison was made: the cursor at its end.
    pub(crate) position: u64,
    /// Something was left out that can't be passed on.
    pub(crate) is_partial: bool,
}

/// A live link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) relayed: bool,
    since: Mono,
    /// Where the peer was reached.
    address: Option<String>,
    /// The peer has proven to share a revolt by a secret of it.
    pub(crate) is_trusted: bool,
    nonce: [u8; 32],
    their_nonce: Option<[u8; 32]>,
    pub(crate) clock_offset_ms: Option<i64>,
    /// Revolts whose meeting secret, or invite, the peer has proven to hold.
    pub(crate) proved: BTreeSet<RevoltId>,
    /// The invite by which the peer asks to be let in.
    pub(crate) knocked: BTreeMap<RevoltId, InviteId>,
    pub(crate) pulls: BTreeMap<RevoltId, Pull>,
    pub(crate) serving: BTreeMap<RevoltId, Serving>,
    /// Questions to the store that the peer caused and that are open.
    pub(crate) loads: usize,
    /// Those of them that wait for their turn.
    pub(crate) later: VecDeque<(Query, Waiting)>,
    /// Revolts of which all acts that the peer has were pulled once.
    pub(crate) heard: BTreeSet<RevoltId>,
    /// Revolts in which everything the peer has was pulled once.
    pub(crate) synced: BTreeSet<RevoltId>,
    /// The secrets that the peer was asked for.
    pub(crate) asked_keys: BTreeMap<RevoltId, AskedKeys>,
    /// Chains of which the peer has another history, as long as one comparison counts.
    pub(crate) searched: BTreeSet<(StreamId, DeviceId)>,
}

impl Link {
    /// Forgets what concerned a revolt.
    pub(crate) fn forget(&mut self, revolt: &RevoltId) {
        self.proved.remove(revolt);
        self.knocked.remove(revolt);
        self.pulls.remove(revolt);
        self.serving.remove(revolt);
        self.heard.remove(revolt);
        self.synced.remove(revolt);
        self.asked_keys.remove(revolt);
    }
}

/// Proofs are filled up to a multiple of this, so that their number tells little.
const PROOFS_STEP: usize = 16;
/// How far peers move the own clock at most, in milliseconds.
const MAX_CORRECTION_MS: i64 = 60 * 60 * 1000;
/// Most proofs in one frame, so that it is no larger than strangers may send.
const MAX_PROOFS: usize = 2048;
/// Most frames of proofs: 2,000 revolts and what their members meet by.
const MAX_PROVES: usize = 64;
/// How long somebody who shares nothing may keep a link.
const SHARES_WITHIN: Mono = 30 * SECOND;

impl Core {
    /// Compares notes with a peer again in a moment: what is said while gossip finds its ways is said past one of the
    /// two.
    pub(crate) fn compare_soon(&mut self, peer: DeviceId) {
        self.disarm(Timer::AntiEntropy(peer));
        let spread = self.jitter(GOSSIP_SETTLES / 4);
        self.arm(Timer::AntiEntropy(peer), GOSSIP_SETTLES + spread);
    }

    pub(crate) fn link_up(&mut self, peer: DeviceId, relayed: bool, address: Option<String>) {
        if self.is_banned(&peer) {
            return self.effect(Effect::Disconnect {
                peer,
                reason: "misbehaved a moment ago",
            });
        }
        let nonce = self.random();
        let link = Link {
            relayed,
            since: self.now(),
            address,
            is_trusted: false,
            nonce,
            their_nonce: None,
            clock_offset_ms: None,
            proved: BTreeSet::new(),
            knocked: BTreeMap::new(),
            pulls: BTreeMap::new(),
            serving: BTreeMap::new(),
            loads: 0,
            later: VecDeque::new(),
            heard: BTreeSet::new(),
            synced: BTreeSet::new(),
            asked_keys: BTreeMap::new(),
            searched: BTreeSet::new(),
        };
        self.links.insert(peer, link);
        if !self.pays(peer, LINK) {
            return;
        }
        self.dialled(&peer);
        self.compare_soon(peer);
        let unix_ms = self.machine_ms();
        self.send(
            peer,
            &Frame::Hello {
                version: LINK_VERSION,
                nonce,
                unix_ms,
            },
        );
        self.notice(Notice::PeersChanged);
    }

    pub(crate) fn link_down(&mut self, peer: DeviceId) {
        self.disarm(Timer::AntiEntropy(peer));
        if let Some(link) = self.links.remove(&peer) {
            for revolt in link.pulls.keys() {
                self.end_turn(peer, *revolt);
            }
            self.notice(Notice::PeersChanged);
            self.lost(peer);
        }
    }

    pub(crate) fn send(&mut self, peer: DeviceId, frame: &Frame) {
        self.effect(Effect::Send {
            peer,
            bytes: frame.encode(),
        });
    }

    /// Ends a link whose peer broke the rules, and stays away from it for a while.
    pub(crate) fn blame(&mut self, peer: DeviceId, reason: &'static str) {
        self.ban(peer, reason);
        self.link_down(peer);
    }

    pub(crate) fn frame(&mut self, peer: DeviceId, bytes: &[u8]) {
        if !self.links.contains_key(&peer) {
            return;
        }
        let cost = Self::frame_cost(bytes.len());
        if !self.pays(peer, cost) {
            return;
        }
        let Ok(frame) = Frame::decode(bytes) else {
            return self.blame(peer, "malformed frame");
        };
        let greeted = self.links[&peer].their_nonce.is_some();
        match frame {
            Frame::Hello {
                version,
                nonce,
                unix_ms,
            } => self.hello(peer, version, nonce, unix_ms),
            _ if !greeted => self.blame(peer, "spoke before its greeting"),
            Frame::Prove { proofs } => self.prove(peer, &proofs),
            Frame::Knock { proof, signature } => self.knock(peer, proof, &signature),
            Frame::Pull {
                revolt,
                have,
                cursor,
            } => self.pulled_from(peer, revolt, have, cursor),
            Frame::Compare { revolt, splits } => self.compare(peer, revolt, &splits),
            Frame::Ask {
                revolt,
                questions,
                from,
            } => self.asked(peer, revolt, &questions, from),
            Frame::Parted {
                revolt,
                stream,
                device,
                marks,
            } => {
                let suspect = Suspect {
                    peer,
                    revolt,
                    stream,
                    device,
                };
                self.parted(suspect, marks);
            }
            Frame::Runs { revolt, runs } => self.runs(peer, revolt, runs),
            Frame::Pulled {
                revolt,
                cursor,
                more,
            } => self.pulled(peer, revolt, cursor, more),
            Frame::NeedKeys { revolt, key_ids } => self.need_keys(peer, revolt, &key_ids),
            Frame::Keys { revolt, chunks } => self.keys(peer, revolt, &chunks),
            Frame::Refused { revolt, reason } => self.refused(peer, revolt, reason),
            Frame::Held(held) => self.held(peer, &held),
            Frame::Retired4(never)
            | Frame::Retired5(never)
            | Frame::Retired6(never)
            | Frame::Retired8(never)
            | Frame::Retired13(never) => match never {},
        }
    }

    fn hello(&mut self, peer: DeviceId, version: u16, nonce: [u8; 32], unix_ms: u64) {
        if version != LINK_VERSION {
            return self.effect(Effect::Disconnect {
                peer,
                reason: "speaks another version",
            });
        }
        let here = self.machine_ms();
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if link.their_nonce.is_some() {
            return self.blame(peer, "greeted twice");
        }
        link.their_nonce = Some(nonce);
        link.clock_offset_ms = Some(signed_difference(unix_ms, here));
        self.correct_clock();
        self.send_proofs(peer);
        let joining: Vec<_> = self
            .revolts
            .values()
            .filter(|r| r.joining.is_some())
            .map(|r| r.id)
            .collect();
        for revolt in joining {
            self.send_knock(peer, revolt);
        }
    }

    /// The own clock follows the median of three or more peers; fewer could be one liar.
    /// Only people who share a revolt count, each once, and nobody moves the clock by more than an hour.
    pub(crate) fn correct_clock(&mut self) {
        let member = |peer: &DeviceId| {
            let mut revolts = self.revolts.values();
            revolts.find_map(|revolt| {
                let of = revolt.authority.state().user_of(peer);
                of.filter(|(_, current)| *current).map(|(user, _)| user)
            })
        };
        let heard = self.links.iter();
        let heard = heard.filter_map(|(peer, link)| Some((member(peer)?, link.clock_offset_ms?)));
        let by_user: BTreeMap<UserId, i64> = heard.collect();
        let mut offsets: Vec<i64> = by_user.into_values().collect();
        self.clock_offset_ms = 0;
        if offsets.len() >= 3 {
            offsets.push(0);
            offsets.sort_unstable();
            let median = offsets[offsets.len() / 2];
            self.clock_offset_ms = median.clamp(-MAX_CORRECTION_MS, MAX_CORRECTION_MS);
        }
    }

    fn nonces(&self, peer: &DeviceId) -> Option<([u8; 32], [u8; 32])> {
        let link = self.links.get(peer)?;
        Some((link.nonce, link.their_nonce?))
    }

    /// Proves to a peer which revolts this node takes part in; only who shares one can tell. Older secrets
    /// count, too: two members who were parted may each have a newest one that the other doesn't know.
    pub(crate) fn send_proofs(&mut self, peer: DeviceId) {
        let Some((mine, theirs)) = self.nonces(&peer) else {
            return;
        };
        let me = self.device();
        let mut proofs: Vec<Tag> = self
            .revolts
            .values()
            .flat_map(crate::revolt::Revolt::meeting_secrets)
            .map(|secret| secret.meet().proof(&me, &peer, &mine, &theirs))
            .collect();
        self.fill_up(&mut proofs);
        for part in proofs.chunks(MAX_PROOFS).take(MAX_PROVES) {
            let proofs = part.to_vec();
            self.send(peer, &Frame::Prove { proofs });
        }
    }

    fn fill_up(&mut self, proofs: &mut Vec<Tag>) {
        while proofs.is_empty() || !proofs.len().is_multiple_of(PROOFS_STEP) {
            proofs.push(Tag(self.random()));
        }
        proofs.sort_unstable();
    }

    /// Answers a knock: whoever holds the invite sees that it came to the right door.
    fn send_proof_of(&mut self, peer: DeviceId, meet: &MeetSecret) {
        let Some((mine, theirs)) = self.nonces(&peer) else {
            return;
        };
        let mut proofs = vec![meet.proof(&self.device(), &peer, &mine, &theirs)];
        self.fill_up(&mut proofs);
        self.send(peer, &Frame::Prove { proofs });
    }

    pub(crate) fn send_knock(&mut self, peer: DeviceId, revolt: RevoltId) {
        let Some((mine, theirs)) = self.nonces(&peer) else {
            return;
        };
        let Some(joining) = self.revolts.get(&revolt).and_then(|r| r.joining.as_ref()) else {
            return;
        };
        let invite = InviteSecret::from_seed(joining.seed);
        let me = self.device();
        let proof = MeetSecret::of_invite(&invite.id()).proof(&me, &peer, &mine, &theirs);
        let signature = invite.sign(&knock_digest(&me, &peer, &mine, &theirs));
        self.send(peer, &Frame::Knock { proof, signature });
    }

    fn prove(&mut self, peer: DeviceId, proofs: &[Tag]) {
        let Some((mine, theirs)) = self.nonces(&peer) else {
            return;
        };
        if proofs.len() > MAX_PROOFS {
            return self.blame(peer, "proved too much at once");
        }
        let secrets = self.revolts.values().map(|r| r.meeting_secrets().len());
        let cost = (secrets.sum::<usize>() + proofs.len()) / 3;
        if !self.pays(peer, cost as u64) {
            return;
        }
        let (me, proofs): (_, BTreeSet<Tag>) = (self.device(), proofs.iter().copied().collect());
        let said = |meet: &MeetSecret| proofs.contains(&meet.proof(&peer, &me, &theirs, &mine));
        let shared: Vec<_> = self
            .revolts
            .values()
            .filter(|revolt| {
                let invite = revolt
                    .joining
                    .as_ref()
                    .map(|joining| InviteSecret::from_seed(joining.seed).id());
                revolt
                    .meeting_secrets()
                    .iter()
                    .any(|secret| said(&secret.meet()))
                    || invite.is_some_and(|invite| said(&MeetSecret::of_invite(&invite)))
            })
            .map(|revolt| revolt.id)
            .collect();
        for revolt in shared {
            self.trust(peer);
            let first = self
                .links
                .get_mut(&peer)
                .is_some_and(|link| link.proved.insert(revolt));
            if first {
                self.start_pull(peer, revolt);
                self.acknowledge_all_to(peer, revolt);
                self.report_joining(revolt);
            }
        }
    }

    /// A peer has business here: it may send and cost more, and is found again where it was.
    fn trust(&mut self, peer: DeviceId) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| !link.is_trusted) else {
            return;
        };
        link.is_trusted = true;
        let address = link.address.take();
        self.purses.remove(&peer);
        self.remember_address(peer, address);
        self.effect(Effect::Trust { peer });
    }

    fn knock(&mut self, peer: DeviceId, proof: Tag, signature: &Signature) {
        let Some((mine, theirs)) = self.nonces(&peer) else {
            return;
        };
        let invites = self
            .revolts
            .values()
            .map(|r| r.authority.state().invites.len());
        let cost = SIGNATURE + invites.sum::<usize>() as u64;
        if !self.pays(peer, cost) {
            return;
        }
        let me = self.device();
        let now = self.unix_ms();
        let digest = knock_digest(&peer, &me, &theirs, &mine);
        let found = self.revolts.values().find_map(|revolt| {
            let state = revolt.authority.state();
            state.invites.iter().find_map(|(id, invite)| {
                let meet = MeetSecret::of_invite(id);
                let knows = meet.proof(&peer, &me, &theirs, &mine) == proof;
                knows.then(|| (revolt.id, *id, meet, crate::join::has_ended(invite, now)))
            })
        });
        let Some((revolt, invite, meet, ended)) = found else {
            return;
        };
        if !verify(&invite.0, &digest, signature) {
            return self.blame(peer, "knocked with a forged invite");
        }
        // Somebody who joined already may still come by the link, until they know that they are in.
        let member = self.revolts[&revolt]
            .authority
            .state()
            .user_of(&peer)
            .is_some_and(|(_, current)| current);
        if ended && !member {
            return self.send(
                peer,
                &Frame::Refused {
                    revolt: Some(revolt),
                    reason: Refusal::InviteEnded,
                },
            );
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.knocked.insert(revolt, invite);
            link.proved.insert(revolt);
        }
        self.send_proof_of(peer, &meet);
        self.start_pull(peer, revolt);
    }

    /// Whether a peer may read a revolt here: a current member's device, or a newcomer with an open invite.
    pub(crate) fn may_read(&self, peer: &DeviceId, revolt: &RevoltId) -> Result<(), Refusal> {
        let (Some(link), Some(known)) = (self.links.get(peer), self.revolts.get(revolt)) else {
            return Err(Refusal::NotMember);
        };
        if !link.proved.contains(revolt) {
            return Err(Refusal::NotMember);
        }
        let state = known.authority.state();
        if state.user_of(peer).is_some_and(|(_, current)| current) {
            return Ok(());
        }
        match link
            .knocked
            .get(revolt)
            .and_then(|invite| state.invites.get(invite))
        {
            // A newer link doesn't help who is banned.
            Some(_) if known.is_banned(peer) => Err(Refusal::InviteEnded),
            // Whoever was removed may hold a link from before; it doesn't lead back in.
            Some(invite) if invite.stale && state.user_of(peer).is_some() => {
                Err(Refusal::InviteEnded)
            }
            Some(invite) if !crate::join::has_ended(invite, self.unix_ms()) => Ok(()),
            Some(_) => Err(Refusal::InviteEnded),
            None => Err(Refusal::NotMember),
        }
    }

    fn refused(&mut self, peer: DeviceId, revolt: Option<RevoltId>, reason: Refusal) {
        let Some(revolt) = revolt else { return };
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let knocked_for = self
            .revolts
            .get(&revolt)
            .is_some_and(|r| r.joining.is_some());
        if let Some(pull) = link.pulls.get_mut(&revolt) {
            pull.under_way = false;
        }
        self.end_turn(peer, revolt);
        self.pull_next(peer);
        let proved = self
            .links
            .get(&peer)
            .is_some_and(|link| link.proved.contains(&revolt));
        if reason == Refusal::InviteEnded && knocked_for && proved {
            self.join_refused(revolt);
        } else if reason == Refusal::NotMember {
            // It may have been a newcomer when the proofs came, without the secrets to check them by.
            self.send_proofs(peer);
        }
    }

    /// Peers that have proven a revolt, in a fixed order.
    pub(crate) fn peers_of(&self, revolt: &RevoltId) -> Vec<DeviceId> {
        self.links
            .iter()
            .filter(|(_, link)| link.proved.contains(revolt))
            .map(|(peer, _)| *peer)
            .collect()
    }

    pub(crate) fn anti_entropy(&mut self, peer: DeviceId) {
        self.correct_clock();
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        if link.their_nonce.is_none() {
            // A peer that never greets holds a place for nothing.
            return self.blame(peer, "never greeted");
        }
        if link.proved.is_empty()
            && self.now() >= link.since + SHARES_WITHIN
            && !self.revolts.values().any(|r| r.joining.is_some())
        {
            return self.part_from(peer, "shares nothing with this node");
        }
        let shared: Vec<_> = link.proved.iter().copied().collect();
        if let Some(link) = self.links.get_mut(&peer) {
            link.searched.clear();
        }
        for revolt in shared {
            let link = self.links.get_mut(&peer);
            if let Some(pull) = link.and_then(|link| link.pulls.get_mut(&revolt)) {
                if std::mem::take(&mut pull.answers) && pull.under_way {
                    continue;
                }
                // An answer that never came must not block the next question.
                pull.under_way = false;
            }
            self.start_pull(peer, revolt);
        }
        let spread = self.jitter(SECOND);
        self.arm(Timer::AntiEntropy(peer), ANTI_ENTROPY + spread);
    }
}

fn signed_difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(0)
}
