//! Invites of a revolt.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use revnet_core::command::{Command, Reply};
use revnet_protocol::{InviteId, RevoltId};

use super::{ask, done};
use crate::dto::{CreatedInvite, Id, Invites, NewInvite};
use crate::error::ApiError;
use crate::extract::{Body, Ids};
use crate::serve::App;

/// The invites of a revolt, without their links.
#[utoipa::path(get, path = "/api/revolts/{revolt}/invites", tag = "invites",
    responses((status = 200, body = Invites)))]
pub(crate) async fn list(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<Invites>, ApiError> {
    let command = Command::ListInvites { revolt };
    let invites = ask(&app, command, |reply| match reply {
        Reply::Invites(invites) => Some(invites),
        _ => None,
    })
    .await?;
    let invites = invites.into_iter().map(Into::into).collect();
    Ok(Json(Invites { invites }))
}

/// Makes an invite. Whoever has the link can read the revolt.
#[utoipa::path(post, path = "/api/revolts/{revolt}/invites", tag = "invites",
    request_body = NewInvite, responses((status = 201, body = CreatedInvite)))]
pub(crate) async fn create(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
    Body(new): Body<NewInvite>,
) -> Result<(StatusCode, Json<CreatedInvite>), ApiError> {
    if new.max_uses == Some(0) {
        return Err(ApiError::invalid("an invite lets at least one person in"));
    }
    let command = Command::CreateInvite {
        revolt,
        expires_ms: new.expires_ms,
        max_uses: new.max_uses,
        addresses: Vec::new(),
    };
    let created = ask(&app, command, |reply| match reply {
        Reply::Invite(info, link) => Some(CreatedInvite::new(info, &link)),
        _ => None,
    })
    .await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Ends an invite. Who joined by it stays.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/invites/{invite}", tag = "invites",
    responses((status = 204, description = "Done")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Ids((revolt, invite)): Ids<(Id<RevoltId>, Id<InviteId>)>,
) -> Result<StatusCode, ApiError> {
    done(
        &app,
        Command::RevokeInvite {
            revolt: revolt.0,
            invite: invite.0,
        },
    )
    .await
}
