//! The store against its reference, and against disks that fail.

mod conformance;
mod damage;
mod disk;
mod full;
mod group;
mod power;
mod workload;
