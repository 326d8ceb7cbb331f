//! `hubdns man DIRECTORY`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Cli, CliError};

#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory for `hubdns.1`, `hubdns-serve.1` and the rest; made if absent
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), CliError> {
        let what = || format!("cannot write man pages to {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).map_err(|error| CliError::failed(what(), error))?;
        clap_mangen::generate_to(Cli::command(), &self.directory)
            .map_err(|error| CliError::failed(what(), error))
    }
}
