//! The two suites, `check` and `ci`, as lists of stages.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::options::Request;
use crate::purity::PURE;
use crate::stage::{Stage, described, run_all};
use crate::workspace::{Workspace, run};
use crate::{Failure, direction, hygiene, purity, supply, tools};

/// Seeds that the simulation runs in `check` and in `ci`.
const SEEDS_CHECK: &str = "20";
const SEEDS_CI: &str = "200";
/// Schedules of people who cheat that each law of the reducer is tried on.
const SCHEDULES: &str = "2000";
/// Seeds of a large network in `ci`.
const SEEDS_LARGE: &str = "4";

/// Seeds within which `ci` has to notice each planted fault; most are noticed by the first.
const SEEDS_FAULT: &str = "200";

/// What a machine may be unable to run, and `--without` may name even where this version has no such stage.
const NOT_HERE_YET: [&str; 1] = ["e2e"];

/// `cargo xtask check`.
pub(crate) fn check(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let stages = [
        formatting(),
        lints(),
        crate_direction(),
        pure_sources(),
        Stage::new(
            "tests",
            "the tests and doctests of the pure crates",
            pure_tests,
        ),
        laws(),
        simulation("the network simulation, 20 seeds", SEEDS_CHECK),
    ];
    let about = "The quick checks: run them before each commit. Warm, they take under two minutes.";
    suite("check", about, workspace, &stages, arguments)
}

/// `cargo xtask ci`.
pub(crate) fn ci(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let stages = [
        Stage::new(
            "versions",
            "the tools that are needed, in the versions that are needed",
            tools::versions,
        )
        .gate(),
        formatting(),
        hygiene_of_files(),
        crate_direction(),
        pure_sources(),
        Stage::new(
            "supply",
            "licences and origins of the dependencies",
            supply::check,
        ),
        lints(),
        Stage::new("build", "everything, as the tests need it", |workspace| {
            run(&mut workspace.cargo(&["build", "--workspace", "--all-targets"]))?;
            Ok(String::new())
        })
        .gate(),
        Stage::new("tests", "all tests but those of the lab", all_tests),
        Stage::new(
            "doctests",
            "the examples in the documentation",
            |workspace| {
                run(&mut workspace.cargo(&["test", "--workspace", "--doc"]))?;
                Ok(String::new())
            },
        ),
        Stage::new(
            "rustdoc",
            "the documentation builds without a warning",
            |workspace| {
                let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
                run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
                Ok(String::new())
            },
        ),
        all_laws(),
        simulations(),
        planted_faults(),
        Stage::new(
            "lab",
            "real nodes, the README's commands, the real chat log",
            lab,
        ),
        Stage::new(
            "bench",
            "the benchmarks still run (short; the numbers are not judged)",
            |workspace| {
                let bench = workspace.release_of_all("revnet-bench")?;
                run(workspace.command(bench).arg("--quick"))?;
                Ok(String::new())
            },
        ),
    ];
    let about = "Every check and every test: what has to pass before a merge. The same as .ci/run.\n\
                 With CI set (or by .ci/run) the build cache is $HOME/.cache/revnet/target, unless\n\
                 CARGO_TARGET_DIR says otherwise.";
    suite("ci", about, workspace, &stages, arguments)
}

fn suite(
    name: &str,
    about: &str,
    workspace: &Workspace,
    stages: &[Stage],
    arguments: &[String],
) -> Result<(), Failure> {
    let known: Vec<&str> = stages
        .iter()
        .map(|stage| stage.name)
        .chain(NOT_HERE_YET)
        .collect();
    match Request::parse(name, arguments, &known)? {
        Request::Help => {
            println!(
                "{about}\n\nUsage: cargo xtask {name} [--only=STAGE,…] [--without=STAGE,…]\n\n\
                 Stages, in their order:\n{}",
                described(stages)
            );
            Ok(())
        }
        Request::Stages(selection) => run_all(name, workspace, stages, &selection),
    }
}

fn formatting() -> Stage {
    Stage::new("fmt", "the formatting of all Rust files", |workspace| {
        run(&mut workspace.cargo(&["fmt", "--all", "--check"]))
            .map_err(|_| "some files are not formatted. Fix: cargo fmt --all".to_owned())?;
        Ok(String::new())
    })
}

fn lints() -> Stage {
    Stage::new(
        "clippy",
        "the lints of the workspace, none allowed",
        |workspace| {
            run(&mut workspace.cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]))?;
            Ok(String::new())
        },
    )
}

fn crate_direction() -> Stage {
    Stage::new(
        "direction",
        "the crates depend on each other one way",
        direction::check,
    )
}

fn pure_sources() -> Stage {
    Stage::new(
        "purity",
        "no clock, no sockets, no randomness in the pure crates",
        purity::check,
    )
}

fn hygiene_of_files() -> Stage {
    Stage::new(
        "hygiene",
        "no machine's paths, download addresses or unfinished work",
        hygiene::check,
    )
}

/// What must hold of the reducer.
fn laws() -> Stage {
    let what = "the laws of who may do what, 2,000 schedules each";
    Stage::new("laws", what, |workspace| {
        let arguments = ["run", "--release", "-p", "revnet-sim", "--", "--laws"];
        run(workspace.cargo(&arguments).arg(SCHEDULES))?;
        Ok(format!("{SCHEDULES} schedules"))
    })
}

/// The same in `ci`, where everything is built together.
fn all_laws() -> Stage {
    let what = "the laws of who may do what, 2,000 schedules each";
    Stage::new("laws", what, |workspace| {
        let simulation = workspace.release_of_all("revnet-sim")?;
        run(workspace.command(simulation).args(["--laws", SCHEDULES]))?;
        Ok(format!("{SCHEDULES} schedules"))
    })
}

/// The simulation alone: it needs only the pure crates, so it is built quickly.
fn simulation(what: &'static str, seeds: &'static str) -> Stage {
    Stage::new("sim", what, move |workspace| {
        let arguments = [
            "run",
            "--release",
            "-p",
            "revnet-sim",
            "--",
            "--seeds",
            seeds,
        ];
        run(&mut workspace.cargo(&arguments))?;
        Ok(format!("{seeds} seeds"))
    })
}

/// Many small networks and a few large ones.
fn simulations() -> Stage {
    let what = "the network simulation, 200 seeds, and 4 of a large network";
    Stage::new("sim", what, |workspace| {
        let simulation = workspace.release_of_all("revnet-sim")?;
        run(workspace.command(&simulation).args(["--seeds", SEEDS_CI]))?;
        let large = ["--nodes", "50", "--actions", "400", "--seeds", SEEDS_LARGE];
        run(workspace.command(&simulation).args(large))?;
        Ok(format!("{SEEDS_CI} seeds, {SEEDS_LARGE} with 50 nodes"))
    })
}

fn planted_faults() -> Stage {
    let what = "the network simulation notices every planted fault";
    Stage::new("faults", what, |workspace| {
        let simulation = workspace.release_of_all("revnet-sim")?;
        let faults = ["--mutant", "all", "--seeds", SEEDS_FAULT];
        run(workspace.command(simulation).args(faults))?;
        Ok(String::new())
    })
}

/// Tests of the pure crates alone: small to build, and where a mistake in the rules shows first.
fn pure_tests(workspace: &Workspace) -> Result<String, String> {
    let packages = || PURE.iter().flat_map(|(name, _)| ["-p", name]);
    if tools::has_nextest(workspace) {
        let mut command = workspace.cargo(&["nextest", "run", "--no-tests=pass"]);
        run(command.args(packages()))?;
        run(workspace.cargo(&["test", "--doc"]).args(packages()))?;
    } else {
        run(workspace.cargo(&["test"]).args(packages()))?;
    }
    Ok(String::new())
}

fn all_tests(workspace: &Workspace) -> Result<String, String> {
    if tools::has_nextest(workspace) {
        let but_lab = "not package(revnet-lab)";
        run(&mut workspace.cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--all-targets",
            "--no-fail-fast",
            "-E",
            but_lab,
        ]))?;
        return Ok("nextest".into());
    }
    let arguments = [
        "test",
        "--workspace",
        "--all-targets",
        "--no-fail-fast",
        "--exclude",
        "revnet-lab",
    ];
    run(&mut workspace.cargo(&arguments))?;
    Ok("cargo test; cargo-nextest would be faster".into())
}

/// The lab runs the program as its users get it: the release build, one test at a time.
fn lab(workspace: &Workspace) -> Result<String, String> {
    let built = workspace.release_of_all("revnet")?;
    let binary = private_copy(workspace, &built)?;
    let mut command = if tools::has_nextest(workspace) {
        let arguments = [
            "nextest",
            "run",
            "--workspace",
            "--all-targets",
            "--no-fail-fast",
            "--test-threads=1",
        ];
        let mut command = workspace.cargo(&arguments);
        command.args(["--success-output=final", "-E", "package(revnet-lab)"]);
        command
    } else {
        workspace.cargo(&[
            "test",
            "-p",
            "revnet-lab",
            "--no-fail-fast",
            "--",
            "--test-threads=1",
            "--nocapture",
        ])
    };
    let result = run(command.env("REVNET_BIN", &binary));
    // The copy is of no use afterwards; if it can't be removed, the next `cargo clean` does it.
    let _ = fs::remove_file(&binary);
    result.map(|()| String::new())
}

/// A copy of the program that no other build into the same cache replaces while the tests run.
fn private_copy(workspace: &Workspace, built: &std::path::Path) -> Result<PathBuf, String> {
    let folder = workspace.target_dir()?.join("xtask");
    let copy = folder.join(format!("revnet-{}", std::process::id()));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::copy(built, &copy))
        .map_err(|error| format!("{} can't be copied for the lab: {error}", built.display()))?;
    env::current_dir()
        .map(|here| here.join(&copy))
        .map_err(|error| format!("the current directory can't be read: {error}"))
}
