//! Who has what on disk: signed acknowledgements to authors that are linked.

use std::collections::{BTreeMap, BTreeSet};

use revnet_protocol::frame::{Frame, Held};
use revnet_protocol::{DeviceId, MessageId, RevoltId, StreamId, UserId};

use crate::command::{Notice, Place};
use crate::core::Core;
use crate::purse::SIGNATURE;

/// Most chains in one acknowledgement.
const MAX_CHAINS: usize = 4096;

impl Core {
    /// Tells authors what became durable since the last time.
    pub(crate) fn acknowledge(&mut self) {
        let mut by_author: BTreeMap<DeviceId, Vec<_>> = BTreeMap::new();
        for (stream, device) in std::mem::take(&mut self.unacknowledged) {
            let Some(chain) = self
                .streams
                .get(&stream)
                .and_then(|s| s.chains.get(&device))
            else {
                continue;
            };
            by_author.entry(device).or_default().push((
                stream,
                device,
                chain.durable.0,
                chain.durable.1,
            ));
        }
        for (author, chains) in by_author {
            if self.links.contains_key(&author) {
                for part in chains.chunks(MAX_CHAINS) {
                    let held = Held::sign(&self.me.keys, part.to_vec());
                    self.send(author, &Frame::Held(held));
                }
            }
        }
    }

    /// Tells an author that has just come what is here of its words.
    pub(crate) fn acknowledge_all_to(&mut self, peer: DeviceId, revolt: RevoltId) {
        let theirs = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.revolt == revolt && stream.chains.contains_key(&peer))
            .map(|(stream, _)| (*stream, peer));
        self.unacknowledged.extend(theirs.collect::<Vec<_>>());
        self.acknowledge();
    }

    pub(crate) fn held(&mut self, peer: DeviceId, held: &Held) {
        if held.chains.len() > MAX_CHAINS || held.holder != peer || !held.is_signed() {
            return self.blame(peer, "sent a false acknowledgement");
        }
        if !self.pays(peer, SIGNATURE + held.chains.len() as u64) {
            return;
        }
        let me = self.device();
        for (stream, device, seq, id) in &held.chains {
            let Some(known) = self.streams.get(stream).filter(|_| *device == me) else {
                continue;
            };
            let Some(chain) = known.chains.get(device) else {
                continue;
            };
            // An acknowledgement of another history than this one, or of what isn't written, is worth nothing.
            if *seq > chain.tip || (*seq == chain.tip && *id != chain.tip_id) {
                continue;
            }
            let (revolt, channel, tip) = (known.revolt, known.channel, chain.tip);
            let have = self
                .holders
                .entry(*stream)
                .or_default()
                .entry(peer)
                .or_insert(0);
            if *seq <= *have {
                continue;
            }
            *have = *seq;
            if let Some(channel) = channel {
                let people = self.people_holding(revolt, *stream, *seq);
                let at = Place { revolt, channel };
                self.notice(Notice::Held {
                    at,
                    device: *device,
                    seq: *seq,
                    people,
                });
            } else if *seq == tip {
                self.forget_if_left(revolt);
            }
        }
    }

    /// Forgets a revolt that this person has left, once somebody who stays has the goodbye, or nobody stays.
    pub(crate) fn forget_if_left(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.get(&id).filter(|r| r.record.leaving) else {
            return;
        };
        let state = revolt.authority.state();
        let me = self.device();
        let tip = self.streams[&revolt.control]
            .chains
            .get(&me)
            .map_or(0, |chain| chain.tip);
        let holders = self.holders.get(&revolt.control).into_iter().flatten();
        let told = holders
            .filter(|(_, seq)| **seq >= tip)
            .any(|(device, _)| state.user_of(device).is_some_and(|(_, current)| current));
        if told || state.members.is_empty() {
            self.forget_revolt(id);
        }
    }

    fn people_holding(&self, revolt: RevoltId, stream: StreamId, seq: u64) -> u32 {
        let (Some(holders), Some(revolt)) = (self.holders.get(&stream), self.revolts.get(&revolt))
        else {
            return 0;
        };
        let me = self.user();
        let people: BTreeSet<UserId> = holders
            .iter()
            .filter(|(_, held)| **held >= seq)
            .filter_map(|(device, _)| revolt.authority.state().user_of(device))
            .filter(|(user, current)| *current && *user != me)
            .map(|(user, _)| user)
            .collect();
        u32::try_from(people.len()).unwrap_or(u32::MAX)
    }

    /// How many other people hold an own message.
    pub(crate) fn held_by(&self, revolt: RevoltId, stream: StreamId, id: &MessageId) -> u32 {
        if id.device == self.device() {
            self.people_holding(revolt, stream, id.seq)
        } else {
            0
        }
    }
}
