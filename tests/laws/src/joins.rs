//! Laws about joins that somebody confirmed, and about what authors cite.

use revnet_protocol::{Act, EnvelopeId, Permission, RoleId};

use crate::laws::require;
use crate::lifts::{Draw, settled};
use crate::world::{
    FOUNDER, World, allow, confirm, invite, join, join_with, level, profile, revoke, role, second,
    set, user,
};

/// Later than anything in these worlds.
const AHEAD_MS: u64 = 1_000_000;

fn anybody_may_invite() -> Act {
    allow(RoleId::EVERYONE, [Permission::Invite].into_iter().collect())
}

/// A host, ordinary or an admin, had a guest in by an invite that somebody ends without knowing of the join.
struct Party {
    world: World,
    guest: usize,
    joined: EnvelopeId,
    /// What knows the join.
    known: EnvelopeId,
    /// Who confirms it.
    witness: usize,
}

impl Party {
    fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let [low, mid, _] = draw.admins();
        let [host, other, guest] = [draw.people[0], draw.people[1], draw.people[2]];
        let admins = [(host, mid), (other, low)];
        let admins = &admins[..draw.dice.pick(&[0, 2])];
        let (mut world, head) = World::with(seed, &[host, other], admins);
        let head = world.write(FOUNDER, &[head], anybody_may_invite());
        let head = draw.noise(&mut world, head);
        let number = world.next_invite();
        let door = world.write(host, &[head], invite(number));
        let joined = world.write(guest, &[door], join(guest, number));
        let known = draw.noise(&mut world, joined);
        let (ender, witness) = (
            draw.dice.pick(&[FOUNDER, host]),
            draw.dice.pick(&[FOUNDER, other]),
        );
        world.fork(ender, None, &[door], revoke(number, &[]));
        Self {
            world,
            guest,
            joined,
            known,
            witness,
        }
    }

    fn confirmed_by(&self, person: usize) -> (World, EnvelopeId) {
        let mut world = self.world.clone();
        let id = world.write(person, &[self.known], confirm(&[self.joined]));
        (world, id)
    }
}

/// A join that somebody else confirmed stands, whatever becomes of its invite; one that nobody did ends with it,
/// whatever its person says.
pub(crate) fn confirmed_joins_stand(seed: u64) -> Result<(), String> {
    let party = Party::new(seed);
    let guest = party.guest;
    let out = |w: &World| level(&w.state(), guest).is_none();
    require(out(&party.world), || {
        format!("person {guest} is in by an invite that has ended")
    })?;
    let (world, _) = party.confirmed_by(guest);
    require(out(&world), || {
        format!("person {guest} confirmed themselves")
    })?;
    settled(&world)?;
    let (mut world, confirmed) = party.confirmed_by(party.witness);
    require(world.counts(&confirmed), || "a confirmation is void".into())?;
    require(level(&world.state(), guest) == Some(0), || {
        format!("person {guest} was confirmed and is out")
    })?;
    let name = world.write(guest, &[confirmed], profile("confirmed"));
    require(world.counts(&name), || {
        format!("person {guest} was confirmed and may not act")
    })?;
    settled(&world)
}

/// Who was confirmed acts with no more than the rank of who did it, once the invite has ended.
pub(crate) fn confirmations_lift_nobody(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [low, mid, high] = draw.admins();
    let [host, witness, x, y] = [0, 1, 2, 3].map(|at: usize| draw.people[at]);
    let (mut w, head) = World::with(seed, &[host, witness, x, y], &[(host, mid), (y, low)]);
    let head = w.write(FOUNDER, &[head], anybody_may_invite());
    let head = draw.noise(&mut w, head);
    let promotion = w.write(FOUNDER, &[head], set(x, Some(high)));
    let number = w.next_invite();
    let door = w.write(host, &[head], invite(number));
    let joined = w.write_on(second(x), &[door], join_with(x, 1, number));
    w.fork(FOUNDER, None, &[door], revoke(number, &[]));
    let confirmed = w.write(witness, &[joined], confirm(&[joined]));
    let removal = w.write_on(second(x), &[confirmed, promotion], set(y, None));
    settled(&w)?;
    require(
        w.state().user_of(&second(x)) == Some((user(x), true)),
        || format!("the device of person {x} was confirmed and is out"),
    )?;
    require(!w.counts(&removal), || {
        format!("person {x} removed one who stands above who confirmed them")
    })
}

/// However much somebody who is out writes aside, authors cite what counts, and stamp after that.
pub(crate) fn floods_hide_nothing(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [low, mid, high] = draw.admins();
    let [admin, rogue, x] = [draw.people[0], draw.people[1], draw.people[2]];
    let admins = [(admin, high), (rogue, mid)];
    let (mut w, head) = World::with(seed, &[admin, rogue, x], &admins);
    let head = draw.noise(&mut w, head);
    let removal = w.write(FOUNDER, &[head], set(rogue, None));
    let promotion = w.write(admin, &[head], set(x, Some(low)));
    for branch in 0..4 + draw.dice.below(6) {
        let mut last = None;
        for number in 0..=draw.dice.below(4) {
            let name = format!("flood {branch} {number}");
            last = Some(w.fork(rogue, last, &[head], role(&name, 0, &[])));
            w.acts.last_mut().expect("just written").hlc.ms += AHEAD_MS;
        }
    }
    let authority = w.authority();
    require(authority.newest_hlc().ms < AHEAD_MS, || {
        "somebody who is out moves the stamps of others".into()
    })?;
    let known = w.known_from(&authority.heads());
    require(
        known.contains(&removal) && known.contains(&promotion),
        || "authors miss a removal or a promotion".into(),
    )
}
