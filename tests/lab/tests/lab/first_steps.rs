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
    let blocks = shell_blocks(&readme, "First steps");
    assert!(
        !blocks.is_empty(),
        "README.md has no ```sh block below the heading `First steps`"
    );
    let lab = Lab::open();
    let said = run_blocks(&lab, &blocks).ok();
    assert!(
        !said.stdout.trim().is_empty(),
        "the first steps show nothing: {said}"
    );
    assert!(!said.stderr.contains("panicked at"), "{said}");
}
