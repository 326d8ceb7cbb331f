//! Exchanges with upstreams: matching, resending, moving on, limits, deadlines.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::estate::query;
use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream, closed};
use hubdns::answer::Transport;
use hubdns::config;
use hubdns::metrics::forward::{Failure, Mismatch, Rejection};
use hubdns::resolve::Origin;
use hubdns::wire::{Rcode, Rtype};

/// Short, for what a test waits to happen.
const SOON: Duration = Duration::from_millis(20);

fn good(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")
}

/// Sends `wrong` before the right response; the client gets the right one and
/// the other is counted as `kind`.
fn check_mismatch(kind: Mismatch, wrong: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) {
    let upstream = Upstream::start(move |asked| Act::Send(vec![wrong(asked), good(asked)]));
    let rig = Rig::plain(upstream.address);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!(answer.text(), "NOERROR | www.example 300 A 192.0.2.1 | ");
    assert_eq!(rig.resolver.forwarder().metrics().mismatches(kind), 1, "{kind:?}");
}

fn forged(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 300 A 203.0.113.66", asked.qname), "")
}

#[test]
fn rfc5452_a_wrong_id_is_counted_and_the_wait_goes_on() {
    check_mismatch(Mismatch::Id, |asked| {
        let mut reply = forged(asked);
        reply[0] ^= 0x55;
        reply
    });
}

#[test]
fn rfc5452_another_question_is_counted_and_the_wait_goes_on() {
    check_mismatch(Mismatch::Question, |asked| {
        let mut reply = forged(asked);
        reply[13] = b'x';
        reply
    });
    check_mismatch(Mismatch::Question, |asked| {
        let mut reply = forged(asked);
        reply[26] = 28;
        reply
    });
    check_mismatch(Mismatch::Question, |asked| {
        let mut reply = forged(asked);
        reply[28] = 3;
        reply
    });
    // Two questions; and none, which only FORMERR and NOTIMP may have.
    check_mismatch(Mismatch::Question, |asked| {
        let mut reply = forged(asked);
        reply[5] = 2;
        reply
    });
    check_mismatch(Mismatch::Question, |asked| {
        vec![asked.bytes[0], asked.bytes[1], 0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    });
}

#[test]
fn rfc5452_what_is_no_response_is_counted_and_the_wait_goes_on() {
    check_mismatch(Mismatch::NotResponse, |asked| {
        let mut reply = forged(asked);
        reply[2] &= 0x7f;
        reply
    });
    check_mismatch(Mismatch::NotResponse, |asked| {
        let mut reply = forged(asked);
        reply[2] |= 0x28;
        reply
    });
    check_mismatch(Mismatch::Short, |asked| asked.bytes[..11].to_vec());
}

#[test]
fn rfc5452_malformed_messages_are_counted_and_the_wait_goes_on() {
    check_mismatch(Mismatch::Malformed, |asked| {
        let mut reply = forged(asked);
        reply[7] = 2;
        reply
    });
    check_mismatch(Mismatch::Malformed, |asked| {
        let mut reply = forged(asked);
        reply.truncate(reply.len() - 1);
        reply
    });
    // An owner that points at itself.
    check_mismatch(Mismatch::Malformed, |asked| {
        let mut reply = asked.reply(0, "", "");
        let at = reply.len() as u8;
        reply.extend_from_slice(&[0xc0, at, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]);
        reply[7] = 1;
        reply
    });
    // A CNAME whose target loops, which only a look at the RDATA shows.
    check_mismatch(Mismatch::Malformed, |asked| {
        let mut reply = asked.reply(0, "", "");
        let at = reply.len() as u8 + 12;
        reply.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, at]);
        reply[7] = 1;
        reply
    });
}

#[test]
fn rfc5452_another_source_is_never_heard() {
    let upstream = Upstream::start(|asked| Act::Elsewhere(forged(asked), good(asked)));
    let rig = Rig::plain(upstream.address);
    assert!(rig.ask("www.example", Rtype::A).text().contains("192.0.2.1"));
}

#[test]
fn rfc5452_the_case_of_the_question_may_differ() {
    let upstream = Upstream::start(|asked| {
        let mut reply = good(asked);
        reply[13] = b'W';
        Act::send(reply)
    });
    let rig = Rig::plain(upstream.address);
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR);
}

#[test]
fn equal_questions_share_one_exchange() {
    let upstream = Upstream::start(|asked| Act::Hold(good(asked)));
    let rig = Rig::plain(upstream.address);
    let mut waiting = Vec::new();
    for i in 0..300u16 {
        let spelling = if i % 2 == 0 { "www.example" } else { "WWW.Example" };
        let size = if i % 3 == 0 { None } else { Some(1232) };
        let mut bytes = query(spelling, Rtype::A, 0x0100, size);
        bytes[..2].copy_from_slice(&i.to_be_bytes());
        let transport = if i % 5 == 0 { Transport::Tcp } else { Transport::Udp };
        waiting.push((bytes.clone(), rig.send(&bytes, transport)));
    }
    // All have joined once the engine has counted them.
    rig.until(|forwarder| forwarder.metrics().coalesced() == 299);
    upstream.release();
    for (bytes, awaited) in waiting {
        let answer = awaited.get();
        assert_eq!(answer.bytes[..2], bytes[..2], "its own id");
        assert_eq!(answer.bytes[12..29], bytes[12..29], "its own spelling");
        assert_eq!(answer.edns().is_some(), bytes.len() > 29, "its own OPT");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn waiters_and_questions_in_flight_are_limited() {
    let upstream = Upstream::start(|asked| Act::Hold(good(asked)));
    let mut limited = settings(&[&[upstream.address]]);
    limited.forward.max_in_flight = 2;
    limited.forward.max_waiters = 3;
    let rig = Rig::new("", limited, |_| {});
    let mut kept = Vec::new();
    // One by one, so that the queue to the engine is not what limits.
    for waiters in 1..=3 {
        kept.push(rig.begin("a.example", Rtype::A));
        rig.until(|forwarder| forwarder.metrics().load().1 == waiters);
    }
    let excess = rig.ask("a.example", Rtype::A);
    assert_eq!((excess.rcode, excess.ede(), excess.origin), (Rcode::SERVFAIL, vec![0], Origin::Error));
    kept.push(rig.begin("b.example", Rtype::A));
    upstream.wait(|seen| seen.len() == 2);
    let excess = rig.ask("c.example", Rtype::A);
    assert_eq!((excess.rcode, excess.ede()), (Rcode::SERVFAIL, vec![0]));
    let metrics = rig.resolver.forwarder().metrics();
    assert_eq!((metrics.rejections(Rejection::Waiters), metrics.rejections(Rejection::InFlight)), (1, 1));
    upstream.release();
    for awaited in kept {
        assert_eq!(awaited.get().rcode, Rcode::NOERROR);
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn an_unanswered_query_is_sent_once_more_with_a_fresh_id_and_port() {
    let upstream = Upstream::start(|asked| if asked.nth == 0 { Act::Drop } else { Act::send(good(asked)) });
    let mut quick = settings(&[&[upstream.address]]);
    quick.forward.resend_after = SOON;
    let rig = Rig::new("", quick, |_| {});
    let mut differing = HashSet::new();
    for i in 0..4 {
        assert_eq!(rig.ask(&format!("h{i}.example"), Rtype::A).rcode, Rcode::NOERROR);
        let seen = upstream.seen();
        let [first, second] = [&seen[2 * i], &seen[2 * i + 1]];
        differing.insert(first.id() != second.id());
        differing.insert(first.peer != second.peer);
    }
    assert_eq!(upstream.seen().len(), 8);
    assert!(differing.contains(&true));
}

#[test]
fn both_upstreams_are_asked_again_and_the_first_may_still_answer() {
    let first = Upstream::start(|asked| Act::Hold(good(asked)));
    let second =
        Upstream::start(
            |asked| {
                if asked.qname == "late.example" { Act::Drop } else { Act::send(good(asked)) }
            },
        );
    let mut quick = settings(&[&[first.address, second.address]]);
    quick.forward.resend_after = SOON;
    let rig = Rig::new("", quick, |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR);
    let late = rig.begin("late.example", Rtype::A);
    // Each gets the question and two resends, whatever became of the other.
    for upstream in [&first, &second] {
        upstream.wait(|seen| seen.iter().filter(|asked| asked.qname == "late.example").count() == 3);
    }
    first.release();
    assert_eq!(late.get().rcode, Rcode::NOERROR);
}

#[test]
fn icmp_refused_moves_on_at_once() {
    let second = Upstream::answering("192.0.2.1");
    let closed = closed();
    let rig = Rig::new("", settings(&[&[closed, second.address]]), |_| {});
    // No resend is configured to come: only the ICMP message moves it on.
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR);
    let counters = rig.resolver.forwarder().metrics().upstream(closed);
    assert_eq!(counters.failures(Failure::Refused) + counters.failures(Failure::Network), 1);
}

#[test]
fn rfc8914_23_tells_of_an_unreachable_upstream_at_once() {
    let rig = Rig::plain(closed());
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.rcode, answer.ede(), answer.origin), (Rcode::SERVFAIL, vec![23], Origin::Error));
    assert!(!rig.ask("www.example", Rtype::A).at_once, "a SERVFAIL of our own is never kept");
}

#[test]
fn rfc8914_22_tells_of_no_answer_in_time_and_the_exchange_fills_the_cache() {
    let upstream = Upstream::start(|asked| Act::Hold(good(asked)));
    let mut quick = settings(&[&[upstream.address]]);
    quick.forward.client_deadline = SOON;
    let rig = Rig::new("", quick, |_| {});
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![22]));
    assert!(rig.resolver.forwarder().cache().usage().entries == 0);
    upstream.release();
    rig.until(|forwarder| forwarder.cache().usage().entries > 0);
    let kept = rig.ask("www.example", Rtype::A);
    assert_eq!((kept.at_once, kept.rcode), (true, Rcode::NOERROR));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn an_exchange_ends_at_its_deadline() {
    let upstream = Upstream::start(|_| Act::Drop);
    let mut quick = settings(&[&[upstream.address]]);
    quick.forward.client_deadline = SOON;
    quick.forward.exchange_deadline = SOON;
    quick.forward.resend_after = Duration::from_millis(1);
    let rig = Rig::new("", quick, |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).ede(), [22]);
    rig.until(|forwarder| forwarder.metrics().load().0 == 0);
    let counters = rig.resolver.forwarder().metrics().upstream(upstream.address);
    assert_eq!(counters.failures(Failure::Timeout), 3);
    assert_eq!(upstream.seen().len(), 3, "one query, two resends");
}

#[test]
fn rfc6891_formerr_to_our_opt_is_asked_again_without() {
    for bare in [false, true] {
        for rcode in [1, 4] {
            let upstream = Upstream::start(move |asked| match asked.edns() {
                Some(_) if bare => {
                    Act::send(vec![asked.bytes[0], asked.bytes[1], 0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0])
                }
                Some(_) => Act::send(asked.reply(u16::from(rcode), "", "")),
                None => Act::send(good(asked)),
            });
            let rig = Rig::plain(upstream.address);
            assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR, "{bare} {rcode}");
            assert_eq!(upstream.seen().len(), 2);
        }
    }
    let upstream = Upstream::start(|asked| Act::send(asked.reply(1, "", "")));
    let rig = Rig::plain(upstream.address);
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::SERVFAIL);
    assert_eq!(upstream.seen().len(), 2, "once");
}

#[test]
fn servfail_and_refused_move_on_once() {
    for rcode in [2, 5] {
        let bad = || Upstream::start(move |asked| Act::send(asked.reply(rcode, "", "")));
        let (first, second, third) = (bad(), Upstream::answering("192.0.2.1"), bad());
        let rig = Rig::new("", settings(&[&[first.address, second.address]]), |_| {});
        assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR);
        let fourth = bad();
        let all = [first.address, third.address, fourth.address];
        let rig = Rig::new("", settings(&[&all]), |_| {});
        let answer = rig.ask("www.example", Rtype::A);
        assert_eq!(answer.rcode, Rcode::SERVFAIL);
        assert_eq!(answer.ede(), if rcode == 5 { vec![0] } else { vec![] }, "REFUSED tells why");
        assert_eq!((third.seen().len(), fourth.seen().len()), (1, 0));
    }
}

#[test]
fn nxdomain_is_a_success() {
    let first = Upstream::start(|asked| Act::send(asked.reply(3, "", "")));
    let second = Upstream::answering("192.0.2.1");
    let rig = Rig::new("", settings(&[&[first.address, second.address]]), |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NXDOMAIN);
    assert_eq!(second.seen().len(), 0);
}

#[test]
fn a_held_servfail_is_what_a_client_gets_when_nothing_better_comes() {
    let first = Upstream::start(|asked| Act::send(asked.reply_opt(2, "", "", &[0, 15, 0, 2, 0, 6])));
    let second = Upstream::start(|_| Act::Drop);
    let mut quick = settings(&[&[first.address, second.address]]);
    quick.forward.client_deadline = SOON;
    let rig = Rig::new("", quick, |_| {});
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![6]));
}

#[test]
fn rfc7766_a_truncated_answer_is_fetched_over_tcp() {
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => Act::send(asked.reply(0x0200, "", "")),
        // A forged one first: it is passed over, and the wait goes on.
        Transport::Tcp => {
            let mut wrong = forged(asked);
            wrong[0] ^= 1;
            Act::Send(vec![wrong, good(asked)])
        }
        other => unreachable!("an upstream is not asked by {}", other.label()),
    });
    let rig = Rig::plain(upstream.address);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!(answer.text(), "NOERROR | www.example 300 A 192.0.2.1 | ");
    assert!(rig.ask("www.example", Rtype::A).at_once);
    assert_eq!(rig.resolver.forwarder().metrics().upstream(upstream.address).sent(), (1, 1));
}

#[test]
fn a_truncated_answer_whose_rest_cannot_be_had_keeps_tc_and_is_not_kept() {
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => {
            let mut reply = good(asked);
            reply[2] |= 2;
            Act::send(reply)
        }
        _ => Act::Close,
    });
    let rig = Rig::plain(upstream.address);
    for _ in 0..2 {
        let answer = rig.ask("www.example", Rtype::A);
        assert!(!answer.at_once);
        assert_eq!(answer.text(), "NOERROR tc | www.example 300 A 192.0.2.1 | ");
    }
}

#[test]
fn a_message_cut_within_a_record_counts_as_truncated() {
    let upstream = Upstream::start(|asked| match asked.transport {
        Transport::Udp => {
            let mut reply = good(asked);
            reply[2] |= 2;
            reply.truncate(reply.len() - 3);
            Act::send(reply)
        }
        _ => Act::send(good(asked)),
    });
    let rig = Rig::plain(upstream.address);
    assert_eq!(rig.ask("www.example", Rtype::A).text(), "NOERROR | www.example 300 A 192.0.2.1 | ");
}

#[test]
fn a_group_without_upstreams_gets_servfail_with_a_reason() {
    let mut none = settings(&[&[]]);
    none.forward.groups[0].upstreams = config::Upstreams::System;
    let rig = Rig::new("", none, |_| {});
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![23]));
    assert_eq!(rig.resolver.forwarder().metrics().rejections(Rejection::NoUpstream), 1);
}

#[test]
fn dropping_the_resolver_leaves_nobody_waiting() {
    let upstream = Upstream::start(|_| Act::Drop);
    let mut quick = settings(&[&[upstream.address]]);
    quick.forward.client_deadline = SOON;
    quick.forward.exchange_deadline = SOON;
    let rig = Rig::new("", quick, |_| {});
    let awaited = rig.begin("www.example", Rtype::A);
    upstream.wait(|seen| seen.len() == 1);
    drop(rig);
    assert_eq!(awaited.get().rcode, Rcode::SERVFAIL);
}
