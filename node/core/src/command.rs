//! What people ask of their node, and what it answers. The local API and the CLI are thin over this.

use std::collections::BTreeMap;

use revnet_protocol::act::{Level, Settings};
use revnet_protocol::role::Target;
use revnet_protocol::{
    ChannelId, DeviceId, DeviceRevocation, EnvelopeId, Imported, InviteId, InviteLink, MessageId,
    Permissions, RevoltId, RoleId, UserId,
};

use crate::storage::Direction;

/// A question or a wish. Answered exactly once, by [`Reply`] or [`CommandError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Who am I, how am I connected.
    Status,
    /// Changes the own display name here and in every revolt.
    Rename {
        /// At most 64 bytes.
        name: String,
    },
    /// Founds a revolt with one text channel, `general`.
    CreateRevolt {
        /// The name must be present.
        settings: Settings,
    },
    /// All revolts.
    ListRevolts,
    /// One revolt with channels and members.
    ShowRevolt {
        /// Which.
        revolt: RevoltId,
    },
    /// Changes name or appearance.
    EditRevolt {
        /// Which.
        revolt: RevoltId,
        /// What changes.
        settings: Settings,
    },
    /// Ceases to be a member and forgets the revolt here.
    LeaveRevolt {
        /// Which.
        revolt: RevoltId,
    },
    /// Makes an invite; the answer holds its link.
    CreateInvite {
        /// To which revolt.
        revolt: RevoltId,
        /// Unix milliseconds.
        expires_ms: Option<u64>,
        /// How many may join by it.
        max_uses: Option<u32>,
        /// Where this node and its relays are found; the runtime knows.
        addresses: Vec<String>,
    },
    /// The invites of a revolt.
    ListInvites {
        /// Of which revolt.
        revolt: RevoltId,
    },
    /// Ends an invite.
    RevokeInvite {
        /// In which revolt.
        revolt: RevoltId,
        /// Which.
        invite: InviteId,
    },
    /// Joins by a link. Answered when the node is a member, or after a minute without anybody to ask.
    Join {
        /// The parsed link.
        link: InviteLink,
    },
    /// Makes a channel.
    CreateChannel {
        /// In which revolt.
        revolt: RevoltId,
        /// What it is like; the name must be present.
        edit: ChannelEdit,
        /// Whether only admins and those whom exceptions name see it. It then has secrets of its own.
        private: bool,
    },
    /// Changes a channel.
    EditChannel {
        /// In which revolt.
        revolt: RevoltId,
        /// Which.
        channel: ChannelId,
        /// What changes.
        edit: ChannelEdit,
    },
    /// Says something. Acknowledged when it is durable here.
    Send {
        /// Where.
        at: Place,
        /// What.
        messages: Vec<Draft>,
    },
    /// Changes the words of an own message.
    Edit {
        /// Where.
        at: Place,
        /// Which.
        message: MessageId,
        /// The new words.
        text: String,
    },
    /// Deletes an own message, or as a moderator anybody's.
    Delete {
        /// Where.
        at: Place,
        /// Which.
        message: MessageId,
    },
    /// Adds or removes an own reaction.
    React {
        /// Where.
        at: Place,
        /// To which message.
        message: MessageId,
        /// At most 32 bytes.
        emoji: String,
        /// Whether it is there from now on.
        on: bool,
    },
    /// Reads a page of messages, oldest first.
    Log {
        /// Where.
        at: Place,
        /// The bound, itself left out.
        from: Option<MessageId>,
        /// Which way.
        direction: Direction,
        /// At most this many, at most 1000.
        limit: usize,
    },
    /// The members of a revolt.
    ListMembers {
        /// Of which revolt.
        revolt: RevoltId,
    },
    /// Sets somebody's level, or removes them with `None`.
    SetMember {
        /// In which revolt.
        revolt: RevoltId,
        /// Whom.
        user: UserId,
        /// The new level.
        level: Option<Level>,
    },
    /// Removes somebody for good, or lifts that.
    Ban {
        /// From which revolt.
        revolt: RevoltId,
        /// Whom.
        user: UserId,
        /// Whether they are banned from now on. Lifting a ban lets nobody in by itself.
        on: bool,
    },
    /// Who is banned.
    ListBans {
        /// From which revolt.
        revolt: RevoltId,
    },
    /// Hides what somebody says until a time.
    Timeout {
        /// In which revolt.
        revolt: RevoltId,
        /// Who.
        user: UserId,
        /// Unix milliseconds; none lifts it.
        until_ms: Option<u64>,
    },
    /// The roles of a revolt, that of everyone last.
    ListRoles {
        /// Of which revolt.
        revolt: RevoltId,
    },
    /// Makes a role.
    CreateRole {
        /// In which revolt.
        revolt: RevoltId,
        /// What it is like; the name must be present.
        edit: RoleEdit,
    },
    /// Changes a role, or removes it.
    EditRole {
        /// In which revolt.
        revolt: RevoltId,
        /// Which; [`RoleId::EVERYONE`] has only permissions.
        role: RoleId,
        /// What changes.
        edit: RoleEdit,
    },
    /// Gives somebody a role, or takes it away.
    Grant {
        /// In which revolt.
        revolt: RevoltId,
        /// Whom.
        user: UserId,
        /// Which.
        role: RoleId,
        /// Whether they have it from now on.
        on: bool,
    },
    /// Sets what some people may do in one channel, beside their roles. Nothing allowed and nothing denied ends
    /// the exception.
    SetException {
        /// Where.
        at: Place,
        /// For whom.
        target: Target,
        /// Beyond their roles.
        allow: Permissions,
        /// In spite of their roles.
        deny: Permissions,
    },
    /// What a member may do now: "view as".
    Permissions {
        /// In which revolt.
        revolt: RevoltId,
        /// Who; none for oneself.
        user: Option<UserId>,
        /// In which channel; none for the whole revolt.
        channel: Option<ChannelId>,
    },
    /// Every act, and why it counts or not.
    Audit {
        /// Of which revolt.
        revolt: RevoltId,
    },
    /// The last acts of one of the own devices, one for each revolt: what its revocations keep.
    LastActs {
        /// Which.
        device: DeviceId,
        /// Leaves out what it stamped from then on, in Unix milliseconds; its first act comes in any case.
        before_ms: Option<u64>,
    },
    /// Takes back one of the own devices in every revolt.
    RevokeDevice {
        /// Signed by the own root key, one for each of the `LastActs`.
        revocations: Vec<DeviceRevocation>,
    },
    /// The documents of a revolt, for export.
    ListDocuments {
        /// Of which revolt.
        revolt: RevoltId,
    },
    /// One document as stock Automerge bytes.
    ExportDocument {
        /// Of which revolt.
        revolt: RevoltId,
        /// Which channel; none for the control stream.
        channel: Option<ChannelId>,
        /// Which segment.
        seg: u32,
    },
    /// Who is linked, and in which revolts.
    Peers,
}

/// A channel of a revolt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The revolt.
    pub revolt: RevoltId,
    /// The channel.
    pub channel: ChannelId,
}

/// Properties of a channel to set; the others stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelEdit {
    /// At most 64 bytes.
    pub name: Option<String>,
    /// At most 1024 bytes.
    pub topic: Option<String>,
    /// At most 64 bytes.
    pub category: Option<String>,
    /// Its place in the list.
    pub position: Option<u32>,
    /// Archived channels take no new messages.
    pub archived: Option<bool>,
    /// Whether newcomers may read what was written before they came.
    pub history: Option<bool>,
}

/// Properties of a role to set; the others stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleEdit {
    /// At most 64 bytes.
    pub name: Option<String>,
    /// Its place in the order, from 0 to 1000 and below the own level.
    pub position: Option<Level>,
    /// Red, green, blue.
    pub color: Option<[u8; 3]>,
    /// What it allows.
    pub permissions: Option<Permissions>,
    /// Whether it is gone.
    pub removed: Option<bool>,
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Markdown, at most about 8000 bytes.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// The message that it answers, by the nonce that it was sent with. For imports, where ids come later.
    pub reply_to_nonce: Option<String>,
    /// Sending again with the same nonce in the same channel does nothing and answers with the first message.
    pub nonce: Option<String>,
    /// Where it was imported from.
    pub imported: Option<Imported>,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done; nothing to tell.
    Done,
    /// To `Status`.
    Status(Status),
    /// To `ListRevolts`.
    Revolts(Vec<RevoltInfo>),
    /// To `CreateRevolt`, `ShowRevolt`, `EditRevolt` and `Join`.
    Revolt(Box<RevoltDetail>),
    /// To `CreateInvite`.
    Invite(InviteInfo, InviteLink),
    /// To `ListInvites`.
    Invites(Vec<InviteInfo>),
    /// To `CreateChannel` and `EditChannel`.
    Channel(ChannelInfo),
    /// To `Send`, in the order of the drafts.
    Sent(Vec<Sent>),
    /// To `Log`.
    Log(Vec<MessageView>),
    /// To `LastActs`, as number and id.
    LastActs(Vec<(u64, EnvelopeId)>),
    /// To `ListMembers`.
    Members(Vec<MemberInfo>),
    /// To `ListBans`.
    Bans(Vec<BanInfo>),
    /// To `ListRoles`.
    Roles(Vec<RoleInfo>),
    /// To `CreateRole` and `EditRole`, unless the role is gone.
    Role(RoleInfo),
    /// To `Permissions`.
    Permissions(Permissions),
    /// To `Audit`, causes before effects.
    Audit(Vec<AuditEntry>),
    /// To `ListDocuments`.
    Documents(Vec<DocumentInfo>),
    /// To `ExportDocument`.
    Document(Vec<u8>),
    /// To `Peers`.
    Peers(Vec<PeerInfo>),
}

/// What became of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has its place.
    Sealed(MessageId),
    /// It waits in the outbox until a member is reachable; the number names it there.
    Pending(u64),
    /// Its nonce was used before.
    Known(MessageId),
}

/// Why a command was not carried out. The text says what to do next where there is something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No such revolt, channel, message, member or invite here.
    #[error("{0} not found here")]
    NotFound(&'static str),
    /// The author's level doesn't allow it.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// A value is out of its limits.
    #[error("{0}")]
    Invalid(String),
    /// Nobody who could answer was reached.
    #[error("nobody reachable: {0}")]
    Unreachable(&'static str),
    /// The invite no longer lets anybody in.
    #[error("the invite has expired, is used up or was revoked: ask for a new link")]
    InviteEnded,
    /// The store failed; nothing was done.
    #[error("not saved: {0}")]
    Storage(#[from] crate::storage::StorageError),
    /// Too much waits already.
    #[error("the node is busy: try again in a moment")]
    Busy,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The person.
    pub user: UserId,
    /// This device.
    pub device: DeviceId,
    /// The display name.
    pub name: String,
    /// How many revolts.
    pub revolts: usize,
    /// How many linked peers.
    pub peers: usize,
    /// How many messages wait for their first transmission.
    pub outbox: usize,
    /// The node's clock in Unix milliseconds, corrected by its peers'.
    pub unix_ms: u64,
    /// How far the peers' median clock is from this machine's, in milliseconds.
    pub clock_offset_ms: i64,
}

/// A revolt in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevoltInfo {
    /// Its id.
    pub id: RevoltId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its icon.
    pub icon: Option<String>,
    /// How many members.
    pub members: usize,
    /// How many of its members' devices are linked.
    pub online: usize,
    /// The own level; none while joining or after removal.
    pub level: Option<Level>,
    /// A member has been heard, so that messages leave at once.
    pub synced: bool,
}

/// A revolt with its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevoltDetail {
    /// The revolt.
    pub info: RevoltInfo,
    /// Its channels in their order.
    pub channels: Vec<ChannelInfo>,
    /// Its members, highest level first.
    pub members: Vec<MemberInfo>,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Its id.
    pub id: ChannelId,
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// Its heading.
    pub category: String,
    /// Its place in the list.
    pub position: u32,
    /// Takes no new messages.
    pub archived: bool,
    /// Whether newcomers may read what was written before they came.
    pub history: bool,
    /// Events known here.
    pub events: u64,
    /// Not everybody sees it; it has secrets of its own.
    pub private: bool,
    /// What some people may do here, beside their roles.
    pub exceptions: Vec<ExceptionInfo>,
    /// What the own person may do here.
    pub permissions: Permissions,
}

/// What some people may do in a channel, beside their roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionInfo {
    /// For whom.
    pub target: Target,
    /// Beyond their roles.
    pub allow: Permissions,
    /// In spite of their roles.
    pub deny: Permissions,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleInfo {
    /// Its id; [`RoleId::EVERYONE`] for what everybody has.
    pub id: RoleId,
    /// Its name; that of everyone is `everyone`.
    pub name: String,
    /// Its place in the order.
    pub position: Level,
    /// Red, green, blue.
    pub color: Option<[u8; 3]>,
    /// What it allows.
    pub permissions: Permissions,
    /// How many members have it.
    pub members: usize,
}

/// Somebody who is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanInfo {
    /// Who.
    pub user: UserId,
    /// What they were called last.
    pub name: String,
}

/// One act of a revolt's control stream with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The act.
    pub id: EnvelopeId,
    /// When it was written by its author's clock, in Unix milliseconds.
    pub at_ms: u64,
    /// Whose device wrote it, by what its author knew.
    pub by: Option<UserId>,
    /// What they are called; empty for strangers.
    pub by_name: String,
    /// The device.
    pub device: DeviceId,
    /// The kind of act: `create`, `invite`, `ban` …
    pub act: &'static str,
    /// What it is about, in words; may be empty.
    pub about: String,
    /// Whether it counts.
    pub counts: bool,
    /// Why, in words.
    pub why: String,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Who.
    pub user: UserId,
    /// What they are called.
    pub name: String,
    /// How high they stand.
    pub level: Level,
    /// Their roles, without that of everyone.
    pub roles: Vec<RoleId>,
    /// What they may do in the whole revolt.
    pub permissions: Permissions,
    /// Until when they are silenced, in Unix milliseconds.
    pub silenced_until_ms: Option<u64>,
    /// They are in by nothing but an invite: nobody who may invite has confirmed it yet.
    pub provisional: bool,
    /// Their devices.
    pub devices: Vec<DeviceId>,
    /// One of the devices is linked, or is this one.
    pub online: bool,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteInfo {
    /// Its id.
    pub id: InviteId,
    /// Who made it.
    pub by: UserId,
    /// Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// How many may join by it.
    pub max_uses: Option<u32>,
    /// How many did.
    pub uses: u32,
    /// It lets nobody in any more.
    pub ended: bool,
}

/// A document for export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its channel; none for the control stream.
    pub channel: Option<ChannelId>,
    /// Its segment.
    pub seg: u32,
}

/// A linked peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its device.
    pub device: DeviceId,
    /// Whose it is, where that is known.
    pub user: Option<UserId>,
    /// What they are called.
    pub name: Option<String>,
    /// The link runs through a relay.
    pub relayed: bool,
    /// Revolts that both take part in.
    pub revolts: Vec<RevoltId>,
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its id, also its place.
    pub id: MessageId,
    /// Who wrote it.
    pub author: UserId,
    /// What they are called in the revolt.
    pub author_name: String,
    /// The words; empty where they were deleted.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// When it was last edited, in Unix milliseconds.
    pub edited_ms: Option<u64>,
    /// It was deleted.
    pub deleted: bool,
    /// Who reacted with what.
    pub reactions: BTreeMap<String, Vec<UserId>>,
    /// Where it was imported from.
    pub imported: Option<Imported>,
    /// How many other people's disks hold it, as far as they said. Differs from node to node.
    pub held_by: u32,
}

/// Something happened that a page or script may want to know. Sent in order, to everybody who listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A new message, own ones included.
    Message {
        /// Where.
        at: Place,
        /// What.
        message: Box<MessageView>,
    },
    /// A message looks different.
    MessageChanged {
        /// Where.
        at: Place,
        /// Its new look.
        message: Box<MessageView>,
    },
    /// Many messages arrived at once: read the channel again.
    ChannelGrew {
        /// Where.
        at: Place,
    },
    /// An outbox entry got its place.
    Sealed {
        /// Where.
        at: Place,
        /// Its number in the outbox.
        number: u64,
        /// Its id.
        message: MessageId,
    },
    /// More disks hold this and all earlier messages of the device in the channel.
    Held {
        /// Where.
        at: Place,
        /// The author's device.
        device: DeviceId,
        /// Up to this number.
        seq: u64,
        /// How many other people.
        people: u32,
    },
    /// Name, channels, members or invites changed.
    RevoltChanged {
        /// Which.
        revolt: RevoltId,
    },
    /// The revolt is gone from this node.
    RevoltGone {
        /// Which.
        revolt: RevoltId,
    },
    /// How far a join has come.
    Joining {
        /// Which revolt.
        revolt: RevoltId,
        /// How many peers of it are linked.
        peers: usize,
    },
    /// A link was made or lost.
    PeersChanged,
}
