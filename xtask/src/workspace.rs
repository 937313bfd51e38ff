//! Where the project lies, and how its tools are started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The project's directory and the environment that every child process gets.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    /// Set where this program chooses the build directory; `None` leaves the choice to cargo.
    target: Option<PathBuf>,
}

impl Workspace {
    /// Finds the project from what `cargo run` says, or from the current directory.
    pub(crate) fn find() -> Result<Self, String> {
        let here = env::current_dir()
            .map_err(|error| format!("the current directory can't be read: {error}"))?;
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = manifest
            .as_deref()
            .into_iter()
            .chain([here.as_path()])
            .flat_map(Path::ancestors)
            .find(|place| place.join("xtask/Cargo.toml").is_file())
            .ok_or(
                "the project isn't here; change into its directory and run `cargo xtask` again",
            )?;
        Ok(Self {
            root: root.to_path_buf(),
            target: cache_outside_clone(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A command that runs in the project's directory with the chosen build cache.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root);
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }

    /// The cargo that started this program, so that a `+toolchain` choice carries over.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// The directory that cargo builds into.
    pub(crate) fn target_dir(&self) -> Result<PathBuf, String> {
        let metadata =
            output_of(&mut self.cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
        let (_, rest) = metadata
            .split_once("\"target_directory\":\"")
            .ok_or("`cargo metadata` names no target directory; run it by hand to see why")?;
        let (directory, _) = rest.split_once('"').ok_or("`cargo metadata` broke off")?;
        Ok(PathBuf::from(directory.replace("\\\\", "\\")))
    }

    /// Builds the `revnet` program in release and returns its path.
    pub(crate) fn release_binary(&self) -> Result<PathBuf, String> {
        run(&mut self.cargo(&["build", "--release", "-p", "revnet"]))?;
        self.built("revnet")
    }

    /// Builds all programs in release and returns the path of one. Built one by one, each brings its own features of
    /// the shared dependencies, and these are compiled again for each.
    pub(crate) fn release_of_all(&self, name: &str) -> Result<PathBuf, String> {
        run(&mut self.cargo(&["build", "--release", "--workspace", "--bins"]))?;
        self.built(name)
    }

    fn built(&self, name: &str) -> Result<PathBuf, String> {
        let binary = self.target_dir()?.join("release").join(name);
        if binary.is_file() {
            Ok(binary)
        } else {
            Err(format!(
                "cargo built no {}; is `{name}` still the name of the program?",
                binary.display()
            ))
        }
    }
}

/// On build machines the cache survives the clone: `$HOME/.cache/revnet/target`, unless one is already chosen.
fn cache_outside_clone() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if set("CARGO_TARGET_DIR").is_some() || set("CI").is_none() {
        return None;
    }
    Some(PathBuf::from(set("HOME")?).join(".cache/revnet/target"))
}

/// Runs a command whose output goes to the terminal; an error names the command line to repeat.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let line = shown(command);
    let status = command
        .status()
        .map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}` failed ({status})"))
    }
}

/// Runs a command and returns what it printed.
pub(crate) fn output_of(command: &mut Command) -> Result<String, String> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`{line}` failed ({}): {}",
            output.status,
            said.trim()
        ));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| format!("`{line}` printed something that is not UTF-8"))
}

/// The command line as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    command.get_args().fold(name, |mut line, argument| {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
        line
    })
}
