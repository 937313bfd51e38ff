//! A relay: the node that others meet at. It introduces peers (Kademlia server), carries their traffic where no direct
//! path exists (circuit relay v2), and tells everybody the address it sees them at (identify).
//!
//! It belongs to nobody's community, joins no gossip and reads nothing: circuits are encrypted end to end. It never
//! holds more for a stranger than its limits say; libp2p's defaults would end a circuit after 128 KiB, so
//! [`RelayLimits`] raises them on purpose and limits each peer and each address instead.
//!
//! [`run`] is the whole of it; the `revnet-bootstrap` binary and `revnet relay` only read the configuration, wait for a
//! signal and print the address.
//!
//! ```
//! use revnet_bootstrap::{RelayConfig, run};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("revnet-relay-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let mut config = RelayConfig::new(directory.join("relay.key"));
//! config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
//! let (ready, started) = tokio::sync::oneshot::channel::<revnet_bootstrap::Ready>();
//! let stop = async move {
//!     let relay = started.await.expect("it starts");
//!     assert!(relay.address.to_string().starts_with("revnet-relay:/ip4/127.0.0.1/tcp/"));
//! };
//! run(&config, |relay| drop(ready.send(relay.clone())), stop).await?;
//! # std::fs::remove_dir_all(directory)?;
//! # Ok(()) }
//! ```

mod config;
mod http;
mod identity;
mod metrics;
mod server;
mod signal;
mod swarm;

pub use self::{
    config::{ConfigError, EXAMPLE_CONFIG, External, RelayArgs, RelayConfig, RelayLimits},
    identity::IdentityError,
    server::{Ready, RunError, run},
    signal::shutdown_signal,
    swarm::SetupError,
};
