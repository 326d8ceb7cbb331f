//! Serve stale (RFC 8767), by the clock.

use super::replay::Replay;
use crate::metrics::forward::CacheLookup;

const WWW: &str = "www.example A";
const FRESH: &str = "NOERROR | www.example 60 A 192.0.2.1";
const STALE: &str = "NOERROR ede=3 | www.example 30 A 192.0.2.1";
const DAY: u64 = 86_400_000;

/// An answer that expired half a minute ago: it is 90,000 ms.
fn expired() -> Replay {
    let mut replay = Replay::new(1);
    replay.fetches_in(400, WWW, FRESH);
    replay.at(90_000);
    replay
}

#[test]
fn a_client_waits_1800_ms_for_a_fresh_answer_and_the_exchange_goes_on() {
    let mut replay = expired();
    let first = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.at(90_800);
    replay.sees(0, WWW);
    let second = replay.at(91_000).ask(WWW);
    replay.at(91_796);
    first.waits();
    replay.at(91_800).gets(&first, STALE);
    // From here on nobody waits: the upstream is known to be slow.
    replay.hits(WWW, STALE);
    second.waits();
    replay.at(92_400);
    replay.sees(0, WWW);
    replay.at(92_800).gets(&second, STALE);
    assert_eq!(replay.metrics().lookups(CacheLookup::Stale), 3);
    // The exchange goes on, and what it brings ends the stale answers.
    replay.at(99_960).answer(&asked, FRESH);
    replay.hits(WWW, FRESH);
}

#[test]
fn a_fresh_answer_in_time_is_what_the_client_gets() {
    let mut replay = expired();
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.at(90_796).answer(&asked, "NOERROR | www.example 60 A 192.0.2.9");
    replay.gets(&client, "NOERROR | www.example 60 A 192.0.2.9");
    replay.at(91_800).hits(WWW, "NOERROR | www.example 59 A 192.0.2.9");
}

#[test]
fn an_answer_is_preferred_to_a_newer_failure_which_is_rechecked_after_30_s() {
    for failure in ["SERVFAIL", "REFUSED", "SERVFAIL ede=22"] {
        let mut replay = expired();
        let mut began = 90_000;
        for _ in 0..3 {
            let client = replay.at(began).ask(WWW);
            let asked = replay.sees(0, WWW);
            replay.at(began + 40).answer(&asked, failure);
            replay.gets(&client, STALE);
            replay.at(began + 29_996).hits(WWW, STALE);
            began += 31_000;
        }
        let client = replay.at(began).ask(WWW);
        let asked = replay.sees(0, WWW);
        replay.answer(&asked, FRESH);
        replay.gets(&client, FRESH);
    }
}

#[test]
fn silence_is_rechecked_after_30_s() {
    let mut replay = expired();
    let client = replay.ask(WWW);
    replay.sees(0, WWW);
    replay.at(90_800);
    replay.sees(0, WWW);
    replay.at(91_800).gets(&client, STALE);
    replay.at(92_400);
    replay.sees(0, WWW);
    // The exchange is over, in vain.
    replay.at(100_000);
    assert_eq!(replay.in_flight(), 0);
    replay.at(120_996).hits(WWW, STALE);
    let next = replay.at(122_000).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, FRESH);
    replay.gets(&next, FRESH);
}

#[test]
fn nothing_stands_in_for_longer_than_a_day() {
    let mut replay = Replay::new(1);
    replay.fetches(WWW, FRESH);
    let last = replay.now() + 60_000 + DAY;
    let client = replay.at(last - 4).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "SERVFAIL");
    replay.gets(&client, STALE);
    // It is left alone for half a minute, but there is nothing any more to give out.
    let next = replay.at(last).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "SERVFAIL");
    replay.gets(&next, "SERVFAIL");
}

#[test]
fn a_stale_denial_tells_of_itself_by_another_code() {
    let denial = |ttl: u32, ede: &str| {
        format!("NXDOMAIN{ede} | | example {ttl} SOA ns.example. host.example. 1 2 3 4 60")
    };
    let mut replay = Replay::new(1);
    replay.fetches(WWW, &denial(60, ""));
    let client = replay.at(90_000).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "SERVFAIL");
    replay.gets(&client, &denial(30, " ede=19"));
    replay.hits(WWW, &denial(30, " ede=19"));
}

#[test]
fn a_newer_denial_is_an_answer() {
    let denial = "NXDOMAIN | | example 60 SOA ns.example. host.example. 1 2 3 4 60";
    let mut replay = expired();
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, denial);
    replay.gets(&client, denial);
    replay.hits(WWW, denial);
}

#[test]
fn a_newer_answer_that_is_not_to_be_kept_ends_what_was() {
    let mut replay = expired();
    let brief = "NOERROR | www.example 0 A 192.0.2.9";
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, brief);
    replay.gets(&client, brief);
    assert_eq!(replay.kept(), 0);
    let next = replay.at(90_400).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "SERVFAIL");
    replay.gets(&next, "SERVFAIL");
}

#[test]
fn a_failure_never_stands_in() {
    let mut replay = Replay::new(1);
    replay.fetches_in(400, WWW, "SERVFAIL");
    let client = replay.at(6000).ask(WWW);
    replay.sees(0, WWW);
    replay.at(6800);
    replay.sees(0, WWW);
    replay.at(8348);
    client.waits();
    replay.at(8352).gets(&client, "SERVFAIL ede=22");
    replay.at(8400);
    replay.sees(0, WWW);
}

#[test]
fn where_the_client_would_be_the_last_to_wait_the_stale_answer_goes_out_at_once() {
    let mut replay = Replay::with(&[("main", 1)], |settings| settings.forward.max_in_flight = 1);
    replay.fetches(WWW, FRESH);
    let other = replay.at(90_000).ask("other.example A");
    let asked = replay.sees(0, "other.example A");
    let client = replay.ask(WWW);
    replay.gets(&client, STALE);
    replay.answer(&asked, "NOERROR | other.example 60 A 192.0.2.3");
    replay.gets(&other, "NOERROR | other.example 60 A 192.0.2.3");
    // Nobody was asked, so nothing is known of the upstream: the next one asks.
    let next = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, FRESH);
    replay.gets(&next, FRESH);
}
