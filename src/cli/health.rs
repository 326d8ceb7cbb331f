//! `hubdns health`: for containers that have no shell and no curl.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use hyper::StatusCode;

use super::source::ControlArgs;
use super::{CliError, client, text};

/// Container engines give a check a few seconds.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    control: ControlArgs,
    /// Ask this admin listener instead of the control socket
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// Ask whether it is ready to answer, not just alive
    #[arg(long)]
    ready: bool,
}

impl Health {
    pub(super) fn run(self) -> Result<(), CliError> {
        let path = if self.ready { "/readyz" } else { "/livez" };
        let probed = match self.admin {
            Some(address) => client::probe_tcp(address, path, TIMEOUT),
            None => client::probe_unix(&self.control.socket(), path, TIMEOUT),
        };
        let (status, said) = probed.map_err(|error| CliError::failed("hubdns does not answer", error))?;
        if status == StatusCode::OK {
            return text::print(&said);
        }
        Err(CliError::Refused(said.trim_end().to_owned()))
    }
}
