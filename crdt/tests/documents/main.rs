//! Documents against their laws and against hostile changes, and the bytes that are stored.

mod attack;
mod formats;
mod hostile;
mod laws;
mod messages;
mod support;
