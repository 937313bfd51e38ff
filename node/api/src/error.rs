//! Errors as the API answers them: `{code, message, trace_id}` with stable codes.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use revnet_core::command::CommandError;
use revnet_core::storage::StorageError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::node::IdentityError;

/// Why a request wasn't carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Stable, for programs: `invalid`, `unauthorised`, `not_permitted`, `locked`, `wrong_origin`,
    /// `not_found`, `method_not_allowed`, `invite_ended`, `too_large`, `wrong_host`, `busy`, `internal`,
    /// `storage`, `unreachable` or `disk_full`.
    pub code: String,
    /// For people: what is wrong, and what to do where there is something.
    pub message: String,
    /// Names this request in the node's log.
    pub trace_id: String,
}

/// An error on its way out. The outermost layer writes the body, because it knows the trace id.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn unauthorised(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorised", message)
    }

    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_permitted", message)
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The error as the client sees it.
    pub(crate) fn with_trace(self, trace_id: &str) -> Response {
        let body = ErrorBody {
            code: self.code.to_owned(),
            message: self.message,
            trace_id: trace_id.to_owned(),
        };
        (self.status, Json(body)).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::NotFound(_) => Self::not_found(message),
            CommandError::NotPermitted(_) => Self::not_permitted(message),
            CommandError::Invalid(_) => Self::invalid(message),
            CommandError::Unreachable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unreachable", message)
            }
            CommandError::InviteEnded => Self::new(StatusCode::GONE, "invite_ended", message),
            CommandError::Storage(StorageError::Full) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
            }
            CommandError::Storage(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", message)
            }
            CommandError::Busy => Self::busy(message),
            _ => Self::internal(message),
        }
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let message = error.to_string();
        match error {
            IdentityError::Locked => Self::new(StatusCode::FORBIDDEN, "locked", message),
            IdentityError::NotHere => Self::not_found(message),
            IdentityError::Storage(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", message)
            }
        }
    }
}
