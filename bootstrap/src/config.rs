//! What an operator may say: defaults, then the file, then environment and flags.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::Deserialize;

/// A configuration file with every setting, its default and its meaning.
pub const EXAMPLE_CONFIG: &str = include_str!("relay.toml");

/// The port of a relay, TCP and UDP.
const PORT: u16 = 4001;

/// All that [`crate::run`] needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Addresses to listen on. All have to work, but for IPv6 on a machine without it.
    pub listen: Vec<Multiaddr>,
    /// How others reach the relay. Empty: at the addresses of its own interfaces.
    pub external: Vec<External>,
    /// Where the relay's secret key lies; made at the first start.
    pub key_file: PathBuf,
    /// Where `/healthz` and `/metrics` are served; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Bounds.
    pub limits: RelayLimits,
}

/// Bounds on what strangers can make the relay hold and do.
///
/// Rates allow a burst of one minute's worth; a rate of 0 is no limit.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RelayLimits {
    /// Connections.
    pub connections: u32,
    /// Connections of one peer.
    pub connections_per_peer: u32,
    /// Connections from one IPv4 address or IPv6 /64.
    pub connections_per_address: u32,
    /// Resident memory in MiB above which no connection is accepted; 0: no such limit.
    pub memory_mib: usize,
    /// Peers that may be reached through the relay.
    pub reservations: usize,
    /// Reservations of one peer.
    pub reservations_per_peer: usize,
    /// Seconds until a reservation has to be renewed.
    pub reservation_seconds: u32,
    /// Requests for a reservation per minute, by peer.
    pub reservation_rate_per_peer: u32,
    /// Requests for a reservation per minute, by IP address.
    pub reservation_rate_per_address: u32,
    /// Circuits.
    pub circuits: usize,
    /// Circuits of one peer.
    pub circuits_per_peer: usize,
    /// Seconds until a circuit ends.
    pub circuit_seconds: u32,
    /// MiB that one circuit may carry; 0: no limit.
    pub circuit_mib: u64,
    /// Requests for a circuit per minute, by the peer that asks.
    pub circuit_rate_per_peer: u32,
    /// Requests for a circuit per minute, by IP address.
    pub circuit_rate_per_address: u32,
    /// Keys in the Kademlia table.
    pub table_keys: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_peer: 8,
            connections_per_address: 256,
            memory_mib: 0,
            reservations: 8192,
            reservations_per_peer: 4,
            reservation_seconds: 3600,
            reservation_rate_per_peer: 20,
            reservation_rate_per_address: 600,
            circuits: 8192,
            circuits_per_peer: 256,
            circuit_seconds: 86_400,
            circuit_mib: 4096,
            circuit_rate_per_peer: 240,
            circuit_rate_per_address: 2400,
            table_keys: 100_000,
        }
    }
}

impl RelayConfig {
    /// Listens on every interface at port 4001 (TCP and QUIC), serves no HTTP, and has the default limits.
    #[must_use]
    pub fn new(key_file: PathBuf) -> Self {
        let listen = ["/ip4/0.0.0.0", "/ip6/::"].iter().flat_map(|any| {
            [
                format!("{any}/tcp/{PORT}"),
                format!("{any}/udp/{PORT}/quic-v1"),
            ]
        });
        Self {
            listen: listen
                .map(|address| address.parse().expect("a constant address"))
                .collect(),
            external: Vec::new(),
            key_file,
            http: None,
            limits: RelayLimits::default(),
        }
    }
}

/// How others reach the relay: a whole multiaddr, or just the IP address or name, which goes for every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// `/ip4/192.0.2.1/tcp/4001`
    Address(Multiaddr),
    /// `192.0.2.1` or `relay.example.org`
    Host(String),
}

impl External {
    /// The addresses that this stands for, given where the relay listens.
    pub(crate) fn expand(&self, listening: &[Multiaddr]) -> Vec<Multiaddr> {
        let host = match self {
            Self::Address(address) => return vec![address.clone()],
            Self::Host(host) => host,
        };
        let mut expanded: Vec<Multiaddr> = Vec::new();
        for address in listening {
            let head = match host.parse() {
                Ok(IpAddr::V4(ip)) => Protocol::Ip4(ip),
                Ok(IpAddr::V6(ip)) => Protocol::Ip6(ip),
                Err(_) => Protocol::Dns(host.into()),
            };
            let external: Multiaddr = std::iter::once(head)
                .chain(address.iter().skip(1))
                .collect();
            if !expanded.contains(&external) {
                expanded.push(external);
            }
        }
        expanded
    }
}

impl FromStr for External {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.starts_with('/') {
            return text
                .parse()
                .map(Self::Address)
                .map_err(|error| format!("'{text}' is not an address: {error}"));
        }
        let name = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if name || text.parse::<IpAddr>().is_ok() {
            return Ok(Self::Host(text.to_owned()));
        }
        Err(format!(
            "'{text}' is no IP address, name or multiaddr; ports come from --listen"
        ))
    }
}

impl fmt::Display for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

/// Flags and environment variables of a relay.
#[derive(Args, Clone, Debug, Default)]
pub struct RelayArgs {
    /// Configuration file; the flags below go over it
    #[arg(long, value_name = "FILE", env = "REVNET_RELAY_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address to listen on, such as /ip4/0.0.0.0/tcp/4001 (may be repeated)
    #[arg(
        long,
        value_name = "ADDR",
        env = "REVNET_RELAY_LISTEN",
        value_delimiter = ','
    )]
    pub listen: Vec<Multiaddr>,

    /// How others reach this relay: IP address, name, or multiaddr (may be repeated)
    #[arg(
        long,
        value_name = "HOST",
        env = "REVNET_RELAY_EXTERNAL",
        value_delimiter = ','
    )]
    pub external: Vec<External>,

    /// File with the relay's secret key; made at the first start
    #[arg(long, value_name = "FILE", env = "REVNET_RELAY_KEY_FILE")]
    pub key_file: Option<PathBuf>,

    /// Serve /healthz and /metrics here; a port alone means 127.0.0.1
    #[arg(long, value_name = "ADDR:PORT", env = "REVNET_RELAY_HTTP", value_parser = parse_http)]
    pub http: Option<SocketAddr>,

    /// Set a limit of the section "limits" of the configuration file, such as circuits=100 (may be repeated)
    #[arg(long, value_name = "NAME=NUMBER", env = "REVNET_RELAY_LIMITS", value_delimiter = ',', value_parser = parse_limit)]
    pub limit: Vec<(String, u64)>,

    /// Print a configuration file with all settings and their defaults, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Why the configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that means nothing.
    #[error("the configuration file {path} is wrong (--print-config shows a right one)")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A `--limit` that means nothing.
    #[error("--limit is wrong (--print-config shows all limits)")]
    Limit(#[source] Box<toml::de::Error>),
    /// A value that parses but can't work.
    #[error("{0}")]
    Value(String),
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    listen: Option<Vec<Multiaddr>>,
    external: Option<Vec<String>>,
    key_file: Option<PathBuf>,
    http: Option<String>,
    limits: toml::Table,
}

impl RelayArgs {
    /// The configuration that file, environment and flags add up to. A relative key file is relative to the
    /// configuration file that names it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn resolve(self, default_key_file: PathBuf) -> Result<RelayConfig, ConfigError> {
        let file = self
            .config
            .as_deref()
            .map(read_file)
            .transpose()?
            .unwrap_or_default();
        let mut config = RelayConfig::new(default_key_file);
        let beside = |path: PathBuf| match self.config.as_deref().and_then(Path::parent) {
            Some(directory) => directory.join(path),
            None => path,
        };
        if let Some(key_file) = self.key_file.or_else(|| file.key_file.map(beside)) {
            config.key_file = key_file;
        }
        if let Some(listen) = Some(self.listen)
            .filter(|listen| !listen.is_empty())
            .or(file.listen)
        {
            config.listen = listen;
        }
        config.external = if self.external.is_empty() {
            let parse = |text: &String| text.parse().map_err(ConfigError::Value);
            file.external
                .iter()
                .flatten()
                .map(parse)
                .collect::<Result<_, _>>()?
        } else {
            self.external
        };
        config.http = match (self.http, file.http) {
            (None, Some(text)) => Some(parse_http(&text).map_err(ConfigError::Value)?),
            (flag, _) => flag,
        };
        config.limits = merge_limits(file.limits, self.limit, self.config)?;
        if config.listen.is_empty() {
            return Err(ConfigError::Value(
                "a relay has to listen somewhere; give it a --listen address".to_owned(),
            ));
        }
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<ConfigFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Reads the file's limits by themselves first, so that an error names the one who made it.
fn merge_limits(
    mut table: toml::Table,
    flags: Vec<(String, u64)>,
    path: Option<PathBuf>,
) -> Result<RelayLimits, ConfigError> {
    if let Some(path) = path {
        let check: Result<RelayLimits, _> = table.clone().try_into();
        check.map_err(|source| ConfigError::Parse {
            path,
            source: Box::new(source),
        })?;
    }
    for (name, number) in flags {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        table.insert(name, toml::Value::Integer(number));
    }
    table
        .try_into()
        .map_err(|error| ConfigError::Limit(Box::new(error)))
}

fn parse_limit(text: &str) -> Result<(String, u64), String> {
    let (name, number) = text
        .split_once('=')
        .ok_or("expected NAME=NUMBER, such as circuits=100")?;
    let number = number
        .trim()
        .replace('_', "")
        .parse()
        .map_err(|_| format!("'{number}' is no number"))?;
    Ok((name.trim().to_owned(), number))
}

fn parse_http(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        format!("'{text}' is no address; expected a port or ADDRESS:PORT, such as 127.0.0.1:9400")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        relay: RelayArgs,
    }

    fn resolve(arguments: &[&str]) -> Result<RelayConfig, ConfigError> {
        let command = Command::try_parse_from([&["relay"], arguments].concat()).expect("parses");
        command.relay.resolve("/default/relay.key".into())
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("relay.toml");
        std::fs::write(&path, text).expect("writes");
        let path = path.to_str().expect("is text").to_owned();
        (directory, path)
    }

    #[test]
    fn the_example_says_what_the_defaults_are() {
        let (_directory, path) = file(EXAMPLE_CONFIG);
        let config = resolve(&["--config", &path]).expect("valid");
        // Whoever puts it in place unchanged keeps the relay's address.
        assert_eq!(config, RelayConfig::new("/default/relay.key".into()));
        let settings = EXAMPLE_CONFIG.split_once("[limits]").expect("has limits").1;
        let named = settings.lines().filter(|line| line.contains('=')).count();
        let table: toml::Table = settings.parse().expect("valid");
        assert_eq!(named, table.len());
        // Every limit is in the example: none of them may be left to its default.
        let debug = format!("{:?}", RelayLimits::default());
        assert_eq!(debug.matches(": ").count(), table.len());
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_the_defaults() {
        let (_directory, path) = file(
            "external = ['relay.example']\nhttp = '9400'\nlisten = ['/ip4/127.0.0.1/tcp/1']\n\
             key_file = '/keys/k'\n[limits]\ncircuits = 5\nreservations = 6\n",
        );
        let config = resolve(&["--config", &path]).expect("valid");
        assert_eq!(
            config.external,
            [External::Host("relay.example".to_owned())]
        );
        assert_eq!(config.http, Some(([127, 0, 0, 1], 9400).into()));
        assert_eq!(config.key_file, Path::new("/keys/k"));
        assert_eq!((config.limits.circuits, config.limits.reservations), (5, 6));
        assert_eq!(
            config.limits.connections,
            RelayLimits::default().connections
        );

        let flags = [
            "--http",
            "0.0.0.0:1",
            "--limit",
            "circuits=7,table_keys=1_000",
            "--external",
            "192.0.2.1",
        ];
        let more = [
            "--listen",
            "/ip4/127.0.0.1/tcp/2,/ip4/127.0.0.1/tcp/3",
            "--config",
            &path,
            "--key-file",
            "other",
        ];
        let config = resolve(&[&flags[..], &more[..]].concat()).expect("valid");
        assert_eq!(config.http, Some(([0, 0, 0, 0], 1).into()));
        assert_eq!((config.limits.circuits, config.limits.reservations), (7, 6));
        assert_eq!(config.limits.table_keys, 1000);
        assert_eq!(config.external, [External::Host("192.0.2.1".to_owned())]);
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.key_file, Path::new("other"));
    }

    #[test]
    fn mistakes_are_named() {
        for text in [
            "colour = 'red'",
            "[limits]\ncircuit = 5",
            "[limits]\ncircuits = -1",
            "listen = ['nowhere']",
        ] {
            let (_directory, path) = file(text);
            assert!(
                matches!(
                    resolve(&["--config", &path]),
                    Err(ConfigError::Parse { .. })
                ),
                "{text}"
            );
        }
        for text in ["external = ['a b']", "http = 'x'", "listen = []"] {
            let (_directory, path) = file(text);
            assert!(
                matches!(resolve(&["--config", &path]), Err(ConfigError::Value(_))),
                "{text}"
            );
        }
        assert!(matches!(
            resolve(&["--limit", "circuit=5"]),
            Err(ConfigError::Limit(_))
        ));
        assert!(matches!(
            resolve(&["--config", "/nonexistent"]),
            Err(ConfigError::Read { .. })
        ));
    }

    #[test]
    fn a_host_stands_for_every_port() {
        let listening = [
            "/ip4/127.0.0.1/tcp/7",
            "/ip4/10.0.0.1/tcp/7",
            "/ip4/10.0.0.1/udp/8/quic-v1",
        ]
        .map(|text| text.parse().expect("valid"));
        let expand = |text: &str| {
            let external: External = text.parse().expect("valid");
            external
                .expand(&listening)
                .iter()
                .map(Multiaddr::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            expand("192.0.2.1"),
            ["/ip4/192.0.2.1/tcp/7", "/ip4/192.0.2.1/udp/8/quic-v1"]
        );
        assert_eq!(
            expand("relay.example"),
            [
                "/dns/relay.example/tcp/7",
                "/dns/relay.example/udp/8/quic-v1"
            ]
        );
        assert_eq!(
            expand("/dns4/a.example/tcp/443"),
            ["/dns4/a.example/tcp/443"]
        );
    }
}
