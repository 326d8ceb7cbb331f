//! The command line: one file per command.
//!
//! Exit codes: 0 done, 3 changes that wait (`sync --dry-run`), 2 usage (clap's), 78 invalid configuration (sysexits'
//! `EX_CONFIG`; the unit does not restart on it), 1 anything else.

mod auth;
mod cache;
mod check;
mod client;
mod completions;
mod doctor;
mod explain;
mod export;
mod findings;
mod health;
mod man;
mod options;
mod records;
mod reload;
mod serve;
mod source;
mod status;
mod sync;
pub(crate) mod text;
mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;

/// What can go wrong in a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The configuration is invalid; the error lists every problem.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon refused what was asked of it.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error("{what}")]
    Failed {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CliError {
    /// Wraps `source` with what was tried.
    pub(crate) fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Refused(_) | Self::Failed { .. } => 1,
        }
    }
}

/// DNS server for Azure Container Registry private-link names.
///
/// Answers the names of your private registries from a record set of its own
/// and forwards every other query.
#[derive(Debug, Parser)]
#[command(name = "hubdns", version = VERSION, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer DNS queries until stopped
    Serve(serve::Serve),
    /// Validate a configuration without binding anything
    Check(check::Check),
    /// Check the identity that reads Azure
    Auth(auth::Auth),
    /// List the records that are held, and where they come from
    Records(records::Records),
    /// Say what would be answered for a name, and why
    Explain(explain::Explain),
    // Described at its struct, exit codes and all.
    Doctor(doctor::Doctor),
    /// Write what is served for other software: zone files, hosts, JSON, allow-lists, forwarders
    Export(export::Export),
    /// List what is wrong with the estate, and what to do about it
    Findings(findings::Findings),
    /// Show what the running daemon serves and how it fares
    Status(status::Status),
    /// Show queries, upstreams, budgets and the busiest clients, once a second
    Top(top::Watch),
    /// Make the running daemon read its configuration and its sources again
    Reload(reload::Reload),
    /// Look at the responses of upstreams that the running daemon keeps, and forget them
    Cache(cache::Cache),
    /// Show how the records follow their sources, and decide about what is held back
    Sync(sync::Sync),
    /// Ask the running daemon whether it is alive; for container health checks
    Health(health::Health),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Write the man pages to a directory
    Man(man::Man),
}

/// What `--version` says.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HUBDNS_BUILD_COMMIT"), ")");

/// Runs the command that the arguments name; prints the error chain.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Auth(command) => command.run(),
        Command::Records(command) => command.run(),
        Command::Explain(command) => command.run(),
        // The verdict is the exit code.
        Command::Doctor(command) => return command.run(),
        Command::Export(command) => command.run(),
        Command::Findings(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Top(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Cache(command) => command.run(),
        Command::Sync(command) => match command.run() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Health(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            text::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
