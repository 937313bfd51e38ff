//! One message as `revnet log` prints it.

use std::collections::BTreeMap;

use revnet_api::dto::{Author, Id, Message};
use revnet_protocol::{MessageId, UserId};
use serde::{Deserialize, Serialize};

use crate::output::{line, safe};
use crate::times;

/// The JSON form: a contract with scripts, and the same bytes on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    id: Id<MessageId>,
    time: String,
    author: Author,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<Id<MessageId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edited: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    reactions: BTreeMap<String, Vec<Id<UserId>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<ImportedLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_by: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ImportedLine {
    source: String,
    id: String,
    author: String,
    time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

fn time(unix_ms: u64) -> String {
    times::rfc3339(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

impl Line {
    pub(crate) fn new(message: &Message, delivery: bool) -> Self {
        let mut reactions = message.reactions.clone();
        reactions.values_mut().for_each(|users| users.sort());
        Self {
            id: message.id,
            time: time(message.time_ms),
            author: message.author.clone(),
            text: message.text.clone(),
            reply_to: message.reply_to,
            edited: message.edited_ms.map(time),
            deleted: message.deleted,
            reactions,
            imported: message.imported.as_ref().map(|from| ImportedLine {
                source: from.source.clone(),
                id: from.id.clone(),
                author: from.author.clone(),
                time: times::rfc3339(from.time_ms),
                reply_to: from.reply_to.clone(),
            }),
            held_by: delivery.then_some(message.held_by),
        }
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        let (time, author) = match &self.imported {
            Some(from) => (
                &from.time,
                format!("{} (imported by {})", from.author, self.author.name),
            ),
            None => (&self.time, self.author.name.clone()),
        };
        // The minute is enough: 2026-01-31 12:00.
        let time = time.get(..16).unwrap_or(time).replace('T', " ");
        let mut text = if self.deleted {
            "(deleted)".to_owned()
        } else {
            safe(&self.text).replace('\n', "\n    ")
        };
        if self.edited.is_some() {
            text.push_str(" (edited)");
        }
        for (emoji, users) in &self.reactions {
            text.push_str(&format!(" [{} {}]", line(emoji), users.len()));
        }
        if let Some(held_by) = self.held_by {
            text.push_str(&format!(" (held by {held_by})"));
        }
        let reply = if self.reply_to.is_some() { "↳ " } else { "" };
        format!("{time}  {}: {reply}{text}\n", line(&author))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let id = "0PRL".to_owned() + &"0".repeat(60);
        let user = |byte| Id(UserId([byte; 32]));
        Message {
            id: Id(id.parse().expect("64 characters")),
            time_ms: 1_700_000_000_007,
            author: Author {
                id: user(1),
                name: "Ada".to_owned(),
            },
            text: "Hello".to_owned(),
            reply_to: None,
            edited_ms: None,
            deleted: false,
            reactions: BTreeMap::from([("👍".to_owned(), vec![user(9), user(2)])]),
            imported: None,
            held_by: 3,
        }
    }

    #[test]
    fn json_holds_nothing_of_this_node() {
        let text = serde_json::to_string(&Line::new(&message(), false)).expect("json");
        assert!(text.starts_with(&format!(
            "{{\"id\":\"{}\",\"time\":\"2023-11-14T22:13:20.007Z\",\"author\":{{\"id\":\"u",
            message().id
        )));
        assert!(!text.contains("held_by") && !text.contains("deleted"));
        let mut turned = message();
        turned.held_by = 0;
        turned
            .reactions
            .values_mut()
            .for_each(|users| users.reverse());
        assert_eq!(
            text,
            serde_json::to_string(&Line::new(&turned, false)).expect("json")
        );
        assert_eq!(Line::new(&message(), true).held_by, Some(3));
    }

    #[test]
    fn words_show_what_matters() {
        let mut message = message();
        message.text = "one\ntwo\x1b[2J".to_owned();
        message.edited_ms = Some(1);
        let words = Line::new(&message, false).words();
        assert_eq!(
            words,
            "2023-11-14 22:13  Ada: one\n    two\u{fffd}[2J (edited) [👍 2]\n"
        );
    }
}
