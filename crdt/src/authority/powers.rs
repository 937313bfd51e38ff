//! Acts about what others may do: roles, grants, exceptions of channels, silence. One gives only what one
//! holds, and only to whom and below where one stands.

use revnet_protocol::act::Level;
use revnet_protocol::role::{Grant, Overwrite, Role, Target, Timeout};
use revnet_protocol::{Act, ChannelId, EnvelopeId, Permission, Permissions, RoleId};

use super::graph::Place;
use super::mutant::{Mutant, is_active};
use super::rank::{Rank, Subject};
use super::reduce::Loop;
use super::rights::Holder;
use super::verdict::Why;

impl Loop<'_> {
    /// Whether an act gives nothing that its author does not hold.
    fn holds(&self, place: Place, rank: Rank, given: Permissions) -> Result<(), Why> {
        let held = self.held(place, rank, None)?;
        if held.contains(given) || is_active(Mutant::GrantsLift) {
            Ok(())
        } else {
            Err(Why::TooMuch)
        }
    }

    fn held(
        &self,
        place: Place,
        rank: Rank,
        channel: Option<&ChannelId>,
    ) -> Result<Permissions, Why> {
        let user = self.graph.nodes[place].author.ok_or(Why::Stranger)?;
        let holder = Holder {
            user: &user,
            subject: Subject::Act(place),
            channel,
        };
        Ok(self.decided.rights.held(self.graph, holder, rank))
    }

    /// Whether an act stands above a role that its author knew.
    fn stands_above(&self, place: Place, rank: Rank, role: &RoleId) -> Result<(), Why> {
        match self.knows_beginning(place, EnvelopeId(role.0)) {
            Some(Act::Role(Role { role: None, .. })) => {}
            _ => return Err(Why::NoRole),
        }
        if self.decided.rights.position(self.graph, role, place) < rank {
            Ok(())
        } else {
            Err(Why::Protected)
        }
    }

    fn of_role(&self, place: Place, rank: Rank, role: &RoleId) -> Permissions {
        let subject = Subject::Act(place);
        self.decided.rights.of_role(self.graph, role, subject, rank)
    }

    pub(super) fn role(&mut self, place: Place, rank: Rank, new: &Role) -> Result<(), Why> {
        if new.position.is_some_and(|at| Rank::of(at) >= rank) {
            return Err(Why::TooMuch);
        }
        let mut given = new.permissions.unwrap_or_default();
        match &new.role {
            None => {}
            Some(RoleId::EVERYONE) => {
                stands_above_members(rank)?;
                let only_permissions = Role {
                    role: new.role,
                    permissions: new.permissions,
                    ..Role::default()
                };
                if *new != only_permissions {
                    return Err(Why::NoRole);
                }
                given = given & !self.of_role(place, rank, &RoleId::EVERYONE);
            }
            Some(role) => {
                self.stands_above(place, rank, role)?;
                let before = self.of_role(place, rank, role);
                // Brought back, it gives again all that it gave.
                given = match (new.removed, new.permissions) {
                    (Some(false), None) => {
                        let subject = Subject::Act(place);
                        let rights = &self.decided.rights;
                        rights.of_role_even_removed(self.graph, role, subject, rank)
                    }
                    (Some(false), Some(all)) => all,
                    _ => given & !before,
                };
            }
        }
        self.holds(place, rank, given)?;
        let rights = &mut self.decided.rights;
        rights.take_role(self.graph, place, rank, new);
        self.feed_starved();
        Ok(())
    }

    pub(super) fn grant(&mut self, place: Place, rank: Rank, grant: &Grant) -> Result<(), Why> {
        self.stands_above(place, rank, &grant.role)?;
        self.reaches(place, rank, &grant.user)?;
        if grant.on {
            let given = self.of_role(place, rank, &grant.role);
            self.holds(place, rank, given)?;
        }
        let what = (grant.user, grant.role, grant.on);
        let rights = &mut self.decided.rights;
        rights.take_grant(self.graph, place, rank, what);
        self.feed_starved();
        Ok(())
    }

    pub(super) fn overwrite(
        &mut self,
        place: Place,
        rank: Rank,
        new: &Overwrite,
    ) -> Result<(), Why> {
        self.knows_channel(place, &new.channel)?;
        match &new.target {
            Target::Role(RoleId::EVERYONE) => stands_above_members(rank)?,
            Target::Role(role) => self.stands_above(place, rank, role)?,
            // For themselves people may only add to what nobody else decided about them.
            Target::User(user) if self.graph.nodes[place].author == Some(*user) => {
                let rights = &self.decided.rights;
                if rights.is_set_by_others(self.graph, &new.channel, user, place) {
                    return Err(Why::Protected);
                }
            }
            Target::User(user) => self.reaches(place, rank, user)?,
        }
        // Nobody opens a channel that they don't see, or to more than they may do there.
        let held = self.held(place, rank, Some(&new.channel))?;
        if !held.has(Permission::View) {
            return Err(Why::Lacks(Permission::View));
        }
        if !held.contains(new.allow) && !is_active(Mutant::GrantsLift) {
            return Err(Why::TooMuch);
        }
        let rights = &mut self.decided.rights;
        rights.take_exception(self.graph, place, rank, new);
        Ok(())
    }

    pub(super) fn timeout(
        &mut self,
        place: Place,
        rank: Rank,
        timeout: &Timeout,
    ) -> Result<(), Why> {
        self.reaches(place, rank, &timeout.user)?;
        let until = timeout.until_ms.unwrap_or(0);
        let rights = &mut self.decided.rights;
        rights.take_timeout(self.graph, place, rank, (timeout.user, until));
        Ok(())
    }
}

/// What concerns everybody takes somebody above them.
fn stands_above_members(rank: Rank) -> Result<(), Why> {
    if rank > Rank::of(Level::MEMBER) {
        Ok(())
    } else {
        Err(Why::Protected)
    }
}
