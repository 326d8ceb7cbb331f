//! What is wrong with a configuration and how it is said: one line per
//! problem, with line, key, what was found and what is allowed.

use std::path::Path;

use hubdns::config::Config;

use super::problems_of_sources::record;

/// Parses `text`. Each of `expected` is the start of one problem, from the line on.
pub(crate) fn check(text: &str, expected: &[&str]) {
    let shown = match Config::parse(text, "t.toml", Path::new("/etc/hubdns")) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let lines: Vec<_> = shown.lines().collect();
    let fits =
        |(line, start): (&&str, &&str)| line.strip_prefix("t.toml").is_some_and(|l| l.starts_with(start));
    assert!(
        lines.len() == expected.len() && lines.iter().zip(expected).all(fits),
        "\n--- text\n{text}\n--- found\n{shown}\n--- expected\n{}\n",
        expected.join("\n")
    );
    for line in lines {
        assert!(line.contains(": found ") && line.contains("; expected "), "{line}");
    }
}

#[test]
fn what_is_no_toml_is_one_problem() {
    check("[server\nworkers = 1", &[":1:8: found text that is no TOML ("]);
    check("workers = = 1", &[":1:11: found text"]);
    check("[server]\nworkers = 1\nworkers = 2", &[":3:1: found text that is no TOML (duplicate key)"]);
    check("a = \"\u{e9}\" b", &[":1:9: found text"]);
}

#[test]
fn unknown_keys_name_the_nearest() {
    let text = "[server]\nworkesr = 1";
    check(text, &[":2: server.workesr: found an unknown key; expected the nearest known key, workers"]);
    check(
        "[sevrer]\nworkers = 1",
        &[":1: sevrer: found an unknown key; expected the nearest known key, server"],
    );
    check(
        "[server]\nttl_cap_seconds = 1",
        &[
            ":2: server.ttl_cap_seconds: found an unknown key; expected that key in its own place, names.ttl_cap_seconds",
        ],
    );
    check(
        "[udp]\nzzz = 1",
        &[":2: udp.zzz: found an unknown key; expected one of max_bytes, receive_buffer_bytes,"],
    );
    check("xyzzy = 1", &[":1: xyzzy: found an unknown key; expected one of the tables server, worker, udp,"]);
    check("[server]\n\"a\\nb.c\" = 1", &[":2: server.\"a\\nb.c\": found an unknown key"]);
    check(
        "names.special.onoin = true",
        &[":1: names.special.onoin: found an unknown key; expected the nearest"],
    );
    check(
        "[[upstreams]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nadress = 1",
        &[":4: upstreams[0].adress: found an unknown key; expected the nearest known key, addresses"],
    );
}

#[test]
fn wrong_types() {
    check(
        "[server]\nworkers = \"many\"",
        &[":2: server.workers: found \"many\"; expected a whole number from 0 to 1024"],
    );
    check("[server]\nworkers = 1.5", &[":2: server.workers: found 1.5;"]);
    check(
        "[server]\nlisten = \"10.0.0.4:53\"",
        &[":2: server.listen: found \"10.0.0.4:53\"; expected a list,"],
    );
    check("[server]\nlisten = [53]", &[":2: server.listen[0]: found 53; expected an address and a port"]);
    check("server = 5", &[":1: server: found 5; expected a table"]);
    check(
        "[forward]\nrules = { suffix = \"a\" }",
        &[":2: forward.rules: found a table; expected a list of tables"],
    );
    check("upstreams = [1]", &[":1: upstreams[0]: found 1; expected a table"]);
    check(
        "[names.special]\nonion = \"yes\"",
        &[":2: names.special.onion: found \"yes\"; expected true or false"],
    );
    check("[log]\nformat = []", &[":2: log.format: found an empty list; expected \"text\" or \"json\""]);
    check("[log]\nlevel = 2020-01-01", &[":2: log.level: found the time 2020-01-01;"]);
    check("[server]\nstate_dir = 1", &[":2: server.state_dir: found 1; expected a path"]);
}

#[test]
fn values_out_of_range() {
    check(
        "[server]\nworkers = 1025",
        &[":2: server.workers: found 1025; expected a whole number from 0 to 1024"],
    );
    check("[server]\nworkers = -1", &[":2: server.workers: found -1;"]);
    check(
        "[udp]\nmax_bytes = 511",
        &[":2: udp.max_bytes: found 511; expected a whole number from 512 to 4096"],
    );
    check("[udp]\nmax_bytes = 65537", &[":2: udp.max_bytes: found 65537;"]);
    check("[cache.ttl]\nservfail_seconds = 31", &[":2: cache.ttl.servfail_seconds: found 31;"]);
    check(
        "[cache]\nmax_bytes = 1",
        &[":2: cache.max_bytes: found 1; expected 0 for none, or at least 65536"],
    );
    check(
        "[server]\ndenied = \"ignore\"",
        &[":2: server.denied: found \"ignore\"; expected \"refuse\" or \"drop\""],
    );
    check(
        "[names]\nclouds = [\n  \"public\",\n  \"mars\",\n]",
        &[":4: names.clouds[1]: found \"mars\"; expected \"public\""],
    );
    check("[log]\nlevel = \"loud\"", &[":2: log.level: found \"loud\"; expected off, error,"]);
    check("[log]\nlevel = \"info,hubdns::sync=loud\"", &[":2: log.level:"]);
}

#[test]
fn addresses_and_prefixes() {
    check("[server]\nlisten = [\"10.0.0.4\"]", &[":2: server.listen[0]: found \"10.0.0.4\";"]);
    check("[server]\nlisten = []", &[":2: server.listen: found an empty list; expected at least one item"]);
    check("[server]\nlisten = [\"224.0.0.1:53\"]", &[":2: server.listen[0]: found 224.0.0.1:53;"]);
    check(
        "[server]\nlisten = [\"[::ffff:10.0.0.4]:53\"]",
        &[":2: server.listen[0]: found [::ffff:10.0.0.4]:53;"],
    );
    check(
        "[server]\nlisten = [\"127.0.0.1:53\", \"127.0.0.1:53\"]",
        &[
            ":2: server.listen[1]: found 127.0.0.1:53; expected an address and port that server.listen[0] does not cover",
        ],
    );
    check(
        "[server]\nlisten = [\"127.0.0.1:53\", \"0.0.0.0:53\"]",
        &[":2: server.listen[1]: found 0.0.0.0:53;"],
    );
    check("[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]", &[]);
    check("[server]\nlisten = [\"127.0.0.1:53\", \"[::]:53\"]", &[]);
    check(
        "[server]\nlisten = [\"127.0.0.1:9153\"]\n[admin]\nlisten = [\"127.0.0.1:9153\"]",
        &[
            ":4: admin.listen[0]: found 127.0.0.1:9153; expected an address and port that server.listen[0] does not cover",
        ],
    );
    check(
        "[server]\nallow = [\"10.1.2.3/8\"]",
        &[
            ":2: server.allow[0]: found \"10.1.2.3/8\"; expected a prefix, such as \"10.0.0.0/8\" or \"fd00::/8\": without \
         host bits, which would be \"10.0.0.0/8\"",
        ],
    );
    check(
        "[server]\nallow = [\"10.0.0.0/33\", \"10.0.0.0\"]",
        &[":2: server.allow[0]: found \"10.0.0.0/33\";", ":2: server.allow[1]: found \"10.0.0.0\";"],
    );
    check("[server]\nallow = []", &[":2: server.allow: found an empty list;"]);
    check("[server]\nallow = [\"10.0.0.0/8\", \"10.0.0.0/8\"]", &[":2: server.allow[1]: found 10.0.0.0/8;"]);
    check("[admin]\nallow = []", &[":2: admin.allow: found an empty list;"]);
    check("[admin]\nlisten = []\nallow = []", &[]);
    check("[scope]\nallowed_prefixes = []", &[":2: scope.allowed_prefixes: found an empty list;"]);
    check(
        "[scope]\nvnets = [\"vnet-hub\"]",
        &[":2: scope.vnets[0]: found \"vnet-hub\"; expected a virtual network's"],
    );
}

#[test]
fn paths() {
    check("[server]\nstate_dir = \"\"", &[":2: server.state_dir: found an empty path;"]);
    check(
        &format!("[server]\ncontrol_socket = \"/{}\"", "x".repeat(107)),
        &[":2: server.control_socket: found a path of 108 bytes; expected at most 107 bytes"],
    );
    check(&format!("[server]\ncontrol_socket = \"/{}\"", "x".repeat(106)), &[]);
    check("[server]\nstate_dir = \"a\\u0000b\"", &[":2: server.state_dir: found \"a\\0b\";"]);
}

#[test]
fn names_and_groups_that_may_use_the_admin_surface() {
    let group = |text: &str| format!("[server]\ncontrol_group = \"{text}\"");
    for fine in ["hubdns-operators", "800", "DNS.Admins", "ops@corp.example"] {
        check(&group(fine), &[]);
    }
    for odd in ["-x", "a b", "a:b", "a/b"] {
        let expected =
            format!(":2: server.control_group: found \"{odd}\"; expected the name or the number of");
        check(&group(odd), &[&expected]);
    }
    check(
        "[server]\ncontrol_socket = \"\"\ncontrol_group = \"ops\"",
        &[":3: server.control_group: found \"ops\"; expected server.control_socket not to be empty"],
    );
    check("[admin]\nhosts = [\"hubdns.corp.example\", \"Other.Example.\"]", &[]);
    for odd in ["", ".", "hubdns.example:9153", "http://hubdns.example", "*.example"] {
        let expected = format!(":2: admin.hosts[0]: found \"{odd}\"; expected a host name without a port");
        check(&format!("[admin]\nhosts = [\"{odd}\"]"), &[&expected]);
    }
    check(
        "[admin]\nhosts = [\"a.example\", \"A.example.\"]",
        &[":2: admin.hosts[1]: found a.example; expected a value other than that of admin.hosts[0]"],
    );
}

#[test]
fn values_that_do_not_fit_each_other() {
    check(
        "[names]\nttl_floor_seconds = 60\nttl_cap_seconds = 30",
        &[":2: names.ttl_floor_seconds: found 60; expected at most names.ttl_cap_seconds, which is 30"],
    );
    check(
        "[forward]\nclient_deadline_milliseconds = 800",
        &[
            ":2: forward.client_deadline_milliseconds: found 800; expected more than forward.resend_milliseconds, which is 800",
        ],
    );
    check(
        "[forward]\nexchange_deadline_milliseconds = 1000",
        &[":2: forward.exchange_deadline_milliseconds: found 1000;"],
    );
    check("[cache.ttl]\nmin_seconds = 60\nmax_seconds = 59", &[":2: cache.ttl.min_seconds: found 60;"]);
    check(
        "[tcp]\nmax_connections = 10\nmax_connections_per_client = 11",
        &[":3: tcp.max_connections_per_client: found 11; expected at most tcp.max_connections, which is 10"],
    );
    check("[tcp]\nmax_connections = 10", &[]);
    check("[tcp]\ntotal_timeout_seconds = 5", &[":2: tcp.total_timeout_seconds: found 5; expected at least"]);
}

#[test]
fn names_and_zones() {
    check("[names]\nclouds = []", &[":2: names.clouds: found an empty list;"]);
    check("[names]\nclouds = [\"public\", \"public\"]", &[":2: names.clouds[1]: found \"public\";"]);
    check(
        "[names]\nzones = [\"a..b\"]",
        &[":2: names.zones[0]: found \"a..b\"; expected a domain name: a label is empty"],
    );
    check(
        "[names]\nzones = [\"https://corp.example\"]",
        &[":2: names.zones[0]: found \"https://corp.example\"; expected a domain name: ':'"],
    );
    check(
        "[names]\nzones = [\"b\u{fc}ro.example\"]",
        &[":2: names.zones[0]: found \"b\u{fc}ro.example\"; expected a domain name: '\u{fc}' is not ASCII"],
    );
    check(
        "[names]\nzones = [\"corp.example\", \"Corp.Example.\"]",
        &[":2: names.zones[1]: found corp.example;"],
    );
    check(
        "[names]\nzones = [\"azurecr.io\"]",
        &[":2: names.zones[0]: found azurecr.io; expected a zone that does not cover"],
    );
    check("[names]\nzones = [\"io\"]", &[":2: names.zones[0]: found io;"]);
    check(
        "[names]\nzones = [\"privatelink.azurecr.io\"]",
        &[":2: names.zones[0]: found privatelink.azurecr.io;"],
    );
    check("[names]\nzones = [\"westeurope.data.privatelink.azurecr.io\"]", &[]);
    check(
        "[names]\nzones = [\"a.localhost\"]",
        &[":2: names.zones[0]: found a.localhost; expected a zone outside localhost"],
    );
    check("[names]\nzones = [\"a.localhost\"]\nspecial.localhost = false", &[]);
    check("[names]\nzones = [\"*.corp.example\"]", &[":2: names.zones[0]: found *.corp.example;"]);
    check(
        "[names]\nown_registries = [\"contoso\"]",
        &[
            ":2: names.own_registries[0]: found contoso; expected a registry's login name, such as contoso.azurecr.io",
        ],
    );
    check(
        "[names]\nclouds = [\"china\"]\nown_registries = [\"contoso.azurecr.io\"]",
        &[":3: names.own_registries[0]:"],
    );
    check(
        "[names]\nown_registries = [\"contoso.privatelink.azurecr.io\"]",
        &[":2: names.own_registries[0]:"],
    );
}

#[test]
fn all_problems_at_once_in_the_order_of_the_file() {
    let text = r#"
[server]
workers = "many"
listen = ["10.0.0.4", "10.0.0.4:53"]
wrokers = 3

[forward]
default = "corporate"
resend_milliseconds = 5000

[names]
ttl_floor_seconds = 60
ttl_cap_seconds = 30
clouds = ["moon"]

[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.0.0"]

[cahce]
"#;
    check(
        text,
        &[
            ":3: server.workers: found \"many\"; expected a whole number from 0 to 1024",
            ":4: server.listen[0]: found \"10.0.0.4\";",
            ":5: server.wrokers: found an unknown key; expected the nearest known key, workers",
            ":8: forward.default: found \"corporate\";",
            ":9: forward.resend_milliseconds: found 5000; expected less than forward.client_deadline_milliseconds",
            ":12: names.ttl_floor_seconds: found 60;",
            ":14: names.clouds[0]: found \"moon\";",
            ":19: sources.static[0].values[0]: found \"10.0.0\";",
            ":21: cahce: found an unknown key; expected the nearest known key, cache",
        ],
    );
}

#[test]
fn a_bad_value_is_blamed_once() {
    // Placeholders for what could not be read bring no problems of their own.
    check("[cache.ttl]\nmin_seconds = 60\nmax_seconds = \"a\"", &[":3: cache.ttl.max_seconds:"]);
    check("[server]\nlisten = [\"a\", \"b\"]", &[":2: server.listen[0]:", ":2: server.listen[1]:"]);
    check("[names]\nzones = [\"a..b\", \"c..d\"]", &[":2: names.zones[0]:", ":2: names.zones[1]:"]);
    check(&record("a..b", "A", "[\"10.0.0.4\"]"), &[":2: sources.static[0].name:"]);
    check(
        "[[forward.rules]]\nsuffix = \"a..b\"\nupstream = \"x\"",
        &[":2: forward.rules[0].suffix:", ":3: forward.rules[0].upstream:"],
    );
}

#[test]
fn text_from_outside_is_escaped_and_cut() {
    check("[log]\nformat = \"a\\u001b[31m\\nb\"", &[":2: log.format: found \"a\\u{1b}[31m\\nb\";"]);
    let long = format!("[log]\nformat = \"{}\"", "x".repeat(500));
    check(&long, &[&format!(":2: log.format: found \"{}\"...;", "x".repeat(60))]);
}
