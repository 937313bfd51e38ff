//! Chains that are long, or signed rarely, so that an answer doesn't hold what belongs together.

use revnet_core::command::Place;
use revnet_core::storage::{Boot, Space};
use revnet_protocol::envelope::Envelope;
use revnet_protocol::frame::Frame;
use revnet_protocol::range::{Have, Part, Question, Range, Split};
use revnet_protocol::{Act, RevoltId, StreamId};

use crate::forger::{Forger, pushed};
use crate::home::{Home, greet, join, link, meet_again, part, stream, talk, talk_and};

/// Ada founded, Ben and Cleo are in, and nobody is linked.
fn three() -> (Home, Home, Home, Place) {
    let (mut ada, mut ben, mut cleo) = (Home::new(1), Home::new(2), Home::new(3));
    let at = ada.found();
    for guest in [&mut ben, &mut cleo] {
        join(&mut ada, guest, at);
        part(&mut ada, guest);
    }
    for other in [&mut ben, &mut cleo] {
        meet_again(&mut ada, other);
        part(&mut ada, other);
    }
    (ada, ben, cleo, at)
}

fn forger(ben: &Home, revolt: RevoltId, stream: StreamId) -> Forger {
    let forger = Forger::of(ben, revolt, stream);
    forger.citing(vec![ben.last_act()], ben.unix_ms())
}

fn says(forger: &mut Forger, count: u64, length: usize, what: &str) -> Vec<Envelope> {
    let from = forger.hlc.ms;
    let filling = "x".repeat(length);
    let words = (1..=count).map(|n| forger.say(from + n, &format!("{what} {n} {filling}")));
    words.collect()
}

fn push(from: &mut Home, to: &mut Home, revolt: RevoltId, envelopes: &[Envelope]) {
    greet(from, to);
    talk(from, to);
    from.slip(to, &pushed(revolt, envelopes.to_vec()));
    talk(from, to);
    part(from, to);
}

#[test]
fn words_that_are_signed_rarely_are_passed_on_in_runs_that_can_be_passed_on() {
    let (mut ada, mut ben, _, at) = three();
    let mut forger = forger(&ben, at.revolt, stream(at));
    let one = says(&mut forger, 900, 0, "one");
    forger.next_segment();
    let two = says(&mut forger, 600, 0, "two");
    push(&mut ben, &mut ada, at.revolt, &one);
    push(&mut ben, &mut ada, at.revolt, &two);
    assert_eq!(ada.opened(at).len(), 1500);
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    meet_again(&mut ada, &mut dora);
    assert_eq!(dora.blamed, []);
    assert_eq!(dora.opened(at), ada.opened(at));
}

#[test]
fn two_long_histories_fit_into_no_frame_and_are_told_all_the_same() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let mut forger = forger(&ben, at.revolt, stream(at));
    let mut other = forger.clone();
    let one = says(&mut forger, 110, 8000, "one");
    let other = says(&mut other, 110, 8000, "other");
    link(&mut ada, &mut cleo);
    push(&mut ben, &mut ada, at.revolt, &one);
    push(&mut ben, &mut ada, at.revolt, &other);
    meet_again(&mut ada, &mut cleo);
    assert!(ada.opened(at).is_empty(), "both are hidden");
    assert_eq!(
        (ada.blamed.as_slice(), cleo.blamed.as_slice()),
        (&[][..], &[][..])
    );
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    meet_again(&mut ada, &mut dora);
    assert!(dora.opened(at).is_empty());
    assert_eq!(dora.blamed, []);
}

/// Ada has the proof of two long histories. Dora and Eve have one of them each, and more after it.
#[test]
fn who_has_one_long_history_and_more_hears_of_the_other() {
    let (mut ada, mut ben, _, at) = three();
    let (mut dora, mut eve) = (Home::new(4), Home::new(5));
    for guest in [&mut dora, &mut eve] {
        join(&mut ada, guest, at);
        part(&mut ada, guest);
    }
    let mut forger = forger(&ben, at.revolt, stream(at));
    let mut other = forger.clone();
    let histories = [(&mut forger, "one"), (&mut other, "other")].map(|(forger, what)| {
        let words = says(forger, 450, 0, what);
        (words, says(forger, 2, 0, "more"))
    });
    for home in [&mut ada, &mut dora, &mut eve] {
        link(&mut ben, home);
    }
    for ((words, more), home) in histories.iter().zip([&mut dora, &mut eve]) {
        for words in [words, more] {
            ben.slip(home, &pushed(at.revolt, words.clone()));
        }
        assert_eq!(home.opened(at).len(), 452);
        part(&mut ben, home);
    }
    for (words, _) in &histories {
        ben.slip(&mut ada, &pushed(at.revolt, words.clone()));
    }
    part(&mut ben, &mut ada);
    for home in [&mut dora, &mut eve] {
        greet(&mut ada, home);
        let mut rounds = 0;
        talk_and(home, &mut ada, |_| {
            rounds += 1;
            assert!(rounds < 200, "endless");
        });
        meet_again(&mut ada, home);
        assert_eq!(home.opened(at), ada.opened(at));
        assert!(home.opened(at).is_empty());
    }
}

#[test]
fn a_history_that_parts_late_in_a_long_run_is_cut_where_it_can_be_proven() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let mut forger = forger(&ben, at.revolt, stream(at));
    let first = says(&mut forger, 850, 250, "first");
    forger.next_segment();
    let mut other = forger.clone();
    let second = says(&mut forger, 900, 250, "second");
    let other = says(&mut other, 3, 250, "other");
    for words in [&first, &second] {
        push(&mut ben, &mut ada, at.revolt, words);
    }
    for words in [&first, &other] {
        push(&mut ben, &mut cleo, at.revolt, words);
    }
    let across = [&first[1..], &other[..1]].concat();
    push(&mut ben, &mut ada, at.revolt, &across);
    for _ in 0..2 {
        meet_again(&mut ada, &mut cleo);
    }
    assert_eq!(ada.opened(at), cleo.opened(at));
    assert_eq!(ada.opened(at).len(), 850);
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    meet_again(&mut ada, &mut dora);
    assert_eq!(dora.opened(at), ada.opened(at));
}

fn branches(home: &Home) -> usize {
    let boot = Boot::read(&home.storage).expect("memory reads");
    let records = boot.records.keys();
    records.filter(|(space, _)| *space == Space::Branch).count()
}

#[test]
fn acts_that_part_after_a_long_history_find_each_other() {
    let (mut ada, mut ben, mut cleo, at) = three();
    let mut forger = forger(&ben, at.revolt, StreamId::control(&at.revolt));
    let from = ben.unix_ms() + 10;
    let big = |n: u8| [vec![n], vec![255; 8000]].concat();
    let acts = (0..60).map(|n| forger.write(from + u64::from(n), &big(n), None));
    let common: Vec<_> = acts.collect();
    let mut other = forger.clone();
    let name = |name: &str| Act::Profile { name: name.into() }.encode();
    let one = forger.write(from + 100, &name("one"), None);
    let two = other.write(from + 100, &name("two"), None);
    for (home, last) in [(&mut ada, one), (&mut cleo, two)] {
        for acts in common.chunks(30) {
            push(&mut ben, home, at.revolt, acts);
        }
        push(&mut ben, home, at.revolt, &[last]);
    }
    // Dora remembers nothing of Cleo, so they compare.
    let mut dora = Home::new(4);
    join(&mut ada, &mut dora, at);
    meet_again(&mut ada, &mut dora);
    part(&mut ada, &mut dora);
    dora.say(at, "after all that");
    for _ in 0..2 {
        meet_again(&mut dora, &mut cleo);
    }
    assert_eq!((branches(&dora), branches(&cleo)), (1, 1));
    assert_eq!(dora.names(at.revolt), cleo.names(at.revolt));
    assert_eq!(cleo.texts(at), ["after all that"]);
}

#[test]
fn who_is_out_hears_nothing_of_who_wrote_how_much() {
    let (mut ada, mut ben, _, at) = three();
    ada.ask(revnet_core::command::Command::SetMember {
        revolt: at.revolt,
        user: ben.identity.cert.user,
        level: None,
    });
    for number in 0..7 {
        ada.say(at, &format!("{number}"));
    }
    for asked in [Part::Acts, Part::Words] {
        greet(&mut ada, &mut ben);
        talk(&mut ada, &mut ben);
        ada.pass(25_000);
        let pulls = |frame: &Frame| matches!(frame, Frame::Pull { .. });
        assert!(
            ada.frames_out().iter().any(pulls),
            "an older secret is proven"
        );
        let splits = vec![Split {
            range: Range::whole(asked),
            children: None,
        }];
        let revolt = at.revolt;
        ben.slip(&mut ada, &Frame::Compare { revolt, splits });
        for frame in ada.frames_out() {
            if let Frame::Ask { questions, .. } = frame {
                let told = |question: &Question| match &question.have {
                    Have::Split(_) => false,
                    Have::Tips(tips) => !tips.is_empty(),
                };
                let of_words = |question: &Question| question.range.part() == Part::Words;
                let wrong = |question| told(question) || of_words(question);
                assert!(!questions.iter().any(wrong), "{questions:?}");
            }
        }
        part(&mut ada, &mut ben);
    }
}

#[test]
fn questions_that_overlap_cost_their_sender() {
    let (mut ada, mut ben, _, at) = three();
    greet(&mut ada, &mut ben);
    talk(&mut ada, &mut ben);
    let question = Question {
        range: Range::whole(Part::Words),
        have: Have::Tips(Vec::new()),
    };
    let ask = Frame::Ask {
        revolt: at.revolt,
        questions: vec![question; 2],
        from: None,
    };
    ben.slip(&mut ada, &ask);
    assert_eq!(ada.blamed, [(ben.device(), "asked too much at once")]);
}
