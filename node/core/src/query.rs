//! Reading: from stored envelopes to messages as they are shown.

use revnet_crdt::authority::{ChannelState, Wish};
use revnet_crdt::change::{Expected, check_change};
use revnet_crdt::document::Document;
use revnet_crdt::view::{Said, Shown, fold};
use revnet_protocol::{
    Content, Envelope, EpochSecret, Event, MessageId, Permission, RevoltId, StreamId,
};

use crate::command::{
    ChannelInfo, CommandError, DocumentInfo, ExceptionInfo, InviteInfo, MemberInfo, MessageView,
    Notice, PeerInfo, Place, Reply, RevoltDetail, RevoltInfo, Status,
};
use crate::core::{Core, SHOW_AHEAD_MS, Waiting};
use crate::storage::{Direction, PageRow, Query};

/// A page under way: rows that are hidden are made up for by reading on.
#[derive(Debug)]
pub(crate) struct LogJob {
    pub(crate) command: u64,
    pub(crate) at: Place,
    pub(crate) stream: StreamId,
    pub(crate) direction: Direction,
    pub(crate) limit: usize,
    pub(crate) found: Vec<MessageView>,
}

pub(crate) fn read_event(envelope: &Envelope, secret: &EpochSecret) -> Option<(MessageId, Event)> {
    let change = envelope.open_change(secret).ok()?;
    let header = &envelope.header;
    let expected = Expected {
        device: &header.device,
        seq: header.seq,
        seg_seq: header.seg_seq,
    };
    let checked = check_change(&change, &expected).ok()?;
    Some((checked.id, Event::decode(&checked.value).ok()?))
}

fn exceptions(channel: &ChannelState) -> Vec<ExceptionInfo> {
    let all = channel.exceptions.iter();
    all.map(|(target, exception)| ExceptionInfo {
        target: *target,
        allow: exception.allow,
        deny: exception.deny,
    })
    .collect()
}

impl Core {
    pub(crate) fn read_log(&mut self, job: LogJob, from: Option<MessageId>) {
        let query = Query::Page {
            stream: job.stream,
            from,
            direction: job.direction,
            limit: job.limit,
        };
        self.load(query, Waiting::Log(Box::new(job)));
    }

    pub(crate) fn log_loaded(&mut self, mut job: LogJob, rows: &[PageRow]) {
        let count = rows.len();
        let edge = match job.direction {
            Direction::Before => rows.first().map(|row| row.id),
            Direction::After => rows.last().map(|row| row.id),
        };
        let mut views: Vec<_> = rows
            .iter()
            .filter_map(|row| self.view(job.at.revolt, job.stream, row))
            .collect();
        match job.direction {
            Direction::Before => {
                views.append(&mut job.found);
                job.found = views;
                let surplus = job.found.len().saturating_sub(job.limit);
                job.found.drain(..surplus);
            }
            Direction::After => {
                job.found.append(&mut views);
                job.found.truncate(job.limit);
            }
        }
        if count == job.limit && job.found.len() < job.limit {
            self.read_log(job, edge);
        } else {
            self.reply(job.command, Ok(Reply::Log(job.found)));
        }
    }

    /// How a stored message looks, if it is shown at all.
    fn view(&self, revolt: RevoltId, stream: StreamId, row: &PageRow) -> Option<MessageView> {
        if self.is_far_ahead(&row.id) {
            return None;
        }
        let base = self.said(revolt, &row.envelope)?;
        let overlays: Vec<_> = row
            .overlays
            .iter()
            .filter_map(|(_, bytes)| self.said(revolt, bytes))
            .collect();
        let shown = fold(&base, &overlays)?;
        Some(self.dress(revolt, stream, shown))
    }

    /// Whether an event's time has yet to come, by any clock that is worth anything.
    fn is_far_ahead(&self, id: &MessageId) -> bool {
        id.hlc.ms > self.unix_ms() + SHOW_AHEAD_MS
    }

    fn said(&self, revolt: RevoltId, bytes: &[u8]) -> Option<Said> {
        let envelope = Envelope::decode(bytes).ok()?;
        let secret = self
            .revolts
            .get(&revolt)?
            .secrets
            .get(&envelope.header.key_id)?;
        let (id, event) = read_event(&envelope, secret)?;
        self.said_by(revolt, &envelope, secret, id, event)
    }

    fn said_by(
        &self,
        revolt: RevoltId,
        envelope: &Envelope,
        secret: &EpochSecret,
        id: MessageId,
        event: Event,
    ) -> Option<Said> {
        let authority = &self.revolts.get(&revolt)?.authority;
        let header = &envelope.header;
        let channel = self.streams.get(&header.stream)?.channel?;
        let judge = |permission| {
            let wish = Wish::Say(permission, channel);
            authority.judge(&header.device, &header.control_heads, id.hlc, wish)
        };
        let said = judge(match &event {
            Event::Message { .. } | Event::Edit { .. } => Permission::Send,
            Event::Delete { .. } => Permission::View,
            Event::React { .. } => Permission::React,
        });
        // Only a deletion of somebody else's message asks for more.
        let moderates =
            matches!(event, Event::Delete { .. }) && judge(Permission::ManageMessages).allowed;
        let content = envelope
            .open_body(secret)
            .ok()
            .flatten()
            .filter(|body| event.body() == Some(Content::hash(body)))
            .and_then(|body| Content::decode(&body).ok());
        Some(Said {
            id,
            user: said.user?,
            shown: said.allowed,
            moderates,
            event,
            content,
        })
    }

    /// A message that has just been indexed, before it can be loaded.
    pub(crate) fn view_of_new(
        &self,
        revolt: RevoltId,
        id: &MessageId,
        event: &Event,
        envelope: &Envelope,
    ) -> Option<MessageView> {
        if self.is_far_ahead(id) {
            return None;
        }
        let secret = self
            .revolts
            .get(&revolt)?
            .secrets
            .get(&envelope.header.key_id)?;
        let said = self.said_by(revolt, envelope, secret, *id, event.clone())?;
        let shown = fold(&said, &[])?;
        Some(self.dress(revolt, envelope.header.stream, shown))
    }

    pub(crate) fn changed_loaded(&mut self, stream: StreamId, rows: &[PageRow]) {
        let Some((revolt, Some(channel))) =
            self.streams.get(&stream).map(|s| (s.revolt, s.channel))
        else {
            return;
        };
        let views: Vec<_> = rows
            .iter()
            .filter_map(|row| self.view(revolt, stream, row))
            .collect();
        for message in views {
            let at = Place { revolt, channel };
            self.notice(Notice::MessageChanged {
                at,
                message: Box::new(message),
            });
        }
    }

    fn dress(&self, revolt: RevoltId, stream: StreamId, shown: Shown) -> MessageView {
        let state = self.revolts.get(&revolt).map(|r| r.authority.state());
        let name = state
            .and_then(|state| state.name_of(&shown.user))
            .unwrap_or_default();
        MessageView {
            id: shown.id,
            author: shown.user,
            author_name: name.to_owned(),
            text: shown.text,
            reply_to: shown.reply_to,
            edited_ms: shown.edited.map(|hlc| hlc.ms),
            deleted: shown.deleted,
            reactions: shown.reactions,
            imported: shown.imported,
            held_by: self.held_by(revolt, stream, &shown.id),
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            user: self.user(),
            device: self.device(),
            name: self.me.name.clone(),
            revolts: self.revolts.values().filter(|r| !r.record.leaving).count(),
            peers: self.links.len(),
            outbox: self
                .revolts
                .values()
                .map(crate::revolt::Revolt::outbox_len)
                .sum(),
            unix_ms: self.unix_ms(),
            clock_offset_ms: self.clock_offset_ms,
        }
    }

    pub(crate) fn revolt_info(&self, id: &RevoltId) -> Result<RevoltInfo, CommandError> {
        let revolt = self.revolt(id)?;
        let state = revolt.authority.state();
        let online = state
            .members
            .values()
            .flat_map(|m| m.devices.keys())
            .filter(|d| self.links.contains_key(*d));
        Ok(RevoltInfo {
            id: *id,
            name: revolt.name().to_owned(),
            description: state.description.clone(),
            icon: state.icon.clone(),
            members: state.members.len(),
            online: online.count(),
            level: revolt.level_of(&self.user()),
            synced: self.is_synced(id),
        })
    }

    pub(crate) fn revolt_detail(&self, id: &RevoltId) -> Result<RevoltDetail, CommandError> {
        let info = self.revolt_info(id)?;
        Ok(RevoltDetail {
            info,
            channels: self.channels(id)?,
            members: self.members(id)?,
        })
    }

    fn channels(&self, id: &RevoltId) -> Result<Vec<ChannelInfo>, CommandError> {
        let authority = &self.revolt(id)?.authority;
        let held = |channel| authority.permissions(&self.user(), Some(channel));
        let channels = authority.state().channels.iter();
        let seen = channels.filter(|(id, _)| held(*id).has(Permission::View));
        let mut channels: Vec<_> = seen
            .map(|(channel, state)| ChannelInfo {
                id: *channel,
                private: state.private,
                history: state.history,
                exceptions: exceptions(state),
                permissions: held(channel),
                name: state.name.clone(),
                topic: state.topic.clone(),
                category: state.category.clone(),
                position: state.position,
                archived: state.archived,
                events: self
                    .streams
                    .get(&StreamId::channel(id, channel))
                    .map_or(0, super::chain::Stream::events),
            })
            .collect();
        channels.sort_by(|a, b| {
            (a.position, &a.category, &a.id).cmp(&(b.position, &b.category, &b.id))
        });
        Ok(channels)
    }

    pub(crate) fn channel_info(
        &self,
        id: &RevoltId,
        channel: &revnet_protocol::ChannelId,
    ) -> Result<ChannelInfo, CommandError> {
        let channels = self.channels(id)?;
        channels
            .into_iter()
            .find(|c| c.id == *channel)
            .ok_or(CommandError::NotFound("channel"))
    }

    pub(crate) fn members(&self, id: &RevoltId) -> Result<Vec<MemberInfo>, CommandError> {
        let me = self.device();
        let state = self.revolt(id)?.authority.state();
        let mut members: Vec<_> = state
            .members
            .iter()
            .map(|(user, member)| MemberInfo {
                user: *user,
                name: member.name.clone(),
                level: member.level,
                roles: member.roles.iter().copied().collect(),
                permissions: member.permissions,
                silenced_until_ms: member.silenced_until_ms,
                provisional: member.provisional,
                devices: member.devices.keys().copied().collect(),
                online: member
                    .devices
                    .keys()
                    .any(|d| *d == me || self.links.contains_key(d)),
            })
            .collect();
        members.sort_by(|a, b| (b.level, &a.name, a.user).cmp(&(a.level, &b.name, b.user)));
        Ok(members)
    }

    pub(crate) fn invites(&self, id: &RevoltId) -> Result<Vec<InviteInfo>, CommandError> {
        let now = self.unix_ms();
        let state = self.revolt(id)?.authority.state();
        Ok(state
            .invites
            .iter()
            .map(|(id, invite)| InviteInfo {
                id: *id,
                by: invite.by,
                expires_ms: invite.expires_ms,
                max_uses: invite.max_uses,
                uses: invite.uses,
                ended: crate::join::has_ended(invite, now),
            })
            .collect())
    }

    pub(crate) fn peers(&self) -> Vec<PeerInfo> {
        self.links
            .iter()
            .map(|(device, link)| {
                let known = link.proved.iter().find_map(|revolt| {
                    let state = self.revolts.get(revolt)?.authority.state();
                    let (user, _) = state.user_of(device)?;
                    Some((user, state.name_of(&user).unwrap_or_default().to_owned()))
                });
                let (user, name) =
                    known.map_or((None, None), |(user, name)| (Some(user), Some(name)));
                PeerInfo {
                    device: *device,
                    user,
                    name,
                    relayed: link.relayed,
                    revolts: link.proved.iter().copied().collect(),
                }
            })
            .collect()
    }

    pub(crate) fn documents(&self, id: &RevoltId) -> Result<Vec<DocumentInfo>, CommandError> {
        self.revolt(id)?;
        let streams = self.streams.values().filter(|stream| stream.revolt == *id);
        Ok(streams
            .filter_map(|stream| {
                let last = stream
                    .chains
                    .values()
                    .filter(|c| c.opened > 0)
                    .map(|c| c.seg)
                    .max()?;
                Some((0..=last).map(|seg| DocumentInfo {
                    channel: stream.channel,
                    seg,
                }))
            })
            .flatten()
            .collect())
    }

    pub(crate) fn export_loaded(&mut self, command: u64, seg: u32, envelopes: Vec<Vec<u8>>) {
        let mut document = Document::new();
        let mut changes = Vec::new();
        for bytes in envelopes {
            let Ok(envelope) = Envelope::decode(&bytes) else {
                continue;
            };
            let header = &envelope.header;
            let Some(stream) = self.streams.get(&header.stream) else {
                continue;
            };
            let opened = stream
                .chains
                .get(&header.device)
                .is_some_and(|chain| header.seq <= chain.opened && chain.counts(header.seq));
            let secret = self
                .revolts
                .get(&stream.revolt)
                .and_then(|r| r.secrets.get(&header.key_id));
            if let Some(secret) = secret.filter(|_| opened && header.seg == seg)
                && let Ok(change) = envelope.open_change(secret)
            {
                changes.push(change);
            }
        }
        let reply = match document.apply(changes) {
            Ok(_) => Ok(Reply::Document(document.save())),
            Err(error) => Err(CommandError::Invalid(error.to_string())),
        };
        self.reply(command, reply);
    }
}
