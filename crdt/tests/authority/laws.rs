//! What holds in every schedule, and that the tests see it when a rule is broken.

use std::collections::BTreeMap;

use revnet_crdt::authority::mutant::{Mutant, with};
use revnet_crdt::authority::{Authority, Verdict, Why};
use revnet_protocol::act::{Audience, SetMember};
use revnet_protocol::{Act, EnvelopeId};

use crate::fuzz::Schedule;
use crate::world::{
    FOUNDER, INVITES, PEOPLE, World, cast, channel, device, invite, join, level, profile, rotate,
    set, set_keeping, settings, user,
};

type Law = fn(u64) -> Result<(), String>;

/// How many schedules each law is tried on.
fn schedules() -> u64 {
    let set = std::env::var("REVNET_AUTHORITY_SCHEDULES").ok();
    set.and_then(|count| count.parse().ok()).unwrap_or(500)
}

fn holds(law: Law) {
    for seed in 0..schedules() {
        if let Err(broken) = law(seed) {
            panic!("schedule {seed}: {broken}");
        }
    }
}

fn is_broken_by(mutant: Mutant, law: Law) {
    let broken = (0..500).find(|seed| with(mutant, || law(*seed)).is_err());
    assert!(broken.is_some(), "{mutant:?} goes unnoticed");
}

fn require(condition: bool, sentence: impl Fn() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(sentence()) }
}

/// The same set gives the same state, one by one in any order or all at once.
fn order_plays_no_part(seed: u64) -> Result<(), String> {
    let Schedule {
        world, mut dice, ..
    } = Schedule::new(seed);
    let first = world.authority();
    let verdicts = first.verdicts();
    let mut acts = world.acts.clone();
    for round in 0..3 {
        dice.shuffle(&mut acts);
        let mut other = Authority::new(cast().revolt);
        if round == 0 {
            other.insert_all(acts.iter().cloned());
        } else {
            for act in &acts {
                other.insert(act.clone());
                if round == 1 {
                    let _ = other.state();
                }
            }
        }
        require(other.state() == first.state(), || "states differ".into())?;
        require(other.verdicts() == verdicts, || "verdicts differ".into())?;
        require(other.heads() == first.heads(), || "heads differ".into())?;
    }
    Ok(())
}

fn is_consistent(seed: u64) -> Result<(), String> {
    let mut world = Schedule::new(seed).world;
    let base = world.authority();
    let state = base.state();
    require(level(state, FOUNDER) == Some(1001), || {
        "the founder is not the founder".into()
    })?;
    for (user, member) in &state.members {
        require(!state.former.contains_key(user), || {
            "member and former member".into()
        })?;
        require(!member.devices.is_empty(), || {
            "member without device".into()
        })?;
        for device in member.devices.keys() {
            require(state.user_of(device) == Some((*user, true)), || {
                "device of nobody".into()
            })?;
        }
    }
    let heads = base.heads();
    let next = rotate(state.generation_after(&Audience::Revolt), 251);
    let id = world.write(FOUNDER, &heads, next);
    require(verdicts(&world.after(&base))[&id].counts(), || {
        "a rotation after the newest one is void".into()
    })?;
    let tips = world.tips();
    world.write(
        FOUNDER,
        &tips,
        rotate(state.generation_after(&Audience::Revolt) + 1, 252),
    );
    require(
        !world.after(&base).state().rotation_due(&Audience::Revolt),
        || "a rotation is due after one that knows everything".into(),
    )
}

/// No verdict depends on one that was given after it.
fn verdicts_are_final(seed: u64) -> Result<(), String> {
    let unsettled = Schedule::new(seed).world.authority().unsettled();
    require(unsettled.is_empty(), || {
        format!("{} was decided too early", unsettled[0].short())
    })
}

/// Who was removed and is out: nothing that they write without citing the removal, however backdated,
/// changes anything; and honest acts that cite it count.
fn revenge_is_void(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let (before, verdicts) = (base.state(), verdicts(&base));
    let removed: Vec<usize> = (1..PEOPLE)
        .filter(|person| before.former.contains_key(&user(*person)))
        .filter(|person| is_removed(&schedule.world, &verdicts, *person))
        .collect();
    for person in removed {
        for _ in 0..4 {
            let plain = schedule.world.clone();
            let heads = schedule.stale_heads();
            let prev = schedule.some_prev(person);
            let act = revenge(&mut schedule, person);
            let name = act.name();
            let id = schedule.world.fork(person, prev, &heads, act);
            let after = schedule.world.after(&base);
            require(after.state() == before, || {
                format!("{name} of removed person {person} changed the state")
            })?;
            builds_on(&schedule.world, &after, id)?;
            schedule.world = plain;
        }
    }
    Ok(())
}

fn revenge(schedule: &mut Schedule, person: usize) -> Act {
    let dice = &mut schedule.dice;
    let target = dice.below(PEOPLE);
    match dice.below(5) {
        0 => channel("revenge"),
        1 => settings("revenge"),
        2 => join(person, 0),
        3 => set_keeping(target, None, &[]),
        _ => set(target, dice.pick(&[None, Some(0), Some(499), Some(900)])),
    }
}

/// Whether a removal of a person stands, which nobody took back by setting a level. Who left of their own
/// will does not count as removed: a leave cuts nothing.
fn is_removed(world: &World, verdicts: &BTreeMap<EnvelopeId, Verdict>, person: usize) -> bool {
    let counting = || world.acts.iter().filter(|act| verdicts[&act.id].counts());
    let sets = |is_removal: bool| {
        counting().filter(move |act| {
            matches!(&act.act, Act::SetMember(set)
                if set.user == user(person) && set.level.is_none() == is_removal)
        })
    };
    let stands = |removal: &EnvelopeId| !sets(false).any(|set| world.knew(&set.id, removal));
    let removed = sets(true).any(|removal| stands(&removal.id));
    removed && !counting().any(|act| act.device == device(person) && act.act == Act::Leave)
}

fn builds_on(world: &World, base: &Authority, void: EnvelopeId) -> Result<(), String> {
    let mut world = world.clone();
    let mut heads = world.tips();
    heads.push(void);
    let honest = world.write(FOUNDER, &heads, settings("honest"));
    require(verdicts(&world.after(base))[&honest].counts(), || {
        "an honest act fell with a void one that it cites".into()
    })
}

/// Whoever never stood above somebody changes nothing about them.
fn superiors_are_safe(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let (before, verdicts) = (base.state(), verdicts(&base));
    for _ in 0..8 {
        let (by, target) = (
            1 + schedule.dice.below(PEOPLE - 1),
            schedule.dice.below(PEOPLE),
        );
        let highest = highest_granted(&schedule.world, &verdicts, by);
        let stands = level(before, target);
        if by == target || stands.is_none_or(|stands| stands < highest) {
            continue;
        }
        let plain = schedule.world.clone();
        let (heads, prev) = (schedule.stale_heads(), schedule.some_prev(by));
        let to = schedule.dice.pick(&[None, Some(0), Some(499), Some(999)]);
        schedule
            .world
            .fork(by, prev, &heads, set_keeping(target, to, &[]));
        require(schedule.world.after(&base).state() == before, || {
            format!("person {by}, never above {highest}, changed person {target}")
        })?;
        schedule.world = plain;
    }
    Ok(())
}

fn verdicts(authority: &Authority) -> BTreeMap<EnvelopeId, Verdict> {
    authority.verdicts().into_iter().collect()
}

fn highest_granted(world: &World, verdicts: &BTreeMap<EnvelopeId, Verdict>, person: usize) -> u16 {
    let grants = world.acts.iter().filter_map(|act| match &act.act {
        Act::SetMember(set) if set.user == user(person) && verdicts[&act.id].counts() => set.level,
        _ => None,
    });
    grants.map(|level| level.0).max().unwrap_or(0)
}

/// An honest act that knows everything takes nothing away from what came before it.
fn what_counted_counts_on(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let (state, before) = (base.state(), verdicts(&base));
    let members: Vec<usize> = (1..PEOPLE)
        .filter(|person| state.members.contains_key(&user(*person)))
        .collect();
    if members.is_empty() {
        return Ok(());
    }
    for level in [Some(900), Some(0), None] {
        let target = schedule.dice.pick(&members);
        let mut world = schedule.world.clone();
        let tips = world.tips();
        let id = world.write(FOUNDER, &tips, set(target, level));
        let later = world.after(&base);
        let after = verdicts(&later);
        require(after[&id].counts(), || "the founder's act is void".into())?;
        for (act, verdict) in &before {
            require(!verdict.counts() || after[act].counts(), || {
                format!(
                    "{} became void by a later {level:?}: {}",
                    act.short(),
                    after[act]
                )
            })?;
        }
        require(self::level(later.state(), target) == level, || {
            "the founder's act has no effect".into()
        })?;
    }
    Ok(())
}

/// Whoever is out is in again, as an ordinary member, by an invite whose author knew everything.
fn a_new_invite_opens(seed: u64) -> Result<(), String> {
    let Schedule {
        mut world,
        mut dice,
        ..
    } = Schedule::new(seed);
    let base = world.authority();
    let out = (1..PEOPLE).filter(|person| level(base.state(), *person).is_none());
    let out: Vec<usize> = out.collect();
    if world.invites == INVITES || out.is_empty() {
        return Ok(());
    }
    let person = dice.pick(&out);
    let was_set = world
        .acts
        .iter()
        .any(|act| matches!(&act.act, Act::SetMember(set) if set.user == user(person)));
    let (tips, number) = (world.tips(), world.next_invite());
    let door = world.write(FOUNDER, &tips, invite(number));
    let back = world.write(person, &[door], join(person, number));
    let name = world.write(person, &[back], profile("back"));
    let after = world.after(&base);
    let stands = level(after.state(), person);
    require(stands == Some(0) || was_set && stands.is_some(), || {
        format!("person {person} came in by a new invite with {stands:?}")
    })?;
    require(verdicts(&after)[&name].counts(), || {
        format!("person {person} came in and may not act")
    })?;
    require(after.unsettled().is_empty(), || {
        "something was decided too early".into()
    })
}

/// Who was removed is a member again only if they joined by an invite whose author knew of it, or if
/// somebody who knew of it set their level.
fn old_links_stay_shut(seed: u64) -> Result<(), String> {
    let world = Schedule::new(seed).world;
    let base = world.authority();
    let (verdicts, state) = (verdicts(&base), base.state());
    for removal in world.acts.iter().filter(|act| verdicts[&act.id].counts()) {
        let Act::SetMember(SetMember {
            user, level: None, ..
        }) = &removal.act
        else {
            continue;
        };
        let knows = |id: &EnvelopeId| world.knew(id, &removal.id);
        let is_back = world.acts.iter().any(|act| match &act.act {
            Act::Join(join) if join.cert.user == *user => world.acts.iter().any(|door| {
                matches!(&door.act, Act::Invite(invite) if invite.invite == join.invite)
                    && knows(&door.id)
            }),
            Act::SetMember(set) => set.user == *user && set.level.is_some() && knows(&act.id),
            _ => false,
        });
        require(is_back || !state.members.contains_key(user), || {
            format!("somebody came back after {}", removal.id.short())
        })?;
    }
    Ok(())
}

#[test]
fn every_order_gives_one_state() {
    holds(order_plays_no_part);
}

#[test]
fn states_are_consistent_and_founders_stay() {
    holds(is_consistent);
}

#[test]
fn what_is_decided_later_changes_no_verdict() {
    holds(verdicts_are_final);
    is_broken_by(Mutant::LeavesWait, verdicts_are_final);
}

#[test]
fn backdated_acts_of_removed_people_change_nothing() {
    holds(revenge_is_void);
    is_broken_by(Mutant::CausalPower, revenge_is_void);
}

#[test]
fn nobody_affects_equals_or_superiors() {
    holds(superiors_are_safe);
    is_broken_by(Mutant::NoProtection, superiors_are_safe);
}

#[test]
fn later_honest_acts_erase_nothing() {
    holds(what_counted_counts_on);
    is_broken_by(Mutant::LaterPromotionsErase, what_counted_counts_on);
}

#[test]
fn everybody_can_be_let_in_again() {
    holds(a_new_invite_opens);
}

#[test]
fn removed_people_need_a_newer_invite() {
    holds(old_links_stay_shut);
    is_broken_by(Mutant::OldInvitesReadmit, old_links_stay_shut);
}

/// Schedules are worth something: acts fall for every reason, and every kind of power is granted.
#[test]
fn schedules_exercise_the_rules() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..150 {
        let authority = Schedule::new(seed).world.authority();
        for (_, verdict) in authority.verdicts() {
            let kind = match verdict {
                Verdict::Void(Why::Lost(_)) => "lost".into(),
                Verdict::Void(Why::OldInvite(_)) => "old invite".into(),
                Verdict::Void(Why::Ended(_)) => "ended".into(),
                other => other.to_string(),
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    assert!(seen.len() >= 16, "{seen:#?}");
}
