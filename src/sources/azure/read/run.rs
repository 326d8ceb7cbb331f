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
    pub async fn run(&mut self, commands: &mut UnboundedReceiver<()>, changed: &Changed) {
        let interval = self.settings.source.interval;
        let mut next_pass = Instant::now();
        let mut tell_at: Option<Instant> = None;
        let mut everything = false;
        loop {
            let now = Instant::now();
            if everything || next_pass <= now {
                next_pass = now + jittered(interval);
                self.begin_pass(everything);
                everything = false;
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
            let retries = self.slots.values().filter(|slot| !slot.in_flight).filter_map(|slot| slot.retry_at);
            let wake = retries.chain(tell_at).fold(next_pass, Instant::min);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return,
                    Some(()) => {
                        while commands.try_recv().is_ok() {}
                        everything = true;
                    }
                },
                Some(done) = self.running.next() => self.accept(done),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Starts what failed and is due again.
    fn retry(&mut self, now: Instant) {
        let mut any = false;
        for slot in self.slots.values_mut().filter(|slot| !slot.in_flight) {
            if slot.retry_at.is_some_and(|at| at <= now) {
                slot.is_due = true;
                any = true;
            }
        }
        if any {
            self.launch();
        }
    }
}
