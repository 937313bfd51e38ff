//! One test's directory, process group and turn.

use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::program;

/// Waits until its input closes, which happens however the test ends, and then ends its whole group, itself included.
const GUARDIAN: &str = "trap '' TERM INT HUP; read -r _ || :; kill -KILL -$$";

/// How much of each log a failed test shows.
const LINES_SHOWN: usize = 25;

/// The place of one test. When it is dropped, every process in it ends and its directory is removed.
#[derive(Debug)]
pub struct Lab {
    directory: TempDir,
    guardian: Child,
    binary: PathBuf,
    /// Locked as long as this lab is open.
    _turn: File,
}

impl Lab {
    /// Opens a lab as soon as no other one is open on this machine.
    ///
    /// # Panics
    /// Where there is no `revnet` program yet; the message has the command that builds it.
    #[must_use]
    #[track_caller]
    pub fn open() -> Self {
        let binary = program::find().unwrap_or_else(|problem| panic!("{problem}"));
        let turn = File::create(env::temp_dir().join("revnet-lab.lock"))
            .expect("the directory for temporary files");
        turn.lock()
            .expect("locks work on the directory for temporary files");
        let mut directory =
            TempDir::with_prefix("revnet-lab-").expect("the directory for temporary files");
        directory.disable_cleanup(env::var_os("REVNET_LAB_KEEP").is_some());
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell is part of every system that this runs on");
        fs::create_dir(directory.path().join("home")).expect("the lab's directory is writable");
        Self {
            directory,
            guardian,
            binary,
            _turn: turn,
        }
    }

    /// The lab's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The program under test.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command in the lab's process group and with its environment: nothing of the person who runs the tests but
    /// the search path, and a home that is empty.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path().join("home"))
            .env("LANG", "C.UTF-8")
            .env("RUST_BACKTRACE", "1")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .process_group(self.group());
        if let Some(level) = env::var_os("RUST_LOG") {
            command.env("RUST_LOG", level);
        }
        command
    }

    /// The file that takes the messages of a background process.
    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// The end of a background process's messages.
    #[must_use]
    pub fn log_tail(&self, name: &str) -> String {
        let bytes = fs::read(self.log_path(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    fn group(&self) -> i32 {
        i32::try_from(self.guardian.id()).expect("a process id fits into an i32")
    }

    fn show_logs(&self) {
        let Ok(entries) = fs::read_dir(self.path()) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if path.extension().is_some_and(|extension| extension == "log") {
                eprintln!("--- the last messages of {name}:\n{}", self.log_tail(&name));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        drop(self.guardian.stdin.take());
        // It ends by its own hand; there is nothing to learn from its exit code.
        let _ = self.guardian.wait();
        if env::var_os("REVNET_LAB_KEEP").is_some() {
            eprintln!("kept: {}", self.path().display());
        }
    }
}
