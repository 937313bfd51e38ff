//! `revnet completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::output::print;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revnet completions bash > ~/.local/share/bash-completion/completions/revnet
  revnet completions zsh > ~/.zfunc/_revnet
  revnet completions fish > ~/.config/fish/completions/revnet.fish")]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "revnet", &mut script);
    let script =
        String::from_utf8(script).map_err(|_| Failure::failed("the completions aren't text"))?;
    print(&script)
}
