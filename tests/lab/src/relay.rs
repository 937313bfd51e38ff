//! The relay of a lab: `revnet relay`, on one port for its whole life.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::Child;

use crate::node::append_to;
use crate::{Lab, SOON, until};

/// A relay that runs in the background. It ends with its lab at the latest.
#[derive(Debug)]
pub struct Relay<'lab> {
    lab: &'lab Lab,
    port: u16,
    address: String,
    child: Option<Child>,
}

impl<'lab> Relay<'lab> {
    /// Starts a relay and waits for the address that it prints.
    ///
    /// # Panics
    /// Where it ends or prints none; with the end of its log.
    #[must_use]
    #[track_caller]
    pub fn start(lab: &'lab Lab) -> Self {
        // The port is free at this moment, and ports of this range are not given out twice in a row.
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("loopback is there")
            .port();
        let mut relay = Self {
            lab,
            port,
            address: String::new(),
            child: None,
        };
        relay.restart();
        relay
    }

    /// The line that others give to `--bootstrap`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// Where it doesn't run.
    #[track_caller]
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the relay runs");
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }

    /// Starts it again, with its key and on its port.
    ///
    /// # Panics
    /// Where it ends, prints no address, or another one than before.
    #[track_caller]
    pub fn restart(&mut self) {
        let printed = self.lab.path().join("relay.out");
        let output = File::create(&printed).expect("the lab's directory is writable");
        let mut command = self.lab.command(self.lab.binary());
        command
            .arg("--data-dir")
            .arg(self.lab.path().join("relay"))
            .arg("relay");
        command.args(["--listen", &format!("/ip4/127.0.0.1/tcp/{}", self.port)]);
        command.args([
            "--listen",
            &format!("/ip4/127.0.0.1/udp/{}/quic-v1", self.port),
        ]);
        command
            .arg("--key-file")
            .arg(self.lab.path().join("relay.key"));
        command
            .stdout(output)
            .stderr(append_to(&self.lab.log_path("relay")));
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("the relay could not be started: {error}"));
        let address = until("the relay prints its address", SOON, || {
            if let Some(status) = child.try_wait().expect("it is our child") {
                panic!(
                    "the relay ended ({status}) instead of starting:\n{}",
                    self.lab.log_tail("relay")
                );
            }
            let text = fs::read_to_string(&printed).unwrap_or_default();
            let line = text
                .split_inclusive('\n')
                .find(|line| line.contains("revnet-relay:") && line.ends_with('\n'));
            let word = line.and_then(|line| {
                line.split_whitespace()
                    .find(|word| word.starts_with("revnet-relay:"))
            });
            word.map(str::to_owned).ok_or(text)
        });
        assert!(
            self.address.is_empty() || self.address == address,
            "the relay's address changed from {} to {address} at a restart",
            self.address
        );
        self.address = address;
        self.child = Some(child);
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already ended is just as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
