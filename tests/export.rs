//! `hubdns export` as a user runs it: every form for the example estate, where
//! the text goes, and what is refused.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::golden::golden;
use common::peer::find;
use daemon::{Daemon, hubdns};
use serde_json::Value;

/// The example estate, as the quick start has it.
const EXAMPLE: [&str; 2] = ["--config", "config/quickstart.toml"];

fn run(arguments: &[&str]) -> Output {
    hubdns().arg("export").args(arguments).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The export of the example estate.
fn example(arguments: &[&str]) -> String {
    stdout(&run(&[arguments, &EXAMPLE].concat()))
}

#[test]
fn every_form_of_the_example_estate() {
    golden("export/zone", &example(&["zone", "--zone", "privatelink.azurecr.io"]));
    golden("export/public-zone", &example(&["zone", "--public-zones", "--zone", "contosoprod.azurecr.io"]));
    golden("export/hosts", &example(&["hosts"]));
    golden("export/json", &example(&["json"]));
    for form in ["text", "json", "csv", "squid", "nftables", "no-proxy", "azure-firewall"] {
        golden(&format!("export/allow-list.{form}"), &example(&["allow-list", "--format", form]));
    }
}

#[test]
fn every_forwarder_of_the_example_estate() {
    for peer in [
        "windows",
        "bind",
        "unbound",
        "dnsmasq",
        "coredns",
        "infoblox",
        "knot-resolver",
        "knot-resolver-5",
        "powerdns-recursor",
        "powerdns-recursor-4",
    ] {
        let nodes = ["--server", "192.0.2.53", "--server", "192.0.2.54"];
        let text = example(&[&["forwarder", "--for", peer], &nodes[..]].concat());
        golden(&format!("export/forwarder.{peer}"), &text);
    }
    let ad = example(&["forwarder", "--for", "windows", "--ad", "forest", "--server", "192.0.2.53"]);
    assert!(ad.contains("-MasterServers $servers -ReplicationScope Forest\n"), "{ad}");
    let other = example(&["forwarder", "--for", "bind", "--server", "[2001:db8::53]:5353", "--all-suffixes"]);
    assert!(other.contains("forwarders { 2001:db8::53 port 5353; };"), "{other}");
    assert!(other.contains("\"azurecr.cn\""), "{other}");
}

#[test]
fn json_holds_what_the_estate_expects() {
    let exported: Value = serde_json::from_str(&example(&["json"])).expect("JSON");
    let composed = include_str!("data/azure/composed/contoso-hub.json");
    let composed: Value = serde_json::from_str(composed).expect("JSON");
    let mut found = Vec::new();
    for registry in exported["registries"].as_array().expect("registries") {
        for endpoint in registry["endpoints"].as_array().expect("endpoints") {
            let name = endpoint["name"].as_str().expect("a name").to_owned();
            found.push((name, endpoint["addresses"].clone()));
        }
    }
    assert!(!found.is_empty());
    let expected = composed["expected"].to_string();
    for (name, addresses) in &found {
        assert!(expected.contains(name), "{name} is not expected");
        for address in addresses.as_array().expect("a list") {
            assert!(expected.contains(&address.to_string()), "{name} {address}");
        }
    }
}

#[test]
fn the_daemon_and_its_state_directory_export_the_same() {
    let mut daemon = Daemon::start(
        "[[sources.az_json]]\nname = \"example\"\nembedded = true\n[[upstreams]]\nname = \"silent\"\n\
         addresses = [\"127.0.0.1:9\"]\n[forward]\ndefault = \"silent\"\n",
    );
    daemon.wait_for_save();
    let state = daemon.directory.path().join("state");
    let state = ["--state-dir", state.to_str().expect("a plain path")];
    for form in [
        &["json"][..],
        &["zone", "--zone", "privatelink.azurecr.io"],
        &["allow-list", "--format", "json"],
        &["hosts"],
    ] {
        let live = daemon.cli(&[&["export"], form].concat());
        assert_eq!(stdout(&live), stdout(&run(&[form, &state[..]].concat())), "{form:?}");
    }
    let live: Value = serde_json::from_str(&stdout(&daemon.cli(&["export", "json"]))).expect("JSON");
    let generation = live["generation"].as_u64().expect("a generation");
    assert!(generation >= 1 && live["published_at"].as_u64().expect("a time") > 0, "{live}");
    // The serial of a zone from Azure is the generation.
    let zone = stdout(&daemon.cli(&["export", "zone", "--zone", "privatelink.azurecr.io"]));
    let soa = zone.lines().find(|line| line.contains(" IN SOA ")).expect("an SOA");
    assert_eq!(soa.split(' ').nth(6), Some(generation.to_string().as_str()), "{soa}");
    // The daemon says itself where it can be asked.
    let snippet = stdout(&daemon.cli(&["export", "forwarder", "--for", "dnsmasq"]));
    assert!(snippet.contains(&format!("server=/azurecr.io/127.0.0.1#{}\n", daemon.dns.port())), "{snippet}");
}

#[test]
fn files_appear_whole_and_keep_what_they_are() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("hosts");
    let link = directory.path().join("link");
    std::fs::write(&file, "old").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let said = example(&["hosts", "--output", link.to_str().expect("a plain path")]);
    assert_eq!(said, "");
    assert!(link.is_symlink(), "the link stays");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), example(&["hosts"]));
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
    // A pipe is written to, not replaced.
    assert_eq!(example(&["hosts", "--output", "/dev/stdout"]), example(&["hosts"]));
    // Nothing changes where the write fails.
    let output = run(&[&["hosts", "--output", "/nonexistent/hosts"], &EXAMPLE[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("cannot write /nonexistent/hosts"), "{output:?}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 2, "nothing is left over");
}

#[test]
fn one_file_holds_one_zone() {
    let output = run(&[&["zone"], &EXAMPLE[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("privatelink.azurecr.io, westeurope.data.privatelink.azurecr.io"));
    let output = run(&[&["zone", "--zone", "other.example"], &EXAMPLE[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let zones = directory.path().join("zones");
    let told = example(&["zone", "--output-dir", zones.to_str().expect("a plain path")]);
    assert_eq!(told.lines().count(), 2, "{told}");
    for path in told.lines() {
        assert!(Path::new(path).starts_with(&zones), "{path}");
        assert!(std::fs::read_to_string(path).expect("a file").contains(" IN SOA "));
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &["nonsense"][..],
        &[],
        &["forwarder"],
        &["forwarder", "--for", "djbdns"],
        &["forwarder", "--for", "bind", "--server", "ns.example"],
        &["forwarder", "--for", "bind", "--server", "0.0.0.0"],
        &["forwarder", "--for", "bind", "--server", "192.0.2.53:0"],
        &["hosts", "--client", "10.0.0.0/8"],
        &["allow-list", "--source", "everywhere"],
        &["zone", "--output", "a", "--output-dir", "b"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    // Windows DNS and Infoblox ask port 53 alone; the quick start listens on another.
    for peer in ["windows", "infoblox"] {
        let output = run(&[&["forwarder", "--for", peer], &EXAMPLE[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("port 53"), "{output:?}");
        assert!(output.stdout.is_empty());
    }
    let output = run(&["hosts", "--control-socket", "/nonexistent/socket"]);
    assert_eq!(output.status.code(), Some(1));
}

/// Feeds `text` to `program`; what it says.
fn fed(program: &Path, arguments: &[&str], text: &str) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("exported");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(program);
    command.args(arguments).arg(&file).stdin(Stdio::null());
    command.output().expect("the program starts")
}

#[test]
fn the_infoblox_script_makes_zones_or_sets_them_anew() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    // In the place of curl: notes what it is asked, and knows of one zone.
    let curl = "#!/bin/sh\nprintf '%s\\n' \"$@\" END >>\"$LOG\"\n\
                case \"$*\" in *--get*fqdn=azurecr.io*) echo '[{\"_ref\": \"zone_forward/ZG5z:azurecr.io/default\"}]';;\n\
                *--get*) echo '[]';; esac\n";
    std::fs::write(path("curl"), curl).expect("written");
    std::fs::set_permissions(path("curl"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let nodes = ["--server", "192.0.2.53", "--server", "2001:db8::53"];
    let script = example(&[&["forwarder", "--for", "infoblox"], &nodes[..]].concat());
    std::fs::write(path("script"), script).expect("written");
    let search = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("a PATH"));
    let mut command = Command::new("/bin/sh");
    command.arg(path("script")).env("PATH", search).env("LOG", path("log")).env_remove("DNS_VIEW");
    assert!(!command.output().expect("a shell").status.success(), "without a grid there is nothing to ask");
    let named = command.env("GRID_MASTER", "grid.example").env("GRID_MEMBERS", "ns1.example ns2.example");
    let output = named.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    let log = std::fs::read_to_string(path("log")).expect("a log");
    let calls: Vec<Vec<&str>> = log.split("END\n").map(|call| call.lines().collect()).collect();
    let sent = |method: &str| {
        let is_it = |call: &&Vec<&str>| call.windows(2).any(|pair| pair == ["--request", method]);
        let call = calls.iter().find(is_it).unwrap_or_else(|| panic!("no {method}: {log}"));
        let at = call.iter().position(|word| *word == "--data").expect("a body") + 1;
        (call[call.len() - 1].to_owned(), serde_json::from_str::<Value>(call[at]).expect("JSON"))
    };
    let (url, body) = sent("PUT");
    assert_eq!(url, "https://grid.example/wapi/v2.12/zone_forward/ZG5z:azurecr.io/default");
    assert_eq!(body["forward_to"][1]["address"], "2001:db8::53");
    assert_eq!(body["forwarding_servers"][1]["name"], "ns2.example");
    assert!(body["forwarders_only"] == true && body["fqdn"].is_null(), "{body}");
    let (url, body) = sent("POST");
    assert_eq!(url, "https://grid.example/wapi/v2.12/zone_forward");
    assert!(body["fqdn"] == "privatelink.azurecr.io" && body["view"] == "default", "{body}");
}

#[test]
fn nft_and_squid_and_the_shell_take_the_texts() {
    if let Some(nft) = find("nft") {
        let output = fed(&nft, &["--check", "--file"], &example(&["allow-list", "--format", "nftables"]));
        // An ordinary user may not ask the kernel; what is malformed is told before.
        let said = stderr(&output);
        assert!(output.status.success() || said.contains("Operation not permitted"), "{said}");
    }
    if let Some(squid) = find("squid") {
        let text = example(&["allow-list", "--format", "squid"])
            + "http_access allow CONNECT hubdns_registries hubdns_registry_port\nhttp_access deny all\n";
        let output = fed(&squid, &["-k", "parse", "-f"], &text);
        assert!(output.status.success() && !stderr(&output).contains("ERROR"), "{output:?}");
    }
    let shell = Path::new("/bin/sh");
    let script = example(&["forwarder", "--for", "infoblox", "--server", "192.0.2.53"]);
    assert!(fed(shell, &["-n"], &script).status.success());
    let lines = example(&["allow-list", "--format", "no-proxy"]) + "echo \"$no_proxy $NO_PROXY\"\n";
    let said = stdout(&fed(shell, &[], &lines));
    assert_eq!(said.matches("contosoprod.azurecr.io").count(), 2, "{said}");
}
