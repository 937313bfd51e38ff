//! The libp2p behaviours and transports of a relay.

use std::{num::NonZeroU32, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder, connection_limits, identify,
    identity::Keypair,
    kad, memory_connection_limits, noise, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use prometheus_client::registry::Registry;
use revnet_net::{IDENTIFY_PROTOCOL, KAD_PROTOCOL, address_limit};

use crate::RelayLimits;

/// A connection that carries nothing is closed after this: peers that only asked the table need no more.
const IDLE: Duration = Duration::from_secs(60);

/// A QUIC connection that is silent for so long is dead. Peers that want to know sooner say so in the handshake.
const QUIC_IDLE: Duration = Duration::from_secs(60);

/// Connections being set up at a time.
const PENDING: u32 = 512;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // The limits come first: what they refuse, the others never see.
    address_limit: address_limit::Behaviour,
    limits: connection_limits::Behaviour,
    memory: Toggle<memory_connection_limits::Behaviour>,
    relay: relay::Behaviour,
    pub(crate) kad: kad::Behaviour<kad::store::MemoryStore>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// The transport could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the encrypted TCP transport could not be set up")]
pub struct SetupError(#[from] noise::Error);

/// Builds the swarm; nothing listens yet.
pub(crate) fn build(
    pair: Keypair,
    limits: &RelayLimits,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, SetupError> {
    let swarm = SwarmBuilder::with_existing_identity(pair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = u32::try_from(QUIC_IDLE.as_millis()).expect("a minute");
            quic.keep_alive_interval = QUIC_IDLE / 3;
            quic
        })
        .with_bandwidth_metrics(registry)
        .with_behaviour(|pair| behaviour(pair, limits))
        .unwrap_or_else(|never| match never {})
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(swarm)
}

fn behaviour(pair: &Keypair, limits: &RelayLimits) -> Behaviour {
    let me = pair.public().to_peer_id();
    let memory = (limits.memory_mib > 0)
        .then(|| memory_connection_limits::Behaviour::with_max_bytes(limits.memory_mib << 20));
    Behaviour {
        address_limit: address_limit::Behaviour::new(limits.connections_per_address),
        limits: connection_limits::Behaviour::new(
            connection_limits::ConnectionLimits::default()
                .with_max_pending_incoming(Some(PENDING))
                .with_max_pending_outgoing(Some(PENDING))
                .with_max_established(Some(limits.connections))
                .with_max_established_per_peer(Some(limits.connections_per_peer)),
        ),
        memory: memory.into(),
        relay: relay::Behaviour::new(me, relay_config(limits)),
        kad: {
            // Values are nobody's business here: only who provides what.
            let store = kad::store::MemoryStoreConfig {
                max_records: 0,
                max_provided_keys: limits.table_keys,
                ..Default::default()
            };
            let store = kad::store::MemoryStore::with_config(me, store);
            let mut kad = kad::Behaviour::with_config(me, store, kad::Config::new(KAD_PROTOCOL));
            kad.set_mode(Some(kad::Mode::Server));
            kad
        },
        identify: identify::Behaviour::new(
            identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), pair.public())
                .with_agent_version(concat!("revnet-relay/", env!("CARGO_PKG_VERSION")).to_owned()),
        ),
        ping: ping::Behaviour::default(),
    }
}

fn relay_config(limits: &RelayLimits) -> relay::Config {
    let mut config = relay::Config {
        max_reservations: limits.reservations,
        max_reservations_per_peer: limits.reservations_per_peer,
        reservation_duration: Duration::from_secs(limits.reservation_seconds.into()),
        reservation_rate_limiters: Vec::new(),
        max_circuits: limits.circuits,
        max_circuits_per_peer: limits.circuits_per_peer,
        max_circuit_duration: Duration::from_secs(limits.circuit_seconds.into()),
        max_circuit_bytes: match limits.circuit_mib {
            0 => u64::MAX,
            mib => mib.saturating_mul(1 << 20),
        },
        circuit_src_rate_limiters: Vec::new(),
    };
    // Each limiter is a bucket of one minute's worth that refills one by one.
    if let Some((burst, interval)) = rate(limits.reservation_rate_per_peer) {
        config = config.reservation_rate_per_peer(burst, interval);
    }
    if let Some((burst, interval)) = rate(limits.reservation_rate_per_address) {
        config = config.reservation_rate_per_ip(burst, interval);
    }
    if let Some((burst, interval)) = rate(limits.circuit_rate_per_peer) {
        config = config.circuit_src_per_peer(burst, interval);
    }
    if let Some((burst, interval)) = rate(limits.circuit_rate_per_address) {
        config = config.circuit_src_per_ip(burst, interval);
    }
    config
}

/// No rate at all for 0, which means "no limit".
fn rate(per_minute: u32) -> Option<(NonZeroU32, Duration)> {
    let burst = NonZeroU32::new(per_minute)?;
    Some((burst, Duration::from_secs(60) / per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_minute_of_bursts() {
        assert_eq!(rate(0), None);
        let (burst, interval) = rate(240).expect("a rate");
        assert_eq!((burst.get(), interval), (240, Duration::from_millis(250)));
        let limits = RelayLimits {
            circuit_mib: 0,
            circuit_rate_per_peer: 0,
            ..RelayLimits::default()
        };
        let config = relay_config(&limits);
        assert_eq!(config.max_circuit_bytes, u64::MAX);
        assert_eq!(config.circuit_src_rate_limiters.len(), 1);
        assert_eq!(config.reservation_rate_limiters.len(), 2);
    }
}
