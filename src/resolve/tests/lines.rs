//! Two lines of queries, and copies where much is lost.

use super::losses::acquaint;
use super::replay::Replay;
use crate::metrics::forward::Failure;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
/// How far the upstreams of [`lossy`] are, and when a question is asked again there.
const RTT: u64 = 40;
const AGAIN: u64 = 52;

fn times(replay: &mut Replay, upstream: usize) -> Vec<u64> {
    replay.take(upstream).iter().map(|asked| asked.at).collect()
}

#[test]
fn three_silent_ones_get_two_lines_of_three_queries_between_them() {
    let mut replay = Replay::new(3);
    let client = replay.ask(WWW);
    replay.at(2352).gets(&client, "SERVFAIL ede=22");
    replay.at(10_000);
    assert_eq!(times(&mut replay, 0), [0, 2400]);
    assert_eq!(times(&mut replay, 1), [800, 1600, 3200]);
    assert_eq!(times(&mut replay, 2), [800]);
    assert_eq!((replay.in_flight(), replay.kept()), (0, 0));
}

#[test]
fn the_line_of_one_that_answers_with_a_failure_ends_and_the_other_goes_on() {
    let mut replay = Replay::new(2);
    let client = replay.ask(WWW);
    let first = replay.sees(0, WWW);
    replay.at(800);
    replay.sees(0, WWW);
    replay.sees(1, WWW);
    // It has no more to say, and the other one may have.
    replay.at(900).answer(&first, "SERVFAIL");
    client.waits();
    replay.at(2352).gets(&client, "SERVFAIL");
    replay.at(10_000);
    assert_eq!((times(&mut replay, 0), times(&mut replay, 1)), (vec![], vec![1600, 3200]));
}

#[test]
fn a_hedge_begins_the_second_line_by_the_times_of_its_own_upstream() {
    let mut replay = Replay::new(2);
    acquaint(&mut replay, 64, &[120, 40]);
    let began = replay.now();
    let client = replay.ask(WWW);
    replay.at(began + 2352).gets(&client, "SERVFAIL ede=22");
    replay.at(began + 10_000);
    let [first, second] =
        [0, 1].map(|upstream| times(&mut replay, upstream).iter().map(|at| at - began).collect::<Vec<_>>());
    assert_eq!((first.len(), second.len()), (3, 3), "{first:?} {second:?}");
    // Its first wait, and twice that.
    let (wait, next) = (first[1] - first[0], first[2] - first[1]);
    assert!((200..=280).contains(&wait) && next.abs_diff(2 * wait) <= 8, "{first:?}");
    // Nothing is known of the second one.
    assert!((116..=128).contains(&second[0]), "{second:?}");
    assert_eq!((second[1] - second[0], second[2] - second[1]), (800, 1600));
}

/// One upstream, at which the first query of each of so many questions was lost,
/// and the second was answered.
fn lossy(lost: usize) -> Replay {
    let mut replay = Replay::new(1);
    acquaint(&mut replay, 60, &[RTT]);
    for number in 0..lost {
        let (name, began) = (format!("lost{number}.example"), replay.now());
        let client = replay.ask(&format!("{name} A"));
        replay.sees(0, &format!("{name} A"));
        replay.at(began + AGAIN);
        let asked = replay.sees(0, &format!("{name} A"));
        let answer = GOOD.replace("www.example", &name);
        replay.at(began + AGAIN + RTT).answer(&asked, &answer);
        replay.gets(&client, &answer);
        replay.at(began + 100);
    }
    replay
}

/// How many queries go out at the first, the second and the third time.
fn sizes(replay: &mut Replay) -> Vec<usize> {
    let begun = replay.now();
    replay.ask(WWW);
    replay.at(begun + 2352);
    let mut sizes: Vec<(u64, usize)> = Vec::new();
    for at in times(replay, 0) {
        match sizes.last_mut() {
            Some((time, size)) if *time == at => *size += 1,
            _ => sizes.push((at, 1)),
        }
    }
    sizes.iter().map(|(_, size)| *size).collect()
}

#[test]
fn the_last_resend_goes_out_in_copies_where_much_is_lost() {
    assert_eq!(sizes(&mut lossy(0)), [1, 1, 1]);
    assert_eq!(sizes(&mut lossy(20)), [1, 1, 2]);
    assert_eq!(sizes(&mut lossy(40)), [1, 1, 4]);
    assert_eq!(sizes(&mut lossy(100)), [1, 1, 6]);
}

#[test]
fn losses_that_are_over_are_forgotten() {
    let mut replay = lossy(40);
    for number in 0..60 {
        let name = format!("more{number}.example");
        replay.fetches_in(RTT, &format!("{name} A"), &GOOD.replace("www.example", &name));
    }
    assert_eq!(sizes(&mut replay), [1, 1, 1]);
}

#[test]
fn one_that_was_never_heard_or_is_slow_gets_no_copies() {
    let mut replay = Replay::new(1);
    for number in 0..30 {
        let name = format!("slow{number}.example");
        let (client, began) = (replay.ask(&format!("{name} A")), replay.now());
        let asked = replay.sees(0, &format!("{name} A"));
        replay.at(began + 2000).answer(&asked, &GOOD.replace("www.example", &name));
        replay.gets(&client, &GOOD.replace("www.example", &name));
        replay.overlook();
    }
    assert_eq!(sizes(&mut replay)[..2], [1, 1]);
    replay.at(replay.now() + 400);
    assert_eq!(times(&mut replay, 0).len(), 1);
}

#[test]
fn any_copy_may_bring_the_answer_and_the_others_come_late() {
    let mut replay = lossy(100);
    let begun = replay.now();
    let client = replay.ask(WWW);
    let timeouts = replay.counters(0).failures(Failure::Timeout);
    replay.at(begun + 200);
    let asked = replay.take(0);
    assert_eq!(asked.len(), 8);
    replay.answer(&asked[4], GOOD);
    replay.gets(&client, GOOD);
    for other in asked.iter().enumerate().filter(|(number, _)| *number != 4) {
        replay.answer(other.1, GOOD);
    }
    replay.hits(WWW, GOOD);
    // Two were lost, as it seemed then.
    assert_eq!(replay.counters(0).failures(Failure::Timeout) - timeouts, 2);
}

/// Anything, the same each time.
struct Dice(u64);

impl Dice {
    /// Whether one of so many percent is lost.
    fn loses(&mut self, percent: u64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 100 < percent
    }
}

#[test]
fn where_a_third_of_all_packets_is_lost_hardly_anybody_goes_without_an_answer() {
    for (upstreams, most) in [(1, 12), (2, 4)] {
        let (mut replay, mut dice) = (Replay::new(upstreams), Dice(7));
        let mut unanswered = 0;
        for number in 0..400 {
            let (name, began) = (format!("q{number}.example"), replay.now());
            let client = replay.ask(&format!("{name} A"));
            let mut due = Vec::new();
            while !client.is_answered() {
                for upstream in 0..upstreams {
                    let mut seen = replay.take(upstream);
                    seen.extend(replay.take_probes(upstream));
                    // Lost on the way there, or on the way back.
                    seen.retain(|_| !dice.loses(30) && !dice.loses(30));
                    due.extend(seen);
                }
                replay.at(replay.now() + 4);
                let now = replay.now();
                for asked in due.extract_if(.., |asked| asked.at + RTT <= now) {
                    let question = super::text::qname(&asked.bytes);
                    replay.answer(&asked, &GOOD.replace("www.example", &question));
                }
            }
            unanswered += u32::from(client.reason() != "");
            assert!(replay.now() <= began + 2352, "{name} waited on");
            replay.overlook();
        }
        assert!(unanswered <= most, "{unanswered} of 400 with {upstreams} upstreams");
    }
}
