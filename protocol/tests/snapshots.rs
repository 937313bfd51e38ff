//! The bytes of every stored and every wire type, and of everything derived for them.
//!
//! Old fixtures are never edited and never removed: nodes have signed, stored and sent such bytes. A
//! difference means that the change breaks them; give the new form a new version and a new fixture
//! beside the old one.

use std::fmt::Write;

use revnet_protocol::act::{
    Act, Audience, Channel, ChannelKind, Genesis, Invite, Join, Keep, KeyRotate, Level, SetMember,
    Settings, SignedGenesis,
};
use revnet_protocol::envelope::{Body, Envelope, Header, Place, Run};
use revnet_protocol::epoch::{BackLink, MeetSecret, SlotChunk, Tag, chunk_root, seal_slots};
use revnet_protocol::frame::{Cursor, Fingerprint, Frame, Gossip, Held, Mark, Refusal, Tip, Tips};
use revnet_protocol::invite::knock_digest;
use revnet_protocol::proof::{Equivocation, SignedHeaders};
use revnet_protocol::range::{FANOUT, Have, Part, Question, Range, Split};
use revnet_protocol::role::{Ban, Grant, Overwrite, Role, Target, Timeout};
use revnet_protocol::{
    ChannelId, Content, DeviceCert, DeviceId, DeviceKeys, DocId, EnvelopeId, EpochSecret, Event,
    Hash, Hlc, Imported, InviteId, InviteLink, InviteSecret, KeyId, MessageId, Permission,
    Permissions, RevoltId, RoleId, RootKey, StreamId, UserId, decode, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(40) {
        for byte in line {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\n');
    }
    out
}

/// Compares an encoding with its fixture and reads it back.
fn check<T>(name: &str, value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode(value);
    insta::assert_snapshot!(name, hex(&bytes));
    assert_eq!(decode::<T>(&bytes, bytes.len()).as_ref(), Ok(value));
}

fn root() -> RootKey {
    RootKey::from_seed([1; 32])
}

fn keys() -> DeviceKeys {
    DeviceKeys::from_seed([2; 32])
}

fn other() -> DeviceId {
    DeviceKeys::from_seed([3; 32]).id()
}

fn secret() -> EpochSecret {
    EpochSecret::new([4; 32])
}

fn cert() -> DeviceCert {
    root().certify(&keys(), "laptop", 1_700_000_000_000)
}

fn revolt() -> RevoltId {
    RevoltId([5; 32])
}

fn stream() -> StreamId {
    StreamId([6; 32])
}

fn message() -> MessageId {
    MessageId {
        hlc: Hlc {
            ms: 1_700_000_000_123,
            counter: 70_000,
        },
        device: keys().id(),
        seq: 300,
    }
}

fn genesis() -> SignedGenesis {
    let genesis = Genesis {
        founder: root().user(),
        device: keys().id(),
        nonce: [7; 32],
        created_ms: 1_700_000_000_000,
    };
    SignedGenesis::sign(genesis, &keys())
}

fn invite_secret() -> InviteSecret {
    InviteSecret::from_seed([8; 32])
}

fn keep() -> Keep {
    Keep(vec![
        (keys().id(), 9, EnvelopeId([9; 32])),
        (other(), 300, EnvelopeId([10; 32])),
    ])
}

/// Three envelopes of one chain: without a body, with one, and with another epoch and segment.
fn envelopes() -> Vec<Envelope> {
    let mut prev = EnvelopeId::default();
    let mut chain = Vec::new();
    for seq in 1..=3 {
        let place = Place {
            stream: stream(),
            seq,
            prev,
            seg: (seq / 3) as u32,
            seg_seq: if seq == 3 { 1 } else { seq as u32 },
            control_heads: vec![EnvelopeId([(seq / 2) as u8; 32])],
        };
        let secret = EpochSecret::new([4 + (seq / 3) as u8; 32]);
        let body = (seq == 2).then_some(&b"body"[..]);
        let sealed = Envelope::seal(place, &keys(), &secret, b"change", body);
        prev = sealed.id();
        chain.push(sealed.into_envelope());
    }
    chain
}

fn chunks() -> Vec<SlotChunk> {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    let recipients = [keys().hpke().public(), invite_secret().hpke_public()];
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    seal_slots(&secret(), &revolt(), &recipients, &mut rng)
}

#[test]
fn texts_of_ids() {
    let mut texts = String::new();
    let mut add = |text: String| writeln!(texts, "{text}").expect("a string");
    add(Hash([1; 32]).to_string());
    add(UserId([1; 32]).to_string());
    add(DeviceId([1; 32]).to_string());
    add(RevoltId([1; 32]).to_string());
    add(ChannelId([1; 32]).to_string());
    add(StreamId([1; 32]).to_string());
    add(DocId([1; 32]).to_string());
    add(EnvelopeId([1; 32]).to_string());
    add(KeyId([1; 32]).to_string());
    add(InviteId([1; 32]).to_string());
    add(message().to_string());
    insta::assert_snapshot!("texts_of_ids", texts);
    assert_eq!(message().to_string().parse(), Ok(message()));
}

#[test]
fn keys_and_hashes_that_are_derived() {
    let mut lines = String::new();
    let mut add = |what: &str, bytes: &[u8]| {
        write!(lines, "{what}\n  {}", hex(bytes)).expect("a string");
    };
    add("user of a root seed", &root().user().0);
    add("device of a seed", &keys().id().0);
    add("HPKE key of a device seed", &keys().hpke().public().0);
    add("invite of a seed", &invite_secret().id().0);
    add(
        "HPKE key of an invite seed",
        &invite_secret().hpke_public().0,
    );
    add("control stream", &StreamId::control(&revolt()).0);
    add(
        "channel stream",
        &StreamId::channel(&revolt(), &ChannelId([1; 32])).0,
    );
    add("document", &stream().document(258).0);
    add("revolt of a genesis", &genesis().revolt().0);
    add("key id", &secret().key_id().0);
    let meet = secret().meet();
    add("table key of a day", &meet.dht_key(20_000));
    add("topic of a day", meet.topic(20_000).as_bytes());
    let of_invite = MeetSecret::of_invite(&invite_secret().id());
    add("table key of an invite", &of_invite.dht_key(20_000));
    let (mine, yours) = ([1; 32], [2; 32]);
    add(
        "proof on a link",
        &meet.proof(&keys().id(), &other(), &mine, &yours).0,
    );
    add(
        "knock",
        &knock_digest(&keys().id(), &other(), &mine, &yours),
    );
    add("join", &Join::digest(&revolt(), &cert()));
    add("body", &Content::hash(b"body").0);
    add("fingerprint", &Fingerprint::of(&[b"one", b"two"]).0);
    add("root of slots", &chunk_root(&chunks()).0);
    add("envelope", &envelopes()[1].header.id().0);
    insta::assert_snapshot!("derived", lines);
    insta::assert_snapshot!("phrase", root().phrase().as_str());
}

#[test]
fn certificates_and_genesis() {
    check("device_cert", &cert());
    check("signed_genesis", &genesis());
}

#[test]
fn acts() {
    let settings = Settings {
        name: Some("Library".into()),
        description: Some("Books".into()),
        icon: Some("📚".into()),
    };
    let invite = Invite {
        invite: invite_secret().id(),
        hpke: invite_secret().hpke_public(),
        expires_ms: Some(1_800_000_000_000),
        max_uses: Some(20),
    };
    let join = Join {
        cert: cert(),
        name: "Anna".into(),
        invite: invite_secret().id(),
        proof: invite_secret().sign(&Join::digest(&revolt(), &cert())),
    };
    let set_member = SetMember {
        user: root().user(),
        level: Some(Level::ADMIN),
        keep: None,
    };
    let remove_member = SetMember {
        level: None,
        keep: Some(keep()),
        ..set_member.clone()
    };
    let make_channel = Channel {
        channel: None,
        kind: ChannelKind::Text,
        name: Some("general".into()),
        topic: Some("Everything".into()),
        category: Some("Talk".into()),
        position: Some(3),
        archived: None,
    };
    let archive_channel = Channel {
        channel: Some(ChannelId([1; 32])),
        name: None,
        topic: None,
        category: None,
        position: None,
        archived: Some(true),
        ..make_channel.clone()
    };
    let rotate = KeyRotate {
        audience: Audience::Revolt,
        generation: 2,
        key_id: secret().key_id(),
        commitment: chunk_root(&chunks()),
        back_links: vec![BackLink::seal(&secret(), &EpochSecret::new([12; 32]))],
    };
    let rotate_channel = KeyRotate {
        audience: Audience::Channel(ChannelId([1; 32])),
        back_links: Vec::new(),
        ..rotate.clone()
    };
    let create = Act::Create {
        genesis: genesis(),
        cert: cert(),
        name: "Founder".into(),
    };
    let revoke_invite = Act::RevokeInvite {
        invite: invite_secret().id(),
        keep: keep(),
    };
    let make_role = Role {
        role: None,
        name: Some("Gardener".into()),
        position: Some(Level(120)),
        color: Some([0x2e, 0x8b, 0x57]),
        permissions: Some(Permissions::DEFAULT | Permission::Kick.into()),
        removed: None,
    };
    let remove_role = Role {
        role: Some(RoleId([20; 32])),
        removed: Some(true),
        ..Role::default()
    };
    let grant = Grant {
        user: root().user(),
        role: RoleId([20; 32]),
        on: true,
    };
    let overwrite = Overwrite {
        channel: ChannelId([1; 32]),
        target: Target::Role(RoleId::EVERYONE),
        allow: Permissions::NONE,
        deny: Permission::View.into(),
    };
    let overwrite_user = Overwrite {
        target: Target::User(root().user()),
        allow: Permissions::ALL,
        deny: Permissions::NONE,
        ..overwrite
    };
    let ban = Ban {
        user: root().user(),
        on: true,
        keep: Some(keep()),
    };
    let unban = Ban {
        on: false,
        keep: None,
        ..ban.clone()
    };
    let timeout = Timeout {
        user: root().user(),
        until_ms: Some(1_800_000_000_000),
    };
    let lifted = Timeout {
        until_ms: None,
        ..timeout
    };
    let revocation = root().revoke(keys().id(), None);
    let keeping = root().revoke(keys().id(), Some((7, EnvelopeId([21; 32]))));
    let profile = Act::Profile {
        name: "Anna B.".into(),
    };
    let all = [
        ("create", create),
        ("settings", Act::Settings(settings)),
        ("settings_none", Act::Settings(Settings::default())),
        ("invite", Act::Invite(invite)),
        ("revoke_invite", revoke_invite),
        ("join", Act::Join(join)),
        ("leave", Act::Leave),
        ("set_member", Act::SetMember(set_member)),
        ("remove_member", Act::SetMember(remove_member)),
        ("make_channel", Act::Channel(make_channel)),
        ("archive_channel", Act::Channel(archive_channel)),
        ("profile", profile),
        ("key_rotate", Act::KeyRotate(rotate)),
        ("key_rotate_channel", Act::KeyRotate(rotate_channel)),
        ("make_role", Act::Role(make_role)),
        ("remove_role", Act::Role(remove_role)),
        ("grant", Act::Grant(grant)),
        ("overwrite_role", Act::Overwrite(overwrite)),
        ("overwrite_user", Act::Overwrite(overwrite_user)),
        ("ban", Act::Ban(ban)),
        ("unban", Act::Ban(unban)),
        ("timeout", Act::Timeout(timeout)),
        ("timeout_lifted", Act::Timeout(lifted)),
        ("revoke_device", Act::RevokeDevice(revocation)),
        ("revoke_device_keeping", Act::RevokeDevice(keeping)),
        ("key_share", Act::KeyShare(chunks().remove(0))),
        ("equivocation", Act::Equivocation(Box::new(equivocation()))),
        (
            "history_off",
            Act::History {
                channel: ChannelId([37; 32]),
                on: false,
            },
        ),
        (
            "confirm",
            Act::Confirm {
                joins: vec![EnvelopeId([38; 32]), EnvelopeId([39; 32])],
            },
        ),
    ];
    for (name, act) in &all {
        check(&format!("act_{name}"), act);
        assert_eq!(Act::decode(&act.encode()).as_ref(), Ok(act));
        // A new variant doesn't compile until it stands here, and so in the list above.
        match act {
            Act::Create { .. }
            | Act::Settings(_)
            | Act::Invite(_)
            | Act::RevokeInvite { .. }
            | Act::Join(_)
            | Act::Leave
            | Act::SetMember(_)
            | Act::Channel(_)
            | Act::Profile { .. }
            | Act::KeyRotate(_)
            | Act::Role(_)
            | Act::Grant(_)
            | Act::Overwrite(_)
            | Act::Ban(_)
            | Act::Timeout(_)
            | Act::RevokeDevice(_)
            | Act::KeyShare(_)
            | Act::Equivocation(_)
            | Act::History { .. }
            | Act::Confirm { .. } => {}
            Act::Unknown => unreachable!("it has no bytes"),
        }
    }
}

fn equivocation() -> Equivocation {
    let mut headers: Vec<_> = envelopes().into_iter().map(|e| e.header).collect();
    let signed = |headers: &[Header]| SignedHeaders {
        headers: headers.to_vec(),
        signature: keys().sign(&headers.last().expect("some").id().0),
    };
    let first = signed(&headers);
    headers.truncate(1);
    headers[0].nonce = [99; 24];
    Equivocation {
        channel: Some(ChannelId([36; 32])),
        first,
        second: signed(&headers),
    }
}

#[test]
fn events() {
    let target = message();
    let say = |reply_to| Event::Message {
        reply_to,
        body: Hash([13; 32]),
    };
    let edit = Event::Edit {
        target,
        body: Hash([14; 32]),
    };
    let react = |on| Event::React {
        target,
        emoji: "🎉".into(),
        on,
    };
    let all = [
        ("message", say(None)),
        ("reply", say(Some(target))),
        ("edit", edit),
        ("delete", Event::Delete { target }),
        ("react", react(true)),
        ("unreact", react(false)),
    ];
    for (name, event) in &all {
        check(&format!("event_{name}"), event);
        assert_eq!(Event::decode(&event.encode()).as_ref(), Ok(event));
        match event {
            Event::Message { .. }
            | Event::Edit { .. }
            | Event::Delete { .. }
            | Event::React { .. } => {}
        }
    }
}

#[test]
fn contents() {
    let written = Content {
        salt: [15; 16],
        text: "Hello **you**".into(),
        imported: None,
    };
    let imported = Content {
        imported: Some(Imported {
            source: "irc.log".into(),
            id: "41".into(),
            author: "anna".into(),
            time_ms: -1,
            reply_to: Some("40".into()),
        }),
        ..written.clone()
    };
    for (name, content) in [("content", written), ("content_imported", imported)] {
        insta::assert_snapshot!(name, hex(&content.encode()));
        assert_eq!(Content::decode(&content.encode()), Ok(content));
    }
}

#[test]
fn envelopes_and_runs() {
    let mut chain = envelopes();
    for (at, envelope) in chain.iter().enumerate() {
        check(&format!("envelope_{}", at + 1), envelope);
    }
    check("run", &Run::pack(chain.clone()).expect("consecutive"));
    let Body::Kept(bytes) = &chain[1].body else {
        panic!("the second has a body");
    };
    chain[1].body = Body::Dropped(revnet_protocol::hash::content(bytes));
    check("envelope_without_its_body", &chain[1]);
    check(
        "run_without_a_body",
        &Run::pack(chain).expect("consecutive"),
    );
}

#[test]
fn epochs() {
    let [chunk] = chunks().try_into().expect("one chunk");
    check("slot_chunk", &chunk);
    assert_eq!(
        chunk.open(&revolt(), keys().hpke()).map(|s| *s.bytes()),
        Some([4; 32])
    );
    let earlier = EpochSecret::new([12; 32]);
    let link = BackLink::seal(&secret(), &earlier);
    check("back_link", &link);
    let opened = link.open(&secret()).expect("own seal");
    assert_eq!(opened.bytes(), earlier.bytes());
}

#[test]
fn frames() {
    let cursor = Some(Cursor {
        store: [16; 16],
        position: 70_000,
    });
    let have = Fingerprint([17; 16]);
    let held = Held::sign(
        &keys(),
        vec![(stream(), other(), 300, EnvelopeId([18; 32]))],
    );
    let knock = knock_digest(&keys().id(), &other(), &[1; 32], &[2; 32]);
    let refused = |reason| Frame::Refused {
        revolt: Some(revolt()),
        reason,
    };
    let mut children = [None; FANOUT];
    children[3] = Some(have);
    let tips = Tips {
        stream: stream(),
        tips: vec![Tip {
            device: Mark::from(&keys().id()),
            seq: 300,
            id: Mark([33; 16]),
            forked: true,
        }],
    };
    let all = [
        (
            "hello",
            Frame::Hello {
                version: 1,
                nonce: [19; 32],
                unix_ms: 1_700_000_000_000,
            },
        ),
        (
            "prove",
            Frame::Prove {
                proofs: vec![Tag([20; 16]), Tag([21; 16])],
            },
        ),
        (
            "knock",
            Frame::Knock {
                proof: Tag([22; 16]),
                signature: invite_secret().sign(&knock),
            },
        ),
        (
            "runs",
            Frame::Runs {
                revolt: revolt(),
                runs: vec![Run::pack(envelopes()).expect("consecutive")],
            },
        ),
        (
            "need_keys",
            Frame::NeedKeys {
                revolt: revolt(),
                key_ids: vec![secret().key_id()],
            },
        ),
        (
            "keys",
            Frame::Keys {
                revolt: revolt(),
                chunks: chunks(),
            },
        ),
        ("refused_not_member", refused(Refusal::NotMember)),
        ("refused_invite_ended", refused(Refusal::InviteEnded)),
        ("refused_busy", refused(Refusal::Busy)),
        (
            "refused_any",
            Frame::Refused {
                revolt: None,
                reason: Refusal::Busy,
            },
        ),
        ("held", Frame::Held(held)),
        (
            "parted",
            Frame::Parted {
                revolt: revolt(),
                stream: stream(),
                device: keys().id(),
                marks: vec![(1, Mark([34; 16])), (300, Mark([35; 16]))],
            },
        ),
        (
            "3_pull",
            Frame::Pull {
                revolt: revolt(),
                have: [Some(have), None],
                cursor,
            },
        ),
        (
            "3_compare",
            Frame::Compare {
                revolt: revolt(),
                splits: vec![
                    Split {
                        range: Range::whole(Part::Acts),
                        children: None,
                    },
                    Split {
                        range: Range::around(Part::Words, 2, 0x1234_5678_9abc_def0),
                        children: Some(children),
                    },
                ],
            },
        ),
        (
            "3_ask",
            Frame::Ask {
                revolt: revolt(),
                questions: vec![
                    Question {
                        range: Range::around(Part::Acts, 16, 0x1234_5678_9abc_def0),
                        have: Have::Tips(vec![tips]),
                    },
                    Question {
                        range: Range::whole(Part::Words),
                        have: Have::Split(Box::new(children)),
                    },
                ],
                from: Some((stream(), other(), 2)),
            },
        ),
        (
            "3_pulled",
            Frame::Pulled {
                revolt: revolt(),
                cursor,
                more: Some((stream(), other(), 2)),
            },
        ),
    ];
    for (name, frame) in &all {
        check(&format!("frame_{name}"), frame);
        assert_eq!(Frame::decode(&frame.encode()).as_ref(), Ok(frame));
        match frame {
            Frame::Hello { .. }
            | Frame::Prove { .. }
            | Frame::Knock { .. }
            | Frame::Pull { .. }
            | Frame::Compare { .. }
            | Frame::Runs { .. }
            | Frame::Pulled { .. }
            | Frame::NeedKeys { .. }
            | Frame::Keys { .. }
            | Frame::Refused { .. }
            | Frame::Held(_)
            | Frame::Ask { .. }
            | Frame::Parted { .. } => {}
            Frame::Retired4(never)
            | Frame::Retired5(never)
            | Frame::Retired6(never)
            | Frame::Retired8(never)
            | Frame::Retired13(never) => match *never {},
        }
    }
}

/// What versions 1 and 2 of the conversation said is refused, and never taken for something else.
#[test]
fn retired_frames_are_none() {
    for name in ["pull", "compare", "want", "pulled", "ask"] {
        let fixture = format!("tests/snapshots/snapshots__frame_{name}.snap");
        let fixture = std::fs::read_to_string(fixture).expect("it is kept");
        let (_, hex) = fixture.rsplit_once("---\n").expect("a header is before it");
        let digits: String = hex.split_whitespace().collect();
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        assert!(!bytes.is_empty());
        assert!(Frame::decode(&bytes).is_err(), "{name}");
    }
}

#[test]
fn gossip() {
    let envelope = envelopes().remove(1);
    let all = [
        ("envelope", Gossip::Envelope(Box::new(envelope))),
        ("advance", Gossip::Advance(vec![(stream(), other(), 300)])),
    ];
    for (name, gossip) in &all {
        check(&format!("gossip_{name}"), gossip);
        assert_eq!(Gossip::decode(&gossip.encode()).as_ref(), Ok(gossip));
        match gossip {
            Gossip::Envelope(_) | Gossip::Advance(_) => {}
        }
    }
}

#[test]
fn invite_links() {
    let link = InviteLink {
        revolt: revolt(),
        seed: [8; 32],
        name: "Library".into(),
        icon: Some("📚".into()),
        inviter: "Anna".into(),
        expires_ms: Some(1_800_000_000_000),
        addresses: vec!["/ip4/192.0.2.7/udp/4001/quic-v1/p2p/12D3KooWExample".into()],
    };
    let bare = InviteLink {
        icon: None,
        expires_ms: None,
        addresses: Vec::new(),
        ..link.clone()
    };
    for (name, link) in [("link", link), ("link_bare", bare)] {
        insta::assert_snapshot!(name, link.to_text());
        assert_eq!(InviteLink::parse(&link.to_text()).as_ref(), Ok(&link));
        let web = link.to_web("example.org");
        assert_eq!(InviteLink::parse(&web), Ok(link));
    }
}
