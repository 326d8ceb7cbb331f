//! What is kept, for how long, and what it says meanwhile.

use super::replay::Replay;

const WWW: &str = "www.example A";

/// Without renewals, which would replace what is looked at here.
fn replay() -> Replay {
    Replay::with(&[("main", 1)], |settings| settings.cache.max_renewals = 0)
}

fn www(ttl: u32) -> String {
    format!("NOERROR | www.example {ttl} A 192.0.2.1")
}

/// Asks, and has upstream 0 asked as well.
fn misses(replay: &mut Replay, question: &str) {
    let client = replay.ask(question);
    client.waits();
    let asked = replay.sees(0, question);
    replay.answer(&asked, "NOERROR | | . 0 SOA a.example. a.example. 1 2 3 4 0");
}

#[test]
fn a_ttl_ages_and_ends_the_answer() {
    let mut replay = replay();
    replay.fetches(WWW, &www(300));
    for (ms, left) in [(0, 300), (996, 300), (1000, 299), (100_500, 200), (299_996, 1)] {
        replay.at(ms).hits(WWW, &www(left));
    }
    replay.at(300_000);
    misses(&mut replay, WWW);
}

#[test]
fn the_failover_of_a_registry_is_seen_within_its_ttl() {
    let mut replay = replay();
    let chain = |ttl: u32, last: u32, address: &str| {
        format!("NOERROR | r.example {ttl} CNAME eus.example.; eus.example {last} A {address}")
    };
    replay.fetches("r.example A", &chain(60, 10, "192.0.2.1"));
    replay.at(9996).hits("r.example A", &chain(51, 1, "192.0.2.1"));
    // The smallest TTL of the chain counts (RFC 2181 section 5.2).
    let client = replay.at(10_000).ask("r.example A");
    let asked = replay.sees(0, "r.example A");
    replay.answer(&asked, &chain(60, 10, "192.0.2.2"));
    replay.gets(&client, &chain(60, 10, "192.0.2.2"));
}

#[test]
fn an_answer_is_kept_a_day_at_most_and_its_ttl_is_the_upstreams() {
    let mut replay = replay();
    replay.fetches(WWW, &www(172_800));
    replay.at(86_399_996).hits(WWW, &www(172_800 - 86_399));
    replay.at(86_400_000);
    misses(&mut replay, WWW);
}

#[test]
fn a_ttl_of_zero_is_for_this_once() {
    let mut replay = replay();
    for _ in 0..2 {
        replay.fetches(WWW, &www(0));
    }
    assert_eq!(replay.kept(), 0);
    // The top bit set is 0 as well (RFC 2181 section 8).
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &www(0x8000_0001));
    replay.gets(&client, &www(0));
    assert_eq!(replay.kept(), 0);
}

#[test]
fn denials_are_kept_by_the_smaller_of_soa_ttl_and_minimum() {
    let denial = |rcode: &str, ttl: u32, minimum: u32| {
        format!("{rcode} | | example {ttl} SOA ns.example. host.example. 1 2 3 4 {minimum}")
    };
    for rcode in ["NXDOMAIN", "NOERROR"] {
        for (ttl, minimum) in [(900, 60), (60, 900)] {
            let mut replay = replay();
            let client = replay.ask(WWW);
            let asked = replay.sees(0, WWW);
            replay.answer(&asked, &denial(rcode, ttl, minimum));
            // Clients take the smaller of both, and only the TTL ages.
            replay.gets(&client, &denial(rcode, 60, minimum));
            replay.at(59_996).hits(WWW, &denial(rcode, 1, minimum));
            replay.at(60_000);
            misses(&mut replay, WWW);
        }
        // However long the zone says, no longer than an hour (RFC 2308 section 5).
        let mut replay = replay();
        replay.fetches(WWW, &denial(rcode, 86_400, 86_400));
        replay.at(3_599_996).hits(WWW, &denial(rcode, 86_400 - 3599, 86_400));
        replay.at(3_600_000);
        misses(&mut replay, WWW);
    }
}

#[test]
fn denials_without_an_soa_of_their_own_are_not_kept() {
    for denial in
        ["NXDOMAIN", "NOERROR", "NXDOMAIN | | other.example 60 SOA a.example. b.example. 1 2 3 4 60"]
    {
        let mut replay = replay();
        for _ in 0..2 {
            replay.fetches(WWW, denial);
        }
        assert_eq!(replay.kept(), 0, "{denial}");
    }
}

#[test]
fn an_upstreams_failure_is_kept_five_seconds() {
    let mut replay = replay();
    replay.fetches(WWW, "SERVFAIL ede=9");
    // From the cache, which tells (RFC 8914 section 4.14).
    replay.at(4996).hits(WWW, "SERVFAIL ede=13 ede=9");
    replay.at(5000);
    misses(&mut replay, WWW);
}

#[test]
fn rfc9520_a_failure_is_kept_a_second_at_least_and_half_a_minute_at_most() {
    for (configured, kept) in [(0, 1000), (300, 30_000)] {
        let mut replay = Replay::with(&[("main", 1)], |settings| settings.cache.servfail_ttl = configured);
        replay.fetches(WWW, "SERVFAIL");
        replay.at(kept - 4).hits(WWW, "SERVFAIL ede=13");
        // Of this question, and of no other.
        misses(&mut replay, "www.example AAAA");
        replay.at(kept);
        misses(&mut replay, WWW);
    }
}

#[test]
fn an_answer_is_kept_for_its_own_question_alone() {
    let mut replay = replay();
    let questions = ["A", "AAAA", "A do", "A cd", "A do cd", "A class=3"];
    for round in 0..2 {
        for (number, question) in questions.iter().enumerate() {
            let (asking, ttl) = (format!("www.example {question}"), 300 + number);
            let expected = format!(
                "NXDOMAIN{} | | example {ttl} SOA a.example. b.example. 1 2 3 4 900",
                if question.contains("cd") { " cd" } else { "" }
            );
            if round == 0 {
                replay.fetches(&asking, &expected);
            } else {
                replay.hits(&asking, &expected);
            }
        }
    }
}

#[test]
fn the_extended_error_of_the_upstream_is_kept_and_passed_on() {
    let mut replay = replay();
    replay.fetches(WWW, "NOERROR ede=4 | www.example 300 A 192.0.2.1");
    replay.at(10_000).hits(WWW, "NOERROR ede=4 | www.example 290 A 192.0.2.1");
    replay.hits("www.example A no-opt", "NOERROR | www.example 290 A 192.0.2.1");
}

#[test]
fn what_an_upstream_says_of_itself_is_not_passed_on() {
    let mut replay = replay();
    let client = replay.ask("www.example A do");
    let asked = replay.sees(0, "www.example A do");
    // Neither is it authoritative through us, nor do we believe what it authenticated.
    replay.answer(&asked, "NOERROR aa ad | www.example 300 A 192.0.2.1");
    replay.gets(&client, &www(300));
    replay.hits("www.example A do", &www(300));
}
