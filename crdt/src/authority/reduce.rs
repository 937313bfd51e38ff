//! The loop: gives every act its verdict, from the highest rank down.
//!
//! An act can only be voided by who stands above its author, so by acts that were decided before it; and
//! nobody grants a level that is not below their own or acts with more than the rank of who let them in, so
//! no rank rises above the one at hand. A verdict is thus final once given, and the order in which acts
//! arrived plays no part. Of what people do to themselves, which is decided late, nothing may void or lift:
//! see ADR 4.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use revnet_protocol::act::{Channel, Join, Keep, Level};
use revnet_protocol::{Act, ChannelId, DeviceId, EnvelopeId, InviteId, Permission, UserId};

use super::graph::{Graph, Place, Places, is_brought_by_owner};
use super::mutant::{Mutant, is_active};
use super::rank::{Entry, Event, Kind, Ledger, Rank, Subject, kept};
use super::rights::{Holder, Rights};
use super::verdict::{Verdict, Why};

/// What the loop found out.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    /// What bears on people's levels.
    pub(super) ledger: Ledger,
    /// What bears on their permissions.
    pub(super) rights: Rights,
    /// Acts of revoked devices that the revocation doesn't keep. They count below the rank of those who built
    /// on them before they knew of it, so that nobody takes back what others rely on.
    pub(super) suspended: BTreeMap<Place, Suspension>,
    /// Accepted acts that took devices out for two histories, whosever they are.
    pub(super) expelled: BTreeMap<DeviceId, Vec<Place>>,
    /// Accepted acts that revoked invites.
    pub(super) revoked: BTreeMap<InviteId, Vec<Place>>,
    /// One for each act.
    pub(super) verdicts: Vec<Verdict>,
    /// The rank that each act was decided with.
    pub(super) ranks: Vec<Rank>,
    /// Accepted acts, in the order of their verdicts.
    pub(super) accepted: Vec<Place>,
    /// The same, to look them up.
    pub(super) counting: Places,
}

/// What keeps an act of a revoked device from counting.
#[derive(Clone, Debug)]
pub(super) struct Suspension {
    /// What took the device out and doesn't keep the act.
    pub(super) by: Vec<Place>,
    /// The rank of those who built on it unaware, less one.
    pub(super) vouched: Rank,
}

/// Highest rank first; of equal rank proofs against devices first, then lowest depth, then lowest id.
type Queue = BinaryHeap<(Rank, bool, Reverse<(u32, EnvelopeId)>, Place)>;

pub(super) struct Loop<'a> {
    pub(super) graph: &'a Graph,
    pub(super) decided: Decided,
    queue: Queue,
    /// The rank of each act by its author's level alone.
    levels: Vec<Rank>,
    /// Acts whose authors don't hold what it takes, by what was decided so far.
    starved: BTreeSet<Place>,
    /// Acts without a verdict, joins left out, by author.
    open: BTreeMap<UserId, Vec<Place>>,
    /// Sound joins, by who joins.
    pub(super) joins: BTreeMap<UserId, Vec<Place>>,
    /// Leaves, by the device that writes them.
    leaves: BTreeMap<DeviceId, Vec<Place>>,
    by_invite: BTreeMap<InviteId, Doors>,
    done: Places,
    /// Joins that somebody confirmed, with the highest rank of who did.
    pub(super) confirmed: BTreeMap<Place, Rank>,
}

/// What concerns one invite.
#[derive(Default)]
struct Doors {
    joins: Vec<Place>,
    /// Accepted acts that made it.
    made: Vec<Place>,
    /// Accepted acts that revoked it, with the joins that they name.
    revoked: Vec<(Place, BTreeSet<EnvelopeId>)>,
}

/// Decides every act of the graph.
pub(super) fn decide(graph: &Graph) -> Decided {
    let mut work = Loop::new(graph);
    for place in 0..graph.nodes.len() {
        if let (Act::Create { .. }, true) = (&graph.act(place), graph.nodes[place].sound) {
            work.found(place);
        }
    }
    while let Some((rank, .., place)) = work.queue.pop() {
        if work.done.has(place) || work.decided.ranks[place] != rank {
            continue;
        }
        match work.decided.rank_with_permission(graph, place, rank) {
            Some(held) if held == rank => work.decide(place, rank),
            Some(lower) => work.queue_at(place, lower),
            None => {
                work.starved.insert(place);
            }
        }
    }
    work.finish()
}

/// What an act takes beyond membership.
pub(super) fn needs(act: &Act) -> Option<Permission> {
    Some(match act {
        Act::Settings(_) => Permission::ManageRevolt,
        Act::Invite(_) | Act::RevokeInvite { .. } | Act::Confirm { .. } => Permission::Invite,
        Act::SetMember(set) if set.level.is_none() => Permission::Kick,
        Act::Equivocation(_) => Permission::Kick,
        Act::SetMember(_) | Act::Role(_) | Act::Grant(_) | Act::Overwrite(_) => {
            Permission::ManageRoles
        }
        Act::Channel(_) | Act::History { .. } => Permission::ManageChannels,
        Act::Ban(_) => Permission::Ban,
        Act::Timeout(_) => Permission::Timeout,
        Act::Create { .. }
        | Act::Join(_)
        | Act::Leave
        | Act::Profile { .. }
        | Act::KeyRotate(_)
        | Act::KeyShare(_)
        | Act::RevokeDevice(_)
        | Act::Unknown => return None,
    })
}

impl Decided {
    /// Whether a device is out for good, as far as `known` says: revoked by its owner, or for two histories.
    pub(super) fn is_out(
        &self,
        graph: &Graph,
        user: &UserId,
        device: &DeviceId,
        known: impl Fn(Place) -> bool,
    ) -> bool {
        let mut all = self.ends_of(graph, user, device);
        all.any(known)
    }

    /// Whether the author of a revocation made an invite or stands above who did.
    fn shuts(&self, graph: &Graph, revocation: Place, made: Place) -> bool {
        let author = |place: Place| graph.nodes[place].author;
        author(revocation) == author(made) || self.ranks[made] < self.ranks[revocation]
    }

    /// Whether somebody revoked an invite that this act made.
    pub(super) fn is_shut(&self, graph: &Graph, made: Place, invite: &InviteId) -> bool {
        let mut all = self.revoked.get(invite).into_iter().flatten();
        all.any(|revocation| self.shuts(graph, *revocation, made))
    }

    /// What took a device out for good.
    pub(super) fn ends_of<'a>(
        &'a self,
        graph: &'a Graph,
        user: &UserId,
        device: &DeviceId,
    ) -> impl Iterator<Item = Place> + 'a {
        let expelled = self.expelled.get(device).into_iter().flatten();
        graph.revocations(user, device).chain(expelled.copied())
    }

    /// The rank of an act by the level of its author alone, and what lowered it unknown to the author.
    pub(super) fn level(&self, graph: &Graph, place: Place) -> (Rank, Option<Place>) {
        let node = &graph.nodes[place];
        let events = node.author.and_then(|user| self.ledger.get(&user));
        let (level, cause) = events.map_or((Rank::NONE, None), |events| {
            events.rank(graph, &node.record.device, Subject::Act(place))
        });
        match self.suspended.get(&place) {
            Some(suspension) => (level.min(suspension.vouched), cause),
            None => (level, cause),
        }
    }

    /// The highest rank, up to the one by its author's level, with which an act has what it takes.
    pub(super) fn rank_with_permission(
        &self,
        graph: &Graph,
        place: Place,
        level: Rank,
    ) -> Option<Rank> {
        let act = graph.act(place);
        let Some(permission) = needs(act) else {
            return Some(level);
        };
        let user = graph.nodes[place].author?;
        let holder = Holder {
            user: &user,
            subject: Subject::Act(place),
            channel: None,
        };
        self.rights.rank_with(graph, holder, permission, level)
    }
}

/// When an act has its turn. A proof that a device signed two histories comes before what equals did, so that
/// whoever is caught can't go on with their own rank.
fn turn(
    graph: &Graph,
    place: Place,
    rank: Rank,
) -> (Rank, bool, Reverse<(u32, EnvelopeId)>, Place) {
    let is_proof = matches!(graph.act(place), Act::Equivocation(_));
    (rank, is_proof, Reverse(graph.order(place)), place)
}

impl<'a> Loop<'a> {
    fn new(graph: &'a Graph) -> Self {
        let count = graph.nodes.len();
        let mut work = Self {
            graph,
            decided: Decided {
                verdicts: vec![Verdict::Void(Why::Stranger); count],
                ranks: vec![Rank::NONE; count],
                ..Decided::default()
            },
            queue: BinaryHeap::new(),
            levels: vec![Rank::NONE; count],
            starved: BTreeSet::new(),
            open: BTreeMap::new(),
            joins: BTreeMap::new(),
            leaves: BTreeMap::new(),
            by_invite: BTreeMap::new(),
            done: Places::default(),
            confirmed: BTreeMap::new(),
        };
        let mut kept = BTreeMap::new();
        for (place, node) in graph.nodes.iter().enumerate() {
            if !node.sound {
                work.decided.verdicts[place] = Verdict::Void(Why::Unsound);
            } else if let Act::RevokeDevice(revocation) = &node.record.act {
                let is_owner = is_brought_by_owner(node.author, &node.record.device, revocation);
                if !is_owner || graph.stood_by(revocation).is_none() {
                    work.decided.verdicts[place] = Verdict::Void(Why::NoDevice);
                    continue;
                }
                // Read before the loop: the root key has its say whoever brings it.
                work.decided.verdicts[place] = Verdict::Counts(Level::MEMBER);
                work.decided.ranks[place] = Rank::of(Level::MEMBER);
                work.done.add(place);
            } else if let Some(by) = work.known_revocation(place) {
                let by = graph.nodes[by].record.id;
                work.decided.verdicts[place] = Verdict::Void(Why::Revoked(by));
            } else if let Act::Join(join) = &node.record.act {
                work.decided.verdicts[place] = Verdict::Void(Why::NoInvite);
                if node.author == Some(join.cert.user) {
                    let joins = work.joins.entry(join.cert.user).or_default();
                    joins.push(place);
                    let doors = work.by_invite.entry(join.invite).or_default();
                    doors.joins.push(place);
                }
            } else if let Some(author) = node.author {
                let by = work.unkept_by(place, &mut kept);
                if !by.is_empty() && !is_active(Mutant::RevokedActOn) {
                    let vouched = Rank::NONE;
                    let suspension = Suspension { by, vouched };
                    work.decided.suspended.insert(place, suspension);
                }
                work.open.entry(author).or_default().push(place);
                if node.record.act == Act::Leave {
                    let leaves = work.leaves.entry(node.record.device).or_default();
                    leaves.push(place);
                }
            }
        }
        work
    }

    fn event(&self, place: Place, level: Option<Level>, by: Rank, kind: Kind) -> Event {
        Event {
            place,
            level: level.map_or(Rank::NONE, Rank::of),
            by,
            hlc: self.graph.nodes[place].record.hlc,
            kind,
            kept: None,
            confirms: Vec::new(),
        }
    }

    fn count(&mut self, place: Place, rank: Rank) {
        let level = rank.level().expect("acts without a rank are not queued");
        self.decided.verdicts[place] = Verdict::Counts(level);
    }

    /// The revolt's first act. The id of the revolt is a hash that only its founder could make it from.
    fn found(&mut self, place: Place) {
        let node = &self.graph.nodes[place];
        let (Some(founder), rank) = (node.author, Rank::of(Level::FOUNDER)) else {
            return;
        };
        let kind = Kind::Entry(Entry {
            device: node.record.device,
            invites: Vec::new(),
            left: self.leaves_of(place, false),
            returned: self.leaves_of(place, true),
            further: false,
            confirmed: Some(rank),
            ended_by: None,
        });
        let event = self.event(place, Some(Level::FOUNDER), rank, kind);
        let events = self.decided.ledger.entry(founder).or_default();
        events.accept(self.graph, event);
        self.done.add(place);
        self.decided.ranks[place] = rank;
        self.count(place, rank);
        self.decided.accepted.push(place);
        self.requeue(&founder);
    }

    /// A person's acts without a verdict, joins left out.
    pub(super) fn open_of(&self, user: &UserId) -> Vec<Place> {
        let open = self.open.get(user).into_iter().flatten().copied();
        open.filter(|place| !self.done.has(*place)).collect()
    }

    /// Ranks a person's acts anew after something happened to them.
    pub(super) fn requeue(&mut self, user: &UserId) {
        self.requeue_those(user, |_| true);
    }

    /// The same for what bears on acts alone that knew it.
    fn requeue_knowing(&mut self, user: &UserId, event: Place) {
        let graph = self.graph;
        self.requeue_those(user, |place| graph.knew(place, event));
    }

    fn requeue_those(&mut self, user: &UserId, concerns: impl Fn(Place) -> bool) {
        let Some(open) = self.open.get_mut(user) else {
            return;
        };
        open.retain(|place| !self.done.has(*place));
        let (graph, decided) = (self.graph, &mut self.decided);
        for place in open.iter().filter(|place| concerns(**place)) {
            let (level, _) = decided.level(graph, *place);
            if level != self.levels[*place] {
                self.levels[*place] = level;
                decided.ranks[*place] = level;
                if level > Rank::NONE {
                    self.queue.push(turn(graph, *place, level));
                }
            }
        }
    }

    fn queue_at(&mut self, place: Place, rank: Rank) {
        self.decided.ranks[place] = rank;
        self.queue.push(turn(self.graph, place, rank));
    }

    /// Gives a join the rank of who vouches for it, if that is more than it has.
    pub(super) fn vouch(&mut self, join: Place, rank: Rank) {
        if !self.done.has(join) && rank > self.decided.ranks[join] {
            self.queue_at(join, rank);
        }
    }

    fn decide(&mut self, place: Place, rank: Rank) {
        self.done.add(place);
        match self.judge(place, rank) {
            Ok(()) => self.decided.accepted.push(place),
            Err(why) => self.decided.verdicts[place] = Verdict::Void(why),
        }
        // Joins are looked at once more in the end, and vouch for nobody.
        let is_join = matches!(self.graph.act(place), Act::Join(_));
        if self.decided.verdicts[place].counts() && !is_join {
            self.vouch_for_suspended(place, rank);
        }
    }

    /// A revocation of the device that wrote an act, which knew of it.
    fn known_revocation(&self, place: Place) -> Option<Place> {
        let node = &self.graph.nodes[place];
        let mut all = self.graph.revocations(&node.author?, &node.record.device);
        all.find(|revocation| self.graph.knew(place, *revocation))
    }

    /// The revocations of the device that wrote an act, which don't keep it. Walks each chain that one keeps once.
    fn unkept_by(&self, place: Place, kept: &mut BTreeMap<Place, Places>) -> Vec<Place> {
        let node = &self.graph.nodes[place];
        let Some(author) = node.author else {
            return Vec::new();
        };
        let all = self.graph.revocations(&author, &node.record.device);
        let graph = self.graph;
        let mut keeps = |by: &Place| match graph.act(*by) {
            Act::RevokeDevice(revocation) => graph.stood_by(revocation).is_none_or(|last| {
                let chain = kept.entry(last);
                chain
                    .or_insert_with(|| graph.chain(last).collect())
                    .has(place)
            }),
            _ => true,
        };
        all.filter(|by| !keeps(by)).collect()
    }

    /// Lets what somebody built on count, although the device that wrote it was revoked: below their own rank,
    /// so that no verdict of theirs or above changes.
    fn vouch_for_suspended(&mut self, by: Place, rank: Rank) {
        if self.decided.suspended.is_empty() || is_active(Mutant::RevocationsErase) {
            return;
        }
        let graph = self.graph;
        let author = graph.nodes[by].author;
        let mut changed = BTreeSet::new();
        for (place, suspension) in &mut self.decided.suspended {
            let node = &graph.nodes[*place];
            let Some(user) = node.author.filter(|_| node.author != author) else {
                continue;
            };
            let aware = suspension.by.iter().any(|known| graph.knew(by, *known));
            if graph.knew(by, *place) && !aware && rank.below() > suspension.vouched {
                suspension.vouched = rank.below();
                changed.insert(user);
            }
        }
        for user in changed {
            self.requeue(&user);
        }
    }

    /// Looks again at the acts whose authors did not hold what it takes, after somebody's permissions grew.
    pub(super) fn feed_starved(&mut self) {
        for place in std::mem::take(&mut self.starved) {
            let level = self.levels[place];
            match self.decided.rank_with_permission(self.graph, place, level) {
                Some(rank) if !self.done.has(place) => self.queue_at(place, rank),
                _ => {
                    self.starved.insert(place);
                }
            }
        }
    }

    fn judge(&mut self, place: Place, rank: Rank) -> Result<(), Why> {
        match self.graph.act(place) {
            Act::Invite(invite) => self.invited(place, rank, invite.invite),
            Act::RevokeInvite { invite, keep } => self.revoked(place, *invite, keep)?,
            Act::Join(join) => self.joined(place, rank, join),
            Act::Leave => self.left(place, rank),
            Act::SetMember(set) => {
                let kind = set.level.map_or(Kind::Removal, |_| Kind::Set);
                self.set(place, rank, (set.user, set.level, kind), set.keep.as_ref())?;
            }
            Act::Ban(ban) if ban.on => {
                self.set(place, rank, (ban.user, None, Kind::Ban), ban.keep.as_ref())?;
            }
            Act::Ban(ban) => self.pardon(place, rank, ban.user)?,
            Act::Channel(Channel { channel, .. }) => {
                if let Some(channel) = channel {
                    self.knows_channel(place, channel)?;
                }
            }
            Act::History { channel, .. } => self.knows_channel(place, channel)?,
            Act::Role(role) => self.role(place, rank, role)?,
            Act::Grant(grant) => self.grant(place, rank, grant)?,
            Act::Overwrite(overwrite) => self.overwrite(place, rank, overwrite)?,
            Act::Timeout(timeout) => self.timeout(place, rank, timeout)?,
            Act::Equivocation(proof) => self.expelled(place, rank, proof)?,
            Act::Confirm { joins } => self.confirmed_joins(place, rank, joins),
            Act::Create { .. }
            | Act::Settings(_)
            | Act::Profile { .. }
            | Act::KeyRotate(_)
            | Act::KeyShare(_)
            | Act::RevokeDevice(_)
            | Act::Unknown => {}
        }
        self.count(place, rank);
        Ok(())
    }

    /// Why an act was never decided: its author lost the power for it to something that they did not know,
    /// lacks what it takes, or never belonged to the revolt.
    fn too_low(&self, place: Place) -> Why {
        let id = |place: Place| self.graph.nodes[place].record.id;
        let (level, cause) = self.decided.level(self.graph, place);
        if let Some(suspension) = self.decided.suspended.get(&place) {
            return Why::Revoked(id(suspension.by[0]));
        }
        match (cause, needs(self.graph.act(place))) {
            (Some(cause), _) => Why::Lost(id(cause)),
            (None, Some(permission)) if level > Rank::NONE => Why::Lacks(permission),
            _ => Why::Stranger,
        }
    }

    fn invited(&mut self, place: Place, rank: Rank, invite: InviteId) {
        let doors = self.by_invite.entry(invite).or_default();
        doors.made.push(place);
        let knowing = doors.joins.iter().copied();
        let knowing: Vec<Place> = knowing
            .filter(|join| self.graph.knew(*join, place))
            .collect();
        for join in knowing {
            if self.done.has(join) {
                // Made once more, with less rank: it still shows what its author knew.
                let ended_by = self.end_of(join, &invite);
                self.change_entry(join, |entry| {
                    entry.invites.push((place, rank));
                    entry.ended_by = ended_by;
                });
            } else {
                self.vouch(join, rank);
            }
        }
    }

    pub(super) fn change_entry(&mut self, join: Place, change: impl FnOnce(&mut Entry)) {
        let Some(user) = self.graph.nodes[join].author else {
            return;
        };
        let Some(events) = self.decided.ledger.get_mut(&user) else {
            return;
        };
        let event = events.all.iter_mut().find(|event| event.place == join);
        if let Some(Kind::Entry(entry)) = event.map(|event| &mut event.kind) {
            change(entry);
            events.revise(self.graph, join);
            self.requeue_knowing(&user, join);
        }
    }

    /// The revocation that ends a join, if any: one that did not know it, does not keep it, and shuts each door that
    /// the join knew.
    fn end_of(&self, join: Place, invite: &InviteId) -> Option<(Place, Rank)> {
        let doors = self.by_invite.get(invite)?;
        let id = &self.graph.nodes[join].record.id;
        let mut revocations = doors.revoked.iter();
        revocations
            .find(|(place, keep)| {
                let mut doors = doors.made.iter().copied();
                let shuts = |made| {
                    !self.graph.knew(join, made) || self.decided.shuts(self.graph, *place, made)
                };
                !keep.contains(id) && !self.graph.knew(*place, join) && doors.all(shuts)
            })
            .map(|(place, _)| (*place, self.decided.ranks[*place]))
    }

    /// An invite is revoked by who made it, or by somebody above them: with it go the joins that nobody confirmed.
    fn revoked(&mut self, place: Place, invite: InviteId, keep: &Keep) -> Result<(), Why> {
        let made = self.graph.invites(&invite).iter().copied();
        let known: Vec<Place> = made.filter(|made| self.graph.knew(place, *made)).collect();
        if known.is_empty() {
            return Err(Why::NoInvite);
        }
        // Those without a verdict stand below.
        if !known
            .iter()
            .any(|made| !self.done.has(*made) || self.decided.shuts(self.graph, place, *made))
        {
            return Err(Why::Protected);
        }
        let keep = keep.0.iter().map(|(_, _, id)| *id).collect();
        let doors = self.by_invite.entry(invite).or_default();
        doors.revoked.push((place, keep));
        let revoked = &mut self.decided.revoked;
        revoked.entry(invite).or_default().push(place);
        for join in doors.joins.clone() {
            if let Some(ending) = self.end_of(join, &invite) {
                self.change_entry(join, |entry| entry.ended_by = Some(ending));
            }
        }
        Ok(())
    }

    /// A join with a vouched rank. For somebody who is a member by what the act knew it brings in one more
    /// device and leaves their level alone.
    fn joined(&mut self, place: Place, rank: Rank, join: &Join) {
        let graph = self.graph;
        let user = join.cert.user;
        let ended_by = self.end_of(place, &join.invite);
        let made = self.by_invite.get(&join.invite);
        let made = made.into_iter().flat_map(|doors| &doors.made);
        let invites = made.filter(|made| graph.knew(place, **made));
        let kind = Kind::Entry(Entry {
            device: join.cert.device,
            invites: invites
                .map(|made| (*made, self.decided.ranks[*made]))
                .collect(),
            left: self.leaves_of(place, false),
            returned: self.leaves_of(place, true),
            further: false,
            confirmed: self.confirmed.get(&place).copied(),
            ended_by,
        });
        self.accept(user, self.event(place, Some(Level::MEMBER), rank, kind));
    }

    fn accept(&mut self, user: UserId, event: Event) {
        let place = event.place;
        let is_causal = matches!(event.kind, Kind::Entry(_) | Kind::Leave);
        let events = self.decided.ledger.entry(user).or_default();
        events.accept(self.graph, event);
        if is_causal {
            self.requeue_knowing(&user, place);
        } else {
            self.requeue(&user);
        }
    }

    fn left(&mut self, place: Place, rank: Rank) {
        let Some(user) = self.graph.nodes[place].author else {
            return;
        };
        self.accept(user, self.event(place, None, rank, Kind::Leave));
    }

    /// Whether somebody else stands below an act. Below a member stands nobody, not even who isn't here yet.
    pub(super) fn reaches(&mut self, place: Place, rank: Rank, user: &UserId) -> Result<(), Why> {
        if self.graph.nodes[place].author == Some(*user) {
            return Err(Why::TooMuch);
        }
        let events = self.decided.ledger.entry(*user).or_default();
        let stands = events.protection(self.graph, place);
        let is_lowest = rank == Rank::of(Level::MEMBER);
        if (stands >= rank || is_lowest) && !is_active(Mutant::NoProtection) {
            return Err(Why::Protected);
        }
        Ok(())
    }

    fn set(
        &mut self,
        place: Place,
        rank: Rank,
        (user, level, kind): (UserId, Option<Level>, Kind),
        keep: Option<&Keep>,
    ) -> Result<(), Why> {
        if level.map_or(Rank::NONE, Rank::of) >= rank {
            return Err(Why::TooMuch);
        }
        self.reaches(place, rank, &user)?;
        if level.is_some() && self.decided.ledger[&user].is_banned_above(self.graph, place, rank) {
            return Err(Why::Protected);
        }
        let mut event = self.event(place, level, rank, kind);
        event.kept = keep.map(|keep| {
            let mut kept = kept(self.graph, place, keep);
            kept.retain(|act| self.graph.nodes[*act].author == Some(user));
            kept
        });
        if level.is_some() {
            event.confirms = self.confirmed_by(place, &user);
            self.confirm(&event.confirms, rank);
        }
        self.accept(user, event);
        Ok(())
    }

    /// What somebody above decided, a pardon leaves alone.
    fn pardon(&mut self, place: Place, rank: Rank, user: UserId) -> Result<(), Why> {
        let events = self.decided.ledger.entry(user).or_default();
        if events.is_banned_above(self.graph, place, rank) {
            return Err(Why::Protected);
        }
        events.pardon(self.graph, place, rank);
        self.requeue(&user);
        Ok(())
    }

    /// The leaves of a join's device that it knew, or those that it did not know.
    pub(super) fn leaves_of(&self, join: Place, known: bool) -> Vec<Place> {
        let leaves = self.leaves.get(&self.graph.nodes[join].record.device);
        let leaves = leaves.into_iter().flatten().copied();
        leaves
            .filter(|leave| self.graph.knew(join, *leave) == known)
            .collect()
    }

    pub(super) fn knows_channel(&self, place: Place, channel: &ChannelId) -> Result<(), Why> {
        match self.knows_beginning(place, EnvelopeId(channel.0)) {
            Some(Act::Channel(Channel { channel: None, .. })) => Ok(()),
            _ => Err(Why::NoChannel),
        }
    }

    /// The act that made something, if the author of `place` knew it.
    pub(super) fn knows_beginning(&self, place: Place, made: EnvelopeId) -> Option<&'a Act> {
        let made = self.graph.place(&made)?;
        let knew = self.graph.knew(place, made);
        knew.then(|| self.graph.act(made))
    }

    /// Looks once more at the joins, which later verdicts may have ended, and at what was never queued.
    fn finish(mut self) -> Decided {
        for place in 0..self.graph.nodes.len() {
            let node = &self.graph.nodes[place];
            let why = match &node.record.act {
                Act::Join(join) if self.done.has(place) => self.void_join(place, join),
                Act::Create { .. } | Act::Join(_) => None,
                _ if self.known_revocation(place).is_some() => None,
                _ if node.sound && !self.done.has(place) => Some(self.too_low(place)),
                _ => None,
            };
            if let Some(why) = why {
                self.decided.verdicts[place] = Verdict::Void(why);
            }
        }
        let verdicts = &self.decided.verdicts;
        let counts = |place: &Place| verdicts[*place].counts();
        self.decided.accepted.retain(counts);
        let all = 0..self.graph.nodes.len();
        let revocations = all.filter(|at| matches!(self.graph.act(*at), Act::RevokeDevice(_)));
        self.decided.accepted.extend(revocations.filter(counts));
        for place in &self.decided.accepted {
            self.decided.counting.add(*place);
        }
        self.decided
    }

    fn void_join(&self, place: Place, join: &Join) -> Option<Why> {
        let id = |place: Place| self.graph.nodes[place].record.id;
        if !self.confirmed.contains_key(&place)
            && let Some((by, _)) = self.end_of(place, &join.invite)
        {
            return Some(Why::Ended(id(by)));
        }
        let events = self.decided.ledger.get(&join.cert.user)?;
        let removal = events.removal_against(self.graph, place)?;
        Some(Why::OldInvite(id(removal)))
    }
}
