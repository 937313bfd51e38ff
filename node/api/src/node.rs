//! What the API needs of a node, and the same without generics, so that every route is compiled once.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use revnet_core::command::{Command, CommandError, Notice, Reply};
use revnet_protocol::{DeviceId, DeviceRevocation, EnvelopeId};
use tokio::sync::broadcast;

use crate::dto::NetworkStatus;

/// A notice and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Grows by one with every notice, below 2^53. A node starts above every number of its earlier runs
    /// (Unix microseconds do), so that a reader who resumes from an earlier run is recognised.
    pub seq: u64,
    /// What happened.
    pub notice: Notice,
}

/// Why something about the identity can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The root key is sealed with another passphrase, or with one at all.
    #[error("the passphrase is wrong or missing: give the one that the identity was made with")]
    Locked,
    /// The root key was made on another device and never leaves it.
    #[error("the root key isn't on this device: ask the device that made the identity")]
    NotHere,
    /// The key file can't be read.
    #[error("the identity can't be read: {0}")]
    Storage(String),
}

/// A running node, as seen from its local door. Cheap to clone.
pub trait NodeHandle: Clone + Send + Sync + 'static {
    /// Carries out a command. The node fills in the addresses of `CreateInvite`.
    fn command(&self, command: Command)
    -> impl Future<Output = Result<Reply, CommandError>> + Send;

    /// What happens from now on, in order. A receiver that falls behind sees `Lagged`.
    fn notices(&self) -> broadcast::Receiver<Arc<Sequenced>>;

    /// How the node is connected.
    fn network(&self) -> impl Future<Output = NetworkStatus> + Send;

    /// Asks the node to stop. Returns at once.
    fn shutdown(&self);

    /// The 24 words of the root key. May take a second (argon2): called off the async threads.
    ///
    /// # Errors
    /// [`IdentityError`].
    fn phrase(&self, passphrase: Option<String>) -> Result<String, IdentityError>;

    /// The identity as an encrypted file, under the name that it has now. May take a second (argon2): called off the async threads.
    ///
    /// # Errors
    /// [`IdentityError`].
    fn backup(&self, passphrase: String, name: String) -> Result<Vec<u8>, IdentityError>;

    /// The root key's word that a device is this person's no longer, for each act in `keep` that it stands by. May take a
    /// second (argon2): called off the async threads.
    ///
    /// # Errors
    /// [`IdentityError`].
    fn revocations(
        &self,
        device: DeviceId,
        keep: &[(u64, EnvelopeId)],
        passphrase: Option<String>,
    ) -> Result<Vec<DeviceRevocation>, IdentityError>;
}

/// [`NodeHandle`] as an object.
pub(crate) trait Node: Send + Sync {
    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, CommandError>>;
    fn notices(&self) -> broadcast::Receiver<Arc<Sequenced>>;
    fn network(&self) -> BoxFuture<'_, NetworkStatus>;
    fn shutdown(&self);
    fn phrase(&self, passphrase: Option<String>) -> Result<String, IdentityError>;
    fn backup(&self, passphrase: String, name: String) -> Result<Vec<u8>, IdentityError>;
    fn revocations(
        &self,
        device: DeviceId,
        keep: &[(u64, EnvelopeId)],
        passphrase: Option<String>,
    ) -> Result<Vec<DeviceRevocation>, IdentityError>;
}

impl<N: NodeHandle> Node for N {
    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, CommandError>> {
        NodeHandle::command(self, command).boxed()
    }

    fn notices(&self) -> broadcast::Receiver<Arc<Sequenced>> {
        NodeHandle::notices(self)
    }

    fn network(&self) -> BoxFuture<'_, NetworkStatus> {
        NodeHandle::network(self).boxed()
    }

    fn shutdown(&self) {
        NodeHandle::shutdown(self);
    }

    fn phrase(&self, passphrase: Option<String>) -> Result<String, IdentityError> {
        NodeHandle::phrase(self, passphrase)
    }

    fn backup(&self, passphrase: String, name: String) -> Result<Vec<u8>, IdentityError> {
        NodeHandle::backup(self, passphrase, name)
    }

    fn revocations(
        &self,
        device: DeviceId,
        keep: &[(u64, EnvelopeId)],
        passphrase: Option<String>,
    ) -> Result<Vec<DeviceRevocation>, IdentityError> {
        NodeHandle::revocations(self, device, keep, passphrase)
    }
}
