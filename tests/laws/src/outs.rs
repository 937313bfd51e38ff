//! Laws about what reaches whoever is out, and what does not: bans, secrets that were announced before, proofs of two
//! histories.

use revnet_crdt::authority::{Verdict, Why};
use revnet_protocol::act::{Audience, Join};
use revnet_protocol::{Act, DeviceKeys, KeyId};

use crate::fuzz::Schedule;
use crate::laws::require;
use crate::lifts::{Draw, settled};
use crate::world::{
    FOUNDER, PEOPLE, World, ban, cast, channel, device, equivocation, equivocation_at, invite,
    invite_id, join, key_seed, level, profile, root, rotate, set, user,
};

/// Nobody who stands below whoever banned somebody lets them in again.
pub(crate) fn bans_bind_those_below(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [low, mid, high] = draw.admins();
    let [a, b, m] = [draw.people[0], draw.people[1], draw.people[2]];
    let (mut w, head) = World::with(
        seed,
        &[a, b, m],
        &[(a, low), (b, draw.dice.pick(&[mid, high]))],
    );
    let head = draw.noise(&mut w, head);
    let banned = w.write(b, &[head], ban(m, true));
    let head = draw.noise(&mut w, banned);
    let lifting = [ban(m, false), set(m, Some(0))];
    let lifted = lifting.map(|act| w.write(a, &[head, banned], act));
    let number = w.next_invite();
    let door = w.write(a, &lifted, invite(number));
    let joined = w.write(m, &[door], join(m, number));
    require(!w.counts(&joined) && level(&w.state(), m).is_none(), || {
        format!("person {a} let in whom person {b} banned from above")
    })?;
    let number = w.next_invite();
    let pardon = w.write(b, &[joined], ban(m, false));
    let door = w.write(a, &[pardon], invite(number));
    let joined = w.write(m, &[door], join(m, number));
    require(w.counts(&joined), || format!("person {m} stays out"))?;
    settled(&w)
}

/// A secret that somebody holds who is out is not used again, whoever announces it once more.
pub(crate) fn old_secrets_stay_out(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let by = schedule.dice.below(PEOPLE);
    let out = 1 + schedule.dice.below(PEOPLE - 1);
    let world = &mut schedule.world;
    let announce = |world: &mut World, by: usize, key: u8| {
        let authority = world.authority();
        let generation = authority.generation_after(&Audience::Revolt, &world.last_of(by));
        world.write(by, &authority.heads(), rotate(generation, key))
    };
    announce(world, FOUNDER, 251);
    let heads = world.authority().heads();
    let removal = world.write(FOUNDER, &heads, set(out, None));
    announce(world, FOUNDER, 252);
    announce(world, by, 251);
    let authority = world.authority();
    let is_out = authority.state().former.contains_key(&user(out));
    let sending = authority.state().sending_epoch(&Audience::Revolt);
    let again = sending.is_some_and(|epoch| epoch.key_id == KeyId([251; 32]));
    require(!is_out || !again, || {
        format!("a secret from before {} is used again", removal.short())
    })
}

/// A proof takes back nothing that the device did before its histories part, whatever who brings it claims to know.
pub(crate) fn proofs_spare_what_came_before(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let (by, cheat) = (schedule.dice.below(PEOPLE), schedule.dice.below(PEOPLE));
    let (heads, prev) = (schedule.stale_heads(), schedule.some_prev(by));
    let fork = 1 + schedule.dice.next() % 6;
    let act = equivocation_at(cheat, None, fork, &[]);
    let proof = schedule.world.fork(by, prev, &heads, act);
    let after = schedule.world.after(&base);
    let own = schedule.world.acts.iter();
    let own = own.filter(|act| act.device == device(cheat) && act.seq < fork);
    for act in own {
        let is_by_proof = |verdict| verdict == Some(Verdict::Void(Why::Revoked(proof)));
        require(!is_by_proof(after.verdict(&act.id)), || {
            format!("number {} fell by a fork at {fork}", act.seq)
        })?;
    }
    Ok(())
}

/// A device that two people certified is out for both of them.
pub(crate) fn devices_are_expelled_for_everybody(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [z, m] = [draw.people[0], draw.people[1]];
    let (mut w, head) = World::with(seed, &[z], &[]);
    let head = draw.noise(&mut w, head);
    let door = w.acts[1].id;
    // Deep enough that the other certificate isn't the first.
    let aside = (0..2).fold(None, |last, _| Some(w.fork(z, last, &[door], channel("x"))));
    let other = w.fork(z, aside, &[door], foreign_join(m, z));
    let proof = w.write(FOUNDER, &[head, other], equivocation(z));
    require(w.counts(&proof), || "nobody is taken out".into())?;
    let before = w.state();
    require(
        before.user_of(&device(z)).is_none_or(|(_, is_in)| !is_in),
        || format!("the device is in as that of person {z} or {m}"),
    )?;
    let heads = [draw.dice.pick(&[other, proof])];
    w.fork(z, Some(other), &heads, profile("still here"));
    require(w.state() == before, || {
        format!("the device acts on as that of person {m}")
    })
}

/// A join of a person's first device under the certificate of another one, by the first invite.
fn foreign_join(by: usize, of: usize) -> Act {
    let keys = DeviceKeys::from_seed(key_seed(2, of));
    let cert = root(by).certify(&keys, "test", 0);
    let proof = cast().invites[0].sign(&Join::digest(&cast().revolt, &cert));
    let name = "other".into();
    let invite = invite_id(0);
    Act::Join(Join {
        cert,
        name,
        invite,
        proof,
    })
}
