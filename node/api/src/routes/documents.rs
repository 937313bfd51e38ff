//! The documents of a revolt, for export. Each opens in stock Automerge.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use revnet_core::command::{Command, Reply};
use revnet_protocol::{ChannelId, RevoltId};

use super::ask;
use crate::dto::{CONTROL, Documents, Id};
use crate::error::ApiError;
use crate::extract::Ids;
use crate::serve::App;

/// The documents of a revolt.
#[utoipa::path(get, path = "/api/revolts/{revolt}/documents", tag = "documents",
    responses((status = 200, body = Documents)))]
pub(crate) async fn list(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<Documents>, ApiError> {
    let command = Command::ListDocuments { revolt };
    let documents = ask(&app, command, |reply| match reply {
        Reply::Documents(documents) => Some(documents),
        _ => None,
    })
    .await?;
    let documents = documents.into_iter().map(Into::into).collect();
    Ok(Json(Documents { documents }))
}

/// One document. The stream is a channel's id or `control`.
#[utoipa::path(get, path = "/api/revolts/{revolt}/documents/{stream}/{seg}", tag = "documents",
    responses((status = 200, description = "Automerge", body = [u8],
        content_type = "application/octet-stream")))]
pub(crate) async fn export(
    State(app): State<App>,
    Ids((revolt, stream, seg)): Ids<(Id<RevoltId>, String, u32)>,
) -> Result<impl IntoResponse, ApiError> {
    let channel = if stream == CONTROL {
        None
    } else {
        let channel: ChannelId = stream
            .parse()
            .map_err(|error| ApiError::invalid(format!("{error}, or '{CONTROL}'")))?;
        Some(channel)
    };
    let command = Command::ExportDocument {
        revolt: revolt.0,
        channel,
        seg,
    };
    let bytes = ask(&app, command, |reply| match reply {
        Reply::Document(bytes) => Some(bytes),
        _ => None,
    })
    .await?;
    Ok((
        [
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::CONTENT_DISPOSITION, "attachment"),
        ],
        bytes,
    ))
}
