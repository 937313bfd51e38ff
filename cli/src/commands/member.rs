//! `revnet member`

use clap::{Args, Subcommand};
use revnet_api::dto::{Bans, EditMember, Member, Members, Role, Roles, Status, Timeout};

use crate::context::Context;
use crate::failure::Result;
use crate::names;
use crate::output::{line, table};
use crate::times;

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members of a revolt
    ///
    /// Whoever is 'not confirmed' is in by nothing but an invite. The node of somebody who may invite confirms
    /// newcomers by itself within half a minute, unless the invite had ended or was used up.
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
    /// Set how high a member stands
    Level(LevelArgs),
    /// Show, give or take a member's roles
    Roles(RolesArgs),
    /// Remove somebody for good: no invite lets them in again
    Ban {
        /// From which revolt
        revolt: String,
        /// Whom
        user: String,
    },
    /// Lift a ban; the person may come back by an invite that is made afterwards
    Unban {
        /// From which revolt
        revolt: String,
        /// Whom, as 'revnet member bans' lists them
        user: String,
    },
    /// List who is banned
    Bans {
        /// From which revolt
        revolt: String,
    },
    /// Hide what a member says for a while
    Timeout(TimeoutArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet member roles Gardeners Ada
  revnet member roles Gardeners Ada --add moderator --remove rose")]
pub(crate) struct RolesArgs {
    /// In which revolt
    revolt: String,
    /// Whose
    user: String,
    /// A role to give
    #[arg(long, value_name = "ROLE")]
    add: Vec<String>,
    /// A role to take
    #[arg(long, value_name = "ROLE")]
    remove: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What the member says meanwhile is shown to nobody, and not afterwards either.

Examples:
  revnet member timeout Gardeners Bob 10m
  revnet member timeout Gardeners Bob --lift")]
pub(crate) struct TimeoutArgs {
    /// In which revolt
    revolt: String,
    /// Whom
    user: String,
    /// How long, such as 10m, 2h or 1d
    #[arg(value_parser = times::span, required_unless_present = "lift")]
    time: Option<u64>,
    /// Let them speak again
    #[arg(long, conflicts_with = "time")]
    lift: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A level is 0 (member) to 1000. It says above whom somebody stands: you act only on people below you. From \
500 on one may do everything there; below, roles decide ('revnet role'). You can only grant levels below your own.

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
        MemberCommand::Roles(args) => roles(context, args),
        MemberCommand::Ban { revolt, user } => ban(context, revolt, user),
        MemberCommand::Unban { revolt, user } => unban(context, revolt, user),
        MemberCommand::Bans { revolt } => bans(context, revolt),
        MemberCommand::Timeout(args) => timeout(context, args),
    }
}

fn list(context: &Context, revolt: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let Members { members } = client.get(&format!("/api/revolts/{}/members", revolt.id))?;
    let Roles { roles } = client.get(&format!("/api/revolts/{}/roles", revolt.id))?;
    let status: Status = client.get("/api/status")?;
    context
        .out
        .show(&members, || list_words(&members, &roles, status.unix_ms))
}

/// The members as a table.
pub(crate) fn list_words(members: &[Member], roles: &[Role], now_ms: u64) -> String {
    let row = |member: &Member| {
        vec![
            line(&member.name),
            level_words(member.level),
            role_words(member, roles),
            doing(member, now_ms),
            member.user.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    table(&["MEMBER", "LEVEL", "ROLES", "", "ID"], &rows)
}

fn role_words(member: &Member, roles: &[Role]) -> String {
    let held = roles.iter().filter(|role| member.roles.contains(&role.id));
    held.map(|role| line(&role.name))
        .collect::<Vec<_>>()
        .join(", ")
}

fn doing(member: &Member, now_ms: u64) -> String {
    let silenced = member.silenced_until_ms.filter(|until| *until > now_ms);
    let silenced = silenced.and_then(|until| i64::try_from(until).ok());
    let silenced = silenced.map(|until| format!("silenced until {}", times::short(until)));
    let online = member.online.then(|| "online".to_owned());
    let provisional = member.provisional.then(|| "not confirmed".to_owned());
    let all = [online, provisional, silenced].into_iter().flatten();
    all.collect::<Vec<_>>().join(", ")
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

fn roles(context: &Context, args: &RolesArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let member = names::member(&client, revolt.id.0, &args.user)?;
    let found = |wanted: &Vec<String>| -> Result<Vec<Role>> {
        let roles = wanted.iter();
        roles
            .map(|role| names::role(&client, revolt.id.0, role))
            .collect()
    };
    // Looked up first: a misspelt name changes nothing.
    let (added, taken) = (found(&args.add)?, found(&args.remove)?);
    let path = |role: &Role| {
        format!(
            "/api/revolts/{}/members/{}/roles/{}",
            revolt.id, member.user, role.id
        )
    };
    for role in &added {
        client.put(&path(role))?;
    }
    for role in &taken {
        client.delete(&path(role))?;
    }
    let member = names::member(&client, revolt.id.0, &member.user.to_string())?;
    let Roles { roles } = client.get(&format!("/api/revolts/{}/roles", revolt.id))?;
    let held: Vec<Role> = roles
        .into_iter()
        .filter(|role| member.roles.contains(&role.id))
        .collect();
    context.out.show(&held, || {
        if held.is_empty() {
            return format!("{} has no role", line(&member.name));
        }
        let names: Vec<String> = held.iter().map(|role| line(&role.name)).collect();
        format!("{} has {}", line(&member.name), names.join(", "))
    })
}

fn ban(context: &Context, revolt: &str, user: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let member = names::member(&client, revolt.id.0, user)?;
    client.put(&format!("/api/revolts/{}/bans/{}", revolt.id, member.user))?;
    context
        .out
        .done(&format!("{} is banned.", line(&member.name)))
}

fn unban(context: &Context, revolt: &str, user: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let Bans { bans } = client.get(&format!("/api/revolts/{}/bans", revolt.id))?;
    let banned = names::pick("banned person", user, &bans, |banned| {
        (banned.user.to_string(), &banned.name)
    })?;
    client.delete(&format!("/api/revolts/{}/bans/{}", revolt.id, banned.user))?;
    context.out.done(&format!(
        "The ban of {} is lifted. To let them in, make a new invite.",
        line(&banned.name)
    ))
}

fn bans(context: &Context, revolt: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let Bans { bans } = client.get(&format!("/api/revolts/{}/bans", revolt.id))?;
    context.out.show(&bans, || {
        let rows: Vec<Vec<String>> = bans
            .iter()
            .map(|banned| vec![line(&banned.name), banned.user.to_string()])
            .collect();
        table(&["BANNED", "ID"], &rows)
    })
}

fn timeout(context: &Context, args: &TimeoutArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let member = names::member(&client, revolt.id.0, &args.user)?;
    let path = format!("/api/revolts/{}/members/{}/timeout", revolt.id, member.user);
    let Some(time) = args.time else {
        client.delete(&path)?;
        return context
            .out
            .done(&format!("{} may speak again.", line(&member.name)));
    };
    let status: Status = client.get("/api/status")?;
    let until_ms = status.unix_ms + time;
    client.put_json(&path, &Timeout { until_ms })?;
    let until = i64::try_from(until_ms).unwrap_or(i64::MAX);
    context.out.done(&format!(
        "{} is silenced until {} UTC.",
        line(&member.name),
        times::short(until)
    ))
}
