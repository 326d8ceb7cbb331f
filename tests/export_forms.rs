//! The forms of an export where an estate is unusual: views, names with odd
//! bytes, several addresses, no address, hostile texts.

use hubdns::admin::inventory::{AliasRow, HeldRrset, HeldZone, Inventory, SoaRow, VariantRow, ViewRow};
use hubdns::admin::view::OriginRow;
use hubdns::export::allow_list::{Format, allow_list};
use hubdns::export::forwarder::{self, Options, Peer, forwarder};
use hubdns::export::{Estate, ExportError, hosts, json, zone};
use serde_json::Value;

fn rrset(name: &str, rtype: &str, data: &[&str]) -> HeldRrset {
    let data = data.iter().map(|&text| text.to_owned()).collect();
    HeldRrset { name: name.to_owned(), rtype: rtype.to_owned(), ttl: 10, data, ..HeldRrset::default() }
}

/// `name` gets `data` in `view`.
fn varied(mut rrset: HeldRrset, view: &str, data: &[&str]) -> HeldRrset {
    let data = data.iter().map(|&text| text.to_owned()).collect();
    rrset.variants.push(VariantRow { view: view.to_owned(), data });
    rrset
}

fn private_zone(rrsets: Vec<HeldRrset>) -> HeldZone {
    let soa = SoaRow {
        ttl: 10,
        mname: "azureprivatedns.net".to_owned(),
        rname: "azureprivatedns-host.microsoft.com".to_owned(),
        serial: 7,
        ..SoaRow::default()
    };
    HeldZone { apex: "privatelink.azurecr.io".to_owned(), falls_through: true, soa, rrsets }
}

fn inventory(zones: Vec<HeldZone>, aliases: &[&str]) -> Inventory {
    let alias = |label: &&str| AliasRow {
        public: format!("{label}.azurecr.io"),
        target: format!("{label}.privatelink.azurecr.io"),
    };
    Inventory {
        generation: 7,
        published_at: 1_800_000_000,
        listen: vec!["127.0.0.1:53".to_owned(), "10.0.0.4:53".to_owned(), "[fd00::4]:5300".to_owned()],
        suffixes: ["azurecr.io", "azurecr.us"].map(str::to_owned).to_vec(),
        aliases: aliases.iter().map(alias).collect(),
        zones,
        ..Inventory::default()
    }
}

fn estate(inventory: &Inventory) -> Estate {
    Estate::read(inventory).expect("a sound inventory")
}

fn viewed() -> Inventory {
    let held = rrset("contoso.privatelink.azurecr.io", "A", &["10.0.0.10", "10.0.0.9"]);
    let held = varied(varied(held, "asia", &["10.8.0.9"]), "lab", &["10.9.0.9"]);
    let six = rrset("contoso.privatelink.azurecr.io", "AAAA", &["fd00::9"]);
    let mut inventory = inventory(vec![private_zone(vec![held, six])], &["contoso"]);
    let view = |name: &str, clients: &[&str]| ViewRow {
        name: name.to_owned(),
        clients: clients.iter().map(|&text| text.to_owned()).collect(),
    };
    inventory.views = vec![view("asia", &["10.8.0.0/16", "fd08::/32"]), view("lab", &["10.8.7.0/24"])];
    inventory
}

#[test]
fn the_longest_prefix_chooses_the_view() {
    for (client, expected, view) in [
        ("10.1.2.3", "10.0.0.9", None),
        ("10.8.2.3", "10.8.0.9", Some("asia")),
        ("::ffff:10.8.2.3", "10.8.0.9", Some("asia")),
        ("fd08::1", "10.8.0.9", Some("asia")),
        ("10.8.7.3", "10.9.0.9", Some("lab")),
    ] {
        let mut estate = estate(&viewed());
        estate.narrow(client.parse().expect("an address"));
        assert_eq!(estate.view.as_deref(), view, "{client}");
        let text = hosts::hosts(&estate).text;
        assert!(text.contains(&format!("{expected}\tcontoso.azurecr.io\n")), "{client}: {text}");
        assert!(text.contains("fd00::9\tcontoso.azurecr.io\n"), "the AAAA does not differ: {text}");
        assert_eq!(text.contains("of view"), view.is_some(), "{text}");
        assert!(hosts::hosts(&estate).notes.is_empty());
    }
}

#[test]
fn without_a_client_hosts_have_the_usual_answer_and_firewalls_all() {
    let estate = estate(&viewed());
    let hosts = hosts::hosts(&estate);
    assert!(!hosts.text.contains("10.8.0.9"), "{}", hosts.text);
    assert!(hosts.notes[0].contains("--client"), "{:?}", hosts.notes);
    let nft = allow_list(&estate, Format::Nftables, &[]).text;
    assert!(nft.contains("registries_v4 { 10.0.0.9, 10.0.0.10, 10.8.0.9, 10.9.0.9 }"), "{nft}");
    assert!(nft.contains("registries_v6 { fd00::9 }"), "{nft}");
    let exported: Value = serde_json::from_str(&json::json(&estate).text).expect("JSON");
    let endpoint = &exported["registries"][0]["endpoints"][0];
    assert_eq!(endpoint["addresses"], serde_json::json!(["10.0.0.9", "10.0.0.10", "fd00::9"]));
    assert_eq!(endpoint["views"]["asia"], serde_json::json!(["10.8.0.9", "fd00::9"]));
    let file = zone::single(&estate, &zone::Options::default()).expect("one zone");
    assert!(file.text.contains("; clients of view asia get 10.8.0.9\n"), "{}", file.text);
}

#[test]
fn a_view_without_records_loses_the_name() {
    let mut rows = viewed();
    rows.zones[0].rrsets[0].variants[0].data.clear();
    rows.zones[0].rrsets.pop();
    let mut estate = estate(&rows);
    estate.narrow("10.8.2.3".parse().expect("an address"));
    assert!(!hosts::hosts(&estate).text.contains("contoso"));
    let (files, notes) =
        zone::zones(&estate, &zone::Options { public: true, ..zone::Options::default() }).expect("zones");
    assert!(files.is_empty() && notes[0].contains("contoso.azurecr.io is left out"), "{notes:?}");
}

#[test]
fn odd_names_stay_out_of_forms_that_cannot_say_them() {
    let odd = ["a\\010b", "a\\032b", "a\\;b", "\\233t\\233", "a\\$\\(id\\)", "a'b", "-o"];
    let rrsets = odd.iter().chain(&["good"]).map(|label| {
        let mut held = rrset(&format!("{label}.privatelink.azurecr.io"), "A", &["10.0.0.9"]);
        let id = "line\nbreak \u{1b}[31m \u{202e}".to_owned();
        held.origin =
            Some(OriginRow { source: "static".to_owned(), rank: "static".to_owned(), id, read_at: 0 });
        held
    });
    let labels = [&odd[..], &["good"]].concat();
    let mut rows = inventory(vec![private_zone(rrsets.collect())], &labels);
    rows.further_zones = vec!["corp.example".to_owned(), "0/25.2.0.192.in-addr.arpa".to_owned()];
    let estate = estate(&rows);
    let lists =
        [Format::Text, Format::Csv, Format::Squid, Format::Nftables, Format::NoProxy, Format::AzureFirewall];
    let mut documents: Vec<_> = lists.map(|format| allow_list(&estate, format, &[])).to_vec();
    documents.push(hosts::hosts(&estate));
    for document in &documents {
        assert_eq!(document.notes.len(), odd.len(), "{:?}", document.notes);
        let names: Vec<&str> = document.text.split("azurecr.io").collect();
        assert!(
            names.iter().all(|text| !text.ends_with("b.") && !text.ends_with("-o.")),
            "{}",
            document.text
        );
        assert!(document.text.is_ascii() && !document.text.contains('\u{1b}'), "{}", document.text);
    }
    let snippet = forwarder(&estate, Peer::Bind, &Options::default()).expect("a snippet");
    assert!(snippet.notes[0].contains("0/25") && !snippet.text.contains("0/25"), "{snippet:?}");
    assert!(snippet.text.contains("zone \"corp.example\""), "{}", snippet.text);
    // A master file can say them all, on one line each.
    let file = zone::single(&estate, &zone::Options::default()).expect("one zone").text;
    assert!(file.contains("\na\\010b.privatelink.azurecr.io. 10 IN A 10.0.0.9\n"), "{file}");
    assert!(file.contains("is no host name: BIND"), "{file}");
    for line in file.lines() {
        let sound = line.is_empty() || line.starts_with("; ") || line.contains(" IN ");
        assert!(sound && line.is_ascii() && !line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn rows_that_cannot_be_are_refused() {
    let with = |name: &str, rtype: &str, data: &str| {
        Estate::read(&inventory(vec![private_zone(vec![rrset(name, rtype, &[data])])], &[]))
    };
    assert!(with("contoso.privatelink.azurecr.io", "A", "10.0.0.9").is_ok());
    for (name, rtype, data) in [
        ("a..b", "A", "10.0.0.9"),
        ("a.privatelink.azurecr.io", "A", "10.0.0"),
        ("a.privatelink.azurecr.io", "AAAA", "10.0.0.9"),
        ("a.privatelink.azurecr.io", "NOPE", "x"),
        ("a.privatelink.azurecr.io", "TXT", "\"a\"\n$INCLUDE /etc/passwd"),
    ] {
        let refused = with(name, rtype, data);
        assert!(
            matches!(refused, Err(ExportError::Malformed { .. })),
            "{name} {rtype} {data:?}: {refused:?}"
        );
    }
}

#[test]
fn forwarders_ask_what_clients_can_reach() {
    let mut rows = inventory(vec![private_zone(Vec::new())], &["contoso"]);
    let servers = |rows: &Inventory| forwarder(&estate(rows), Peer::Dnsmasq, &Options::default());
    let text = servers(&rows).expect("a snippet").text;
    assert!(text.contains("/azurecr.io/10.0.0.4\n") && text.contains("/azurecr.io/fd00::4#5300\n"), "{text}");
    assert!(!text.contains("127.0.0.1"), "others cannot ask loopback: {text}");
    assert!(!text.contains("azurecr.us"), "no registry is held there: {text}");
    // One node of two on another port: Windows DNS could not ask it.
    let windows = forwarder(&estate(&rows), Peer::Windows, &Options::default());
    assert!(matches!(windows, Err(ExportError::OtherPort { .. })), "{windows:?}");
    rows.aliases.clear();
    assert!(servers(&rows).expect("a snippet").text.contains("azurecr.us"), "none held: all configured");
    rows.own = vec!["shared.azurecr.us".to_owned()];
    let text = servers(&rows).expect("a snippet").text;
    assert!(text.contains("azurecr.us") && !text.contains("azurecr.io"), "{text}");
    rows.listen = vec!["127.0.0.1:5300".to_owned()];
    let told = servers(&rows).expect("a snippet");
    assert!(told.text.contains("127.0.0.1#5300") && told.notes[0].contains("loopback"), "{told:?}");
    rows.listen.clear();
    assert_eq!(servers(&rows), Err(ExportError::NoServer));
    let named = Options { servers: vec!["192.0.2.1:53".parse().expect("an address")], ..Options::default() };
    let text = forwarder(&estate(&rows), Peer::Dnsmasq, &named).expect("a snippet").text;
    assert!(text.contains("server=/azurecr.us/192.0.2.1\n"), "{text}");
}

#[test]
fn further_zones_are_forwarded_too() {
    let mut rows = inventory(vec![private_zone(Vec::new())], &["contoso"]);
    rows.further_zones = ["corp.example", "db.corp.example", "10.in-addr.arpa"].map(str::to_owned).to_vec();
    let estate = estate(&rows);
    let options = forwarder::Options::default();
    let bind = forwarder(&estate, Peer::Bind, &options).expect("a snippet").text;
    assert!(
        bind.contains("validate-except { \"azurecr.io\"; \"corp.example\"; \"10.in-addr.arpa\"; };"),
        "{bind}"
    );
    assert!(bind.contains("zone \"db.corp.example\" {"), "{bind}");
    assert!(!bind.contains("westeurope.data"), "{bind}");
    let unbound = forwarder(&estate, Peer::Unbound, &options).expect("a snippet").text;
    assert!(unbound.contains("local-zone: \"10.in-addr.arpa\" nodefault\n"), "{unbound}");
}

#[test]
fn firewall_rules_name_their_clients() {
    let rows = viewed();
    let clients = ["10.1.0.0/16".parse().expect("a prefix")];
    let rules = allow_list(&estate(&rows), Format::AzureFirewall, &clients).text;
    let rules: Value = serde_json::from_str(&rules).expect("JSON");
    for collection in rules["properties"]["ruleCollections"].as_array().expect("collections") {
        assert_eq!(collection["rules"][0]["sourceAddresses"], serde_json::json!(["10.1.0.0/16"]));
    }
}
