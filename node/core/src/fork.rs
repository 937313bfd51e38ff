//! Authors who signed two histories of a channel: finding where they part, and cutting the chain there.
//!
//! Two nodes that have different envelopes of a chain narrow the place down by naming what they have at some
//! numbers ([`Frame::Parted`]). Whoever has both envelopes of one number cuts its chain before it, keeps both as the
//! proof, and passes them on. The lowest number of which anybody has such a pair is where all end up.

use revnet_protocol::envelope::{Authentic, Envelope};
use revnet_protocol::frame::{Frame, Mark};
use revnet_protocol::limits::MAX_MARKS;
use revnet_protocol::{DeviceId, RevoltId, StreamId};

use crate::chain::{Branch, Chain, branch_name};
use crate::command::{Notice, Place};
use crate::core::{Core, Waiting};
use crate::mutant::{Mutant, is_active};
use crate::receive::branch_key;
use crate::serve::{STRETCH_BYTES, pack};
use crate::storage::{Query, Space, Write};

/// A chain of which a peer seems to have another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspect {
    pub(crate) peer: DeviceId,
    pub(crate) revolt: RevoltId,
    pub(crate) stream: StreamId,
    pub(crate) device: DeviceId,
}

impl Core {
    /// Whether a run of a channel lies below the tip of its chain, where only the store knows what is there.
    pub(crate) fn is_behind(&self, stream: StreamId, run: &[Authentic]) -> bool {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return false;
        };
        let known = &self.streams[&stream];
        let chain = known.chains.get(&first.header().device);
        known.channel.is_some()
            && chain.is_some_and(|chain| {
                let is_cut = chain.forked.is_some_and(|from| from <= first.header().seq);
                last.header().seq < chain.tip && !is_cut
            })
    }

    /// Compares envelopes of a peer with the own ones at their places.
    pub(crate) fn find_fork(
        &mut self,
        peer: DeviceId,
        revolt: RevoltId,
        stream: StreamId,
        theirs: Vec<Authentic>,
    ) {
        if is_active(Mutant::ForksIgnored) {
            return;
        }
        let Some(first) = theirs.first().map(Authentic::header) else {
            return;
        };
        let suspect = Suspect {
            peer,
            revolt,
            stream,
            device: first.device,
        };
        let theirs: Vec<_> = theirs.into_iter().map(Authentic::into_envelope).collect();
        let size = theirs.iter().map(Envelope::stored_size).sum();
        // Who leaves early is gone once the first acts are read.
        let Some(query) = self.history_from(&suspect, theirs[0].header.seq, size) else {
            return;
        };
        let is_whole = false;
        let then = Waiting::Fork {
            suspect,
            theirs,
            is_whole,
        };
        self.load_about(suspect, query, then);
    }

    /// So many bytes of a chain from a number on. If it parts later, its last signature may be in what proves that.
    fn history_from(&self, suspect: &Suspect, seq: u64, max_bytes: usize) -> Option<Query> {
        let Suspect { stream, device, .. } = *suspect;
        let branches = self.streams.get(&stream)?.branches.iter();
        let proof = branches.filter(|(_, branch)| branch.device == device);
        let proof = proof.map(|(name, _)| (stream, *name, 1));
        Some(Query::Ranges {
            ranges: [(stream, device, seq)].into_iter().chain(proof).collect(),
            max_bytes,
        })
    }

    /// Asks the store about a chain, unless the peer has too many questions open.
    fn load_about(&mut self, suspect: Suspect, query: Query, then: Waiting) {
        if !self.may_load_for(&suspect.peer) {
            return self.note_dropped(suspect.peer, suspect.revolt);
        }
        self.load(query, then);
    }

    /// Own envelopes at the places of a peer's: as many as the peer's, or as a whole stretch holds.
    pub(crate) fn fork_loaded(
        &mut self,
        suspect: Suspect,
        theirs: &[Envelope],
        own: &[Vec<u8>],
        is_whole: bool,
    ) {
        let Some(chain) = self.suspected(&suspect) else {
            return;
        };
        let tip = chain.tip;
        let own = own.iter().filter_map(|bytes| Envelope::decode(bytes).ok());
        let (own, proof): (Vec<_>, Vec<_>) = own.partition(|own| own.header.seq <= tip);
        let first = &theirs[0].header;
        let mut pairs = own.iter().zip(theirs);
        match pairs.position(|(own, theirs)| own.header.id() != theirs.header.id()) {
            None if own.is_empty() => self.search(suspect, 0, tip.min(first.seq - 1)),
            None => {}
            Some(0) if own[0].header.prev != first.prev => {
                self.search(suspect, 0, first.seq - 1);
            }
            Some(at) => {
                let from = own[at].header.seq;
                let own = continued(own[at..].to_vec(), proof);
                let theirs = &theirs[at..];
                if is_signed(&own) && is_signed(theirs) {
                    self.cut_chain(suspect, [&own, theirs]);
                } else if let Some(query) = self.history_from(&suspect, from, STRETCH_BYTES)
                    && !is_whole
                {
                    // The signature lies further on.
                    let theirs = theirs.to_vec();
                    let then = Waiting::Fork {
                        suspect,
                        theirs,
                        is_whole: true,
                    };
                    self.load_about(suspect, query, then);
                }
            }
        }
    }

    /// Whether nothing counts that this device adds to a stream: another copy of its data, or somebody else with
    /// its keys, has written there, beside it or what no program writes.
    pub(crate) fn is_parted(&self, stream: &StreamId) -> bool {
        let own = self.own_chain(stream);
        own.is_some_and(|chain| chain.forked.is_some() || chain.broken.is_some())
    }

    /// Whether this device can go on in its own chain: it has read all that is in it, also what came from others
    /// because the own data are an old copy.
    pub(crate) fn is_at_own_end(&self, stream: &StreamId) -> bool {
        let own = self.own_chain(stream);
        own.is_none_or(|chain| chain.opened == chain.tip) && !self.is_parted(stream)
    }

    fn own_chain(&self, stream: &StreamId) -> Option<&Chain> {
        let known = self.streams.get(stream)?;
        known.chains.get(&self.device())
    }

    /// The chain in question, if it is here. The revolt may have been forgotten while the store was asked.
    fn suspected(&self, suspect: &Suspect) -> Option<&Chain> {
        let known = self.streams.get(&suspect.stream)?;
        known.channel?;
        known.chains.get(&suspect.device)
    }

    /// Ends a chain where it parts, and keeps what proves that: of both branches the envelopes up to the first
    /// that is signed itself.
    fn cut_chain(&mut self, suspect: Suspect, branches: [&[Envelope]; 2]) {
        let Suspect { stream, device, .. } = suspect;
        let parted = &branches[0][0].header;
        let (from, prev) = (parted.seq, parted.prev);
        let Some(chain) = self.suspected(&suspect) else {
            return;
        };
        if chain.forked.is_some_and(|have| have <= from) {
            return;
        }
        let mut writes = self.drop_branches(stream, device);
        writes.push(Write::Cut {
            stream,
            device,
            from,
        });
        let chain = self.chain_mut(stream, device);
        chain.forked = Some(from);
        chain.tip = from - 1;
        chain.tip_id = prev;
        chain.opened = chain.opened.min(chain.tip);
        if chain.opened == chain.tip {
            chain.waiting = None;
        }
        if chain.durable.0 > chain.tip {
            chain.durable = (chain.tip, prev);
        }
        writes.push(self.chain_write(stream, device));
        let mut proof = Vec::new();
        for envelopes in branches {
            let signed = envelopes.iter().position(|e| e.signature.is_some());
            let piece = &envelopes[..signed.map_or(envelopes.len(), |at| at + 1)];
            let name = branch_name(&device, &piece[0].header.id());
            let bytes: Vec<_> = piece.iter().map(Envelope::encode).collect();
            for (seq, bytes) in (1..).zip(&bytes) {
                writes.push(Write::Envelope {
                    stream,
                    device: name,
                    seq,
                    bytes: bytes.clone(),
                });
            }
            let last = &piece[piece.len() - 1].header;
            let branch = Branch {
                device,
                base: from - 1,
                prev,
                chain: Chain {
                    tip: last.seq,
                    tip_id: last.id(),
                    ..Chain::default()
                },
            };
            let known = self.streams.get_mut(&stream);
            known.expect("looked up above").add_branch(name, branch);
            writes.push(self.chain_write(stream, name));
            proof.extend(bytes);
        }
        self.store(writes, None);
        self.tell_parted(suspect, proof);
        self.expel_soon(suspect.revolt);
    }

    /// Forgets a proof that a better one replaces.
    fn drop_branches(&mut self, stream: StreamId, device: DeviceId) -> Vec<Write> {
        let Some(known) = self.streams.get_mut(&stream) else {
            return Vec::new();
        };
        let mut writes = Vec::new();
        known.branches.retain(|name, branch| {
            if branch.device == device {
                writes.push(Write::Cut {
                    stream,
                    device: *name,
                    from: 0,
                });
                writes.push(Write::Remove {
                    space: Space::Branch,
                    key: branch_key(&stream, name),
                });
            }
            branch.device != device
        });
        writes
    }

    fn tell_parted(&mut self, suspect: Suspect, proof: Vec<Vec<u8>>) {
        let Suspect { revolt, stream, .. } = suspect;
        let runs = pack(proof, None);
        for peer in self.peers_of(&revolt) {
            if self.may_read(&peer, &revolt).is_ok() {
                self.send_runs(peer, revolt, runs.clone());
            }
        }
        if let Some(channel) = self.streams[&stream].channel {
            let at = Place { revolt, channel };
            self.notice(Notice::ChannelGrew { at });
        }
    }

    /// Narrows down where a chain parts: between `low`, which is the same or none, and `high`, which is not.
    pub(crate) fn search(&mut self, suspect: Suspect, low: u64, high: u64) {
        if high == 0 || self.suspected(&suspect).is_none() {
            return;
        }
        let seqs = spread(low, high);
        let places = seqs
            .iter()
            .map(|seq| (suspect.stream, suspect.device, *seq));
        let query = Query::Envelopes {
            places: places.collect(),
        };
        self.load_about(suspect, query, Waiting::Marks { suspect });
    }

    pub(crate) fn marks_loaded(&mut self, suspect: Suspect, envelopes: Vec<Option<Vec<u8>>>) {
        let Suspect {
            peer,
            revolt,
            stream,
            device,
        } = suspect;
        let read = envelopes.into_iter().flatten();
        let read = read.filter_map(|bytes| Envelope::decode(&bytes).ok());
        let marks: Vec<_> = read
            .map(|envelope| (envelope.header.seq, Mark::from(&envelope.header.id())))
            .collect();
        let is_here = self.suspected(&suspect).is_some();
        if marks.is_empty() || !is_here || self.may_read(&peer, &revolt).is_err() {
            return;
        }
        self.send(
            peer,
            &Frame::Parted {
                revolt,
                stream,
                device,
                marks,
            },
        );
    }

    /// A peer names what it has of a chain of which this node has another one.
    pub(crate) fn parted(&mut self, suspect: Suspect, marks: Vec<(u64, Mark)>) {
        let rising = marks.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if marks.len() > MAX_MARKS || !rising || marks.first().is_none_or(|(seq, _)| *seq == 0) {
            return self.blame(suspect.peer, "named places of a chain in no order");
        }
        let may_read = self.may_read(&suspect.peer, &suspect.revolt).is_ok();
        let known = self.streams.get(&suspect.stream);
        if !may_read || known.is_none_or(|known| known.revolt != suspect.revolt) {
            return;
        }
        let Some(tip) = self.suspected(&suspect).map(|chain| chain.tip) else {
            return;
        };
        let marks: Vec<_> = marks.into_iter().filter(|(seq, _)| *seq <= tip).collect();
        let places = marks
            .iter()
            .map(|(seq, _)| (suspect.stream, suspect.device, *seq));
        let query = Query::Envelopes {
            places: places.collect(),
        };
        self.load_about(suspect, query, Waiting::Parted { suspect, marks });
    }

    pub(crate) fn parted_loaded(
        &mut self,
        suspect: Suspect,
        marks: &[(u64, Mark)],
        own: &[Option<Vec<u8>>],
    ) {
        if self.suspected(&suspect).is_none() {
            return;
        }
        let (mut low, mut high) = (0, None);
        for ((seq, mark), own) in marks.iter().zip(own) {
            let own = own.as_ref().and_then(|bytes| Envelope::decode(bytes).ok());
            let Some(own) = own else { continue };
            if Mark::from(&own.header.id()) == *mark {
                low = *seq;
            } else {
                high = Some(*seq);
                break;
            }
        }
        match high {
            None => {}
            Some(high) if high > low + 1 => self.search(suspect, low, high),
            Some(high) => {
                if let Some(query) = self.history_from(&suspect, high, STRETCH_BYTES) {
                    self.load_about(suspect, query, Waiting::Beside { suspect });
                }
            }
        }
    }

    /// The own branch, for a peer that has another one from the same number on.
    pub(crate) fn beside_loaded(&mut self, suspect: Suspect, envelopes: Vec<Vec<u8>>) {
        let Suspect { peer, revolt, .. } = suspect;
        let runs = pack(envelopes, None);
        let is_here = self.suspected(&suspect).is_some();
        if is_here && self.may_read(&peer, &revolt).is_ok() {
            self.send_runs(peer, revolt, runs);
        }
    }
}

/// Whether somebody can pass on the first of these envelopes with a signature.
fn is_signed(history: &[Envelope]) -> bool {
    history.iter().any(|envelope| envelope.signature.is_some())
}

/// Envelopes of a chain with those that prove that it parts after them, as far as they continue it.
fn continued(mut own: Vec<Envelope>, proof: Vec<Envelope>) -> Vec<Envelope> {
    for envelope in proof {
        let last = own.last().map(|last| last.header.id());
        if last == Some(envelope.header.prev) {
            own.push(envelope);
        }
    }
    own
}

/// Numbers from `low` to `high`, both among them, evenly and as many as fit into a frame.
fn spread(low: u64, high: u64) -> Vec<u64> {
    let steps = MAX_MARKS as u64 - 1;
    let at = |step: u64| {
        let offset = u128::from(high - low) * u128::from(step) / u128::from(steps);
        low + u64::try_from(offset).expect("not more than the span")
    };
    let mut seqs: Vec<u64> = (0..=steps).map(at).filter(|seq| *seq > 0).collect();
    seqs.dedup();
    seqs
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn marks_are_spread_from_end_to_end_without_doubles() {
        assert_eq!(spread(0, 1), [1]);
        assert_eq!(spread(3, 5), [3, 4, 5]);
        let wide = spread(0, 1 << 48);
        assert_eq!(wide.len(), 63);
        assert_eq!(wide.last(), Some(&(1 << 48)));
        assert!(spread(10, 40).contains(&25));
    }
}
