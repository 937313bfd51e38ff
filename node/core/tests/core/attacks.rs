//! Peers that send as much as they can, to make work or to fill memory.

use std::collections::BTreeSet;

use revnet_core::command::{Command, Place, Reply};
use revnet_core::storage::{Answer, Boot, Query, Storage as _};
use revnet_protocol::envelope::Envelope;
use revnet_protocol::epoch::Tag;
use revnet_protocol::frame::{Fingerprint, Frame};
use revnet_protocol::range::{Have, Part, Question, Range};
use revnet_protocol::{
    Act, DeviceId, DeviceKeys, EnvelopeId, EpochSecret, KeyId, RevoltId, Signature, StreamId,
};

use crate::forger::{Forger, pushed};
use crate::home::{Home, greet, join, link, meet_again, part, stream, talk, talk_among};

/// How many frames a flood has before it is given up.
const FLOOD: usize = 1_000_000;
/// What is said of who empties the purse.
const TOO_DEAR: &str = "costs more than a peer may";

/// Ada founded, Ben is in; both are linked.
fn two() -> (Home, Home, Place) {
    let (mut ada, mut ben) = (Home::new(1), Home::new(2));
    let at = ada.found();
    join(&mut ada, &mut ben, at);
    (ada, ben, at)
}

/// Sends a frame again and again until its sender is sent away, and says how often that was.
fn flood(from: &mut Home, to: &mut Home, frame: &Frame) -> usize {
    for sent in 1..=FLOOD {
        from.slip(to, frame);
        if !to.blamed.is_empty() {
            assert_eq!(to.blamed, [(from.device(), TOO_DEAR)]);
            return sent;
        }
        to.frames_out_dropped();
    }
    panic!("nobody minds {frame:?}");
}

/// Frames that bring nothing and are no offence.
fn useless(revolt: RevoltId) -> Vec<Frame> {
    let tags = |count: u8| (0..count).map(|n| Tag([n; 16])).collect();
    let question = Question {
        range: Range::whole(Part::Words),
        have: Have::Tips(Vec::new()),
    };
    let nothing: [Option<Fingerprint>; 2] = [None, None];
    vec![
        Frame::Prove { proofs: tags(16) },
        Frame::Knock {
            proof: Tag([7; 16]),
            signature: Signature([7; 64]),
        },
        Frame::Pull {
            revolt,
            have: nothing,
            cursor: None,
        },
        Frame::Ask {
            revolt,
            questions: vec![question],
            from: None,
        },
        Frame::NeedKeys {
            revolt,
            key_ids: vec![KeyId([9; 32]); 16],
        },
        Frame::Keys {
            revolt,
            chunks: Vec::new(),
        },
        Frame::Pulled {
            revolt,
            cursor: None,
            more: None,
        },
    ]
}

#[test]
fn who_floods_is_sent_away_whatever_it_sends_and_may_come_back() {
    let (mut ada, mut ben, at) = two();
    for is_member in [false, true] {
        let mut eve = Home::new(5);
        for frame in useless(at.revolt) {
            let from = if is_member { &mut ben } else { &mut eve };
            part(&mut ada, from);
            link(&mut ada, from);
            assert_eq!(ada.blamed, [], "who was away long enough is welcome");
            let sent = flood(from, &mut ada, &frame);
            // A second or three of work, at 20 µs for each frame at least.
            let most = if is_member { 150_000 } else { 25_000 };
            assert!((100..=most).contains(&sent), "{sent} times {frame:?}");
            ada.blamed.clear();
            // It stays away for five minutes.
            greet(from, &mut ada);
            assert_eq!(
                std::mem::take(&mut ada.blamed),
                [(from.device(), "misbehaved a moment ago")]
            );
            ada.pass(301_000);
            ada.blamed.clear();
        }
    }
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    ben.say(at, "after all that");
    meet_again(&mut ada, &mut ben);
    assert_eq!(ada.texts(at), ["after all that"]);
}

#[test]
fn what_honest_programs_send_in_a_minute_costs_nobody_the_link() {
    let (mut ada, mut ben, at) = two();
    for second in 0..60 {
        for frame in useless(at.revolt) {
            for _ in 0..20 {
                ben.slip(&mut ada, &frame);
            }
        }
        ben.say(at, &format!("second {second}"));
        talk(&mut ada, &mut ben);
        ada.pass(1000);
        ben.pass(1000);
    }
    assert_eq!(ada.blamed, []);
}

/// The authors of the acts that a node keeps.
fn authors(home: &Home) -> Vec<DeviceId> {
    let boot = Boot::read(&home.storage).expect("memory reads");
    let acts = boot.control.iter().map(|bytes| Envelope::decode(bytes));
    acts.map(|act| act.expect("stored").header.device).collect()
}

fn acts_of(home: &Home, device: &DeviceId) -> usize {
    authors(home).iter().filter(|of| *of == device).count()
}

fn devices(home: &Home) -> usize {
    authors(home).into_iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn who_knocks_with_thousands_of_strange_devices_fills_no_control_stream() {
    let (mut ada, mut ben, at) = two();
    part(&mut ada, &mut ben);
    let mut eve = Home::new(5);
    let invite = ada.invite(at.revolt);
    eve.begin(Command::Join { link: invite });
    greet(&mut ada, &mut eve);
    let mut homes = [ada, eve];
    talk_among(&mut homes, |from, _, frame| {
        from == 0 || matches!(frame, Frame::Hello { .. } | Frame::Knock { .. })
    });
    let [mut ada, mut eve] = homes;
    let before = devices(&ada);
    let secret = EpochSecret::new([3; 32]);
    let control = StreamId::control(&at.revolt);
    let strange = |number: u16| {
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&number.to_le_bytes());
        let keys = DeviceKeys::from_seed(seed);
        Forger::stranger(keys, secret.clone(), control)
    };
    let now = ada.unix_ms();
    let profile = Act::Profile { name: "x".into() }.encode();
    let mut long = strange(3000);
    for run in 1..=3 {
        let acts = (1..=100).map(|n| long.write(now + run * 100 + n, &profile, None));
        let acts = acts.collect();
        eve.slip(&mut ada, &pushed(at.revolt, acts));
    }
    let of_long = acts_of(&ada, &long.device());
    assert!((1..=16).contains(&of_long), "{of_long} acts of one device");
    for number in 0..2000 {
        let act = strange(number).write(now, &profile, None);
        eve.slip(&mut ada, &pushed(at.revolt, vec![act]));
    }
    assert!(
        (1..=512).contains(&(devices(&ada) - before)),
        "{} devices were taken",
        devices(&ada) - before
    );
    part(&mut ada, &mut eve);
    // Newcomers with an invite get in all the same, and members hear of them.
    let mut fred = Home::new(6);
    join(&mut ada, &mut fred, at);
    fred.say(at, "here I am");
    meet_again(&mut ada, &mut fred);
    assert_eq!(ada.texts(at), ["here I am"]);
}

/// The number of envelopes of an author in a channel that a node keeps.
fn kept(home: &Home, author: &Home, at: Place) -> usize {
    let query = Query::Ranges {
        ranges: vec![(stream(at), author.device(), 1)],
        max_bytes: usize::MAX,
    };
    match home.storage.query(&query) {
        Ok(Answer::Envelopes { envelopes, .. }) => envelopes.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_what_cites_an_unknown_act_some_is_kept_and_all_is_read_in_the_end() {
    const WORDS: u64 = 5000;
    let (mut ada, mut ben, at) = two();
    let mut cleo = Home::new(3);
    part(&mut ada, &mut ben);
    join(&mut ada, &mut cleo, at);
    part(&mut ada, &mut cleo);
    meet_again(&mut ada, &mut ben);
    let mut acts = Forger::of(&ben, at.revolt, StreamId::control(&at.revolt));
    let now = ben.unix_ms().max(acts.hlc.ms) + 1;
    let act = acts.write(now, &Act::Profile { name: "Ben".into() }.encode(), None);
    let mut words = Forger::of(&ben, at.revolt, stream(at)).citing(vec![act.header.id()], now);
    let mut said = Vec::new();
    for number in 1..=WORDS {
        if number % 500 == 0 {
            words.next_segment();
        }
        said.push(words.say(now + number, &format!("word {number}")));
    }
    for run in said.chunks(250) {
        ben.slip(&mut ada, &pushed(at.revolt, run.to_vec()));
    }
    assert_eq!(ada.blamed, []);
    let parked = kept(&ada, &ben, at);
    assert!((250..=1024 + 250).contains(&parked), "{parked} are kept");
    assert!(ada.opened(at).is_empty());
    part(&mut ada, &mut ben);
    link(&mut cleo, &mut ben);
    ben.slip(&mut cleo, &pushed(at.revolt, vec![act]));
    for run in said.chunks(250) {
        ben.slip(&mut cleo, &pushed(at.revolt, run.to_vec()));
    }
    assert_eq!(cleo.opened(at).len() as u64, WORDS);
    part(&mut cleo, &mut ben);
    for _ in 0..2 {
        meet_again(&mut ada, &mut cleo);
    }
    assert_eq!(ada.opened(at).len() as u64, WORDS);
    assert_eq!((ada.blamed, cleo.blamed), (Vec::new(), Vec::new()));
}

#[test]
fn an_unknown_head_costs_no_more_after_a_restart() {
    let (mut ada, mut ben, at) = two();
    let now = ben.unix_ms();
    let nowhere = EnvelopeId([8; 32]);
    let mut words = Forger::of(&ben, at.revolt, stream(at)).citing(vec![nowhere], now);
    let push = |ada: &mut Home, ben: &mut Home, words: &mut Forger| {
        for _ in 0..8 {
            let from = words.hlc.ms;
            let run = (1..=250).map(|n| words.say(from + n, "word"));
            let run = run.collect();
            words.next_segment();
            ben.slip(ada, &pushed(at.revolt, run));
        }
    };
    push(&mut ada, &mut ben, &mut words);
    let before = kept(&ada, &ben, at);
    assert!((1000..=1024 + 250).contains(&before), "{before}");
    ada.restart();
    part(&mut ada, &mut ben);
    link(&mut ada, &mut ben);
    push(&mut ada, &mut ben, &mut words);
    assert_eq!(kept(&ada, &ben, at), before);
}

#[test]
fn who_shares_nothing_is_parted_from_without_blame() {
    let (mut ada, mut ben, at) = two();
    let mut eve = Home::new(5);
    eve.found();
    link(&mut ada, &mut eve);
    for _ in 0..4 {
        for home in [&mut ada, &mut ben, &mut eve] {
            home.pass(15_000);
        }
        talk(&mut ada, &mut ben);
    }
    let reason = "shares nothing with this node";
    assert_eq!(ada.blamed, [(eve.device(), reason)]);
    assert_eq!(eve.blamed, [(ada.device(), reason)]);
    // The two may still come to share something.
    part(&mut ada, &mut eve);
    join(&mut ada, &mut eve, at);
    assert_eq!(ada.blamed.len() + eve.blamed.len(), 2);
}

#[test]
fn a_newcomer_keeps_the_link_while_the_invite_is_unknown() {
    let (mut ada, mut ben, at) = two();
    part(&mut ada, &mut ben);
    let invite = ada.invite(at.revolt);
    // Ben doesn't know the invite yet.
    let mut fred = Home::new(6);
    let command = fred.begin(Command::Join { link: invite });
    link(&mut ben, &mut fred);
    for _ in 0..5 {
        fred.pass(10_000);
        talk(&mut ben, &mut fred);
    }
    assert_eq!(fred.blamed, []);
    part(&mut ben, &mut fred);
    link(&mut ada, &mut fred);
    assert!(matches!(fred.answer(command), Reply::Revolt(_)));
}
