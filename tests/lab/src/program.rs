//! The `revnet` program: where it is, and what it says when it is run to its end.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Looks for the program to test.
pub(crate) fn find() -> Result<PathBuf, String> {
    if let Some(chosen) = env::var_os("REVNET_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(chosen);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("REVNET_BIN names {}: no file", path.display()))
        };
    }
    let here = env::current_exe()
        .map_err(|error| format!("the test doesn't know where it lies: {error}"))?;
    // The test lies in TARGET/PROFILE/deps.
    let profile = here.parent().and_then(Path::parent);
    let target = profile.and_then(Path::parent);
    let places = [
        profile.map(|place| place.join("revnet")),
        target.map(|place| place.join("release/revnet")),
    ];
    places.into_iter().flatten().find(|place| place.is_file()).ok_or_else(|| {
        "there is no `revnet` program to test yet; build it first: cargo build --package revnet\n\
         (or name one in REVNET_BIN, or run everything in order: cargo xtask ci --only=lab)"
            .to_owned()
    })
}

/// What a program said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    line: String,
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// Where it can't be started or is not done after `patience`; it is ended then.
    #[must_use]
    #[track_caller]
    pub fn by(command: &mut Command, patience: Duration) -> Self {
        let line = shown(command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("`{line}` could not be started: {error}"));
        let stdout = reader(child.stdout.take());
        let stderr = reader(child.stderr.take());
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            match child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if started.elapsed() > patience => {
                    // Already ended is just as well.
                    let _ = child.kill();
                    let _ = child.wait();
                    let (said, complained) = (text(stdout), text(stderr));
                    panic!(
                        "`{line}` was not done after {} s\n{said}\n{complained}",
                        patience.as_secs()
                    );
                }
                None => thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        };
        Self {
            line,
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Requires that it succeeded.
    ///
    /// # Panics
    /// With everything that it said, where it failed.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.code == Some(0), "{self}");
        self
    }

    /// The JSON value that it printed.
    ///
    /// # Panics
    /// Where it failed, or printed something else.
    #[must_use]
    #[track_caller]
    pub fn json(self) -> Value {
        let said = self.ok();
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {said}"))
    }

    /// Requires an exit code, an error message without a panic that holds all `words` (in any case), and nothing on
    /// standard output that a script could take for a result.
    ///
    /// # Panics
    /// With everything that it said, where one of these is not so.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert!(self.code == Some(code), "exit code {code} expected: {self}");
        assert!(
            !self.stderr.contains("panicked at"),
            "an error must not be a panic: {self}"
        );
        assert!(
            self.stdout.trim().is_empty(),
            "an error must not print a result: {self}"
        );
        let complaint = self.stderr.to_lowercase();
        for word in words {
            assert!(
                complaint.contains(&word.to_lowercase()),
                "the message should say `{word}`: {self}"
            );
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        writeln!(formatter, "`{}` ended with {code}", self.line)?;
        write!(
            formatter,
            "stdout: {}\nstderr: {}",
            beginning(&self.stdout),
            beginning(&self.stderr)
        )
    }
}

/// Enough of a text to see what it is about.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 4000;
    let mut shown: String = text.trim_end().chars().take(SHOWN).collect();
    if shown.len() < text.trim_end().len() {
        shown.push_str(" …");
    }
    shown
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("the pipe was asked for");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("reading does not panic")).into_owned()
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Said {
        Said::by(
            Command::new("sh").args(["-c", script]),
            Duration::from_secs(20),
        )
    }

    #[test]
    fn output_and_exit_code_are_kept_apart() {
        let said = shell("echo '{\"id\":7}'; echo hm >&2");
        assert_eq!(said.stderr, "hm\n");
        assert_eq!(said.json()["id"], 7);
        shell("echo 'error: The Port is taken' >&2; exit 3").fails(3, &["port", "taken"]);
    }

    #[test]
    fn more_than_a_pipe_holds_is_read() {
        assert_eq!(
            shell("head -c 300000 /dev/zero | tr '\\0' x").stdout.len(),
            300_000
        );
    }

    #[test]
    #[should_panic(expected = "must not be a panic")]
    fn a_panic_is_no_error_message() {
        shell("echo 'thread main panicked at src/main.rs' >&2; exit 1").fails(1, &[]);
    }

    #[test]
    #[should_panic(expected = "was not done after 0 s")]
    fn a_program_that_hangs_is_ended() {
        let _ = Said::by(Command::new("sleep").arg("30"), Duration::ZERO);
    }
}
