//! `revnet import`: messages from elsewhere, under the importer's own signature.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, Subcommand};
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use revnet_api::dto::{Draft, Drafts, Imported, SentAll};
use revnet_protocol::Content;
use serde::{Deserialize, Deserializer, Serialize};

use super::export::is_gzip;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Kind, Result};
use crate::names;
use crate::times;

/// Messages of one request.
const BATCH: usize = 500;
/// Bytes of text of one request, so that it stays below the API's limit however it is escaped.
const BATCH_BYTES: usize = 256 * 1024;
/// Longest line in bytes.
const MAX_LINE: usize = 1024 * 1024;
/// How often a busy node is asked again, with growing pauses: about two minutes in all.
const RETRIES: u32 = 10;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Import a file of JSON lines
    Jsonl(JsonlArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
One JSON object on a line, oldest first: {\"id\": …, \"ts\": \"2026-01-31T12:00:00Z\", \"author\": …, \
\"body\": …, \"reply_to\": …}. The field reply_to is the id of an earlier line and may be missing. A \
name that ends with .gz is decompressed. Importing the same source again continues where it stopped.

Examples:
  revnet import jsonl Gardeners/archive chat.jsonl.gz
  revnet import jsonl Gardeners/archive part2.jsonl --source chat")]
pub(crate) struct JsonlArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// The file to read
    file: PathBuf,
    /// What the import is called: messages with the same source and id are imported once
    /// [default: the file's name]
    #[arg(long)]
    source: Option<String>,
}

/// One line of the file.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(deserialize_with = "id")]
    id: String,
    ts: String,
    author: String,
    body: String,
    #[serde(default, deserialize_with = "optional_id")]
    reply_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyId {
    Number(i64),
    Text(String),
}

impl From<AnyId> for String {
    fn from(id: AnyId) -> Self {
        match id {
            AnyId::Number(number) => number.to_string(),
            AnyId::Text(text) => text,
        }
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    AnyId::deserialize(deserializer).map(Into::into)
}

fn optional_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<String>, D::Error> {
    Ok(Option::<AnyId>::deserialize(deserializer)?.map(Into::into))
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    imported: u64,
    /// Imported earlier.
    skipped: u64,
    total: u64,
}

pub(crate) fn run(context: &Context, command: &ImportCommand) -> Result<()> {
    match command {
        ImportCommand::Jsonl(args) => jsonl(context, args),
    }
}

fn jsonl(context: &Context, args: &JsonlArgs) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    let source = match &args.source {
        Some(source) => source.clone(),
        None => default_source(&args.file)?,
    };
    let file = File::open(&args.file).map_err(|error| Failure::file(&args.file, &error))?;
    let bar = progress(file.metadata()?.len(), context.out.json);
    let compressed = BufReader::new(bar.wrap_read(file));
    let lines: Box<dyn Read> = if is_gzip(&args.file) {
        Box::new(MultiGzDecoder::new(compressed))
    } else {
        Box::new(compressed)
    };
    let mut import = Import {
        client: &client,
        path: format!("{}/messages", place.path()),
        source,
        seen: HashSet::new(),
        batch: Batch::default(),
        summary: Summary::default(),
    };
    let result = import.all(BufReader::new(lines));
    bar.finish_and_clear();
    let summary = import.summary;
    if let Err(failure) = result {
        let then = match failure.kind {
            Kind::Usage | Kind::NotPermitted | Kind::NotFound => "",
            _ => "; run the same command again to continue",
        };
        eprintln!("revnet: stopped after {} messages{then}", summary.total);
        return Err(failure);
    }
    context.out.show(&summary, || {
        format!(
            "{} imported, {} were here already, {} in all",
            summary.imported, summary.skipped, summary.total
        )
    })
}

/// The file's name without its endings.
fn default_source(file: &Path) -> Result<String> {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Failure::usage("give a --source: the file's name isn't text"))?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    Ok(name.strip_suffix(".jsonl").unwrap_or(name).to_owned())
}

fn progress(bytes: u64, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent}%  {elapsed} of about {duration}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

#[derive(Debug, Default)]
struct Batch {
    drafts: Vec<Draft>,
    bytes: usize,
    /// The line of the first draft.
    first: u64,
}

struct Import<'a> {
    client: &'a Client,
    path: String,
    source: String,
    /// Ids of earlier lines: only those can be answered.
    seen: HashSet<String>,
    batch: Batch,
    summary: Summary,
}

impl Import<'_> {
    fn all(&mut self, mut lines: impl BufRead) -> Result<()> {
        let mut text = Vec::new();
        let mut number = 0;
        loop {
            text.clear();
            let read = (&mut lines)
                .take(MAX_LINE as u64)
                .read_until(b'\n', &mut text)?;
            if read == 0 {
                return self.flush();
            }
            number += 1;
            if text.trim_ascii().is_empty() {
                continue;
            }
            // Programs of other systems put a mark in front.
            let line = match number {
                1 => text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text),
                _ => &text,
            };
            let read = parse(line).and_then(|record| draft(record, &self.source, &mut self.seen));
            let draft = match read {
                Ok(draft) => draft,
                Err(why) => {
                    // What stands before a wrong line is good.
                    self.flush()?;
                    return Err(Failure::usage(format!(
                        "line {number}: {why}; mend it, and run the same command again"
                    )));
                }
            };
            if self.batch.drafts.is_empty() {
                self.batch.first = number;
            }
            self.batch.bytes += draft.text.len();
            self.batch.drafts.push(draft);
            if self.batch.drafts.len() >= BATCH || self.batch.bytes >= BATCH_BYTES {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.drafts.is_empty() {
            return Ok(());
        }
        let drafts = Drafts {
            messages: batch.drafts,
        };
        let SentAll { sent } = self
            .send(&drafts)
            .map_err(|failure| failure.at(&format!("from line {}", batch.first)))?;
        let skipped = sent.iter().filter(|sent| sent.known).count() as u64;
        self.summary.skipped += skipped;
        self.summary.imported += sent.len() as u64 - skipped;
        self.summary.total += sent.len() as u64;
        Ok(())
    }

    /// Sends a batch, patiently. The nonces make it safe to send it again.
    fn send(&self, drafts: &Drafts) -> Result<SentAll> {
        let mut attempt = 0;
        loop {
            match self.client.post(&self.path, drafts) {
                Err(failure) if failure.code == "busy" && attempt < RETRIES => {
                    sleep(Duration::from_millis(100 << attempt));
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }
}

fn parse(line: &[u8]) -> std::result::Result<Record, String> {
    if line.len() >= MAX_LINE {
        return Err(format!("longer than {MAX_LINE} bytes"));
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

fn draft(
    record: Record,
    source: &str,
    seen: &mut HashSet<String>,
) -> std::result::Result<Draft, String> {
    let time_ms = times::parse(&record.ts)
        .ok_or_else(|| format!("'{}' isn't a time such as 2026-01-31T12:00:00Z", record.ts))?;
    let nonce = |id: &str| format!("import:{source}:{id}");
    let draft = Draft {
        text: record.body,
        reply_to: None,
        reply_to_nonce: record
            .reply_to
            .as_ref()
            .filter(|id| seen.contains(*id))
            .map(|id| nonce(id)),
        nonce: Some(nonce(&record.id)),
        imported: Some(Imported {
            source: source.to_owned(),
            id: record.id.clone(),
            author: record.author,
            time_ms,
            reply_to: record.reply_to,
        }),
    };
    if !content(&draft).fits() {
        return Err("the message is longer than about 8000 bytes".to_owned());
    }
    if !seen.insert(record.id.clone()) {
        return Err(format!(
            "the id '{}' stands on an earlier line, too",
            record.id
        ));
    }
    Ok(draft)
}

/// What the message will be, to see whether it fits.
fn content(draft: &Draft) -> Content {
    let imported = draft.imported.as_ref();
    Content {
        salt: [0; 16],
        text: draft.text.clone(),
        imported: imported.map(|from| revnet_protocol::Imported {
            source: from.source.clone(),
            id: from.id.clone(),
            author: from.author.clone(),
            time_ms: from.time_ms,
            reply_to: from.reply_to.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_drafts_that_answer_earlier_ones() {
        let mut seen = HashSet::new();
        let mut read = |line: &str| draft(parse(line.as_bytes())?, "chat", &mut seen);
        let one = read(r#"{"id":1,"ts":"2004-09-23T14:00:00Z","author":"a","body":"hi"}"#)
            .expect("a draft");
        assert_eq!(one.nonce.as_deref(), Some("import:chat:1"));
        let from = one.imported.expect("imported");
        assert_eq!(from.time_ms, 1_095_948_000_000);
        let two = read(
            r#"{"id":"2","ts":"2004-09-23T14:00:00Z","author":"b","body":"yes","reply_to":1}"#,
        )
        .expect("a draft");
        assert_eq!(two.reply_to_nonce.as_deref(), Some("import:chat:1"));
        let three =
            read(r#"{"id":3,"ts":"2004-09-23T14:00:00Z","author":"b","body":"?","reply_to":9}"#)
                .expect("a draft");
        assert_eq!(three.reply_to_nonce, None, "nothing to answer here");
        assert_eq!(
            three.imported.expect("imported").reply_to.as_deref(),
            Some("9")
        );
        assert!(read(r#"{"id":4,"ts":"yesterday","author":"b","body":"?"}"#).is_err());
        assert!(read(r#"{"id":4}"#).is_err());
    }

    #[test]
    fn the_source_is_the_name_of_the_file() {
        let source = |file: &str| default_source(Path::new(file)).expect("a name");
        assert_eq!(source("/tmp/chat.jsonl.gz"), "chat");
        assert_eq!(source("chat.jsonl"), "chat");
        assert_eq!(source("chat"), "chat");
    }
}
