//! The sync as a whole: sources on disk, cycles, restarts.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use hubdns::config::*;
use hubdns::metrics::sync::SyncMetrics;
use hubdns::sync::watch::{Command, spawn};
use hubdns::sync::{State, Sync, Trigger};
use hubdns::wire::{Name, Rtype, rdata};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn config(state_dir: &Path, sources: Vec<Source>) -> Config {
    Config {
        server: Server {
            listen: Vec::new(),
            workers: 1,
            allow: Vec::new(),
            denied: Denied::Refuse,
            udp_max_bytes: 1232,
            edns: hubdns::config::Edns::default(),
            state_dir: state_dir.to_owned(),
            keep_generations: 2,
            control_socket: None,
            control_group: None,
            drain: Duration::ZERO,
        },
        tcp: Tcp {
            max_connections: 1,
            max_connections_per_client: 1,
            max_queries_per_connection: 1,
            idle_timeout: Duration::ZERO,
            total_timeout: Duration::ZERO,
        },
        admin: Admin { listen: Vec::new(), allow: Vec::new(), hosts: Vec::new() },
        log: Log { format: LogFormat::Text, level: "info".into() },
        names: Names {
            suffixes: ["azurecr.io", "azurecr.us", "azurecr.cn"].map(name).to_vec(),
            zones: Vec::new(),
            answer: AnswerMode::Chain,
            own_missing: OwnMissing::Closed,
            own_registries: Vec::new(),
            ttl_floor: 0,
            ttl_cap: 86_400,
            interface_ttl: 10,
            special: Special {
                localhost: true,
                invalid: true,
                onion: true,
                resolver_arpa: true,
                private_reverse: false,
            },
        },
        scope: Scope {
            vnets: Vec::new(),
            allowed_prefixes: vec!["10.0.0.0/8".parse().unwrap()],
            regions: Vec::new(),
        },
        sources,
        forward: Forward {
            groups: Vec::new(),
            rules: Vec::new(),
            fallback: None,
            client_deadline: Duration::ZERO,
            resend_after: Duration::ZERO,
            exchange_deadline: Duration::ZERO,
            max_in_flight: 1,
            max_waiters: 1,
            max_waiters_per_client: 1,
            stale_after: Duration::ZERO,
            udp_bytes: 1232,
            streams: hubdns::config::Streams::default(),
            governor: Governor::default(),
        },
        cache: Cache {
            max_bytes: 0,
            min_ttl: 0,
            max_ttl: 0,
            max_negative_ttl: 0,
            servfail_ttl: 1,
            max_stale: 0,
            stale_ttl: 30,
            stale_recheck: 30,
            max_renewals: 0,
            save: false,
        },
        ..Config::parse("", "test.toml", Path::new("/")).expect("the defaults")
    }
}

fn zone_source(path: &Path) -> Source {
    Source::ZoneFile { zone: name("corp.example"), path: path.to_owned(), fall_through: false }
}

fn zone_text(hosts: &str) -> String {
    let mut text = "@ 60 SOA ns admin 7 3600 600 86400 300\n".to_owned();
    for host in hosts.split_whitespace() {
        writeln!(text, "{host} 60 A 10.0.0.1").unwrap();
    }
    text
}

fn start(config: &Config) -> Sync {
    Sync::start(config, Arc::new(SyncMetrics::default()))
}

fn owners(state: &State) -> Vec<String> {
    let rrsets = state.set.zones.iter().flat_map(|zone| &zone.rrsets);
    let mut owners: Vec<String> = rrsets.map(|rrset| rrset.owner.to_string()).collect();
    owners.sort();
    owners
}

/// A directory with a zone file of hosts and a place for the state.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(hosts: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        site.write(hosts);
        site
    }

    fn zone(&self) -> PathBuf {
        self.dir.path().join("zone")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn write(&self, hosts: &str) {
        fs::write(self.zone(), zone_text(hosts)).unwrap();
    }

    fn config(&self) -> Config {
        config(&self.state(), vec![zone_source(&self.zone())])
    }
}

#[test]
fn the_contoso_estate_gives_what_is_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let state_dir = tempfile::tempdir().unwrap();
    let source = Source::AzJson { name: "contoso".into(), path: root.join("examples/contoso") };
    let mut sync = start(&config(state_dir.path(), vec![source]));
    assert!(sync.cycle(Trigger::Routine).changed);
    let state = sync.status().get();
    let text = fs::read_to_string(root.join("tests/data/azure/composed/contoso-hub.json")).unwrap();
    let expected = serde_json::from_str::<serde_json::Value>(&text).unwrap()["expected"].take();

    let addresses = |owner: &Name| -> Option<(String, u32)> {
        let mut rrsets = state.set.zones.iter().flat_map(|zone| &zone.rrsets);
        let rrset = rrsets.find(|rrset| rrset.owner == *owner && rrset.rtype == Rtype::A)?;
        let data: Vec<String> = rrset.rdatas.iter().map(|data| rdata::to_text(Rtype::A, data)).collect();
        Some((data.join(","), rrset.ttl))
    };
    let mut held = 0;
    let from_nics = expected["from_nics"].as_object().unwrap();
    for (public, address) in from_nics {
        let alias = state.set.aliases.iter().find(|alias| alias.public == name(public)).expect(public);
        let target = public.replace("azurecr.io", "privatelink.azurecr.io");
        assert_eq!(alias.target, name(&target));
        assert_eq!(addresses(&alias.target), Some((address.as_str().unwrap().to_owned(), 10)), "{public}");
        held += 1;
    }
    assert_eq!(state.set.aliases.len(), from_nics.len(), "no other name has a public alias");
    for (owner, value) in expected["from_zone"].as_object().unwrap() {
        let public = owner.replace("privatelink.", "");
        if !from_nics.contains_key(&public) {
            let expected = (value[0].as_str().unwrap().to_owned(), value[1].as_u64().unwrap() as u32);
            assert_eq!(addresses(&name(owner)), Some(expected), "{owner}");
            held += 1;
        }
    }
    // Nothing but those and the one TXT record.
    let rrsets: usize = state.set.zones.iter().map(|zone| zone.rrsets.len()).sum();
    assert_eq!(rrsets, held + 1);
    assert_eq!(
        *state.set.own,
        ["contosodev", "contosoprod", "contosodrift"].map(|l| name(&format!("{l}.azurecr.io"))).to_vec()
    );
    let apexes: Vec<String> = state.set.zones.iter().map(|zone| zone.apex.to_string()).collect();
    assert_eq!(apexes.len(), 2, "{apexes:?}");
    let mut found: Vec<(&str, &str)> =
        state.findings.iter().map(|finding| (finding.code.label(), finding.name.as_str())).collect();
    found.sort_unstable();
    let wanted = expected["findings"].as_array().unwrap().iter();
    let mut wanted: Vec<_> =
        wanted.map(|f| (f["code"].as_str().unwrap(), f["name"].as_str().unwrap())).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn equal_data_is_no_change() {
    let site = Site::new("a b");
    let mut sync = start(&site.config());
    assert!(!sync.status().get().loaded);
    assert_eq!(sync.cycle(Trigger::Routine).generation, 1);
    let saved =
        |site: &Site| fs::metadata(site.state().join("generation-00000001.set")).unwrap().modified().unwrap();
    let before = saved(&site);
    site.write("b a");
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.generation), (false, 1));
    assert_eq!(saved(&site), before);
    site.write("a b c");
    assert_eq!(sync.cycle(Trigger::Routine).generation, 2);
    assert_eq!(sync.publisher().current().generation(), 2);
}

#[test]
fn a_restart_with_all_sources_broken_serves_the_same() {
    let site = Site::new("a b");
    start(&site.config()).cycle(Trigger::Routine);
    fs::remove_file(site.zone()).unwrap();
    let mut sync = start(&site.config());
    let state = sync.status().get();
    assert!(state.loaded, "published before any source is read");
    assert_eq!(
        (owners(&state), state.generation),
        (vec!["a.corp.example".into(), "b.corp.example".into()], 1)
    );
    assert_eq!(sync.publisher().current().generation(), 1);
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.failed.len(), report.held_back), (false, 1, 0));
    let state = sync.status().get();
    assert_eq!(owners(&state).len(), 2);
    assert_eq!(state.provenance.all().count(), 2);
    let source = &state.sources[0];
    assert!(source.last_success.is_some() && source.facts == 3);
    assert!(source.last_error.as_ref().unwrap().contains("No such file"), "{source:?}");
    assert!(state.findings.iter().any(|finding| finding.code.label() == "source-failed"));
}

#[test]
fn a_restart_without_facts_serves_the_same() {
    let site = Site::new("a b");
    start(&site.config()).cycle(Trigger::Routine);
    fs::remove_file(site.zone()).unwrap();
    fs::remove_file(site.state().join("generation-00000001.facts")).unwrap();
    let mut sync = start(&site.config());
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.generation, report.pending), (false, 1, 2));
    assert_eq!(owners(&sync.status().get()).len(), 2);
}

#[test]
fn a_corrupt_newest_set_falls_back_and_the_generation_goes_up() {
    let site = Site::new("a b");
    let mut sync = start(&site.config());
    sync.cycle(Trigger::Routine);
    site.write("a b c");
    sync.cycle(Trigger::Routine);
    drop(sync);
    fs::write(site.state().join("generation-00000002.set"), "broken").unwrap();
    let mut sync = start(&site.config());
    let state = sync.status().get();
    assert_eq!((state.generation, owners(&state).len()), (1, 2));
    assert!(state.findings.iter().any(|finding| finding.code.label() == "saved-set-damaged"));
    assert_eq!(sync.cycle(Trigger::Routine).generation, 3);
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_vetoes_nothing() {
    let site = Site::new("a");
    fs::write(site.state(), "a file").unwrap();
    let mut sync = start(&site.config());
    assert!(sync.cycle(Trigger::Routine).changed);
    let state = sync.status().get();
    assert!(state.loaded && state.not_saved.is_some());
    assert_eq!(sync.publisher().current().generation(), 1);
}

#[test]
fn a_second_daemon_runs_without_saving() {
    let site = Site::new("a");
    let mut first = start(&site.config());
    first.cycle(Trigger::Routine);
    let mut second = start(&site.config());
    assert!(second.status().get().not_saved.as_ref().unwrap().contains("another hubdns"));
    site.write("a b");
    assert!(second.cycle(Trigger::Routine).changed);
    assert!(!site.state().join("generation-00000002.set").exists());
}

#[test]
fn a_broken_source_keeps_its_last_listing_and_others_go_on() {
    let site = Site::new("a b");
    let other = site.dir.path().join("other");
    fs::write(&other, zone_text("x")).unwrap();
    let mut config = site.config();
    config.sources.push(Source::ZoneFile {
        zone: name("lab.example"),
        path: other.clone(),
        fall_through: true,
    });
    let mut sync = start(&config);
    sync.cycle(Trigger::Routine);
    fs::write(site.zone(), "broken\n").unwrap();
    fs::write(&other, zone_text("x y")).unwrap();
    let report = sync.cycle(Trigger::Routine);
    assert!(report.changed && report.failed[0].0 == "zone-file:corp.example", "{report:?}");
    let expected = ["a.corp.example", "b.corp.example", "x.lab.example", "y.lab.example"];
    assert_eq!(owners(&sync.status().get()), expected);
}

#[test]
fn an_empty_listing_is_a_failure() {
    let site = Site::new("a");
    let estate = site.dir.path().join("estate.json");
    let set = r#"[{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/privateDnsZones/privatelink.azurecr.io/A/c",
        "name": "c", "ttl": 5, "aRecords": [{"ipv4Address": "10.0.0.1"}]}]"#;
    fs::write(&estate, set).unwrap();
    let mut sync =
        start(&config(&site.state(), vec![Source::AzJson { name: "e".into(), path: estate.clone() }]));
    sync.cycle(Trigger::Routine);
    fs::write(&estate, "[]").unwrap();
    let report = sync.cycle(Trigger::Routine);
    assert!(!report.changed && report.failed[0].1.contains("empty"), "{report:?}");
    assert_eq!(owners(&sync.status().get()), ["c.privatelink.azurecr.io"]);
}

#[test]
fn a_big_shrink_is_held_back_and_shown() {
    let site = Site::new("a b c d");
    let mut sync = start(&site.config());
    sync.cycle(Trigger::Routine);
    site.write("d e");
    let report = sync.cycle(Trigger::Routine);
    assert_eq!((report.changed, report.held_back), (true, 3));
    let state = sync.status().get();
    assert_eq!(owners(&state).len(), 5);
    let entry = state.provenance.entry(&name("a.corp.example"), Rtype::A).unwrap();
    assert!(entry.held_back);
    let listing = state.provenance.listing(entry.winner.as_ref().unwrap()).unwrap();
    assert_eq!(listing.id.source, "zone-file:corp.example");
    assert_eq!(state.findings.iter().filter(|finding| finding.code.label() == "held-back").count(), 3);
}

#[test]
fn a_source_removed_from_the_configuration_withdraws_its_records() {
    let site = Site::new("a b");
    let mut sync = start(&site.config());
    sync.cycle(Trigger::Routine);
    let report = sync.reconfigure(&config(&site.state(), Vec::new()));
    assert_eq!((report.changed, report.generation, report.held_back), (true, 2, 0));
    assert!(sync.status().get().set.zones.is_empty());
    // And comes back.
    assert!(sync.reconfigure(&site.config()).changed);
}

#[test]
fn a_reload_that_changes_answers_alone_is_published_under_the_same_generation() {
    let site = Site::new("a b");
    let mut sync = start(&site.config());
    sync.cycle(Trigger::Routine);
    let before = sync.publisher().current();
    let mut flat = site.config();
    flat.names.answer = AnswerMode::Flat;
    let report = sync.reconfigure(&flat);
    assert_eq!((report.changed, report.generation), (false, 1));
    assert!(!Arc::ptr_eq(&before, &sync.publisher().current()));
}

#[test]
fn ours_is_remembered_over_restarts() {
    let site = Site::new("a");
    let estate = site.dir.path().join("nic.json");
    let nic = |fqdn: &str| {
        format!(
            r#"[{{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n",
            "privateEndpoint": {{"id": "/p"}}, "ipConfigurations": [{{"privateIPAddress": "10.0.0.1",
            "privateLinkConnectionProperties": {{"groupId": "registry", "fqdns": ["{fqdn}"]}}}}]}}]"#
        )
    };
    fs::write(&estate, nic("c.azurecr.us")).unwrap();
    let config = config(&site.state(), vec![Source::AzJson { name: "e".into(), path: estate.clone() }]);
    start(&config).cycle(Trigger::Routine);
    fs::write(&estate, nic("d.azurecr.us")).unwrap();
    let mut sync = start(&config);
    sync.cycle(Trigger::Routine);
    let own: Vec<String> = sync.status().get().set.own.iter().map(ToString::to_string).collect();
    assert_eq!(own, ["c.azurecr.us", "d.azurecr.us"]);
}

/// Waits until `done`, at most ten seconds; polls, since the watcher's own
/// waiting is what is tested.
#[track_caller]
fn await_state(sync: &hubdns::sync::Status, done: impl Fn(&State) -> bool) -> Arc<State> {
    let start = Instant::now();
    loop {
        let state = sync.get();
        if done(&state) {
            return state;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{state:?}");
        std::thread::yield_now();
    }
}

#[test]
fn files_that_change_are_read_again() {
    let site = Site::new("a b");
    let sync = start(&site.config());
    let status = sync.status();
    let handle = spawn(sync).unwrap();
    await_state(&status, |state| state.generation == 1);
    // Renamed over, as editors and configuration management do.
    let next = site.dir.path().join("next");
    fs::write(&next, zone_text("a b c")).unwrap();
    fs::rename(&next, site.zone()).unwrap();
    await_state(&status, |state| owners(state).len() == 3);
    site.write("a b c d");
    await_state(&status, |state| owners(state).len() == 4);
    handle.stop();
}

#[test]
fn commands_are_answered() {
    let site = Site::new("a b");
    let sync = start(&site.config());
    let status = sync.status();
    let handle = spawn(sync).unwrap();
    let (done, answer) = channel();
    let commands = handle.commands();
    commands.send(Command::ReadNow { done: Some(done.clone()) }).unwrap();
    assert_eq!(answer.recv().unwrap().generation, 1);
    let config = Box::new(config(&site.state(), Vec::new()));
    commands.send(Command::Reload { config, done: Some(done) }).unwrap();
    assert!(answer.recv().unwrap().changed);
    assert!(status.get().set.zones.is_empty());
    handle.stop();
    assert!(commands.send(Command::Changed).is_err());
}
