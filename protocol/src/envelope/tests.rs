use super::*;
use crate::limits::MAX_EVENT;

fn chain(n: u64) -> (DeviceKeys, EpochSecret, Vec<Authentic>) {
    let keys = DeviceKeys::from_seed([1; 32]);
    let secret = EpochSecret::new([2; 32]);
    let mut prev = EnvelopeId::default();
    let chain = (1..=n)
        .map(|seq| {
            let place = Place {
                stream: StreamId([3; 32]),
                seq,
                prev,
                seg: 0,
                seg_seq: seq as u32,
                control_heads: vec![EnvelopeId([(seq / 4) as u8; 32])],
            };
            let body = format!("body {seq}");
            let body = (seq % 2 == 0).then_some(body.as_bytes());
            let envelope = Envelope::seal(place, &keys, &secret, b"change", body);
            prev = envelope.id();
            envelope
        })
        .collect();
    (keys, secret, chain)
}

fn plain(chain: &[Authentic]) -> Vec<Envelope> {
    chain.iter().map(|a| a.envelope().clone()).collect()
}

#[test]
fn a_sealed_envelope_opens_with_its_secret_only() {
    let (_, secret, chain) = chain(2);
    let envelope = Envelope::decode(&chain[1].envelope().encode()).expect("own encoding");
    let authentic = envelope.verify().expect("own signature");
    assert_eq!(authentic.id(), chain[1].id());
    let envelope = authentic.envelope();
    assert_eq!(envelope.open_change(&secret).as_deref(), Ok(&b"change"[..]));
    assert_eq!(envelope.open_body(&secret), Ok(Some(b"body 2".to_vec())));
    assert!(envelope.open_change(&EpochSecret::new([9; 32])).is_err());
}

#[test]
fn a_run_gives_the_same_envelopes_back() {
    let (_, _, chain) = chain(20);
    let run = Run::pack(plain(&chain[4..])).expect("consecutive");
    assert_eq!(run.heads.len(), 5);
    let opened = run.open().expect("signed");
    assert_eq!(opened.len(), 16);
    assert!(
        opened
            .iter()
            .zip(&chain[4..])
            .all(|(a, b)| a.id() == b.id())
    );
    assert!(opened[14].envelope().signature.is_none());
    assert!(opened[15].envelope().signature.is_some());
}

#[test]
fn every_changed_field_of_a_run_breaks_its_signature() {
    let (_, _, chain) = chain(6);
    let good = Run::pack(plain(&chain)).expect("consecutive");
    let breaks = |change: &dyn Fn(&mut Run)| {
        let mut run = good.clone();
        change(&mut run);
        run.open().expect_err("changed")
    };
    assert_eq!(
        breaks(&|r| r.items[2].nonce[0] ^= 1),
        EnvelopeError::Signature
    );
    assert_eq!(
        breaks(&|r| r.items[2].change[0] ^= 1),
        EnvelopeError::Signature
    );
    assert_eq!(
        breaks(&|r| r.items[1].body = Body::None),
        EnvelopeError::Signature
    );
    assert_eq!(
        breaks(&|r| r.heads[0][0].0[0] ^= 1),
        EnvelopeError::Signature
    );
    assert_eq!(breaks(&|r| r.keys[0].0[0] ^= 1), EnvelopeError::Signature);
    assert_eq!(
        breaks(&|r| r.device = DeviceId([8; 32])),
        EnvelopeError::Signature
    );
    assert_eq!(breaks(&|r| drop(r.items.pop())), EnvelopeError::Signature);
    assert_eq!(breaks(&|r| r.items.clear()), EnvelopeError::Run);
    assert_eq!(breaks(&|r| r.items[0].key = 9), EnvelopeError::Run);
    assert_eq!(breaks(&|r| r.first = u64::MAX), EnvelopeError::Header);
}

#[test]
fn a_dropped_body_leaves_the_chain_whole() {
    let (_, secret, chain) = chain(4);
    let mut envelopes = plain(&chain);
    let hash = envelopes[1].header.body_hash.expect("has a body");
    envelopes[1].body = Body::Dropped(hash);
    let opened = Run::pack(envelopes)
        .expect("consecutive")
        .open()
        .expect("signed");
    assert_eq!(opened[3].id(), chain[3].id());
    assert_eq!(opened[1].envelope().open_body(&secret), Ok(None));
}

#[test]
fn contradictory_headers_are_refused() {
    let (keys, secret, _) = chain(1);
    let seal = |seq, prev, seg_seq, heads: usize| {
        let place = Place {
            stream: StreamId([3; 32]),
            seq,
            prev,
            seg: 0,
            seg_seq,
            control_heads: vec![EnvelopeId::default(); heads],
        };
        Envelope::seal(place, &keys, &secret, b"c", None)
            .into_envelope()
            .verify()
            .map(|_| ())
    };
    let zero = EnvelopeId::default();
    let some = EnvelopeId([1; 32]);
    assert_eq!(seal(1, zero, 1, 4), Ok(()));
    let wrong = [
        (0, zero, 1, 0),
        (1, some, 1, 0),
        (2, zero, 1, 0),
        (1, zero, 2, 0),
        (1, zero, 0, 0),
    ];
    for (seq, prev, seg_seq, heads) in wrong {
        assert_eq!(seal(seq, prev, seg_seq, heads), Err(EnvelopeError::Header));
    }
    assert_eq!(seal(2000, some, 1025, 0), Err(EnvelopeError::Header));
    assert_eq!(seal(1, zero, 1, 5), Err(EnvelopeError::Header));
    assert_eq!(seal(MAX_SEQ + 1, some, 1, 0), Err(EnvelopeError::Header));
}

#[test]
fn the_largest_envelope_is_within_the_limit() {
    let keys = DeviceKeys::from_seed([1; 32]);
    let place = Place {
        stream: StreamId([3; 32]),
        seq: MAX_SEQ,
        prev: EnvelopeId([1; 32]),
        seg: u32::MAX,
        seg_seq: SEGMENT_EVENTS,
        control_heads: vec![EnvelopeId([1; 32]); MAX_HEADS],
    };
    let change = vec![1; MAX_CHANGE - 16];
    assert!(
        change.len() > MAX_EVENT + 512,
        "room for Automerge's own fields"
    );
    let sealed = Envelope::seal(
        place,
        &keys,
        &EpochSecret::new([2; 32]),
        &change,
        Some(&vec![1; MAX_BODY]),
    );
    let bytes = sealed.envelope().encode();
    assert!(
        Envelope::decode(&bytes)
            .expect("within limits")
            .verify()
            .is_ok()
    );
}
