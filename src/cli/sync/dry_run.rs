//! `hubdns sync --once --dry-run`: what one cycle would change, without a
//! daemon and without writing anything.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{CliError, render, text};
use crate::config::Overrides;
use crate::daemon::ConfigOrigin;
use crate::daemon::inspect::sync::rehearsed;
use crate::sync::{Sync, Trigger};

/// The exit code for changes that wait; 2 is that of usage.
const CHANGES: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct Rehearsal {
    /// Run one cycle; with --dry-run
    ///
    /// Reads the sources of the configuration once, compares with the newest
    /// saved set and exits: 0 for no change, 3 for changes, 1 if a source
    /// could not be read.
    #[arg(long, requires = "dry_run")]
    once: bool,
    /// Print what would change and write nothing; with --once
    #[arg(long, requires = "once")]
    dry_run: bool,
    /// The configuration file; without one the quick start
    #[arg(long, short, value_name = "FILE", env = "HUBDNS_CONFIG", requires = "once")]
    config: Option<PathBuf>,
    /// The state directory, in place of the file's
    #[arg(long, value_name = "DIR", requires = "once")]
    state_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, requires = "once")]
    json: bool,
}

impl Rehearsal {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let overrides = Overrides { state_dir: self.state_dir, ..Overrides::default() };
        let config = ConfigOrigin { file: self.config, overrides }.load()?;
        let mut sync = Sync::rehearse(&config);
        let served = sync.status().get();
        let report = sync.cycle(Trigger::Routine);
        let diff = rehearsed(&served, &sync.status().get());
        let page = if self.json { text::json(&diff)? } else { render::diff(&diff) };
        text::print(&page)?;
        if let Some((source, error)) = report.failed.first() {
            let failed = std::io::Error::other(error.clone());
            return Err(CliError::failed(format!("source {source} could not be read"), failed));
        }
        Ok(if diff.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHANGES) })
    }
}
