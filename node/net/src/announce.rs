//! What the node provides in the Kademlia table, and the searches under way.
//!
//! `kad` publishes a key once and then every twelve hours. A node that provides before it knows anybody, or that gets a
//! new circuit address, would be found only half a day later, so the keys are published again on such occasions.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use libp2p::{
    Multiaddr, PeerId,
    core::Endpoint,
    kad::{GetProvidersOk, QueryId, QueryResult, RecordKey},
    swarm::{ConnectionId, NetworkBehaviour},
};

use crate::{NetEvent, peer::peer_key, swarm::Kad};

/// Publications under way at a time; each asks some twenty nodes.
const AT_ONCE: usize = 8;

type Key = [u8; 32];

#[derive(Debug, Default)]
pub(crate) struct Announcer {
    provided: BTreeSet<Key>,
    waiting: VecDeque<Key>,
    running: HashSet<QueryId>,
    searches: HashMap<QueryId, Key>,
}

/// What a finished or growing search says.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) event: Option<NetEvent>,
    pub(crate) addresses: Vec<(PeerId, Vec<Multiaddr>)>,
}

impl Announcer {
    pub(crate) fn provide(&mut self, kad: &mut Kad, key: Key) {
        if self.provided.insert(key) {
            self.waiting.push_back(key);
            self.advance(kad);
        }
    }

    pub(crate) fn stop_providing(&mut self, kad: &mut Kad, key: &Key) {
        self.provided.remove(key);
        self.waiting.retain(|waiting| waiting != key);
        kad.stop_providing(&RecordKey::new(key));
    }

    /// Publishes everything again: there are new nodes to tell, or we are reached at a new address.
    pub(crate) fn again(&mut self, kad: &mut Kad) {
        self.waiting = self.provided.iter().copied().collect();
        self.advance(kad);
    }

    pub(crate) fn find(&mut self, kad: &mut Kad, key: Key) {
        let query = kad.get_providers(RecordKey::new(&key));
        self.searches.insert(query, key);
    }

    pub(crate) fn on_progress(
        &mut self,
        kad: &mut Kad,
        id: QueryId,
        result: QueryResult,
        last: bool,
    ) -> Found {
        if self.running.contains(&id) && last {
            self.running.remove(&id);
            self.advance(kad);
        }
        let Some(key) = self.searches.get(&id).copied() else {
            return Found::default();
        };
        if last {
            self.searches.remove(&id);
        }
        let providers = match result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                providers
            }
            _ => HashSet::new(),
        };
        let addresses = providers
            .iter()
            .map(|peer| (*peer, addresses_in_queries(kad, *peer)))
            .collect();
        let mut peers: Vec<_> = providers.iter().filter_map(peer_key).collect();
        peers.sort_unstable();
        let news = last || !peers.is_empty();
        Found {
            event: news.then_some(NetEvent::Providers {
                key,
                peers,
                done: last,
            }),
            addresses,
        }
    }

    fn advance(&mut self, kad: &mut Kad) {
        while self.running.len() < AT_ONCE {
            let Some(key) = self.waiting.pop_front() else {
                return;
            };
            match kad.start_providing(RecordKey::new(&key)) {
                Ok(query) => {
                    self.running.insert(query);
                }
                Err(error) => tracing::warn!(%error, "this node provides too many keys"),
            }
        }
    }
}

/// The addresses that came with a provider. They live only as long as the search, and nothing hands them out but the
/// hook through which the swarm asks for addresses to dial.
fn addresses_in_queries(kad: &mut Kad, peer: PeerId) -> Vec<Multiaddr> {
    let nobody = ConnectionId::new_unchecked(0);
    kad.handle_pending_outbound_connection(nobody, Some(peer), &[], Endpoint::Dialer)
        .unwrap_or_default()
}
