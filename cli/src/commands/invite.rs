//! `revnet invite`

use clap::{Args, Subcommand};
use revnet_api::dto::{CreatedInvite, Invite, Invites, NewInvite, Status};
use revnet_protocol::InviteLink;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;
use crate::output::table;
use crate::times;

#[derive(Debug, Subcommand)]
pub(crate) enum InviteCommand {
    /// Make an invite and print its link
    New(NewArgs),
    /// List the invites of a revolt
    List {
        /// Whose invites
        revolt: String,
    },
    /// End an invite; who joined by it stays
    Revoke {
        /// Whose invite
        revolt: String,
        /// Its id, or the beginning of it
        invite: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Whoever has the link can read the revolt: send it to those only who shall.

Examples:
  revnet invite new Gardeners
  revnet invite new Gardeners --expires 7d --uses 1
  revnet invite new Gardeners --web revolts.example.org")]
pub(crate) struct NewArgs {
    /// Into which revolt
    revolt: String,
    /// After this time it lets nobody in: 30m, 12h, 7d, 4w
    #[arg(long, value_name = "SPAN", value_parser = times::span)]
    expires: Option<u64>,
    /// How many people may join by it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// Also print it as a link to a community's own server
    #[arg(long, value_name = "HOST", value_parser = host)]
    web: Option<String>,
}

/// The name of a server, with a port or without.
fn host(text: &str) -> std::result::Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or(text);
    let host = host.strip_suffix('/').unwrap_or(host);
    let part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(part) {
        return Err(
            "give the server's name, such as revolts.example.org or example.org:8443".into(),
        );
    }
    Ok(host.to_owned())
}

pub(crate) fn run(context: &Context, command: &InviteCommand) -> Result<()> {
    match command {
        InviteCommand::New(args) => new(context, args),
        InviteCommand::List { revolt } => list(context, revolt),
        InviteCommand::Revoke { revolt, invite } => revoke(context, revolt, invite),
    }
}

fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let expires_ms = match args.expires {
        Some(span) => {
            let status: Status = client.get("/api/status")?;
            Some(status.unix_ms + span)
        }
        None => None,
    };
    let new = NewInvite {
        expires_ms,
        max_uses: args.uses,
    };
    let path = format!("/api/revolts/{}/invites", revolt.id);
    let created: CreatedInvite = client.post(&path, &new)?;
    let mut value = serde_json::to_value(&created)?;
    let mut words = created.link.clone();
    if let Some(host) = &args.web {
        let link =
            InviteLink::parse(&created.link).map_err(|error| Failure::failed(error.to_string()))?;
        let web = link.to_web(host);
        words.push('\n');
        words.push_str(&web);
        value["web_link"] = web.into();
    }
    context.out.show(&value, || words)
}

fn list(context: &Context, revolt: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let Invites { invites } = client.get(&format!("/api/revolts/{}/invites", revolt.id))?;
    context.out.show(&invites, || {
        if invites.is_empty() {
            return "There are no invites. Make one with 'revnet invite new REVOLT'.".to_owned();
        }
        let rows: Vec<Vec<String>> = invites.iter().map(row).collect();
        table(&["STATE", "USED", "EXPIRES (UTC)", "ID"], &rows)
    })
}

fn row(invite: &Invite) -> Vec<String> {
    let state = if invite.ended { "ended" } else { "open" };
    let used = match invite.max_uses {
        Some(most) => format!("{} of {most}", invite.uses),
        None => invite.uses.to_string(),
    };
    let expires = invite.expires_ms.map_or_else(
        || "never".to_owned(),
        |ms| times::short(i64::try_from(ms).unwrap_or(i64::MAX)),
    );
    vec![state.to_owned(), used, expires, invite.id.to_string()]
}

fn revoke(context: &Context, revolt: &str, invite: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let path = format!("/api/revolts/{}/invites", revolt.id);
    let Invites { invites } = client.get(&path)?;
    let nameless = String::new();
    let found = names::pick("invite", invite, &invites, |invite| {
        (invite.id.to_string(), &nameless)
    })?;
    client.delete(&format!("{path}/{}", found.id))?;
    context.out.done("The invite lets nobody in any more.")
}
