//! `revnet id`: the own identity, as far as the running node tells it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use revnet_api::dto::{
    Backup, EditIdentity, Members, Phrase, RevokeDevice, Revolts, Status, Unlock,
};
use revnet_protocol::DeviceId;
use serde::Serialize;

use crate::client::Client;
use crate::commands::identity::{self, NewArgs, RestoreArgs};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;
use crate::output::{line, table};
use crate::passphrase::{PassphraseArgs, ask, ask_new};
use crate::times;

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
    /// List your devices, as your revolts know them
    Devices,
    /// Take one of your devices back in every revolt: it was lost, stolen, or put away
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The device can write nothing any more, and gets no new secrets; what it has, it keeps. This can't be undone: to come \
back, it needs a new identity of its own ('revnet id restore' in an empty data directory) and an invite.

What it wrote until now counts on. With --since, what it wrote after that doesn't, as far as nobody else built on it: \
give it for a device that was stolen. If the thief left revolts in your name, this takes you back in. Times are the \
device's own: if 'revnet revolt audit' shows acts that were dated back, revoke it again, with its whole id, from an \
earlier time on.

It takes the root key, which lies where the identity was made or restored.

Examples:
  revnet id devices
  revnet id revoke d5xk2
  revnet id revoke d5xk2 --since 12h")]
pub(crate) struct RevokeArgs {
    /// Which: an id as 'revnet id devices' lists them, or the beginning of one
    device: String,
    /// How long ago it came into other hands: 30m, 12h, 7d, 4w
    #[arg(long, value_name = "SPAN", value_parser = times::span)]
    since: Option<u64>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
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
        IdCommand::Devices => devices(context),
        IdCommand::Revoke(args) => revoke(context, args),
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
    let bytes = unlocked(&client, path, &args.passphrase, |passphrase| Unlock {
        passphrase,
    })?;
    let phrase: Phrase = serde_json::from_slice(&bytes)?;
    context.out.show(&phrase, || phrase.phrase.clone())
}

/// Asks for something that takes the root key, and for its passphrase where it has one.
fn unlocked<T: Serialize>(
    client: &Client,
    path: &str,
    given: &PassphraseArgs,
    body: impl Fn(Option<String>) -> T,
) -> Result<Vec<u8>> {
    let passphrase = given.given()?;
    let asked = passphrase.is_some();
    match client.post_bytes(path, &body(passphrase)) {
        Err(failure) if failure.code == "locked" && !asked => {
            let passphrase = Some(ask("Passphrase of the identity")?);
            client.post_bytes(path, &body(passphrase))
        }
        answer => answer,
    }
}

/// A device of one's own, and where it takes part.
#[derive(Debug, Serialize)]
struct OwnDevice {
    device: String,
    here: bool,
    revolts: Vec<String>,
}

fn own_devices(client: &Client) -> Result<Vec<OwnDevice>> {
    let status: Status = client.get("/api/status")?;
    let own = status.device.to_string();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::from([(own.clone(), Vec::new())]);
    let Revolts { revolts } = client.get("/api/revolts")?;
    for revolt in revolts {
        let Members { members } = client.get(&format!("/api/revolts/{}/members", revolt.id))?;
        let me = members.iter().filter(|member| member.user == status.user);
        for device in me.flat_map(|member| &member.devices) {
            let known = found.entry(device.to_string()).or_default();
            known.push(revolt.name.clone());
        }
    }
    let own_device = |(device, revolts): (String, Vec<String>)| OwnDevice {
        here: device == own,
        device,
        revolts,
    };
    Ok(found.into_iter().map(own_device).collect())
}

fn devices(context: &Context) -> Result<()> {
    let all = own_devices(&context.client()?)?;
    context.out.show(&all, || {
        let row = |device: &OwnDevice| {
            let here = if device.here { "this one" } else { "" };
            let revolts: Vec<String> = device.revolts.iter().map(|name| line(name)).collect();
            vec![device.device.clone(), here.to_owned(), revolts.join(", ")]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        table(&["DEVICE", "", "REVOLTS"], &rows)
    })
}

fn revoke(context: &Context, args: &RevokeArgs) -> Result<()> {
    let client = context.client()?;
    let device = match args.device.parse::<DeviceId>() {
        // Also one that was revoked before.
        Ok(device) => device.to_string(),
        Err(_) => {
            let (all, nameless) = (own_devices(&client)?, String::new());
            let name = |device: &OwnDevice| (device.device.clone(), &nameless);
            let known = names::pick("device of yours", &args.device, &all, name)?;
            known.device.clone()
        }
    };
    let path = format!("/api/identity/devices/{device}/revoke");
    let since_ms = match args.since {
        Some(span) => {
            let status: Status = client.get("/api/status")?;
            Some(status.unix_ms.saturating_sub(span))
        }
        None => None,
    };
    unlocked(&client, &path, &args.passphrase, |passphrase| {
        RevokeDevice {
            passphrase,
            since_ms,
        }
    })?;
    context
        .out
        .done("The device is taken back in every revolt that this node is in.")
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
