//! A bare QUIC round trip on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::samples::Samples;

const SIZE: usize = 64;

/// 64 bytes there and back on one stream, again and again.
pub(crate) fn round_trip(count: usize) -> Result<Samples> {
    tokio::runtime::Runtime::new()?.block_on(measure(count))
}

async fn measure(count: usize) -> Result<Samples> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Endpoint::server(server, loopback)?;
    let address = server.local_addr()?;
    let echo = tokio::spawn(echo(server));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = Endpoint::client(loopback)?;
    client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
    let connection = client.connect(address, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut samples = Samples::default();
    let mut answer = [0; SIZE];
    for round in 0..count + 20 {
        let started = Instant::now();
        send.write_all(&[7; SIZE]).await?;
        receive.read_exact(&mut answer).await?;
        // The first ones warm everything up.
        if round >= 20 {
            samples.add(started.elapsed());
        }
    }
    connection.close(0u32.into(), b"done");
    // It ends with the connection, whatever it says then.
    let _ = echo.await;
    Ok(samples)
}

async fn echo(server: Endpoint) -> Result<()> {
    let incoming = server.accept().await.context("the endpoint was closed")?;
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut bytes = [0; SIZE];
    loop {
        receive.read_exact(&mut bytes).await?;
        send.write_all(&bytes).await?;
    }
}
