//! What people may do: roles, permissions, exceptions of channels, bans, and the record of all of it.

use std::fmt;
use std::str::FromStr;

use revnet_core::command;
use revnet_protocol::act::Level;
use revnet_protocol::role::Target;
use revnet_protocol::{ChannelId, DeviceId, EnvelopeId, Permission, Permissions, RoleId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Id;

/// A role's id, or `everyone` for what all members have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleName(pub RoleId);

const EVERYONE: &str = "everyone";

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == RoleId::EVERYONE {
            f.write_str(EVERYONE)
        } else {
            self.0.fmt(f)
        }
    }
}

impl FromStr for RoleName {
    type Err = revnet_protocol::ids::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == EVERYONE {
            return Ok(Self(RoleId::EVERYONE));
        }
        text.parse().map(Self)
    }
}

/// A color as `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color(pub [u8; 3]);

/// A text that is no color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a color is '#' and six hexadecimal digits, such as #2e8b57")]
pub struct NoColor;

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl FromStr for Color {
    type Err = NoColor;

    fn from_str(text: &str) -> Result<Self, NoColor> {
        let digits = text.strip_prefix('#').filter(|rest| rest.len() == 6);
        let digits = digits.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let bits = u32::from_str_radix(digits.ok_or(NoColor)?, 16).map_err(|_| NoColor)?;
        let [_, red, green, blue] = bits.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

/// Permissions by their names.
pub(crate) fn names(permissions: Permissions) -> Vec<Id<Permission>> {
    permissions.iter().map(Id).collect()
}

pub(crate) fn set(names: &[Id<Permission>]) -> Permissions {
    names.iter().map(|name| name.0).collect()
}

/// The roles of a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Roles {
    /// In their order, that of everyone last.
    pub roles: Vec<Role>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Role {
    /// Its id, or `everyone`.
    #[schema(value_type = String)]
    pub id: Id<RoleName>,
    /// Its name.
    pub name: String,
    /// Its place in the order, 0 to 1000: only who stands above changes or grants it.
    pub position: u16,
    /// How its members are shown: `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub color: Option<Id<Color>>,
    /// What it allows, by name.
    #[schema(value_type = Vec<String>)]
    pub permissions: Vec<Id<Permission>>,
    /// How many members have it.
    pub members: u64,
}

impl From<command::RoleInfo> for Role {
    fn from(info: command::RoleInfo) -> Self {
        Self {
            id: Id(RoleName(info.id)),
            name: info.name,
            position: info.position.0,
            color: info.color.map(|color| Id(Color(color))),
            permissions: names(info.permissions),
            members: info.members as u64,
        }
    }
}

/// Makes or changes a role: what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRole {
    /// At most 64 bytes; needed to make one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its place in the order, 0 to 1000 and below the own level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub position: Option<u16>,
    /// `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub color: Option<Id<Color>>,
    /// What it allows, by name; takes the place of what it allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub permissions: Option<Vec<Id<Permission>>>,
}

impl From<EditRole> for command::RoleEdit {
    fn from(edit: EditRole) -> Self {
        Self {
            name: edit.name,
            position: edit.position.map(Level),
            color: edit.color.map(|color| color.0.0),
            permissions: edit.permissions.map(|names| set(&names)),
            removed: None,
        }
    }
}

/// What some people may do in a channel, beside their roles: those with a role, or one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// For those with this role, or `everyone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub role: Option<Id<RoleName>>,
    /// For this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user: Option<Id<UserId>>,
    /// Allowed beyond their roles, by name.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub allow: Vec<Id<Permission>>,
    /// Denied in spite of their roles, by name.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub deny: Vec<Id<Permission>>,
}

impl Exception {
    /// For whom, if it says so once.
    pub(crate) fn target(&self) -> Option<Target> {
        match (self.role, self.user) {
            (Some(role), None) => Some(Target::Role(role.0.0)),
            (None, Some(user)) => Some(Target::User(user.0)),
            _ => None,
        }
    }
}

impl From<command::ExceptionInfo> for Exception {
    fn from(info: command::ExceptionInfo) -> Self {
        let (role, user) = match info.target {
            Target::Role(role) => (Some(Id(RoleName(role))), None),
            Target::User(user) => (None, Some(Id(user))),
        };
        Self {
            role,
            user,
            allow: names(info.allow),
            deny: names(info.deny),
        }
    }
}

/// Whose permissions, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// A member; left out for oneself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub user: Option<Id<UserId>>,
    /// A channel; left out for the whole revolt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub channel: Option<Id<ChannelId>>,
}

/// What a member may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// By name.
    #[schema(value_type = Vec<String>)]
    pub permissions: Vec<Id<Permission>>,
}

/// Silences a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeout {
    /// Until when, in Unix milliseconds.
    pub until_ms: u64,
}

/// Who is banned from a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bans {
    /// In no order that means anything.
    pub bans: Vec<Banned>,
}

/// Somebody who is banned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Banned {
    /// Who.
    #[schema(value_type = String)]
    pub user: Id<UserId>,
    /// What they were called last.
    pub name: String,
}

impl From<command::BanInfo> for Banned {
    fn from(info: command::BanInfo) -> Self {
        Self {
            user: Id(info.user),
            name: info.name,
        }
    }
}

/// The record of a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// Every act, causes before effects.
    pub acts: Vec<AuditEntry>,
}

/// One act with its verdict. Every node comes to the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Id<EnvelopeId>,
    /// When it was written by its author's clock, in Unix milliseconds.
    pub at_ms: u64,
    /// Who wrote it; left out for devices of nobody known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Id<UserId>>,
    /// What they are called.
    pub by_name: String,
    /// The device that wrote it.
    #[schema(value_type = String)]
    pub device: Id<DeviceId>,
    /// The kind of act: `create`, `invite`, `ban` …
    pub act: String,
    /// What it is about, in words; may be empty.
    pub about: String,
    /// Whether it counts.
    pub counts: bool,
    /// Why, in words.
    pub why: String,
}

impl From<command::AuditEntry> for AuditEntry {
    fn from(entry: command::AuditEntry) -> Self {
        Self {
            id: Id(entry.id),
            at_ms: entry.at_ms,
            by: entry.by.map(Id),
            by_name: entry.by_name,
            device: Id(entry.device),
            act: entry.act.to_owned(),
            about: entry.about,
            counts: entry.counts,
            why: entry.why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_and_roles_are_read_as_they_are_written() {
        let color = Color([0x2e, 0x8b, 0x07]);
        assert_eq!(color.to_string(), "#2e8b07");
        assert_eq!("#2E8b07".parse(), Ok(color));
        for wrong in ["2e8b07", "#2e8b0", "#2e8b070", "#+12345", "red"] {
            assert_eq!(wrong.parse::<Color>(), Err(NoColor), "{wrong}");
        }
        let role = RoleName(RoleId([7; 32]));
        assert_eq!(role.to_string().parse(), Ok(role));
        assert_eq!("everyone".parse(), Ok(RoleName(RoleId::EVERYONE)));
        assert!("nobody".parse::<RoleName>().is_err());
    }
}
