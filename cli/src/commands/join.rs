//! `revnet join`

use std::io::{self, Read};

use clap::Args;
use revnet_api::dto::{Join, RevoltDetail};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::line;

#[derive(Debug, Args)]
#[command(after_help = "\
The link is a secret: other users of this machine can read command lines, so that '-' is the \
safer way where there are any.

Examples:
  revnet join 'revnet:…'
  revnet join 'https://revolts.example.org/i#…'
  revnet join - < link.txt")]
pub(crate) struct JoinArgs {
    /// The invite link, or - to read it from standard input
    link: String,
}

pub(crate) fn run(context: &Context, args: &JoinArgs) -> Result<()> {
    let client = context.client()?;
    let link = if args.link == "-" {
        let mut text = String::new();
        io::stdin().take(8192).read_to_string(&mut text)?;
        text
    } else {
        args.link.clone()
    };
    // A mistyped link needs no node to be noticed.
    revnet_protocol::InviteLink::parse(&link).map_err(|error| Failure::usage(error.to_string()))?;
    let joined: RevoltDetail = client.post("/api/join", &Join { link })?;
    context.out.show(&joined, || {
        let name = line(&joined.info.name);
        let channel = joined.channels.first().map_or_else(String::new, |channel| {
            format!(
                "\nSay hello: revnet send '{name}/{}' 'Hello'",
                line(&channel.name)
            )
        });
        format!("You are a member of {name} ({}).{channel}", joined.info.id)
    })
}
