//! Reading a channel page by page.

use std::collections::VecDeque;

use revnet_api::dto::{MAX_BATCH, Message, Messages};
use revnet_protocol::MessageId;

use crate::client::Client;
use crate::failure::Result;
use crate::names::Place;

pub(crate) struct Pages<'a> {
    client: &'a Client,
    path: String,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(client: &'a Client, place: &Place) -> Self {
        Self {
            client,
            path: format!("{}/messages", place.path()),
        }
    }

    fn page(&self, query: &str, limit: u64) -> Result<Vec<Message>> {
        let limit = limit.min(MAX_BATCH as u64);
        let path = format!("{}?limit={limit}{query}", self.path);
        let Messages { messages } = self.client.get(&path)?;
        Ok(messages)
    }

    /// At most `limit` messages after one bound and before another, oldest first.
    pub(crate) fn forward(
        &self,
        after: Option<MessageId>,
        before: Option<MessageId>,
        limit: u64,
        each: &mut dyn FnMut(&Message) -> Result<()>,
    ) -> Result<()> {
        let mut query = match after {
            Some(id) => format!("&after={id}"),
            None => "&oldest=true".to_owned(),
        };
        let mut left = limit;
        while left > 0 {
            let page = self.page(&query, left)?;
            for message in &page {
                if before.is_some_and(|before| message.id.0 >= before) {
                    return Ok(());
                }
                each(message)?;
            }
            let Some(last) = page.last() else {
                return Ok(());
            };
            query = format!("&after={}", last.id);
            left -= page.len() as u64;
        }
        Ok(())
    }

    /// The newest `limit` messages before a bound, oldest first.
    pub(crate) fn newest(
        &self,
        before: Option<MessageId>,
        limit: u64,
    ) -> Result<VecDeque<Message>> {
        let mut found: VecDeque<Message> = VecDeque::new();
        let mut query = before.map_or_else(String::new, |id| format!("&before={id}"));
        while (found.len() as u64) < limit {
            let page = self.page(&query, limit - found.len() as u64)?;
            let Some(first) = page.first() else {
                break;
            };
            query = format!("&before={}", first.id);
            for message in page.into_iter().rev() {
                found.push_front(message);
            }
        }
        Ok(found)
    }
}
