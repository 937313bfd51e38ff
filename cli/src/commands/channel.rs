//! `revnet channel`

use clap::{Args, Subcommand};
use revnet_api::dto::{
    Channel, EditChannel, Exception, Held, Id, Member, Members, RevoltDetail, Role, Roles,
};
use revnet_protocol::Permission;

use crate::client::Client;
use crate::commands::role::permission_words;
use crate::context::Context;
use crate::failure::{Failure, Kind, Result};
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
    /// Show or set what people may do in a channel, beside their roles
    Permissions(PermissionsArgs),
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
    /// Let only admins, people above you, yourself and whom you name see it ('revnet channel permissions')
    #[arg(long)]
    private: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --for, the exceptions are listed. What a role or a person is allowed here goes beyond their roles; what is \
denied is denied in spite of them. One's own exception goes before those of one's roles, and these before that of \
'everyone'. A channel that 'everyone' may not view has secrets of its own.

Examples:
  revnet channel permissions Gardeners/cellar
  revnet channel permissions Gardeners/cellar --for everyone --deny view
  revnet channel permissions Gardeners/cellar --for moderator --allow view,send
  revnet channel permissions Gardeners/cellar --for Ada --clear
  revnet channel permissions Gardeners/cellar --as Bob")]
pub(crate) struct PermissionsArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// For whom: a role, 'everyone', or a member
    #[arg(long = "for", value_name = "ROLE|USER", requires = "change")]
    target: Option<String>,
    /// Allow, with commas between
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PERMISSION",
        group = "change",
        requires = "target"
    )]
    allow: Vec<Permission>,
    /// Deny, with commas between
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PERMISSION",
        group = "change",
        requires = "target"
    )]
    deny: Vec<Permission>,
    /// End the exception
    #[arg(long, group = "change", requires = "target", conflicts_with_all = ["allow", "deny"])]
    clear: bool,
    /// Show what this member may do here
    #[arg(long = "as", value_name = "USER", conflicts_with = "target")]
    seen_as: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What isn't named stays.

Examples:
  revnet channel edit Gardeners/tomatoes --name peppers --topic 'Hot ones'
  revnet channel edit Gardeners/peppers --position 0
  revnet channel edit Gardeners/peppers --history off")]
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
    /// Whether newcomers may read what was written before they came; 'off' holds for what is written from then on
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    history: Option<bool>,
}

fn on_or_off(text: &str) -> std::result::Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("give 'on' or 'off'".into()),
    }
}

impl LookArgs {
    fn edit(&self, name: Option<String>) -> EditChannel {
        EditChannel {
            name,
            topic: self.topic.clone(),
            category: self.category.clone(),
            position: self.position,
            archived: None,
            private: None,
            history: self.history,
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
                    "nothing to change: give --name, --topic, --category, --position or --history",
                ));
            }
            change(context, &args.channel, &edit)
        }
        ChannelCommand::Permissions(args) => permissions(context, args),
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
    let edit = EditChannel {
        private: args.private.then_some(true),
        ..args.look.edit(Some(args.name.clone()))
    };
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

fn permissions(context: &Context, args: &PermissionsArgs) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    if let Some(wanted) = &args.seen_as {
        return seen_as(context, &client, &place, wanted);
    }
    if let Some(wanted) = &args.target {
        let mut exception = whose(&client, &place, wanted)?;
        exception.allow = args.allow.iter().copied().map(Id).collect();
        exception.deny = args.deny.iter().copied().map(Id).collect();
        client.put_json(&format!("{}/exceptions", place.path()), &exception)?;
    }
    let detail: RevoltDetail = client.get(&format!("/api/revolts/{}", place.revolt))?;
    let channel = detail
        .channels
        .into_iter()
        .find(|channel| channel.id.0 == place.channel);
    let Some(channel) = channel else {
        return context
            .out
            .done("Done. You don't see the channel any more.");
    };
    let Roles { roles } = client.get(&format!("/api/revolts/{}/roles", place.revolt))?;
    context.out.show(&channel.exceptions, || {
        exception_words(&channel.exceptions, &roles, &detail.members)
    })
}

fn seen_as(context: &Context, client: &Client, place: &names::Place, wanted: &str) -> Result<()> {
    let member = names::member(client, place.revolt, wanted)?;
    let path = format!(
        "/api/revolts/{}/permissions?user={}&channel={}",
        place.revolt, member.user, place.channel
    );
    let held: Held = client.get(&path)?;
    context.out.show(&held, || {
        format!(
            "{} may do {} in {}",
            line(&member.name),
            permission_words(&held.permissions),
            line(&place.name)
        )
    })
}

/// An exception for a role or a member, of which the role is meant where both are called so.
fn whose(client: &Client, place: &names::Place, wanted: &str) -> Result<Exception> {
    let mut exception = Exception {
        role: None,
        user: None,
        allow: Vec::new(),
        deny: Vec::new(),
    };
    match names::role(client, place.revolt, wanted) {
        Ok(role) => exception.role = Some(role.id),
        Err(failure) if failure.kind == Kind::NotFound => {
            let Members { members } =
                client.get(&format!("/api/revolts/{}/members", place.revolt))?;
            let member = names::pick("role or member", wanted, &members, |member: &Member| {
                (member.user.to_string(), &member.name)
            })?;
            exception.user = Some(member.user);
        }
        Err(failure) => return Err(failure),
    }
    Ok(exception)
}

fn exception_words(exceptions: &[Exception], roles: &[Role], members: &[Member]) -> String {
    if exceptions.is_empty() {
        return "There are no exceptions here: roles decide.".to_owned();
    }
    let name = |exception: &Exception| {
        let role = roles.iter().find(|role| Some(role.id) == exception.role);
        let member = members
            .iter()
            .find(|member| Some(member.user) == exception.user);
        let name = role
            .map(|role| &role.name)
            .or(member.map(|member| &member.name));
        let id = exception.user.map(|user| user.to_string());
        name.map_or_else(|| id.unwrap_or_default(), |name| line(name))
    };
    let row = |exception: &Exception| {
        vec![
            name(exception),
            permission_words(&exception.allow),
            permission_words(&exception.deny),
        ]
    };
    let rows: Vec<Vec<String>> = exceptions.iter().map(row).collect();
    table(&["FOR", "ALLOWED", "DENIED"], &rows)
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
        let private = if channel.private { " (private)" } else { "" };
        let history = if channel.history { "" } else { " (no history)" };
        vec![
            format!("{}{private}{history}{archived}", line(&channel.name)),
            line(&channel.category),
            channel.events.to_string(),
            channel.id.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = channels.iter().map(row).collect();
    table(&["CHANNEL", "CATEGORY", "EVENTS", "ID"], &rows)
}
