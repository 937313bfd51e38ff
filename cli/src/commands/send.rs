//! `revnet send`

use std::io::{self, Read};

use clap::Args;
use revnet_api::dto::{Draft, Id, Sent};
use revnet_protocol::MessageId;
use revnet_protocol::limits::MAX_BODY;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet send Gardeners/general 'Who has seeds?'
  revnet send Gardeners/general 'First' 'Second'
  uptime | revnet send Gardeners/servers -
  revnet send Gardeners/general --reply-to MESSAGE 'I do'
  revnet send Gardeners/alerts --nonce disk-01-31 'Disk full'   (once, however often it runs)")]
pub(crate) struct SendArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// What to say, each text as a message of its own; - reads one from standard input
    #[arg(required = true)]
    text: Vec<String>,
    /// The message that it answers
    #[arg(long, value_name = "MESSAGE", value_parser = names::message)]
    reply_to: Option<MessageId>,
    /// Sending again with the same nonce in the same channel does nothing
    #[arg(long)]
    nonce: Option<String>,
}

pub(crate) fn run(context: &Context, args: &SendArgs) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    if args.nonce.is_some() && args.text.len() > 1 {
        return Err(Failure::usage("a nonce belongs to one message"));
    }
    let mut sent: Vec<Sent> = Vec::with_capacity(args.text.len());
    let path = format!("{}/messages", place.path());
    for text in &args.text {
        let draft = Draft {
            text: text_or_stdin(text)?,
            reply_to: args.reply_to.map(Id),
            nonce: args.nonce.clone(),
            ..Draft::default()
        };
        sent.push(client.post(&path, &draft)?);
    }
    let words = || sent.iter().map(words).collect::<String>();
    match sent.as_slice() {
        [one] => context.out.show(one, words),
        several => context.out.show(&several, words),
    }
}

fn words(sent: &Sent) -> String {
    match (&sent.id, sent.known) {
        (Some(id), false) => format!("{id}\n"),
        (Some(id), true) => format!("{id} (sent before)\n"),
        (None, _) => "It waits in the outbox until a member is reachable.\n".to_owned(),
    }
}

/// The text itself, or what standard input holds for `-`.
pub(crate) fn text_or_stdin(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    io::stdin()
        .take(MAX_BODY as u64 + 1)
        .read_to_string(&mut read)
        .map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    if read.len() > MAX_BODY {
        return Err(Failure::usage(format!(
            "a message has at most about {MAX_BODY} bytes"
        )));
    }
    Ok(read.trim_end_matches(['\r', '\n']).to_owned())
}
