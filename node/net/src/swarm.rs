//! The libp2p behaviours and transports of a node, with the limits that its defaults get wrong.

use std::time::Duration;

use libp2p::{
    PeerId, StreamProtocol, Swarm, Transport as _, allow_block_list, connection_limits,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    dcutr, dns, gossipsub, identify,
    identity::Keypair,
    kad, mdns, memory_connection_limits,
    metrics::BandwidthTransport,
    noise, ping, quic, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use prometheus_client::registry::Registry;

use crate::{KadMode, KeepAlive, Limits, NetConfig, address_limit, link};

/// Largest gossip message.
pub const MAX_GOSSIP: usize = 1 << 20;

/// Protocol name of RevNet's own Kademlia table.
pub const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/revnet/kad/1");

/// What every node and relay says it speaks in identify.
pub const IDENTIFY_PROTOCOL: &str = "/revnet/1";

/// Topics of one peer. Above it gossipsub drops the peer's whole hello.
const MAX_TOPICS: usize = 16_384;

/// Keys that a node may announce for itself: a few for each of its communities.
const MAX_PROVIDED_KEYS: usize = 65_536;

/// Time for a TCP connection or circuit with its encryption; QUIC has its own limit of 5 s.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Streams that one connection may have at a time: one for the link, and one or two for each protocol of libp2p.
const MAX_STREAMS: usize = 64;

/// What a peer may send on a QUIC stream before it is read, in bytes: with 100 ms of round trip 5 MB/s.
const STREAM_WINDOW: u32 = 512 << 10;

/// Addresses of one node in the Kademlia table.
const MAX_SERVER_ADDRESSES: usize = 8;

type Filter = gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>;
pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, Filter>;
pub(crate) type Kad = kad::Behaviour<kad::store::MemoryStore>;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // The limits come first: what they refuse, the others never see.
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) per_address: address_limit::Behaviour,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) link: link::behaviour::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) relay: relay::client::Behaviour,
    pub(crate) dcutr: dcutr::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) kad: Toggle<Kad>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Why a node's network could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// TCP with noise could not be set up.
    #[error("the encrypted TCP transport could not be set up")]
    Transport(#[from] noise::Error),
    /// The system's resolver configuration vanished while it was read.
    #[error("the system's name resolver could not be set up")]
    Resolver(#[source] std::io::Error),
    /// The multicast socket could not be opened.
    #[error(
        "the local network could not be searched (mDNS); switch mDNS off or free UDP port 5353"
    )]
    Mdns(#[source] std::io::Error),
    /// Gossipsub refused its configuration.
    #[error("gossip could not be set up: {0}")]
    Gossip(String),
}

/// Builds the swarm; nothing listens yet.
pub(crate) fn build(
    config: &NetConfig,
    pair: &Keypair,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, StartError> {
    let me = pair.public().to_peer_id();
    let (transport, relay) = transport(pair, config.keep_alive, registry)?;
    let behaviour = behaviour(config, pair, relay, registry)?;
    let swarm_config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(config.keep_alive.idle_connection)
        // QUIC before TCP before circuits, each with a head start of milliseconds.
        .with_smart_dial();
    Ok(Swarm::new(transport, behaviour, me, swarm_config))
}

type Transport = Boxed<(PeerId, StreamMuxerBox)>;

/// TCP, QUIC, names, and circuits through relays. `SwarmBuilder` would refuse to start where the system has no resolver.
fn transport(
    pair: &Keypair,
    keep_alive: KeepAlive,
    registry: &mut Registry,
) -> Result<(Transport, relay::client::Behaviour), StartError> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(pair)?)
        .multiplex(multiplexer())
        .timeout(CONNECT_WITHIN)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut quic = quic::Config::new(pair);
    quic.max_idle_timeout = u32::try_from(keep_alive.quic_idle.as_millis()).unwrap_or(u32::MAX);
    quic.keep_alive_interval = keep_alive.quic_interval;
    quic.max_concurrent_stream_limit = u32::try_from(MAX_STREAMS).expect("a constant");
    quic.max_stream_data = STREAM_WINDOW;
    quic.max_connection_data = 2 * STREAM_WINDOW;
    let quic = quic::tokio::Transport::new(quic)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = quic
        .or_transport(tcp)
        .map(|either, _| either.into_inner())
        .boxed();
    let direct = match dns::tokio::Transport::system(()) {
        Ok(_) => dns::tokio::Transport::system(direct)
            .map_err(StartError::Resolver)?
            .boxed(),
        Err(error) => {
            tracing::warn!(%error, "no system resolver: only numeric addresses can be dialled");
            direct
        }
    };
    let (circuits, relay) = relay::client::new(pair.public().to_peer_id());
    let circuits = circuits
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(pair)?)
        .multiplex(multiplexer())
        .timeout(CONNECT_WITHIN)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let all = circuits
        .or_transport(direct)
        .map(|either, _| either.into_inner());
    let counted = BandwidthTransport::new(all, registry)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok((counted.boxed(), relay))
}

fn multiplexer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config
}

fn behaviour(
    config: &NetConfig,
    pair: &Keypair,
    relay: relay::client::Behaviour,
    registry: &mut Registry,
) -> Result<Behaviour, StartError> {
    let me = pair.public().to_peer_id();
    let mdns = if config.mdns {
        Some(mdns::tokio::Behaviour::new(mdns::Config::default(), me).map_err(StartError::Mdns)?)
    } else {
        None
    };
    Ok(Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        per_address: address_limit::Behaviour::new(config.limits.per_address),
        limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
        memory: config
            .limits
            .memory_bytes
            .map(memory_connection_limits::Behaviour::with_max_bytes)
            .into(),
        link: link::behaviour::Behaviour::default(),
        identify: identify::Behaviour::new(
            identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), pair.public())
                .with_agent_version(concat!("revnet/", env!("CARGO_PKG_VERSION")).to_owned())
                .with_push_listen_addr_updates(true),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new()
                .with_interval(config.keep_alive.ping_interval)
                .with_timeout(config.keep_alive.ping_timeout),
        ),
        relay,
        dcutr: dcutr::Behaviour::new(me),
        gossip: gossip(registry)?,
        kad: kad(me, config.kad).into(),
        mdns: mdns.into(),
    })
}

fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_incoming))
        .with_max_pending_outgoing(Some(limits.pending_outgoing))
        .with_max_established_incoming(Some(limits.incoming))
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.per_peer))
}

/// Anonymous: authors are the caller's business and stay inside the payload. The message id is a hash of topic and
/// content, so that one message is one whoever sends it.
fn gossip(registry: &mut Registry) -> Result<Gossip, StartError> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/revnet/meshsub")
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| {
            let mut hash = blake3::Hasher::new();
            hash.update(message.topic.as_str().as_bytes()).update(&[0]).update(&message.data);
            gossipsub::MessageId::new(hash.finalize().as_bytes())
        })
        .duplicate_cache_time(Duration::from_secs(120))
        .max_transmit_size(MAX_GOSSIP + (64 << 10))
        // The hello lists all topics: 16 KiB, the default, ends the stream at 250 of them.
        .max_control_message_size(MAX_GOSSIP)
        .flood_publish(true)
        .build()
        .map_err(|error| StartError::Gossip(error.to_string()))?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS,
        max_subscriptions_per_request: MAX_TOPICS,
    };
    let gossip = gossipsub::Behaviour::new_with_subscription_filter(
        gossipsub::MessageAuthenticity::Anonymous,
        config,
        filter,
    )
    .map_err(|error| StartError::Gossip(error.to_owned()))?;
    Ok(gossip.with_metrics(
        registry.sub_registry_with_prefix("gossipsub"),
        gossipsub::MetricsConfig::default(),
    ))
}

/// Takes a node that says it serves the table into our own table, at the addresses that it claims.
///
/// Bounded: a peer that claims new addresses time and again doesn't get more than a few of them in.
pub fn learn_server(
    kad: &mut kad::Behaviour<kad::store::MemoryStore>,
    peer: &PeerId,
    info: &identify::Info,
) {
    if !info.protocols.contains(&KAD_PROTOCOL) {
        return;
    }
    let known = kad.kbucket(*peer).and_then(|bucket| {
        let entry = bucket
            .iter()
            .find(|entry| entry.node.key.preimage() == peer)?;
        Some(entry.node.value.len())
    });
    let room = MAX_SERVER_ADDRESSES.saturating_sub(known.unwrap_or(0));
    for address in info.listen_addrs.iter().take(room) {
        kad.add_address(peer, address.clone());
    }
}

fn kad(me: PeerId, mode: KadMode) -> Option<Kad> {
    let mode = match mode {
        KadMode::Client => kad::Mode::Client,
        KadMode::Server => kad::Mode::Server,
        KadMode::Off => return None,
    };
    let limits = kad::store::MemoryStoreConfig {
        // Values are nobody's business here: only who provides what.
        max_records: 0,
        max_provided_keys: MAX_PROVIDED_KEYS,
        ..Default::default()
    };
    let store = kad::store::MemoryStore::with_config(me, limits);
    let mut kad = Kad::with_config(me, store, kad::Config::new(KAD_PROTOCOL));
    kad.set_mode(Some(mode));
    Some(kad)
}
