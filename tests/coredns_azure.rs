//! The known failures of CoreDNS's azure plugin, each as a test of ours by its
//! issue or pull request: the daemon itself over the scripted Azure.

#[path = "common/azure/mod.rs"]
mod azure;
#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/estate.rs"]
#[allow(dead_code, unreachable_pub, reason = "for its records as text")]
mod estate;
#[path = "common/upstream.rs"]
#[allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]
mod upstream;

use std::net::Ipv4Addr;

use azure::edits::{registry, zone};
use azure::{Azure, Fault, HUB, Kind, Matcher, WORKLOAD};
use daemon::Daemon;
use hubdns::wire::message::{Message, Section};
use hubdns::wire::{Flags, Rcode, Rtype};
use serde_json::json;
use upstream::Upstream;

/// The daemon over `azure` alone, forwarding to `upstream`.
fn toml(azure: &Azure, upstream: &Upstream, more: &str) -> String {
    format!(
        "{}\n[[upstreams]]\nname = \"test\"\naddresses = [\"{}\"]\n[forward]\ndefault = \"test\"\n{more}",
        azure.source_toml_with("request_timeout_seconds = 2"),
        upstream.address
    )
}

fn start(azure: &Azure, upstream: &Upstream) -> Daemon {
    Daemon::start(&toml(azure, upstream, ""))
}

/// Reads Azure now and waits for the cycle.
fn sync(daemon: &Daemon) {
    let done = daemon.cli(&["sync", "now"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The addresses in an answer's answer section.
fn addresses(answer: &[u8]) -> Vec<Ipv4Addr> {
    let message = Message::parse(answer).expect("a message");
    let a = message.records().filter(|record| record.section == Section::Answer && record.rtype == Rtype::A);
    let octets = a.filter_map(|record| <[u8; 4]>::try_from(answer.get(record.rdata.clone())?).ok());
    octets.map(Ipv4Addr::from).collect()
}

fn address(daemon: &Daemon, name: &str) -> Vec<Ipv4Addr> {
    addresses(&daemon.ask(name, Rtype::A))
}

/// Waits until `name` has `wanted` as its one address.
fn wait_for(daemon: &mut Daemon, name: &str, wanted: [u8; 4]) {
    daemon.wait_until(name, |daemon| address(daemon, name) == [Ipv4Addr::from(wanted)]);
}

/// `environment` had no effect: every request went to the public cloud. Here
/// none goes anywhere but to the cloud of the configuration.
#[test]
fn coredns_3922_the_cloud_of_the_configuration_is_used() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    assert!(azure.count(Kind::Token) > 0 && azure.count(Kind::Interfaces) > 0);
}

/// Zones of one name in several subscriptions could not be served together.
#[test]
fn coredns_4116_zones_of_one_name_are_merged() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let second = zone("privatelink.azurecr.io").replace(HUB, WORKLOAD);
    azure.edit(|estate| {
        let mut item = estate.item(&zone("privatelink.azurecr.io")).clone();
        item["id"] = json!(second);
        let list = |kind: &str| format!("/subscriptions/{WORKLOAD}/providers/Microsoft.Network/{kind}");
        estate.add(&list("privateDnsZones"), item);
        let mut link = estate
            .items()
            .find(|item| item["type"] == "Microsoft.Network/privateDnsZones/virtualNetworkLinks")
            .expect("a link")
            .clone();
        link["id"] = json!(format!("{second}/virtualNetworkLinks/hub"));
        estate.add_list(&format!("{second}/virtualNetworkLinks"), "2024-06-01", &[link], 100);
        let record = json!({
            "id": format!("{second}/A/other"), "name": "other", "etag": "1",
            "type": "Microsoft.Network/privateDnsZones/A",
            "properties": {
                "fqdn": "other.privatelink.azurecr.io.", "ttl": 300, "isAutoRegistered": false,
                "aRecords": [{"ipv4Address": "10.30.0.4"}],
            },
        });
        estate.add_list(&format!("{second}/ALL"), "2024-06-01", &[record], 100);
    });
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "other.privatelink.azurecr.io", [10, 30, 0, 4]);
    assert_eq!(address(&daemon, "contosoprod.privatelink.azurecr.io"), [Ipv4Addr::new(10, 20, 0, 5)]);
}

/// AAAA of a name with an A record got no answer at all.
#[test]
fn coredns_4285_aaaa_gets_nodata_with_the_soa() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    for name in ["contosoprod.privatelink.azurecr.io", "contosoprod.azurecr.io"] {
        let answer = daemon.ask(name, Rtype::AAAA);
        let message = Message::parse(&answer).expect("a message");
        assert_eq!(message.rcode(), Rcode::NOERROR);
        let authority: Vec<Rtype> = message
            .records()
            .filter(|record| record.section == Section::Authority)
            .map(|record| record.rtype)
            .collect();
        assert_eq!(authority, [Rtype::SOA], "{name}");
    }
}

/// Only the first page of record sets was read.
#[test]
fn coredns_4350_every_page_is_read() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    azure.edit(|estate| {
        let apex = zone("privatelink.azurecr.io");
        for host in 0..=250u8 {
            estate.set_record(&apex, &format!("host{host}"), &[&format!("10.40.0.{host}")], 300);
        }
    });
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "host250.privatelink.azurecr.io", [10, 40, 0, 250]);
    for host in [0, 99, 100, 101, 199, 200, 249] {
        let name = format!("host{host}.privatelink.azurecr.io");
        assert_eq!(address(&daemon, &name), [Ipv4Addr::new(10, 40, 0, host)]);
    }
}

/// One zone that is gone kept the whole server from starting.
#[test]
fn coredns_4600_and_4601_a_missing_zone_keeps_nobody_from_starting() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let path = "privateDnsZones/westeurope.data.privatelink.azurecr.io/";
    azure.fault(Matcher::path(path), Fault::Status(404));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    wait_for(&mut daemon, "contosomanual2.privatelink.azurecr.io", [192, 0, 2, 1]);
    // Nor does an Azure that is not there at all.
    let unreachable = Azure::start();
    unreachable.fault(Matcher::path("/"), Fault::Reset);
    let directory = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::spawn(directory, &toml(&unreachable, &upstream, ""), &[]);
    // It is not ready, since it never had a record; but it lives and forwards.
    daemon.wait_until("it lives", |daemon| {
        daemon.control("GET", "/livez").is_some_and(|answer| answer.status == 200)
    });
    daemon.dns = daemon.status()["listen"][0].as_str().expect("an address").parse().expect("an address");
    assert_eq!(address(&daemon, "www.example.org"), [Ipv4Addr::new(192, 0, 2, 1)]);
}

/// A panic while a zone was replaced under load, and the zone was gone for good.
#[test]
fn coredns_4818_zones_are_replaced_under_load() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    let apex = zone("privatelink.azurecr.io");
    let asking = std::sync::atomic::AtomicBool::new(true);
    let asked = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0u32;
                    while asking.load(std::sync::atomic::Ordering::Relaxed) {
                        let answer = address(&daemon, "contosoprod.privatelink.azurecr.io");
                        assert_eq!(answer, [Ipv4Addr::new(10, 20, 0, 5)]);
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for round in 0..10u8 {
            azure.edit(|estate| estate.set_record(&apex, "moving", &[&format!("10.50.0.{round}")], 10));
            sync(&daemon);
            assert_eq!(address(&daemon, "moving.privatelink.azurecr.io"), [Ipv4Addr::new(10, 50, 0, round)]);
        }
        asking.store(false, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no wrong answer")).sum::<u32>()
    });
    assert!(asked > 0 && !daemon.log().contains("panic"), "{}", daemon.log());
}

/// Private zones are to be answered with authority, without Internet access:
/// here from the set that was saved while Azure could be read.
#[test]
fn coredns_5309_private_zones_are_authoritative_without_azure() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    daemon.signal("TERM");
    daemon.wait_for_end();
    azure.fault(Matcher::path("/"), Fault::Reset);
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().expect("a directory"));
    let daemon = Daemon::start_in(directory, &toml(&azure, &upstream, ""), &[]);
    let answer = daemon.ask("contosoprod.privatelink.azurecr.io", Rtype::A);
    assert_eq!(addresses(&answer), [Ipv4Addr::new(10, 20, 0, 5)]);
    assert!(Message::parse(&answer).expect("a message").flags().has(Flags::AA));
}

/// Settings of a block held for its last zone alone.
#[test]
fn coredns_8110_settings_of_a_source_hold_for_all_its_zones() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let narrow = zone("westeurope.data.privatelink.azurecr.io");
    azure.edit(|estate| estate.set_record(&narrow, "narrow", &["10.60.0.4"], 300));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "narrow.westeurope.data.privatelink.azurecr.io", [10, 60, 0, 4]);
    assert_eq!(address(&daemon, "contosodev.privatelink.azurecr.io"), [Ipv4Addr::new(10, 21, 0, 5)]);
    let unauthorized =
        azure.log().iter().filter(|seen| seen.authorization != azure::Authorization::Right).count();
    assert_eq!(unauthorized, azure.count(Kind::Token) + azure.count(Kind::Discovery));
}

/// A CNAME whose target's upstream hangs held a lock: no update, then no answer.
#[test]
fn coredns_8447_a_hanging_target_stops_neither_answers_nor_updates() {
    let azure = Azure::start();
    let upstream = Upstream::start(|_| upstream::Act::Drop);
    let apex = zone("privatelink.azurecr.io");
    azure.edit(|estate| {
        let list = format!("{apex}/ALL");
        let item = json!({
            "id": format!("{apex}/CNAME/away"), "name": "away", "etag": "1",
            "type": "Microsoft.Network/privateDnsZones/CNAME",
            "properties": {
                "fqdn": "away.privatelink.azurecr.io.", "ttl": 300, "isAutoRegistered": false,
                "cnameRecord": {"cname": "www.example.org"},
            },
        });
        estate.add(&list, item);
    });
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| daemon.ask("away.privatelink.azurecr.io", Rtype::A));
        upstream.wait(|seen| !seen.is_empty());
        azure.edit(|estate| estate.set_record(&apex, "fresh", &["10.70.0.4"], 10));
        sync(&daemon);
        assert_eq!(address(&daemon, "fresh.privatelink.azurecr.io"), [Ipv4Addr::new(10, 70, 0, 4)]);
        assert_eq!(address(&daemon, "contosoprod.azurecr.io"), [Ipv4Addr::new(10, 20, 0, 5)]);
        // The client is told in the end.
        let answer = hanging.join().expect("an answer");
        assert_eq!(Message::parse(&answer).expect("a message").rcode(), Rcode::SERVFAIL);
    });
}

/// A refresh that failed put an empty zone in the place of a good one.
#[test]
fn coredns_8524_a_failed_refresh_keeps_the_zone() {
    let (azure, upstream) = (Azure::start(), Upstream::answering("192.0.2.1"));
    let mut daemon = start(&azure, &upstream);
    wait_for(&mut daemon, "contosoprod.azurecr.io", [10, 20, 0, 5]);
    let page_two =
        Matcher::new(|request| request.kind == Kind::RecordSets && request.query.contains("skipToken"));
    let faults = [
        (Matcher::from(Kind::RecordSets), 403),
        (Matcher::from(Kind::RecordSets), 404),
        (Matcher::from(Kind::RecordSets), 503),
        (page_two, 500),
    ];
    for (what, status) in faults {
        azure.fault(what, Fault::Status(status));
        sync(&daemon);
        let manual = address(&daemon, "contosomanual.privatelink.azurecr.io");
        assert_eq!(manual.len(), 2, "{status}");
        assert_eq!(address(&daemon, "contosoprod.azurecr.io"), [Ipv4Addr::new(10, 20, 0, 5)], "{status}");
        azure.clear_faults();
    }
    azure.edit(|estate| estate.add_replica(&registry("contosodev"), "northeurope", "10.21.0.9"));
    sync(&daemon);
    wait_for(&mut daemon, "contosodev.northeurope.data.azurecr.io", [10, 21, 0, 9]);
}
