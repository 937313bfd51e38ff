//! What holds in every schedule, and that the tests see it when a rule is broken.

use std::collections::BTreeMap;

use revnet_crdt::authority::mutant::{Mutant, with};
use revnet_crdt::authority::{ActRecord, Authority, Verdict, Why};
use revnet_protocol::act::Audience;
use revnet_protocol::{Act, EnvelopeId, Permission, Permissions, RoleId, UserId};

use crate::forged::forged_acts_change_nothing;
use crate::fuzz::Schedule;
use crate::joins::{confirmations_lift_nobody, confirmed_joins_stand, floods_hide_nothing};
use crate::lifts::{
    doors_lift_nobody, equals_expel_equals, grants_lift_nobody, joining_twice_changes_nothing,
};
use crate::outs::{
    bans_bind_those_below, devices_are_expelled_for_everybody, old_secrets_stay_out,
    proofs_spare_what_came_before,
};
use crate::world::{
    FOUNDER, INVITES, PEOPLE, World, allow, ban, cast, channel, confirm, device, equivocation,
    grant, invite, join, level, profile, revoke_device, role, role_with, rotate, second, set,
    set_keeping, settings, user,
};

/// Tries one schedule; the error says what is broken.
pub type Law = fn(u64) -> Result<(), String>;

/// All laws with their names.
pub const LAWS: [(&str, Law); 28] = [
    ("every-order-gives-one-state", order_plays_no_part),
    ("states-are-consistent", is_consistent),
    ("verdicts-are-final", verdicts_are_final),
    ("revenge-is-void", revenge_is_void),
    ("superiors-are-safe", superiors_are_safe),
    ("what-counted-counts-on", what_counted_counts_on),
    ("a-new-invite-opens", a_new_invite_opens),
    ("old-links-stay-shut", old_links_stay_shut),
    ("nobody-gives-what-they-lack", nobody_gives_what_they_lack),
    ("lost-permissions-are-lost", lost_permissions_are_lost),
    (
        "stolen-devices-change-nothing",
        stolen_devices_change_nothing,
    ),
    ("revocations-erase-nothing", revocations_erase_nothing),
    (
        "expelled-devices-change-nothing",
        expelled_devices_change_nothing,
    ),
    ("expulsions-erase-nothing", expulsions_erase_nothing),
    ("equals-expel-equals", equals_expel_equals),
    ("foreign-revocations-are-void", foreign_revocations_are_void),
    ("bans-hold", bans_hold),
    ("bans-bind-those-below", bans_bind_those_below),
    ("old-secrets-stay-out", old_secrets_stay_out),
    (
        "proofs-spare-what-came-before",
        proofs_spare_what_came_before,
    ),
    (
        "devices-are-expelled-for-everybody",
        devices_are_expelled_for_everybody,
    ),
    (
        "joining-twice-changes-nothing",
        joining_twice_changes_nothing,
    ),
    ("doors-lift-nobody", doors_lift_nobody),
    ("grants-lift-nobody", grants_lift_nobody),
    ("confirmed-joins-stand", confirmed_joins_stand),
    ("confirmations-lift-nobody", confirmations_lift_nobody),
    ("floods-hide-nothing", floods_hide_nothing),
    ("forged-acts-change-nothing", forged_acts_change_nothing),
];

/// The first schedule below `schedules` by which a planted fault is noticed: the law, the schedule, and what it
/// says.
#[must_use]
pub fn noticed(mutant: Mutant, schedules: u64) -> Option<(&'static str, u64, String)> {
    (0..schedules).find_map(|seed| {
        LAWS.iter().find_map(|(name, law)| {
            let broken = with(mutant, || law(seed)).err()?;
            Some((*name, seed, broken))
        })
    })
}

pub(crate) fn require(condition: bool, sentence: impl Fn() -> String) -> Result<(), String> {
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

/// The highest generation of the rotations, whether they count or not, that have the one after what they knew.
pub(crate) fn highest_generation(world: &World, authority: &Authority) -> u64 {
    let verdicts = verdicts(authority);
    let sound = world.acts.iter().filter_map(|act| match &act.act {
        Act::KeyRotate(rotate) if verdicts[&act.id] != Verdict::Void(Why::Unsound) => {
            Some(rotate.generation)
        }
        _ => None,
    });
    sound.max().unwrap_or(0)
}

/// Whether an act may have taken out a device of a person.
fn is_against_device(act: &ActRecord, owner: UserId) -> bool {
    match &act.act {
        Act::RevokeDevice(revocation) => revocation.user == owner,
        Act::Equivocation(proof) => (0..PEOPLE).any(|person| {
            let about = Some(device(person)) == proof.device();
            about && user(person) == owner
        }),
        _ => false,
    }
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
        let revoked = world.acts.iter().any(|act| is_against_device(act, *user));
        require(!member.devices.is_empty() || revoked, || {
            "member without device".into()
        })?;
        for device in member.devices.keys() {
            require(state.user_of(device) == Some((*user, true)), || {
                "device of nobody".into()
            })?;
        }
    }
    let heads = base.heads();
    let next = rotate(
        base.generation_after(&Audience::Revolt, &world.last_of(FOUNDER)),
        251,
    );
    let id = world.write(FOUNDER, &heads, next);
    require(verdicts(&world.after(&base))[&id].counts(), || {
        "a rotation after the newest one is void".into()
    })?;
    let tips = world.tips();
    let highest = highest_generation(&world, &world.after(&base));
    world.write(FOUNDER, &tips, rotate(highest + 1, 252));
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
    match dice.below(9) {
        8 => confirm(&schedule.some_joins()),
        5 => ban(target, true),
        6 => allow(RoleId::EVERYONE, Permissions::NONE),
        7 => role("revenge", 0, &[]),
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
        counting().filter(move |act| match &act.act {
            Act::SetMember(set) if set.user == user(person) => set.level.is_none() == is_removal,
            Act::Ban(ban) => ban.user == user(person) && ban.on && is_removal,
            _ => false,
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
    let of_device = |act: &ActRecord| is_against_device(act, user(person));
    if world.acts.iter().any(of_device) {
        return Ok(());
    }
    let (tips, number) = (world.tips(), world.next_invite());
    let lifted = world.write(FOUNDER, &tips, ban(person, false));
    let door = world.write(FOUNDER, &[lifted], invite(number));
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
        let (user, banned) = match &removal.act {
            Act::SetMember(set) if set.level.is_none() => (&set.user, false),
            Act::Ban(ban) if ban.on => (&ban.user, true),
            _ => continue,
        };
        let knows = |id: &EnvelopeId| world.knew(id, &removal.id);
        let lifts = |act: &&ActRecord| {
            let lifts = matches!(&act.act, Act::Ban(ban) if !ban.on && ban.user == *user);
            lifts && verdicts[&act.id].counts() && knows(&act.id)
        };
        let lifted: Vec<EnvelopeId> = world.acts.iter().filter(lifts).map(|act| act.id).collect();
        let opens = |door: &EnvelopeId| {
            knows(door) && (!banned || lifted.iter().any(|lift| world.knew(door, lift)))
        };
        let is_back = world.acts.iter().any(|act| match &act.act {
            Act::Join(join) if join.cert.user == *user => world.acts.iter().any(|door| {
                matches!(&door.act, Act::Invite(invite) if invite.invite == join.invite)
                    && opens(&door.id)
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

/// A permission that only admins have, because no act of the schedules names it.
const RARE: Permissions = Permissions(1 << 40);

/// Whoever was never an admin and never held a permission gives it to nobody.
fn nobody_gives_what_they_lack(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let verdicts = verdicts(&base);
    for _ in 0..6 {
        let (by, target) = (
            1 + schedule.dice.below(PEOPLE - 1),
            schedule.dice.below(PEOPLE),
        );
        if highest_granted(&schedule.world, &verdicts, by) >= 500 {
            continue;
        }
        let plain = schedule.world.clone();
        let (mut heads, prev) = (schedule.stale_heads(), schedule.some_prev(by));
        if schedule.dice.chance(50) {
            heads = vec![manager(&mut schedule.world, by)];
        }
        let given = schedule.some_permissions() | RARE;
        let made = schedule
            .world
            .fork(by, prev, &heads, role_with("gift", 0, given));
        let granted = schedule
            .world
            .fork(by, Some(made), &heads, grant(target, made, true));
        let everyone = allow(RoleId::EVERYONE, given);
        schedule.world.fork(by, Some(granted), &heads, everyone);
        let after = schedule.world.after(&base);
        for member in after.state().members.values() {
            let has = member.level.0 < 500 && member.permissions.contains(RARE);
            require(!has, || format!("person {by} gave what they lack"))?;
        }
        schedule.world = plain;
    }
    Ok(())
}

/// Makes somebody one who manages roles, and says what knows it.
fn manager(world: &mut World, who: usize) -> EnvelopeId {
    let tips = world.tips();
    let raised = world.write(FOUNDER, &tips, set(who, Some(300)));
    let all = [Permission::ManageRoles];
    let made = world.write(FOUNDER, &[raised], role("manager", 10, &all));
    world.write(FOUNDER, &[made], grant(who, made, true))
}

/// Once the founder took all permissions from all roles, nothing that somebody below the admins writes without
/// knowing it, however backdated, changes anything that takes a permission.
fn lost_permissions_are_lost(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let first = schedule.world.authority();
    let mut head = schedule.world.tips();
    let roles = first.state().roles.keys().copied().collect::<Vec<_>>();
    for role in roles.into_iter().chain([RoleId::EVERYONE]) {
        let act = allow(role, Permissions::NONE);
        head = vec![schedule.world.write(FOUNDER, &head, act)];
    }
    let base = schedule.world.authority();
    let (before, verdicts) = (base.state(), verdicts(&base));
    for _ in 0..6 {
        let by = 1 + schedule.dice.below(PEOPLE - 1);
        if highest_granted(&schedule.world, &verdicts, by) >= 500 {
            continue;
        }
        let plain = schedule.world.clone();
        let (heads, prev) = (schedule.stale_heads(), schedule.some_prev(by));
        let act = schedule.dice.pick(&[0, 1, 2, 3]);
        let act = match act {
            0 => channel("late"),
            1 => settings("late"),
            2 => ban(schedule.dice.below(PEOPLE), true),
            _ => role("late", 0, &[]),
        };
        schedule.world.fork(by, prev, &heads, act);
        require(schedule.world.after(&base).state() == before, || {
            format!("person {by} did something after losing what it takes")
        })?;
        schedule.world = plain;
    }
    Ok(())
}

/// A revoked device changes nothing more, however backdated, unless somebody builds on it unaware.
fn stolen_devices_change_nothing(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let tips = schedule.world.tips();
    let thief = 1 + schedule.dice.below(PEOPLE - 1);
    let by = second(thief);
    let act = schedule.world.retire(thief);
    let gone = schedule.world.write_on(by, &tips, act);
    if !verdicts(&schedule.world.authority())[&gone].counts() {
        // The owner has no other device.
        return Ok(());
    }
    let base = schedule.world.authority();
    let before = base.state();
    for _ in 0..4 {
        let plain = schedule.world.clone();
        let (heads, prev) = (schedule.stale_heads(), schedule.some_prev(thief));
        let act = revenge(&mut schedule, thief);
        if matches!(act, Act::Join(_)) {
            continue;
        }
        let name = act.name();
        schedule.world.fork(thief, prev, &heads, act);
        require(schedule.world.after(&base).state() == before, || {
            format!("{name} of the stolen device of person {thief} changed the state")
        })?;
        schedule.world = plain;
    }
    Ok(())
}

/// The same for a device that was taken out because it signed two histories.
fn expelled_devices_change_nothing(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let tips = schedule.world.tips();
    let cheat = 1 + schedule.dice.below(PEOPLE - 1);
    let out = schedule.world.write(FOUNDER, &tips, equivocation(cheat));
    let base = schedule.world.authority();
    if !verdicts(&base)[&out].counts() {
        // Nobody knows the device.
        return Ok(());
    }
    let before = base.state();
    let out = before.user_of(&device(cheat));
    require(out.is_none_or(|(_, current)| !current), || {
        format!("the device of person {cheat} is still in")
    })?;
    for _ in 0..4 {
        let plain = schedule.world.clone();
        let (heads, prev) = (schedule.stale_heads(), schedule.some_prev(cheat));
        let act = revenge(&mut schedule, cheat);
        if matches!(act, Act::Join(_)) {
            continue;
        }
        let name = act.name();
        schedule.world.fork(cheat, prev, &heads, act);
        require(schedule.world.after(&base).state() == before, || {
            format!("{name} of the device of person {cheat} that was taken out changed the state")
        })?;
        schedule.world = plain;
    }
    Ok(())
}

/// Taking out a device takes back nothing that somebody above has built on, whoever brings the proof.
fn expulsions_erase_nothing(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let tips = schedule.world.tips();
    schedule.world.write(FOUNDER, &tips, settings("seen"));
    let base = schedule.world.authority();
    let before = verdicts(&base);
    let (by, cheat) = (schedule.dice.below(PEOPLE), schedule.dice.below(PEOPLE));
    let (heads, prev) = (schedule.stale_heads(), schedule.some_prev(by));
    // Whoever cites acts of a revoked device unaware lets them count, which may take others' power. That is not the
    // proof's doing.
    let mut neutral = schedule.world.clone();
    neutral.fork(by, prev, &heads, profile("nothing"));
    let without = verdicts(&neutral.after(&base));
    schedule.world.fork(by, prev, &heads, equivocation(cheat));
    let after = verdicts(&schedule.world.after(&base));
    let counted = before.iter().filter(|(_, verdict)| verdict.counts());
    for (act, _) in counted.filter(|(act, _)| without[*act].counts()) {
        require(after[act].counts(), || {
            format!("{} fell: {}", act.short(), after[act])
        })?;
    }
    Ok(())
}

/// Whoever isn't the owner brings a revocation, first or once more, for nothing; nor does the device itself.
fn foreign_revocations_are_void(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let before = base.state();
    let person = schedule.dice.below(PEOPLE);
    let by = schedule.dice.below(PEOPLE);
    let heads = schedule.stale_heads();
    let prev = schedule.some_prev(by);
    let act = revoke_device(person, schedule.world.first_of(person));
    schedule.world.fork(by, prev, &heads, act);
    require(schedule.world.after(&base).state() == before, || {
        format!("person {by} took back the device of person {person}")
    })
}

/// Revoking a device takes back nothing that somebody above has built on.
fn revocations_erase_nothing(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let tips = schedule.world.tips();
    let seen = schedule.world.write(FOUNDER, &tips, settings("seen"));
    let base = schedule.world.authority();
    let before = verdicts(&base);
    let person = 1 + schedule.dice.below(PEOPLE - 1);
    let first = schedule.world.acts[0].id;
    let act = revoke_device(person, schedule.world.first_of(person));
    schedule.world.write_on(second(person), &[first], act);
    let after = verdicts(&schedule.world.after(&base));
    require(after[&seen].counts(), || "the founder's act fell".into())?;
    for (act, verdict) in &before {
        require(!verdict.counts() || after[act].counts(), || {
            format!("{} fell: {}", act.short(), after[act])
        })?;
    }
    Ok(())
}

/// Whoever is banned comes in by no invite until somebody lifted the ban, and its author knew.
fn bans_hold(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let person = 1 + schedule.dice.below(PEOPLE - 1);
    let world = &mut schedule.world;
    if world.invites == INVITES {
        return Ok(());
    }
    let (tips, number) = (world.tips(), world.next_invite());
    let banned = world.write(FOUNDER, &tips, ban(person, true));
    let door = world.write(FOUNDER, &[banned], invite(number));
    world.write(person, &[door], join(person, number));
    require(level(&world.state(), person).is_none(), || {
        format!("banned person {person} came in")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// How many schedules each law is tried on here; `cargo xtask sim --laws` tries more.
    const SCHEDULES: u64 = 100;

    fn holds(law: Law) {
        for seed in 0..SCHEDULES {
            if let Err(broken) = law(seed) {
                panic!("schedule {seed}: {broken}");
            }
        }
    }

    fn is_broken_by(mutant: Mutant, law: Law) {
        let broken = (0..3000).find(|seed| with(mutant, || law(*seed)).is_err());
        assert!(broken.is_some(), "{mutant:?} goes unnoticed");
    }

    #[test]
    fn a_second_join_changes_nothing() {
        holds(joining_twice_changes_nothing);
        is_broken_by(Mutant::JoinsLower, joining_twice_changes_nothing);
    }

    #[test]
    fn who_was_let_in_is_not_lifted_above_who_opened() {
        holds(doors_lift_nobody);
        is_broken_by(Mutant::JoinsLift, doors_lift_nobody);
    }

    #[test]
    fn joins_outlast_their_invites_if_somebody_confirmed_them() {
        holds(confirmed_joins_stand);
        is_broken_by(Mutant::ConfirmOneself, confirmed_joins_stand);
    }

    #[test]
    fn who_was_confirmed_is_not_lifted_above_who_did_it() {
        holds(confirmations_lift_nobody);
        is_broken_by(Mutant::ConfirmLifts, confirmations_lift_nobody);
    }

    #[test]
    fn what_somebody_else_signed_counts_for_nothing() {
        holds(forged_acts_change_nothing);
        is_broken_by(Mutant::SignaturesUnread, forged_acts_change_nothing);
    }

    #[test]
    fn what_is_written_aside_hides_nothing_from_authors() {
        holds(floods_hide_nothing);
        is_broken_by(Mutant::VoidHeads, floods_hide_nothing);
    }

    #[test]
    fn permissions_from_below_do_not_reach_above() {
        holds(grants_lift_nobody);
        is_broken_by(Mutant::LowGrantsLift, grants_lift_nobody);
    }

    #[test]
    fn devices_that_were_taken_out_change_nothing() {
        holds(expelled_devices_change_nothing);
        is_broken_by(Mutant::ExpelledActOn, expelled_devices_change_nothing);
    }

    #[test]
    fn nobody_takes_back_what_others_built_on_by_taking_out_a_device() {
        holds(expulsions_erase_nothing);
    }

    #[test]
    fn equals_take_out_equals_and_nobody_superiors() {
        holds(equals_expel_equals);
    }

    #[test]
    fn only_another_device_of_the_owner_takes_one_back() {
        holds(foreign_revocations_are_void);
        is_broken_by(Mutant::AnybodyRevokes, foreign_revocations_are_void);
    }

    #[test]
    fn bans_hold_until_they_are_lifted() {
        holds(bans_hold);
        is_broken_by(Mutant::InvitesLiftBans, bans_hold);
        holds(bans_bind_those_below);
        is_broken_by(Mutant::AnybodyPardons, bans_bind_those_below);
    }

    #[test]
    fn secrets_are_announced_once() {
        holds(old_secrets_stay_out);
        is_broken_by(Mutant::SecretsAgain, old_secrets_stay_out);
    }

    #[test]
    fn what_came_before_a_fork_stays() {
        holds(proofs_spare_what_came_before);
        is_broken_by(Mutant::ProofsErase, proofs_spare_what_came_before);
    }

    #[test]
    fn a_device_of_two_people_is_out_for_both() {
        holds(devices_are_expelled_for_everybody);
        is_broken_by(Mutant::ExpelledOnce, devices_are_expelled_for_everybody);
    }

    #[test]
    fn permissions_come_from_those_who_have_them() {
        holds(nobody_gives_what_they_lack);
        is_broken_by(Mutant::GrantsLift, nobody_gives_what_they_lack);
    }

    #[test]
    fn permissions_that_were_taken_are_gone_for_backdated_acts() {
        holds(lost_permissions_are_lost);
        is_broken_by(Mutant::CausalLosses, lost_permissions_are_lost);
    }

    #[test]
    fn backdated_acts_of_revoked_devices_change_nothing() {
        holds(stolen_devices_change_nothing);
        is_broken_by(Mutant::RevokedActOn, stolen_devices_change_nothing);
    }

    #[test]
    fn nobody_takes_back_what_others_built_on_by_revoking_a_device() {
        holds(revocations_erase_nothing);
        is_broken_by(Mutant::RevocationsErase, revocations_erase_nothing);
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
}
