//! Where `records` and `explain` look: the running daemon, or offline at a
//! state directory or a configuration.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::config::{Config, Overrides};
use crate::daemon::ConfigOrigin;
use crate::daemon::offline::Offline;

/// Where the service's control socket is: the default of `server.control_socket`.
const SERVICE_SOCKET: &str = "/run/hubdns/control.sock";

/// How to reach the running daemon.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    /// The running daemon's control socket
    #[arg(long, value_name = "PATH", env = "HUBDNS_CONTROL_SOCKET")]
    control_socket: Option<PathBuf>,
}

impl ControlArgs {
    /// The path given; else where a daemon answers: that of this user's quick
    /// start, or the service's.
    pub(super) fn socket(&self) -> PathBuf {
        if let Some(given) = &self.control_socket {
            return given.clone();
        }
        let service = PathBuf::from(SERVICE_SOCKET);
        let quick_start = Config::quick_start().ok().and_then(|config| config.server.control_socket);
        quick_start.filter(|path| UnixStream::connect(path).is_ok()).unwrap_or(service)
    }
}

/// The running daemon, or something to look at without one.
#[derive(Debug, Args)]
pub(super) struct Inspected {
    #[command(flatten)]
    control: ControlArgs,
    /// Look at the newest saved set in this state directory instead of asking the daemon
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Read the sources of this configuration instead of asking the daemon; with
    /// --state-dir: answer the saved set by this configuration
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Inspected {
    /// The set to look at without a daemon; `None` if the daemon is to be asked.
    pub(super) fn offline(&self) -> Result<Option<Offline>, CliError> {
        if self.state_dir.is_none() && self.config.is_none() {
            return Ok(None);
        }
        let origin = ConfigOrigin { file: self.config.clone(), overrides: Overrides::default() };
        let config = origin.load()?;
        let loaded = match &self.state_dir {
            Some(directory) => Offline::saved(config, directory),
            None => Offline::read(config),
        };
        loaded.map(Some).map_err(|error| CliError::failed("cannot look offline", error))
    }

    /// The daemon's control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.control.socket()
    }
}
