//! The README's commands, as they stand there.

use std::env;
use std::fs;
use std::path::PathBuf;

use revnet_lab::{Lab, run_blocks, shell_blocks};

#[test]
fn the_first_steps_of_the_readme_work_as_written() {
    let project = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default()
        .join("../..");
    let readme =
        fs::read_to_string(project.join("README.md")).expect("the project has a README.md");
    let mut blocks = shell_blocks(&readme, "First steps");
    let powers = shell_blocks(&readme, "Who may do what");
    assert!(
        blocks.len() > 1 && !powers.is_empty(),
        "README.md has no ```sh blocks below its headings"
    );
    // They are for the same two people, whose nodes the last block stops.
    let end = blocks.len() - 1;
    blocks.splice(end..end, powers);
    let lab = Lab::open();
    let said = run_blocks(&lab, &blocks).ok();
    assert!(
        !said.stdout.trim().is_empty(),
        "the first steps show nothing: {said}"
    );
    assert!(!said.stderr.contains("panicked at"), "{said}");
}
