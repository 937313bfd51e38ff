//! Documents and authority: what a change may be, what a document is, who may do what, what a message looks like.
//!
//! Pure: it never looks at a clock, a random source, a disk or a socket.

pub mod authority;
pub mod change;
pub mod document;
pub mod view;
