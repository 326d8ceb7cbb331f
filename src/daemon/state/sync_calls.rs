//! What operators ask of the sync: handed to its thread, waited for on a
//! thread of the control socket, never on one that carries packets.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::State;
use crate::admin::SyncOperation;
use crate::admin::view::sync::{GenerationRow, SyncDone};
use crate::sources::error::chain;
use crate::sync::watch::Command;
use crate::sync::{Operation, Outcome, Report, persist};
use crate::wire::Name;

/// What takes longer goes on by itself; the operator is told so. Shorter than
/// the time that a call may take.
const PATIENCE: Duration = Duration::from_secs(15);

impl State {
    pub(super) fn saved_generations(&self) -> Result<Vec<GenerationRow>, String> {
        let state = self.status.get();
        let found = persist::history(&state.state_dir).map_err(|error| chain(&error))?;
        let row = |saved: persist::Generation| GenerationRow {
            served: saved.generation == state.generation,
            generation: saved.generation,
            created_at: saved.created,
            origin: saved.origin,
            problem: saved.problem,
            bytes: saved.bytes,
            rrsets: saved.rrsets,
            aliases: saved.aliases,
        };
        Ok(found.into_iter().map(row).collect())
    }

    pub(super) fn operate_sync(&self, operation: SyncOperation) -> Result<SyncDone, Vec<String>> {
        let operation = match operation {
            SyncOperation::Now => return self.read_now(),
            SyncOperation::Accept(names) => Operation::Accept(parse(&names)?),
            SyncOperation::Reject(names) => Operation::Reject(parse(&names)?),
            SyncOperation::Rollback(generation) => Operation::Rollback(generation),
        };
        let (done, outcome) = channel();
        self.send(Command::Operate { operation, done })?;
        match wait(&outcome) {
            Some(outcome) => outcome.map(told).map_err(|problem| vec![problem]),
            None => Ok(self.still_running()),
        }
    }

    fn read_now(&self) -> Result<SyncDone, Vec<String>> {
        let (done, report) = channel();
        self.send(Command::ReadNow { done: Some(done) })?;
        let told = |report| told(Outcome { removals: 0, report });
        Ok(wait(&report).map_or_else(|| self.still_running(), told))
    }

    fn send(&self, command: Command) -> Result<(), Vec<String>> {
        let sent = self.sync.get().is_some_and(|commands| commands.send(command).is_ok());
        if sent { Ok(()) } else { Err(vec!["the sync does not run".to_owned()]) }
    }

    fn still_running(&self) -> SyncDone {
        let state = self.status.get();
        SyncDone {
            generation: state.generation,
            held_back: state.waits.held(),
            pending: state.waits.pending(),
            notes: vec!["sources are still being read".to_owned()],
            ..SyncDone::default()
        }
    }
}

fn wait<T>(outcome: &Receiver<T>) -> Option<T> {
    outcome.recv_timeout(PATIENCE).ok()
}

fn told(outcome: Outcome) -> SyncDone {
    let Report { changed, generation, failed, held_back, pending } = outcome.report;
    let notes = failed.into_iter().map(|(source, error)| format!("source {source}: {error}")).collect();
    SyncDone { generation, changed, removals: outcome.removals, held_back, pending, notes }
}

/// The names as typed.
fn parse(names: &[String]) -> Result<Vec<Name>, Vec<String>> {
    let name =
        |text: &String| text.parse::<Name>().map_err(|error| vec![format!("{text:?} is no name: {error}")]);
    names.iter().map(name).collect()
}
