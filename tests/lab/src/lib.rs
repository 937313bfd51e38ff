//! Starts the real `revnet` program, several times over, and looks at it as its users do: through the command line.
//!
//! Everything runs on loopback with random ports, mDNS off, in a temporary directory and in one process group that
//! ends with the test, also when the test is killed. One lab is open at a time on a machine. The harness panics with
//! the last words of the program concerned; it never asserts how long something took, and never builds anything.
//!
//! | variable | meaning |
//! |---|---|
//! | `REVNET_BIN` | the program to test; else the one beside the test itself in cargo's target directory |
//! | `REVNET_CHAT_LOG` | another chat log than `../shared/data/ubuntu-irc.jsonl.gz` |
//! | `REVNET_LAB_KEEP` | keep the temporary directory |

mod chat;
mod lab;
mod node;
mod program;
mod readme;
mod relay;
mod wait;

pub use chat::{ChatLog, Entry, LogLine, assert_same_log, imported_part, parse_log};
pub use lab::Lab;
pub use node::{Client, Node};
pub use program::Said;
pub use readme::{run_blocks, shell_blocks};
pub use relay::Relay;
pub use wait::{LONG, SOON, until};

/// Exit codes of the `revnet` program.
pub mod exit {
    /// It failed.
    pub const FAILED: i32 = 1;
    /// The command line is wrong.
    pub const USAGE: i32 = 2;
    /// What was named does not exist.
    pub const NOT_FOUND: i32 = 3;
    /// Not permitted.
    pub const NOT_PERMITTED: i32 = 4;
    /// The node isn't running.
    pub const NO_NODE: i32 = 5;
}
