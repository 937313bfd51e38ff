//! `revnet log`: a channel as text or as JSON lines.

use std::io::{self, BufWriter, Write};

use clap::Args;
use revnet_protocol::{DeviceId, Hlc, MessageId};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::names;
use crate::times;

mod follow;
mod line;
mod pages;

pub(crate) use line::Line;
pub(crate) use pages::Pages;

#[derive(Debug, Args)]
#[command(after_help = "\
Oldest first. With --json each message is one JSON object on a line, the same bytes on every node.

Examples:
  revnet log Gardeners/general
  revnet log Gardeners/general --after 2026-01-01T00:00:00Z --all
  revnet log Gardeners/general --follow
  revnet log Gardeners/general --all --json > general.jsonl")]
pub(crate) struct LogArgs {
    /// REVOLT/CHANNEL
    channel: String,
    /// At most this many: the newest, or the oldest where --after is given [default: 50]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "all",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    limit: Option<u64>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// Only messages before this one, or before a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "MESSAGE|TIME", value_parser = bound)]
    before: Option<MessageId>,
    /// Only messages after this one, or from a time on
    #[arg(long, value_name = "MESSAGE|TIME", value_parser = bound)]
    after: Option<MessageId>,
    /// Then print new messages as they come
    #[arg(long, short, conflicts_with = "before")]
    follow: bool,
    /// Also print on how many other people's disks each message is; differs from node to node
    #[arg(long)]
    delivery: bool,
}

/// A message's id, or a time as the smallest id of that moment.
fn bound(text: &str) -> std::result::Result<MessageId, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let ms = times::parse(text)
        .and_then(|ms| u64::try_from(ms).ok())
        .ok_or("neither a message id nor a time such as 2026-01-31T12:00:00Z")?;
    Ok(MessageId {
        hlc: Hlc { ms, counter: 0 },
        device: DeviceId([0; 32]),
        seq: 0,
    })
}

/// Prints messages in one form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) json: bool,
    pub(crate) delivery: bool,
}

impl Printer {
    fn print(self, out: &mut impl Write, message: &revnet_api::dto::Message) -> Result<()> {
        let line = Line::new(message, self.delivery);
        if self.json {
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        } else {
            out.write_all(line.words().as_bytes())?;
        }
        Ok(())
    }
}

pub(crate) fn run(context: &Context, args: &LogArgs) -> Result<()> {
    let printer = Printer {
        json: context.out.json,
        delivery: args.delivery,
    };
    if args.follow && args.after.is_some() && args.limit.is_some() {
        return Err(Failure::usage(
            "with --follow and --after everything since then is printed: leave out --limit",
        ));
    }
    if args.follow {
        return follow::run(context, args, printer);
    }
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    let mut out = BufWriter::new(io::stdout().lock());
    history(&Pages::new(&client, &place), args, |message| {
        printer.print(&mut out, message)
    })?;
    out.flush()?;
    Ok(())
}

/// Hands over what the arguments ask for, oldest first.
fn history(
    pages: &Pages<'_>,
    args: &LogArgs,
    mut each: impl FnMut(&revnet_api::dto::Message) -> Result<()>,
) -> Result<()> {
    // Between a part of the past and what comes now there would be a hole.
    let limit = if args.all || (args.follow && args.after.is_some()) {
        u64::MAX
    } else {
        args.limit.unwrap_or(50)
    };
    if args.all || args.after.is_some() {
        return pages.forward(args.after, args.before, limit, &mut each);
    }
    for message in pages.newest(args.before, limit)? {
        each(&message)?;
    }
    Ok(())
}

/// All messages of a channel into a writer, as JSON lines. Answers with their number.
pub(crate) fn write_all(pages: &Pages<'_>, out: &mut impl Write) -> Result<u64> {
    let printer = Printer {
        json: true,
        delivery: false,
    };
    let mut count = 0;
    pages.forward(None, None, u64::MAX, &mut |message| {
        count += 1;
        printer.print(out, message)
    })?;
    out.flush().map_err(Failure::from)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_bound_just_before_its_messages() {
        let bound = bound("2023-11-14T22:13:20Z").expect("a time");
        let message = MessageId {
            hlc: Hlc {
                ms: 1_700_000_000_000,
                counter: 0,
            },
            device: DeviceId([1; 32]),
            seq: 1,
        };
        assert!(bound < message);
        assert_eq!(super::bound(&message.to_string()), Ok(message));
        assert!(super::bound("yesterday").is_err());
    }
}
