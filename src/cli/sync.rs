//! `hubdns sync`: how the record set follows its sources, and what an operator
//! decides about it.

mod dry_run;
mod render;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::source::ControlArgs;
use super::{CliError, client, text};
use crate::admin::view::sync::{GenerationRow, SyncDiff, SyncDone, SyncStatus};
use crate::wire::Name;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(super) struct Sync {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    rehearsal: dry_run::Rehearsal,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show generation, sources with their listings, and removals that wait
    Status(Show),
    /// Show what the last reading wants against what is served
    Diff(Show),
    /// Let removals take effect, and end a rollback
    ///
    /// Without names: all that are held back; while a rollback is in force,
    /// everything that `hubdns sync diff` shows.
    Accept(Names),
    /// Keep what is to be removed, and silence the alert, until the records come back or are accepted
    Reject(Names),
    /// Publish a saved generation again, and nothing else until `hubdns sync accept`
    Rollback(Rollback),
    /// List the generations on disk
    History(Show),
    /// Read all sources now
    Now(Show),
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Names {
    /// Names, or login names of registries for all their names
    #[arg(value_name = "NAME|REGISTRY")]
    names: Vec<Name>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
struct Rollback {
    /// The generation, as `hubdns sync history` shows it
    generation: u64,
    #[command(flatten)]
    show: Show,
}

impl Sync {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let Some(command) = self.command else { return self.rehearsal.run() };
        match command {
            Command::Status(show) => {
                show.get("/v1/sync/status", |status: &SyncStatus| render::status(status))
            }
            Command::Diff(show) => show.get("/v1/sync/diff", |diff: &SyncDiff| render::diff(diff)),
            Command::History(show) => {
                show.get("/v1/sync/history", |rows: &Vec<GenerationRow>| render::history(rows))
            }
            Command::Now(show) => show.post("/v1/sync/now", |done| render::done("sources read", done)),
            Command::Accept(Names { names, show }) => {
                show.post(&with_names("/v1/sync/accept", &names), |done| render::decided("accepted", done))
            }
            Command::Reject(Names { names, show }) => {
                show.post(&with_names("/v1/sync/reject", &names), |done| render::decided("rejected", done))
            }
            Command::Rollback(Rollback { generation, show }) => {
                let path = format!("/v1/sync/rollback?generation={generation}");
                let head = format!("rolled back to generation {generation}");
                show.post(&path, move |done| render::done(&head, done))
            }
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

impl Show {
    fn get<T>(&self, path: &str, render: impl FnOnce(&T) -> String) -> Result<(), CliError>
    where
        T: Serialize + DeserializeOwned,
    {
        self.ask(Method::GET, path, render)
    }

    fn post(&self, path: &str, render: impl FnOnce(&SyncDone) -> String) -> Result<(), CliError> {
        self.ask(Method::POST, path, render)
    }

    fn ask<T>(&self, method: Method, path: &str, render: impl FnOnce(&T) -> String) -> Result<(), CliError>
    where
        T: Serialize + DeserializeOwned,
    {
        let answer: T = client::ask(&self.control.socket(), method, path)?;
        let page = if self.json { text::json(&answer)? } else { render(&answer) };
        text::print(&page)
    }
}

fn with_names(path: &str, names: &[Name]) -> String {
    let names: Vec<String> =
        names.iter().map(|name| format!("name={}", client::encode(&name.to_string()))).collect();
    if names.is_empty() { path.to_owned() } else { format!("{path}?{}", names.join("&")) }
}
