//! What `/metrics` counts beside libp2p's own numbers.

use libp2p::{relay, swarm::SwarmEvent};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::swarm::BehaviourEvent;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: Gauge,
    reservations: Gauge,
    circuits: Gauge,
    refused_connections: Counter,
    refused_reservations: Counter,
    refused_circuits: Counter,
}

impl Counters {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let counters = Self::default();
        let Self {
            connections,
            reservations,
            circuits,
            ..
        } = &counters;
        let names = registry.sub_registry_with_prefix("revnet_relay");
        names.register(
            "connections",
            "Established connections",
            connections.clone(),
        );
        names.register(
            "reservations",
            "Reservations that stand",
            reservations.clone(),
        );
        names.register("circuits", "Circuits that stand", circuits.clone());
        let refused = "Incoming connections refused or failed";
        names.register(
            "refused_connections",
            refused,
            counters.refused_connections.clone(),
        );
        let refused = "Reservations refused by a limit";
        names.register(
            "refused_reservations",
            refused,
            counters.refused_reservations.clone(),
        );
        let refused = "Circuits refused by a limit or for want of a reservation";
        names.register(
            "refused_circuits",
            refused,
            counters.refused_circuits.clone(),
        );
        counters
    }

    pub(crate) fn record(&self, event: &SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. } => {
                self.connections.inc();
            }
            SwarmEvent::ConnectionClosed { .. } => {
                self.connections.dec();
            }
            SwarmEvent::IncomingConnectionError { .. } => {
                self.refused_connections.inc();
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => self.record_relay(event),
            _ => {}
        }
    }

    fn record_relay(&self, event: &relay::Event) {
        match event {
            relay::Event::ReservationReqAccepted { renewed: false, .. } => {
                self.reservations.inc();
            }
            relay::Event::ReservationClosed { .. } | relay::Event::ReservationTimedOut { .. } => {
                self.reservations.dec();
            }
            relay::Event::ReservationReqDenied { .. } => {
                self.refused_reservations.inc();
            }
            relay::Event::CircuitReqAccepted { .. } => {
                self.circuits.inc();
            }
            relay::Event::CircuitClosed { .. } => {
                self.circuits.dec();
            }
            relay::Event::CircuitReqDenied { .. } => {
                self.refused_circuits.inc();
            }
            _ => {}
        }
    }
}
