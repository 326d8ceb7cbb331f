//! Which upstream of a group is asked, and when the next one.

use super::losses::acquaint;
use super::replay::Replay;
use crate::forward::health::State;
use crate::metrics::forward::{Failure, Mismatch};

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
const OTHER: &str = "NOERROR | www.example 300 A 192.0.2.2";

#[test]
fn one_that_takes_longer_than_it_mostly_does_gets_company() {
    let mut replay = Replay::new(3);
    acquaint(&mut replay, 64, &[120, 40]);
    let began = replay.now();
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(began + 200);
    let hedge = replay.saw(1, WWW);
    assert!((116..=128).contains(&(hedge.at - began)), "after {} ms", hedge.at - began);
    replay.answer(&hedge, OTHER);
    replay.gets(&client, OTHER);
    // Whoever answers first counts; the other is late, and no failure.
    replay.at(began + 204).answer(&first, GOOD);
    replay.hits(WWW, OTHER);
    assert_eq!(replay.metrics().mismatches(Mismatch::Late), 1);
    assert_eq!(replay.counters(0).failures(Failure::Timeout), 0);
}

#[test]
fn company_comes_once_and_the_first_may_still_win() {
    let mut replay = Replay::new(3);
    acquaint(&mut replay, 64, &[120, 40]);
    let began = replay.now();
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(began + 220);
    let hedge = replay.saw(1, WWW);
    replay.is_quiet();
    replay.answer(&first, GOOD);
    replay.gets(&client, GOOD);
    replay.at(began + 400).answer(&hedge, OTHER);
    replay.hits(WWW, GOOD);
}

#[test]
fn one_that_has_become_slow_is_known_for_it() {
    const SLOW: u64 = 300;
    let mut replay = Replay::new(2);
    acquaint(&mut replay, 64, &[40]);
    let mut hedged = Vec::new();
    for number in 0..200 {
        let (name, began) = (format!("slow{number}.example"), replay.now());
        let answer = format!("NOERROR | {name} 300 A 192.0.2.1");
        let client = replay.ask(&format!("{name} A"));
        let first = replay.sees(0, &format!("{name} A"));
        // The other one is always faster, so that the first is never in time.
        replay.at(began + SLOW - 100);
        let others = replay.take(1);
        hedged.push(!others.is_empty());
        if let Some(other) = others.first() {
            replay.answer(other, &answer);
            replay.gets(&client, &answer);
        }
        replay.overlook();
        replay.at(began + SLOW).answer(&first, &answer);
        if others.is_empty() {
            replay.gets(&client, &answer);
        }
    }
    let last = hedged.iter().rposition(|hedged| *hedged).expect("the first is hedged");
    assert!((10..100).contains(&last), "until {last}");
    assert!(hedged[..last].iter().all(|hedged| *hedged), "{hedged:?}");
    assert_eq!(replay.health(0).state, State::Up);
}

#[test]
fn one_that_never_answers_is_no_slow_one() {
    let mut replay = Replay::new(2);
    acquaint(&mut replay, 64, &[40]);
    let known = replay.health(0).p95;
    for number in 0..20 {
        let (name, began) = (format!("lost{number}.example"), replay.now());
        let client = replay.ask(&format!("{name} A"));
        replay.sees(0, &format!("{name} A"));
        replay.at(began + 48);
        let hedge = replay.saw(1, &format!("{name} A"));
        let answer = format!("NOERROR | {name} 300 A 192.0.2.1");
        replay.answer(&hedge, &answer);
        replay.gets(&client, &answer);
        // Those between are answered: its silence is loss.
        replay.overlook();
        replay.fetches_in(40, &format!("kept{number}.example A"), &answer.replace("lost", "kept"));
    }
    assert_eq!(replay.health(0).p95, known);
}

#[test]
fn one_that_is_hardly_known_gets_none_before_it_is_asked_again() {
    let mut replay = Replay::new(2);
    acquaint(&mut replay, 31, &[120, 40]);
    let began = replay.now();
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(began + 180).is_quiet();
    // The smoothed time and four times its deviation.
    replay.at(began + 300);
    let [company, again] = [1, 0].map(|upstream| replay.saw(upstream, WWW).at - began);
    assert!((200..=280).contains(&company) && company == again, "after {company} and {again} ms");
    replay.answer(&first, GOOD);
    replay.gets(&client, GOOD);
}

#[test]
fn the_next_one_is_asked_where_a_response_is_missing() {
    let mut replay = Replay::new(2);
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(800);
    let second = replay.sees(1, WWW);
    // And the first one again: who is to know which of them it was?
    replay.sees(0, WWW);
    replay.at(820).answer(&second, OTHER);
    replay.gets(&client, OTHER);
    assert_eq!(replay.counters(0).failures(Failure::Timeout), 1);
    replay.at(900).answer(&first, GOOD);
    replay.hits(WWW, OTHER);
}

#[test]
fn two_that_are_silent_are_asked_three_times_each_by_turns() {
    let mut replay = Replay::new(2);
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(2352).gets(&client, "SERVFAIL ede=22");
    replay.at(9000);
    // The second wait of each is twice as long as its first.
    assert_eq!([0; 2].map(|_| replay.saw(0, WWW).at), [800, 2400]);
    assert_eq!([0; 3].map(|_| replay.saw(1, WWW).at), [800, 1600, 3200]);
    replay.answer(&first, GOOD);
    replay.hits(WWW, GOOD);
}

#[test]
fn the_next_one_is_asked_at_once_where_a_response_tells_of_a_failure() {
    for failure in ["SERVFAIL", "REFUSED", "SERVFAIL ede=6"] {
        let mut replay = Replay::new(2);
        let client = replay.ask(WWW);
        let first = replay.sees(0, WWW);
        replay.at(40).answer(&first, failure);
        client.waits();
        let second = replay.sees(1, WWW);
        replay.at(80).answer(&second, GOOD);
        replay.gets(&client, GOOD);
        replay.at(10_000).hits(WWW, "NOERROR | www.example 291 A 192.0.2.1");
    }
}

#[test]
fn a_response_code_moves_on_once() {
    let mut replay = Replay::new(3);
    let client = replay.ask(WWW);
    for upstream in 0..2 {
        let asked = replay.sees(upstream, WWW);
        replay.answer(&asked, "REFUSED");
    }
    // The client's own query was fine: the upstream's REFUSED is between it and us.
    replay.gets(&client, "SERVFAIL ede=0");
    replay.at(10_000).is_quiet();
}

#[test]
fn denials_are_answers() {
    const SOA: &str = "example 60 SOA ns.example. host.example. 1 2 3 4 60";
    for rcode in ["NXDOMAIN", "NOERROR"] {
        let mut replay = Replay::new(2);
        let denial = format!("{rcode} | | {SOA}");
        replay.fetches(WWW, &denial);
        replay.at(5000).hits(WWW, &format!("{rcode} | | {}", SOA.replacen("60", "55", 1)));
        assert_eq!(replay.counters(0).failures(Failure::Servfail), 0);
    }
}

#[test]
fn one_that_is_gone_is_passed_over_at_once() {
    let mut replay = Replay::new(2);
    replay.close(0);
    let client = replay.ask(WWW);
    replay.until_heard();
    let second = replay.sees(1, WWW);
    replay.at(40).answer(&second, OTHER);
    replay.gets(&client, OTHER);
    assert_eq!(replay.counters(0).failures(Failure::Refused), 1);
}

#[test]
fn where_all_are_gone_the_client_hears_at_once() {
    let mut replay = Replay::new(2);
    replay.close(0);
    replay.close(1);
    let client = replay.ask(WWW);
    while replay.in_flight() > 0 {
        replay.until_heard();
    }
    replay.gets(&client, "SERVFAIL ede=23");
    assert_eq!((replay.now(), replay.kept()), (0, 0));
}

#[test]
fn one_that_does_not_know_our_opt_is_asked_without() {
    for rcode in ["FORMERR", "NOTIMP", "BADVERS"] {
        let mut replay = Replay::new(2);
        let client = replay.ask(WWW);
        let first = replay.sees(0, WWW);
        replay.answer(&first, rcode);
        let without = replay.sees(0, "www.example A no-opt");
        replay.answer(&without, GOOD);
        replay.gets(&client, GOOD);
    }
}
