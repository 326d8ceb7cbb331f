//! Whether an upstream answers, and how fast.
//!
//! ```text
//!        3 queries in a row unanswered, or unreachable
//!    Up ────────────────────────────────────────────────▶ Down
//!    │ ▲                                                  │ probes: at once,
//!    │ └── clean ── probe ◀── a bad share of responses    │ then each second
//!    ▲                │ silent, or as bad ───────────────▶│ at most
//!    │                                                    ▼
//!    └────────── a second good answer ◀──────────────── Trial
//!                (a probe's, or that of the one           a first answer
//!                 client's query a second that goes)
//! ```
//!
//! Most of what is known costs nothing: it is read off the clients' own
//! queries. *In a row* means that nothing which was sent later has been answered
//! either, so that neither loss on the path nor names whose own servers are
//! slow take an upstream down that works. A wrong guess does little: the probe
//! that goes out at once brings the upstream back within a round trip or two.
//!
//! NXDOMAIN and NODATA are answers. Response codes that are configured as
//! failures make an upstream suspect when they are most of what it says, and a
//! probe decides: a flood of questions for one broken zone must not take down
//! the upstream that says so.
//!
//! An upstream that is down is not asked while another one is up; when all are
//! down, all are asked. Times are milliseconds on a clock of the caller's.

pub mod rtt;

use std::time::Duration;

use rtt::{Rtt, micros};

use crate::wire::Rcode;

/// Responses that a suspicion takes at least, and the time constant of their
/// share, in responses.
const SHARE_SAMPLES: u32 = 32;
/// Weight of one response in it.
const SHARE_WEIGHT: f32 = 1.0 / 32.0;
/// Share of bad ends from which on an upstream is suspect, of 1.
const BAD_SHARE: f32 = 0.6;
/// So long an upstream has been silent at least when it counts as down: three
/// losses in a row are nothing on a path that loses a third.
const SILENCE_MS: u64 = 400;
/// Time between the first probes of an upstream that went down; doubles from
/// one to the next.
const FIRST_PROBE_MS: u64 = 125;
/// Time from the first good answer to the probe that confirms it.
const CONFIRM_MS: u64 = 50;
/// A probe of a suspect that takes longer is unanswered.
const SUSPECT_WAIT_MS: u64 = 500;
/// Good answers that bring an upstream back.
const RISE: u32 = 2;
/// Time from one client's query to the next while an upstream is on trial.
const TRIAL_MS: u64 = 1000;
/// Nothing is due.
const NEVER: u64 = u64::MAX;

/// How an upstream is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Queries in a row without an answer that take an upstream down.
    pub failures: u32,
    /// Longest time between two probes of one that is down, in milliseconds.
    pub probe_ms: u64,
    /// A query is sent again after this at the latest, in milliseconds.
    pub resend_ms: u64,
}

/// Whether an upstream is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Up,
    /// It was down and has answered again: one client's query may go.
    Trial,
    /// It does not answer.
    Down,
}

impl State {
    /// For people and programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Trial => "trial",
            Self::Down => "down",
        }
    }
}

/// Why an upstream went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It left queries unanswered.
    Silence,
    /// The network says that it is not there.
    Unreachable,
    /// It answers with failures, the probe included.
    Failures,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Silence, Self::Unreachable, Self::Failures];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Unreachable => "unreachable",
            Self::Failures => "failures",
        }
    }
}

/// A change that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It went down.
    Down(Cause),
    /// It is up again, after so many milliseconds.
    Up(u64),
}

/// The response codes that count as failures. NXDOMAIN is never among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures(u16);

impl Failures {
    /// These; those of EDNS alone (16 and above) are about our OPT, and left out.
    pub fn new(rcodes: &[Rcode]) -> Self {
        Self(rcodes.iter().fold(0, |bits, rcode| bits | 1u16.checked_shl(rcode.0.into()).unwrap_or(0)))
    }

    /// Whether `rcode` is one of them.
    #[inline]
    pub const fn has(self, rcode: Rcode) -> bool {
        rcode.0 < 16 && (self.0 >> rcode.0) & 1 == 1
    }

    /// How an answer with `rcode` is taken.
    #[inline]
    pub const fn quality(self, rcode: Rcode) -> Quality {
        if self.has(rcode) { Quality::Failure } else { Quality::Good }
    }
}

/// How an answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// An answer, NXDOMAIN and NODATA among them.
    Good,
    /// A response code that counts as a failure: it is alive, and no use.
    Failure,
}

/// What is known of one upstream.
#[derive(Clone, Debug)]
pub struct Health {
    settings: Settings,
    rtt: Rtt,
    state: State,
    cause: Cause,
    /// When it came into this state, or was cleared of a suspicion. What was
    /// sent earlier says nothing about it.
    since: u64,
    /// When it went down.
    down_at: u64,
    /// When the latest of the answered queries was sent.
    answered_sent: Option<u64>,
    /// Queries in a row without an answer, and when the first of them was sent.
    silent: u32,
    silent_since: u64,
    /// Share of bad ends, and how many ends it is of.
    bad_share: f32,
    ends: u32,
    /// When a probe is due.
    probe_at: u64,
    /// Time to the one after it.
    probe_pause: u64,
    /// Whether a probe of a suspect is out.
    suspect: bool,
    /// Good answers since it was down.
    good: u32,
    /// When the next client's query may go to it, while it is on trial.
    trial_at: u64,
}

impl Health {
    /// An upstream of which nothing is known: it counts as up.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rtt: Rtt::default(),
            state: State::Up,
            cause: Cause::Silence,
            since: 0,
            down_at: 0,
            answered_sent: None,
            silent: 0,
            silent_since: 0,
            bad_share: 0.0,
            ends: 0,
            probe_at: NEVER,
            probe_pause: FIRST_PROBE_MS,
            suspect: false,
            good: 0,
            trial_at: 0,
        }
    }

    /// Replaces the settings; what is known stays.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Its state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why it is, or was last, down.
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Its round trip times.
    pub const fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// A query to it was answered after `rtt`.
    pub fn answered(&mut self, rtt: Duration, quality: Quality, now: u64) -> Option<Change> {
        self.rtt.take(rtt);
        self.connected(rtt, quality, now)
    }

    /// A query that had to wait for a connection was answered after `waited`,
    /// which is no round trip.
    pub fn connected(&mut self, waited: Duration, quality: Quality, now: u64) -> Option<Change> {
        let sent = self.heard(waited, now);
        self.count(quality == Quality::Failure, now);
        // What was asked before it went down may come late, and says nothing.
        if self.state == State::Up || sent < self.since.min(self.down_at) {
            return None;
        }
        match quality {
            Quality::Failure if self.cause == Cause::Failures => {
                self.fall_back();
                None
            }
            // Of a client's own question: no more proof is needed on trial.
            _ => self.rise(if self.state == State::Trial { RISE } else { 1 }, now),
        }
    }

    /// A response came `rtt` after its query, which nobody waited for any more,
    /// and whose silence may have been told. It is no answer, but it is a sign of
    /// life, and the time that it took is that of the upstream.
    pub fn late(&mut self, rtt: Duration, now: u64) -> Option<Change> {
        self.rtt.take(rtt);
        self.heard(rtt, now);
        None
    }

    /// Something came to what was sent `waited` ago: what was sent before says
    /// nothing by its silence.
    fn heard(&mut self, waited: Duration, now: u64) -> u64 {
        let sent = sent_at(now, waited);
        self.answered_sent = Some(self.answered_sent.map_or(sent, |latest| latest.max(sent)));
        self.silent = 0;
        sent
    }

    /// A query to it was not answered within `waited`. It may still be. What was
    /// waited for less than half as long as a resend takes is no evidence.
    pub fn timed_out(&mut self, waited: Duration, now: u64) -> Option<Change> {
        if waited < self.resend_after() / 2 { None } else { self.silence(waited, SILENCE_MS, now) }
    }

    fn silence(&mut self, waited: Duration, least: u64, now: u64) -> Option<Change> {
        let sent = sent_at(now, waited);
        self.count(true, now);
        if sent < self.since || self.answered_sent.is_some_and(|answered| answered >= sent) {
            return None;
        }
        match self.state {
            State::Up => {
                self.silent_since = if self.silent == 0 { sent } else { self.silent_since.min(sent) };
                self.silent += 1;
                let is_long = now.saturating_sub(self.silent_since) >= least;
                (is_long && self.silent >= self.settings.failures).then(|| self.fall(Cause::Silence, now))
            }
            State::Trial => {
                self.fall_back();
                None
            }
            State::Down => None,
        }
    }

    /// The network would not take a query that was sent `waited` ago, or told
    /// that nobody is there: counts like one that was not answered.
    pub fn unreachable(&mut self, waited: Duration, now: u64) -> Option<Change> {
        let change = self.silence(waited, 0, now);
        match change {
            Some(Change::Down(_)) => {
                self.cause = Cause::Unreachable;
                Some(Change::Down(Cause::Unreachable))
            }
            other => other,
        }
    }

    /// When a probe is due; `None` for an upstream that needs none.
    pub const fn next_probe(&self) -> Option<u64> {
        if self.probe_at == NEVER { None } else { Some(self.probe_at) }
    }

    /// Whether a probe is to be sent now; it counts as sent then. `random` is
    /// anything: it spreads the probes of many hosts.
    pub fn probe_due(&mut self, random: u32, now: u64) -> (bool, Option<Change>) {
        if now < self.probe_at {
            return (false, None);
        }
        if self.state == State::Up {
            if self.suspect {
                return (false, Some(self.fall(Cause::Silence, now)));
            }
            self.suspect = true;
            self.probe_at = now + SUSPECT_WAIT_MS;
            return (true, None);
        }
        // Between three quarters of the pause and the whole of it.
        let pause = self.probe_pause.min(self.settings.probe_ms).max(1);
        self.probe_at = now + pause - pause / 4 * u64::from(random % 1024) / 1024;
        self.probe_pause = (self.probe_pause * 2).min(self.settings.probe_ms.max(FIRST_PROBE_MS));
        (true, None)
    }

    /// A probe could not be sent, as there is no room for it: the next one is due soon.
    pub fn probe_refused(&mut self, now: u64) {
        self.suspect = false;
        self.probe_at = now + FIRST_PROBE_MS;
    }

    /// A probe was answered after `rtt`.
    pub fn probe_answered(&mut self, rtt: Duration, quality: Quality, now: u64) -> Option<Change> {
        self.rtt.take(rtt);
        self.probe_connected(rtt, quality, now)
    }

    /// A probe that had to wait for a connection was answered after `waited`.
    pub fn probe_connected(&mut self, waited: Duration, quality: Quality, now: u64) -> Option<Change> {
        if self.state == State::Up {
            if !self.suspect {
                return None;
            }
            return match quality {
                Quality::Good => {
                    self.clear(now);
                    None
                }
                Quality::Failure => Some(self.fall(Cause::Failures, now)),
            };
        }
        if sent_at(now, waited) < self.down_at {
            return None;
        }
        if quality == Quality::Failure && self.cause == Cause::Failures {
            // It speaks, as it did before. Not every upstream can answer what a
            // probe asks, so a client's query may find out.
            self.state = State::Trial;
            return None;
        }
        self.rise(1, now)
    }

    /// Whether it is on trial and one client's query may go to it.
    pub fn may_try(&self, now: u64) -> bool {
        self.state == State::Trial && now >= self.trial_at
    }

    /// One client's query goes to it: no other one does for a second.
    pub fn try_one(&mut self, now: u64) {
        self.trial_at = now + TRIAL_MS;
    }

    /// How long a first query is waited for before it is sent again; a second
    /// resend comes after twice as long again.
    pub fn resend_after(&self) -> Duration {
        Duration::from_micros(self.waits().0)
    }

    /// How long a query is waited for before the next upstream is asked as
    /// well; `None` while too little is known.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.waits().1.map(Duration::from_micros)
    }

    /// Both of them in microseconds.
    pub fn waits(&self) -> (u64, Option<u64>) {
        let resend = self.rtt.resend_after(self.settings.resend_ms.saturating_mul(1000));
        (resend, self.rtt.hedge_after().map(|hedge| hedge.min(resend)))
    }

    /// Follows the share of bad ends; a bad one makes an upstream suspect.
    fn count(&mut self, bad: bool, now: u64) {
        self.bad_share += (f32::from(u8::from(bad)) - self.bad_share) * SHARE_WEIGHT;
        self.ends = self.ends.saturating_add(1);
        let is_bad = self.ends >= SHARE_SAMPLES && self.bad_share >= BAD_SHARE;
        if is_bad && self.state == State::Up && self.probe_at == NEVER {
            self.probe_at = now;
        }
    }

    /// It is what it seemed before the suspicion.
    fn clear(&mut self, now: u64) {
        self.suspect = false;
        self.probe_at = NEVER;
        self.since = now;
        self.silent = 0;
        self.bad_share = 0.0;
        self.ends = 0;
    }

    fn fall(&mut self, cause: Cause, now: u64) -> Change {
        self.clear(now);
        self.state = State::Down;
        self.cause = cause;
        self.down_at = now;
        self.good = 0;
        self.probe_at = now;
        self.probe_pause = FIRST_PROBE_MS;
        Change::Down(cause)
    }

    /// Down again; the probes go on as they did.
    fn fall_back(&mut self) {
        self.state = State::Down;
        self.good = 0;
    }

    fn rise(&mut self, good: u32, now: u64) -> Option<Change> {
        self.good += good;
        if self.good >= RISE {
            self.clear(now);
            self.state = State::Up;
            return Some(Change::Up(now.saturating_sub(self.down_at)));
        }
        self.state = State::Trial;
        self.trial_at = now;
        self.since = now;
        self.probe_at = now + CONFIRM_MS;
        self.probe_pause = FIRST_PROBE_MS;
        None
    }
}

fn sent_at(now: u64, waited: Duration) -> u64 {
    now.saturating_sub(micros(waited) / 1000)
}

#[cfg(test)]
mod tests;
