//! Equal questions share one exchange, and everybody gets an answer of his own.

use super::replay::Replay;
use crate::metrics::forward::Rejection;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
/// Too many wait.
const FULL: &str = "SERVFAIL ede=0";

/// A response with so many addresses, each of them 27 bytes.
fn addresses(head: &str, count: usize) -> String {
    let records: Vec<String> = (0..count).map(|last| format!("www.example 300 A 192.0.2.{last}")).collect();
    format!("{head} | {}", records.join("; "))
}

#[test]
fn a_thousand_clients_cost_one_query_and_each_gets_what_it_asked_for() {
    let mut replay = Replay::new(1);
    // Without an OPT 512 bytes are taken, over TCP all.
    let asking = [
        ("www.example A", "NOERROR", 40),
        ("WWW.Example A no-opt", "NOERROR tc", 17),
        ("wWw.eXample A size=600", "NOERROR tc", 20),
        ("www.EXAMPLE A tcp", "NOERROR", 40),
        ("www.example A size=4096", "NOERROR", 40),
    ];
    let clients: Vec<_> = (0..1000).map(|number| replay.ask(asking[number % asking.len()].0)).collect();
    assert_eq!(replay.metrics().coalesced(), 999);
    let asked = replay.sees(0, WWW);
    replay.at(400).answer(&asked, &addresses("NOERROR", 40));
    for (number, client) in clients.iter().enumerate() {
        let (_, head, count) = asking[number % asking.len()];
        replay.gets(client, &addresses(head, count));
    }
    for (question, head, count) in asking {
        replay.hits(question, &addresses(head, count));
    }
}

#[test]
fn ten_thousand_clients_of_one_cold_name_cost_one_query() {
    let mut replay = Replay::with(&[("main", 1)], |settings| settings.forward.max_waiters = 10_000);
    let clients: Vec<_> = (0..10_000).map(|_| replay.ask(WWW)).collect();
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, GOOD);
    for client in &clients {
        replay.gets(client, GOOD);
    }
}

#[test]
fn questions_that_differ_in_do_cd_type_or_class_are_not_equal() {
    let mut replay = Replay::new(1);
    let questions =
        ["A", "A do", "A cd", "A do cd", "AAAA", "A class=3"].map(|rest| format!("www.example {rest}"));
    let clients = questions.clone().map(|question| replay.ask(&question));
    let asked = questions.clone().map(|question| replay.sees(0, &question));
    assert_eq!(replay.metrics().coalesced(), 0);
    for (asked, code) in asked.iter().zip(["1", "2", "3", "4", "5", "6"]) {
        let cd = if asked.bytes[3] & 0x10 == 0 { "" } else { " cd" };
        replay.answer(asked, &format!("NXDOMAIN{cd} ede={code}"));
    }
    for ((client, question), code) in clients.iter().zip(&questions).zip(1..) {
        let cd = if question.ends_with("cd") { " cd" } else { "" };
        replay.gets(client, &format!("NXDOMAIN{cd} ede={code}"));
    }
}

#[test]
fn those_who_wait_for_one_question_are_limited() {
    let mut replay = Replay::new(1);
    let clients: Vec<_> = (0..1024).map(|_| replay.ask(WWW)).collect();
    let excess = replay.ask(WWW);
    replay.gets(&excess, FULL);
    assert_eq!(replay.metrics().rejections(Rejection::Waiters), 1);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, GOOD);
    for client in &clients {
        replay.gets(client, GOOD);
    }
}

#[test]
fn the_questions_of_one_client_that_wait_are_limited() {
    let mut replay = Replay::with(&[("main", 1)], |settings| settings.forward.max_waiters_per_client = 2);
    let first = replay.ask("a.example A by=192.0.2.1");
    let second = replay.ask("b.example A by=192.0.2.1");
    let excess = replay.ask("c.example A by=192.0.2.1");
    replay.gets(&excess, FULL);
    assert_eq!(replay.metrics().rejections(Rejection::Client), 1);
    let [a, b] = ["a.example A", "b.example A"].map(|question| replay.sees(0, question));
    replay.at(400).answer(&a, "NOERROR | a.example 300 A 192.0.2.7");
    replay.gets(&first, "NOERROR | a.example 300 A 192.0.2.7");
    // What was answered, or given up, counts no more.
    let third = replay.ask("c.example A by=192.0.2.1");
    let c = replay.sees(0, "c.example A");
    replay.answer(&c, "NOERROR | c.example 300 A 192.0.2.7");
    replay.gets(&third, "NOERROR | c.example 300 A 192.0.2.7");
    replay.at(2352);
    replay.gets(&second, "SERVFAIL ede=22");
    replay.at(2400);
    assert_eq!([0; 2].map(|_| replay.saw(0, "b.example A").at), [800, 2400]);
    replay.answer(&b, "NOERROR | b.example 300 A 192.0.2.7");
    let more = ["d.example A by=192.0.2.1", "e.example A by=192.0.2.1"].map(|question| replay.ask(question));
    for (client, name) in more.iter().zip(["d.example", "e.example"]) {
        client.waits();
        let asked = replay.sees(0, &format!("{name} A"));
        replay.answer(&asked, &format!("NOERROR | {name} 300 A 192.0.2.7"));
        replay.gets(client, &format!("NOERROR | {name} 300 A 192.0.2.7"));
    }
}

#[test]
fn questions_in_flight_are_limited_and_end() {
    let mut replay = Replay::with(&[("main", 1)], |settings| settings.forward.max_in_flight = 1);
    let first = replay.ask(WWW);
    let other = "NOERROR | other.example 300 A 192.0.2.1";
    let excess = replay.ask("other.example A");
    replay.gets(&excess, FULL);
    assert_eq!(replay.metrics().rejections(Rejection::InFlight), 1);
    // One more may wait for a question that is in flight already.
    let second = replay.ask(WWW);
    replay.at(2352);
    replay.gets(&first, "SERVFAIL ede=22");
    replay.gets(&second, "SERVFAIL ede=22");
    // Nobody waits any more, but the exchange goes on.
    let excess = replay.at(9996).ask("other.example A");
    replay.gets(&excess, FULL);
    assert_eq!([0; 3].map(|_| replay.saw(0, WWW).at), [0, 800, 2400]);
    replay.at(10_000).fetches("other.example A", other);
}
