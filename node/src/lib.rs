//! A running node: the core joined with network, store and API, its configuration and its identity.
//!
//! Nothing is decided here that other nodes could notice; that is `revnet-core`'s part.

mod config;
mod handle;
pub mod identity;
mod inbox;
mod rebuild;
mod runtime;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use revnet_api::{ApiConfig, Sequenced};
use revnet_core::storage::Boot;
use revnet_net::NetConfig;
use revnet_store::{Options, RedbStorage};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::sync::{broadcast, mpsc, watch};

pub use crate::config::{ConfigError, UpArgs};
pub use crate::handle::Handle;
pub use crate::rebuild::{Rebuilt, rebuild};

/// How many commands may wait for the loop.
const COMMANDS: usize = 1024;
/// How many notices a listener may be behind before it must read everything again.
const NOTICES: usize = 8192;
/// The database in the data directory.
const DATABASE: &str = "revnet.redb";
/// Where the command line finds the running node.
const NODE_FILE: &str = "node.json";

/// What `node.json` says.
#[derive(Serialize)]
struct Running<'a> {
    pid: u32,
    api: String,
    token: &'a str,
}

/// Runs a node in `data_dir` until it is told to stop. `ready` is called once, when its API answers.
///
/// # Errors
/// Whatever keeps it from starting, in a sentence that says what to do.
pub async fn run(
    data_dir: &Path,
    args: UpArgs,
    ready: impl FnOnce(&str) + Send,
) -> anyhow::Result<()> {
    identity::prepare(data_dir)?;
    // A limit on the size of files is an error of a write then, like a full disk, and not the end.
    let _too_large = tokio::signal::unix::signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    let config = config::Config::merge(&args, data_dir)?;
    let me = match identity::load(data_dir) {
        Err(identity::IdentityError::Missing(_)) => {
            let name = args.name.clone().unwrap_or_else(whoami);
            identity::create(data_dir, &name, None)?;
            identity::load(data_dir)?
        }
        other => other?,
    };
    let path = data_dir.join(DATABASE);
    let mut reopen = reopener(path.clone(), config.cache_bytes)?;
    let first = reopen().map_err(|error| anyhow!(explain(&error, data_dir)))?;
    let mut first = Some(first);
    let reopen: runtime::Reopen = Box::new(move || first.take().map_or_else(&mut reopen, Ok));
    let listener = TcpListener::bind(config.api).await.map_err(|error| {
        anyhow!(
            "can't listen on {}: {error}; choose another address with --api 127.0.0.1:PORT",
            config.api
        )
    })?;
    let api = listener.local_addr()?;

    for address in &config.listen {
        revnet_net::check_free(address).map_err(|error| {
            anyhow!(
                "can't listen on {address}: {error}; choose another address or port with --listen"
            )
        })?;
    }
    let mut net_config = NetConfig::new(me.keys.seed());
    if !config.listen.is_empty() {
        net_config.listen.clone_from(&config.listen);
    }
    net_config.relays.clone_from(&config.bootstrap);
    net_config.mdns = config.mdns;
    let (net, events) = revnet_net::start(&net_config).context("the network can't be started")?;

    let (commands, asked) = mpsc::channel(COMMANDS);
    let (notices, _) = broadcast::channel::<Arc<Sequenced>>(NOTICES);
    // Unbounded by type; its length is bounded by the store's own queue.
    let (answers, stored) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let handle = Handle {
        commands,
        notices: notices.clone(),
        net: net.clone(),
        stop,
        data_dir: data_dir.to_owned(),
    };
    let mut runtime = runtime::Runtime::new(me, reopen, net.clone(), notices, answers);
    runtime
        .open()
        .map_err(|error| anyhow!(explain(&error, data_dir)))?;
    let engine = tokio::spawn(runtime.run(asked, events, stored, stopped.clone()));

    let token = revnet_api::new_token()?;
    let node_file = data_dir.join(NODE_FILE);
    let mut allowed_hosts = config.allowed_hosts.clone();
    if !api.ip().is_loopback() {
        tracing::warn!(%api, "the API is open to other machines, without encryption: only tokens protect it");
        allowed_hosts.push(api.to_string());
    }
    let api_config = ApiConfig {
        listen: config.api,
        tokens_file: data_dir.join("tokens.json"),
        allowed_hosts,
        cli_token: token.clone(),
    };
    let mut door_stopped = stopped.clone();
    let door = revnet_api::serve(handle.clone(), api_config, listener, async move {
        // An error means that the node is gone.
        let _ = door_stopped.wait_for(|stop| *stop).await;
    })?;
    let running = Running {
        pid: std::process::id(),
        api: from_here(api).to_string(),
        token: &token,
    };
    identity::write_private(&node_file, &serde_json::to_vec(&running)?)
        .with_context(|| format!("can't write {}", node_file.display()))?;
    let mut door = tokio::spawn(door);
    let mut engine = engine;
    ready(&from_here(api).to_string());
    let mut ended = stopped;
    let mut early = None;
    tokio::select! {
        // What ends because it was asked to must not pass for having failed.
        biased;
        () = signal() => tracing::info!("stopping"),
        _ = ended.wait_for(|stop| *stop) => tracing::info!("stopping as asked"),
        result = &mut door => early = Some(result.context("the API failed").map(drop)),
        result = &mut engine => early = Some(result.context("the node failed")),
    }
    handle.stop.send_replace(true);
    // Only now is the node gone for the command line.
    let _ = std::fs::remove_file(&node_file);
    if let Some(result) = early {
        result?;
        bail!("the node ended by itself; its log says why");
    }
    door.await.context("the API failed")??;
    engine.await.context("the node failed")?;
    // An error means that the network has ended already.
    let _ = net.send(revnet_net::NetCommand::Shutdown).await;
    Ok(())
}

/// Where programs of this machine find what listens on every address.
fn from_here(api: SocketAddr) -> SocketAddr {
    let ip = match api.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, api.port())
}

fn reopener(path: PathBuf, cache_bytes: usize) -> anyhow::Result<runtime::Reopen> {
    let mut id = [0; 16];
    if getrandom::fill(&mut id).is_err() {
        bail!("the system has no random source");
    }
    Ok(Box::new(move || {
        let options = Options {
            cache_bytes,
            ..Options::default()
        };
        let storage = RedbStorage::open(&path, id, &options).map_err(|error| error.to_string())?;
        let boot = Boot::read(&storage).map_err(|error| error.to_string())?;
        Ok((revnet_store::spawn(storage), boot))
    }))
}

/// A second node on one directory is the usual reason for a locked database.
fn explain(error: &str, data_dir: &Path) -> String {
    if error.contains("open in another process") {
        format!(
            "a node is running already on {}; use it, stop it with 'revnet down', or choose another --data-dir",
            data_dir.display()
        )
    } else {
        error.to_owned()
    }
}

fn whoami() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    if name.trim().is_empty() || name.len() > 64 {
        "me".to_owned()
    } else {
        name
    }
}

async fn signal() {
    use tokio::signal::unix::signal;
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
