//! `revnet id`: the own identity, as far as the running node tells it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use revnet_api::dto::{Backup, EditIdentity, Phrase, Status, Unlock};

use crate::commands::identity::{self, NewArgs, RestoreArgs};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::line;
use crate::passphrase::{PassphraseArgs, ask, ask_new};

#[derive(Debug, Subcommand)]
pub(crate) enum IdCommand {
    /// Make an identity in the data directory
    New(NewArgs),
    /// Restore an identity from its 24 words or a backup file
    Restore(RestoreArgs),
    /// Show who you are
    Show,
    /// Change your display name, here and in every revolt
    Rename {
        /// The new name, at most 64 bytes
        name: String,
    },
    /// Show the 24 words that restore your identity
    Phrase(PhraseArgs),
    /// Write your identity to an encrypted file
    Backup(BackupArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Whoever knows the words is you. Write them on paper, and show them to nobody.

Examples:
  revnet id phrase")]
pub(crate) struct PhraseArgs {
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file opens with its passphrase only. If the identity has a passphrase, it is that one.

Examples:
  revnet id backup ada.revnet-id
  revnet id backup --passphrase-file pass.txt --force ada.revnet-id")]
pub(crate) struct BackupArgs {
    /// The file to write
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(crate) fn run(context: &Context, command: &IdCommand) -> Result<()> {
    match command {
        IdCommand::New(args) => identity::new(context, args),
        IdCommand::Restore(args) => identity::restore(context, args),
        IdCommand::Show => show(context),
        IdCommand::Rename { name } => rename(context, name),
        IdCommand::Phrase(args) => phrase(context, args),
        IdCommand::Backup(args) => backup(context, args),
    }
}

fn show(context: &Context) -> Result<()> {
    let status: Status = context.client()?.get("/api/status")?;
    let value = serde_json::json!({
        "user": status.user,
        "device": status.device,
        "name": status.name,
    });
    context.out.show(&value, || {
        format!(
            "name    {}\nuser    {}\ndevice  {}",
            line(&status.name),
            status.user,
            status.device
        )
    })
}

fn rename(context: &Context, name: &str) -> Result<()> {
    let edit = EditIdentity {
        name: name.to_owned(),
    };
    context.client()?.set("/api/identity", &edit)?;
    context.out.done("Renamed.")
}

fn phrase(context: &Context, args: &PhraseArgs) -> Result<()> {
    let client = context.client()?;
    let path = "/api/identity/phrase";
    let passphrase = args.passphrase.given()?;
    let asked = passphrase.is_some();
    let phrase: Phrase = match client.post(path, &Unlock { passphrase }) {
        Err(failure) if failure.code == "locked" && !asked => {
            let passphrase = Some(ask("Passphrase of the identity")?);
            client.post(path, &Unlock { passphrase })?
        }
        answer => answer?,
    };
    context.out.show(&phrase, || phrase.phrase.clone())
}

fn backup(context: &Context, args: &BackupArgs) -> Result<()> {
    let client = context.client()?;
    if args.file.exists() && !args.force {
        return Err(Failure::usage(format!(
            "{} is there already: give --force to replace it",
            args.file.display()
        )));
    }
    let passphrase = match args.passphrase.given()? {
        Some(passphrase) => passphrase,
        None => ask_new("Passphrase of the backup")?,
    };
    let bytes = client.post_bytes("/api/identity/backup", &Backup { passphrase })?;
    write_private(&args.file, &bytes).map_err(|error| Failure::file(&args.file, &error))?;
    let value = serde_json::json!({ "file": args.file });
    context
        .out
        .show(&value, || format!("Written to {}", args.file.display()))
}

/// Writes a file that only its owner reads; whole or not at all.
fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let next = PathBuf::from(name);
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    let written = out
        .write_all(bytes)
        .and_then(|()| out.sync_all())
        .and_then(|()| std::fs::rename(&next, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&next);
    }
    written
}
