//! Messages of a channel.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use revnet_core::command::{Command, Place, Reply};
use revnet_core::storage::Direction;
use revnet_protocol::{ChannelId, MessageId, RevoltId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ask, done};
use crate::dto::{
    Draft, Drafts, EditMessage, Id, MAX_BATCH, Messages, PageQuery, SendAnswer, SendRequest, Sent,
    SentAll,
};
use crate::error::ApiError;
use crate::extract::{Body, Ids, Params};
use crate::serve::App;

/// Messages of a page where nothing else is asked.
const PAGE: usize = 50;

type ChannelIds = (Id<RevoltId>, Id<ChannelId>);
type MessageIds = (Id<RevoltId>, Id<ChannelId>, Id<MessageId>);
type ReactionIds = (Id<RevoltId>, Id<ChannelId>, Id<MessageId>, String);

fn place(revolt: Id<RevoltId>, channel: Id<ChannelId>) -> Place {
    Place {
        revolt: revolt.0,
        channel: channel.0,
    }
}

/// A page of messages, oldest first; the newest where nothing else is asked.
#[utoipa::path(get, path = "/api/revolts/{revolt}/channels/{channel}/messages", tag = "messages",
    params(PageQuery), responses((status = 200, body = Messages)))]
pub(crate) async fn page(
    State(app): State<App>,
    Ids((revolt, channel)): Ids<ChannelIds>,
    Params(query): Params<PageQuery>,
) -> Result<Json<Messages>, ApiError> {
    let (from, direction) = match (query.before, query.after, query.oldest.unwrap_or(false)) {
        (before, None, false) => (before, Direction::Before),
        (None, Some(after), false) => (Some(after), Direction::After),
        (None, None, true) => (None, Direction::After),
        _ => {
            return Err(ApiError::invalid(
                "ask for one of 'before', 'after' and 'oldest'",
            ));
        }
    };
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_BATCH).contains(&limit) {
        return Err(ApiError::invalid(format!("'limit' is 1 to {MAX_BATCH}")));
    }
    let command = Command::Log {
        at: place(revolt, channel),
        from: from.map(|id| id.0),
        direction,
        limit,
    };
    let messages = ask(&app, command, |reply| match reply {
        Reply::Log(messages) => Some(messages),
        _ => None,
    })
    .await?;
    let messages = messages.into_iter().map(Into::into).collect();
    Ok(Json(Messages { messages }))
}

/// Says something: one message, or up to 1000 in their order. Answered when they are durable here.
#[utoipa::path(post, path = "/api/revolts/{revolt}/channels/{channel}/messages", tag = "messages",
    request_body = SendRequest,
    responses(
        (status = 201, description = "`Sent` to one, `SentAll` to several", body = SendAnswer),
    ))]
pub(crate) async fn send(
    State(app): State<App>,
    Ids((revolt, channel)): Ids<ChannelIds>,
    Body(body): Body<Value>,
) -> Result<(StatusCode, Json<SendAnswer>), ApiError> {
    let many = body.get("messages").is_some();
    let drafts = if many {
        parse::<Drafts>(body)?.messages
    } else {
        vec![parse::<Draft>(body)?]
    };
    let count = drafts.len();
    if !(1..=MAX_BATCH).contains(&count) {
        return Err(ApiError::invalid(format!(
            "send 1 to {MAX_BATCH} messages at once"
        )));
    }
    let command = Command::Send {
        at: place(revolt, channel),
        messages: drafts.into_iter().map(Into::into).collect(),
    };
    let sent = ask(&app, command, |reply| match reply {
        Reply::Sent(sent) if sent.len() == count => Some(sent),
        _ => None,
    })
    .await?;
    let mut sent: Vec<Sent> = sent.into_iter().map(Into::into).collect();
    let answer = match sent.pop() {
        Some(one) if !many => SendAnswer::One(one),
        last => {
            sent.extend(last);
            SendAnswer::Many(SentAll { sent })
        }
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

fn parse<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body).map_err(|error| ApiError::invalid(error.to_string()))
}

/// Changes the words of an own message.
#[utoipa::path(patch, path = "/api/revolts/{revolt}/channels/{channel}/messages/{message}",
    tag = "messages", request_body = EditMessage,
    responses((status = 204, description = "Done")))]
pub(crate) async fn edit(
    State(app): State<App>,
    Ids((revolt, channel, message)): Ids<MessageIds>,
    Body(edit): Body<EditMessage>,
) -> Result<StatusCode, ApiError> {
    let command = Command::Edit {
        at: place(revolt, channel),
        message: message.0,
        text: edit.text,
    };
    done(&app, command).await
}

/// Deletes an own message, or as a moderator anybody's.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/channels/{channel}/messages/{message}",
    tag = "messages", responses((status = 204, description = "Done")))]
pub(crate) async fn remove(
    State(app): State<App>,
    Ids((revolt, channel, message)): Ids<MessageIds>,
) -> Result<StatusCode, ApiError> {
    let command = Command::Delete {
        at: place(revolt, channel),
        message: message.0,
    };
    done(&app, command).await
}

/// Adds an own reaction.
#[utoipa::path(put,
    path = "/api/revolts/{revolt}/channels/{channel}/messages/{message}/reactions/{emoji}",
    tag = "messages", responses((status = 204, description = "Done")))]
pub(crate) async fn react(
    State(app): State<App>,
    Ids(ids): Ids<ReactionIds>,
) -> Result<StatusCode, ApiError> {
    set_reaction(&app, ids, true).await
}

/// Removes an own reaction.
#[utoipa::path(delete,
    path = "/api/revolts/{revolt}/channels/{channel}/messages/{message}/reactions/{emoji}",
    tag = "messages", responses((status = 204, description = "Done")))]
pub(crate) async fn unreact(
    State(app): State<App>,
    Ids(ids): Ids<ReactionIds>,
) -> Result<StatusCode, ApiError> {
    set_reaction(&app, ids, false).await
}

async fn set_reaction(
    app: &App,
    (revolt, channel, Id(message), emoji): ReactionIds,
    on: bool,
) -> Result<StatusCode, ApiError> {
    let command = Command::React {
        at: place(revolt, channel),
        message,
        emoji,
        on,
    };
    done(app, command).await
}
