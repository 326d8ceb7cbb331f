//! Budget, health and policy of all upstreams, as the engine uses them.
//!
//! ```text
//! choose ─▶ admit ─▶ (sent) ─┬▶ answered ──┐
//!    ▲        │ Over         ├▶ timed_out ─┼▶ release
//!    │        ▼              └▶ unreachable┘
//!    └── next, or refuse at once
//! ```
//!
//! What an engine does, call by call:
//!
//! 1. [`Governor::choose`] says whom to ask: first, after a failure, and for a
//!    resend or a hedge. With `None` it asks the same again, or gives up.
//! 2. [`Upstream::admit`] before each message, with its class. [`Over`] is final
//!    for this upstream: with another one go on, without answer at once.
//! 3. [`Upstream::resend_after`] and [`Upstream::hedge_after`] set its timers;
//!    [`Upstream::resent`] and [`Upstream::hedged`] count what came of them.
//! 4. Each message ends in one of [`Upstream::answered`] (any response that
//!    belongs to it, and whether its code is one upon which the next is asked), [`Upstream::unreachable`] (the network says no), or
//!    nothing, when it is no longer wanted. [`Upstream::timed_out`] is told once
//!    per message when its resend is due; an answer may still follow.
//! 5. [`Upstream::release`] with its ticket, once, when nothing is expected of
//!    it any more.
//! 6. [`Governor::next_probe`] bounds the engine's sleep; [`Governor::due_probes`]
//!    says to whom [`probe_query`] goes, and [`Upstream::probe_answered`] what
//!    came back. An unanswered probe needs no call but the release.
//!
//! All of it may be called from any thread. Times are milliseconds on one clock
//! of the caller's, the same for all calls; `random` is anything.
//!
//! An upstream's health hangs on its name, which tells transport and address;
//! its budget on the address alone, since that is what the limits of the other
//! side count.

mod connected;
mod draw;
mod probe;
mod show;
mod waits;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config;
use crate::events;
use crate::metrics::governor::HealthCounters;

use super::budget::shares::{ClientKey, PrefixBits};
use super::budget::{Budget, Limits};
use super::clock;
use super::health::{self, Change, Health, Quality, State};
use super::policy::{self, Candidate, Policy};

pub use super::budget::{Class, Over, Ticket};
pub use probe::probe_query;
pub use show::{BudgetUse, UpstreamUse};
use waits::Waits;

/// No probe is due.
const NEVER: u64 = u64::MAX;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the configuration says, ready for use.
#[derive(Clone, Debug)]
struct Rules {
    settings: config::Governor,
    health: health::Settings,
    bits: PrefixBits,
}

impl Rules {
    fn new(settings: &config::Governor, resend_after: Duration) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            settings: settings.clone(),
            health: health::Settings {
                failures: settings.failures,
                probe_ms: millis(settings.probe_interval),
                resend_ms: millis(resend_after),
            },
            bits: PrefixBits { v4: settings.prefix_bits.0, v6: settings.prefix_bits.1 },
        }
    }

    fn limits(&self, address: SocketAddr) -> Limits {
        let listed = self.settings.budgets.iter().find(|budget| budget.address == address);
        Limits {
            rate: listed.and_then(|budget| budget.rate),
            in_flight: listed.and_then(|budget| budget.in_flight),
            prefetch_percent: self.settings.prefetch_percent,
        }
    }

    fn policy(&self, group: &str) -> Policy {
        let listed = self.settings.policies.iter().find(|(name, _)| name == group);
        listed.map(|(_, policy)| *policy).unwrap_or_default()
    }

    /// The weight of the longest prefix that holds `client`.
    fn weight(&self, client: Option<IpAddr>) -> u32 {
        let Some(client) = client.map(|client| client.to_canonical()) else { return 1 };
        let holds = |(net, _): &&(IpNet, u32)| net.contains(&client);
        let longest = self.settings.weights.iter().filter(holds).max_by_key(|(net, _)| net.prefix_len());
        longest.map_or(1, |(_, weight)| *weight)
    }
}

/// The budget of one address.
#[derive(Debug)]
struct Purse {
    address: SocketAddr,
    inner: Mutex<(Budget, Arc<Rules>)>,
}

/// One upstream.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    purse: Arc<Purse>,
    health: Mutex<Health>,
    waits: Waits,
    /// When the next probe of any upstream is due.
    alarm: Arc<AtomicU64>,
    counters: HealthCounters,
}

impl Upstream {
    /// Its name: an address, or a URL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that its budget hangs on.
    pub fn address(&self) -> SocketAddr {
        self.purse.address
    }

    /// Asks for the right to send one message for `client`.
    ///
    /// # Errors
    /// Why it must not be sent now. Another upstream may be asked; the answer of
    /// ours that follows must not be kept.
    pub fn admit(&self, class: Class, client: Option<IpAddr>, now: u64) -> Result<Ticket, Over> {
        let mut inner = lock(&self.purse.inner);
        let (budget, rules) = &mut *inner;
        let key = client.map_or(ClientKey::INTERNAL, |client| ClientKey::new(client, rules.bits));
        budget.admit(class, key, || rules.weight(client), now)
    }

    /// Whether it may have a number of messages in flight alone.
    pub fn counts_in_flight(&self) -> bool {
        lock(&self.purse.inner).0.limits().in_flight.is_some()
    }

    /// Gives a right back: nothing is expected of that message any more.
    pub fn release(&self, ticket: Ticket) {
        lock(&self.purse.inner).0.release(ticket);
    }

    /// Whether a message that was sent with a ticket that is still out may be
    /// sent once more, since its connection ended: it counts as one more, and
    /// takes the place in flight of the first.
    pub fn again(&self, class: Class, client: Option<IpAddr>, now: u64) -> bool {
        match self.admit(class, client, now) {
            Ok(ticket) => {
                self.release(ticket);
                true
            }
            Err(_) => false,
        }
    }

    /// A message was sent again, here or after another upstream's silence.
    pub fn resent(&self) {
        HealthCounters::add(&self.counters.resends);
    }

    /// A message was sent here since another upstream takes long.
    pub fn hedged(&self) {
        HealthCounters::add(&self.counters.hedges);
    }

    /// A response came `rtt` after its query.
    pub fn answered(&self, rtt: Duration, quality: Quality, now: u64) {
        self.judge(now, |health| health.answered(rtt, quality, now));
    }

    /// No response came within `waited`. To be told once per message.
    pub fn timed_out(&self, waited: Duration, now: u64) {
        self.judge(now, |health| health.timed_out(waited, now));
    }

    /// A response came `rtt` after its query, which nobody waited for any more.
    pub fn late(&self, rtt: Duration, now: u64) {
        self.judge(now, |health| health.late(rtt, now));
    }

    /// The network would not take a message that was sent `waited` ago, or told
    /// that nobody is there.
    pub fn unreachable(&self, waited: Duration, now: u64) {
        self.judge(now, |health| health.unreachable(waited, now));
    }

    /// How long a first message is waited for before it is sent again; the
    /// second resend comes after twice as long.
    #[inline]
    pub fn resend_after(&self) -> Duration {
        Duration::from_millis(self.resend_after_ms())
    }

    /// The same in milliseconds.
    #[inline]
    pub fn resend_after_ms(&self) -> u64 {
        self.waits.resend()
    }

    /// How long a message is waited for before the next upstream is asked as
    /// well; `None` while too little is known.
    #[inline]
    pub fn hedge_after(&self) -> Option<Duration> {
        self.hedge_after_ms().map(Duration::from_millis)
    }

    /// The same in milliseconds.
    #[inline]
    pub fn hedge_after_ms(&self) -> Option<u64> {
        self.waits.hedge()
    }

    /// A probe came back after `rtt`.
    pub fn probe_answered(&self, rtt: Duration, quality: Quality, now: u64) {
        HealthCounters::add(&self.counters.probes_answered);
        self.judge(now, |health| health.probe_answered(rtt, quality, now));
    }

    /// Its state.
    pub fn state(&self) -> State {
        lock(&self.health).state()
    }

    fn candidate(&self, now: u64) -> Candidate {
        let health = lock(&self.health);
        Candidate { state: health.state(), rtt: health.rtt().smoothed(), may_try: health.may_try(now) }
    }

    /// Takes in what happened, and whatever follows from it.
    fn judge(&self, now: u64, happened: impl FnOnce(&mut Health) -> Option<Change>) {
        let mut health = lock(&self.health);
        let change = happened(&mut health);
        self.waits.set(&health);
        self.set_alarm(&health);
        drop(health);
        if let Some(change) = change {
            self.tell(change, now);
        }
    }

    fn set_alarm(&self, health: &Health) {
        if let Some(at) = health.next_probe() {
            self.alarm.fetch_min(at, Ordering::Relaxed);
        }
    }

    #[cold]
    fn tell(&self, change: Change, now: u64) {
        match change {
            Change::Down(cause) => {
                if let Some(count) = self.counters.downs.get(cause as usize) {
                    HealthCounters::add(count);
                }
                events::upstream_down(&self.name, cause.label());
            }
            Change::Up(after) => {
                lock(&self.purse.inner).0.returned(now);
                events::upstream_up(&self.name, Duration::from_millis(after));
            }
        }
    }
}

/// The policy of one group, and whose turn it is.
#[derive(Debug)]
pub struct Rotation {
    group: String,
    policy: Mutex<Policy>,
    turn: AtomicU32,
}

/// A probe that is to be sent: [`probe_query`] to its upstream.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Whom to ask.
    pub upstream: Arc<Upstream>,
    /// The right to it, to be released when it is answered or given up.
    pub ticket: Ticket,
}

/// When the governor's clock was at zero, for who has [`Instant`]s.
#[derive(Clone, Copy, Debug)]
pub struct Begun(Instant);

impl Begun {
    /// It is at zero now.
    pub fn now() -> Self {
        Self(clock::now())
    }

    /// That moment.
    pub const fn start(self) -> Instant {
        self.0
    }

    /// The time on the clock.
    pub fn milliseconds(self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX)
    }
}

/// All upstreams.
#[derive(Debug)]
pub struct Governor {
    rules: Mutex<Arc<Rules>>,
    upstreams: Mutex<Vec<Arc<Upstream>>>,
    purses: Mutex<Vec<Arc<Purse>>>,
    rotations: Mutex<Vec<Arc<Rotation>>>,
    /// When the next probe is due, or a little earlier.
    alarm: Arc<AtomicU64>,
    seed: u64,
}

impl Governor {
    /// A governor of no upstreams yet. Messages are sent again after
    /// `resend_after` at the latest. `seed` is random.
    pub fn new(settings: &config::Governor, resend_after: Duration, seed: u64) -> Self {
        Self {
            rules: Mutex::new(Arc::new(Rules::new(settings, resend_after))),
            upstreams: Mutex::default(),
            purses: Mutex::default(),
            rotations: Mutex::default(),
            alarm: Arc::new(AtomicU64::new(NEVER)),
            seed,
        }
    }

    /// Puts other settings in force. What is known and what is in flight stays.
    pub fn reconfigure(&self, settings: &config::Governor, resend_after: Duration) {
        // Held to the end: an upstream that is made meanwhile has the new rules.
        let upstreams = lock(&self.upstreams);
        let rules = Arc::new(Rules::new(settings, resend_after));
        *lock(&self.rules) = Arc::clone(&rules);
        for purse in lock(&self.purses).iter() {
            let mut inner = lock(&purse.inner);
            inner.0.set_limits(rules.limits(purse.address));
            inner.1 = Arc::clone(&rules);
        }
        for upstream in upstreams.iter() {
            let mut health = lock(&upstream.health);
            health.set_settings(rules.health);
            upstream.waits.set(&health);
        }
        for rotation in lock(&self.rotations).iter() {
            *lock(&rotation.policy) = rules.policy(&rotation.group);
        }
    }

    /// The upstream of this name, made at the first call. Names come from the
    /// configuration or resolv.conf, so their number is bounded.
    pub fn upstream(&self, name: &str, address: SocketAddr) -> Arc<Upstream> {
        let mut upstreams = lock(&self.upstreams);
        if let Some(known) = upstreams.iter().find(|upstream| upstream.name == name) {
            return Arc::clone(known);
        }
        let rules = Arc::clone(&lock(&self.rules));
        let purse = self.purse(address, &rules);
        let (health, waits, alarm) = (Health::new(rules.health), Waits::default(), Arc::clone(&self.alarm));
        waits.set(&health);
        let (health, counters) = (Mutex::new(health), HealthCounters::default());
        let upstream = Arc::new(Upstream { name: name.to_owned(), purse, health, waits, alarm, counters });
        upstreams.push(Arc::clone(&upstream));
        upstream
    }

    fn purse(&self, address: SocketAddr, rules: &Arc<Rules>) -> Arc<Purse> {
        let mut purses = lock(&self.purses);
        if let Some(known) = purses.iter().find(|purse| purse.address == address) {
            return Arc::clone(known);
        }
        let budget = Budget::new(rules.limits(address), self.seed);
        let purse = Arc::new(Purse { address, inner: Mutex::new((budget, Arc::clone(rules))) });
        purses.push(Arc::clone(&purse));
        purse
    }

    /// Forgets the upstreams that `keep` does not want, after a reload. Those
    /// in use go on until they are dropped; they are shown and probed no more.
    pub fn retain(&self, keep: impl Fn(&Upstream) -> bool) {
        let mut upstreams = lock(&self.upstreams);
        upstreams.retain(|upstream| keep(upstream));
        // A budget outlives its upstream while somebody holds that: taken up
        // again, it must not begin anew.
        lock(&self.purses).retain(|purse| Arc::strong_count(purse) > 1);
    }

    /// The rotation of a group, made at the first call.
    pub fn rotation(&self, group: &str) -> Arc<Rotation> {
        let mut rotations = lock(&self.rotations);
        if let Some(known) = rotations.iter().find(|rotation| rotation.group == group) {
            return Arc::clone(known);
        }
        let policy = Mutex::new(lock(&self.rules).policy(group));
        let rotation = Arc::new(Rotation { group: group.to_owned(), policy, turn: AtomicU32::new(0) });
        rotations.push(Arc::clone(&rotation));
        rotation
    }

    /// Whom of `group` to ask next; bit n of `asked` is set for those that were
    /// asked for this question. `None` if nobody is left that is worth asking.
    pub fn choose(
        &self,
        rotation: &Rotation,
        group: &[Arc<Upstream>],
        asked: u64,
        random: u32,
        now: u64,
    ) -> Option<usize> {
        if group.len() == 1 {
            return (asked == 0).then_some(0);
        }
        let policy = *lock(&rotation.policy);
        let turn = match asked {
            0 => rotation.turn.fetch_add(1, Ordering::Relaxed),
            _ => rotation.turn.load(Ordering::Relaxed).wrapping_sub(1),
        };
        let mut candidates = [Candidate::DOWN; policy::MOST];
        for (candidate, upstream) in candidates.iter_mut().zip(group) {
            *candidate = upstream.candidate(now);
        }
        let known = candidates.get(..group.len().min(policy::MOST)).unwrap_or_default();
        let chosen = policy::choose(policy, known.iter().copied(), asked, turn, random)?;
        if known.get(chosen).is_some_and(|candidate| candidate.may_try)
            && let Some(upstream) = group.get(chosen)
        {
            lock(&upstream.health).try_one(now);
        }
        Some(chosen)
    }

    /// When the next probe is due, or a little earlier.
    #[inline]
    pub fn next_probe(&self) -> Option<u64> {
        Some(self.alarm.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
    }

    /// The probes that are due now; they count as sent.
    pub fn due_probes(&self, random: u32, now: u64) -> Vec<Probe> {
        let upstreams = lock(&self.upstreams).clone();
        let mut probes = Vec::new();
        // What is set from now on stands.
        self.alarm.store(NEVER, Ordering::Relaxed);
        for upstream in upstreams {
            let mut due = false;
            upstream.judge(now, |health| {
                let (is_due, change) = health.probe_due(random, now);
                due = is_due;
                change
            });
            if !due {
                continue;
            }
            match upstream.admit(Class::Probe, None, now) {
                Ok(ticket) => {
                    HealthCounters::add(&upstream.counters.probes);
                    probes.push(Probe { upstream, ticket });
                }
                Err(_) => upstream.judge(now, |health| {
                    health.probe_refused(now);
                    None
                }),
            }
        }
        probes
    }
}

#[cfg(test)]
mod tests;
