//! Where upstream answers meet our records: incomplete chains, the splice,
//! chains of ours that lead away, the fallback.

mod common;

use std::time::Duration;

use common::estate::query;
use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream, tally};
use hubdns::answer::Transport;
use hubdns::forward::Settings;
use hubdns::resolve::Origin;
use hubdns::wire::{Rcode, Rtype};

const ESTATE: &str = "
zone privatelink.azurecr.io
contoso.privatelink.azurecr.io 10 A 10.0.0.5
away.privatelink.azurecr.io 60 CNAME host.elsewhere.example
alias contoso.azurecr.io contoso.privatelink.azurecr.io
own contoso.azurecr.io
authoritative corp.example
out.corp.example 200 CNAME www.example.org
tocontoso.corp.example 200 CNAME alias.example.org
loop.corp.example 200 CNAME back.example.org
";
const OURS: &str = "contoso.azurecr.io 10 CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io 10 A 10.0.0.5";

/// An upstream that answers by a table: `qname type` to answer and authority,
/// with the code 3 if the authority starts with `!`.
fn table(rows: &'static [(&'static str, &'static str, &'static str)]) -> Upstream {
    Upstream::start(move |asked| {
        let wanted = format!("{} {}", asked.qname, asked.qtype);
        let Some((_, answer, authority)) = rows.iter().find(|(question, ..)| *question == wanted) else {
            return Act::send(asked.reply(5, "", ""));
        };
        let rcode = if authority.starts_with('!') { 3 } else { 0 };
        Act::send(asked.reply(rcode, answer, authority.trim_start_matches('!')))
    })
}

fn with_fallback(main: &Upstream, fallback: &Upstream) -> Settings {
    let mut settings = settings(&[&[main.address], &[fallback.address]]);
    settings.forward.fallback = Some(1);
    settings
}

fn names(seen: &[Asked]) -> Vec<String> {
    seen.iter().map(|asked| asked.qname.clone()).collect()
}

// --- incomplete chains ---

#[test]
fn a_chain_without_its_end_is_fetched_over_tcp() {
    let upstream = Upstream::start(|asked| {
        let chain = "www.example 300 CNAME a.example; a.example 300 CNAME b.example";
        match asked.transport {
            Transport::Udp => Act::send(asked.reply(0, chain, "")),
            _ => Act::send(asked.reply(0, &format!("{chain}; b.example 60 A 192.0.2.1"), "")),
        }
    });
    let rig = Rig::plain(upstream.address);
    let answer = rig.ask("www.example", Rtype::A);
    assert_eq!(
        answer.text(),
        "NOERROR | www.example 300 CNAME a.example.; a.example 300 CNAME b.example.; b.example 60 A 192.0.2.1 | "
    );
    assert!(rig.ask("www.example", Rtype::A).at_once);
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_chain_that_tcp_does_not_complete_is_followed_by_name() {
    let upstream = table(&[
        ("www.example A", "www.example 300 CNAME a.example", ""),
        ("a.example A", "a.example 200 CNAME b.example; b.example 200 CNAME c.example", ""),
        ("c.example A", "c.example 60 A 192.0.2.1; c.example 60 A 192.0.2.2", ""),
        ("www.example AAAA", "www.example 300 CNAME a.example", ""),
        ("a.example AAAA", "", "example 60 SOA ns.example. host.example. 1 2 3 4 5"),
        ("www.example TXT", "www.example 300 CNAME gone.example", ""),
        ("gone.example TXT", "", "!example 60 SOA ns.example. host.example. 1 2 3 4 5"),
    ]);
    let rig = Rig::plain(upstream.address);
    assert_eq!(
        rig.ask("www.example", Rtype::A).text(),
        "NOERROR | www.example 300 CNAME a.example.; a.example 200 CNAME b.example.; \
         b.example 200 CNAME c.example.; c.example 60 A 192.0.2.1; c.example 60 A 192.0.2.2 | "
    );
    let asked = tally(&upstream.seen());
    assert_eq!(asked[&("www.example".into(), Rtype::A, Transport::Tcp)], 1);
    assert_eq!(asked[&("a.example".into(), Rtype::A, Transport::Udp)], 1);
    rig.pass(50);
    assert!(rig.ask("www.example", Rtype::A).at_once);
    rig.pass(20);
    assert!(!rig.ask("www.example", Rtype::A).at_once, "the smallest TTL of the whole chain counts");
    let soa = "example 5 SOA ns.example. host.example. 1 2 3 4 5";
    assert_eq!(
        rig.ask("www.example", Rtype::AAAA).text(),
        format!("NOERROR | www.example 300 CNAME a.example. | {soa}")
    );
    assert_eq!(
        rig.ask("www.example", Rtype::TXT).text(),
        format!("NXDOMAIN | www.example 300 CNAME gone.example. | {soa}")
    );
}

#[test]
fn a_cname_asked_for_is_complete() {
    let upstream = table(&[
        ("www.example CNAME", "www.example 300 CNAME a.example", ""),
        ("www.example ANY", "www.example 300 CNAME a.example", ""),
        (
            "www.example A",
            "www.example 300 CNAME a.example",
            "example 60 SOA ns.example. host.example. 1 2 3 4 5",
        ),
    ]);
    let rig = Rig::plain(upstream.address);
    for qtype in [Rtype::CNAME, Rtype::ANY, Rtype::A] {
        assert_eq!(rig.ask("www.example", qtype).rcode, Rcode::NOERROR);
    }
    assert_eq!(upstream.seen().len(), 3, "neither TCP nor another name");
}

#[test]
fn at_most_eight_names_are_asked_for_one_question() {
    let upstream = Upstream::start(|asked| {
        let n: u32 = asked.qname.trim_start_matches('n').trim_end_matches(".example").parse().unwrap();
        Act::send(asked.reply(0, &format!("n{n}.example 60 CNAME n{}.example", n + 1), ""))
    });
    let rig = Rig::plain(upstream.address);
    let answer = rig.ask("n0.example", Rtype::A);
    assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![0]));
    let distinct: std::collections::HashSet<_> = names(&upstream.seen()).into_iter().collect();
    assert_eq!(distinct.len(), 8);
}

#[test]
fn cname_loops_end_at_once() {
    let upstream = table(&[
        ("self.example A", "self.example 60 CNAME self.example", ""),
        ("a.example A", "a.example 60 CNAME b.example; b.example 60 CNAME a.example", ""),
        // A loop that shows only across messages.
        ("x.example A", "x.example 60 CNAME y.example", ""),
        ("y.example A", "y.example 60 CNAME x.example", ""),
        ("q.d.example A", "d.example 60 DNAME d.d.example", ""),
    ]);
    let rig = Rig::plain(upstream.address);
    for qname in ["self.example", "a.example", "x.example", "q.d.example"] {
        assert_eq!(rig.ask(qname, Rtype::A).rcode, Rcode::SERVFAIL, "{qname}");
        assert!(!rig.ask(qname, Rtype::A).at_once, "{qname}");
    }
}

// --- the splice ---

#[test]
fn a_foreign_name_that_leads_to_ours_gets_our_answer() {
    // The upstream's own end of the chain is public, and must not be seen.
    let upstream = table(&[
        (
            "registry.example.org A",
            "registry.example.org 300 CNAME contoso.azurecr.io; contoso.azurecr.io 300 CNAME contoso.privatelink.azurecr.io; \
             contoso.privatelink.azurecr.io 300 A 20.0.0.1",
            "",
        ),
        ("registry.example.org AAAA", "registry.example.org 300 CNAME contoso.azurecr.io", ""),
        (
            "below.example.org A",
            "example.org 300 DNAME azurecr.io; below.example.org 300 CNAME contoso.azurecr.io",
            "",
        ),
        (
            "replica.example.org A",
            "replica.example.org 300 CNAME contoso.eastus.data.azurecr.io; contoso.eastus.data.azurecr.io 60 A 20.0.0.2",
            "",
        ),
    ]);
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    for cached in [false, true] {
        let answer = rig.ask("registry.example.org", Rtype::A);
        assert_eq!(answer.at_once, cached);
        assert_eq!(
            answer.text(),
            format!("NOERROR | registry.example.org 300 CNAME contoso.azurecr.io.; {OURS} | ")
        );
        assert_eq!(answer.origin, Origin::Forward);
        let nodata = rig.ask("registry.example.org", Rtype::AAAA).text();
        assert!(
            nodata.starts_with(
                "NOERROR | registry.example.org 300 CNAME contoso.azurecr.io.; contoso.azurecr.io 10 CNAME"
            ),
            "{nodata}"
        );
        assert!(nodata.contains("| privatelink.azurecr.io 10 SOA azureprivatedns.net."), "{nodata}");
        let dname = rig.ask("below.example.org", Rtype::A).text();
        assert!(dname.contains("10.0.0.5") && dname.contains("DNAME azurecr.io."), "{dname}");
        // A name of ours that no record covers is denied, with the reason.
        let missing = rig.ask("replica.example.org", Rtype::A);
        assert_eq!((missing.rcode, missing.ede()), (Rcode::NXDOMAIN, vec![17]));
        assert!(!missing.text().contains("20.0.0.2"), "{}", missing.text());
    }
    assert_eq!(upstream.seen().len(), 4, "our part needs neither TCP nor a chase");
}

#[test]
fn our_part_is_of_the_snapshot_of_the_moment() {
    let upstream = table(&[(
        "registry.example.org A",
        "registry.example.org 300 CNAME contoso.azurecr.io; contoso.azurecr.io 300 A 20.0.0.1",
        "",
    )]);
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    assert!(rig.ask("registry.example.org", Rtype::A).text().contains("10.0.0.5"));
    rig.publish(&ESTATE.replace("10.0.0.5", "10.9.9.9"));
    let changed = rig.ask("registry.example.org", Rtype::A);
    assert!(changed.at_once && changed.text().contains("10.9.9.9"), "{}", changed.text());
    // Nothing of ours is left: the chain alone is no answer any more.
    rig.publish("");
    let foreign = rig.ask("registry.example.org", Rtype::A);
    assert!(!foreign.at_once);
    assert!(foreign.text().contains("20.0.0.1"), "{}", foreign.text());
    assert!(rig.ask("registry.example.org", Rtype::A).at_once);
    // And back: a whole answer that now leads to us.
    rig.publish(ESTATE);
    let ours = rig.ask("registry.example.org", Rtype::A);
    assert!(ours.at_once && ours.text().contains("10.0.0.5"), "{}", ours.text());
    assert!(!ours.text().contains("20.0.0.1"));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn the_snapshot_that_counts_is_the_one_when_the_answer_comes() {
    let upstream = Upstream::start(|asked| {
        Act::Hold(asked.reply(
            0,
            "r.example.org 300 CNAME contoso.azurecr.io; contoso.azurecr.io 300 A 20.0.0.1",
            "",
        ))
    });
    let rig = Rig::new("", settings(&[&[upstream.address]]), |_| {});
    let awaited = rig.begin("r.example.org", Rtype::A);
    upstream.wait(|seen| seen.len() == 1);
    rig.publish(ESTATE);
    upstream.release();
    assert!(awaited.get().text().contains("10.0.0.5"));
}

#[test]
fn an_upstream_can_never_fill_a_name_of_ours() {
    // Additional claims in an answer stay in that answer.
    let upstream = table(&[(
        "www.example.org A",
        "www.example.org 300 A 192.0.2.1; contoso.azurecr.io 300 A 203.0.113.66; other.example 300 A 203.0.113.66",
        "",
    )]);
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    rig.ask("www.example.org", Rtype::A);
    let ours = rig.ask("contoso.azurecr.io", Rtype::A);
    assert_eq!((ours.origin, ours.text()), (Origin::Hit, format!("NOERROR | {OURS} | ")));
    assert_eq!(rig.ask("other.example", Rtype::A).rcode, Rcode::SERVFAIL, "asked for, not taken along");
}

// --- chains of ours that lead away ---

#[test]
fn our_chain_that_leads_away_is_completed() {
    let upstream = table(&[
        (
            "www.example.org A",
            "www.example.org 300 CNAME web.example.org; web.example.org 60 A 192.0.2.1",
            "",
        ),
        ("www.example.org AAAA", "", "example.org 30 SOA ns.example.org. host.example.org. 1 2 3 4 30"),
        ("alias.example.org A", "alias.example.org 100 CNAME contoso.azurecr.io", ""),
    ]);
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    for cached in [false, true] {
        let answer = rig.ask("out.corp.example", Rtype::A);
        assert_eq!(answer.at_once, cached);
        assert_eq!(
            answer.text(),
            "NOERROR aa | out.corp.example 200 CNAME www.example.org.; www.example.org 300 CNAME web.example.org.; \
             web.example.org 60 A 192.0.2.1 | "
        );
        let nodata = rig.ask("out.corp.example", Rtype::AAAA).text();
        assert!(
            nodata.starts_with("NOERROR aa | out.corp.example 200 CNAME www.example.org. | example.org"),
            "{nodata}"
        );
        let twice = rig.ask("tocontoso.corp.example", Rtype::A).text();
        assert_eq!(
            twice,
            format!(
                "NOERROR aa | tocontoso.corp.example 200 CNAME alias.example.org.; alias.example.org 100 CNAME contoso.azurecr.io.; {OURS} | "
            )
        );
    }
    // The first owner name of a public alias lies in no local zone.
    let failed = rig.ask("away.privatelink.azurecr.io", Rtype::A);
    assert_eq!(failed.rcode, Rcode::SERVFAIL);
}

#[test]
fn rd_clear_gets_our_chain_alone() {
    let upstream = table(&[]);
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    let answer = rig.send(&query("out.corp.example", Rtype::A, 0, None), Transport::Udp).get();
    assert_eq!(answer.text(), "NOERROR aa | out.corp.example 200 CNAME www.example.org. | ");
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn a_loop_between_us_and_an_upstream_ends() {
    let upstream = table(&[("back.example.org A", "back.example.org 60 CNAME loop.corp.example", "")]);
    let rig = Rig::new(ESTATE, settings(&[&[upstream.address]]), |_| {});
    for _ in 0..2 {
        let answer = rig.ask("loop.corp.example", Rtype::A);
        assert_eq!((answer.rcode, answer.ede()), (Rcode::SERVFAIL, vec![0]));
    }
    assert_eq!(upstream.seen().len(), 1);
}

// --- the fallback ---

const DENIAL: &str = "!privatelink.azurecr.io 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 1 3600 300 2419200 10";
const STRANGER: &[(&str, &str, &str)] = &[
    ("stranger.privatelink.azurecr.io A", "", DENIAL),
    ("stranger.azurecr.io A", "stranger.azurecr.io 300 CNAME stranger.privatelink.azurecr.io", DENIAL),
    (
        "contoso.eastus.data.azurecr.io A",
        "contoso.eastus.data.azurecr.io 300 CNAME contoso.eastus.data.privatelink.azurecr.io",
        DENIAL,
    ),
    (
        "alias.example.org A",
        "alias.example.org 300 CNAME contoso.eastus.data.azurecr.io; contoso.eastus.data.azurecr.io 300 CNAME contoso.eastus.data.privatelink.azurecr.io",
        DENIAL,
    ),
    (
        "gone.example.org A",
        "",
        "!example.org 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 1 3600 300 2419200 10",
    ),
    (
        "odd.example.org A",
        "",
        "!privatelink.example.org 10 SOA ns.example.org. azureprivatedns-host.microsoft.com. 1 3600 300 2419200 10",
    ),
    (
        "near.example.org A",
        "",
        "!privatelinks.example.org 10 SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. 1 3600 300 2419200 10",
    ),
];

#[test]
fn a_strangers_registry_denied_by_a_private_link_zone_is_asked_of_the_fallback() {
    let (main, fallback) = (table(STRANGER), Upstream::answering("20.0.0.1"));
    let rig = Rig::new(ESTATE, with_fallback(&main, &fallback), |_| {});
    for qname in ["stranger.privatelink.azurecr.io", "stranger.azurecr.io"] {
        assert_eq!(rig.ask(qname, Rtype::A).text(), format!("NOERROR | {qname} 300 A 20.0.0.1 | "));
        assert!(rig.ask(qname, Rtype::A).at_once, "kept under the same question");
    }
    assert_eq!(names(&fallback.seen()), ["stranger.privatelink.azurecr.io", "stranger.azurecr.io"]);
    for qname in ["gone.example.org", "odd.example.org", "near.example.org"] {
        assert_eq!(rig.ask(qname, Rtype::A).rcode, Rcode::NXDOMAIN);
    }
    assert_eq!(fallback.seen().len(), 2, "other denials stand");
}

#[test]
fn without_a_fallback_the_denial_stands() {
    let main = table(STRANGER);
    let rig = Rig::new(ESTATE, settings(&[&[main.address]]), |_| {});
    assert_eq!(rig.ask("stranger.azurecr.io", Rtype::A).rcode, Rcode::NXDOMAIN);
}

#[test]
fn the_denial_stands_if_the_fallback_fails() {
    for rcode in [2, 5, 4] {
        let main = table(STRANGER);
        let fallback = Upstream::start(move |asked| Act::send(asked.reply(rcode, "", "")));
        let rig = Rig::new(ESTATE, with_fallback(&main, &fallback), |_| {});
        let answer = rig.ask("stranger.azurecr.io", Rtype::A);
        assert_eq!(answer.rcode, Rcode::NXDOMAIN, "{rcode}");
        assert!(answer.text().contains("SOA azureprivatedns.net."), "{}", answer.text());
    }
    let (main, silent) = (table(STRANGER), Upstream::start(|_| Act::Drop));
    let mut quick = with_fallback(&main, &silent);
    quick.forward.client_deadline = Duration::from_millis(50);
    let rig = Rig::new(ESTATE, quick, |_| {});
    assert_eq!(rig.ask("stranger.azurecr.io", Rtype::A).rcode, Rcode::NXDOMAIN);
    assert_eq!(silent.seen().len(), 1);
}

#[test]
fn a_fallback_may_deny_too() {
    let main = table(STRANGER);
    let fallback = Upstream::start(|asked| {
        Act::send(asked.reply(3, "", "azurecr.io 60 SOA ns.example. host.example. 1 2 3 4 60"))
    });
    let rig = Rig::new(ESTATE, with_fallback(&main, &fallback), |_| {});
    let answer = rig.ask("stranger.azurecr.io", Rtype::A);
    assert_eq!(answer.rcode, Rcode::NXDOMAIN);
    assert!(answer.text().contains("azurecr.io 60 SOA ns.example."), "{}", answer.text());
}

#[test]
fn a_name_of_ours_is_never_asked_of_the_fallback() {
    let (main, fallback) = (table(STRANGER), Upstream::answering("20.0.0.1"));
    let rig = Rig::new(ESTATE, with_fallback(&main, &fallback), |options| options.forward_own_missing = true);
    // Asked for, and reached by the chain of a stranger's name.
    for qname in ["contoso.eastus.data.azurecr.io", "alias.example.org"] {
        assert_eq!(rig.ask(qname, Rtype::A).rcode, Rcode::NXDOMAIN, "{qname}");
    }
    assert_eq!(fallback.seen().len(), 0);
    let own = rig.resolver.route(&"contoso.eastus.data.azurecr.io".parse().unwrap()).unwrap();
    assert_eq!((own.own, own.fallback), (true, None));
}

#[test]
fn what_the_fallback_said_of_a_stranger_does_not_hold_once_the_name_is_ours() {
    let (main, fallback) = (table(STRANGER), Upstream::answering("20.0.0.1"));
    let rig = Rig::new("", with_fallback(&main, &fallback), |options| options.forward_own_missing = true);
    let before = rig.ask("contoso.eastus.data.azurecr.io", Rtype::A);
    assert!(before.text().contains("20.0.0.1"), "{}", before.text());
    rig.publish(ESTATE);
    let after = rig.ask("contoso.eastus.data.azurecr.io", Rtype::A);
    assert_eq!((after.rcode, after.at_once), (Rcode::NXDOMAIN, false));
}

#[test]
fn a_fallbacks_chain_is_void_once_it_meets_a_name_of_ours() {
    let main = table(STRANGER);
    let fallback = Upstream::start(|asked| {
        let chain = "alias.example.org 300 CNAME contoso.eastus.data.azurecr.io";
        Act::send(asked.reply(0, &format!("{chain}; contoso.eastus.data.azurecr.io 300 A 20.0.0.1"), ""))
    });
    let rig = Rig::new("", with_fallback(&main, &fallback), |options| options.forward_own_missing = true);
    assert!(rig.ask("alias.example.org", Rtype::A).text().contains("20.0.0.1"));
    assert!(rig.ask("alias.example.org", Rtype::A).at_once);
    rig.publish(ESTATE);
    assert_eq!(rig.ask("alias.example.org", Rtype::A).rcode, Rcode::NXDOMAIN);
}
