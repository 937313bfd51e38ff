//! The API over a fake node: one program, so that it is linked once.

mod client;
mod door;
mod events;
mod fake;
mod routes;
mod schema;
