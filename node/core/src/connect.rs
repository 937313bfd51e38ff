//! Finding members and staying connected: topics, meeting keys, dialling with patience, and keeping away
//! from peers that misbehaved.

use std::collections::BTreeSet;

use revnet_protocol::epoch::MeetSecret;
use revnet_protocol::{Act, DeviceId, InviteSecret, RevoltId, encode};

use crate::core::{Core, Timer};
use crate::io::{Effect, Mono, SECOND};
use crate::storage::Space;

/// Links that a revolt should have, where it has that many members.
const LINKS_PER_REVOLT: usize = 8;
/// First pause before a peer is dialled again; doubled each time.
const FIRST_PAUSE: Mono = SECOND;
/// Longest pause.
const LONGEST_PAUSE: Mono = 60 * SECOND;
/// How often members are looked for.
const CONNECT_EVERY: Mono = 5 * SECOND;
/// One in so many of these times a node with enough links meets another member: about once a minute.
const MINGLE_ONE_IN: u64 = 12;
/// How often topics, meeting keys and invites are looked after.
const HOUSEKEEPING_EVERY: Mono = 30 * SECOND;
/// How long a misbehaving peer is kept away.
const BAN: Mono = 300 * SECOND;
/// How soon a peer that shares nothing is dialled again.
const STRANGER_PAUSE: Mono = 60 * SECOND;
/// Most peers of which it is remembered that they were dialled or sent away.
const MAX_DIALS: usize = 4096;
/// A day in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// Near midnight both days' topics count, in milliseconds: clocks differ.
const DAY_EDGE_MS: u64 = 15 * 60 * 1000;
/// How many generations back topics are listened to.
const TOPIC_GENERATIONS: usize = 3;
/// Most addresses remembered of a peer.
const MAX_ADDRESSES: usize = 4;

/// What is known about reaching a peer.
#[derive(Debug, Default)]
pub(crate) struct Dial {
    failures: u32,
    not_before: Mono,
    banned_until: Mono,
}

impl Core {
    pub(crate) fn is_banned(&self, peer: &DeviceId) -> bool {
        self.dials
            .get(peer)
            .is_some_and(|dial| dial.banned_until > self.now())
    }

    /// Keeps a peer away for a while.
    pub(crate) fn ban(&mut self, peer: DeviceId, reason: &'static str) {
        let until = self.now() + BAN;
        self.dials.entry(peer).or_default().banned_until = until;
        let period = BAN;
        self.effect(Effect::Ban {
            peer,
            period,
            reason,
        });
    }

    /// A link came up: dial without a pause the next time.
    pub(crate) fn dialled(&mut self, peer: &DeviceId) {
        self.dials.remove(peer);
    }

    /// Ends a link that leads to nothing, and doesn't begin another one soon. Nobody is to blame.
    pub(crate) fn part_from(&mut self, peer: DeviceId, reason: &'static str) {
        self.effect(Effect::Disconnect { peer, reason });
        self.link_down(peer);
        let later = self.now() + STRANGER_PAUSE;
        self.dials.entry(peer).or_default().not_before = later;
    }

    /// Forgets what doesn't matter any more of peers that were dialled or sent away.
    fn forget_dials(&mut self) {
        let now = self.now();
        self.dials
            .retain(|_, dial| dial.banned_until.max(dial.not_before) + LONGEST_PAUSE > now);
        while self.dials.len() > MAX_DIALS {
            let soonest = self.dials.iter().min_by_key(|(_, dial)| dial.banned_until);
            let Some(peer) = soonest.map(|(peer, _)| *peer) else {
                return;
            };
            self.dials.remove(&peer);
        }
    }

    /// Remembers where a peer was reached that shares a revolt.
    pub(crate) fn remember_address(&mut self, peer: DeviceId, address: Option<String>) {
        let Some(address) = address else { return };
        let known = self.addresses.entry(peer).or_default();
        if known.first() != Some(&address) {
            known.retain(|have| *have != address);
            known.insert(0, address);
            known.truncate(MAX_ADDRESSES);
            let key = [b"address:".as_slice(), &peer.0].concat();
            let value = encode(known);
            self.store(vec![Self::put(Space::Local, key, value)], None);
        }
    }

    pub(crate) fn lost(&mut self, peer: DeviceId) {
        let pause = self.jitter(FIRST_PAUSE);
        let soon = self.now() + pause;
        self.dials.entry(peer).or_default().not_before = soon;
        self.disarm(Timer::Connect);
        self.arm(Timer::Connect, pause);
    }

    pub(crate) fn dial_failed(&mut self, peer: DeviceId) {
        let now = self.now();
        let dial = self.dials.entry(peer).or_default();
        dial.failures = dial.failures.saturating_add(1);
        let pause = (FIRST_PAUSE << dial.failures.min(6)).min(LONGEST_PAUSE);
        dial.not_before = now + pause;
    }

    pub(crate) fn nearby(&mut self, peer: DeviceId) {
        self.dial(peer);
    }

    pub(crate) fn providers(&mut self, key: &[u8; 32], peers: &[DeviceId]) {
        if self.provided.contains_key(key) || self.revolts.values().any(|r| r.joining.is_some()) {
            for peer in peers.iter().take(LINKS_PER_REVOLT * 2) {
                self.dial(*peer);
            }
        }
    }

    fn dial(&mut self, peer: DeviceId) {
        if peer == self.device() || self.links.contains_key(&peer) || self.is_banned(&peer) {
            return;
        }
        let now = self.now();
        let dial = self.dials.entry(peer).or_default();
        if dial.not_before > now {
            return;
        }
        // Counted as failed until the link is up, so that a dial that is never answered isn't repeated at once.
        dial.failures = dial.failures.saturating_add(1);
        dial.not_before = now + (FIRST_PAUSE << dial.failures.min(6)).min(LONGEST_PAUSE);
        let addresses = self.addresses.get(&peer).cloned().unwrap_or_default();
        self.effect(Effect::Dial { peer, addresses });
    }

    /// Dials members of revolts that have too few links, and asks where they are.
    pub(crate) fn connect(&mut self) {
        self.forget_dials();
        self.forget_full_purses();
        let mut wanted = BTreeSet::new();
        let (mut lonely, mut settled) = (Vec::new(), Vec::new());
        for revolt in self.revolts.values() {
            let linked = self
                .links
                .values()
                .filter(|link| link.proved.contains(&revolt.id))
                .count();
            if linked >= LINKS_PER_REVOLT {
                settled.push(revolt.id);
                continue;
            }
            let members = revolt
                .authority
                .state()
                .members
                .values()
                .flat_map(|m| m.devices.keys());
            let others: Vec<_> = members
                .filter(|d| !self.links.contains_key(*d))
                .copied()
                .collect();
            if linked == 0 || linked < others.len().min(3) {
                lonely.push(revolt.id);
            }
            wanted.extend(others.into_iter().take(LINKS_PER_REVOLT * 2));
        }
        for peer in wanted {
            self.dial(peer);
        }
        for revolt in lonely {
            self.look_for(revolt);
        }
        for revolt in settled {
            self.mingle(revolt);
        }
        let spread = self.jitter(SECOND);
        self.arm(Timer::Connect, CONNECT_EVERY + spread);
    }

    /// Now and then meets another member. After a split of the network all links of a revolt may lie on one
    /// side, and everybody there has enough of them.
    fn mingle(&mut self, id: RevoltId) {
        if self.jitter(MINGLE_ONE_IN) > 0 {
            return;
        }
        let state = self.revolts[&id].authority.state();
        let members = state.members.values().flat_map(|m| m.devices.keys());
        let (linked, others): (Vec<_>, Vec<_>) =
            members.copied().partition(|d| self.links.contains_key(d));
        if linked.len() >= LINKS_PER_REVOLT * 2 {
            let peer = linked[self.below(linked.len())];
            let reason = "makes room for another member";
            self.effect(Effect::Disconnect { peer, reason });
            self.link_down(peer);
        }
        if !others.is_empty() {
            let peer = others[self.below(others.len())];
            self.dial(peer);
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.jitter(bound as Mono)).unwrap_or_default()
    }

    fn look_for(&mut self, id: RevoltId) {
        let keys: Vec<_> = self
            .provided
            .iter()
            .filter(|(_, revolt)| **revolt == id)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.effect(Effect::FindProviders { key });
        }
        let Some(joining) = self.revolts.get(&id).and_then(|r| r.joining.as_ref()) else {
            return;
        };
        let meet = MeetSecret::of_invite(&InviteSecret::from_seed(joining.seed).id());
        for day in self.days() {
            self.effect(Effect::FindProviders {
                key: meet.dht_key(day),
            });
        }
        self.reach_joining(id);
    }

    fn days(&self) -> Vec<u64> {
        let now = self.unix_ms();
        let mut days = vec![now / DAY_MS];
        days.push(now.saturating_sub(DAY_EDGE_MS) / DAY_MS);
        days.push((now + DAY_EDGE_MS) / DAY_MS);
        days.sort_unstable();
        days.dedup();
        days
    }

    /// The topic under which this node gossips in a revolt now.
    pub(crate) fn topic_of(&self, id: &RevoltId) -> Option<String> {
        let revolt = self.revolts.get(id)?;
        let secret = revolt
            .sending_secret()
            .or_else(|| revolt.meeting_secrets().first().copied())?;
        Some(secret.meet().topic(self.unix_ms() / DAY_MS))
    }

    /// Listens where members of a revolt gossip, and announces this node where they look for it.
    pub(crate) fn refresh_topics(&mut self, id: RevoltId) {
        let days = self.days();
        let (mut topics, mut keys) = (BTreeSet::new(), BTreeSet::new());
        if let Some(revolt) = self.revolts.get(&id) {
            let meets: Vec<MeetSecret> = revolt
                .meeting_secrets()
                .iter()
                .map(|secret| secret.meet())
                .collect();
            for meet in meets.iter().take(TOPIC_GENERATIONS) {
                topics.extend(days.iter().map(|day| meet.topic(*day)));
            }
            for meet in &meets {
                keys.extend(days.iter().map(|day| meet.dht_key(*day)));
            }
            let now = self.unix_ms();
            if revolt.joining.is_none() {
                for (invite, state) in &revolt.authority.state().invites {
                    if !crate::join::has_ended(state, now) {
                        let meet = MeetSecret::of_invite(invite);
                        keys.extend(days.iter().map(|day| meet.dht_key(*day)));
                    }
                }
            }
        }
        let old: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, r)| **r == id)
            .map(|(t, _)| t.clone())
            .collect();
        for topic in old.into_iter().filter(|topic| !topics.contains(topic)) {
            self.topics.remove(&topic);
            self.effect(Effect::Unsubscribe { topic });
        }
        for topic in topics {
            if self.topics.insert(topic.clone(), id).is_none() {
                self.effect(Effect::Subscribe { topic });
            }
        }
        let old: Vec<_> = self
            .provided
            .iter()
            .filter(|(_, r)| **r == id)
            .map(|(k, _)| *k)
            .collect();
        for key in old.into_iter().filter(|key| !keys.contains(key)) {
            self.provided.remove(&key);
            self.effect(Effect::StopProviding { key });
        }
        for key in keys {
            if self.provided.insert(key, id).is_none() {
                self.effect(Effect::Provide { key });
            }
        }
    }

    pub(crate) fn drop_topics(&mut self, id: RevoltId) {
        // The revolt is gone from the map, so nothing of it is wanted.
        self.refresh_topics(id);
    }

    pub(crate) fn housekeeping(&mut self) {
        let revolts: Vec<_> = self.revolts.keys().copied().collect();
        for id in revolts {
            self.refresh_topics(id);
            self.end_invites(id);
            self.reopen(id);
        }
        self.arm(Timer::Housekeeping, HOUSEKEEPING_EVERY);
    }

    /// Makes the end of an invite, which each node judges by its own clock and count, final for all.
    fn end_invites(&mut self, id: RevoltId) {
        let now = self.unix_ms();
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        if !self.may_author(&id) {
            return;
        }
        if !self.may_invite(&id) {
            return;
        }
        let user = self.user();
        let due: Vec<_> = revolt
            .authority
            .state()
            .invites
            .iter()
            .filter(|(_, invite)| {
                invite.by == user && !invite.revoked && crate::join::has_ended(invite, now)
            })
            .map(|(id, _)| *id)
            .collect();
        for invite in due {
            let Some(secret) = self
                .revolts
                .get(&id)
                .and_then(|r| r.sending_secret().cloned())
            else {
                return;
            };
            let keep = self.joins_by(&id, &invite);
            self.author(id, &Act::RevokeInvite { invite, keep }, &secret, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use revnet_protocol::{DeviceId, DeviceKeys, RootKey};

    use super::MAX_DIALS;
    use crate::core::{Core, Identity};
    use crate::io::{Input, SECOND};
    use crate::storage::Boot;

    #[test]
    fn strangers_that_come_once_leave_little_behind() {
        let keys = DeviceKeys::from_seed([1; 32]);
        let cert = RootKey::from_seed([2; 32]).certify(&keys, "test", 0);
        let name = String::new();
        let identity = Identity { keys, cert, name };
        let boot = Boot::default();
        let mut core = Core::new(identity, [4; 32], SECOND, Duration::ZERO, boot);
        let mut now = SECOND;
        for number in 0..100_000_u32 {
            let mut peer = DeviceId([5; 32]);
            peer.0[..4].copy_from_slice(&number.to_le_bytes());
            let (relayed, address) = (false, Some("somewhere".to_owned()));
            let up = Input::LinkUp {
                peer,
                relayed,
                address,
            };
            core.handle(up, now);
            let bytes = vec![255];
            core.handle(Input::Frame { peer, bytes }, now);
            now += SECOND / 500;
            core.handle_timeout(now);
            while core.poll_effect().is_some() {}
        }
        assert!(core.links.is_empty() && core.addresses.is_empty());
        // What came since the last housekeeping is there, too.
        assert!(
            core.dials.len() <= MAX_DIALS + 20_000,
            "{}",
            core.dials.len()
        );
        assert!(core.purses.len() <= 20_000, "{}", core.purses.len());
    }
}
