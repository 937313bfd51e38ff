//! What the swarm reports, and what follows from it.

use std::time::Instant;

use bytes::Bytes;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, transport::ListenerId},
    gossipsub, identify, kad, mdns,
    metrics::Recorder,
    multiaddr::Protocol,
    ping, relay,
    swarm::{ConnectionId, DialError, SwarmEvent},
};

use super::{Actor, error_text, topic_name};
use crate::{
    GossipRef, NetEvent, Source,
    address::{is_public, is_relayed, last_peer},
    backoff::jitter,
    link::{
        LINK_PROTOCOL,
        behaviour::{Event as LinkEvent, HandlerEvent},
        table::Path,
    },
    peer::peer_key,
    swarm::{BehaviourEvent, learn_server},
};

impl Actor {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                let cause = cause.map_or_else(|| "closed".to_owned(), |cause| error_text(&cause));
                self.on_disconnected(peer_id, connection_id, num_established == 0, cause);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                self.on_dial_error(connection_id, peer_id, &error);
            }
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => self.on_listening(listener_id, address),
            SwarmEvent::ListenerClosed {
                listener_id,
                addresses,
                reason,
            } => {
                let error = reason
                    .err()
                    .map_or_else(|| "closed".to_owned(), |error| error_text(&error));
                self.on_listener_closed(listener_id, addresses, &error);
            }
            SwarmEvent::ExternalAddrConfirmed { .. } => self.announce_again(),
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%error, from = %send_back_addr, "incoming connection failed");
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        self.dials.remove(&connection);
        if peer_key(&peer).is_none() {
            tracing::debug!(%peer, "has no Ed25519 key");
            self.swarm.close_connection(connection);
            return;
        }
        let now = Instant::now();
        let path = Path {
            address: path_address(peer, endpoint),
            relayed: endpoint.is_relayed(),
            rtt: None,
        };
        tracing::debug!(%peer, address = %path.address, "connected");
        if !path.relayed && self.relays.contains(&peer) {
            self.relays
                .on_connected(&peer, without_peer(path.address.clone()), now);
        }
        let action = self.links.on_connected(peer, connection, path, now);
        self.act(action);
    }

    fn on_disconnected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        last: bool,
        cause: String,
    ) {
        tracing::debug!(%peer, %cause, "disconnected");
        let now = Instant::now();
        self.failed_pings.remove(&connection);
        self.links.on_disconnected(peer, connection, &cause, now);
        if last
            && self
                .relays
                .on_disconnected(&peer, cause.clone(), now, jitter())
        {
            self.relay_down(&peer, cause);
        }
    }

    fn on_dial_error(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        if let Some(peer) = peer {
            self.relays
                .on_dial_failed(&peer, error_text(error), Instant::now(), jitter());
        }
        if let Some((wanted, address)) = self.dials.remove(&connection) {
            self.dial_failed(wanted.or(peer), address, error);
        }
    }

    fn on_listening(&mut self, listener: ListenerId, address: Multiaddr) {
        if let Some(relay) = self.relays.on_circuit_address(listener, &address)
            && let Some(peer) = peer_key(&relay)
        {
            self.outbox.push_back(NetEvent::RelayUp {
                peer,
                address: address.clone(),
            });
        }
        if is_public(&address) {
            self.add_external(address.clone());
        }
        self.outbox.push_back(NetEvent::Listening { address });
    }

    fn on_listener_closed(&mut self, listener: ListenerId, addresses: Vec<Multiaddr>, error: &str) {
        if let Some((relay, stood)) =
            self.relays
                .on_listener_closed(listener, error, Instant::now(), jitter())
        {
            if stood {
                self.relay_down(&relay, error.to_owned());
            }
            return;
        }
        for address in addresses.into_iter().filter(|address| !is_relayed(address)) {
            self.outbox.push_back(NetEvent::ListenFailed {
                address,
                error: error.to_owned(),
            });
        }
    }

    fn relay_down(&mut self, relay: &PeerId, error: String) {
        if let Some(peer) = peer_key(relay) {
            self.outbox.push_back(NetEvent::RelayDown { peer, error });
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Link(event) => self.on_link_event(event),
            BehaviourEvent::Identify(event) => {
                self.metrics.record(&event);
                if let identify::Event::Received { peer_id, info, .. } = event {
                    self.on_identified(peer_id, info);
                }
            }
            BehaviourEvent::Ping(event) => {
                self.metrics.record(&event);
                self.on_ping(event);
            }
            BehaviourEvent::Gossip(event) => {
                self.metrics.record(&event);
                self.on_gossip(event);
            }
            BehaviourEvent::Kad(event) => {
                self.metrics.record(&event);
                self.on_kad(event);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.discovered(peer, [address], Source::Mdns);
                }
            }
            BehaviourEvent::Dcutr(event) => {
                self.metrics.record(&event);
                tracing::debug!(peer = %event.remote_peer_id, result = ?event.result, "hole punch");
            }
            BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                renewal,
                ..
            }) => {
                tracing::debug!(relay = %relay_peer_id, renewal, "reserved");
            }
            BehaviourEvent::Relay(_) | BehaviourEvent::Mdns(_) => {}
            BehaviourEvent::Blocked(never)
            | BehaviourEvent::Limits(never)
            | BehaviourEvent::Memory(never) => match never {},
        }
    }

    fn on_link_event(
        &mut self,
        LinkEvent {
            peer,
            connection,
            what,
        }: LinkEvent,
    ) {
        let now = Instant::now();
        match what {
            HandlerEvent::Inbound(stream) => self.links.on_inbound(peer, connection, stream, now),
            HandlerEvent::Outbound(stream) => self.links.on_opened(peer, connection, stream, now),
            HandlerEvent::Failed(error) => self.links.on_open_failed(peer, &error, now),
        }
    }

    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let now = Instant::now();
        let speaks = |protocol| info.protocols.contains(&protocol);
        self.links.on_protocols(peer, speaks(LINK_PROTOCOL), now);
        self.relays
            .on_identified(&peer, speaks(relay::HOP_PROTOCOL_NAME), now);
        if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
            learn_server(kad, &peer, &info);
        }
        self.discovered(peer, info.listen_addrs, Source::Identify);
    }

    fn on_ping(&mut self, event: ping::Event) {
        let ping::Event {
            peer,
            connection,
            result,
        } = event;
        match result {
            Ok(rtt) => {
                self.failed_pings.remove(&connection);
                self.links.set_rtt(&peer, connection, rtt);
            }
            // Somebody else's protocol, not a dead path.
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                let failures = self.failed_pings.entry(connection).or_default();
                *failures += 1;
                if *failures >= self.ping_failures {
                    tracing::debug!(%peer, %error, "dead connection");
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let Some(peer) = peer_key(&propagation_source) else {
                    return;
                };
                self.hint(NetEvent::Gossip {
                    peer,
                    topic: topic_name(&message.topic),
                    data: Bytes::from(message.data),
                    message: GossipRef {
                        id: message_id,
                        source: propagation_source,
                    },
                });
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                let topic = topic_name(&topic);
                if let Some(peer) = peer_key(&peer_id).filter(|_| self.topics.contains(&topic)) {
                    self.outbox
                        .push_back(NetEvent::SubscribedPeer { topic, peer });
                }
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                let topic = topic_name(&topic);
                if let Some(peer) = peer_key(&peer_id).filter(|_| self.topics.contains(&topic)) {
                    self.outbox
                        .push_back(NetEvent::UnsubscribedPeer { topic, peer });
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "slow at gossip");
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            } => {
                let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
                    return;
                };
                let found = self.announcer.on_progress(kad, id, result, step.last);
                for (peer, addresses) in found.addresses {
                    self.discovered(peer, addresses, Source::Kad);
                }
                self.outbox.extend(found.event);
            }
            kad::Event::RoutingUpdated {
                is_new_peer: true, ..
            } => {
                // The first node of the table: what was provided before, nobody has heard.
                if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut()
                    && kad
                        .kbuckets()
                        .map(|bucket| bucket.num_entries())
                        .sum::<usize>()
                        == 1
                {
                    self.announce_again();
                }
            }
            _ => {}
        }
    }

    fn discovered(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        source: Source,
    ) {
        if peer == *self.swarm.local_peer_id() {
            return;
        }
        let Some(key) = peer_key(&peer) else { return };
        let addresses = self.book.learn(peer, addresses);
        if !addresses.is_empty() {
            self.hint(NetEvent::Discovered {
                peer: key,
                addresses,
                source,
            });
        }
    }
}

/// Where a connection leads, as something that could be dialled.
fn path_address(peer: PeerId, endpoint: &ConnectedPoint) -> Multiaddr {
    let address = match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        // The far end of a circuit has no address of its own; ours at the relay names the path.
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr,
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
    };
    address.clone().with_p2p(peer).unwrap_or_else(|other| other)
}

fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if last_peer(&address).is_some() {
        let last = address.pop();
        debug_assert!(
            matches!(last, Some(Protocol::P2p(_))),
            "last_peer looked at the last part"
        );
    }
    address
}
