//! What must not be in a tracked file: places of one machine, download addresses, unfinished work.

use std::fs;
use std::path::Path;

use crate::workspace::{Workspace, output_of};

/// Beginnings of paths that exist on one machine only. Put together here, as the marks below, so that this file
/// passes its own check.
const MACHINE_PLACES: [&str; 4] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "Users/"),
    concat!("/", "work/"),
];

/// Marks of unfinished work.
const UNFINISHED: [&str; 6] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("#[ig", "nore"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

/// Files in which a mark of unfinished work counts; a document may speak about such marks.
const CODE: [&str; 9] = ["rs", "ts", "js", "html", "scss", "css", "sh", "toml", "yml"];

/// Looks through every tracked file.
///
/// # Errors
/// One line for each finding: file, line and what is wrong with it.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let listed = output_of(workspace.command("git").args(["ls-files", "-z"])).map_err(|error| {
        format!("the tracked files can't be listed: {error}\nFix: install git, and run this in a clone of the project")
    })?;
    let here = workspace.root().display().to_string();
    // A short place such as `/src` would be found in ordinary text.
    let here = (here.matches('/').count() > 1).then_some(here);
    let (mut wrong, mut files) = (Vec::new(), 0);
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        // Not UTF-8, or deleted but not yet committed: nothing to read.
        let Ok(text) = fs::read_to_string(workspace.root().join(name)) else {
            continue;
        };
        wrong.extend(findings(name, &text, here.as_deref()));
        files += 1;
    }
    if wrong.is_empty() {
        Ok(format!("{files} files"))
    } else {
        Err(wrong.join("\n"))
    }
}

fn findings(name: &str, text: &str, here: Option<&str>) -> Vec<String> {
    let path = Path::new(name);
    let is_code = path
        .extension()
        .is_some_and(|extension| CODE.iter().any(|code| extension == *code));
    let is_npm_lock = path
        .file_name()
        .is_some_and(|file| file == "package-lock.json");
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut add = |what: &str| found.push(format!("{name}:{}: {what}", number + 1));
        if machine_place(line, here) {
            add("a path of one machine; write it relative to the project, or with $HOME");
        }
        if is_npm_lock && line.contains("\"resolved\"") {
            add(
                "a download address; npm works without it (npm install --omit-lockfile-registry-resolved)",
            );
        }
        if is_code && UNFINISHED.iter().any(|mark| line.contains(mark)) {
            add("unfinished work; finish it or take it out");
        }
    }
    found
}

/// Whether a line names a place of one machine: at the beginning of a path, and with something after it.
fn machine_place(line: &str, here: Option<&str>) -> bool {
    let begins_path = |at: usize| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_alphanumeric() && !"/._-~}".contains(before))
    };
    let goes_on = |at: usize| {
        line[at..]
            .chars()
            .next()
            .is_some_and(|after| after == '.' || after.is_alphanumeric())
    };
    here.is_some_and(|here| line.contains(here))
        || MACHINE_PLACES.iter().any(|place| {
            line.match_indices(place)
                .any(|(at, _)| begins_path(at) && goes_on(at + place.len()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, line: &str) -> bool {
        !findings(name, line, Some("/srv/build/revnet")).is_empty()
    }

    #[test]
    fn places_of_one_machine_are_found() {
        for place in MACHINE_PLACES {
            for line in [
                format!("see {place}ada/x"),
                format!("`{place}thing`"),
                format!("path = \"{place}.cargo\""),
            ] {
                assert!(wrong("README.md", &line), "{line}");
            }
            for line in [
                format!("https://host{place}page"),
                format!("src{place}mod.rs"),
                format!("the {place} of it"),
            ] {
                assert!(!wrong("README.md", &line), "{line}");
            }
        }
        assert!(wrong("README.md", "in /srv/build/revnet now"));
        assert!(!wrong("README.md", "$HOME/.cache"));
    }

    #[test]
    fn download_addresses_are_found_in_lock_files_only() {
        let line = "\"resolved\": \"https://registry.example/x.tgz\",";
        assert!(wrong("web-ui/package-lock.json", line));
        assert!(!wrong("docs/a.json", line));
    }

    #[test]
    fn unfinished_work_is_found_in_code_only() {
        for mark in UNFINISHED {
            assert!(wrong("cli/src/main.rs", &format!("    {mark}")), "{mark}");
            assert!(!wrong("docs/style.md", mark), "{mark}");
        }
    }
}
