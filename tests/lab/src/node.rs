//! One node: the program in a data directory of its own, started, killed and asked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::Value;

use crate::program::Said;
use crate::{LONG, Lab, LogLine, Relay, SOON, parse_log, until};

/// Random ports on loopback.
pub(crate) const LISTEN: [&str; 4] = [
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
    "--listen",
    "/ip4/127.0.0.1/udp/0/quic-v1",
];

/// The command line of one data directory; it works from any thread, whether the node runs or not.
#[derive(Clone, Copy, Debug)]
pub struct Client<'lab> {
    lab: &'lab Lab,
    name: &'lab str,
}

impl<'lab> Client<'lab> {
    /// The command line of the node called `name`, which need not exist yet.
    #[must_use]
    pub fn new(lab: &'lab Lab, name: &'lab str) -> Self {
        Self { lab, name }
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.lab.path().join(self.name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(self.lab.binary());
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(arguments);
        command
    }

    /// Runs a command and returns what it said, whatever that is.
    #[must_use]
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Said {
        Said::by(&mut self.command(arguments), LONG)
    }

    /// Runs a command with `--json` and returns its answer.
    ///
    /// # Panics
    /// Where it fails.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.cli(&[arguments, &["--json"]].concat()).json()
    }

    /// Runs a command with `--json` and returns one field of text of its answer.
    ///
    /// # Panics
    /// Where it fails, or the field is missing.
    #[track_caller]
    pub fn field(&self, arguments: &[&str], name: &str) -> String {
        let answer = self.json(arguments);
        let text = answer[name].as_str();
        text.unwrap_or_else(|| panic!("no text `{name}` in the answer to {arguments:?}: {answer}"))
            .to_owned()
    }

    /// The whole log of a channel as the program prints it, one JSON object a line, oldest first.
    #[must_use]
    #[track_caller]
    pub fn log_text(&self, channel: &str) -> String {
        self.cli(&["log", channel, "--all", "--json"]).ok().stdout
    }

    /// The whole log of a channel.
    #[must_use]
    #[track_caller]
    pub fn log(&self, channel: &str) -> Vec<LogLine> {
        parse_log(&self.log_text(channel))
    }

    /// The last messages of a channel as the program prints them, or why it can't.
    pub fn try_newest(&self, channel: &str, count: usize) -> Result<String, String> {
        let said = self.cli(&["log", channel, "--limit", &count.to_string(), "--json"]);
        if said.code == Some(0) {
            Ok(said.stdout)
        } else {
            Err(said.to_string())
        }
    }

    /// Starts a second `up` that must end by itself, and returns what it said.
    #[must_use]
    #[track_caller]
    pub fn up_to_its_end(&self, api: &str) -> Said {
        let mut arguments = vec!["up", "--api", api, "--no-mdns", "--no-open"];
        arguments.extend(LISTEN);
        Said::by(&mut self.command(&arguments), SOON)
    }
}

/// A node that runs in the background. It ends with its lab at the latest.
#[derive(Debug)]
pub struct Node<'lab> {
    client: Client<'lab>,
    bootstrap: Option<String>,
    child: Option<Child>,
}

impl<'lab> Node<'lab> {
    /// Starts a node that finds others through `relay`, and waits until it answers.
    ///
    /// # Panics
    /// Where it ends or does not answer; with the end of its log.
    #[must_use]
    #[track_caller]
    pub fn start(lab: &'lab Lab, name: &'lab str, relay: Option<&Relay<'_>>) -> Self {
        let bootstrap = relay.map(|relay| relay.address().to_owned());
        let mut node = Self {
            client: Client::new(lab, name),
            bootstrap,
            child: None,
        };
        node.restart();
        node
    }

    /// Makes an identity of the node's own name, and starts the node.
    #[must_use]
    #[track_caller]
    pub fn start_new(lab: &'lab Lab, name: &'lab str, relay: Option<&Relay<'_>>) -> Self {
        Client::new(lab, name).json(&["id", "new", "--name", name]);
        Self::start(lab, name, relay)
    }

    /// Starts it again, after [`Node::stop`] or [`Node::kill9`], on new ports, and waits until it answers.
    ///
    /// # Panics
    /// Where it runs already, ends, or does not answer; with the end of its log.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.client.name);
        let Client { lab, name } = self.client;
        let log = append_to(&lab.log_path(name));
        let mut arguments = vec!["up", "--api", "127.0.0.1:0", "--no-mdns", "--no-open"];
        arguments.extend(LISTEN);
        if let Some(address) = &self.bootstrap {
            arguments.extend(["--bootstrap", address]);
        }
        let mut command = self.client.command(&arguments);
        command
            .stdout(log.try_clone().expect("a file handle is left"))
            .stderr(log);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} could not be started: {error}"));
        until(&format!("{name} answers"), SOON, || {
            if let Some(status) = child.try_wait().expect("it is our child") {
                panic!(
                    "{name} ended ({status}) instead of starting:\n{}",
                    lab.log_tail(name)
                );
            }
            let said = self.client.cli(&["status", "--json"]);
            if said.code == Some(0) {
                Ok(())
            } else {
                Err(said.to_string())
            }
        });
        self.child = Some(child);
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// Where it doesn't run: then the test shows nothing.
    #[track_caller]
    pub fn kill9(&mut self) {
        let mut child = self.running();
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }

    /// Waits for it to be gone, which was asked to end in another way.
    ///
    /// # Panics
    /// Where it doesn't end, or ends with an error.
    #[track_caller]
    pub fn ended(&mut self) {
        let mut child = self.child.take().expect("it was started");
        let status = child.wait().expect("it is our child");
        assert!(status.success(), "{status}");
    }

    /// Asks it to end, as Ctrl-C and a service manager do.
    ///
    /// # Panics
    /// Where it doesn't end, or ends with an error.
    #[track_caller]
    pub fn stop(&mut self) {
        let name = self.client.name;
        let mut child = self.running();
        let id = child.id().to_string();
        let _ = Said::by(Command::new("kill").args(["-TERM", &id]), SOON).ok();
        let status = until(&format!("{name} ends"), SOON, || {
            child
                .try_wait()
                .expect("it is our child")
                .ok_or_else(|| self.client.lab.log_tail(name))
        });
        assert!(
            status.success(),
            "{name} ended with {status}:\n{}",
            self.client.lab.log_tail(name)
        );
    }

    /// Lets no file of the running node grow beyond so many bytes, or ends that: for its writes the disk is full.
    ///
    /// # Panics
    /// Where it doesn't run, or the limit can't be set.
    #[track_caller]
    pub fn limit_files(&self, bytes: Option<u64>) {
        let child = self.child.as_ref().expect("it runs");
        let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let mut prlimit = Command::new("prlimit");
        prlimit.arg(format!("--pid={}", child.id()));
        let _ = Said::by(prlimit.arg(format!("--fsize={soft}:")), SOON).ok();
    }

    /// Its command line.
    #[must_use]
    pub fn client(&self) -> Client<'lab> {
        self.client
    }

    #[track_caller]
    fn running(&mut self) -> Child {
        let mut child = self
            .child
            .take()
            .unwrap_or_else(|| panic!("{} doesn't run", self.client.name));
        let ended = child.try_wait().expect("it is our child");
        let Client { lab, name } = self.client;
        assert!(
            ended.is_none(),
            "{name} had ended by itself ({ended:?}):\n{}",
            lab.log_tail(name)
        );
        child
    }
}

impl<'lab> std::ops::Deref for Node<'lab> {
    type Target = Client<'lab>;

    fn deref(&self) -> &Client<'lab> {
        &self.client
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already ended is just as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn append_to(path: &Path) -> File {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("the lab's directory is writable")
}
