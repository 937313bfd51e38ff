//! What every command needs: the data directory, the client, and how to print.

use std::path::PathBuf;

use crate::args::Global;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::Output;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) data_dir: PathBuf,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(global: Global) -> Result<Self> {
        let data_dir = match global.data_dir {
            Some(dir) => dir,
            None => directories::ProjectDirs::from("", "", "revnet")
                .map(|dirs| dirs.data_dir().to_owned())
                .ok_or_else(|| {
                    Failure::usage("there is no home directory: say where with --data-dir DIR")
                })?,
        };
        Ok(Self {
            data_dir,
            out: Output { json: global.json },
        })
    }

    /// The running node of the data directory.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::open(&self.data_dir)
    }
}
