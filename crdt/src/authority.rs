//! Who may do what: the control graph of a revolt and what follows from it.
use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::{Audience, ChannelKind, Keep, Level, SetMember};
use revnet_protocol::epoch::BackLink;
use revnet_protocol::seal::HpkePublic;
use revnet_protocol::{
    Act, ChannelId, DeviceCert, DeviceId, EnvelopeId, Hlc, InviteId, KeyId, RevoltId,
    SignedGenesis, UserId,
};

#[derive(Clone, Debug)]
pub struct ActRecord {
    pub id: EnvelopeId,
    pub device: DeviceId,
    pub seq: u64,
    pub prev: EnvelopeId,
    pub heads: Vec<EnvelopeId>,
    pub hlc: Hlc,
    pub key_id: KeyId,
    pub act: Act,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    Added,
    Waiting,
    Known,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    Post,
    Moderate,
    ManageChannels,
    Invite,
    ManageMembers,
    Rotate,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub allowed: bool,
    pub user: Option<UserId>,
    pub level: Option<Level>,
    pub unknown_heads: bool,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    Device(DeviceId),
    Invite(InviteId),
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub level: Level,
    pub devices: BTreeMap<DeviceId, DeviceCert>,
    pub joined_by: Option<InviteId>,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerMember {
    pub name: String,
    pub devices: BTreeSet<DeviceId>,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    pub kind: ChannelKind,
    pub name: String,
    pub topic: String,
    pub category: String,
    pub position: u32,
    pub archived: bool,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteState {
    pub by: UserId,
    pub act: EnvelopeId,
    pub hpke: HpkePublic,
    pub expires_ms: Option<u64>,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub revoked: bool,
    pub stale: bool,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub generation: u64,
    pub key_id: KeyId,
    pub act: EnvelopeId,
    pub by: DeviceId,
    pub tainted: bool,
    pub back_links: Vec<BackLink>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub genesis: Option<SignedGenesis>,
    pub name: String,
    pub description: String,
    pub icon: Option<String>,
    pub members: BTreeMap<UserId, Member>,
    pub former: BTreeMap<UserId, FormerMember>,
    pub channels: BTreeMap<ChannelId, ChannelState>,
    pub invites: BTreeMap<InviteId, InviteState>,
    pub epochs: BTreeMap<Audience, Vec<Epoch>>,
    due: bool,
}
impl State {
    pub fn user_of(&self, device: &DeviceId) -> Option<(UserId, bool)> {
        self.members
            .iter()
            .find(|(_, m)| m.devices.contains_key(device))
            .map(|(u, _)| (*u, true))
            .or_else(|| {
                self.former
                    .iter()
                    .find(|(_, f)| f.devices.contains(device))
                    .map(|(u, _)| (*u, false))
            })
    }
    pub fn name_of(&self, user: &UserId) -> Option<&str> {
        self.members
            .get(user)
            .map(|m| m.name.as_str())
            .or_else(|| self.former.get(user).map(|f| f.name.as_str()))
    }
    pub fn sending_epoch(&self, audience: &Audience) -> Option<&Epoch> {
        self.epochs
            .get(audience)?
            .iter()
            .filter(|e| !e.tainted)
            .max_by_key(|e| (e.generation, e.key_id))
    }
    pub fn rotation_due(&self, _: &Audience) -> bool {
        self.due
    }
    pub fn recipients(&self) -> Vec<(Recipient, HpkePublic)> {
        let d = self
            .members
            .values()
            .flat_map(|m| m.devices.values())
            .map(|c| (Recipient::Device(c.device), c.hpke));
        let i = self
            .invites
            .iter()
            .filter(|(_, i)| !i.revoked && !i.stale)
            .map(|(id, i)| (Recipient::Invite(*id), i.hpke));
        d.chain(i).collect()
    }
    pub fn generation_after(&self, audience: &Audience) -> u64 {
        1 + self
            .epochs
            .get(audience)
            .into_iter()
            .flatten()
            .map(|e| e.generation)
            .max()
            .unwrap_or(0)
    }
}
#[derive(Debug)]
pub struct Authority {
    revolt: RevoltId,
    acts: BTreeMap<EnvelopeId, ActRecord>,
    depth: BTreeMap<EnvelopeId, u32>,
    waiting: BTreeMap<EnvelopeId, ActRecord>,
    state: State,
    past: BTreeMap<EnvelopeId, BTreeSet<EnvelopeId>>,
}
impl Authority {
    pub fn new(revolt: RevoltId) -> Self {
        Self {
            revolt,
            acts: BTreeMap::new(),
            depth: BTreeMap::new(),
            waiting: BTreeMap::new(),
            state: State::default(),
            past: BTreeMap::new(),
        }
    }
    fn deps(r: &ActRecord) -> Vec<EnvelopeId> {
        let mut d = r.heads.clone();
        if r.prev != EnvelopeId::default() {
            d.push(r.prev);
        }
        d
    }
    pub fn insert(&mut self, record: ActRecord) -> Insert {
        if self.acts.contains_key(&record.id) || self.waiting.contains_key(&record.id) {
            return Insert::Known;
        }
        let id = record.id;
        self.waiting.insert(id, record);
        let before = self.acts.len();
        loop {
            let ready: Vec<_> = self
                .waiting
                .values()
                .filter(|r| Self::deps(r).iter().all(|d| self.acts.contains_key(d)))
                .map(|r| r.id)
                .collect();
            if ready.is_empty() {
                break;
            }
            for r in ready {
                let rec = self.waiting.remove(&r).expect("just listed");
                let deps = Self::deps(&rec);
                let depth = deps.iter().map(|d| self.depth[d] + 1).max().unwrap_or(0);
                let mut past: BTreeSet<EnvelopeId> = deps.iter().copied().collect();
                for d in &deps {
                    past.extend(self.past[d].iter().copied());
                }
                self.past.insert(r, past);
                self.depth.insert(r, depth);
                self.acts.insert(r, rec);
            }
        }
        if self.acts.len() > before {
            self.reduce();
        }
        if self.acts.contains_key(&id) {
            Insert::Added
        } else {
            Insert::Waiting
        }
    }
    pub fn contains(&self, id: &EnvelopeId) -> bool {
        self.acts.contains_key(id)
    }
    pub fn hlc_of(&self, id: &EnvelopeId) -> Option<Hlc> {
        self.acts.get(id).map(|a| a.hlc)
    }
    pub fn heads(&self) -> Vec<EnvelopeId> {
        let cited: BTreeSet<_> = self.acts.values().flat_map(Self::deps).collect();
        let mut h: Vec<_> = self
            .acts
            .keys()
            .filter(|i| !cited.contains(*i))
            .map(|i| (self.depth[i], *i))
            .collect();
        h.sort_unstable();
        h.into_iter().rev().take(4).map(|x| x.1).collect()
    }
    pub fn state(&self) -> &State {
        &self.state
    }
    pub fn newest_hlc(&self) -> Hlc {
        self.acts.values().map(|a| a.hlc).max().unwrap_or_default()
    }
    pub fn joins_by(&self, invite: &InviteId) -> Keep {
        Keep(
            self.acts
                .values()
                .filter(|r| matches!(&r.act, Act::Join(j) if j.invite == *invite))
                .map(|r| (r.device, r.seq, r.id))
                .collect(),
        )
    }
    pub fn judge(
        &self,
        device: &DeviceId,
        heads: &[EnvelopeId],
        _hlc: Hlc,
        wish: Wish,
    ) -> Judgement {
        let unknown = heads.iter().any(|h| !self.acts.contains_key(h));
        let found = self.state.user_of(device);
        let user = found.map(|f| f.0);
        let level = user
            .and_then(|u| self.state.members.get(&u))
            .map(|m| m.level);
        let need = if matches!(wish, Wish::Post | Wish::Rotate) {
            Level::MEMBER
        } else {
            Level::ADMIN
        };
        // A former member's words count where the removal was not known.
        let was = matches!(wish, Wish::Post) && found.is_some();
        Judgement {
            allowed: !unknown && (level.is_some_and(|l| l >= need) || was),
            user,
            level,
            unknown_heads: unknown,
        }
    }
    fn reduce(&mut self) {
        let mut order: Vec<_> = self
            .acts
            .values()
            .map(|a| (self.depth[&a.id], a.id))
            .collect();
        order.sort_unstable();
        let mut s = State::default();
        let mut removals: Vec<EnvelopeId> = vec![];
        for (_, id) in order {
            let r = &self.acts[&id];
            let user = s.user_of(&r.device).filter(|u| u.1).map(|u| u.0);
            let level = user.and_then(|u| s.members.get(&u)).map(|m| m.level);
            let admin = level.is_some_and(|l| l >= Level::ADMIN);
            match &r.act {
                Act::Create {
                    genesis,
                    cert,
                    name,
                } if s.genesis.is_none()
                    && genesis.revolt() == self.revolt
                    && genesis.is_signed()
                    && cert.verify().is_ok()
                    && cert.device == r.device
                    && genesis.genesis.device == r.device =>
                {
                    s.members.insert(
                        cert.user,
                        Member {
                            name: name.clone(),
                            level: Level::FOUNDER,
                            devices: [(cert.device, cert.clone())].into(),
                            joined_by: None,
                        },
                    );
                    s.genesis = Some(genesis.clone());
                }
                Act::Settings(x) if admin => {
                    if let Some(n) = &x.name {
                        s.name.clone_from(n);
                    }
                    if let Some(n) = &x.description {
                        s.description.clone_from(n);
                    }
                    if x.icon.is_some() {
                        s.icon.clone_from(&x.icon);
                    }
                }
                Act::Invite(i) if admin => {
                    s.invites.insert(
                        i.invite,
                        InviteState {
                            by: user.expect("admin"),
                            act: id,
                            hpke: i.hpke,
                            expires_ms: i.expires_ms,
                            max_uses: i.max_uses,
                            uses: 0,
                            revoked: false,
                            stale: false,
                        },
                    );
                }
                Act::RevokeInvite { invite, .. } if admin => {
                    if let Some(i) = s.invites.get_mut(invite) {
                        i.revoked = true;
                    }
                }
                Act::Join(j)
                    if j.cert.device == r.device
                        && j.is_sound(&self.revolt)
                        && !s.members.contains_key(&j.cert.user)
                        && !s.former.contains_key(&j.cert.user) =>
                {
                    if let Some(i) = s.invites.get_mut(&j.invite) {
                        i.uses += 1;
                        s.members.insert(
                            j.cert.user,
                            Member {
                                name: j.name.clone(),
                                level: Level::MEMBER,
                                devices: [(r.device, j.cert.clone())].into(),
                                joined_by: Some(j.invite),
                            },
                        );
                    }
                }
                Act::Leave => {
                    if let Some(u) = user {
                        Self::out(&mut s, u);
                        removals.push(id);
                    }
                }
                Act::SetMember(SetMember {
                    user: target,
                    level: l,
                    ..
                }) if admin => {
                    let t = s.members.get(target).map(|m| m.level);
                    if t.is_some_and(|t| Some(t) < level) && l.is_none_or(|l| Some(l) < level) {
                        match l {
                            Some(l) => s.members.get_mut(target).expect("member").level = *l,
                            None => {
                                Self::out(&mut s, *target);
                                removals.push(id);
                            }
                        }
                    }
                }
                Act::Channel(c) if admin => {
                    let cid = c.channel.unwrap_or(id.into());
                    if c.channel.is_none() {
                        s.channels.insert(
                            cid,
                            ChannelState {
                                kind: c.kind,
                                name: String::new(),
                                topic: String::new(),
                                category: String::new(),
                                position: 0,
                                archived: false,
                            },
                        );
                    }
                    if let Some(ch) = s.channels.get_mut(&cid) {
                        if let Some(x) = &c.name {
                            ch.name.clone_from(x);
                        }
                        if let Some(x) = &c.topic {
                            ch.topic.clone_from(x);
                        }
                        if let Some(x) = &c.category {
                            ch.category.clone_from(x);
                        }
                        if let Some(x) = c.position {
                            ch.position = x;
                        }
                        if let Some(x) = c.archived {
                            ch.archived = x;
                        }
                    }
                }
                Act::Profile { name } => {
                    if let Some(u) = user {
                        s.members.get_mut(&u).expect("member").name.clone_from(name);
                    }
                }
                Act::KeyRotate(k) if level.is_some() => {
                    s.epochs.entry(k.audience).or_default().push(Epoch {
                        generation: k.generation,
                        key_id: k.key_id,
                        act: id,
                        by: r.device,
                        tainted: false,
                        back_links: k.back_links.clone(),
                    });
                }
                _ => {}
            }
        }
        for e in s.epochs.values_mut().flatten() {
            e.tainted = removals.iter().any(|x| !self.past[&e.act].contains(x));
        }
        s.due = !removals.is_empty()
            && s.epochs
                .get(&Audience::Revolt)
                .is_none_or(|e| e.iter().all(|e| e.tainted));
        for i in s.invites.values_mut() {
            i.stale = removals.iter().any(|x| !self.past[&i.act].contains(x));
        }
        self.state = s;
    }
    fn out(s: &mut State, u: UserId) {
        if let Some(m) = s.members.remove(&u) {
            s.former.insert(
                u,
                FormerMember {
                    name: m.name,
                    devices: m.devices.keys().copied().collect(),
                },
            );
        }
    }
}
