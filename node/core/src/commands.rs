//! Carrying out what people ask.

use revnet_protocol::act::{
    Act, Audience, Channel, ChannelKind, Genesis, Invite, Keep, KeyRotate, Settings, SignedGenesis,
};
use revnet_protocol::agreement::{Begun, KeyAgreement as _};
use revnet_protocol::epoch::{EpochSecret, chunk_root};
use revnet_protocol::limits::{MAX_EMOJI, MAX_NAME, MAX_TOPIC};
use revnet_protocol::{
    ChannelId, Content, InviteLink, InviteSecret, MessageId, Permission, RevoltId, StreamId,
};

use revnet_crdt::authority::Wish;
use revnet_protocol::role::Grant;

use crate::command::{
    ChannelEdit, Command, CommandError, DocumentInfo, Draft, Notice, Place, Reply,
};
use crate::core::{Core, Waiting};
use crate::keys::AGREEMENT;
use crate::query::{LogJob, read_event};
use crate::revolt::{Record, Revolt, secret_key};
use crate::storage::{PageRow, Query, Space};
use crate::write::{Submission, Waiting as Item, Words, nonce_hash};

/// Most messages in one page.
const MAX_PAGE: usize = 1000;
/// Most messages in one send.
const MAX_SEND: usize = 1000;

pub(crate) type Outcome = Result<Option<Reply>, CommandError>;

fn invalid(text: impl Into<String>) -> CommandError {
    CommandError::Invalid(text.into())
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), CommandError> {
    if name.trim().is_empty() {
        return Err(invalid(format!("the {what} must not be empty")));
    }
    if name.len() > MAX_NAME {
        return Err(invalid(format!(
            "the {what} is longer than {MAX_NAME} bytes"
        )));
    }
    if name.contains('/') || name.chars().any(char::is_control) {
        return Err(invalid(format!(
            "the {what} must not contain '/' or control characters"
        )));
    }
    Ok(())
}

fn check_text(what: &str, text: Option<&String>, max: usize) -> Result<(), CommandError> {
    if text.is_some_and(|text| text.len() > max) {
        return Err(invalid(format!("the {what} is longer than {max} bytes")));
    }
    let odd = |text: &String| text.chars().any(|c| c.is_control() && c != '\n');
    if text.is_some_and(odd) {
        return Err(invalid(format!(
            "the {what} must not contain control characters"
        )));
    }
    Ok(())
}

fn check_settings(settings: &Settings) -> Result<(), CommandError> {
    if let Some(name) = &settings.name {
        check_name("name", name)?;
    }
    check_text("description", settings.description.as_ref(), MAX_TOPIC)?;
    check_text("icon", settings.icon.as_ref(), MAX_EMOJI)
}

impl Core {
    /// Carries a command out. `None` means that the answer comes later.
    pub(crate) fn run(&mut self, id: u64, command: Command) -> Outcome {
        match command {
            Command::Status => Ok(Some(Reply::Status(self.status()))),
            Command::Peers => Ok(Some(Reply::Peers(self.peers()))),
            Command::Rename { name } => self.rename(id, name),
            Command::CreateRevolt { settings } => self.create_revolt(id, settings),
            Command::ListRevolts => {
                let known = self.revolts.keys();
                let shown = known.filter_map(|id| self.revolt_info(id).ok());
                Ok(Some(Reply::Revolts(shown.collect())))
            }
            Command::ShowRevolt { revolt } => self.show(&revolt),
            Command::EditRevolt { revolt, settings } => {
                check_settings(&settings)?;
                self.act(id, revolt, &Act::Settings(settings), Self::show)
            }
            Command::LeaveRevolt { revolt } => self.leave(id, revolt),
            Command::CreateInvite {
                revolt,
                expires_ms,
                max_uses,
                addresses,
            } => self.create_invite(id, revolt, expires_ms, max_uses, addresses),
            Command::ListInvites { revolt } => Ok(Some(Reply::Invites(self.invites(&revolt)?))),
            Command::RevokeInvite { revolt, invite } => {
                if !self
                    .revolt(&revolt)?
                    .authority
                    .state()
                    .invites
                    .contains_key(&invite)
                {
                    return Err(CommandError::NotFound("invite"));
                }
                let keep = self.joins_by(&revolt, &invite);
                self.act(id, revolt, &Act::RevokeInvite { invite, keep }, |_, _| {
                    Ok(Some(Reply::Done))
                })
            }
            Command::Join { link } => self.join(id, &link),
            Command::CreateChannel {
                revolt,
                edit,
                private,
            } => self.create_channel(id, revolt, edit, private),
            Command::EditChannel {
                revolt,
                channel,
                edit,
            } => self.edit_channel(id, revolt, channel, edit),
            Command::Send { at, messages } => self.send_messages(id, at, messages),
            Command::Edit { at, message, text } => {
                self.check_body(&text)?;
                self.change(
                    id,
                    at,
                    message,
                    Words::Edit {
                        target: message,
                        text,
                    },
                )
            }
            Command::Delete { at, message } => {
                self.change(id, at, message, Words::Delete { target: message })
            }
            Command::React {
                at,
                message,
                emoji,
                on,
            } => {
                if emoji.is_empty()
                    || emoji.len() > MAX_EMOJI
                    || emoji.chars().any(char::is_control)
                {
                    return Err(invalid(format!(
                        "a reaction has 1 to {MAX_EMOJI} bytes, without control characters"
                    )));
                }
                self.change(
                    id,
                    at,
                    message,
                    Words::React {
                        target: message,
                        emoji,
                        on,
                    },
                )
            }
            Command::Log {
                at,
                from,
                direction,
                limit,
            } => {
                let stream = self.channel_stream(&at.revolt, &at.channel)?;
                let limit = limit.clamp(1, MAX_PAGE);
                self.read_log(
                    LogJob {
                        command: id,
                        at,
                        stream,
                        direction,
                        limit,
                        found: Vec::new(),
                    },
                    from,
                );
                Ok(None)
            }
            Command::ListMembers { revolt } => Ok(Some(Reply::Members(self.members(&revolt)?))),
            Command::SetMember {
                revolt,
                user,
                level,
            } => self.set_member(id, revolt, user, level),
            Command::Ban { revolt, user, on } => self.ban_member(id, revolt, user, on),
            Command::ListBans { revolt } => Ok(Some(Reply::Bans(self.bans(&revolt)?))),
            Command::Timeout {
                revolt,
                user,
                until_ms,
            } => self.timeout(id, revolt, user, until_ms),
            Command::ListRoles { revolt } => Ok(Some(Reply::Roles(self.roles(&revolt)?))),
            Command::CreateRole { revolt, edit } => self.edit_role(id, revolt, None, edit),
            Command::EditRole { revolt, role, edit } => {
                self.edit_role(id, revolt, Some(role), edit)
            }
            Command::Grant {
                revolt,
                user,
                role,
                on,
            } => self.grant(id, revolt, Grant { user, role, on }),
            Command::SetException {
                at,
                target,
                allow,
                deny,
            } => self.set_exception(id, at, target, (allow, deny)),
            Command::Permissions {
                revolt,
                user,
                channel,
            } => {
                let held = self.permissions(&revolt, user, channel)?;
                Ok(Some(Reply::Permissions(held)))
            }
            Command::Audit { revolt } => Ok(Some(Reply::Audit(self.audit(&revolt)?))),
            Command::LastActs { device, before_ms } => {
                let acts = self.last_acts(&device, before_ms)?;
                Ok(Some(Reply::LastActs(acts)))
            }
            Command::RevokeDevice { revocations } => self.revoke_device(id, &revocations),
            Command::ListDocuments { revolt } => {
                Ok(Some(Reply::Documents(self.documents(&revolt)?)))
            }
            Command::ExportDocument {
                revolt,
                channel,
                seg,
            } => self.export(id, revolt, channel, seg),
        }
    }

    fn show(&mut self, revolt: &RevoltId) -> Outcome {
        Ok(Some(Reply::Revolt(Box::new(self.revolt_detail(revolt)?))))
    }

    /// Writes an act, if it would count, and answers with `reply` when it is durable.
    pub(crate) fn act(
        &mut self,
        id: u64,
        revolt: RevoltId,
        act: &Act,
        reply: impl FnOnce(&mut Self, &RevoltId) -> Outcome,
    ) -> Outcome {
        self.would_count(&revolt, act)?;
        let secret = self.writing_secret(&revolt)?;
        // The act must count before the answer is made, and the answer waits for the disk.
        self.author(revolt, act, &secret, Vec::new());
        match reply(self, &revolt)? {
            Some(reply) => {
                self.store(
                    Vec::new(),
                    Some(Waiting::Reply {
                        command: id,
                        reply: Box::new(reply),
                    }),
                );
                Ok(None)
            }
            None => Ok(None),
        }
    }

    pub(crate) fn permitted(&self, revolt: &RevoltId, wish: Wish) -> Result<(), CommandError> {
        let authority = &self.revolt(revolt)?.authority;
        let judgement = authority.judge(
            &self.device(),
            &authority.heads(),
            authority.newest_hlc().next(self.unix_ms()),
            wish,
        );
        if judgement.allowed {
            return Ok(());
        }
        Err(CommandError::NotPermitted(match wish {
            _ if judgement.level.is_none() => "you are not a member (any more)".into(),
            Wish::Belong => "you are not a member (any more)".into(),
            Wish::Say(permission, channel)
                if authority
                    .permissions(&self.user(), Some(&channel))
                    .has(permission) =>
            {
                "you are silenced for a while (`revnet member list` says until when)".into()
            }
            Wish::Act(permission) | Wish::Say(permission, _) => {
                format!(
                    "this takes the permission '{permission}', which somebody above you can give you"
                )
            }
        }))
    }

    /// The secret to write acts with. After a removal a new epoch comes first.
    pub(crate) fn writing_secret(&mut self, id: &RevoltId) -> Result<EpochSecret, CommandError> {
        if self
            .revolt(id)?
            .authority
            .state()
            .rotation_due(&Audience::Revolt)
        {
            self.rotate_if_due(*id);
        }
        self.revolt(id)?
            .sending_secret()
            .cloned()
            .ok_or(CommandError::Unreachable(
                "the newest key is missing; it comes as soon as a member is online",
            ))
    }

    fn rename(&mut self, id: u64, name: String) -> Outcome {
        check_name("name", &name)?;
        self.me.name.clone_from(&name);
        let revolts: Vec<_> = self.revolts.keys().copied().collect();
        for revolt in revolts {
            if self.permitted(&revolt, Wish::Belong).is_ok()
                && let Ok(secret) = self.writing_secret(&revolt)
            {
                self.author(
                    revolt,
                    &Act::Profile { name: name.clone() },
                    &secret,
                    Vec::new(),
                );
            }
        }
        let write = Self::put(Space::Local, b"name".to_vec(), name.into_bytes());
        self.store(
            vec![write],
            Some(Waiting::Reply {
                command: id,
                reply: Box::new(Reply::Done),
            }),
        );
        Ok(None)
    }

    fn create_revolt(&mut self, id: u64, settings: Settings) -> Outcome {
        let name = settings
            .name
            .as_deref()
            .ok_or_else(|| invalid("a revolt needs a name"))?;
        check_name("name", name)?;
        check_settings(&settings)?;
        let genesis = Genesis {
            founder: self.user(),
            device: self.device(),
            nonce: self.random(),
            created_ms: self.unix_ms(),
        };
        let genesis = SignedGenesis::sign(genesis, &self.me.keys);
        let revolt = genesis.revolt();
        let own = [self.me.cert.hpke];
        let Begun { secret, chunks, .. } = AGREEMENT.begin(&revolt, &own, &[], &mut self.rng);
        let mut known = Revolt::new(
            revolt,
            Record {
                name: name.to_owned(),
                joining: None,
                leaving: false,
            },
        );
        known.secrets.insert(secret.key_id(), secret.clone());
        self.add_revolt(known);
        let writes = vec![
            self.save_record(&revolt).expect("just added"),
            Self::put(
                Space::Secret,
                secret_key(&revolt, &secret.key_id()),
                secret.bytes().to_vec(),
            ),
        ];
        let create = Act::Create {
            genesis,
            cert: self.me.cert.clone(),
            name: self.me.name.clone(),
        };
        self.author(revolt, &create, &secret, writes);
        let rotate = Act::KeyRotate(KeyRotate {
            audience: Audience::Revolt,
            generation: 1,
            key_id: secret.key_id(),
            commitment: chunk_root(&chunks),
            back_links: Vec::new(),
        });
        self.author(revolt, &rotate, &secret, Vec::new());
        self.author(revolt, &Act::Settings(settings), &secret, Vec::new());
        let general = ChannelEdit {
            name: Some("general".into()),
            ..Default::default()
        };
        self.author(
            revolt,
            &Act::Channel(channel_act(None, general)),
            &secret,
            Vec::new(),
        );
        let reply = Reply::Revolt(Box::new(self.revolt_detail(&revolt)?));
        self.store(
            Vec::new(),
            Some(Waiting::Reply {
                command: id,
                reply: Box::new(reply),
            }),
        );
        Ok(None)
    }

    /// Says goodbye, and forgets when that is said. Without a key nobody could read the goodbye.
    fn leave(&mut self, id: u64, revolt: RevoltId) -> Outcome {
        let member = self.revolt(&revolt)?.level_of(&self.user()).is_some();
        let secret = match self.writing_secret(&revolt) {
            Err(error) if member && !self.revolt(&revolt)?.secrets.is_empty() => return Err(error),
            secret => secret.ok(),
        };
        match secret.filter(|_| member) {
            Some(secret) => {
                let record = &mut self
                    .revolts
                    .get_mut(&revolt)
                    .expect("looked up above")
                    .record;
                record.leaving = true;
                let record = self.save_record(&revolt).expect("looked up above");
                let answer = Some((id, Reply::Done));
                self.author_then(revolt, &Act::Leave, &secret, vec![record], answer);
                self.notice(Notice::RevoltGone { revolt });
                Ok(None)
            }
            None => {
                self.forget_revolt(revolt);
                Ok(Some(Reply::Done))
            }
        }
    }

    fn create_invite(
        &mut self,
        id: u64,
        revolt: RevoltId,
        expires_ms: Option<u64>,
        max_uses: Option<u32>,
        addresses: Vec<String>,
    ) -> Outcome {
        if expires_ms.is_some_and(|at| at <= self.unix_ms()) {
            return Err(invalid("the invite would have expired already"));
        }
        if max_uses == Some(0) {
            return Err(invalid("an invite needs at least one use"));
        }
        let seed = self.random();
        let secret = InviteSecret::from_seed(seed);
        let act = Act::Invite(Invite {
            invite: secret.id(),
            hpke: secret.hpke_public(),
            expires_ms,
            max_uses,
        });
        self.act(id, revolt, &act, move |core, revolt| {
            let known = core.revolt(revolt)?;
            let link = InviteLink {
                revolt: *revolt,
                seed,
                name: known.name().to_owned(),
                icon: known.authority.state().icon.clone(),
                inviter: core.me.name.clone(),
                expires_ms,
                addresses,
            };
            let info = core
                .invites(revolt)?
                .into_iter()
                .find(|info| info.id == secret.id());
            let info = info.ok_or(CommandError::NotFound("invite"))?;
            Ok(Some(Reply::Invite(info, link)))
        })
    }

    fn create_channel(
        &mut self,
        id: u64,
        revolt: RevoltId,
        edit: ChannelEdit,
        private: bool,
    ) -> Outcome {
        let name = edit
            .name
            .clone()
            .ok_or_else(|| invalid("a channel needs a name"))?;
        check_channel(&edit)?;
        let before: Vec<ChannelId> = {
            let channels = &self.revolt(&revolt)?.authority.state().channels;
            if channels
                .values()
                .any(|channel| channel.name == name && !channel.archived)
            {
                return Err(invalid(format!(
                    "there is a channel named '{name}' already"
                )));
            }
            channels.keys().copied().collect()
        };
        if private {
            self.permitted(&revolt, Wish::Act(Permission::ManageRoles))?;
        }
        let history = edit.history;
        let act = Act::Channel(channel_act(None, edit));
        self.act(id, revolt, &act, move |core, revolt| {
            let channels = &core.revolt(revolt)?.authority.state().channels;
            let new = channels.keys().find(|id| !before.contains(id)).copied();
            let new = new.ok_or(CommandError::NotFound("channel"))?;
            if private {
                core.close_channel(*revolt, new)?;
            }
            if history == Some(false) {
                core.set_history(*revolt, new, false)?;
            }
            Ok(Some(Reply::Channel(core.channel_info(revolt, &new)?)))
        })
    }

    fn edit_channel(
        &mut self,
        id: u64,
        revolt: RevoltId,
        channel: ChannelId,
        edit: ChannelEdit,
    ) -> Outcome {
        self.channel_stream(&revolt, &channel)?;
        check_channel(&edit)?;
        let known = &self.revolt(&revolt)?.authority.state().channels[&channel];
        let history = edit.history.filter(|on| *on != known.history);
        let fields = ChannelEdit {
            history: None,
            ..edit
        };
        let act = match history {
            Some(on) if fields == ChannelEdit::default() => Act::History { channel, on },
            _ => Act::Channel(channel_act(Some(channel), fields)),
        };
        let rest = history.filter(|_| matches!(act, Act::Channel(_)));
        self.act(id, revolt, &act, move |core, revolt| {
            if let Some(on) = rest {
                core.set_history(*revolt, channel, on)?;
            }
            Ok(Some(Reply::Channel(core.channel_info(revolt, &channel)?)))
        })
    }

    fn check_body(&self, text: &str) -> Result<(), CommandError> {
        let content = Content {
            salt: [0; 16],
            text: text.to_owned(),
            imported: None,
        };
        if text.trim().is_empty() {
            return Err(invalid("a message needs words"));
        }
        if content.fits() {
            Ok(())
        } else {
            Err(invalid("a message has at most about 8000 bytes"))
        }
    }

    fn writable(&self, at: &Place, permission: Permission) -> Result<StreamId, CommandError> {
        let stream = self.channel_stream(&at.revolt, &at.channel)?;
        self.permitted(&at.revolt, Wish::Say(permission, at.channel))?;
        if self.revolt(&at.revolt)?.authority.state().channels[&at.channel].archived {
            return Err(CommandError::NotPermitted("the channel is archived".into()));
        }
        if self.is_parted(&stream) {
            return Err(CommandError::NotPermitted(PARTED.into()));
        }
        if self.is_ahead(&stream) {
            return Err(CommandError::NotPermitted(AHEAD.into()));
        }
        Ok(stream)
    }

    fn send_messages(&mut self, id: u64, at: Place, messages: Vec<Draft>) -> Outcome {
        let stream = self.writable(&at, Permission::Send)?;
        if messages.is_empty() || messages.len() > MAX_SEND {
            return Err(invalid(format!("send 1 to {MAX_SEND} messages at a time")));
        }
        let mut items = Vec::with_capacity(messages.len());
        for draft in messages {
            match &draft.imported {
                None => self.check_body(&draft.text)?,
                Some(imported) => {
                    let content = Content {
                        salt: [0; 16],
                        text: draft.text.clone(),
                        imported: Some(imported.clone()),
                    };
                    if !content.fits() {
                        return Err(invalid("an imported message has at most about 8000 bytes"));
                    }
                }
            }
            let words = Words::Message {
                text: draft.text,
                reply_to: draft.reply_to,
                reply_to_nonce: draft.reply_to_nonce.as_deref().map(nonce_hash),
                imported: draft.imported,
            };
            items.push(Item {
                words,
                nonce: draft.nonce.as_deref().map(nonce_hash),
            });
        }
        self.submit(Submission {
            command: Some(id),
            at,
            stream,
            items,
            numbers: Vec::new(),
            tells: true,
        });
        Ok(None)
    }

    /// Changes a message that must be here, and for edits must be one's own.
    fn change(&mut self, id: u64, at: Place, message: MessageId, words: Words) -> Outcome {
        let stream = self.writable(&at, words.takes())?;
        let items = vec![Item { words, nonce: None }];
        let submission = Submission {
            command: Some(id),
            at,
            stream,
            items,
            numbers: Vec::new(),
            tells: false,
        };
        let then = Waiting::Target {
            command: id,
            submission: Box::new(submission),
        };
        self.load(
            Query::Message {
                stream,
                id: message,
            },
            then,
        );
        Ok(None)
    }

    pub(crate) fn target_loaded(
        &mut self,
        command: u64,
        submission: Submission,
        rows: Vec<PageRow>,
    ) {
        match self.check_target(&submission, rows) {
            Ok(()) => self.submit(submission),
            Err(error) => self.reply(command, Err(error)),
        }
    }

    fn check_target(
        &self,
        submission: &Submission,
        rows: Vec<PageRow>,
    ) -> Result<(), CommandError> {
        let missing = CommandError::NotFound("message");
        let row = rows.into_iter().next().ok_or(missing.clone())?;
        let envelope =
            revnet_protocol::Envelope::decode(&row.envelope).map_err(|_| missing.clone())?;
        let revolt = self.revolt(&submission.at.revolt)?;
        let secret = revolt
            .secrets
            .get(&envelope.header.key_id)
            .ok_or(missing.clone())?;
        let (_, event) = read_event(&envelope, secret).ok_or(missing.clone())?;
        if event.target().is_some() {
            return Err(missing);
        }
        let author = revolt
            .authority
            .state()
            .user_of(&envelope.header.device)
            .map(|(user, _)| user);
        let own = author == Some(self.user());
        match submission.items.first().map(|item| &item.words) {
            Some(Words::Edit { .. }) if !own => Err(CommandError::NotPermitted(
                "only its author edits a message".into(),
            )),
            Some(Words::Delete { .. }) if !own => {
                let channel = submission.at.channel;
                self.permitted(&revolt.id, Wish::Say(Permission::ManageMessages, channel))
            }
            _ => Ok(()),
        }
    }

    fn export(
        &mut self,
        id: u64,
        revolt: RevoltId,
        channel: Option<ChannelId>,
        seg: u32,
    ) -> Outcome {
        let stream = match channel {
            Some(channel) => self.channel_stream(&revolt, &channel)?,
            None => self.revolt(&revolt)?.control,
        };
        let documents = self.documents(&revolt)?;
        if !documents.contains(&DocumentInfo { channel, seg }) {
            return Err(CommandError::NotFound("document"));
        }
        let ranges: Vec<_> = self.streams[&stream]
            .chains
            .keys()
            .map(|device| (stream, *device, 1))
            .collect();
        let query = Query::Ranges {
            ranges,
            max_bytes: usize::MAX,
        };
        self.load(query, Waiting::Export { command: id, seg });
        Ok(None)
    }

    /// The joins by an invite that count now: what its revocation keeps.
    pub(crate) fn joins_by(&self, revolt: &RevoltId, invite: &revnet_protocol::InviteId) -> Keep {
        self.revolts
            .get(revolt)
            .map(|r| r.authority.joins_by(invite))
            .unwrap_or_default()
    }
}

const PARTED: &str = "two copies of this device's data have written here, so nobody takes what it writes any more; \
    restore your identity into an empty data directory, which makes a new device, join with that, and revoke this one";

/// Why a device writes nothing that is dated far ahead.
pub(crate) const AHEAD: &str = "this device has written here while its clock was far ahead, and what it writes now would \
    come after that, where nobody sees it yet; wait until that time has come, or write from another device";

fn check_channel(edit: &ChannelEdit) -> Result<(), CommandError> {
    if let Some(name) = &edit.name {
        check_name("name", name)?;
    }
    check_text("topic", edit.topic.as_ref(), MAX_TOPIC)?;
    check_text("category", edit.category.as_ref(), MAX_NAME)
}

fn channel_act(channel: Option<ChannelId>, edit: ChannelEdit) -> Channel {
    let ChannelEdit {
        name,
        topic,
        category,
        position,
        archived,
        history: _,
    } = edit;
    Channel {
        channel,
        kind: ChannelKind::Text,
        name,
        topic,
        category,
        position,
        archived,
    }
}
