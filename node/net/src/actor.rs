//! The task that owns the swarm.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    futures::StreamExt,
    gossipsub::{self, IdentTopic, MessageAcceptance, PublishError},
    identity::Keypair,
    metrics::Metrics,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::{
    NetCommand, NetConfig, NetEvent, NetHandle, NetStatus, PeerKey, StartError, Verdict,
    address::{check_free, is_relayed, last_peer},
    announce::Announcer,
    backoff::jitter,
    book::AddressBook,
    link::table::{self, LinkTable},
    peer::{peer_id, peer_key},
    relays::{self, Relays},
    swarm::{self, Behaviour},
};

mod events;

/// Above so many waiting events, gossip and hints are dropped.
const LOSSY_ABOVE: usize = 256;

/// Above so many waiting events, the swarm is not asked for more.
const FULL: usize = 4096;

/// How long a shutdown may take, including the writing of what is queued.
const GOODBYE: Duration = Duration::from_millis(1500);

/// A pause that is as good as none, for when nothing is due.
const FAR: Duration = Duration::from_secs(3600);

/// Circuits to one peer: the one that carries the link, and one to punch holes from.
const MAX_CIRCUITS: usize = 2;

/// Peers that are refused at a time.
const MAX_BLOCKED: usize = 4096;

/// Longest error text that is passed on.
const ERROR_CHARS: usize = 600;

/// Starts the network of a node on the current tokio runtime.
///
/// The task ends on [`NetCommand::Shutdown`] and when all handles or the receiver are gone; then the receiver gives
/// `None`.
///
/// # Errors
/// See [`StartError`]. A listening address that is taken is not one of them: it becomes
/// [`NetEvent::ListenFailed`].
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(config: &NetConfig) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), StartError> {
    let pair =
        Keypair::ed25519_from_bytes(*config.secret).expect("any 32 bytes are an Ed25519 secret");
    let me = peer_key(&pair.public().to_peer_id()).expect("an Ed25519 key has an inline peer id");
    let mut registry = Registry::default();
    let swarm = swarm::build(config, &pair, &mut registry)?;
    let metrics = Metrics::new(&mut registry);
    let (commands, orders) = mpsc::channel(config.limits.command_queue);
    let (events, receiver) = mpsc::channel(config.limits.event_queue);
    let mut actor = Actor {
        links: LinkTable::new(me, config.limits, config.keep_alive.pace, events.clone()),
        ping_failures: config.keep_alive.ping_failures,
        me,
        swarm,
        metrics,
        events,
        outbox: VecDeque::new(),
        dropped: 0,
        relays: Relays::default(),
        book: AddressBook::default(),
        announcer: Announcer::default(),
        dials: HashMap::new(),
        failed_pings: HashMap::new(),
        topics: BTreeSet::new(),
        blocked: HashMap::new(),
    };
    actor.begin(config);
    tokio::spawn(actor.run(orders));
    Ok((
        NetHandle {
            peer: me,
            commands,
            registry: Arc::new(registry),
        },
        receiver,
    ))
}

struct Actor {
    me: PeerKey,
    swarm: Swarm<Behaviour>,
    metrics: Metrics,
    events: mpsc::Sender<NetEvent>,
    /// Events that wait for room in the channel: the loop never waits for the caller.
    outbox: VecDeque<NetEvent>,
    dropped: u64,
    links: LinkTable,
    relays: Relays,
    book: AddressBook,
    announcer: Announcer,
    /// Dials that the caller ordered, with the address it gave.
    dials: HashMap<ConnectionId, (Option<PeerId>, Option<Multiaddr>)>,
    failed_pings: HashMap<ConnectionId, u32>,
    ping_failures: u32,
    topics: BTreeSet<String>,
    /// Refused peers, and until when.
    blocked: HashMap<PeerId, Instant>,
}

impl Actor {
    fn begin(&mut self, config: &NetConfig) {
        // All are looked at before any is taken. Taken ports have to be looked for, because libp2p binds TCP ports so
        // that several processes can share them; and our own 0.0.0.0 would seem to be in the way of ::.
        let checks: Vec<_> = config
            .listen
            .iter()
            .map(|address| (address, check_free(address)))
            .collect();
        for (address, free) in checks {
            let listens = match free {
                Ok(()) => self
                    .swarm
                    .listen_on(address.clone())
                    .map(drop)
                    .map_err(|error| error_text(&error)),
                Err(error) => Err(error_text(&error)),
            };
            if let Err(error) = listens {
                self.outbox.push_back(NetEvent::ListenFailed {
                    address: address.clone(),
                    error,
                });
            }
        }
        for address in &config.external {
            self.swarm.add_external_address(address.clone());
        }
        for relay in &config.relays {
            self.add_relay(relay.clone());
        }
        self.run_due();
    }

    async fn run(mut self, mut orders: mpsc::Receiver<NetCommand>) {
        // Borrowed apart from the rest, which the branches change.
        let events = self.events.clone();
        loop {
            let due = self.deadline();
            tokio::select! {
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => permit.send(self.outbox.pop_front().expect("checked by the branch")),
                    Err(_) => return,
                },
                () = events.closed(), if self.outbox.is_empty() => return,
                order = orders.recv() => match order {
                    Some(NetCommand::Shutdown) | None => break,
                    Some(order) => self.obey(order),
                },
                event = self.swarm.select_next_some(), if self.outbox.len() < FULL => self.on_swarm_event(event),
                Some(ended) = self.links.tasks.join_next() => {
                    let (peer, reason) = ended.expect("link tasks neither panic nor are aborted before their table");
                    let action = self.links.on_ended(peer, &reason, Instant::now());
                    self.act(action);
                },
                () = tokio::time::sleep_until(due.into()) => {},
            }
            self.run_due();
        }
        self.say_goodbye().await;
    }

    /// Lets the links write out their queues. The swarm needn't be asked meanwhile: connections run in their own tasks.
    async fn say_goodbye(&mut self) {
        self.links.shut_down();
        let mut tasks = std::mem::take(&mut self.links.tasks);
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, all).await.is_err() {
            tracing::debug!("some links were cut off");
        }
    }

    fn deadline(&self) -> Instant {
        let unblocked = self.blocked.values().min().copied();
        let due = [self.links.deadline(), self.relays.deadline(), unblocked]
            .into_iter()
            .flatten()
            .min();
        due.unwrap_or_else(|| Instant::now() + FAR)
    }

    /// Does what is due. Each step moves its deadline, so this ends.
    fn run_due(&mut self) {
        let now = Instant::now();
        let over = self.blocked.iter().filter(|(_, until)| **until <= now);
        for peer in over.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.unblock(peer);
        }
        while let Some(action) = self.links.poll(now) {
            self.act(Some(action));
        }
        while let Some(action) = self.relays.poll(now) {
            self.tend_relay(action);
        }
    }

    fn act(&mut self, action: Option<table::Action>) {
        match action {
            Some(table::Action::Open(peer, connection)) => {
                self.swarm.behaviour_mut().link.open(peer, connection);
            }
            Some(table::Action::Close(connection)) => {
                self.swarm.close_connection(connection);
            }
            Some(table::Action::Part(peer)) => {
                // Err: there is nothing left to close.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            None => {}
        }
    }

    fn obey(&mut self, order: NetCommand) {
        match order {
            NetCommand::Send { peer, link, frame } => {
                self.links.send(&peer_id(&peer), link, frame);
            }
            NetCommand::Trust { peer, link } => self.links.trust(&peer_id(&peer), link),
            NetCommand::Dial { peer, addresses } => self.dial(peer_id(&peer), addresses),
            NetCommand::DialAddress { address } => self.dial_address(address),
            NetCommand::Disconnect { peer, reason } => {
                let action = self.links.part(&peer_id(&peer), reason);
                self.act(action);
            }
            NetCommand::Block { peer, period } => self.block(peer_id(&peer), period),
            NetCommand::Unblock { peer } => self.unblock(peer_id(&peer)),
            NetCommand::AddRelay { relay } => self.add_relay(relay),
            NetCommand::RemoveRelay { peer } => self.remove_relay(peer_id(&peer)),
            NetCommand::AddExternal { address } => self.add_external(address),
            NetCommand::Subscribe { topic } => self.subscribe(topic),
            NetCommand::Unsubscribe { topic } => {
                self.swarm
                    .behaviour_mut()
                    .gossip
                    .unsubscribe(&IdentTopic::new(topic.clone()));
                self.topics.remove(&topic);
            }
            NetCommand::Publish { topic, data } => self.publish(topic, data.to_vec()),
            NetCommand::Verdict { message, verdict } => {
                let acceptance = match verdict {
                    Verdict::Accept => MessageAcceptance::Accept,
                    Verdict::Ignore => MessageAcceptance::Ignore,
                    Verdict::Reject => MessageAcceptance::Reject,
                };
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                if !gossip.report_message_validation_result(
                    &message.id,
                    &message.source,
                    acceptance,
                ) {
                    tracing::debug!("a verdict came too late");
                }
            }
            NetCommand::Provide { key } => {
                if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
                    self.announcer.provide(kad, key);
                }
            }
            NetCommand::StopProviding { key } => {
                if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
                    self.announcer.stop_providing(kad, &key);
                }
            }
            NetCommand::FindProviders { key } => match self.swarm.behaviour_mut().kad.as_mut() {
                Some(kad) => self.announcer.find(kad, key),
                None => self.outbox.push_back(NetEvent::Providers {
                    key,
                    peers: Vec::new(),
                    done: true,
                }),
            },
            NetCommand::SetPace { pace } => self.links.set_pace(pace),
            NetCommand::Status(reply) => {
                // Nobody waits for it any more: fine.
                let _ = reply.send(self.status());
            }
            NetCommand::Shutdown => unreachable!("handled by the loop"),
        }
    }

    fn block(&mut self, peer: PeerId, period: Duration) {
        self.swarm.behaviour_mut().blocked.block_peer(peer);
        self.blocked.insert(peer, Instant::now() + period);
        // Whoever makes up many peers gets the first of them free again, not the memory of this node.
        if self.blocked.len() > MAX_BLOCKED
            && let Some((first, _)) = self.blocked.iter().min_by_key(|(_, until)| **until)
        {
            self.unblock(*first);
        }
    }

    fn unblock(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        self.blocked.remove(&peer);
    }

    fn dial(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        if self.links.is_direct(&peer) {
            return;
        }
        addresses.extend(self.book.addresses(&peer));
        let circuits = self.relays.circuits_to(peer);
        if self.links.is_connected(&peer) {
            self.seek_direct_path(peer, addresses, circuits);
            return;
        }
        addresses.extend(circuits);
        // What libp2p still takes for connected may be a dead connection that it tries to close.
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::NotDialing)
            .addresses(once_each(addresses))
            .extend_addresses_through_behaviour()
            .build();
        self.start_dial(options, Some(peer), None);
    }

    /// A relayed peer is dialled at what may be direct, and over another circuit: each new one makes the two sides
    /// punch holes once more, which helps after either has changed its network.
    fn seek_direct_path(
        &mut self,
        peer: PeerId,
        mut addresses: Vec<Multiaddr>,
        circuits: Vec<Multiaddr>,
    ) {
        addresses.retain(|address| !is_relayed(address));
        if !addresses.is_empty() {
            let direct = DialOpts::peer_id(peer)
                .condition(PeerCondition::NotDialing)
                .addresses(once_each(addresses));
            self.start_dial(direct.build(), Some(peer), None);
        }
        if !circuits.is_empty() && self.links.connections_of(&peer) < MAX_CIRCUITS {
            let again = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(circuits);
            self.start_dial(again.build(), Some(peer), None);
        }
    }

    fn dial_address(&mut self, address: Multiaddr) {
        let peer = last_peer(&address);
        if peer.is_some_and(|peer| self.links.is_direct(&peer)) {
            return;
        }
        self.start_dial(DialOpts::from(address.clone()), peer, Some(address));
    }

    fn start_dial(&mut self, options: DialOpts, peer: Option<PeerId>, address: Option<Multiaddr>) {
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, (peer, address));
            }
            // Connected or being dialled: what the caller wants is under way.
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(peer, address, &error),
        }
    }

    fn dial_failed(&mut self, peer: Option<PeerId>, address: Option<Multiaddr>, error: &DialError) {
        let peer = peer.as_ref().and_then(peer_key);
        self.outbox.push_back(NetEvent::DialFailed {
            peer,
            address,
            error: error_text(error),
        });
    }

    fn add_external(&mut self, address: Multiaddr) {
        self.swarm.add_external_address(address);
        self.announce_again();
    }

    fn announce_again(&mut self) {
        if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
            self.announcer.again(kad);
        }
    }

    fn add_relay(&mut self, relay: crate::RelayAddress) {
        let peer = relay.peer();
        self.swarm.behaviour_mut().link.keep(peer, true);
        if self.links.is_connected(&peer) && !self.relays.contains(&peer) {
            // A fresh connection is one that is kept alive.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.relays.add(relay, Instant::now());
    }

    fn remove_relay(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().link.keep(peer, false);
        if self.relays.remove(&peer) {
            // Removing the listener alone can make the relay client panic when a renewal is under way.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn tend_relay(&mut self, action: relays::Action) {
        let now = Instant::now();
        match action {
            relays::Action::Dial(relay) => {
                let peer = relay.peer();
                let options = DialOpts::peer_id(peer)
                    .addresses(relay.addresses().to_vec())
                    .build();
                if let Err(error) = self.swarm.dial(options) {
                    self.relays
                        .on_dial_failed(&peer, error_text(&error), now, jitter());
                }
            }
            relays::Action::Reserve(peer, address) => {
                let circuit = address.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
                match self.swarm.listen_on(circuit) {
                    Ok(listener) => self.relays.on_asked(&peer, listener),
                    Err(error) => {
                        self.relays
                            .on_ask_failed(&peer, error_text(&error), now, jitter());
                    }
                }
            }
            relays::Action::Disconnect(peer) => {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }
    }

    fn subscribe(&mut self, topic: String) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let ident = IdentTopic::new(topic.clone());
        if let Err(error) = gossip.subscribe(&ident) {
            let error = error_text(&error);
            self.outbox
                .push_back(NetEvent::GossipFailed { topic, error });
            return;
        }
        let hash = ident.hash();
        let there = gossip
            .all_peers()
            .filter(|(_, topics)| topics.contains(&&hash));
        for peer in there.filter_map(|(peer, _)| peer_key(peer)) {
            self.outbox.push_back(NetEvent::SubscribedPeer {
                topic: topic.clone(),
                peer,
            });
        }
        self.topics.insert(topic);
    }

    fn publish(&mut self, topic: String, data: Vec<u8>) {
        let outcome = if data.len() > swarm::MAX_GOSSIP {
            Err(PublishError::MessageTooLarge)
        } else {
            self.swarm
                .behaviour_mut()
                .gossip
                .publish(IdentTopic::new(topic.clone()), data)
        };
        match outcome {
            // With nobody there, later comers get it by sync; a duplicate is already on its way.
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => self.outbox.push_back(NetEvent::GossipFailed {
                topic,
                error: error_text(&error),
            }),
        }
    }

    fn status(&self) -> NetStatus {
        NetStatus {
            peer: self.me,
            peer_id: *self.swarm.local_peer_id(),
            listen: self.swarm.listeners().cloned().collect(),
            external: self.swarm.external_addresses().cloned().collect(),
            relays: self.relays.status(),
            links: self.links.status(Instant::now()),
            connections: self.links.connections(),
            topics: self.topics.len(),
            dropped_events: self.dropped,
        }
    }

    /// Queues an event that may be lost when the caller is busy.
    fn hint(&mut self, event: NetEvent) {
        if self.outbox.len() < LOSSY_ABOVE {
            self.outbox.push_back(event);
        } else {
            self.dropped += 1;
        }
    }
}

fn once_each(mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let mut seen = BTreeSet::new();
    addresses.retain(|address| seen.insert(address.to_vec()));
    addresses
}

/// The error with its causes, cut to a sane length: dial errors list every address that was tried.
fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text.chars().take(ERROR_CHARS).collect()
}

/// The gossip behaviour's name for a topic, which is the topic itself.
fn topic_name(hash: &gossipsub::TopicHash) -> String {
    hash.as_str().to_owned()
}
