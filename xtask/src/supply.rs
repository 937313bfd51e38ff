//! What the dependencies may be: licences that allow what this project does with them, from the registry, and none
//! that stand for a decision against them.

use std::collections::BTreeSet;

use crate::workspace::{Workspace, output_of};

/// Terms that a licence may consist of. All of them permit distribution in a binary; none spreads to this project's
/// own sources.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Libraries that must not come in, not even through others, and why.
const BANNED: [(&str, &str); 3] = [
    ("openssl-sys", "it needs a system library; use rustls"),
    ("native-tls", "it needs a system library; use rustls"),
    (
        "async-std",
        "a second runtime beside tokio, and no longer maintained",
    ),
];

/// Checks every crate that goes into a binary of this project.
///
/// # Errors
/// One line for each crate that must not be there.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let listed = output_of(&mut workspace.cargo(&[
        "tree",
        "--workspace",
        "--edges=normal,build",
        "--prefix=none",
        "--no-dedupe",
        "--format={p}|{l}",
    ]))?;
    let crates: BTreeSet<&str> = listed.lines().filter(|line| !line.is_empty()).collect();
    let wrong: Vec<String> = crates.iter().filter_map(|line| objection(line)).collect();
    if wrong.is_empty() {
        Ok(format!("{} crates", crates.len()))
    } else {
        Err(wrong.join("\n"))
    }
}

/// What is wrong with one crate, given as `name vVERSION [(source)]|licence`.
fn objection(line: &str) -> Option<String> {
    let (package, licence) = line.split_once('|').unwrap_or((line, ""));
    let name = package.split(' ').next().unwrap_or(package);
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        return Some(format!("{name} is banned: {why}"));
    }
    if package.contains("(http") || package.contains("(git") {
        return Some(format!("{package} comes from outside the registry"));
    }
    let mut terms = terms(licence).peekable();
    if terms.peek().is_none() {
        return Some(format!("{name} names no licence"));
    }
    let unknown = terms.find(|term| !ALLOWED.contains(term))?;
    Some(format!(
        "{name} is under `{licence}`, and `{unknown}` is not among the allowed licences (xtask/src/supply.rs)"
    ))
}

/// The single licences and exceptions of an SPDX expression. The slash is an older way to write OR.
fn terms(licence: &str) -> impl Iterator<Item = &str> {
    licence
        .split(|sign: char| sign.is_whitespace() || "()/".contains(sign))
        .filter(|term| !["", "AND", "OR", "WITH"].contains(term))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_is_found() {
        assert_eq!(objection("a v1.0.0|MIT/Apache-2.0"), None);
        assert_eq!(
            objection("a v1.0.0 (proc-macro)|(MIT OR Apache-2.0) AND Unicode-3.0"),
            None
        );
        for (line, word) in [
            ("a v1.0.0|AGPL-3.0", "AGPL-3.0"),
            ("a v1.0.0|MIT AND SSPL-1.0", "SSPL-1.0"),
            ("a v1.0.0|", "no licence"),
            ("native-tls v0.2.0|MIT", "banned"),
            ("a v1.0.0 (https://example.org/a#1234)|MIT", "outside"),
        ] {
            let found = objection(line).unwrap_or_default();
            assert!(found.contains(word), "{line}: {found}");
        }
    }
}
