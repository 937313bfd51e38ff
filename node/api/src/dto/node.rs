//! The node itself: who it is, how it is connected, who may ask it.

use revnet_core::command;
use revnet_protocol::{DeviceId, RevoltId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Id;

/// The node in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The person.
    #[schema(value_type = String)]
    pub user: Id<UserId>,
    /// This device.
    #[schema(value_type = String)]
    pub device: Id<DeviceId>,
    /// The display name.
    pub name: String,
    /// How many revolts.
    pub revolts: u64,
    /// How many linked peers.
    pub peers: u64,
    /// How many messages wait for their first transmission.
    pub outbox: u64,
    /// Where this API listens: address and port.
    pub api: String,
    /// The version of the program.
    pub version: String,
    /// The node's clock in Unix milliseconds, corrected by its peers'.
    pub unix_ms: u64,
    /// How far the peers' median clock is from this machine's, in milliseconds.
    pub clock_offset_ms: i64,
}

impl Status {
    pub(crate) fn new(status: command::Status, api: String) -> Self {
        Self {
            user: Id(status.user),
            device: Id(status.device),
            name: status.name,
            revolts: status.revolts as u64,
            peers: status.peers as u64,
            outbox: status.outbox as u64,
            api,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_ms: status.unix_ms,
            clock_offset_ms: status.clock_offset_ms,
        }
    }
}

/// How the node is connected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkStatus {
    /// Multiaddresses that the node listens on.
    pub listen: Vec<String>,
    /// Multiaddresses under which others see it.
    pub external: Vec<String>,
    /// The relays that it knows.
    pub relays: Vec<RelayStatus>,
    /// Its links to other nodes, relays included.
    pub links: Vec<LinkStatus>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayStatus {
    /// Its multiaddress.
    pub address: String,
    /// Whether others reach this node through it.
    pub state: RelayState,
    /// What went wrong last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether a relay is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// The node is dialling, or asks for a reservation.
    Connecting,
    /// Others reach the node through it.
    Reserved,
    /// Not reachable, or it refused; tried again later.
    Failed,
}

/// A link to another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkStatus {
    /// Its device.
    #[schema(value_type = String)]
    pub device: Id<DeviceId>,
    /// The multiaddress of the other end.
    pub address: String,
    /// It runs through a relay.
    pub relayed: bool,
    /// Round trip in milliseconds, once measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
}

/// The linked peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peers {
    /// One for each linked device.
    pub peers: Vec<Peer>,
}

/// A linked peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its device.
    #[schema(value_type = String)]
    pub device: Id<DeviceId>,
    /// Whose it is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user: Option<Id<UserId>>,
    /// What they are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The link runs through a relay.
    pub relayed: bool,
    /// Revolts that both take part in.
    #[schema(value_type = Vec<String>)]
    pub revolts: Vec<Id<RevoltId>>,
}

impl From<command::PeerInfo> for Peer {
    fn from(peer: command::PeerInfo) -> Self {
        Self {
            device: Id(peer.device),
            user: peer.user.map(Id),
            name: peer.name,
            relayed: peer.relayed,
            revolts: peer.revolts.into_iter().map(Id).collect(),
        }
    }
}

/// Changes the own identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditIdentity {
    /// The display name, at most 64 bytes.
    pub name: String,
}

/// Opens the sealed root key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    /// The passphrase that the identity was made with, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

/// Takes a device back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeDevice {
    /// The passphrase that the identity was made with, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// When it came into other hands, in Unix milliseconds: what it wrote from then on is not kept. Without it all is
    /// that this node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
}

/// The recovery phrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Phrase {
    /// 24 words. Whoever knows them is this person.
    pub phrase: String,
}

/// Asks for an encrypted backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The file opens with this passphrase only. The one of the identity, where it has one.
    pub passphrase: String,
}

/// What a token allows. Each scope includes the ones before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Sees everything that this person sees.
    Read,
    /// Acts as this person: writes, joins, moderates.
    Write,
    /// Also identity, tokens and shutdown.
    Admin,
}

impl Scope {
    /// The scope's name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Makes a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, at most 64 bytes.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
}

/// A fresh token. Its text is told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub info: Token,
    /// What to send as `Authorization: Bearer …`.
    pub token: String,
}

/// The tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// Oldest first. The node's own, for its command line, isn't among them.
    pub tokens: Vec<Token>,
}

/// A token without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Names it for revocation.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made, in Unix milliseconds.
    pub created_ms: u64,
}
