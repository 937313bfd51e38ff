//! What follows from the acts that count: members, channels, invites, epochs.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::act::{Audience, ChannelKind, Level};
use revnet_protocol::epoch::{BackLink, Slot};
use revnet_protocol::role::Target;
use revnet_protocol::seal::HpkePublic;
use revnet_protocol::{
    ChannelId, DeviceCert, DeviceId, EnvelopeId, InviteId, KeyId, Permissions, RoleId,
    SignedGenesis, UserId,
};

/// Whom an epoch secret is sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A member's device.
    Device(DeviceId),
    /// An open invite, so that joining works while everybody sleeps.
    Invite(InviteId),
}

/// Somebody who belongs to the revolt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the person is called.
    pub name: String,
    /// How much they may do.
    pub level: Level,
    /// The devices that joined as this person.
    pub devices: BTreeMap<DeviceId, DeviceCert>,
    /// By which invite; none for the founder.
    pub joined_by: Option<InviteId>,
    /// The roles that the person was given; that of everyone goes without saying.
    pub roles: BTreeSet<RoleId>,
    /// What the person may do in the whole revolt.
    pub permissions: Permissions,
    /// Until when the person is silenced, in Unix milliseconds; it may be past.
    pub silenced_until_ms: Option<u64>,
    /// Whether the person is in by nothing but an invite, and goes where that is revoked unaware of it.
    pub provisional: bool,
}

/// Somebody who belonged to the revolt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerMember {
    /// What the person was called last.
    pub name: String,
    /// The devices that had joined as this person.
    pub devices: BTreeSet<DeviceId>,
    /// Whether the person is banned.
    pub banned: bool,
}

/// A role as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleState {
    /// Its name.
    pub name: String,
    /// Its place in the order: only who stands above changes or grants it.
    pub position: Level,
    /// How its members are shown: red, green, blue.
    pub color: Option<[u8; 3]>,
    /// What it allows.
    pub permissions: Permissions,
}

/// The exception of a channel for some people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// What is allowed beyond roles.
    pub allow: Permissions,
    /// What is denied in spite of roles.
    pub deny: Permissions,
}

/// A channel as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// What it is for; fixed where it is made.
    pub kind: ChannelKind,
    /// Its name.
    pub name: String,
    /// What it is about; may be empty.
    pub topic: String,
    /// The heading under which it is listed; may be empty.
    pub category: String,
    /// Its place in the list.
    pub position: u32,
    /// Whether it takes no new messages.
    pub archived: bool,
    /// Its exceptions from what roles allow.
    pub exceptions: BTreeMap<Target, Exception>,
    /// Whether newcomers may read what was written before they came.
    pub history: bool,
    /// Whether not everybody may see it.
    pub private: bool,
    /// Where not everybody may see everything of it: who may see it at all. It then has secrets of its own.
    pub viewers: Option<BTreeSet<UserId>>,
}

/// An invite as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteState {
    /// Who made it.
    pub by: UserId,
    /// The act that made it.
    pub act: EnvelopeId,
    /// The link's key for epoch secrets.
    pub hpke: HpkePublic,
    /// Unix milliseconds after which members let nobody in by it.
    pub expires_ms: Option<u64>,
    /// How many may join by it; members enforce it by a revocation.
    pub max_uses: Option<u32>,
    /// How many joins by it count.
    pub uses: u32,
    /// Whether a revocation counts.
    pub revoked: bool,
    /// Whether somebody was removed whose removal its author did not know of. Whoever is removed may hold
    /// the link, so such an invite is no recipient of secrets.
    pub stale: bool,
}

/// One generation of an audience's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// One more than the highest generation that its author knew.
    pub generation: u64,
    /// The secret's name.
    pub key_id: KeyId,
    /// The act that started it.
    pub act: EnvelopeId,
    /// Whose device made the secret.
    pub by: DeviceId,
    /// Whether its author did not know that somebody is gone, who may so hold the secret.
    pub tainted: bool,
    /// Devices that came later to a channel where newcomers may not read what was written before.
    pub late: BTreeSet<DeviceId>,
    /// Earlier secrets under this one.
    pub back_links: Vec<BackLink>,
}

/// What the acts that count amount to. Equal sets of acts give equal states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What the revolt is made from; none until its first act is here.
    pub genesis: Option<SignedGenesis>,
    /// The revolt's name.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
    /// An emoji.
    pub icon: Option<String>,
    /// Who belongs to it.
    pub members: BTreeMap<UserId, Member>,
    /// Who belonged to it, and does not.
    pub former: BTreeMap<UserId, FormerMember>,
    /// Its roles, without those that were removed; that of everyone is among them, without a name.
    pub roles: BTreeMap<RoleId, RoleState>,
    /// Its channels, archived ones too.
    pub channels: BTreeMap<ChannelId, ChannelState>,
    /// Its invites, revoked ones too.
    pub invites: BTreeMap<InviteId, InviteState>,
    /// The epochs of each audience, by rising generation.
    pub epochs: BTreeMap<Audience, Vec<Epoch>>,
    /// Secrets of closed channels, sealed to devices by people who see the channel.
    pub(super) shared: BTreeMap<(Audience, KeyId), Vec<Slot>>,
    /// The person of each device, and whether they belong to the revolt.
    pub(super) users: BTreeMap<DeviceId, (UserId, bool)>,
}

impl State {
    /// Whose device this is, and whether that person is a member now.
    #[must_use]
    pub fn user_of(&self, device: &DeviceId) -> Option<(UserId, bool)> {
        self.users.get(device).copied()
    }

    /// What a member or former member is called.
    #[must_use]
    pub fn name_of(&self, user: &UserId) -> Option<&str> {
        self.members
            .get(user)
            .map(|member| member.name.as_str())
            .or_else(|| self.former.get(user).map(|former| former.name.as_str()))
    }

    /// The epoch to write under: the highest that nobody holds who is gone.
    #[must_use]
    pub fn sending_epoch(&self, audience: &Audience) -> Option<&Epoch> {
        self.epochs
            .get(audience)?
            .iter()
            .filter(|epoch| !epoch.tainted)
            .max_by_key(|epoch| (epoch.generation, epoch.key_id))
    }

    /// Who shares the secrets of a channel's messages: everybody, or those who may see it.
    #[must_use]
    pub fn audience_of(&self, channel: &ChannelId) -> Audience {
        match self.channels.get(channel) {
            Some(ChannelState {
                viewers: Some(_), ..
            }) => Audience::Channel(*channel),
            _ => Audience::Revolt,
        }
    }

    /// Whether somebody belongs to an audience. Where a channel is open, everybody belongs to its own.
    #[must_use]
    pub fn is_in(&self, audience: &Audience, user: &UserId) -> bool {
        let viewers = match audience {
            Audience::Revolt => None,
            Audience::Channel(channel) => match self.channels.get(channel) {
                Some(channel) => channel.viewers.as_ref(),
                None => return false,
            },
        };
        self.members.contains_key(user) && viewers.is_none_or(|viewers| viewers.contains(user))
    }

    /// Whether every epoch of an audience may be known to somebody who is not in it, or a closed channel has
    /// none. Rotate before writing.
    #[must_use]
    pub fn rotation_due(&self, audience: &Audience) -> bool {
        let epochs = self.epochs.get(audience).map_or(&[][..], Vec::as_slice);
        let needed = match audience {
            Audience::Revolt => !epochs.is_empty(),
            Audience::Channel(channel) => self.audience_of(channel) == *audience,
        };
        needed && epochs.iter().all(|epoch| epoch.tainted)
    }

    /// What was handed on of an audience's secret: sealed to devices by people who belong to the audience.
    #[must_use]
    pub fn slots(&self, audience: &Audience, key_id: &KeyId) -> &[Slot] {
        let slots = self.shared.get(&(*audience, *key_id));
        slots.map_or(&[], Vec::as_slice)
    }

    /// All that was handed on, by the names of the secrets.
    pub fn shared(&self) -> impl Iterator<Item = (&KeyId, &[Slot])> {
        let shared = self.shared.iter();
        shared.map(|((_, key_id), slots)| (key_id, slots.as_slice()))
    }

    /// Whom a new epoch's secret is sealed to: the devices of the audience, and for the whole revolt open invites.
    #[must_use]
    pub fn recipients(&self, audience: &Audience) -> Vec<(Recipient, HpkePublic)> {
        let members = self.members.iter();
        let devices = members
            .filter(|(user, _)| self.is_in(audience, user))
            .flat_map(|(_, member)| member.devices.values())
            .map(|cert| (Recipient::Device(cert.device), cert.hpke));
        let invites = self
            .invites
            .iter()
            .filter(|(_, invite)| *audience == Audience::Revolt && !invite.revoked && !invite.stale)
            .map(|(id, invite)| (Recipient::Invite(*id), invite.hpke));
        devices.chain(invites).collect()
    }
}
