//! The loop that joins the core with network, store and API. It awaits nothing but its `select!`: whatever
//! can't be handed over at once waits in a queue of its own.

use std::collections::{BTreeMap, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use revnet_api::Sequenced;
use revnet_core::command::{Command, CommandError, Reply};
use revnet_core::storage::{Answer, Boot, Query, StorageError, Write};
use revnet_core::{Core, Effect, Identity, Input, Mono, Verdict};
use revnet_net::{
    GossipRef, LinkId, Multiaddr, NetCommand, NetEvent, NetHandle, Source, TrySendError,
};
use revnet_protocol::DeviceId;
use revnet_store::{Refusal, StoreHandle};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::handle::Asked;
use crate::inbox::{Inbox, Item};

/// Orders for the network that may wait; beyond, links are behind for good and are closed.
const MAX_BACKLOG: usize = 16 * 1024;
/// How soon waiting orders are tried again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(2);
/// How soon a failed store is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(2);
/// Most addresses in an invite.
const INVITE_ADDRESSES: usize = 6;

/// What the store's thread answers.
#[derive(Debug)]
pub(crate) enum Stored {
    Commit(u64, u64, Result<(), StorageError>),
    Query(u64, u64, Result<Answer, StorageError>),
}

/// What the store is asked.
enum Request {
    Commit(Vec<Write>),
    Query(Query),
}

/// Opens the store again after a failure.
pub(crate) type Reopen = Box<dyn FnMut() -> Result<(StoreHandle, Boot), String> + Send>;

/// A core with the store that it lives on.
struct Engine {
    core: Core,
    store: StoreHandle,
    /// Grows with each core, so that answers to an earlier one are ignored.
    life: u64,
}

/// Everything that the loop owns.
pub(crate) struct Runtime {
    me: Identity,
    started: Instant,
    engine: Option<Engine>,
    reopen: Reopen,
    /// When the store is opened again; of meaning while there is no engine.
    reopen_at: TokioInstant,
    lives: u64,
    net: NetHandle,
    backlog: VecDeque<NetCommand>,
    /// Requests that the store had no room for yet.
    requests: VecDeque<(u64, Request)>,
    answers: mpsc::UnboundedSender<Stored>,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Reply, CommandError>>>,
    next_command: u64,
    gossip: BTreeMap<u64, GossipRef>,
    next_gossip: u64,
    notices: broadcast::Sender<Arc<Sequenced>>,
    next_notice: u64,
    /// What came from peers and waits for its turn.
    inbox: Inbox,
    /// Links that stand, as far as the core knows: its frames are for these.
    links: BTreeMap<DeviceId, LinkId>,
    listening: Vec<Multiaddr>,
    circuits: BTreeMap<[u8; 32], Multiaddr>,
}

impl Runtime {
    pub(crate) fn new(
        me: Identity,
        reopen: Reopen,
        net: NetHandle,
        notices: broadcast::Sender<Arc<Sequenced>>,
        answers: mpsc::UnboundedSender<Stored>,
    ) -> Self {
        Self {
            me,
            started: Instant::now(),
            engine: None,
            reopen,
            reopen_at: TokioInstant::now(),
            lives: 0,
            net,
            backlog: VecDeque::new(),
            requests: VecDeque::new(),
            answers,
            waiting: BTreeMap::new(),
            next_command: 0,
            gossip: BTreeMap::new(),
            next_gossip: 0,
            notices,
            // Above all numbers of earlier runs, so that a reader who resumes is recognised.
            next_notice: u64::try_from(unix().as_micros()).unwrap_or(0),
            inbox: Inbox::default(),
            links: BTreeMap::new(),
            listening: Vec::new(),
            circuits: BTreeMap::new(),
        }
    }

    /// Makes a core from what the store holds.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        let (store, boot) = (self.reopen)()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("no random source: {error}"))?;
        self.lives += 1;
        let core = Core::new(self.me.clone(), seed, self.now(), unix(), boot);
        self.engine = Some(Engine {
            core,
            store,
            life: self.lives,
        });
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            // The peer must greet again; a link that goes on in the middle would say nothing.
            let reason = "starting again after the disk failed".to_owned();
            self.order(NetCommand::Disconnect {
                peer: peer.0,
                reason,
            });
        }
        self.drain();
        Ok(())
    }

    fn now(&self) -> Mono {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Runs until `stop`.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Asked>,
        mut events: mpsc::Receiver<NetEvent>,
        mut stored: mpsc::UnboundedReceiver<Stored>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(answer) = stored.recv() => self.stored(answer),
                Some((command, reply)) = commands.recv() => self.command(command, reply),
                Some(event) = events.recv() => self.event(event),
                () = ready(()), if !self.inbox.is_empty() => {}
                () = sleep_until(wake) => {}
            }
            // However much comes in, each round deals with one thing of a peer and with what is due.
            self.take_turn();
            if wake <= TokioInstant::now() {
                self.timeout();
            }
            self.flush();
            self.flush_store();
        }
        if let Some(engine) = self.engine.take() {
            engine.store.shutdown();
        }
    }

    fn wake(&self) -> TokioInstant {
        if !self.backlog.is_empty() || !self.requests.is_empty() {
            return TokioInstant::now() + BACKLOG_PAUSE;
        }
        match self
            .engine
            .as_ref()
            .map(|engine| engine.core.poll_timeout())
        {
            Some(Some((at, _))) => TokioInstant::from_std(self.started + Duration::from_nanos(at)),
            Some(None) => TokioInstant::now() + Duration::from_secs(60),
            None => self.reopen_at,
        }
    }

    fn timeout(&mut self) {
        let now = self.now();
        match &mut self.engine {
            Some(engine) => {
                engine.core.handle_timeout(now);
                self.drain();
            }
            None => match self.open() {
                Ok(()) => tracing::info!("the database is usable again"),
                Err(error) => {
                    tracing::error!("still not usable: {error}");
                    self.reopen_at = TokioInstant::now() + REOPEN_PAUSE;
                }
            },
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        if let Some(engine) = &mut self.engine {
            engine.core.handle(input, now);
            self.drain();
        }
    }

    fn command(
        &mut self,
        mut command: Command,
        reply: oneshot::Sender<Result<Reply, CommandError>>,
    ) {
        if self.engine.is_none() {
            let error = StorageError::Io(
                "the database failed a moment ago and is being opened again".into(),
            );
            let _ = reply.send(Err(error.into()));
            return;
        }
        if let Command::CreateInvite { addresses, .. } = &mut command {
            *addresses = self.own_addresses();
        }
        self.next_command += 1;
        let id = self.next_command;
        self.waiting.insert(id, reply);
        self.input(Input::Command { id, command });
    }

    /// Where others reach this node: places at relays first, they work from everywhere.
    fn own_addresses(&self) -> Vec<String> {
        let peer = revnet_net::peer_id(&self.net.peer());
        let suffix = format!("/p2p/{peer}");
        let circuits = self.circuits.values().map(ToString::to_string);
        let direct = self.listening.iter().map(ToString::to_string);
        circuits
            .chain(direct)
            .map(|address| {
                if address.ends_with(&suffix) {
                    address
                } else {
                    address + &suffix
                }
            })
            .take(INVITE_ADDRESSES)
            .collect()
    }

    fn stored(&mut self, answer: Stored) {
        let current = self.engine.as_ref().map(|engine| engine.life);
        let (life, input) = match answer {
            Stored::Commit(life, id, Ok(())) => (life, Input::Stored { id }),
            Stored::Commit(life, id, Err(error)) => (life, Input::StoreFailed { id, error }),
            Stored::Query(life, id, answer) => (life, Input::Loaded { id, answer }),
        };
        if current == Some(life) {
            self.input(input);
        }
    }

    fn event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Listening { address } => {
                tracing::info!(%address, "listening");
                self.listening.push(address);
            }
            NetEvent::ListenFailed { address, error } => {
                tracing::warn!(%address, %error, "not listening");
                self.listening.retain(|have| *have != address);
            }
            NetEvent::LinkUp {
                peer,
                link,
                address,
                relayed,
            } => {
                let peer = DeviceId(peer);
                tracing::info!(peer = %peer.short(), %address, relayed, "link up");
                let address = address.to_string();
                self.receive(
                    peer,
                    Item::Up {
                        link,
                        address,
                        relayed,
                    },
                );
            }
            NetEvent::LinkDown { peer, reason } => {
                let peer = DeviceId(peer);
                tracing::info!(peer = %peer.short(), %reason, "link down");
                self.receive(peer, Item::Down);
            }
            NetEvent::Frame { peer, bytes, room } => {
                self.receive(DeviceId(peer), Item::Frame(bytes, room));
            }
            NetEvent::Gossip {
                peer,
                topic,
                data,
                message,
            } => self.receive(
                DeviceId(peer),
                Item::Gossip {
                    topic,
                    data,
                    message,
                },
            ),
            NetEvent::Providers { key, peers, .. } => {
                let peers = peers.into_iter().map(DeviceId).collect();
                self.input(Input::Providers { key, peers });
            }
            NetEvent::Discovered {
                peer,
                source: Source::Mdns,
                ..
            } => {
                self.input(Input::Nearby {
                    peer: DeviceId(peer),
                });
            }
            NetEvent::DialFailed {
                peer: Some(peer),
                error,
                ..
            } => {
                tracing::debug!(peer = %DeviceId(peer).short(), %error, "not reached");
                self.input(Input::DialFailed {
                    peer: DeviceId(peer),
                });
            }
            NetEvent::RelayUp { peer, address } => {
                tracing::info!(%address, "reachable through a relay");
                self.circuits.insert(peer, address);
            }
            NetEvent::RelayDown { peer, error } => {
                tracing::warn!(%error, "relay lost");
                self.circuits.remove(&peer);
            }
            other => tracing::debug!(?other, "network"),
        }
    }

    fn receive(&mut self, peer: DeviceId, item: Item) {
        if let Err(message) = self.inbox.push(peer, item) {
            self.order(NetCommand::Verdict {
                message,
                verdict: revnet_net::Verdict::Ignore,
            });
        }
    }

    /// Deals with the next thing that came from a peer.
    fn take_turn(&mut self) {
        let Some((peer, item)) = self.inbox.pop() else {
            return;
        };
        let began = Instant::now();
        match item {
            Item::Up {
                link,
                address,
                relayed,
            } => {
                self.links.insert(peer, link);
                let address = (!relayed).then_some(address);
                self.input(Input::LinkUp {
                    peer,
                    relayed,
                    address,
                });
            }
            Item::Down => {
                self.links.remove(&peer);
                self.inbox.trust(peer, false);
                self.input(Input::LinkDown { peer });
            }
            Item::Frame(bytes, _room) => {
                tracing::trace!(peer = %peer.short(), kind = bytes.get(1), len = bytes.len(), "frame in");
                let bytes = bytes.to_vec();
                self.input(Input::Frame { peer, bytes });
            }
            Item::Gossip {
                topic,
                data,
                message,
            } => {
                self.next_gossip += 1;
                let token = self.next_gossip;
                self.gossip.insert(token, message);
                let bytes = data.to_vec();
                self.input(Input::Gossip {
                    peer,
                    topic,
                    bytes,
                    token,
                });
            }
        }
        self.inbox.charge(peer, began.elapsed());
    }

    /// Does what the core wants done.
    fn drain(&mut self) {
        while let Some(effect) = self
            .engine
            .as_mut()
            .and_then(|engine| engine.core.poll_effect())
        {
            self.effect(effect);
        }
        let failed = self
            .engine
            .as_ref()
            .and_then(|engine| engine.core.failed().cloned());
        if let Some(error) = failed {
            tracing::error!(%error, "the database failed; opening it again");
            if let Some(engine) = self.engine.take() {
                engine.store.shutdown();
            }
            self.requests.clear();
            self.reopen_at = TokioInstant::now() + REOPEN_PAUSE;
            for reply in std::mem::take(&mut self.waiting).into_values() {
                let _ = reply.send(Err(error.clone().into()));
            }
            self.gossip.clear();
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { peer, bytes } => {
                tracing::trace!(peer = %peer.short(), kind = bytes.get(1), len = bytes.len(), "frame out");
                let Some(link) = self.links.get(&peer).copied() else {
                    return;
                };
                self.order(NetCommand::Send {
                    peer: peer.0,
                    link,
                    frame: Bytes::from(bytes),
                });
            }
            Effect::Trust { peer } => {
                self.inbox.trust(peer, true);
                if let Some(link) = self.links.get(&peer).copied() {
                    let peer = peer.0;
                    self.order(NetCommand::Trust { peer, link });
                }
            }
            Effect::Gossip { topic, bytes } => self.order(NetCommand::Publish {
                topic,
                data: Bytes::from(bytes),
            }),
            Effect::Verdict { token, verdict } => {
                if let Some(message) = self.gossip.remove(&token) {
                    let verdict = match verdict {
                        Verdict::Accept => revnet_net::Verdict::Accept,
                        Verdict::Ignore => revnet_net::Verdict::Ignore,
                        Verdict::Reject => revnet_net::Verdict::Reject,
                    };
                    self.order(NetCommand::Verdict { message, verdict });
                }
            }
            Effect::Subscribe { topic } => self.order(NetCommand::Subscribe { topic }),
            Effect::Unsubscribe { topic } => self.order(NetCommand::Unsubscribe { topic }),
            Effect::Dial { peer, addresses } => {
                let addresses = addresses
                    .iter()
                    .filter_map(|address| address.parse().ok())
                    .collect();
                self.order(NetCommand::Dial {
                    peer: peer.0,
                    addresses,
                });
            }
            Effect::DialAddress { address } => match address.parse() {
                Ok(address) => self.order(NetCommand::DialAddress { address }),
                Err(error) => {
                    tracing::warn!(address, %error, "the invite has an address that isn't one");
                }
            },
            Effect::Disconnect { peer, reason } => {
                tracing::info!(peer = %peer.short(), reason, "disconnecting");
                self.order(NetCommand::Disconnect {
                    peer: peer.0,
                    reason: reason.to_owned(),
                });
            }
            Effect::Ban {
                peer,
                period,
                reason,
            } => {
                tracing::warn!(peer = %peer.short(), reason, "keeping a peer away");
                self.order(NetCommand::Block {
                    peer: peer.0,
                    period: Duration::from_nanos(period),
                });
            }
            Effect::Provide { key } => self.order(NetCommand::Provide { key }),
            Effect::StopProviding { key } => self.order(NetCommand::StopProviding { key }),
            Effect::FindProviders { key } => self.order(NetCommand::FindProviders { key }),
            Effect::Store { id, writes } => self.request(id, Request::Commit(writes)),
            Effect::Load { id, query } => self.request(id, Request::Query(query)),
            Effect::Reply { id, result } => {
                if let Some(reply) = self.waiting.remove(&id) {
                    // Whoever asked may have gone.
                    let _ = reply.send(result);
                }
            }
            Effect::Notice(notice) => {
                self.next_notice += 1;
                // An error means that nobody listens.
                let _ = self.notices.send(Arc::new(Sequenced {
                    seq: self.next_notice,
                    notice,
                }));
            }
        }
    }

    /// Hands requests to the store as far as it takes them, in their order. Their number is bounded by the core: it
    /// refuses commands and questions of peers while too many are open.
    fn flush_store(&mut self) {
        let Some(engine) = &self.engine else {
            return self.requests.clear();
        };
        let life = engine.life;
        while let Some((id, request)) = self.requests.pop_front() {
            let answers = self.answers.clone();
            let refused = match request {
                Request::Commit(writes) => {
                    let done = move |result| drop(answers.send(Stored::Commit(life, id, result)));
                    let refused = engine.store.commit(writes, done).err();
                    refused.map(|refused| (refused.reason, Request::Commit(refused.request)))
                }
                Request::Query(query) => {
                    let done = move |result| drop(answers.send(Stored::Query(life, id, result)));
                    let refused = engine.store.query(query, done).err();
                    refused.map(|refused| (refused.reason, Request::Query(refused.request)))
                }
            };
            match refused {
                None => {}
                Some((Refusal::Busy, request)) => {
                    self.requests.push_front((id, request));
                    break;
                }
                Some((reason, Request::Commit(_))) => {
                    let error = StorageError::Io(reason.to_string());
                    drop(self.answers.send(Stored::Commit(life, id, Err(error))));
                }
                Some((reason, Request::Query(_))) => {
                    let error = StorageError::Io(reason.to_string());
                    drop(self.answers.send(Stored::Query(life, id, Err(error))));
                }
            }
        }
    }

    fn request(&mut self, id: u64, request: Request) {
        self.requests.push_back((id, request));
        self.flush_store();
    }

    fn order(&mut self, command: NetCommand) {
        self.backlog.push_back(command);
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            match self.net.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => {
                    self.backlog.push_front(*command);
                    break;
                }
                Err(TrySendError::Closed(_)) => return self.backlog.clear(),
            }
        }
        if self.backlog.len() > MAX_BACKLOG {
            tracing::warn!("the network takes no orders; closing all links");
            self.backlog.clear();
            for peer in self.links.keys().copied().collect::<Vec<_>>() {
                let reason = "too many orders waited".to_owned();
                self.backlog.push_back(NetCommand::Disconnect {
                    peer: peer.0,
                    reason,
                });
            }
        }
    }
}

pub(crate) fn unix() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
