//! The causal graph of control acts: what each act's author knew. Nothing here depends on who may do what.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::{Audience, KeyRotate};
use revnet_protocol::role::Target;
use revnet_protocol::{
    Act, DeviceId, DeviceRevocation, EnvelopeId, Hlc, InviteId, KeyId, RevoltId, UserId,
};

use super::mutant::{Mutant, is_active};

/// One control act with the fields of its envelope that the reducer reads. Whoever inserts it has checked
/// the envelope's signature.
#[derive(Clone, Debug)]
pub struct ActRecord {
    /// The envelope's id.
    pub id: EnvelopeId,
    /// Who wrote it.
    pub device: DeviceId,
    /// Its place in the device's control chain, from 1.
    pub seq: u64,
    /// The act before it in that chain; all zero for the first.
    pub prev: EnvelopeId,
    /// The control acts that its author cites.
    pub heads: Vec<EnvelopeId>,
    /// When its author says it was written.
    pub hlc: Hlc,
    /// The epoch secret it was sealed with.
    pub key_id: KeyId,
    /// What its author wants.
    pub act: Act,
}

/// Most joins that a device may have written before another one: whoever comes and goes costs everybody time.
const MAX_JOINS: usize = 64;

impl ActRecord {
    /// The acts that it builds on.
    pub(super) fn deps(&self) -> impl Iterator<Item = EnvelopeId> + '_ {
        let prev = Some(self.prev).filter(|prev| *prev != EnvelopeId::default());
        self.heads.iter().copied().chain(prev)
    }
}

/// The place of an act in a [`Graph`]. Places follow arrival, so they never decide anything.
pub(super) type Place = usize;

/// A set of places; as long as its highest one needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Vec<u64>);

impl Places {
    pub(super) fn has(&self, place: Place) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn add(&mut self, place: Place) {
        if self.0.len() <= place / 64 {
            self.0.resize(place / 64 + 1, 0);
        }
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn remove(&mut self, place: Place) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    fn iter(&self) -> impl Iterator<Item = Place> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| 64 * at + bit)
        })
    }

    pub(super) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// What is in both.
    fn meet(&self, other: &Self) -> Self {
        let both = self.0.iter().zip(&other.0);
        Self(both.map(|(mine, theirs)| mine & theirs).collect())
    }

    /// How many of `wanted` are in `self` and not in `without`.
    fn gain(&self, wanted: &Self, without: &Self) -> u32 {
        let missing = without.0.iter().copied().chain(std::iter::repeat(0));
        let words = self.0.iter().zip(&wanted.0).zip(missing);
        words
            .map(|((mine, wanted), without)| (mine & wanted & !without).count_ones())
            .sum()
    }
}

impl FromIterator<Place> for Places {
    fn from_iter<T: IntoIterator<Item = Place>>(places: T) -> Self {
        let mut all = Self::default();
        for place in places {
            all.add(place);
        }
        all
    }
}

/// An act with what its past says about it, which nothing that comes later changes.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) record: ActRecord,
    /// The longest way down to an act without deps.
    pub(super) depth: u32,
    /// Everything that its author knew, without the act itself.
    pub(super) past: Places,
    /// The person whose device wrote it: by the earliest sound certificate among what its author knew, so
    /// that a second certificate, whenever it comes, takes no act from its author.
    pub(super) author: Option<UserId>,
    /// Whether it is later than what it cites, signatures inside it hold, and the generation of a rotation is the
    /// next one.
    pub(super) sound: bool,
}

/// Acts whose pasts are complete, and those that wait for others.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    places: BTreeMap<EnvelopeId, Place>,
    waiting: BTreeMap<EnvelopeId, ActRecord>,
    /// Which waiting acts name a missing one.
    wanted: BTreeMap<EnvelopeId, Vec<EnvelopeId>>,
    /// Acts that no other names, with their depth.
    heads: BTreeSet<Place>,
    /// The acts that carry sound certificates, by device.
    certified: BTreeMap<DeviceId, Vec<Place>>,
    /// Sound rotations.
    rotations: Vec<Place>,
    /// The secrets that the revolt's acts may be sealed with.
    announced: BTreeSet<KeyId>,
    /// Rotations of channels' secrets by the secrets that they name.
    claims: BTreeMap<KeyId, Vec<Place>>,
    /// Sound revocations of devices, by whose root key signed them, and of which.
    revocations: BTreeMap<(UserId, DeviceId), Vec<Place>>,
    /// Acts that make invites.
    invites: BTreeMap<InviteId, Vec<Place>>,
    /// Acts that change what people may do or hold, which authors had better not miss.
    weighty: Places,
}

impl Graph {
    pub(super) fn place(&self, id: &EnvelopeId) -> Option<Place> {
        self.places.get(id).copied()
    }

    pub(super) fn is_known(&self, id: &EnvelopeId) -> bool {
        self.places.contains_key(id) || self.waiting.contains_key(id)
    }

    /// Whether the author of `later` knew `earlier`.
    pub(super) fn knew(&self, later: Place, earlier: Place) -> bool {
        self.nodes[later].past.has(earlier)
    }

    pub(super) fn act(&self, place: Place) -> &Act {
        &self.nodes[place].record.act
    }

    /// The order among equal ranks.
    pub(super) fn order(&self, place: Place) -> (u32, EnvelopeId) {
        (self.nodes[place].depth, self.nodes[place].record.id)
    }

    /// The chain that ends in `last`, newest first.
    pub(super) fn chain(&self, last: Place) -> impl Iterator<Item = Place> + '_ {
        let device = self.nodes[last].record.device;
        std::iter::successors(Some(last), move |place| {
            self.place(&self.nodes[*place].record.prev)
                .filter(|prev| self.nodes[*prev].record.device == device)
        })
    }

    /// Takes an act that is not known yet, and every act that waited for it.
    pub(super) fn insert(&mut self, record: ActRecord, revolt: &RevoltId) {
        let mut ready = vec![record];
        while let Some(record) = ready.pop() {
            let missing = record.deps().find(|dep| !self.places.contains_key(dep));
            let id = record.id;
            if let Some(missing) = missing {
                self.wanted.entry(missing).or_default().push(id);
                self.waiting.insert(id, record);
                continue;
            }
            self.add(record, revolt);
            let freed = self.wanted.remove(&id).unwrap_or_default();
            ready.extend(freed.iter().filter_map(|id| self.waiting.remove(id)));
        }
    }

    fn add(&mut self, record: ActRecord, revolt: &RevoltId) {
        let place = self.nodes.len();
        let mut past = Places::default();
        let mut depth = 0;
        for dep in record.deps() {
            let dep = self.places[&dep];
            past.join(&self.nodes[dep].past);
            past.add(dep);
            depth = depth.max(self.nodes[dep].depth + 1);
            self.heads.remove(&dep);
        }
        let later = record
            .deps()
            .all(|dep| self.nodes[self.places[&dep]].record.hlc < record.hlc);
        let sound = later && self.is_sound(&record, &past, revolt);
        let author = self.author(&record, &past, sound);
        match &record.act {
            Act::Create { .. } | Act::Join(_) if sound => {
                self.certified.entry(record.device).or_default().push(place);
            }
            Act::Invite(invite) => {
                self.invites.entry(invite.invite).or_default().push(place);
            }
            Act::KeyRotate(_) if sound => self.rotations.push(place),
            Act::RevokeDevice(revocation)
                if sound && is_brought_by_owner(author, &record.device, revocation) =>
            {
                let of = (revocation.user, revocation.device);
                let order = |at: Place| match self.nodes.get(at) {
                    Some(node) => (node.depth, node.record.id),
                    None => (depth, record.id),
                };
                let all = self.revocations.entry(of).or_default();
                all.push(place);
                all.sort_unstable_by_key(|at| order(*at));
                self.weighty.add(place);
            }
            Act::SetMember(_)
            | Act::Leave
            | Act::RevokeInvite { .. }
            | Act::Role(_)
            | Act::Grant(_)
            | Act::Overwrite(_)
            | Act::Ban(_)
            | Act::Timeout(_)
            | Act::Equivocation(_) => self.weighty.add(place),
            _ => {}
        }
        match &record.act {
            Act::KeyRotate(rotate) if rotate.audience == Audience::Revolt => {
                self.announced
                    .extend(is_sealed(&record, rotate).then_some(rotate.key_id));
            }
            Act::KeyRotate(rotate) => {
                self.claims.entry(rotate.key_id).or_default().push(place);
            }
            _ => {}
        }
        self.places.insert(record.id, place);
        self.heads.insert(place);
        self.nodes.push(Node {
            record,
            depth,
            past,
            author,
            sound,
        });
    }

    fn is_sound(&self, record: &ActRecord, past: &Places, revolt: &RevoltId) -> bool {
        if is_active(Mutant::SignaturesUnread) && !matches!(record.act, Act::Unknown) {
            return true;
        }
        match &record.act {
            Act::Create { genesis, cert, .. } => {
                record.deps().next().is_none()
                    && genesis.revolt() == *revolt
                    && genesis.is_signed()
                    && genesis.genesis.device == record.device
                    && genesis.genesis.founder == cert.user
                    && cert.device == record.device
                    && cert.verify().is_ok()
            }
            Act::Join(join) => {
                let before = self.certified(&record.device).iter();
                let before = before.filter(|join| past.has(**join)).count();
                before < MAX_JOINS && join.cert.device == record.device && join.is_sound(revolt)
            }
            Act::KeyRotate(rotate) => {
                let before = self.generation_in(past, &rotate.audience);
                before.checked_add(1) == Some(rotate.generation)
                    && is_sealed(record, rotate)
                    && !self.is_named(past, &rotate.key_id)
            }
            Act::RevokeDevice(revocation) => revocation.is_signed(),
            Act::Equivocation(proof) => proof.is_sound(revolt),
            // What everybody may do is asked for under this name.
            Act::Grant(grant) => grant.user != UserId::default(),
            Act::Overwrite(new) => new.target != Target::User(UserId::default()),
            Act::Unknown => false,
            _ => true,
        }
    }

    fn author(&self, record: &ActRecord, past: &Places, sound: bool) -> Option<UserId> {
        self.author_by(&record.device, past)
            .or_else(|| certified_by(&record.act).filter(|_| sound))
    }

    /// The person whose device this is by what `known` says.
    pub(super) fn author_by(&self, device: &DeviceId, known: &Places) -> Option<UserId> {
        let certs = self.certified(device).iter().copied();
        let first = certs
            .filter(|place| known.has(*place))
            .min_by_key(|place| self.order(*place))?;
        certified_by(self.act(first))
    }

    /// Whether a secret was announced for the whole revolt, by an act that counts or not.
    pub(super) fn is_announced(&self, key_id: &KeyId) -> bool {
        self.announced.contains(key_id)
    }

    /// The rotations of channels' secrets that name a secret.
    pub(super) fn claims(&self, key_id: &KeyId) -> &[Place] {
        self.claims.get(key_id).map_or(&[], Vec::as_slice)
    }

    /// The acts that make an invite, counting or not.
    pub(super) fn invites(&self, invite: &InviteId) -> &[Place] {
        self.invites.get(invite).map_or(&[], Vec::as_slice)
    }

    /// Whether one of `known` names a secret: who was out since may hold it.
    fn is_named(&self, known: &Places, key_id: &KeyId) -> bool {
        let mut rotations = self.rotations.iter().filter(|place| known.has(**place));
        let is_same = |place: &Place| match self.act(*place) {
            Act::KeyRotate(rotate) => rotate.key_id == *key_id,
            _ => false,
        };
        rotations.any(is_same) && !is_active(Mutant::SecretsAgain)
    }

    /// The certificates of a device, in no order.
    pub(super) fn certified(&self, device: &DeviceId) -> &[Place] {
        self.certified.get(device).map_or(&[], Vec::as_slice)
    }

    /// The revocations of a person's device that say something of this revolt, causes before effects.
    pub(super) fn revocations(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> impl Iterator<Item = Place> + use<'_> {
        let all = self.revocations.get(&(*user, *device));
        let all = all.into_iter().flatten().copied();
        all.filter(|place| match self.act(*place) {
            Act::RevokeDevice(revocation) => self.stood_by(revocation).is_some(),
            _ => false,
        })
    }

    /// The act of a revoked device that its owner stands by, with all before it in its chain. The root key names it: what
    /// a revocation takes back would otherwise depend on who brings it, and somebody with another stolen device would
    /// bring it once more as if nothing had been known.
    pub(super) fn stood_by(&self, revocation: &DeviceRevocation) -> Option<Place> {
        let (seq, id) = revocation.keep?;
        let place = self.place(&id)?;
        let record = &self.nodes[place].record;
        (record.device == revocation.device && record.seq == seq).then_some(place)
    }

    /// The highest generation of an audience's sound rotations among `known`.
    pub(super) fn generation_in(&self, known: &Places, audience: &Audience) -> u64 {
        let rotations = self.rotations.iter().filter(|place| known.has(**place));
        rotations
            .filter_map(|place| match &self.nodes[*place].record.act {
                Act::KeyRotate(rotate) if rotate.audience == *audience => Some(rotate.generation),
                _ => None,
            })
            .max()
            .unwrap_or(0)
    }

    /// At most `most` acts that count and that no other act that counts builds on, void ones in between left out. Where
    /// there are more, those come first that lead to the rotation of the highest generation and then to as many weighty
    /// acts as possible: an author who missed a rotation would reuse its generation, and one who missed a promotion
    /// could not act on it. What everybody may write as often as they like has no weight, or little.
    ///
    /// What counts for nothing isn't cited. Whoever is out could otherwise fill the places, and hide a promotion, or move
    /// the stamps of all others, who stamp after what they cite.
    pub(super) fn heads(&self, most: usize, counting: &Places) -> Vec<Place> {
        let (mut left, weighty) = if is_active(Mutant::VoidHeads) {
            (self.heads.iter().copied().collect(), self.weighty.clone())
        } else {
            (self.tips(counting), self.weigh(counting))
        };
        left.sort_unstable_by_key(|place| std::cmp::Reverse(self.order(*place)));
        if left.len() <= most {
            return left;
        }
        let rotations = self.rotations.iter().copied();
        let rotations = rotations.filter(|place| counting.has(*place));
        let highest = rotations.max_by_key(|place| match self.act(*place) {
            Act::KeyRotate(rotate) => (rotate.generation, self.order(*place)),
            _ => unreachable!("only rotations are listed"),
        });
        let (mut chosen, mut covered) = (Vec::new(), Places::default());
        while chosen.len() < most {
            let worth = |place: &Place| {
                let leads = highest.is_some_and(|to| to == *place || self.knew(*place, to));
                let own = weighty.has(*place) && !covered.has(*place);
                let gain = self.nodes[*place].past.gain(&weighty, &covered) + u32::from(own);
                (leads && chosen.is_empty(), gain, self.order(*place))
            };
            let best = left.iter().copied().max_by_key(worth);
            let best = best.expect("there are more than places for them");
            left.retain(|place| *place != best);
            covered.join(&self.nodes[best].past);
            covered.add(best);
            chosen.push(best);
        }
        chosen
    }

    /// The weighty acts among `counting`, each person's leaves and revocations of a device once.
    fn weigh(&self, counting: &Places) -> Places {
        let mut weighty = self.weighty.meet(counting);
        let mut once = BTreeMap::new();
        for place in weighty.iter() {
            let author = self.nodes[place].author;
            let what = match self.act(place) {
                Act::Leave => (author, None),
                Act::RevokeDevice(revocation) => (author, Some(revocation.device)),
                _ => continue,
            };
            let first = once.entry(what).or_insert(place);
            if self.order(place) < self.order(*first) {
                *first = place;
            }
        }
        let first: BTreeSet<Place> = once.into_values().collect();
        let is_own = |place: &Place| matches!(self.act(*place), Act::Leave | Act::RevokeDevice(_));
        let repeated = weighty.iter();
        let repeated = repeated.filter(|place| is_own(place) && !first.contains(place));
        for place in repeated.collect::<Vec<Place>>() {
            weighty.remove(place);
        }
        weighty
    }

    /// The acts among `counting` that no other of them builds on.
    fn tips(&self, counting: &Places) -> Vec<Place> {
        let mut open: Vec<Place> = self.heads.iter().copied().collect();
        let (mut seen, mut found) = (Places::default(), Vec::new());
        while let Some(place) = open.pop() {
            if seen.has(place) {
                continue;
            }
            seen.add(place);
            if counting.has(place) {
                found.push(place);
            } else {
                let deps = self.nodes[place].record.deps();
                open.extend(deps.map(|dep| self.places[&dep]));
            }
        }
        let known = |place: &Place| found.iter().any(|later| self.knew(*later, *place));
        found
            .iter()
            .copied()
            .filter(|place| !known(place))
            .collect()
    }

    /// Those acts and everything that they build on.
    pub(super) fn known_from(&self, heads: impl IntoIterator<Item = Place>) -> Places {
        let mut known = Places::default();
        for head in heads {
            known.join(&self.nodes[head].past);
            known.add(head);
        }
        known
    }
}

/// Whether a revocation is brought by another device of whose it is. Somebody else could bring it once more, as if
/// nothing of the device had been known to anybody, and so take back what it did.
pub(super) fn is_brought_by_owner(
    author: Option<UserId>,
    by: &DeviceId,
    revocation: &DeviceRevocation,
) -> bool {
    let is_owner = author == Some(revocation.user) && *by != revocation.device;
    is_owner || is_active(Mutant::AnybodyRevokes)
}

/// The person that an act's certificate names.
pub(super) fn certified_by(act: &Act) -> Option<UserId> {
    match act {
        Act::Create { cert, .. } => Some(cert.user),
        Act::Join(join) => Some(join.cert.user),
        _ => None,
    }
}

/// A secret of the whole revolt is announced under itself, so that nobody announces one that nobody has.
fn is_sealed(record: &ActRecord, rotate: &KeyRotate) -> bool {
    rotate.audience != Audience::Revolt || rotate.key_id == record.key_id
}
