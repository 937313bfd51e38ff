//! The node as its API sees it.

use std::path::PathBuf;
use std::sync::Arc;

use revnet_api::dto::{LinkStatus, NetworkStatus, RelayState, RelayStatus};
use revnet_api::{IdentityError as ApiIdentityError, NodeHandle, Sequenced};
use revnet_core::command::{Command, CommandError, Reply};
use revnet_net::NetHandle;
use revnet_protocol::{DeviceId, DeviceRevocation, EnvelopeId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::identity::{self, IdentityError};

/// A command and where its answer goes.
pub(crate) type Asked = (Command, oneshot::Sender<Result<Reply, CommandError>>);

/// A running node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Asked>,
    pub(crate) notices: broadcast::Sender<Arc<Sequenced>>,
    pub(crate) net: NetHandle,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) data_dir: PathBuf,
}

impl NodeHandle for Handle {
    async fn command(&self, command: Command) -> Result<Reply, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .try_send((command, reply))
            .map_err(|_| CommandError::Busy)?;
        answer.await.unwrap_or(Err(CommandError::Busy))
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Sequenced>> {
        self.notices.subscribe()
    }

    async fn network(&self) -> NetworkStatus {
        let Ok(status) = self.net.status().await else {
            return NetworkStatus {
                listen: Vec::new(),
                external: Vec::new(),
                relays: Vec::new(),
                links: Vec::new(),
            };
        };
        let text = |list: &[revnet_net::Multiaddr]| list.iter().map(ToString::to_string).collect();
        NetworkStatus {
            listen: text(&status.listen),
            external: text(&status.external),
            relays: status
                .relays
                .iter()
                .map(|relay| RelayStatus {
                    address: relay.relay.to_string(),
                    state: match (&relay.reserved, &relay.last_error) {
                        (Some(_), _) => RelayState::Reserved,
                        (None, Some(_)) => RelayState::Failed,
                        (None, None) => RelayState::Connecting,
                    },
                    error: relay.last_error.clone(),
                })
                .collect(),
            links: status
                .links
                .iter()
                .map(|link| LinkStatus {
                    device: DeviceId(link.peer).into(),
                    address: link.address.to_string(),
                    relayed: link.relayed,
                    rtt_ms: link.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                })
                .collect(),
        }
    }

    fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    fn phrase(&self, passphrase: Option<String>) -> Result<String, ApiIdentityError> {
        identity::phrase(&self.data_dir, passphrase.as_deref())
            .map(|words| words.to_string())
            .map_err(|error| told(&error))
    }

    fn backup(&self, passphrase: String, name: String) -> Result<Vec<u8>, ApiIdentityError> {
        identity::backup(&self.data_dir, &passphrase, name).map_err(|error| told(&error))
    }

    fn revocations(
        &self,
        device: DeviceId,
        keep: &[(u64, EnvelopeId)],
        passphrase: Option<String>,
    ) -> Result<Vec<DeviceRevocation>, ApiIdentityError> {
        identity::revocations(&self.data_dir, device, keep, passphrase.as_deref())
            .map_err(|error| told(&error))
    }
}

fn told(error: &IdentityError) -> ApiIdentityError {
    match error {
        IdentityError::Passphrase => ApiIdentityError::Locked,
        other => ApiIdentityError::Storage(other.to_string()),
    }
}
