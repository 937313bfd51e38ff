//! Why an act counts, or does not.

use revnet_protocol::act::Level;
use revnet_protocol::{EnvelopeId, Permission};

/// The reducer's answer to one act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It counts, with this rank: its author's, or for a join that of its invite.
    Counts(Level),
    /// It changes nothing.
    Void(Why),
}

/// Why an act changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A signature inside it does not hold, a rotation has not the next generation, or its stamp is not later than
    /// those of the acts that it cites.
    Unsound,
    /// Its author was no member by anything that it knew.
    Stranger,
    /// Its author had lost the power for it by an act that it did not know of.
    Lost(EnvelopeId),
    /// Its author did not hold what it takes, or not by anything that somebody above it decided.
    Lacks(Permission),
    /// It gives what its author doesn't hold or stand above, or is about the author.
    TooMuch,
    /// The person whom it is about does not stand below its author.
    Protected,
    /// Its invite does not count, or not as far as it knew.
    NoInvite,
    /// Its author was removed by an act of which the invite's author did not know, nor the remover of it.
    OldInvite(EnvelopeId),
    /// A revocation of its invite did not keep it.
    Ended(EnvelopeId),
    /// It changes a channel that it knew no beginning of.
    NoChannel,
    /// It is about a role that it knew no beginning of, or that of everyone, which only has permissions.
    NoRole,
    /// The person's root key took back the device that wrote it, or it was taken out for two histories.
    Revoked(EnvelopeId),
    /// It is about a device of which it knew no certificate, or about that of its author.
    NoDevice,
}

impl Verdict {
    /// Whether the act counts.
    #[must_use]
    pub fn counts(&self) -> bool {
        matches!(self, Self::Counts(_))
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Counts(level) => write!(f, "counts with level {}", level.0),
            Self::Void(why) => write!(f, "void: {why}"),
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsound => f.write_str("a signature, the generation or the time in it is wrong"),
            Self::Stranger => f.write_str("its author was no member then"),
            Self::Lost(by) => write!(f, "its author had lost the right by {}", by.short()),
            Self::Lacks(permission) => write!(f, "its author may not {permission}"),
            Self::TooMuch => {
                f.write_str("one gives others what one holds and stands above, and oneself nothing")
            }
            Self::Protected => f.write_str("the person does not stand below its author"),
            Self::NoInvite => f.write_str("its invite does not count"),
            Self::OldInvite(removal) => write!(
                f,
                "its author was removed by {} and the invite is not newer",
                removal.short()
            ),
            Self::Ended(by) => write!(f, "its invite was revoked by {}", by.short()),
            Self::NoChannel => f.write_str("it knew no such channel"),
            Self::NoRole => f.write_str("it knew no such role"),
            Self::Revoked(by) => write!(f, "the device was revoked by {}", by.short()),
            Self::NoDevice => f.write_str("it knew no such device, or it is its author's"),
        }
    }
}
