//! Keeps a connection and a reservation at each relay: libp2p does neither again by itself.
//!
//! A state machine without I/O: the swarm task tells it what happened and does what it asks for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId};

use crate::{RelayAddress, RelayStatus, backoff::Backoff};

const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
};

/// A relay that hasn't identified itself by then never will.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(15);

/// A bootstrap node that offers no relay service is asked again after this.
const NO_SERVICE: Duration = Duration::from_secs(600);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Dial(RelayAddress),
    /// Ask for a reservation over the connection to this address.
    Reserve(PeerId, Multiaddr),
    Disconnect(PeerId),
}

#[derive(Debug)]
enum Phase {
    /// Not connected; dial when the time has come.
    Away {
        dial_at: Instant,
    },
    Dialing,
    /// Connected; what it offers is unknown yet.
    Greeting {
        until: Instant,
    },
    /// Connected; ask for a reservation when the time has come.
    Waiting {
        reserve_at: Instant,
    },
    /// Asked for a reservation.
    Asking {
        listener: ListenerId,
    },
    Reserved {
        listener: ListenerId,
        address: Option<Multiaddr>,
    },
}

#[derive(Debug)]
struct Relay {
    address: RelayAddress,
    /// The address at which it answered, without `/p2p/PEER`.
    reached_at: Option<Multiaddr>,
    phase: Phase,
    failures: u32,
    last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Relays {
    relays: BTreeMap<PeerId, Relay>,
}

impl Relays {
    /// Starts to care for a relay; replaces the addresses of one that is known.
    pub(crate) fn add(&mut self, address: RelayAddress, now: Instant) {
        if let Some(relay) = self.relays.get_mut(&address.peer()) {
            relay.address = address;
            return;
        }
        let phase = Phase::Away { dial_at: now };
        let relay = Relay {
            address,
            reached_at: None,
            phase,
            failures: 0,
            last_error: None,
        };
        self.relays.insert(relay.address.peer(), relay);
    }

    /// Stops caring; says whether the relay was known.
    pub(crate) fn remove(&mut self, peer: &PeerId) -> bool {
        self.relays.remove(peer).is_some()
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.relays.contains_key(peer)
    }

    pub(crate) fn on_connected(&mut self, peer: &PeerId, address: Multiaddr, now: Instant) {
        let Some(relay) = self.relays.get_mut(peer) else {
            return;
        };
        relay.reached_at = Some(address);
        if matches!(relay.phase, Phase::Away { .. } | Phase::Dialing) {
            relay.phase = Phase::Greeting {
                until: now + IDENTIFY_WITHIN,
            };
        }
    }

    pub(crate) fn on_identified(&mut self, peer: &PeerId, relays: bool, now: Instant) {
        let Some(relay) = self.relays.get_mut(peer) else {
            return;
        };
        match (&relay.phase, relays) {
            (Phase::Greeting { .. }, true) => relay.phase = Phase::Waiting { reserve_at: now },
            (Phase::Waiting { .. }, true) if relay.failures == 0 => {
                relay.phase = Phase::Waiting { reserve_at: now }
            }
            (Phase::Greeting { .. }, false) => {
                relay.last_error = Some("it offers no relay service".to_owned());
                relay.phase = Phase::Waiting {
                    reserve_at: now + NO_SERVICE,
                };
            }
            _ => {}
        }
    }

    /// No connection could be made.
    pub(crate) fn on_dial_failed(
        &mut self,
        peer: &PeerId,
        error: String,
        now: Instant,
        jitter: f64,
    ) {
        let Some(relay) = self.relays.get_mut(peer) else {
            return;
        };
        if matches!(relay.phase, Phase::Dialing) {
            let pause = relay.failed(error, jitter);
            relay.phase = Phase::Away {
                dial_at: now + pause,
            };
        }
    }

    /// The last connection is gone. Says whether a reservation went with it.
    pub(crate) fn on_disconnected(
        &mut self,
        peer: &PeerId,
        error: String,
        now: Instant,
        jitter: f64,
    ) -> bool {
        let Some(relay) = self.relays.get_mut(peer) else {
            return false;
        };
        let reserved = matches!(relay.phase, Phase::Reserved { .. });
        let pause = relay.failed(error, jitter);
        relay.phase = Phase::Away {
            dial_at: now + pause,
        };
        relay.reached_at = None;
        reserved
    }

    pub(crate) fn on_asked(&mut self, peer: &PeerId, listener: ListenerId) {
        if let Some(relay) = self.relays.get_mut(peer) {
            relay.phase = Phase::Asking { listener };
        }
    }

    pub(crate) fn on_ask_failed(
        &mut self,
        peer: &PeerId,
        error: String,
        now: Instant,
        jitter: f64,
    ) {
        let Some(relay) = self.relays.get_mut(peer) else {
            return;
        };
        let pause = relay.failed(error, jitter);
        relay.phase = Phase::Waiting {
            reserve_at: now + pause,
        };
    }

    /// The address at which others reach us through the relay behind this listener. `Some` if it is news.
    pub(crate) fn on_circuit_address(
        &mut self,
        listener: ListenerId,
        new: &Multiaddr,
    ) -> Option<PeerId> {
        let (peer, relay) = self
            .relays
            .iter_mut()
            .find(|(_, relay)| relay.phase.listener() == Some(listener))?;
        let first = !matches!(
            &relay.phase,
            Phase::Reserved {
                address: Some(_),
                ..
            }
        );
        relay.phase = Phase::Reserved {
            listener,
            address: Some(new.clone()),
        };
        relay.failures = 0;
        relay.last_error = None;
        first.then_some(*peer)
    }

    /// A listener closed: if it stood for a reservation, that is gone or refused. `Some` with whether it had stood.
    pub(crate) fn on_listener_closed(
        &mut self,
        listener: ListenerId,
        error: &str,
        now: Instant,
        jitter: f64,
    ) -> Option<(PeerId, bool)> {
        let (peer, relay) = self
            .relays
            .iter_mut()
            .find(|(_, relay)| relay.phase.listener() == Some(listener))?;
        let stood = matches!(relay.phase, Phase::Reserved { .. });
        let pause = relay.failed(error.to_owned(), jitter);
        relay.phase = Phase::Waiting {
            reserve_at: now + pause,
        };
        Some((*peer, stood))
    }

    /// What is due, one thing at a time.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        let due = |relay: &&mut Relay| relay.phase.deadline().is_some_and(|at| at <= now);
        let relay = self.relays.values_mut().find(due)?;
        let peer = relay.address.peer();
        match (&relay.phase, &relay.reached_at) {
            (Phase::Waiting { .. }, Some(address)) => {
                let address = address.clone();
                // Until the swarm task says how it went.
                relay.phase = Phase::Waiting {
                    reserve_at: now + NO_SERVICE,
                };
                Some(Action::Reserve(peer, address))
            }
            (Phase::Greeting { .. }, _) => {
                relay.phase = Phase::Greeting {
                    until: now + IDENTIFY_WITHIN,
                };
                relay.last_error = Some("it answered but did not identify itself".to_owned());
                Some(Action::Disconnect(peer))
            }
            _ => {
                relay.phase = Phase::Dialing;
                Some(Action::Dial(relay.address.clone()))
            }
        }
    }

    /// When [`Relays::poll`] is to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.relays
            .values()
            .filter_map(|relay| relay.phase.deadline())
            .min()
    }

    /// Addresses of a peer behind our relays. Circuits need no reservation of ours, only a connection.
    pub(crate) fn circuits_to(&self, peer: PeerId) -> Vec<Multiaddr> {
        use libp2p::multiaddr::Protocol::{P2p, P2pCircuit};
        let circuit = |(relay, state): (&PeerId, &Relay)| {
            let reached_at = state.reached_at.clone()?;
            (*relay != peer).then(|| {
                reached_at
                    .with(P2p(*relay))
                    .with(P2pCircuit)
                    .with(P2p(peer))
            })
        };
        self.relays.iter().filter_map(circuit).collect()
    }

    pub(crate) fn status(&self) -> Vec<RelayStatus> {
        let one = |relay: &Relay| RelayStatus {
            relay: relay.address.clone(),
            connected: relay.reached_at.is_some(),
            reserved: match &relay.phase {
                Phase::Reserved { address, .. } => address.clone(),
                _ => None,
            },
            last_error: relay.last_error.clone(),
        };
        self.relays.values().map(one).collect()
    }
}

impl Relay {
    fn failed(&mut self, error: String, jitter: f64) -> Duration {
        self.failures += 1;
        self.last_error = Some(error);
        RETRY.pause(self.failures, jitter)
    }
}

impl Phase {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Away { dial_at: at }
            | Self::Greeting { until: at }
            | Self::Waiting { reserve_at: at } => Some(*at),
            Self::Dialing | Self::Asking { .. } | Self::Reserved { .. } => None,
        }
    }

    fn listener(&self) -> Option<ListenerId> {
        match self {
            Self::Asking { listener } | Self::Reserved { listener, .. } => Some(*listener),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    fn known() -> (Relays, PeerId, Multiaddr, Instant) {
        let relay: RelayAddress = format!("/ip4/192.0.2.1/tcp/4001/p2p/{PEER}")
            .parse()
            .expect("valid");
        let peer = relay.peer();
        let now = Instant::now();
        let mut relays = Relays::default();
        relays.add(relay.clone(), now);
        assert_eq!(relays.poll(now), Some(Action::Dial(relay)));
        assert_eq!(relays.poll(now), None);
        (
            relays,
            peer,
            "/ip4/192.0.2.1/tcp/4001".parse().expect("valid"),
            now,
        )
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_relay_that_does_not_answer_is_dialled_ever_less_often() {
        let (mut relays, peer, _, mut now) = known();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            relays.on_dial_failed(&peer, "refused".to_owned(), now, 1.0);
            assert_eq!(relays.deadline(), Some(now + seconds(pause)));
            assert_eq!(relays.poll(now), None);
            now += seconds(pause);
            assert!(matches!(relays.poll(now), Some(Action::Dial(_))));
        }
        assert_eq!(relays.status()[0].last_error.as_deref(), Some("refused"));
    }

    #[test]
    fn a_lost_reservation_is_made_again() {
        let (mut relays, peer, address, now) = known();
        relays.on_connected(&peer, address.clone(), now);
        assert_eq!(relays.poll(now), None, "a reservation waits for identify");
        relays.on_identified(&peer, true, now);
        assert_eq!(
            relays.poll(now),
            Some(Action::Reserve(peer, address.clone()))
        );
        let listener = ListenerId::next();
        relays.on_asked(&peer, listener);
        let circuit: Multiaddr = format!("{address}/p2p/{PEER}/p2p-circuit")
            .parse()
            .expect("valid");
        assert_eq!(relays.on_circuit_address(listener, &circuit), Some(peer));
        assert_eq!(
            relays.on_circuit_address(listener, &circuit),
            None,
            "a renewal is no news"
        );
        assert_eq!(relays.deadline(), None);

        // Refused on renewal: again over the same connection.
        assert_eq!(
            relays.on_listener_closed(listener, "refused", now, 1.0),
            Some((peer, true))
        );
        assert_eq!(
            relays.poll(now + seconds(1)),
            Some(Action::Reserve(peer, address.clone()))
        );

        // Connection lost: from the start.
        assert!(!relays.on_disconnected(&peer, "reset".to_owned(), now, 1.0));
        assert!(relays.circuits_to(PeerId::random()).is_empty());
        assert!(matches!(
            relays.poll(now + seconds(2)),
            Some(Action::Dial(_))
        ));
        relays.on_connected(&peer, address, now);
        assert_eq!(relays.circuits_to(PeerId::random()).len(), 1);
    }

    #[test]
    fn silence_and_missing_service_are_not_waited_for() {
        let (mut relays, peer, address, now) = known();
        relays.on_connected(&peer, address.clone(), now);
        assert_eq!(
            relays.poll(now + IDENTIFY_WITHIN),
            Some(Action::Disconnect(peer))
        );

        let (mut relays, peer, _, now) = known();
        relays.on_connected(&peer, address, now);
        relays.on_identified(&peer, false, now);
        assert_eq!(relays.deadline(), Some(now + NO_SERVICE));
    }
}
