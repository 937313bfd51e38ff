//! Addresses of peers, as far as somebody claimed them. Bounded: the oldest peers are forgotten first.

use std::collections::{BTreeMap, VecDeque};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

const MAX_PEERS: usize = 4096;
const MAX_PER_PEER: usize = 12;

#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    peers: BTreeMap<PeerId, VecDeque<Multiaddr>>,
    order: VecDeque<PeerId>,
}

impl AddressBook {
    /// Remembers addresses, the newest first, and returns those worth dialling.
    pub(crate) fn learn(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) -> Vec<Multiaddr> {
        let useful: Vec<_> = addresses
            .into_iter()
            .filter(is_dialable)
            .take(MAX_PER_PEER)
            .collect();
        if useful.is_empty() {
            return useful;
        }
        let known = self.peers.entry(peer).or_insert_with(|| {
            self.order.push_back(peer);
            VecDeque::new()
        });
        for address in useful.iter().rev() {
            known.retain(|old| old != address);
            known.push_front(address.clone());
        }
        known.truncate(MAX_PER_PEER);
        if self.order.len() > MAX_PEERS {
            let oldest = self.order.pop_front().expect("more than none");
            self.peers.remove(&oldest);
        }
        useful
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> impl Iterator<Item = Multiaddr> {
        self.peers.get(peer).into_iter().flatten().cloned()
    }
}

/// Rules out what can never be reached from here.
fn is_dialable(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => {
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("valid")
    }

    #[test]
    fn new_addresses_come_first_and_useless_ones_never() {
        let (mut book, peer) = (AddressBook::default(), PeerId::random());
        let numbered = |port: usize| address(&format!("/ip4/192.0.2.1/tcp/{port}"));
        for port in 1..=20 {
            book.learn(peer, [numbered(port)]);
        }
        assert!(
            book.learn(
                peer,
                [address("/ip4/0.0.0.0/tcp/1"), address("/p2p-circuit")]
            )
            .is_empty()
        );
        let known: Vec<_> = book.addresses(&peer).collect();
        assert_eq!(known.len(), MAX_PER_PEER);
        assert_eq!(known[0], numbered(20));
    }

    #[test]
    fn the_oldest_peer_makes_room() {
        let mut book = AddressBook::default();
        let peers: Vec<_> = (0..=MAX_PEERS).map(|_| PeerId::random()).collect();
        for peer in &peers {
            book.learn(*peer, [address("/ip4/192.0.2.1/tcp/1")]);
        }
        assert_eq!(book.addresses(&peers[0]).count(), 0);
        assert_eq!(book.addresses(&peers[MAX_PEERS]).count(), 1);
        assert_eq!(book.peers.len(), book.order.len());
    }
}
