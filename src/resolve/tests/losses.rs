//! Queries and responses that are lost: when they are sent again, how often,
//! and when clients hear.

use super::replay::Replay;
use crate::metrics::forward::{Failure, Mismatch};

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
/// Nobody answered in time (RFC 8914 section 4.23).
const IN_VAIN: &str = "SERVFAIL ede=22";

/// Has so many questions answered, each after the next of `rtts` milliseconds.
pub(super) fn acquaint(replay: &mut Replay, count: usize, rtts: &[u64]) {
    for (number, rtt) in rtts.iter().cycle().take(count).enumerate() {
        let name = format!("known{number}.example");
        let client = replay.ask(&format!("{name} A"));
        let asked = replay.sees(0, &format!("{name} A"));
        let answer = format!("NOERROR | {name} 300 A 192.0.2.1");
        replay.at(replay.now() + rtt).answer(&asked, &answer);
        replay.gets(&client, &answer);
        // Those that are asked as well, since this one is slow.
        replay.overlook();
    }
}

#[test]
fn silence_costs_three_queries_and_the_client_hears_within_2352_ms() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(800);
    let second = replay.sees(0, WWW);
    replay.at(2348);
    client.waits();
    // A little before what is configured: the answer has a way to go as well.
    replay.at(2352).gets(&client, IN_VAIN);
    replay.at(2396).is_quiet();
    // The second wait is twice as long as the first.
    replay.at(2400);
    let third = replay.sees(0, WWW);
    assert!([&second, &third].iter().any(|other| (other.id(), other.way) != (first.id(), first.way)));
    replay.at(9996);
    assert_eq!(replay.in_flight(), 1);
    replay.at(10_000);
    assert_eq!((replay.in_flight(), replay.kept()), (0, 0), "a SERVFAIL of our own is not kept");
    assert_eq!(replay.counters(0).failures(Failure::Timeout), 3);
    // What comes now belongs to nobody.
    replay.at(10_004).answer(&third, GOOD);
    assert_eq!((replay.metrics().mismatches(Mismatch::Late), replay.kept()), (1, 0));
    let next = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, GOOD);
    replay.gets(&next, GOOD);
}

#[test]
fn the_exchange_outlasts_its_clients_and_fills_the_cache() {
    for answered in 0..3 {
        let mut replay = Replay::new(1);
        let first = replay.ask(WWW);
        let mut asked = vec![replay.sees(0, WWW)];
        replay.at(800);
        asked.push(replay.sees(0, WWW));
        let second = replay.at(2000).ask(WWW);
        replay.at(2352).gets(&first, IN_VAIN);
        replay.at(2400);
        asked.push(replay.sees(0, WWW));
        replay.at(4348);
        second.waits();
        replay.at(4352).gets(&second, IN_VAIN);
        let third = replay.at(9000).ask(WWW);
        // Whichever of the queries it is that is answered after all.
        replay.at(9960).answer(&asked[answered], GOOD);
        replay.gets(&third, GOOD);
        replay.hits(WWW, GOOD);
        replay.at(19_960).hits(WWW, "NOERROR | www.example 290 A 192.0.2.1");
    }
}

#[test]
fn resends_follow_the_measured_round_trips() {
    let mut replay = Replay::new(1);
    acquaint(&mut replay, 60, &[100]);
    let began = replay.now();
    let client = replay.ask(WWW);
    replay.sees(0, WWW);
    replay.at(began + 2352).gets(&client, IN_VAIN);
    let after = [0; 2].map(|_| replay.saw(0, WWW).at - began);
    // To an eighth, and to the tick of the timers.
    assert!((100..=116).contains(&after[0]), "after {after:?} ms");
    assert!((200..=232).contains(&(after[1] - after[0])), "after {after:?} ms");
    replay.at(began + 10_000);
    assert_eq!(replay.in_flight(), 0);
}

#[test]
fn a_near_upstream_has_50_ms_before_it_is_asked_again() {
    let mut replay = Replay::new(1);
    acquaint(&mut replay, 60, &[4]);
    let began = replay.now();
    let client = replay.ask(WWW);
    replay.sees(0, WWW);
    replay.at(began + 60);
    let again = replay.saw(0, WWW);
    assert!((50..=54).contains(&(again.at - began)), "after {} ms", again.at - began);
    replay.answer(&again, GOOD);
    replay.gets(&client, GOOD);
}

#[test]
fn a_far_upstream_is_not_waited_for_longer_than_the_configured_time() {
    let mut replay = Replay::new(1);
    acquaint(&mut replay, 5, &[760, 40]);
    let began = replay.now();
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(began + 800);
    replay.sees(0, WWW);
    replay.at(began + 1200).answer(&first, GOOD);
    replay.gets(&client, GOOD);
}

#[test]
fn a_response_ends_the_resends() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.at(796).answer(&asked, GOOD);
    replay.gets(&client, GOOD);
    replay.at(20_000).is_quiet();
    assert_eq!(replay.counters(0).failures(Failure::Timeout), 0);
}

#[test]
fn a_failure_that_was_told_is_better_than_none_when_the_time_is_over() {
    let mut replay = Replay::new(2);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.at(40).answer(&asked, "SERVFAIL ede=6");
    replay.sees(1, WWW);
    replay.at(840);
    replay.sees(1, WWW);
    replay.at(2348);
    client.waits();
    replay.at(2352).gets(&client, "SERVFAIL ede=6");
    replay.at(2440);
    replay.sees(1, WWW);
    replay.at(10_000);
    assert_eq!(replay.in_flight(), 0);
}
