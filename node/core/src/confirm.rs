//! Confirming joins: whoever may invite vouches for newcomers, who then stay in whatever becomes of their invite.

use revnet_crdt::authority::Wish;
use revnet_protocol::limits::MAX_CONFIRMED;
use revnet_protocol::{Act, EnvelopeId, Permission, RevoltId};

use crate::core::{Core, Timer};
use crate::io::{Mono, SECOND};

/// How long a join waits for its confirmation at least: meanwhile those learn of it who ended the invite.
const CONFIRM_AFTER: Mono = 5 * SECOND;
/// Over what time members spread, so that the first one spares the others the work.
const CONFIRM_SPREAD: Mono = 25 * SECOND;
/// How long after the end of an invite joins by it are still confirmed, in milliseconds. Their stamps prove nothing:
/// whoever has the link can date a join back, and nobody would have ended the invite in time to reach it.
const CONFIRM_GRACE_MS: u64 = 10 * 60 * 1000;

impl Core {
    /// Looks at a revolt again in a while, if joins are to be confirmed there.
    pub(crate) fn confirm_soon(&mut self, id: RevoltId) {
        if !self.is_armed(Timer::Confirm(id)) && !self.confirmable(&id).is_empty() {
            let wait = CONFIRM_AFTER + self.jitter(CONFIRM_SPREAD);
            self.arm(Timer::Confirm(id), wait);
        }
    }

    /// Joins of others that are within the limits of their invites, and these not long past, if this person may
    /// invite.
    fn confirmable(&self, id: &RevoltId) -> Vec<EnvelopeId> {
        let Some(revolt) = self.revolts.get(id) else {
            return Vec::new();
        };
        if !revolt.has_device(&self.device()) || !self.may_invite(id) {
            return Vec::new();
        }
        let since = self.unix_ms().saturating_sub(CONFIRM_GRACE_MS);
        let joins = revolt.authority.unconfirmed(since).into_iter();
        let of_others = joins.filter(|(_, user)| *user != self.user());
        of_others
            .map(|(join, _)| join)
            .take(MAX_CONFIRMED)
            .collect()
    }

    /// Whether an invite of this person's would count now.
    pub(crate) fn may_invite(&self, id: &RevoltId) -> bool {
        let Some(revolt) = self.revolts.get(id) else {
            return false;
        };
        let authority = &revolt.authority;
        let (heads, newest) = (authority.heads(), authority.newest_hlc());
        let wish = Wish::Act(Permission::Invite);
        let judgement = authority.judge(&self.device(), &heads, newest, wish);
        judgement.allowed
    }

    pub(crate) fn confirm_joins(&mut self, id: RevoltId) {
        let joins = self.confirmable(&id);
        if joins.is_empty() {
            return;
        }
        let secret = self.revolts.get(&id).and_then(|r| r.sending_secret());
        let Some(secret) = secret.filter(|_| self.may_author(&id)).cloned() else {
            return self.arm(Timer::Confirm(id), CONFIRM_AFTER);
        };
        let act = Act::Confirm { joins };
        if self.would_count(&id, &act).is_ok() {
            self.author(id, &act, &secret, Vec::new());
        }
    }
}
