//! `revnet channel`

use clap::{Args, Subcommand};
use revnet_api::dto::{Channel, EditChannel, RevoltDetail};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;
use crate::output::{line, table};

#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Make a channel
    New(NewArgs),
    /// List the channels of a revolt
    List {
        /// Whose channels
        revolt: String,
    },
    /// Change a channel
    Edit(EditArgs),
    /// Let a channel take no new messages
    Archive {
        /// REVOLT/CHANNEL
        channel: String,
        /// Let it take messages again
        #[arg(long)]
        undo: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet channel new Gardeners tomatoes
  revnet channel new Gardeners tomatoes --topic 'Red ones' --category Vegetables")]
pub(crate) struct NewArgs {
    /// In which revolt
    revolt: String,
    /// What it is called, at most 64 bytes
    name: String,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What isn't named stays.

Examples:
  revnet channel edit Gardeners/tomatoes --name peppers --topic 'Hot ones'
  revnet channel edit Gardeners/peppers --position 0")]
pub(crate) struct EditArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// A new name, at most 64 bytes
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
struct LookArgs {
    /// What it is about, at most 1024 bytes
    #[arg(long)]
    topic: Option<String>,
    /// The heading that it stands under
    #[arg(long)]
    category: Option<String>,
    /// Its place in the list, from 0
    #[arg(long, value_name = "N")]
    position: Option<u32>,
}

impl LookArgs {
    fn edit(&self, name: Option<String>) -> EditChannel {
        EditChannel {
            name,
            topic: self.topic.clone(),
            category: self.category.clone(),
            position: self.position,
            archived: None,
        }
    }
}

pub(crate) fn run(context: &Context, command: &ChannelCommand) -> Result<()> {
    match command {
        ChannelCommand::New(args) => new(context, args),
        ChannelCommand::List { revolt } => list(context, revolt),
        ChannelCommand::Edit(args) => {
            let edit = args.look.edit(args.name.clone());
            if edit == EditChannel::default() {
                return Err(Failure::usage(
                    "nothing to change: give --name, --topic, --category or --position",
                ));
            }
            change(context, &args.channel, &edit)
        }
        ChannelCommand::Archive { channel, undo } => {
            let edit = EditChannel {
                archived: Some(!undo),
                ..EditChannel::default()
            };
            change(context, channel, &edit)
        }
    }
}

fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let edit = args.look.edit(Some(args.name.clone()));
    let path = format!("/api/revolts/{}/channels", revolt.id);
    let channel: Channel = client.post(&path, &edit)?;
    show(context, &channel)
}

fn change(context: &Context, channel: &str, edit: &EditChannel) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, channel)?;
    let channel: Channel = client.patch(&place.path(), edit)?;
    show(context, &channel)
}

fn show(context: &Context, channel: &Channel) -> Result<()> {
    context.out.show(channel, || {
        format!("{}  {}", line(&channel.name), channel.id)
    })
}

fn list(context: &Context, revolt: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let detail: RevoltDetail = client.get(&format!("/api/revolts/{}", revolt.id))?;
    context
        .out
        .show(&detail.channels, || list_words(&detail.channels))
}

/// The channels as a table.
pub(crate) fn list_words(channels: &[Channel]) -> String {
    let row = |channel: &Channel| {
        let archived = if channel.archived { " (archived)" } else { "" };
        vec![
            format!("{}{archived}", line(&channel.name)),
            line(&channel.category),
            channel.events.to_string(),
            channel.id.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = channels.iter().map(row).collect();
    table(&["CHANNEL", "CATEGORY", "EVENTS", "ID"], &rows)
}
