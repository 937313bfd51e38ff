//! The loop: gives every act its verdict, from the highest rank down.
//!
//! An act can only be voided by who stands above its author, so by acts that were decided before it; and
//! nobody grants a level that is not below their own or acts with more than the rank of who let them in, so
//! no rank rises above the one at hand. A verdict is thus final once given, and the order in which acts
//! arrived plays no part. Of what people do to themselves, which is decided late, nothing may void or lift:
//! see ADR 4.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use revnet_protocol::act::{Channel, Join, Keep, Level, SetMember};
use revnet_protocol::{Act, DeviceId, EnvelopeId, InviteId, UserId};

use super::graph::{Graph, Place, Places};
use super::mutant::{Mutant, is_active};
use super::rank::{Entry, Event, Kind, Ledger, Rank, Subject, kept};
use super::verdict::{Verdict, Why};

/// What the loop found out.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    /// What bears on people's levels.
    pub(super) ledger: Ledger,
    /// One for each act.
    pub(super) verdicts: Vec<Verdict>,
    /// The rank that each act was decided with.
    pub(super) ranks: Vec<Rank>,
    /// Accepted acts, in the order of their verdicts.
    pub(super) accepted: Vec<Place>,
}

/// Highest rank first, then lowest depth, then lowest id.
type Queue = BinaryHeap<(Rank, Reverse<(u32, EnvelopeId)>, Place)>;

struct Loop<'a> {
    graph: &'a Graph,
    decided: Decided,
    queue: Queue,
    /// Acts without a verdict, joins left out, by author.
    open: BTreeMap<UserId, Vec<Place>>,
    /// Sound joins, by who joins.
    joins: BTreeMap<UserId, Vec<Place>>,
    /// Leaves, by the device that writes them.
    leaves: BTreeMap<DeviceId, Vec<Place>>,
    by_invite: BTreeMap<InviteId, Doors>,
    done: Places,
    /// Joins that somebody confirmed.
    confirmed: Places,
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
    while let Some((rank, _, place)) = work.queue.pop() {
        if work.done.has(place) || work.decided.ranks[place] != rank {
            continue;
        }
        work.done.add(place);
        match work.judge(place, rank) {
            Ok(()) => work.decided.accepted.push(place),
            Err(why) => work.decided.verdicts[place] = Verdict::Void(why),
        }
    }
    work.finish()
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
            open: BTreeMap::new(),
            joins: BTreeMap::new(),
            leaves: BTreeMap::new(),
            by_invite: BTreeMap::new(),
            done: Places::default(),
            confirmed: Places::default(),
        };
        for (place, node) in graph.nodes.iter().enumerate() {
            if !node.sound {
                work.decided.verdicts[place] = Verdict::Void(Why::Unsound);
            } else if let Act::Join(join) = &node.record.act {
                work.decided.verdicts[place] = Verdict::Void(Why::NoInvite);
                if node.author == Some(join.cert.user) {
                    let joins = work.joins.entry(join.cert.user).or_default();
                    joins.push(place);
                    let doors = work.by_invite.entry(join.invite).or_default();
                    doors.joins.push(place);
                }
            } else if let Some(author) = node.author {
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
            confirmed: true,
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

    /// Ranks a person's acts anew after something happened to them.
    fn requeue(&mut self, user: &UserId) {
        let (Some(open), Some(events)) = (self.open.get_mut(user), self.decided.ledger.get(user))
        else {
            return;
        };
        open.retain(|place| !self.done.has(*place));
        for place in open {
            let device = &self.graph.nodes[*place].record.device;
            let (rank, _) = events.rank(self.graph, device, Subject::Act(*place));
            if rank != self.decided.ranks[*place] {
                self.decided.ranks[*place] = rank;
                if rank > Rank::NONE {
                    let order = Reverse(self.graph.order(*place));
                    self.queue.push((rank, order, *place));
                }
            }
        }
    }

    /// Gives a join the rank of who vouches for it, if that is more than it has.
    fn vouch(&mut self, join: Place, rank: Rank) {
        if !self.done.has(join) && rank > self.decided.ranks[join] {
            self.decided.ranks[join] = rank;
            let order = Reverse(self.graph.order(join));
            self.queue.push((rank, order, join));
        }
    }

    fn judge(&mut self, place: Place, rank: Rank) -> Result<(), Why> {
        let graph = self.graph;
        let act = graph.act(place);
        let admin = match act {
            Act::Settings(_)
            | Act::Invite(_)
            | Act::RevokeInvite { .. }
            | Act::SetMember(_)
            | Act::Channel(_) => true,
            Act::Create { .. }
            | Act::Join(_)
            | Act::Leave
            | Act::Profile { .. }
            | Act::KeyRotate(_) => false,
        };
        if admin && rank < Rank::of(Level::ADMIN) {
            return Err(self.too_low(place));
        }
        match act {
            Act::Invite(invite) => self.invited(place, rank, invite.invite),
            Act::RevokeInvite { invite, keep } => self.revoked(place, *invite, keep),
            Act::Join(join) => self.joined(place, rank, join),
            Act::Leave => self.left(place, rank),
            Act::SetMember(set) => self.set(place, rank, set)?,
            Act::Channel(channel) => self.knows_channel(place, channel)?,
            Act::Create { .. } | Act::Settings(_) | Act::Profile { .. } | Act::KeyRotate(_) => {}
        }
        self.count(place, rank);
        Ok(())
    }

    /// Whether the author never had the level, or lost it to something that it did not know.
    fn too_low(&self, place: Place) -> Why {
        let node = &self.graph.nodes[place];
        let events = node.author.and_then(|user| self.decided.ledger.get(&user));
        let cause = events.and_then(|events| {
            let subject = Subject::Act(place);
            events.rank(self.graph, &node.record.device, subject).1
        });
        match cause {
            Some(cause) => Why::Lost(self.graph.nodes[cause].record.id),
            None if self.decided.ranks[place] > Rank::NONE => Why::TooLow,
            None => Why::Stranger,
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
                self.change_entry(join, |entry| entry.invites.push((place, rank)));
            } else {
                self.vouch(join, rank);
            }
        }
    }

    fn change_entry(&mut self, join: Place, change: impl FnOnce(&mut Entry)) {
        let Some(user) = self.graph.nodes[join].author else {
            return;
        };
        let Some(events) = self.decided.ledger.get_mut(&user) else {
            return;
        };
        let event = events.0.iter_mut().find(|event| event.place == join);
        if let Some(Kind::Entry(entry)) = event.map(|event| &mut event.kind) {
            change(entry);
            events.revise(self.graph, join);
            self.requeue(&user);
        }
    }

    /// The revocation that ends a join, if any: one that did not know it and does not keep it.
    fn end_of(&self, join: Place, invite: &InviteId) -> Option<(Place, Rank)> {
        let doors = self.by_invite.get(invite)?;
        let id = &self.graph.nodes[join].record.id;
        let mut revocations = doors.revoked.iter();
        revocations
            .find(|(place, keep)| !keep.contains(id) && !self.graph.knew(*place, join))
            .map(|(place, _)| (*place, self.decided.ranks[*place]))
    }

    fn revoked(&mut self, place: Place, invite: InviteId, keep: &Keep) {
        let doors = self.by_invite.entry(invite).or_default();
        let keep = keep.0.iter().map(|(_, _, id)| *id).collect();
        doors.revoked.push((place, keep));
        for join in doors.joins.clone() {
            if let Some(ending) = self.end_of(join, &invite) {
                self.change_entry(join, |entry| entry.ended_by = Some(ending));
            }
        }
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
            confirmed: self.confirmed.has(place),
            ended_by,
        });
        self.accept(user, self.event(place, Some(Level::MEMBER), rank, kind));
    }

    fn accept(&mut self, user: UserId, event: Event) {
        let events = self.decided.ledger.entry(user).or_default();
        events.accept(self.graph, event);
        self.requeue(&user);
    }

    fn left(&mut self, place: Place, rank: Rank) {
        let Some(user) = self.graph.nodes[place].author else {
            return;
        };
        self.accept(user, self.event(place, None, rank, Kind::Leave));
    }

    fn set(&mut self, place: Place, rank: Rank, set: &SetMember) -> Result<(), Why> {
        let graph = self.graph;
        let level = set.level.map_or(Rank::NONE, Rank::of);
        if level >= rank || graph.nodes[place].author == Some(set.user) {
            return Err(Why::TooMuch);
        }
        let events = self.decided.ledger.entry(set.user).or_default();
        let stands = events.protection(graph, place);
        if stands >= rank && !is_active(Mutant::NoProtection) {
            return Err(Why::Protected);
        }
        let kind = if set.level.is_some() {
            Kind::Set
        } else {
            Kind::Removal
        };
        let mut event = self.event(place, set.level, rank, kind);
        event.kept = set
            .keep
            .as_ref()
            .map(|keep: &Keep| kept(graph, place, keep));
        if set.level.is_some() {
            event.confirms = self.confirmed_by(place, &set.user);
            self.confirm(&event.confirms, rank);
        }
        self.accept(set.user, event);
        Ok(())
    }

    /// The leaves of a join's device that it knew, or those that it did not know.
    fn leaves_of(&self, join: Place, known: bool) -> Vec<Place> {
        let leaves = self.leaves.get(&self.graph.nodes[join].record.device);
        let leaves = leaves.into_iter().flatten().copied();
        leaves
            .filter(|leave| self.graph.knew(join, *leave) == known)
            .collect()
    }

    /// The joins that who sets a member's level vouches for: those that they knew, unless they knew that
    /// the device left since. A void leave would come to count with the join before it.
    fn confirmed_by(&self, set: Place, user: &UserId) -> Vec<Place> {
        let knew = |place: &Place| self.graph.knew(set, *place);
        let joins = self.joins.get(user).into_iter().flatten().copied();
        joins
            .filter(|join| knew(join) && !self.leaves_of(*join, false).iter().any(knew))
            .collect()
    }

    fn confirm(&mut self, joins: &[Place], rank: Rank) {
        for join in joins {
            self.confirmed.add(*join);
            self.vouch(*join, rank);
            self.change_entry(*join, |entry| entry.confirmed = true);
        }
    }

    fn knows_channel(&self, place: Place, channel: &Channel) -> Result<(), Why> {
        let Some(id) = channel.channel else {
            return Ok(());
        };
        let made = self.graph.place(&EnvelopeId(id.0));
        let made = made.filter(|made| self.graph.knew(place, *made));
        match made.map(|made| self.graph.act(made)) {
            Some(Act::Channel(Channel { channel: None, .. })) => Ok(()),
            _ => Err(Why::NoChannel),
        }
    }

    /// Looks once more at the joins, which later verdicts may have ended, and at what was never queued.
    fn finish(mut self) -> Decided {
        for place in 0..self.graph.nodes.len() {
            let node = &self.graph.nodes[place];
            let why = match &node.record.act {
                Act::Join(join) if self.done.has(place) => self.void_join(place, join),
                Act::Create { .. } | Act::Join(_) => None,
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
        self.decided
    }

    fn void_join(&self, place: Place, join: &Join) -> Option<Why> {
        let id = |place: Place| self.graph.nodes[place].record.id;
        if !self.confirmed.has(place)
            && let Some((by, _)) = self.end_of(place, &join.invite)
        {
            return Some(Why::Ended(id(by)));
        }
        let events = self.decided.ledger.get(&join.cert.user)?;
        let removal = events.removal_against(self.graph, place)?;
        Some(Why::OldInvite(id(removal)))
    }
}
