//! The local door of a node: HTTP with JSON, a WebSocket for events, and the OpenAPI document of both.
//!
//! The crate translates. It turns requests into [`Command`](revnet_core::command::Command)s and
//! [`Reply`](revnet_core::command::Reply)s into JSON, and it decides who may ask: host, origin, bearer
//! token and its scope. It never decides what the network accepts, holds no state of revolts, and sees
//! the node only through [`NodeHandle`].
//!
//! The types in [`dto`] are the contract with scripts, the command line and the page.
//!
//! ```
//! let document = revnet_api::openapi();
//! assert!(document.paths.paths.contains_key("/api/status"));
//! ```

mod door;
pub mod dto;
mod error;
mod events;
mod extract;
mod hub;
mod node;
mod openapi;
mod rate;
mod routes;
mod serve;
mod tokens;

pub use error::ErrorBody;
pub use hub::RING;
pub use node::{IdentityError, NodeHandle, Sequenced};
pub use openapi::openapi;
pub use serve::{ApiConfig, BODY_LIMIT, serve};
pub use tokens::new_token;
