//! The OpenAPI document says what the code does: each type has a sample that is checked against its
//! schema, and each operation exists.

use std::collections::{BTreeMap, BTreeSet};

use revnet_api::dto::{self, Event, EventFrame, Id};
use revnet_api::{ErrorBody, openapi};
use revnet_core::command::{Notice, Place};
use revnet_protocol::{
    ChannelId, DeviceId, EnvelopeId, Hlc, InviteId, MessageId, Permission, RevoltId, RoleId, UserId,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::client::raw;
use crate::fake::Server;

/// Checks a value against a schema; strict, so that a field that the schema doesn't name is an error.
struct Checker<'a> {
    schemas: &'a Map<String, Value>,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let mut known = BTreeSet::new();
        self.part(schema, value, &mut known)?;
        if let Some(object) = value.as_object() {
            let unknown: Vec<_> = object.keys().filter(|key| !known.contains(*key)).collect();
            if !unknown.is_empty() && !known.contains("*") {
                return Err(format!("{unknown:?} aren't in the schema"));
            }
        }
        Ok(())
    }

    /// Checks one part of a schema, and collects the properties that it names.
    fn part(
        &self,
        schema: &Value,
        value: &Value,
        known: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/components/schemas/");
            let target = self.schemas.get(name).ok_or(format!("no schema {name}"))?;
            return self
                .part(target, value, known)
                .map_err(|error| format!("{name}: {error}"));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.part(part, value, known)?;
        }
        if let Some(parts) = schema["oneOf"].as_array() {
            let mut fits = Vec::new();
            for part in parts {
                let mut names = BTreeSet::new();
                if self.part(part, value, &mut names).is_ok() {
                    fits.push(names);
                }
            }
            match fits.len() {
                1 => known.extend(fits.remove(0)),
                number => return Err(format!("{number} of oneOf fit {value}")),
            }
        }
        self.plain(schema, value)?;
        self.object(schema, value, known)?;
        let items = value.as_array().into_iter().flatten();
        match schema.get("items") {
            Some(schema) => items
                .into_iter()
                .try_for_each(|item| self.check(schema, item)),
            None => Ok(()),
        }
    }

    fn plain(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is = |kind: &&str| match *kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => false,
        };
        if !types.is_empty() && !types.iter().any(is) {
            return Err(format!("{value} isn't {types:?}"));
        }
        let listed = schema["enum"].as_array();
        if listed.is_some_and(|listed| !listed.contains(value)) {
            return Err(format!("{value} isn't one of {listed:?}"));
        }
        let number = value.as_f64().unwrap_or_default();
        let minimum = schema["minimum"].as_f64().unwrap_or(f64::MIN);
        let maximum = schema["maximum"]
            .as_f64()
            .unwrap_or(9_007_199_254_740_991.0);
        if value.is_number() && !(minimum..=maximum).contains(&number) {
            return Err(format!("{value} is out of range"));
        }
        Ok(())
    }

    fn object(
        &self,
        schema: &Value,
        value: &Value,
        known: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !object.contains_key(name) {
                return Err(format!("{name} is missing in {value}"));
            }
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            known.insert(name.clone());
            if let Some(value) = object.get(name) {
                self.check(schema, value)
                    .map_err(|error| format!("{name}: {error}"))?;
            }
        }
        if let Some(schema) = schema["additionalProperties"].as_object() {
            known.insert("*".to_owned());
            let schema = Value::Object(schema.clone());
            for value in object.values() {
                self.check(&schema, value)?;
            }
        }
        Ok(())
    }
}

fn document() -> Value {
    serde_json::to_value(openapi()).expect("json")
}

/// Samples by the name of their schema.
#[derive(Default)]
struct Samples(BTreeMap<&'static str, Vec<Value>>);

impl Samples {
    fn add(&mut self, name: &'static str, sample: impl Serialize) {
        let sample = serde_json::to_value(sample).expect("json");
        self.0.entry(name).or_default().push(sample);
    }
}

fn message_id() -> MessageId {
    MessageId {
        hlc: Hlc {
            ms: 1_700_000_000_000,
            counter: 1,
        },
        device: DeviceId([2; 32]),
        seq: 3,
    }
}

fn messages() -> [dto::Message; 2] {
    let plain = dto::Message {
        id: Id(message_id()),
        time_ms: 1_700_000_000_000,
        author: dto::Author {
            id: Id(UserId([1; 32])),
            name: "Ada".into(),
        },
        text: "Hello".into(),
        reply_to: None,
        edited_ms: None,
        deleted: false,
        reactions: BTreeMap::new(),
        imported: None,
        held_by: 0,
    };
    let full = dto::Message {
        reply_to: Some(Id(message_id())),
        edited_ms: Some(1_700_000_000_001),
        deleted: true,
        reactions: BTreeMap::from([("👍".into(), vec![Id(UserId([1; 32]))])]),
        imported: Some(imported()),
        ..plain.clone()
    };
    [plain, full]
}

fn imported() -> dto::Imported {
    dto::Imported {
        source: "chat".into(),
        id: "7".into(),
        author: "ada".into(),
        time_ms: -5,
        reply_to: Some("6".into()),
    }
}

fn add_node(samples: &mut Samples) {
    samples.add(
        "Status",
        dto::Status {
            user: Id(UserId([1; 32])),
            device: Id(DeviceId([2; 32])),
            name: "Ada".into(),
            revolts: 1,
            peers: 2,
            outbox: 3,
            api: "127.0.0.1:7373".into(),
            version: "0.1.0".into(),
            unix_ms: 1_700_000_000_000,
            clock_offset_ms: -4,
        },
    );
    for state in [
        dto::RelayState::Connecting,
        dto::RelayState::Reserved,
        dto::RelayState::Failed,
    ] {
        samples.add("RelayState", state);
    }
    let relay = dto::RelayStatus {
        address: "/ip4/192.0.2.1/tcp/1".into(),
        state: dto::RelayState::Failed,
        error: Some("refused".into()),
    };
    let link = dto::LinkStatus {
        device: Id(DeviceId([2; 32])),
        address: "/ip4/192.0.2.1/tcp/1".into(),
        relayed: true,
        rtt_ms: Some(1.5),
    };
    samples.add("RelayStatus", &relay);
    samples.add("LinkStatus", &link);
    let network = dto::NetworkStatus {
        listen: vec!["/ip4/0.0.0.0/tcp/1".into()],
        external: vec![],
        relays: vec![relay],
        links: vec![link],
    };
    samples.add("NetworkStatus", network);
    let peer = dto::Peer {
        device: Id(DeviceId([2; 32])),
        user: Some(Id(UserId([1; 32]))),
        name: Some("Ada".into()),
        relayed: false,
        revolts: vec![Id(RevoltId([5; 32]))],
    };
    samples.add("Peer", &peer);
    samples.add("Peers", dto::Peers { peers: vec![peer] });
    samples.add("EditIdentity", dto::EditIdentity { name: "Ada".into() });
    let passphrase = "p".to_owned();
    samples.add("RevokeDevice", dto::RevokeDevice::default());
    let revocation = dto::RevokeDevice {
        passphrase: Some(passphrase.clone()),
        since_ms: Some(1),
    };
    samples.add("RevokeDevice", revocation);
    samples.add("Unlock", dto::Unlock::default());
    samples.add(
        "Unlock",
        dto::Unlock {
            passphrase: Some(passphrase.clone()),
        },
    );
    samples.add("Backup", dto::Backup { passphrase });
    samples.add(
        "Phrase",
        dto::Phrase {
            phrase: "a b".into(),
        },
    );
}

fn add_tokens(samples: &mut Samples) {
    for scope in [dto::Scope::Read, dto::Scope::Write, dto::Scope::Admin] {
        samples.add("Scope", scope);
        assert_eq!(json!(scope), scope.name());
    }
    let token = dto::Token {
        id: "ab".into(),
        name: "bot".into(),
        scope: dto::Scope::Read,
        created_ms: 1_700_000_000_000,
    };
    samples.add("Token", &token);
    samples.add(
        "Tokens",
        dto::Tokens {
            tokens: vec![token.clone()],
        },
    );
    samples.add(
        "CreatedToken",
        dto::CreatedToken {
            info: token,
            token: "rvt_x".into(),
        },
    );
    samples.add(
        "NewToken",
        dto::NewToken {
            name: "bot".into(),
            scope: dto::Scope::Write,
        },
    );
    samples.add(
        "ErrorBody",
        ErrorBody {
            code: "invalid".into(),
            message: "why".into(),
            trace_id: "ab".into(),
        },
    );
}

fn add_revolts(samples: &mut Samples) {
    let revolt = dto::Revolt {
        id: Id(RevoltId([5; 32])),
        name: "Gardeners".into(),
        description: String::new(),
        icon: Some("🌱".into()),
        member_count: 1,
        online: 1,
        level: Some(1001),
        synced: true,
    };
    let channel = dto::Channel {
        id: Id(ChannelId([6; 32])),
        name: "general".into(),
        topic: String::new(),
        category: String::new(),
        position: 0,
        archived: false,
        events: 9,
        private: true,
        history: false,
        exceptions: vec![exception()],
        permissions: vec![Id(Permission::View)],
    };
    let member = dto::Member {
        user: Id(UserId([1; 32])),
        name: "Ada".into(),
        level: 1001,
        roles: vec![role_name()],
        permissions: vec![Id(Permission::View)],
        silenced_until_ms: Some(1_800_000_000_000),
        provisional: true,
        devices: vec![Id(DeviceId([2; 32]))],
        online: true,
    };
    samples.add("Revolt", &revolt);
    samples.add("Channel", &channel);
    samples.add("Member", &member);
    samples.add(
        "Revolts",
        dto::Revolts {
            revolts: vec![revolt.clone()],
        },
    );
    samples.add(
        "Members",
        dto::Members {
            members: vec![member.clone()],
        },
    );
    samples.add(
        "RevoltDetail",
        dto::RevoltDetail {
            info: revolt,
            channels: vec![channel],
            members: vec![member],
        },
    );
    let word = || Some("x".to_owned());
    samples.add("EditRevolt", dto::EditRevolt::default());
    samples.add(
        "EditRevolt",
        dto::EditRevolt {
            name: word(),
            description: word(),
            icon: word(),
        },
    );
    samples.add("EditChannel", dto::EditChannel::default());
    samples.add(
        "EditChannel",
        dto::EditChannel {
            name: word(),
            topic: word(),
            category: word(),
            position: Some(1),
            archived: Some(true),
            private: Some(true),
            history: Some(false),
        },
    );
    samples.add("EditMember", dto::EditMember { level: 1000 });
    samples.add(
        "Join",
        dto::Join {
            link: "revnet:x".into(),
        },
    );
    let document = dto::Document {
        stream: dto::CONTROL.into(),
        seg: 0,
    };
    samples.add("Document", &document);
    samples.add(
        "Documents",
        dto::Documents {
            documents: vec![document],
        },
    );
    add_invites(samples);
    add_powers(samples);
}

fn role_name() -> Id<dto::RoleName> {
    Id(dto::RoleName(RoleId([7; 32])))
}

fn exception() -> dto::Exception {
    dto::Exception {
        role: Some(Id(dto::RoleName(RoleId::EVERYONE))),
        user: None,
        allow: vec![Id(Permission::Send)],
        deny: vec![Id(Permission::View)],
    }
}

fn add_powers(samples: &mut Samples) {
    let role = dto::Role {
        id: role_name(),
        name: "moderator".into(),
        position: 100,
        color: Some(Id(dto::Color([1, 2, 255]))),
        permissions: vec![Id(Permission::Kick)],
        members: 2,
    };
    samples.add("Role", &role);
    samples.add("Roles", dto::Roles { roles: vec![role] });
    samples.add("EditRole", dto::EditRole::default());
    samples.add(
        "EditRole",
        dto::EditRole {
            name: Some("helper".into()),
            position: Some(10),
            color: Some(Id(dto::Color([0; 3]))),
            permissions: Some(vec![Id(Permission::Ban)]),
        },
    );
    samples.add("Exception", exception());
    let permissions = vec![Id(Permission::View)];
    samples.add("Held", dto::Held { permissions });
    samples.add("Timeout", dto::Timeout { until_ms: 1 });
    let banned = dto::Banned {
        user: Id(UserId([1; 32])),
        name: "Bob".into(),
    };
    samples.add("Banned", &banned);
    samples.add("Bans", dto::Bans { bans: vec![banned] });
    let entry = dto::AuditEntry {
        id: Id(EnvelopeId([8; 32])),
        at_ms: 1,
        by: Some(Id(UserId([1; 32]))),
        by_name: "Ada".into(),
        device: Id(DeviceId([2; 32])),
        act: "ban".into(),
        about: "Bob".into(),
        counts: false,
        why: "its author may not ban".into(),
    };
    samples.add("AuditEntry", &entry);
    samples.add("Audit", dto::Audit { acts: vec![entry] });
}

fn add_invites(samples: &mut Samples) {
    let invite = dto::Invite {
        id: Id(InviteId([7; 32])),
        by: Id(UserId([1; 32])),
        expires_ms: Some(1_700_000_000_000),
        max_uses: Some(1),
        uses: 0,
        ended: false,
    };
    samples.add("Invite", &invite);
    samples.add(
        "Invites",
        dto::Invites {
            invites: vec![invite.clone()],
        },
    );
    samples.add(
        "CreatedInvite",
        dto::CreatedInvite {
            info: invite,
            link: "revnet:x".into(),
        },
    );
    samples.add("NewInvite", dto::NewInvite::default());
    samples.add(
        "NewInvite",
        dto::NewInvite {
            expires_ms: Some(1),
            max_uses: Some(1),
        },
    );
}

fn add_messages(samples: &mut Samples) {
    for message in messages() {
        samples.add("Author", &message.author);
        samples.add("Message", &message);
        samples.add(
            "Messages",
            dto::Messages {
                messages: vec![message],
            },
        );
    }
    samples.add("Imported", imported());
    let draft = dto::Draft {
        text: "Hello".into(),
        reply_to: Some(Id(message_id())),
        reply_to_nonce: Some("m".into()),
        nonce: Some("n".into()),
        imported: Some(imported()),
    };
    samples.add("Draft", dto::Draft::default());
    samples.add("Draft", &draft);
    let drafts = dto::Drafts {
        messages: vec![draft.clone()],
    };
    samples.add("Drafts", &drafts);
    samples.add("SendRequest", dto::SendRequest::Many(drafts));
    samples.add("SendRequest", dto::SendRequest::One(Box::new(draft)));
    for sent in [
        dto::Sent {
            id: Some(Id(message_id())),
            pending: None,
            known: true,
        },
        dto::Sent {
            id: None,
            pending: Some(1),
            known: false,
        },
    ] {
        samples.add("Sent", &sent);
        samples.add("SendAnswer", dto::SendAnswer::One(sent.clone()));
        let all = dto::SentAll { sent: vec![sent] };
        samples.add("SentAll", &all);
        samples.add("SendAnswer", dto::SendAnswer::Many(all));
    }
    samples.add("EditMessage", dto::EditMessage { text: "x".into() });
}

fn notices() -> Vec<Notice> {
    let revolt = RevoltId([5; 32]);
    let at = Place {
        revolt,
        channel: ChannelId([6; 32]),
    };
    let message = || {
        Box::new(revnet_core::command::MessageView {
            id: message_id(),
            author: UserId([1; 32]),
            author_name: "Ada".into(),
            text: "Hello".into(),
            reply_to: None,
            edited_ms: None,
            deleted: false,
            reactions: BTreeMap::new(),
            imported: None,
            held_by: 0,
        })
    };
    vec![
        Notice::Message {
            at,
            message: message(),
        },
        Notice::MessageChanged {
            at,
            message: message(),
        },
        Notice::ChannelGrew { at },
        Notice::Sealed {
            at,
            number: 1,
            message: message_id(),
        },
        Notice::Held {
            at,
            device: DeviceId([2; 32]),
            seq: 3,
            people: 4,
        },
        Notice::RevoltChanged { revolt },
        Notice::RevoltGone { revolt },
        Notice::Joining { revolt, peers: 1 },
        Notice::PeersChanged,
    ]
}

fn add_events(samples: &mut Samples) {
    let mut events: Vec<Event> = notices().into_iter().map(Into::into).collect();
    events.push(Event::CaughtUp(dto::NoDetail {}));
    events.push(Event::Resync(dto::NoDetail {}));
    for event in events {
        samples.add("Event", &event);
        match &event {
            Event::Message(it) | Event::MessageChanged(it) => samples.add("MessageEvent", it),
            Event::ChannelGrew(it) => samples.add("ChannelEvent", it),
            Event::Sealed(it) => samples.add("SealedEvent", it),
            Event::Held(it) => samples.add("HeldEvent", it),
            Event::RevoltChanged(it) | Event::RevoltGone(it) => samples.add("RevoltEvent", it),
            Event::Joining(it) => samples.add("JoiningEvent", it),
            Event::PeersChanged(it) | Event::CaughtUp(it) | Event::Resync(it) => {
                samples.add("NoDetail", it);
            }
        }
        let frame = EventFrame { seq: 7, event };
        let text = serde_json::to_string(&frame).expect("json");
        assert_eq!(
            serde_json::from_str::<EventFrame>(&text).expect("a frame"),
            frame
        );
        samples.add("EventFrame", frame);
    }
}

#[test]
fn every_type_looks_as_the_document_says() {
    let mut samples = Samples::default();
    add_node(&mut samples);
    add_tokens(&mut samples);
    add_revolts(&mut samples);
    add_messages(&mut samples);
    add_events(&mut samples);
    let document = document();
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    let named: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    let sampled: BTreeSet<&str> = samples.0.keys().copied().collect();
    assert_eq!(named, sampled, "each schema has a sample");
    let checker = Checker { schemas };
    for (name, values) in samples.0 {
        for value in values {
            if let Err(error) = checker.check(&schemas[name], &value) {
                panic!("{name}: {error}\n{value}\n{}", schemas[name]);
            }
        }
    }
}

#[test]
fn the_checker_notices_what_is_wrong() {
    let document = document();
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    let checker = Checker { schemas };
    let good = json!({"seq": 1, "type": "peers_changed"});
    let frame = &schemas["EventFrame"];
    assert_eq!(checker.check(frame, &good), Ok(()));
    for wrong in [
        json!({"seq": 1}),
        json!({"type": "peers_changed"}),
        json!({"seq": "1", "type": "peers_changed"}),
        json!({"seq": -1, "type": "peers_changed"}),
        json!({"seq": 9_007_199_254_740_992_u64, "type": "peers_changed"}),
        json!({"seq": 1, "type": "PeersChanged"}),
        json!({"seq": 1, "type": "peers_changed", "more": 1}),
        json!({"seq": 1, "type": "joining", "revolt": "r"}),
    ] {
        assert!(checker.check(frame, &wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_operation_of_the_document_exists_and_asks_for_a_token() {
    let server = Server::start();
    let host = server.address.to_string();
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let mut count = 0;
    for (template, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            count += 1;
            let method = method.to_uppercase();
            let path = template.replace(['{', '}'], "");
            let answer = raw(&server, &method, &path, &[("host", &host)], b"");
            let public = operation["security"].is_null();
            let expected = if public { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{method} {template}");
            let names: Vec<&str> = template
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            for name in names {
                let parameters = operation["parameters"].as_array().expect("a list");
                assert!(parameters.iter().any(|it| it["name"] == name), "{template}");
            }
        }
    }
    assert_eq!(count, 50, "an operation is gone or new");
}
