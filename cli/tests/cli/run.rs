//! Runs the program as people do.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fake::Server;

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The program with a data directory, and with nothing of this machine's environment that matters.
pub(crate) fn program(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revnet"));
    command
        .env("REVNET_DATA_DIR", data_dir)
        .env("COLUMNS", "100")
        // A proxy would get the token.
        .env("http_proxy", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env_remove("REVNET_PASSPHRASE");
    command
}

pub(crate) fn run_in(data_dir: &Path, args: &[impl AsRef<OsStr>], input: &str) -> Outcome {
    let mut child = program(data_dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that needs no input may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

pub(crate) fn run(server: &Server, args: &[impl AsRef<OsStr>]) -> Outcome {
    run_in(server.folder.path(), args, "")
}

/// Runs what must succeed, with `--json`.
pub(crate) fn json(server: &Server, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let outcome = run(server, &all);
    assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
    outcome.json()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is text"))
}

/// A running fake node that the program finds.
pub(crate) fn server() -> Server {
    let server = Server::start();
    server.write_node_file();
    server
}

/// One with the revolt `Gardeners`.
pub(crate) fn gardeners() -> Server {
    let server = server();
    json(&server, &["revolt", "new", "Gardeners"]);
    server
}
