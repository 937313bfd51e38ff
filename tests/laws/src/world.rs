//! Acts of a few people, written honestly or not.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Mutex, OnceLock};

use revnet_crdt::authority::{ActRecord, Authority, State, Verdict};
use revnet_protocol::act::{Audience, Channel, Genesis, Invite, Join, KeyRotate, SetMember};
use revnet_protocol::act::{ChannelKind, Keep, Level, Settings, SignedGenesis};
use revnet_protocol::envelope::Header;
use revnet_protocol::hash::hash;
use revnet_protocol::proof::{Equivocation, SignedHeaders};
use revnet_protocol::role::{Ban, Grant, Overwrite, Role, Target, Timeout};
use revnet_protocol::{
    Act, ChannelId, DeviceCert, DeviceId, DeviceKeys, EnvelopeId, Hash, Hlc, InviteId,
    InviteSecret, KeyId, Permission, Permissions, RevoltId, RoleId, RootKey, StreamId, UserId,
};

/// How many people there are.
pub(crate) const PEOPLE: usize = 9;
/// How many invites can be made.
pub(crate) const INVITES: usize = 40;
/// The founder.
pub(crate) const FOUNDER: usize = 0;

/// Keys, made once: signing takes most of the time of these tests.
pub(crate) struct Cast {
    pub(crate) revolt: RevoltId,
    pub(crate) genesis: SignedGenesis,
    /// Two devices of each person.
    pub(crate) certs: Vec<[DeviceCert; 2]>,
    pub(crate) invites: Vec<InviteSecret>,
}

pub(crate) fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(|| {
        let mut certs = Vec::new();
        for person in 0..PEOPLE {
            let root = root(person);
            certs.push([2, 3].map(|kind| {
                root.certify(&DeviceKeys::from_seed(key_seed(kind, person)), "test", 0)
            }));
        }
        let genesis = Genesis {
            founder: certs[FOUNDER][0].user,
            device: certs[FOUNDER][0].device,
            nonce: [9; 32],
            created_ms: 1,
        };
        let genesis = SignedGenesis::sign(genesis, &DeviceKeys::from_seed(key_seed(2, FOUNDER)));
        Cast {
            revolt: genesis.revolt(),
            genesis,
            certs,
            invites: (0..INVITES)
                .map(|of| InviteSecret::from_seed(key_seed(4, of)))
                .collect(),
        }
    })
}

pub(crate) fn key_seed(kind: u8, of: usize) -> [u8; 32] {
    let pattern = [kind, u8::try_from(of).expect("a few"), 7].repeat(11);
    pattern[..32].try_into().expect("33 bytes")
}

pub(crate) fn root(person: usize) -> RootKey {
    RootKey::from_seed(key_seed(1, person))
}

pub(crate) fn user(person: usize) -> UserId {
    cast().certs[person][0].user
}

pub(crate) fn device(person: usize) -> DeviceId {
    cast().certs[person][0].device
}

/// The person's second device.
pub(crate) fn second(person: usize) -> DeviceId {
    cast().certs[person][1].device
}

pub(crate) fn invite_id(invite: usize) -> InviteId {
    cast().invites[invite].id()
}

/// A graph under construction. Every act gets an id that depends on the world's seed and its number.
#[derive(Clone)]
pub(crate) struct World {
    seed: u64,
    pub(crate) acts: Vec<ActRecord>,
    /// Everything that an act's author knew.
    past: BTreeMap<EnvelopeId, BTreeSet<EnvelopeId>>,
    /// The last act of each device.
    last: BTreeMap<DeviceId, (EnvelopeId, u64)>,
    pub(crate) invites: usize,
    /// The authority of its first acts. Checking signatures takes most of the time of these tests.
    checked: Option<Rc<Authority>>,
}

impl World {
    /// With a founder and nobody else.
    pub(crate) fn new(seed: u64) -> (Self, EnvelopeId) {
        let mut world = Self {
            seed,
            acts: Vec::new(),
            past: BTreeMap::new(),
            last: BTreeMap::new(),
            invites: 0,
            checked: None,
        };
        let create = Act::Create {
            genesis: cast().genesis.clone(),
            cert: cast().certs[FOUNDER][0].clone(),
            name: "founder".into(),
        };
        let id = world.write(FOUNDER, &[], create);
        (world, id)
    }

    /// With a founder, whose invite number 0 `joiners` joined, and admins among them whom the founder made.
    /// Says what knows it all.
    pub(crate) fn with(
        seed: u64,
        joiners: &[usize],
        admins: &[(usize, u16)],
    ) -> (Self, EnvelopeId) {
        let (mut world, mut head) = Self::new(seed);
        let number = world.next_invite();
        head = world.write(FOUNDER, &[head], invite(number));
        for person in joiners {
            head = world.write(*person, &[head], join(*person, number));
        }
        for (person, level) in admins {
            head = world.write(FOUNDER, &[head], set(*person, Some(*level)));
        }
        (world, head)
    }

    pub(crate) fn next_invite(&mut self) -> usize {
        self.invites += 1;
        self.invites - 1
    }

    /// An act that follows the person's last one.
    pub(crate) fn write(&mut self, person: usize, heads: &[EnvelopeId], act: Act) -> EnvelopeId {
        self.write_on(device(person), heads, act)
    }

    pub(crate) fn write_on(&mut self, by: DeviceId, heads: &[EnvelopeId], act: Act) -> EnvelopeId {
        let (prev, seq) = self.last.get(&by).copied().unwrap_or_default();
        let id = self.add(by, prev, seq + 1, heads, act);
        self.last.insert(by, (id, seq + 1));
        id
    }

    /// Like [`World::write`] in a world too large to keep every act's past.
    pub(crate) fn write_lean(&mut self, person: usize, head: EnvelopeId, act: Act) -> EnvelopeId {
        let id = self.write(person, &[head], act);
        self.past.insert(id, BTreeSet::new());
        id
    }

    /// An act that follows `prev`, an act of the same device or none, whatever else was written since.
    pub(crate) fn fork(
        &mut self,
        person: usize,
        prev: Option<EnvelopeId>,
        heads: &[EnvelopeId],
        act: Act,
    ) -> EnvelopeId {
        let of = |id: EnvelopeId| self.acts.iter().find(|act| act.id == id).map(|act| act.seq);
        let seq = prev.and_then(of).unwrap_or_default();
        self.add(
            device(person),
            prev.unwrap_or_default(),
            seq + 1,
            heads,
            act,
        )
    }

    /// A first act of a device, whatever else it wrote.
    pub(crate) fn carry(&mut self, by: DeviceId, heads: &[EnvelopeId], act: Act) {
        self.add(by, EnvelopeId::default(), 1, heads, act);
    }

    /// The second act of a device, after one that was carried.
    pub(crate) fn carry_after(&mut self, by: DeviceId, prev: EnvelopeId, act: Act) {
        self.add(by, prev, 2, &[], act);
    }

    fn add(
        &mut self,
        by: DeviceId,
        prev: EnvelopeId,
        seq: u64,
        heads: &[EnvelopeId],
        act: Act,
    ) -> EnvelopeId {
        let number = self.acts.len() as u64;
        let parts = [self.seed.to_le_bytes(), number.to_le_bytes()];
        let id = EnvelopeId(hash("revnet/v1/test", &[&parts[0], &parts[1]]).0);
        let mut past = BTreeSet::new();
        for dep in heads.iter().chain([&prev]) {
            if let Some(earlier) = self.past.get(dep) {
                past.extend(earlier);
                past.insert(*dep);
            }
        }
        self.past.insert(id, past);
        self.acts.push(ActRecord {
            id,
            device: by,
            seq,
            prev,
            heads: heads.to_vec(),
            hlc: Hlc {
                ms: 1000 + 10 * number,
                counter: 0,
            },
            key_id: sealed_with(&act),
            act,
        });
        id
    }

    /// Whether the author of `later` knew `earlier`.
    pub(crate) fn knew(&self, later: &EnvelopeId, earlier: &EnvelopeId) -> bool {
        self.past[later].contains(earlier)
    }

    /// What the author of an act with those heads knows.
    pub(crate) fn known_from(&self, heads: &[EnvelopeId]) -> BTreeSet<EnvelopeId> {
        let pasts = heads.iter().flat_map(|head| self.past[head].iter());
        pasts.chain(heads).copied().collect()
    }

    /// The person's last act.
    pub(crate) fn last_of(&self, person: usize) -> EnvelopeId {
        self.last
            .get(&device(person))
            .copied()
            .unwrap_or_default()
            .0
    }

    /// A person's first act, as a place to keep.
    pub(crate) fn first_of(&self, person: usize) -> Option<(u64, EnvelopeId)> {
        let by = device(person);
        let mut acts = self.acts.iter();
        let first = acts.find(|act| act.device == by && act.seq == 1)?;
        Some((1, first.id))
    }

    /// Takes a person's first device back, which is to keep all that it wrote.
    pub(crate) fn retire(&self, person: usize) -> Act {
        let last = self.last.get(&device(person));
        revoke_device(person, last.map(|(id, seq)| (*seq, *id)))
    }

    /// All acts that no other cites.
    pub(crate) fn tips(&self) -> Vec<EnvelopeId> {
        let cited: BTreeSet<_> = self.past.values().flatten().collect();
        let ids = self.acts.iter().map(|act| act.id);
        ids.filter(|id| !cited.contains(id)).collect()
    }

    pub(crate) fn authority(&self) -> Authority {
        let fresh = || Authority::new(cast().revolt);
        let mut authority = self.checked.as_deref().map_or_else(fresh, Authority::clone);
        authority.insert_all(self.acts.iter().cloned());
        authority
    }

    /// Checks the signatures of what is here for all that follow.
    pub(crate) fn check(&mut self) {
        self.checked = Some(Rc::new(self.authority()));
    }

    /// The authority of this world, from that of one that it continues: signatures are checked once.
    pub(crate) fn after(&self, base: &Authority) -> Authority {
        let mut authority = base.clone();
        authority.insert_all(self.acts.iter().cloned());
        authority
    }

    pub(crate) fn state(&self) -> State {
        self.authority().state().clone()
    }

    pub(crate) fn verdicts(&self) -> BTreeMap<EnvelopeId, Verdict> {
        self.authority().verdicts().into_iter().collect()
    }

    pub(crate) fn counts(&self, id: &EnvelopeId) -> bool {
        self.verdicts()[id].counts()
    }

    /// The last place in a person's chain, for a cut.
    pub(crate) fn position(&self, id: &EnvelopeId) -> (DeviceId, u64, EnvelopeId) {
        let act = self.acts.iter().find(|act| act.id == *id).expect("written");
        (act.device, act.seq, act.id)
    }
}

pub(crate) fn level(state: &State, person: usize) -> Option<u16> {
    state
        .members
        .get(&user(person))
        .map(|member| member.level.0)
}

pub(crate) fn invite(number: usize) -> Act {
    Act::Invite(Invite {
        invite: invite_id(number),
        hpke: cast().invites[number].hpke_public(),
        expires_ms: None,
        max_uses: None,
    })
}

pub(crate) fn join(person: usize, number: usize) -> Act {
    join_with(person, 0, number)
}

/// A join by the person's first or second device.
pub(crate) fn join_with(person: usize, which: usize, number: usize) -> Act {
    static MADE: Mutex<BTreeMap<(usize, usize, usize), Join>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().expect("nobody panics while holding it");
    let join = made.entry((person, which, number)).or_insert_with(|| {
        let cert = cast().certs[person][which].clone();
        let proof = cast().invites[number].sign(&Join::digest(&cast().revolt, &cert));
        Join {
            cert,
            name: format!("person {person}"),
            invite: invite_id(number),
            proof,
        }
    });
    Act::Join(join.clone())
}

pub(crate) fn confirm(joins: &[EnvelopeId]) -> Act {
    let joins = joins.to_vec();
    Act::Confirm { joins }
}

pub(crate) fn revoke(number: usize, keep: &[(DeviceId, u64, EnvelopeId)]) -> Act {
    Act::RevokeInvite {
        invite: invite_id(number),
        keep: Keep(keep.to_vec()),
    }
}

pub(crate) fn set(person: usize, level: Option<u16>) -> Act {
    Act::SetMember(SetMember {
        user: user(person),
        level: level.map(Level),
        keep: None,
    })
}

pub(crate) fn set_keeping(
    person: usize,
    level: Option<u16>,
    keep: &[(DeviceId, u64, EnvelopeId)],
) -> Act {
    Act::SetMember(SetMember {
        user: user(person),
        level: level.map(Level),
        keep: Some(Keep(keep.to_vec())),
    })
}

pub(crate) fn channel(name: &str) -> Act {
    Act::Channel(Channel {
        channel: None,
        kind: ChannelKind::Text,
        name: Some(name.into()),
        topic: None,
        category: None,
        position: None,
        archived: None,
    })
}

pub(crate) fn change_channel(made: EnvelopeId, name: Option<&str>, archived: Option<bool>) -> Act {
    Act::Channel(Channel {
        channel: Some(ChannelId::from(made)),
        kind: ChannelKind::Text,
        name: name.map(Into::into),
        topic: None,
        category: None,
        position: None,
        archived,
    })
}

pub(crate) fn settings(name: &str) -> Act {
    Act::Settings(Settings {
        name: Some(name.into()),
        ..Settings::default()
    })
}

pub(crate) fn profile(name: &str) -> Act {
    Act::Profile { name: name.into() }
}

/// The secret of an act's envelope, as far as it matters: a rotation is announced under the secret that it announces.
fn sealed_with(act: &Act) -> KeyId {
    match act {
        Act::KeyRotate(rotate) => rotate.key_id,
        _ => KeyId::default(),
    }
}

pub(crate) fn rotate(generation: u64, key: u8) -> Act {
    Act::KeyRotate(KeyRotate {
        audience: Audience::Revolt,
        generation,
        key_id: KeyId([key; 32]),
        commitment: Hash::default(),
        back_links: Vec::new(),
    })
}

pub(crate) fn role(name: &str, position: u16, permissions: &[Permission]) -> Act {
    role_with(name, position, permissions.iter().copied().collect())
}

pub(crate) fn role_with(name: &str, position: u16, permissions: Permissions) -> Act {
    Act::Role(Role {
        name: Some(name.into()),
        position: Some(Level(position)),
        permissions: Some(permissions),
        ..Role::default()
    })
}

pub(crate) fn role_removal(role: EnvelopeId, removed: bool) -> Act {
    Act::Role(Role {
        role: Some(role.into()),
        removed: Some(removed),
        ..Role::default()
    })
}

/// Changes what a role allows.
pub(crate) fn allow(role: RoleId, permissions: Permissions) -> Act {
    Act::Role(Role {
        role: Some(role),
        permissions: Some(permissions),
        ..Role::default()
    })
}

pub(crate) fn grant(person: usize, role: EnvelopeId, on: bool) -> Act {
    Act::Grant(Grant {
        user: user(person),
        role: role.into(),
        on,
    })
}

pub(crate) fn overwrite(
    channel: EnvelopeId,
    target: Target,
    allow: Permissions,
    deny: Permissions,
) -> Act {
    Act::Overwrite(Overwrite {
        channel: channel.into(),
        target,
        allow,
        deny,
    })
}

pub(crate) fn ban(person: usize, on: bool) -> Act {
    Act::Ban(Ban {
        user: user(person),
        on,
        keep: None,
    })
}

pub(crate) fn timeout(person: usize, until_ms: Option<u64>) -> Act {
    Act::Timeout(Timeout {
        user: user(person),
        until_ms,
    })
}

/// Proves that a person's first device signed two histories, from its first act on.
pub(crate) fn equivocation(person: usize) -> Act {
    static MADE: Mutex<BTreeMap<usize, Act>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().expect("no test panics with it");
    let proof = made.entry(person);
    proof
        .or_insert_with(|| equivocation_at(person, None, 1, &[]))
        .clone()
}

/// The same from an act, or an envelope in a channel, on whose header cites `heads`.
pub(crate) fn equivocation_at(
    person: usize,
    channel: Option<ChannelId>,
    seq: u64,
    heads: &[EnvelopeId],
) -> Act {
    let keys = DeviceKeys::from_seed(key_seed(2, person));
    let revolt = &cast().revolt;
    let stream = channel.map_or(StreamId::control(revolt), |channel| {
        StreamId::channel(revolt, &channel)
    });
    let signed = |nonce: u8| {
        let header = Header {
            stream,
            device: keys.id(),
            seq,
            prev: EnvelopeId::default(),
            seg: 0,
            seg_seq: 1,
            control_heads: heads.to_vec(),
            key_id: KeyId::default(),
            nonce: [nonce; 24],
            change_hash: Hash::default(),
            body_hash: None,
        };
        let signature = keys.sign(&header.id().0);
        SignedHeaders {
            headers: vec![header],
            signature,
        }
    };
    Act::Equivocation(Box::new(Equivocation {
        channel,
        first: signed(1),
        second: signed(2),
    }))
}

/// The person's root key takes their second device back, and what it wrote after `keep`.
pub(crate) fn revoke_second(person: usize, keep: Option<(u64, EnvelopeId)>) -> Act {
    Act::RevokeDevice(root(person).revoke(second(person), keep))
}

/// The person's root key takes their first device back, and what it wrote after `keep`.
pub(crate) fn revoke_device(person: usize, keep: Option<(u64, EnvelopeId)>) -> Act {
    Act::RevokeDevice(root(person).revoke(device(person), keep))
}
