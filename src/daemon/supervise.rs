//! Signals, the watchdog and the drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::state::State;
use super::systemd;
use crate::admin::Control;

/// How long a worker has to beat when asked, ...
const BEAT_LIMIT: Duration = Duration::from_secs(1);
/// ... and how often it is looked for.
const BEAT_STEP: Duration = Duration::from_millis(5);

/// The signals that mean something here.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from the system's defaults.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal that ends the process.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Reloads on SIGHUP until SIGTERM or SIGINT, then drains. Whether everything
/// in flight was answered: a second signal, or the limit, ends the wait.
pub(super) async fn until_stopped(state: &Arc<State>, mut signals: Signals) -> bool {
    let mut watchdog = systemd::watchdog_interval().map(ticks);
    let mut seen = state.beats();
    let signal = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break "SIGTERM",
            _ = signals.interrupt.recv() => break "SIGINT",
            _ = signals.hangup.recv() => {
                let state = Arc::clone(state);
                // Beside this thread: the watchdog and probes go on meanwhile.
                drop(tokio::task::spawn_blocking(move || state.reload()));
            }
            () = tick(watchdog.as_mut()) => {
                if have_beaten(state, &seen).await {
                    systemd::alive();
                } else {
                    state.events().workers_stalled();
                }
                seen = state.beats();
            }
        }
    };
    state.begin_drain(signal);
    systemd::stopping();
    tokio::select! {
        in_time = state.drain() => in_time,
        _ = signals.end() => false,
    }
}

/// Whether every worker has beaten since `seen`. One without traffic sleeps and
/// is asked first: an idle worker is woken by a watchdog alone, and a busy one by nobody.
async fn have_beaten(state: &State, seen: &[u64]) -> bool {
    state.ask_for_beat(seen);
    let beaten = async {
        while !seen.iter().zip(&state.beats()).all(|(before, after)| before != after) {
            tokio::time::sleep(BEAT_STEP).await;
        }
    };
    tokio::time::timeout(BEAT_LIMIT, beaten).await.is_ok()
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, before any worker could have beaten.
    ticks.reset();
    ticks
}

/// The next tick; never without an interval.
async fn tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
