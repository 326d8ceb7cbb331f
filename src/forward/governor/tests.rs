//! The seams between budget, health and policy.

use super::*;
use crate::config::UpstreamBudget;
use crate::metrics::Exporter;

const RTT: Duration = Duration::from_millis(20);
const RESEND: Duration = Duration::from_millis(800);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn limited(rate: u32, in_flight: u32) -> config::Governor {
    let budget =
        UpstreamBudget { address: address("192.0.2.1:53"), rate: Some(rate), in_flight: Some(in_flight) };
    config::Governor { budgets: vec![budget], ..config::Governor::default() }
}

fn governor(settings: &config::Governor) -> Governor {
    Governor::new(settings, RESEND, 1)
}

fn upstream(governor: &Governor, text: &str) -> Arc<Upstream> {
    governor.upstream(text, address(text))
}

fn admit(upstream: &Upstream, class: Class) -> Result<Ticket, Over> {
    upstream.admit(class, Some("10.0.0.1".parse().unwrap()), 5000)
}

#[test]
fn transports_of_one_address_share_its_budget_and_not_their_health() {
    let governor = governor(&limited(1000, 3));
    let plain = upstream(&governor, "192.0.2.1:53");
    let tcp = governor.upstream("tcp://192.0.2.1:53", address("192.0.2.1:53"));
    assert!(Arc::ptr_eq(&plain, &upstream(&governor, "192.0.2.1:53")));
    let held: Vec<Ticket> = [&plain, &tcp].map(|upstream| admit(upstream, Class::Query).unwrap()).to_vec();
    assert_eq!(
        (admit(&plain, Class::Query), admit(&tcp, Class::Query)),
        (Err(Over::InFlight), Err(Over::InFlight))
    );
    plain.release(held[1]);
    assert!(admit(&tcp, Class::Query).is_ok());
    for _ in 0..3 {
        tcp.timed_out(RESEND, 5000);
    }
    assert_eq!((plain.state(), tcp.state()), (State::Up, State::Down));
    let other = upstream(&governor, "192.0.2.2:53");
    assert!((0..1000).all(|_| admit(&other, Class::Query).is_ok()), "others are not limited");
}

#[test]
fn a_reload_changes_limits_and_policies_and_keeps_what_is_known() {
    let governor = governor(&limited(1000, 3));
    let first = upstream(&governor, "192.0.2.1:53");
    let second = upstream(&governor, "192.0.2.2:53");
    let (group, rotation) = ([Arc::clone(&first), second], governor.rotation("g"));
    let held = [admit(&first, Class::Query).unwrap(), admit(&first, Class::Query).unwrap()];
    first.answered(Duration::from_millis(300), Quality::Failure, 5000);
    group[1].answered(RTT, Quality::Good, 5000);
    assert_eq!(governor.choose(&rotation, &group, 0, 1, 5000), Some(0));
    let fresh = config::Governor { policies: vec![("g".to_owned(), Policy::Fastest)], ..limited(1000, 4) };
    governor.reconfigure(&fresh, RESEND);
    assert_eq!(governor.choose(&rotation, &group, 0, 1, 5000), Some(1));
    assert!(admit(&first, Class::Query).is_ok(), "a third");
    assert_eq!(admit(&first, Class::Query), Err(Over::InFlight), "and no fourth: one place is the probes'");
    for ticket in held {
        first.release(ticket);
    }
    governor.retain(|upstream| upstream.name() != "192.0.2.2:53");
    assert_eq!(governor.upstreams().len(), 1);
    assert!(Arc::ptr_eq(&first, &upstream(&governor, "192.0.2.1:53")));
    drop(group);
    governor.retain(|upstream| upstream.name() != "192.0.2.2:53");
    assert_eq!(governor.budgets(1, 5000).len(), 1);
}

#[test]
fn the_longest_prefix_says_what_a_client_weighs() {
    let weights = [("10.0.0.0/8", 2), ("10.1.0.0/16", 5), ("fd00::/8", 3)];
    let weights = weights.map(|(net, weight)| (net.parse().unwrap(), weight)).to_vec();
    let settings = config::Governor { weights, ..config::Governor::default() };
    let rules = Rules::new(&settings, RESEND);
    for (client, weight) in
        [("10.2.0.1", 2), ("10.1.0.1", 5), ("::ffff:10.1.0.1", 5), ("fd00::1", 3), ("192.0.2.1", 1)]
    {
        assert_eq!(rules.weight(Some(client.parse().unwrap())), weight, "{client}");
    }
    assert_eq!(rules.weight(None), 1);
}

#[test]
fn round_robin_takes_turns_by_question() {
    let settings = config::Governor {
        policies: vec![("g".to_owned(), Policy::RoundRobin)],
        ..config::Governor::default()
    };
    let governor = governor(&settings);
    let group = ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"].map(|text| upstream(&governor, text));
    let rotation = governor.rotation("g");
    let first: Vec<_> = (0..6).map(|_| governor.choose(&rotation, &group, 0, 1, 0).unwrap()).collect();
    assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    // The second of a question whose first was 2.
    assert_eq!(governor.choose(&rotation, &group, 0b100, 1, 0), Some(0));
    assert_eq!(governor.choose(&rotation, &group, 0b111, 1, 0), None);
}

#[test]
fn a_return_frees_what_the_outage_held_in_flight() {
    let governor = governor(&limited(1000, 10));
    let upstream = upstream(&governor, "192.0.2.1:53");
    while admit(&upstream, Class::Query).is_ok() {}
    for _ in 0..3 {
        upstream.timed_out(RESEND, 5100);
    }
    assert_eq!(governor.next_probe(), Some(5100));
    let probes = governor.due_probes(0, 5100);
    assert_eq!(probes.len(), 1, "the probes have a place of their own");
    for probe in probes {
        probe.upstream.release(probe.ticket);
    }
    upstream.probe_answered(RTT, Quality::Good, 5200);
    assert_eq!((upstream.state(), admit(&upstream, Class::Query)), (State::Trial, Err(Over::InFlight)));
    upstream.probe_answered(RTT, Quality::Good, 5300);
    assert_eq!(upstream.state(), State::Up);
    assert!(admit(&upstream, Class::Query).is_err(), "they may still be answered");
    assert!(upstream.admit(Class::Query, None, 6000).is_ok());
}

#[test]
fn one_on_trial_gets_one_query_a_second() {
    let governor = governor(&config::Governor::default());
    let group = ["192.0.2.1:53", "192.0.2.2:53"].map(|text| upstream(&governor, text));
    let rotation = governor.rotation("g");
    for _ in 0..3 {
        group[1].timed_out(RESEND, 5000);
    }
    group[1].probe_answered(RTT, Quality::Good, 6000);
    let chosen: Vec<_> =
        (0..4).map(|n| governor.choose(&rotation, &group, 0, 1, 6000 + n * 400).unwrap()).collect();
    assert_eq!(chosen, [1, 0, 0, 1]);
}

#[test]
fn probes_ask_for_the_roots_soa() {
    let mut query = Vec::new();
    probe_query(0xabcd, &mut query);
    assert_eq!(query, [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1]);
}

#[test]
fn a_scrape_tells_of_both_and_a_few_prefixes() {
    let governor = governor(&limited(1000, 100));
    let first = upstream(&governor, "192.0.2.1:53");
    for client in 0..30u8 {
        let client = Some(IpAddr::from([10, 0, 0, client]));
        assert!(
            first.admit(Class::Query, client, 5000).is_ok() || client == Some(IpAddr::from([10, 0, 0, 29]))
        );
    }
    let mut out = Exporter::default();
    governor.export(5000, &mut out);
    let text = out.encode();
    assert_eq!(text.lines().filter(|line| line.starts_with("hubdns_budget_prefix_rate{")).count(), 5);
    for line in [
        "hubdns_upstream_up{upstream=\"192.0.2.1:53\"} 1",
        "hubdns_budget_rate_limit{upstream=\"192.0.2.1:53\"} 1000",
        "hubdns_budget_exhaustion_seconds{upstream=\"192.0.2.1:53\"}",
        "hubdns_budget_refused_total{upstream=\"192.0.2.1:53\",class=\"probe\",reason=\"in_flight\"} 0",
        "hubdns_budget_prefix_rate{upstream=\"192.0.2.1:53\",prefix=\"10.0.0.",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn who_asks_a_server_beside_the_engine_draws_on_the_same_budget() {
    let governor = governor(&limited(1000, 2));
    let plain = upstream(&governor, "192.0.2.1:53");
    let drawn = governor.draw(plain.address(), 5000).unwrap();
    assert_eq!(admit(&plain, Class::Query), Err(Over::InFlight), "one place is the probes'");
    assert_eq!(governor.draw(plain.address(), 5000).unwrap_err(), Over::InFlight);
    drop(drawn);
    assert!(admit(&plain, Class::Query).is_ok());
    // A limit of its own counts without an upstream; without either there is no account.
    let alone = self::governor(&limited(1000, 2));
    let held = alone.draw(address("192.0.2.1:53"), 5000).unwrap();
    assert!(alone.draw(address("192.0.2.1:53"), 5000).is_err());
    assert!((0..100).all(|_| alone.draw(address("192.0.2.2:53"), 5000).is_ok()));
    assert_eq!(alone.budgets(0, 5000).len(), 1);
    drop(held);
    assert_eq!(alone.budgets(0, 5000)[0].usage.in_flight, 0);
}
