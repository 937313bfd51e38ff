//! Passphrases: from a file, from the environment, or typed unseen.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::{Failure, Result};

#[derive(Debug, Default, Args)]
pub(crate) struct PassphraseArgs {
    /// Read the passphrase from a file's first line (otherwise from the variable REVNET_PASSPHRASE,
    /// or asked for)
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// A passphrase that was given without asking.
    pub(crate) fn given(&self) -> Result<Option<String>> {
        if let Some(file) = &self.passphrase_file {
            let text = fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
            return Ok(Some(text.lines().next().unwrap_or_default().to_owned()));
        }
        Ok(std::env::var("REVNET_PASSPHRASE").ok())
    }
}

/// Asks on the terminal, without showing what is typed.
pub(crate) fn ask(prompt: &str) -> Result<String> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage(
            "a passphrase is needed: give --passphrase-file FILE or set REVNET_PASSPHRASE",
        ));
    }
    eprint!("{prompt}: ");
    io::stderr().flush()?;
    let before = tcgetattr(&input).map_err(io::Error::from)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &hidden).map_err(io::Error::from)?;
    let mut text = String::new();
    let read = input.lock().read_line(&mut text);
    let restored = tcsetattr(&input, OptionalActions::Now, &before);
    eprintln!();
    read?;
    restored.map_err(io::Error::from)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks twice for a new passphrase.
pub(crate) fn ask_new(prompt: &str) -> Result<String> {
    let first = ask(prompt)?;
    if ask("The same again")? == first {
        Ok(first)
    } else {
        Err(Failure::usage("the two passphrases differ"))
    }
}
