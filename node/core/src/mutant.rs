//! Planted faults, for the simulation that must see them: a law that no fault breaks is not being tested.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use revnet_protocol::{DeviceId, KeyId};

use crate::core::Waiting;

/// One way to get the node wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Own envelopes leave before they are durable.
    GossipBeforeDurable,
    /// Commands are answered before what they did is durable.
    AnswerBeforeDurable,
    /// Authors hear that something is held before it is durable.
    HeldBeforeDurable,
    /// The end of an answer, with its cursor, is sent before the envelopes.
    CursorFirst,
    /// It isn't remembered which message a client's nonce became.
    NonceForgotten,
    /// Nobody makes a new epoch when somebody was removed.
    NoRotation,
    /// Words get their place and seal before a member was heard.
    SealedUnheard,
    /// Messages are read before the control acts that they cite are here.
    HeadsUnchecked,
    /// An envelope is taken although others before it are missing.
    GapTaken,
    /// Secrets are asked for once, whether an answer comes or not.
    KeysAskedOnce,
    /// Secrets are handed on before it is known who was removed.
    KeysUnread,
    /// That something was dropped is forgotten, so the cursor skips it.
    DroppedForgotten,
    /// The secrets of closed channels are handed to every member.
    KeysForAll,
    /// That an author signed two histories is not looked into.
    ForksIgnored,
    /// Of the acts that somebody signed twice for one number only those are read that came first.
    BranchesUnread,
    /// Newcomers get the secrets of channels whose history is closed to them.
    HistoryOpen,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::GossipBeforeDurable,
        Self::AnswerBeforeDurable,
        Self::HeldBeforeDurable,
        Self::CursorFirst,
        Self::NonceForgotten,
        Self::NoRotation,
        Self::SealedUnheard,
        Self::HeadsUnchecked,
        Self::GapTaken,
        Self::KeysAskedOnce,
        Self::KeysUnread,
        Self::DroppedForgotten,
        Self::KeysForAll,
        Self::ForksIgnored,
        Self::BranchesUnread,
        Self::HistoryOpen,
    ];

    /// The fault in words with hyphens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GossipBeforeDurable => "gossip-before-durable",
            Self::AnswerBeforeDurable => "answer-before-durable",
            Self::HeldBeforeDurable => "held-before-durable",
            Self::CursorFirst => "cursor-first",
            Self::NonceForgotten => "nonce-forgotten",
            Self::NoRotation => "no-rotation",
            Self::SealedUnheard => "sealed-unheard",
            Self::HeadsUnchecked => "heads-unchecked",
            Self::GapTaken => "gap-taken",
            Self::KeysAskedOnce => "keys-asked-once",
            Self::KeysUnread => "keys-unread",
            Self::DroppedForgotten => "dropped-forgotten",
            Self::KeysForAll => "keys-for-all",
            Self::ForksIgnored => "forks-ignored",
            Self::BranchesUnread => "branches-unread",
            Self::HistoryOpen => "history-open",
        }
    }
}

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    static ASKED: RefCell<BTreeSet<(DeviceId, KeyId)>> = const { RefCell::new(BTreeSet::new()) };
}

pub(crate) fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether what waits for the disk goes on without it.
pub(crate) fn is_impatient(waiting: Option<&Waiting>) -> bool {
    match waiting {
        Some(Waiting::Sealed(_)) => is_active(Mutant::GossipBeforeDurable),
        Some(Waiting::Reply { .. }) => is_active(Mutant::AnswerBeforeDurable),
        Some(Waiting::Received { .. }) => is_active(Mutant::HeldBeforeDurable),
        _ => false,
    }
}

/// Whether a device has asked for a secret before and won't again.
pub(crate) fn is_asked_again(device: &DeviceId, key_id: &KeyId) -> bool {
    is_active(Mutant::KeysAskedOnce)
        && !ASKED.with_borrow_mut(|asked| asked.insert((*device, *key_id)))
}

/// Runs `work` with one fault in every core of this thread.
pub fn with<T>(mutant: Mutant, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Mutant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
            ASKED.take();
        }
    }
    let _restore = Restore(ACTIVE.replace(Some(mutant)));
    work()
}
