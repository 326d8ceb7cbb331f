//! Hot names are renewed before they end, by the clock.

use super::replay::Replay;
use crate::metrics::forward::Renewal;

const WWW: &str = "www.example A";
/// When the response of [`hot`] arrives, which lives for 1000 s.
const BORN: u64 = 400;
const END: u64 = BORN + 1_000_000;
/// From here on it is renewed: in its last tenth, which is counted in units of 1024 ms.
const DUE: u64 = END - 100 * 1024;

fn www(ttl: u64) -> String {
    format!("NOERROR | www.example {ttl} A 192.0.2.1")
}

/// What is left of it at `ms`.
fn aged(ms: u64) -> String {
    www(1000 - (ms - BORN) / 1000)
}

/// A name that was asked for three times in its first second.
fn hot(replay: &mut Replay) {
    replay.fetches_in(BORN, WWW, &www(1000));
    for _ in 0..2 {
        replay.hits(WWW, &www(1000));
    }
}

fn renewals(replay: &Replay, result: Renewal) -> u64 {
    replay.metrics().cache().renewals(result)
}

#[test]
fn a_hot_name_is_renewed_in_its_last_tenth_and_nobody_waits() {
    let mut replay = Replay::new(1);
    hot(&mut replay);
    replay.at(DUE - 4).hits(WWW, &aged(DUE - 4));
    replay.at(DUE).hits(WWW, &aged(DUE));
    let asked = replay.sees(0, WWW);
    // Once is enough.
    replay.at(DUE + 400).hits(WWW, &aged(DUE + 400));
    replay.at(DUE + 600).answer(&asked, &www(1000));
    assert_eq!(renewals(&replay, Renewal::Renewed), 1);
    replay.hits(WWW, &www(1000));
    // And so on: it never ends.
    let next = DUE + 600 + (DUE - BORN);
    replay.at(next - 4).hits(WWW, &aged(DUE - 4));
    replay.at(next).hits(WWW, &aged(DUE));
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &www(1000));
    assert_eq!(renewals(&replay, Renewal::Renewed), 2);
}

#[test]
fn a_cold_name_is_not() {
    let mut replay = Replay::new(1);
    replay.fetches_in(BORN, WWW, &www(1000));
    replay.at(END - 4).hits(WWW, &www(1));
    let client = replay.at(END).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &www(1000));
    replay.gets(&client, &www(1000));
    assert_eq!(renewals(&replay, Renewal::Renewed), 0);
}

#[test]
fn a_name_that_is_hot_but_not_asked_for_any_more_ends() {
    let mut replay = Replay::new(1);
    hot(&mut replay);
    replay.at(END).is_quiet();
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &www(1000));
    replay.gets(&client, &www(1000));
}

#[test]
fn renewals_are_resent_and_given_up_like_others_and_the_answer_stays() {
    let mut replay = Replay::new(1);
    hot(&mut replay);
    replay.at(DUE).hits(WWW, &aged(DUE));
    for after in [0, 800, 2400] {
        replay.at(DUE + after);
        replay.sees(0, WWW);
    }
    replay.at(DUE + 9996);
    assert_eq!((replay.in_flight(), renewals(&replay, Renewal::Failed)), (1, 0));
    replay.at(DUE + 10_000);
    assert_eq!((replay.in_flight(), renewals(&replay, Renewal::Failed)), (0, 1));
    replay.at(END - 4).hits(WWW, &www(1));
}

#[test]
fn one_that_fails_leaves_the_upstream_alone_and_then_nobody_waits() {
    let mut replay = Replay::new(1);
    hot(&mut replay);
    replay.at(END - 10_000).hits(WWW, &www(10));
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, "SERVFAIL");
    assert_eq!(renewals(&replay, Renewal::Failed), 1);
    replay.at(END - 4).hits(WWW, &www(1));
    for ms in [END, 1_019_996] {
        replay.at(ms).hits(WWW, "NOERROR ede=3 | www.example 30 A 192.0.2.1");
    }
    let client = replay.at(1_020_000).ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &www(1000));
    replay.gets(&client, &www(1000));
}

#[test]
fn a_client_that_comes_too_late_for_the_answer_joins_the_renewal() {
    let mut replay = Replay::new(1);
    hot(&mut replay);
    replay.at(END - 1000).hits(WWW, &www(1));
    let asked = replay.sees(0, WWW);
    replay.at(END - 200);
    replay.sees(0, WWW);
    let client = replay.at(END).ask(WWW);
    client.waits();
    replay.at(END + 400).answer(&asked, &www(1000));
    replay.gets(&client, &www(1000));
    assert_eq!(renewals(&replay, Renewal::Renewed), 1);
}

#[test]
fn no_more_run_at_a_time_than_their_budget_allows() {
    let mut replay = Replay::with(&[("main", 1)], |settings| settings.cache.max_renewals = 1);
    let names = ["one.example", "two.example"];
    let record = |name: &str, ttl: u64| format!("NOERROR | {name} {ttl} A 192.0.2.1");
    for name in names {
        replay.fetches(&format!("{name} A"), &record(name, 1000));
        for _ in 0..2 {
            replay.hits(&format!("{name} A"), &record(name, 1000));
        }
    }
    replay.at(950_000);
    for name in names {
        replay.hits(&format!("{name} A"), &record(name, 50));
    }
    let asked = replay.sees(0, "one.example A");
    replay.answer(&asked, &record(names[0], 1000));
    assert_eq!((renewals(&replay, Renewal::Renewed), renewals(&replay, Renewal::Skipped)), (1, 1));
}
