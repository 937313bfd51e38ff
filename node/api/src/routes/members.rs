//! Members of a revolt.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use revnet_core::command::{Command, Reply};
use revnet_protocol::act::Level;
use revnet_protocol::{RevoltId, UserId};

use super::{ask, done};
use crate::dto::{EditMember, Id, Members};
use crate::error::ApiError;
use crate::extract::{Body, Ids};
use crate::serve::App;

/// The members of a revolt.
#[utoipa::path(get, path = "/api/revolts/{revolt}/members", tag = "members",
    responses((status = 200, body = Members)))]
pub(crate) async fn list(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<Members>, ApiError> {
    let command = Command::ListMembers { revolt };
    let members = ask(&app, command, |reply| match reply {
        Reply::Members(members) => Some(members),
        _ => None,
    })
    .await?;
    let members = members.into_iter().map(Into::into).collect();
    Ok(Json(Members { members }))
}

/// Sets a member's level.
#[utoipa::path(patch, path = "/api/revolts/{revolt}/members/{user}", tag = "members",
    request_body = EditMember, responses((status = 204, description = "Done")))]
pub(crate) async fn edit(
    State(app): State<App>,
    Ids((revolt, user)): Ids<(Id<RevoltId>, Id<UserId>)>,
    Body(edit): Body<EditMember>,
) -> Result<StatusCode, ApiError> {
    let level = Level(edit.level);
    if level > Level::MAX_GRANTED {
        return Err(ApiError::invalid("a level is 0 to 1000"));
    }
    let command = Command::SetMember {
        revolt: revolt.0,
        user: user.0,
        level: Some(level),
    };
    done(&app, command).await
}

/// Removes a member.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/members/{user}", tag = "members",
    responses((status = 204, description = "Done")))]
pub(crate) async fn remove(
    State(app): State<App>,
    Ids((revolt, user)): Ids<(Id<RevoltId>, Id<UserId>)>,
) -> Result<StatusCode, ApiError> {
    let command = Command::SetMember {
        revolt: revolt.0,
        user: user.0,
        level: None,
    };
    done(&app, command).await
}
