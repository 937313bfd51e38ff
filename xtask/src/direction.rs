//! Proves that the crates of this workspace depend on each other one way only.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{Workspace, output_of};

/// Each crate and the crates of this workspace that it may use. `*` stands for all of them.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("revnet-protocol", &[]),
    ("revnet-crdt", &["revnet-protocol"]),
    ("revnet-core", &["revnet-protocol", "revnet-crdt"]),
    (
        "revnet-net",
        &["revnet-protocol", "revnet-crdt", "revnet-core"],
    ),
    (
        "revnet-store",
        &["revnet-protocol", "revnet-crdt", "revnet-core"],
    ),
    (
        "revnet-api",
        &["revnet-protocol", "revnet-crdt", "revnet-core"],
    ),
    (
        "revnet-bootstrap",
        &["revnet-protocol", "revnet-net", "revnet-store"],
    ),
    (
        "revnet-node",
        &[
            "revnet-protocol",
            "revnet-crdt",
            "revnet-core",
            "revnet-net",
            "revnet-store",
            "revnet-api",
        ],
    ),
    (
        "revnet",
        &[
            "revnet-protocol",
            "revnet-crdt",
            "revnet-core",
            "revnet-net",
            "revnet-store",
            "revnet-api",
            "revnet-node",
            "revnet-bootstrap",
        ],
    ),
    ("revnet-laws", &["revnet-protocol", "revnet-crdt"]),
    (
        "revnet-sim",
        &[
            "revnet-protocol",
            "revnet-crdt",
            "revnet-core",
            "revnet-laws",
        ],
    ),
    // The lab knows nothing but the program itself, as its users do.
    ("revnet-lab", &[]),
    ("revnet-bench", &["*"]),
    ("xtask", &[]),
];

/// Checks every edge between two crates of the workspace, and that xtask has no dependency at all.
///
/// # Errors
/// Names each edge that is not allowed, with the manifest to change.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let tree = output_of(&mut workspace.cargo(&[
        "tree",
        "--workspace",
        "--depth=1",
        "--edges=normal,build",
        "--prefix=depth",
        "--target=all",
        // Without it, a crate that was shown below another one stands there with none of its own.
        "--no-dedupe",
    ]))?;
    let edges = edges_in(&tree)?;
    let wrong = violations(&edges);
    if wrong.is_empty() {
        Ok(format!("{} crates", edges.len()))
    } else {
        Err(wrong.join("\n"))
    }
}

/// Reads `cargo tree --prefix=depth --depth=1`: a line `0NAME …` for a crate, then `1NAME …` for what it uses.
fn edges_in(tree: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    for line in tree
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('['))
    {
        let name = line[1..].split(' ').next().unwrap_or_default().to_owned();
        match (line.as_bytes()[0], &current) {
            (b'0', _) => {
                edges.entry(name.clone()).or_default();
                current = Some(name);
            }
            (b'1', Some(from)) => {
                edges.entry(from.clone()).or_default().insert(name);
            }
            _ => {
                return Err(format!(
                    "`cargo tree` printed a line that is not understood: {line}"
                ));
            }
        }
    }
    Ok(edges)
}

fn violations(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, uses) in edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
            wrong.push(format!(
                "{from} is new: say in xtask/src/direction.rs which crates it may use"
            ));
            continue;
        };
        for to in uses {
            let ours = edges.contains_key(to);
            if ours && !allowed.contains(&"*") && !allowed.contains(&to.as_str()) {
                wrong.push(format!(
                    "{from} must not use {to}: take it out of {from}'s Cargo.toml, and move what both need down"
                ));
            }
            if from == "xtask" {
                wrong.push(format!(
                    "xtask has no dependencies, so that it starts at once: take out {to}"
                ));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_in(tree: &str) -> Vec<String> {
        violations(&edges_in(tree).expect("the tree is well formed"))
    }

    #[test]
    fn the_designed_direction_passes() {
        let tree = "0revnet-crdt v0.1.0 (here)\n1automerge v0.12.0\n1revnet-protocol v0.1.0 (here)\n\n\
                    0revnet-protocol v0.1.0 (here)\n1serde v1.0.0\n0xtask v0.1.0 (here)\n";
        assert_eq!(wrong_in(tree), Vec::<String>::new());
    }

    #[test]
    fn an_edge_upwards_fails() {
        let tree = "0revnet-core v0.1.0\n1revnet-store v0.1.0\n0revnet-store v0.1.0\n";
        assert!(wrong_in(tree)[0].starts_with("revnet-core must not use revnet-store"));
    }

    #[test]
    fn a_crate_without_a_rule_fails() {
        assert!(wrong_in("0revnet-new v0.1.0\n")[0].contains("direction.rs"));
    }

    #[test]
    fn xtask_uses_nothing() {
        assert!(wrong_in("0xtask v0.1.0\n1anyhow v1.0.0\n")[0].contains("anyhow"));
    }
}
