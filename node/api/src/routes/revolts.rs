//! Revolts: founding, joining, changing, leaving.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use revnet_core::command::{Command, Reply};
use revnet_protocol::{InviteLink, RevoltId};

use super::{ask, done};
use crate::dto::{EditRevolt, Id, Join, RevoltDetail, Revolts};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Ids};
use crate::serve::App;

/// The revolts that this node takes part in.
#[utoipa::path(get, path = "/api/revolts", tag = "revolts", responses((status = 200, body = Revolts)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Revolts>, ApiError> {
    let revolts = ask(&app, Command::ListRevolts, |reply| match reply {
        Reply::Revolts(revolts) => Some(revolts),
        _ => None,
    })
    .await?;
    let revolts = revolts.into_iter().map(Into::into).collect();
    Ok(Json(Revolts { revolts }))
}

/// Founds a revolt with one channel, `general`.
#[utoipa::path(post, path = "/api/revolts", tag = "revolts", request_body = EditRevolt,
    responses((status = 201, body = RevoltDetail)))]
pub(crate) async fn create(
    State(app): State<App>,
    Body(edit): Body<EditRevolt>,
) -> Result<(StatusCode, Json<RevoltDetail>), ApiError> {
    let command = Command::CreateRevolt {
        settings: edit.into(),
    };
    Ok((StatusCode::CREATED, Json(detail(&app, command).await?)))
}

/// One revolt with channels and members.
#[utoipa::path(get, path = "/api/revolts/{revolt}", tag = "revolts",
    responses((status = 200, body = RevoltDetail)))]
pub(crate) async fn show(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<RevoltDetail>, ApiError> {
    Ok(Json(detail(&app, Command::ShowRevolt { revolt }).await?))
}

/// Changes name or appearance.
#[utoipa::path(patch, path = "/api/revolts/{revolt}", tag = "revolts", request_body = EditRevolt,
    responses((status = 200, body = RevoltDetail)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
    Body(edit): Body<EditRevolt>,
) -> Result<Json<RevoltDetail>, ApiError> {
    let command = Command::EditRevolt {
        revolt,
        settings: edit.into(),
    };
    Ok(Json(detail(&app, command).await?))
}

/// Leaves the revolt and forgets it here.
#[utoipa::path(delete, path = "/api/revolts/{revolt}", tag = "revolts",
    responses((status = 204, description = "Done")))]
pub(crate) async fn leave(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<StatusCode, ApiError> {
    done(&app, Command::LeaveRevolt { revolt }).await
}

/// Joins by a link. Answered when the node is a member, or after a minute without anybody to ask.
#[utoipa::path(post, path = "/api/join", tag = "revolts", request_body = Join,
    responses(
        (status = 200, body = RevoltDetail),
        (status = 410, description = "`invite_ended`: ask for a new link", body = ErrorBody),
        (status = 503, description = "`unreachable`: no member was reached", body = ErrorBody),
    ))]
pub(crate) async fn join(
    State(app): State<App>,
    Body(join): Body<Join>,
) -> Result<Json<RevoltDetail>, ApiError> {
    let link =
        InviteLink::parse(&join.link).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(Json(detail(&app, Command::Join { link }).await?))
}

async fn detail(app: &App, command: Command) -> Result<RevoltDetail, ApiError> {
    ask(app, command, |reply| match reply {
        Reply::Revolt(detail) => Some((*detail).into()),
        _ => None,
    })
    .await
}
