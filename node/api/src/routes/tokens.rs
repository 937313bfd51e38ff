//! Tokens for bots and scripts.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::dto::{CreatedToken, NewToken, Tokens};
use crate::error::ApiError;
use crate::extract::{Body, Ids, blocking};
use crate::serve::App;
use crate::tokens::TokenError;

/// The tokens, without their texts.
#[utoipa::path(get, path = "/api/tokens", tag = "tokens", responses((status = 200, body = Tokens)))]
pub(crate) async fn list(State(app): State<App>) -> Json<Tokens> {
    Json(Tokens {
        tokens: app.tokens.list(),
    })
}

/// Makes a token. Its text is told once.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken)))]
pub(crate) async fn create(
    State(app): State<App>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let made = blocking(move || app.tokens.create(new.name, new.scope, now_ms)).await?;
    let (info, token) = made.map_err(|error| match error {
        TokenError::Name | TokenError::TooMany => ApiError::invalid(error.to_string()),
        TokenError::Storage(_) => not_saved(&error),
    })?;
    Ok((StatusCode::CREATED, Json(CreatedToken { info, token })))
}

/// Revokes a token. Its readers of events are disconnected.
#[utoipa::path(delete, path = "/api/tokens/{token}", tag = "tokens",
    responses((status = 204, description = "Done")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Ids(token): Ids<String>,
) -> Result<StatusCode, ApiError> {
    let revoked = blocking(move || app.tokens.revoke(&token)).await?;
    match revoked {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(ApiError::not_found("there is no such token")),
        Err(error) => Err(not_saved(&error)),
    }
}

fn not_saved(error: &impl ToString) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "storage",
        error.to_string(),
    )
}
