//! `revnet-bootstrap`: runs a relay in the foreground and prints its address.

#![allow(clippy::print_stdout, reason = "a program's output")]

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use revnet_bootstrap::{EXAMPLE_CONFIG, RelayArgs, run, shutdown_signal};
use tracing_subscriber::EnvFilter;

/// Kademlia warns that it knows nobody, which is how every relay begins.
const LOG: &str = "warn,libp2p_kad=error,revnet_bootstrap=info";

/// Runs a RevNet relay: the node that others meet at
///
/// Prints its address, one line beginning with "revnet-relay:", as soon as it can be reached. Give that line to the
/// people who shall use it.
#[derive(Parser, Debug)]
#[command(version)]
struct Command {
    #[command(flatten)]
    relay: RelayArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::try_from_env("REVNET_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if command.relay.print_config {
        print!("{EXAMPLE_CONFIG}");
        return ExitCode::SUCCESS;
    }
    match serve(command.relay).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: RelayArgs) -> Result<(), Box<dyn Error>> {
    let config = arguments.resolve(default_key_file()?)?;
    let signal = shutdown_signal()?;
    run(&config, |relay| println!("{}", relay.address), signal).await?;
    Ok(())
}

fn default_key_file() -> Result<PathBuf, &'static str> {
    let directories = directories::ProjectDirs::from("", "", "revnet")
        .ok_or("there is no home directory for the key file; name one with --key-file")?;
    Ok(directories.data_dir().join("relay.key"))
}
