//! Control acts: what members do to the revolt itself. Each is one event of the control stream.
//!
//! Acts say what somebody wants; whether an act counts is the reducer's answer in `revnet-crdt`.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, decode, encode};
use crate::epoch::{BackLink, SlotChunk};
use crate::hash::hash;
use crate::identity::{DeviceCert, DeviceKeys, DeviceRevocation, Signature, verify};
use crate::ids::{ChannelId, DeviceId, EnvelopeId, Hash, InviteId, KeyId, RevoltId, UserId};
use crate::limits::{
    MAX_BACK_LINKS, MAX_CONFIRMED, MAX_EVENT, MAX_NAME, MAX_SHARED_SLOTS, MAX_TOPIC,
};
use crate::proof::Equivocation;
use crate::role::{Ban, Grant, Overwrite, Role, Timeout};
use crate::seal::HpkePublic;

/// How much somebody may do: 0 is an ordinary member, up to 1000; founders stand above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Level(pub u16);

impl Level {
    /// An ordinary member.
    pub const MEMBER: Self = Self(0);
    /// Whoever manages channels, invites and members.
    pub const ADMIN: Self = Self(500);
    /// The highest level that can be granted.
    pub const MAX_GRANTED: Self = Self(1000);
    /// The founder; never granted.
    pub const FOUNDER: Self = Self(1001);
}

/// What a revolt is made from. Its hash is the revolt's id, so it can't be changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The founder.
    pub founder: UserId,
    /// The device that founded it.
    pub device: DeviceId,
    /// Makes revolts of one founder differ.
    pub nonce: [u8; 32],
    /// Unix milliseconds by the founder's clock.
    pub created_ms: u64,
}

/// A genesis with the founding device's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedGenesis {
    /// What is signed.
    pub genesis: Genesis,
    /// By the founding device.
    pub signature: Signature,
}

impl SignedGenesis {
    /// Signs a genesis.
    #[must_use]
    pub fn sign(genesis: Genesis, device: &DeviceKeys) -> Self {
        let signature = device.sign(&Self::digest(&genesis));
        Self { genesis, signature }
    }

    fn digest(genesis: &Genesis) -> [u8; 32] {
        hash("revnet/v1/genesis/sign", &[&encode(genesis)]).0
    }

    /// Whether the founding device signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        verify(
            &self.genesis.device.0,
            &Self::digest(&self.genesis),
            &self.signature,
        )
    }

    /// The revolt's id.
    #[must_use]
    pub fn revolt(&self) -> RevoltId {
        RevoltId(hash("revnet/v1/genesis", &[&encode(self)]).0)
    }
}

/// Who shares an epoch secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// All members.
    Revolt,
    /// Those who may see a private channel.
    Channel(ChannelId),
}

/// Up to which point the chains of a removed person count: for each device the last act that the
/// remover accepts. A device that is not listed keeps nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep(pub Vec<(DeviceId, u64, EnvelopeId)>);

/// Name and appearance of a revolt. Each field that is present replaces what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// At most 64 bytes.
    pub name: Option<String>,
    /// At most 1024 bytes.
    pub description: Option<String>,
    /// An emoji, at most 32 bytes.
    pub icon: Option<String>,
}

/// Opens a door for those who have its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The public half of the key in the link.
    pub invite: InviteId,
    /// The link's key for epoch secrets: an invite is a recipient of rotations.
    pub hpke: HpkePublic,
    /// Unix milliseconds after which members let nobody in by it.
    pub expires_ms: Option<u64>,
    /// How many may join by it.
    pub max_uses: Option<u32>,
}

/// Becoming a member by an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The device that joins, and whose it is.
    pub cert: DeviceCert,
    /// What the person is called, at most 64 bytes.
    pub name: String,
    /// By which invite.
    pub invite: InviteId,
    /// The invite key's signature over [`Join::digest`].
    pub proof: Signature,
}

impl Join {
    /// What the invite's key signs: that this device may join this revolt.
    #[must_use]
    pub fn digest(revolt: &RevoltId, cert: &DeviceCert) -> [u8; 32] {
        hash("revnet/v1/join", &[&revolt.0, &cert.user.0, &cert.device.0]).0
    }

    /// Whether certificate and proof are sound.
    #[must_use]
    pub fn is_sound(&self, revolt: &RevoltId) -> bool {
        self.cert.verify().is_ok()
            && verify(
                &self.invite.0,
                &Self::digest(revolt, &self.cert),
                &self.proof,
            )
    }
}

/// Sets somebody's level, or removes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMember {
    /// Whom.
    pub user: UserId,
    /// The new level; none removes the person.
    pub level: Option<Level>,
    /// What still counts of somebody who loses power; by default all that the author had seen.
    pub keep: Option<Keep>,
}

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelKind {
    /// Messages.
    Text,
}

/// Makes or changes a channel. Each field that is present replaces what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The channel to change; none makes a new one, whose id is the id of this act.
    pub channel: Option<ChannelId>,
    /// Only looked at where the channel is made.
    pub kind: ChannelKind,
    /// At most 64 bytes.
    pub name: Option<String>,
    /// At most 1024 bytes.
    pub topic: Option<String>,
    /// The heading under which it is listed, at most 64 bytes.
    pub category: Option<String>,
    /// Its place in the list.
    pub position: Option<u32>,
    /// Archived channels take no new messages.
    pub archived: Option<bool>,
}

/// Starts a new epoch of an audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotate {
    /// Whose secret changes.
    pub audience: Audience,
    /// One more than the highest generation in the act's past.
    pub generation: u64,
    /// The new secret's name.
    pub key_id: KeyId,
    /// Of the revolt's secret, which its envelope is sealed with, the [`chunk_root`](crate::epoch::chunk_root) of the
    /// slots. Of a channel's, a [`claim`](crate::epoch::EpochSecret::claim): without it the name of a secret is only
    /// a name, and nobody hands out the secret for it.
    pub commitment: Hash,
    /// Earlier secrets for those who may read the past; at most 16.
    pub back_links: Vec<BackLink>,
}

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Founds the revolt: always the first act, by the founding device.
    Create {
        /// What the revolt is made from.
        genesis: SignedGenesis,
        /// The founding device.
        cert: DeviceCert,
        /// What the founder is called, at most 64 bytes.
        name: String,
    },
    /// Changes name or appearance.
    Settings(Settings),
    /// Makes an invite.
    Invite(Invite),
    /// Ends an invite; joins outside `keep` that nobody confirmed end with it.
    RevokeInvite {
        /// Which.
        invite: InviteId,
        /// The joins that still count.
        keep: Keep,
    },
    /// Becomes a member.
    Join(Join),
    /// Ceases to be a member.
    Leave,
    /// Sets a level, or removes.
    SetMember(SetMember),
    /// Makes or changes a channel.
    Channel(Channel),
    /// Changes what the author is called, at most 64 bytes.
    Profile {
        /// The new name.
        name: String,
    },
    /// Starts a new epoch.
    KeyRotate(KeyRotate),
    /// Makes or changes a role.
    Role(Role),
    /// Gives or takes a role.
    Grant(Grant),
    /// Sets the exception of a channel for some people.
    Overwrite(Overwrite),
    /// Removes somebody for good, or lifts that.
    Ban(Ban),
    /// Silences somebody for a while.
    Timeout(Timeout),
    /// Takes back the certificate of a device.
    RevokeDevice(DeviceRevocation),
    /// Hands the secret of a closed channel to devices that see it; at most 64 slots.
    KeyShare(SlotChunk),
    /// Takes out a device that signed two histories.
    Equivocation(Box<Equivocation>),
    /// Says whether newcomers may read what was written in a channel before they came; they may until it is said.
    History {
        /// The channel.
        channel: ChannelId,
        /// Whether they may.
        on: bool,
    },
    /// Vouches for joins, which so count without their invites; at most 64.
    Confirm {
        /// The joins.
        joins: Vec<EnvelopeId>,
    },
    /// What this version of the program can't read. It is never written, and stays the last, so that the numbers of
    /// the others don't depend on it.
    #[serde(skip)]
    Unknown,
}

impl Act {
    /// The bytes that the control document holds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads and checks an act's form. Signatures inside are the reducer's business.
    ///
    /// # Errors
    /// [`CodecError`]; texts and lists beyond their limits are malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let act: Self = decode(bytes, MAX_EVENT)?;
        if act.is_within_limits() {
            Ok(act)
        } else {
            Err(CodecError::Malformed)
        }
    }

    fn is_within_limits(&self) -> bool {
        let name = |text: &str| !text.trim().is_empty() && text.len() <= MAX_NAME;
        let opt = |text: &Option<String>, max| text.as_ref().is_none_or(|t| t.len() <= max);
        match self {
            Self::Create { name: n, .. } | Self::Profile { name: n } => name(n),
            Self::Join(join) => name(&join.name),
            Self::Settings(s) => {
                s.name.as_deref().is_none_or(name)
                    && opt(&s.description, MAX_TOPIC)
                    && opt(&s.icon, crate::limits::MAX_EMOJI)
            }
            Self::Channel(c) => {
                c.name.as_deref().is_none_or(name)
                    && (c.channel.is_some() || c.name.is_some())
                    && opt(&c.topic, MAX_TOPIC)
                    && opt(&c.category, MAX_NAME)
            }
            Self::SetMember(s) => s.level.is_none_or(|l| l <= Level::MAX_GRANTED),
            Self::KeyRotate(k) => k.back_links.len() <= MAX_BACK_LINKS,
            Self::Equivocation(proof) => proof.is_within_limits(),
            Self::KeyShare(chunk) => chunk.slots.len() <= MAX_SHARED_SLOTS,
            Self::Confirm { joins } => joins.len() <= MAX_CONFIRMED,
            Self::Role(role) => {
                role.name.as_deref().is_none_or(name)
                    && (role.role.is_some() || role.name.is_some())
                    && role.position.is_none_or(|at| at <= Level::MAX_GRANTED)
            }
            Self::Invite(_)
            | Self::RevokeInvite { .. }
            | Self::Leave
            | Self::Grant(_)
            | Self::Overwrite(_)
            | Self::Ban(_)
            | Self::Timeout(_)
            | Self::RevokeDevice(_)
            | Self::History { .. }
            | Self::Unknown => true,
        }
    }

    /// A short name for logs and audits.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Settings(_) => "settings",
            Self::Invite(_) => "invite",
            Self::RevokeInvite { .. } => "revoke-invite",
            Self::Join(_) => "join",
            Self::Leave => "leave",
            Self::SetMember(_) => "set-member",
            Self::Channel(_) => "channel",
            Self::Profile { .. } => "profile",
            Self::KeyRotate(_) => "key-rotate",
            Self::Role(_) => "role",
            Self::Grant(_) => "grant",
            Self::Overwrite(_) => "overwrite",
            Self::Ban(_) => "ban",
            Self::Timeout(_) => "timeout",
            Self::RevokeDevice(_) => "revoke-device",
            Self::KeyShare(_) => "key-share",
            Self::Equivocation(_) => "equivocation",
            Self::History { .. } => "history",
            Self::Confirm { .. } => "confirm",
            Self::Unknown => "unknown",
        }
    }
}
