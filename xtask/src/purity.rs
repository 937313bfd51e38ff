//! Proves that the pure crates stay pure: no runtime, no sockets, no files, no clock, no randomness of their own.
//!
//! Two nets: what the crates pull in (from `cargo tree`), and what their own sources name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rustsource::{Token, modules_of, tokens, without_tests};
use crate::workspace::{Workspace, output_of};

/// The pure crates and where their sources lie.
pub(crate) const PURE: [(&str, &str); 3] = [
    ("revnet-protocol", "protocol/src"),
    ("revnet-crdt", "crdt/src"),
    ("revnet-core", "node/core/src"),
];

/// Crates that do I/O. A name that ends in `*` stands for everything that begins so.
const IO_CRATES: [&str; 22] = [
    "tokio*",
    "async-io",
    "async-std",
    "smol",
    "mio",
    "polling",
    "socket2",
    "libp2p*",
    "iroh*",
    "quinn*",
    "hyper*",
    "axum*",
    "reqwest",
    "ureq",
    "tungstenite",
    "hickory*",
    "rustls",
    "redb",
    "notify",
    "if-watch",
    "netlink*",
    "chrono",
];

/// Crates that a pure crate must not use directly. (Some of them come with cryptography libraries, unused.)
const NOT_DIRECTLY: [&str; 5] = ["getrandom", "rand", "libc", "time", "fastrand"];

/// Modules of `std` that reach outside, and what to use instead.
const MODULES: [(&str, &str); 6] = [
    (
        "net",
        "addresses are bytes or `core::net` types here; sockets belong to revnet-net",
    ),
    ("fs", "ask for storage with an effect"),
    ("thread", "one task owns this code"),
    ("env", "take settings as an argument"),
    ("process", "return an error"),
    ("os", "the same code runs everywhere"),
];

/// Names that bring a clock, randomness or a runtime, and what to use instead.
const NAMES: [(&str, &str); 9] = [
    ("Instant", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("tokio", "return an effect and let the node's loop do it"),
    ("getrandom", "draw from the seed that came in"),
    ("thread_rng", "draw from the seed that came in"),
    ("OsRng", "draw from the seed that came in"),
    ("SysRng", "draw from the seed that came in"),
    ("RandomState", "use an ordered map"),
    ("thread_local", "keep state in the value itself"),
];

/// Maps whose order differs from run to run: a replay from a seed, or another node, would decide otherwise.
const UNORDERED: [(&str, &str); 2] = [
    ("HashMap", "its order differs between runs; use BTreeMap"),
    ("HashSet", "its order differs between runs; use BTreeSet"),
];

/// The places where a thread has state: the switches of planted faults, which tests alone turn.
const PLANTED_FAULTS: [&str; 2] = ["crdt/src/authority/mutant.rs", "node/core/src/mutant.rs"];

/// Sources in which an unordered map is refused.
const ORDERED_ONLY: [&str; 2] = ["crdt/src", "node/core/src"];

/// Runs both nets.
///
/// # Errors
/// One line for each finding: the crate and the path to it, or the file, the line, and what to use instead.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let mut wrong = Vec::new();
    let mut files = 0;
    for (name, sources) in PURE {
        wrong.extend(impure_dependencies(workspace, name)?);
        for path in rust_files(&workspace.root().join(sources))? {
            if PLANTED_FAULTS.iter().any(|file| path.ends_with(file)) {
                continue;
            }
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
            let shown = path
                .strip_prefix(workspace.root())
                .unwrap_or(&path)
                .display()
                .to_string();
            wrong.extend(impure_names(&shown, &text, ORDERED_ONLY.contains(&sources)));
            files += 1;
        }
    }
    if wrong.is_empty() {
        Ok(format!("{} crates, {files} files", PURE.len()))
    } else {
        Err(wrong.join("\n"))
    }
}

fn impure_dependencies(workspace: &Workspace, name: &str) -> Result<Vec<String>, String> {
    let listed = |extra: &str| {
        output_of(&mut workspace.cargo(&[
            "tree",
            "--package",
            name,
            "--edges=normal",
            "--target=all",
            "--prefix=none",
            extra,
        ]))
    };
    Ok(refused(
        name,
        &listed("--no-dedupe")?,
        &listed("--depth=1")?,
    ))
}

/// Judges the output of `cargo tree --prefix=none`: everything below a crate, and what it uses directly.
fn refused(name: &str, everything: &str, direct: &str) -> Vec<String> {
    let names = |text: &str| {
        let mut names: Vec<String> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names.retain(|other| !other.is_empty() && other != name);
        names
    };
    let does_io = |other: &str| {
        IO_CRATES
            .iter()
            .any(|refused| match refused.strip_suffix('*') {
                Some(beginning) => other.starts_with(beginning),
                None => other == *refused,
            })
    };
    let below: Vec<String> = names(everything)
        .into_iter()
        .filter(|other| does_io(other))
        .collect();
    let below = below.first().map(|first| {
        format!(
            "{name} pulls in {}; `cargo tree -e normal -p {name} -i {first}` shows through what",
            below.join(", ")
        )
    });
    let direct = names(direct)
        .into_iter()
        .filter(|other| NOT_DIRECTLY.contains(&other.as_str()))
        .map(|other| {
            format!("{name} uses {other} directly: time and randomness come in from outside")
        });
    below.into_iter().chain(direct).collect()
}

fn impure_names(file: &str, source: &str, ordered_only: bool) -> Vec<String> {
    let code = without_tests(&tokens(source));
    let unordered = if ordered_only { &UNORDERED[..] } else { &[] };
    let finding = |token: &Token, said: &str, instead: &str| {
        format!("{file}:{}: {said}: {instead}", token.line)
    };
    let modules = modules_of("std", &code).into_iter().filter_map(|token| {
        let (name, instead) = MODULES.iter().find(|(name, _)| *name == token.text)?;
        Some(finding(token, &format!("std::{name}"), instead))
    });
    let names = code.iter().filter_map(|token| {
        let (name, instead) = NAMES
            .iter()
            .chain(unordered)
            .find(|(name, _)| *name == token.text)?;
        Some(finding(token, name, instead))
    });
    modules.chain(names).collect()
}

/// All Rust files below a directory, in order; files of tests alone are left out, as `#[cfg(test)]` items are.
fn rust_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).map_err(|error| {
        format!(
            "{} can't be read: {error}; is the crate still there?",
            directory.display()
        )
    })?;
    for entry in entries {
        let path = entry
            .map_err(|error| format!("{}: {error}", directory.display()))?
            .path();
        let for_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if for_tests {
            continue;
        }
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_anywhere_below_is_refused() {
        let everything =
            "revnet-core v0.1.0 (here)\nserde v1.0.0\ntokio-util v0.7.0\nlibc v0.2.0\n";
        let found = refused(
            "revnet-core",
            everything,
            "revnet-core v0.1.0 (here)\nserde v1.0.0\n",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("tokio-util"));
    }

    #[test]
    fn randomness_is_refused_only_as_a_direct_dependency() {
        let below = "revnet-core v0.1.0\nautomerge v0.12.0\ngetrandom v0.4.3\n";
        assert!(
            refused(
                "revnet-core",
                below,
                "revnet-core v0.1.0\nautomerge v0.12.0\n"
            )
            .is_empty()
        );
        assert_eq!(refused("revnet-core", below, below).len(), 1);
    }

    #[test]
    fn a_clock_a_socket_and_an_unordered_map_are_refused() {
        let source = "use std::{collections::HashMap, net::UdpSocket};\nfn f() { std::time::Instant::now(); }\n";
        let found = impure_names("a.rs", source, true);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("a.rs:2: Instant")));
        assert_eq!(impure_names("a.rs", source, false).len(), 2);
    }

    #[test]
    fn duration_addresses_and_tests_are_fine() {
        let source = "use std::time::Duration; use core::net::IpAddr; // Instant\n\
                      #[cfg(test)]\nmod tests { use std::fs; use std::collections::HashMap; }\n";
        assert_eq!(impure_names("a.rs", source, true), Vec::<String>::new());
    }
}
