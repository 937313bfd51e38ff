//! From events to messages as they are shown.

use std::collections::BTreeMap;

use revnet_protocol::{Content, Event, Hlc, Imported, MessageId, UserId};

/// An event with what its author may do.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its place.
    pub id: MessageId,
    /// Whose device wrote it.
    pub user: UserId,
    /// The author might write there and then.
    pub shown: bool,
    /// The author might delete what others wrote.
    pub moderates: bool,
    /// What.
    pub event: Event,
    /// The words; none where they were dropped or can't be read.
    pub content: Option<Content>,
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its place.
    pub id: MessageId,
    /// Who wrote it.
    pub user: UserId,
    /// The words; empty where it was deleted.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// When it was edited last.
    pub edited: Option<Hlc>,
    /// It was deleted.
    pub deleted: bool,
    /// Who reacted with what, by user id.
    pub reactions: BTreeMap<String, Vec<UserId>>,
    /// Where it was imported from.
    pub imported: Option<Imported>,
}

/// Applies to a message what changes it. The order of `overlays` doesn't matter.
#[must_use]
pub fn fold(base: &Said, overlays: &[Said]) -> Option<Shown> {
    let Event::Message { reply_to, .. } = base.event else {
        return None;
    };
    if !base.shown {
        return None;
    }
    let mut shown = Shown {
        id: base.id,
        user: base.user,
        text: base
            .content
            .as_ref()
            .map(|c| c.text.clone())
            .unwrap_or_default(),
        reply_to,
        edited: None,
        deleted: base.content.is_none(),
        reactions: BTreeMap::new(),
        imported: base.content.as_ref().and_then(|c| c.imported.clone()),
    };
    let mut sorted: Vec<&Said> = overlays
        .iter()
        .filter(|said| said.shown && said.event.target() == Some(base.id))
        .collect();
    sorted.sort_by_key(|said| said.id);
    let mut reactions: BTreeMap<(String, UserId), bool> = BTreeMap::new();
    for said in sorted {
        match &said.event {
            Event::Edit { .. } if said.user == base.user => {
                if let Some(content) = &said.content {
                    shown.text.clone_from(&content.text);
                    shown.edited = Some(said.id.hlc);
                }
            }
            Event::Delete { .. } if said.user == base.user || said.moderates => {
                shown.deleted = true
            }
            Event::React { emoji, on, .. } => {
                reactions.insert((emoji.clone(), said.user), *on);
            }
            _ => {}
        }
    }
    if shown.deleted {
        shown.text.clear();
        shown.imported = None;
        return Some(shown);
    }
    for ((emoji, user), _) in reactions.into_iter().filter(|(_, on)| *on) {
        shown.reactions.entry(emoji).or_default().push(user);
    }
    Some(shown)
}
