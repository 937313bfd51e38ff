//! What travels over the local API as JSON. Ids are strings, times are Unix milliseconds below 2^53.
//!
//! Optional fields are left out where there is nothing to say. Requests refuse unknown fields, so that a
//! misspelt one is noticed; answers may gain fields in later versions.

mod event;
mod id;
mod message;
mod node;
mod power;
mod revolt;

pub use event::*;
pub use id::Id;
pub use message::*;
pub use node::*;
pub use power::{
    Audit, AuditEntry, Banned, Bans, Color, EditRole, Exception, Held, NoColor, Role, RoleName,
    Roles, Timeout, Whose,
};
pub(crate) use power::{names, set};
pub use revolt::*;
