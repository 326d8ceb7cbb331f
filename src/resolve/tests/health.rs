//! Who counts as down, what tells, and how it comes back.

use super::replay::Replay;
use super::upstream::Asked;
use crate::forward::health::{Cause, State};

const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
/// What the root's servers say of themselves.
const ROOT: &str = "NOERROR | . 86400 SOA a.example. b.example. 1 2 3 4 5";

fn good(name: &str) -> String {
    GOOD.replace("www.example", name)
}

/// A client asks for `name`, upstream `number` sees it at once and answers.
#[track_caller]
fn asks(replay: &mut Replay, name: &str, number: usize) {
    let client = replay.ask(&format!("{name} A"));
    let asked = replay.sees(number, &format!("{name} A"));
    replay.answer(&asked, &good(name));
    replay.gets(&client, &good(name));
}

/// Upstream 0 of two is silent for three questions, the other one answers them.
/// It is 2,820 ms; upstream 0 is down since 2,800, and was probed then.
fn down() -> (Replay, Asked) {
    let mut replay = Replay::new(2);
    let mut probe = None;
    for (number, begun) in [0, 1000, 2000].into_iter().enumerate() {
        let name = format!("s{number}.example");
        assert_eq!(replay.health(0).state, State::Up, "silent {number} times");
        let client = replay.at(begun).ask(&format!("{name} A"));
        replay.sees(0, &format!("{name} A"));
        replay.at(begun + 800);
        let asked = replay.sees(1, &format!("{name} A"));
        // Asked again, in vain.
        replay.sees(0, &format!("{name} A"));
        if number == 2 {
            probe = Some(replay.sees_probe(0));
        }
        replay.at(begun + 820).answer(&asked, &good(&name));
        replay.gets(&client, &good(&name));
    }
    let shown = replay.health(0);
    assert_eq!((shown.state, shown.cause), (State::Down, Cause::Silence));
    (replay, probe.unwrap())
}

#[test]
fn after_three_in_a_row_nobody_waits_for_the_silent_one() {
    let (mut replay, _) = down();
    for number in 0..5 {
        replay.at(2900 + 100 * number);
        asks(&mut replay, &format!("n{number}.example"), 1);
    }
    assert_eq!(replay.health(1).state, State::Up);
}

#[test]
fn silence_that_an_answer_interrupts_takes_nobody_down() {
    let mut replay = Replay::new(2);
    for round in 0..10 {
        let begun = 1000 * round;
        let names = [0, 1].map(|number| format!("s{round}x{number}.example"));
        let clients = names.clone().map(|name| (replay.at(begun).ask(&format!("{name} A")), name));
        let [lost, answered] = names.map(|name| replay.sees(0, &format!("{name} A")));
        replay.at(begun + 4).answer(&answered, &good(&clients[1].1));
        replay.gets(&clients[1].0, &good(&clients[1].1));
        // Late, and no failure of anybody's.
        replay.at(begun + 900);
        replay.overlook();
        replay.answer(&lost, &good(&clients[0].1));
        replay.gets(&clients[0].0, &good(&clients[0].1));
        assert_eq!(replay.health(0).state, State::Up, "round {round}");
    }
    assert_eq!(replay.take_probes(0).len(), 0);
}

#[test]
fn probes_come_at_once_and_then_each_second_at_most() {
    let (mut replay, first) = down();
    replay.at(22_800);
    let mut times = vec![first.at];
    times.extend(replay.take_probes(0).iter().map(|probe| probe.at));
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, longest) in gaps.iter().zip([125, 250, 500].into_iter().chain(std::iter::repeat(1000))) {
        assert!((longest * 3 / 4..=longest).contains(gap), "{gaps:?}");
    }
    assert!((22..=32).contains(&times.len()), "{gaps:?}");
    assert_eq!(replay.take_probes(1).len(), 0, "who is up is not asked");
}

#[test]
fn one_good_answer_puts_it_on_trial_and_the_second_brings_it_back() {
    let (mut replay, probe) = down();
    replay.answer(&probe, ROOT);
    assert_eq!(replay.health(0).state, State::Trial);
    // One client's query a second may find out, the others go where they went.
    let tried = replay.at(2824).ask("tried.example A");
    replay.sees(0, "tried.example A");
    replay.at(2828);
    asks(&mut replay, "spared.example", 1);
    replay.at(2870);
    let second = replay.sees_probe(0);
    replay.at(2880).answer(&second, ROOT);
    assert_eq!(replay.health(0).state, State::Up);
    // What was tried in vain was asked again, and had company, in time.
    replay.at(2900);
    replay.saw(0, "tried.example A");
    let company = replay.saw(1, "tried.example A");
    replay.answer(&company, &good("tried.example"));
    replay.gets(&tried, &good("tried.example"));
    asks(&mut replay, "back.example", 0);
    replay.at(20_000);
    assert_eq!(replay.take_probes(0).len(), 0, "it needs none any more");
}

#[test]
fn the_answer_to_a_clients_own_question_needs_no_second() {
    let (mut replay, probe) = down();
    replay.answer(&probe, ROOT);
    replay.at(2824);
    asks(&mut replay, "tried.example", 0);
    assert_eq!(replay.health(0).state, State::Up);
}

#[test]
fn one_good_answer_and_silence_again_is_down_still() {
    let (mut replay, probe) = down();
    replay.answer(&probe, ROOT);
    let client = replay.at(2824).ask("tried.example A");
    replay.sees(0, "tried.example A");
    // It is silent to the probe that was to confirm, and to the client.
    replay.at(2870);
    replay.sees_probe(0);
    while replay.health(0).state == State::Trial {
        assert!(replay.now() < 4000, "still on trial");
        replay.at(replay.now() + 4);
    }
    let asked = replay.saw(1, "tried.example A");
    replay.answer(&asked, &good("tried.example"));
    replay.gets(&client, &good("tried.example"));
    replay.overlook();
    for number in 0..3 {
        replay.at(replay.now() + 400);
        asks(&mut replay, &format!("n{number}.example"), 1);
    }
    assert_eq!(replay.health(0).state, State::Down);
}

#[test]
fn one_that_returns_is_asked_again_within_two_seconds() {
    for returns in [3000, 7321, 60_000, 61_777] {
        let (mut replay, _) = down();
        replay.at(returns);
        replay.take_probes(0);
        while replay.health(0).state != State::Up {
            assert!(replay.now() < returns + 2000, "back at {returns} ms, and still down");
            replay.at(replay.now() + 4);
            for probe in replay.take_probes(0) {
                replay.answer(&probe, ROOT);
            }
        }
        asks(&mut replay, "back.example", 0);
    }
}

#[test]
fn where_nobody_answers_all_are_asked() {
    let mut replay = Replay::new(2);
    for number in 0..3 {
        replay.at(1000 * number).ask(&format!("s{number}.example A"));
    }
    replay.at(20_000);
    replay.overlook();
    assert_eq!([0, 1].map(|upstream| replay.health(upstream).state), [State::Down; 2]);
    let client = replay.ask("www.example A");
    replay.sees(0, "www.example A");
    replay.at(20_800);
    let asked = replay.saw(1, "www.example A");
    replay.answer(&asked, GOOD);
    replay.gets(&client, GOOD);
    replay.overlook();
}

#[test]
fn one_that_is_not_there_is_down_after_three() {
    let mut replay = Replay::new(2);
    replay.close(0);
    for number in 0..3 {
        let name = format!("s{number}.example");
        let client = replay.ask(&format!("{name} A"));
        replay.until_heard();
        let asked = replay.sees(1, &format!("{name} A"));
        replay.answer(&asked, &good(&name));
        replay.gets(&client, &good(&name));
    }
    let shown = replay.health(0);
    assert_eq!((shown.state, shown.cause), (State::Down, Cause::Unreachable));
    asks(&mut replay, "www.example", 1);
}

/// Upstream 0 says SERVFAIL to 32 questions, which the other one answers.
fn suspect() -> (Replay, Asked) {
    let mut replay = Replay::new(2);
    for number in 0..32 {
        let name = format!("s{number}.broken.example");
        assert_eq!(replay.take_probes(0).len(), 0, "suspect after {number}");
        let client = replay.ask(&format!("{name} A"));
        let asked = replay.sees(0, &format!("{name} A"));
        replay.answer(&asked, "SERVFAIL");
        let asked = replay.sees(1, &format!("{name} A"));
        replay.answer(&asked, &good(&name));
        replay.gets(&client, &good(&name));
    }
    replay.at(replay.now());
    let probe = replay.sees_probe(0);
    assert_eq!(replay.health(0).state, State::Up, "a suspicion is no proof");
    (replay, probe)
}

#[test]
fn a_flood_of_questions_for_a_broken_zone_takes_nobody_down() {
    let (mut replay, probe) = suspect();
    replay.at(40).answer(&probe, ROOT);
    asks(&mut replay, "www.example", 0);
    replay.at(2000);
    assert_eq!((replay.health(0).state, replay.take_probes(0).len()), (State::Up, 0));
}

#[test]
fn one_that_fails_the_probe_as_well_is_down() {
    let (mut replay, probe) = suspect();
    replay.at(40).answer(&probe, "SERVFAIL");
    let shown = replay.health(0);
    assert_eq!((shown.state, shown.cause), (State::Down, Cause::Failures));
    asks(&mut replay, "www.example", 1);
}

#[test]
fn one_that_is_silent_to_the_probe_is_down() {
    let (mut replay, _) = suspect();
    replay.at(496);
    assert_eq!(replay.health(0).state, State::Up);
    replay.at(500);
    assert_eq!(replay.health(0).state, State::Down);
    asks(&mut replay, "www.example", 1);
}

#[test]
fn denials_are_no_failures_however_many() {
    let mut replay = Replay::new(2);
    for number in 0..100 {
        let denial = "NXDOMAIN | | example 60 SOA ns.example. host.example. 1 2 3 4 60";
        replay.fetches(&format!("s{number}.example A"), denial);
    }
    replay.at(5000);
    assert_eq!((replay.health(0).state, replay.take_probes(0).len()), (State::Up, 0));
}

#[test]
fn a_probe_believes_nothing_but_its_own_answer() {
    let (mut replay, probe) = down();
    let mut forged = probe.reply(ROOT);
    for (at, bits) in [(1, 1), (2, 0x80), (14, 1)] {
        forged[at] ^= bits;
        replay.send(&probe, &forged);
        forged[at] ^= bits;
        assert_eq!(replay.health(0).state, State::Down);
    }
    replay.forge(&probe, &forged);
    assert_eq!(replay.health(0).state, State::Down);
    replay.send(&probe, &forged);
    assert_eq!(replay.health(0).state, State::Trial);
}
