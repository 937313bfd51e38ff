//! A revolt as this node knows it: its control graph, its secrets, its outbox, its way in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use revnet_crdt::authority::{Authority, Epoch};
use revnet_protocol::act::{Audience, Level};
use revnet_protocol::epoch::{EpochSecret, SlotChunk};
use revnet_protocol::{
    ChannelId, DeviceCert, DeviceId, KeyId, Permission, RevoltId, StreamId, UserId, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::chain::{Branch, Chain, Stream};
use crate::command::{CommandError, Notice};
use crate::core::{Core, Timer};
use crate::io::{MILLI, SECOND};
use crate::receive::STORE_ID;
use crate::storage::{Boot, Space};
use crate::write::Waiting as OutboxItem;

/// A join under way.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    /// The invite's secret bytes.
    pub(crate) seed: [u8; 32],
    /// Where members were when the link was made.
    pub(crate) addresses: Vec<String>,
    /// Who to answer; none after a restart.
    pub(crate) command: Option<u64>,
    /// The act is written.
    pub(crate) written: bool,
}

/// What the store keeps of a revolt beside its streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name from the link, until the real one is known.
    pub(crate) name: String,
    /// The invite's secret and addresses, while joining.
    pub(crate) joining: Option<([u8; 32], Vec<String>)>,
    /// The goodbye is written; when a member has it, the revolt is forgotten here.
    pub(crate) leaving: bool,
}

#[derive(Debug)]
pub(crate) struct Revolt {
    pub(crate) id: RevoltId,
    pub(crate) control: StreamId,
    /// The control stream, and those of all channels that exist.
    pub(crate) streams: BTreeSet<StreamId>,
    pub(crate) authority: Authority,
    pub(crate) secrets: BTreeMap<KeyId, EpochSecret>,
    pub(crate) chunks: BTreeMap<KeyId, Vec<SlotChunk>>,
    pub(crate) record: Record,
    pub(crate) joining: Option<Joining>,
    /// All acts that some member had are here, since the start.
    pub(crate) heard: bool,
    /// Stored envelopes that can be read now are on their way from the store.
    pub(crate) reopening: bool,
    pub(crate) outbox: BTreeMap<StreamId, VecDeque<(u64, OutboxItem)>>,
    pub(crate) next_outbox: u64,
}

impl Revolt {
    pub(crate) fn new(id: RevoltId, record: Record) -> Self {
        let joining = record.joining.clone().map(|(seed, addresses)| Joining {
            seed,
            addresses,
            command: None,
            written: false,
        });
        Self {
            id,
            control: StreamId::control(&id),
            streams: BTreeSet::from([StreamId::control(&id)]),
            authority: Authority::new(id),
            secrets: BTreeMap::new(),
            chunks: BTreeMap::new(),
            record,
            joining,
            heard: false,
            reopening: false,
            outbox: BTreeMap::new(),
            next_outbox: 1,
        }
    }

    pub(crate) fn name(&self) -> &str {
        let name = &self.authority.state().name;
        if name.is_empty() {
            &self.record.name
        } else {
            name
        }
    }

    pub(crate) fn level_of(&self, user: &UserId) -> Option<Level> {
        self.authority
            .state()
            .members
            .get(user)
            .map(|member| member.level)
    }

    /// Whether a device is a current member's.
    pub(crate) fn has_device(&self, device: &DeviceId) -> bool {
        self.authority
            .state()
            .user_of(device)
            .is_some_and(|(_, current)| current)
    }

    /// Whether a device is somebody's who is banned.
    pub(crate) fn is_banned(&self, device: &DeviceId) -> bool {
        let state = self.authority.state();
        let user = state.user_of(device).map(|(user, _)| user);
        user.and_then(|user| state.former.get(&user))
            .is_some_and(|former| former.banned)
    }

    /// Whether no other device is a member's.
    pub(crate) fn is_alone(&self, device: &DeviceId) -> bool {
        let members = self.authority.state().members.values();
        members.flat_map(|m| m.devices.keys()).all(|d| d == device)
    }

    /// The secret to write with now where everybody reads.
    pub(crate) fn sending_secret(&self) -> Option<&EpochSecret> {
        let epoch = self.authority.state().sending_epoch(&Audience::Revolt)?;
        self.secrets.get(&epoch.key_id)
    }

    /// The newest secret of the whole revolt that is known here, whoever else holds it.
    pub(crate) fn newest_announced(&self) -> Option<&EpochSecret> {
        let epochs = self.authority.state().epochs.get(&Audience::Revolt)?;
        let mut newest = epochs.iter().rev();
        newest.find_map(|epoch| self.secrets.get(&epoch.key_id))
    }

    /// The secret to write with now for an audience. In a closed channel the newest known: one that was
    /// announced and is kept back by who made it must not silence the others.
    pub(crate) fn secret_for(&self, audience: &Audience) -> Option<&EpochSecret> {
        if *audience == Audience::Revolt {
            return self.sending_secret();
        }
        self.newest_clean(audience).map(|(_, secret)| secret)
    }

    /// The newest epoch that only the right people hold and whose secret is known here.
    pub(crate) fn newest_clean(&self, audience: &Audience) -> Option<(&Epoch, &EpochSecret)> {
        let epochs = self.authority.state().epochs.get(audience)?;
        let is_open = *audience == Audience::Revolt;
        let is_own = |key_id: &KeyId| is_open || self.is_of(key_id, audience);
        let clean = epochs.iter().rev().filter(|epoch| !epoch.tainted);
        let clean = clean.filter(|epoch| is_own(&epoch.key_id));
        clean
            .filter_map(|epoch| Some((epoch, self.secrets.get(&epoch.key_id)?)))
            .next()
    }

    /// The revolt, and the closed channels that somebody sees; nothing for a device that was taken out.
    pub(crate) fn audiences(&self, me: &DeviceCert) -> Vec<Audience> {
        let state = self.authority.state();
        if !self.has_device(&me.device) {
            return Vec::new();
        }
        let closed = state.channels.iter();
        let closed = closed.filter(|(_, channel)| channel.viewers.is_some() && !channel.archived);
        let closed = closed.map(|(id, _)| Audience::Channel(*id));
        std::iter::once(Audience::Revolt)
            .chain(closed)
            .filter(|audience| state.is_in(audience, &me.user))
            .collect()
    }

    /// The audiences that somebody belongs to and whose secrets are due for a change: the revolt first.
    pub(crate) fn due_rotations(&self, me: &DeviceCert, now_ms: u64) -> Vec<Audience> {
        let state = self.authority.state();
        let mut audiences = self.audiences(me);
        audiences
            .retain(|audience| state.rotation_due(audience) || self.is_old(audience, me, now_ms));
        audiences
    }

    /// Whether the secret to write with is old. Each device has its own idea of that, so that not all make a new one
    /// at the same time.
    fn is_old(&self, audience: &Audience, me: &DeviceCert, now_ms: u64) -> bool {
        let newest = self.newest_clean(audience);
        let made = newest.and_then(|(epoch, _)| self.authority.hlc_of(&epoch.act));
        let spread = u64::from_le_bytes(me.device.0[..8].try_into().expect("8 of 32")) % DAY_MS;
        made.is_some_and(|made| made.ms + 7 * DAY_MS + spread <= now_ms)
    }

    /// The secrets of the revolt by which members meet, newest first: the newest that are known, and from before them
    /// one of every 16 generations. Whoever was away has one of these among their newest 17.
    pub(crate) fn meeting_secrets(&self) -> Vec<&EpochSecret> {
        let known = self.known(&Audience::Revolt);
        let (newest, older) = known.split_at(known.len().min(MEETING_GENERATIONS));
        let mut marks: BTreeMap<u64, &EpochSecret> = BTreeMap::new();
        for (generation, secret) in older {
            // From the newest to the oldest: the first of each step stays.
            marks.insert(generation / MEETING_STEP, secret);
        }
        let newest = newest.iter().map(|(_, secret)| *secret);
        let marks = marks.into_values().rev().take(MEETING_MARKS);
        newest.chain(marks).collect()
    }

    /// The secrets of an audience that are known, newest first.
    pub(crate) fn known_secrets(&self, audience: &Audience) -> Vec<&EpochSecret> {
        let known = self.known(audience).into_iter();
        known.map(|(_, secret)| secret).collect()
    }

    fn known(&self, audience: &Audience) -> Vec<(u64, &EpochSecret)> {
        let epochs = self.authority.state().epochs.get(audience);
        let epochs = epochs.into_iter().flatten().rev();
        let known = epochs.filter_map(|epoch| {
            let secret = self.secrets.get(&epoch.key_id)?;
            Some((epoch.generation, secret))
        });
        known.collect()
    }

    pub(crate) fn outbox_len(&self) -> usize {
        self.outbox.values().map(VecDeque::len).sum()
    }
}

/// A day in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// By how many of the newest secrets members meet.
const MEETING_GENERATIONS: usize = 17;
/// Of how many generations before these one is enough: fewer than the above.
const MEETING_STEP: u64 = 16;
/// How many of those older ones: 20 years of one rotation a week.
const MEETING_MARKS: usize = 64;

pub(crate) fn secret_key(revolt: &RevoltId, key_id: &KeyId) -> Vec<u8> {
    [revolt.0, key_id.0].concat()
}

impl Core {
    /// Rebuilds memory from the store.
    pub(crate) fn restore(&mut self, boot: Boot) {
        for ((space, key), value) in &boot.records {
            self.restore_record(*space, key, value);
        }
        for (stream, device, state) in &boot.chains {
            if let Ok(chain) = decode::<Chain>(state, Chain::MAX_STATE) {
                let of_stream = self.unplaced.entry(*stream).or_default();
                of_stream.push((*device, chain.restored()));
            }
        }
        self.place_chains();
        for bytes in boot.control {
            self.restore_act(None, &bytes);
        }
        for (_, name, envelopes) in boot.branches {
            for bytes in envelopes {
                self.restore_act(Some(name), &bytes);
            }
        }
        let revolts: Vec<_> = self.revolts.keys().copied().collect();
        for revolt in &revolts {
            self.refresh_channels(*revolt);
        }
        for revolt in revolts {
            self.reopen(revolt);
            self.refresh_topics(revolt);
            self.expel_soon(revolt);
            if self.revolts[&revolt].is_key_work_due(&self.me.cert) {
                self.arm(Timer::Rotate(revolt), SECOND);
            }
        }
    }

    fn restore_record(&mut self, space: Space, key: &[u8], value: &[u8]) {
        let revolt = key.first_chunk::<32>().map(|id| RevoltId(*id));
        match (space, revolt) {
            (Space::Revolt, Some(id)) => {
                let record = decode::<Record>(value, 1 << 16).unwrap_or_default();
                self.add_revolt(Revolt::new(id, record));
            }
            (Space::Secret, Some(id)) => {
                let (Some(revolt), Ok(bytes)) = (self.revolts.get_mut(&id), value.try_into())
                else {
                    return;
                };
                let secret = EpochSecret::new(bytes);
                revolt.secrets.insert(secret.key_id(), secret);
            }
            (Space::Chunk, Some(id)) => {
                let (Some(revolt), Ok(chunk)) = (
                    self.revolts.get_mut(&id),
                    decode::<SlotChunk>(value, 1 << 17),
                ) else {
                    return;
                };
                revolt.chunks.entry(chunk.key_id).or_default().push(chunk);
            }
            (Space::Branch, _) => {
                if let Some((stream, name)) = key.split_first_chunk::<32>()
                    && let Ok(name) = name.try_into()
                    && let Ok(mut branch) = decode::<Branch>(value, Chain::MAX_STATE)
                {
                    branch.chain = branch.chain.restored();
                    let of_stream = self.unplaced_branches.entry(StreamId(*stream));
                    of_stream.or_default().push((DeviceId(name), branch));
                }
            }
            (Space::Cursor, _) => self.restore_cursor(key, value),
            (Space::Outbox, _) => self.restore_outbox(key, value),
            (Space::Local, _) if key == STORE_ID => {
                self.store_id = value.try_into().unwrap_or(self.store_id);
            }
            (Space::Local, _) if key == b"name" => {
                if let Ok(name) = String::from_utf8(value.to_vec()) {
                    self.me.name = name;
                }
            }
            (Space::Local, _) => {
                if let Some(device) = key
                    .strip_prefix(b"address:")
                    .and_then(|d| d.try_into().ok())
                    && let Ok(addresses) = decode::<Vec<String>>(value, 1 << 14)
                {
                    self.addresses.insert(DeviceId(device), addresses);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn add_revolt(&mut self, revolt: Revolt) {
        self.streams
            .entry(revolt.control)
            .or_insert_with(|| Stream::new(revolt.id, None));
        self.revolts.insert(revolt.id, revolt);
    }

    /// A revolt as people ask for it: one that they have left is gone for them.
    pub(crate) fn revolt(&self, id: &RevoltId) -> Result<&Revolt, CommandError> {
        let known = self.revolts.get(id).filter(|revolt| !revolt.record.leaving);
        known.ok_or(CommandError::NotFound("revolt"))
    }

    pub(crate) fn channel_stream(
        &self,
        revolt: &RevoltId,
        channel: &ChannelId,
    ) -> Result<StreamId, CommandError> {
        let revolt = self.revolt(revolt)?;
        let held = revolt.authority.permissions(&self.user(), Some(channel));
        if revolt.authority.state().channels.contains_key(channel) && held.has(Permission::View) {
            Ok(StreamId::channel(&revolt.id, channel))
        } else {
            Err(CommandError::NotFound("channel"))
        }
    }

    /// Makes streams for channels that have appeared.
    pub(crate) fn refresh_channels(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.get_mut(&id) else {
            return;
        };
        revolt.streams = BTreeSet::from([revolt.control]);
        for channel in revolt.authority.state().channels.keys() {
            let stream = StreamId::channel(&id, channel);
            revolt.streams.insert(stream);
            self.streams
                .entry(stream)
                .or_insert_with(|| Stream::new(id, Some(*channel)));
        }
        self.place_chains();
    }

    /// Gives stored chains to streams that have become known. A channel is known once the act that makes it has been
    /// read, which may be long after the start; to begin its chains anew would sign second histories.
    fn place_chains(&mut self) {
        let streams = &mut self.streams;
        self.unplaced.retain(|id, chains| {
            let Some(stream) = streams.get_mut(id) else {
                return true;
            };
            for (device, chain) in std::mem::take(chains) {
                *stream.chain_mut(device) = chain;
            }
            false
        });
        self.unplaced_branches.retain(|id, branches| {
            let Some(stream) = streams.get_mut(id) else {
                return true;
            };
            for (name, branch) in std::mem::take(branches) {
                stream.add_branch(name, branch);
            }
            false
        });
    }

    /// After acts were added to a revolt's control graph.
    pub(crate) fn control_changed(&mut self, id: RevoltId) {
        self.refresh_channels(id);
        self.follow_back_links(id);
        self.reopen(id);
        self.refresh_topics(id);
        self.note_heard(id);
        self.continue_join(id);
        self.pull_from_unheard(id);
        let due = self.revolts.get(&id);
        if due.is_some_and(|revolt| revolt.is_key_work_due(&self.me.cert)) {
            // The remover rotates with the removal; everybody else waits a while for that to arrive.
            let wait = 2 * SECOND + self.jitter(5000 * MILLI);
            if !self.is_armed(Timer::Rotate(id)) {
                self.arm(Timer::Rotate(id), wait);
            }
        }
        self.expel_soon(id);
        self.confirm_soon(id);
        self.notice(Notice::RevoltChanged { revolt: id });
        let waiting = self.revolts.get(&id).is_some_and(|r| r.outbox_len() > 0);
        if waiting {
            self.flush_outbox(id);
        }
    }

    /// Drops a revolt from this node.
    pub(crate) fn forget_revolt(&mut self, id: RevoltId) {
        let Some(revolt) = self.revolts.remove(&id) else {
            return;
        };
        let mut writes = vec![crate::storage::Write::Remove {
            space: Space::Revolt,
            key: id.0.to_vec(),
        }];
        for key_id in revolt.secrets.keys() {
            writes.push(crate::storage::Write::Remove {
                space: Space::Secret,
                key: secret_key(&id, key_id),
            });
        }
        for chunk in revolt.chunks.values().flatten() {
            writes.push(crate::storage::Write::Remove {
                space: Space::Chunk,
                key: crate::keys::chunk_key(&id, chunk),
            });
        }
        let streams: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, s)| s.revolt == id)
            .map(|(s, _)| *s)
            .collect();
        for stream in streams {
            let known = self.streams.remove(&stream);
            let branches = known.map(|known| known.branches).unwrap_or_default();
            writes.extend(branches.keys().map(|name| crate::storage::Write::Remove {
                space: Space::Branch,
                key: crate::receive::branch_key(&stream, name),
            }));
            let queue = revolt.outbox.get(&stream).into_iter().flatten();
            let mut numbers: Vec<u64> = queue.map(|(number, _)| *number).collect();
            numbers.extend(self.turn_away(&stream));
            for number in numbers {
                writes.push(crate::storage::Write::Remove {
                    space: Space::Outbox,
                    key: crate::write::outbox_key(&stream, number),
                });
            }
            self.nonces.retain(|key, _| !key.starts_with(&stream.0));
            writes.push(crate::storage::Write::Forget { stream });
        }
        for link in self.links.values_mut() {
            link.forget(&id);
        }
        // What would be asked for from there on isn't here any more.
        let cursors = self.cursors.keys().filter(|(of, _)| *of == id).copied();
        for (_, peer) in cursors.collect::<Vec<_>>() {
            self.cursors.remove(&(id, peer));
            writes.push(crate::storage::Write::Remove {
                space: Space::Cursor,
                key: crate::sync::cursor_key(&id, &peer),
            });
        }
        self.summaries.remove(&id);
        self.turns.remove(&id);
        self.heeded.remove(&id);
        self.drop_topics(id);
        self.store(writes, None);
        if !revolt.record.leaving {
            self.notice(Notice::RevoltGone { revolt: id });
        }
    }

    pub(crate) fn save_record(&self, id: &RevoltId) -> Option<crate::storage::Write> {
        let revolt = self.revolts.get(id)?;
        Some(Self::put(
            Space::Revolt,
            id.0.to_vec(),
            encode(&revolt.record),
        ))
    }
}
