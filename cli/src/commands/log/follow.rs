//! `revnet log --follow`: history, then what comes, across restarts of the node.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use revnet_api::dto::{Event, Message};
use revnet_protocol::MessageId;

use super::{LogArgs, Pages, Printer, history};
use crate::client::Client;
use crate::context::Context;
use crate::events::Events;
use crate::failure::{Failure, Kind, OWN_IO, Result};
use crate::names::{self, Place};

/// How many printed ids are remembered, so that none is printed twice.
const REMEMBERED: usize = 100_000;
/// How far back late messages are looked for after a gap.
const LATE: u64 = 1000;
/// How often a node that went away is looked for.
const RETRY: Duration = Duration::from_millis(500);
/// How often a node that is back may not know the channel.
const MISSING: u32 = 20;

pub(super) fn run(context: &Context, args: &LogArgs, printer: Printer) -> Result<()> {
    let client = context.client()?;
    let place = names::channel(&client, &args.channel)?;
    // Listening comes first, so that nothing falls between history and news.
    let mut events = Events::connect(&client)?;
    let mut printed = Printed::new(printer, args.after);
    history(&Pages::new(&client, &place), args, |message| {
        printed.print(message)
    })?;
    loop {
        let listened = context
            .client()
            .and_then(|client| listen(&mut events, &client, &place, &mut printed));
        let lost = match listened {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        if lost.code == OWN_IO || lost.kind == Kind::NotFound {
            return Err(lost);
        }
        eprintln!("revnet: {}; waiting for the node", lost.message);
        events = reconnect(context, &place, &mut printed)?;
        eprintln!("revnet: the node is back");
    }
}

fn listen(
    events: &mut Events,
    client: &Client,
    place: &Place,
    printed: &mut Printed,
) -> Result<std::convert::Infallible> {
    let here = |at: &revnet_api::dto::ChannelEvent| {
        at.revolt.0 == place.revolt && at.channel.0 == place.channel
    };
    loop {
        match events.next()?.event {
            Event::Message(event) if here(&event.at) => printed.print(&event.message)?,
            Event::ChannelGrew(at) if here(&at) => printed.catch_up(client, place)?,
            Event::Resync(_) => printed.catch_up(client, place)?,
            Event::RevoltGone(event) if event.revolt.0 == place.revolt => {
                return Err(Failure::not_found(format!(
                    "{} is gone from this node",
                    crate::output::line(&place.name)
                )));
            }
            _ => {}
        }
    }
}

fn reconnect(context: &Context, place: &Place, printed: &mut Printed) -> Result<Events> {
    let mut missing = 0;
    loop {
        sleep(RETRY);
        let attempt = context.client().and_then(|client| {
            let events = Events::connect(&client)?;
            printed.catch_up(&client, place)?;
            Ok(events)
        });
        match attempt {
            Ok(events) => return Ok(events),
            Err(failure) if failure.code == OWN_IO => return Err(failure),
            // A node that starts may not know its revolts yet.
            Err(failure) if failure.kind == Kind::NotFound && missing > MISSING => {
                return Err(failure);
            }
            Err(failure) if failure.kind == Kind::NotFound => missing += 1,
            // It is away, or on its way down or up.
            Err(_) => {}
        }
    }
}

/// What was printed.
struct Printed {
    printer: Printer,
    ids: BTreeSet<MessageId>,
    /// Where printing began: older messages weren't asked for.
    floor: Option<MessageId>,
}

impl Printed {
    fn new(printer: Printer, floor: Option<MessageId>) -> Self {
        Self {
            printer,
            ids: BTreeSet::new(),
            floor,
        }
    }

    fn print(&mut self, message: &Message) -> Result<()> {
        let id = message.id.0;
        if !self.ids.insert(id) {
            return Ok(());
        }
        if self.ids.len() > REMEMBERED {
            self.ids.pop_first();
        }
        self.floor.get_or_insert(id);
        let mut out = io::stdout().lock();
        self.printer.print(&mut out, message)?;
        out.flush()?;
        Ok(())
    }

    /// Prints what came meanwhile: everything after the newest, and what slipped in shortly before it.
    fn catch_up(&mut self, client: &Client, place: &Place) -> Result<()> {
        let pages = Pages::new(client, place);
        let newest = self.ids.last().copied();
        if newest.is_some() {
            for message in pages.newest(newest, LATE)? {
                if self.floor.is_none_or(|floor| message.id.0 > floor) {
                    self.print(&message)?;
                }
            }
        }
        let from = newest.or(self.floor);
        pages.forward(from, None, u64::MAX, &mut |message| self.print(message))
    }
}
