//! Who may come in: hosts, origins, tokens, and the headers that every answer carries.
//!
//! A page of another site can make a browser send requests to this machine. It can't forge `Host`,
//! `Origin` and `Sec-Fetch-Site`, and it doesn't know a token.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::HEXLOWER;
use tracing::Instrument;

use crate::dto::Scope;
use crate::error::ApiError;
use crate::serve::App;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers of every answer. The page's own answers will bring a policy of their own.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The names under which this door is known.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Door {
    /// Loopback names with the listener's port, and what the person configured (`HOST` or `HOST:PORT`).
    pub(crate) fn new(listen: SocketAddr, configured: &[String]) -> Self {
        let port = listen.port();
        let own = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
        let configured: Vec<String> = configured
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect();
        let origins = own
            .iter()
            .map(|host| format!("http://{host}"))
            .chain(
                configured
                    .iter()
                    .flat_map(|host| [format!("http://{host}"), format!("https://{host}")]),
            )
            .collect();
        let hosts = own.into_iter().chain(configured).collect();
        Self { hosts, origins }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let known = match (hosts.next(), hosts.next()) {
            (Some(host), None) => is_listed(&self.hosts, host),
            _ => false,
        };
        if !known {
            return Err(ApiError::new(
                StatusCode::MISDIRECTED_REQUEST,
                "wrong_host",
                "this node isn't known by that host name: use 127.0.0.1, or add the name to the \
                 allowed hosts",
            ));
        }
        let foreign = headers
            .get_all(header::ORIGIN)
            .iter()
            .any(|origin| !is_listed(&self.origins, origin));
        if foreign {
            return Err(wrong_origin());
        }
        Ok(())
    }
}

fn is_listed(list: &[String], value: &HeaderValue) -> bool {
    value
        .to_str()
        .is_ok_and(|value| list.iter().any(|known| known.eq_ignore_ascii_case(value)))
}

fn wrong_origin() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "wrong_origin",
        "another site asked for this: only the node's own page and programs with a token may",
    )
}

/// The outermost layer: names the request, checks the door, and finishes the answer.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let trace_id = trace_id();
    let span = tracing::debug_span!(
        "request",
        %trace_id,
        method = %request.method(),
        path = request.uri().path()
    );
    let answer = match app.door.check(request.headers()) {
        Ok(()) => next.run(request).instrument(span.clone()).await,
        Err(error) => axum::response::IntoResponse::into_response(error),
    };
    let _entered = span.enter();
    finish(answer, &trace_id)
}

fn finish(mut answer: Response, trace_id: &str) -> Response {
    if let Some(error) = answer.extensions_mut().remove::<ApiError>() {
        if error.status.is_server_error() {
            tracing::warn!(code = error.code, message = error.message, "request failed");
        } else {
            tracing::debug!(code = error.code, message = error.message, "refused");
        }
        let unauthorised = error.status == StatusCode::UNAUTHORIZED;
        answer = error.with_trace(trace_id);
        if unauthorised {
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    answer
}

fn trace_id() -> String {
    let mut bytes = [0; 8];
    // Only a name for the log: without random bytes all requests share one.
    let _ = getrandom::fill(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// Lets in whoever brings a token with this scope.
pub(crate) async fn authorise(
    State((app, needed)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    let Some(token) = bearer(headers)? else {
        return Err(without_token(headers));
    };
    let caller = app.tokens.find(token).ok_or_else(|| {
        ApiError::unauthorised("the token is unknown or revoked: make one with 'revnet token new'")
    })?;
    if !app.buckets.take(&caller.token, Instant::now()) {
        return Err(ApiError::busy(
            "too many requests with this token: wait a second",
        ));
    }
    if caller.scope < needed {
        return Err(ApiError::not_permitted(format!(
            "this needs a token with the scope '{}'",
            needed.name()
        )));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Without a token and without an origin only the browser's own word tells that no other site asks.
fn without_token(headers: &HeaderMap) -> ApiError {
    let foreign = headers
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| site != "same-origin" && site != "none");
    if foreign && !headers.contains_key(header::ORIGIN) {
        return wrong_origin();
    }
    ApiError::unauthorised(
        "a token is needed: send 'Authorization: Bearer TOKEN' (make one with 'revnet token new')",
    )
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let malformed = || ApiError::unauthorised("send one header 'Authorization: Bearer TOKEN'");
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err(malformed())
    }
}
