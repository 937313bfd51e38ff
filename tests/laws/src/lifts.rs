//! Laws about power that comes from below: a second join, a door that somebody opened, a role that somebody gave.
//! Schedules seldom come to such a place by chance, so these draw who it happens to.

use revnet_protocol::{EnvelopeId, Permission};

use crate::fuzz::Dice;
use crate::laws::require;
use crate::world::{
    FOUNDER, PEOPLE, World, channel, device, equivocation, grant, invite, join, level, role, set,
    settings, user,
};

/// People and levels of a schedule.
pub(crate) struct Draw {
    pub(crate) dice: Dice,
    pub(crate) people: Vec<usize>,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let mut people: Vec<usize> = (1..PEOPLE).collect();
        dice.shuffle(&mut people);
        Self { dice, people }
    }

    /// Three levels of admins, rising.
    pub(crate) fn admins(&mut self) -> [u16; 3] {
        let mut level = 500;
        std::array::from_fn(|_| {
            level += 1 + u16::try_from(self.dice.below(160)).expect("small");
            level
        })
    }

    /// Some acts of others between two that matter.
    pub(crate) fn noise(&mut self, w: &mut World, head: EnvelopeId) -> EnvelopeId {
        let mut head = head;
        for _ in 0..self.dice.below(3) {
            let name = format!("room {}", self.dice.below(100));
            head = w.write(FOUNDER, &[head], channel(&name));
        }
        head
    }
}

pub(crate) fn settled(w: &World) -> Result<(), String> {
    let unsettled = w.authority().unsettled();
    require(unsettled.is_empty(), || {
        format!("{} was decided too early", unsettled[0].short())
    })
}

/// A second join, by a person's own will, neither lowers nor lifts them.
pub(crate) fn joining_twice_changes_nothing(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let ([low, _, high], (b, x)) = (draw.admins(), (draw.people[0], draw.people[1]));
    let (mut w, head) = World::with(seed, &[b, x], &[(b, low)]);
    let door = w.acts[1].id;
    let head = draw.noise(&mut w, head);
    let promotion = w.write(FOUNDER, &[head], set(x, Some(high)));
    w.fork(x, None, &[door], join(x, 0));
    let removal = w.write(b, &[head], set(x, None));
    let room = w.write(x, &[promotion], channel("room"));
    require(level(&w.state(), x) == Some(high), || {
        format!("person {x} lost their level by joining twice")
    })?;
    require(w.counts(&room) && !w.counts(&removal), || {
        format!("person {x} was removed by a lower one after joining twice")
    })?;
    settled(&w)
}

/// Who was let in acts with no more than the rank of who opened the door, until somebody higher knows of the join.
pub(crate) fn doors_lift_nobody(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [low, mid, high] = draw.admins();
    let [b, m, x] = [draw.people[0], draw.people[1], draw.people[2]];
    let (mut w, head) = World::with(seed, &[b, m], &[(b, low), (m, mid)]);
    let head = draw.noise(&mut w, head);
    let number = w.next_invite();
    let door = w.write(b, &[head], invite(number));
    let joined = w.write(x, &[door], join(x, number));
    let promotion = w.write(FOUNDER, &[head], set(x, Some(high)));
    let room = w.write(m, &[head], channel("room"));
    let removal = w.write(x, &[joined, promotion], set(m, None));
    settled(&w)?;
    require(w.counts(&room) && !w.counts(&removal), || {
        format!("person {x} removed one who stands above who let them in")
    })?;
    let known = w.write(FOUNDER, &[joined, promotion], set(x, Some(high)));
    let removal = w.write(x, &[known], set(m, None));
    require(w.counts(&removal), || {
        format!("person {x} can't do what a level that knows the join allows")
    })
}

/// A role that somebody gave counts for acts up to the rank of who gave it.
pub(crate) fn grants_lift_nobody(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [m, x, y] = [draw.people[0], draw.people[1], draw.people[2]];
    let giver = 100 + u16::try_from(draw.dice.below(100)).expect("small");
    let target = giver + 1 + u16::try_from(draw.dice.below(50)).expect("small");
    let (mut w, head) = World::with(seed, &[m, x, y], &[(m, giver)]);
    let both = [Permission::ManageRoles, Permission::Kick];
    let made = w.write(FOUNDER, &[head], role("moderator", 50, &both));
    let head = w.write(FOUNDER, &[made], grant(m, made, true));
    let head = draw.noise(&mut w, head);
    let given = w.write(m, &[head], grant(x, made, true));
    let raised = w.write(FOUNDER, &[given], set(x, Some(499)));
    let other = w.write(FOUNDER, &[raised], set(y, Some(target)));
    let kick = w.write(x, &[other], set(y, None));
    settled(&w)?;
    require(w.state().members.contains_key(&user(y)), || {
        format!("person {y} was removed by a permission from below them")
    })?;
    let again = w.write(FOUNDER, &[kick], grant(x, made, true));
    let kick = w.write(x, &[again], set(y, None));
    require(w.counts(&kick), || {
        format!("person {x} can't use a permission from above")
    })
}

/// With the proof that a device signed two histories whoever may remove people takes it out, equals included. What
/// it does meanwhile is void; superiors stay.
pub(crate) fn equals_expel_equals(seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let [low, mid, high] = draw.admins();
    let [a, b, c] = [draw.people[0], draw.people[1], draw.people[2]];
    let admins = [(a, mid), (b, mid), (c, high)];
    let (mut w, head) = World::with(seed, &[a, b, c], &admins);
    let head = draw.noise(&mut w, head);
    let aside = w.write(b, &[head], settings("aside"));
    let (equal, above) = (
        w.write(a, &[head], equivocation(b)),
        w.write(a, &[head], equivocation(c)),
    );
    require(w.counts(&equal) && !w.counts(&aside), || {
        format!("person {b} acts on after the proof of an equal")
    })?;
    require(!w.counts(&above), || {
        format!("person {c} was taken out from below")
    })?;
    let state = w.state();
    require(state.user_of(&device(b)) == Some((user(b), false)), || {
        format!("the device of person {b} is still in")
    })?;
    require(state.members.contains_key(&user(b)), || {
        format!("person {b} lost more than a device")
    })?;
    let demoted = w.write(FOUNDER, &[head], set(a, Some(low)));
    let late = w.write(a, &[demoted], equivocation(c));
    require(!w.counts(&late), || "a demoted one takes out".into())?;
    settled(&w)
}
