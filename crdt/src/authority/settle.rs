//! From verdicts to the state that others read.

use std::collections::BTreeMap;

use revnet_protocol::act::{Audience, ChannelKind};
use revnet_protocol::{Act, ChannelId, DeviceCert, EnvelopeId, InviteId, UserId};

use super::MAX_HEADS;
use super::graph::{Graph, Place};
use super::rank::{Event, Kind, Rank};
use super::reduce::Decided;
use super::register::Register;
use super::state::{ChannelState, Epoch, FormerMember, InviteState, Member, State};

/// The registers of a channel.
#[derive(Default)]
struct Fields<'a> {
    /// What it was made for; none while nobody made it whose act counts.
    kind: Option<ChannelKind>,
    name: Register<&'a str>,
    topic: Register<&'a str>,
    category: Register<&'a str>,
    position: Register<u32>,
    archived: Register<bool>,
}

/// Everything that accepted acts write, before concurrent writes are told apart.
#[derive(Default)]
struct Writes<'a> {
    name: Register<&'a str>,
    description: Register<&'a str>,
    icon: Register<&'a str>,
    names: BTreeMap<UserId, Register<&'a str>>,
    channels: BTreeMap<ChannelId, Fields<'a>>,
}

/// Makes the state.
pub(super) fn settle(graph: &Graph, decided: &Decided) -> State {
    let mut state = State::default();
    let mut writes = Writes::default();
    for place in &decided.accepted {
        writes.take(graph, *place, decided.ranks[*place]);
        take_act(&mut state, graph, *place);
    }
    writes.settle(graph, &mut state);
    people(&mut state, graph, decided, &writes.names);
    gone(&mut state, graph, decided);
    generations(&mut state, graph);
    state
}

impl<'a> Writes<'a> {
    fn take(&mut self, graph: &'a Graph, place: Place, rank: Rank) {
        let node = &graph.nodes[place];
        match &node.record.act {
            Act::Settings(new) => {
                self.name.write(graph, place, rank, new.name.as_deref());
                let description = new.description.as_deref();
                self.description.write(graph, place, rank, description);
                self.icon.write(graph, place, rank, new.icon.as_deref());
            }
            Act::Channel(new) => {
                let id = new.channel.unwrap_or(node.record.id.into());
                let fields = self.channels.entry(id).or_default();
                if new.channel.is_none() {
                    fields.kind = Some(new.kind);
                }
                fields.name.write(graph, place, rank, new.name.as_deref());
                fields.topic.write(graph, place, rank, new.topic.as_deref());
                let category = new.category.as_deref();
                fields.category.write(graph, place, rank, category);
                fields.position.write(graph, place, rank, new.position);
                fields.archived.write(graph, place, rank, new.archived);
            }
            Act::Create { name, .. } | Act::Profile { name } => {
                self.name_of(node.author)
                    .write(graph, place, rank, Some(name));
            }
            Act::Join(join) => {
                // By its invite it would outrank a new name that the person gives themselves.
                let rank = Rank::of(revnet_protocol::act::Level::MEMBER);
                self.name_of(node.author)
                    .write(graph, place, rank, Some(&join.name));
            }
            _ => {}
        }
    }

    fn name_of(&mut self, author: Option<UserId>) -> &mut Register<&'a str> {
        let author = author.expect("acts without an author are not accepted");
        self.names.entry(author).or_default()
    }

    fn settle(&self, graph: &Graph, state: &mut State) {
        let text = |register: &Register<&str>| register.get(graph).unwrap_or_default().to_owned();
        state.name = text(&self.name);
        state.description = text(&self.description);
        state.icon = self.icon.get(graph).map(str::to_owned);
        for (id, fields) in &self.channels {
            let Some(kind) = fields.kind else { continue };
            let channel = ChannelState {
                kind,
                name: text(&fields.name),
                topic: text(&fields.topic),
                category: text(&fields.category),
                position: fields.position.get(graph).unwrap_or_default(),
                archived: fields.archived.read(graph, |shut| *shut).unwrap_or(false),
            };
            state.channels.insert(*id, channel);
        }
    }
}

fn take_act(state: &mut State, graph: &Graph, place: Place) {
    let node = &graph.nodes[place];
    let id = node.record.id;
    match &node.record.act {
        Act::Create { genesis, .. } => state.genesis = Some(genesis.clone()),
        Act::Invite(invite) => {
            let by = node
                .author
                .expect("acts without an author are not accepted");
            // Made twice, it is whose rank is higher: acts come by falling rank.
            state.invites.entry(invite.invite).or_insert(InviteState {
                by,
                act: id,
                hpke: invite.hpke,
                expires_ms: invite.expires_ms,
                max_uses: invite.max_uses,
                uses: 0,
                revoked: false,
                stale: false,
            });
        }
        Act::KeyRotate(rotate) => {
            let epochs = state.epochs.entry(rotate.audience).or_default();
            epochs.push(Epoch {
                generation: rotate.generation,
                key_id: rotate.key_id,
                act: id,
                by: node.record.device,
                tainted: false,
                back_links: rotate.back_links.clone(),
            });
        }
        _ => {}
    }
}

/// A device's certificate and the invite by which it came.
fn entry_of<'a>(graph: &'a Graph, event: &Event) -> Option<(&'a DeviceCert, Option<InviteId>)> {
    match graph.act(event.place) {
        Act::Create { cert, .. } => Some((cert, None)),
        Act::Join(join) => Some((&join.cert, Some(join.invite))),
        _ => None,
    }
}

fn people(
    state: &mut State,
    graph: &Graph,
    decided: &Decided,
    names: &BTreeMap<UserId, Register<&str>>,
) {
    for (user, events) in &decided.ledger {
        let mut entries: Vec<&Event> = events.0.iter().filter(|e| is_entry(e)).collect();
        entries.sort_unstable_by_key(|event| graph.order(event.place));
        let certs = |entries: &[&Event]| -> BTreeMap<_, _> {
            let certs = entries.iter().filter_map(|event| entry_of(graph, event));
            certs.map(|(cert, _)| (cert.device, cert.clone())).collect()
        };
        if entries.is_empty() {
            continue;
        }
        let all = certs(&entries);
        let name = names.get(user).and_then(|name| name.get(graph));
        let name = name.unwrap_or_default().to_owned();
        let (level, mut standing) = events.standing(graph);
        standing.sort_unstable_by_key(|event| graph.order(event.place));
        let devices = certs(&standing);
        for device in all.keys() {
            state.users.entry(*device).or_insert((*user, false));
        }
        match (level, standing.last()) {
            (Some(level), Some(last)) => {
                for device in devices.keys() {
                    state.users.insert(*device, (*user, true));
                }
                let joined_by = entry_of(graph, last).and_then(|(_, invite)| invite);
                let member = Member {
                    name,
                    level,
                    devices,
                    joined_by,
                };
                state.members.insert(*user, member);
            }
            _ => {
                let devices = all.into_keys().collect();
                state.former.insert(*user, FormerMember { name, devices });
            }
        }
    }
}

fn is_entry(event: &Event) -> bool {
    matches!(event.kind, Kind::Entry(_))
}

/// What depends on who is gone, and on how invites were used.
fn gone(state: &mut State, graph: &Graph, decided: &Decided) {
    let knows = |act: &EnvelopeId, other: Place| {
        let place = graph.place(act).expect("the state names acts of the graph");
        graph.knew(place, other)
    };
    for epochs in state.epochs.values_mut() {
        for epoch in epochs.iter_mut() {
            let knows = |place: Place| knows(&epoch.act, place);
            let mut former = state.former.keys().map(|user| &decided.ledger[user]);
            epoch.tainted = former.any(|events| !events.is_known_out(graph, knows));
        }
        epochs.sort_unstable_by_key(|epoch| (epoch.generation, epoch.key_id, epoch.act));
    }
    let removals = decided.ledger.values().flat_map(|events| &events.0);
    let removals: Vec<Place> = removals
        .filter(|event| event.kind == Kind::Removal)
        .map(|event| event.place)
        .collect();
    for invite in state.invites.values_mut() {
        invite.stale = removals.iter().any(|end| !knows(&invite.act, *end));
    }
    for place in &decided.accepted {
        match graph.act(*place) {
            Act::RevokeInvite { invite, .. } => {
                if let Some(invite) = state.invites.get_mut(invite) {
                    invite.revoked = true;
                }
            }
            Act::Join(join) => {
                if let Some(invite) = state.invites.get_mut(&join.invite) {
                    invite.uses += 1;
                }
            }
            _ => {}
        }
    }
}

fn generations(state: &mut State, graph: &Graph) {
    let known = graph.known_from(graph.heads(MAX_HEADS));
    let mut audiences: Vec<Audience> = vec![Audience::Revolt];
    audiences.extend(state.epochs.keys().copied());
    for audience in audiences {
        let highest = graph.generation_in(&known, &audience);
        state.generations.insert(audience, highest);
    }
}
