//! `cargo xtask sim`: runs seeds of the simulation.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use revnet_crdt::authority::mutant::Mutant as Reducer;
use revnet_laws::LAWS;
use revnet_sim::batch::Work;
use revnet_sim::{Fault, Options, Report, run};

/// Runs a network of simulated nodes from a seed; a failing seed replays exactly.
#[derive(Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds; with a fault, how many at most.
    #[arg(long)]
    seeds: Option<u64>,
    /// How many nodes.
    #[arg(long, default_value_t = 12)]
    nodes: usize,
    /// How many things happen.
    #[arg(long, default_value_t = 200)]
    actions: usize,
    /// Plants a fault, which must be noticed: its name, `all`, or `list`.
    #[arg(long)]
    mutant: Option<String>,
    /// Tries so many schedules of people who cheat against each law of the reducer, instead of a network.
    #[arg(long, conflicts_with_all = ["seeds", "mutant"])]
    laws: Option<u64>,
    /// How many seeds run at the same time.
    #[arg(long)]
    jobs: Option<usize>,
}

/// Seeds within which a planted fault must be noticed.
const PATIENCE: u64 = 200;
/// Schedules within which a planted fault of the reducer must be noticed.
const SCHEDULES: u64 = 2000;
/// From so many seeds on, crashes must have lost something of every kind.
const MANY: u64 = 100;

fn main() -> ExitCode {
    let args = Args::parse();
    let passed = match args.mutant.as_deref() {
        None if args.laws.is_some() => laws(&args),
        None => seeds(&args),
        Some("list") => {
            Fault::all().for_each(|fault| println!("{}", fault.name()));
            true
        }
        Some("all") => {
            let missed = Fault::all().filter(|fault| !notices(&args, *fault)).count();
            println!("{missed} planted faults went unnoticed");
            missed == 0
        }
        Some(name) => match Fault::named(name) {
            Some(fault) => notices(&args, fault),
            None => {
                println!("there is no planted fault `{name}`; `--mutant list` names them");
                return ExitCode::from(2);
            }
        },
    };
    ExitCode::from(u8::from(!passed))
}

fn options(args: &Args, seed: u64, fault: Option<Fault>) -> Options {
    Options {
        seed,
        nodes: args.nodes,
        actions: args.actions,
        fault,
    }
}

/// Tries seeds, several at a time, until `work` says that it is enough. The last results may come from
/// seeds behind the one that was enough.
fn try_seeds(args: &Args, seeds: Range<u64>, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.unwrap_or_else(cores).max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        break;
                    }
                    if work(seed) {
                        next.fetch_max(seeds.end, Ordering::SeqCst);
                    }
                }
            });
        }
    });
}

fn seeds(args: &Args) -> bool {
    let count = args.seeds.unwrap_or(1);
    let failed = Mutex::new(Vec::new());
    let lost: Mutex<BTreeMap<Work, u64>> = Mutex::default();
    try_seeds(args, args.seed..args.seed + count, |seed| {
        match run(options(args, seed, None)) {
            Ok(report) => {
                println!("seed {seed}: {}", line(&report));
                let mut lost = lost.lock().expect("no thread panics with it");
                for (work, count) in &report.lost {
                    *lost.entry(*work).or_default() += count;
                }
            }
            Err(error) => {
                println!(
                    "seed {seed}: FAILED: {error}\n  again with: cargo xtask sim --seed {seed} --nodes {} --actions {}",
                    args.nodes, args.actions
                );
                failed.lock().expect("no thread panics with it").push(seed);
            }
        }
        false
    });
    let (mut failed, lost) = (
        failed.into_inner().expect("no thread panics with it"),
        lost.into_inner().expect("no thread panics with it"),
    );
    failed.sort_unstable();
    if !failed.is_empty() {
        println!("{} of {count} seeds failed: {failed:?}", failed.len());
    }
    let kinds: Vec<_> = lost
        .iter()
        .map(|(work, count)| format!("{} {count}", work.name()))
        .collect();
    println!("batches that crashes lost: {}", kinds.join(", "));
    let spared = Work::AIMS.iter().find(|work| !lost.contains_key(work));
    match spared {
        Some(work) if count >= MANY => {
            println!("no crash lost a batch of the kind: {}", work.name());
            false
        }
        _ => failed.is_empty(),
    }
}

fn line(r: &Report) -> String {
    let w = &r.world;
    format!(
        "{} messages ({} pending, {} repeated), {} changes, {} joins, {} removals ({} secrets compared), \
         {} closed channels ({} let in, {} shut out), {} came too late for, {} promotions, {} silenced, {} forged, {} devices lost ({} revoked), \
         {} crashes ({} aimed, {} batches lost, {} commands cut off), {} partitions, {} links broken and {} replaced \
         ({} stale frames), gossip {} ({} lost, {} doubled), {} frames; agreed after {} s{}; digest {}",
        r.messages,
        r.pending,
        r.repeated,
        r.changes,
        r.joins,
        r.removals,
        r.locked_out,
        r.closed,
        r.admitted,
        r.shut_out,
        r.unread,
        r.promotions,
        r.silences,
        r.forged,
        r.devices_lost,
        r.devices_revoked,
        w.crashes,
        w.crashes_aimed,
        w.batches_lost,
        r.cut_off,
        w.partitions,
        w.links_broken,
        w.links_replaced,
        w.frames_stale,
        w.gossip,
        w.gossip_lost,
        w.gossip_doubled,
        w.frames,
        r.settled_after,
        if r.sparse { " through others" } else { "" },
        r.digest
    )
}

/// Whether every law holds in so many schedules.
fn laws(args: &Args) -> bool {
    let count = args.laws.unwrap_or_default();
    let start = Instant::now();
    let broken = AtomicU64::new(0);
    // All laws of a schedule before the next one, which has to be made only once so.
    try_seeds(args, args.seed..args.seed + count, |seed| {
        let errors = LAWS
            .iter()
            .filter_map(|(name, law)| Some((name, law(seed).err()?)));
        let errors =
            errors.inspect(|(name, error)| println!("{name}: BROKEN by schedule {seed}: {error}"));
        let found = errors.count() as u64;
        broken.fetch_add(found, Ordering::SeqCst);
        found > 0
    });
    let all_hold = broken.into_inner() == 0;
    for (name, _) in LAWS.iter().filter(|_| all_hold) {
        println!("{name}: holds in {count} schedules");
    }
    println!("{} s", start.elapsed().as_secs());
    all_hold
}

/// Whether any law is broken with the fault.
fn reducer_notices(mutant: Reducer) -> bool {
    match revnet_laws::noticed(mutant, SCHEDULES) {
        Some((law, seed, error)) => {
            println!(
                "{}: noticed by {law} with schedule {seed}: {error}",
                mutant.name()
            );
            true
        }
        None => {
            println!("{}: UNNOTICED by {SCHEDULES} schedules", mutant.name());
            false
        }
    }
}

/// Whether any seed fails with the fault.
fn notices(args: &Args, fault: Fault) -> bool {
    if let Fault::Reducer(mutant) = fault {
        return reducer_notices(mutant);
    }
    let count = args.seeds.unwrap_or(PATIENCE);
    let found = Mutex::new(None);
    try_seeds(args, args.seed..args.seed + count, |seed| {
        let Err(error) = run(options(args, seed, Some(fault))) else {
            return false;
        };
        let mut found = found.lock().expect("no thread panics with it");
        if found.as_ref().is_none_or(|(first, _)| seed < *first) {
            *found = Some((seed, error));
        }
        true
    });
    match found.into_inner().expect("no thread panics with it") {
        Some((seed, error)) => {
            let error = error.lines().next().unwrap_or_default();
            println!("{}: noticed by seed {seed}: {error}", fault.name());
            true
        }
        None => {
            println!("{}: UNNOTICED by {count} seeds", fault.name());
            false
        }
    }
}
