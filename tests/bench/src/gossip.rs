//! One bare gossipsub hop on loopback: two swarms that speak nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use libp2p::gossipsub::{
    AllowAllSubscriptionFilter, Behaviour, ConfigBuilder, Event, IdentTopic, IdentityTransform,
    MessageAuthenticity, MessageId, ValidationMode,
};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder};
use tokio::sync::{mpsc, oneshot};

use crate::samples::Samples;

type Gossip = Behaviour<IdentityTransform, AllowAllSubscriptionFilter>;

/// From the call that publishes 650 bytes to the event at the other swarm.
pub(crate) fn one_hop(count: usize) -> Result<Samples> {
    tokio::runtime::Runtime::new()?.block_on(measure(count))
}

fn swarm() -> Result<Swarm<Gossip>> {
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| {
            let config = ConfigBuilder::default()
                .validation_mode(ValidationMode::Anonymous)
                .message_id_fn(|message| MessageId::new(&message.data[..8]))
                .build()?;
            Ok(Gossip::new(MessageAuthenticity::Anonymous, config)?)
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build())
}

async fn measure(count: usize) -> Result<Samples> {
    let topic = IdentTopic::new("bench");
    let (mut here, mut there) = (swarm()?, swarm()?);
    here.behaviour_mut().subscribe(&topic)?;
    there.behaviour_mut().subscribe(&topic)?;
    there.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
    let (tell_address, address) = oneshot::channel();
    let (arrived, mut arrivals) = mpsc::channel(16);
    let reader = tokio::spawn(read(there, tell_address, arrived));
    here.dial(address.await?)?;
    loop {
        if let SwarmEvent::Behaviour(Event::Subscribed { .. }) = here.select_next_some().await {
            break;
        }
    }
    let mut samples = Samples::default();
    for number in 0..count as u64 + 20 {
        let mut bytes = vec![7; 650];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        let started = Instant::now();
        here.behaviour_mut().publish(topic.clone(), bytes)?;
        let at = loop {
            tokio::select! {
                at = arrivals.recv() => break at.context("the other swarm ended")?,
                _ = here.select_next_some() => {}
            }
        };
        // The first ones warm everything up.
        if number >= 20 {
            samples.add(at - started);
        }
    }
    reader.abort();
    Ok(samples)
}

async fn read(
    mut swarm: Swarm<Gossip>,
    tell_address: oneshot::Sender<Multiaddr>,
    arrived: mpsc::Sender<Instant>,
) {
    let mut tell_address = Some(tell_address);
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                if let Some(tell) = tell_address.take() {
                    // Nobody asks any more where the measurement has failed.
                    let _ = tell.send(address);
                }
            }
            SwarmEvent::Behaviour(Event::Message { .. })
                if arrived.send(Instant::now()).await.is_err() =>
            {
                return;
            }
            _ => {}
        }
    }
}
