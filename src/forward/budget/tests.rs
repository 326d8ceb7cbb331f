//! Limits that hold over any second, and shares that starve nobody.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::shares::{Prefix, PrefixBits};
use super::*;

const AZURE: Limits = Limits { rate: Some(800), in_flight: Some(150), prefetch_percent: 10 };
const BITS: PrefixBits = PrefixBits { v4: 32, v6: 64 };
const SECOND: u64 = 1000;

fn client(n: u32) -> ClientKey {
    ClientKey::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)), BITS)
}

fn limits(rate: u32, in_flight: u32) -> Limits {
    Limits { rate: Some(rate), in_flight: Some(in_flight), prefetch_percent: 10 }
}

/// Clients that ask evenly, an upstream that answers each after `rtt`.
struct Load {
    budget: Budget,
    /// Queries a second by client, and its weight.
    clients: Vec<(u32, f64, u32)>,
    rtt: u64,
    now: u64,
    due: Vec<f64>,
    flying: VecDeque<(u64, Ticket)>,
}

impl Load {
    fn new(limits: Limits, rtt: u64) -> Self {
        let budget = Budget::new(limits, 0x5eed);
        Self { budget, clients: Vec::new(), rtt, now: 1_000_000, due: Vec::new(), flying: VecDeque::new() }
    }

    fn with(mut self, count: u32, per_second: f64, weight: u32) -> Self {
        for _ in 0..count {
            let number = self.clients.len() as u32 + 1;
            self.clients.push((number, per_second, weight));
            // Not all at once.
            self.due.push(f64::from(number * 7 % 13) / 13.0);
        }
        self
    }

    /// Runs for `seconds`; asked and admitted by client.
    fn run(&mut self, seconds: u64) -> BTreeMap<u32, (u32, u32)> {
        let mut counts = BTreeMap::new();
        for _ in 0..seconds * SECOND {
            self.now += 1;
            while self.flying.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, ticket) = self.flying.pop_front().unwrap();
                self.budget.release(ticket);
            }
            for (at, (number, rate, weight)) in self.clients.iter().enumerate() {
                self.due[at] += rate / 1000.0;
                while self.due[at] >= 1.0 {
                    self.due[at] -= 1.0;
                    let count: &mut (u32, u32) = counts.entry(*number).or_default();
                    count.0 += 1;
                    let admitted = self.budget.admit(Class::Query, client(*number), || *weight, self.now);
                    if let Ok(ticket) = admitted {
                        count.1 += 1;
                        self.flying.push_back((self.now + self.rtt, ticket));
                    }
                }
            }
        }
        counts
    }
}

fn share((asked, admitted): (u32, u32)) -> f64 {
    f64::from(admitted) / f64::from(asked)
}

#[test]
fn below_the_limits_nobody_is_refused() {
    let mut load = Load::new(AZURE, 20).with(50, 14.0, 1);
    let counts = load.run(10);
    assert!(counts.values().all(|(asked, admitted)| asked == admitted), "{counts:?}");
}

#[test]
fn a_burst_after_quiet_is_admitted_as_far_as_the_second_has_room() {
    let mut budget = Budget::new(limits(800, 1_000_000), 1);
    let admitted = (0..1000).filter(|n| budget.admit(Class::Query, client(*n), || 1, 5000).is_ok()).count();
    // A quarter unpaced, and a quarter ahead of the pace.
    assert!((390..=430).contains(&admitted), "{admitted}");
}

#[test]
fn two_busy_servers_alone_get_all_of_the_budget() {
    for busy in [1, 2, 3] {
        let mut load = Load::new(AZURE, 20).with(busy, 2000.0, 1);
        load.run(5);
        let total: u32 = load.run(10).values().map(|(_, admitted)| admitted).sum();
        assert!(total >= 7_300, "{busy}: {total} of 8000");
    }
    // By what is in flight, where the upstream is slow: 150 that take 500 ms.
    let mut load = Load::new(AZURE, 500).with(2, 2000.0, 1);
    load.run(5);
    let total: u32 = load.run(10).values().map(|(_, admitted)| admitted).sum();
    assert!(total >= 2_700, "{total} of 3000");
}

#[test]
fn one_noisy_host_starves_nobody_and_gets_what_is_left() {
    for noisy in [2000.0, 20_000.0] {
        for rtt in [5, 100] {
            let mut load = Load::new(AZURE, rtt).with(1, noisy, 1).with(100, 3.0, 1);
            load.run(3);
            let counts = load.run(10);
            let quiet: Vec<_> = counts.iter().filter(|(n, _)| **n > 1).map(|(_, count)| *count).collect();
            let asked: u32 = quiet.iter().map(|(asked, _)| asked).sum();
            let admitted: u32 = quiet.iter().map(|(_, admitted)| admitted).sum();
            assert!(share((asked, admitted)) > 0.99, "{noisy}/s, {rtt} ms: {admitted} of {asked}");
            assert!(quiet.iter().all(|count| share(*count) > 0.9), "{quiet:?}");
            // Work-conserving: the noisy one has the other 500.
            assert!(counts[&1].1 >= 4_200, "{noisy}/s, {rtt} ms: {:?}", counts[&1]);
        }
    }
}

#[test]
fn a_noisy_host_on_a_slow_upstream_leaves_places_in_flight() {
    // 150 in flight at 1 s each: 150 a second. The quiet need 20 of them.
    let mut load = Load::new(AZURE, 1000).with(1, 2000.0, 1).with(20, 1.0, 1);
    load.run(5);
    let counts = load.run(20);
    let quiet = counts.iter().filter(|(n, _)| **n > 1).map(|(_, count)| *count);
    let (asked, admitted) = quiet.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    assert!(share((asked, admitted)) > 0.97, "{admitted} of {asked}");
    assert!(counts[&1].1 >= 2_300, "{:?}", counts[&1]);
}

#[test]
fn busy_hosts_share_by_their_weights() {
    let mut load = Load::new(AZURE, 5).with(1, 3000.0, 3).with(2, 3000.0, 1);
    load.run(5);
    let counts = load.run(20);
    let per_second = |n: u32| f64::from(counts[&n].1) / 20.0;
    let ratio = per_second(1) / f64::midpoint(per_second(2), per_second(3));
    assert!((2.0..3.5).contains(&ratio), "{ratio}: {counts:?}");
    assert!((per_second(2) - per_second(3)).abs() < 30.0, "{counts:?}");
}

#[test]
fn more_prefixes_than_places_are_served_and_do_not_push_out_the_heavy() {
    let mut budget = Budget::new(AZURE, 7);
    let mut admitted = [0u32; 2];
    // One heavy, and a flood of prefixes that come once each.
    for tick in 0..20_000u32 {
        let now = 1_000_000 + u64::from(tick);
        for (kind, key) in [(0, client(0)), (0, client(0)), (1, client(tick + 1))] {
            if let Ok(ticket) = budget.admit(Class::Query, key, || 1, now) {
                admitted[kind] += 1;
                budget.release(ticket);
            }
        }
    }
    let [heavy, flood] = admitted.map(|count| count / 20);
    assert!(flood > 600 && heavy < 200, "{heavy} and {flood} a second");
    let usage = budget.usage(3, 1_020_000);
    assert_eq!(usage.spenders.len(), 3);
}

#[test]
fn lesser_classes_stop_sooner() {
    let admitted = |class: Class| {
        let mut budget = Budget::new(limits(800, 1_000_000), 1);
        let tickets =
            (0..5000u64).filter(|n| budget.admit(class, client(*n as u32), || 1, 5000 + n / 5).is_ok());
        tickets.count()
    };
    let [query, retry, prefetch, probe] = Class::ALL.map(admitted);
    assert!((790..=800).contains(&query), "{query}");
    assert!((690..=700).contains(&retry), "{retry}");
    assert_eq!((prefetch, probe), (80, 400), "prefetches have a tenth");
}

#[test]
fn one_place_in_flight_is_the_probes() {
    let mut budget = Budget::new(limits(1_000_000, 10), 1);
    let all = |budget: &mut Budget, class| {
        (0..20u32).filter(|n| budget.admit(class, client(*n), || 1, 5000).is_ok()).count()
    };
    assert_eq!(all(&mut budget, Class::Query), 9);
    assert_eq!(all(&mut budget, Class::Probe), 1);
    let mut single = Budget::new(limits(1_000_000, 1), 1);
    assert_eq!(all(&mut single, Class::Query), 1, "of one place all have it");
}

#[test]
fn without_limits_all_is_admitted_and_counted() {
    let mut budget = Budget::new(Limits { prefetch_percent: 10, ..Limits::default() }, 1);
    for class in Class::ALL {
        for _ in 0..10_000 {
            assert!(budget.admit(class, client(1), || 1, 5000).is_ok(), "{class:?}");
        }
    }
    let usage = budget.usage(1, 5000);
    assert_eq!((usage.rate, usage.in_flight, usage.exhausted_in), (40_000, 40_000, None));
    assert_eq!(usage.counts.admitted, [10_000; 4]);
    assert_eq!(usage.spenders, [(Prefix(client(1)), 40_000)]);
}

#[test]
fn what_an_outage_held_counts_until_it_ends_or_for_a_moment_after_the_return() {
    let mut budget = Budget::new(limits(1_000_000, 4), 1);
    let take = |budget: &mut Budget, n, now| budget.admit(Class::Query, client(n), || 1, now);
    let old: Vec<Ticket> = (0..3).map(|n| take(&mut budget, n, 5000).unwrap()).collect();
    assert!(take(&mut budget, 9, 5000).is_err());
    budget.returned(6000);
    assert!(take(&mut budget, 9, 6000).is_err(), "what stood still may still be at it");
    budget.release(old[0]);
    let fresh = take(&mut budget, 1, 6000).unwrap();
    assert_eq!((take(&mut budget, 9, 6300), budget.usage(0, 6300).in_flight), (Err(Over::InFlight), 3));
    // The other two never end; half a second later they are lost.
    assert_eq!(budget.usage(0, 6600).in_flight, 1);
    for ticket in old {
        budget.release(ticket);
    }
    assert_eq!(budget.usage(0, 6600).in_flight, 1, "nothing is given back twice");
    budget.returned(6700);
    for _ in 0..3 {
        budget.release(Ticket::from_bits(fresh.to_bits()));
    }
    assert_eq!(budget.usage(0, 6700).in_flight, 0);
}

#[test]
fn exhaustion_is_foreseen_and_steady_use_is_not_alarming() {
    let exhausted_in = |growth: f64, seconds: u64| {
        let mut load = Load::new(AZURE, 5).with(1, 200.0, 1);
        load.run(60);
        for _ in 0..seconds {
            load.clients[0].1 += growth;
            load.run(1);
        }
        let now = load.now;
        load.budget.usage(0, now).exhausted_in
    };
    assert_eq!(exhausted_in(0.0, 30), None);
    // 200 + 40 s: at 30 s it has come to 500; the rest takes 30 s more.
    let ahead = exhausted_in(10.0, 30).unwrap();
    assert!((20.0..45.0).contains(&ahead), "{ahead}");
    assert_eq!(exhausted_in(20.0, 40), Some(0.0));
}

#[test]
fn prefixes_are_cut_and_shown() {
    let key = |text: &str, v4, v6| ClientKey::new(text.parse().unwrap(), PrefixBits { v4, v6 });
    let shown = |text: &str, v4, v6| Prefix(key(text, v4, v6)).text(PrefixBits { v4, v6 });
    assert_eq!(shown("192.0.2.77", 24, 64), "192.0.2.0/24");
    assert_eq!(shown("::ffff:192.0.2.77", 32, 64), "192.0.2.77/32");
    assert_eq!(shown("2001:db8:1:2:3::4", 32, 56), "2001:db8:1::/56");
    assert_eq!(shown("2001:db8:1:2:3::4", 32, 64), "2001:db8:1:2::/64");
    assert_eq!(Prefix(ClientKey::INTERNAL).text(BITS), "internal");
    assert_eq!(key("10.1.2.3", 8, 64), key("10.9.9.9", 8, 64));
    assert_ne!(key("10.1.2.3", 32, 64), key("10.1.2.4", 32, 64));
}

/// What comes in: how much later than the one before, who, what, and how long
/// it stays in flight.
type Arrival = (u64, u32, usize, u64);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let gap = prop_oneof![6 => Just(0u64), 3 => 1u64..4, 1 => 1u64..400];
    prop::collection::vec((gap, 0u32..40, 0usize..4, 0u64..1500), 1..3000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_second_and_no_moment_is_over_the_limits(
        arrivals in arrivals(),
        rate in 1u32..400,
        in_flight in 1u32..60,
        begin in 0u64..100_000,
    ) {
        let mut budget = Budget::new(limits(rate, in_flight), begin);
        let (mut now, mut sent, mut flying) = (begin, VecDeque::new(), Vec::<(u64, Ticket)>::new());
        for (gap, who, class, stays) in arrivals {
            now += gap;
            flying.retain(|(until, ticket)| {
                if *until <= now {
                    budget.release(*ticket);
                }
                *until > now
            });
            if let Ok(ticket) = budget.admit(Class::ALL[class], client(who), || 1, now) {
                sent.push_back(now);
                flying.push((now + stays, ticket));
            }
            // Any second: that which ends here is the fullest with this query.
            while sent.front().is_some_and(|at| at + SECOND <= now) {
                sent.pop_front();
            }
            prop_assert!(sent.len() <= rate as usize, "{} in a second", sent.len());
            prop_assert!(flying.len() <= in_flight as usize, "{} in flight", flying.len());
            prop_assert_eq!(budget.usage(0, now).in_flight as usize, flying.len());
        }
    }
}
