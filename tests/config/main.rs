//! The configuration: shipped files, documentation against code, and that no
//! text brings a panic. What is refused, and how it is said, is in
//! `problems.rs`.

mod problems;
mod problems_of_azure;
mod problems_of_governor;
mod problems_of_listeners;
mod problems_of_sources;
mod problems_of_upstreams;

use std::path::Path;

use hubdns::config::{
    Config, ConfigError, OVERRIDES, Overrides, Source, Upstreams, advice, keys, keys_table, summary,
};
use proptest::prelude::*;

const ALL_KEYS: &str = include_str!("../../config/hubdns.toml");
const QUICK_START: &str = include_str!("../../config/quickstart.toml");
const AZURE: &str = include_str!("../../config/azure.toml");
const HUB: &str = include_str!("../../config/hub.toml");
const ON_PREMISES: &str = include_str!("../../config/on-premises.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "t.toml", Path::new("/etc/hubdns"))
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// `hubdns.toml` with its defaults set: lines that start with `#` and no space.
fn with_defaults() -> String {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with([' ', '#']) => key,
        _ => line,
    };
    ALL_KEYS.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

/// With the examples, which are indented, as well.
fn with_examples() -> String {
    let uncomment = |line: &str| line.strip_prefix("#     ").unwrap_or(line).to_owned();
    with_defaults().lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

/// The value at a path like `forward.rules[].suffix`, the first of a list.
fn value_at<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    let mut at: Option<&toml::Value> = None;
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        at = match at {
            None => table.get(name),
            Some(value) => value.get(name),
        };
        if part.ends_with("[]") {
            at = at?.get(0);
        }
        at?;
    }
    at
}

#[test]
fn every_shipped_file_is_valid() {
    for text in [ALL_KEYS, QUICK_START, AZURE, HUB, ON_PREMISES, &with_defaults(), &with_examples()] {
        good(text);
    }
}

#[test]
fn commented_defaults_equal_the_code() {
    let (shown, code) = (good(&with_defaults()), good(""));
    assert_eq!(shown, code);
    assert_eq!(good(ALL_KEYS), code);
    assert_ne!(good(&with_examples()), code, "the examples were not uncommented");
}

#[test]
fn every_key_is_shown_with_its_default() {
    let table: toml::Table = with_examples().parse().unwrap();
    for doc in keys() {
        let shown = value_at(&table, &doc.key).unwrap_or_else(|| panic!("{} is not in hubdns.toml", doc.key));
        if doc.key.contains("[]") {
            continue;
        }
        let default: toml::Table = format!("key = {}", doc.default).parse().unwrap();
        assert_eq!(*shown, default["key"], "{}", doc.key);
    }
}

#[test]
fn hubdns_toml_shows_no_key_that_does_not_exist() {
    let mut text = with_examples();
    text.push_str("\n[server.none]\n");
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.problems().len(), 1, "{problems}");
}

#[test]
fn every_default_passes_its_own_checks() {
    // Defaults are read without their ranges; written out they are checked.
    for doc in keys().iter().filter(|doc| !doc.key.contains("[]")) {
        let text = format!("{} = {}", doc.key, doc.default);
        assert_eq!(good(&text), good(""), "{text}");
    }
}

#[test]
fn keys_keep_to_the_style() {
    let docs = keys();
    for doc in &docs {
        assert!(doc.doc.ends_with('.'), "{}: {}", doc.key, doc.doc);
        assert!(!doc.default.contains('\n') && !doc.doc.contains('\n'), "{}", doc.key);
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '[' | ']');
        assert!(doc.key.chars().all(is_plain), "{}", doc.key);
    }
    let unit = |key: &str| {
        ["_seconds", "_milliseconds", "_microseconds", "_bytes"].into_iter().find(|unit| key.ends_with(unit))
    };
    for a in &docs {
        for b in &docs {
            let table = |key: &str| key.rsplit_once('.').map(|(table, _)| table.to_owned());
            if let (true, Some(x), Some(y)) = (table(&a.key) == table(&b.key), unit(&a.key), unit(&b.key)) {
                assert_eq!(x, y, "{} and {} mix units", a.key, b.key);
            }
        }
    }
}

#[test]
fn defaults_are_closed() {
    let config = good("");
    for (address, admitted) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("10.1.2.3", true),
        ("172.31.0.1", true),
        ("192.168.1.1", true),
        ("fd00::1", true),
        ("fe80::1", true),
        ("::ffff:10.1.2.3", true),
        ("172.32.0.1", false),
        ("100.64.0.1", false),
        ("169.254.1.1", false),
        ("168.63.129.16", false),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(Config::admits(&config.server.allow, address.parse().unwrap()), admitted, "{address}");
    }
    assert!(config.admin.listen.iter().all(|address| address.ip().is_loopback()));
    assert!(Config::admits(&config.scope.allowed_prefixes, "100.64.0.1".parse().unwrap()));
}

#[test]
fn quick_start_is_on_loopback_and_unprivileged() {
    let config = Config::quick_start().unwrap();
    for address in config.server.listen.iter().chain(&config.admin.listen) {
        assert!(address.ip().is_loopback() && address.port() > 1023, "{address}");
    }
    assert!(config.server.allow.iter().all(|prefix| prefix.network().is_loopback()));
    assert!(!config.server.state_dir.starts_with("/var/lib"), "{}", config.server.state_dir.display());
    assert_eq!(config.sources, [Source::Example { name: "example".to_owned() }]);
    let default = &config.forward.rules[0];
    assert_eq!(config.forward.groups[default.group].upstreams, Upstreams::System);
}

#[test]
fn paths_start_at_the_directory_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hubdns.toml");
    let text = "[server]\nstate_dir = \"state\"\ncontrol_socket = \"\"\n\
                [[sources.az_json]]\nname = \"estate\"\npath = \"estate\"\n\
                [[sources.zone_file]]\nzone = \"corp.example\"\npath = \"/zones/corp\"\n";
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.server.state_dir, dir.path().join("state"));
    assert_eq!(config.server.control_socket, None);
    let estate = Source::AzJson { name: "estate".to_owned(), path: dir.path().join("estate") };
    let zone = "corp.example".parse().unwrap();
    let corp = Source::ZoneFile { zone, path: "/zones/corp".into(), fall_through: false };
    assert_eq!(config.sources, [estate, corp], "sources keep the order of the file");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let error = Config::load(&missing).unwrap_err();
    assert_eq!(error.label(), "unreadable");
    assert!(error.to_string().contains("none.toml"), "{error}");

    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"[server]\nworkers = 1 # \xff\n").unwrap();
    let error = Config::load(&binary).unwrap_err();
    assert_eq!(error.label(), "invalid");
    let problem = &error.problems()[0];
    assert_eq!((problem.line, problem.column), (Some(2), Some(15)), "{error}");
}

#[test]
fn workers_0_is_one_per_core() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(good("").server.workers, cores);
    assert_eq!(good("server.workers = 3").server.workers, 3);
}

#[test]
fn groups_that_nothing_names_are_left_out() {
    let names = |text: &str| -> Vec<String> {
        good(text).forward.groups.iter().map(|group| group.name.clone()).collect()
    };
    assert_eq!(names(""), ["azure"]);
    assert_eq!(names("forward.default = \"system\""), ["system"]);
    let text = "upstreams = [{ name = \"a\", addresses = [\"192.0.2.1\", \"2001:db8::1\", \"[2001:db8::2]\"] }]\n\
                forward.fallback = \"a\"";
    let forward = good(text).forward;
    assert_eq!(forward.groups[forward.fallback.unwrap()].name, "a");
    let addresses =
        ["192.0.2.1:53", "[2001:db8::1]:53", "[2001:db8::2]:53"].map(|text| text.parse().unwrap());
    assert_eq!(forward.groups[0].upstreams, Upstreams::addresses(&addresses));
}

#[test]
fn static_records_are_in_wire_form() {
    let text = r#"
        names.zones = ["corp.example"]
        [[sources.static]]
        name = "Contoso.azurecr.io."
        type = "a"
        values = ["10.0.0.4", "10.0.0.5"]
        [[sources.static]]
        name = "*.corp.example"
        type = "TXT"
        values = ['"a b" c']
        ttl_seconds = 0
    "#;
    let config = good(text);
    let [Source::Static(records)] = &config.sources[..] else { panic!("{:?}", config.sources) };
    assert_eq!(records[0].name, "contoso.azurecr.io".parse().unwrap());
    assert_eq!(*records[0].rdatas[1], [10, 0, 0, 5]);
    assert_eq!((records[0].ttl, records[1].ttl), (300, 0));
    assert_eq!(*records[1].rdatas[0], *b"\x03a b\x01c");
    assert_eq!(records[1].origin, "sources.static[1]");
}

#[test]
fn overrides_go_before_the_file() {
    let overrides = Overrides {
        listen: vec!["127.0.0.1:0".to_owned()],
        admin_listen: vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()],
        workers: Some("2".to_owned()),
        state_dir: Some("/tmp/state".into()),
        control_socket: Some("".into()),
        log_format: Some("json".to_owned()),
        log_level: Some("debug".to_owned()),
    };
    let text = "[server]\nworkers = 7\nlisten = [\"192.0.2.1:53\", \"192.0.2.2:53\"]\ndrain_seconds = 1\n";
    let config = Config::parse_with(text, "t.toml", Path::new("/"), &overrides).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(config.admin.listen.len(), 2);
    assert_eq!(config.server.workers, 2);
    assert_eq!(config.server.drain.as_secs(), 1, "what is not overridden stays");
    assert_eq!(config.server.state_dir, Path::new("/tmp/state"));
    assert_eq!(config.server.control_socket, None);
    assert_eq!(config.log.level, "debug");
    let config = Config::quick_start_with(&overrides).unwrap();
    assert_eq!(config.server.state_dir, Path::new("/tmp/state"));
}

#[test]
fn overrides_are_blamed_as_such() {
    let overrides = Overrides {
        listen: vec!["here".to_owned(), "127.0.0.1:53".to_owned()],
        workers: Some("many\n\"".to_owned()),
        ..Overrides::default()
    };
    // The file's own problem in the same place stays one.
    let text = "[server]\nworkers = 9999\n[log]\nlevel = \"loud\"\n";
    let error = Config::parse_with(text, "t.toml", Path::new("/"), &overrides).unwrap_err();
    let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{error}");
    assert!(lines[0].starts_with(&format!("{OVERRIDES}: server.")), "{error}");
    assert!(lines[1].starts_with(&format!("{OVERRIDES}: server.")), "{error}");
    assert_eq!(lines[2], "t.toml:2: server.workers: found 9999; expected a whole number from 0 to 1024");
    assert!(lines[3].starts_with("t.toml:4: log.level: "), "{error}");
}

#[test]
fn summary_names_what_runs() {
    let text = summary(&good(HUB));
    for part in [
        "10.0.0.4:53",
        "azurecr.io",
        "static: 2 RRsets",
        "Azure azure: 2 subscriptions",
        "corporate: 10.200.0.10:53",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for part in ["corp.example to corporate", ". to azure", "fallback   public"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(summary(&Config::quick_start().unwrap()).contains("example"));
}

#[test]
fn advice_names_what_is_hardly_meant() {
    let text = r#"
        [server]
        allow = ["0.0.0.0/0", "::/0"]
        [names]
        own_missing = "forward"
        [[sources.az_json]]
        name = "estate"
        path = "/nonexistent/estate"
        [[upstreams]]
        name = "unused"
        addresses = ["192.0.2.1"]
    "#;
    let remarks = advice(&good(text));
    let starts =
        ["server.allow: 0", "server.allow: ::", "names.own_missing:", "sources: /none", "upstreams: no rule"];
    assert_eq!(remarks.len(), starts.len(), "{remarks:?}");
    assert!(remarks.iter().zip(starts).all(|(remark, start)| remark.starts_with(start)), "{remarks:?}");
    assert_eq!(advice(&Config::quick_start().unwrap()), [""; 0]);
}

#[test]
fn keys_table_has_a_row_for_each_key() {
    let table = keys_table();
    for doc in keys() {
        let row = table.lines().find(|row| row.starts_with(&format!("| `{}` | ", doc.key)));
        let row = row.unwrap_or_else(|| panic!("{} has no row", doc.key));
        assert!(row.contains(&doc.default) && row.matches(" | ").count() == 2, "{row}");
    }
}

/// Text that is nearly a configuration: keys of ours with values of all sorts.
fn nearly() -> impl Strategy<Value = String> {
    let paths: Vec<String> = keys().into_iter().map(|doc| doc.key).collect();
    let value = prop_oneof![
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("[[]]".to_owned()),
        Just("[{}]".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("nan".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        "[a-z0-9.:/@*-]{0,20}".prop_map(|text| format!("\"{text}\"")),
        "[a-z0-9.:/*-]{0,20}".prop_map(|text| format!("[\"{text}\", \"10.0.0.0/8\", \"azurecr.io\"]")),
        "\\PC{0,20}".prop_map(|text| format!("[{text:?}]")),
    ];
    let line = (prop::sample::select(paths), value).prop_map(|(path, value)| match path.split_once("[].") {
        Some((list, key)) => format!("{list} = [{{ {key} = {value} }}]"),
        None => format!("{path} = {value}"),
    });
    prop::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
}

/// A static record whose data is any text.
fn any_record() -> impl Strategy<Value = String> {
    let rtype =
        prop::sample::select(vec!["A", "TXT", "MX", "SRV", "CAA", "HTTPS", "LOC", "NAPTR", "TYPE65280"]);
    let data = prop_oneof!["\\PC{0,40}", "[0-9a-z\"\\\\#(); .]{0,40}"];
    (rtype, data).prop_map(|(rtype, data)| {
        let value = toml::Value::String(data);
        format!("[[sources.static]]\nname = \"x.privatelink.azurecr.io\"\ntype = \"{rtype}\"\nvalues = [{value}]\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_values_panic(text in nearly()) {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            for problem in error.problems() {
                let line = problem.to_string();
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(!problem.expected.is_empty() && !problem.found.is_empty(), "{line}");
            }
        }
    }

    #[test]
    fn no_record_panics(text in any_record()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_damage_panics(at in 0usize..20_000, len in 0usize..40, insert in "\\PC{0,8}") {
        let mut text = with_examples();
        let floor = |text: &str, mut at: usize| {
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(&text, at.min(text.len()));
        let end = floor(&text, (start + len).min(text.len()));
        text.replace_range(start..end, &insert);
        let _ = parse(&text);
    }
}

#[test]
fn upstreams_are_read_in_all_their_forms() {
    let text = "[[upstreams]]\nname = \"a\"\naddresses = [\"192.0.2.1\", \"tcp://192.0.2.1\", \"tls://192.0.2.1#dns.example\"]\n\
                [[upstreams.servers]]\nurl = \"https://DNS.example/q\"\naddress = \"2001:db8::1\"\n\
                pins = [\"FHkyLhvI0n70E47cJlRTamTrnYVcsYdjUGbr79CfAVI=\"]\nca_file = \"ca.pem\"\ntrusted = true\n\
                [forward]\ndefault = \"a\"\n[forward.streams]\nidle_milliseconds = 500\nmax_connections = 1";
    let directory = problems_of_upstreams::directory(&[("ca.pem", &problems_of_upstreams::certificate())]);
    let forward = Config::parse(text, "t.toml", directory.path()).unwrap().forward;
    let Upstreams::Servers(servers) = &forward.groups[0].upstreams else { panic!("from the file") };
    let labels: Vec<String> = servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        labels,
        [
            "192.0.2.1:53",
            "tcp://192.0.2.1:53",
            "tls://192.0.2.1:853#dns.example",
            "https://[2001:db8::1]:443/q#dns.example"
        ]
    );
    let last = &servers[3];
    assert_eq!(last.ca_file.as_deref(), Some(&*directory.path().join("ca.pem")));
    assert_eq!((last.pins.len(), last.trusted, servers[2].trusted), (1, true, false));
    assert_eq!(forward.groups[0].upstreams.plain_addresses().len(), 2, "those that answer unencrypted");
    assert_eq!((forward.streams.idle.as_millis(), forward.streams.max_connections), (500, 1));
    assert_eq!(good("").forward.streams, hubdns::config::Streams::default());
}
