//! Judges what lies outside the control stream: messages, and what somebody is about to do.

use revnet_protocol::act::Level;
use revnet_protocol::{DeviceId, EnvelopeId, Hlc, UserId};

use super::Authority;
use super::graph::{Place, Places};
use super::rank::{Rank, Subject};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Write messages, edit and delete own ones, react.
    Post,
    /// Delete others' messages.
    Moderate,
    /// Make and change channels, and the revolt's settings.
    ManageChannels,
    /// Make and revoke invites.
    Invite,
    /// Set levels and remove people.
    ManageMembers,
    /// Start a new epoch.
    Rotate,
}

impl Wish {
    /// The level that it takes.
    #[must_use]
    pub fn needs(self) -> Level {
        match self {
            Self::Post | Self::Rotate => Level::MEMBER,
            Self::Moderate | Self::ManageChannels | Self::Invite | Self::ManageMembers => {
                Level::ADMIN
            }
        }
    }

    /// Whether it is carried out in channels, which control acts don't cite.
    fn is_words(self) -> bool {
        matches!(self, Self::Post | Self::Moderate)
    }
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
    /// Nothing stays of somebody whose join was ended by a revocation of its invite that stands above them.
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
        let known = self.known_to(device, cited, hlc);
        let user = self
            .graph
            .author_by(device, &known)
            .or_else(|| outcome.state.user_of(device).map(|(user, _)| user));
        let subject = Subject::Words {
            known: &known,
            hlc: wish.is_words().then_some(hlc),
        };
        let events = user.and_then(|user| outcome.decided.ledger.get(&user));
        let rank = events.map_or(Rank::NONE, |events| {
            events.rank(&self.graph, device, subject).0
        });
        let level = rank.level();
        Judgement {
            allowed: level.is_some_and(|level| level >= wish.needs()),
            user,
            level,
            unknown_heads: false,
        }
    }

    /// What the author of something stamped `hlc` knew.
    fn known_to(&self, device: &DeviceId, cited: Vec<Place>, hlc: Hlc) -> Places {
        let own = self.graph.certified(device).iter().copied();
        let own = own.filter(|join| self.graph.nodes[*join].record.hlc <= hlc);
        self.graph.known_from(cited.into_iter().chain(own))
    }
}
