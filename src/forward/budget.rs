//! What one upstream address may be sent: a rate over any second, a number in
//! flight, and who gets how much of both when they run short.
//!
//! Azure DNS drops without a word what exceeds its limits, so a query too many
//! costs the client its whole patience. Here it is refused at once, and the
//! client gets an old answer or an error that says why.
//!
//! ```text
//! admit ─▶ class: how full may it be for a query, a resend, a prefetch, a probe
//!       ─▶ below a quarter full: go
//!       ─▶ share: has this client's prefix less than the others leave it
//!       ─▶ pace: beyond that a burst is spread, so that a second is not spent in
//!          its first half, and nothing left for those who come in the other
//! ```
//!
//! A token bucket that keeps below R in *any* second must refill at R less its
//! size: 50 tokens and 750 a second for 800. It would refuse two thirds of 150
//! questions that come at once after a quiet hour, when the second has room for
//! all. So the rate is counted in a sliding window ([`window`]), which refuses
//! nothing before the second is spent, and the pace begins when a quarter is.
//!
//! Shares are those of a dynamic threshold: a prefix may have [`RATE_FACTOR`]
//! times what is still free. Whoever uses little never meets it. One that is
//! alone gets 16 of 17 parts; two that are alone get 32 of 33 between them; and
//! when others come, what is free shrinks, the threshold with it, and the heavy
//! ones fall back to equal shares within a second. Nothing is reserved for who
//! does not ask, nobody is measured against a number somebody configured.

pub mod shares;
pub mod window;

use shares::{ClientKey, Shares};
use window::Window;

/// A prefix may have this many times the rate that is free.
const RATE_FACTOR: u64 = 16;
/// The same for queries in flight.
const FLIGHT_FACTOR: u64 = 16;
/// A query in the units in which the pace is kept: a slot makes up for the rate
/// in them. 62.5 slots are a second; the pace is a little faster, so that the
/// shares decide and not who comes first in a slot.
const PACE_UNIT: u64 = 62;
/// Slots' worth of queries that may run ahead of the pace, ...
const AHEAD: u64 = 2;
/// ... and those of prefixes that use little: a quarter of a second. The busy
/// ones make up for it, as they wait until it is worked off.
const AHEAD_LIGHT: u64 = 16;
/// Time constant of the slow average behind the time to exhaustion, in slots, ...
const SLOW_SLOTS: f64 = 625.0;
/// ... and in seconds.
const SLOW_SECONDS: f64 = 10.0;
/// What an upstream left unanswered before a silence still counts for this
/// long after its return, in slots (half a second): a server that stood still
/// works off what it has got meanwhile, and only then is the rest lost.
const GRACE_SLOTS: u64 = 32;
/// What is farther away is no forecast.
const HORIZON_SECONDS: f64 = 86_400.0;

/// What a query is for, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A client waits, and nothing was sent for it yet.
    Query,
    /// A client waits for one that was sent: a resend, or a hedge.
    Retry,
    /// Nobody waits: an answer is renewed before it expires.
    Prefetch,
    /// Nobody waits: whether an upstream is back.
    Probe,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Query, Self::Retry, Self::Prefetch, Self::Probe];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Retry => "retry",
            Self::Prefetch => "prefetch",
            Self::Probe => "probe",
        }
    }

    /// How full, in eighths, rate and flights may be for it. A second must
    /// never be spent on resends of what the upstream is too busy to answer.
    const fn ceiling(self) -> u64 {
        match self {
            Self::Query => 8,
            Self::Retry => 7,
            Self::Prefetch | Self::Probe => 4,
        }
    }
}

/// Why a query must not be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// The second is spent, or as much of it as this class may spend.
    Rate,
    /// Too many are in flight.
    InFlight,
    /// There is room, and this client's prefix has its share of it.
    Share,
}

impl Over {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rate, Self::InFlight, Self::Share];

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::InFlight => "in_flight",
            Self::Share => "share",
        }
    }
}

/// What an upstream address may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Queries in any second; `None` for no limit.
    pub rate: Option<u32>,
    /// Queries in flight; `None` for no limit.
    pub in_flight: Option<u32>,
    /// Part of both that prefetches may take, percent.
    pub prefetch_percent: u32,
}

/// The right to one query. To be given back once with [`Budget::release`]; it
/// fits a word, so that whoever keeps queries in flight can keep it with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket(u32);

/// Bits of a ticket: the prefix's place, the class, the epoch.
const PLACE_BITS: u32 = shares::PLACE_BITS;
const CLASS_BITS: u32 = 2;
/// The last epoch; the first follows it.
const EPOCHS: u32 = u32::MAX >> (PLACE_BITS + CLASS_BITS);

impl Ticket {
    const fn new(place: u32, class: Class, epoch: u32) -> Self {
        Self(place | ((class as u32) << PLACE_BITS) | (epoch << (PLACE_BITS + CLASS_BITS)))
    }

    /// As a number, for who keeps numbers.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The ticket that [`Ticket::to_bits`] gave.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    const fn place(self) -> u32 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }

    const fn class(self) -> usize {
        ((self.0 >> PLACE_BITS) & ((1 << CLASS_BITS) - 1)) as usize
    }

    const fn epoch(self) -> u32 {
        self.0 >> (PLACE_BITS + CLASS_BITS)
    }
}

/// What was admitted and refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Admitted, by class.
    pub admitted: [u64; 4],
    /// Refused, by class and reason.
    pub refused: [[u64; 3]; 4],
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// What it may be sent.
    pub limits: Limits,
    /// Queries within about the last second.
    pub rate: u32,
    /// Queries in flight.
    pub in_flight: u32,
    /// Seconds until a limit is reached if use goes on growing as it does;
    /// `None` if it does not grow, or nothing is limited.
    pub exhausted_in: Option<f64>,
    /// What was admitted and refused.
    pub counts: Counts,
    /// Who spends most, the first most: the prefix with its queries within
    /// about the last second.
    pub spenders: Vec<(shares::Prefix, u32)>,
}

/// The budget of one upstream address. Times are milliseconds on a clock of the
/// caller's that does not run backwards; where it does, it stands still here.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    window: Window,
    shares: Shares,
    /// Prefetches within about the last second.
    prefetches: Window,
    /// How far what was sent is ahead of the pace, see [`PACE_UNIT`].
    ahead: u64,
    in_flight: u32,
    by_class: [u32; 4],
    /// Tickets of the one before count in `old`, those of earlier ones nowhere.
    epoch: u32,
    /// Queries in flight since before the upstream's last return, and the slot
    /// in which they are given up.
    old: u32,
    old_until: u64,
    counts: Counts,
    /// Slow averages of the rate and of what is in flight.
    slow: (f64, f64),
}

impl Budget {
    /// A budget that nothing was taken of. `seed` is random: it keeps clients
    /// from choosing which of them share a place in the table.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            window: Window::default(),
            shares: Shares::new(seed),
            prefetches: Window::default(),
            ahead: 0,
            in_flight: 0,
            by_class: [0; 4],
            epoch: 0,
            old: 0,
            old_until: 0,
            counts: Counts::default(),
            slow: (0.0, 0.0),
        }
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Replaces the limits. What is in flight and what the last second saw stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes one query out of the budget for a client with this key, whose
    /// prefix weighs `weight()`; asked for only when the prefix is new.
    #[inline]
    pub fn admit(
        &mut self,
        class: Class,
        client: ClientKey,
        weight: impl FnOnce() -> u32,
        now: u64,
    ) -> Result<Ticket, Over> {
        self.advance(now);
        if class == Class::Prefetch {
            self.prefetches.advance(now);
        }
        let slot = self.window.slot();
        let place = self.shares.place(client, slot, weight);
        if let Err(over) = self.allows(class, place, slot) {
            if let Some(count) = self.counts.refused.get_mut(class as usize) {
                count[over as usize] += 1;
            }
            return Err(over);
        }
        if let Some(rate) = self.limits.rate
            && u64::from(self.window.sum()) * 4 >= u64::from(rate)
        {
            self.ahead += PACE_UNIT;
        }
        self.window.count();
        self.shares.take(place, slot);
        if class == Class::Prefetch {
            self.prefetches.count();
        }
        self.in_flight += 1;
        let at = class as usize;
        self.by_class[at] += 1;
        self.counts.admitted[at] += 1;
        Ok(Ticket::new(place, class, self.epoch))
    }

    /// Gives back what [`Budget::admit`] gave: the query was answered, or given
    /// up, or never sent after all (which the window does not forget).
    #[inline]
    pub fn release(&mut self, ticket: Ticket) {
        if ticket.epoch() != self.epoch {
            if (ticket.epoch() + 1) & EPOCHS == self.epoch {
                self.old = self.old.saturating_sub(1);
            }
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(count) = self.by_class.get_mut(ticket.class()) {
            *count = count.saturating_sub(1);
        }
        self.shares.release(ticket.place());
    }

    /// The upstream is back after a silence. What it was sent before counts on
    /// until it ends, but no longer than [`GRACE_SLOTS`]: what it has not
    /// answered by then it never will, and kept until their exchanges give up,
    /// those queries would keep new ones out.
    pub fn returned(&mut self, now: u64) {
        self.advance(now);
        self.epoch = (self.epoch + 1) & EPOCHS;
        self.old += self.in_flight;
        self.old_until = self.window.slot() + GRACE_SLOTS;
        self.in_flight = 0;
        self.by_class = [0; 4];
        self.shares.forget_in_flight();
    }

    /// How the budget stands, with the `most` prefixes that spend most.
    pub fn usage(&mut self, most: usize, now: u64) -> Usage {
        self.advance(now);
        Usage {
            limits: self.limits,
            rate: self.window.sum(),
            in_flight: self.in_flight + self.old,
            exhausted_in: self.exhausted_in(),
            counts: self.counts,
            spenders: self.shares.spenders(most, self.window.slot()),
        }
    }

    #[inline]
    fn advance(&mut self, now: u64) {
        let passed = self.window.advance(now);
        if passed > 0 {
            self.pass(passed);
        }
    }

    #[inline]
    fn allows(&self, class: Class, place: u32, slot: u64) -> Result<(), Over> {
        let (fill, flights) = (u64::from(self.window.sum()), u64::from(self.in_flight) + u64::from(self.old));
        let rate = self.limits.rate.map_or(u64::MAX / 8, u64::from);
        let most = self.limits.in_flight.map_or(u64::MAX / 8, u64::from);
        // All that almost every query sees of this.
        if class <= Class::Retry && fill * 4 < rate && flights * 4 < most {
            return Ok(());
        }
        self.allows_when_scarce(class, place, slot, (fill, rate), (flights, most))
    }

    #[cold]
    fn allows_when_scarce(
        &self,
        class: Class,
        place: u32,
        slot: u64,
        (fill, rate): (u64, u64),
        (flights, most): (u64, u64),
    ) -> Result<(), Over> {
        if fill >= part(rate, class.ceiling()) {
            return Err(Over::Rate);
        }
        // One place is the probes': queries that a dead upstream holds in flight
        // must not keep its return from being noticed.
        let room = match class {
            Class::Probe => most,
            _ => part(most, class.ceiling()).min(if most > 1 { most - 1 } else { most }),
        };
        if flights >= room {
            return Err(Over::InFlight);
        }
        match class {
            Class::Query | Class::Retry => self.allows_share(place, slot, (fill, rate), (flights, most)),
            Class::Prefetch => self.allows_prefetch(rate, most),
            Class::Probe => Ok(()),
        }
    }

    fn allows_share(
        &self,
        place: u32,
        slot: u64,
        (fill, rate): (u64, u64),
        (flights, most): (u64, u64),
    ) -> Result<(), Over> {
        let has = self.shares.of(place, slot);
        let weight = u64::from(has.weight);
        if flights * 4 >= most && u64::from(has.in_flight) >= FLIGHT_FACTOR * weight * (most - flights) {
            return Err(Over::Share);
        }
        if fill * 4 < rate {
            return Ok(());
        }
        let (threshold, used) = (RATE_FACTOR * weight * (rate - fill), u64::from(has.used));
        if used >= threshold {
            return Err(Over::Share);
        }
        let ahead = if used * 2 < threshold { AHEAD_LIGHT } else { AHEAD };
        if self.ahead >= (ahead * rate).max(PACE_UNIT) { Err(Over::Rate) } else { Ok(()) }
    }

    fn allows_prefetch(&self, rate: u64, most: u64) -> Result<(), Over> {
        let share = |all: u64| (all / 100).saturating_mul(self.limits.prefetch_percent.into()).max(1);
        let in_flight = u64::from(self.by_class[Class::Prefetch as usize]);
        if self.limits.prefetch_percent == 0 || u64::from(self.prefetches.sum()) >= share(rate) {
            Err(Over::Rate)
        } else if in_flight >= share(most) {
            Err(Over::InFlight)
        } else {
            Ok(())
        }
    }

    /// Slots have passed: works off what runs ahead, and follows the use with a
    /// slow average, whose lag is the slope.
    #[cold]
    fn pass(&mut self, passed: u64) {
        if self.window.slot() >= self.old_until {
            self.old = 0;
        }
        let rate = self.limits.rate.map_or(0, u64::from);
        self.ahead = self.ahead.saturating_sub(passed.saturating_mul(rate));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let keep = (1.0 - 1.0 / SLOW_SLOTS).powf(passed as f64);
        let follow = |slow: f64, now: u32| slow * keep + f64::from(now) * (1.0 - keep);
        self.slow = (follow(self.slow.0, self.window.sum()), follow(self.slow.1, self.in_flight + self.old));
    }

    fn exhausted_in(&self) -> Option<f64> {
        let reaches = |used: u32, slow: f64, limit: Option<u32>| {
            let limit = f64::from(limit?);
            let left = limit - f64::from(used);
            // What is always left free counts as nothing.
            if left <= limit / 8.0 {
                return Some(0.0);
            }
            let slope = (f64::from(used) - slow) / SLOW_SECONDS;
            // A growth of less than a thousandth of the limit a second is noise.
            (slope > limit / 1000.0).then(|| (left / slope).min(HORIZON_SECONDS))
        };
        let rate = reaches(self.window.sum(), self.slow.0, self.limits.rate);
        let flights = reaches(self.in_flight + self.old, self.slow.1, self.limits.in_flight);
        match (rate, flights) {
            (Some(rate), Some(flights)) => Some(rate.min(flights)),
            (rate, flights) => rate.or(flights),
        }
    }
}

/// `eighths` of `all`, at least one.
const fn part(all: u64, eighths: u64) -> u64 {
    let part = all / 8 * eighths + all % 8 * eighths / 8;
    if part == 0 && all > 0 { 1 } else { part }
}

#[cfg(test)]
mod tests;
