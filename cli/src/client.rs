//! The running node, as this program asks it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use revnet_api::ErrorBody;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::{Method, Request, StatusCode};
use ureq::{Agent, Body};

use crate::failure::{Failure, Result};

/// Longest answer in bytes: a page of 1000 messages or one document.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
/// The longest question is a join, which the node gives up after a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// What the node writes into its data directory for its command line.
#[derive(Debug, Deserialize)]
struct NodeFile {
    pid: u32,
    api: String,
    token: String,
}

pub(crate) struct Client {
    agent: Agent,
    /// Address and port.
    pub(crate) api: String,
    /// The node's process.
    pub(crate) pid: u32,
    token: String,
}

impl Client {
    /// Finds the node of a data directory. Doesn't talk to it yet.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let file = data_dir.join("node.json");
        let bytes = fs::read(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::not_running(format!(
                "no node is running with the data directory {}",
                data_dir.display()
            )),
            _ => Failure::file(&file, &error),
        })?;
        let node: NodeFile = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(Duration::from_secs(5)))
            // The token is for this machine only, whatever the environment says about proxies.
            .proxy(None)
            .max_redirects(0)
            .build()
            .into();
        Ok(Self {
            agent,
            api: node.api,
            pid: node.pid,
            token: node.token,
        })
    }

    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        answer(self.ask(Method::GET, path, None)?)
    }

    /// An answer that isn't JSON.
    pub(crate) fn get_bytes(&self, path: &str) -> Result<Vec<u8>> {
        self.ask(Method::GET, path, None)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        answer(self.ask(Method::POST, path, Some(json(body)?))?)
    }

    pub(crate) fn post_bytes(&self, path: &str, body: &impl Serialize) -> Result<Vec<u8>> {
        self.ask(Method::POST, path, Some(json(body)?))
    }

    pub(crate) fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        answer(self.ask(Method::PATCH, path, Some(json(body)?))?)
    }

    /// A change that is answered with nothing.
    pub(crate) fn set(&self, path: &str, body: &impl Serialize) -> Result<()> {
        self.ask(Method::PATCH, path, Some(json(body)?)).map(drop)
    }

    pub(crate) fn put(&self, path: &str) -> Result<()> {
        self.ask(Method::PUT, path, Some(Vec::new())).map(drop)
    }

    pub(crate) fn put_json(&self, path: &str, body: &impl Serialize) -> Result<()> {
        self.ask(Method::PUT, path, Some(json(body)?)).map(drop)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        self.ask(Method::DELETE, path, None).map(drop)
    }

    fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.api))
            .header("authorization", self.authorization());
        let built = |error: ureq::http::Error| Failure::failed(error.to_string());
        let response = match body {
            Some(body) => {
                let request = request
                    .header("content-type", "application/json")
                    .body(body)
                    .map_err(built)?;
                self.agent.run(request)
            }
            None => self.agent.run(request.body(()).map_err(built)?),
        };
        let response = response.map_err(|error| self.unreached(error))?;
        self.read(response)
    }

    fn read(&self, mut response: ureq::http::Response<Body>) -> Result<Vec<u8>> {
        let status = response.status();
        let bytes = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()
            .map_err(|error| self.unreached(error))?;
        if status.is_success() {
            return Ok(bytes);
        }
        let error = serde_json::from_slice::<ErrorBody>(&bytes);
        match error {
            Ok(error) if status != StatusCode::UNAUTHORIZED => Err(Failure::refused(error)),
            // Another program has taken the port since the node ended without saying goodbye.
            _ => Err(Failure::not_running(format!(
                "the program at {} isn't the node of this data directory",
                self.api
            ))),
        }
    }

    fn unreached(&self, error: ureq::Error) -> Failure {
        match error {
            ureq::Error::ConnectionFailed => self.gone(),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.gone()
            }
            ureq::Error::Timeout(_) => {
                Failure::failed(format!("the node at {} doesn't answer", self.api))
            }
            error => Failure::failed(format!("the node at {}: {error}", self.api)),
        }
    }

    fn gone(&self) -> Failure {
        Failure::not_running(format!("the node at {} is not running", self.api))
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(body)?)
}

fn answer<T: DeserializeOwned>(bytes: Vec<u8>) -> Result<T> {
    let read = serde_json::from_slice(&bytes);
    drop(bytes);
    read.map_err(|error| {
        Failure::failed(format!(
            "the node's answer isn't understood ({error}): is it of another version?"
        ))
    })
}

/// Text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // A browser and a proxy would take these two for steps.
    match out.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_hold_no_separators() {
        assert_eq!(segment("👍"), "%F0%9F%91%8D");
        assert_eq!(segment("a/b?c#d%"), "a%2Fb%3Fc%23d%25");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
