//! The one line that names a relay and says where it listens.

use std::{
    fmt,
    net::{IpAddr, TcpListener, UdpSocket},
    str::FromStr,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// What a relay line begins with.
pub const RELAY_PREFIX: &str = "revnet-relay:";

/// More addresses than this on one line are a mistake or an attack.
const MAX_ADDRESSES: usize = 16;

/// A relay (and bootstrap) node: its peer id and the addresses at which it can be dialled.
///
/// Text form: `revnet-relay:ADDR[,ADDR…]`, each `ADDR` a multiaddr that ends in `/p2p/PEER`, all with the same peer.
/// A bare multiaddr of that kind is accepted, too.
///
/// ```
/// let peer = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
/// let line = format!("revnet-relay:/ip4/192.0.2.1/tcp/4001/p2p/{peer},/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{peer}");
/// let relay: revnet_net::RelayAddress = line.parse()?;
/// assert_eq!(relay.addresses().len(), 2);
/// assert_eq!(relay.to_string(), line);
/// # Ok::<(), revnet_net::RelayAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
}

/// Why a text is no relay address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RelayAddressError {
    /// Nothing after the prefix.
    #[error(
        "the relay address is empty; it looks like {RELAY_PREFIX}/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…"
    )]
    Empty,
    /// A part that is no multiaddr.
    #[error(
        "'{text}' is not an address: {reason}; expected something like /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…"
    )]
    NotAnAddress {
        /// The part as it was given.
        text: String,
        /// What the parser said.
        reason: String,
    },
    /// An address without the peer that it leads to.
    #[error(
        "'{0}' does not end in /p2p/PEER, so nobody could tell whether the right relay answers"
    )]
    NoPeer(Multiaddr),
    /// Nothing but `/p2p/PEER`, or an address behind another relay.
    #[error("'{0}' does not say where the relay listens")]
    NotDialable(Multiaddr),
    /// Two peers on one line.
    #[error(
        "the addresses name two different peers, {one} and {other}; write one line for each relay"
    )]
    TwoPeers {
        /// The first peer.
        one: String,
        /// The one that differs.
        other: String,
    },
    /// More than 16 addresses.
    #[error("more than {MAX_ADDRESSES} addresses on one line")]
    TooMany,
}

impl RelayAddress {
    /// A relay at `addresses`, each of which gets `/p2p/PEER` at its end where it is absent.
    ///
    /// # Errors
    /// As for parsing.
    pub fn new(
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) -> Result<Self, RelayAddressError> {
        let mut full = Vec::new();
        for address in addresses {
            let address = address
                .with_p2p(peer)
                .map_err(|address| match last_peer(&address) {
                    Some(other) => two_peers(peer, other),
                    None => RelayAddressError::NoPeer(address),
                })?;
            full.push(address);
        }
        Self::from_full(full)
    }

    /// The relay's peer id.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where it listens; each address ends in `/p2p/PEER`. Never empty.
    #[must_use]
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    fn from_full(addresses: Vec<Multiaddr>) -> Result<Self, RelayAddressError> {
        if addresses.len() > MAX_ADDRESSES {
            return Err(RelayAddressError::TooMany);
        }
        let first = addresses.first().ok_or(RelayAddressError::Empty)?;
        let peer = last_peer(first).ok_or_else(|| RelayAddressError::NoPeer(first.clone()))?;
        for address in &addresses {
            match last_peer(address) {
                None => return Err(RelayAddressError::NoPeer(address.clone())),
                Some(other) if other != peer => return Err(two_peers(peer, other)),
                Some(_) => {}
            }
            let behind_a_relay = address.iter().any(|part| part == Protocol::P2pCircuit);
            if behind_a_relay || address.iter().count() < 2 {
                return Err(RelayAddressError::NotDialable(address.clone()));
            }
        }
        Ok(Self { peer, addresses })
    }
}

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let list = text.strip_prefix(RELAY_PREFIX).unwrap_or(text);
        if list.is_empty() {
            return Err(RelayAddressError::Empty);
        }
        let parse = |part: &str| {
            let part = part.trim();
            let not_an_address = |reason: &str| RelayAddressError::NotAnAddress {
                text: part.chars().take(120).collect(),
                reason: reason.to_owned(),
            };
            if part.is_empty() {
                return Err(not_an_address("nothing between two commas"));
            }
            let parsed = part.parse::<Multiaddr>();
            parsed.map_err(|error| not_an_address(&error.to_string()))
        };
        let parts = list.split(',').take(MAX_ADDRESSES + 1);
        Self::from_full(parts.map(parse).collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RELAY_PREFIX)?;
        for (index, address) in self.addresses.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

fn two_peers(one: PeerId, other: PeerId) -> RelayAddressError {
    RelayAddressError::TwoPeers {
        one: one.to_string(),
        other: other.to_string(),
    }
}

/// The peer that an address leads to.
pub(crate) fn last_peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether somebody else listens at an address already; port 0 and names are always free.
///
/// libp2p listens on TCP with `SO_REUSEPORT`: two processes on one port would silently share its connections.
///
/// # Errors
/// What the system says, such as [`std::io::ErrorKind::AddrInUse`].
pub fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let Some(ip) = address.ip_addr() else {
        return Ok(());
    };
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some((port, true)),
        Protocol::Udp(port) => Some((port, false)),
        _ => None,
    });
    match port {
        Some((0, _)) | None => Ok(()),
        Some((port, true)) => TcpListener::bind((ip, port)).map(drop),
        Some((port, false)) => UdpSocket::bind((ip, port)).map(drop),
    }
}

/// Whether an address begins with an IP address that the whole internet can reach.
#[must_use]
pub fn is_public(address: &Multiaddr) -> bool {
    match address.ip_addr() {
        Some(IpAddr::V4(ip)) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            let special =
                ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
            let nobody = ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast();
            !(shared || special || nobody || is_relayed(address))
        }
        // 2000::/3 is all that is given out.
        Some(IpAddr::V6(ip)) => ip.segments()[0] & 0xe000 == 0x2000 && !is_relayed(address),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    const B: &str = "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD";

    fn parse(text: &str) -> Result<RelayAddress, RelayAddressError> {
        text.parse()
    }

    #[test]
    fn a_line_survives_a_round_trip_and_a_bare_address_is_a_line() {
        let line = format!(
            "revnet-relay:/ip4/192.0.2.1/tcp/4001/p2p/{A},/dns4/relay.example/udp/4001/quic-v1/p2p/{A}"
        );
        assert_eq!(parse(&line).expect("valid").to_string(), line);
        let bare = parse(&format!(" /ip4/192.0.2.1/tcp/4001/p2p/{A}\n")).expect("valid");
        assert_eq!(
            bare.to_string(),
            format!("revnet-relay:/ip4/192.0.2.1/tcp/4001/p2p/{A}")
        );
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        use RelayAddressError as E;
        assert_eq!(parse("revnet-relay:"), Err(E::Empty));
        assert!(matches!(
            parse("revnet-relay:hello"),
            Err(E::NotAnAddress { .. })
        ));
        assert!(matches!(
            parse(&format!("/ip4/192.0.2.1/tcp/1/p2p/{A},")),
            Err(E::NotAnAddress { .. })
        ));
        assert!(matches!(
            parse("/ip4/192.0.2.1/tcp/4001"),
            Err(E::NoPeer(_))
        ));
        assert!(matches!(
            parse(&format!("/p2p/{A}")),
            Err(E::NotDialable(_))
        ));
        let circuit = format!("/ip4/192.0.2.1/tcp/1/p2p/{A}/p2p-circuit/p2p/{B}");
        assert!(matches!(parse(&circuit), Err(E::NotDialable(_))));
        let two = format!("/ip4/192.0.2.1/tcp/1/p2p/{A},/ip4/192.0.2.1/tcp/1/p2p/{B}");
        assert!(matches!(parse(&two), Err(E::TwoPeers { .. })));
        let many = vec![format!("/ip4/192.0.2.1/tcp/1/p2p/{A}"); 17].join(",");
        assert_eq!(parse(&many), Err(E::TooMany));
    }

    #[test]
    fn a_peer_is_added_where_it_is_absent() {
        let peer: PeerId = A.parse().expect("valid");
        let bare: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().expect("valid");
        let relay = RelayAddress::new(peer, [bare.clone()]).expect("valid");
        assert_eq!(relay.addresses(), [bare.with_p2p(peer).expect("bare")]);
        let other: Multiaddr = format!("/ip4/192.0.2.1/tcp/1/p2p/{B}")
            .parse()
            .expect("valid");
        assert!(matches!(
            RelayAddress::new(peer, [other]),
            Err(RelayAddressError::TwoPeers { .. })
        ));
    }

    #[test]
    fn only_the_internet_is_public() {
        let public = |text: &str| is_public(&text.parse().expect("valid"));
        assert!(public("/ip4/9.9.9.9/tcp/1"));
        assert!(public("/ip6/2620:fe::fe/udp/1/quic-v1"));
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "100.100.1.1",
            "169.254.1.1",
            "0.0.0.0",
        ] {
            assert!(!public(&format!("/ip4/{private}/tcp/1")), "{private}");
        }
        assert!(!public("/ip6/fe80::1/tcp/1"));
        assert!(!public(&format!("/ip4/9.9.9.9/tcp/1/p2p/{A}/p2p-circuit")));
        assert!(!public("/dns4/relay.example/tcp/1"));
    }
}
