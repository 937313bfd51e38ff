//! Reading envelopes that are in their chains: decrypted, checked, indexed, and acts given to the reducer.

use revnet_crdt::authority::ActRecord;
use revnet_crdt::change::{Checked, DocTip, Expected, check_change};
use revnet_protocol::envelope::Envelope;
use revnet_protocol::{
    Act, Audience, DeviceId, EnvelopeId, EpochSecret, Event, Hlc, MessageId, RevoltId, StreamId,
};

use crate::chain::{Chain, Waiting as ChainWaiting};
use crate::core::{ADOPT_AHEAD_MS, Core, SHOW_AHEAD_MS, Waiting};
use crate::mutant::{Mutant, is_active};
use crate::receive::{Gathered, index};
use crate::revolt::Revolt;
use crate::storage::{Query, RowKind, Write};

/// How many stored bytes are read again at once when a chain becomes readable.
const REOPEN_BYTES: usize = 1024 * 1024;

impl Core {
    /// Reads the next envelope of a chain. If its key or a control act is missing, the chain waits.
    pub(crate) fn open(
        &mut self,
        id: RevoltId,
        (stream, key): (StreamId, DeviceId),
        envelope_id: EnvelopeId,
        envelope: Envelope,
        gathered: &mut Gathered,
    ) {
        let header = &envelope.header;
        let seq = header.seq;
        let is_branch = key != header.device;
        let revolt = &self.revolts[&id];
        let is_control = self.streams[&stream].channel.is_none();
        let unchecked = is_control || is_active(Mutant::HeadsUnchecked);
        let mut heads = header.control_heads.iter();
        let unknown = heads.find(|head| !unchecked && !revolt.authority.contains(head));
        if !is_control
            && !revolt.secrets.contains_key(&header.key_id)
            && revolt.is_before(&self.device(), &header.key_id)
        {
            // Written before this device came, and not for it. What comes after is in another segment.
            let (seg, seg_seq) = (header.seg, header.seg_seq);
            return self.pass_over((stream, key), seq, seg, seg_seq);
        }
        let waiting = match revolt.secrets.get(&header.key_id) {
            None => Some(ChainWaiting::Key(header.key_id)),
            Some(secret) if is_control && !revolt.is_for_all(&envelope, secret) => {
                Some(ChainWaiting::Announced(header.key_id))
            }
            Some(_) => unknown.map(|head| ChainWaiting::Head(*head)),
        };
        if let Some(waiting) = waiting {
            self.chain_mut(stream, key).waiting = Some(waiting);
            return;
        }
        let secret = &revolt.secrets[&header.key_id];
        let chain = self.streams[&stream]
            .chain(&key)
            .cloned()
            .unwrap_or_default();
        let checked = read_change(&envelope, secret);
        let fits = checked.as_ref().is_some_and(|checked| {
            let same_segment = chain.opened > 0 && chain.seg == header.seg;
            let previous = if same_segment {
                chain.doc.as_ref()
            } else {
                None
            };
            let forward = chain.opened == 0 || header.seg >= chain.seg;
            // In the control stream cited acts may come later; there the reducer compares the stamps.
            let cited = header
                .control_heads
                .iter()
                .filter(|_| !is_control)
                .filter_map(|head| revolt.authority.hlc_of(head))
                .max();
            forward
                && checked.follows(previous)
                && checked.id.hlc > chain.hlc
                && cited.is_none_or(|cited| checked.id.hlc > cited)
        });
        // Whoever writes after an act stamps later than it does. One from far ahead would take the words of all
        // others along, to a time at which nobody shows them yet; so it waits for its time.
        let ahead = checked.as_ref().map_or(0, |checked| checked.id.hlc.ms);
        if is_control && ahead > self.unix_ms() + SHOW_AHEAD_MS {
            self.chain_mut(stream, key).waiting = Some(ChainWaiting::Time(ahead));
            return;
        }
        let (seg, key_id) = (header.seg, header.key_id);
        let chain = self.chain_mut(stream, key);
        chain.opened = seq;
        chain.waiting = None;
        chain.key_id = key_id;
        if !fits {
            chain.broken.get_or_insert(seq);
        }
        // An act counts by itself, whatever its author wrote before it or beside it.
        let unread = is_branch && is_active(Mutant::BranchesUnread);
        if is_control && !unread {
            let record = record_of(envelope_id, &envelope, checked.as_ref());
            let revolt = self.revolts.get_mut(&id).expect("looked up above");
            revolt.authority.insert(record);
            gathered.acts = true;
        }
        let chain = self.chain_mut(stream, key);
        let Some(checked) = checked.filter(|_| fits || is_control) else {
            return;
        };
        if fits {
            chain.seg = seg;
            chain.doc = Some(checked.tip);
            chain.hlc = checked.id.hlc;
        }
        let counts = chain.counts(seq) && !is_branch;
        if !counts && !is_control {
            return;
        }
        self.adopt(checked.id);
        if is_control {
            if counts {
                gathered.writes.push(Write::Index {
                    stream,
                    id: checked.id,
                    kind: RowKind::Message,
                    target: None,
                });
            }
        } else if let Ok(event) = Event::decode(&checked.value) {
            gathered.writes.push(index(stream, checked.id, &event));
            gathered.events.push((stream, checked.id, event, envelope));
        }
    }

    /// Goes on after an event that is never to be read here.
    fn pass_over(&mut self, (stream, key): (StreamId, DeviceId), seq: u64, seg: u32, seg_seq: u32) {
        let chain = self.chain_mut(stream, key);
        chain.opened = seq;
        chain.waiting = None;
        chain.seg = seg;
        chain.doc = Some(DocTip {
            seg_seq,
            change: [0; 32],
        });
    }

    /// Moves the own clock along with what others wrote, unless theirs is far ahead.
    fn adopt(&mut self, id: MessageId) {
        if id.hlc.ms <= self.unix_ms() + ADOPT_AHEAD_MS {
            self.last_hlc = self.last_hlc.max(id.hlc);
        }
    }

    /// Reads chains of a revolt on whose keys, acts or time have come meanwhile. All of them at once: each batch
    /// with acts in it costs a replay of the whole control graph.
    pub(crate) fn reopen(&mut self, id: RevoltId) {
        let (now, me) = (self.unix_ms(), self.device());
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        if revolt.reopening {
            return;
        }
        let ready = |chain: &Chain, is_control: bool| match chain.waiting {
            Some(ChainWaiting::Key(key)) => {
                revolt.secrets.contains_key(&key) || !is_control && revolt.is_before(&me, &key)
            }
            Some(ChainWaiting::Announced(key)) => revolt.authority.is_announced(&key),
            Some(ChainWaiting::Head(head)) => revolt.authority.contains(&head),
            Some(ChainWaiting::Time(ms)) => ms <= now + SHOW_AHEAD_MS,
            None => true,
        };
        let mut ranges = Vec::new();
        for (stream_id, stream) in self.streams.iter().filter(|(_, s)| s.revolt == id) {
            for (key, chain) in stream.read_chains() {
                let is_control = stream.channel.is_none();
                if chain.opened < chain.tip && ready(chain, is_control) {
                    let next = stream.stored_at(key, chain.opened + 1);
                    ranges.push((*stream_id, *key, next));
                }
            }
        }
        if ranges.is_empty() {
            return;
        }
        revolt.reopening = true;
        self.control_first(&mut ranges);
        let query = Query::Ranges {
            ranges,
            max_bytes: REOPEN_BYTES,
        };
        self.load(query, Waiting::Reopen { revolt: id });
    }

    pub(crate) fn reopen_loaded(&mut self, id: RevoltId, envelopes: Vec<Vec<u8>>) {
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        revolt.reopening = false;
        let (mut progressed, mut was_full) = (false, false);
        let mut gathered = Gathered::default();
        for bytes in envelopes {
            let Ok(envelope) = Envelope::decode(&bytes) else {
                continue;
            };
            let (stream, envelope_id) = (envelope.header.stream, envelope.header.id());
            let Some(known) = self.streams.get(&stream) else {
                continue;
            };
            let seat = known.seat_of(&envelope_id).map(|(key, _)| key);
            let key = seat.unwrap_or(envelope.header.device);
            let chain = known.chain(&key);
            let seq = envelope.header.seq;
            if chain.is_some_and(|chain| seq == chain.opened + 1 && seq <= chain.tip) {
                self.open(id, (stream, key), envelope_id, envelope, &mut gathered);
                gathered.touched.insert((stream, key));
                let chain = self.streams[&stream].chain(&key);
                let is_read = chain.is_some_and(|chain| chain.opened >= seq);
                progressed |= is_read;
                let known = self.streams.get_mut(&stream).expect("looked up above");
                was_full |= is_read && known.full.remove(&key);
            }
        }
        self.finish(id, gathered);
        if was_full {
            self.was_full(id);
        }
        if progressed {
            self.reopen(id);
            // Words wait for the end of the own chain to be read.
            self.flush_outbox(id);
        }
    }

    /// An act from the own store, at the start: of a chain, or of the branch of that name.
    pub(crate) fn restore_act(&mut self, branch: Option<DeviceId>, bytes: &[u8]) {
        let Ok(envelope) = Envelope::decode(bytes) else {
            return;
        };
        let header = &envelope.header;
        let (stream, device, seq, id) = (header.stream, header.device, header.seq, header.id());
        let key = branch.unwrap_or(device);
        let Some(known) = self.streams.get_mut(&stream) else {
            return;
        };
        let Some(opened) = known.chain(&key).filter(|c| seq <= c.tip).map(|c| c.opened) else {
            return;
        };
        known.seat(id, key, seq);
        let revolt = known.revolt;
        let Some(secret) = self.revolts[&revolt]
            .secrets
            .get(&header.key_id)
            .filter(|_| seq <= opened)
        else {
            return;
        };
        let checked = read_change(&envelope, secret);
        let record = record_of(id, &envelope, checked.as_ref());
        if let Some(checked) = checked {
            self.adopt(checked.id);
        }
        self.revolts
            .get_mut(&revolt)
            .expect("looked up above")
            .authority
            .insert(record);
    }
}

impl Revolt {
    /// Whether everybody in the revolt can come to read an act: the secret that it is sealed with was announced to
    /// all, or is by this act. One under any other secret would be read by some, who build on it, and never by
    /// others. Rotations of channels' secrets are sealed like other acts.
    fn is_for_all(&self, envelope: &Envelope, secret: &EpochSecret) -> bool {
        let key_id = envelope.header.key_id;
        let announces = || {
            let checked = read_change(envelope, secret);
            match checked.and_then(|checked| Act::decode(&checked.value).ok()) {
                Some(Act::KeyRotate(rotate)) => {
                    rotate.audience == Audience::Revolt && rotate.key_id == key_id
                }
                Some(Act::Create { .. }) => true,
                _ => false,
            }
        };
        self.authority.is_announced(&key_id) || announces()
    }
}

/// The one change of an envelope, if it is in its one form.
pub(crate) fn read_change(envelope: &Envelope, secret: &EpochSecret) -> Option<Checked> {
    let header = &envelope.header;
    let change = envelope.open_change(secret).ok()?;
    let expected = Expected {
        device: &header.device,
        seq: header.seq,
        seg_seq: header.seg_seq,
    };
    check_change(&change, &expected).ok()
}

/// An act for the reducer. What can't be read, such as an act of a newer version, has its place among the others,
/// so that what builds on it is read.
fn record_of(id: EnvelopeId, envelope: &Envelope, checked: Option<&Checked>) -> ActRecord {
    let header = &envelope.header;
    let act = checked.and_then(|checked| Act::decode(&checked.value).ok());
    ActRecord {
        id,
        device: header.device,
        seq: header.seq,
        prev: header.prev,
        heads: header.control_heads.clone(),
        hlc: checked.map_or(Hlc::ZERO, |checked| checked.id.hlc),
        key_id: header.key_id,
        act: act.unwrap_or(Act::Unknown),
    }
}
