//! Who may do what, in a large revolt: replaying its acts, judging its messages, changing its secret.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use revnet_crdt::authority::{ActRecord, Authority, Wish};
use revnet_protocol::act::{
    Audience, Channel, ChannelKind, Genesis, Invite, Join, KeyRotate, Level, SetMember,
    SignedGenesis,
};
use revnet_protocol::epoch::{EpochSecret, seal_slots};
use revnet_protocol::hash::hash;
use revnet_protocol::role::{Grant, Role};
use revnet_protocol::seal::HpkeSecret;
use revnet_protocol::{
    Act, ChannelId, DeviceCert, DeviceId, DeviceKeys, EnvelopeId, Hash, Hlc, InviteSecret, KeyId,
    Permission, Permissions, RevoltId, RoleId, RootKey, encode,
};

use crate::Setting;
use crate::report::{Figure, Yardstick};
use crate::samples::ms;

/// People besides the founder.
const PEOPLE: usize = 500;
/// Devices that a secret is changed for.
const DEVICES: [(&str, &str, &str, usize); 4] = [
    ("rotate_10", "rotate_10_bytes", "open_slot_of_10", 10),
    ("rotate_100", "rotate_100_bytes", "open_slot_of_100", 100),
    ("rotate_1k", "rotate_1k_bytes", "open_slot_of_1k", 1_000),
    ("rotate_10k", "rotate_10k_bytes", "open_slot_of_10k", 10_000),
];

/// The acts of a revolt, one after the other, with two branches now and then.
struct Acts {
    revolt: RevoltId,
    certs: Vec<DeviceCert>,
    records: Vec<ActRecord>,
    last: Vec<(EnvelopeId, u64)>,
    moderator: RoleId,
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let (acts, messages) = if setting.quick {
        (1_000, 10_000)
    } else {
        (10_000, 100_000)
    };
    let mut world = Acts::new(acts)?;
    let mut figures = replay(&world)?;
    figures.extend(one_more(&mut world)?);
    figures.extend(verdicts(&mut world, messages)?);
    for (rotate, bytes, open, devices) in DEVICES {
        if !setting.quick || devices <= 100 {
            figures.extend(rotation(rotate, bytes, open, devices)?);
        }
    }
    Ok(figures)
}

impl Acts {
    fn new(count: usize) -> Result<Self> {
        let people = PEOPLE.min(count / 4);
        let keys = |of: usize| DeviceKeys::from_seed(seed(2, of));
        let cert = |of: usize| RootKey::from_seed(seed(1, of)).certify(&keys(of), "bench", 0);
        let certs: Vec<DeviceCert> = (0..=people).map(cert).collect();
        let genesis = Genesis {
            founder: certs[0].user,
            device: certs[0].device,
            nonce: [7; 32],
            created_ms: 1,
        };
        let genesis = SignedGenesis::sign(genesis, &keys(0));
        let mut acts = Self {
            revolt: genesis.revolt(),
            last: vec![Default::default(); certs.len()],
            certs,
            records: Vec::new(),
            moderator: RoleId::EVERYONE,
        };
        acts.write(
            0,
            Act::Create {
                genesis,
                cert: acts.certs[0].clone(),
                name: "founder".into(),
            },
        );
        acts.people(people);
        acts.talk(count);
        ensure!(acts.records.len() == count, "all acts are written");
        Ok(acts)
    }

    fn people(&mut self, people: usize) {
        let invite = InviteSecret::from_seed(seed(3, 0));
        self.write(
            0,
            Act::Invite(Invite {
                invite: invite.id(),
                hpke: invite.hpke_public(),
                expires_ms: None,
                max_uses: None,
            }),
        );
        for person in 1..=people {
            let cert = self.certs[person].clone();
            let proof = invite.sign(&Join::digest(&self.revolt, &cert));
            self.write(
                person,
                Act::Join(Join {
                    cert,
                    name: format!("person {person}"),
                    invite: invite.id(),
                    proof,
                }),
            );
        }
        let role = Act::Role(Role {
            name: Some("moderator".into()),
            position: Some(Level(100)),
            permissions: Some(Permissions::DEFAULT | Permission::ManageChannels.into()),
            ..Role::default()
        });
        self.moderator = self.write(0, role).into();
    }

    /// Levels, roles, channels, names and secrets, as they come.
    fn talk(&mut self, count: usize) {
        let people = self.certs.len() - 1;
        let mut generation = 0;
        while self.records.len() < count {
            let number = self.records.len();
            let person = 1 + number * 7 % people;
            let user = self.certs[person].user;
            let (by, act) = match number % 10 {
                0 => (
                    0,
                    Act::SetMember(SetMember {
                        user,
                        level: Some(Level(u16::try_from(number % 400).expect("small"))),
                        keep: None,
                    }),
                ),
                1 | 2 => (
                    0,
                    Act::Grant(Grant {
                        user,
                        role: self.moderator,
                        on: number % 20 != 1,
                    }),
                ),
                3 | 4 => (person, Act::Channel(channel(number))),
                5 => {
                    generation += 1;
                    (
                        person,
                        Act::KeyRotate(KeyRotate {
                            audience: Audience::Revolt,
                            generation,
                            key_id: KeyId(hash("bench", &[&number.to_le_bytes()]).0),
                            commitment: Hash::default(),
                            back_links: Vec::new(),
                        }),
                    )
                }
                _ => (
                    person,
                    Act::Profile {
                        name: format!("name {number}"),
                    },
                ),
            };
            self.write(by, act);
        }
    }

    /// Cites the two newest acts.
    fn write(&mut self, by: usize, act: Act) -> EnvelopeId {
        let number = self.records.len();
        let id = EnvelopeId(hash("bench/act", &[&number.to_le_bytes()]).0);
        let newest = self.records.iter().rev().take(2);
        let (prev, seq) = self.last[by];
        self.records.push(ActRecord {
            id,
            device: self.certs[by].device,
            seq: seq + 1,
            prev,
            heads: newest.map(|record| record.id).collect(),
            hlc: stamp(number),
            key_id: match &act {
                Act::KeyRotate(rotate) => rotate.key_id,
                _ => KeyId::default(),
            },
            act,
        });
        self.last[by] = (id, seq + 1);
        id
    }

    fn authority(&self) -> Authority {
        let mut authority = Authority::new(self.revolt);
        authority.insert_all(self.records.iter().cloned());
        authority
    }
}

fn seed(kind: u8, of: usize) -> [u8; 32] {
    hash("bench/seed", &[&[kind], &of.to_le_bytes()]).0
}

fn stamp(number: usize) -> Hlc {
    Hlc {
        ms: 1_000 + 10 * number as u64,
        counter: 0,
    }
}

fn channel(number: usize) -> Channel {
    Channel {
        channel: None,
        kind: ChannelKind::Text,
        name: Some(format!("channel {number}")),
        topic: None,
        category: None,
        position: None,
        archived: None,
    }
}

fn replay(world: &Acts) -> Result<Vec<Figure>> {
    let started = Instant::now();
    let bytes: usize = world
        .records
        .iter()
        .map(|record| encode(&record.act).len())
        .sum();
    let bare = ms(started.elapsed());
    let started = Instant::now();
    let authority = world.authority();
    let inserted = ms(started.elapsed());
    let started = Instant::now();
    let members = authority.state().members.len();
    let decided = ms(started.elapsed());
    let counting = authority
        .verdicts()
        .iter()
        .filter(|(_, verdict)| verdict.counts())
        .count();
    ensure!(members == world.certs.len(), "everybody is in");
    let acts = world.records.len();
    let note = format!(
        "{acts} acts of {members} members in {:.1} MB, {counting} count; inserting them with signatures of joins {inserted:.0} ms, deciding {decided:.0} ms",
        bytes as f64 / 1e6
    );
    let encoding = Yardstick::new("encoding the same acts", bare, "ms");
    Ok(vec![
        Figure::new("acts_replayed", inserted + decided, "ms")
            .beside(encoding)
            .note(note),
    ])
}

fn one_more(world: &mut Acts) -> Result<Vec<Figure>> {
    let mut authority = world.authority();
    let _ = authority.state();
    let count = 20;
    let started = Instant::now();
    for number in 0..count {
        let name = format!("newest {number}");
        world.write(1, Act::Profile { name });
        let record = world.records.last().context("just written")?.clone();
        authority.insert(record);
        let _ = authority.state();
    }
    let each = ms(started.elapsed()) / f64::from(count);
    Ok(vec![Figure::new("one_more_act", each, "ms").note(format!(
        "the state after each of {count} acts, upon {}",
        world.records.len() - count as usize
    ))])
}

fn verdicts(world: &mut Acts, messages: usize) -> Result<Vec<Figure>> {
    let change = Act::Role(Role {
        role: Some(world.moderator),
        permissions: Some(Permissions::DEFAULT),
        ..Role::default()
    });
    world.write(0, change);
    let authority = world.authority();
    let _ = authority.state();
    let wish = Wish::Say(Permission::Send, ChannelId::default());
    let acts = world.records.len();
    let started = Instant::now();
    let mut shown = 0;
    for number in 0..messages {
        let device: &DeviceId = &world.certs[number % world.certs.len()].device;
        // As people write: what they cite moves on slowly.
        let at = PEOPLE.min(acts / 2) + number * (acts / 2) / messages;
        let judged = authority.judge(device, &[world.records[at].id], stamp(at + 1), wish);
        shown += usize::from(judged.allowed);
    }
    let took = ms(started.elapsed());
    ensure!(shown > messages / 2, "members may speak");
    Ok(vec![Figure::new("messages_judged", took, "ms").note(
        format!("{messages} messages after a change of a role, {acts} acts; {shown} are shown"),
    )])
}

fn rotation(
    rotate: &'static str,
    size: &'static str,
    open: &'static str,
    devices: usize,
) -> Result<Vec<Figure>> {
    let keys: Vec<HpkeSecret> = (0..devices)
        .map(|of| HpkeSecret::derive(&seed(4, of)))
        .collect();
    let publics: Vec<_> = keys.iter().map(HpkeSecret::public).collect();
    let (revolt, secret) = (RevoltId([1; 32]), EpochSecret::new([2; 32]));
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let started = Instant::now();
    let chunks = seal_slots(&secret, &revolt, &publics, &mut rng);
    let sealed = ms(started.elapsed());
    let bytes: usize = chunks.iter().map(|chunk| encode(chunk).len()).sum();
    let last = keys.last().context("there are some")?;
    let started = Instant::now();
    let opened = chunks.iter().find_map(|chunk| chunk.open(&revolt, last));
    let took = ms(started.elapsed());
    ensure!(opened == Some(secret), "the last one reads it");
    Ok(vec![
        Figure::new(rotate, sealed, "ms").note(format!("a new secret for {devices} devices")),
        Figure::new(size, bytes as f64 / 1e3, "kB"),
        Figure::new(open, took, "ms").note("the last of them finds and opens its own"),
    ])
}
