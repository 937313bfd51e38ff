//! `cargo xtask sim`: runs seeds of the simulation.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use clap::Parser;
use revnet_sim::{Options, run};

/// Runs a network of simulated nodes from a seed; a failing seed replays exactly.
#[derive(Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 12)]
    nodes: usize,
    /// How many things happen.
    #[arg(long, default_value_t = 200)]
    actions: usize,
}

fn main() {
    let args = Args::parse();
    let mut failed = Vec::new();
    for seed in args.seed..args.seed + args.seeds {
        match run(Options {
            seed,
            nodes: args.nodes,
            actions: args.actions,
        }) {
            Ok(r) => println!(
                "seed {seed}: {} messages, {} changes, {} joins, {} removals, {} crashes ({} batches lost), {} partitions, \
                 {} links broken, gossip {} ({} lost, {} doubled), {} frames; agreed after {} s; digest {}",
                r.messages,
                r.changes,
                r.joins,
                r.removals,
                r.world.crashes,
                r.world.batches_lost,
                r.world.partitions,
                r.world.links_broken,
                r.world.gossip,
                r.world.gossip_lost,
                r.world.gossip_doubled,
                r.world.frames,
                r.settled_after,
                r.digest
            ),
            Err(error) => {
                println!("seed {seed}: FAILED: {error}");
                println!(
                    "  again with: cargo xtask sim --seed {seed} --nodes {} --actions {}",
                    args.nodes, args.actions
                );
                failed.push(seed);
            }
        }
    }
    if !failed.is_empty() {
        println!(
            "{} of {} seeds failed: {failed:?}",
            failed.len(),
            args.seeds
        );
        std::process::exit(1);
    }
}
