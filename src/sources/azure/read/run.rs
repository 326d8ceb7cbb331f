//! When passes run in the background, and when others are told.

use std::time::Duration;

use futures::stream::StreamExt as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::Reader;
use super::slot::jittered;
use crate::sources::Changed;

/// News wait this long for more, so that a burst is told once.
const QUIET: Duration = Duration::from_millis(200);

impl Reader {
    /// Reads pass by pass until `commands` is closed; each command asks for a
    /// pass that reads everything. `changed` is called when there is news.
    /// A command is called when that pass has ended.
    pub async fn run(&mut self, commands: &mut UnboundedReceiver<Changed>, changed: &Changed) {
        let interval = self.settings.source.interval;
        let mut next_pass = Instant::now();
        let mut tell_at: Option<Instant> = None;
        let mut everything = false;
        let mut asked: Vec<Changed> = Vec::new();
        // What was under way when somebody asked is read again for them.
        let mut stale: Vec<String> = Vec::new();
        loop {
            let now = Instant::now();
            if everything || next_pass <= now {
                next_pass = now + jittered(interval);
                if everything {
                    stale.extend(self.in_flight());
                }
                self.begin_pass(everything);
                everything = false;
            }
            if self.ended && !asked.is_empty() {
                if stale.is_empty() {
                    asked.drain(..).for_each(|done| done());
                } else {
                    self.again(stale.drain(..));
                }
            }
            self.retry(now);
            if tell_at.is_some_and(|at| at <= now) {
                tell_at = None;
                self.news = false;
                changed();
            }
            if self.news && tell_at.is_none() {
                tell_at = Some(now + QUIET);
            }
            let wake = self.retry_times().map(|(_, at)| at).chain(tell_at).fold(next_pass, Instant::min);
            tokio::select! {
                biased;
                command = commands.recv() => {
                    let Some(done) = command else { return };
                    asked.push(done);
                    asked.extend(std::iter::from_fn(|| commands.try_recv().ok()));
                    everything = true;
                }
                Some(done) = self.running.next() => self.accept(done),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// The listings that are being read.
    fn in_flight(&self) -> Vec<String> {
        let reading = self.slots.iter().filter(|(_, slot)| slot.in_flight);
        reading.map(|(scope, _)| scope.clone()).collect()
    }

    /// Reads `scopes` in this pass once more.
    fn again(&mut self, scopes: impl Iterator<Item = String>) {
        let known: Vec<String> = scopes.filter(|scope| self.slots.contains_key(scope)).collect();
        self.ended = known.is_empty();
        self.open.extend(known.iter().cloned());
        self.due.extend(known);
        self.launch();
    }

    /// What failed, and when it is read again.
    fn retry_times(&self) -> impl Iterator<Item = (&String, Instant)> {
        self.retries.iter().filter_map(|scope| {
            let slot = self.slots.get(scope).filter(|slot| !slot.in_flight)?;
            Some((scope, slot.retry_at?))
        })
    }

    /// Starts what failed and is due again.
    fn retry(&mut self, now: Instant) {
        let due: Vec<String> =
            self.retry_times().filter(|(_, at)| *at <= now).map(|(scope, _)| scope.clone()).collect();
        if !due.is_empty() {
            self.due.extend(due);
            self.launch();
        }
    }
}
