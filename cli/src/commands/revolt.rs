//! `revnet revolt`

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use revnet_api::dto::{Documents, EditRevolt, Revolt, RevoltDetail, Revolts, Roles, Status};

use super::log::{Pages, write_all};
use super::member::level_words;
use super::node::count;
use super::{audit, channel, member};
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names::{self, Place};
use crate::output::{line, table};

#[derive(Debug, Subcommand)]
pub(crate) enum RevoltCommand {
    /// Found a revolt
    New(NewArgs),
    /// List your revolts
    List,
    /// Show a revolt with its channels and members
    Show {
        /// Which
        revolt: String,
    },
    /// Change name or appearance
    Edit(EditArgs),
    /// Cease to be a member, and forget the revolt here
    Leave(LeaveArgs),
    /// Write all documents and messages to a folder
    Export(ExportArgs),
    /// Show everything that members did to the revolt, and why it counts or not
    Audit(audit::AuditArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
It begins with one channel, 'general', and with you as its founder.

Examples:
  revnet revolt new Gardeners
  revnet revolt new Gardeners --description 'All about beans' --icon 🌱")]
pub(crate) struct NewArgs {
    /// What it is called, at most 64 bytes
    name: String,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What isn't named stays.

Examples:
  revnet revolt edit Gardeners --name 'City gardeners'")]
pub(crate) struct EditArgs {
    /// Which
    revolt: String,
    /// A new name, at most 64 bytes
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
struct LookArgs {
    /// What it is about, at most 1024 bytes
    #[arg(long)]
    description: Option<String>,
    /// An emoji
    #[arg(long)]
    icon: Option<String>,
}

impl LookArgs {
    fn edit(&self, name: Option<String>) -> EditRevolt {
        EditRevolt {
            name,
            description: self.description.clone(),
            icon: self.icon.clone(),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
What others hold stays with them. Here it is gone: export it first if you want to keep it.

Examples:
  revnet revolt export Gardeners gardeners-2026
  revnet revolt leave Gardeners --yes")]
pub(crate) struct LeaveArgs {
    /// Which
    revolt: String,
    /// Do it: what this node holds of the revolt is deleted
    #[arg(long, required = true)]
    yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The folder gets revolt.json, one .jsonl for each channel with its messages, and every document as \
.automerge, which stock Automerge opens.

Examples:
  revnet revolt export Gardeners gardeners-2026")]
pub(crate) struct ExportArgs {
    /// Which
    revolt: String,
    /// A new or empty folder
    dir: PathBuf,
}

pub(crate) fn run(context: &Context, command: &RevoltCommand) -> Result<()> {
    match command {
        RevoltCommand::New(args) => new(context, args),
        RevoltCommand::List => list(context),
        RevoltCommand::Show { revolt } => show(context, revolt),
        RevoltCommand::Edit(args) => edit(context, args),
        RevoltCommand::Leave(args) => leave(context, args),
        RevoltCommand::Export(args) => export(context, args),
        RevoltCommand::Audit(args) => audit::run(context, args),
    }
}

fn new(context: &Context, args: &NewArgs) -> Result<()> {
    let edit = args.look.edit(Some(args.name.clone()));
    let made: RevoltDetail = context.client()?.post("/api/revolts", &edit)?;
    context.out.show(&made, || {
        format!("{}  {}", line(&made.info.name), made.info.id)
    })
}

fn list(context: &Context) -> Result<()> {
    let Revolts { revolts } = context.client()?.get("/api/revolts")?;
    context.out.show(&revolts, || {
        if revolts.is_empty() {
            return "You are in no revolt. Found one with 'revnet revolt new NAME', or join one \
                    with 'revnet join LINK'."
                .to_owned();
        }
        let rows: Vec<Vec<String>> = revolts.iter().map(row).collect();
        table(&["REVOLT", "YOU", "MEMBERS", "LINKED", "ID"], &rows)
    })
}

fn row(revolt: &Revolt) -> Vec<String> {
    vec![
        line(&revolt.name),
        revolt.level.map_or_else(|| "-".to_owned(), level_words),
        revolt.member_count.to_string(),
        revolt.online.to_string(),
        revolt.id.to_string(),
    ]
}

fn show(context: &Context, wanted: &str) -> Result<()> {
    let client = context.client()?;
    let detail = detail(&client, wanted)?;
    let Roles { roles } = client.get(&format!("/api/revolts/{}/roles", detail.info.id))?;
    let status: Status = client.get("/api/status")?;
    context.out.show(&detail, || {
        let icon = detail
            .info
            .icon
            .as_ref()
            .map_or_else(String::new, |icon| format!("{} ", line(icon)));
        format!(
            "{icon}{}  {}\n{}\n\n{}\n{}",
            line(&detail.info.name),
            detail.info.id,
            line(&detail.info.description),
            channel::list_words(&detail.channels),
            member::list_words(&detail.members, &roles, status.unix_ms)
        )
    })
}

fn detail(client: &Client, wanted: &str) -> Result<RevoltDetail> {
    let revolt = names::revolt(client, wanted)?;
    client.get(&format!("/api/revolts/{}", revolt.id))
}

fn edit(context: &Context, args: &EditArgs) -> Result<()> {
    let edit = args.look.edit(args.name.clone());
    if edit == EditRevolt::default() {
        return Err(Failure::usage(
            "nothing to change: give --name, --description or --icon",
        ));
    }
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    let changed: RevoltDetail = client.patch(&format!("/api/revolts/{}", revolt.id), &edit)?;
    context.out.show(&changed, || {
        format!("{}  {}", line(&changed.info.name), changed.info.id)
    })
}

fn leave(context: &Context, args: &LeaveArgs) -> Result<()> {
    let client = context.client()?;
    let revolt = names::revolt(&client, &args.revolt)?;
    client.delete(&format!("/api/revolts/{}", revolt.id))?;
    context
        .out
        .done(&format!("You have left {}.", line(&revolt.name)))
}

fn export(context: &Context, args: &ExportArgs) -> Result<()> {
    let client = context.client()?;
    let detail = detail(&client, &args.revolt)?;
    prepare(&args.dir)?;
    let about = serde_json::to_vec_pretty(&detail)?;
    write(&args.dir.join("revolt.json"), &about)?;
    let mut messages = 0;
    for channel in &detail.channels {
        let place = Place {
            revolt: detail.info.id.0,
            channel: channel.id.0,
            name: channel.name.clone(),
        };
        let name = format!(
            "{}-{}.jsonl",
            file_name(&channel.name),
            channel.id.0.short()
        );
        let path = args.dir.join(name);
        let file = fs::File::create_new(&path).map_err(|error| Failure::file(&path, &error))?;
        messages += write_all(&Pages::new(&client, &place), &mut BufWriter::new(file))?;
    }
    let base = format!("/api/revolts/{}/documents", detail.info.id);
    let Documents { documents } = client.get(&base)?;
    for document in &documents {
        let bytes = client.get_bytes(&format!("{base}/{}/{}", document.stream, document.seg))?;
        let name = format!("{}-{:05}.automerge", document.stream, document.seg);
        write(&args.dir.join(name), &bytes)?;
    }
    let value = serde_json::json!({
        "id": detail.info.id,
        "dir": args.dir,
        "messages": messages,
        "documents": documents.len(),
    });
    context.out.show(&value, || {
        format!(
            "{} and {} are in {}",
            count(messages, "message"),
            count(documents.len() as u64, "document"),
            args.dir.display()
        )
    })
}

fn prepare(dir: &Path) -> Result<()> {
    let fail = |error: std::io::Error| Failure::file(dir, &error);
    fs::create_dir_all(dir).map_err(fail)?;
    if fs::read_dir(dir).map_err(fail)?.next().is_some() {
        return Err(Failure::usage(format!(
            "{} isn't empty: give a new folder",
            dir.display()
        )));
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Failure::file(path, &error))
}

/// A channel's name as part of a file's name: others chose it, so it names no other folder.
fn file_name(name: &str) -> String {
    let kept: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .take(32)
        .collect();
    kept.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_channel_name_stays_in_its_folder() {
        assert_eq!(super::file_name("../../etc/passwd"), "etc-passwd");
        assert_eq!(super::file_name("Gärten & Beete"), "Gärten---Beete");
        assert_eq!(super::file_name(".."), "");
    }
}
