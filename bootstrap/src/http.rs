//! `/healthz` and `/metrics`, for the operator's own tools.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinHandle};

/// A relay whose loop hasn't turned for so long is ill.
const STALE: Duration = Duration::from_secs(30);

/// The loop's sign of life.
#[derive(Debug)]
pub(crate) struct Pulse {
    start: Instant,
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn beat(&self) {
        self.last
            .store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn is_stale(&self, now: Instant) -> bool {
        let last = Duration::from_secs(self.last.load(Ordering::Relaxed));
        now.duration_since(self.start).saturating_sub(last) > STALE
    }
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    pulse: Arc<Pulse>,
}

/// Serves until the task is dropped. Returns the real address.
pub(crate) async fn serve(
    address: SocketAddr,
    registry: Arc<Registry>,
    pulse: Arc<Pulse>,
) -> io::Result<(SocketAddr, JoinHandle<io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(Shared { registry, pulse });
    Ok((
        address,
        tokio::spawn(async move { axum::serve(listener, router).await }),
    ))
}

async fn health(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.pulse.is_stale(Instant::now()) {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the relay's loop stands still\n",
        )
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &shared.registry)
        .expect("a String takes any text");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_ill() {
        let pulse = Pulse::new();
        assert!(!pulse.is_stale(pulse.start + STALE));
        assert!(pulse.is_stale(pulse.start + STALE + Duration::from_secs(1)));
        pulse.last.store(100, Ordering::Relaxed);
        assert!(!pulse.is_stale(pulse.start + Duration::from_secs(120)));
    }
}
