//! `hubdns serve`: the daemon.

use clap::Args;

use super::CliError;
use super::options::ConfigArgs;
use crate::daemon::{self, DaemonError};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), CliError> {
        daemon::run(self.config.origin()).map_err(|error| match error {
            DaemonError::Config(error) => CliError::Config(error),
            other => CliError::failed("cannot serve", other),
        })
    }
}
