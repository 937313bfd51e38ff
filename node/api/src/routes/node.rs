//! The node itself: state, network, identity, shutdown.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use revnet_core::command::{Command, Reply};

use super::{ask, done};
use crate::dto::{Backup, EditIdentity, NetworkStatus, Peers, Phrase, Status, Unlock};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, blocking};
use crate::openapi::openapi;
use crate::serve::App;

/// What stands where the page would be.
pub(crate) async fn front() -> &'static str {
    "This node serves no page yet: use the command line. \
     The API is described at /api/openapi.json.\n"
}

/// Whether the door is open.
#[utoipa::path(get, path = "/healthz", tag = "node", responses(
    (status = 200, description = "`ok`", body = String, content_type = "text/plain"),
))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "node", responses(
    (status = 200, description = "An OpenAPI document", content_type = "application/json"),
))]
pub(crate) async fn document() -> impl IntoResponse {
    Json(openapi())
}

/// The node in short.
#[utoipa::path(get, path = "/api/status", tag = "node", responses((status = 200, body = Status)))]
pub(crate) async fn status(State(app): State<App>) -> Result<Json<Status>, ApiError> {
    let status = ask(&app, Command::Status, |reply| match reply {
        Reply::Status(status) => Some(status),
        _ => None,
    })
    .await?;
    Ok(Json(Status::new(status, app.api.to_string())))
}

/// How the node is connected.
#[utoipa::path(get, path = "/api/network", tag = "node",
    responses((status = 200, body = NetworkStatus)))]
pub(crate) async fn network(State(app): State<App>) -> Json<NetworkStatus> {
    Json(app.node.network().await)
}

/// The linked peers.
#[utoipa::path(get, path = "/api/peers", tag = "node", responses((status = 200, body = Peers)))]
pub(crate) async fn peers(State(app): State<App>) -> Result<Json<Peers>, ApiError> {
    let peers = ask(&app, Command::Peers, |reply| match reply {
        Reply::Peers(peers) => Some(peers),
        _ => None,
    })
    .await?;
    let peers = peers.into_iter().map(Into::into).collect();
    Ok(Json(Peers { peers }))
}

/// Changes the own display name, here and in every revolt.
#[utoipa::path(patch, path = "/api/identity", tag = "identity", request_body = EditIdentity,
    responses((status = 204, description = "Done")))]
pub(crate) async fn rename(
    State(app): State<App>,
    Body(edit): Body<EditIdentity>,
) -> Result<StatusCode, ApiError> {
    done(&app, Command::Rename { name: edit.name }).await
}

/// The recovery phrase. Whoever knows it is this person.
#[utoipa::path(post, path = "/api/identity/phrase", tag = "identity", request_body = Unlock,
    responses(
        (status = 200, body = Phrase),
        (status = 403, description = "`locked`: another passphrase is needed", body = ErrorBody),
    ))]
pub(crate) async fn phrase(
    State(app): State<App>,
    Body(unlock): Body<Unlock>,
) -> Result<Json<Phrase>, ApiError> {
    let phrase = blocking(move || app.node.phrase(unlock.passphrase)).await??;
    Ok(Json(Phrase { phrase }))
}

/// The identity as an encrypted file.
#[utoipa::path(post, path = "/api/identity/backup", tag = "identity", request_body = Backup,
    responses(
        (status = 200, description = "The file", body = [u8],
            content_type = "application/octet-stream"),
        (status = 403, description = "`locked`: another passphrase is needed", body = ErrorBody),
    ))]
pub(crate) async fn backup(
    State(app): State<App>,
    Body(backup): Body<Backup>,
) -> Result<impl IntoResponse, ApiError> {
    if backup.passphrase.is_empty() {
        return Err(ApiError::invalid("a backup needs a passphrase"));
    }
    let name = ask(&app, Command::Status, |reply| match reply {
        Reply::Status(status) => Some(status.name),
        _ => None,
    })
    .await?;
    let file = blocking(move || app.node.backup(backup.passphrase, name)).await??;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], file))
}

/// Stops the node.
#[utoipa::path(post, path = "/api/shutdown", tag = "node",
    responses((status = 202, description = "The node stops")))]
pub(crate) async fn shutdown(State(app): State<App>) -> StatusCode {
    app.node.shutdown();
    StatusCode::ACCEPTED
}
