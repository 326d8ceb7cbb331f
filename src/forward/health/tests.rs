//! Down when it is, up soon after it is, and neither on a guess.

use proptest::prelude::*;

use super::*;

const SETTINGS: Settings = Settings { failures: 3, probe_ms: 1000, resend_ms: 200 };
const RTT: Duration = Duration::from_millis(20);
const WAIT: Duration = Duration::from_millis(100);

fn fresh() -> Health {
    Health::new(SETTINGS)
}

/// Down since `now`, by silence.
fn down(now: u64) -> Health {
    let mut health = fresh();
    for _ in 0..3 {
        health.timed_out(WAIT * 5, now);
    }
    assert_eq!(health.state(), State::Down);
    health
}

#[test]
fn three_in_a_row_are_down_and_an_answer_in_between_is_not() {
    let mut health = fresh();
    assert_eq!(health.timed_out(WAIT, 1000), None);
    assert_eq!(health.timed_out(WAIT, 1001), None);
    assert_eq!(health.answered(RTT, Quality::Good, 1050), None);
    assert_eq!(health.timed_out(WAIT, 1200), None);
    assert_eq!(health.timed_out(WAIT, 1201), None);
    assert_eq!(health.timed_out(WAIT, 1202), None, "three, and not for long");
    assert_eq!(health.timed_out(WAIT, 1500), Some(Change::Down(Cause::Silence)));
    assert_eq!(health.timed_out(WAIT, 1501), None, "told once");
}

#[test]
fn what_was_sent_before_an_answered_query_proves_nothing() {
    let mut health = fresh();
    // Sent at 980, answered at 1000; those that time out were sent before.
    health.answered(RTT, Quality::Good, 1000);
    for later in 0..50 {
        assert_eq!(health.timed_out(WAIT, 1000 + later), None);
    }
    assert_eq!(health.state(), State::Up);
}

#[test]
fn what_was_hardly_waited_for_is_no_evidence() {
    let mut health = fresh();
    for later in 0..10 {
        assert_eq!(health.timed_out(Duration::from_millis(99), 1000 + later), None);
    }
    assert_eq!(health.state(), State::Up);
}

#[test]
fn a_lossy_path_is_no_outage() {
    let mut health = fresh();
    // A third is lost; a query every 2 ms.
    for n in 0..5000u64 {
        let now = 10_000 + n * 2;
        let change = match n % 3 {
            0 => health.timed_out(WAIT, now),
            _ => health.answered(RTT, Quality::Good, now),
        };
        assert_eq!(change, None, "at {now}");
    }
    assert_eq!(health.next_probe(), None, "nor suspect");
}

#[test]
fn what_comes_late_is_a_round_trip_and_a_sign_of_life() {
    let mut health = fresh();
    // Each is told as silent and comes after all: slow, and no outage, which
    // so many without an answer in between would be.
    for n in 0..100u64 {
        let now = 10_000 + n * 1000;
        assert_eq!(health.timed_out(WAIT, now), None, "at {now}");
        assert_eq!(health.late(3 * WAIT, now + 500), None);
    }
    assert_eq!(health.state(), State::Up);
    assert!(health.rtt().p95().unwrap() >= 3 * WAIT);
    // It brings nothing back: that takes answers in time.
    let mut health = down(10_000);
    assert_eq!((health.late(RTT, 20_000), health.state()), (None, State::Down));
}

#[test]
fn an_unreachable_upstream_says_why() {
    let mut health = fresh();
    health.unreachable(Duration::ZERO, 1000);
    health.unreachable(Duration::ZERO, 1000);
    let change = health.unreachable(Duration::ZERO, 1000);
    assert_eq!((change, health.cause()), (Some(Change::Down(Cause::Unreachable)), Cause::Unreachable));
}

#[test]
fn probes_begin_at_once_and_slow_down_to_the_configured_pace() {
    let mut health = down(10_000);
    let mut sent = Vec::new();
    for now in 10_000..20_000 {
        if health.probe_due(now as u32 * 7919, now).0 {
            sent.push(now);
        }
    }
    assert_eq!(sent[0], 10_000);
    let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((94..=125).contains(&gaps[0]) && (187..=250).contains(&gaps[1]), "{gaps:?}");
    assert!(gaps[3..].iter().all(|gap| (750..=1000).contains(gap)), "{gaps:?}");
    assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]), "spread: {gaps:?}");
}

#[test]
fn two_good_answers_bring_it_back_and_one_does_not() {
    let mut health = down(10_000);
    assert_eq!(health.probe_answered(RTT, Quality::Good, 11_000), None);
    assert_eq!((health.state(), health.next_probe()), (State::Trial, Some(11_050)));
    assert_eq!(health.probe_answered(RTT, Quality::Good, 11_070), Some(Change::Up(1070)));
    assert_eq!((health.state(), health.next_probe()), (State::Up, None));
}

#[test]
fn one_clients_query_a_second_goes_on_trial_and_decides() {
    let on_trial = || {
        let mut health = down(10_000);
        health.probe_answered(RTT, Quality::Good, 11_000);
        assert!(health.may_try(11_000));
        health.try_one(11_000);
        assert!(!health.may_try(11_999) && health.may_try(12_000));
        health
    };
    assert_eq!(on_trial().answered(RTT, Quality::Good, 11_040), Some(Change::Up(1040)));
    let mut silent = on_trial();
    assert_eq!(silent.timed_out(WAIT, 11_150), None);
    assert_eq!(silent.state(), State::Down);
    assert!(silent.next_probe().is_some(), "the probes go on");
}

#[test]
fn late_time_outs_and_late_answers_of_the_outage_change_nothing() {
    let mut health = down(10_000);
    // Sent before it went down.
    health.answered(Duration::from_secs(3), Quality::Good, 10_100);
    assert_eq!(health.state(), State::Down);
    health.probe_answered(RTT, Quality::Good, 11_000);
    health.probe_answered(RTT, Quality::Good, 11_100);
    for later in 0..50 {
        assert_eq!(health.timed_out(Duration::from_millis(800), 11_100 + later), None);
    }
    assert_eq!(health.state(), State::Up);
}

#[test]
fn when_all_are_down_and_are_asked_their_answers_count() {
    let mut health = down(10_000);
    assert_eq!(health.answered(RTT, Quality::Good, 10_500), None);
    assert_eq!(health.answered(RTT, Quality::Good, 10_501), Some(Change::Up(501)));
}

#[test]
fn failures_make_suspect_and_a_probe_decides() {
    let suspect = || {
        let mut health = fresh();
        for n in 0..64 {
            assert_eq!(health.answered(RTT, Quality::Failure, 1000 + n), None);
        }
        assert_eq!(health.state(), State::Up, "asked for one broken zone, it is not down");
        let due = health.next_probe().expect("a probe");
        assert_eq!(health.probe_due(0, due), (true, None));
        (health, due)
    };
    let (mut cleared, at) = suspect();
    assert_eq!(cleared.probe_answered(RTT, Quality::Good, at + 20), None);
    assert_eq!((cleared.state(), cleared.next_probe()), (State::Up, None));
    let (mut failing, at) = suspect();
    assert_eq!(failing.probe_answered(RTT, Quality::Failure, at + 20), Some(Change::Down(Cause::Failures)));
    let (mut silent, at) = suspect();
    assert_eq!(silent.probe_due(0, at + SUSPECT_WAIT_MS), (false, Some(Change::Down(Cause::Silence))));
}

#[test]
fn one_that_fails_every_probe_is_tried_by_a_client_now_and_then() {
    let mut health = fresh();
    for n in 0..64 {
        health.answered(RTT, Quality::Failure, 1000 + n);
    }
    let due = health.next_probe().unwrap();
    health.probe_due(0, due);
    health.probe_answered(RTT, Quality::Failure, due + 20);
    assert_eq!(health.state(), State::Down);
    health.probe_answered(RTT, Quality::Failure, due + 200);
    assert!(health.may_try(due + 200));
    health.try_one(due + 200);
    assert_eq!(health.answered(RTT, Quality::Failure, due + 240), None);
    assert_eq!(health.state(), State::Down);
    health.probe_answered(RTT, Quality::Failure, due + 1300);
    assert!(health.answered(RTT, Quality::Good, due + 1400).is_some());
    assert_eq!(health.state(), State::Up);
}

#[test]
fn a_probe_without_room_is_sent_soon() {
    let mut health = down(10_000);
    assert!(health.probe_due(0, 10_000).0);
    health.probe_refused(10_000);
    assert_eq!(health.next_probe(), Some(10_000 + FIRST_PROBE_MS));
}

#[derive(Clone, Debug)]
enum Event {
    Answer(u64, bool),
    TimeOut(u64),
    Unreachable(u64),
    Probe(u32),
    ProbeAnswer(u64, bool),
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        (0u64..5000, any::<bool>()).prop_map(|(ms, good)| Event::Answer(ms, good)),
        (0u64..5000).prop_map(Event::TimeOut),
        (0u64..5000).prop_map(Event::Unreachable),
        any::<u32>().prop_map(Event::Probe),
        (0u64..5000, any::<bool>()).prop_map(|(ms, good)| Event::ProbeAnswer(ms, good)),
    ];
    (0u64..500, event)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_back_once_it_answers(events in prop::collection::vec(event(), 0..300)) {
        let (mut health, mut now) = (fresh(), 0);
        let quality = |good| if good { Quality::Good } else { Quality::Failure };
        for (gap, event) in events {
            now += gap;
            let ms = Duration::from_millis;
            let was_up = health.state() == State::Up;
            let change = match event {
                Event::Answer(rtt, good) => health.answered(ms(rtt), quality(good), now),
                Event::TimeOut(waited) => health.timed_out(ms(waited), now),
                Event::Unreachable(waited) => health.unreachable(ms(waited), now),
                Event::Probe(random) => health.probe_due(random, now).1,
                Event::ProbeAnswer(rtt, good) => health.probe_answered(ms(rtt), quality(good), now),
            };
            let is_up = health.state() == State::Up;
            let told = match change {
                Some(Change::Down(_)) => was_up && !is_up,
                Some(Change::Up(_)) => !was_up && is_up,
                None => was_up == is_up,
            };
            prop_assert!(told, "{change:?}");
            prop_assert!(is_up || health.next_probe().is_some(), "down without an end");
            prop_assert!(health.resend_after() <= Duration::from_millis(800));
        }
        // From here on it answers all; a probe that is out is lost.
        let back = now;
        let mut out = None;
        while health.state() != State::Up {
            now += 1;
            prop_assert!(now - back <= 1600, "not back after {} ms", now - back);
            if out == Some(now) {
                health.probe_answered(RTT, Quality::Good, now);
            }
            if health.probe_due(0, now).0 {
                out = Some(now + RTT.as_millis() as u64);
            }
        }
    }
}

#[test]
fn nxdomain_is_an_answer_and_codes_of_edns_are_no_failures() {
    let failures =
        Failures::new(&[Rcode::SERVFAIL, Rcode::REFUSED, Rcode(15), Rcode::BADVERS, Rcode(u16::MAX)]);
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED, Rcode(15)] {
        assert_eq!(failures.quality(rcode), Quality::Failure, "{rcode}");
    }
    for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN, Rcode::NOTIMP, Rcode::BADVERS, Rcode(u16::MAX)] {
        assert_eq!(failures.quality(rcode), Quality::Good, "{rcode}");
    }
}
