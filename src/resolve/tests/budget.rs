//! What upstreams may be sent: never more over any second, never more at a time,
//! and who gets it when it runs short.

use std::collections::BTreeMap;

use super::limit;
use super::replay::{Client, Replay};
use super::text;
use super::upstream::Asked;
use crate::forward::Settings;
use crate::metrics::forward::Renewal;
use crate::wire::Ede;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
/// Nothing is said of the upstream: nobody asked it.
const SPENT: &str = "SERVFAIL ede=0";

fn good(name: &str) -> String {
    format!("NOERROR | {name} 300 A 192.0.2.1")
}

/// One upstream with these limits.
fn limited(rate: u32, in_flight: u32) -> Replay {
    Replay::with(&[("main", 1)], |settings| limit(settings, rate, in_flight))
}

/// Checks that `client` was refused now, for the budget's sake.
#[track_caller]
fn refused(replay: &Replay, client: &Client) {
    replay.gets(client, SPENT);
    assert_eq!(client.reason(), Ede::OVER_BUDGET.text);
}

/// Clients that ask evenly, each time for another name, of one upstream that
/// answers after `rtt` milliseconds, but for a time in which it is silent.
struct Load {
    replay: Replay,
    /// Addresses, with the time between two questions in milliseconds.
    clients: Vec<(&'static str, u64)>,
    rtt: u64,
    silent: std::ops::Range<u64>,
    /// When queries and probes came to the upstream.
    seen: Vec<u64>,
    /// Most queries that the upstream had at a time and was to answer.
    most: usize,
    asked: u32,
}

/// What became of the questions of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    answered: u32,
    refused: u32,
}

impl Load {
    fn new(change: impl FnOnce(&mut Settings), clients: &[(&'static str, u64)]) -> Self {
        let replay = Replay::with(&[("main", 1)], change);
        let clients = clients.to_vec();
        Self { replay, clients, rtt: 20, silent: 0..0, seen: Vec::new(), most: 0, asked: 0 }
    }

    /// Runs for so many milliseconds; what became of each client's questions.
    /// Those that are refused hear at once.
    fn run(&mut self, ms: u64) -> BTreeMap<&'static str, Fate> {
        let (replay, mut waiting, mut due) = (&mut self.replay, Vec::new(), Vec::<(u64, Asked)>::new());
        let mut fates = BTreeMap::<_, Fate>::new();
        let begin = replay.now();
        for now in (begin..begin + ms).step_by(4) {
            replay.at(now);
            let (ready, left): (Vec<_>, Vec<_>) = due.into_iter().partition(|(at, _)| *at <= now);
            due = left;
            for (_, asked) in &ready {
                replay.answer(asked, &good(&text::qname(&asked.bytes)));
            }
            for (number, (address, pause)) in self.clients.iter().enumerate() {
                // Not all at once.
                for at in (now..now + 4).filter(|at| (at + 53 * number as u64).is_multiple_of(*pause)) {
                    self.asked += 1;
                    let client = replay.ask(&format!("q{}x{at}.example A by={address}", self.asked));
                    let fate = fates.entry(*address).or_default();
                    if client.is_answered() {
                        refused(replay, &client);
                        fate.refused += 1;
                    } else {
                        waiting.push((*address, client));
                    }
                }
            }
            let (queries, probes) = (replay.take(0), replay.take_probes(0));
            self.seen.extend(queries.iter().chain(&probes).map(|asked| asked.at));
            for asked in queries.into_iter().filter(|asked| !self.silent.contains(&asked.at)) {
                due.push((asked.at + self.rtt, asked));
            }
            self.most = self.most.max(due.len());
        }
        for (address, client) in waiting {
            if client.is_answered() && client.reason().is_empty() {
                fates.entry(address).or_default().answered += 1;
            }
        }
        fates
    }

    /// Most messages of any second.
    fn most_a_second(&self) -> usize {
        let within = |begin: u64| self.seen.iter().filter(|at| (begin..begin + 1000).contains(*at)).count();
        self.seen.iter().map(|at| within(*at)).max().unwrap_or(0)
    }
}

impl Drop for Load {
    /// What came is counted; what is still out at the end belongs to nobody.
    fn drop(&mut self) {
        self.replay.overlook();
    }
}

#[test]
fn no_second_sees_more_than_the_rate_resends_and_probes_included() {
    let busy = [("192.0.2.1", 8), ("192.0.2.2", 12)];
    let mut load = Load::new(|settings| limit(settings, 50, 0), &busy);
    let before = load.run(2000);
    // Few ask while the upstream is silent, so that there is room to ask again.
    load.clients = vec![("192.0.2.1", 100)];
    load.silent = 2000..4000;
    load.run(2000);
    let shown = load.replay.health(0);
    assert!(shown.resends > 10 && shown.probes.0 > 0, "{shown:?}");
    load.clients = busy.to_vec();
    let after = load.run(3000);
    assert!(load.most_a_second() <= 50, "{} in a second", load.most_a_second());
    // And what there is is used: the last second had nothing of the silence any more.
    let last = load.seen.iter().filter(|at| **at >= 6000).count();
    assert!(last >= 45, "{last} in the last second");
    for fates in [before, after] {
        assert!(fates.values().all(|fate| fate.refused > 50 && fate.answered > 20), "{fates:?}");
    }
}

#[test]
fn no_more_are_in_flight_than_the_limit_and_one_place_is_the_probes() {
    let mut load = Load::new(|settings| limit(settings, 0, 8), &[("192.0.2.1", 8), ("192.0.2.2", 12)]);
    load.rtt = 100;
    let fates = load.run(4000);
    assert_eq!(load.most, 7);
    let answered: u32 = fates.values().map(|fate| fate.answered).sum();
    // Seven at a time, each for a tenth of a second and what the timers add.
    assert!((230..=280).contains(&answered), "{answered}: {fates:?}");
}

#[test]
fn over_budget_the_client_hears_at_once_and_nothing_is_kept() {
    let mut replay = limited(1, 0);
    let first = replay.ask("other.example A");
    let asked = replay.sees(0, "other.example A");
    let client = replay.ask(WWW);
    refused(&replay, &client);
    assert_eq!((replay.in_flight(), replay.kept()), (1, 0));
    replay.at(20).answer(&asked, &good("other.example"));
    replay.gets(&first, &good("other.example"));
    // That the query was answered gives its second nobody back.
    let client = replay.at(996).ask(WWW);
    refused(&replay, &client);
    replay.at(1100).fetches(WWW, GOOD);
    assert_eq!(replay.kept(), 2);
}

#[test]
fn over_budget_what_expired_stands_in_at_once_and_the_upstream_is_not_blamed() {
    let mut replay = limited(1, 0);
    replay.fetches_in(400, WWW, "NOERROR | www.example 60 A 192.0.2.1");
    let other = replay.at(90_000).ask("other.example A");
    let asked = replay.sees(0, "other.example A");
    let client = replay.ask(WWW);
    replay.gets(&client, "NOERROR ede=3 | www.example 30 A 192.0.2.1");
    replay.at(90_020).answer(&asked, &good("other.example"));
    replay.gets(&other, &good("other.example"));
    // Who fails is left alone for half a minute; it did not fail.
    replay.at(91_100).fetches(WWW, GOOD);
}

#[test]
fn the_next_upstream_takes_what_the_first_may_not_be_sent() {
    let mut replay = Replay::with(&[("main", 2)], |settings| limit(settings, 1, 0));
    let clients = ["a.example", "b.example"].map(|name| (name, replay.ask(&format!("{name} A"))));
    let third = replay.ask("c.example A");
    refused(&replay, &third);
    for (upstream, (name, client)) in clients.iter().enumerate() {
        let asked = replay.sees(upstream, &format!("{name} A"));
        replay.answer(&asked, &good(name));
        replay.gets(client, &good(name));
    }
}

#[test]
fn resends_leave_an_eighth_to_new_questions() {
    let mut replay = limited(0, 24);
    let waiting: Vec<_> = (0..19).map(|number| replay.ask(&format!("w{number}.example A"))).collect();
    assert_eq!(replay.take(0).len(), 19);
    // All are to be asked again; the twenty-first place is the last for that.
    // The silence of so many is probed, too.
    replay.at(800);
    assert_eq!(replay.take(0).len(), 2);
    replay.sees_probe(0);
    let more = ["d", "e"].map(|name| replay.ask(&format!("{name}.example A")));
    assert_eq!(replay.take(0).len(), 1);
    refused(&replay, &more[1]);
    waiting.iter().for_each(Client::waits);
    let usage = replay.budget(0).usage;
    // Where a resend finds no room, its question goes on waiting.
    assert_eq!((usage.in_flight, usage.counts.admitted[1], usage.counts.refused[1][1]), (23, 2, 17));
    replay.at(2352).gets(&waiting[0], "SERVFAIL ede=22");
    replay.overlook();
}

#[test]
fn resends_and_probes_leave_the_last_of_a_second_to_questions() {
    let mut replay = limited(4, 0);
    let waiting = ["a", "b", "c"].map(|name| replay.ask(&format!("{name}.example A")));
    assert_eq!(replay.take(0).len(), 3);
    // Three of four are gone: more than half, and as much as resends may have.
    replay.at(800).is_quiet();
    assert_eq!(replay.take_probes(0).len(), 0);
    let last = replay.ask("d.example A");
    replay.sees(0, "d.example A");
    let excess = replay.ask("e.example A");
    refused(&replay, &excess);
    waiting.iter().chain([&last]).for_each(Client::waits);
    replay.at(1000).is_quiet();
    assert!(replay.budget(0).usage.rate <= 4);
    // A probe as soon as there is room.
    replay.at(1600);
    assert!(!replay.take_probes(0).is_empty());
    replay.overlook();
}

#[test]
fn a_query_that_nobody_waits_for_keeps_its_place_until_its_time_is_over() {
    for is_late in [true, false] {
        // One place of two is the probes'.
        let mut replay = Replay::with(&[("main", 2)], |settings| limit(settings, 0, 2));
        let client = replay.ask(WWW);
        let slow = replay.sees(0, WWW);
        replay.at(800);
        let hedge = replay.sees(1, WWW);
        replay.at(820).answer(&hedge, GOOD);
        replay.gets(&client, GOOD);
        // The first may still be at it.
        let client = replay.at(840).ask("a.example A");
        let asked = replay.sees(1, "a.example A");
        replay.answer(&asked, &good("a.example"));
        replay.gets(&client, &good("a.example"));
        if is_late {
            replay.at(900).answer(&slow, GOOD);
        } else {
            replay.at(1992).is_quiet();
            assert_eq!((replay.budget(0).usage.in_flight, replay.due()), (1, Some(2000)));
            replay.at(2000);
        }
        assert_eq!(replay.budget(0).usage.in_flight, 0);
        replay.fetches("b.example A", &good("b.example"));
    }
}

#[test]
fn one_noisy_client_takes_what_is_left_and_starves_nobody() {
    let quiet = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    let noisy = "192.0.2.66";
    let clients: Vec<_> = quiet.iter().map(|address| (*address, 200)).chain([(noisy, 4)]).collect();
    let mut load = Load::new(|settings| limit(settings, 160, 0), &clients);
    load.run(1000);
    let fates = load.run(4000);
    for address in quiet {
        assert_eq!(fates[address].refused, 0, "{fates:?}");
    }
    // Twenty a second are the others'.
    let rest = fates[noisy].answered / 4;
    assert!((120..=140).contains(&rest), "{rest} a second of 140: {fates:?}");
    assert!(load.most_a_second() <= 160);
    let spenders = load.replay.budget(0).spenders;
    assert_eq!((spenders[0].0.as_str(), spenders.len()), ("192.0.2.66/32", 5));
}

#[test]
fn two_busy_clients_are_not_throttled_below_the_limit_and_equal_above() {
    let (first, second) = ("192.0.2.1", "192.0.2.2");
    let mut load = Load::new(|settings| limit(settings, 240, 0), &[(first, 9), (second, 9)]);
    let fates = load.run(4000);
    assert!(fates.values().all(|fate| fate.refused == 0), "{fates:?}");
    load.clients = vec![(first, 2), (second, 4)];
    load.run(1000);
    let fates = load.run(4000);
    let [first, second] = [first, second].map(|address| fates[address].answered);
    assert!(first.abs_diff(second) <= second / 5, "{fates:?}");
    assert!(first + second >= 4 * 215, "{fates:?}");
}

#[test]
fn a_heavier_prefix_has_more_and_the_longest_prefix_counts() {
    let (heavy, light, lighter) = ("192.0.2.1", "192.0.2.130", "198.51.100.1");
    let weigh = |settings: &mut Settings| {
        limit(settings, 80, 0);
        let nets = [("192.0.2.0/24", 3), ("192.0.2.128/25", 1)];
        settings.forward.governor.weights =
            nets.iter().map(|(net, weight)| (net.parse().unwrap(), *weight)).collect();
    };
    let mut load = Load::new(weigh, &[(heavy, 4), (light, 8), (lighter, 8)]);
    load.run(2000);
    let fates = load.run(4000);
    let [heavy, light, lighter] = [heavy, light, lighter].map(|address| fates[address].answered);
    assert!((2 * light..=4 * light).contains(&heavy), "{fates:?}");
    assert!(light.abs_diff(lighter) <= light / 4, "{fates:?}");
}

#[test]
fn renewals_take_a_part_of_the_budget_and_what_they_leave_is_the_clients() {
    let mut replay = limited(100, 0);
    let names: Vec<String> = (0..20).map(|number| format!("h{number}.example")).collect();
    let record = |name: &str, ttl: u32| format!("NOERROR | {name} {ttl} A 192.0.2.1");
    for name in &names {
        replay.at(replay.now() + 100).fetches(&format!("{name} A"), &record(name, 1000));
        for _ in 0..2 {
            replay.hits(&format!("{name} A"), &record(name, 1000));
        }
    }
    // All of them are due, and a tenth of a hundred a second goes.
    replay.at(950_000);
    let born = |number: u64| 100 * (number + 1);
    let left = |number: u64| (1000 - (950_000 - born(number)) / 1000) as u32;
    for (number, name) in names.iter().enumerate() {
        replay.hits(&format!("{name} A"), &record(name, left(number as u64)));
    }
    let renewals = |replay: &Replay, result| replay.metrics().cache().renewals(result);
    let asked = replay.take(0);
    assert_eq!((asked.len(), renewals(&replay, Renewal::Failed)), (10, 10));
    replay.fetches(WWW, GOOD);
    for (asked, name) in asked.iter().zip(&names) {
        replay.answer(asked, &record(name, 1000));
    }
    assert_eq!(renewals(&replay, Renewal::Renewed), 10);
    // Those that were not renewed are not taken for failed: they go on until
    // they end, and then the next client asks.
    replay.hits(&format!("{} A", names[19]), &record(&names[19], left(19)));
    replay.at(1_003_000).fetches(&format!("{} A", names[19]), &record(&names[19], 1000));
}
