//! Hot responses are renewed before they expire: which, when, how many at a
//! time, and what a failure changes.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream};
use hubdns::metrics::forward::Renewal;
use hubdns::wire::Rtype;

fn good(asked: &Asked) -> Act {
    Act::send(asked.reply(0, &format!("{} 1000 A 192.0.2.1", asked.qname), ""))
}

fn rig(upstream: &Upstream, max_renewals: usize) -> Rig {
    let mut settings = settings(&[&[upstream.address]]);
    settings.cache.max_renewals = max_renewals;
    settings.cache.max_stale = 3600;
    Rig::new("", settings, |_| {})
}

fn ask(rig: &Rig, qname: &str) -> (String, bool) {
    let answer = rig.ask(qname, Rtype::A);
    (answer.text(), answer.at_once)
}

fn renewals(rig: &Rig, result: Renewal) -> u64 {
    rig.resolver.forwarder().metrics().cache().renewals(result)
}

/// Checks that the cache answers with so many seconds left. The test's own time
/// is not on the clock that it sets, so that there may be a few more.
fn check_cached(rig: &Rig, qname: &str, ttl: u32) {
    let answer = rig.ask(qname, Rtype::A);
    assert!(answer.at_once, "{}", answer.text());
    let text = answer.text();
    let left: u32 = text.split(' ').nth(3).and_then(|word| word.parse().ok()).expect("a TTL");
    assert!((ttl..ttl + 30).contains(&left), "{text}");
}

#[test]
fn a_hot_response_is_renewed_in_its_last_tenth_without_holding_up_the_hit() {
    let upstream = Upstream::start(good);
    let rig = rig(&upstream, 10);
    for _ in 0..3 {
        ask(&rig, "www.example");
    }
    rig.pass(850);
    check_cached(&rig, "www.example", 150);
    assert_eq!(upstream.seen().len(), 1, "not yet");
    rig.pass(90);
    check_cached(&rig, "www.example", 60);
    assert!(ask(&rig, "www.example").1, "and once is enough");
    rig.until(|forwarder| forwarder.metrics().cache().renewals(Renewal::Renewed) == 1);
    assert_eq!(upstream.seen().len(), 2);
    check_cached(&rig, "www.example", 1000);
}

#[test]
fn what_is_rarely_asked_or_short_lived_is_not_renewed() {
    let upstream = Upstream::start(|asked| {
        let ttl = if asked.qname == "short.example" { 4 } else { 1000 };
        Act::send(asked.reply(0, &format!("{} {ttl} A 192.0.2.1", asked.qname), ""))
    });
    let rig = rig(&upstream, 10);
    for _ in 0..4 {
        ask(&rig, "short.example");
    }
    ask(&rig, "cold.example");
    rig.pass(3);
    ask(&rig, "short.example");
    rig.pass(940);
    assert!(ask(&rig, "cold.example").1, "the first hit of its life");
    ask(&rig, "other.example");
    assert_eq!(upstream.wait(|seen| seen.iter().any(|asked| asked.qname == "other.example")).len(), 3);
}

#[test]
fn no_more_run_at_a_time_than_the_budget_says() {
    let hold = Arc::new(AtomicBool::new(false));
    let is_held = Arc::clone(&hold);
    let upstream = Upstream::start(move |asked| match good(asked) {
        Act::Send(messages) if is_held.load(Ordering::SeqCst) => Act::Hold(messages[0].clone()),
        act => act,
    });
    let rig = rig(&upstream, 1);
    for _ in 0..3 {
        ask(&rig, "one.example");
        ask(&rig, "two.example");
    }
    hold.store(true, Ordering::SeqCst);
    rig.pass(950);
    assert!(ask(&rig, "one.example").1);
    assert!(ask(&rig, "two.example").1, "a hit, whatever the budget");
    assert_eq!(renewals(&rig, Renewal::Skipped), 1);
    upstream.wait(|seen| seen.len() == 3);
    upstream.release();
    rig.until(|forwarder| forwarder.metrics().cache().renewals(Renewal::Renewed) == 1);
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn a_budget_of_nothing_renews_nothing() {
    let upstream = Upstream::start(good);
    let rig = rig(&upstream, 0);
    for _ in 0..4 {
        ask(&rig, "www.example");
    }
    rig.pass(950);
    assert!(ask(&rig, "www.example").1);
    ask(&rig, "other.example");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_renewal_that_fails_leaves_the_answer_and_the_upstream_alone() {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let upstream = Upstream::start(move |asked| {
        if is_broken.load(Ordering::SeqCst) { Act::send(asked.reply(2, "", "")) } else { good(asked) }
    });
    let rig = rig(&upstream, 10);
    for _ in 0..3 {
        ask(&rig, "www.example");
    }
    broken.store(true, Ordering::SeqCst);
    rig.pass(985);
    check_cached(&rig, "www.example", 15);
    rig.until(|forwarder| forwarder.metrics().cache().renewals(Renewal::Failed) == 1);
    check_cached(&rig, "www.example", 15);
    rig.pass(22);
    let expired = rig.ask("www.example", Rtype::A);
    assert_eq!((expired.ede(), expired.at_once), (vec![3], true), "it failed lately: nobody waits");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_chain_that_leads_to_our_names_is_renewed_as_well() {
    let upstream = Upstream::start(|asked| {
        Act::send(asked.reply(0, "registry.example 1000 CNAME contoso.azurecr.io", ""))
    });
    let estate = "
        zone privatelink.azurecr.io
        contoso.privatelink.azurecr.io 10 A 10.0.0.5
        alias contoso.azurecr.io contoso.privatelink.azurecr.io
        own contoso.azurecr.io
    ";
    let mut settings = settings(&[&[upstream.address]]);
    settings.cache.max_renewals = 10;
    let rig = Rig::new(estate, settings, |_| {});
    for _ in 0..3 {
        ask(&rig, "registry.example");
    }
    rig.pass(950);
    assert!(ask(&rig, "registry.example").1);
    rig.until(|forwarder| forwarder.metrics().cache().renewals(Renewal::Renewed) == 1);
    assert_eq!(upstream.seen().len(), 2);
}
