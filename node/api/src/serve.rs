//! Puts the door together and opens it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::door::Door;
use crate::events::MAX_READERS;
use crate::hub::Hub;
use crate::node::{Node, NodeHandle};
use crate::rate::Buckets;
use crate::routes;
use crate::tokens::Tokens;

/// Largest request in bytes.
pub const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// How long requests in work may take once the node stops.
const GRACE: Duration = Duration::from_secs(5);

/// How the door is set up.
#[derive(Clone)]
pub struct ApiConfig {
    /// Where the person wants it; the listener's own address counts.
    pub listen: SocketAddr,
    /// Where tokens are kept, as hashes.
    pub tokens_file: PathBuf,
    /// Names beside loopback under which the API may be asked: `HOST` or `HOST:PORT`.
    pub allowed_hosts: Vec<String>,
    /// The token of the node's own command line, with the scope `admin`; see [`crate::new_token`].
    pub cli_token: String,
}

impl std::fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiConfig")
            .field("listen", &self.listen)
            .field("tokens_file", &self.tokens_file)
            .field("allowed_hosts", &self.allowed_hosts)
            .finish_non_exhaustive()
    }
}

/// What every route sees. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) node: Arc<dyn Node>,
    pub(crate) door: Arc<Door>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Address and port of the listener.
    pub(crate) api: SocketAddr,
}

/// Makes the API ready. What it returns serves until `shutdown` is done; requests in work get five seconds to end.
///
/// # Errors
/// The tokens can't be read; while serving, the listener fails.
pub fn serve<N: NodeHandle>(
    node: N,
    config: ApiConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<impl Future<Output = io::Result<()>> + Send> {
    let api = listener.local_addr()?;
    let (stop, stopping) = watch::channel(false);
    let app = App {
        door: Arc::new(Door::new(api, &config.allowed_hosts)),
        tokens: Arc::new(Tokens::open(config.tokens_file, &config.cli_token)?),
        buckets: Arc::default(),
        hub: Hub::new(),
        readers: Arc::new(Semaphore::new(MAX_READERS)),
        stopping,
        api,
        node: Arc::new(node),
    };
    Ok(run(app, listener, stop, shutdown))
}

async fn run(
    app: App,
    listener: TcpListener,
    stop: watch::Sender<bool>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = app.stopping.clone();
    // Events are small and shall leave at once.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let notices = app.node.notices();
    let hub = app.hub.clone();
    let hub_task = tokio::spawn(async move { hub.run(notices).await });
    let mut stopped = stopping;
    let mut late = stopped.clone();
    let server = axum::serve(listener, routes::router(app)).with_graceful_shutdown(async move {
        // An error means that the sender is gone, and so is the node.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let watcher = tokio::spawn(async move {
        shutdown.await;
        stop.send_replace(true);
    });
    let result = tokio::select! {
        result = server => result,
        () = async {
            let _ = late.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    };
    watcher.abort();
    hub_task.abort();
    result
}
