//! One story a test. Person 0 is the founder.

use revnet_crdt::authority::mutant::{Mutant, with};
use revnet_crdt::authority::{Authority, Verdict, Why};
use revnet_protocol::act::{Audience, Level};
use revnet_protocol::role::{Grant, Target};
use revnet_protocol::{Act, EnvelopeId, Permission, Permissions, RoleId, UserId};

use crate::world::{
    FOUNDER, PEOPLE, World, allow, cast, change_channel, channel, device, invite, invite_id, join,
    join_with, level, overwrite, profile, revoke, role, rotate, second, set, set_keeping, settings,
    user,
};

const B: usize = 1;
const M: usize = 2;
const X: usize = 3;
const Y: usize = 4;

#[test]
fn an_admin_lets_somebody_in_while_another_admin_is_removed() {
    let (mut w, head) = World::with(1, &[B, M], &[(B, 500), (M, 500)]);
    let number = w.next_invite();
    let door = w.write(B, &[head], invite(number));
    w.write(X, &[door], join(X, number));
    w.write(FOUNDER, &[head], set(M, None));
    let state = w.state();
    assert_eq!(level(&state, X), Some(0));
    assert_eq!(level(&state, M), None);
    assert_eq!(state.former[&user(M)].name, "person 2");
    assert_eq!(state.user_of(&device(M)), Some((user(M), false)));
    assert_eq!(state.user_of(&device(X)), Some((user(X), true)));
    assert_eq!(state.name_of(&user(X)), Some("person 3"));
}

#[test]
fn what_an_admin_did_while_being_removed_falls_with_all_that_rests_on_it() {
    let (mut w, head) = World::with(2, &[M, X], &[(M, 600)]);
    let removal = w.write(FOUNDER, &[head], set(M, None));
    let grant = w.write(M, &[head], set(X, Some(500)));
    let room = w.write(X, &[grant], channel("theirs"));
    let verdicts = w.verdicts();
    assert_eq!(verdicts[&grant], Verdict::Void(Why::Lost(removal)));
    assert_eq!(
        verdicts[&room],
        Verdict::Void(Why::Lacks(Permission::ManageChannels))
    );
    assert_eq!(level(&w.state(), X), Some(0));
}

#[test]
fn revenge_from_the_past_changes_nothing_and_honest_acts_upon_it_count() {
    let (mut w, head) = World::with(3, &[B, M], &[(B, 500), (M, 600)]);
    let removal = w.write(FOUNDER, &[head], set(M, None));
    let known = w.write(B, &[removal], channel("honest"));
    let before = w.state();
    let against_founder = w.fork(M, None, &[head], set(FOUNDER, None));
    let against_b = w.fork(M, None, &[head], set(B, None));
    assert!(!w.counts(&against_founder) && !w.counts(&against_b));
    assert_eq!(w.state(), before);
    let later = w.write(
        B,
        &[known, against_founder, against_b],
        channel("also honest"),
    );
    assert!(w.counts(&later));
    assert_eq!(w.state().channels.len(), 2);
}

#[test]
fn equals_do_not_remove_each_other() {
    let (mut w, head) = World::with(4, &[B, M], &[(B, 500), (M, 500)]);
    let first = w.write(B, &[head], set(M, None));
    let second = w.write(M, &[head], set(B, None));
    let verdicts = w.verdicts();
    assert_eq!(verdicts[&first], Verdict::Void(Why::Protected));
    assert_eq!(verdicts[&second], Verdict::Void(Why::Protected));
}

#[test]
fn nobody_touches_the_founder_or_themselves_or_grants_their_own_level() {
    let (mut w, head) = World::with(5, &[M, X], &[(M, 1000)]);
    let removal = w.write(M, &[head], set(FOUNDER, None));
    let own = w.write(M, &[removal], set(M, Some(999)));
    let equal = w.write(M, &[own], set(X, Some(1000)));
    let below = w.write(M, &[equal], set(X, Some(999)));
    let verdicts = w.verdicts();
    assert_eq!(verdicts[&removal], Verdict::Void(Why::Protected));
    assert_eq!(verdicts[&own], Verdict::Void(Why::TooMuch));
    assert_eq!(verdicts[&equal], Verdict::Void(Why::TooMuch));
    assert!(verdicts[&below].counts());
    assert_eq!(level(&w.state(), FOUNDER), Some(1001));
}

#[test]
fn a_promotion_shields_from_a_removal_that_did_not_know_it() {
    let (mut w, head) = World::with(6, &[B, X], &[(B, 600)]);
    w.write(FOUNDER, &[head], set(X, Some(800)));
    let removal = w.write(B, &[head], set(X, None));
    assert_eq!(w.verdicts()[&removal], Verdict::Void(Why::Protected));
    assert_eq!(level(&w.state(), X), Some(800));
}

#[test]
fn a_later_promotion_erases_nothing_that_came_before() {
    let (mut w, head) = World::with(7, &[B, X], &[(B, 500)]);
    let grant = w.write(B, &[head], set(X, Some(100)));
    let removal = w.write(B, &[grant], set(X, None));
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[removal], invite(number));
    let back = w.write(X, &[door], join(X, number));
    let promotion = w.write(FOUNDER, &[back], set(X, Some(900)));
    let verdicts = w.verdicts();
    for id in [grant, removal, back, promotion] {
        assert!(verdicts[&id].counts(), "{}", verdicts[&id]);
    }
    assert_eq!(level(&w.state(), X), Some(900));
}

#[test]
fn a_removal_spares_what_its_author_knew_unless_it_cuts() {
    let (mut w, head) = World::with(8, &[B, M, X], &[(B, 500), (M, 700)]);
    let before = w.write(M, &[head], channel("before"));
    let grant = w.write(M, &[before], set(X, Some(600)));
    let theirs = w.write(X, &[grant], channel("theirs"));
    let mut plain = w.clone();
    plain.write(FOUNDER, &[theirs], set(M, None));
    assert!(plain.counts(&grant) && plain.counts(&theirs));

    let keep = [w.position(&before)];
    let cut = w.write(FOUNDER, &[theirs], set_keeping(M, None, &keep));
    let honest = w.write(B, &[cut], channel("honest"));
    let verdicts = w.verdicts();
    assert!(verdicts[&before].counts());
    assert_eq!(verdicts[&grant], Verdict::Void(Why::Lost(cut)));
    assert!(!verdicts[&theirs].counts());
    assert!(verdicts[&honest].counts());
    assert_eq!(level(&w.state(), X), Some(0));
}

#[test]
fn a_cut_keeps_one_branch_of_a_forked_chain_and_nothing_of_other_devices() {
    let (mut w, head) = World::with(9, &[M], &[(M, 500)]);
    let stem = w.write(M, &[head], channel("stem"));
    let left = w.fork(M, Some(stem), &[head], channel("left"));
    let right = w.fork(M, Some(stem), &[head], channel("right"));
    let mut other = w.clone();
    assert!(w.counts(&left) && w.counts(&right), "a fork voids nothing");
    w.write(
        FOUNDER,
        &[left, right],
        set_keeping(M, None, &[w.position(&left)]),
    );
    assert!(w.counts(&stem) && w.counts(&left) && !w.counts(&right));
    other.write(FOUNDER, &[left, right], set_keeping(M, None, &[]));
    assert!(!other.counts(&stem) && !other.counts(&left));
}

#[test]
fn a_cut_keeps_a_named_act_that_it_does_not_cite() {
    let (mut w, head) = World::with(10, &[M], &[(M, 500)]);
    let named = w.write(M, &[head], channel("named"));
    let after = w.write(M, &[named], channel("after"));
    w.write(
        FOUNDER,
        &[head],
        set_keeping(M, None, &[w.position(&named)]),
    );
    assert!(w.counts(&named) && !w.counts(&after));
}

#[test]
fn only_who_stands_above_an_act_cuts_it() {
    let (mut w, head) = World::with(11, &[B, M], &[(B, 500), (M, 500)]);
    let room = w.write(M, &[head], channel("room"));
    let demotion = w.write(FOUNDER, &[room], set(M, Some(0)));
    let cut = w.write(B, &[demotion], set_keeping(M, None, &[]));
    assert!(w.counts(&cut), "a member can be removed by an admin");
    assert!(w.counts(&room), "but was an equal when making the room");
}

#[test]
fn a_second_join_of_ones_own_cannot_erase_what_others_built_on() {
    let (mut w, head) = World::with(12, &[M, X], &[(M, 700)]);
    let grant = w.write(M, &[head], set(X, Some(500)));
    let first = w.acts[1].id;
    w.fork(M, None, &[first], join(M, 0));
    assert!(w.counts(&grant));
    assert_eq!(level(&w.state(), X), Some(500));
}

#[test]
fn whoever_was_removed_comes_back_only_by_a_newer_invite() {
    let (mut w, head) = World::with(13, &[B, X], &[(B, 500)]);
    let removal = w.write(B, &[head], set(X, None));
    let old = w.write(X, &[removal], join(X, 0));
    assert_eq!(w.verdicts()[&old], Verdict::Void(Why::OldInvite(removal)));
    assert_eq!(level(&w.state(), X), None);
    assert_eq!(w.state().invites[&invite_id(0)].uses, 2);
    let number = w.next_invite();
    let door = w.write(B, &[removal], invite(number));
    let back = w.write(X, &[door], join(X, number));
    assert!(w.counts(&back));
    let state = w.state();
    assert_eq!(level(&state, X), Some(0));
    assert_eq!(state.members[&user(X)].joined_by, Some(invite_id(number)));
}

#[test]
fn a_level_set_aside_a_removal_is_lost_and_one_set_after_it_takes_it_back() {
    let (mut w, head) = World::with(14, &[B, M, X], &[(B, 500), (M, 500)]);
    let removal = w.write(B, &[head], set(X, None));
    w.write(FOUNDER, &[head], set(X, Some(100)));
    assert_eq!(level(&w.state(), X), None);
    let number = w.next_invite();
    let door = w.write(M, &[removal], invite(number));
    let mut back = w.clone();
    back.write(X, &[door], join(X, number));
    assert_eq!(
        level(&back.state(), X),
        Some(0),
        "coming back restores no level"
    );
    w.write(FOUNDER, &[removal], set(X, Some(600)));
    let state = w.state();
    assert_eq!(level(&state, X), Some(600));
    assert_eq!(state.user_of(&device(X)), Some((user(X), true)));
}

#[test]
fn nobody_loses_or_gains_by_joining_twice() {
    let (mut w, head) = World::with(26, &[B, X], &[(B, 500)]);
    let invite = w.acts[1].id;
    let mut low = w.clone();
    let promotion = w.write(FOUNDER, &[head], set(X, Some(800)));
    w.fork(X, None, &[invite], join(X, 0));
    let removal = w.write(B, &[head], set(X, None));
    let room = w.write(X, &[promotion], channel("room"));
    assert_eq!(w.verdicts()[&removal], Verdict::Void(Why::Protected));
    assert_eq!(level(&w.state(), X), Some(800));
    assert!(w.counts(&room));
    assert!(with(Mutant::JoinsLower, || w.counts(&removal)));
    let demotion = low.write(FOUNDER, &[head], set(B, Some(0)));
    low.fork(B, None, &[invite], join(B, 0));
    let room = low.write(B, &[demotion], channel("room"));
    assert_eq!(
        low.verdicts()[&room],
        Verdict::Void(Why::Lacks(Permission::ManageChannels))
    );
    assert_eq!(level(&low.state(), B), Some(0));
}

/// Otherwise acts of lower rank would have their verdicts before one that takes their power.
#[test]
fn nobody_acts_with_more_than_the_rank_of_who_let_them_in() {
    let (mut w, head) = World::with(28, &[B, M], &[(B, 500), (M, 600)]);
    let number = w.next_invite();
    let door = w.write(B, &[head], invite(number));
    let joined = w.write(X, &[door], join(X, number));
    let promotion = w.write(FOUNDER, &[head], set(X, Some(800)));
    let room = w.write(M, &[head], channel("room"));
    let removal = w.write(X, &[joined, promotion], set(M, None));
    assert!(!with(Mutant::JoinsLift, || w.authority().unsettled()).is_empty());
    assert_eq!(w.authority().unsettled(), []);
    assert_eq!(w.verdicts()[&removal], Verdict::Void(Why::Protected));
    assert!(w.counts(&room));
    let known = w.write(FOUNDER, &[joined, promotion], set(X, Some(800)));
    let removal = w.write(X, &[known], set(M, None));
    assert!(w.counts(&removal) && !w.counts(&room));
}

#[test]
fn who_leaves_by_a_void_join_stays_out_when_it_comes_to_count() {
    let (mut w, head) = World::with(29, &[X], &[]);
    let void = w.fork(X, None, &[], join(X, 5));
    let gone = w.fork(X, Some(void), &[], Act::Leave);
    let profile = w.write(X, &[head], profile("as before"));
    let mut later = w.clone();
    later.write(FOUNDER, &[head, gone, profile], set(X, Some(900)));
    for world in [w, later] {
        assert!(!world.counts(&void) && !world.counts(&gone));
        assert!(world.counts(&profile));
        assert_eq!(
            level(&world.state(), X),
            None,
            "the device said that it leaves"
        );
    }
}

#[test]
fn a_second_join_and_a_level_wake_nothing_that_was_void() {
    let (mut w, head) = World::with(30, &[B, X], &[(B, 500)]);
    let promotion = w.write(FOUNDER, &[head], set(X, Some(800)));
    let void = w.fork(X, None, &[], join(X, 5));
    let room = w.write(X, &[promotion, void], channel("room"));
    let removal = w.write(B, &[head], set(X, None));
    let higher = w.write(FOUNDER, &w.tips(), set(X, Some(900)));
    let verdicts = w.verdicts();
    assert!(verdicts[&room].counts() && verdicts[&higher].counts());
    assert_eq!(verdicts[&removal], Verdict::Void(Why::Protected));
    assert_eq!(level(&w.state(), X), Some(900));
}

#[test]
fn who_leaves_is_no_easier_to_remove_for_what_they_do_aside() {
    let (mut w, head) = World::with(31, &[B, M], &[(B, 500), (M, 800)]);
    let gone = w.write(M, &[head], Act::Leave);
    let removal = w.write(B, &[head], set(M, None));
    let aside = w.fork(M, None, &[removal], channel("aside"));
    assert_eq!(w.verdicts()[&removal], Verdict::Void(Why::Protected));
    assert!(w.counts(&aside) && w.counts(&gone));
    assert_eq!(w.authority().unsettled(), []);
    let after = w.write(B, &[gone], set(M, None));
    assert!(w.counts(&after), "who knows of the leave removes nobody");
}

#[test]
fn who_is_removed_and_taken_back_acts_by_the_new_level() {
    let (mut w, head) = World::with(32, &[B, X], &[(B, 500)]);
    let removal = w.write(B, &[head], set(X, None));
    let back = w.write(FOUNDER, &[removal], set(X, Some(800)));
    let room = w.write(X, &[back], channel("room"));
    assert!(w.counts(&removal) && w.counts(&room));
    assert_eq!(level(&w.state(), X), Some(800));
    assert_eq!(w.authority().unsettled(), []);
}

#[test]
fn after_a_return_a_level_takes_back_only_the_device_that_returned() {
    let (mut w, head) = World::with(33, &[X], &[]);
    let removal = w.write(FOUNDER, &[head], set(X, None));
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[removal], invite(number));
    let second = cast().certs[X][1].device;
    let back = w.write_on(second, &[door], join_with(X, 1, number));
    w.write(FOUNDER, &[back], set(X, Some(500)));
    let state = w.state();
    assert_eq!(state.user_of(&device(X)), Some((user(X), false)));
    assert_eq!(state.user_of(&second), Some((user(X), true)));
}

#[test]
fn a_device_that_left_comes_in_by_a_join_only() {
    let (mut w, head) = World::with(34, &[X], &[]);
    let gone = w.write(X, &[head], Act::Leave);
    let set = w.write(FOUNDER, &[gone], set(X, Some(500)));
    assert_eq!(level(&w.state(), X), None);
    let back = w.write(X, &[set], join(X, 0));
    assert!(w.counts(&back));
    // Who set it knew that the person was out.
    assert_eq!(level(&w.state(), X), Some(500));
}

/// Otherwise what a returned person did at that level would have its verdict before the removal, which is decided by
/// less.
#[test]
fn a_level_that_was_set_after_a_removal_is_kept_by_a_return() {
    let (mut w, head) = World::with(35, &[B, X], &[(B, 800)]);
    let removal = w.write(B, &[head], set(X, None));
    let raised = w.write(FOUNDER, &[removal], set(X, Some(1000)));
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[raised], invite(number));
    let back = w.write(X, &[door], join(X, number));
    let room = w.write(X, &[back], channel("room"));
    assert_eq!(w.authority().unsettled(), []);
    assert_eq!(w.verdicts()[&room], Verdict::Counts(Level(1000)));
}

#[test]
fn a_revocation_does_not_show_that_somebody_was_removed() {
    let (mut w, head) = World::with(27, &[B, X], &[(B, 500)]);
    let revocation = w.write(FOUNDER, &[head], revoke(0, &[]));
    w.write(FOUNDER, &[revocation], rotate(1, 1));
    let removal = w.write(B, &[head], set(X, None));
    assert!(w.state().rotation_due(&Audience::Revolt));
    let again = w.write(X, &[removal], join(X, 0));
    assert_eq!(w.verdicts()[&again], Verdict::Void(Why::Ended(revocation)));
    assert!(w.state().rotation_due(&Audience::Revolt));
    w.write(B, &w.tips(), rotate(2, 2));
    assert!(!w.state().rotation_due(&Audience::Revolt));
}

#[test]
fn after_coming_back_only_the_device_that_did_so_is_in() {
    let (mut w, head) = World::with(15, &[X], &[]);
    let removal = w.write(FOUNDER, &[head], set(X, None));
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[removal], invite(number));
    let second = cast().certs[X][1].device;
    let back = w.write_on(second, &[door], join_with(X, 1, number));
    let by_old = w.write(X, &[back], profile("old device"));
    let by_new = w.write_on(second, &[back], profile("new device"));
    let state = w.state();
    assert_eq!(state.user_of(&device(X)), Some((user(X), false)));
    assert_eq!(state.user_of(&second), Some((user(X), true)));
    assert_eq!(state.members[&user(X)].devices.len(), 1);
    assert!(!w.counts(&by_old) && w.counts(&by_new));
}

#[test]
fn a_member_joins_with_another_device_and_keeps_their_level() {
    let (mut w, head) = World::with(16, &[B], &[(B, 500)]);
    let second = cast().certs[B][1].device;
    let join = w.write_on(second, &[head], join_with(B, 1, 0));
    let room = w.write_on(second, &[join], channel("from the second device"));
    assert!(w.counts(&room));
    let state = w.state();
    assert_eq!(level(&state, B), Some(500));
    assert_eq!(state.members[&user(B)].devices.len(), 2);
    assert_eq!(state.user_of(&second), Some((user(B), true)));
}

#[test]
fn who_leaves_keeps_what_they_did_and_comes_back_by_any_link() {
    let (mut w, head) = World::with(17, &[B, X], &[(B, 500)]);
    let grant = w.write(B, &[head], set(X, Some(100)));
    let aside = w.fork(B, Some(grant), &[], channel("at the same time"));
    let gone = w.write(B, &[grant], Act::Leave);
    let after = w.write(B, &[gone], channel("too late"));
    let others = w.write(X, &[aside, gone], profile("built on it"));
    let verdicts = w.verdicts();
    assert!(verdicts[&grant].counts() && verdicts[&aside].counts() && verdicts[&others].counts());
    assert_eq!(verdicts[&after], Verdict::Void(Why::Stranger));
    assert_eq!(level(&w.state(), B), None);
    w.write(B, &[gone], join(B, 0));
    assert_eq!(level(&w.state(), B), Some(0));
}

/// Otherwise what the joiner did at the same level would have its verdict before the end.
#[test]
fn an_equal_ends_a_join_and_nothing_that_its_person_did() {
    let (mut w, head) = World::with(31, &[B], &[]);
    let everyone = allow(
        RoleId::EVERYONE,
        Permissions::DEFAULT | Permission::Invite.into(),
    );
    let head = w.write(FOUNDER, &[head], everyone);
    let number = w.next_invite();
    let door = w.write(B, &[head], invite(number));
    let joined = w.write(X, &[door], join(X, number));
    let named = w.write(X, &[joined], profile("x"));
    let end = w.write(B, &[door], revoke(number, &[]));
    assert_eq!(w.authority().unsettled(), []);
    assert!(w.counts(&end) && w.counts(&named) && !w.counts(&joined));
    assert_eq!(level(&w.state(), X), None);
}

#[test]
fn revoking_an_invite_ends_the_joins_that_it_does_not_keep() {
    let (mut w, head) = World::with(18, &[B, X], &[(B, 500)]);
    let named = w.write(Y, &[head], join(Y, 0));
    let unseen = w.write(5, &[head], join(5, 0));
    let confirmed = w.write(6, &[head], join(6, 0));
    w.write(FOUNDER, &[confirmed], set(6, Some(0)));
    // Another admin, who didn't make it and doesn't stand above who did, ends nothing.
    let mut below = w.clone();
    let void = below.write(B, &[head], revoke(0, &[]));
    assert_eq!(below.verdicts()[&void], Verdict::Void(Why::Protected));
    assert_eq!(level(&below.state(), 5), Some(0));
    let revocation = w.write(FOUNDER, &[head], revoke(0, &[w.position(&named)]));
    let verdicts = w.verdicts();
    assert_eq!(verdicts[&unseen], Verdict::Void(Why::Ended(revocation)));
    let state = w.state();
    assert_eq!(level(&state, X), Some(0), "known to the revocation");
    assert_eq!(level(&state, Y), Some(0), "named by it");
    assert_eq!(level(&state, 5), None);
    assert_eq!(level(&state, 6), Some(0), "confirmed");
    assert!(state.former.contains_key(&user(5)));
    let door = &state.invites[&invite_id(0)];
    assert!(door.revoked);
    assert_eq!(door.uses, 4);
    let late = w.write(7, &[revocation], join(7, 0));
    assert_eq!(w.verdicts()[&late], Verdict::Void(Why::Ended(revocation)));
}

#[test]
fn joins_fall_with_their_invite_unless_somebody_confirmed_them() {
    let (mut w, head) = World::with(19, &[M], &[(M, 500)]);
    let number = w.next_invite();
    let door = w.write(M, &[head], invite(number));
    let x = w.write(X, &[door], join(X, number));
    let y = w.write(Y, &[door], join(Y, number));
    let promotion = w.write(FOUNDER, &[y], set(Y, Some(500)));
    w.write(FOUNDER, &[promotion, x], set_keeping(M, None, &[]));
    let room = w.write(Y, &[promotion], channel("counts"));
    let verdicts = w.verdicts();
    assert_eq!(verdicts[&x], Verdict::Void(Why::NoInvite));
    assert!(verdicts[&y].counts() && verdicts[&room].counts());
    assert_eq!(level(&w.state(), Y), Some(500));
}

#[test]
fn registers_take_the_latest_then_the_highest_then_the_stricter() {
    let (mut w, head) = World::with(20, &[B, M], &[(B, 600), (M, 500)]);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let early = w.write(FOUNDER, &[room], settings("by the founder"));
    w.write(M, &[early], settings("by an admin"));
    w.write(B, &[early], settings("by a higher admin"));
    assert_eq!(w.state().name, "by a higher admin");
    w.write(B, &w.tips(), set(M, Some(501)));
    let (tips, known) = (w.tips(), w.state().name);
    assert_eq!(known, "by a higher admin");
    let mut stricter = w.clone();
    w.write(M, &tips, settings("latest"));
    assert_eq!(w.state().name, "latest");
    let up = stricter.write(FOUNDER, &tips, set(M, Some(600)));
    stricter.write(M, &[up], change_channel(room, None, Some(true)));
    stricter.write(B, &[up], change_channel(room, Some("renamed"), Some(false)));
    let state = stricter.state();
    let room = &state.channels[&room.into()];
    assert!(room.archived);
    assert_eq!(room.name, "renamed");
}

#[test]
fn a_channel_is_changed_only_by_who_knows_it_and_falls_with_its_beginning() {
    let (mut w, head) = World::with(21, &[M], &[(M, 500)]);
    let room = w.write(M, &[head], channel("room"));
    let blind = w.write(FOUNDER, &[head], change_channel(room, Some("blind"), None));
    let change = w.write(
        FOUNDER,
        &[room, blind],
        change_channel(room, Some("seen"), None),
    );
    assert_eq!(w.verdicts()[&blind], Verdict::Void(Why::NoChannel));
    assert_eq!(w.state().channels[&room.into()].name, "seen");
    w.write(FOUNDER, &[change], set_keeping(M, None, &[]));
    assert!(w.state().channels.is_empty());
}

#[test]
fn rotations_count_by_generation_and_are_tainted_by_who_is_gone() {
    let (mut w, head) = World::with(22, &[B, X], &[]);
    let first = w.write(FOUNDER, &[head], rotate(1, 1));
    let again = w.write(B, &[first], rotate(1, 2));
    assert_eq!(w.verdicts()[&again], Verdict::Void(Why::Unsound));
    let all = Audience::Revolt;
    assert_eq!(
        w.authority().generation_after(&all, &EnvelopeId::default()),
        2
    );
    assert!(!w.state().rotation_due(&all));
    let removal = w.write(FOUNDER, &[first], set(X, None));
    let blind = w.write(B, &[first], rotate(2, 3));
    let state = w.state();
    assert!(w.counts(&blind) && state.rotation_due(&all));
    assert_eq!(state.sending_epoch(&all), None);
    assert!(state.invites[&invite_id(0)].stale);
    assert_eq!(
        state.recipients(&Audience::Revolt).len(),
        2,
        "two members and no old invite"
    );
    let by_removed = w.fork(X, None, &[first], rotate(2, 4));
    let seen = w.write(B, &[blind, removal], rotate(3, 5));
    assert!(!w.counts(&by_removed));
    let state = w.state();
    assert!(!state.rotation_due(&all));
    assert_eq!(state.sending_epoch(&all).map(|epoch| epoch.act), Some(seen));
    assert_eq!(state.epochs[&all].len(), 3);
    w.write(B, &[seen], Act::Leave);
    assert!(
        w.state().rotation_due(&all),
        "who left holds the secret, too"
    );
}

#[test]
fn with_many_heads_an_author_still_gets_generation_and_power() {
    let (mut w, head) = World::with(23, &[B], &[]);
    let promotion = w.write(FOUNDER, &[head], set(B, Some(500)));
    let rotation = w.fork(FOUNDER, Some(head), &[head], rotate(1, 1));
    for person in 2..9 {
        w.write(person, &[head], join(person, 0));
    }
    let authority = w.authority();
    let heads = authority.heads();
    assert_eq!(heads.len(), 4);
    assert!(heads.contains(&promotion) && heads.contains(&rotation));
    let generation = authority.generation_after(&Audience::Revolt, &EnvelopeId::default());
    let next = w.write(B, &heads, rotate(generation, 2));
    let room = w.write(B, &heads, channel("room"));
    assert!(w.counts(&next) && w.counts(&room));
}

#[test]
fn forged_certificates_and_strangers_do_nothing() {
    let (mut w, head) = World::with(24, &[], &[]);
    let mut forged = join(X, 0);
    if let Act::Join(join) = &mut forged {
        join.proof.0[0] ^= 1;
    }
    let forged = w.write(X, &[head], forged);
    let unheard = w.write(Y, &[head], channel("nobody's"));
    let unknown = w.write(5, &[head], join(5, 7));
    let create = w.acts[0].act.clone();
    let second = w.write(6, &[head], create);
    let verdicts = w.verdicts();
    assert_eq!(verdicts[&forged], Verdict::Void(Why::Unsound));
    assert_eq!(verdicts[&unheard], Verdict::Void(Why::Stranger));
    assert_eq!(verdicts[&unknown], Verdict::Void(Why::NoInvite));
    assert_eq!(verdicts[&second], Verdict::Void(Why::Unsound));
    assert_eq!(w.state().members.len(), 1);
}

#[test]
fn verdicts_read_as_sentences() {
    let (mut w, head) = World::with(25, &[B], &[]);
    let room = w.write(B, &[head], channel("room"));
    assert_eq!(
        w.verdicts()[&room].to_string(),
        "void: its author may not manage-channels"
    );
    assert_eq!(w.verdicts()[&head].to_string(), "counts with level 1001");
    let order: Vec<_> = w
        .authority()
        .verdicts()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(order, w.acts.iter().map(|act| act.id).collect::<Vec<_>>());
}

/// What everybody may do is asked for under the name of nobody.
#[test]
fn nothing_is_given_to_nobody() {
    let (mut w, head) = World::with(41, &[B], &[(B, 600)]);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let (see, none) = (Permission::View.into(), Permissions::NONE);
    let everyone = Target::Role(RoleId::EVERYONE);
    let shut = w.write(FOUNDER, &[room], overwrite(room, everyone, none, see));
    let nobody = Target::User(UserId::default());
    let open = w.write(B, &[shut], overwrite(room, nobody, see, none));
    let made = w.write(B, &[shut], role("seeing", 10, &[Permission::View]));
    let given = w.write(
        B,
        &[made],
        Act::Grant(Grant {
            user: UserId::default(),
            role: made.into(),
            on: true,
        }),
    );
    for act in [open, given] {
        assert_eq!(w.verdicts()[&act], Verdict::Void(Why::Unsound));
    }
    assert!(w.state().channels[&room.into()].private);
}

#[test]
fn a_revocation_names_few_joins() {
    let (mut w, head) = World::with(42, &[X], &[]);
    let aside: Vec<EnvelopeId> = (4..PEOPLE)
        .map(|person| w.write(person, &[head], join(person, 0)))
        .collect();
    let mut authority = w.authority();
    let named = |authority: &Authority| authority.joins_by(&invite_id(0)).0;
    // Of five heads four are cited; the join at the fifth has to be named.
    assert_eq!(named(&authority).len(), 1);
    let all = w.write(FOUNDER, &aside, profile("all"));
    authority.insert_all(w.acts.iter().filter(|act| act.id == all).cloned());
    assert_eq!(named(&authority), []);
}

#[test]
fn who_has_a_revoked_device_holds_no_link() {
    let (mut w, head) = World::with(43, &[X], &[]);
    let number = w.next_invite();
    let before = w.write(FOUNDER, &[head], invite(number));
    let other = w.write_on(second(X), &[before], join_with(X, 1, 0));
    let gone = w.write_on(second(X), &[other], w.retire(X));
    let later = w.next_invite();
    w.write(FOUNDER, &[gone], invite(later));
    let invites = w.state().invites;
    assert!(invites[&invite_id(number)].stale && !invites[&invite_id(later)].stale);
}

/// A removal that keeps an act doesn't lay its author open to those below, of whom the kept act knew.
#[test]
fn a_kept_act_keeps_its_rank() {
    let (mut w, head) = World::with(80_819, &[B, X], &[(B, 500), (X, 600)]);
    let aside = w.write(B, &[head], set(X, Some(0)));
    let kept = w.write(X, &[aside, head], set(B, Some(100)));
    let keep = [w.position(&kept)];
    let removal = w.write(FOUNDER, &[head], set_keeping(X, None, &keep));
    assert!(w.counts(&removal) && w.counts(&kept));
    assert!(!w.counts(&aside), "who stands below demotes nobody");
    assert_eq!(w.authority().unsettled(), []);
}

#[test]
fn a_promotion_that_keeps_something_protects() {
    let (mut w, head) = World::with(28_655, &[B, X, Y], &[(B, 600)]);
    let aside = w.write(B, &[head], set(X, Some(400)));
    for who in [X, Y] {
        let kept = w.write(who, &[aside, head], profile("kept"));
        let keep = [w.position(&kept)];
        let raised = w.write(FOUNDER, &[head], set_keeping(X, Some(800), &keep));
        let late = w.write(X, &[raised, aside], profile("late"));
        assert!(w.counts(&raised) && w.counts(&late));
        assert!(!w.counts(&aside), "who stands below demotes nobody");
        assert_eq!(w.authority().unsettled(), []);
    }
}
