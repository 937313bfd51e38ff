//! From verdicts to the state that others read.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::{Audience, ChannelKind, Level};
use revnet_protocol::epoch::Slot;
use revnet_protocol::{
    Act, ChannelId, DeviceCert, EnvelopeId, Hlc, InviteId, KeyId, Permission, Permissions, RoleId,
    UserId,
};

use super::graph::{Graph, Place};
use super::late::late;
use super::rank::{Event, Kind, Rank, Subject};
use super::reduce::Decided;
use super::register::Register;
use super::rights::Holder;
use super::state::{ChannelState, Epoch, FormerMember, InviteState, Member, RoleState, State};

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
    history: Register<bool>,
}

/// What a role looks like. What it allows is in [`Rights`](super::rights::Rights).
#[derive(Default)]
struct Looks<'a> {
    name: Register<&'a str>,
    position: Register<Level>,
    color: Register<[u8; 3]>,
    removed: Register<bool>,
}

/// Everything that accepted acts write, before concurrent writes are told apart.
#[derive(Default)]
struct Writes<'a> {
    name: Register<&'a str>,
    description: Register<&'a str>,
    icon: Register<&'a str>,
    names: BTreeMap<UserId, Register<&'a str>>,
    roles: BTreeMap<RoleId, Looks<'a>>,
    channels: BTreeMap<ChannelId, Fields<'a>>,
}

/// Makes the state.
pub(super) fn settle(graph: &Graph, decided: &Decided) -> State {
    let mut state = State::default();
    let mut writes = Writes::default();
    for place in &decided.accepted {
        writes.take(graph, *place, decided.ranks[*place]);
        take_act(&mut state, graph, decided, *place);
    }
    writes.settle(graph, &mut state);
    people(&mut state, graph, decided, &writes.names);
    roles(&mut state, graph, decided, &writes.roles);
    permissions(&mut state, graph, decided);
    shares(&mut state, graph, decided);
    gone(&mut state, graph, decided);
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
            Act::History { channel, on } => {
                let fields = self.channels.entry(*channel).or_default();
                fields.history.write(graph, place, rank, Some(*on));
            }
            Act::Role(new) => {
                let id = new.role.unwrap_or(node.record.id.into());
                let looks = self.roles.entry(id).or_default();
                looks.name.write(graph, place, rank, new.name.as_deref());
                looks.position.write(graph, place, rank, new.position);
                looks.color.write(graph, place, rank, new.color);
                looks.removed.write(graph, place, rank, new.removed);
            }
            Act::Create { name, .. } | Act::Profile { name } => {
                self.name_of(node.author)
                    .write(graph, place, rank, Some(name));
            }
            Act::Join(join) => {
                // By its invite it would outrank a new name that the person gives themselves.
                let rank = Rank::of(Level::MEMBER);
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
                history: fields.history.read(graph, |on| !on).unwrap_or(true),
                exceptions: BTreeMap::new(),
                private: false,
                viewers: None,
            };
            state.channels.insert(*id, channel);
        }
    }
}

fn take_act(state: &mut State, graph: &Graph, decided: &Decided, place: Place) {
    let node = &graph.nodes[place];
    let id = node.record.id;
    match &node.record.act {
        Act::Create { genesis, .. } => state.genesis = Some(genesis.clone()),
        Act::Invite(invite) => {
            let by = node
                .author
                .expect("acts without an author are not accepted");
            let made = InviteState {
                by,
                act: id,
                hpke: invite.hpke,
                expires_ms: invite.expires_ms,
                max_uses: invite.max_uses,
                uses: 0,
                revoked: decided.is_shut(graph, place, &invite.invite),
                stale: false,
            };
            // Made twice, it is whose rank is higher, of those that aren't revoked: acts come by falling rank.
            let before = state.invites.entry(invite.invite);
            let shown = before.or_insert_with(|| made.clone());
            if shown.revoked && !made.revoked {
                *shown = made;
            }
        }
        Act::KeyRotate(rotate) => {
            let epochs = state.epochs.entry(rotate.audience).or_default();
            epochs.push(Epoch {
                generation: rotate.generation,
                key_id: rotate.key_id,
                act: id,
                by: node.record.device,
                tainted: false,
                late: BTreeSet::new(),
                back_links: rotate.back_links.clone(),
            });
        }
        _ => {}
    }
}

/// A device's certificate and the invite by which it came.
pub(super) fn entry_of<'a>(
    graph: &'a Graph,
    event: &Event,
) -> Option<(&'a DeviceCert, Option<InviteId>)> {
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
        let mut entries: Vec<&Event> = events.all.iter().filter(|e| is_entry(e)).collect();
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
        let mut devices = certs(&standing);
        devices.retain(|device, _| !decided.is_out(graph, user, device, |_| true));
        for device in all.keys() {
            state.users.entry(*device).or_insert((*user, false));
        }
        match (level, standing.last()) {
            (Some(level), Some(last)) => {
                for device in devices.keys() {
                    state.users.insert(*device, (*user, true));
                }
                let is_in = |event: &&&Event| {
                    entry_of(graph, event)
                        .is_some_and(|(cert, _)| devices.contains_key(&cert.device))
                };
                let mut entries = standing.iter().filter(is_in);
                let provisional = entries.all(|event| event.is_provisional());
                let joined_by = entry_of(graph, last).and_then(|(_, invite)| invite);
                let member = Member {
                    name,
                    level,
                    devices,
                    joined_by,
                    roles: BTreeSet::new(),
                    permissions: Permissions::NONE,
                    silenced_until_ms: None,
                    provisional,
                };
                state.members.insert(*user, member);
            }
            _ => {
                let former = FormerMember {
                    name,
                    devices: all.into_keys().collect(),
                    banned: events.is_banned(graph),
                };
                state.former.insert(*user, former);
            }
        }
    }
}

fn is_entry(event: &Event) -> bool {
    matches!(event.kind, Kind::Entry(_))
}

fn roles(state: &mut State, graph: &Graph, decided: &Decided, looks: &BTreeMap<RoleId, Looks>) {
    let plain = Looks::default();
    for id in decided.rights.roles().chain([RoleId::EVERYONE]) {
        let looks = looks.get(&id).unwrap_or(&plain);
        if looks.removed.read(graph, |removed| *removed) == Some(true) {
            continue;
        }
        let rights = &decided.rights;
        let role = RoleState {
            name: looks.name.get(graph).unwrap_or_default().to_owned(),
            position: looks.position.get(graph).unwrap_or(Level::MEMBER),
            color: looks.color.get(graph),
            permissions: rights.of_role(graph, &id, Subject::Now, Rank::NONE),
        };
        state.roles.insert(id, role);
    }
}

/// What members may do, in the revolt and in closed channels.
fn permissions(state: &mut State, graph: &Graph, decided: &Decided) {
    let rights = &decided.rights;
    let held = |user: &UserId, level: Level, channel: Option<&ChannelId>| {
        let holder = Holder {
            user,
            subject: Subject::Now,
            channel,
        };
        rights.held(graph, holder, Rank::of(level))
    };
    for (user, member) in &mut state.members {
        let given = rights.roles_of(graph, user, Subject::Now, Rank::NONE);
        member.roles = given
            .filter(|role| state.roles.contains_key(role))
            .collect();
        member.permissions = held(user, member.level, None);
        let until = rights.silenced_until(graph, user, Subject::Now, Hlc::ZERO);
        member.silenced_until_ms = Some(until).filter(|until| *until > 0);
    }
    for (id, channel) in &mut state.channels {
        channel.exceptions = rights.exceptions(graph, id);
        // Nobody has this name, and so what everybody has.
        let open = held(&UserId::default(), Level::MEMBER, Some(id)).has(Permission::View);
        let members = state.members.iter();
        let viewers = members
            .filter(|(user, member)| held(user, member.level, Some(id)).has(Permission::View));
        channel.private = !open;
        let closed = !open || !channel.history;
        channel.viewers = closed.then(|| viewers.map(|(user, _)| *user).collect());
    }
}

/// What people who see a closed channel handed on of its secrets, once for each secret, however many epochs name it.
fn shares(state: &mut State, graph: &Graph, decided: &Decided) {
    let mut shared: BTreeMap<KeyId, Vec<(UserId, &[Slot])>> = BTreeMap::new();
    for place in &decided.accepted {
        if let (Act::KeyShare(chunk), Some(by)) = (graph.act(*place), graph.nodes[*place].author) {
            shared
                .entry(chunk.key_id)
                .or_default()
                .push((by, &chunk.slots));
        }
    }
    let epochs = state.epochs.iter();
    let named = epochs.flat_map(|(of, epochs)| epochs.iter().map(|epoch| (*of, epoch.key_id)));
    let named: BTreeSet<(Audience, KeyId)> = named.collect();
    for (audience, key_id) in named {
        let by_key = shared.get(&key_id).into_iter().flatten();
        let from_inside = by_key.filter(|(by, _)| state.is_in(&audience, by));
        let mut slots: Vec<Slot> = from_inside.flat_map(|(_, slots)| slots.to_vec()).collect();
        slots.sort_unstable_by_key(|slot| slot.tag);
        if !slots.is_empty() {
            state.shared.insert((audience, key_id), slots);
        }
    }
}

/// Whether somebody holds the secret of an epoch by what its author knew, who has no right to it now. `taken_out` is
/// what took devices out, for each.
fn is_tainted(
    state: &State,
    graph: &Graph,
    decided: &Decided,
    taken_out: &[Vec<Place>],
    audience: &Audience,
    epoch: Place,
) -> bool {
    let knows = |place: Place| graph.knew(epoch, place);
    let mut former = state.former.keys().map(|user| &decided.ledger[user]);
    if former.any(|events| !events.is_known_out(graph, knows)) {
        return true;
    }
    let mut devices = taken_out.iter();
    let lost = devices.any(|ends| !ends.iter().copied().any(knows));
    let Audience::Channel(channel) = audience else {
        return lost;
    };
    // Whoever doesn't see the channel now may hold the secret if they saw it then, or at any time since.
    let unknown = |place: Place| !knows(place);
    let may_have_seen = |user: &UserId| {
        let was_raised = |event: &Event| event.is_set() && unknown(event.place);
        let rights = &decided.rights;
        rights.is_view_changed(channel, user, unknown)
            || decided.ledger[user].all.iter().any(was_raised)
    };
    let mut outside = state
        .members
        .keys()
        .filter(|user| !state.is_in(audience, user));
    lost || outside.any(may_have_seen)
        || graph.nodes[epoch]
            .author
            .is_none_or(|by| !state.is_in(audience, &by))
}

/// What depends on who is gone, and on how invites were used.
fn gone(state: &mut State, graph: &Graph, decided: &Decided) {
    let knows = |act: &EnvelopeId, other: Place| {
        let place = graph.place(act).expect("the state names acts of the graph");
        graph.knew(place, other)
    };
    // Few are, and there may be many epochs.
    let devices = state.users.iter();
    let ends = devices.map(|(device, (user, _))| decided.ends_of(graph, user, device).collect());
    let taken_out: Vec<Vec<Place>> = ends.filter(|ends: &Vec<Place>| !ends.is_empty()).collect();
    let mut all = std::mem::take(&mut state.epochs);
    for (audience, epochs) in &mut all {
        for epoch in epochs.iter_mut() {
            let place = graph.place(&epoch.act);
            let place = place.expect("the state names acts of the graph");
            epoch.late = late(state, graph, decided, audience, place);
            epoch.tainted = is_tainted(state, graph, decided, &taken_out, audience, place)
                || !epoch.late.is_empty();
        }
        epochs.sort_unstable_by_key(|epoch| (epoch.generation, epoch.key_id, epoch.act));
    }
    state.epochs = all;
    let removals = decided.ledger.values().flat_map(|events| &events.all);
    let removals: Vec<Place> = removals
        .filter(|event| event.is_removal())
        .map(|event| event.place)
        .collect();
    // Whoever has a device that was taken out may hold a link, too.
    let is_end = |act: &Act| matches!(act, Act::RevokeDevice(_) | Act::Equivocation(_));
    let ends = decided.accepted.iter().copied();
    let ends = ends.filter(|place| is_end(graph.act(*place)));
    let removals: Vec<Place> = removals.into_iter().chain(ends).collect();
    for invite in state.invites.values_mut() {
        invite.stale = removals.iter().any(|end| !knows(&invite.act, *end));
    }
    for place in &decided.accepted {
        if let Act::Join(join) = graph.act(*place)
            && let Some(invite) = state.invites.get_mut(&join.invite)
        {
            invite.uses += 1;
        }
    }
}
