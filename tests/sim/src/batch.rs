//! What a node was doing when it handed a batch to its disk, told from the writes alone.

use revnet_core::storage::{Space, Write};
use revnet_protocol::DeviceId;

/// What a batch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A new epoch: its secret, its slots, its act.
    Rotating,
    /// Words from the outbox that got their place.
    Flushing,
    /// Words for the outbox.
    Keeping,
    /// Own envelopes.
    Writing,
    /// A join that begins or ends.
    Joining,
    /// Envelopes of others.
    Receiving,
    /// Secrets that came.
    Learning,
    /// Where a pull ended.
    CatchingUp,
    /// Anything else.
    Other,
}

impl Work {
    /// Those that crashes are aimed at.
    pub const AIMS: [Self; 8] = [
        Self::Rotating,
        Self::Flushing,
        Self::Keeping,
        Self::Writing,
        Self::Joining,
        Self::Receiving,
        Self::Learning,
        Self::CatchingUp,
    ];

    /// What the batch of a device is about; the rarest thing counts.
    #[must_use]
    pub fn of(writes: &[Write], me: &DeviceId) -> Self {
        let puts = |wanted| {
            writes
                .iter()
                .any(|w| matches!(w, Write::Put { space, .. } if *space == wanted))
        };
        let flushes = |w: &Write| {
            matches!(
                w,
                Write::Remove {
                    space: Space::Outbox,
                    ..
                }
            )
        };
        let own = |w: &Write| matches!(w, Write::Envelope { device, .. } if device == me);
        let any = |w: &Write| matches!(w, Write::Envelope { .. });
        if puts(Space::Chunk) {
            Self::Rotating
        } else if writes.iter().any(flushes) {
            Self::Flushing
        } else if puts(Space::Outbox) {
            Self::Keeping
        } else if puts(Space::Revolt) {
            Self::Joining
        } else if writes.iter().any(own) {
            Self::Writing
        } else if writes.iter().any(any) {
            Self::Receiving
        } else if puts(Space::Secret) {
            Self::Learning
        } else if puts(Space::Cursor) {
            Self::CatchingUp
        } else {
            Self::Other
        }
    }

    /// For reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotating => "rotating",
            Self::Flushing => "flushing",
            Self::Keeping => "keeping",
            Self::Writing => "writing",
            Self::Joining => "joining",
            Self::Receiving => "receiving",
            Self::Learning => "learning",
            Self::CatchingUp => "catching up",
            Self::Other => "other",
        }
    }
}
