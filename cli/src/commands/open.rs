//! `revnet open`

use std::process::{Command, Stdio};

use clap::Args;

use crate::context::Context;
use crate::failure::{Failure, Result};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet open            open it in the browser
  revnet open --print    print the address, for instance to open it elsewhere")]
pub(crate) struct OpenArgs {
    /// Print the address and open nothing
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(context: &Context, args: &OpenArgs) -> Result<()> {
    let client = context.client()?;
    // Whether it really runs.
    client.get_bytes("/healthz")?;
    let url = format!("http://{}/", client.api);
    if !args.print {
        browse(&url)?;
    }
    context
        .out
        .show(&serde_json::json!({ "url": url }), || url.clone())
}

fn browse(url: &str) -> Result<()> {
    let status = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failure::failed(format!(
            "no browser could be started: open {url} yourself"
        ))),
    }
}
