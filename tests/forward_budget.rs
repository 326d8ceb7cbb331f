//! Budgets and health through the engine, against scripted upstreams.

mod common;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream, closed};
use hubdns::config::{Policy, UpstreamBudget};
use hubdns::forward::Settings;
use hubdns::forward::health::State;
use hubdns::resolve::Origin;
use hubdns::wire::{Rcode, Rtype};

fn good(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")
}

fn budgeted(upstream: SocketAddr, rate: Option<u32>, in_flight: Option<u32>) -> Settings {
    let mut settings = settings(&[&[upstream]]);
    settings.forward.governor.budgets = vec![UpstreamBudget { address: upstream, rate, in_flight }];
    settings
}

fn in_flight(rig: &Rig) -> u32 {
    let (governor, now) = rig.resolver.forwarder().governor();
    governor.budgets(0, now).iter().map(|budget| budget.usage.in_flight).sum()
}

fn state(rig: &Rig, upstream: SocketAddr) -> State {
    let shown = rig.resolver.forwarder().governor().0.upstreams();
    shown.iter().find(|shown| shown.name == upstream.to_string()).expect("an upstream").state
}

#[test]
fn what_exceeds_the_places_in_flight_is_answered_at_once_and_never_kept() {
    let upstream = Upstream::start(|asked| Act::Hold(good(asked)));
    let rig = Rig::new("", budgeted(upstream.address, None, Some(4)), |_| {});
    let held: Vec<_> = (0..3).map(|n| rig.begin(&format!("h{n}.example"), Rtype::A)).collect();
    upstream.wait(|seen| seen.len() == 3);
    // One place is the probes'.
    for _ in 0..2 {
        let excess = rig.ask("x.example", Rtype::A);
        assert_eq!((excess.rcode, excess.ede(), excess.origin), (Rcode::SERVFAIL, vec![0], Origin::Error));
    }
    assert_eq!((upstream.seen().len(), in_flight(&rig)), (3, 3));
    upstream.release();
    for awaited in held {
        assert_eq!(awaited.get().rcode, Rcode::NOERROR);
    }
    rig.until(|_| in_flight(&rig) == 0);
    let after = rig.begin("x.example", Rtype::A);
    upstream.wait(|seen| seen.len() == 4);
    upstream.release();
    assert_eq!(after.get().rcode, Rcode::NOERROR);
}

#[test]
fn the_rate_bounds_what_reaches_the_upstream() {
    let upstream = Upstream::answering("192.0.2.1");
    let rig = Rig::new("", budgeted(upstream.address, Some(20), None), |_| {});
    let codes: Vec<Rcode> = (0..60).map(|n| rig.ask(&format!("h{n}.example"), Rtype::A).rcode).collect();
    let answered = codes.iter().filter(|rcode| **rcode == Rcode::NOERROR).count();
    assert_eq!(upstream.seen().len(), answered);
    assert!(codes.contains(&Rcode::SERVFAIL), "{answered} of 60");
    // What is known costs no budget.
    assert!(rig.ask("h0.example", Rtype::A).at_once);
}

#[test]
fn over_budget_the_next_upstream_is_asked() {
    let (first, second) = (Upstream::start(|asked| Act::Hold(good(asked))), Upstream::answering("192.0.2.2"));
    let mut settings = budgeted(first.address, None, Some(1));
    settings.forward.groups = common::rig::settings(&[&[first.address, second.address]]).forward.groups;
    let rig = Rig::new("", settings, |_| {});
    let held = rig.begin("a.example", Rtype::A);
    first.wait(|seen| seen.len() == 1);
    assert_eq!(rig.ask("b.example", Rtype::A).rcode, Rcode::NOERROR);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    first.release();
    assert_eq!(held.get().rcode, Rcode::NOERROR);
}

#[test]
fn every_end_of_an_exchange_gives_its_places_back() {
    let upstream = Upstream::start(|asked| match asked.qname.split('.').next().unwrap() {
        "refused" => Act::send(asked.reply(5, "", "")),
        "formerr" => Act::send(asked.reply(1, "", "")),
        "tc" => Act::send(asked.reply(0x0200, "", "")),
        "chase" => Act::send(asked.reply(0, "chase.example 300 CNAME end.example", "")),
        "lost" => Act::Drop,
        _ => Act::send(good(asked)),
    });
    let mut settings = budgeted(upstream.address, Some(100_000), Some(10_000));
    settings.forward.client_deadline = Duration::from_millis(60);
    settings.forward.exchange_deadline = Duration::from_millis(80);
    settings.forward.resend_after = Duration::from_millis(20);
    let rig = Rig::new("", settings, |_| {});
    for name in ["good", "refused", "formerr", "tc", "chase", "lost", "lost2", "good2"] {
        rig.ask(&format!("{name}.example"), Rtype::A);
    }
    rig.until(|forwarder| forwarder.metrics().load().0 == 0 && in_flight(&rig) == 0);
}

#[test]
fn an_upstream_that_is_gone_is_passed_over_and_found_again() {
    let gone = closed();
    let second = Upstream::answering("192.0.2.2");
    let mut both = settings(&[&[gone, second.address]]);
    both.forward.resend_after = Duration::from_millis(200);
    let rig = Rig::new("", both, |_| {});
    let asked = Cell::new(0);
    rig.until(|_| {
        asked.set(asked.get() + 1);
        rig.ask(&format!("h{}.example", asked.get()), Rtype::A).rcode == Rcode::NOERROR
            && state(&rig, gone) == State::Down
    });
    assert!(asked.get() < 50, "{} queries to find out", asked.get());
    // It comes back on the same port: the probes find it, nobody asks.
    let back = Upstream::start_at(gone, |asked| match asked.qtype {
        Rtype::SOA => Act::send(asked.reply(0, "", "")),
        _ => Act::send(good(asked)),
    });
    rig.until(|_| state(&rig, gone) == State::Up);
    assert!(back.seen().iter().all(|asked| asked.qname == "." && asked.qtype == Rtype::SOA));
    assert_eq!(rig.ask("again.example", Rtype::A).rcode, Rcode::NOERROR);
    assert_eq!(back.seen().last().unwrap().qname, "again.example");
}

#[test]
fn configured_codes_move_on_and_others_are_answers() {
    let first = Upstream::start(|asked| Act::send(asked.reply(4, "", "")));
    let second = Upstream::answering("192.0.2.2");
    let ask = |failures: Vec<Rcode>| {
        let mut both = settings(&[&[first.address, second.address]]);
        both.forward.governor.failure_rcodes = failures;
        // With its OPT, NOTIMP means that: asked again without.
        Rig::new("", both, |_| {}).ask("www.example", Rtype::A).rcode
    };
    assert_eq!(ask(vec![Rcode::SERVFAIL]), Rcode::NOTIMP);
    assert_eq!(ask(vec![Rcode::SERVFAIL, Rcode::NOTIMP]), Rcode::NOERROR);
}

#[test]
fn round_robin_spreads_questions() {
    let upstreams = [(); 3].map(|()| Upstream::answering("192.0.2.1"));
    let addresses = upstreams.each_ref().map(|upstream| upstream.address);
    let mut spread = settings(&[&addresses]);
    spread.forward.governor.policies = vec![("group0".to_owned(), Policy::RoundRobin)];
    let rig = Rig::new("", spread, |_| {});
    for n in 0..9 {
        assert_eq!(rig.ask(&format!("h{n}.example"), Rtype::A).rcode, Rcode::NOERROR);
    }
    assert_eq!(upstreams.each_ref().map(|upstream| upstream.seen().len()), [3, 3, 3]);
}
