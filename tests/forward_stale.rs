//! Serve stale (RFC 8767): who gets an expired answer, when, for how long, and
//! that it never takes a fresh one's place.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::estate::query;
use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream, closed};
use hubdns::answer::Transport;
use hubdns::forward::Settings;
use hubdns::metrics::forward::CacheLookup;
use hubdns::wire::{Rcode, Rtype};

const FRESH: &str = "NOERROR | www.example 60 A 192.0.2.1 | ";
const STALE: &str = "NOERROR | www.example 30 A 192.0.2.1 | ";

/// Settings by which expired answers stand in for an hour, after a moment.
fn stale(upstream: &Upstream) -> Settings {
    let mut settings = settings(&[&[upstream.address]]);
    settings.cache.max_stale = 3600;
    settings.forward.stale_after = Duration::from_millis(20);
    settings
}

fn good(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 60 A 192.0.2.1", asked.qname), "")
}

/// An upstream that answers well until it is broken, then by `broken`.
fn breakable(broken: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> (Upstream, Arc<AtomicBool>) {
    let is_broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_broken);
    let upstream =
        Upstream::start(
            move |asked| {
                if seen.load(Ordering::SeqCst) { broken(asked) } else { Act::send(good(asked)) }
            },
        );
    (upstream, is_broken)
}

fn stales(rig: &Rig) -> u64 {
    rig.resolver.forwarder().metrics().lookups(CacheLookup::Stale)
}

#[test]
fn rfc8767_5_a_client_gets_the_expired_answer_after_its_timer_and_the_exchange_goes_on() {
    let (upstream, broken) = breakable(|asked| Act::Hold(good(asked)));
    let rig = Rig::new("", stale(&upstream), |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).text(), FRESH);
    broken.store(true, Ordering::SeqCst);
    rig.pass(90);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.text().as_str(), answer.ede(), answer.at_once), (STALE, vec![3], false));
    assert_eq!(stales(&rig), 1);
    // The next one does not wait, and asks nobody: the exchange still runs.
    let next = rig.ask("www.example", Rtype::A);
    assert_eq!((next.text().as_str(), next.ede(), next.at_once), (STALE, vec![3], true));
    assert_eq!(upstream.seen().len(), 2);
    upstream.release();
    rig.until(|forwarder| forwarder.metrics().load().0 == 0);
    let fresh = rig.ask("www.example", Rtype::A);
    assert_eq!((fresh.text().as_str(), fresh.ede(), fresh.at_once), (FRESH, vec![], true));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn without_an_expired_answer_the_timer_counts_for_nothing() {
    let (upstream, broken) = breakable(|asked| Act::Hold(good(asked)));
    broken.store(true, Ordering::SeqCst);
    let mut patient = stale(&upstream);
    patient.forward.stale_after = Duration::ZERO;
    let rig = Rig::new("", patient, |_| {});
    let awaited = rig.begin("www.example", Rtype::A);
    upstream.wait(|seen| seen.len() == 1);
    assert!(awaited.is_pending());
    upstream.release();
    assert_eq!(awaited.get().text(), FRESH);
}

/// However the upstream fails: the expired answer goes out, the upstream is
/// left alone for the recheck time, then asked again.
fn check_failure(broken: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
    let (upstream, is_broken) = breakable(broken);
    let rig = Rig::new("", stale(&upstream), |_| {});
    rig.ask("www.example", Rtype::A);
    is_broken.store(true, Ordering::SeqCst);
    rig.pass(90);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.text().as_str(), answer.ede()), (STALE, vec![3]));
    rig.until(|forwarder| forwarder.metrics().load().0 == 0);
    let asked = upstream.seen().len();
    rig.pass(20);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.text().as_str(), answer.at_once), (STALE, true));
    assert_eq!(upstream.seen().len(), asked, "left alone for 30 s");
    is_broken.store(false, Ordering::SeqCst);
    rig.pass(20);
    assert_eq!(rig.ask("www.example", Rtype::A).text(), FRESH);
    assert_eq!(upstream.seen().len(), asked + 1, "then asked again");
}

#[test]
fn rfc8767_5_servfail_gives_way_to_the_expired_answer_and_the_upstream_is_left_alone() {
    check_failure(|asked| Act::send(asked.reply(2, "", "")));
}

#[test]
fn rfc8767_5_refused_gives_way_to_the_expired_answer_and_the_upstream_is_left_alone() {
    check_failure(|asked| Act::send(asked.reply(5, "", "")));
}

#[test]
fn an_upstream_that_is_gone_is_stood_in_for() {
    let upstream = Upstream::start(|asked| Act::send(good(asked)));
    let rig = Rig::new("", stale(&upstream), |_| {});
    rig.ask("www.example", Rtype::A);
    // The answer is of the same rule: only what the rule leads to is gone.
    drop(upstream);
    rig.pass(90);
    assert_eq!(rig.ask("www.example", Rtype::A).text(), STALE);
}

#[test]
fn rfc8914_19_tells_of_an_expired_denial() {
    let soa = "example 60 SOA ns.example host.example 1 2 3 4 60";
    let asked_once = AtomicBool::new(false);
    let upstream = Upstream::start(move |asked| {
        let first = !asked_once.swap(true, Ordering::SeqCst);
        if first { Act::send(asked.reply(3, "", soa)) } else { Act::send(asked.reply(2, "", "")) }
    });
    let rig = Rig::new("", stale(&upstream), |_| {});
    assert_eq!(rig.ask("no.example", Rtype::A).rcode, Rcode::NXDOMAIN);
    rig.pass(90);
    for at_once in [false, true] {
        let answer = rig.ask("no.example", Rtype::A);
        assert_eq!((answer.rcode, answer.ede(), answer.at_once), (Rcode::NXDOMAIN, vec![19], at_once));
        assert!(answer.text().contains("example 30 SOA"), "{}", answer.text());
    }
}

#[test]
fn nothing_stands_in_beyond_the_maximum_age_or_where_that_is_off() {
    for (max_stale, pass) in [(3600, 60 + 3600 + 30), (0, 90)] {
        let (upstream, broken) = breakable(|asked| Act::send(asked.reply(2, "", "")));
        let mut settings = stale(&upstream);
        settings.cache.max_stale = max_stale;
        let rig = Rig::new("", settings, |_| {});
        rig.ask("www.example", Rtype::A);
        broken.store(true, Ordering::SeqCst);
        rig.pass(pass);
        assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::SERVFAIL, "{max_stale}");
    }
}

#[test]
fn rfc9520_a_failure_is_kept_and_never_stands_in() {
    let (upstream, broken) = breakable(|asked| Act::send(asked.reply(2, "", "")));
    broken.store(true, Ordering::SeqCst);
    let rig = Rig::new("", stale(&upstream), |_| {});
    for (at_once, seen) in [(false, 1), (true, 1)] {
        let answer = rig.ask("www.example", Rtype::A);
        assert_eq!((answer.rcode, answer.at_once, upstream.seen().len()), (Rcode::SERVFAIL, at_once, seen));
    }
    rig.pass(10);
    rig.ask("www.example", Rtype::A);
    assert_eq!(upstream.seen().len(), 2, "asked again after the failure's time");
}

#[test]
fn an_answer_that_is_not_to_be_kept_ends_what_was() {
    let (upstream, changed) =
        breakable(|asked| Act::send(asked.reply(0, &format!("{} 0 A 192.0.2.9", asked.qname), "")));
    let rig = Rig::new("", stale(&upstream), |_| {});
    rig.ask("www.example", Rtype::A);
    changed.store(true, Ordering::SeqCst);
    rig.pass(90);
    for _ in 0..2 {
        let answer = rig.ask("www.example", Rtype::A);
        assert_eq!(answer.text(), "NOERROR | www.example 0 A 192.0.2.9 | ");
    }
    assert_eq!(rig.resolver.forwarder().cache().usage().entries, 0);
}

#[test]
fn where_too_many_wait_the_expired_answer_goes_out_at_once() {
    let (upstream, broken) = breakable(|asked| Act::Hold(good(asked)));
    let mut narrow = stale(&upstream);
    narrow.forward.max_in_flight = 1;
    narrow.forward.stale_after = Duration::from_secs(20);
    let rig = Rig::new("", narrow, |_| {});
    rig.ask("www.example", Rtype::A);
    broken.store(true, Ordering::SeqCst);
    rig.pass(90);
    let other = rig.begin("other.example", Rtype::A);
    upstream.wait(|seen| seen.len() == 2);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.text().as_str(), answer.ede()), (STALE, vec![3]));
    upstream.release();
    assert_eq!(other.get().rcode, Rcode::NOERROR);
    // Nobody was asked, so nothing is known of the upstream: the next asks.
    let next = rig.begin("www.example", Rtype::A);
    upstream.wait(|seen| seen.len() == 3);
    upstream.release();
    assert_eq!(next.get().text(), FRESH);
}

#[test]
fn a_client_gets_its_own_spelling_and_no_extended_error_without_an_opt() {
    let (upstream, broken) = breakable(|asked| Act::send(asked.reply(2, "", "")));
    let rig = Rig::new("", stale(&upstream), |_| {});
    rig.ask("www.example", Rtype::A);
    broken.store(true, Ordering::SeqCst);
    rig.pass(90);
    for at_once in [false, true] {
        let mut bytes = query("wWw.eXample", Rtype::A, 0x0100, None);
        bytes[0] = 0x77;
        let answer = rig.send(&bytes, Transport::Udp).get();
        assert_eq!((answer.at_once, answer.rcode), (at_once, Rcode::NOERROR));
        assert_eq!(answer.bytes[..2], bytes[..2]);
        assert_eq!(answer.bytes[12..25], bytes[12..25]);
        assert!(answer.edns().is_none());
    }
}

const ESTATE: &str = "
zone privatelink.azurecr.io
contoso.privatelink.azurecr.io 10 A 10.0.0.5
alias contoso.azurecr.io contoso.privatelink.azurecr.io
own contoso.azurecr.io
authoritative corp.example
out.corp.example 200 CNAME www.example
";

#[test]
fn an_expired_chain_ends_in_our_answer_of_this_moment() {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let upstream = Upstream::start(move |asked| {
        let rcode = if is_broken.load(Ordering::SeqCst) { 2 } else { 0 };
        let answer = if rcode == 0 { "registry.example 60 CNAME contoso.azurecr.io" } else { "" };
        Act::send(asked.reply(rcode, answer, ""))
    });
    let rig = Rig::new(ESTATE, stale(&upstream), |_| {});
    rig.ask("registry.example", Rtype::A);
    broken.store(true, Ordering::SeqCst);
    rig.publish(&ESTATE.replace("10.0.0.5", "10.0.0.9"));
    rig.pass(90);
    for at_once in [false, true] {
        let answer = rig.ask("registry.example", Rtype::A);
        let text = answer.text();
        assert_eq!((answer.ede(), answer.at_once), (vec![3], at_once), "{text}");
        assert!(text.contains("registry.example 30 CNAME") && text.ends_with("10 A 10.0.0.9 | "), "{text}");
    }
    // The end of the chain is no longer ours: the expired chain says nothing.
    rig.publish("");
    let answer = rig.ask("registry.example", Rtype::A);
    assert_eq!(answer.rcode, Rcode::SERVFAIL, "{}", answer.text());
}

#[test]
fn a_chain_of_ours_leads_to_an_expired_answer() {
    let (upstream, broken) = breakable(|asked| Act::send(asked.reply(2, "", "")));
    let rig = Rig::new(ESTATE, stale(&upstream), |_| {});
    rig.ask("www.example", Rtype::A);
    broken.store(true, Ordering::SeqCst);
    rig.pass(90);
    for at_once in [false, true] {
        let answer = rig.ask("out.corp.example", Rtype::A);
        assert_eq!(
            answer.text(),
            "NOERROR aa | out.corp.example 200 CNAME www.example.; www.example 30 A 192.0.2.1 | "
        );
        assert_eq!((answer.ede(), answer.at_once), (vec![3], at_once));
    }
}

#[test]
fn a_closed_port_is_stood_in_for_at_once() {
    let upstream = Upstream::start(|asked| Act::send(good(asked)));
    let mut both = stale(&upstream);
    both.forward.stale_after = Duration::from_secs(20);
    let rig = Rig::new("", both.clone(), |_| {});
    rig.ask("www.example", Rtype::A);
    // Another rule, which has nothing: its failure is its own.
    both.forward.groups[0].upstreams = hubdns::config::Upstreams::addresses(&[closed()]);
    rig.resolver.reload(&both);
    rig.pass(90);
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::SERVFAIL);
    both.forward.groups[0].upstreams = hubdns::config::Upstreams::addresses(&[upstream.address]);
    rig.resolver.reload(&both);
    assert_eq!(rig.ask("www.example", Rtype::A).text(), FRESH);
}
