//! Why a command failed, for people and for scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

use revnet_api::ErrorBody;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Exit codes. They are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    NotPermitted = 4,
    NotRunning = 5,
}

/// The code where this program's own input or output failed, and not the node.
pub(crate) const OWN_IO: &str = "io";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The API's code, or this program's own.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What to do.
    hint: Option<&'static str>,
    /// The reader of the output went away: nothing went wrong.
    quiet: bool,
}

impl Failure {
    fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            quiet: false,
        }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, "failed", message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, "usage", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, "not_found", message)
    }

    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self::new(Kind::NotPermitted, "not_permitted", message)
    }

    pub(crate) fn not_running(message: impl Into<String>) -> Self {
        Self {
            hint: Some("start it with: revnet up"),
            ..Self::new(Kind::NotRunning, "not_running", message)
        }
    }

    /// What the node answered.
    pub(crate) fn refused(error: ErrorBody) -> Self {
        let kind = match error.code.as_str() {
            "not_found" => Kind::NotFound,
            "not_permitted" | "unauthorised" | "locked" => Kind::NotPermitted,
            "invalid" | "too_large" => Kind::Usage,
            _ => Kind::Failed,
        };
        Self::new(kind, &error.code, error.message)
    }

    /// A file that can't be used.
    pub(crate) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::PermissionDenied => Kind::NotPermitted,
            _ => Kind::Failed,
        };
        Self::new(kind, "file", format!("{}: {error}", path.display()))
    }

    /// Says where it happened.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.quiet {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(self.kind as u8)
        }
    }

    /// Tells on standard error what went wrong.
    pub(crate) fn report(&self, json: bool) {
        if self.quiet {
            return;
        }
        if json {
            let error = serde_json::json!({
                "error": { "code": self.code, "message": self.to_string() }
            });
            eprintln!("{error}");
        } else {
            eprintln!("revnet: {self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            quiet: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(Kind::Failed, OWN_IO, error.to_string())
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() {
            return io::Error::from(error).into();
        }
        Self::failed(error.to_string())
    }
}
