//! Planted faults, for tests that must see them: a law that no fault breaks is not being tested.

use std::cell::Cell;

/// One way to get the rules wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Losses reach only acts whose author knew of them.
    CausalPower,
    /// Who may act at all may act on anybody.
    NoProtection,
    /// An act on somebody fails if somebody later raises that person's level.
    LaterPromotionsErase,
    /// Removed people come back by any invite.
    OldInvitesReadmit,
    /// A join lowers the level of who is a member already.
    JoinsLower,
    /// Who was let in by a low rank may act with a higher one.
    JoinsLift,
    /// A device may act after its own leave until that has a verdict.
    LeavesWait,
    /// Banned people come back by any invite whose author knew of the ban.
    InvitesLiftBans,
    /// Losses of permission reach only acts whose author knew of them.
    CausalLosses,
    /// Who may manage roles may grant what they don't hold.
    GrantsLift,
    /// What a lower rank granted counts for acts of any rank.
    LowGrantsLift,
    /// Devices that were revoked act on as long as they claim not to know of it.
    RevokedActOn,
    /// Whoever revokes a device takes back what others built on.
    RevocationsErase,
    /// A device that was taken out for two histories acts on as long as it claims not to know of it.
    ExpelledActOn,
    /// Anybody may bring the revocation of a device, also once more.
    AnybodyRevokes,
    /// Who joined may confirm it.
    ConfirmOneself,
    /// Who was confirmed by a low rank may act with a higher one after the invite ended.
    ConfirmLifts,
    /// Authors cite acts that don't count before those that do.
    VoidHeads,
    /// Whatever is signed inside acts is taken as it is.
    SignaturesUnread,
    /// Whoever may ban lifts bans from above.
    AnybodyPardons,
    /// A secret that somebody may hold who is out is announced once more.
    SecretsAgain,
    /// A proof of two histories takes back what was before them.
    ProofsErase,
    /// A device that two people certified is expelled for one of them.
    ExpelledOnce,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::CausalPower,
        Self::NoProtection,
        Self::LaterPromotionsErase,
        Self::OldInvitesReadmit,
        Self::JoinsLower,
        Self::JoinsLift,
        Self::LeavesWait,
        Self::InvitesLiftBans,
        Self::CausalLosses,
        Self::GrantsLift,
        Self::LowGrantsLift,
        Self::RevokedActOn,
        Self::RevocationsErase,
        Self::ExpelledActOn,
        Self::AnybodyRevokes,
        Self::ConfirmOneself,
        Self::ConfirmLifts,
        Self::VoidHeads,
        Self::SignaturesUnread,
        Self::AnybodyPardons,
        Self::SecretsAgain,
        Self::ProofsErase,
        Self::ExpelledOnce,
    ];

    /// The fault in words with hyphens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CausalPower => "causal-power",
            Self::NoProtection => "no-protection",
            Self::LaterPromotionsErase => "later-promotions-erase",
            Self::OldInvitesReadmit => "old-invites-readmit",
            Self::JoinsLower => "joins-lower",
            Self::JoinsLift => "joins-lift",
            Self::LeavesWait => "leaves-wait",
            Self::InvitesLiftBans => "invites-lift-bans",
            Self::CausalLosses => "causal-losses",
            Self::GrantsLift => "grants-lift",
            Self::LowGrantsLift => "low-grants-lift",
            Self::RevokedActOn => "revoked-act-on",
            Self::RevocationsErase => "revocations-erase",
            Self::ExpelledActOn => "expelled-act-on",
            Self::AnybodyRevokes => "anybody-revokes",
            Self::ConfirmOneself => "confirm-oneself",
            Self::ConfirmLifts => "confirm-lifts",
            Self::VoidHeads => "void-heads",
            Self::SignaturesUnread => "signatures-unread",
            Self::AnybodyPardons => "anybody-pardons",
            Self::SecretsAgain => "secrets-again",
            Self::ProofsErase => "proofs-erase",
            Self::ExpelledOnce => "expelled-once",
        }
    }
}

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

pub(super) fn is_active(mutant: Mutant) -> bool {
    active() == Some(mutant)
}

/// The fault of this thread.
#[must_use]
pub fn active() -> Option<Mutant> {
    ACTIVE.get()
}

/// Runs `work` with one fault in every reducer of this thread.
pub fn with<T>(mutant: Mutant, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Mutant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
        }
    }
    let _restore = Restore(ACTIVE.replace(Some(mutant)));
    work()
}
