//! Acts whose envelopes are authentic, but in which something is signed by the wrong one, about something else, or
//! not at all.

use revnet_protocol::act::Join;
use revnet_protocol::proof::Equivocation;
use revnet_protocol::seal::HpkePublic;
use revnet_protocol::{Act, DeviceCert, DeviceId, DeviceKeys, Hlc, InviteSecret, KeyId, RevoltId};

use crate::fuzz::{Dice, Schedule};
use crate::laws::{highest_generation, require};
use crate::world::{
    FOUNDER, INVITES, PEOPLE, World, cast, device, equivocation, join_with, key_seed,
    revoke_device, root, rotate, second, settings, user,
};

/// How many are tried on each schedule.
const FORGERIES: usize = 50;

/// Somebody with keys of their own and none of the revolt's.
struct Stranger {
    cert: DeviceCert,
}

impl Stranger {
    fn new() -> Self {
        let keys = DeviceKeys::from_seed(key_seed(2, PEOPLE));
        let cert = root(PEOPLE).certify(&keys, "stranger", 0);
        Self { cert }
    }

    fn device(&self) -> DeviceId {
        self.cert.device
    }
}

fn joining(cert: DeviceCert, invite: &InviteSecret, signed_for: &RevoltId) -> Join {
    let proof = invite.sign(&Join::digest(signed_for, &cert));
    let invite = invite.id();
    let name = "forged".to_owned();
    Join {
        cert,
        name,
        invite,
        proof,
    }
}

/// A join that somebody could only write who has keys that they don't have.
fn forged_join(dice: &mut Dice, stranger: &Stranger) -> (DeviceId, Join) {
    let cast = cast();
    let victim = dice.below(PEOPLE);
    let invite = &cast.invites[dice.below(INVITES)];
    let own = stranger.cert.clone();
    let mut stolen = cast.certs[victim][0].clone();
    let join = match dice.below(6) {
        // By a device of one's own, in somebody else's name.
        0 => {
            stolen.device = own.device;
            joining(stolen, invite, &cast.revolt)
        }
        1 => {
            let mut cert = own;
            cert.user = user(victim);
            joining(cert, invite, &cast.revolt)
        }
        // Without the link, or with that of another revolt.
        2 => {
            let mut join = joining(own, invite, &cast.revolt);
            join.proof.0[dice.below(64)] ^= 1 << dice.below(8);
            join
        }
        3 => joining(own, invite, &RevoltId(key_seed(7, dice.below(100)))),
        4 => {
            let made = InviteSecret::from_seed(key_seed(5, dice.below(100)));
            let mut join = joining(own, &made, &cast.revolt);
            join.invite = invite.id();
            join
        }
        // Somebody's own, with a device that secrets would go to.
        _ => {
            stolen.hpke = HpkePublic(key_seed(6, dice.below(100)));
            let join = joining(stolen, invite, &cast.revolt);
            return (device(victim), join);
        }
    };
    (stranger.device(), join)
}

/// A revocation that the root key didn't sign, by another device of the victim's, as a thief would have it.
fn forged_revocation(dice: &mut Dice, world: &World) -> (DeviceId, Act) {
    let victim = 1 + dice.below(PEOPLE - 1);
    let other = 1 + dice.below(PEOPLE - 1);
    let Act::RevokeDevice(mut revocation) = revoke_device(victim, world.first_of(victim)) else {
        unreachable!("it is one")
    };
    match dice.below(4) {
        0 => revocation.keep = world.first_of(other).filter(|_| other != victim),
        1 => revocation.signature.0[dice.below(64)] ^= 1 << dice.below(8),
        2 => {
            revocation.signature = root(PEOPLE)
                .revoke(device(victim), revocation.keep)
                .signature;
        }
        _ => {
            (revocation.user, revocation.device) = (user(other), device(other));
            if other == victim {
                revocation.signature.0[0] ^= 1;
            }
            return (second(other), Act::RevokeDevice(revocation));
        }
    }
    (second(victim), Act::RevokeDevice(revocation))
}

/// A proof that proves nothing.
fn forged_proof(dice: &mut Dice) -> Act {
    let victim = 1 + dice.below(PEOPLE - 1);
    let proof = |person: usize| match equivocation(person) {
        Act::Equivocation(proof) => *proof,
        _ => unreachable!("it is one"),
    };
    let mut forged: Equivocation = proof(victim);
    match dice.below(5) {
        0 => forged.second = forged.first.clone(),
        1 => forged.second.headers[0].seq += 1,
        2 => forged.first.signature.0[dice.below(64)] ^= 1 << dice.below(8),
        3 => forged.second.headers[0].nonce[dice.below(24)] ^= 1,
        _ => forged.first = proof(victim % (PEOPLE - 1) + 1).first,
    }
    Act::Equivocation(Box::new(forged))
}

/// The first act of the revolt once more, with somebody else as its founder.
fn forged_beginning(dice: &mut Dice, stranger: &Stranger) -> Act {
    let mut genesis = cast().genesis.clone();
    if dice.chance(50) {
        genesis.genesis.founder = stranger.cert.user;
        genesis.genesis.device = stranger.device();
    }
    Act::Create {
        genesis,
        cert: stranger.cert.clone(),
        name: "forged".into(),
    }
}

/// Nothing in which a signature is missing, or is about something else, changes anything.
pub(crate) fn forged_acts_change_nothing(seed: u64) -> Result<(), String> {
    let mut schedule = Schedule::new(seed);
    let base = schedule.world.authority();
    let (before, highest) = (base.state(), highest_generation(&schedule.world, &base));
    let stranger = Stranger::new();
    for _ in 0..FORGERIES {
        let mut world = schedule.world.clone();
        let dice = &mut schedule.dice;
        let (mut cited, mut backdated, mut unheld) = (world.tips(), false, false);
        let (by, act) = match dice.below(13) {
            0..=4 => {
                let (by, join) = forged_join(dice, &stranger);
                (by, Act::Join(join))
            }
            // An authentic one, brought by somebody else.
            5 => {
                let (person, invite) = (dice.below(PEOPLE), dice.below(INVITES));
                let act = join_with(person, dice.below(2), invite);
                (stranger.device(), act)
            }
            6 | 7 => forged_revocation(dice, &world),
            8 => (device(FOUNDER), forged_proof(dice)),
            9 => {
                if dice.chance(50) {
                    cited.clear();
                }
                (stranger.device(), forged_beginning(dice, &stranger))
            }
            10 => {
                let generation = dice.pick(&[0, highest, highest + 2, u64::MAX]);
                (device(FOUNDER), rotate(generation, 1))
            }
            // Of a secret that its author doesn't have.
            11 => {
                unheld = true;
                (device(FOUNDER), rotate(highest + 1, 1))
            }
            // Not later than what it builds on.
            _ => {
                backdated = true;
                (device(FOUNDER), settings("backdated"))
            }
        };
        let name = act.name();
        world.carry(by, &cited, act);
        if backdated {
            world.acts.last_mut().expect("just written").hlc = Hlc::ZERO;
        }
        if unheld {
            world.acts.last_mut().expect("just written").key_id = KeyId([2; 32]);
        }
        require(world.after(&base).state() == before, || {
            format!("a forged {name} changed the state")
        })?;
    }
    Ok(())
}
