//! Revolts and their parts.

use revnet_core::command;
use revnet_protocol::act::Settings;
use revnet_protocol::{ChannelId, DeviceId, InviteId, InviteLink, Permission, RevoltId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Exception, Id, RoleName, names};

/// The revolts that this node takes part in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revolts {
    /// In the node's order.
    pub revolts: Vec<Revolt>,
}

/// A revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revolt {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Id<RevoltId>,
    /// Its name.
    pub name: String,
    /// Its description; may be empty.
    pub description: String,
    /// Its icon, an emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// How many members.
    pub member_count: u64,
    /// How many of its members' devices are linked.
    pub online: u64,
    /// The own level; left out while joining or after removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u16>,
    /// A member has been heard, so that messages leave at once.
    pub synced: bool,
}

impl From<command::RevoltInfo> for Revolt {
    fn from(info: command::RevoltInfo) -> Self {
        Self {
            id: Id(info.id),
            name: info.name,
            description: info.description,
            icon: info.icon,
            member_count: info.members as u64,
            online: info.online as u64,
            level: info.level.map(|level| level.0),
            synced: info.synced,
        }
    }
}

/// A revolt with its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevoltDetail {
    /// The revolt.
    #[serde(flatten)]
    pub info: Revolt,
    /// Its channels in their order.
    pub channels: Vec<Channel>,
    /// Its members, highest level first.
    pub members: Vec<Member>,
}

impl From<command::RevoltDetail> for RevoltDetail {
    fn from(detail: command::RevoltDetail) -> Self {
        Self {
            info: detail.info.into(),
            channels: detail.channels.into_iter().map(Into::into).collect(),
            members: detail.members.into_iter().map(Into::into).collect(),
        }
    }
}

/// Founds or changes a revolt: what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRevolt {
    /// At most 64 bytes; needed to found one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An emoji, at most 32 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
}

impl From<EditRevolt> for Settings {
    fn from(edit: EditRevolt) -> Self {
        Self {
            name: edit.name,
            description: edit.description,
            icon: edit.icon,
        }
    }
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Id<ChannelId>,
    /// Its name.
    pub name: String,
    /// Its topic; may be empty.
    pub topic: String,
    /// Its heading; may be empty.
    pub category: String,
    /// Its place in the list.
    pub position: u32,
    /// Takes no new messages.
    pub archived: bool,
    /// Events known here.
    pub events: u64,
    /// Not everybody sees it; it has secrets of its own.
    pub private: bool,
    /// Newcomers may read what was written before they came.
    pub history: bool,
    /// What some people may do here, beside their roles.
    pub exceptions: Vec<Exception>,
    /// What the own person may do here, by name.
    #[schema(value_type = Vec<String>)]
    pub permissions: Vec<Id<Permission>>,
}

impl From<command::ChannelInfo> for Channel {
    fn from(info: command::ChannelInfo) -> Self {
        Self {
            id: Id(info.id),
            name: info.name,
            topic: info.topic,
            category: info.category,
            position: info.position,
            archived: info.archived,
            events: info.events,
            private: info.private,
            history: info.history,
            exceptions: info.exceptions.into_iter().map(Into::into).collect(),
            permissions: names(info.permissions),
        }
    }
}

/// Makes or changes a channel: what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditChannel {
    /// At most 64 bytes; needed to make one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most 1024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// At most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Its place in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// Archived channels take no new messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Where it is made: only admins and whom its exceptions name see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Whether newcomers may read what was written before they came; they may until it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
}

impl From<EditChannel> for command::ChannelEdit {
    fn from(edit: EditChannel) -> Self {
        Self {
            name: edit.name,
            topic: edit.topic,
            category: edit.category,
            position: edit.position,
            archived: edit.archived,
            history: edit.history,
        }
    }
}

/// The members of a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Members {
    /// Highest level first.
    pub members: Vec<Member>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Who.
    #[schema(value_type = String)]
    pub user: Id<UserId>,
    /// What they are called.
    pub name: String,
    /// How high they stand: 0 is an ordinary member, from 500 on an admin, 1001 the founder.
    pub level: u16,
    /// Their roles, without that of everyone.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Id<RoleName>>,
    /// What they may do in the whole revolt, by name.
    #[schema(value_type = Vec<String>)]
    pub permissions: Vec<Id<Permission>>,
    /// Until when they are silenced, in Unix milliseconds; it may be past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced_until_ms: Option<u64>,
    /// They are in by nothing but an invite: no node of somebody who may invite has confirmed it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// Their devices.
    #[schema(value_type = Vec<String>)]
    pub devices: Vec<Id<DeviceId>>,
    /// One of the devices is linked, or is this one.
    pub online: bool,
}

impl From<command::MemberInfo> for Member {
    fn from(info: command::MemberInfo) -> Self {
        Self {
            user: Id(info.user),
            name: info.name,
            level: info.level.0,
            roles: info
                .roles
                .into_iter()
                .map(|role| Id(RoleName(role)))
                .collect(),
            permissions: names(info.permissions),
            silenced_until_ms: info.silenced_until_ms,
            provisional: info.provisional,
            devices: info.devices.into_iter().map(Id).collect(),
            online: info.online,
        }
    }
}

/// Changes a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMember {
    /// The new level, 0 to 1000.
    #[schema(maximum = 1000)]
    pub level: u16,
}

/// Makes an invite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// Unix milliseconds after which it lets nobody in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// How many may join by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
}

/// The invites of a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invites {
    /// Ended ones included.
    pub invites: Vec<Invite>,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Id<InviteId>,
    /// Who made it.
    #[schema(value_type = String)]
    pub by: Id<UserId>,
    /// Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// How many may join by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// How many did.
    pub uses: u32,
    /// It lets nobody in any more.
    pub ended: bool,
}

impl From<command::InviteInfo> for Invite {
    fn from(info: command::InviteInfo) -> Self {
        Self {
            id: Id(info.id),
            by: Id(info.by),
            expires_ms: info.expires_ms,
            max_uses: info.max_uses,
            uses: info.uses,
            ended: info.ended,
        }
    }
}

/// A fresh invite. Its link is told once, and lets whoever has it read the revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedInvite {
    /// The invite.
    #[serde(flatten)]
    pub info: Invite,
    /// `revnet:…`.
    pub link: String,
}

impl CreatedInvite {
    pub(crate) fn new(info: command::InviteInfo, link: &InviteLink) -> Self {
        Self {
            info: info.into(),
            link: link.to_text(),
        }
    }
}

/// Joins a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// `revnet:…` or `https://HOST/i#…`.
    pub link: String,
}

/// The documents of a revolt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Documents {
    /// Each opens in stock Automerge.
    pub documents: Vec<Document>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Document {
    /// Its channel, or `control` for what the members did to the revolt itself.
    pub stream: String,
    /// Its segment, from 0.
    pub seg: u32,
}

impl From<command::DocumentInfo> for Document {
    fn from(info: command::DocumentInfo) -> Self {
        Self {
            stream: info
                .channel
                .map_or_else(|| CONTROL.to_owned(), |channel| channel.to_string()),
            seg: info.seg,
        }
    }
}

/// The name of the control stream where a channel's id would stand.
pub const CONTROL: &str = "control";
