//! Judges what lies outside the control stream: messages, and what somebody is about to do.

use revnet_protocol::act::Level;
use revnet_protocol::{ChannelId, DeviceId, EnvelopeId, Hlc, Permission, Permissions, UserId};

use super::Authority;
use super::graph::{Place, Places, certified_by};
use super::rank::{Rank, Subject};
use super::rights::Holder;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Say something in a channel that takes a permission there: messages, edits, deletions, reactions.
    Say(Permission, ChannelId),
    /// Write an act that takes a permission.
    Act(Permission),
    /// What every member may: start a new epoch, change the own name, leave.
    Belong,
}

/// The answer to a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it counts.
    pub allowed: bool,
    /// Whose device it is, as far as anybody knows.
    pub user: Option<UserId>,
    /// The level that it was judged with; none for who is no member by it.
    pub level: Option<Level>,
    /// Whether it cites acts that are missing, and so cannot be judged yet.
    pub unknown_heads: bool,
}

impl Authority {
    /// Whether a device may do something, knowing `heads`, at `hlc`: the rank of an act with those deps.
    ///
    /// Two things differ from acts. A device knows its own joins, even where the four acts that it can
    /// cite don't lead to them. And what is carried out in channels (posting, moderating) is cut by time:
    /// - written with the removal, demotion or leave in its past, it is hidden;
    /// - written without, and stamped before the act, it stays;
    /// - written without, and not stamped before the act, it is hidden.
    ///
    /// Losses of permission, revocations of devices and times of silence work in the same way. Nothing stays of somebody whose join was ended by a revocation of its invite that stands above them.
    /// For the other wishes `hlc` plays no part: every loss counts that is known here.
    #[must_use]
    pub fn judge(
        &self,
        device: &DeviceId,
        heads: &[EnvelopeId],
        hlc: Hlc,
        wish: Wish,
    ) -> Judgement {
        let outcome = self.outcome();
        let cited: Option<Vec<Place>> = heads.iter().map(|id| self.graph.place(id)).collect();
        let Some(cited) = cited else {
            return Judgement {
                allowed: false,
                user: outcome.state.user_of(device).map(|(user, _)| user),
                level: None,
                unknown_heads: true,
            };
        };
        let (known, user) = self.known_to(device, &cited, hlc);
        let user = user.or_else(|| outcome.state.user_of(device).map(|(user, _)| user));
        let subject = Subject::Words {
            known: &known,
            hlc: matches!(wish, Wish::Say(..)).then_some(hlc),
        };
        let rank = user.map_or(Rank::NONE, |user| self.rank_of(&user, device, subject));
        let allowed = user.is_some_and(|user| self.allows(&user, rank, subject, hlc, wish));
        Judgement {
            allowed,
            user,
            level: rank.level(),
            unknown_heads: false,
        }
    }

    fn rank_of(&self, user: &UserId, device: &DeviceId, subject: Subject<'_>) -> Rank {
        let graph = &self.graph;
        let reaches = |by: Place| {
            let hlc = graph.nodes[by].record.hlc;
            subject.knows(graph, by) || !subject.is_before(graph, by, hlc)
        };
        if self.outcome().decided.is_out(graph, user, device, reaches) {
            return Rank::NONE;
        }
        let events = self.outcome().decided.ledger.get(user);
        events.map_or(Rank::NONE, |events| events.rank(graph, device, subject).0)
    }

    fn allows(
        &self,
        user: &UserId,
        rank: Rank,
        subject: Subject<'_>,
        hlc: Hlc,
        wish: Wish,
    ) -> bool {
        let rights = &self.outcome().decided.rights;
        let held = |channel: Option<&ChannelId>| {
            let holder = Holder {
                user,
                subject,
                channel,
            };
            rights.held(&self.graph, holder, rank)
        };
        match wish {
            Wish::Belong => rank > Rank::NONE,
            Wish::Act(permission) => held(None).has(permission),
            Wish::Say(permission, channel) => {
                let until = rights.silenced_until(&self.graph, user, subject, hlc);
                held(Some(&channel)).has(permission) && until <= hlc.ms
            }
        }
    }

    /// What a member may do now, in the whole revolt or in one channel.
    #[must_use]
    pub fn permissions(&self, user: &UserId, channel: Option<&ChannelId>) -> Permissions {
        let outcome = self.outcome();
        let level = outcome.state.members.get(user).map(|member| member.level);
        let holder = Holder {
            user,
            subject: Subject::Now,
            channel,
        };
        let rank = level.map_or(Rank::NONE, Rank::of);
        outcome.decided.rights.held(&self.graph, holder, rank)
    }

    /// What the author of something stamped `hlc` knew, and who that is: by what is cited, if that says it, as a second
    /// certificate may come at any time with any stamp.
    fn known_to(&self, device: &DeviceId, cited: &[Place], hlc: Hlc) -> (Places, Option<UserId>) {
        let graph = &self.graph;
        let own = graph.certified(device).iter().copied();
        let own = own.filter(|join| graph.nodes[*join].record.hlc <= hlc);
        let first = own.clone().min_by_key(|place| graph.order(*place));
        let by_cited = graph.author_by(device, &graph.known_from(cited.iter().copied()));
        let user = by_cited.or_else(|| certified_by(graph.act(first?)));
        let own = own.filter(|join| certified_by(graph.act(*join)) == user);
        (graph.known_from(cited.iter().copied().chain(own)), user)
    }
}
