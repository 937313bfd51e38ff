//! Who of several peers brings what is missing of a revolt: one at a time, or each would bring the same.
//!
//! Comparing is cheap and done with everybody; asking takes a turn. A peer that brings nothing for a moment, or that
//! has had its time, gives the turn to the next who has something.

use revnet_protocol::{DeviceId, RevoltId};

use crate::core::{Core, Timer};
use crate::io::{Mono, SECOND};

/// How often it is looked whether somebody else should go on: who brought nothing for so long loses the turn.
const PATIENCE: Mono = 2 * SECOND;
/// How long one peer may have the turn while others wait for it.
const LONGEST: Mono = 10 * SECOND;

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    peer: DeviceId,
    since: Mono,
    /// Something came since it was last looked.
    brought: bool,
}

impl Core {
    /// Whether a peer may be asked now; takes the turn if nobody has it.
    pub(crate) fn has_turn(&mut self, peer: DeviceId, revolt: RevoltId) -> bool {
        if let Some(turn) = self.turns.get(&revolt) {
            return turn.peer == peer;
        }
        self.give_turn(peer, revolt);
        true
    }

    fn give_turn(&mut self, peer: DeviceId, revolt: RevoltId) {
        let turn = Turn {
            peer,
            since: self.now(),
            brought: false,
        };
        self.turns.insert(revolt, turn);
        self.disarm(Timer::Turn(revolt));
        self.arm(Timer::Turn(revolt), PATIENCE);
    }

    /// Notes that a peer brought something new.
    pub(crate) fn brought(&mut self, peer: DeviceId, revolt: RevoltId) {
        if let Some(turn) = self.turns.get_mut(&revolt).filter(|turn| turn.peer == peer) {
            turn.brought = true;
        }
    }

    /// A peer has nothing more to bring, or can't.
    pub(crate) fn end_turn(&mut self, peer: DeviceId, revolt: RevoltId) {
        if self.turns.get(&revolt).is_none_or(|turn| turn.peer != peer) {
            return;
        }
        self.turns.remove(&revolt);
        self.disarm(Timer::Turn(revolt));
        if let Some(next) = self.next_in_turn(peer, revolt) {
            self.start_pull(next, revolt);
        }
    }

    /// Looks whether the turn should pass on.
    pub(crate) fn watch_turn(&mut self, revolt: RevoltId) {
        let now = self.now();
        let Some(turn) = self.turns.get_mut(&revolt) else {
            return;
        };
        let brought = std::mem::take(&mut turn.brought);
        let (peer, since) = (turn.peer, turn.since);
        let next = self.next_in_turn(peer, revolt);
        match next.filter(|_| !brought || now >= since + LONGEST) {
            Some(next) => {
                self.give_turn(next, revolt);
                self.start_pull(next, revolt);
            }
            None => self.arm(Timer::Turn(revolt), PATIENCE),
        }
    }

    /// The next peer in the circle that waits for its turn.
    fn next_in_turn(&self, after: DeviceId, revolt: RevoltId) -> Option<DeviceId> {
        let waits = |peer: &&DeviceId| {
            let pull = self.links[*peer].pulls.get(&revolt);
            pull.is_some_and(|pull| pull.queued)
        };
        let later = self.links.range(after..).map(|(peer, _)| peer);
        let mut circle = later.chain(self.links.range(..after).map(|(peer, _)| peer));
        circle.find(|peer| **peer != after && waits(peer)).copied()
    }
}
