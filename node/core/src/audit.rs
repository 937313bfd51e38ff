//! The record of a revolt: every act, and why it counts or not.

use std::collections::BTreeSet;

use revnet_crdt::authority::{Authority, Verdict};
use revnet_protocol::act::{Audience, Level};
use revnet_protocol::role::{Permissions, Target};
use revnet_protocol::{Act, ChannelId, EnvelopeId, RevoltId, RoleId, UserId};

use crate::command::{AuditEntry, CommandError};
use crate::core::Core;
use crate::people::EVERYONE;

impl Core {
    pub(crate) fn audit(&self, revolt: &RevoltId) -> Result<Vec<AuditEntry>, CommandError> {
        let authority = &self.revolt(revolt)?.authority;
        let names = Names { authority };
        let entries = authority
            .verdicts()
            .into_iter()
            .filter_map(|(id, verdict)| {
                let record = authority.record(&id)?;
                let by = authority.author_of(&id);
                Some(AuditEntry {
                    id,
                    at_ms: record.hlc.ms,
                    by,
                    by_name: by.map(|by| names.user(&by)).unwrap_or_default(),
                    device: record.device,
                    act: record.act.name(),
                    about: names.about(&record.act),
                    counts: verdict.counts(),
                    why: match verdict {
                        Verdict::Void(why) => why.to_string(),
                        other => other.to_string(),
                    },
                })
            });
        Ok(entries.collect())
    }
}

/// Turns ids into what people call them.
struct Names<'a> {
    authority: &'a Authority,
}

impl Names<'_> {
    fn user(&self, user: &UserId) -> String {
        let name = self.authority.state().name_of(user);
        name.map_or_else(|| user.short(), str::to_owned)
    }

    fn role(&self, role: &RoleId) -> String {
        if *role == RoleId::EVERYONE {
            return EVERYONE.to_owned();
        }
        let made = self.authority.record(&EnvelopeId(role.0));
        match made.map(|record| &record.act) {
            Some(Act::Role(made)) => made.name.clone().unwrap_or_default(),
            _ => role.short(),
        }
    }

    fn channel(&self, channel: &ChannelId) -> String {
        let made = self.authority.record(&EnvelopeId(channel.0));
        match made.map(|record| &record.act) {
            Some(Act::Channel(made)) => format!("#{}", made.name.clone().unwrap_or_default()),
            _ => channel.short(),
        }
    }

    /// What an act is about, in a few words.
    fn about(&self, act: &Act) -> String {
        match act {
            Act::Create { .. } | Act::Leave => String::new(),
            Act::Settings(new) => new.name.clone().unwrap_or_default(),
            Act::Invite(invite) => invite.invite.short(),
            Act::RevokeInvite { invite, .. } => invite.short(),
            Act::Join(join) => format!("{} by {}", join.name, join.invite.short()),
            Act::SetMember(set) => match set.level {
                Some(level) => format!("{}: {}", self.user(&set.user), level_words(level)),
                None => format!("{}: removed", self.user(&set.user)),
            },
            Act::Channel(new) => match (&new.channel, &new.name) {
                (None, name) => format!("#{}", name.clone().unwrap_or_default()),
                (Some(channel), _) => self.channel(channel),
            },
            Act::Profile { name } => name.clone(),
            Act::KeyRotate(rotate) => match &rotate.audience {
                Audience::Revolt => format!("generation {}", rotate.generation),
                Audience::Channel(channel) => {
                    format!(
                        "{}, generation {}",
                        self.channel(channel),
                        rotate.generation
                    )
                }
            },
            Act::KeyShare(chunk) => format!("to {} devices", chunk.slots.len()),
            Act::Role(role) => {
                let name = match &role.role {
                    Some(known) => self.role(known),
                    None => role.name.clone().unwrap_or_default(),
                };
                match (role.removed, role.permissions) {
                    (Some(true), _) => format!("{name}: removed"),
                    (_, Some(permissions)) => format!("{name}: {}", words(permissions)),
                    _ => name,
                }
            }
            Act::Grant(grant) => {
                let sign = if grant.on { '+' } else { '-' };
                format!(
                    "{}: {sign}{}",
                    self.user(&grant.user),
                    self.role(&grant.role)
                )
            }
            Act::Overwrite(new) => {
                let target = match &new.target {
                    Target::Role(role) => self.role(role),
                    Target::User(user) => self.user(user),
                };
                let channel = self.channel(&new.channel);
                let (allow, deny) = (words(new.allow), words(new.deny));
                format!("{channel}, {target}: allow {allow}, deny {deny}")
            }
            Act::Ban(ban) if ban.on => self.user(&ban.user),
            Act::Ban(ban) => format!("{}: lifted", self.user(&ban.user)),
            Act::Timeout(timeout) if timeout.until_ms.is_some() => self.user(&timeout.user),
            Act::Timeout(timeout) => format!("{}: lifted", self.user(&timeout.user)),
            Act::History { channel, on } => {
                let may = if *on { "open" } else { "closed" };
                format!("{}: {may} to newcomers", self.channel(channel))
            }
            Act::Confirm { joins } => {
                let who = joins
                    .iter()
                    .filter_map(|join| self.authority.author_of(join));
                let who: BTreeSet<String> = who.map(|user| self.user(&user)).collect();
                who.into_iter().collect::<Vec<_>>().join(", ")
            }
            Act::Unknown => "not readable by this version of the program".to_owned(),
            Act::Equivocation(proof) => {
                let device = proof.device().unwrap_or_default();
                let of = self.authority.state().user_of(&device);
                let of = of.map(|(user, _)| self.user(&user)).unwrap_or_default();
                format!("{of}: {} signed two histories", device.short())
            }
            Act::RevokeDevice(revocation) => {
                format!(
                    "{}: {}",
                    self.user(&revocation.user),
                    revocation.device.short()
                )
            }
        }
    }
}

fn level_words(level: Level) -> String {
    format!("level {}", level.0)
}

fn words(permissions: Permissions) -> String {
    let names: Vec<&str> = permissions
        .iter()
        .map(revnet_protocol::Permission::name)
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(" ")
    }
}
