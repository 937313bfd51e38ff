//! `revnet role`

use clap::{Args, Subcommand};
use revnet_api::dto::{Color, EditRole, Id, Role, Roles};
use revnet_protocol::{Permission, Permissions};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;
use crate::output::{line, table};

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// List the roles of a revolt, and what they allow
    List {
        /// Whose roles
        revolt: String,
    },
    /// Make a role
    New(NewArgs),
    /// Change a role
    Edit(EditArgs),
    /// Remove a role
    Delete {
        /// In which revolt
        revolt: String,
        /// Which role
        role: String,
    },
}

/// What permissions there are, for help texts.
const PERMISSIONS: &str = "\
Permissions: view, send, react, manage-messages, manage-channels, manage-revolt, manage-roles, invite, \
kick, ban, timeout. Members of level 500 and above have all of them; below, roles decide. You can give \
only what you have yourself, and change only roles whose position is below your level.";

#[derive(Debug, Args)]
#[command(after_help = format!("{PERMISSIONS}\n
Examples:
  revnet role new Gardeners moderator --position 100 --allow kick,manage-messages
  revnet role new Gardeners rose --color '#c2185b'"))]
pub(crate) struct NewArgs {
    /// In which revolt
    revolt: String,
    /// What it is called, at most 64 bytes
    name: String,
    #[command(flatten)]
    look: LookArgs,
    /// What it allows, with commas between
    #[arg(long, value_delimiter = ',', value_name = "PERMISSION")]
    allow: Vec<Permission>,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
What isn't named stays. The role 'everyone' is what all members have: only its permissions change.
{PERMISSIONS}\n
Examples:
  revnet role edit Gardeners moderator --allow ban --revoke kick
  revnet role edit Gardeners everyone --revoke react
  revnet role edit Gardeners moderator --name helper"))]
pub(crate) struct EditArgs {
    /// In which revolt
    revolt: String,
    /// Which role
    role: String,
    /// A new name, at most 64 bytes
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    look: LookArgs,
    /// What it allows from now on, too
    #[arg(long, value_delimiter = ',', value_name = "PERMISSION")]
    allow: Vec<Permission>,
    /// What it allows no longer
    #[arg(long, value_delimiter = ',', value_name = "PERMISSION")]
    revoke: Vec<Permission>,
}

#[derive(Debug, Args)]
struct LookArgs {
    /// Its place in the order, 0 to 1000: only who stands above changes or grants it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    position: Option<u16>,
    /// How its members are shown
    #[arg(long, value_name = "#RRGGBB")]
    color: Option<Color>,
}

pub(crate) fn run(context: &Context, command: &RoleCommand) -> Result<()> {
    match command {
        RoleCommand::List { revolt } => list(context, revolt),
        RoleCommand::New(args) => new(context, args),
        RoleCommand::Edit(args) => edit(context, args),
        RoleCommand::Delete { revolt, role } => delete(context, revolt, role),
    }
}

/// Permissions as people read them.
pub(crate) fn permission_words(permissions: &[Id<Permission>]) -> String {
    let names: Vec<String> = permissions.iter().map(ToString::to_string).collect();
    match (names.len(), names.is_empty()) {
        (_, true) => "nothing".to_owned(),
        (all, _) if all == Permission::ALL.len() => "everything".to_owned(),
        _ => names.join(" "),
    }
}

fn list(context: &Context, revolt: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let Roles { roles } = client.get(&format!("/api/revolts/{}/roles", revolt.id))?;
    context.out.show(&roles, || {
        let row = |role: &Role| {
            vec![
                line(&role.name),
                role.position.to_string(),
                role.members.to_string(),
                permission_words(&role.permissions),
                role.id.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = roles.iter().map(row).collect();
        table(&["ROLE", "POSITION", "MEMBERS", "ALLOWS", "ID"], &rows)
    })
}

fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let edit = EditRole {
        name: Some(args.name.clone()),
        position: args.look.position,
        color: args.look.color.map(Id),
        permissions: Some(args.allow.iter().copied().map(Id).collect()),
    };
    let role: Role = client.post(&format!("/api/revolts/{}/roles", revolt.id), &edit)?;
    show(context, &role)
}

fn edit(context: &Context, args: &EditArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let role = names::role(&client, revolt.id.0, &args.role)?;
    let changes = !args.allow.is_empty() || !args.revoke.is_empty();
    let edit = EditRole {
        name: args.name.clone(),
        position: args.look.position,
        color: args.look.color.map(Id),
        permissions: changes.then(|| changed(&role.permissions, &args.allow, &args.revoke)),
    };
    if edit == EditRole::default() {
        return Err(Failure::usage(
            "nothing to change: give --name, --position, --color, --allow or --revoke",
        ));
    }
    let path = format!("/api/revolts/{}/roles/{}", revolt.id, role.id);
    let role: Role = client.patch(&path, &edit)?;
    show(context, &role)
}

/// Some permissions with others added and taken.
pub(crate) fn changed(
    before: &[Id<Permission>],
    added: &[Permission],
    taken: &[Permission],
) -> Vec<Id<Permission>> {
    let set = |names: &[Permission]| names.iter().copied().collect::<Permissions>();
    let before: Vec<Permission> = before.iter().map(|name| name.0).collect();
    let after = (set(&before) | set(added)) & !set(taken);
    after.iter().map(Id).collect()
}

fn show(context: &Context, role: &Role) -> Result<()> {
    context.out.show(role, || {
        format!(
            "{}  {}\nallows {}",
            line(&role.name),
            role.id,
            permission_words(&role.permissions)
        )
    })
}

fn delete(context: &Context, revolt: &str, role: &str) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, revolt)?;
    let role = names::role(&client, revolt.id.0, role)?;
    client.delete(&format!("/api/revolts/{}/roles/{}", revolt.id, role.id))?;
    context
        .out
        .done(&format!("The role {} is gone.", line(&role.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_added_and_taken() {
        let before = [Id(Permission::View), Id(Permission::Kick)];
        let after = changed(&before, &[Permission::Ban], &[Permission::Kick]);
        assert_eq!(after, [Id(Permission::View), Id(Permission::Ban)]);
        assert_eq!(permission_words(&after), "view ban");
        assert_eq!(permission_words(&[]), "nothing");
    }
}
