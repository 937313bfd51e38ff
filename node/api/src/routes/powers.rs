//! What people may do: roles, exceptions of channels, bans, silence, and the record.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use revnet_core::command::{Command, Place, Reply, RoleEdit};
use revnet_protocol::{ChannelId, DeviceId, Permissions, RevoltId, UserId};

use super::{ask, done};
use crate::dto::{
    Audit, Bans, EditRole, Exception, Held, Id, RevokeDevice, Role, RoleName, Roles, Timeout,
    Whose, names, set,
};
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Body, Ids, Params, blocking};
use crate::serve::App;

/// The roles of a revolt.
#[utoipa::path(get, path = "/api/revolts/{revolt}/roles", tag = "roles",
    responses((status = 200, body = Roles)))]
pub(crate) async fn roles(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<Roles>, ApiError> {
    let roles = ask(&app, Command::ListRoles { revolt }, |reply| match reply {
        Reply::Roles(roles) => Some(roles),
        _ => None,
    })
    .await?;
    let roles = roles.into_iter().map(Into::into).collect();
    Ok(Json(Roles { roles }))
}

/// Makes a role.
#[utoipa::path(post, path = "/api/revolts/{revolt}/roles", tag = "roles",
    request_body = EditRole, responses((status = 201, body = Role)))]
pub(crate) async fn create(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
    Body(edit): Body<EditRole>,
) -> Result<(StatusCode, Json<Role>), ApiError> {
    let edit = edit.into();
    let role = role(&app, Command::CreateRole { revolt, edit }).await?;
    Ok((StatusCode::CREATED, Json(role)))
}

/// Changes a role; of `everyone`, what it allows.
#[utoipa::path(patch, path = "/api/revolts/{revolt}/roles/{role}", tag = "roles",
    request_body = EditRole, responses((status = 200, body = Role)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Ids((revolt, role_name)): Ids<(Id<RevoltId>, Id<RoleName>)>,
    Body(edit): Body<EditRole>,
) -> Result<Json<Role>, ApiError> {
    let command = Command::EditRole {
        revolt: revolt.0,
        role: role_name.0.0,
        edit: edit.into(),
    };
    Ok(Json(role(&app, command).await?))
}

async fn role(app: &App, command: Command) -> Result<Role, ApiError> {
    ask(app, command, |reply| match reply {
        Reply::Role(role) => Some(role.into()),
        _ => None,
    })
    .await
}

/// Removes a role.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/roles/{role}", tag = "roles",
    responses((status = 204, description = "Done")))]
pub(crate) async fn remove(
    State(app): State<App>,
    Ids((revolt, role)): Ids<(Id<RevoltId>, Id<RoleName>)>,
) -> Result<StatusCode, ApiError> {
    let edit = RoleEdit {
        removed: Some(true),
        ..RoleEdit::default()
    };
    let command = Command::EditRole {
        revolt: revolt.0,
        role: role.0.0,
        edit,
    };
    done(&app, command).await
}

type MemberRole = (Id<RevoltId>, Id<UserId>, Id<RoleName>);

/// Gives a member a role.
#[utoipa::path(put, path = "/api/revolts/{revolt}/members/{user}/roles/{role}", tag = "roles",
    responses((status = 204, description = "Done")))]
pub(crate) async fn grant(
    State(app): State<App>,
    Ids(ids): Ids<MemberRole>,
) -> Result<StatusCode, ApiError> {
    done(&app, granting(ids, true)).await
}

/// Takes a role from a member.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/members/{user}/roles/{role}", tag = "roles",
    responses((status = 204, description = "Done")))]
pub(crate) async fn take(
    State(app): State<App>,
    Ids(ids): Ids<MemberRole>,
) -> Result<StatusCode, ApiError> {
    done(&app, granting(ids, false)).await
}

fn granting((revolt, user, role): MemberRole, on: bool) -> Command {
    Command::Grant {
        revolt: revolt.0,
        user: user.0,
        role: role.0.0,
        on,
    }
}

/// Sets what some people may do in a channel, beside their roles. Without anything allowed or denied it ends
/// their exception.
#[utoipa::path(put, path = "/api/revolts/{revolt}/channels/{channel}/exceptions", tag = "roles",
    request_body = Exception, responses((status = 204, description = "Done")))]
pub(crate) async fn except(
    State(app): State<App>,
    Ids((revolt, channel)): Ids<(Id<RevoltId>, Id<ChannelId>)>,
    Body(exception): Body<Exception>,
) -> Result<StatusCode, ApiError> {
    let target = exception.target();
    let target = target.ok_or_else(|| ApiError::invalid("name either a role or a user"))?;
    let command = Command::SetException {
        at: Place {
            revolt: revolt.0,
            channel: channel.0,
        },
        target,
        allow: set(&exception.allow),
        deny: set(&exception.deny),
    };
    done(&app, command).await
}

/// What a member may do now.
#[utoipa::path(get, path = "/api/revolts/{revolt}/permissions", tag = "roles", params(Whose),
    responses((status = 200, body = Held)))]
pub(crate) async fn permissions(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
    Params(whose): Params<Whose>,
) -> Result<Json<Held>, ApiError> {
    let command = Command::Permissions {
        revolt,
        user: whose.user.map(|user| user.0),
        channel: whose.channel.map(|channel| channel.0),
    };
    let held: Permissions = ask(&app, command, |reply| match reply {
        Reply::Permissions(held) => Some(held),
        _ => None,
    })
    .await?;
    let permissions = names(held);
    Ok(Json(Held { permissions }))
}

/// Who is banned.
#[utoipa::path(get, path = "/api/revolts/{revolt}/bans", tag = "members",
    responses((status = 200, body = Bans)))]
pub(crate) async fn bans(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<Bans>, ApiError> {
    let bans = ask(&app, Command::ListBans { revolt }, |reply| match reply {
        Reply::Bans(bans) => Some(bans),
        _ => None,
    })
    .await?;
    let bans = bans.into_iter().map(Into::into).collect();
    Ok(Json(Bans { bans }))
}

/// Removes somebody for good: no invite lets them in again.
#[utoipa::path(put, path = "/api/revolts/{revolt}/bans/{user}", tag = "members",
    responses((status = 204, description = "Done")))]
pub(crate) async fn ban(
    State(app): State<App>,
    Ids((revolt, user)): Ids<(Id<RevoltId>, Id<UserId>)>,
) -> Result<StatusCode, ApiError> {
    done(&app, banning(revolt.0, user.0, true)).await
}

/// Lifts a ban. The person may come back by an invite that is made afterwards.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/bans/{user}", tag = "members",
    responses((status = 204, description = "Done")))]
pub(crate) async fn unban(
    State(app): State<App>,
    Ids((revolt, user)): Ids<(Id<RevoltId>, Id<UserId>)>,
) -> Result<StatusCode, ApiError> {
    done(&app, banning(revolt.0, user.0, false)).await
}

fn banning(revolt: RevoltId, user: UserId, on: bool) -> Command {
    Command::Ban { revolt, user, on }
}

/// Hides what a member says until a time.
#[utoipa::path(put, path = "/api/revolts/{revolt}/members/{user}/timeout", tag = "members",
    request_body = Timeout, responses((status = 204, description = "Done")))]
pub(crate) async fn silence(
    State(app): State<App>,
    Ids((revolt, user)): Ids<(Id<RevoltId>, Id<UserId>)>,
    Body(timeout): Body<Timeout>,
) -> Result<StatusCode, ApiError> {
    let command = Command::Timeout {
        revolt: revolt.0,
        user: user.0,
        until_ms: Some(timeout.until_ms),
    };
    done(&app, command).await
}

/// Lets a member speak again.
#[utoipa::path(delete, path = "/api/revolts/{revolt}/members/{user}/timeout", tag = "members",
    responses((status = 204, description = "Done")))]
pub(crate) async fn unsilence(
    State(app): State<App>,
    Ids((revolt, user)): Ids<(Id<RevoltId>, Id<UserId>)>,
) -> Result<StatusCode, ApiError> {
    let command = Command::Timeout {
        revolt: revolt.0,
        user: user.0,
        until_ms: None,
    };
    done(&app, command).await
}

/// Every act of a revolt, and why it counts or not.
#[utoipa::path(get, path = "/api/revolts/{revolt}/audit", tag = "revolts",
    responses((status = 200, body = Audit)))]
pub(crate) async fn audit(
    State(app): State<App>,
    Ids(Id(revolt)): Ids<Id<RevoltId>>,
) -> Result<Json<Audit>, ApiError> {
    let acts = ask(&app, Command::Audit { revolt }, |reply| match reply {
        Reply::Audit(acts) => Some(acts),
        _ => None,
    })
    .await?;
    let acts = acts.into_iter().map(Into::into).collect();
    Ok(Json(Audit { acts }))
}

/// Takes one of the own devices back in every revolt. Needs the root key. What it wrote from `since_ms` on counts no
/// more, as far as nobody else built on it: also that it left in the name of its owner.
#[utoipa::path(post, path = "/api/identity/devices/{device}/revoke", tag = "identity",
    request_body = RevokeDevice,
    responses(
        (status = 204, description = "Done"),
        (status = 403, description = "`locked`: another passphrase is needed", body = ErrorBody),
    ))]
pub(crate) async fn revoke_device(
    State(app): State<App>,
    Ids(Id(device)): Ids<Id<DeviceId>>,
    Body(body): Body<RevokeDevice>,
) -> Result<StatusCode, ApiError> {
    let before_ms = body.since_ms;
    let keep = ask(
        &app,
        Command::LastActs { device, before_ms },
        |reply| match reply {
            Reply::LastActs(acts) => Some(acts),
            _ => None,
        },
    )
    .await?;
    let node = app.node.clone();
    let revocations = blocking(move || node.revocations(device, &keep, body.passphrase)).await??;
    done(&app, Command::RevokeDevice { revocations }).await
}
