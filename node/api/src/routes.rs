//! Every route and the scope that it needs, in one place.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};
use revnet_core::command::{Command, Reply};

use crate::door;
use crate::dto::Scope;
use crate::error::ApiError;
use crate::events;
use crate::serve::{App, BODY_LIMIT};

pub(crate) mod channels;
pub(crate) mod documents;
pub(crate) mod invites;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod node;
pub(crate) mod powers;
pub(crate) mod revolts;
pub(crate) mod tokens;

pub(crate) fn router(app: App) -> Router {
    let needs = |routes: Router<App>, scope: Scope| {
        routes.route_layer(from_fn_with_state((app.clone(), scope), door::authorise))
    };
    public()
        .merge(needs(read(), Scope::Read))
        .merge(needs(write(), Scope::Write))
        .merge(needs(admin(), Scope::Admin))
        .fallback(|| async { ApiError::not_found("no such address: see /api/openapi.json") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this address knows other methods: see /api/openapi.json",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(app.clone(), door::guard))
        .with_state(app)
}

fn public() -> Router<App> {
    Router::new()
        .route("/", get(node::front))
        .route("/healthz", get(node::healthz))
        .route("/api/openapi.json", get(node::document))
}

fn read() -> Router<App> {
    Router::new()
        .route("/api/status", get(node::status))
        .route("/api/network", get(node::network))
        .route("/api/peers", get(node::peers))
        .route("/api/events", get(events::events))
        .route("/api/revolts", get(revolts::list))
        .route("/api/revolts/{revolt}", get(revolts::show))
        .route("/api/revolts/{revolt}/invites", get(invites::list))
        .route("/api/revolts/{revolt}/members", get(members::list))
        .route("/api/revolts/{revolt}/roles", get(powers::roles))
        .route(
            "/api/revolts/{revolt}/permissions",
            get(powers::permissions),
        )
        .route("/api/revolts/{revolt}/bans", get(powers::bans))
        .route("/api/revolts/{revolt}/audit", get(powers::audit))
        .route("/api/revolts/{revolt}/documents", get(documents::list))
        .route(
            "/api/revolts/{revolt}/documents/{stream}/{seg}",
            get(documents::export),
        )
        .route(
            "/api/revolts/{revolt}/channels/{channel}/messages",
            get(messages::page),
        )
}

fn write() -> Router<App> {
    const REVOLT: &str = "/api/revolts/{revolt}";
    const CHANNEL: &str = "/api/revolts/{revolt}/channels/{channel}";
    Router::new()
        .route("/api/join", post(revolts::join))
        .route("/api/revolts", post(revolts::create))
        .route(REVOLT, patch(revolts::edit).delete(revolts::leave))
        .route(&format!("{REVOLT}/invites"), post(invites::create))
        .route(
            &format!("{REVOLT}/invites/{{invite}}"),
            delete(invites::revoke),
        )
        .route(
            &format!("{REVOLT}/members/{{user}}"),
            patch(members::edit).delete(members::remove),
        )
        .route(
            &format!("{REVOLT}/members/{{user}}/roles/{{role}}"),
            put(powers::grant).delete(powers::take),
        )
        .route(
            &format!("{REVOLT}/members/{{user}}/timeout"),
            put(powers::silence).delete(powers::unsilence),
        )
        .route(
            &format!("{REVOLT}/bans/{{user}}"),
            put(powers::ban).delete(powers::unban),
        )
        .route(&format!("{REVOLT}/roles"), post(powers::create))
        .route(
            &format!("{REVOLT}/roles/{{role}}"),
            patch(powers::edit).delete(powers::remove),
        )
        .route(&format!("{CHANNEL}/exceptions"), put(powers::except))
        .route(&format!("{REVOLT}/channels"), post(channels::create))
        .route(CHANNEL, patch(channels::edit))
        .route(&format!("{CHANNEL}/messages"), post(messages::send))
        .route(
            &format!("{CHANNEL}/messages/{{message}}"),
            patch(messages::edit).delete(messages::remove),
        )
        .route(
            &format!("{CHANNEL}/messages/{{message}}/reactions/{{emoji}}"),
            put(messages::react).delete(messages::unreact),
        )
}

fn admin() -> Router<App> {
    Router::new()
        .route("/api/identity", patch(node::rename))
        .route("/api/identity/phrase", post(node::phrase))
        .route("/api/identity/backup", post(node::backup))
        .route(
            "/api/identity/devices/{device}/revoke",
            post(powers::revoke_device),
        )
        .route("/api/tokens", get(tokens::list).post(tokens::create))
        .route("/api/tokens/{token}", delete(tokens::revoke))
        .route("/api/shutdown", post(node::shutdown))
}

/// Asks the node for something whose answer doesn't matter.
async fn done(app: &App, command: Command) -> Result<StatusCode, ApiError> {
    app.node.command(command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks the node, and takes the kind of answer that belongs to the question.
async fn ask<T>(
    app: &App,
    command: Command,
    pick: impl FnOnce(Reply) -> Option<T>,
) -> Result<T, ApiError> {
    let reply = app.node.command(command).await?;
    pick(reply).ok_or_else(|| ApiError::internal("the node answered another question"))
}
