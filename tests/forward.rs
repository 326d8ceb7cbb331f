//! What clients get of forwarded questions, and what is kept of the answers.

mod common;

use common::estate::{query, query_of, spelled};
use common::rig::{Answer, Rig, settings};
use common::upstream::{Act, Upstream};
use hubdns::answer::Transport;
use hubdns::forward::Settings;
use hubdns::metrics::forward::CacheLookup;
use hubdns::resolve::Origin;
use hubdns::wire::message::Message;
use hubdns::wire::{Flags, Rcode, Rtype};

const SOA: &str = "example.org 900 SOA ns.example.org. host.example.org. 1 3600 300 86400 60";

/// The TTL of the first record.
fn ttl(answer: &Answer) -> u32 {
    Message::parse(&answer.bytes).unwrap().records().next().expect("a record").ttl
}

/// Asserts that `answer` has aged by `seconds`, give or take what the exchange took.
fn assert_aged(answer: &Answer, from: u32, seconds: u32) {
    let (low, high) = (from - seconds, from - seconds + 30);
    assert!((low..=high).contains(&ttl(answer)), "{} not in {low}..={high}", ttl(answer));
}

#[test]
fn the_client_gets_its_own_id_spelling_and_flags() {
    // AA and AD of the upstream are not ours to pass on.
    let upstream = Upstream::start(|asked| {
        Act::send(asked.reply(0x0420, &format!("{} 300 A 192.0.2.1", asked.qname), ""))
    });
    let rig = Rig::plain(upstream.address);
    for flags in [0x0100, 0x0110] {
        let mut bytes = query("wWw.ExAmple.ORG", Rtype::A, flags, None);
        bytes[..2].copy_from_slice(&[0xab, 0xcd]);
        for cached in [false, true] {
            let answer = rig.send(&bytes, Transport::Udp).get();
            assert_eq!(answer.at_once, cached, "{flags:x}");
            assert_eq!(answer.bytes[..2], [0xab, 0xcd]);
            assert_eq!(answer.bytes[2..4], (0x8080 | flags).to_be_bytes(), "{flags:x}");
            let wire = spelled("wWw.ExAmple.ORG");
            assert_eq!(answer.bytes[12..12 + wire.len()], wire);
            assert_eq!(answer.edns(), None, "no OPT for a client without one");
            assert_eq!(answer.origin, Origin::Forward);
        }
    }
}

#[test]
fn the_query_is_ours_with_do_and_cd_kept() {
    let upstream = Upstream::answering("192.0.2.1");
    let rig = Rig::plain(upstream.address);
    let mut with_do = query("a.example", Rtype::A, 0x0110, Some(4096));
    let at = with_do.len() - 4;
    with_do[at] = 0x80;
    rig.send(&with_do, Transport::Udp).get();
    rig.send(&query("b.example", Rtype::A, 0x0100, None), Transport::Tcp).get();
    let seen = upstream.seen();
    assert_eq!(seen[0].flags(), Flags(Flags::RD | Flags::CD));
    assert_eq!(seen[1].flags(), Flags(Flags::RD));
    let (first, second) = (seen[0].edns().unwrap(), seen[1].edns().unwrap());
    assert!(first.dnssec_ok && !second.dnssec_ok);
    assert_eq!((first.udp_size, second.udp_size), (1232, 1232));
}

#[test]
fn rfc7871_client_subnet_and_other_options_stay_here() {
    let upstream = Upstream::answering("192.0.2.1");
    let rig = Rig::plain(upstream.address);
    let mut bytes = query("a.example", Rtype::A, 0x0100, Some(1232));
    let at = bytes.len() - 1;
    bytes[at] = 11;
    bytes.extend_from_slice(&[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]);
    let answer = rig.send(&bytes, Transport::Udp).get();
    assert_eq!(upstream.seen()[0].edns().unwrap().options_len, 0);
    assert_eq!(answer.edns().unwrap().options_len, 0);
}

#[test]
fn rfc3597_unknown_types_and_classes_pass() {
    let upstream = Upstream::start(|asked| {
        let mut reply = asked.reply(0, "", "");
        let qtype = asked.qtype.0.to_be_bytes();
        let class = [asked.bytes[asked.qname.len() + 16], asked.bytes[asked.qname.len() + 17]];
        reply.extend_from_slice(&[0xc0, 12, qtype[0], qtype[1], class[0], class[1]]);
        reply.extend_from_slice(&[0, 0, 0, 60, 0, 3, 0xc0, 12, 0xff]);
        reply[7] = 1;
        Act::send(reply)
    });
    let rig = Rig::plain(upstream.address);
    for class in [1, 3, 4, 4711] {
        let bytes = query_of(&spelled("x.example"), Rtype(65280), class, 0x0100, Some(1232));
        let answer = rig.send(&bytes, Transport::Udp).get();
        let message = Message::parse(&answer.bytes).unwrap();
        let record = message.records().next().unwrap();
        assert_eq!((record.rtype, record.class.0), (Rtype(65280), class));
        assert_eq!(answer.bytes[record.rdata], [0xc0, 12, 0xff], "RDATA as it came");
    }
}

#[test]
fn a_cached_answer_never_leaves_the_worker_and_ages() {
    let upstream = Upstream::answering("192.0.2.1");
    let rig = Rig::plain(upstream.address);
    assert_eq!(ttl(&rig.ask("www.example.org", Rtype::A)), 300);
    rig.pass(100);
    let answer = rig.ask("WWW.example.org", Rtype::A);
    assert!(answer.at_once);
    assert_aged(&answer, 300, 100);
    rig.pass(230);
    let answer = rig.ask("www.example.org", Rtype::A);
    assert!(!answer.at_once, "expired is a miss");
    assert_eq!(ttl(&answer), 300);
    assert_eq!(upstream.seen().len(), 2);
    let metrics = rig.resolver.forwarder().metrics();
    assert_eq!((metrics.lookups(CacheLookup::Hit), metrics.lookups(CacheLookup::Miss)), (1, 2));
}

#[test]
fn rfc2181_the_smallest_ttl_of_the_answer_counts() {
    let upstream = Upstream::start(|asked| {
        Act::send(asked.reply(
            0,
            "www.example.org 3600 CNAME a.example.org; a.example.org 40 A 192.0.2.1",
            "",
        ))
    });
    let rig = Rig::plain(upstream.address);
    rig.ask("www.example.org", Rtype::A);
    rig.pass(20);
    assert!(rig.ask("www.example.org", Rtype::A).at_once);
    rig.pass(25);
    assert!(!rig.ask("www.example.org", Rtype::A).at_once);
}

#[test]
fn ttl_bounds_limit_how_long_an_answer_is_kept() {
    let upstream = Upstream::start(|asked| {
        let ttl = if asked.qname == "short.example" { 0 } else { 86_400 };
        Act::send(asked.reply(0, &format!("{} {ttl} A 192.0.2.1", asked.qname), ""))
    });
    let mut bounds = settings(&[&[upstream.address]]);
    bounds.cache.min_ttl = 60;
    bounds.cache.max_ttl = 600;
    let rig = Rig::new("", bounds, |_| {});
    rig.ask("short.example", Rtype::A);
    rig.ask("long.example", Rtype::A);
    rig.pass(30);
    let short = rig.ask("short.example", Rtype::A);
    assert!(short.at_once);
    assert_eq!(ttl(&short), 0, "never below 0, never stretched");
    rig.pass(560);
    assert!(rig.ask("long.example", Rtype::A).at_once);
    assert!(!rig.ask("short.example", Rtype::A).at_once);
    rig.pass(60);
    assert!(!rig.ask("long.example", Rtype::A).at_once);
    let unbounded = Rig::plain(upstream.address);
    unbounded.ask("short.example", Rtype::A);
    assert!(!unbounded.ask("short.example", Rtype::A).at_once, "TTL 0 is not kept");
}

#[test]
fn rfc2308_denials_are_kept_for_the_smaller_of_soa_ttl_and_minimum() {
    for (rcode, qname) in [(3, "gone.example.org"), (0, "empty.example.org")] {
        let upstream = Upstream::start(move |asked| Act::send(asked.reply(rcode, "", SOA)));
        let rig = Rig::plain(upstream.address);
        let fresh = rig.ask(qname, Rtype::A);
        assert_eq!(fresh.rcode, Rcode(rcode));
        assert_eq!(ttl(&fresh), 60, "the SOA's TTL is lowered to MINIMUM, for it to age");
        rig.pass(25);
        let kept = rig.ask(qname, Rtype::A);
        assert!(kept.at_once);
        assert_aged(&kept, 60, 25);
        rig.pass(40);
        assert!(!rig.ask(qname, Rtype::A).at_once);
    }
}

#[test]
fn rfc2308_denials_without_or_with_a_foreign_soa_are_not_kept() {
    let upstream = Upstream::start(|asked| {
        let foreign = SOA.replacen("example.org", "elsewhere.example", 1);
        Act::send(asked.reply(3, "", if asked.qtype == Rtype::A { "" } else { &foreign }))
    });
    let rig = Rig::plain(upstream.address);
    for qtype in [Rtype::A, Rtype::AAAA] {
        rig.ask("gone.example.org", qtype);
        let again = rig.ask("gone.example.org", qtype);
        assert_eq!((again.at_once, again.rcode), (false, Rcode::NXDOMAIN));
    }
}

#[test]
fn rfc2308_denials_have_a_bound_of_their_own() {
    let upstream = Upstream::start(|asked| Act::send(asked.reply(3, "", SOA)));
    let mut bounds = settings(&[&[upstream.address]]);
    bounds.cache.max_negative_ttl = 20;
    let rig = Rig::new("", bounds, |_| {});
    rig.ask("gone.example.org", Rtype::A);
    rig.pass(25);
    assert!(!rig.ask("gone.example.org", Rtype::A).at_once);
}

#[test]
fn rfc9520_an_upstreams_servfail_is_kept_for_seconds() {
    let upstream = Upstream::start(|asked| {
        let ede = [0, 15, 0, 4, 0, 9, b'n', b'o'];
        Act::send(asked.reply_opt(2, "", "", &ede))
    });
    let rig = Rig::plain(upstream.address);
    let answer = rig.ask("bad.example", Rtype::A);
    assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![9]));
    let kept = rig.ask("bad.example", Rtype::A);
    assert_eq!((kept.at_once, kept.ede()), (true, vec![13, 9]), "RFC 8914 section 4.14");
    rig.pass(6);
    assert!(!rig.ask("bad.example", Rtype::A).at_once);
}

#[test]
fn rfc8914_the_upstreams_extended_error_is_passed_on() {
    let upstream = Upstream::start(|asked| {
        let options = [0, 10, 0, 2, 1, 2, 0, 15, 0, 4, 0, 4, b'h', b'i'];
        Act::send(asked.reply_opt(0, &format!("{} 300 A 192.0.2.1", asked.qname), "", &options))
    });
    let rig = Rig::plain(upstream.address);
    for _ in 0..2 {
        let answer = rig.ask("www.example", Rtype::A);
        let edns = answer.edns().unwrap();
        let options: Vec<_> = edns.options(&answer.bytes).collect();
        assert_eq!(options, [(15, &[0, 4, b'h', b'i'][..])], "other options are dropped");
        assert_eq!(edns.udp_size, 1232);
    }
    let without = rig.send(&query("www.example", Rtype::A, 0x0100, None), Transport::Udp).get();
    assert_eq!((without.at_once, without.edns()), (true, None));
}

#[test]
fn answers_are_kept_per_type_class_do_and_cd() {
    let upstream = Upstream::start(|asked| Act::send(asked.reply(3, "", SOA)));
    let rig = Rig::plain(upstream.address);
    let mut with_do = query("www.example.org", Rtype::A, 0x0100, Some(1232));
    let at = with_do.len() - 4;
    with_do[at] = 0x80;
    let queries = [
        query("www.example.org", Rtype::A, 0x0100, None),
        query("www.example.org", Rtype::A, 0x0110, None),
        query("www.example.org", Rtype::AAAA, 0x0100, None),
        query_of(&spelled("www.example.org"), Rtype::A, 3, 0x0100, None),
        with_do,
    ];
    for cached in [false, true] {
        for bytes in &queries {
            assert_eq!(rig.send(bytes, Transport::Udp).get().at_once, cached);
        }
    }
    assert_eq!(upstream.seen().len(), queries.len());
}

#[test]
fn an_answer_is_cut_to_the_clients_size_with_tc() {
    let many: Vec<String> = (0..60).map(|i| format!("many.example 300 A 192.0.2.{i}")).collect();
    let many = many.join(";");
    let upstream = Upstream::start(move |asked| Act::send(asked.reply(0, &many, "")));
    let rig = Rig::plain(upstream.address);
    for cached in [false, true] {
        for (size, limit) in [(None, 512), (Some(600), 600), (Some(4096), 1232)] {
            let answer = rig.send(&query("many.example", Rtype::A, 0x0100, size), Transport::Udp).get();
            let message = Message::parse(&answer.bytes).unwrap();
            assert!(message.flags().has(Flags::TC), "{size:?} {cached}");
            let left = limit - answer.bytes.len();
            assert!(left < 28, "as many whole records as fit: {left} left of {limit}");
        }
        let whole = rig.send(&query("many.example", Rtype::A, 0x0100, None), Transport::Tcp).get();
        assert!(!Message::parse(&whole.bytes).unwrap().flags().has(Flags::TC));
        assert_eq!(Message::parse(&whole.bytes).unwrap().counts().answer, 60);
    }
}

#[test]
fn rfc6891_upper_bits_of_a_code_never_read_as_noerror() {
    // Without the OPT that carries the upper bits, 23 would read as 7 and 16 as 0.
    let upstream = Upstream::start(|asked| Act::send(asked.reply_opt(16 + 16, "", "", &[])));
    let rig = Rig::plain(upstream.address);
    let with = rig.ask("odd.example", Rtype::A);
    assert_eq!((with.rcode, with.edns().unwrap().rcode_high), (Rcode(32), 2));
    let without = rig.send(&query("odd.example", Rtype::A, 0x0100, None), Transport::Udp).get();
    assert_eq!(without.rcode, Rcode::SERVFAIL);
}

#[test]
fn rd_clear_is_answered_from_the_cache_alone() {
    let upstream = Upstream::answering("192.0.2.1");
    let rig = Rig::plain(upstream.address);
    let bytes = query("www.example", Rtype::A, 0, Some(1232));
    let refused = rig.send(&bytes, Transport::Udp).get();
    assert_eq!((refused.rcode, refused.ede(), refused.at_once), (Rcode::REFUSED, vec![20], true));
    rig.ask("www.example", Rtype::A);
    let kept = rig.send(&bytes, Transport::Udp).get();
    assert_eq!((kept.rcode, kept.at_once), (Rcode::NOERROR, true));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let upstream = Upstream::answering("192.0.2.1");
    let mut small = settings(&[&[upstream.address]]);
    small.cache.max_bytes = 64 << 10;
    let rig = Rig::new("", small, |_| {});
    for i in 0..1000 {
        rig.ask(&format!("host{i}.example"), Rtype::A);
        assert!(rig.resolver.forwarder().cache().usage().bytes <= 64 << 10);
    }
    let usage = rig.resolver.forwarder().cache().usage();
    assert!(usage.bytes > 32 << 10 && usage.entries > 50, "{usage:?}");
}

#[test]
fn a_cache_of_zero_bytes_is_off() {
    let upstream = Upstream::answering("192.0.2.1");
    let mut off = settings(&[&[upstream.address]]);
    off.cache.max_bytes = 0;
    let rig = Rig::new("", off.clone(), |_| {});
    rig.ask("www.example", Rtype::A);
    assert!(!rig.ask("www.example", Rtype::A).at_once);
    let on = Settings { cache: settings(&[]).cache, ..off.clone() };
    rig.resolver.reload(&on);
    rig.ask("www.example", Rtype::A);
    assert!(rig.ask("www.example", Rtype::A).at_once, "a reload switches it on");
    rig.resolver.reload(&off);
    assert!(!rig.ask("www.example", Rtype::A).at_once, "and off");
}

#[test]
fn a_reload_changes_rules_and_keeps_what_unchanged_rules_cached() {
    let (one, two) = (Upstream::answering("192.0.2.1"), Upstream::answering("192.0.2.2"));
    let rig = Rig::new("", settings(&[&[one.address], &[two.address]]), |_| {});
    assert!(rig.ask("www.corp.example", Rtype::A).text().contains("192.0.2.1"));
    assert!(rig.ask("www.example", Rtype::A).text().contains("192.0.2.1"));
    let mut changed = rig.settings.clone();
    let suffix = "corp.example".parse().unwrap();
    changed.forward.rules.push(hubdns::config::ForwardRule { suffix, group: 1 });
    rig.resolver.reload(&changed);
    let answer = rig.ask("www.corp.example", Rtype::A);
    assert!(answer.text().contains("192.0.2.2"), "{}", answer.text());
    assert!(rig.ask("www.example", Rtype::A).at_once);
    let route = rig.resolver.route(&"a.corp.example".parse().unwrap()).unwrap();
    let asked: Vec<_> = route.upstreams.iter().map(|upstream| upstream.address()).collect();
    assert_eq!((route.group.as_str(), asked), ("group1", vec![two.address]));
}

#[test]
fn the_command_line_takes_the_same_path() {
    let upstream = Upstream::answering("192.0.2.1");
    let rig = Rig::plain(upstream.address);
    let name = "www.example".parse().unwrap();
    let looked = rig.resolver.lookup_blocking(&name, Rtype::A, 0).unwrap();
    assert_eq!((looked.rcode, looked.origin), (Rcode::NOERROR, Origin::Forward));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let again = runtime.block_on(rig.resolver.lookup(&name, Rtype::A, 0)).unwrap();
    assert_eq!(again.response, looked.response);
    assert_eq!(upstream.seen().len(), 1);
}
