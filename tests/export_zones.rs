//! `hubdns export zone`: the files load in BIND, NSD and Knot, and hubdns' own
//! reader makes the same RRsets of them.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::peer::find;
use daemon::hubdns;
use serde_json::Value;

/// Records of every type that servers agree on, and names with odd bytes.
const CORP: &str = r#"$ORIGIN corp.example.
$TTL 300
@ IN SOA ns hostmaster 42 3600 300 604800 60
@ NS ns
@ NS ns.elsewhere.example.
@ MX 10 mail
@ CAA 0 issue "ca.example; policy=ev"
@ TXT "v=spf1 -all" "second; \"quoted\" \\ \000\255"
ns A 192.0.2.1
ns AAAA 2001:db8::1
mail 60 A 192.0.2.2
mail 60 A 192.0.2.3
www CNAME ns
* TXT "wildcard"
\000odd\.name\;\(\"\@\$\255 TXT "odd owner"
_https._tcp SRV 1 2 443 mail
svc HTTPS 1 . alpn=h2 port=8443
svc SVCB 0 mail
raw TYPE65280 \# 3 0A0B0C
ptr PTR mail
tree DNAME other.example.
sub NS ns.sub
sub DS 12345 13 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
ns.sub A 192.0.2.9
hinfo HINFO "a b" c
naptr NAPTR 10 20 "s" "SIP+D2U" "" _sip._udp
sshfp SSHFP 4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789
_443._tcp.mail TLSA 3 1 1 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
rp RP admin.example. txt.example.
"#;

/// The example estate with nested private-link zones, a zone file, and records
/// in the configuration.
const CONFIG: &str = r#"
names.zones = ["private.example"]

[[sources.az_json]]
name = "example"
embedded = true

[[sources.zone_file]]
zone = "corp.example"
path = "corp.zone"

[[sources.static]]
name = "db.private.example"
type = "A"
values = ["10.9.0.1", "10.9.0.2"]

[[sources.static]]
name = "private.example"
type = "TXT"
values = ['"a" "b"']

[[sources.static]]
name = "six.azurecr.io"
type = "AAAA"
values = ["fd00::6"]
"#;

/// A directory with the configuration, and the zones exported from it.
struct Exported {
    directory: tempfile::TempDir,
    /// Apex and file.
    zones: Vec<(String, PathBuf)>,
}

fn config_file(directory: &Path, name: &str, toml: &str) -> PathBuf {
    let path = directory.join(name);
    let state = directory.join("state");
    std::fs::write(&path, format!("server.state_dir = \"{}\"\n{toml}", state.display())).expect("a file");
    path
}

fn run(arguments: &[&str], config: &Path) -> String {
    let output = hubdns().args(arguments).arg("--config").arg(config).output().expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn export(arguments: &[&str]) -> Exported {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("corp.zone"), CORP).expect("a zone file");
    let config = config_file(directory.path(), "hubdns.toml", CONFIG);
    let out = directory.path().join("zones");
    let out = out.to_str().expect("a plain path");
    let told = run(&[&["export", "zone", "--output-dir", out], arguments].concat(), &config);
    let zones = told.lines().map(|line| {
        let path = PathBuf::from(line);
        let apex = path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        (apex, path)
    });
    Exported { zones: zones.collect(), directory }
}

/// Every server's own check, on every zone.
fn check_by_servers(exported: &Exported) {
    assert!(!exported.zones.is_empty());
    for (program, options) in
        [("named-checkzone", &["-i", "local"][..]), ("nsd-checkzone", &[]), ("kzonecheck", &["-o"])]
    {
        let Some(path) = find(program) else { continue };
        for (apex, file) in &exported.zones {
            let output = Command::new(&path).args(options).arg(apex).arg(file).output().expect("it starts");
            let text = std::fs::read_to_string(file).expect("a file");
            assert!(output.status.success(), "{program} {apex}: {output:?}\n{text}");
        }
    }
}

#[test]
fn every_server_loads_the_local_zones() {
    let exported = export(&[]);
    let apexes: Vec<&str> = exported.zones.iter().map(|(apex, _)| apex.as_str()).collect();
    for apex in ["corp.example", "private.example", "privatelink.azurecr.io"] {
        assert!(apexes.contains(&apex), "{apexes:?}");
    }
    check_by_servers(&exported);
}

#[test]
fn every_server_loads_the_public_zones() {
    let exported = export(&["--public-zones"]);
    let apexes: Vec<&str> = exported.zones.iter().map(|(apex, _)| apex.as_str()).collect();
    for apex in ["contosoprod.azurecr.io", "contosoprod.westeurope.data.azurecr.io", "six.azurecr.io"] {
        assert!(apexes.contains(&apex), "{apexes:?}");
    }
    assert!(
        !apexes.iter().any(|apex| apex.contains("manual")),
        "a record that nobody vouches for: {apexes:?}"
    );
    check_by_servers(&exported);
}

/// Owner, type, TTL and data of every RRset, aliases and `extra` left out.
fn rrsets(config: &Path, extra: &[(&str, &str)]) -> BTreeSet<(String, String, u64, Vec<String>)> {
    let rows: Vec<Value> =
        serde_json::from_str(&run(&["records", "--json"], config)).expect("the listing is JSON");
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let rows = rows.iter().filter(|row| row["alias"] == false).map(|row| {
        let mut data: Vec<String> =
            row["data"].as_array().expect("a list").iter().map(Value::to_string).collect();
        data.sort();
        (text(row, "name"), text(row, "rtype"), row["ttl"].as_u64().expect("a number"), data)
    });
    rows.filter(|row| !extra.contains(&(row.0.as_str(), row.1.as_str()))).collect()
}

#[test]
fn the_own_reader_makes_the_same_rrsets() {
    let exported = export(&[]);
    let source = |(apex, file): &(String, PathBuf)| {
        let file = file.display();
        format!("[[sources.zone_file]]\nzone = \"{apex}\"\npath = \"{file}\"\nfall_through = true\n")
    };
    let toml: String = exported.zones.iter().map(source).collect();
    let config = exported.directory.path().join("hubdns.toml");
    let copy = config_file(exported.directory.path(), "copy.toml", &toml);
    // Zones without NS get one, since other servers want it.
    let added: Vec<(&str, &str)> = exported
        .zones
        .iter()
        .filter(|(apex, _)| apex != "corp.example")
        .map(|(apex, _)| (apex.as_str(), "NS"))
        .collect();
    let (original, read_back) = (rrsets(&config, &[]), rrsets(&copy, &added));
    assert!(original.len() > 30, "{original:?}");
    let lost: Vec<_> = original.difference(&read_back).collect();
    let new: Vec<_> = read_back.difference(&original).collect();
    assert!(lost.is_empty() && new.is_empty(), "lost: {lost:#?}\nnew: {new:#?}");
    // The SOA of a zone file stays its own.
    let soa = run(&["explain", "corp.example", "SOA"], &copy);
    assert!(soa.contains("ns.corp.example. hostmaster.corp.example. 42 3600 300 604800 60"), "{soa}");
}

#[test]
fn names_of_a_deeper_zone_are_in_its_file() {
    let exported = export(&[]);
    let text = |apex: &str| {
        let (_, file) = exported.zones.iter().find(|(name, _)| name == apex).expect("the zone");
        std::fs::read_to_string(file).expect("a file")
    };
    // In Azure the deeper zone hides what the other one holds below it.
    let deep = "westeurope.data.privatelink.azurecr.io";
    let owner = format!("\ncontosoprod.{deep}. ");
    assert!(text(deep).contains(&owner));
    assert!(!text("privatelink.azurecr.io").contains(&owner));
    assert!(text("privatelink.azurecr.io").contains(deep), "the remark names it");
    for (apex, file) in &exported.zones {
        let warned = std::fs::read_to_string(file).expect("a file").contains("everybody else's");
        assert_eq!(warned, apex.ends_with("privatelink.azurecr.io"), "{apex}");
    }
}

#[test]
fn name_servers_can_be_named() {
    let exported = export(&["--name-server", "ns1.example", "--name-server", "ns2.example."]);
    for (apex, file) in &exported.zones {
        let text = std::fs::read_to_string(file).expect("a file");
        let named = ["ns1", "ns2"].into_iter().all(|server| {
            let is_it = |line: &str| {
                line.starts_with(&format!("{apex}. ")) && line.ends_with(&format!(" IN NS {server}.example."))
            };
            text.lines().any(is_it)
        });
        assert_eq!(named, apex != "corp.example", "{apex}: {text}");
    }
    check_by_servers(&exported);
}
