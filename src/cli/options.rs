//! The configuration from the command line's side: a file or the embedded
//! quick start, and what overrides it.

use std::path::PathBuf;

use clap::Args;

use crate::config::Overrides;
use crate::daemon::ConfigOrigin;

/// Which configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file; without one a quick start on loopback is used
    #[arg(long, short, value_name = "FILE", env = "HUBDNS_CONFIG")]
    config: Option<PathBuf>,
    /// Addresses for DNS, in place of the file's; several with commas
    #[arg(long, value_name = "ADDRESS:PORT", env = "HUBDNS_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,
    /// Addresses for /metrics and probes, in place of the file's
    #[arg(long, value_name = "ADDRESS:PORT", env = "HUBDNS_ADMIN_LISTEN", value_delimiter = ',')]
    admin_listen: Vec<String>,
    /// Where published sets are saved
    #[arg(long, value_name = "DIR", env = "HUBDNS_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// The control socket; empty for none
    #[arg(long, value_name = "PATH", env = "HUBDNS_CONTROL_SOCKET")]
    control_socket: Option<PathBuf>,
    /// Least level that is logged: error, warn, info, debug, or a filter directive
    #[arg(long, value_name = "LEVEL", env = "HUBDNS_LOG_LEVEL")]
    log_level: Option<String>,
    /// Form of log lines: text or json
    #[arg(long, value_name = "FORMAT", env = "HUBDNS_LOG_FORMAT")]
    log_format: Option<String>,
    /// Packet workers; 0 means one per core
    #[arg(long, value_name = "COUNT", env = "HUBDNS_WORKERS")]
    workers: Option<String>,
}

impl ConfigArgs {
    /// Where the configuration is to be read from, as often as is needed.
    pub(super) fn origin(self) -> ConfigOrigin {
        let overrides = Overrides {
            listen: self.listen,
            admin_listen: self.admin_listen,
            state_dir: self.state_dir,
            control_socket: self.control_socket,
            log_format: self.log_format,
            log_level: self.log_level,
            workers: self.workers,
        };
        ConfigOrigin { file: self.config, overrides }
    }
}
