//! Connections from one IP address: the limit that a peer can't escape by making up more peers.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

use crate::address::is_relayed;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure,
        NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};

/// Too many connections from one address.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} connections from {address}")]
pub struct TooMany {
    address: IpAddr,
    limit: u32,
}

/// Counts incoming connections, those being set up included. Circuits through relays have no address to count by.
#[derive(Debug)]
pub struct Behaviour {
    limit: u32,
    connections: HashMap<ConnectionId, IpAddr>,
    counts: HashMap<IpAddr, u32>,
}

impl Behaviour {
    /// At most `limit` connections from one IPv4 address, or from one IPv6 network of 64 bits.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            connections: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    fn add(&mut self, id: ConnectionId, remote: &Multiaddr) -> Result<(), TooMany> {
        let Some(address) = remote.ip_addr().filter(|_| !is_relayed(remote)).map(site) else {
            return Ok(());
        };
        let count = self.counts.entry(address).or_default();
        if *count >= self.limit {
            return Err(TooMany {
                address,
                limit: self.limit,
            });
        }
        *count += 1;
        self.connections.insert(id, address);
        Ok(())
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(address) = self.connections.remove(&id) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }
}

/// What one subscriber holds: an IPv4 address, or the 2^64 addresses of an IPv6 network.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.add(id, remote).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.remove(connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let mut limit = Behaviour::new(2);
        let id = ConnectionId::new_unchecked;
        let from = |text: &str| text.parse::<Multiaddr>().expect("valid");
        assert!(limit.add(id(1), &from("/ip4/192.0.2.1/tcp/1")).is_ok());
        assert!(
            limit
                .add(id(2), &from("/ip4/192.0.2.1/udp/2/quic-v1"))
                .is_ok()
        );
        assert!(limit.add(id(3), &from("/ip4/192.0.2.1/tcp/3")).is_err());
        assert!(limit.add(id(4), &from("/ip4/192.0.2.2/tcp/3")).is_ok());
        limit.remove(id(3));
        assert!(
            limit.add(id(5), &from("/ip4/192.0.2.1/tcp/3")).is_err(),
            "a refused one frees nothing"
        );
        limit.remove(id(1));
        assert!(limit.add(id(6), &from("/ip4/192.0.2.1/tcp/3")).is_ok());
        for number in [2, 4, 6] {
            limit.remove(id(number));
        }
        assert!(limit.counts.is_empty() && limit.connections.is_empty());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let site = |text: &str| site(text.parse().expect("valid"));
        assert_eq!(site("2001:db8:1:2:3:4:5:6"), site("2001:db8:1:2::1"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:1:3::1"));
        assert_eq!(site("::ffff:192.0.2.1"), site("192.0.2.1"));
    }
}
