//! Starts a relay, tells its address, and runs it until it is told to stop.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, identify,
    metrics::{Metrics, Recorder},
    multiaddr::Protocol,
    swarm::SwarmEvent,
};
use prometheus_client::registry::Registry;
use revnet_net::{RelayAddress, check_free, learn_server};
use tokio::time::{Instant, interval, timeout};

use crate::{
    IdentityError, RelayConfig, SetupError,
    http::{self, Pulse},
    identity,
    metrics::Counters,
    swarm::{self, Behaviour, BehaviourEvent},
};

/// Silence after which a listener has named all its addresses.
const SETTLED: Duration = Duration::from_millis(200);

/// How long the first address may take.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);

/// How long the connections may take to close.
const GOODBYE: Duration = Duration::from_secs(1);

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Addresses on the one line; the specific ones come first.
const MAX_ADDRESSES: usize = 8;

/// A relay that is up.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The line to give to others.
    pub address: RelayAddress,
    /// Whether that line can lead here from outside the local network, as far as the addresses tell.
    pub public: bool,
    /// Where `/healthz` and `/metrics` are.
    pub http: Option<SocketAddr>,
}

/// Why a relay could not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The key file is of no use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The transport could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An address is taken, not ours, or not allowed.
    #[error(
        "the relay cannot listen on {address}; stop the program that uses it, or choose another address with --listen"
    )]
    Listen {
        /// Which.
        address: Multiaddr,
        /// What the system said.
        source: io::Error,
    },
    /// No listener named an address.
    #[error("the relay listens nowhere: none of its --listen addresses belongs to this machine")]
    Nowhere,
    /// The HTTP address is taken, not ours, or not allowed.
    #[error(
        "/healthz and /metrics cannot be served on {address}; choose another address with --http"
    )]
    Http {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// `--external` makes no address that a peer could dial.
    #[error("the external address is of no use")]
    External(#[from] revnet_net::RelayAddressError),
}

/// Runs a relay until `shutdown` ends. Calls `ready` once it can be reached.
///
/// # Errors
/// See [`RunError`]; after `ready` was called there are none.
pub async fn run(
    config: &RelayConfig,
    ready: impl FnOnce(&Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut relay = Relay::start(config).await?;
    let public = relay
        .address
        .addresses()
        .iter()
        .any(leads_here_from_outside);
    if !public {
        tracing::warn!(
            "no public address: only the local network reaches this relay; tell it one with --external"
        );
    }
    ready(&Ready {
        address: relay.address.clone(),
        public,
        http: relay.http,
    });
    let mut heartbeat = interval(HEARTBEAT);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            event = relay.swarm.select_next_some() => relay.on_event(&event),
            _ = heartbeat.tick() => relay.pulse.beat(),
        }
    }
    relay.stop().await;
    Ok(())
}

struct Relay {
    swarm: Swarm<Behaviour>,
    address: RelayAddress,
    http: Option<SocketAddr>,
    metrics: Metrics,
    counters: Counters,
    pulse: Arc<Pulse>,
    _http_task: Option<AbortOnDrop>,
}

impl Relay {
    async fn start(config: &RelayConfig) -> Result<Self, RunError> {
        let pair = identity::load_or_create(&config.key_file)?;
        let mut registry = Registry::default();
        let mut swarm = swarm::build(pair, &config.limits, &mut registry)?;
        let metrics = Metrics::new(&mut registry);
        let counters = Counters::register(&mut registry);
        let listening = listen(&mut swarm, &config.listen).await?;
        let external = external_addresses(config, &listening);
        for address in &external {
            swarm.add_external_address(address.clone());
        }
        let address = RelayAddress::new(
            *swarm.local_peer_id(),
            external.into_iter().take(MAX_ADDRESSES),
        )?;
        let pulse = Arc::new(Pulse::new());
        let (mut http, mut task) = (None, None);
        if let Some(address) = config.http {
            let served = http::serve(address, Arc::new(registry), Arc::clone(&pulse)).await;
            let (real, running) = served.map_err(|source| RunError::Http { address, source })?;
            (http, task) = (Some(real), Some(AbortOnDrop(running.abort_handle())));
        }
        Ok(Self {
            swarm,
            address,
            http,
            metrics,
            counters,
            pulse,
            _http_task: task,
        })
    }

    fn on_event(&mut self, event: &SwarmEvent<BehaviourEvent>) {
        self.metrics.record(event);
        self.counters.record(event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::error!(?addresses, ?reason, "no longer listening");
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%error, from = %send_back_addr, "connection refused or failed");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: &BehaviourEvent) {
        match event {
            BehaviourEvent::Relay(event) => {
                self.metrics.record(event);
                tracing::debug!(?event, "relay");
            }
            BehaviourEvent::Kad(event) => self.metrics.record(event),
            BehaviourEvent::Identify(event) => {
                self.metrics.record(event);
                if let identify::Event::Received { peer_id, info, .. } = event {
                    learn_server(&mut self.swarm.behaviour_mut().kad, peer_id, info);
                }
            }
            BehaviourEvent::Ping(event) => self.metrics.record(event),
            _ => {}
        }
    }

    /// Closes all connections, so that peers notice at once and not after a timeout.
    async fn stop(mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // Err: it has just gone by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        if timeout(GOODBYE, closed).await.is_err() {
            tracing::debug!("some connections were cut off");
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens on all addresses and returns the ones that this comes down to.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    wanted: &[Multiaddr],
) -> Result<Vec<Multiaddr>, RunError> {
    let failed = |address: &Multiaddr, source| RunError::Listen {
        address: address.clone(),
        source,
    };
    // All are looked at before any is taken: libp2p shares TCP ports with other processes without a word, and our own
    // listener on 0.0.0.0 would seem to be in the way of ::.
    let mut usable = Vec::new();
    for address in wanted {
        match check_free(address) {
            Ok(()) => usable.push(address),
            Err(error) if is_missing_ipv6(address, &error) => {
                tracing::info!(%address, "skipped: this machine has no IPv6");
            }
            Err(error) => return Err(failed(address, error)),
        }
    }
    for address in usable {
        swarm
            .listen_on(address.clone())
            .map_err(|error| failed(address, io::Error::other(error)))?;
    }
    let mut found = Vec::new();
    let mut until = Instant::now() + LISTEN_WITHIN;
    while let Ok(event) = tokio::time::timeout_at(until, swarm.select_next_some()).await {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                found.push(address);
                until = Instant::now() + SETTLED;
            }
            SwarmEvent::ListenerClosed {
                reason: Err(source),
                addresses,
                ..
            } => {
                let address = addresses
                    .first()
                    .or(wanted.first())
                    .cloned()
                    .unwrap_or_else(Multiaddr::empty);
                return Err(RunError::Listen { address, source });
            }
            _ => {}
        }
    }
    if found.is_empty() {
        Err(RunError::Nowhere)
    } else {
        Ok(found)
    }
}

/// `EAFNOSUPPORT`: the kernel knows no IPv6.
const NO_ADDRESS_FAMILY: i32 = 97;

/// Whether the wildcard address fails because there is nothing that it could stand for.
fn is_missing_ipv6(address: &Multiaddr, error: &io::Error) -> bool {
    let missing = error.raw_os_error() == Some(NO_ADDRESS_FAMILY)
        || error.kind() == io::ErrorKind::AddrNotAvailable;
    missing && address.ip_addr() == Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
}

/// What the operator said, or else the widest of our own addresses: public, local network, this machine.
fn external_addresses(config: &RelayConfig, listening: &[Multiaddr]) -> Vec<Multiaddr> {
    if !config.external.is_empty() {
        return config
            .external
            .iter()
            .flat_map(|external| external.expand(listening))
            .collect();
    }
    let reach = listening.iter().map(Reach::of).max();
    listening
        .iter()
        .filter(|address| Some(Reach::of(address)) == reach)
        .cloned()
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Machine,
    Link,
    Network,
    Internet,
}

impl Reach {
    fn of(address: &Multiaddr) -> Self {
        match address.ip_addr() {
            Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Self::Link,
            Some(IpAddr::V4(ip)) if ip.is_link_local() => Self::Link,
            Some(ip) if ip.is_loopback() => Self::Machine,
            Some(_) if revnet_net::is_public(address) => Self::Internet,
            _ => Self::Network,
        }
    }
}

fn leads_here_from_outside(address: &Multiaddr) -> bool {
    let by_name = matches!(
        address.iter().next(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
    );
    by_name || revnet_net::is_public(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_reach_is_announced() {
        let config = RelayConfig::new("unused".into());
        let announced = |listening: &[&str]| {
            let listening: Vec<Multiaddr> = listening
                .iter()
                .map(|text| text.parse().expect("valid"))
                .collect();
            external_addresses(&config, &listening)
                .iter()
                .map(Multiaddr::to_string)
                .collect::<Vec<_>>()
        };
        let (own, link, home) = (
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip4/192.168.1.2/tcp/1",
        );
        let (wide, six) = ("/ip4/9.9.9.9/tcp/1", "/ip6/2620:fe::fe/tcp/1");
        assert_eq!(announced(&[own]), [own]);
        assert_eq!(announced(&[own, link, home]), [home]);
        assert_eq!(announced(&[own, wide, home, six]), [wide, six]);
    }
}
