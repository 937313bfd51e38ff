//! `revnet man`

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::args::Cli;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::print;

#[derive(Debug, Args)]
#[command(after_help = "\
Without --dir the page of revnet itself goes to the standard output.

Examples:
  revnet man | man -l -
  revnet man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &ManArgs) -> Result<()> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        let page = rendered.ok().and_then(|()| String::from_utf8(page).ok());
        return print(&page.ok_or_else(|| Failure::failed("the page isn't text"))?);
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| {
            Failure::failed(format!(
                "can't write into {}: {error}; choose another directory with --dir",
                dir.display()
            ))
        })?;
    context
        .out
        .done(&format!("wrote the pages to {}", dir.display()))
}
