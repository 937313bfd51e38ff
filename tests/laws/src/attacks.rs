//! What people try who step aside: acts that claim to know less than their authors do, names that belong to others, and
//! the same thing said twice. One story a test. Person 0 is the founder.

use std::collections::BTreeMap;

use revnet_crdt::authority::{ActRecord, Authority, Wish};
use revnet_protocol::act::{Audience, Join, KeyRotate};
use revnet_protocol::epoch::{Slot, SlotChunk, Tag};
use revnet_protocol::role::Target;
use revnet_protocol::seal::SealedSecret;
use revnet_protocol::{
    Act, ChannelId, DeviceCert, DeviceId, DeviceKeys, EnvelopeId, Hash, Hlc, KeyId, Permission,
    Permissions, RoleId,
};

use crate::world::{
    FOUNDER, World, allow, ban, cast, channel, device, equivocation, equivocation_at, grant,
    invite, invite_id, join, join_with, key_seed, level, overwrite, profile, revoke, revoke_device,
    revoke_second, role, root, rotate, second, set, user,
};

const B: usize = 1;
const X: usize = 3;
const Z: usize = 4;
const M: usize = 5;
const LATE: Hlc = Hlc {
    ms: 1_000_000,
    counter: 0,
};

fn everybody_invites(w: &mut World, head: EnvelopeId) -> EnvelopeId {
    let all = Permissions::DEFAULT | [Permission::Invite].into_iter().collect();
    w.write(FOUNDER, &[head], allow(RoleId::EVERYONE, all))
}

/// Somebody of level 0 with a role.
fn low(seed: u64, who: &[usize], holder: usize, held: &[Permission]) -> (World, EnvelopeId) {
    let (mut w, head) = World::with(seed, who, &[]);
    let made = w.write(FOUNDER, &[head], role("mod", 10, held));
    let head = w.write(FOUNDER, &[made], grant(holder, made, true));
    (w, head)
}

fn says(a: &Authority, who: usize, heads: &[EnvelopeId], hlc: Hlc) -> bool {
    let channel = ChannelId([5; 32]);
    let said = a.judge(
        &device(who),
        heads,
        hlc,
        Wish::Say(Permission::Send, channel),
    );
    said.allowed
}

/// A certificate of one person's first device by the root key of another.
fn foreign_cert(by: usize, of: usize) -> DeviceCert {
    let keys = DeviceKeys::from_seed(key_seed(2, of));
    root(by).certify(&keys, "test", 0)
}

fn join_as(cert: DeviceCert, number: usize) -> Act {
    let proof = cast().invites[number].sign(&Join::digest(&cast().revolt, &cert));
    let name = "other".into();
    let invite = invite_id(number);
    Act::Join(Join {
        cert,
        name,
        invite,
        proof,
    })
}

#[test]
fn who_came_by_an_invite_that_an_equal_revoked_goes_on_for_nobody() {
    let (mut w, head) = World::with(1, &[B, Z], &[]);
    let head = everybody_invites(&mut w, head);
    let head = w.write(FOUNDER, &[head], rotate(1, 1));
    let door = w.write(B, &[head], invite(9));
    let joined = w.write(M, &[door], join(M, 9));
    let aside = w.write(M, &[joined], profile("before"));
    let end = w.write(B, &[door], revoke(9, &[]));
    assert!(w.counts(&end) && !w.counts(&joined));
    let onward = w.write(M, &[end, aside], invite(10));
    let friend = w.write(6, &[onward], join(6, 10));
    let rotation = w.write(M, &[end, aside], rotate(2, 66));
    assert!(!w.counts(&onward) && !w.counts(&friend) && !w.counts(&rotation));
    let a = w.authority();
    assert!(!says(&a, M, &[end], LATE) && !says(&a, M, &[joined], LATE));
    let key = a.state().sending_epoch(&Audience::Revolt);
    assert_eq!(key.map(|epoch| epoch.key_id), None);
    assert_eq!(a.unsettled(), []);
}

#[test]
fn a_rotation_by_who_is_no_member_is_not_used() {
    let (mut w, head) = World::with(2, &[B, Z], &[]);
    let head = everybody_invites(&mut w, head);
    let door = w.write(B, &[head], invite(9));
    let joined = w.write(M, &[door], join(M, 9));
    let rotation = w.write(M, &[joined], rotate(1, 66));
    w.write(B, &[door], revoke(9, &[]));
    assert!(w.counts(&rotation), "it was decided before");
    let a = w.authority();
    assert!(a.state().sending_epoch(&Audience::Revolt).is_none());
}

#[test]
fn a_revocation_says_the_same_whoever_brings_it() {
    let (mut w, head) = World::with(3, &[B, X], &[(B, 500)]);
    let joined = w.write_on(second(FOUNDER), &[head], join_with(FOUNDER, 1, 0));
    let third = DeviceKeys::from_seed(key_seed(8, 0));
    let cert = root(FOUNDER).certify(&third, "third", 0);
    let third_in = w.write_on(third.id(), &[joined], join_as(cert.clone(), 0));
    let room = w.write(B, &[third_in], channel("room"));
    let retired = w.retire(FOUNDER);
    let first = w.write_on(second(FOUNDER), &[room], retired.clone());
    let lost = root(FOUNDER).revoke(third.id(), Some((1, third_in)));
    w.write_on(second(FOUNDER), &[first], Act::RevokeDevice(lost));
    let before = w.state();
    // The third device was stolen, and brings the old revocation once more as if it knew nothing.
    w.carry(third.id(), &[], join_as(cert, 30));
    let own = w.acts.last().expect("just written").id;
    w.carry_after(third.id(), own, retired);
    let state = w.state();
    assert_eq!(
        state.members.keys().collect::<Vec<_>>(),
        before.members.keys().collect::<Vec<_>>()
    );
    assert_eq!(state.channels, before.channels);
    assert_eq!(level(&state, B), Some(500));
}

#[test]
fn a_revocation_that_names_nothing_of_this_revolt_takes_nothing_back() {
    let (mut w, head) = World::with(4, &[X], &[]);
    let joined = w.write_on(second(FOUNDER), &[head], join_with(FOUNDER, 1, 0));
    let before = w.state();
    for keep in [None, Some((3, EnvelopeId([7; 32]))), Some((1, joined))] {
        let revoked = w.write_on(second(FOUNDER), &[joined], revoke_device(FOUNDER, keep));
        assert!(!w.counts(&revoked), "{keep:?}");
        assert_eq!(w.state().members, before.members);
    }
}

#[test]
fn a_thief_who_leaves_is_undone_by_keeping_what_came_before() {
    let (mut w, head) = World::with(5, &[B], &[(B, 500)]);
    let joined = w.write_on(second(FOUNDER), &[head], join_with(FOUNDER, 1, 0));
    let left = w.write_on(second(FOUNDER), &[joined], Act::Leave);
    assert_eq!(level(&w.state(), FOUNDER), None);
    let revoked = w.write(FOUNDER, &[left], revoke_second(FOUNDER, Some((1, joined))));
    assert!(w.counts(&revoked) && !w.counts(&left));
    assert_eq!(level(&w.state(), FOUNDER), Some(1001));
}

#[test]
fn a_proof_spares_what_came_before_the_fork() {
    let (mut w, head) = World::with(6, &[B, X], &[(B, 500), (X, 500)]);
    let room = w.write(B, &[head], channel("room"));
    let raised = w.write(B, &[room], set(M, Some(100)));
    let later = w.write(B, &[raised], channel("later"));
    let seq = w
        .acts
        .iter()
        .find(|act| act.id == later)
        .expect("written")
        .seq;
    // As if X had known nothing of all that B did.
    let proof = w.fork(X, None, &[head], equivocation_at(B, None, seq, &[]));
    assert!(w.counts(&proof));
    assert!(w.counts(&room) && w.counts(&raised) && !w.counts(&later));
}

#[test]
fn a_proof_from_a_channel_spares_what_its_headers_cite() {
    let (mut w, head) = World::with(7, &[B, X], &[(B, 500), (X, 500)]);
    let room = w.write(B, &[head], channel("room"));
    let cited = w.write(B, &[room], channel("cited"));
    let later = w.write(B, &[cited], channel("later"));
    let proof = w.fork(
        X,
        None,
        &[head],
        equivocation_at(B, Some(room.into()), 7, &[cited]),
    );
    assert!(w.counts(&proof));
    assert!(w.counts(&room) && w.counts(&cited) && !w.counts(&later));
}

#[test]
fn a_device_of_two_people_is_expelled_for_both() {
    let (mut w, head) = World::with(8, &[Z], &[]);
    let door = w.acts[1].id;
    let known = w.write(FOUNDER, &[head], profile("f"));
    // In a fork that doesn't know the join as Z, and deeper, the device of Z joins as M, too.
    let one = w.fork(Z, None, &[door], profile("a"));
    let two = w.fork(Z, Some(one), &[door], profile("b"));
    let other = w.fork(Z, Some(two), &[door], join_as(foreign_cert(M, Z), 0));
    assert!(w.counts(&other));
    let proof = w.write(FOUNDER, &[known, other], equivocation(Z));
    let still = w.fork(Z, Some(other), &[other], profile("still here"));
    let state = w.state();
    assert!(w.counts(&proof) && !w.counts(&still));
    let devices = |who| state.members.get(&user(who)).map_or(0, |m| m.devices.len());
    assert_eq!((devices(Z), devices(M)), (0, 0));
}

#[test]
fn a_device_that_a_superior_certified_is_expelled_by_who_stands_as_high() {
    let (mut w, head) = World::with(19, &[B, Z, M], &[(B, 500), (M, 800)]);
    let door = w.acts[1].id;
    let other = w.fork(Z, None, &[door, head], join_as(foreign_cert(M, Z), 0));
    let low = w.write(B, &[head, other], equivocation(Z));
    assert!(!w.counts(&low));
    let high = w.write(FOUNDER, &[head, other], equivocation(Z));
    assert!(w.counts(&high));
}

#[test]
fn a_later_certificate_gives_old_words_no_other_author() {
    let (mut w, head) = World::with(9, &[X], &[]);
    let channel = ChannelId([5; 32]);
    let wish = Wish::Say(Permission::Send, channel);
    let author = |w: &World, heads: &[EnvelopeId]| {
        let said = w.authority().judge(&device(X), heads, LATE, wish);
        (said.user, said.allowed)
    };
    assert_eq!(author(&w, &[head]), (Some(user(X)), true));
    // The root key of M signs a certificate for the device of X, as if before everything else.
    let aside = w.fork(X, None, &[], join_as(foreign_cert(M, X), 30));
    w.acts.last_mut().expect("written").hlc = Hlc { ms: 1, counter: 0 };
    assert_eq!(author(&w, &[head]), (Some(user(X)), true));
    let door = w.acts[1].id;
    w.fork(X, Some(aside), &[door], join_as(foreign_cert(M, X), 0));
    assert_eq!(author(&w, &[head]), (Some(user(X)), true));
}

#[test]
fn equals_revoke_no_invites_that_they_claim_not_to_know() {
    for knowing in [true, false] {
        let (mut w, base) = World::with(10, &[B, X], &[(B, 500), (X, 500)]);
        let busy = (0..3).fold(base, |head, n| w.write(X, &[head], profile(&n.to_string())));
        let door = w.write(X, &[busy], invite(9));
        let joined = w.write(M, &[door], join(M, 9));
        let end = w.write(B, &[if knowing { door } else { base }], revoke(9, &[]));
        assert!(!w.counts(&end) && w.counts(&joined), "{knowing}");
    }
}

#[test]
fn an_invite_made_once_more_shields_nobody_who_did_not_come_by_that() {
    let (mut w, head) = World::with(11, &[B, X], &[(B, 500), (X, 500)]);
    let door = w.write(X, &[head], invite(9));
    let joined = w.write(M, &[door], join(M, 9));
    let end = w.write(X, &[door], revoke(9, &[]));
    let again = w.write(B, &[head], invite(9));
    assert!(w.counts(&end) && !w.counts(&joined) && w.counts(&again));
    let shown = &w.state().invites[&invite_id(9)];
    assert!(shown.by == user(B) && !shown.revoked);
    let by_b = w.write(6, &[again], join(6, 9));
    assert!(w.counts(&by_b), "B opened a door, too");
    let knowing = w.write(X, &[again], revoke(9, &[]));
    assert!(w.counts(&knowing), "X shuts their own");
    assert!(w.counts(&by_b) && !w.state().invites[&invite_id(9)].revoked);
}

#[test]
fn who_stands_above_nobody_affects_nobody() {
    use Permission::{Ban, Invite, Kick, ManageRoles, Timeout};
    let (mut w, head) = low(12, &[B, Z], Z, &[Kick, Ban, Timeout, ManageRoles, Invite]);
    let head = everybody_invites(&mut w, head);
    let door = w.write(B, &[head], invite(9));
    let joined = w.write(M, &[door], join(M, 9));
    for aside in [false, true] {
        let heads = if aside { [head] } else { [joined] };
        for act in [ban(M, true), set(M, None)] {
            let against = w.fork(Z, None, &heads, act);
            assert!(!w.counts(&against) && w.counts(&joined));
        }
    }
    let nothing = allow(RoleId::EVERYONE, Permissions::NONE);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let view = [Permission::View].into_iter().collect();
    let to = Target::Role(RoleId::EVERYONE);
    let shut = overwrite(room, to, Permissions::NONE, view);
    for act in [nothing, shut] {
        let act = w.write(Z, &[room, joined], act);
        assert!(!w.counts(&act));
    }
    assert_eq!(level(&w.state(), M), Some(0));
}

#[test]
fn bans_are_lifted_by_who_stands_as_high() {
    let (mut w, head) = low(13, &[B, X, M, Z], Z, &[Permission::Ban, Permission::Invite]);
    let head = w.write(FOUNDER, &[head], set(B, Some(600)));
    let head = w.write(FOUNDER, &[head], set(X, Some(500)));
    let banned = w.write(B, &[head], ban(M, true));
    for low in [X, Z] {
        let mut v = w.clone();
        let lifted = v.write(low, &[banned], ban(M, false));
        let raised = v.write(low, &[banned], set(M, Some(0)));
        assert!(!v.counts(&lifted) && !v.counts(&raised));
        let door = v.write(low, &[lifted, raised], invite(9));
        let joined = v.write(M, &[door], join(M, 9));
        assert!(!v.counts(&joined));
        assert!(v.state().former[&user(M)].banned);
    }
    for high in [B, FOUNDER] {
        let mut v = w.clone();
        let lifted = v.write(high, &[banned], ban(M, false));
        let door = v.write(X, &[lifted], invite(9));
        let joined = v.write(M, &[door], join(M, 9));
        assert!(v.counts(&lifted) && v.counts(&joined));
    }
}

#[test]
fn a_secret_is_announced_once() {
    let (mut w, head) = World::with(14, &[X, M], &[]);
    let one = w.write(FOUNDER, &[head], rotate(1, 1));
    let removal = w.write(FOUNDER, &[one], set(M, None));
    let two = w.write(FOUNDER, &[removal], rotate(2, 2));
    let again = w.write(X, &[two], rotate(3, 1));
    assert!(!w.counts(&again));
    let state = w.state();
    let sending = state.sending_epoch(&Audience::Revolt);
    assert_eq!(sending.map(|epoch| epoch.key_id), Some(KeyId([2; 32])));
}

fn rotate_channel(channel: EnvelopeId, generation: u64, key: u8) -> Act {
    Act::KeyRotate(KeyRotate {
        audience: Audience::Channel(channel.into()),
        generation,
        key_id: KeyId([key; 32]),
        commitment: Hash::default(),
        back_links: Vec::new(),
    })
}

#[test]
fn what_was_handed_on_of_a_secret_is_there_once() {
    let (mut w, head) = World::with(15, &[X], &[]);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let slot = Slot {
        tag: Tag([1; 16]),
        sealed: SealedSecret {
            encapped: [1; 32],
            ciphertext: vec![1; 48],
        },
    };
    let shared = SlotChunk {
        key_id: KeyId([7; 32]),
        slots: vec![slot; 4],
    };
    w.write(X, &[room], Act::KeyShare(shared));
    for _ in 0..5 {
        w.fork(X, None, &[room], rotate_channel(room, 1, 7));
    }
    let state = w.state();
    let epochs = &state.epochs[&Audience::Channel(room.into())];
    assert_eq!(epochs.len(), 5);
    assert_eq!(
        state
            .slots(&Audience::Channel(room.into()), &KeyId([7; 32]))
            .len(),
        4
    );
}

#[test]
fn many_rotations_and_leaves_hide_no_promotion() {
    let (mut w, head) = World::with(16, &[X, Z, B], &[]);
    for branch in 0..16_u8 {
        let last = (0..4_u8).fold(None, |last, n| {
            Some(w.fork(Z, last, &[head], rotate(u64::from(n) + 1, branch * 4 + n)))
        });
        w.fork(Z, last, &[head], Act::Leave);
    }
    let promotion = w.write(FOUNDER, &[head], set(X, Some(500)));
    let known = w.known_from(&w.authority().heads());
    assert!(known.contains(&promotion));
}

/// A chain of one device that belongs to no member.
fn chain(w: &World, acts: impl Iterator<Item = (DeviceKeys, Act)>) -> Vec<ActRecord> {
    let mut last: BTreeMap<DeviceId, (EnvelopeId, u64)> = BTreeMap::new();
    let head = w.acts[1].id;
    let records = acts.enumerate().map(|(number, (keys, act))| {
        let (prev, seq) = last.get(&keys.id()).copied().unwrap_or_default();
        let number = number as u64;
        let id = EnvelopeId(
            revnet_protocol::hash::hash("revnet/v1/test", &[&number.to_le_bytes(), b"chain"]).0,
        );
        last.insert(keys.id(), (id, seq + 1));
        ActRecord {
            id,
            device: keys.id(),
            seq: seq + 1,
            prev,
            heads: vec![head],
            hlc: Hlc {
                ms: LATE.ms + number,
                counter: 0,
            },
            key_id: KeyId::default(),
            act,
        }
    });
    records.collect()
}

#[test]
fn a_device_joins_so_many_times() {
    let (w, _) = World::with(18, &[], &[]);
    let keys = DeviceKeys::from_seed(key_seed(9, 0));
    let joined = join_as(root(M).certify(&keys, "d", 0), 0);
    let acts = chain(&w, (0..66).map(|_| (keys.clone(), joined.clone())));
    let mut a = w.authority();
    a.insert_all(acts.clone());
    let counts = |act: &ActRecord| a.verdict(&act.id).is_some_and(|verdict| verdict.counts());
    assert_eq!(acts.iter().filter(|act| counts(act)).count(), 64);
    assert_eq!(level(a.state(), M), Some(0));
}

#[test]
fn who_comes_and_goes_a_thousand_times_holds_nobody_up() {
    let (w, _) = World::with(17, &[], &[]);
    let devices = (0..16).map(|number| DeviceKeys::from_seed(key_seed(9, number)));
    let devices: Vec<DeviceKeys> = devices.collect();
    let acts = devices.iter().flat_map(|keys| {
        let joined = join_as(root(M).certify(keys, "d", 0), 0);
        (0..64).map(move |n| {
            let act = if n % 2 == 0 {
                joined.clone()
            } else {
                Act::Leave
            };
            (keys.clone(), act)
        })
    });
    let acts = chain(&w, acts);
    let mut a = w.authority();
    a.insert_all(acts);
    assert_eq!(level(a.state(), M), None);
}
