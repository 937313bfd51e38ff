//! `cargo xtask run --demo`: a relay and two nodes on this machine that meet, talk and go on running.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long one step may take before the demonstration gives up.
const PATIENCE: Duration = Duration::from_secs(60);

const LISTEN: [&str; 4] = [
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
    "--listen",
    "/ip4/127.0.0.1/udp/0/quic-v1",
];

/// Ends every process of its group and removes the directory as soon as its input closes, which happens however this
/// process ends: at Ctrl-C, by a kill, or after an error. It leads the group and so ignores the signals that it sends.
const GUARDIAN: &str = "trap '' TERM INT HUP
read -r _ || :
kill -TERM -$$
sleep 2
rm -rf -- \"$1\"
kill -KILL -$$";

/// Runs until Ctrl-C.
///
/// # Errors
/// Says which step failed, and shows the end of the log of the process concerned.
pub(crate) fn run(binary: &Path) -> Result<(), String> {
    let stage = Theatre::open(binary)?;
    let (mut relay, address) = stage.relay()?;
    println!("relay    {address}");
    let mut ada = stage.node("ada", &address)?;
    let mut ben = stage.node("ben", &address)?;

    let revolt = stage.cli("ada", &["revolt", "new", "Demo"])?;
    let channel = format!("{}/general", text_field(&revolt, "id")?);
    let invite = stage.cli("ada", &["invite", "new", text_field(&revolt, "id")?])?;
    stage.cli("ben", &["join", text_field(&invite, "link")?])?;
    println!("revolt   Demo, made by ada; ben joined by an invite");

    for (name, words) in [
        (
            "ada",
            "Hello! This goes from my node to yours; there is no server between.",
        ),
        ("ben", "I read you. Who keeps our messages?"),
        ("ada", "You and I do."),
    ] {
        let sent = stage.cli(name, &["send", &channel, words])?;
        for reader in ["ada", "ben"] {
            stage.wait_for(reader, &channel, text_field(&sent, "id")?)?;
        }
    }
    for name in ["ada", "ben"] {
        println!(
            "\n{name} sees:\n{}",
            stage.plain(name, &["log", &channel])?.trim_end()
        );
    }
    println!();
    for name in ["ada", "ben"] {
        println!(
            "{name:<8} http://{}   {} --data-dir {}",
            stage.api(name)?,
            binary.display(),
            stage.data_dir(name).display()
        );
    }
    println!("\nBoth run until Ctrl-C; then their data is removed.");
    stage.watch([
        ("the relay", &mut relay),
        ("ada", &mut ada),
        ("ben", &mut ben),
    ])
}

/// The directory and the process group of one demonstration.
struct Theatre {
    binary: PathBuf,
    directory: PathBuf,
    guardian: Child,
}

impl Theatre {
    fn open(binary: &Path) -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("revnet-demo-{}", std::process::id()));
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{} can't be made: {error}", directory.display()))?;
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("`sh` could not be started: {error}"))?;
        Ok(Self {
            binary: binary.to_path_buf(),
            directory,
            guardian,
        })
    }

    fn data_dir(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn revnet(&self) -> Result<Command, String> {
        let group =
            i32::try_from(self.guardian.id()).map_err(|_| "the process id is out of range")?;
        let mut command = Command::new(&self.binary);
        command.process_group(group).stdin(Stdio::null());
        // Settings of the person at the keyboard must not reach the demonstration.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("REVNET_") {
                command.env_remove(variable);
            }
        }
        Ok(command)
    }

    /// Starts a background process whose messages go to `NAME.log`.
    fn spawn(&self, name: &str, command: &mut Command) -> Result<Child, String> {
        let log = File::create(self.log(name))
            .map_err(|error| format!("a log file can't be made: {error}"))?;
        command
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{name} could not be started: {error}"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// An error with the last lines of a process's log.
    fn trouble(&self, name: &str, what: &str) -> String {
        let log = fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{what}; the last messages of {name}:\n{tail}")
    }

    fn relay(&self) -> Result<(Child, String), String> {
        let mut command = self.revnet()?;
        command
            .arg("relay")
            .args(LISTEN)
            .arg("--key-file")
            .arg(self.directory.join("relay.key"));
        let mut child = self.spawn("relay", command.stdout(Stdio::piped()))?;
        let output = child.stdout.take().ok_or("the relay has no output")?;
        let (sender, receiver) = mpsc::sync_channel(1);
        // Reads to the end, so that the relay never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(at) = line.find("revnet-relay:") {
                    let address = line[at..]
                        .split_whitespace()
                        .next()
                        .unwrap_or_default()
                        .to_owned();
                    // Only the first is waited for.
                    let _ = sender.try_send(address);
                }
            }
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(address) => Ok((child, address)),
            Err(_) => Err(self.trouble("relay", "the relay printed no address")),
        }
    }

    fn node(&self, name: &str, relay: &str) -> Result<Child, String> {
        self.cli(name, &["id", "new", "--name", name])?;
        let mut command = self.revnet()?;
        command
            .arg("--data-dir")
            .arg(self.data_dir(name))
            .args(["up", "--api", "127.0.0.1:0"])
            .args(LISTEN);
        command.args(["--no-mdns", "--no-open", "--bootstrap", relay]);
        let mut child = self.spawn(name, command.stdout(Stdio::null()))?;
        let started = Instant::now();
        while self.cli(name, &["status"]).is_err() {
            let ended = child
                .try_wait()
                .map_err(|error| format!("{name} can't be watched: {error}"))?;
            if let Some(status) = ended {
                return Err(self.trouble(name, &format!("{name} ended ({status})")));
            }
            if started.elapsed() > PATIENCE {
                return Err(self.trouble(name, &format!("{name} is not ready")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        println!("node     {name}");
        Ok(child)
    }

    fn plain(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.revnet()?;
        command
            .arg("--data-dir")
            .arg(self.data_dir(name))
            .args(arguments);
        crate::workspace::output_of(&mut command)
    }

    fn cli(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        self.plain(name, &[arguments, &["--json"]].concat())
    }

    fn wait_for(&self, name: &str, channel: &str, message: &str) -> Result<(), String> {
        let started = Instant::now();
        while !self
            .cli(name, &["log", channel, "--limit", "50"])
            .is_ok_and(|log| log.contains(message))
        {
            if started.elapsed() > PATIENCE {
                return Err(self.trouble(name, &format!("a message did not reach {name}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn api(&self, name: &str) -> Result<String, String> {
        let path = self.data_dir(name).join("node.json");
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        Ok(text_field(&text, "api")?.to_owned())
    }

    /// Waits until one of the processes ends, which none of them should.
    fn watch<const COUNT: usize>(
        &self,
        mut processes: [(&str, &mut Child); COUNT],
    ) -> Result<(), String> {
        loop {
            for (name, process) in &mut processes {
                if let Ok(Some(status)) = process.try_wait() {
                    let log = name.trim_start_matches("the ");
                    return Err(self.trouble(log, &format!("{name} ended ({status})")));
                }
            }
            thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Theatre {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        // It ends itself at last.
        let _ = self.guardian.wait();
    }
}

/// The value of a field of text in a JSON object; the ids, links and addresses read here hold no escapes.
fn text_field<'json>(json: &'json str, name: &str) -> Result<&'json str, String> {
    let missing = || format!("`{name}` is missing in the answer: {}", json.trim());
    let (_, rest) = json
        .split_once(&format!("\"{name}\""))
        .ok_or_else(missing)?;
    let value = rest
        .trim_start()
        .strip_prefix(':')
        .ok_or_else(missing)?
        .trim_start();
    let (text, _) = value
        .strip_prefix('"')
        .and_then(|value| value.split_once('"'))
        .ok_or_else(missing)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_and_without_spaces() {
        assert_eq!(
            text_field(r#"{"id":"a1","name":"Demo"}"#, "name"),
            Ok("Demo")
        );
        assert_eq!(text_field("{ \"id\" : \"a1\" }", "id"), Ok("a1"));
        assert!(text_field(r#"{"id":7}"#, "id").is_err());
        assert!(text_field("{}", "id").is_err());
    }

    #[test]
    fn the_guardian_ends_its_group_and_removes_the_directory() {
        let stage = Theatre::open(Path::new("sleep")).expect("a shell is here");
        let mut child = stage
            .revnet()
            .expect("a small id")
            .arg("60")
            .spawn()
            .expect("sleep is here");
        let directory = stage.directory.clone();
        assert!(directory.is_dir());
        drop(stage);
        assert!(!child.wait().expect("it is our child").success());
        assert!(!directory.exists());
    }
}
