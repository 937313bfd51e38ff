//! How messages look after edits, deletes and reactions.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;
use revnet_crdt::view::{MAX_REACTIONS, Said, Shown, fold};
use revnet_protocol::{Content, DeviceId, Event, Hash, Hlc, Imported, MessageId, UserId};

const ANNA: u8 = 1;
const BERT: u8 = 2;
const MOD: u8 = 9;

fn id(ms: u64, user: u8) -> MessageId {
    MessageId {
        hlc: Hlc { ms, counter: 0 },
        device: DeviceId([user; 32]),
        seq: ms + 1,
    }
}

fn content(text: &str) -> Content {
    Content {
        salt: [0; 16],
        text: text.to_owned(),
        imported: None,
    }
}

fn said(ms: u64, user: u8, event: Event) -> Said {
    Said {
        id: id(ms, user),
        user: UserId([user; 32]),
        shown: true,
        moderates: user == MOD,
        event,
        content: None,
    }
}

fn base() -> Said {
    let event = Event::Message {
        reply_to: Some(id(0, BERT)),
        body: Hash([0; 32]),
    };
    let imported = Imported {
        source: "log".into(),
        id: "1".into(),
        author: "somebody".into(),
        time_ms: 5,
        reply_to: None,
    };
    Said {
        content: Some(Content {
            imported: Some(imported),
            ..content("first words")
        }),
        ..said(10, ANNA, event)
    }
}

fn edit(ms: u64, user: u8, text: &str) -> Said {
    let event = Event::Edit {
        target: base().id,
        body: Hash([ms as u8; 32]),
    };
    Said {
        content: Some(content(text)),
        ..said(ms, user, event)
    }
}

fn delete(ms: u64, user: u8) -> Said {
    said(ms, user, Event::Delete { target: base().id })
}

fn react(ms: u64, user: u8, emoji: &str, on: bool) -> Said {
    let event = Event::React {
        target: base().id,
        emoji: emoji.to_owned(),
        on,
    };
    said(ms, user, event)
}

fn void(said: Said) -> Said {
    Said {
        shown: false,
        ..said
    }
}

fn shown(overlays: &[Said]) -> Shown {
    fold(&base(), overlays).expect("the message is shown")
}

#[test]
fn only_messages_whose_author_might_write_are_shown() {
    assert_eq!(fold(&void(base()), &[]), None);
    assert_eq!(fold(&edit(11, ANNA, "x"), &[]), None);
    let plain = shown(&[]);
    assert_eq!(plain.text, "first words");
    assert_eq!(plain.reply_to, Some(id(0, BERT)));
    assert_eq!((plain.edited, plain.deleted), (None, false));
    assert_eq!(plain.imported.expect("kept").author, "somebody");
}

#[test]
fn the_last_edit_of_the_author_counts() {
    let edited = shown(&[edit(20, ANNA, "third"), edit(15, ANNA, "second")]);
    assert_eq!(edited.text, "third");
    assert_eq!(edited.edited, Some(Hlc { ms: 20, counter: 0 }));
    assert!(edited.imported.is_some(), "an edit isn't an import");
    for other in [BERT, MOD] {
        assert_eq!(shown(&[edit(20, other, "forged")]), shown(&[]));
    }
    assert_eq!(shown(&[void(edit(20, ANNA, "banned"))]), shown(&[]));
    let elsewhere = Said {
        event: Event::Edit {
            target: id(11, ANNA),
            body: Hash([0; 32]),
        },
        ..edit(20, ANNA, "another message")
    };
    assert_eq!(shown(&[elsewhere]), shown(&[]));
}

#[test]
fn lost_words_don_t_bring_older_ones_back() {
    let lost = Said {
        content: None,
        ..edit(20, ANNA, "")
    };
    let gone = shown(&[edit(15, ANNA, "second"), lost.clone()]);
    assert_eq!((gone.text.as_str(), gone.deleted), ("", true));
    // A copy that has the words decides, wherever it stands.
    let found = edit(20, ANNA, "third");
    assert_eq!(shown(&[lost.clone(), found.clone()]).text, "third");
    assert_eq!(shown(&[found, lost]).text, "third");
    let never_had = Said {
        content: None,
        ..base()
    };
    assert!(fold(&never_had, &[]).expect("its place").deleted);
}

#[test]
fn the_author_and_moderators_delete_and_nothing_but_the_place_is_left() {
    for user in [ANNA, MOD] {
        let gone = shown(&[
            react(12, BERT, "👍", true),
            delete(11, user),
            edit(30, ANNA, "back"),
        ]);
        let left = Shown {
            id: base().id,
            user: UserId([ANNA; 32]),
            text: String::new(),
            reply_to: Some(id(0, BERT)),
            edited: None,
            deleted: true,
            reactions: BTreeMap::new(),
            imported: None,
        };
        assert_eq!(gone, left);
        assert_eq!(
            shown(&[void(delete(11, user))]),
            shown(&[]),
            "a void delete restores"
        );
    }
    assert_eq!(shown(&[delete(11, BERT)]), shown(&[]));
}

#[test]
fn the_last_reaction_of_a_person_and_emoji_counts_and_the_first_comes_first() {
    let overlays = [
        react(30, ANNA, "👍", true),
        react(20, BERT, "👍", true),
        react(21, BERT, "🎉", true),
        react(22, BERT, "🎉", false),
        react(40, MOD, "👍", true),
        react(41, MOD, "👍", false),
        react(42, MOD, "👍", true),
        void(react(50, BERT, "👍", false)),
    ];
    let people = [BERT, ANNA, MOD].map(|user| UserId([user; 32]));
    let wanted = BTreeMap::from([("👍".to_owned(), people.to_vec())]);
    assert_eq!(shown(&overlays).reactions, wanted);
}

#[test]
fn the_newest_64_reactions_of_a_person_count() {
    let many = |user: u8, count: usize| {
        (0..count).map(move |at| react(100 + at as u64, user, &format!("e{at:03}"), true))
    };
    let mut overlays: Vec<_> = many(BERT, MAX_REACTIONS + 2).chain(many(MOD, 1)).collect();
    overlays.extend((0..80).map(|at| void(react(500 + at, BERT, "void", true))));
    let found = shown(&overlays).reactions;
    assert_eq!(found.len(), MAX_REACTIONS + 1);
    assert!(!found.contains_key("e001") && found.contains_key("e002"));
    assert_eq!(
        found["e000"],
        [UserId([MOD; 32])],
        "others aren't pushed out"
    );
    overlays.push(react(400, BERT, "e065", false));
    assert!(
        !shown(&overlays).reactions.contains_key("e065"),
        "the last can be taken back"
    );
}

fn overlay() -> impl Strategy<Value = Said> {
    let user = prop::sample::select(vec![ANNA, BERT, MOD]);
    (user, 0..4u8, 8..16u64, 0..3u8, any::<(bool, bool, bool)>()).prop_map(
        |(user, kind, ms, which, (on, valid, words))| {
            let mut said = match kind {
                0 => edit(ms, user, &format!("edit {which}")),
                1 if which > 0 => react(ms, user, "🎉", on),
                1 => delete(ms, user),
                _ => react(ms, user, ["a", "b", "c"][usize::from(which)], on),
            };
            if let Event::Edit { body, .. } = &mut said.event {
                *body = Hash([which; 32]);
            }
            said.shown = valid;
            said.content = said.content.filter(|_| words);
            said
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn order_repetition_and_void_overlays_make_no_difference(
        (overlays, shuffled) in prop::collection::vec(overlay(), 0..14)
            .prop_flat_map(|said| (Just(said.clone()), Just(said).prop_shuffle())),
        again in subsequence((0..14).collect::<Vec<usize>>(), 0..14),
    ) {
        let once = shown(&overlays);
        let mut twice = shuffled;
        twice.extend(again.into_iter().filter_map(|at| overlays.get(at).cloned()));
        prop_assert_eq!(&once, &shown(&twice));
        twice.retain(|said| said.shown);
        prop_assert_eq!(&once, &shown(&twice));
    }

    #[test]
    fn reactions_agree_with_a_plain_count(overlays in prop::collection::vec(overlay(), 0..14)) {
        let view = shown(&overlays);
        for user in [ANNA, BERT, MOD].map(|user| UserId([user; 32])) {
            for emoji in ["a", "b", "c", "🎉"] {
                let own = |said: &&Said| {
                    said.shown
                        && said.user == user
                        && matches!(&said.event, Event::React { emoji: e, .. } if e == emoji)
                };
                let last = overlays.iter().filter(own).map(|said| said.id).max();
                let is_on = |said: &Said| matches!(said.event, Event::React { on, .. } if on);
                let on = overlays.iter().filter(own).any(|said| Some(said.id) == last && is_on(said));
                let there = view.reactions.get(emoji).is_some_and(|people| people.contains(&user));
                prop_assert_eq!(there, on && !view.deleted);
            }
        }
    }
}
