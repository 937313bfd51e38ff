//! `revnet id new` and `revnet id restore`: making an identity, before a node runs.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use revnet_node::identity;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::passphrase::{PassphraseArgs, ask};

#[derive(Debug, Args)]
#[command(after_help = "\
A passphrase protects the root key on this disk: it is asked for by 'id phrase' and 'id backup', \
never to run the node. Without one, the key is as safe as your files.

Examples:
  revnet id new --name Ada
  revnet id new --name Ada --passphrase-file pass.txt")]
pub(crate) struct NewArgs {
    /// What you are called, at most 64 bytes
    #[arg(long)]
    name: String,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
This machine becomes a new device of yours. What you wrote is not in the words: it comes back \
from the other members, once you are let in again.

Examples:
  revnet id restore --name Ada < words.txt
  revnet id restore --backup ada.revnet-id")]
pub(crate) struct RestoreArgs {
    /// What you are called [default: the name in the backup, or 'me']
    #[arg(long)]
    name: Option<String>,
    /// Restore from a backup file and not from the 24 words on standard input
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(crate) fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let passphrase = args.passphrase.given()?;
    let made = identity::create(&context.data_dir, &args.name, passphrase.as_deref());
    show(context, &made.map_err(|error| failure(&error))?)
}

pub(crate) fn restore(context: &Context, args: &RestoreArgs) -> Result<()> {
    let passphrase = args.passphrase.given()?;
    let restored = match &args.backup {
        Some(file) => {
            let bytes = std::fs::read(file).map_err(|error| Failure::file(file, &error))?;
            let passphrase = match passphrase {
                Some(passphrase) => passphrase,
                None => ask("Passphrase of the backup")?,
            };
            identity::restore_backup(&context.data_dir, &bytes, &passphrase, args.name.as_deref())
        }
        None => {
            let mut words = String::new();
            std::io::stdin().take(4096).read_to_string(&mut words)?;
            let name = args.name.as_deref().unwrap_or("me");
            identity::restore(&context.data_dir, &words, name, passphrase.as_deref())
        }
    };
    show(context, &restored.map_err(|error| failure(&error))?)
}

fn show(context: &Context, made: &identity::Summary) -> Result<()> {
    context.out.show(made, || {
        format!(
            "name    {}\nuser    {}\ndevice  {}\n\nstart your node with: revnet up",
            made.name, made.user, made.device
        )
    })
}

fn failure(error: &identity::IdentityError) -> Failure {
    match error {
        identity::IdentityError::Invalid(_) => Failure::usage(error.to_string()),
        identity::IdentityError::Passphrase => Failure::not_permitted(error.to_string()),
        _ => Failure::failed(error.to_string()),
    }
}
