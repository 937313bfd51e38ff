//! A running node's local API, as bots and the page use it.

use std::fs;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use revnet_lab::Client;
use serde::Deserialize;
use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, client};

/// What `node.json` says.
#[derive(Debug, Deserialize)]
struct Running {
    pid: u32,
    api: String,
    token: String,
}

/// A connection that stays open, as the node's owner.
#[derive(Debug)]
pub(crate) struct Door {
    agent: ureq::Agent,
    running: Running,
}

impl Door {
    /// To the node of a lab.
    pub(crate) fn of(node: Client<'_>) -> Result<Self> {
        let path = node.data_dir().join("node.json");
        let running = serde_json::from_slice(&fs::read(path).context("the node runs")?)?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        Ok(Self { agent, running })
    }

    /// The node's process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Asks.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let answer = self
            .agent
            .get(self.url(path))
            .header("Authorization", self.bearer())
            .call()?;
        Ok(answer.into_body().read_json()?)
    }

    /// Says.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self
            .agent
            .post(self.url(path))
            .header("Authorization", self.bearer())
            .send_json(body)?;
        Ok(answer.into_body().read_json()?)
    }

    /// The words of each message as its event arrives, with the moment. Ends with the node.
    pub(crate) fn messages(&self) -> Result<Receiver<(String, Instant)>> {
        let url = format!("ws://{}/api/events", self.running.api);
        let mut request = url.into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Authorization", self.bearer().parse()?);
        let stream = TcpStream::connect(&self.running.api)?;
        stream.set_nodelay(true)?;
        let (mut socket, _) =
            client(request, stream).map_err(|error| anyhow::anyhow!("the WebSocket: {error}"))?;
        let (found, messages) = channel();
        thread::spawn(move || {
            while let Ok(message) = socket.read() {
                let at = Instant::now();
                let Message::Text(text) = message else {
                    continue;
                };
                let words = serde_json::from_str::<Value>(&text)
                    .ok()
                    .filter(|event| event["type"] == "message")
                    .and_then(|event| Some(event["message"]["text"].as_str()?.to_owned()));
                if words.is_some_and(|words| found.send((words, at)).is_err()) {
                    break;
                }
            }
        });
        Ok(messages)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/{path}", self.running.api)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.running.token)
    }
}
