//! A real relay on loopback, with real nodes behind it.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use revnet_bootstrap::{Ready, RelayConfig, RunError, run};
use revnet_net::{NetCommand, NetConfig, NetEvent, NetHandle, NetStatus, RelayAddress, start};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// Far more than anything here takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

struct Relay {
    ready: Ready,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
    _directory: TempDir,
}

impl Relay {
    async fn start(tweak: impl FnOnce(&mut RelayConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = RelayConfig::new(directory.path().join("relay.key"));
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("valid")];
        tweak(&mut config);
        let (ready, is_ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let tell = |relay: &Ready| ready.send(relay.clone()).expect("somebody waits");
            let stopped = async { stopped.await.expect("is told") };
            run(&config, tell, stopped).await
        });
        let ready = timeout(PATIENCE, is_ready)
            .await
            .expect("in time")
            .expect("starts");
        Self {
            ready,
            stop,
            task,
            _directory: directory,
        }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        timeout(PATIENCE, self.task)
            .await
            .expect("in time")
            .expect("no panic")
            .expect("no error");
    }
}

struct Node {
    net: NetHandle,
    events: mpsc::Receiver<NetEvent>,
}

impl Node {
    /// A node that nobody can dial directly.
    fn start(secret: u8, relay: &RelayAddress) -> Self {
        let mut config = NetConfig::new([secret; 32].into());
        config.mdns = false;
        config.listen.clear();
        config.relays = vec![relay.clone()];
        let (net, events) = start(&config).expect("starts");
        Self { net, events }
    }

    async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.expect("runs")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search)
            .await
            .unwrap_or_else(|_| panic!("never happened: {what}"))
    }

    async fn reserved(&mut self) {
        self.wait("reservation", |event| {
            matches!(event, NetEvent::RelayUp { .. }).then_some(())
        })
        .await;
    }

    /// Asks for the status until it is as wished.
    async fn until(&self, what: &str, wished: impl Fn(&NetStatus) -> bool) {
        let search = async {
            while !wished(&self.net.status().await.expect("runs")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, search)
            .await
            .unwrap_or_else(|_| panic!("never happened: {what}"));
    }
}

#[tokio::test]
async fn two_nodes_find_each_other_at_a_relay_and_talk_through_it() {
    const KEY: [u8; 32] = [3; 32];
    let relay = Relay::start(|_| {}).await;
    let line = relay.ready.address.to_string();
    let address: RelayAddress = line.parse().expect("the line parses");
    assert!(!relay.ready.public);
    let (mut a, mut b) = (Node::start(1, &address), Node::start(2, &address));
    a.reserved().await;
    b.reserved().await;
    a.net
        .send(NetCommand::Provide { key: KEY })
        .await
        .expect("runs");
    let found = async {
        loop {
            b.net
                .send(NetCommand::FindProviders { key: KEY })
                .await
                .expect("runs");
            let peers = b
                .wait("an answer", |event| match event {
                    NetEvent::Providers { peers, .. } => Some(peers),
                    _ => None,
                })
                .await;
            if let [peer] = peers[..] {
                return peer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let peer = timeout(PATIENCE, found).await.expect("the table tells");
    assert_eq!(peer, a.net.peer());
    b.net
        .send(NetCommand::Dial {
            peer,
            addresses: Vec::new(),
        })
        .await
        .expect("runs");
    let mut link = None;
    for (node, other) in [(&mut a, b.net.peer()), (&mut b, peer)] {
        let relayed = node.wait("link", |event| match event {
            NetEvent::LinkUp {
                peer,
                link,
                relayed,
                ..
            } => Some((peer, relayed, link)),
            _ => None,
        });
        let (peer, relayed, up) = relayed.await;
        assert_eq!((peer, relayed), (other, true));
        link = Some(up);
    }
    let link = link.expect("both are up");
    // More than a circuit carries by libp2p's defaults.
    for _ in 0..20 {
        let frame = vec![5; 64 << 10].into();
        b.net
            .send(NetCommand::Send { peer, link, frame })
            .await
            .expect("runs");
    }
    for _ in 0..20 {
        let length = a.wait("frame", |event| match event {
            NetEvent::Frame { bytes, .. } => Some(bytes.len()),
            _ => None,
        });
        assert_eq!(length.await, 64 << 10);
    }
    relay.stop().await;
    a.wait("the end of the link", |event| {
        matches!(event, NetEvent::LinkDown { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_more_reservations_than_the_limit() {
    let relay = Relay::start(|config| config.limits.reservations = 1).await;
    let mut first = Node::start(1, &relay.ready.address);
    first.reserved().await;
    let second = Node::start(2, &relay.ready.address);
    let refused =
        |status: &NetStatus| status.relays[0].connected && status.relays[0].last_error.is_some();
    second.until("the refusal", refused).await;
    let status = second.net.status().await.expect("runs");
    assert!(status.relays[0].reserved.is_none());
    assert!(
        first.net.status().await.expect("runs").relays[0]
            .reserved
            .is_some()
    );
    // The place becomes free, and the second node asks again by itself.
    first.net.send(NetCommand::Shutdown).await.expect("runs");
    second
        .until("the reservation", |status| {
            status.relays[0].reserved.is_some()
        })
        .await;
    relay.stop().await;
}

#[tokio::test]
async fn no_more_connections_from_one_address_than_the_limit() {
    let relay = Relay::start(|config| config.limits.connections_per_address = 2).await;
    let mut nodes: Vec<_> = (1..=2)
        .map(|secret| Node::start(secret, &relay.ready.address))
        .collect();
    for node in &mut nodes {
        node.reserved().await;
    }
    let third = Node::start(3, &relay.ready.address);
    third
        .until("the refusal", |status| {
            status.relays[0].last_error.is_some()
        })
        .await;
    assert!(!third.net.status().await.expect("runs").relays[0].connected);
    relay.stop().await;
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test]
async fn health_and_numbers_are_served_where_wanted() {
    let relay = Relay::start(|config| config.http = Some(([127, 0, 0, 1], 0).into())).await;
    let mut node = Node::start(1, &relay.ready.address);
    node.reserved().await;
    let http = relay.ready.http.expect("was wanted");
    let health = get(http, "/healthz").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
        "{health}"
    );
    let numbers = get(http, "/metrics").await;
    for line in [
        "revnet_relay_reservations 1",
        "revnet_relay_connections 1",
        "revnet_relay_circuits 0",
    ] {
        assert!(numbers.contains(line), "{numbers}");
    }
    assert!(
        numbers.contains("libp2p_bandwidth_bytes_total"),
        "{numbers}"
    );
    relay.stop().await;
}

#[tokio::test]
async fn what_is_taken_is_said_before_anything_starts() {
    let occupant = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = occupant.local_addr().expect("bound").port();
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = RelayConfig::new(directory.path().join("relay.key"));
    let never = || async { panic!("it must not run") };
    config.listen = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("valid")];
    let result = run(&config, |_| panic!("not ready"), never()).await;
    assert!(matches!(result, Err(RunError::Listen { .. })), "{result:?}");
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("valid")];
    config.http = Some(([127, 0, 0, 1], port).into());
    let result = run(&config, |_| panic!("not ready"), never()).await;
    assert!(matches!(result, Err(RunError::Http { .. })), "{result:?}");
}

#[tokio::test]
async fn one_port_serves_both_families_and_both_transports() {
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").expect("binds");
        probe.local_addr().expect("bound").port()
    };
    let listen = [
        "ip4/0.0.0.0/tcp/P",
        "ip4/0.0.0.0/udp/P/quic-v1",
        "ip6/::/tcp/P",
        "ip6/::/udp/P/quic-v1",
    ];
    let address = |text: &str| {
        format!("/{}", text.replace('P', &port.to_string()))
            .parse()
            .expect("valid")
    };
    let relay = Relay::start(|config| {
        config.listen = listen.iter().map(|text| address(text)).collect();
        config.external = vec!["127.0.0.1".parse().expect("valid")];
    })
    .await;
    let line = relay.ready.address.to_string();
    assert!(
        line.contains(&format!("/ip4/127.0.0.1/tcp/{port}/")),
        "{line}"
    );
    assert!(
        line.contains(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1/")),
        "{line}"
    );
    let mut node = Node::start(1, &relay.ready.address);
    node.reserved().await;
    relay.stop().await;
}

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(key_file: &Path, listen: &str) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_revnet-bootstrap"))
        .args([
            "--listen",
            listen,
            "--external",
            "relay.example,192.0.2.7",
            "--key-file",
        ])
        .arg(key_file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Process(child.expect("the binary runs"))
}

#[test]
fn the_program_prints_its_address_keeps_its_key_and_ends_on_a_signal() {
    let directory = tempfile::tempdir().expect("a directory");
    let key_file = directory.path().join("relay.key");
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut process = spawn(&key_file, "/ip4/127.0.0.1/tcp/0");
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("prints");
        let address: RelayAddress = line.parse().expect("an address");
        let texts: Vec<_> = address
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(texts[0].starts_with("/dns/relay.example/tcp/"), "{texts:?}");
        assert!(texts[1].starts_with("/ip4/192.0.2.7/tcp/"), "{texts:?}");
        peers.push(address.peer());
        let killed = Command::new("kill")
            .arg(process.0.id().to_string())
            .status()
            .expect("kill runs");
        assert!(killed.success());
        assert!(process.0.wait().expect("ends").success());
    }
    assert_eq!(peers[0], peers[1]);

    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).expect("is ours");
    let mut process = spawn(&key_file, "/ip4/127.0.0.1/tcp/0");
    assert!(!process.0.wait().expect("ends").success());
    let mut error = String::new();
    process
        .0
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut error)
        .expect("reads");
    assert!(
        error.starts_with("error: ") && error.contains("chmod 600"),
        "{error}"
    );
}
