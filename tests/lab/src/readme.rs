//! The commands that the README tells a newcomer to type.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;

use crate::program::Said;
use crate::{LONG, Lab};

/// The contents of the ```` ```sh ```` blocks below a heading, up to the next heading of the same or a higher level.
#[must_use]
pub fn shell_blocks(markdown: &str, heading: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    // The level of the heading while below it, and the language of the block while in one.
    let (mut section, mut fence): (Option<usize>, Option<String>) = (None, None);
    for line in markdown.lines() {
        if let Some(language) = line.strip_prefix("```") {
            fence = match fence {
                Some(_) => None,
                None => Some(language.trim().to_owned()),
            };
            if section.is_some() && fence.as_deref() == Some("sh") {
                blocks.push(String::new());
            }
        } else if let Some(language) = &fence {
            if let (Some(_), "sh", Some(block)) = (section, language.as_str(), blocks.last_mut()) {
                block.push_str(line);
                block.push('\n');
            }
        } else if line.starts_with('#') {
            let level = line.bytes().take_while(|&letter| letter == b'#').count();
            if line[level..].trim() == heading {
                section = Some(level);
            } else if section.is_some_and(|above| level <= above) {
                section = None;
            }
        }
    }
    blocks
}

/// Runs blocks one after the other in one shell that stops at the first error, as a newcomer on a fresh machine: an
/// empty home, `revnet` on the search path, but with random ports and without mDNS.
///
/// # Panics
/// Where the shell can't be started or hangs.
#[must_use]
#[track_caller]
pub fn run_blocks(lab: &Lab, blocks: &[String]) -> Said {
    let folder = lab.path().join("bin");
    fs::create_dir_all(&folder).expect("the lab's directory is writable");
    symlink(lab.binary(), folder.join("revnet")).expect("the lab's directory is writable");
    let script = lab.path().join("first-steps.sh");
    fs::write(&script, blocks.join("\n")).expect("the lab's directory is writable");
    let usual = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([folder].into_iter().chain(env::split_paths(&usual)))
        .expect("no colon in our path");
    let mut command = lab.command("bash".as_ref());
    command
        .arg("-e")
        .arg(script)
        .current_dir(lab.path().join("home"));
    command
        .env("PATH", path)
        .env("REVNET_API", "127.0.0.1:0")
        .env(
            "REVNET_LISTEN",
            "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1",
        )
        .env("REVNET_NO_MDNS", "true")
        .env("REVNET_NO_OPEN", "true");
    Said::by(&mut command, LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shell_blocks_of_the_section_are_taken() {
        let markdown = "# P\n```sh\nno\n```\n## First steps\ntext\n```sh\n# a comment\nyes 1\n```\n```json\nno\n```\n\
                        ### More\n```sh\nyes 2\n```\n## Next\n```sh\nno\n```\n";
        assert_eq!(
            shell_blocks(markdown, "First steps"),
            ["# a comment\nyes 1\n", "yes 2\n"]
        );
        assert_eq!(shell_blocks(markdown, "Absent"), Vec::<String>::new());
    }
}
