//! Upstreams that are asked over streams alone.

use super::replay::Replay;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
const OTHER: &str = "NOERROR | www.example 300 A 192.0.2.2";

fn over_tcp(upstreams: usize) -> Replay {
    Replay::with(&[("tcp", upstreams)], |_| {})
}

#[test]
fn no_question_waits_for_the_answer_of_another() {
    let mut replay = over_tcp(1);
    let slow = replay.ask("slow.example A");
    let slow_asked = replay.sees_tcp(0, "slow.example A");
    for number in 0..10 {
        let name = format!("q{number}.example");
        let client = replay.ask(&format!("{name} A"));
        let asked = replay.sees_tcp(0, &format!("{name} A"));
        replay.at(replay.now() + 40).answer(&asked, &GOOD.replace("www.example", &name));
        replay.gets(&client, &GOOD.replace("www.example", &name));
    }
    slow.waits();
    replay.answer(&slow_asked, &GOOD.replace("www.example", "slow.example"));
    replay.gets(&slow, &GOOD.replace("www.example", "slow.example"));
}

#[test]
fn what_went_over_a_stream_is_not_lost_and_not_sent_again() {
    let mut replay = over_tcp(1);
    let client = replay.ask(WWW);
    let asked = replay.sees_tcp(0, WWW);
    replay.at(2348);
    client.waits();
    replay.at(2352).gets(&client, "SERVFAIL ede=22");
    replay.at(9996).is_quiet();
    replay.answer(&asked, GOOD);
    replay.hits(WWW, GOOD);
}

#[test]
fn the_next_one_is_asked_as_well_where_a_stream_is_silent() {
    let mut replay = over_tcp(2);
    let client = replay.ask(WWW);
    replay.sees_tcp(0, WWW);
    replay.at(796).is_quiet();
    replay.at(800);
    let asked = replay.sees_tcp(1, WWW);
    replay.at(840).answer(&asked, OTHER);
    replay.gets(&client, OTHER);
    replay.at(10_000).is_quiet();
}

#[test]
fn the_next_one_is_asked_at_once_where_a_stream_tells_of_a_failure() {
    let mut replay = over_tcp(2);
    let client = replay.ask(WWW);
    let asked = replay.sees_tcp(0, WWW);
    replay.at(40).answer(&asked, "SERVFAIL");
    let asked = replay.sees_tcp(1, WWW);
    replay.at(80).answer(&asked, OTHER);
    replay.gets(&client, OTHER);
}

#[test]
fn what_a_connection_took_with_it_is_asked_once_more_and_then_of_the_next() {
    let mut replay = over_tcp(2);
    let client = replay.ask(WWW);
    for _ in 0..2 {
        replay.sees_tcp(0, WWW);
        replay.close_stream(0);
    }
    replay.until_heard();
    let asked = replay.sees_tcp(1, WWW);
    replay.answer(&asked, OTHER);
    replay.gets(&client, OTHER);
}
