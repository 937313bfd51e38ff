//! Commands about people and what they may do: levels, roles, exceptions of channels, bans, silence, devices.

use revnet_crdt::authority::{ActRecord, Verdict, Why, Wish};
use revnet_protocol::act::{Level, SetMember};
use revnet_protocol::role::{Ban, Grant, Overwrite, Role, Target, Timeout};
use revnet_protocol::{
    Act, ChannelId, DeviceId, DeviceRevocation, EnvelopeId, EpochSecret, KeyId, Permission,
    Permissions, RevoltId, RoleId, UserId,
};

use crate::command::{BanInfo, CommandError, Place, Reply, RoleEdit, RoleInfo};
use crate::commands::{Outcome, check_name};
use crate::core::{Core, Waiting};

/// What the role of everybody is called.
pub(crate) const EVERYONE: &str = "everyone";

fn done(_: &mut Core, _: &RevoltId) -> Outcome {
    Ok(Some(Reply::Done))
}

/// What to tell somebody whose act would not count.
fn refusal(why: Why) -> CommandError {
    CommandError::NotPermitted(match why {
        Why::Lacks(permission) => {
            format!(
                "this takes the permission '{permission}'; somebody above you can give it to you"
            )
        }
        Why::TooMuch => {
            "one gives others only what one holds oneself and stands above, and oneself nothing"
                .into()
        }
        Why::Protected => "the person or the role does not stand below you".into(),
        Why::NoChannel => return CommandError::NotFound("channel"),
        Why::NoRole => return CommandError::NotFound("role"),
        Why::Stranger | Why::Lost(_) | Why::Revoked(_) => "you are not a member (any more)".into(),
        other => other.to_string(),
    })
}

impl Core {
    /// Whether an act of this device would count, by what is known here.
    pub(crate) fn would_count(&self, revolt: &RevoltId, act: &Act) -> Result<(), CommandError> {
        let known = self.revolt(revolt)?;
        let chain = self.streams[&known.control].chains.get(&self.device());
        let (seq, prev, last) = chain.map_or_else(Default::default, |chain| {
            (chain.tip, chain.tip_id, chain.hlc)
        });
        let mut authority = known.authority.clone();
        let id = EnvelopeId([0xff; 32]);
        authority.insert(ActRecord {
            id,
            device: self.device(),
            seq: seq + 1,
            prev,
            heads: authority.heads(),
            hlc: authority.newest_hlc().max(last).next(self.unix_ms()),
            key_id: KeyId::default(),
            act: act.clone(),
        });
        match authority.verdict(&id) {
            Some(Verdict::Void(why)) => Err(refusal(why)),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_member(
        &mut self,
        id: u64,
        revolt: RevoltId,
        user: UserId,
        level: Option<Level>,
    ) -> Outcome {
        let state = self.revolt(&revolt)?.authority.state();
        let member = state.members.get(&user);
        let member = member.ok_or(CommandError::NotFound("member"))?;
        if user == self.user() {
            return Err(CommandError::NotPermitted(
                "nobody changes their own level; leave the revolt instead".into(),
            ));
        }
        let raised = level.filter(|level| *level > member.level).is_some();
        let roles: Vec<RoleId> = member.roles.iter().copied().collect();
        let act = Act::SetMember(SetMember {
            user,
            level,
            keep: None,
        });
        self.act(id, revolt, &act, move |core, revolt| {
            // A role counts up to the rank of who gave it, which may be less than the new level.
            for role in roles.into_iter().filter(|_| raised) {
                let again = Act::Grant(Grant {
                    user,
                    role,
                    on: true,
                });
                if core.would_count(revolt, &again).is_ok() {
                    let secret = core.writing_secret(revolt)?;
                    core.author(*revolt, &again, &secret, Vec::new());
                }
            }
            core.rotate_if_due(*revolt);
            Ok(Some(Reply::Done))
        })
    }

    pub(crate) fn ban_member(
        &mut self,
        id: u64,
        revolt: RevoltId,
        user: UserId,
        on: bool,
    ) -> Outcome {
        let state = self.revolt(&revolt)?.authority.state();
        let known = state.former.get(&user);
        let found = if on {
            state.members.contains_key(&user) || known.is_some_and(|former| !former.banned)
        } else {
            known.is_some_and(|former| former.banned)
        };
        if !found {
            return Err(CommandError::NotFound(if on { "member" } else { "ban" }));
        }
        let act = Act::Ban(Ban {
            user,
            on,
            keep: None,
        });
        self.act(id, revolt, &act, |core, revolt| {
            core.rotate_if_due(*revolt);
            Ok(Some(Reply::Done))
        })
    }

    pub(crate) fn bans(&self, revolt: &RevoltId) -> Result<Vec<BanInfo>, CommandError> {
        let former = self.revolt(revolt)?.authority.state().former.iter();
        let banned = former.filter(|(_, former)| former.banned);
        Ok(banned
            .map(|(user, former)| BanInfo {
                user: *user,
                name: former.name.clone(),
            })
            .collect())
    }

    pub(crate) fn timeout(
        &mut self,
        id: u64,
        revolt: RevoltId,
        user: UserId,
        until_ms: Option<u64>,
    ) -> Outcome {
        if !self
            .revolt(&revolt)?
            .authority
            .state()
            .members
            .contains_key(&user)
        {
            return Err(CommandError::NotFound("member"));
        }
        if until_ms.is_some_and(|until| until <= self.unix_ms()) {
            return Err(CommandError::Invalid(
                "the time would be over already".into(),
            ));
        }
        self.act(id, revolt, &Act::Timeout(Timeout { user, until_ms }), done)
    }

    pub(crate) fn roles(&self, revolt: &RevoltId) -> Result<Vec<RoleInfo>, CommandError> {
        let state = self.revolt(revolt)?.authority.state();
        let mut roles: Vec<RoleInfo> = state
            .roles
            .iter()
            .map(|(id, role)| {
                let everyone = *id == RoleId::EVERYONE;
                let having = state.members.values();
                let having = having.filter(|member| everyone || member.roles.contains(id));
                RoleInfo {
                    id: *id,
                    name: if everyone {
                        EVERYONE.to_owned()
                    } else {
                        role.name.clone()
                    },
                    position: role.position,
                    color: role.color,
                    permissions: role.permissions,
                    members: having.count(),
                }
            })
            .collect();
        roles.sort_by(|a, b| {
            let key = |role: &RoleInfo| {
                (
                    role.id == RoleId::EVERYONE,
                    std::cmp::Reverse(role.position),
                )
            };
            (key(a), &a.name, a.id).cmp(&(key(b), &b.name, b.id))
        });
        Ok(roles)
    }

    /// Makes a role, or changes one.
    pub(crate) fn edit_role(
        &mut self,
        id: u64,
        revolt: RevoltId,
        role: Option<RoleId>,
        edit: RoleEdit,
    ) -> Outcome {
        let roles = self.roles(&revolt)?;
        if role.is_some_and(|role| !roles.iter().any(|known| known.id == role)) {
            return Err(CommandError::NotFound("role"));
        }
        if let Some(name) = &edit.name {
            check_name("name", name)?;
            let taken = roles
                .iter()
                .any(|known| known.name == *name && Some(known.id) != role);
            if taken {
                return Err(CommandError::Invalid(format!(
                    "there is a role named '{name}' already"
                )));
            }
        } else if role.is_none() {
            return Err(CommandError::Invalid("a role needs a name".into()));
        }
        if edit.position.is_some_and(|at| at > Level::MAX_GRANTED) {
            return Err(CommandError::Invalid(
                "the place of a role is 0 to 1000".into(),
            ));
        }
        let RoleEdit {
            name,
            position,
            color,
            permissions,
            removed,
        } = edit;
        let act = Act::Role(Role {
            role,
            name,
            position,
            color,
            permissions,
            removed,
        });
        self.act(id, revolt, &act, move |core, revolt| {
            core.rotate_if_due(*revolt);
            let before = roles.iter().map(|known| known.id);
            let before: Vec<RoleId> = before.filter(|known| Some(*known) != role).collect();
            let mut now = core.roles(revolt)?.into_iter();
            let new = now.find(|known| !before.contains(&known.id));
            Ok(Some(new.map_or(Reply::Done, Reply::Role)))
        })
    }

    pub(crate) fn grant(&mut self, id: u64, revolt: RevoltId, grant: Grant) -> Outcome {
        let state = self.revolt(&revolt)?.authority.state();
        if !state.members.contains_key(&grant.user) {
            return Err(CommandError::NotFound("member"));
        }
        self.act(id, revolt, &Act::Grant(grant), |core, revolt| {
            core.rotate_if_due(*revolt);
            Ok(Some(Reply::Done))
        })
    }

    /// Shuts a new channel to all but the admins and oneself.
    pub(crate) fn close_channel(
        &mut self,
        revolt: RevoltId,
        channel: ChannelId,
    ) -> Result<(), CommandError> {
        let view = Permissions::from(Permission::View);
        let shut = Overwrite {
            channel,
            target: Target::Role(RoleId::EVERYONE),
            allow: Permissions::NONE,
            deny: view,
        };
        let me = Overwrite {
            target: Target::User(self.user()),
            allow: view,
            deny: Permissions::NONE,
            ..shut
        };
        let secret = self.writing_secret(&revolt)?;
        // First for oneself: nobody opens a channel that they don't see.
        if self.revolt(&revolt)?.level_of(&self.user()) < Some(Level::ADMIN) {
            self.author(revolt, &Act::Overwrite(me), &secret, Vec::new());
        }
        self.author(revolt, &Act::Overwrite(shut), &secret, Vec::new());
        self.rotate_if_due(revolt);
        Ok(())
    }

    /// Says whether newcomers may read what was written in a channel before they came.
    pub(crate) fn set_history(
        &mut self,
        revolt: RevoltId,
        channel: ChannelId,
        on: bool,
    ) -> Result<(), CommandError> {
        let secret = self.writing_secret(&revolt)?;
        self.author(revolt, &Act::History { channel, on }, &secret, Vec::new());
        self.rotate_if_due(revolt);
        Ok(())
    }

    pub(crate) fn set_exception(
        &mut self,
        id: u64,
        at: Place,
        target: Target,
        (allow, deny): (Permissions, Permissions),
    ) -> Outcome {
        self.channel_stream(&at.revolt, &at.channel)?;
        if allow & deny != Permissions::NONE {
            return Err(CommandError::Invalid(
                "a permission is allowed or denied, not both".into(),
            ));
        }
        let act = Act::Overwrite(Overwrite {
            channel: at.channel,
            target,
            allow,
            deny,
        });
        self.act(id, at.revolt, &act, move |core, revolt| {
            core.rotate_if_due(*revolt);
            // Whoever shut themselves out sees no answer.
            Ok(Some(
                core.channel_info(revolt, &at.channel)
                    .map_or(Reply::Done, Reply::Channel),
            ))
        })
    }

    pub(crate) fn permissions(
        &self,
        revolt: &RevoltId,
        user: Option<UserId>,
        channel: Option<ChannelId>,
    ) -> Result<Permissions, CommandError> {
        let authority = &self.revolt(revolt)?.authority;
        let user = user.unwrap_or_else(|| self.user());
        if !authority.state().members.contains_key(&user) {
            return Err(CommandError::NotFound("member"));
        }
        if channel.is_some_and(|channel| !authority.state().channels.contains_key(&channel)) {
            return Err(CommandError::NotFound("channel"));
        }
        Ok(authority.permissions(&user, channel.as_ref()))
    }

    /// The last acts of an own device in the revolts where it can be revoked.
    pub(crate) fn last_acts(
        &self,
        device: &DeviceId,
        before_ms: Option<u64>,
    ) -> Result<Vec<(u64, EnvelopeId)>, CommandError> {
        if *device == self.device() {
            return Err(CommandError::Invalid(
                "this is the device that you are at: revoke it from another one".into(),
            ));
        }
        let before_ms = before_ms.unwrap_or(u64::MAX);
        let revolts = self.revolts.keys();
        let revolts = revolts.filter(|revolt| self.is_revocable(revolt, device));
        let acts = revolts.filter_map(|revolt| {
            let authority = &self.revolts.get(revolt)?.authority;
            authority.last_act_of(device, before_ms)
        });
        let acts: Vec<_> = acts.collect();
        if acts.is_empty() {
            return Err(CommandError::NotFound("device"));
        }
        Ok(acts)
    }

    /// Brings revocations of an own device into the revolts whose acts they name.
    pub(crate) fn revoke_device(&mut self, id: u64, all: &[DeviceRevocation]) -> Outcome {
        let is_own = |revocation: &DeviceRevocation| {
            revocation.user == self.user() && revocation.is_signed()
        };
        if !all.iter().all(is_own) {
            return Err(CommandError::Invalid(
                "the revocation isn't signed by the root key of this node's person".into(),
            ));
        }
        let named = all.iter().filter_map(|revocation| {
            let revolts = self.revolts.keys().copied();
            let mut revolts = revolts.filter(|revolt| self.names_act_of(revolt, revocation));
            Some((revolts.next()?, revocation))
        });
        let named: Vec<(RevoltId, &DeviceRevocation)> = named.collect();
        if named.is_empty() || named.len() < all.len() {
            return Err(CommandError::NotFound("device"));
        }
        // It is written everywhere or nowhere.
        let secrets = named.iter().map(|(revolt, _)| self.revoking_secret(revolt));
        let secrets: Vec<_> = secrets.collect::<Result<_, _>>()?;
        for ((revolt, revocation), secret) in named.into_iter().zip(secrets) {
            let act = Act::RevokeDevice(revocation.clone());
            self.author(revolt, &act, &secret, Vec::new());
            self.rotate_if_due(revolt);
        }
        let reply = Box::new(Reply::Done);
        self.store(Vec::new(), Some(Waiting::Reply { command: id, reply }));
        Ok(None)
    }

    fn names_act_of(&self, revolt: &RevoltId, revocation: &DeviceRevocation) -> bool {
        let known = self.revolts.get(revolt);
        let act = revocation.keep.and_then(|(seq, id)| {
            let record = known?.authority.record(&id)?;
            (record.device == revocation.device && record.seq == seq).then_some(())
        });
        act.is_some() && self.is_revocable(revolt, &revocation.device)
    }

    /// Whether a device to be revoked has come to a revolt where this device may write, or could if the other one hadn't
    /// left in the name of both.
    fn is_revocable(&self, revolt: &RevoltId, device: &DeviceId) -> bool {
        let Ok(known) = self.revolt(revolt) else {
            return false;
        };
        let owner = known.authority.state().user_of(device);
        owner.is_some_and(|(user, _)| user == self.user())
            && (self.permitted(revolt, Wish::Belong).is_ok() || known.authority.has_left(device))
    }

    /// A secret to write the revocation with: who was taken out by their own device makes none.
    fn revoking_secret(&mut self, revolt: &RevoltId) -> Result<EpochSecret, CommandError> {
        let written = self.writing_secret(revolt);
        if self.permitted(revolt, Wish::Belong).is_ok() {
            return written;
        }
        let known = self.revolt(revolt)?.newest_announced().cloned();
        known.map_or(written, Ok)
    }
}
