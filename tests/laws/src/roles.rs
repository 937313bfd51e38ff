//! Roles, permissions, exceptions of channels, bans, silence, and devices that are taken back.

use revnet_crdt::authority::mutant::{Mutant, with};
use revnet_crdt::authority::{Verdict, Why, Wish};
use revnet_protocol::act::Audience;
use revnet_protocol::role::Target;
use revnet_protocol::{EnvelopeId, Hlc, Permission, Permissions, RoleId};

use crate::world::{
    FOUNDER, World, allow, ban, channel, device, grant, invite, join, join_with, level, overwrite,
    profile, revoke_device, role, role_removal, rotate, second, set, settings, timeout, user,
};

const B: usize = 1;
const M: usize = 2;
const X: usize = 3;
const Y: usize = 4;

fn at(ms: u64) -> Hlc {
    Hlc { ms, counter: 0 }
}

fn only(permissions: &[Permission]) -> Permissions {
    permissions.iter().copied().collect()
}

/// A revolt with a member M of level 200, who has a role with those permissions.
fn with_moderator(seed: u64, permissions: &[Permission]) -> (World, EnvelopeId, EnvelopeId) {
    let (mut w, head) = World::with(seed, &[B, M, X, Y], &[(B, 500), (M, 200)]);
    let made = w.write(FOUNDER, &[head], role("moderator", 100, permissions));
    let head = w.write(FOUNDER, &[made], grant(M, made, true));
    (w, made, head)
}

#[test]
fn a_role_lets_its_members_do_what_it_says_and_nothing_else() {
    let (mut w, made, head) = with_moderator(1, &[Permission::Kick]);
    let kick = w.write(M, &[head], set(X, None));
    let room = w.write(M, &[kick], channel("room"));
    let barred = w.write(M, &[room], ban(Y, true));
    let verdicts = w.verdicts();
    assert!(verdicts[&kick].counts());
    let lacks = |permission| Verdict::Void(Why::Lacks(permission));
    assert_eq!(verdicts[&room], lacks(Permission::ManageChannels));
    assert_eq!(verdicts[&barred], lacks(Permission::Ban));
    let state = w.state();
    assert_eq!(level(&state, X), None);
    let moderator = &state.members[&user(M)];
    assert!(moderator.roles.contains(&made.into()));
    let held = Permissions::DEFAULT | Permission::Kick.into();
    assert_eq!(moderator.permissions, held);
    assert_eq!(state.members[&user(B)].permissions, Permissions::ALL);
}

#[test]
fn what_a_role_lost_is_lost_for_acts_that_did_not_know_it_and_spared_before() {
    let (mut w, made, head) = with_moderator(2, &[Permission::ManageChannels]);
    let before = w.write(M, &[head], channel("before"));
    let loss = w.write(FOUNDER, &[before], allow(made.into(), Permissions::NONE));
    let aside = w.write(M, &[head], channel("aside"));
    let after = w.write(M, &[loss], channel("after"));
    assert!(w.counts(&before));
    assert!(!w.counts(&aside) && !w.counts(&after));
    with(Mutant::CausalLosses, || assert!(w.counts(&aside)));
}

#[test]
fn a_taken_role_and_a_removed_role_take_what_they_gave() {
    let (mut w, made, head) = with_moderator(3, &[Permission::ManageChannels]);
    let mut taken = w.clone();
    taken.write(FOUNDER, &[head], grant(M, made, false));
    let aside = taken.write(M, &[head], channel("aside"));
    assert!(!taken.counts(&aside));
    let removed = w.write(FOUNDER, &[head], role_removal(made, true));
    let aside = w.write(M, &[head], channel("aside"));
    assert!(!w.counts(&aside));
    assert!(!w.state().roles.contains_key(&made.into()));
    let back = w.write(FOUNDER, &[removed], role_removal(made, false));
    let after = w.write(M, &[back], channel("after"));
    assert!(w.counts(&after));
}

#[test]
fn nobody_gives_what_they_do_not_hold_or_stand_above() {
    let all = [Permission::ManageRoles, Permission::Kick];
    let (mut w, made, head) = with_moderator(4, &all);
    let high = w.write(FOUNDER, &[head], role("high", 300, &[Permission::Kick]));
    let void = [
        role("grab", 0, &[Permission::Ban]),
        role("too high", 200, &[]),
        allow(made.into(), only(&[Permission::Kick, Permission::Ban])),
        allow(
            RoleId::EVERYONE,
            only(&[Permission::View, Permission::Invite]),
        ),
        grant(X, high, true),
        grant(M, made, true),
        grant(B, made, true),
        set(X, Some(200)),
        settings("mine"),
    ];
    for act in void {
        let mut w = w.clone();
        let id = w.write(M, &[high], act);
        assert!(!w.counts(&id), "{:?}", w.acts.last().expect("written").act);
    }
    let fair = [
        role("helper", 50, &[Permission::Kick]),
        allow(made.into(), only(&[Permission::ManageRoles])),
        grant(X, made, true),
        set(X, Some(199)),
        allow(RoleId::EVERYONE, only(&[Permission::View])),
    ];
    for act in fair {
        let id = w.write(M, &[high], act);
        assert!(w.counts(&id), "{}", w.verdicts()[&id]);
    }
}

/// Otherwise its verdict would come before that of the grant.
#[test]
fn a_grant_counts_for_acts_up_to_the_rank_of_who_gave_it() {
    let all = [Permission::ManageRoles, Permission::Kick];
    let (mut w, made, head) = with_moderator(5, &all);
    let given = w.write(M, &[head], grant(X, made, true));
    let raised = w.write(FOUNDER, &[given], set(X, Some(400)));
    let other = w.write(FOUNDER, &[raised], set(Y, Some(300)));
    let kick = w.write(X, &[other], set(Y, None));
    assert_eq!(w.verdicts()[&kick], Verdict::Void(Why::Protected));
    assert_eq!(w.authority().unsettled(), []);
    with(Mutant::LowGrantsLift, || {
        assert!(w.counts(&kick));
        assert_ne!(w.authority().unsettled(), []);
    });
    let again = w.write(FOUNDER, &[kick], grant(X, made, true));
    let kick = w.write(X, &[again], set(Y, None));
    assert!(w.counts(&kick));
}

#[test]
fn a_closed_channel_is_seen_by_whom_its_exceptions_name() {
    let (mut w, made, head) = with_moderator(6, &[Permission::Kick]);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let (see, everyone) = (Permission::View.into(), Target::Role(RoleId::EVERYONE));
    let none = Permissions::NONE;
    let shut = w.write(FOUNDER, &[room], overwrite(room, everyone, none, see));
    let here = room.into();
    let viewers = |w: &World| w.state().channels[&here].viewers.clone();
    // The founder and the admin B see everything.
    assert_eq!(viewers(&w), Some([user(FOUNDER), user(B)].into()));
    let by_role = overwrite(room, Target::Role(made.into()), see, none);
    let head = w.write(FOUNDER, &[shut], by_role);
    assert!(viewers(&w).expect("closed").contains(&user(M)));
    let by_name = overwrite(room, Target::User(user(M)), none, see);
    let head = w.write(FOUNDER, &[head], by_name);
    assert!(!viewers(&w).expect("closed").contains(&user(M)));
    let one = overwrite(room, Target::User(user(X)), see, none);
    let head = w.write(FOUNDER, &[head], one);
    let authority = w.authority();
    let say = |person, permission| {
        let wish = Wish::Say(permission, here);
        authority
            .judge(&device(person), &[head], at(90_000), wish)
            .allowed
    };
    assert!(say(X, Permission::Send) && !say(Y, Permission::Send));
    assert!(!say(Y, Permission::View) && !say(M, Permission::React));
    let state = authority.state();
    let audience = Audience::Channel(here);
    assert_eq!(state.audience_of(&here), audience);
    assert_eq!(state.recipients(&audience).len(), 3);
    assert!(state.rotation_due(&audience), "it has no secret yet");
    w.write(FOUNDER, &[head], overwrite(room, everyone, none, none));
    assert_eq!(viewers(&w), None);
    assert_eq!(w.state().audience_of(&here), Audience::Revolt);
}

#[test]
fn an_exception_denies_more_than_roles_allow_and_less_than_ones_own_allows() {
    let (mut w, made, head) = with_moderator(7, &[Permission::ManageMessages]);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let send = Permission::Send.into();
    let none = Permissions::NONE;
    let second = w.write(FOUNDER, &[room], role("second", 0, &[]));
    let head = w.write(FOUNDER, &[second], grant(M, second, true));
    let roles = |id: EnvelopeId| Target::Role(id.into());
    let head = w.write(FOUNDER, &[head], overwrite(room, roles(made), send, none));
    let head = w.write(FOUNDER, &[head], overwrite(room, roles(second), none, send));
    let here = room.into();
    let may = |w: &World| w.authority().permissions(&user(M), Some(&here));
    assert!(!may(&w).has(Permission::Send), "among roles a denial wins");
    assert!(may(&w).has(Permission::ManageMessages));
    let own = overwrite(room, Target::User(user(M)), send, none);
    w.write(FOUNDER, &[head], own);
    assert!(may(&w).has(Permission::Send));
}

/// Whoever may no longer see a channel may hold its secret.
#[test]
fn a_secret_is_tainted_by_who_lost_sight() {
    let (mut w, _, head) = with_moderator(8, &[]);
    let room = w.write(FOUNDER, &[head], channel("room"));
    let (see, none) = (Permission::View.into(), Permissions::NONE);
    let everyone = Target::Role(RoleId::EVERYONE);
    let head = w.write(FOUNDER, &[room], overwrite(room, everyone, none, see));
    let in_x = overwrite(room, Target::User(user(X)), see, none);
    let head = w.write(FOUNDER, &[head], in_x);
    let audience = Audience::Channel(room.into());
    let turn = |generation| {
        let revnet_protocol::Act::KeyRotate(rotate) =
            rotate(generation, u8::try_from(generation).expect("small"))
        else {
            unreachable!("a rotation");
        };
        revnet_protocol::Act::KeyRotate(revnet_protocol::act::KeyRotate { audience, ..rotate })
    };
    let head = w.write(X, &[head], turn(1));
    assert!(!w.state().rotation_due(&audience));
    let mut stranger = w.clone();
    stranger.write(Y, &[head], turn(2));
    let newest = stranger.state().epochs[&audience].last().cloned();
    assert!(newest.expect("two").tainted, "made by who doesn't see it");
    let out = overwrite(room, Target::User(user(X)), none, see);
    let out = w.write(FOUNDER, &[head], out);
    assert!(w.state().rotation_due(&audience));
    w.write(FOUNDER, &[out], turn(2));
    assert!(!w.state().rotation_due(&audience));
    // An admin who was lowered saw it without an exception.
    w.write(FOUNDER, &[out], set(B, Some(0)));
    assert!(w.state().rotation_due(&audience));
}

#[test]
fn silence_hides_words_for_its_time() {
    let (mut w, head) = World::with(9, &[B, X], &[(B, 500)]);
    let quiet = w.write(B, &[head], timeout(X, Some(5000)));
    let when = w.authority().hlc_of(&quiet).expect("written").ms;
    let said = |w: &World, heads: &[EnvelopeId], ms| {
        let wish = Wish::Say(Permission::Send, Default::default());
        w.authority().judge(&device(X), heads, at(ms), wish).allowed
    };
    assert!(said(&w, &[head], when - 1), "before it");
    assert!(!said(&w, &[head], when + 1) && !said(&w, &[quiet], when + 1));
    assert!(!said(&w, &[quiet], 4999) && said(&w, &[quiet], 5000));
    let lifted = w.write(B, &[quiet], timeout(X, None));
    let later = w.authority().hlc_of(&lifted).expect("written").ms;
    assert!(said(&w, &[quiet], later + 1) && !said(&w, &[quiet], later - 1));
    let void = w.write(X, &[lifted], timeout(B, Some(9000)));
    assert!(!w.counts(&void));
}

#[test]
fn who_is_banned_needs_more_than_a_new_link() {
    let (mut w, head) = World::with(10, &[B, X], &[(B, 500)]);
    let out = w.write(B, &[head], ban(X, true));
    assert!(w.state().former[&user(X)].banned);
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[out], invite(number));
    let back = w.write(X, &[door], join(X, number));
    assert_eq!(level(&w.state(), X), None);
    let lifted = w.write(B, &[back], ban(X, false));
    assert_eq!(level(&w.state(), X), None, "the link is older");
    assert!(!w.state().former[&user(X)].banned);
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[lifted], invite(number));
    let back = w.write(X, &[door], join(X, number));
    let name = w.write(X, &[back], profile("back"));
    assert_eq!(level(&w.state(), X), Some(0));
    assert!(w.counts(&name));
}

#[test]
fn a_device_that_was_taken_back_is_out_and_its_owner_stays() {
    let (mut w, head) = World::with(11, &[B], &[(B, 500)]);
    let number = w.next_invite();
    let door = w.write(FOUNDER, &[head], invite(number));
    let second = join_with(B, 1, number);
    let other = revnet_protocol::act::Join::clone(match &second {
        revnet_protocol::Act::Join(join) => join,
        _ => unreachable!("a join"),
    });
    let joined = w.write_on(other.cert.device, &[door], second);
    let key = w.write(FOUNDER, &[joined], rotate(1, 1));
    let room = w.write(B, &[key], channel("before"));
    let gone = w.write_on(other.cert.device, &[room], w.retire(B));
    let aside = w.write(B, &[key], channel("aside"));
    let after = w.write(B, &[gone], channel("after"));
    let by_other = w.write_on(other.cert.device, &[gone], channel("still here"));
    assert!(w.counts(&room) && w.counts(&by_other));
    assert_eq!(w.verdicts()[&aside], Verdict::Void(Why::Revoked(gone)));
    assert_eq!(w.verdicts()[&after], Verdict::Void(Why::Revoked(gone)));
    let state = w.state();
    let member = &state.members[&user(B)];
    assert_eq!(
        member.devices.keys().collect::<Vec<_>>(),
        [&other.cert.device]
    );
    assert_eq!(state.user_of(&device(B)), Some((user(B), false)));
    assert!(
        state.rotation_due(&Audience::Revolt),
        "the device knows the secret"
    );
    let authority = w.authority();
    let when = authority.hlc_of(&gone).expect("written").ms;
    let said = |heads: &[EnvelopeId], ms| {
        let wish = Wish::Say(Permission::Send, Default::default());
        authority.judge(&device(B), heads, at(ms), wish).allowed
    };
    assert!(said(&[room], when - 1));
    assert!(!said(&[room], when + 1) && !said(&[gone], when - 1));
}

#[test]
fn only_the_owners_root_key_takes_a_device_back() {
    let (mut w, head) = World::with(12, &[B, X], &[(B, 500)]);
    let act = match w.retire(X) {
        revnet_protocol::Act::RevokeDevice(mut revocation) => {
            revocation.device = device(B);
            revnet_protocol::Act::RevokeDevice(revocation)
        }
        _ => unreachable!("a revocation"),
    };
    let forged = w.write(X, &[head], act);
    assert_eq!(w.verdicts()[&forged], Verdict::Void(Why::Unsound));
    let room = w.write(B, &[forged], channel("room"));
    assert!(w.counts(&room));
}

#[test]
fn what_others_built_on_outlives_the_device_that_wrote_it() {
    let (mut w, head) = World::with(13, &[B, X], &[(B, 500)]);
    let first = w.acts[0].id;
    let room = w.write(B, &[head], channel("room"));
    w.write(FOUNDER, &[room], settings("seen"));
    w.write_on(second(B), &[first], join_with(B, 1, 0));
    let gone = w.write_on(second(B), &[first], revoke_device(B, w.first_of(B)));
    assert!(w.counts(&room));
    with(Mutant::RevocationsErase, || {
        assert_eq!(w.verdicts()[&room], Verdict::Void(Why::Revoked(gone)));
    });
}
