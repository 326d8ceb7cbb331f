//! How many requests may go: token buckets by subscription and family, and
//! the pauses that Azure asks for. Measured by tokio's clock.
//!
//! Who waits stands in line: only the first sleeps, so that a thousand
//! listings do not wake up together for one token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use super::Family;
use super::limits::{Limits, Rate};
use crate::metrics::azure::{AzureFamily, AzureMetrics, AzureWait};

/// Buckets that are full again are dropped when there are more than this.
const MAX_IDLE: usize = 4096;

/// Longest pause that Azure may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// What a bucket is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// All reads of a subscription, or of the tenant where it is empty.
    Subscription(String),
    /// A family, and the subscription or zone in which it is limited.
    Family(AzureFamily, String),
}

/// The buckets of one identity.
#[derive(Debug, Default)]
pub(super) struct Budget {
    buckets: Mutex<HashMap<Key, Arc<Bucket>>>,
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// Held by the one who is next.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// The generic cell rate algorithm: one instant says how full a bucket is.
#[derive(Debug)]
struct State {
    full_at: Instant,
    paused_until: Option<Instant>,
}

/// Why nothing may go, and for how long.
enum Wait {
    Budget(Duration),
    Paused(Duration),
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        let state = State { full_at: Instant::now(), paused_until: None };
        Self { rate, turn: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token, or says how long to wait for one.
    fn try_take(&self) -> Result<(), Wait> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.paused_until {
            if until > now {
                return Err(Wait::Paused(until - now));
            }
            state.paused_until = None;
        }
        let full_at = state.full_at.max(now);
        let room = self.rate.interval.saturating_mul(self.rate.burst.saturating_sub(1));
        let wait = (full_at - now).saturating_sub(room);
        if !wait.is_zero() {
            return Err(Wait::Budget(wait));
        }
        state.full_at = full_at + self.rate.interval;
        Ok(())
    }

    /// No token before `until`, and then not a burst of them.
    fn pause(&self, until: Instant) {
        let mut state = self.state();
        state.paused_until = Some(state.paused_until.map_or(until, |known| known.max(until)));
        let room = self.rate.interval.saturating_mul(self.rate.burst.saturating_sub(1));
        state.full_at = state.full_at.max(until + room);
    }

    fn is_idle(&self) -> bool {
        let (now, state) = (Instant::now(), self.state());
        state.full_at <= now && state.paused_until.is_none_or(|until| until <= now)
    }
}

/// A little more than `wait`: clients that were sent away together come back apart.
fn jittered(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::rng().random_range(0.0..0.1))
}

impl Budget {
    /// The buckets that a request draws on, the family's first.
    fn buckets(&self, family: &Family, subscription: &str, limits: &Limits) -> Vec<Arc<Bucket>> {
        let (scope, rate) = match family {
            Family::RecordSets(zone) => (zone.as_str(), limits.record_sets),
            Family::Graph => ("", limits.graph),
            _ => (subscription, limits.reads),
        };
        let mut keys = vec![(Key::Family(family.metric(), scope.to_owned()), rate)];
        // Resource Graph counts its queries by itself.
        if *family != Family::Graph {
            keys.push((Key::Subscription(subscription.to_owned()), limits.reads));
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > MAX_IDLE {
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_idle());
        }
        keys.into_iter()
            .map(|(key, rate)| Arc::clone(buckets.entry(key).or_insert_with(|| Arc::new(Bucket::new(rate)))))
            .collect()
    }

    /// Waits until a request may go. A pause that lasts longer than the
    /// limits' patience is not waited for: its rest is the error.
    pub(super) async fn take(
        &self,
        family: &Family,
        subscription: &str,
        limits: &Limits,
        metrics: &AzureMetrics,
    ) -> Result<(), Duration> {
        let start = Instant::now();
        let mut reason = None;
        for bucket in self.buckets(family, subscription, limits) {
            let _turn = bucket.turn.lock().await;
            while let Err(wait) = bucket.try_take() {
                let wait = match wait {
                    Wait::Paused(wait) => {
                        reason = Some(AzureWait::Throttled);
                        if wait > limits.patience {
                            return Err(wait);
                        }
                        wait
                    }
                    Wait::Budget(wait) => {
                        reason = reason.or(Some(AzureWait::Budget));
                        wait
                    }
                };
                sleep(jittered(wait)).await;
            }
        }
        if let Some(reason) = reason {
            metrics.waited(family.metric(), reason, start.elapsed());
        }
        Ok(())
    }

    /// Lets no request of the family go for `wait`, or none of the whole
    /// subscription where Resource Manager itself is what limits.
    pub(super) fn pause(
        &self,
        family: &Family,
        subscription: &str,
        limits: &Limits,
        wait: Duration,
        all: bool,
    ) {
        let until = Instant::now() + wait.min(MAX_PAUSE);
        let buckets = self.buckets(family, subscription, limits);
        let count = if all { buckets.len() } else { 1 };
        for bucket in &buckets[..count] {
            bucket.pause(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIPTION: &str = "11111111-1111-1111-1111-111111111111";

    async fn take(budget: &Budget, family: &Family, count: usize) -> Duration {
        let (limits, metrics) = (Limits::default(), AzureMetrics::default());
        let start = Instant::now();
        for _ in 0..count {
            budget.take(family, SUBSCRIPTION, &limits, &metrics).await.expect("no long pause");
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_than_a_hundred_listings_of_a_zone() {
        let budget = Budget::default();
        let zone = Family::RecordSets("/zone".to_owned());
        assert_eq!(take(&budget, &zone, 40).await, Duration::ZERO);
        let rest = take(&budget, &zone, 60).await;
        assert!(rest >= Duration::from_secs(60), "{rest:?}");
        let other = Family::RecordSets("/other".to_owned());
        assert_eq!(take(&budget, &other, 40).await, Duration::ZERO, "zones are limited apart");
    }

    #[tokio::test(start_paused = true)]
    async fn resource_graph_gets_fifteen_in_five_seconds() {
        let budget = Budget::default();
        let took = take(&budget, &Family::Graph, 15).await;
        assert!(took >= Duration::from_secs(5), "{took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn families_of_a_subscription_share_its_reads() {
        let budget = Budget::default();
        assert_eq!(take(&budget, &Family::Network, 200).await, Duration::ZERO);
        assert_eq!(take(&budget, &Family::Registry, 50).await, Duration::ZERO);
        let took = take(&budget, &Family::PrivateDns, 25).await;
        assert!(took >= Duration::from_secs(1), "{took:?}");
        let (limits, metrics) = (Limits::default(), AzureMetrics::default());
        let start = Instant::now();
        budget.take(&Family::Network, "another", &limits, &metrics).await.expect("a token");
        assert_eq!(start.elapsed(), Duration::ZERO, "subscriptions are limited apart");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_the_family_and_ends_without_a_burst() {
        let (budget, limits, metrics) = (Budget::default(), Limits::default(), AzureMetrics::default());
        let zone = Family::RecordSets("/zone".to_owned());
        budget.pause(&zone, SUBSCRIPTION, &limits, Duration::from_secs(10), false);
        assert_eq!(take(&budget, &Family::PrivateDns, 1).await, Duration::ZERO);
        let start = Instant::now();
        budget.take(&zone, SUBSCRIPTION, &limits, &metrics).await.expect("a short pause");
        assert!(start.elapsed() >= Duration::from_secs(10));
        assert_eq!(metrics.waits(AzureFamily::RecordSets, AzureWait::Throttled), 1);
        // The first may have come up to a second late, by jitter.
        let rest = take(&budget, &zone, 5).await;
        assert!(rest >= Duration::from_secs(4), "{rest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_subscription_holds_all_families() {
        let (budget, limits, metrics) = (Budget::default(), Limits::default(), AzureMetrics::default());
        budget.pause(&Family::Network, SUBSCRIPTION, &limits, Duration::from_secs(300), true);
        let left = budget.take(&Family::Registry, SUBSCRIPTION, &limits, &metrics).await;
        assert!(left.is_err_and(|left| left > limits.patience), "a long pause is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_in_order() {
        let budget = Arc::new(Budget::default());
        take(&budget, &Family::Graph, 5).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..20)
            .map(|i| {
                let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
                tokio::spawn(async move {
                    take(&budget, &Family::Graph, 1).await;
                    order.lock().expect("no panic").push(i);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(*order.lock().expect("no panic"), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_that_are_full_again_are_dropped() {
        let (budget, limits) = (Budget::default(), Limits::default());
        for i in 0..MAX_IDLE + 2 {
            drop(budget.buckets(&Family::RecordSets(format!("/zone{i}")), SUBSCRIPTION, &limits));
        }
        let held = budget.buckets.lock().expect("no panic").len();
        assert!(held < 10, "{held}");
    }
}
