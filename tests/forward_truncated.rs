//! Truncated answers whose rest TCP does not bring, or not in time.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::estate::query;
use common::rig::{Answer, Rig, settings};
use common::serving::ESTATE;
use common::upstream::{Act, Asked, Upstream};
use hubdns::answer::Transport;
use hubdns::forward::Settings;
use hubdns::wire::{Rcode, Rtype};

/// A client's deadline that is reached.
const SOON: Duration = Duration::from_millis(100);
/// How long a test waits before it is given up as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

fn good(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")
}

/// The same as if another record had found no room.
fn cut(asked: &Asked) -> Vec<u8> {
    asked.reply(0x0200, &format!("{} 300 A 192.0.2.1", asked.qname), "")
}

/// An upstream that is truncated over UDP and answers over TCP once that is opened.
fn slow_over_tcp(
    over_udp: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
) -> (Upstream, Arc<AtomicBool>) {
    let opened = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&opened);
    let upstream = Upstream::start(move |asked| match asked.transport {
        Transport::Udp => Act::send(over_udp(asked)),
        Transport::Tcp => {
            let begun = Instant::now();
            while !gate.load(Ordering::SeqCst) && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            Act::send(good(asked))
        }
        other => unreachable!("an upstream is not asked by {}", other.label()),
    });
    (upstream, opened)
}

fn quick(upstream: &Upstream) -> Settings {
    let mut settings = settings(&[&[upstream.address]]);
    settings.forward.client_deadline = SOON;
    settings
}

fn over_tcp(rig: &Rig, qname: &str) -> Answer {
    rig.send(&query(qname, Rtype::A, 0x0100, Some(1232)), Transport::Tcp).get()
}

#[test]
fn what_is_there_goes_with_tc_to_udp_clients_while_tcp_hangs_and_the_cache_gets_the_whole() {
    let (upstream, opened) = slow_over_tcp(cut);
    let rig = Rig::new("", quick(&upstream), |_| {});
    // They wait for one exchange.
    let (one, other) = (rig.begin("www.example", Rtype::A), over_tcp(&rig, "www.example"));
    let one = one.get();
    assert_eq!((one.at_once, one.text().as_str()), (false, "NOERROR tc | www.example 300 A 192.0.2.1 | "));
    assert_eq!((other.rcode, other.ede()), (Rcode::SERVFAIL, vec![23]), "no TC over TCP");
    assert_eq!(rig.resolver.forwarder().cache().usage().entries, 0, "a part is never kept");
    opened.store(true, Ordering::SeqCst);
    rig.until(|forwarder| forwarder.cache().usage().entries == 1);
    for whole in [rig.ask("www.example", Rtype::A), over_tcp(&rig, "www.example")] {
        assert_eq!(
            (whole.at_once, whole.text().as_str()),
            (true, "NOERROR | www.example 300 A 192.0.2.1 | ")
        );
    }
    assert_eq!(upstream.seen().len(), 2, "one question, by both ways");
}

#[test]
fn a_client_over_tcp_gets_servfail_and_a_reason_where_tcp_fails() {
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => Act::send(cut(asked)),
        Transport::Tcp => Act::Close,
        other => unreachable!("an upstream is not asked by {}", other.label()),
    });
    let rig = Rig::plain(upstream.address);
    let answer = over_tcp(&rig, "www.example");
    assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![23]));
    assert_eq!(rig.ask("www.example", Rtype::A).text(), "NOERROR tc | www.example 300 A 192.0.2.1 | ");
}

#[test]
fn what_cannot_be_read_for_its_cut_has_tc_as_well() {
    // Without TC the client would take it for a denial.
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => {
            let mut bytes = cut(asked);
            bytes.truncate(bytes.len() - 3);
            Act::send(bytes)
        }
        Transport::Tcp => Act::Close,
        other => unreachable!("an upstream is not asked by {}", other.label()),
    });
    let rig = Rig::plain(upstream.address);
    assert_eq!(rig.ask("www.example", Rtype::A).text(), "NOERROR tc |  | ");
    assert_eq!(over_tcp(&rig, "www.example").rcode, Rcode::SERVFAIL);
}

#[test]
fn the_end_of_a_chain_that_is_cut_cuts_the_whole() {
    // Azure leaves the end of a chain out without a word: it is asked for by itself.
    let upstream = Upstream::start(|asked| match (asked.qname.as_str(), asked.transport) {
        ("end.example", Transport::Udp) => Act::send(cut(asked)),
        ("end.example", Transport::Tcp) => Act::Close,
        _ => Act::send(asked.reply(0, &format!("{} 300 CNAME end.example", asked.qname), "")),
    });
    let rig = Rig::plain(upstream.address);
    let text = rig.ask("www.example", Rtype::A).text();
    assert_eq!(text, "NOERROR tc | www.example 300 CNAME end.example.; end.example 300 A 192.0.2.1 | ");
    assert_eq!(over_tcp(&rig, "www.example").rcode, Rcode::SERVFAIL);
}

#[test]
fn an_exchange_that_ends_without_tcp_ends_with_what_there_is() {
    let (upstream, opened) = slow_over_tcp(cut);
    let mut settings = quick(&upstream);
    settings.forward.exchange_deadline = SOON;
    let rig = Rig::new("", settings, |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).text(), "NOERROR tc | www.example 300 A 192.0.2.1 | ");
    rig.until(|forwarder| forwarder.metrics().load().0 == 0);
    assert_eq!(rig.resolver.forwarder().cache().usage().entries, 0);
    opened.store(true, Ordering::SeqCst);
}

#[test]
fn rfc8767_an_expired_whole_answer_is_better_than_a_part() {
    let (upstream, opened) = slow_over_tcp(|asked| if asked.nth == 0 { good(asked) } else { cut(asked) });
    let mut settings = settings(&[&[upstream.address]]);
    settings.forward.stale_after = SOON;
    settings.cache.max_stale = 3600;
    let rig = Rig::new("", settings, |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR);
    rig.pass(400);
    let stale = rig.ask("www.example", Rtype::A);
    assert_eq!((stale.text().as_str(), stale.ede()), ("NOERROR | www.example 30 A 192.0.2.1 | ", vec![3]));
    opened.store(true, Ordering::SeqCst);
}

#[test]
fn a_part_that_leads_to_a_name_of_ours_is_whole() {
    let lead =
        |asked: &Asked| asked.reply(0x0200, &format!("{} 300 CNAME contoso.azurecr.io", asked.qname), "");
    let (upstream, opened) = slow_over_tcp(lead);
    let rig = Rig::new(ESTATE, quick(&upstream), |_| {});
    for answer in [rig.ask("www.example", Rtype::A), over_tcp(&rig, "www.example")] {
        let text = answer.text();
        assert!(text.starts_with("NOERROR | www.example 300 CNAME") && text.contains("A 10.0.0.5"), "{text}");
    }
    opened.store(true, Ordering::SeqCst);
}
