//! Becoming a member by a link.

use revnet_crdt::authority::InviteState;
use revnet_protocol::act::Join;
use revnet_protocol::{Act, InviteLink, InviteSecret, RevoltId};

use crate::command::{CommandError, Notice, Reply};
use crate::core::{Core, JOIN_PATIENCE, Timer};
use crate::io::Effect;
use crate::revolt::{Joining, Record, Revolt};

/// Whether an invite lets nobody in any more. Time and numbers are judged by each node that is asked, and
/// made final for all by a revocation.
pub(crate) fn has_ended(invite: &InviteState, now_ms: u64) -> bool {
    invite.revoked
        || invite.expires_ms.is_some_and(|at| at <= now_ms)
        || invite.max_uses.is_some_and(|most| invite.uses >= most)
}

impl Core {
    pub(crate) fn join(
        &mut self,
        command: u64,
        link: &InviteLink,
    ) -> Result<Option<Reply>, CommandError> {
        let id = link.revolt;
        if link.expires_ms.is_some_and(|at| at <= self.unix_ms()) {
            return Err(CommandError::InviteEnded);
        }
        // Whoever was removed doesn't know it, as nobody tells them. Where the invite is known, they would.
        let invite = InviteSecret::from_seed(link.seed).id();
        let member = self.revolts.get(&id).is_some_and(|revolt| {
            let knows = revolt.authority.state().invites.contains_key(&invite);
            knows && revolt.has_device(&self.device())
        });
        if member {
            return Ok(Some(Reply::Revolt(Box::new(self.revolt_detail(&id)?))));
        }
        let joining = Joining {
            seed: link.seed,
            addresses: link.addresses.clone(),
            command: Some(command),
            written: false,
        };
        let record = Record {
            name: link.name.clone(),
            joining: Some((link.seed, link.addresses.clone())),
            leaving: false,
        };
        if let Some(known) = self.revolts.get_mut(&id) {
            let before = known.joining.take().and_then(|joining| joining.command);
            known.record = record;
            known.joining = Some(joining);
            if let Some(before) = before {
                self.reply(before, Err(CommandError::Busy));
            }
        } else {
            let mut known = Revolt::new(id, record);
            known.joining = Some(joining);
            self.add_revolt(known);
        }
        let write = self.save_record(&id).expect("just added");
        self.store(vec![write], None);
        self.disarm(Timer::JoinDeadline(id));
        self.arm(Timer::JoinDeadline(id), JOIN_PATIENCE);
        self.refresh_topics(id);
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            self.send_knock(peer, id);
        }
        self.reach_joining(id);
        // Keys may be here already: a former member who was invited again.
        self.continue_join(id);
        Ok(None)
    }

    /// Dials the addresses of the link.
    pub(crate) fn reach_joining(&mut self, id: RevoltId) {
        let Some(joining) = self.revolts.get(&id).and_then(|r| r.joining.as_ref()) else {
            return;
        };
        for address in joining.addresses.clone() {
            self.effect(Effect::DialAddress { address });
        }
    }

    pub(crate) fn report_joining(&mut self, id: RevoltId) {
        if self.revolts.get(&id).is_some_and(|r| r.joining.is_some()) {
            let peers = self.peers_of(&id).len();
            self.notice(Notice::Joining { revolt: id, peers });
        }
    }

    /// Goes as far in a join as what is known allows.
    pub(crate) fn continue_join(&mut self, id: RevoltId) {
        let device = self.device();
        let Some(revolt) = self.revolts.get(&id) else {
            return;
        };
        let Some(joining) = &revolt.joining else {
            return;
        };
        let invite = InviteSecret::from_seed(joining.seed);
        let state = revolt.authority.state();
        if revolt.has_device(&device) && state.invites.contains_key(&invite.id()) {
            return self.joined(id);
        }
        let open = state
            .invites
            .get(&invite.id())
            .is_some_and(|known| !has_ended(known, self.unix_ms()));
        // Somebody who was here before may have acts of their own that they don't know of.
        if joining.written || !open || !revolt.heard {
            return;
        }
        let Some(secret) = revolt.sending_secret().cloned() else {
            return;
        };
        let cert = self.me.cert.clone();
        let proof = invite.sign(&Join::digest(&id, &cert));
        let act = Act::Join(Join {
            cert,
            name: self.me.name.clone(),
            invite: invite.id(),
            proof,
        });
        if let Some(joining) = self.revolts.get_mut(&id).and_then(|r| r.joining.as_mut()) {
            joining.written = true;
        }
        self.author(id, &act, &secret, Vec::new());
    }

    fn joined(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        let Some(joining) = revolt.joining.take() else {
            return;
        };
        revolt.record.joining = None;
        let write = self.save_record(&id).expect("looked up above");
        self.disarm(Timer::JoinDeadline(id));
        let answer = joining.command.and_then(|command| {
            let detail = self.revolt_detail(&id).ok()?;
            let reply = Box::new(Reply::Revolt(Box::new(detail)));
            Some(crate::core::Waiting::Reply { command, reply })
        });
        self.store(vec![write], answer);
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            self.send_proofs(peer);
            self.compare_soon(peer);
        }
        self.pull_from_all(id);
    }

    pub(crate) fn join_refused(&mut self, id: RevoltId) {
        self.end_join(id, &CommandError::InviteEnded);
    }

    pub(crate) fn join_deadline(&mut self, id: RevoltId) {
        let text = "no member of the revolt answered within a minute; the join goes on by itself while the node runs";
        let command = self
            .revolts
            .get_mut(&id)
            .and_then(|r| r.joining.as_mut()?.command.take());
        if let Some(command) = command {
            self.reply(command, Err(CommandError::Unreachable(text)));
        }
    }

    /// Gives up for good: the link leads nowhere.
    fn end_join(&mut self, id: RevoltId, error: &CommandError) {
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        if let Some(command) = revolt.joining.take().and_then(|joining| joining.command) {
            self.reply(command, Err(error.clone()));
        }
        self.disarm(Timer::JoinDeadline(id));
        let mut streams = self.streams.values().filter(|stream| stream.revolt == id);
        if streams.any(|stream| !stream.chains.is_empty()) {
            // Of somebody who was here before everything stays, whoever says that the link is dead.
            let revolt = self.revolts.get_mut(&id).expect("looked up above");
            revolt.record.joining = None;
            let write = self.save_record(&id).expect("looked up above");
            return self.store(vec![write], None);
        }
        self.forget_revolt(id);
    }
}
