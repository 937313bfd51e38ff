//! Events of the WebSocket: `{"seq":…, "type":…, …}`.
//!
//! Newtype variants over named structs, because utoipa ignores `rename_all_fields`.

use revnet_core::command::{Notice, Place};
use revnet_protocol::{ChannelId, DeviceId, MessageId, RevoltId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Id, Message};

/// Where to resume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// The last number seen. Left out: only what happens from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// One frame of the WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventFrame {
    /// Its number. Resume with the last one that was worked off.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A new message, own ones included.
    Message(MessageEvent),
    /// A message looks different.
    MessageChanged(MessageEvent),
    /// Many messages arrived at once: read the channel again.
    ChannelGrew(ChannelEvent),
    /// A message from the outbox got its id.
    Sealed(SealedEvent),
    /// More disks hold this and all earlier messages of the device in the channel.
    Held(HeldEvent),
    /// Name, channels, members or invites changed.
    RevoltChanged(RevoltEvent),
    /// The revolt is gone from this node.
    RevoltGone(RevoltEvent),
    /// How far a join has come.
    Joining(JoiningEvent),
    /// A link was made or lost.
    PeersChanged(NoDetail),
    /// Everything missed was told; what follows is fresh. Comes once after connecting.
    CaughtUp(NoDetail),
    /// Events up to this number were lost for this reader: read again what is shown.
    Resync(NoDetail),
}

/// Nothing more to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoDetail {}

/// A channel of a revolt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelEvent {
    /// The revolt.
    #[schema(value_type = String)]
    pub revolt: Id<RevoltId>,
    /// The channel.
    #[schema(value_type = String)]
    pub channel: Id<ChannelId>,
}

impl From<Place> for ChannelEvent {
    fn from(at: Place) -> Self {
        Self {
            revolt: Id(at.revolt),
            channel: Id(at.channel),
        }
    }
}

/// A message in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageEvent {
    /// Where.
    #[serde(flatten)]
    pub at: ChannelEvent,
    /// How the message looks.
    pub message: Message,
}

/// A message left the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealedEvent {
    /// Where.
    #[serde(flatten)]
    pub at: ChannelEvent,
    /// Its number in the outbox.
    pub pending: u64,
    /// Its id.
    #[schema(value_type = String)]
    pub id: Id<MessageId>,
}

/// More disks hold something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldEvent {
    /// Where.
    #[serde(flatten)]
    pub at: ChannelEvent,
    /// The author's device.
    #[schema(value_type = String)]
    pub device: Id<DeviceId>,
    /// Up to this number of the device's chain. Not the number of the frame.
    pub chain_seq: u64,
    /// How many other people.
    pub people: u32,
}

/// A revolt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevoltEvent {
    /// Which.
    #[schema(value_type = String)]
    pub revolt: Id<RevoltId>,
}

/// How far a join has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoiningEvent {
    /// Which revolt.
    #[schema(value_type = String)]
    pub revolt: Id<RevoltId>,
    /// How many peers of it are linked.
    pub peers: u64,
}

impl From<Notice> for Event {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Message { at, message } => Self::Message(MessageEvent {
                at: at.into(),
                message: (*message).into(),
            }),
            Notice::MessageChanged { at, message } => Self::MessageChanged(MessageEvent {
                at: at.into(),
                message: (*message).into(),
            }),
            Notice::ChannelGrew { at } => Self::ChannelGrew(at.into()),
            Notice::Sealed {
                at,
                number,
                message,
            } => Self::Sealed(SealedEvent {
                at: at.into(),
                pending: number,
                id: Id(message),
            }),
            Notice::Held {
                at,
                device,
                seq,
                people,
            } => Self::Held(HeldEvent {
                at: at.into(),
                device: Id(device),
                chain_seq: seq,
                people,
            }),
            Notice::RevoltChanged { revolt } => {
                Self::RevoltChanged(RevoltEvent { revolt: Id(revolt) })
            }
            Notice::RevoltGone { revolt } => Self::RevoltGone(RevoltEvent { revolt: Id(revolt) }),
            Notice::Joining { revolt, peers } => Self::Joining(JoiningEvent {
                revolt: Id(revolt),
                peers: peers as u64,
            }),
            Notice::PeersChanged => Self::PeersChanged(NoDetail {}),
        }
    }
}
