//! Which revolt, channel, member or token somebody means: by name, by id, or by the beginning of an id.

use revnet_api::dto::{Channel, Member, Members, Revolt, RevoltDetail, Revolts, Role, Roles};
use revnet_protocol::{ChannelId, MessageId, RevoltId};

use crate::client::Client;
use crate::failure::{Failure, Result};

/// Fewest characters of an id's beginning.
const MIN_PREFIX: usize = 3;

/// A channel that was found.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) revolt: RevoltId,
    pub(crate) channel: ChannelId,
    pub(crate) name: String,
}

impl Place {
    /// The channel's path in the API.
    pub(crate) fn path(&self) -> String {
        format!("/api/revolts/{}/channels/{}", self.revolt, self.channel)
    }
}

pub(crate) fn revolt(client: &Client, wanted: &str) -> Result<Revolt> {
    let all: Revolts = client.get("/api/revolts")?;
    find_revolt(&all.revolts, wanted).cloned()
}

fn find_revolt<'a>(all: &'a [Revolt], wanted: &str) -> Result<&'a Revolt> {
    pick("revolt", wanted, all, |revolt| {
        (revolt.id.to_string(), &revolt.name)
    })
}

/// Finds `REVOLT/CHANNEL`. Either name may hold slashes itself.
pub(crate) fn channel(client: &Client, wanted: &str) -> Result<Place> {
    let all: Revolts = client.get("/api/revolts")?;
    let splits: Vec<(&str, &str)> = wanted
        .match_indices('/')
        .map(|(at, _)| (&wanted[..at], &wanted[at + 1..]))
        .collect();
    if splits.is_empty() {
        return Err(Failure::usage(format!(
            "'{wanted}' names no channel: write REVOLT/CHANNEL"
        )));
    }
    let mut places = Vec::new();
    let mut first_failure = None;
    for (revolt_name, channel_name) in splits {
        match place(client, &all.revolts, revolt_name, channel_name) {
            Ok(place) => places.push(place),
            Err(failure) => {
                // An ambiguous name says more than a missing one.
                let keep = first_failure.as_ref().is_none_or(|kept: &Failure| {
                    kept.kind == crate::failure::Kind::NotFound && kept.kind != failure.kind
                });
                if keep {
                    first_failure = Some(failure);
                }
            }
        }
    }
    match (places.pop(), places.is_empty(), first_failure) {
        (Some(place), true, _) => Ok(place),
        (Some(_), false, _) => Err(Failure::usage(format!(
            "'{wanted}' names several channels: use ids"
        ))),
        (None, _, Some(failure)) => Err(failure),
        (None, _, None) => Err(Failure::not_found(format!(
            "there is no channel '{wanted}'"
        ))),
    }
}

fn place(client: &Client, all: &[Revolt], revolt: &str, channel: &str) -> Result<Place> {
    let revolt = find_revolt(all, revolt)?;
    let detail: RevoltDetail = client.get(&format!("/api/revolts/{}", revolt.id))?;
    let channel = find_channel(&detail.channels, channel)?;
    Ok(Place {
        revolt: revolt.id.0,
        channel: channel.id.0,
        name: format!("{}/{}", revolt.name, channel.name),
    })
}

fn find_channel<'a>(all: &'a [Channel], wanted: &str) -> Result<&'a Channel> {
    pick("channel", wanted, all, |channel| {
        (channel.id.to_string(), &channel.name)
    })
}

pub(crate) fn member(client: &Client, revolt: RevoltId, wanted: &str) -> Result<Member> {
    let all: Members = client.get(&format!("/api/revolts/{revolt}/members"))?;
    pick("member", wanted, &all.members, |member| {
        (member.user.to_string(), &member.name)
    })
    .cloned()
}

pub(crate) fn role(client: &Client, revolt: RevoltId, wanted: &str) -> Result<Role> {
    let all: Roles = client.get(&format!("/api/revolts/{revolt}/roles"))?;
    pick("role", wanted, &all.roles, |role| {
        (role.id.to_string(), &role.name)
    })
    .cloned()
}

pub(crate) fn message(text: &str) -> std::result::Result<MessageId, String> {
    text.parse()
        .map_err(|error: revnet_protocol::event::ParseMessageIdError| error.to_string())
}

/// The one that is meant: its whole id, else its name, else the beginning of its id.
pub(crate) fn pick<'a, T>(
    kind: &str,
    wanted: &str,
    all: &'a [T],
    of: impl Fn(&'a T) -> (String, &'a String),
) -> Result<&'a T> {
    let wanted_id = wanted.to_ascii_lowercase();
    if let Some(exact) = all.iter().find(|item| of(item).0 == wanted_id) {
        return Ok(exact);
    }
    let by_name: Vec<&T> = all.iter().filter(|item| of(item).1 == wanted).collect();
    let found = if by_name.is_empty() && wanted.len() >= MIN_PREFIX {
        all.iter()
            .filter(|item| of(item).0.starts_with(&wanted_id))
            .collect()
    } else {
        by_name
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::not_found(format!(
            "there is no {kind} '{wanted}' here"
        ))),
        several => {
            let list: Vec<String> = several
                .iter()
                .map(|item| {
                    let (id, name) = of(item);
                    format!("\n  {id}  {}", crate::output::line(name))
                })
                .collect();
            Err(Failure::usage(format!(
                "'{wanted}' fits more than one {kind}; use one of these ids:{}",
                list.concat()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    type Item = (String, String);

    fn items(list: &[(&str, &str)]) -> Vec<Item> {
        list.iter()
            .map(|(id, name)| ((*id).to_owned(), (*name).to_owned()))
            .collect()
    }

    fn find<'a>(all: &'a [Item], wanted: &str) -> Result<&'a str> {
        pick("thing", wanted, all, |item| (item.0.clone(), &item.1)).map(|item| item.0.as_str())
    }

    #[test]
    fn ids_names_and_beginnings() {
        let all = items(&[("rabcd", "one"), ("rabce", "two"), ("rxyz", "rabcd")]);
        assert_eq!(find(&all, "rabcd"), Ok("rabcd"), "an id before a name");
        assert_eq!(find(&all, "RABCD"), Ok("rabcd"));
        assert_eq!(find(&all, "two"), Ok("rabce"));
        assert_eq!(find(&all, "rxy"), Ok("rxyz"));
        let kind = |wanted| find(&all, wanted).expect_err("not one").kind;
        assert_eq!(kind("rx"), Kind::NotFound, "too short");
        assert_eq!(kind("Two"), Kind::NotFound, "names are exact");
        assert_eq!(kind("rabc"), Kind::Usage, "fits two");
    }

    #[test]
    fn an_ambiguous_name_lists_the_ids() {
        let all = items(&[("raaa", "same"), ("rbbb", "same")]);
        let failure = find(&all, "same").expect_err("two");
        assert!(failure.message.contains("raaa") && failure.message.contains("rbbb"));
    }
}
