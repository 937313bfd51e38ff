//! Messages and wishes.

use revnet_crdt::authority::{Authority, Insert, Wish};
use revnet_protocol::{ChannelId, EnvelopeId, Hlc, Permission};

use crate::world::{FOUNDER, World, cast, channel, device, join, revoke, set, user};

const B: usize = 1;
const X: usize = 3;

/// Some channel without exceptions.
const HERE: ChannelId = ChannelId([5; 32]);
const POST: Wish = Wish::Say(Permission::Send, HERE);
const MODERATE: Wish = Wish::Say(Permission::ManageMessages, HERE);

fn at(ms: u64) -> Hlc {
    Hlc { ms, counter: 0 }
}

fn stamp(world: &World, id: &EnvelopeId) -> u64 {
    world.authority().hlc_of(id).expect("written").ms
}

#[test]
fn words_from_before_a_removal_stay_and_words_from_after_it_are_hidden() {
    let (mut w, head) = World::with(1, &[B, X], &[(B, 500)]);
    let removal = w.write(FOUNDER, &[head], set(X, None));
    let authority = w.authority();
    let when = stamp(&w, &removal);
    let post = |heads: &[EnvelopeId], ms| authority.judge(&device(X), heads, at(ms), POST);
    assert!(post(&[head], when - 1).allowed);
    assert_eq!(post(&[head], when - 1).user, Some(user(X)));
    assert!(!post(&[head], when).allowed, "stamped with the removal");
    assert!(!post(&[removal], when - 1).allowed, "knew of the removal");
    assert!(!post(&[head], when + 1000).allowed);
    assert_eq!(post(&[head], when + 1000).user, Some(user(X)));
    let rotate = authority.judge(&device(X), &[head], at(when - 1), Wish::Belong);
    assert!(!rotate.allowed, "only words are cut by time");
}

#[test]
fn moderation_is_cut_where_its_author_was_demoted() {
    let (mut w, head) = World::with(2, &[B], &[(B, 500)]);
    let demotion = w.write(FOUNDER, &[head], set(B, Some(0)));
    let (authority, when) = (w.authority(), stamp(&w, &demotion));
    let wish = |ms, wish| authority.judge(&device(B), &[head], at(ms), wish).allowed;
    assert!(wish(when - 1, MODERATE));
    assert!(!wish(when + 1, MODERATE));
    assert!(wish(when + 1, POST));
    assert!(!wish(when - 1, Wish::Act(Permission::Kick)));
}

#[test]
fn what_cites_unknown_acts_waits() {
    let (w, _) = World::with(3, &[B], &[]);
    let unknown = EnvelopeId([9; 32]);
    let judged = w.authority().judge(&device(B), &[unknown], at(9000), POST);
    assert!(!judged.allowed && judged.unknown_heads);
    assert_eq!(judged.user, Some(user(B)));
}

#[test]
fn a_newcomer_is_heard_though_the_heads_leave_out_the_join() {
    let (mut w, head) = World::with(4, &[], &[]);
    for person in 1..8 {
        w.write(person, &[head], join(person, 0));
    }
    let authority = w.authority();
    let heads = authority.heads();
    for person in 1..8 {
        let judged = authority.judge(&device(person), &heads, at(9000), POST);
        assert!(judged.allowed);
        let judged = authority.judge(&device(person), &heads, at(9000), MODERATE);
        assert!(!judged.allowed);
    }
    let early = authority.judge(&device(7), &[head], at(1), POST);
    assert!(!early.allowed, "before the join");
}

#[test]
fn nothing_stays_of_a_join_that_was_ended() {
    let (mut w, head) = World::with(5, &[], &[]);
    w.write(X, &[head], join(X, 0));
    let revocation = w.write(FOUNDER, &[head], revoke(0, &[]));
    let (authority, when) = (w.authority(), stamp(&w, &revocation));
    assert!(
        !authority
            .judge(&device(X), &[head], at(when - 1), POST)
            .allowed
    );
}

#[test]
fn acts_wait_for_what_they_build_on_in_any_order() {
    let (mut w, head) = World::with(6, &[B], &[(B, 500)]);
    w.write(B, &[head], channel("room"));
    let mut authority = Authority::new(cast().revolt);
    for act in w.acts.iter().skip(1).rev() {
        assert_eq!(authority.insert(act.clone()), Insert::Waiting);
        assert_eq!(authority.insert(act.clone()), Insert::Known);
        assert!(!authority.contains(&act.id));
        assert_eq!(authority.heads(), []);
    }
    assert_eq!(authority.insert(w.acts[0].clone()), Insert::Added);
    assert_eq!(authority.insert(w.acts[0].clone()), Insert::Known);
    assert_eq!(*authority.state(), w.state());
    assert_eq!(authority.heads(), w.tips());
    assert_eq!(authority.newest_hlc(), w.acts.last().expect("some").hlc);
}

/// Ten thousand acts, of which most only wait for their turn in the loop: adding each is cheap, and asking
/// once replays once.
#[test]
fn a_large_revolt_replays_at_once() {
    let (mut w, mut head) = World::with(7, &[B, X], &[(B, 500)]);
    for number in 0..10_000_u32 {
        let by = [FOUNDER, B, X][number as usize % 3];
        let act = match number % 8 {
            0 => channel("room"),
            1 | 2 => set(8, Some(100)),
            3 => crate::world::settings("name"),
            _ => crate::world::profile("name"),
        };
        head = w.write_lean(by, head, act);
    }
    let mut authority = Authority::new(cast().revolt);
    assert_eq!(authority.insert_all(w.acts.iter().cloned()), w.acts.len());
    let counts = authority
        .verdicts()
        .iter()
        .filter(|(_, v)| v.counts())
        .count();
    // Comparing every level event with every other would take minutes here; `cargo xtask bench` has the time.
    assert!(counts > 8000);
}
