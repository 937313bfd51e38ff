//! Real nodes on loopback sockets at random ports, without mDNS.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Swarm, SwarmBuilder, identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use revnet_net::{
    DownReason, GossipRef, IDENTIFY_PROTOCOL, KadMode, LINK_PROTOCOL, LinkId, MAX_FRAME, Multiaddr,
    NetCommand, NetConfig, NetEvent, NetHandle, PeerKey, RelayAddress, Source, Verdict, peer_id,
    peer_key, start,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

/// Far more than anything here takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

struct Node {
    net: NetHandle,
    events: mpsc::Receiver<NetEvent>,
    /// Seen while something else was awaited; looked at first by the next wait.
    kept: VecDeque<NetEvent>,
    links: HashMap<PeerKey, LinkId>,
    address: Multiaddr,
}

impl Node {
    async fn start(secret: [u8; 32], listen: &str, tweak: impl FnOnce(&mut NetConfig)) -> Self {
        let mut config = NetConfig::new(secret.into());
        config.mdns = false;
        config.listen = vec![listen.parse().expect("valid")];
        tweak(&mut config);
        let listens = !config.listen.is_empty();
        let (net, events) = start(&config).expect("starts");
        let mut node = Self {
            net,
            events,
            kept: VecDeque::new(),
            links: HashMap::new(),
            address: Multiaddr::empty(),
        };
        if listens {
            node.address = node
                .wait("listening", |event| match event {
                    NetEvent::Listening { address } => Some(address.clone()),
                    _ => None,
                })
                .await;
        }
        node
    }

    fn key(&self) -> PeerKey {
        self.net.peer()
    }

    async fn tell(&self, command: NetCommand) {
        self.net.send(command).await.expect("the task runs");
    }

    async fn dial(&self, other: &Self) {
        let addresses = if other.address.is_empty() {
            Vec::new()
        } else {
            vec![other.address.clone()]
        };
        self.tell(NetCommand::Dial {
            peer: other.key(),
            addresses,
        })
        .await;
    }

    async fn send(&self, to: &Self, frame: impl Into<Bytes>) {
        self.tell(NetCommand::Send {
            peer: to.key(),
            link: self.links[&to.key()],
            frame: frame.into(),
        })
        .await;
    }

    /// The first event that `wanted` takes. What it skips stays for later waits.
    async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&NetEvent) -> Option<T>) -> T {
        let found = self
            .kept
            .iter()
            .enumerate()
            .find_map(|(index, event)| Some((index, wanted(event)?)));
        if let Some((index, found)) = found {
            self.kept.remove(index);
            return found;
        }
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the task runs");
                if let Some(found) = wanted(&event) {
                    return found;
                }
                self.kept.push_back(event);
            }
        };
        match timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("never happened: {what}; instead: {:#?}", self.kept),
        }
    }

    async fn up(&mut self, peer: PeerKey) -> bool {
        let (link, relayed) = self
            .wait("link up", |event| match event {
                NetEvent::LinkUp {
                    peer: who,
                    link,
                    relayed,
                    ..
                } if *who == peer => Some((*link, *relayed)),
                _ => None,
            })
            .await;
        self.links.insert(peer, link);
        self.tell(NetCommand::Trust { peer, link }).await;
        relayed
    }

    async fn down(&mut self, peer: PeerKey) -> DownReason {
        self.wait("link down", |event| match event {
            NetEvent::LinkDown { peer: who, reason } if *who == peer => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    async fn frame(&mut self, peer: PeerKey) -> Bytes {
        self.wait("frame", |event| match event {
            NetEvent::Frame {
                peer: who, bytes, ..
            } if *who == peer => Some(bytes.clone()),
            _ => None,
        })
        .await
    }

    async fn gossip(&mut self) -> (PeerKey, Bytes, GossipRef) {
        self.wait("gossip", |event| match event {
            NetEvent::Gossip {
                peer,
                data,
                message,
                ..
            } => Some((*peer, data.clone(), message.clone())),
            _ => None,
        })
        .await
    }

    async fn subscriber(&mut self, topic: &str, peer: PeerKey) {
        self.wait("subscription", |event| match event {
            NetEvent::SubscribedPeer {
                topic: at,
                peer: who,
            } => (at == topic && *who == peer).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn relay_up(&mut self) -> Multiaddr {
        self.wait("reservation", |event| match event {
            NetEvent::RelayUp { address, .. } => Some(address.clone()),
            _ => None,
        })
        .await
    }
}

/// Secrets in the order of their public keys, so that a test knows who opens a link.
fn secrets<const N: usize>() -> [[u8; 32]; N] {
    let mut secrets: [[u8; 32]; N] =
        std::array::from_fn(|index| [u8::try_from(index + 1).expect("few"); 32]);
    secrets.sort_by_key(|secret| {
        let pair = Keypair::ed25519_from_bytes(*secret).expect("any 32 bytes are a secret");
        peer_key(&pair.public().to_peer_id())
    });
    secrets
}

async fn linked(one: &mut Node, other: &mut Node) {
    one.dial(other).await;
    assert!(!one.up(other.key()).await, "direct");
    assert!(!other.up(one.key()).await, "direct");
}

async fn a_pair_links_once_and_talks_in_order(dialer: [u8; 32], listener: [u8; 32], listen: &str) {
    let mut a = Node::start(dialer, listen, |_| {}).await;
    let mut b = Node::start(listener, listen, |_| {}).await;
    linked(&mut a, &mut b).await;
    for number in 0..1000_u32 {
        a.send(&b, number.to_be_bytes().to_vec()).await;
        b.send(&a, number.to_le_bytes().to_vec()).await;
    }
    for number in 0..1000_u32 {
        assert_eq!(b.frame(a.key()).await, number.to_be_bytes()[..]);
        assert_eq!(a.frame(b.key()).await, number.to_le_bytes()[..]);
    }
    let largest = Bytes::from(vec![1; MAX_FRAME]);
    a.send(&b, largest.clone()).await;
    assert_eq!(b.frame(a.key()).await, largest);
    let status = a.net.status().await.expect("runs");
    assert_eq!(status.links.len(), 1);
    assert_eq!(status.links[0].bytes_out, 1000 * 8 + MAX_FRAME as u64 + 4);
    assert_eq!(status.links[0].bytes_in, 1000 * 8);

    a.tell(NetCommand::Disconnect {
        peer: b.key(),
        reason: "enough".to_owned(),
    })
    .await;
    assert_eq!(
        a.down(b.key()).await,
        DownReason::Disconnected("enough".to_owned())
    );
    assert!(matches!(
        b.down(a.key()).await,
        DownReason::Closed | DownReason::Lost(_)
    ));
    for node in [&a, &b] {
        let again =
            |event: &NetEvent| matches!(event, NetEvent::LinkUp { .. } | NetEvent::LinkDown { .. });
        assert!(!node.kept.iter().any(again), "up and down once");
    }
}

#[tokio::test]
async fn the_smaller_key_dials_over_quic() {
    let [small, large] = secrets();
    a_pair_links_once_and_talks_in_order(small, large, QUIC).await;
}

#[tokio::test]
async fn the_larger_key_dials_over_tcp() {
    let [small, large] = secrets();
    a_pair_links_once_and_talks_in_order(large, small, TCP).await;
}

#[tokio::test]
async fn both_dial_at_once_and_still_have_one_link() {
    let [one, other] = secrets();
    let mut a = Node::start(one, TCP, |_| {}).await;
    let mut b = Node::start(other, TCP, |_| {}).await;
    a.dial(&b).await;
    b.dial(&a).await;
    a.up(b.key()).await;
    b.up(a.key()).await;
    // Surplus connections go after some seconds, and the link stays.
    let settled = async {
        loop {
            let (a, b) = (
                a.net.status().await.expect("runs"),
                b.net.status().await.expect("runs"),
            );
            assert_eq!((a.links.len(), b.links.len()), (1, 1));
            if a.links[0].age > Duration::from_secs(6) && a.connections == 1 && b.connections == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, settled)
        .await
        .expect("one connection is left");
    a.send(&b, "hello").await;
    assert_eq!(b.frame(a.key()).await, "hello");
}

#[tokio::test]
async fn what_was_meant_for_an_earlier_link_never_reaches_the_next() {
    let [one, other] = secrets();
    let mut a = Node::start(one, QUIC, |_| {}).await;
    let mut b = Node::start(other, QUIC, |_| {}).await;
    linked(&mut a, &mut b).await;
    let earlier = a.links[&b.key()];
    let reason = "for a moment".to_owned();
    let peer = b.key();
    a.tell(NetCommand::Disconnect { peer, reason }).await;
    a.down(b.key()).await;
    b.down(a.key()).await;
    linked(&mut a, &mut b).await;
    a.tell(NetCommand::Send {
        peer: b.key(),
        link: earlier,
        frame: Bytes::from_static(b"late"),
    })
    .await;
    a.send(&b, "hello").await;
    assert_eq!(b.frame(a.key()).await, "hello");
}

/// A peer that speaks the link protocol by hand.
async fn raw_peer(secret: [u8; 32], dial: Multiaddr, peer: PeerKey) -> libp2p::Stream {
    let mut swarm = SwarmBuilder::with_existing_identity(
        Keypair::ed25519_from_bytes(secret).expect("a secret"),
    )
    .with_tokio()
    .with_tcp(
        tcp::Config::default(),
        noise::Config::new,
        yamux::Config::default,
    )
    .expect("builds")
    .with_behaviour(|_| libp2p_stream::Behaviour::new())
    .expect("builds")
    .build();
    let mut control = swarm.behaviour().new_control();
    swarm.dial(dial).expect("dials");
    loop {
        if let SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
            break;
        }
    }
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    control
        .open_stream(peer_id(&peer), LINK_PROTOCOL)
        .await
        .expect("opens")
}

#[tokio::test]
async fn an_oversized_frame_costs_its_sender_the_link_and_nobody_else() {
    let [hostile, honest, friend] = secrets();
    let mut node = Node::start(honest, TCP, |_| {}).await;
    let mut friend = Node::start(friend, TCP, |_| {}).await;
    linked(&mut node, &mut friend).await;

    let mut stream = raw_peer(hostile, node.address.clone(), node.key()).await;
    stream
        .write_all(b"\0\0\0\x02hi\0\x10\x10\x01")
        .await
        .expect("writes");
    stream.flush().await.expect("writes");
    let key = node
        .wait("the hostile link", |event| match event {
            NetEvent::LinkUp { peer, .. } => Some(*peer),
            _ => None,
        })
        .await;
    assert_eq!(node.frame(key).await, "hi");
    assert_eq!(
        node.down(key).await,
        DownReason::Oversized {
            bytes: MAX_FRAME + 1,
            limit: MAX_FRAME
        }
    );
    // The node has said how often it wants to be answered, and nothing after that.
    let mut heard = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    assert!(
        end.is_ok() && heard.starts_with(&[0xff; 4]) && heard.len() == 8,
        "{heard:?}"
    );

    friend.send(&node, "still here?").await;
    assert_eq!(node.frame(friend.key()).await, "still here?");
    friend.send(&node, vec![0; MAX_FRAME + 1]).await;
    assert_eq!(
        friend.down(node.key()).await,
        DownReason::Oversized {
            bytes: MAX_FRAME + 1,
            limit: MAX_FRAME
        }
    );
    // The connection still stands, so the link comes back.
    friend.up(node.key()).await;
    node.up(friend.key()).await;
}

#[tokio::test]
async fn a_slow_reader_loses_its_link_and_holds_up_nobody() {
    let [sender, slow, quick] = secrets();
    let mut a = Node::start(sender, TCP, |config| config.limits.link_queue_frames = 64).await;
    let mut slow = Node::start(slow, TCP, |config| config.limits.event_queue = 4).await;
    let mut quick = Node::start(quick, TCP, |_| {}).await;
    linked(&mut a, &mut slow).await;
    linked(&mut a, &mut quick).await;
    // From here on nobody takes the slow node's events.
    let frame = Bytes::from(vec![7; 64 << 10]);
    let mut sent = 0;
    let reason = loop {
        a.send(&slow, frame.clone()).await;
        sent += 1;
        assert!(sent < 10_000, "the sender takes whatever comes");
        if sent % 50 == 0 {
            a.send(&quick, "tick").await;
            assert_eq!(quick.frame(a.key()).await, "tick");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let down = |event: &NetEvent| match event {
            NetEvent::LinkDown { peer, reason } if *peer == slow.net.peer() => Some(reason.clone()),
            _ => None,
        };
        while let Ok(event) = a.events.try_recv() {
            a.kept.push_back(event);
        }
        if let Some(reason) = a.kept.iter().find_map(down) {
            break reason;
        }
    };
    assert_eq!(reason, DownReason::Slow);
    // What the slow node did get is whole and in order, and then the link is down for it, too.
    assert_eq!(slow.frame(a.key()).await, frame);
    assert!(matches!(
        slow.down(a.key()).await,
        DownReason::Closed | DownReason::Lost(_)
    ));
    a.send(&quick, "tock").await;
    assert_eq!(quick.frame(a.key()).await, "tock");
}

/// Forwards connections to `to` until it is told to stand still; then neither side hears anything any more.
async fn forwarder(to: Multiaddr) -> (Multiaddr, watch::Sender<bool>) {
    let port = |address: &Multiaddr| {
        address
            .iter()
            .find_map(|part| match part {
                Protocol::Tcp(port) => Some(port),
                _ => None,
            })
            .expect("is TCP")
    };
    let to = (Ipv4Addr::LOCALHOST, port(&to));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("binds");
    let own = listener.local_addr().expect("bound").port();
    let (freeze, frozen) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.expect("accepts");
            let mut far = TcpStream::connect(to).await.expect("connects");
            let mut frozen = frozen.clone();
            tokio::spawn(async move {
                let is_frozen = async { frozen.wait_for(|frozen| *frozen).await.is_ok() };
                let freezes = tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => false,
                    freezes = is_frozen => freezes,
                };
                if freezes {
                    // Keeps both sockets open.
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (
        format!("/ip4/127.0.0.1/tcp/{own}").parse().expect("valid"),
        freeze,
    )
}

#[tokio::test]
async fn a_dead_path_is_noticed_by_both_sides_if_one_is_in_a_hurry() {
    let [one, other] = secrets();
    let rest = |config: &mut NetConfig| config.keep_alive.pace = Duration::from_secs(60);
    let mut a = Node::start(one, TCP, rest).await;
    let mut b = Node::start(other, TCP, rest).await;
    let (detour, freeze) = forwarder(b.address.clone()).await;
    a.tell(NetCommand::DialAddress { address: detour }).await;
    a.up(b.key()).await;
    b.up(a.key()).await;
    b.tell(NetCommand::SetPace {
        pace: Duration::from_millis(250),
    })
    .await;
    // It takes a moment to reach the other one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    freeze.send_replace(true);
    let began = Instant::now();
    assert!(matches!(b.down(a.key()).await, DownReason::Silent(_)));
    assert!(matches!(a.down(b.key()).await, DownReason::Silent(_)));
    // A ping takes 20 s at best, and their own paces would have taken 90.
    assert!(began.elapsed() < Duration::from_secs(15));
    // A new path works at once, whatever has become of the old connection.
    linked(&mut b, &mut a).await;
}

#[tokio::test]
async fn a_busy_caller_is_not_a_dead_peer() {
    let [one, other] = secrets();
    let hurry = |config: &mut NetConfig| {
        config.keep_alive.pace = Duration::from_millis(250);
        config.limits.event_queue = 1;
    };
    let mut a = Node::start(one, TCP, hurry).await;
    let mut b = Node::start(other, TCP, hurry).await;
    linked(&mut a, &mut b).await;
    for number in 0..10_u8 {
        a.send(&b, vec![number]).await;
    }
    // Nobody takes the events of either for longer than the silence that a link survives.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    for number in 0..10_u8 {
        assert_eq!(b.frame(a.key()).await, [number][..]);
    }
    b.send(&a, "still here").await;
    assert_eq!(a.frame(b.key()).await, "still here");
    let down = |event: &NetEvent| matches!(event, NetEvent::LinkDown { .. });
    assert!(!a.kept.iter().chain(&b.kept).any(down));
}

#[tokio::test]
async fn gossip_passes_only_with_a_verdict() {
    const TOPIC: &str = "t/1";
    let [a, b, c] = secrets();
    let mut a = Node::start(a, TCP, |_| {}).await;
    let mut b = Node::start(b, TCP, |_| {}).await;
    let mut c = Node::start(c, TCP, |_| {}).await;
    let publish = |data: &'static str| NetCommand::Publish {
        topic: TOPIC.to_owned(),
        data: Bytes::from(data),
    };
    a.tell(publish("into the void")).await;
    linked(&mut a, &mut b).await;
    linked(&mut c, &mut b).await;
    for node in [&a, &b, &c] {
        node.tell(NetCommand::Subscribe {
            topic: TOPIC.to_owned(),
        })
        .await;
    }
    a.subscriber(TOPIC, b.key()).await;
    b.subscriber(TOPIC, a.key()).await;
    b.subscriber(TOPIC, c.key()).await;

    for (data, verdict) in [
        ("one", Verdict::Accept),
        ("two", Verdict::Reject),
        ("three", Verdict::Accept),
    ] {
        a.tell(publish(data)).await;
        let (from, got, message) = b.gossip().await;
        assert_eq!((from, &got[..]), (a.key(), data.as_bytes()));
        b.tell(NetCommand::Verdict { message, verdict }).await;
    }
    for data in ["one", "three"] {
        let (from, got, _) = c.gossip().await;
        assert_eq!((from, &got[..]), (b.key(), data.as_bytes()));
    }
    let failed = |event: &NetEvent| matches!(event, NetEvent::GossipFailed { .. });
    assert!(!a.kept.iter().any(failed));
    a.tell(NetCommand::Publish {
        topic: TOPIC.to_owned(),
        data: vec![0; (1 << 20) + 1].into(),
    })
    .await;
    a.wait("refusal", |event| failed(event).then_some(())).await;
}

#[tokio::test]
async fn three_thousand_topics_survive_the_hello() {
    let [one, other] = secrets();
    let mut a = Node::start(one, TCP, |_| {}).await;
    let mut b = Node::start(other, TCP, |_| {}).await;
    let topic = |number: u32| format!("revnet/{number:064}");
    for number in 0..3000 {
        b.tell(NetCommand::Subscribe {
            topic: topic(number),
        })
        .await;
    }
    a.tell(NetCommand::Subscribe { topic: topic(2999) }).await;
    linked(&mut a, &mut b).await;
    a.subscriber(&topic(2999), b.key()).await;
    // Whoever comes later to a topic is told who is there.
    a.tell(NetCommand::Subscribe { topic: topic(7) }).await;
    a.subscriber(&topic(7), b.key()).await;
}

#[derive(NetworkBehaviour)]
struct RelayBehaviour {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

fn relay_swarm(secret: [u8; 32]) -> Swarm<RelayBehaviour> {
    SwarmBuilder::with_existing_identity(Keypair::ed25519_from_bytes(secret).expect("a secret"))
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .expect("builds")
        .with_behaviour(|pair| {
            let unlimited = relay::Config {
                max_circuit_bytes: u64::MAX,
                ..relay::Config::default()
            };
            RelayBehaviour {
                relay: relay::Behaviour::new(pair.public().to_peer_id(), unlimited),
                identify: identify::Behaviour::new(identify::Config::new(
                    IDENTIFY_PROTOCOL.to_owned(),
                    pair.public(),
                )),
                ping: ping::Behaviour::default(),
            }
        })
        .expect("builds")
        .build()
}

/// Runs a relay until the task is aborted.
async fn start_relay(
    secret: [u8; 32],
    listen: &str,
) -> (RelayAddress, tokio::task::JoinHandle<()>) {
    let mut swarm = relay_swarm(secret);
    swarm
        .listen_on(listen.parse().expect("valid"))
        .expect("listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    swarm.add_external_address(address.clone());
    let relay = RelayAddress::new(*swarm.local_peer_id(), [address]).expect("valid");
    let task = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    (relay, task)
}

#[tokio::test]
async fn two_nodes_meet_at_a_relay_and_stay_there_without_another_path() {
    let [a, b, relay] = secrets();
    let (relay, _task) = start_relay(relay, TCP).await;
    let hidden = |config: &mut NetConfig| {
        config.listen.clear();
        config.relays = vec![relay.clone()];
    };
    let mut a = Node::start(a, TCP, hidden).await;
    let mut b = Node::start(b, TCP, hidden).await;
    a.relay_up().await;
    b.relay_up().await;
    a.dial(&b).await;
    assert!(a.up(b.key()).await, "relayed");
    assert!(b.up(a.key()).await, "relayed");
    for number in 0..500_u32 {
        a.send(&b, vec![number.to_be_bytes()[3]; 2000]).await;
    }
    for number in 0..500_u32 {
        assert_eq!(b.frame(a.key()).await, vec![number.to_be_bytes()[3]; 2000]);
    }
    let status = b.net.status().await.expect("runs");
    assert!(status.links[0].relayed);
    assert!(status.relays[0].reserved.is_some());
}

#[tokio::test]
async fn a_link_leaves_the_relay_when_a_direct_path_exists() {
    let [a, b, relay] = secrets();
    let (relay, _task) = start_relay(relay, TCP).await;
    let mut a = Node::start(a, TCP, |config| config.relays = vec![relay.clone()]).await;
    let mut b = Node::start(b, TCP, |config| config.relays = vec![relay.clone()]).await;
    a.relay_up().await;
    b.relay_up().await;
    a.tell(NetCommand::Dial {
        peer: b.key(),
        addresses: Vec::new(),
    })
    .await;
    let keys = (a.key(), b.key());
    for (node, other) in [(&mut a, keys.1), (&mut b, keys.0)] {
        if node.up(other).await {
            assert_eq!(node.down(other).await, DownReason::Moved);
            assert!(!node.up(other).await, "direct");
        }
    }
    a.send(&b, "short way").await;
    assert_eq!(b.frame(a.key()).await, "short way");
}

#[tokio::test]
async fn a_restarted_relay_is_reserved_again() {
    let [node, relay] = secrets();
    let (address, task) = start_relay(relay, TCP).await;
    let mut node = Node::start(node, TCP, |config| config.relays = vec![address.clone()]).await;
    let circuit = node.relay_up().await;
    task.abort();
    let error = node
        .wait("the loss", |event| match event {
            NetEvent::RelayDown { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await;
    assert!(!error.is_empty());
    // The relay stays away for long enough that a first attempt fails.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(
        node.net.status().await.expect("runs").relays[0]
            .last_error
            .is_some()
    );
    let mut listen = address.addresses()[0].clone();
    listen.pop();
    let (again, _task) = start_relay(relay, &listen.to_string()).await;
    assert_eq!(again, address);
    assert_eq!(node.relay_up().await, circuit);
    assert!(
        node.net.status().await.expect("runs").relays[0]
            .last_error
            .is_none()
    );
}

#[tokio::test]
async fn providers_are_found_through_a_third_node_and_can_be_dialled() {
    const KEY: [u8; 32] = [42; 32];
    let [a, b, server] = secrets();
    let mut server = Node::start(server, TCP, |config| config.kad = KadMode::Server).await;
    let mut a = Node::start(a, TCP, |_| {}).await;
    let mut b = Node::start(b, TCP, |_| {}).await;
    a.tell(NetCommand::AddExternal {
        address: a.address.clone(),
    })
    .await;
    // Before it knows anybody: it has to be said again.
    a.tell(NetCommand::Provide { key: KEY }).await;
    linked(&mut a, &mut server).await;
    linked(&mut b, &mut server).await;
    let search = async {
        loop {
            b.tell(NetCommand::FindProviders { key: KEY }).await;
            let (peers, _) = b
                .wait("an answer", |event| match event {
                    NetEvent::Providers {
                        key: KEY,
                        peers,
                        done,
                    } => Some((peers.clone(), *done)),
                    _ => None,
                })
                .await;
            if peers.contains(&a.key()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, search).await.expect("found");
    b.wait("its addresses", |event| match event {
        NetEvent::Discovered {
            peer,
            source: Source::Kad,
            ..
        } => (*peer == a.key()).then_some(()),
        _ => None,
    })
    .await;
    b.tell(NetCommand::Dial {
        peer: a.key(),
        addresses: Vec::new(),
    })
    .await;
    assert!(!b.up(a.key()).await, "direct");
}

#[tokio::test]
async fn failures_are_told() {
    let [one, other, third] = secrets();
    let mut a = Node::start(one, TCP, |_| {}).await;
    let occupant = Node::start(other, TCP, |_| {}).await;
    let mut b = Node::start(third, TCP, |config| {
        config.listen = vec![TCP.parse().expect("valid"), occupant.address.clone()];
    })
    .await;
    b.wait("the taken port", |event| match event {
        NetEvent::ListenFailed { error, .. } => Some(error.clone()),
        _ => None,
    })
    .await;
    let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("valid");
    a.tell(NetCommand::DialAddress {
        address: nowhere.clone(),
    })
    .await;
    a.tell(NetCommand::Dial {
        peer: [9; 32],
        addresses: Vec::new(),
    })
    .await;
    for expected in [(None, Some(nowhere)), (Some([9; 32]), None)] {
        a.wait("a failed dial", |event| match event {
            NetEvent::DialFailed {
                peer,
                address,
                error,
            } => {
                assert!(!error.is_empty());
                ((*peer, address.clone()) == expected).then_some(())
            }
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn a_shutdown_writes_out_what_is_queued() {
    let [one, other] = secrets();
    let mut a = Node::start(one, QUIC, |_| {}).await;
    let mut b = Node::start(other, QUIC, |_| {}).await;
    linked(&mut a, &mut b).await;
    for number in 0..100_u8 {
        a.send(&b, vec![number; 10_000]).await;
    }
    a.tell(NetCommand::Shutdown).await;
    assert_eq!(a.down(b.key()).await, DownReason::Shutdown);
    let end = async { while a.events.recv().await.is_some() {} };
    timeout(PATIENCE, end).await.expect("the task ends");
    for number in 0..100_u8 {
        assert_eq!(b.frame(a.key()).await, vec![number; 10_000]);
    }
    assert!(a.net.status().await.is_err());
}

#[tokio::test]
async fn a_blocked_peer_stays_out() {
    let [one, other] = secrets();
    let mut a = Node::start(one, TCP, |_| {}).await;
    let mut b = Node::start(other, TCP, |_| {}).await;
    linked(&mut a, &mut b).await;
    a.tell(NetCommand::Block {
        peer: b.key(),
        period: Duration::from_secs(600),
    })
    .await;
    b.down(a.key()).await;
    a.down(b.key()).await;
    a.tell(NetCommand::Unblock { peer: b.key() }).await;
    linked(&mut b, &mut a).await;
}
