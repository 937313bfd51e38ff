//! How a node is set up: options before environment before `config.toml` before defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use revnet_net::{Multiaddr, RelayAddress};
use serde::Deserialize;

/// Options of `revnet up`. Each has an environment variable, and a line in `config.toml`.
#[derive(Clone, Debug, Default, Args)]
pub struct UpArgs {
    /// Address of the local API and page [default: 127.0.0.1:7373]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "REVNET_API",
        hide_env_values = true
    )]
    pub api: Option<SocketAddr>,
    /// Multiaddress to listen on; repeat it, or separate several by commas [default: every interface]
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        env = "REVNET_LISTEN",
        hide_env_values = true
    )]
    pub listen: Vec<Multiaddr>,
    /// A community's relay: a `revnet-relay:` line or a multiaddress; repeat it, or separate by spaces
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ' ',
        env = "REVNET_BOOTSTRAP",
        hide_env_values = true
    )]
    pub bootstrap: Vec<RelayAddress>,
    /// Don't look for nodes on the local network
    #[arg(long, env = "REVNET_NO_MDNS", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_mdns: bool,
    /// Don't open the page in a browser
    #[arg(long, env = "REVNET_NO_OPEN", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_open: bool,
    /// Name beside loopback under which the API may be asked, HOST or HOST:PORT; repeat it, or separate by commas
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "REVNET_ALLOWED_HOSTS",
        hide_env_values = true
    )]
    pub allowed_hosts: Vec<String>,
    /// Memory for pages of the database, in MiB
    #[arg(
        long,
        value_name = "MIB",
        env = "REVNET_CACHE_MIB",
        hide_env_values = true
    )]
    pub cache_mib: Option<usize>,
    /// What you are called, if this is the first start
    #[arg(long, value_name = "NAME", env = "REVNET_NAME", hide_env_values = true)]
    pub name: Option<String>,
    /// Another configuration file [default: config.toml in the data directory]
    #[arg(
        long,
        value_name = "FILE",
        env = "REVNET_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,
    /// What to log, such as `info` or `revnet_core=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "REVNET_LOG",
        hide_env_values = true
    )]
    pub log: Option<String>,
}

/// The configuration file. Unknown lines are errors, so that a typing mistake is noticed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    api: Option<SocketAddr>,
    #[serde(default)]
    listen: Vec<String>,
    #[serde(default)]
    bootstrap: Vec<String>,
    mdns: Option<bool>,
    /// Names beside loopback under which the API may be asked.
    #[serde(default)]
    allowed_hosts: Vec<String>,
    /// Memory for pages of the database, in MiB.
    cache_mib: Option<usize>,
}

/// All decided.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) api: SocketAddr,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) bootstrap: Vec<RelayAddress>,
    pub(crate) mdns: bool,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) cache_bytes: usize,
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {path}: {why}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A line is wrong.
    #[error("the configuration {path} is wrong: {text}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
}

const DEFAULT_API: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7373);
const DEFAULT_CACHE_MIB: usize = 16;

impl Config {
    /// Merges options and file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn merge(args: &UpArgs, data_dir: &Path) -> Result<Self, ConfigError> {
        let path = args
            .config
            .clone()
            .unwrap_or_else(|| data_dir.join("config.toml"));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str::<File>(&text).map_err(|error| ConfigError::Wrong {
                path: path.clone(),
                text: error.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.config.is_none() => {
                File::default()
            }
            Err(why) => return Err(ConfigError::Read { path, why }),
        };
        let wrong = |text: String| ConfigError::Wrong {
            path: path.clone(),
            text,
        };
        let mut listen = args.listen.clone();
        if listen.is_empty() {
            for address in &file.listen {
                listen.push(
                    address
                        .parse()
                        .map_err(|error| wrong(format!("listen '{address}': {error}")))?,
                );
            }
        }
        let mut bootstrap = args.bootstrap.clone();
        if bootstrap.is_empty() {
            for address in &file.bootstrap {
                bootstrap.push(
                    address
                        .parse()
                        .map_err(|error| wrong(format!("bootstrap '{address}': {error}")))?,
                );
            }
        }
        Ok(Self {
            api: args.api.or(file.api).unwrap_or(DEFAULT_API),
            listen,
            bootstrap,
            mdns: !args.no_mdns && file.mdns.unwrap_or(true),
            allowed_hosts: if args.allowed_hosts.is_empty() {
                file.allowed_hosts
            } else {
                args.allowed_hosts.clone()
            },
            cache_bytes: args
                .cache_mib
                .or(file.cache_mib)
                .unwrap_or(DEFAULT_CACHE_MIB)
                << 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_file_and_mistakes_are_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "api = \"127.0.0.1:1\"\nmdns = false\n").expect("written");
        let config = Config::merge(&UpArgs::default(), dir.path()).expect("valid");
        assert_eq!((config.api.port(), config.mdns), (1, false));
        let args = UpArgs {
            api: Some("127.0.0.1:2".parse().expect("an address")),
            ..Default::default()
        };
        assert_eq!(
            Config::merge(&args, dir.path()).expect("valid").api.port(),
            2
        );
        std::fs::write(&file, "apy = 1\n").expect("written");
        let text = Config::merge(&UpArgs::default(), dir.path())
            .expect_err("a typing mistake")
            .to_string();
        assert!(text.contains("apy"), "{text}");
    }
}
