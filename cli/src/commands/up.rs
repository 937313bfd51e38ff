//! `revnet up` and `revnet relay`: the two commands that run something.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};

use clap::Args;
use revnet_bootstrap::{EXAMPLE_CONFIG, RelayArgs, shutdown_signal};
use revnet_node::UpArgs;
use tracing_subscriber::EnvFilter;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::print;

/// Kademlia warns that it knows nobody, which is how every node begins.
const LOG: &str = "warn,libp2p_kad=error,revnet_node=info,revnet_net=warn,revnet_bootstrap=info";

/// `revnet relay`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Prints its address, one line that begins with 'revnet-relay:', when it can be reached.
Members give that line to their nodes: revnet up --bootstrap 'revnet-relay:…'

Examples:
  revnet relay --listen /ip4/0.0.0.0/tcp/4001 --external relay.example.org
  revnet relay --print-config > relay.toml")]
pub(crate) struct RelayCommand {
    #[command(flatten)]
    relay: RelayArgs,
}

/// Text for a person at a terminal, JSON for a log collector.
fn log(filter: Option<&str>) -> Result<()> {
    let filter = match filter {
        Some(text) => EnvFilter::try_new(text)
            .map_err(|error| Failure::usage(format!("--log {text}: {error}")))?,
        None => EnvFilter::try_from_env("REVNET_LOG").unwrap_or_else(|_| EnvFilter::new(LOG)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

pub(crate) fn up(context: &Context, args: UpArgs) -> Result<()> {
    log(args.log.as_deref())?;
    let open = !args.no_open && std::io::stdout().is_terminal();
    let data_dir = context.data_dir.clone();
    let (json, shown) = (context.out.json, data_dir.display().to_string());
    let ready = move |api: &str| {
        let url = format!("http://{api}/");
        let line = if json {
            format!(
                "{}\n",
                serde_json::json!({ "api": api, "url": url, "data_dir": shown })
            )
        } else {
            format!("node ready: {url} (data in {shown}); stop it with Ctrl-C or 'revnet down'\n")
        };
        // Nobody may be reading; the node runs all the same.
        let _ = print(&line);
        if open {
            let nothing = Stdio::null;
            let _ = Command::new("xdg-open")
                .arg(&url)
                .stdin(nothing())
                .stdout(nothing())
                .stderr(nothing())
                .spawn();
        }
    };
    runtime()?
        .block_on(revnet_node::run(&data_dir, args, ready))
        .map_err(|error| Failure::failed(format!("{error:#}")))
}

pub(crate) fn relay(context: &Context, command: RelayCommand) -> Result<()> {
    if command.relay.print_config {
        return print(EXAMPLE_CONFIG);
    }
    log(None)?;
    let config = command
        .relay
        .resolve(context.data_dir.join("relay.key"))
        .map_err(|error| Failure::usage(with_causes(&error)))?;
    let json = context.out.json;
    let runtime = runtime()?;
    let signal = {
        let _entered = runtime.enter();
        shutdown_signal()?
    };
    let ready = |relay: &revnet_bootstrap::Ready| {
        // Nobody may be reading; the relay runs all the same.
        let text = if json {
            serde_json::json!({ "address": relay.address.to_string() }).to_string()
        } else {
            relay.address.to_string()
        };
        let _ = print(&format!("{text}\n"));
    };
    runtime
        .block_on(revnet_bootstrap::run(&config, ready, signal))
        .map_err(|error| Failure::failed(with_causes(&error)))
}

/// What an error says, and what is behind it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
