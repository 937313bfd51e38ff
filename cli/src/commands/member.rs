//! `revnet member`

use clap::{Args, Subcommand};
use revnet_api::dto::{EditMember, Member, Members};

use crate::context::Context;
use crate::failure::Result;
use crate::names;
use crate::output::{line, table};

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members of a revolt
    List {
        /// Whose members
        revolt: String,
    },
    /// Remove a member
    Kick {
        /// From which revolt
        revolt: String,
        /// Whom
        user: String,
    },
    /// Set what a member may do
    Level(LevelArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A level is 0 (member) to 1000; 500 manages channels, invites and members. You can only grant levels \
below your own.

Examples:
  revnet member level Gardeners Ada 500
  revnet member level Gardeners Ada member")]
pub(crate) struct LevelArgs {
    /// In which revolt
    revolt: String,
    /// Whose
    user: String,
    /// A number from 0 to 1000, or 'member' or 'admin'
    #[arg(value_parser = level)]
    level: u16,
}

fn level(text: &str) -> std::result::Result<u16, String> {
    match text {
        "member" => Ok(0),
        "admin" => Ok(500),
        _ => text
            .parse()
            .ok()
            .filter(|level| *level <= 1000)
            .ok_or_else(|| "a level is a number from 0 to 1000, 'member' or 'admin'".to_owned()),
    }
}

/// A level in words.
pub(crate) fn level_words(level: u16) -> String {
    match level {
        0 => "member".to_owned(),
        500 => "admin".to_owned(),
        1001 => "founder".to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn run(context: &Context, command: &MemberCommand) -> Result<()> {
    match command {
        MemberCommand::List { revolt } => list(context, revolt),
        MemberCommand::Kick { revolt, user } => kick(context, revolt, user),
        MemberCommand::Level(args) => set_level(context, args),
    }
}

fn list(context: &Context, revolt: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let Members { members } = client.get(&format!("/api/revolts/{}/members", revolt.id))?;
    context.out.show(&members, || list_words(&members))
}

/// The members as a table.
pub(crate) fn list_words(members: &[Member]) -> String {
    let row = |member: &Member| {
        let online = if member.online { "online" } else { "" };
        vec![
            line(&member.name),
            level_words(member.level),
            online.to_owned(),
            member.user.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    table(&["MEMBER", "LEVEL", "", "ID"], &rows)
}

fn kick(context: &Context, revolt: &str, user: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let member = names::member(&client, revolt.id.0, user)?;
    client.delete(&format!(
        "/api/revolts/{}/members/{}",
        revolt.id, member.user
    ))?;
    context
        .out
        .done(&format!("{} is removed.", line(&member.name)))
}

fn set_level(context: &Context, args: &LevelArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let member = names::member(&client, revolt.id.0, &args.user)?;
    let path = format!("/api/revolts/{}/members/{}", revolt.id, member.user);
    client.set(&path, &EditMember { level: args.level })?;
    context.out.done(&format!(
        "{} has the level {}.",
        line(&member.name),
        level_words(args.level)
    ))
}
