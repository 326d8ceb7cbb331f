//! In which order upstreams are asked, and which response codes move on.

use super::by;
use super::replay::Replay;
use crate::forward::policy::Policy;
use crate::wire::Rcode;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";

/// A client asks for a name of its own, and whoever is asked at once answers
/// after its time; who that was.
fn asked_of(replay: &mut Replay, number: usize, rtts: &[u64]) -> usize {
    let name = format!("q{number}.example");
    let client = replay.ask(&format!("{name} A"));
    let mut seen: Vec<_> = (0..rtts.len()).flat_map(|upstream| replay.take(upstream)).collect();
    assert_eq!(seen.len(), 1);
    let asked = seen.remove(0);
    let answer = GOOD.replace("www.example", &name);
    replay.at(replay.now() + rtts[asked.upstream]).answer(&asked, &answer);
    replay.gets(&client, &answer);
    replay.overlook();
    asked.upstream
}

#[test]
fn without_a_policy_they_are_asked_as_they_are_written() {
    let mut replay = Replay::new(3);
    for number in 0..20 {
        assert_eq!(asked_of(&mut replay, number, &[40, 4, 4]), 0);
    }
}

#[test]
fn round_robin_asks_each_in_its_turn_and_goes_on_from_there() {
    let mut replay = Replay::with(&[("main", 3)], |settings| by(settings, Policy::RoundRobin));
    let order: Vec<usize> = (0..7).map(|number| asked_of(&mut replay, number, &[4; 3])).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
    // Whose turn it would be next is who is asked where the first one fails.
    let client = replay.ask(WWW);
    let asked = replay.sees(1, WWW);
    replay.answer(&asked, "SERVFAIL");
    let asked = replay.sees(2, WWW);
    replay.answer(&asked, GOOD);
    replay.gets(&client, GOOD);
}

#[test]
fn fastest_asks_who_answers_soonest_and_tries_each_once() {
    let mut replay = Replay::with(&[("main", 3)], |settings| by(settings, Policy::Fastest));
    let order: Vec<usize> = (0..200).map(|number| asked_of(&mut replay, number, &[60, 20, 40])).collect();
    // One of 32 choices falls on anybody.
    let count = |upstream| order.iter().filter(|asked| **asked == upstream).count();
    assert!(count(1) >= 170, "{order:?}");
    assert!(count(0) > 0 && count(2) > 0, "{order:?}");
    // They change places: the fastest one is found again, as soon as a choice
    // falls on it, which is one of 96.
    let mut row = 0;
    for number in 200.. {
        let asked = asked_of(&mut replay, number, &[60, 40, 20]);
        row = if asked == 2 { row + 1 } else { 0 };
        if row == 10 {
            break;
        }
        assert!(number < 4000, "it was not found");
    }
}

#[test]
fn a_reload_changes_the_policy() {
    let mut replay = Replay::new(2);
    assert_eq!([0, 1, 2].map(|number| asked_of(&mut replay, number, &[4; 2])), [0; 3]);
    replay.reload(|settings| by(settings, Policy::RoundRobin));
    let order = [3, 4, 5, 6].map(|number| asked_of(&mut replay, number, &[4; 2]));
    assert!(order == [0, 1, 0, 1] || order == [1, 0, 1, 0], "{order:?}");
}

#[test]
fn a_code_that_is_not_configured_as_a_failure_is_the_answer() {
    let only_servfail = |settings: &mut crate::forward::Settings| {
        settings.forward.governor.failure_rcodes = vec![Rcode::SERVFAIL];
    };
    let mut replay = Replay::with(&[("main", 2)], only_servfail);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "REFUSED");
    replay.gets(&client, "SERVFAIL ede=0");
    replay.at(10_000).is_quiet();
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "SERVFAIL");
    let asked = replay.sees(1, WWW);
    replay.answer(&asked, GOOD);
    replay.gets(&client, GOOD);
}

#[test]
fn one_that_knows_neither_our_opt_nor_the_question_is_passed_over() {
    for rcode in ["FORMERR", "NOTIMP"] {
        let mut replay = Replay::new(2);
        let client = replay.ask(WWW);
        for question in [WWW, "www.example A no-opt"] {
            let asked = replay.sees(0, question);
            replay.answer(&asked, rcode);
        }
        // Another server, which may know our OPT.
        let asked = replay.sees(1, WWW);
        replay.answer(&asked, GOOD);
        replay.gets(&client, GOOD);
    }
}
