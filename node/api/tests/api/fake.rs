//! A node without a network: enough of one to ask it everything, and a server around it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use revnet_api::dto::{Id, LinkStatus, NetworkStatus, RelayState, RelayStatus};
use revnet_api::{ApiConfig, IdentityError, NodeHandle, Sequenced};
use revnet_core::command::{
    AuditEntry, BanInfo, ChannelEdit, ChannelInfo, Command, CommandError, DocumentInfo, Draft,
    ExceptionInfo, InviteInfo, MemberInfo, MessageView, Notice, PeerInfo, Place, Reply,
    RevoltDetail, RevoltInfo, RoleEdit, RoleInfo, Sent, Status,
};
use revnet_core::storage::Direction;
use revnet_protocol::act::{Level, Settings};
use revnet_protocol::{
    ChannelId, DeviceId, DeviceRevocation, EnvelopeId, Hlc, InviteId, InviteLink, MessageId,
    Permissions, RevoltId, RoleId, RootKey, UserId,
};
use tokio::sync::{broadcast, oneshot};

/// The person of the fake node.
pub(crate) const ME: UserId = UserId([1; 32]);
/// Its device.
pub(crate) const DEVICE: DeviceId = DeviceId([2; 32]);
/// Another member of every revolt.
pub(crate) const FRIEND: UserId = UserId([3; 32]);
/// The number before its first notice.
pub(crate) const FIRST_SEQ: u64 = 1_000_000;
/// What opens its identity.
pub(crate) const PASSPHRASE: &str = "open sesame";

type Channels = BTreeMap<ChannelId, (ChannelInfo, BTreeMap<MessageId, MessageView>)>;

struct Revolt {
    settings: Settings,
    channels: Channels,
    members: BTreeMap<UserId, Level>,
    invites: BTreeMap<InviteId, InviteInfo>,
    roles: BTreeMap<RoleId, RoleInfo>,
    granted: BTreeSet<(UserId, RoleId)>,
    bans: BTreeSet<UserId>,
    silenced: BTreeMap<UserId, u64>,
}

#[derive(Default)]
struct State {
    name: String,
    revolts: BTreeMap<RevoltId, Revolt>,
    nonces: BTreeMap<(ChannelId, String), MessageId>,
    made: u8,
    clock: u64,
    seq: u64,
    fail: Option<CommandError>,
    offline: bool,
    stopped: bool,
    asked: Vec<Command>,
}

#[derive(Clone)]
pub(crate) struct FakeNode {
    state: Arc<Mutex<State>>,
    notices: broadcast::Sender<Arc<Sequenced>>,
}

impl Default for FakeNode {
    fn default() -> Self {
        let state = State {
            name: "Ada".to_owned(),
            clock: 1_700_000_000_000,
            seq: FIRST_SEQ,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            notices: broadcast::Sender::new(64),
        }
    }
}

#[allow(dead_code, reason = "each of the two test programs uses its part")]
impl FakeNode {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock")
    }

    /// Lets the next command fail.
    pub(crate) fn fail_next(&self, error: CommandError) {
        self.lock().fail = Some(error);
    }

    /// From now on messages wait in the outbox.
    pub(crate) fn go_offline(&self) {
        self.lock().offline = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The command asked last.
    pub(crate) fn last_asked(&self) -> Option<Command> {
        self.lock().asked.last().cloned()
    }

    /// Tells something to all listeners; answers with its number.
    pub(crate) fn tell(&self, notice: Notice) -> u64 {
        let mut state = self.lock();
        state.tell(&self.notices, notice)
    }

    /// Lets somebody else write, as if it came from the network.
    pub(crate) fn hear(&self, at: Place, text: &str, loud: bool) -> MessageId {
        let mut state = self.lock();
        let draft = Draft {
            text: text.to_owned(),
            ..Draft::default()
        };
        let view = state
            .write(at, FRIEND, draft)
            .expect("a place of this node");
        let id = view.id;
        if loud {
            let message = Box::new(view);
            state.tell(&self.notices, Notice::Message { at, message });
        }
        id
    }
}

impl State {
    fn tell(&mut self, to: &broadcast::Sender<Arc<Sequenced>>, notice: Notice) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        let _ = to.send(Arc::new(Sequenced { seq, notice }));
        seq
    }

    fn id(&mut self) -> [u8; 32] {
        self.made += 1;
        [100 + self.made; 32]
    }

    fn revolt(&mut self, id: RevoltId) -> Result<&mut Revolt, CommandError> {
        self.revolts
            .get_mut(&id)
            .ok_or(CommandError::NotFound("revolt"))
    }

    fn messages(
        &mut self,
        at: Place,
    ) -> Result<&mut BTreeMap<MessageId, MessageView>, CommandError> {
        let channel = self.revolt(at.revolt)?.channels.get_mut(&at.channel);
        channel
            .map(|(_, messages)| messages)
            .ok_or(CommandError::NotFound("channel"))
    }

    fn message(&mut self, at: Place, id: MessageId) -> Result<&mut MessageView, CommandError> {
        self.messages(at)?
            .get_mut(&id)
            .ok_or(CommandError::NotFound("message"))
    }

    fn write(
        &mut self,
        at: Place,
        author: UserId,
        draft: Draft,
    ) -> Result<MessageView, CommandError> {
        self.clock += 1;
        let ms = self.clock;
        let id = MessageId {
            hlc: Hlc { ms, counter: 0 },
            device: DEVICE,
            seq: ms - 1_700_000_000_000,
        };
        let by_nonce = draft
            .reply_to_nonce
            .and_then(|nonce| self.nonces.get(&(at.channel, nonce)).copied());
        let view = MessageView {
            id,
            author,
            author_name: if author == ME { "Ada" } else { "Bea" }.to_owned(),
            text: draft.text,
            reply_to: draft.reply_to.or(by_nonce),
            edited_ms: None,
            deleted: false,
            reactions: BTreeMap::new(),
            imported: draft.imported,
            held_by: 1,
        };
        self.messages(at)?.insert(id, view.clone());
        if let Some(nonce) = draft.nonce {
            self.nonces.insert((at.channel, nonce), id);
        }
        Ok(view)
    }

    fn send(
        &mut self,
        at: Place,
        drafts: Vec<Draft>,
        to: &broadcast::Sender<Arc<Sequenced>>,
    ) -> Result<Reply, CommandError> {
        let mut sent = Vec::new();
        for draft in drafts {
            if draft.text.is_empty() {
                return Err(CommandError::Invalid("a message needs words".to_owned()));
            }
            let known = draft
                .nonce
                .clone()
                .and_then(|nonce| self.nonces.get(&(at.channel, nonce)).copied());
            sent.push(match known {
                Some(id) => Sent::Known(id),
                None if self.offline => Sent::Pending(sent.len() as u64 + 1),
                None => {
                    let message = Box::new(self.write(at, ME, draft)?);
                    let id = message.id;
                    self.tell(to, Notice::Message { at, message });
                    Sent::Sealed(id)
                }
            });
        }
        Ok(Reply::Sent(sent))
    }

    fn found(&mut self, settings: Settings) -> Result<Reply, CommandError> {
        if settings.name.as_ref().is_none_or(String::is_empty) {
            return Err(CommandError::Invalid("a revolt needs a name".to_owned()));
        }
        let id = RevoltId(self.id());
        let revolt = Revolt {
            settings,
            channels: BTreeMap::new(),
            members: BTreeMap::from([(ME, Level::FOUNDER), (FRIEND, Level::MEMBER)]),
            invites: BTreeMap::new(),
            roles: BTreeMap::new(),
            granted: BTreeSet::new(),
            bans: BTreeSet::new(),
            silenced: BTreeMap::new(),
        };
        self.revolts.insert(id, revolt);
        let general = ChannelEdit {
            name: Some("general".to_owned()),
            ..ChannelEdit::default()
        };
        self.channel(id, None, general)?;
        self.detail(id)
    }

    fn channel(
        &mut self,
        revolt: RevoltId,
        channel: Option<ChannelId>,
        edit: ChannelEdit,
    ) -> Result<Reply, CommandError> {
        let id = channel.unwrap_or_else(|| ChannelId(self.id()));
        let channels = &mut self.revolt(revolt)?.channels;
        if channel.is_some() && !channels.contains_key(&id) {
            return Err(CommandError::NotFound("channel"));
        }
        let fresh = ChannelInfo {
            id,
            name: String::new(),
            topic: String::new(),
            category: String::new(),
            position: 0,
            archived: false,
            events: 0,
            private: false,
            history: true,
            exceptions: Vec::new(),
            permissions: Permissions::DEFAULT,
        };
        let (info, _) = channels.entry(id).or_insert((fresh, BTreeMap::new()));
        info.name = edit.name.unwrap_or_else(|| info.name.clone());
        info.history = edit.history.unwrap_or(info.history);
        info.topic = edit.topic.unwrap_or_else(|| info.topic.clone());
        info.category = edit.category.unwrap_or_else(|| info.category.clone());
        info.position = edit.position.unwrap_or(info.position);
        info.archived = edit.archived.unwrap_or(info.archived);
        Ok(Reply::Channel(info.clone()))
    }

    fn role(
        &mut self,
        revolt: RevoltId,
        id: RoleId,
        edit: RoleEdit,
    ) -> Result<Reply, CommandError> {
        let roles = &mut self.revolt(revolt)?.roles;
        if edit.removed == Some(true) {
            roles.remove(&id);
            return Ok(Reply::Done);
        }
        let info = roles.entry(id).or_insert(RoleInfo {
            id,
            name: String::new(),
            position: Level::MEMBER,
            color: None,
            permissions: Permissions::NONE,
            members: 0,
        });
        info.name = edit.name.unwrap_or_else(|| info.name.clone());
        info.position = edit.position.unwrap_or(info.position);
        info.color = edit.color.or(info.color);
        info.permissions = edit.permissions.unwrap_or(info.permissions);
        Ok(Reply::Role(info.clone()))
    }

    fn detail(&mut self, id: RevoltId) -> Result<Reply, CommandError> {
        let revolt = self.revolt(id)?;
        let detail = RevoltDetail {
            info: revolt.info(id),
            channels: revolt
                .channels
                .values()
                .map(|(info, messages)| ChannelInfo {
                    events: messages.len() as u64,
                    ..info.clone()
                })
                .collect(),
            members: revolt.member_infos(),
        };
        Ok(Reply::Revolt(Box::new(detail)))
    }

    fn invite(
        &mut self,
        revolt: RevoltId,
        expires_ms: Option<u64>,
        max_uses: Option<u32>,
    ) -> Result<Reply, CommandError> {
        let seed = self.id();
        let entry = self.revolt(revolt)?;
        let link = InviteLink {
            revolt,
            seed,
            name: entry.settings.name.clone().unwrap_or_default(),
            icon: None,
            inviter: "Ada".to_owned(),
            expires_ms,
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
        };
        let info = InviteInfo {
            id: link.secret().id(),
            by: ME,
            expires_ms,
            max_uses,
            uses: 0,
            ended: false,
        };
        entry.invites.insert(info.id, info.clone());
        Ok(Reply::Invite(info, link))
    }

    fn log(
        &mut self,
        at: Place,
        from: Option<MessageId>,
        direction: Direction,
        limit: usize,
    ) -> Result<Reply, CommandError> {
        let messages = self.messages(at)?;
        let mut page: Vec<MessageView> = match direction {
            Direction::Before => messages
                .values()
                .rev()
                .filter(|message| from.is_none_or(|from| message.id < from))
                .take(limit)
                .cloned()
                .collect(),
            Direction::After => messages
                .values()
                .filter(|message| from.is_none_or(|from| message.id > from))
                .take(limit)
                .cloned()
                .collect(),
        };
        if direction == Direction::Before {
            page.reverse();
        }
        Ok(Reply::Log(page))
    }

    fn answer(
        &mut self,
        command: Command,
        to: &broadcast::Sender<Arc<Sequenced>>,
    ) -> Result<Reply, CommandError> {
        match command {
            Command::Status => Ok(Reply::Status(self.status())),
            Command::Rename { name } => {
                self.name = name;
                Ok(Reply::Done)
            }
            Command::CreateRevolt { settings } => self.found(settings),
            Command::ListRevolts => Ok(Reply::Revolts(
                self.revolts
                    .iter()
                    .map(|(id, revolt)| revolt.info(*id))
                    .collect(),
            )),
            Command::ShowRevolt { revolt } => self.detail(revolt),
            Command::EditRevolt { revolt, settings } => {
                let kept = &mut self.revolt(revolt)?.settings;
                kept.name = settings.name.or(kept.name.take());
                kept.description = settings.description.or(kept.description.take());
                kept.icon = settings.icon.or(kept.icon.take());
                self.detail(revolt)
            }
            Command::LeaveRevolt { revolt } => {
                self.revolt(revolt)?;
                self.revolts.remove(&revolt);
                Ok(Reply::Done)
            }
            Command::CreateInvite {
                revolt,
                expires_ms,
                max_uses,
                ..
            } => self.invite(revolt, expires_ms, max_uses),
            Command::ListInvites { revolt } => Ok(Reply::Invites(
                self.revolt(revolt)?.invites.values().cloned().collect(),
            )),
            Command::RevokeInvite { revolt, invite } => {
                let invite = self.revolt(revolt)?.invites.get_mut(&invite);
                invite.ok_or(CommandError::NotFound("invite"))?.ended = true;
                Ok(Reply::Done)
            }
            Command::Join { link } => self.found(Settings {
                name: Some(link.name),
                description: None,
                icon: None,
            }),
            Command::CreateChannel {
                revolt,
                edit,
                private,
            } => match self.channel(revolt, None, edit)? {
                Reply::Channel(info) => {
                    let channels = &mut self.revolt(revolt)?.channels;
                    let (known, _) = channels.get_mut(&info.id).expect("just made");
                    known.private = private;
                    Ok(Reply::Channel(known.clone()))
                }
                other => Ok(other),
            },
            Command::EditChannel {
                revolt,
                channel,
                edit,
            } => self.channel(revolt, Some(channel), edit),
            Command::Send { at, messages } => self.send(at, messages, to),
            Command::Edit { at, message, text } => {
                let ms = self.clock;
                let view = self.message(at, message)?;
                view.text = text;
                view.edited_ms = Some(ms);
                Ok(Reply::Done)
            }
            Command::Delete { at, message } => {
                let view = self.message(at, message)?;
                view.text.clear();
                view.deleted = true;
                Ok(Reply::Done)
            }
            Command::React {
                at,
                message,
                emoji,
                on,
            } => {
                let reactions = &mut self.message(at, message)?.reactions;
                if on {
                    reactions.insert(emoji, vec![ME]);
                } else {
                    reactions.remove(&emoji);
                }
                Ok(Reply::Done)
            }
            Command::Log {
                at,
                from,
                direction,
                limit,
            } => self.log(at, from, direction, limit),
            Command::ListMembers { revolt } => {
                Ok(Reply::Members(self.revolt(revolt)?.member_infos()))
            }
            Command::SetMember {
                revolt,
                user,
                level,
            } => {
                let members = &mut self.revolt(revolt)?.members;
                if !members.contains_key(&user) {
                    return Err(CommandError::NotFound("member"));
                }
                match level {
                    Some(level) => members.insert(user, level),
                    None => members.remove(&user),
                };
                Ok(Reply::Done)
            }
            Command::Ban { revolt, user, on } => {
                let revolt = self.revolt(revolt)?;
                let known = if on {
                    revolt.members.remove(&user).is_some() && revolt.bans.insert(user)
                } else {
                    revolt.bans.remove(&user)
                };
                if known {
                    Ok(Reply::Done)
                } else {
                    Err(CommandError::NotFound("member"))
                }
            }
            Command::ListBans { revolt } => {
                let bans = self.revolt(revolt)?.bans.iter();
                let name = "Bea".to_owned();
                let info = |user: &UserId| BanInfo {
                    user: *user,
                    name: name.clone(),
                };
                Ok(Reply::Bans(bans.map(info).collect()))
            }
            Command::Timeout {
                revolt,
                user,
                until_ms,
            } => {
                let silenced = &mut self.revolt(revolt)?.silenced;
                match until_ms {
                    Some(until) => silenced.insert(user, until),
                    None => silenced.remove(&user),
                };
                Ok(Reply::Done)
            }
            Command::ListRoles { revolt } => Ok(Reply::Roles(
                self.revolt(revolt)?.roles.values().cloned().collect(),
            )),
            Command::CreateRole { revolt, edit } => {
                let id = RoleId(self.id());
                self.role(revolt, id, edit)
            }
            Command::EditRole { revolt, role, edit } => {
                if !self.revolt(revolt)?.roles.contains_key(&role) {
                    return Err(CommandError::NotFound("role"));
                }
                self.role(revolt, role, edit)
            }
            Command::Grant {
                revolt,
                user,
                role,
                on,
            } => {
                let granted = &mut self.revolt(revolt)?.granted;
                if on {
                    granted.insert((user, role));
                } else {
                    granted.remove(&(user, role));
                }
                Ok(Reply::Done)
            }
            Command::SetException {
                at,
                target,
                allow,
                deny,
            } => {
                let channels = &mut self.revolt(at.revolt)?.channels;
                let (known, _) = channels
                    .get_mut(&at.channel)
                    .ok_or(CommandError::NotFound("channel"))?;
                known
                    .exceptions
                    .retain(|exception| exception.target != target);
                if allow | deny != Permissions::NONE {
                    known.exceptions.push(ExceptionInfo {
                        target,
                        allow,
                        deny,
                    });
                }
                Ok(Reply::Channel(known.clone()))
            }
            Command::Permissions { revolt, user, .. } => {
                let user = user.unwrap_or(ME);
                let level = self.revolt(revolt)?.members.get(&user);
                let level = *level.ok_or(CommandError::NotFound("member"))?;
                let held = if level >= Level::ADMIN {
                    Permissions::ALL
                } else {
                    Permissions::DEFAULT
                };
                Ok(Reply::Permissions(held))
            }
            Command::Audit { revolt } => {
                self.revolt(revolt)?;
                let entry = |act, counts: bool, why: &str| AuditEntry {
                    id: EnvelopeId([9; 32]),
                    at_ms: 1_700_000_000_000,
                    by: Some(ME),
                    by_name: "Ada".to_owned(),
                    device: DEVICE,
                    act,
                    about: "Bea".to_owned(),
                    counts,
                    why: why.to_owned(),
                };
                Ok(Reply::Audit(vec![
                    entry("create", true, "counts with level 1001"),
                    entry("ban", false, "the person does not stand below its author"),
                ]))
            }
            Command::LastActs { before_ms, .. } => {
                let last = if before_ms.is_some() { 1 } else { 9 };
                Ok(Reply::LastActs(vec![(last, EnvelopeId([7; 32]))]))
            }
            Command::RevokeDevice { .. } => Ok(Reply::Done),
            Command::ListDocuments { revolt } => {
                let channels = self.revolt(revolt)?.channels.keys();
                let documents = std::iter::once(None)
                    .chain(channels.map(|channel| Some(*channel)))
                    .map(|channel| DocumentInfo { channel, seg: 0 })
                    .collect();
                Ok(Reply::Documents(documents))
            }
            Command::ExportDocument { channel, seg, .. } => Ok(Reply::Document(
                format!("{}/{seg}", channel.is_none()).into_bytes(),
            )),
            Command::Peers => Ok(Reply::Peers(vec![PeerInfo {
                device: DeviceId([4; 32]),
                user: Some(FRIEND),
                name: Some("Bea".to_owned()),
                relayed: true,
                revolts: self.revolts.keys().copied().collect(),
            }])),
        }
    }

    fn status(&self) -> Status {
        Status {
            user: ME,
            device: DEVICE,
            name: self.name.clone(),
            revolts: self.revolts.len(),
            peers: 1,
            outbox: 0,
            unix_ms: self.clock,
            clock_offset_ms: -3,
        }
    }
}

impl Revolt {
    fn info(&self, id: RevoltId) -> RevoltInfo {
        RevoltInfo {
            id,
            name: self.settings.name.clone().unwrap_or_default(),
            description: self.settings.description.clone().unwrap_or_default(),
            icon: self.settings.icon.clone(),
            members: self.members.len(),
            online: 1,
            level: self.members.get(&ME).copied(),
            synced: true,
        }
    }

    fn member_infos(&self) -> Vec<MemberInfo> {
        let info = |(user, level): (&UserId, &Level)| MemberInfo {
            user: *user,
            name: if *user == ME { "Ada" } else { "Bea" }.to_owned(),
            level: *level,
            roles: {
                let granted = self.granted.iter().filter(|(holder, _)| holder == user);
                granted.map(|(_, role)| *role).collect()
            },
            permissions: Permissions::DEFAULT,
            silenced_until_ms: self.silenced.get(user).copied(),
            provisional: false,
            devices: vec![DEVICE],
            online: *user == ME,
        };
        self.members.iter().map(info).collect()
    }
}

impl NodeHandle for FakeNode {
    async fn command(&self, command: Command) -> Result<Reply, CommandError> {
        let mut state = self.lock();
        state.asked.push(command.clone());
        if let Some(error) = state.fail.take() {
            return Err(error);
        }
        state.answer(command, &self.notices)
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Sequenced>> {
        self.notices.subscribe()
    }

    async fn network(&self) -> NetworkStatus {
        NetworkStatus {
            listen: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
            external: vec![],
            relays: vec![RelayStatus {
                address: "/ip4/192.0.2.2/tcp/4001".to_owned(),
                state: RelayState::Failed,
                error: Some("refused".to_owned()),
            }],
            links: vec![LinkStatus {
                device: Id(DeviceId([4; 32])),
                address: "/ip4/192.0.2.3/tcp/4001".to_owned(),
                relayed: true,
                rtt_ms: Some(12.5),
            }],
        }
    }

    fn shutdown(&self) {
        self.lock().stopped = true;
    }

    fn phrase(&self, passphrase: Option<String>) -> Result<String, IdentityError> {
        if passphrase.as_deref() == Some(PASSPHRASE) {
            Ok("abandon ability able".to_owned())
        } else {
            Err(IdentityError::Locked)
        }
    }

    fn backup(&self, passphrase: String, _: String) -> Result<Vec<u8>, IdentityError> {
        if passphrase == PASSPHRASE {
            Ok(vec![0, 159, 146, 150])
        } else {
            Err(IdentityError::NotHere)
        }
    }

    fn revocations(
        &self,
        device: DeviceId,
        keep: &[(u64, EnvelopeId)],
        passphrase: Option<String>,
    ) -> Result<Vec<DeviceRevocation>, IdentityError> {
        if passphrase.as_deref() == Some(PASSPHRASE) {
            let root = RootKey::from_seed([1; 32]);
            let keep = keep.iter().copied().map(Some);
            Ok(keep.map(|keep| root.revoke(device, keep)).collect())
        } else {
            Err(IdentityError::Locked)
        }
    }
}

/// A fake node behind the real door.
#[allow(dead_code, reason = "each of the two test programs uses its part")]
pub(crate) struct Server {
    pub(crate) node: FakeNode,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    runtime: tokio::runtime::Runtime,
}

#[allow(dead_code, reason = "each of the two test programs uses its part")]
impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(FakeNode::default(), tempfile::tempdir().expect("a folder"))
    }

    /// Starts a server whose data directory is there already, as after a restart.
    pub(crate) fn start_with(node: FakeNode, folder: tempfile::TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let token = revnet_api::new_token().expect("random bytes");
        let config = ApiConfig {
            listen: address,
            tokens_file: folder.path().join("tokens.json"),
            allowed_hosts: vec!["node.example".to_owned()],
            cli_token: token.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = revnet_api::serve(node.clone(), config, listener, async {
            let _ = stopped.await;
        });
        runtime.spawn(server.expect("no tokens yet"));
        while node.notices.receiver_count() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Self {
            node,
            address,
            token,
            folder,
            stop: Some(stop),
            runtime,
        }
    }

    /// Writes what the command line looks for.
    pub(crate) fn write_node_file(&self) {
        let node = format!(
            r#"{{"pid":1,"api":"{}","token":"{}"}}"#,
            self.address, self.token
        );
        std::fs::write(self.folder.path().join("node.json"), node).expect("written");
    }

    /// Stops the server; what it stored stays.
    pub(crate) fn stop(mut self) -> (FakeNode, tempfile::TempDir) {
        self.stop.take();
        self.runtime
            .shutdown_timeout(std::time::Duration::from_secs(2));
        (self.node, self.folder)
    }
}
