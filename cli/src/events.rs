//! The node's events, one after the other.

use std::net::TcpStream;
use std::time::Duration;

use revnet_api::dto::EventFrame;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::client::Client;
use crate::failure::{Failure, Result};

/// The node probes a quiet connection every 20 seconds.
const SILENCE: Duration = Duration::from_secs(65);

pub(crate) struct Events {
    socket: WebSocket<TcpStream>,
}

impl Events {
    /// Listens to what happens from now on.
    pub(crate) fn connect(client: &Client) -> Result<Self> {
        let lost = |error: &dyn std::fmt::Display| {
            Failure::not_running(format!("the node at {}: {error}", client.api))
        };
        let stream = TcpStream::connect(&client.api).map_err(|error| lost(&error))?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut request = format!("ws://{}/api/events", client.api)
            .into_client_request()
            .map_err(|error| Failure::failed(error.to_string()))?;
        let token = HeaderValue::from_str(&client.authorization())
            .map_err(|error| Failure::failed(error.to_string()))?;
        request.headers_mut().insert("authorization", token);
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| lost(&error))?;
        Ok(Self { socket })
    }

    /// Waits for the next event. An error means that the connection is lost.
    pub(crate) fn next(&mut self) -> Result<EventFrame> {
        loop {
            let message = self
                .socket
                .read()
                .map_err(|error| Failure::not_running(format!("the node went away: {error}")))?;
            // Kinds of events that this version doesn't know are left out.
            if let Message::Text(text) = message
                && let Ok(frame) = serde_json::from_str(&text)
            {
                return Ok(frame);
            }
        }
    }
}
