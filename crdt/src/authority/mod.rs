//! Who may do what: the control graph of a revolt, and what follows from it.
//!
//! The same set of acts gives the same [`State`] on every node, whatever the order in which it arrived.
//! Power is causal, loss and protection are global: an act counts by what its author knew, and falls only if
//! somebody above the author took the power away.

mod confirm;
mod expel;
mod graph;
mod judge;
mod late;
#[doc(hidden)]
pub mod mutant;
mod powers;
mod rank;
mod reduce;
mod register;
mod rights;
mod settle;
mod state;
mod verdict;

use std::cell::OnceCell;

use revnet_protocol::act::{Audience, Keep, KeyRotate};
use revnet_protocol::{Act, DeviceId, EnvelopeId, Hlc, InviteId, KeyId, RevoltId, UserId};

pub use graph::ActRecord;
pub use judge::{Judgement, Wish};
pub use state::{
    ChannelState, Epoch, Exception, FormerMember, InviteState, Member, Recipient, RoleState, State,
};
pub use verdict::{Verdict, Why};

use graph::Graph;
use late::VoidEpochs;
use reduce::Decided;

/// How many acts an act or a message cites.
const MAX_HEADS: usize = 4;
/// Most joins that the revocation of an invite names.
const MAX_KEPT_JOINS: usize = 64;

/// What became of an act that was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is in the graph, and so is everything that it builds on.
    Added,
    /// It waits for acts that it builds on.
    Waiting,
    /// It was here before.
    Known,
}

/// The acts of one revolt and what they amount to.
///
/// The state is worked out when it is asked for, so that adding many acts costs one replay.
#[derive(Clone, Debug)]
pub struct Authority {
    revolt: RevoltId,
    graph: Graph,
    outcome: OnceCell<Outcome>,
}

#[derive(Clone, Debug)]
struct Outcome {
    state: State,
    decided: Decided,
    void_epochs: OnceCell<VoidEpochs>,
    heads: OnceCell<Vec<usize>>,
}

impl Authority {
    /// Without any act.
    #[must_use]
    pub fn new(revolt: RevoltId) -> Self {
        Self {
            revolt,
            graph: Graph::default(),
            outcome: OnceCell::new(),
        }
    }

    /// Adds an act, and those that waited for it.
    pub fn insert(&mut self, record: ActRecord) -> Insert {
        if self.graph.is_known(&record.id) {
            return Insert::Known;
        }
        let id = record.id;
        let before = self.graph.nodes.len();
        self.graph.insert(record, &self.revolt);
        if self.graph.nodes.len() > before {
            self.outcome.take();
        }
        if self.contains(&id) {
            Insert::Added
        } else {
            Insert::Waiting
        }
    }

    /// Adds many acts; says how many came into the graph, those included that had waited.
    pub fn insert_all(&mut self, records: impl IntoIterator<Item = ActRecord>) -> usize {
        let before = self.graph.nodes.len();
        for record in records {
            self.insert(record);
        }
        self.graph.nodes.len() - before
    }

    /// Whether an act is here with everything that it builds on.
    #[must_use]
    pub fn contains(&self, id: &EnvelopeId) -> bool {
        self.graph.place(id).is_some()
    }

    /// When an act was written, by its author's clock.
    #[must_use]
    pub fn hlc_of(&self, id: &EnvelopeId) -> Option<Hlc> {
        let place = self.graph.place(id)?;
        Some(self.graph.nodes[place].record.hlc)
    }

    /// The acts for an author to cite: at most four that no other act cites.
    #[must_use]
    pub fn heads(&self) -> Vec<EnvelopeId> {
        let heads = self.heads_for_authors();
        let id = |place: &usize| self.graph.nodes[*place].record.id;
        heads.iter().map(id).collect()
    }

    /// What the acts amount to.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.outcome().state
    }

    /// The highest stamp of the [`Authority::heads`]: an author stamps after it.
    #[must_use]
    pub fn newest_hlc(&self) -> Hlc {
        let heads = self.heads_for_authors().iter();
        let stamps = heads.map(|place| self.graph.nodes[*place].record.hlc);
        stamps.max().unwrap_or(Hlc::ZERO)
    }

    /// What the revocation of an invite is to keep: the joins by it that count, as far as
    /// [`Authority::heads`] don't lead to them; what its author knew is kept anyway. At most 64.
    #[must_use]
    pub fn joins_by(&self, invite: &InviteId) -> Keep {
        let known = self
            .graph
            .known_from(self.heads_for_authors().iter().copied());
        let accepted = self.outcome().decided.accepted.iter();
        let aside = accepted.filter(|place| !known.has(**place));
        let records = aside.map(|place| &self.graph.nodes[*place].record);
        let joins = records
            .filter(|record| matches!(&record.act, Act::Join(join) if join.invite == *invite));
        let positions = joins.map(|record| (record.device, record.seq, record.id));
        Keep(positions.take(MAX_KEPT_JOINS).collect())
    }

    /// Whether a secret was announced for the whole revolt, by an act that counts or not: acts are sealed with such
    /// secrets only, as everybody has to read them.
    #[must_use]
    pub fn is_announced(&self, key_id: &KeyId) -> bool {
        self.graph.is_announced(key_id)
    }

    /// Whether some act names a secret as one to be read by: announced to all, or claimed for a channel.
    #[must_use]
    pub fn is_named(&self, key_id: &KeyId) -> bool {
        self.is_announced(key_id) || !self.graph.claims(key_id).is_empty()
    }

    /// Whether somebody made this invite, counting or not.
    #[must_use]
    pub fn is_invite(&self, invite: &InviteId) -> bool {
        !self.graph.invites(invite).is_empty()
    }

    /// The rotations of channels' secrets that name a secret, with their authors and whether they count. That somebody
    /// names a secret doesn't mean that they have it.
    pub fn claims(&self, key_id: &KeyId) -> impl Iterator<Item = (DeviceId, &KeyRotate, bool)> {
        let verdicts = &self.outcome().decided.verdicts;
        let places = self.graph.claims(key_id).iter();
        places.filter_map(|place| match self.graph.act(*place) {
            Act::KeyRotate(rotate) => {
                let by = self.graph.nodes[*place].record.device;
                Some((by, rotate, verdicts[*place].counts()))
            }
            _ => None,
        })
    }

    /// Whether a device founded the revolt or joined by an invite that somebody made, counting or not.
    #[must_use]
    pub fn has_come(&self, device: &DeviceId) -> bool {
        let certified = self.graph.certified(device).iter();
        let mut acts = certified.map(|place| self.graph.act(*place));
        acts.any(|act| match act {
            Act::Join(join) => self.is_invite(&join.invite),
            act => matches!(act, Act::Create { .. }),
        })
    }

    /// The act of a device that its owner stands by who takes it back: of those that count the last one stamped before
    /// `before_ms`, or else the first. None if the device wrote nothing that is here.
    #[must_use]
    pub fn last_act_of(&self, device: &DeviceId, before_ms: u64) -> Option<(u64, EnvelopeId)> {
        let accepted = self.outcome().decided.accepted.iter();
        let records = accepted.map(|place| &self.graph.nodes[*place].record);
        let own = records.filter(|record| record.device == *device);
        let before = own.clone().filter(|record| record.hlc.ms < before_ms);
        let position = |record: &ActRecord| (record.seq, record.id);
        let last = before.map(position).max();
        last.or_else(|| own.map(position).min())
    }

    /// Whether a device wrote that its person leaves, and that counts.
    #[must_use]
    pub fn has_left(&self, device: &DeviceId) -> bool {
        let accepted = self.outcome().decided.accepted.iter();
        let mut records = accepted.map(|place| &self.graph.nodes[*place].record);
        records.any(|record| record.device == *device && record.act == Act::Leave)
    }

    /// Whose device wrote an act, by what its author knew.
    #[must_use]
    pub fn author_of(&self, id: &EnvelopeId) -> Option<UserId> {
        self.graph.nodes[self.graph.place(id)?].author
    }

    /// An act that is here with everything that it builds on.
    #[must_use]
    pub fn record(&self, id: &EnvelopeId) -> Option<&ActRecord> {
        let place = self.graph.place(id)?;
        Some(&self.graph.nodes[place].record)
    }

    /// Every act with the answer whether it counts, causes before effects.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(EnvelopeId, Verdict)> {
        let mut places: Vec<_> = (0..self.graph.nodes.len()).collect();
        places.sort_unstable_by_key(|place| self.graph.order(*place));
        let verdicts = &self.outcome().decided.verdicts;
        places
            .into_iter()
            .map(|place| (self.graph.nodes[place].record.id, verdicts[place]))
            .collect()
    }

    /// Whether an act counts; none while it is not here with everything that it builds on.
    #[must_use]
    pub fn verdict(&self, id: &EnvelopeId) -> Option<Verdict> {
        let place = self.graph.place(id)?;
        Some(self.outcome().decided.verdicts[place])
    }

    /// Acts that would have another rank if they were decided once more, after all others, and accepted acts
    /// with a higher rank than one that was decided before. There are none if verdicts are final. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn unsettled(&self) -> Vec<EnvelopeId> {
        let decided = &self.outcome().decided;
        let ranks = &decided.ranks;
        let rises = decided.accepted.windows(2);
        let rises = rises.filter(|pair| ranks[pair[0]] < ranks[pair[1]]);
        let changed = (0..self.graph.nodes.len()).filter(|place| {
            let node = &self.graph.nodes[*place];
            let is_entry = graph::certified_by(&node.record.act).is_some();
            let is_root = matches!(node.record.act, Act::RevokeDevice(_));
            if !node.sound || is_entry || is_root {
                return false;
            }
            let (level, _) = decided.level(&self.graph, *place);
            let rank = decided.rank_with_permission(&self.graph, *place, level);
            decided.verdicts[*place].counts() && rank != Some(ranks[*place])
        });
        let places = rises.map(|pair| pair[1]).chain(changed);
        places
            .map(|place| self.graph.nodes[place].record.id)
            .collect()
    }

    /// The generation that a rotation has to carry whose author cites [`Authority::heads`] and wrote `prev` last.
    #[must_use]
    pub fn generation_after(&self, audience: &Audience, prev: &EnvelopeId) -> u64 {
        let cited = self.heads_for_authors().iter().copied();
        let known = self.graph.known_from(cited.chain(self.graph.place(prev)));
        self.graph.generation_in(&known, audience).saturating_add(1)
    }

    fn heads_for_authors(&self) -> &[usize] {
        let outcome = self.outcome();
        let counting = &outcome.decided.counting;
        let heads = &outcome.heads;
        heads.get_or_init(|| self.graph.heads(MAX_HEADS, counting))
    }

    fn outcome(&self) -> &Outcome {
        self.outcome.get_or_init(|| {
            let decided = reduce::decide(&self.graph);
            let state = settle::settle(&self.graph, &decided);
            Outcome {
                state,
                decided,
                void_epochs: OnceCell::new(),
                heads: OnceCell::new(),
            }
        })
    }
}
