//! Other ways to an answer: TCP, the fallback, and the way in a circle.

use super::replay::Replay;
use super::upstream::SHARED;
use crate::metrics::forward::Failure;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";

#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.at(40).answer(&asked, "NOERROR tc | www.example 300 A 203.0.113.66");
    client.waits();
    let over_tcp = replay.sees_tcp(0, WWW);
    // It is not asked over UDP any more.
    replay.at(2000).is_quiet();
    replay.answer(&over_tcp, GOOD);
    replay.gets(&client, GOOD);
    replay.hits(WWW, GOOD);
}

#[test]
fn tcp_that_hangs_is_hedged() {
    let mut replay = Replay::new(2);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.at(40).answer(&asked, "NOERROR tc");
    replay.sees_tcp(0, WWW);
    // After twice what is waited for UDP after one round trip of 40 ms.
    replay.at(280);
    client.waits();
    let hedge = replay.sees(1, WWW);
    replay.answer(&hedge, GOOD);
    replay.gets(&client, GOOD);
    replay.hits(WWW, GOOD);
}

#[test]
fn tcp_too_outlasts_the_client_and_fills_the_cache() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "NOERROR tc");
    let over_tcp = replay.sees_tcp(0, WWW);
    replay.at(2348);
    client.waits();
    replay.at(2352).gets(&client, "NOERROR tc");
    replay.at(9996).answer(&over_tcp, GOOD);
    replay.hits(WWW, GOOD);
}

#[test]
fn a_connection_serves_many_questions_in_any_order() {
    let mut replay = Replay::new(1);
    let names = ["a.example", "b.example", "c.example"];
    let clients = names.map(|name| {
        let client = replay.ask(&format!("{name} A"));
        let asked = replay.sees(0, &format!("{name} A"));
        replay.answer(&asked, "NOERROR tc");
        let over_tcp = replay.sees_tcp(0, &format!("{name} A"));
        (client, over_tcp, format!("NOERROR | {name} 300 A 192.0.2.1"))
    });
    for (client, over_tcp, answer) in clients.iter().rev() {
        replay.at(replay.now() + 40).answer(over_tcp, answer);
        replay.gets(client, answer);
    }
    assert_eq!(replay.counters(0).sent(), (3, 3));
}

#[test]
fn what_tcp_does_not_bring_is_what_udp_brought() {
    let mut replay = Replay::new(1);
    let partial = "NOERROR tc | www.example 300 A 192.0.2.1";
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, partial);
    // What a connection took with it is asked once more, over another.
    for _ in 0..2 {
        client.waits();
        replay.sees_tcp(0, WWW);
        replay.close_stream(0);
    }
    replay.until_heard();
    replay.gets(&client, partial);
    assert_eq!((replay.kept(), replay.counters(0).failures(Failure::Timeout)), (0, 0));
}

const STRANGER: &str = "stranger.azurecr.io A";
const DENIAL: &str = "NXDOMAIN | stranger.azurecr.io 300 CNAME stranger.privatelink.azurecr.io. \
    | privatelink.azurecr.io 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 1 3600 300 2419200 10";
const PUBLIC: &str = "NOERROR | stranger.azurecr.io 300 A 20.0.0.1";

fn with_fallback() -> Replay {
    Replay::with(&[("main", 1), ("fallback", 1)], |settings| settings.cache.max_renewals = 0)
}

#[test]
fn a_strangers_registry_that_a_private_zone_hides_is_asked_of_the_fallback() {
    let mut replay = with_fallback();
    let client = replay.ask(STRANGER);
    let asked = replay.sees(0, STRANGER);
    replay.at(40).answer(&asked, DENIAL);
    client.waits();
    let asked = replay.sees(1, STRANGER);
    replay.at(80).answer(&asked, PUBLIC);
    replay.gets(&client, PUBLIC);
    replay.at(60_080).hits(STRANGER, "NOERROR | stranger.azurecr.io 240 A 20.0.0.1");
    // Without the fallback it says nothing of it, and with it what it said before.
    replay.reload(|settings| settings.forward.fallback = None);
    let client = replay.ask(STRANGER);
    let asked = replay.sees(0, STRANGER);
    replay.answer(&asked, DENIAL);
    replay.gets(&client, DENIAL);
    replay.reload(|_| {});
    replay.hits(STRANGER, "NOERROR | stranger.azurecr.io 240 A 20.0.0.1");
}

#[test]
fn the_denial_stands_while_the_fallback_is_silent() {
    let mut replay = with_fallback();
    let client = replay.ask(STRANGER);
    let asked = replay.sees(0, STRANGER);
    replay.answer(&asked, DENIAL);
    let asked = replay.sees(1, STRANGER);
    replay.at(2348);
    client.waits();
    replay.at(2352).gets(&client, DENIAL);
    replay.at(2400);
    assert_eq!([replay.saw(1, STRANGER).at, replay.saw(1, STRANGER).at], [800, 2400]);
    // It may still come round.
    assert_eq!(replay.kept(), 0);
    replay.at(9996).answer(&asked, PUBLIC);
    replay.hits(STRANGER, PUBLIC);
}

#[test]
fn the_denial_is_kept_for_its_own_time_where_the_fallback_has_nothing() {
    for failure in ["SERVFAIL", "REFUSED", ""] {
        let mut replay = with_fallback();
        let client = replay.ask(STRANGER);
        let asked = replay.sees(0, STRANGER);
        replay.answer(&asked, DENIAL);
        let asked = replay.sees(1, STRANGER);
        let over = if failure.is_empty() {
            replay.at(10_000);
            (0..2).for_each(|_| drop(replay.saw(1, STRANGER)));
            10_000
        } else {
            replay.answer(&asked, failure);
            replay.gets(&client, DENIAL);
            0
        };
        replay.hits(STRANGER, DENIAL);
        replay
            .at(over + 9996)
            .hits(STRANGER, &DENIAL.replace(" 10 SOA", " 1 SOA").replace(" 300 CNAME", " 291 CNAME"));
        let next = replay.at(over + 10_000).ask(STRANGER);
        next.waits();
        let asked = replay.sees(0, STRANGER);
        replay.answer(&asked, PUBLIC);
        replay.gets(&next, PUBLIC);
    }
}

#[test]
fn other_denials_are_the_last_word() {
    let mut replay = with_fallback();
    for (name, soa) in [
        ("gone.example", "example 10 SOA azureprivatedns.net."),
        ("odd.privatelink.azurecr.io", "privatelink.azurecr.io 10 SOA ns.example."),
        ("near.example", "privatelinks.example 10 SOA azureprivatedns.net."),
    ] {
        replay.fetches(&format!("{name} A"), &format!("NXDOMAIN | | {soa} host.example. 1 2 3 4 10"));
    }
}

#[test]
fn a_question_that_comes_back_is_refused_at_once_and_the_first_is_answered() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    // Whoever forwards may set DO or CD on the way.
    for (number, rest) in ["", " do", " cd", " do cd"].iter().enumerate() {
        let looped = replay.at(20 * number as u64).ask(&format!("{WWW}{rest} by=127.0.0.2"));
        let cd = if rest.ends_with("cd") { " cd" } else { "" };
        replay.gets(&looped, &format!("SERVFAIL{cd} ede=0"));
        assert_eq!(replay.counters(0).loops(), number as u64 + 1);
    }
    // Others ask what they like, the upstream as well.
    let second = replay.ask("www.example A by=127.0.0.3");
    let other = replay.ask("other.example A by=127.0.0.2");
    let others = replay.sees(0, "other.example A");
    client.waits();
    replay.at(400).answer(&asked, GOOD);
    replay.gets(&client, GOOD);
    replay.gets(&second, GOOD);
    replay.answer(&others, "NOERROR | other.example 300 A 192.0.2.2");
    replay.gets(&other, "NOERROR | other.example 300 A 192.0.2.2");
    // Once it is answered, nothing is in flight that could come back.
    replay.hits("www.example A by=127.0.0.2", GOOD);
    assert_eq!(replay.counters(0).loops(), 4);
}

#[test]
fn where_everybody_on_the_host_has_the_upstreams_address_a_crowd_is_no_loop() {
    let mut replay = Replay::on(SHARED, &[("main", 1)], |_| {});
    let asking = format!("{WWW} by=127.0.0.1");
    let crowd: Vec<_> = (0..100).map(|_| replay.ask(&asking)).collect();
    let asked = replay.sees(0, WWW);
    let later: Vec<_> = (1..5).map(|n| replay.at(200 * n).ask(&asking)).collect();
    replay.overlook();
    replay.at(990).answer(&asked, GOOD);
    for client in crowd.iter().chain(&later) {
        replay.gets(client, GOOD);
    }
    assert_eq!(replay.counters(0).loops(), 0);
}

#[test]
fn there_a_question_is_a_loop_that_comes_again_and_again_and_is_never_answered() {
    let mut replay = Replay::on(SHARED, &[("main", 1)], |_| {});
    let client = replay.ask(WWW);
    let asking = format!("{WWW} by=127.0.0.1");
    let early: Vec<_> = (0..5).map(|n| replay.at(100 + 100 * n).ask(&asking)).collect();
    early.iter().for_each(super::replay::Client::waits);
    let late = replay.at(1100).ask(&asking);
    replay.gets(&late, "SERVFAIL ede=0");
    assert_eq!(replay.counters(0).loops(), 1);
    replay.overlook();
    replay.at(2352).gets(&client, "SERVFAIL ede=22");
    replay.at(3000);
    replay.overlook();
}
