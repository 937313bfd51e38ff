//! What people may do, apart from how high they stand: permissions, the roles that bundle them, and the
//! exceptions of single channels.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::act::{Keep, Level};
use crate::ids::{ChannelId, RoleId, UserId};

/// One thing that people may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Permission {
    /// See a channel, and read it.
    View = 0,
    /// Write messages, edit and delete own ones.
    Send = 1,
    /// React to messages.
    React = 2,
    /// Delete messages of others.
    ManageMessages = 3,
    /// Make and change channels.
    ManageChannels = 4,
    /// Change the revolt's name and appearance.
    ManageRevolt = 5,
    /// Make and change roles below one's own level, grant them, and set levels and exceptions of channels.
    ManageRoles = 6,
    /// Make and revoke invites.
    Invite = 7,
    /// Remove people, who may come back by an invite.
    Kick = 8,
    /// Remove people for good, and let them in again.
    Ban = 9,
    /// Silence people for a while.
    Timeout = 10,
}

impl Permission {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 11] = [
        Self::View,
        Self::Send,
        Self::React,
        Self::ManageMessages,
        Self::ManageChannels,
        Self::ManageRevolt,
        Self::ManageRoles,
        Self::Invite,
        Self::Kick,
        Self::Ban,
        Self::Timeout,
    ];

    /// Its name, as people type it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Send => "send",
            Self::React => "react",
            Self::ManageMessages => "manage-messages",
            Self::ManageChannels => "manage-channels",
            Self::ManageRevolt => "manage-revolt",
            Self::ManageRoles => "manage-roles",
            Self::Invite => "invite",
            Self::Kick => "kick",
            Self::Ban => "ban",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{word}' is no permission; there are: {}",
    Permissions::everything_known()
)]
pub struct UnknownPermission {
    /// The word.
    pub word: String,
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == text)
            .ok_or_else(|| UnknownPermission {
                word: text.to_owned(),
            })
    }
}

/// A set of permissions, one bit each. Bits that this version doesn't know are kept: a newer one grants them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Permissions(pub u64);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything, and what newer versions add: what founders and admins have.
    pub const ALL: Self = Self(u64::MAX);
    /// What everybody has until somebody decides otherwise.
    pub const DEFAULT: Self = Self(
        1 << Permission::View as u8 | 1 << Permission::Send as u8 | 1 << Permission::React as u8,
    );

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(self, permission: Permission) -> bool {
        self.contains(permission.into())
    }

    /// Those that this version knows, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |p| self.has(*p))
    }

    fn everything_known() -> String {
        Permission::ALL.map(Permission::name).join(", ")
    }
}

impl From<Permission> for Permissions {
    fn from(permission: Permission) -> Self {
        Self(1 << permission as u8)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let bits = permissions.into_iter().map(Self::from);
        bits.fold(Self::NONE, BitOr::bitor)
    }
}

impl BitOr for Permissions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Permissions {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Permissions {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// Makes or changes a role. Each field that is present replaces what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The role to change, [`RoleId::EVERYONE`] among them; none makes a new one, whose id is that of this act.
    pub role: Option<RoleId>,
    /// At most 64 bytes.
    pub name: Option<String>,
    /// Its place in the order, from 0 to 1000: only who stands above changes or grants it.
    pub position: Option<Level>,
    /// How its members are shown: red, green, blue.
    pub color: Option<[u8; 3]>,
    /// What it allows.
    pub permissions: Option<Permissions>,
    /// Whether it is gone. It can be brought back.
    pub removed: Option<bool>,
}

/// Gives somebody a role, or takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whom.
    pub user: UserId,
    /// Which.
    pub role: RoleId,
    /// Whether they have it from now on.
    pub on: bool,
}

/// Whom an exception concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// Who has the role, [`RoleId::EVERYONE`] among them.
    Role(RoleId),
    /// One person.
    User(UserId),
}

/// The exception of a channel for some people. It takes the place of an earlier one for the same people.
///
/// Where exceptions contradict each other, that of a person goes before those of roles, and these before
/// that of everyone; among roles, what one denies is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwrite {
    /// In which channel.
    pub channel: ChannelId,
    /// For whom.
    pub target: Target,
    /// What is allowed beyond their roles.
    pub allow: Permissions,
    /// What is denied in spite of their roles.
    pub deny: Permissions,
}

/// Removes somebody for good, or lifts that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Whom.
    pub user: UserId,
    /// Whether they are banned from now on. A ban removes; lifting it lets nobody in by itself.
    pub on: bool,
    /// What still counts of the person; by default all that the author had seen.
    pub keep: Option<Keep>,
}

/// Hides what somebody says for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// Who.
    pub user: UserId,
    /// Until when, in Unix milliseconds; none lifts it.
    pub until_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_belong_together() {
        for (bit, permission) in Permission::ALL.into_iter().enumerate() {
            assert_eq!(permission as usize, bit);
            assert_eq!(permission.name().parse(), Ok(permission));
            assert_eq!(
                Permissions::from(permission).iter().collect::<Vec<_>>(),
                [permission]
            );
        }
        assert!("everything".parse::<Permission>().is_err());
    }

    #[test]
    fn a_set_contains_what_it_was_made_of() {
        let some: Permissions = [Permission::View, Permission::Ban].into_iter().collect();
        assert!(some.has(Permission::Ban) && !some.has(Permission::Kick));
        assert!(Permissions::ALL.contains(some) && !some.contains(Permissions::ALL));
        assert_eq!(
            some & !Permissions::from(Permission::Ban),
            Permission::View.into()
        );
    }
}
