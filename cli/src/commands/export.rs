//! `revnet export`: a channel's messages as JSON lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::log::{Pages, write_all};
use super::node::count;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;

#[derive(Debug, Args)]
#[command(after_help = "\
The lines are those of 'revnet log --all --json'. A name that ends with .gz is compressed.

Examples:
  revnet export Gardeners/general general.jsonl
  revnet export Gardeners/general general.jsonl.gz
  revnet export Gardeners/general - | jq .text")]
pub(crate) struct ExportArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// The file to write, or - for standard output
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(context: &Context, args: &ExportArgs) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    let pages = Pages::new(&client, &place);
    if args.file == Path::new("-") {
        write_all(&pages, &mut BufWriter::new(io::stdout().lock()))?;
        return Ok(());
    }
    let known = std::fs::metadata(&args.file).ok();
    if known.as_ref().is_some_and(std::fs::Metadata::is_file) && !args.force {
        return Err(Failure::usage(format!(
            "{} is there already: give --force to replace it",
            args.file.display()
        )));
    }
    // A pipe or a device is written to; a file appears when it is whole.
    if known.is_some_and(|known| !known.is_file()) {
        let messages = write_file(&pages, &args.file, is_gzip(&args.file))?;
        return done(context, args, messages);
    }
    let mut next = args.file.as_os_str().to_owned();
    next.push(".part");
    let next = PathBuf::from(next);
    let written = write_file(&pages, &next, is_gzip(&args.file));
    let messages = written.inspect_err(|_| drop(std::fs::remove_file(&next)))?;
    std::fs::rename(&next, &args.file).map_err(|error| Failure::file(&args.file, &error))?;
    done(context, args, messages)
}

fn done(context: &Context, args: &ExportArgs, messages: u64) -> Result<()> {
    let value = serde_json::json!({ "file": args.file, "messages": messages });
    context.out.show(&value, || {
        format!(
            "{} are in {}",
            count(messages, "message"),
            args.file.display()
        )
    })
}

fn write_file(pages: &Pages<'_>, path: &Path, gzip: bool) -> Result<u64> {
    let file = File::create(path).map_err(|error| Failure::file(path, &error))?;
    if gzip {
        let mut out = GzEncoder::new(BufWriter::new(file), Compression::default());
        let messages = write_all(pages, &mut out)?;
        out.finish()?.flush()?;
        return Ok(messages);
    }
    write_all(pages, &mut BufWriter::new(file))
}

/// Whether the file's name says that it is compressed.
pub(crate) fn is_gzip(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}
