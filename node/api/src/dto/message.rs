//! Messages: as they are read and as they are sent.

use std::collections::BTreeMap;

use revnet_core::command;
use revnet_protocol::{MessageId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Id;

/// Most messages of one request, read or sent.
pub const MAX_BATCH: usize = 1000;

/// Which messages of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The newest messages before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub before: Option<Id<MessageId>>,
    /// The oldest messages after this one. Not together with `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub after: Option<Id<MessageId>>,
    /// Start at the oldest message of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<bool>,
    /// At most this many, 1 to 1000; 50 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Messages {
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its id; texts of ids sort like the messages.
    #[schema(value_type = String)]
    pub id: Id<MessageId>,
    /// When its author wrote it, in Unix milliseconds.
    pub time_ms: u64,
    /// Who wrote it.
    pub author: Author,
    /// Markdown; empty where it was deleted.
    pub text: String,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reply_to: Option<Id<MessageId>>,
    /// When it was last edited, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_ms: Option<u64>,
    /// It was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Who reacted with what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    pub reactions: BTreeMap<String, Vec<Id<UserId>>>,
    /// Where it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// How many other people's disks hold it, as far as they said. Differs from node to node.
    pub held_by: u32,
}

impl From<command::MessageView> for Message {
    fn from(view: command::MessageView) -> Self {
        Self {
            id: Id(view.id),
            time_ms: view.id.hlc.ms,
            author: Author {
                id: Id(view.author),
                name: view.author_name,
            },
            text: view.text,
            reply_to: view.reply_to.map(Id),
            edited_ms: view.edited_ms,
            deleted: view.deleted,
            reactions: view
                .reactions
                .into_iter()
                .map(|(emoji, users)| (emoji, users.into_iter().map(Id).collect()))
                .collect(),
            imported: view.imported.map(Into::into),
            held_by: view.held_by,
        }
    }
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Author {
    /// The person.
    #[schema(value_type = String)]
    pub id: Id<UserId>,
    /// What they are called in the revolt.
    pub name: String,
}

/// Where a message was imported from, as the importer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// Name of the import, such as the file's name.
    pub source: String,
    /// The message's id there.
    pub id: String,
    /// Who wrote it there.
    pub author: String,
    /// When, in Unix milliseconds.
    pub time_ms: i64,
    /// The id there of the message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

impl From<revnet_protocol::Imported> for Imported {
    fn from(from: revnet_protocol::Imported) -> Self {
        Self {
            source: from.source,
            id: from.id,
            author: from.author,
            time_ms: from.time_ms,
            reply_to: from.reply_to,
        }
    }
}

impl From<Imported> for revnet_protocol::Imported {
    fn from(from: Imported) -> Self {
        Self {
            source: from.source,
            id: from.id,
            author: from.author,
            time_ms: from.time_ms,
            reply_to: from.reply_to,
        }
    }
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Markdown, at most about 8000 bytes.
    pub text: String,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reply_to: Option<Id<MessageId>>,
    /// The message that it answers, by the nonce that it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_nonce: Option<String>,
    /// Sending again with the same nonce in the same channel does nothing and answers with the first
    /// message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Where it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

impl From<Draft> for command::Draft {
    fn from(draft: Draft) -> Self {
        Self {
            text: draft.text,
            reply_to: draft.reply_to.map(|id| id.0),
            reply_to_nonce: draft.reply_to_nonce,
            nonce: draft.nonce,
            imported: draft.imported.map(Into::into),
        }
    }
}

/// Several messages to send, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drafts {
    /// 1 to 1000.
    pub messages: Vec<Draft>,
}

/// One message, or several: told apart by the field `messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SendRequest {
    /// Several. Answered with `SentAll`.
    Many(Drafts),
    /// One. Answered with `Sent`.
    One(Box<Draft>),
}

/// What became of one message, or of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SendAnswer {
    /// Of several.
    Many(SentAll),
    /// Of one.
    One(Sent),
}

/// What became of the messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SentAll {
    /// In the order of the drafts.
    pub sent: Vec<Sent>,
}

/// What became of a message. It is durable here in each case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// Its id; null while it waits in the outbox.
    #[schema(value_type = Option<String>, required = true)]
    pub id: Option<Id<MessageId>>,
    /// Its number in the outbox, until a member is reachable; the event `sealed` then tells its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Its nonce was used before: nothing was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
}

impl From<command::Sent> for Sent {
    fn from(sent: command::Sent) -> Self {
        let (id, pending, known) = match sent {
            command::Sent::Sealed(id) => (Some(Id(id)), None, false),
            command::Sent::Pending(number) => (None, Some(number), false),
            command::Sent::Known(id) => (Some(Id(id)), None, true),
        };
        Self { id, pending, known }
    }
}

/// Changes the words of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    /// The new words.
    pub text: String,
}
