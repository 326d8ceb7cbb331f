//! What a pool knows of its connections; decided without I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::config;
use crate::metrics::streams::StreamFault;

use super::{Connection, Lease, StreamError};

/// A connection whose questions stay without any response for so long is
/// asked no more while another can be had: one slow server process does not
/// hold up those that would answer.
const SILENCE: Duration = Duration::from_secs(1);
/// First pause after the second failure in a row; it doubles with each more, ...
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// ... up to this, so that an upstream that is back is found within two seconds.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// One connection in the pool.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Arc<Connection>,
    pub(super) in_flight: usize,
    /// Questions so far.
    pub(super) asked: u64,
    /// When a place was given back last.
    used: Instant,
    /// When something came last, or the first question went out into silence.
    heard: Instant,
    /// Asked no more; ends with its last response.
    retired: bool,
}

impl Slot {
    pub(super) fn new(connection: Arc<Connection>, now: Instant) -> Self {
        Self { connection, in_flight: 0, asked: 0, used: now, heard: now, retired: false }
    }

    /// Takes a place.
    pub(super) fn enter(&mut self, now: Instant) -> Arc<Connection> {
        if self.in_flight == 0 {
            self.heard = now;
        }
        self.in_flight += 1;
        self.asked += 1;
        Arc::clone(&self.connection)
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.in_flight > 0 && now.saturating_duration_since(self.heard) > SILENCE
    }
}

/// All of a pool that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: config::Streams,
    pub(super) slots: Vec<Slot>,
    /// Connections on their way.
    pub(super) dialing: usize,
    /// Who waits for a place.
    pub(super) waiting: VecDeque<oneshot::Sender<Result<Lease, StreamError>>>,
    /// No connection before this.
    pub(super) retry_at: Option<Instant>,
    pub(super) next_id: u64,
    /// The upstream is no longer configured.
    pub(super) closed: bool,
    failures: u32,
    last_error: Option<StreamError>,
}

impl State {
    pub(super) const fn new(limits: config::Streams) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            dialing: 0,
            waiting: VecDeque::new(),
            retry_at: None,
            next_id: 0,
            closed: false,
            failures: 0,
            last_error: None,
        }
    }

    /// The connection for the next question, and whether it is silent: the one
    /// with the fewest questions, silent ones last.
    pub(super) fn best(&self, now: Instant) -> Option<(usize, bool)> {
        let max = self.limits.max_in_flight;
        let free = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !slot.retired && slot.in_flight < max && slot.connection.is_open());
        let rank = free.map(|(at, slot)| (slot.is_silent(now), slot.in_flight, at));
        rank.min().map(|(silent, _, at)| (at, silent))
    }

    /// Whether one more connection may be opened.
    pub(super) fn may_dial(&self, now: Instant) -> bool {
        !self.closed
            && self.slots.len() + self.dialing < self.limits.max_connections
            && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Places on the connections that are on their way.
    pub(super) const fn room_to_come(&self) -> usize {
        self.dialing.saturating_mul(self.limits.max_in_flight)
    }

    /// As many may wait as may be in flight, beside those for whom room is to come.
    pub(super) const fn capacity(&self) -> usize {
        self.limits.max_connections.saturating_mul(self.limits.max_in_flight)
    }

    /// Why nothing is asked now: what failed last.
    pub(super) fn backing_off(&self) -> StreamError {
        match &self.last_error {
            Some(error) if self.retry_at.is_none() => error.clone(),
            Some(error) => StreamError::new(StreamFault::BackOff, error),
            None => StreamError::new(StreamFault::BackOff, ""),
        }
    }

    /// A place is given back.
    pub(super) fn leave(&mut self, lease: &Lease, now: Instant) {
        let closed = self.closed;
        let id = lease.connection.id;
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.connection.id == id) else { return };
        slot.in_flight = slot.in_flight.saturating_sub(1);
        slot.used = now;
        if lease.heard {
            slot.heard = now;
        }
        slot.retired |= lease.lost || slot.connection.is_worn();
        if slot.in_flight == 0 && (slot.retired || closed) {
            slot.connection.stop.notify_one();
        }
    }

    /// Takes a connection out that has ended.
    pub(super) fn remove(&mut self, id: u64) -> Option<Slot> {
        let at = self.slots.iter().position(|slot| slot.connection.id == id)?;
        Some(self.slots.swap_remove(at))
    }

    /// When the connection will have been idle for long enough.
    pub(super) fn idle_at(&self, id: u64, now: Instant) -> Instant {
        let slot = self.slots.iter().find(|slot| slot.connection.id == id);
        let since = slot.filter(|slot| slot.in_flight == 0).map_or(now, |slot| slot.used);
        since + self.limits.idle
    }

    /// Takes the connection out if it is idle.
    pub(super) fn remove_idle(&mut self, id: u64, now: Instant) -> bool {
        let idle = |slot: &Slot| slot.in_flight == 0 && slot.used + self.limits.idle <= now;
        let found = self.slots.iter().find(|slot| slot.connection.id == id);
        let is_idle = found.is_none_or(idle);
        if is_idle {
            self.remove(id);
        }
        is_idle
    }

    /// An attempt failed. From the second in a row on there is a pause, a
    /// little different each time, so that many nodes do not come back at
    /// once. Whether it is the second.
    pub(super) fn failed(&mut self, error: StreamError, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
        if let Some(doublings) = self.failures.checked_sub(2) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(8)).min(MAX_PAUSE);
            self.retry_at = Some(now + pause.mul_f64(rand::random_range(0.75..1.0)));
        }
        self.failures == 2
    }

    /// The upstream has answered. Whether it had been failing.
    pub(super) fn succeeded(&mut self) -> bool {
        let was_failing = self.failures >= 2;
        (self.failures, self.retry_at, self.last_error) = (0, None, None);
        was_failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_end_with_a_response() {
        let mut state = State::new(config::Streams::default());
        let now = Instant::now();
        let error = StreamError::new(StreamFault::Refused, "");
        assert!(!state.failed(error.clone(), now));
        assert!(state.may_dial(now), "the first failure costs nothing");
        assert_eq!(state.backing_off().fault, StreamFault::Refused);
        let mut last = Duration::ZERO;
        for nth in 2..50 {
            assert_eq!(state.failed(error.clone(), now), nth == 2);
            let pause = state.retry_at.unwrap() - now;
            assert!(!state.may_dial(now) && state.may_dial(now + MAX_PAUSE));
            assert!(pause <= MAX_PAUSE && (pause > last || pause >= MAX_PAUSE.mul_f64(0.75)), "{pause:?}");
            last = pause;
        }
        assert_eq!(state.backing_off().fault, StreamFault::BackOff);
        assert!(state.succeeded());
        assert!(state.may_dial(now) && !state.succeeded());
    }
}
