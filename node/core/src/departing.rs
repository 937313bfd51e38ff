//! Words on their way to being sealed, which leave in the order in which they were accepted.
//!
//! Before words get their place, the store is asked whether their nonces were sent before. Meanwhile the words of
//! each channel stand in a line, those that nothing is asked about, too. What waits in the outbox was accepted
//! before all that stand there, so it is taken to the front of the line, and put back from there.

use std::collections::{BTreeMap, VecDeque};

use revnet_protocol::{RevoltId, StreamId, decode};

use crate::command::{CommandError, Place};
use crate::core::{Core, Waiting as Wait};
use crate::storage::{Query, Space};
use crate::write::{Nonce, Submission, Words, nonce_key};

impl Submission {
    /// The nonces of its words, and those of what they answer.
    fn nonces(&self) -> impl Iterator<Item = [u8; 32]> {
        let nonces = self.items.iter().flat_map(|item| {
            let reply = match &item.words {
                Words::Message { reply_to_nonce, .. } => *reply_to_nonce,
                _ => None,
            };
            [item.nonce, reply]
        });
        nonces.flatten()
    }

    pub(crate) fn is_from_outbox(&self) -> bool {
        !self.numbers.is_empty()
    }
}

impl Core {
    /// Takes events in: sealed as soon as it is their turn if somebody can hear them then, else kept in the outbox.
    pub(crate) fn submit(&mut self, submission: Submission) {
        let stream = submission.stream;
        let id = self.look_up(submission);
        self.departing.entry(stream).or_default().push_back(id);
        self.depart(stream);
    }

    /// Takes parts of the outbox to the front of their line. [`Core::depart`] lets them go.
    pub(crate) fn take_to_front(&mut self, stream: StreamId, parts: Vec<Submission>) {
        let ids: Vec<_> = parts.into_iter().map(|part| self.look_up(part)).collect();
        let line = self.departing.entry(stream).or_default();
        ids.into_iter().rev().for_each(|id| line.push_front(id));
    }

    fn look_up(&mut self, submission: Submission) -> u64 {
        let stream = submission.stream;
        let keys: Vec<_> = submission
            .nonces()
            .map(|nonce| nonce_key(&stream, &nonce))
            .collect();
        let wait = Wait::Nonces {
            submission: Box::new(submission),
            values: keys.is_empty().then(Vec::new),
        };
        if keys.is_empty() {
            return self.wait(wait);
        }
        let space = Space::Nonce;
        self.load(Query::GetMany { space, keys }, wait)
    }

    pub(crate) fn nonces_loaded(
        &mut self,
        id: u64,
        submission: Box<Submission>,
        values: Vec<Option<Vec<u8>>>,
    ) {
        let stream = submission.stream;
        let values = Some(values);
        self.waiting.insert(id, Wait::Nonces { submission, values });
        self.depart(stream);
    }

    /// Lets the words at the front of a line go, as far as the store has answered.
    pub(crate) fn depart(&mut self, stream: StreamId) {
        let mut revolt = None;
        while let Some((id, at)) = self.first_departing(&stream) {
            revolt = Some(at.revolt);
            let is_open = self.may_transmit(&at);
            // A rotation on the way may have made room for what waited in the outbox.
            if self.first_departing(&stream).map(|(first, _)| first) == Some(id)
                && let Some((submission, values)) = self.next_departing(&stream)
            {
                self.send_off(submission, values, is_open);
            }
        }
        let line = self.departing.get(&stream);
        if line.is_some_and(VecDeque::is_empty) {
            self.departing.remove(&stream);
        }
        // The way may have opened meanwhile, for what went to the outbox.
        if let Some(revolt) = revolt.filter(|revolt| self.is_queued(revolt, &stream)) {
            self.flush_outbox(revolt);
        }
    }

    /// The first words of a line, if the store has answered about them.
    fn first_departing(&self, stream: &StreamId) -> Option<(u64, Place)> {
        let id = self.departing.get(stream)?.front()?;
        match self.waiting.get(id)? {
            Wait::Nonces {
                submission,
                values: Some(_),
            } => Some((*id, submission.at)),
            _ => None,
        }
    }

    fn next_departing(&mut self, stream: &StreamId) -> Option<(Submission, Vec<Option<Vec<u8>>>)> {
        let id = self.departing.get_mut(stream)?.pop_front()?;
        match self.waiting.remove(&id)? {
            Wait::Nonces { submission, values } => Some((*submission, values.unwrap_or_default())),
            _ => None,
        }
    }

    fn send_off(&mut self, submission: Submission, values: Vec<Option<Vec<u8>>>, is_open: bool) {
        let known = self.known_nonces(&submission, values);
        // What waits in the outbox goes first, whatever came after it.
        if is_open && !self.is_queued(&submission.at.revolt, &submission.stream) {
            self.seal_all(submission, known);
        } else if submission.is_from_outbox() {
            self.put_back(submission);
        } else {
            self.keep_all(submission, &known);
        }
    }

    fn is_queued(&self, revolt: &RevoltId, stream: &StreamId) -> bool {
        let revolt = self.revolts.get(revolt);
        let queue = revolt.and_then(|revolt| revolt.outbox.get(stream));
        queue.is_some_and(|queue| !queue.is_empty())
    }

    /// What is known of the nonces of words: by the store, and by batches that it was asked before.
    fn known_nonces(
        &self,
        submission: &Submission,
        values: Vec<Option<Vec<u8>>>,
    ) -> BTreeMap<[u8; 32], Nonce> {
        let mut values = values.into_iter();
        let mut known = BTreeMap::new();
        for nonce in submission.nonces() {
            let stored = values.next().flatten();
            let fresh = self.nonces.get(&nonce_key(&submission.stream, &nonce));
            let value = fresh.map(|(_, value)| value.clone()).or(stored);
            if let Some(value) = value.and_then(|bytes| decode(&bytes, 128).ok()) {
                known.insert(nonce, value);
            }
        }
        known
    }

    /// Puts a part of the outbox back: the way closed while it was looked up. Those before it are back already.
    fn put_back(&mut self, submission: Submission) {
        let Some(revolt) = self.revolts.get_mut(&submission.at.revolt) else {
            return;
        };
        let queue = revolt.outbox.entry(submission.stream).or_default();
        queue.extend(submission.numbers.into_iter().zip(submission.items));
    }

    /// Sends everybody in a line away whose revolt is gone, and tells which numbers of the outbox were among them.
    pub(crate) fn turn_away(&mut self, stream: &StreamId) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some((submission, _)) = self.next_departing(stream) {
            if let Some(command) = submission.command {
                self.reply(command, Err(CommandError::NotFound("revolt")));
            }
            numbers.extend(submission.numbers);
        }
        self.departing.remove(stream);
        numbers
    }
}
