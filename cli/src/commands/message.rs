//! `revnet edit`, `revnet delete`, `revnet react`

use clap::Args;
use revnet_api::dto::EditMessage;
use revnet_protocol::MessageId;

use super::send::text_or_stdin;
use crate::client::segment;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet edit Gardeners/general MESSAGE 'What I meant'")]
pub(crate) struct EditArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// Which message; an own one
    #[arg(value_parser = names::message)]
    message: MessageId,
    /// The new words, or - to read them from standard input
    text: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Nodes that are offline delete it when they come back. Who has read it has read it.

Examples:
  revnet delete Gardeners/general MESSAGE")]
pub(crate) struct DeleteArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// Which message; as a moderator anybody's
    #[arg(value_parser = names::message)]
    message: MessageId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet react Gardeners/general MESSAGE 👍
  revnet react Gardeners/general MESSAGE 👍 --remove")]
pub(crate) struct ReactArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// To which message
    #[arg(value_parser = names::message)]
    message: MessageId,
    /// An emoji or a short word, at most 32 bytes
    emoji: String,
    /// Take the reaction back
    #[arg(long)]
    remove: bool,
}

pub(crate) fn edit(context: &Context, args: &EditArgs) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    let text = text_or_stdin(&args.text)?;
    let path = format!("{}/messages/{}", place.path(), args.message);
    client.set(&path, &EditMessage { text })?;
    context.out.done("Edited.")
}

pub(crate) fn delete(context: &Context, args: &DeleteArgs) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    client.delete(&format!("{}/messages/{}", place.path(), args.message))?;
    context.out.done("Deleted.")
}

pub(crate) fn react(context: &Context, args: &ReactArgs) -> Result<()> {
    if args.emoji.is_empty() {
        return Err(Failure::usage("a reaction has 1 to 32 bytes"));
    }
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    let path = format!(
        "{}/messages/{}/reactions/{}",
        place.path(),
        args.message,
        segment(&args.emoji)
    );
    if args.remove {
        client.delete(&path)?;
        context.out.done("Taken back.")
    } else {
        client.put(&path)?;
        context.out.done("Reacted.")
    }
}
