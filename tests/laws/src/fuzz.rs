//! Schedules from a seed: people who join, grant, remove and write, some honestly, some backdated, forked
//! or aimed at whoever removed them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use revnet_crdt::authority::mutant::{self, Mutant};
use revnet_protocol::act::Audience;
use revnet_protocol::role::Target;
use revnet_protocol::{Act, EnvelopeId, Permission, Permissions, RoleId};

use crate::world::{
    FOUNDER, INVITES, PEOPLE, World, allow, ban, change_channel, channel, confirm, device,
    equivocation, grant, invite, join, join_with, overwrite, profile, revoke, revoke_device,
    role_removal, role_with, rotate, second, set, set_keeping, settings, timeout, user,
};

/// Splitmix64.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}

const LEVELS: [Option<u16>; 11] = [
    None,
    None,
    None,
    Some(0),
    Some(100),
    Some(300),
    Some(400),
    Some(500),
    Some(600),
    Some(800),
    Some(1000),
];

/// A world, and what each person has heard.
#[derive(Clone)]
pub(crate) struct Schedule {
    pub(crate) world: World,
    pub(crate) dice: Dice,
    heard: Vec<Vec<EnvelopeId>>,
}

thread_local! {
    /// The last one: all laws are tried on a schedule before the next.
    static LAST: RefCell<Option<(u64, Option<Mutant>, Schedule)>> = const { RefCell::new(None) };
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        let fault = mutant::active();
        LAST.with_borrow_mut(|last| match last {
            Some((of, under, made)) if (*of, *under) == (seed, fault) => made.clone(),
            _ => {
                let mut made = Self::make(seed);
                made.world.check();
                last.insert((seed, fault, made)).2.clone()
            }
        })
    }

    fn make(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let joiners: Vec<usize> = (1..PEOPLE).filter(|_| dice.chance(75)).collect();
        let mut admins = Vec::new();
        for person in &joiners {
            if dice.chance(50) {
                admins.push((*person, dice.pick(&[500, 500, 600, 800])));
            }
        }
        let (mut world, mut head) = World::with(seed, &joiners, &admins);
        for person in &joiners {
            head = world.write_on(second(*person), &[head], join_with(*person, 1, 0));
        }
        let mut schedule = Self {
            world,
            dice,
            heard: vec![vec![head]; PEOPLE],
        };
        for _ in 0..schedule.dice.below(34) + 8 {
            schedule.step();
        }
        schedule
    }

    fn step(&mut self) {
        let person = self.dice.below(PEOPLE);
        if self.dice.chance(40) {
            let other = self.dice.below(PEOPLE);
            let news = self.heard[other].clone();
            self.hear(person, &news);
        }
        if self.dice.chance(70) {
            let heads = self.heard[person].clone();
            let act = self.act(person, &heads);
            let id = match act {
                // Only another device of the person may bring it.
                Act::RevokeDevice(_) => self.world.write_on(second(person), &heads, act),
                act => self.world.write(person, &heads, act),
            };
            self.heard[person] = vec![id];
        } else {
            self.cheat(person);
        }
    }

    fn hear(&mut self, person: usize, news: &[EnvelopeId]) {
        let mut all: BTreeSet<EnvelopeId> = self.heard[person].iter().copied().collect();
        all.extend(news);
        let newest = |id: &&EnvelopeId| {
            !all.iter()
                .any(|other| other != *id && self.world.knew(other, id))
        };
        self.heard[person] = all.iter().filter(newest).copied().collect();
    }

    /// Some acts, to cite without having a reason.
    pub(crate) fn stale_heads(&mut self) -> Vec<EnvelopeId> {
        let count = 1 + self.dice.below(2);
        let mut heads: Vec<_> = (0..count)
            .map(|_| {
                let at = self.dice.below(self.world.acts.len());
                self.world.acts[at].id
            })
            .collect();
        heads.sort_unstable();
        heads.dedup();
        heads
    }

    /// An act of some branch of a person's chain, or its beginning.
    pub(crate) fn some_prev(&mut self, person: usize) -> Option<EnvelopeId> {
        let by = device(person);
        let own = self.world.acts.iter().filter(|act| act.device == by);
        let own: Vec<EnvelopeId> = own.map(|act| act.id).collect();
        (!own.is_empty() && self.dice.chance(50)).then(|| self.dice.pick(&own))
    }

    fn cheat(&mut self, person: usize) {
        let heads = self.stale_heads();
        let prev = self.some_prev(person);
        let act = self.act(person, &heads);
        let id = match act {
            Act::RevokeDevice(_) if self.dice.chance(50) => {
                self.world.write_on(second(person), &heads, act)
            }
            act => self.world.fork(person, prev, &heads, act),
        };
        // Honest people pass on what cheats write.
        let other = self.dice.below(PEOPLE);
        self.hear(other, &[id]);
    }

    fn act(&mut self, person: usize, heads: &[EnvelopeId]) -> Act {
        let target = self.dice.below(PEOPLE);
        let level = self.dice.pick(&LEVELS);
        if self.dice.chance(35) {
            return self.power(person, target);
        }
        if self.dice.chance(5) {
            return confirm(&self.some_joins());
        }
        match self.dice.below(100) {
            0..=11 => set_keeping(target, level, &self.keep()),
            12..=47 => set(target, level),
            48..=55 if self.world.invites < INVITES => invite(self.world.next_invite()),
            48..=66 => join(person, self.dice.below(self.world.invites)),
            67..=71 => revoke(self.dice.below(self.world.invites), &self.keep()),
            72..=74 if person != FOUNDER => Act::Leave,
            72..=81 => channel("room"),
            82..=86 => {
                let at = self.dice.below(self.world.acts.len());
                let made = self.world.acts[at].id;
                let shut = self.dice.chance(50).then_some(true);
                change_channel(made, Some("renamed"), shut)
            }
            87..=91 => profile(&format!("name {}", self.dice.below(5))),
            92..=95 => settings(&format!("revolt {}", self.dice.below(5))),
            _ => self.rotation(heads),
        }
    }

    /// Acts about what others may do.
    fn power(&mut self, person: usize, target: usize) -> Act {
        let (role, channel) = (self.some_role(), self.some_act());
        match (self.dice.below(100), role) {
            (0..=19, _) => {
                let position = self.dice.pick(&[0, 50, 200, 350, 600]);
                let permissions = self.some_permissions();
                role_with("role", position, permissions)
            }
            (20..=39, Some(role)) => allow(role.into(), self.some_permissions()),
            (40..=44, _) => allow(RoleId::EVERYONE, self.some_permissions()),
            (45..=69, Some(role)) => grant(target, role, self.dice.chance(75)),
            (70..=77, _) => {
                let to = match (self.dice.below(3), role) {
                    (0, Some(role)) => Target::Role(role.into()),
                    (1, _) => Target::User(user(target)),
                    _ => Target::Role(RoleId::EVERYONE),
                };
                let (allow, deny) = (self.some_permissions(), self.some_permissions());
                overwrite(channel, to, allow, deny)
            }
            (78..=87, _) => ban(target, self.dice.chance(60)),
            (88..=92, _) => timeout(target, Some(self.dice.next() % 2000)),
            (93..=96, _) if person != FOUNDER => {
                let own = self.some_prev(person);
                let kept = own.map(|id| self.world.position(&id));
                revoke_device(person, kept.map(|(_, seq, id)| (seq, id)))
            }
            (97, _) => equivocation(target),
            _ => role_removal(role.unwrap_or(channel), self.dice.chance(70)),
        }
    }

    /// Some joins, whoever's.
    pub(crate) fn some_joins(&mut self) -> Vec<EnvelopeId> {
        let acts = self.world.acts.iter();
        let joins = acts.filter(|act| matches!(act.act, Act::Join(_)));
        let joins: Vec<EnvelopeId> = joins.map(|act| act.id).collect();
        let count = self.dice.below(4).min(joins.len());
        (0..count).map(|_| self.dice.pick(&joins)).collect()
    }

    fn some_act(&mut self) -> EnvelopeId {
        let at = self.dice.below(self.world.acts.len());
        self.world.acts[at].id
    }

    fn some_role(&mut self) -> Option<EnvelopeId> {
        let acts = self.world.acts.iter();
        let made = acts.filter(|act| matches!(&act.act, Act::Role(role) if role.role.is_none()));
        let made: Vec<EnvelopeId> = made.map(|act| act.id).collect();
        (!made.is_empty()).then(|| self.dice.pick(&made))
    }

    pub(crate) fn some_permissions(&mut self) -> Permissions {
        let all = Permission::ALL.into_iter();
        all.filter(|_| self.dice.chance(60)).collect()
    }

    fn keep(&mut self) -> Vec<(revnet_protocol::DeviceId, u64, EnvelopeId)> {
        (0..self.dice.below(4))
            .map(|_| {
                let at = self.dice.below(self.world.acts.len());
                self.world.position(&self.world.acts[at].id)
            })
            .collect()
    }

    fn rotation(&mut self, heads: &[EnvelopeId]) -> Act {
        let mut known = revnet_crdt::authority::Authority::new(crate::world::cast().revolt);
        let past = self.world.known_from(heads);
        let acts = self.world.acts.iter();
        known.insert_all(acts.filter(|act| past.contains(&act.id)).cloned());
        let generation = known.generation_after(&Audience::Revolt, &EnvelopeId::default());
        rotate(
            generation,
            u8::try_from(self.dice.below(250)).expect("small"),
        )
    }
}
