//! Channels of a revolt.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use revnet_core::command::{Command, Reply};
use revnet_protocol::{ChannelId, RevoltId};

use super::ask;
use crate::dto::{Channel, EditChannel, Id};
use crate::error::ApiError;
use crate::extract::{Body, Ids};
use crate::serve::App;

/// Makes a channel.
#[utoipa::path(post, path = "/api/revolts/{revolt}/channels", tag = "channels",
    request_body = EditChannel, responses((status = 201, body = Channel)))]
pub(crate) async fn create(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
    Body(edit): Body<EditChannel>,
) -> Result<(StatusCode, Json<Channel>), ApiError> {
    let private = edit.private.unwrap_or(false);
    let command = Command::CreateChannel {
        revolt,
        edit: edit.into(),
        private,
    };
    Ok((StatusCode::CREATED, Json(answer(&app, command).await?)))
}

/// Changes a channel.
#[utoipa::path(patch, path = "/api/revolts/{revolt}/channels/{channel}", tag = "channels",
    request_body = EditChannel, responses((status = 200, body = Channel)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Ids((revolt, channel)): Ids<(Id<RevoltId>, Id<ChannelId>)>,
    Body(edit): Body<EditChannel>,
) -> Result<Json<Channel>, ApiError> {
    if edit.private.is_some() {
        return Err(ApiError::invalid(
            "a channel is closed and opened by its exceptions: deny or allow 'view' for everyone",
        ));
    }
    let command = Command::EditChannel {
        revolt: revolt.0,
        channel: channel.0,
        edit: edit.into(),
    };
    Ok(Json(answer(&app, command).await?))
}

async fn answer(app: &App, command: Command) -> Result<Channel, ApiError> {
    ask(app, command, |reply| match reply {
        Reply::Channel(info) => Some(info.into()),
        _ => None,
    })
    .await
}
