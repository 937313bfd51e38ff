//! Checks the tools that the project needs before anything else runs, and prints the exact fix.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::workspace::{Workspace, output_of};

/// Checks Rust, its components and the C compiler.
///
/// # Errors
/// One line for each missing tool, each with the command that installs it.
pub(crate) fn versions(workspace: &Workspace) -> Result<String, String> {
    let wanted = rust_version(workspace)?;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = output_of(workspace.command(rustc).arg("-V"))?;
    let mut missing = Vec::new();
    match version_in(&found) {
        Some(version) if version >= wanted => {}
        _ => missing.push(format!(
            "Rust {} or newer is needed; here is {}. Fix: rustup update stable && rustup default stable",
            dotted(wanted),
            found.trim()
        )),
    }
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !answers(&mut workspace.cargo(&[subcommand, "--version"])) {
            missing.push(format!(
                "{component} is missing. Fix: rustup component add {component}"
            ));
        }
    }
    let compiler = c_compiler(workspace);
    if compiler.is_none() {
        missing.push(format!("a C compiler is missing. Fix: {}", compiler_fix()));
    }
    match (missing.is_empty(), compiler) {
        (true, Some(compiler)) => Ok(format!("{}, C compiler `{compiler}`", found.trim())),
        _ => Err(missing.join("\n")),
    }
}

/// Whether cargo-nextest is here; without it the tests run under `cargo test`, which is slower.
pub(crate) fn has_nextest(workspace: &Workspace) -> bool {
    answers(&mut workspace.cargo(&["nextest", "--version"]))
}

/// The `rust-version` of the workspace's manifest.
fn rust_version(workspace: &Workspace) -> Result<(u32, u32), String> {
    let path = workspace.root().join("Cargo.toml");
    let manifest = fs::read_to_string(&path)
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version"))
        .and_then(version_in)
        .ok_or_else(|| {
            format!(
                "{} has no rust-version; add one to [workspace.package]",
                path.display()
            )
        })
}

/// The first `MAJOR.MINOR` in a text.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .find_map(|word| {
            let mut numbers = word.split('.');
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn c_compiler(workspace: &Workspace) -> Option<String> {
    let chosen = env::var("CC").ok().filter(|name| !name.is_empty());
    let usual = ["cc", "gcc", "clang"].map(str::to_owned);
    chosen
        .into_iter()
        .chain(usual)
        .find(|name| answers(workspace.command(name).arg("--version")))
}

fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command of this system's package manager that brings a C compiler.
fn compiler_fix() -> &'static str {
    const MANAGERS: [(&str, &str); 5] = [
        ("apt-get", "sudo apt-get install -y build-essential"),
        ("dnf", "sudo dnf install -y gcc"),
        ("pacman", "sudo pacman -S --noconfirm gcc"),
        ("apk", "sudo apk add build-base"),
        ("zypper", "sudo zypper install -y gcc"),
    ];
    let path = env::var_os("PATH").unwrap_or_default();
    MANAGERS
        .into_iter()
        .find(|(manager, _)| {
            env::split_paths(&path).any(|folder| folder.join(Path::new(manager)).is_file())
        })
        .map_or(
            "install gcc or clang with your system's package manager",
            |(_, fix)| fix,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(
            version_in("rustc 1.95.0 (59807616e 2026-04-14)"),
            Some((1, 95))
        );
        assert_eq!(version_in(" = \"1.95\""), Some((1, 95)));
        assert!(version_in("rustc 1.100.0-nightly") > version_in("1.95"));
        assert_eq!(version_in("rustc"), None);
    }
}
