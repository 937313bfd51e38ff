//! What people hold: the registers of roles, grants and exceptions, and the permissions that follow.
//!
//! Whoever stands at [`Level::ADMIN`] or above holds everything; below, roles decide. Like levels, permissions are
//! gained by what an author knew, and lost also to what they did not know. An act acts with the highest rank at
//! which its author held what it takes, looking only at what at least that rank decided: see ADR 5.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::Level;
use revnet_protocol::role::{Overwrite, Role, Target};
use revnet_protocol::{ChannelId, Hlc, Permission, Permissions, RoleId, UserId};

use super::graph::{Graph, Place};
use super::mutant::{Mutant, is_active};
use super::rank::{Rank, Subject};
use super::register::Writes;
use super::state::Exception;

impl Exception {
    /// Both at once: what only one of them allows isn't allowed, what one denies is denied.
    fn strictest(self, other: Self) -> Self {
        Self {
            allow: self.allow & other.allow,
            deny: self.deny | other.deny,
        }
    }

    fn apply(self, permissions: Permissions) -> Permissions {
        (permissions | self.allow) & !self.deny
    }
}

/// What was accepted about one role.
#[derive(Clone, Debug, Default)]
struct RoleWrites {
    /// The act that made it, with its rank.
    made: Option<(Place, Rank)>,
    position: Writes<Level>,
    permissions: Writes<Permissions>,
    removed: Writes<bool>,
}

/// What was accepted about permissions.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    roles: BTreeMap<RoleId, RoleWrites>,
    grants: BTreeMap<UserId, BTreeMap<RoleId, Writes<bool>>>,
    exceptions: BTreeMap<ChannelId, BTreeMap<Target, Writes<Exception>>>,
    /// Until when people are silenced, in Unix milliseconds.
    timeouts: BTreeMap<UserId, Writes<u64>>,
    /// The ranks of all of these.
    ranks: BTreeSet<Rank>,
}

/// Whose permissions are asked for, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    pub(super) user: &'a UserId,
    pub(super) subject: Subject<'a>,
    /// None asks for the whole revolt.
    pub(super) channel: Option<&'a ChannelId>,
}

impl Rights {
    pub(super) fn take_role(&mut self, graph: &Graph, place: Place, rank: Rank, new: &Role) {
        let id = new.role.unwrap_or(graph.nodes[place].record.id.into());
        let role = self.roles.entry(id).or_default();
        if new.role.is_none() {
            role.made = Some((place, rank));
        }
        role.position.write(graph, place, rank, new.position);
        role.permissions.write(graph, place, rank, new.permissions);
        role.removed.write(graph, place, rank, new.removed);
        self.ranks.insert(rank);
    }

    pub(super) fn take_grant(
        &mut self,
        graph: &Graph,
        place: Place,
        rank: Rank,
        (user, role, on): (UserId, RoleId, bool),
    ) {
        let roles = self.grants.entry(user).or_default();
        let held = roles.entry(role).or_default();
        held.write(graph, place, rank, Some(on));
        self.ranks.insert(rank);
    }

    pub(super) fn take_exception(
        &mut self,
        graph: &Graph,
        place: Place,
        rank: Rank,
        new: &Overwrite,
    ) {
        let channel = self.exceptions.entry(new.channel).or_default();
        let writes = channel.entry(new.target).or_default();
        let exception = Exception {
            allow: new.allow,
            deny: new.deny,
        };
        writes.write(graph, place, rank, Some(exception));
        self.ranks.insert(rank);
    }

    pub(super) fn take_timeout(
        &mut self,
        graph: &Graph,
        place: Place,
        rank: Rank,
        (user, until_ms): (UserId, u64),
    ) {
        let writes = self.timeouts.entry(user).or_default();
        writes.write(graph, place, rank, Some(until_ms));
    }

    /// Until when somebody is silenced who says something at `hlc`; 0 if not at all.
    pub(super) fn silenced_until(
        &self,
        graph: &Graph,
        user: &UserId,
        subject: Subject<'_>,
        hlc: Hlc,
    ) -> u64 {
        let writes = self.timeouts.get(user);
        let until = writes.and_then(|writes| writes.at(graph, subject, hlc).max());
        until.unwrap_or(0)
    }

    /// The place of a role in the order by everything accepted so far, concurrent acts included, but not by
    /// what was done knowing of `act`: as with people, an honest later change must not undo what came before.
    pub(super) fn position(&self, graph: &Graph, role: &RoleId, act: Place) -> Rank {
        let Some(writes) = self.roles.get(role) else {
            return Rank::of(Level::MEMBER);
        };
        let earlier = |place: Place, _| !graph.knew(place, act);
        let highest = writes.position.latest(graph, earlier).max();
        Rank::of(highest.unwrap_or(Level::MEMBER))
    }

    /// What a role allows, as a subject knew it, looking at what at least the rank `at` decided.
    pub(super) fn of_role(
        &self,
        graph: &Graph,
        role: &RoleId,
        subject: Subject<'_>,
        at: Rank,
    ) -> Permissions {
        let removed = self.roles.get(role).is_some_and(|writes| {
            let known = writes.removed.known(graph, subject, at);
            let lost = writes.removed.losses(graph, subject, at);
            known.chain(lost).any(|removed| removed)
        });
        if removed {
            Permissions::NONE
        } else {
            self.of_role_even_removed(graph, role, subject, at)
        }
    }

    /// What a role allows where it isn't removed.
    pub(super) fn of_role_even_removed(
        &self,
        graph: &Graph,
        role: &RoleId,
        subject: Subject<'_>,
        at: Rank,
    ) -> Permissions {
        let everyone = *role == RoleId::EVERYONE;
        let base = if everyone {
            Permissions::DEFAULT
        } else {
            Permissions::NONE
        };
        let Some(writes) = self.roles.get(role) else {
            return base;
        };
        let is_made = |(place, by)| by >= at && subject.knows(graph, place);
        if !everyone && !writes.made.is_some_and(is_made) {
            return Permissions::NONE;
        }
        let all = &writes.permissions;
        let granted = all.known(graph, subject, at).reduce(|a, b| a & b);
        let mut losses = all.losses(graph, subject, at).peekable();
        if is_active(Mutant::CausalLosses) || losses.peek().is_none() {
            return granted.unwrap_or(base);
        }
        losses.fold(granted.unwrap_or(base), |held, left| held & left)
    }

    /// The roles that somebody was given, that of everyone left out.
    pub(super) fn roles_of(
        &self,
        graph: &Graph,
        user: &UserId,
        subject: Subject<'_>,
        at: Rank,
    ) -> impl Iterator<Item = RoleId> {
        let grants = self.grants.get(user).into_iter().flatten();
        grants.filter_map(move |(role, held)| {
            let known: Vec<bool> = held.known(graph, subject, at).collect();
            let has = !known.is_empty() && known.into_iter().all(|on| on);
            let lost = held.losses(graph, subject, at).any(|on| !on);
            (has && (!lost || is_active(Mutant::CausalLosses))).then_some(*role)
        })
    }

    /// What somebody below the admins holds, looking only at what at least the rank `at` decided.
    fn held_at(&self, graph: &Graph, holder: Holder<'_>, at: Rank) -> Permissions {
        let Holder {
            user,
            subject,
            channel,
        } = holder;
        let roles: Vec<RoleId> = self.roles_of(graph, user, subject, at).collect();
        let of_role = |role: &RoleId| self.of_role(graph, role, subject, at);
        let everyone = of_role(&RoleId::EVERYONE);
        let all = roles.iter().map(of_role).fold(everyone, |a, b| a | b);
        let Some(channel) = channel else {
            return all;
        };
        let exception = |target| self.exception(graph, channel, &target, subject, at);
        let by_everyone = exception(Target::Role(RoleId::EVERYONE)).apply(all);
        // Among roles, what one denies is denied.
        let roles = roles.into_iter().map(|role| exception(Target::Role(role)));
        let by_roles = roles.fold(Exception::default(), |a, b| Exception {
            allow: a.allow | b.allow,
            deny: a.deny | b.deny,
        });
        let held = exception(Target::User(*user)).apply(by_roles.apply(by_everyone));
        if held.has(Permission::View) {
            held
        } else {
            Permissions::NONE
        }
    }

    fn exception(
        &self,
        graph: &Graph,
        channel: &ChannelId,
        target: &Target,
        subject: Subject<'_>,
        at: Rank,
    ) -> Exception {
        let targets = self.exceptions.get(channel);
        let Some(writes) = targets.and_then(|targets| targets.get(target)) else {
            return Exception::default();
        };
        let known = writes.known(graph, subject, at);
        let known = known.reduce(Exception::strictest).unwrap_or_default();
        let losses = writes.losses(graph, subject, at);
        losses.fold(known, Exception::strictest)
    }

    /// What somebody of this level holds.
    pub(super) fn held(&self, graph: &Graph, holder: Holder<'_>, level: Rank) -> Permissions {
        if level >= Rank::of(Level::ADMIN) {
            return Permissions::ALL;
        }
        if level == Rank::NONE {
            return Permissions::NONE;
        }
        let ranks = self.ranks_to(level);
        ranks.fold(Permissions::NONE, |held, at| {
            held | self.held_at(graph, holder, at)
        })
    }

    /// The highest rank, up to `level`, at which somebody holds a permission.
    pub(super) fn rank_with(
        &self,
        graph: &Graph,
        holder: Holder<'_>,
        permission: Permission,
        level: Rank,
    ) -> Option<Rank> {
        if level >= Rank::of(Level::ADMIN) {
            return Some(level);
        }
        if level == Rank::NONE {
            return None;
        }
        let mut ranks = self.ranks_to(level);
        let found = ranks.find(|at| self.held_at(graph, holder, *at).has(permission));
        found.map(|at| {
            if is_active(Mutant::LowGrantsLift) {
                level
            } else {
                at
            }
        })
    }

    /// A level, and below it the ranks of what was decided, where more is known.
    fn ranks_to(&self, level: Rank) -> impl Iterator<Item = Rank> {
        let below = self.ranks.range(..level).rev().copied();
        std::iter::once(level).chain(below)
    }

    /// Whether somebody else set a person's exception in a channel, and not knowing of `act`.
    pub(super) fn is_set_by_others(
        &self,
        graph: &Graph,
        channel: &ChannelId,
        user: &UserId,
        act: Place,
    ) -> bool {
        let targets = self.exceptions.get(channel);
        let writes = targets.and_then(|targets| targets.get(&Target::User(*user)));
        let mut places = writes.into_iter().flat_map(Writes::places);
        places.any(|place| graph.nodes[place].author != Some(*user) && !graph.knew(place, act))
    }

    /// Whether one of those acts bears on who may see a channel: somebody in particular, or everybody.
    pub(super) fn is_view_changed(
        &self,
        channel: &ChannelId,
        user: &UserId,
        those: impl Fn(Place) -> bool + Copy,
    ) -> bool {
        let given = self.grants.get(user);
        let granted = given.into_iter().flat_map(BTreeMap::values);
        let granted = granted.flat_map(Writes::places);
        let roles = given.into_iter().flat_map(BTreeMap::keys).copied();
        let roles: BTreeSet<RoleId> = roles.chain([RoleId::EVERYONE]).collect();
        let of_role = |role: &RoleId| {
            let role = self.roles.get(role).into_iter();
            role.flat_map(|role| role.permissions.places().chain(role.removed.places()))
        };
        let concerns = |target: &Target| match target {
            Target::Role(role) => roles.contains(role),
            Target::User(one) => one == user,
        };
        let exceptions = self.exceptions.get(channel).into_iter().flatten();
        let exceptions = exceptions.filter(|(target, _)| concerns(target));
        let exceptions = exceptions.flat_map(|(_, writes)| writes.places());
        let mut all = granted
            .chain(roles.iter().flat_map(of_role))
            .chain(exceptions);
        all.any(those)
    }

    /// All roles that somebody made.
    pub(super) fn roles(&self) -> impl Iterator<Item = RoleId> {
        let made = self.roles.iter().filter(|(_, role)| role.made.is_some());
        made.map(|(id, _)| *id)
    }

    /// The exceptions of a channel by everything.
    pub(super) fn exceptions(
        &self,
        graph: &Graph,
        channel: &ChannelId,
    ) -> BTreeMap<Target, Exception> {
        let targets = self.exceptions.get(channel).into_iter().flatten();
        let all = targets.map(|(target, _)| {
            let exception = self.exception(graph, channel, target, Subject::Now, Rank::NONE);
            (*target, exception)
        });
        all.filter(|(_, exception)| *exception != Exception::default())
            .collect()
    }
}
