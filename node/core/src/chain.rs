//! Chains and streams: what is known of each author's envelopes.

use std::collections::{BTreeMap, BTreeSet};

use revnet_crdt::change::DocTip;
use revnet_protocol::envelope::Header;
use revnet_protocol::frame::{Fingerprint, Mark, Tip};
use revnet_protocol::hash::hash;
use revnet_protocol::{ChannelId, DeviceId, EnvelopeId, Hlc, KeyId, RevoltId, encode};
use serde::{Deserialize, Serialize};

/// Why a chain is read no further for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Waiting {
    /// The secret of this epoch is missing.
    Key(KeyId),
    /// It cites this control act, which isn't known.
    Head(EnvelopeId),
    /// It is an act stamped so far ahead of the clock, in milliseconds of Unix time, that its time has yet to come.
    Time(u64),
    /// It is an act under a secret that is here and was not announced to everybody.
    Announced(KeyId),
}

/// One author's chain in one stream. Two numbers matter: up to `tip` the envelopes are authentic and
/// stored; up to `opened` they are also decrypted, checked and indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) tip: u64,
    pub(crate) tip_id: EnvelopeId,
    pub(crate) opened: u64,
    /// Segment of the last opened event, and the author's place in that document.
    pub(crate) seg: u32,
    pub(crate) doc: Option<DocTip>,
    /// Time of the last opened event.
    pub(crate) hlc: Hlc,
    pub(crate) key_id: KeyId,
    pub(crate) waiting: Option<Waiting>,
    /// From this number on nothing counts: the author wrote something that no honest program writes.
    pub(crate) broken: Option<u64>,
    /// The author signed two envelopes for this number, and none for a lower one as far as is known. From here on
    /// nothing of it is in a document, and in a channel nothing is kept but what proves it.
    pub(crate) forked: Option<u64>,
    /// Up to where the disk has it; only that is acknowledged.
    #[serde(skip)]
    pub(crate) durable: (u64, EnvelopeId),
}

impl Chain {
    /// Longest encoded state, in bytes.
    pub(crate) const MAX_STATE: usize = 4096;

    /// A chain that was read from the disk.
    pub(crate) fn restored(self) -> Self {
        Self {
            durable: (self.tip, self.tip_id),
            ..self
        }
    }

    /// The same envelopes, of which nothing has been read. What their author signed twice stays known.
    pub(crate) fn unread(self) -> Self {
        Self {
            tip: self.tip,
            tip_id: self.tip_id,
            forked: self.forked,
            ..Self::default()
        }
    }

    /// Whether the event with this number is in its document.
    pub(crate) fn counts(&self, seq: u64) -> bool {
        self.broken.is_none_or(|from| seq < from) && self.forked.is_none_or(|from| seq < from)
    }
}

/// A piece of a chain that parts from the one which came first. In the control stream it grows like any chain; in a
/// channel it and another prove that the author signed two histories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Branch {
    pub(crate) device: DeviceId,
    /// The number before its first, and the envelope there.
    pub(crate) base: u64,
    pub(crate) prev: EnvelopeId,
    pub(crate) chain: Chain,
}

/// The name of a branch in the store, which stands in the place of a device.
pub(crate) fn branch_name(device: &DeviceId, first: &EnvelopeId) -> DeviceId {
    DeviceId(hash("revnet/v1/branch", &[&device.0, &first.0]).0)
}

/// Most branches of one device's chain in a control stream. What is beyond is not taken.
pub(crate) const MAX_BRANCHES: usize = 64;

/// A stream: the control stream of a revolt, or one of its channels.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) revolt: RevoltId,
    pub(crate) channel: Option<ChannelId>,
    pub(crate) chains: BTreeMap<DeviceId, Chain>,
    /// By [`branch_name`].
    pub(crate) branches: BTreeMap<DeviceId, Branch>,
    /// Of a control stream, where each envelope is: the device or the name of the branch, and its number.
    acts: BTreeMap<EnvelopeId, (DeviceId, u64)>,
    /// Authors whose chains may have changed since [`Stream::take_changed`].
    changed: BTreeSet<DeviceId>,
    /// Of a control stream, devices that hadn't come by an invite, and the bytes of their envelopes.
    pub(crate) strangers: BTreeMap<DeviceId, usize>,
    /// Authors of whom no more was taken than what is parked.
    pub(crate) full: BTreeSet<DeviceId>,
}

/// Where an act belongs in a control stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// It is here already, or its author numbered it against its own history.
    Taken,
    /// The one before it is missing.
    Gap,
    /// It continues this chain or branch.
    Next(DeviceId),
    /// It is the first of a new branch.
    Beside,
}

/// What somebody lacks of a stream.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    /// Chain or branch, and the first place in the store.
    pub(crate) ranges: Vec<(DeviceId, u64)>,
    /// Authors of whom each side has another envelope at the same number.
    pub(crate) parted: Vec<(DeviceId, u64)>,
}

impl Stream {
    pub(crate) fn new(revolt: RevoltId, channel: Option<ChannelId>) -> Self {
        Self {
            revolt,
            channel,
            chains: BTreeMap::new(),
            branches: BTreeMap::new(),
            acts: BTreeMap::new(),
            changed: BTreeSet::new(),
            strangers: BTreeMap::new(),
            full: BTreeSet::new(),
        }
    }

    /// The chain of a device, or the branch of that name, to change it.
    pub(crate) fn chain_mut(&mut self, key: DeviceId) -> &mut Chain {
        self.changed.insert(self.author(key));
        match self.branches.get_mut(&key) {
            Some(branch) => &mut branch.chain,
            None => self.chains.entry(key).or_default(),
        }
    }

    /// The chain of a device, or the branch of that name.
    pub(crate) fn chain(&self, key: &DeviceId) -> Option<&Chain> {
        let branch = self.branches.get(key).map(|branch| &branch.chain);
        branch.or_else(|| self.chains.get(key))
    }

    /// All chains that are read: in a control stream the branches, too.
    pub(crate) fn read_chains(&self) -> impl Iterator<Item = (&DeviceId, &Chain)> {
        let branches = self.branches.iter().filter(|_| self.channel.is_none());
        let branches = branches.map(|(name, branch)| (name, &branch.chain));
        self.chains.iter().chain(branches)
    }

    /// The place in the store of a number of a chain or branch.
    pub(crate) fn stored_at(&self, key: &DeviceId, seq: u64) -> u64 {
        seq - self.branches.get(key).map_or(0, |branch| branch.base)
    }

    /// Keeps a branch.
    pub(crate) fn add_branch(&mut self, name: DeviceId, branch: Branch) {
        self.changed.insert(branch.device);
        self.branches.insert(name, branch);
    }

    /// Notes where an act is. Of words only the tips are known.
    pub(crate) fn seat(&mut self, id: EnvelopeId, key: DeviceId, seq: u64) {
        if self.channel.is_none() {
            self.acts.insert(id, (key, seq));
        }
    }

    /// Where an act is: in which chain or branch, at which number.
    pub(crate) fn seat_of(&self, id: &EnvelopeId) -> Option<(DeviceId, u64)> {
        self.acts.get(id).copied()
    }

    /// The place of a chain or branch among those of its author: a branch after what it parts from.
    pub(crate) fn piece(&self, key: &DeviceId) -> u32 {
        let Some(branch) = self.branches.get(key) else {
            return 0;
        };
        let order = (branch.base, *key);
        let of_author = self
            .branches
            .iter()
            .filter(|(_, b)| b.device == branch.device);
        let before = of_author
            .filter(|(name, b)| (b.base, **name) < order)
            .count();
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// Whose chain or branch it is.
    pub(crate) fn author(&self, key: DeviceId) -> DeviceId {
        self.branches.get(&key).map_or(key, |branch| branch.device)
    }

    /// Where an act belongs. Every act whose past is here has its place, whichever branch came first.
    pub(crate) fn seat_for(&self, id: &EnvelopeId, header: &Header) -> Seat {
        if self.acts.contains_key(id) {
            return Seat::Taken;
        }
        let (key, before) = match self.acts.get(&header.prev) {
            Some(place) => *place,
            None if header.seq == 1 => (header.device, 0),
            None => return Seat::Gap,
        };
        if self.author(key) != header.device || before + 1 != header.seq {
            return Seat::Taken;
        }
        let tip = self.chain(&key).map_or(0, |chain| chain.tip);
        let of_device = self.branches.values().filter(|b| b.device == header.device);
        if tip == before {
            Seat::Next(key)
        } else if of_device.count() < MAX_BRANCHES {
            Seat::Beside
        } else {
            Seat::Taken
        }
    }

    /// Events known here: what honest authors choose their segment by.
    pub(crate) fn events(&self) -> u64 {
        self.chains.values().map(|chain| chain.opened).sum()
    }

    /// How far the chain of an author is. In a control stream the branches count like chains, so that it doesn't show
    /// which came first; in a channel the chain ends where it parts, and that it does is all that counts.
    pub(crate) fn tips(&self, author: &DeviceId) -> Vec<Tip> {
        let is_control = self.channel.is_none();
        let tip = |chain: &Chain, forked| Tip {
            device: author.into(),
            seq: chain.tip,
            id: (&chain.tip_id).into(),
            forked,
        };
        let mut tips = Vec::new();
        if let Some(chain) = self.chains.get(author) {
            let forked = chain.forked.is_some() && !is_control;
            if chain.tip > 0 || forked {
                tips.push(tip(chain, forked));
            }
        }
        if is_control {
            let branches = self.branches.values().filter(|b| b.device == *author);
            tips.extend(branches.map(|branch| tip(&branch.chain, false)));
            tips.sort_unstable_by_key(|tip| (tip.seq, tip.id));
        }
        tips
    }

    /// The [`Stream::tips`] of an author with acts before them: somebody who has another branch doesn't know the tip,
    /// and would send all that comes before it, too.
    pub(crate) fn marks(&self, author: &DeviceId) -> Vec<Tip> {
        let mut marks = self.tips(author);
        if self.channel.is_some() {
            return marks;
        }
        let of_author = |key: &DeviceId| self.author(*key) == *author;
        let chains = self.read_chains().filter(|(key, _)| of_author(key));
        let places = chains.flat_map(|(key, chain)| {
            let base = self.branches.get(key).map_or(0, |branch| branch.base);
            let steps = (2..).map(|step| 1_u64 << (2 * step));
            let back = steps.map_while(move |step| chain.tip.checked_sub(step));
            back.take_while(move |seq| *seq > base)
                .map(|seq| (*key, seq))
        });
        let places: BTreeSet<(DeviceId, u64)> = places.collect();
        if !places.is_empty() {
            let acts = self.acts.iter().filter(|(_, at)| places.contains(at));
            marks.extend(acts.map(|(id, (_, seq))| Tip {
                device: author.into(),
                seq: *seq,
                id: id.into(),
                forked: false,
            }));
        }
        let parted = self.branches.values().filter(|b| b.device == *author);
        marks.extend(parted.filter(|branch| branch.base > 0).map(|branch| Tip {
            device: author.into(),
            seq: branch.base,
            id: (&branch.prev).into(),
            forked: false,
        }));
        marks
    }

    /// Summary of all that is here of an author. Tips name their whole history, so equal summaries mean equal chains.
    pub(crate) fn fingerprint(&self, author: &DeviceId) -> Option<Fingerprint> {
        let tips = self.tips(author);
        let some = !tips.is_empty();
        some.then(|| Fingerprint::of(&[b"chain", &author.0, &encode(&tips)]))
    }

    /// The authors whose chains may have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<DeviceId> {
        std::mem::take(&mut self.changed)
    }

    /// What a node with these tips lacks of some authors.
    pub(crate) fn lacking(&self, authors: &BTreeSet<DeviceId>, theirs: &[Tip]) -> Lacking {
        let mut by_device: BTreeMap<Mark, Vec<&Tip>> = BTreeMap::new();
        for tip in theirs {
            by_device.entry(tip.device).or_default().push(tip);
        }
        let tips_of = |device: &DeviceId| {
            let tips = by_device.get(&Mark::from(device));
            tips.map_or(&[][..], Vec::as_slice)
        };
        if self.channel.is_none() {
            self.lacking_acts(authors, tips_of)
        } else {
            self.lacking_words(authors, tips_of)
        }
    }

    fn lacking_words<'t>(
        &self,
        authors: &BTreeSet<DeviceId>,
        tips_of: impl Fn(&DeviceId) -> &'t [&'t Tip],
    ) -> Lacking {
        let mut lacking = Lacking::default();
        for device in authors {
            let Some(chain) = self.chains.get(device) else {
                continue;
            };
            let Some(tip) = tips_of(device).first() else {
                lacking.ranges.push((*device, 1));
                self.add_proof(device, &mut lacking);
                continue;
            };
            if chain.forked.is_some() && (!tip.forked || tip.seq > chain.tip) {
                self.add_proof(device, &mut lacking);
            }
            // Who knows that the chain parts takes nothing from who doesn't.
            if tip.seq < chain.tip && (!tip.forked || chain.forked.is_some()) {
                lacking.ranges.push((*device, tip.seq + 1));
            } else if tip.seq == chain.tip && tip.id != Mark::from(&chain.tip_id) {
                lacking.parted.push((*device, tip.seq));
            }
        }
        lacking
    }

    fn add_proof(&self, device: &DeviceId, lacking: &mut Lacking) {
        let branches = self.branches.iter();
        let proof = branches.filter(|(_, branch)| branch.device == *device);
        lacking.ranges.extend(proof.map(|(name, _)| (*name, 1)));
    }

    /// Branches are told apart by what the other side names. A tip that is not known here and is further than
    /// everything here may well be the same history grown on: then the other way round will show.
    fn lacking_acts<'t>(
        &self,
        authors: &BTreeSet<DeviceId>,
        tips_of: impl Fn(&DeviceId) -> &'t [&'t Tip],
    ) -> Lacking {
        let mut covered: BTreeMap<DeviceId, u64> = BTreeMap::new();
        let mut unknown: BTreeMap<DeviceId, u64> = BTreeMap::new();
        for author in authors {
            for tip in tips_of(author) {
                let first = EnvelopeId(tip.id.lowest());
                let found = self.acts.range(first..).next();
                match found.filter(|(id, _)| Mark::from(*id) == tip.id) {
                    Some((_, (key, seq))) => self.cover(*key, *seq, &mut covered),
                    None => {
                        let furthest = unknown.entry(*author).or_default();
                        *furthest = (*furthest).max(tip.seq);
                    }
                }
            }
        }
        let mut lacking = Lacking::default();
        let of_these = |key: &DeviceId| authors.contains(&self.author(*key));
        for (key, chain) in self.read_chains().filter(|(key, _)| of_these(key)) {
            let have = covered.get(key).copied().unwrap_or(0);
            let ahead = unknown.get(&self.author(*key)).copied().unwrap_or(0);
            if have < chain.tip && ahead <= chain.tip {
                let base = self.branches.get(key).map_or(0, |branch| branch.base);
                lacking.ranges.push((*key, have.max(base) + 1 - base));
            }
        }
        lacking
    }

    /// Who has an act has all before it.
    fn cover(&self, key: DeviceId, seq: u64, covered: &mut BTreeMap<DeviceId, u64>) {
        let (mut key, mut seq) = (key, seq);
        loop {
            let have = covered.entry(key).or_default();
            *have = (*have).max(seq);
            let before = self.branches.get(&key).map(|branch| branch.prev);
            match before.and_then(|prev| self.seat_of(&prev)) {
                Some((parent, at)) => (key, seq) = (parent, at),
                None => return,
            }
        }
    }
}
