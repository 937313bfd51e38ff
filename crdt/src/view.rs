//! What a message looks like after everything that was done to it.
//!
//! A pure fold over a set: order, repetition and batching of the overlays don't matter. An overlay whose
//! author had no right to it (`shown` false) is as if it had never been written, so when rights change,
//! folding again restores or removes what it did.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::{Content, Event, Hlc, Imported, MessageId, UserId};

/// How many reactions of one person to one message count: the newest by id.
pub const MAX_REACTIONS: usize = 64;

/// An event with what the rules say about its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its place in the stream.
    pub id: MessageId,
    /// Whose device wrote it.
    pub user: UserId,
    /// Whether the author had the right to it.
    pub shown: bool,
    /// Whether the author may take away other people's messages.
    pub moderates: bool,
    /// What happened.
    pub event: Event,
    /// Its words; none where the event has none, or the body was dropped or can't be read yet.
    pub content: Option<Content>,
}

/// A message as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The message's name and place.
    pub id: MessageId,
    /// Who wrote it.
    pub user: UserId,
    /// Its newest words as Markdown; empty if deleted.
    pub text: String,
    /// The message that it answers; kept when deleted.
    pub reply_to: Option<MessageId>,
    /// When the newest edit was written.
    pub edited: Option<Hlc>,
    /// Taken away, or its newest words are gone: only its place is left.
    pub deleted: bool,
    /// Who reacted with what; people in the order of their reactions' ids.
    pub reactions: BTreeMap<String, Vec<UserId>>,
    /// Where it was imported from, as its first words said.
    pub imported: Option<Imported>,
}

/// Folds a message with what people did to it; none if `base` isn't a message or isn't to be shown.
///
/// - An edit counts from the message's user only; the last one by id decides, even where its words are
///   gone: old words must not pass for new ones.
/// - A delete counts from the message's user and from moderators, whatever else happened. It takes the
///   words, reactions and import note away, and so does the loss of the newest words.
/// - Of one person's reactions with one emoji the last by id decides. Of all that one person ever did to
///   reactions of the message the newest [`MAX_REACTIONS`] count. (Not the oldest: then nobody could
///   take the 65th back. Void ones aren't counted: then somebody without rights could push out what
///   they did when they had them.) Of edits and deletes one decides anyway, so that no limit is needed.
///
/// Overlays of other messages, and repeated ones, have no effect.
#[must_use]
pub fn fold(base: &Said, overlays: &[Said]) -> Option<Shown> {
    let Event::Message { reply_to, .. } = &base.event else {
        return None;
    };
    if !base.shown {
        return None;
    }
    let mut shown = Shown {
        id: base.id,
        user: base.user,
        text: String::new(),
        reply_to: *reply_to,
        edited: None,
        deleted: true,
        reactions: BTreeMap::new(),
        imported: None,
    };
    let counting = |kind: fn(&Event) -> bool| {
        overlays.iter().filter(move |said| {
            said.shown && said.event.target() == Some(base.id) && kind(&said.event)
        })
    };
    let deleted = counting(|event| matches!(event, Event::Delete { .. }))
        .any(|said| said.user == base.user || said.moderates);
    let edit = counting(|event| matches!(event, Event::Edit { .. }))
        .filter(|said| said.user == base.user)
        .max_by_key(|said| (said.id, said.event.body(), said.content.is_some()));
    let words = edit.unwrap_or(base).content.as_ref();
    let Some(words) = words.filter(|_| !deleted) else {
        return Some(shown);
    };
    shown.deleted = false;
    shown.text.clone_from(&words.text);
    shown.edited = edit.map(|said| said.id.hlc);
    shown.imported = base
        .content
        .as_ref()
        .and_then(|content| content.imported.clone());
    shown.reactions = reactions(counting(|event| matches!(event, Event::React { .. })));
    Some(shown)
}

fn reactions<'a>(said: impl Iterator<Item = &'a Said>) -> BTreeMap<String, Vec<UserId>> {
    let mut by_user: BTreeMap<UserId, BTreeSet<(MessageId, &str, bool)>> = BTreeMap::new();
    for said in said {
        if let Event::React { emoji, on, .. } = &said.event {
            let own = by_user.entry(said.user).or_default();
            own.insert((said.id, emoji, *on));
            if own.len() > MAX_REACTIONS {
                own.pop_first();
            }
        }
    }
    let mut placed: BTreeMap<&str, BTreeMap<MessageId, UserId>> = BTreeMap::new();
    for (user, own) in by_user {
        let mut decided = BTreeSet::new();
        for (id, emoji, on) in own.into_iter().rev() {
            if decided.insert(emoji) && on {
                placed.entry(emoji).or_default().insert(id, user);
            }
        }
    }
    placed
        .into_iter()
        .map(|(emoji, people)| (emoji.to_owned(), people.into_values().collect()))
        .collect()
}
