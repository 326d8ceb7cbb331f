use std::fs;

use super::*;
use crate::sources::facts::{Fact, What};
use crate::wire::rdata;

const SOA: &str = "@ 3600 IN SOA ns.corp.example. admin.corp.example. 7 3600 600 86400 300\n";

fn read(files: &[(&str, &str)]) -> Result<Vec<Fact>, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let source = ZoneFile::new("corp.example".parse().unwrap(), dir.path().join(files[0].0), false);
    Ok(source.read()?.listings.remove(0).spread().facts)
}

fn lines(facts: &[Fact]) -> Vec<String> {
    let line = |fact: &Fact| {
        let at = fact.origin.rsplit('/').next().unwrap();
        match &fact.what {
            What::Zone(zone) => {
                let soa = zone.soa.as_ref().unwrap();
                format!("{} {} SOA {:?} {} ({at})", zone.apex, soa.ttl, soa.serial, soa.minimum)
            }
            What::Rrset(set) => {
                let data: Vec<String> =
                    set.rdatas.iter().map(|data| rdata::to_text(set.rtype, data)).collect();
                format!("{} {} {} {} ({at})", set.owner, set.ttl, set.rtype, data.join(", "))
            }
            other => panic!("{other:?}"),
        }
    };
    let mut lines: Vec<String> = facts.iter().map(line).collect();
    // The zone's own line stays first.
    lines.get_mut(1..).unwrap_or_default().sort();
    lines
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let facts = read(&[("zone", &format!("{SOA}{text}"))]).unwrap();
    let all = lines(&facts);
    assert_eq!(all[0], "corp.example 3600 SOA Some(7) 300 (zone:1)");
    assert_eq!(all[1..], *expected);
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    check_error_in(&[("zone", &format!("{SOA}{text}"))], expected);
}

#[track_caller]
fn check_error_in(files: &[(&str, &str)], expected: &str) {
    let error = read(files).unwrap_err().to_string();
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn rfc1035_origin_ttl_and_omitted_fields() {
    check(
        "$TTL 60\nA A 10.0.0.1\n  A 10.0.0.2\n$ORIGIN sub\nb 5 IN A 10.0.0.3\nc IN 6 A 10.0.0.4\n\
         $ORIGIN other.corp.example.\n@ MX 10 mail\n",
        &[
            "a.corp.example 60 A 10.0.0.1, 10.0.0.2 (zone:3)",
            "b.sub.corp.example 5 A 10.0.0.3 (zone:6)",
            "c.sub.corp.example 6 A 10.0.0.4 (zone:7)",
            "other.corp.example 60 MX 10 mail.other.corp.example. (zone:9)",
        ],
    );
}

#[test]
fn rfc1035_escapes_parentheses_comments_and_types() {
    check(
        "a\\.b 60 TXT ( \"x;y\" ; comment\n \"\\065\\\"\" )\n* 60 AAAA 2001:db8::1\n\
         _sip._tcp 60 SRV 1 2 3 t.example.\nu 60 TYPE65280 \\# 2 abcd\n",
        &[
            "*.corp.example 60 AAAA 2001:db8::1 (zone:4)",
            "_sip._tcp.corp.example 60 SRV 1 2 3 t.example (zone:5)",
            "a\\.b.corp.example 60 TXT \"x;y\" \"A\\\"\" (zone:2)",
            "u.corp.example 60 TYPE65280 \\# 2 ab cd (zone:6)",
        ],
    );
}

#[test]
fn bind_time_units_are_understood() {
    check(
        "$TTL 1h\na A 10.0.0.1\nb 1m30s A 10.0.0.1",
        &["a.corp.example 3600 A 10.0.0.1 (zone:3)", "b.corp.example 90 A 10.0.0.1 (zone:4)"],
    );
}

#[test]
fn rfc2181_an_rrset_has_one_ttl_and_no_duplicates() {
    check(
        "a 60 A 10.0.0.2\na 30 A 10.0.0.1\nA 90 A 10.0.0.2\n",
        &["a.corp.example 30 A 10.0.0.1, 10.0.0.2 (zone:2)"],
    );
}

#[test]
fn rfc1035_other_classes_are_errors_with_their_line() {
    check_error("\na 60 CH TXT x\n", "zone:3: different class: CH != IN");
}

#[test]
fn names_outside_the_zone_are_errors_with_their_line() {
    check_error(
        "\na.other.example. 60 A 10.0.0.1\n",
        "zone:3: a.other.example lies outside the zone corp.example",
    );
}

#[test]
fn rfc1034_a_cname_stands_alone() {
    check_error(
        "a 60 A 10.0.0.1\na 60 CNAME b\n",
        "zone:3: a.corp.example has a CNAME record beside its A record",
    );
    check_error("a 60 CNAME c\na 60 CNAME b\n", "a.corp.example has a second CNAME record");
    check("a 60 CNAME b\na 60 CNAME b\n", &["a.corp.example 60 CNAME b.corp.example. (zone:2)"]);
}

#[test]
fn exactly_one_soa_stands_at_the_apex() {
    check_error_in(&[("zone", "a 60 A 10.0.0.1\n")], "zone:1: there is no SOA record at corp.example");
    check_error(&SOA.replace(" 7 ", " 8 "), "there is a second SOA record");
    check_error_in(
        &[("zone", &SOA.replace('@', "x"))],
        "the SOA record stands at x.corp.example, not at corp.example",
    );
    check(SOA, &[]);
}

#[test]
fn syntax_errors_name_file_and_line() {
    check_error("a 60 A 10.0.0\n", "zone:2: expected IPv4 address");
    check_error("a 60 A 10.0.0.1 (\n", "zone:2: trailing tokens");
    check_error("a 60 A 10.0.0.1\nb 60 MX 10 )\n", "zone:3: unbalanced parens");
    check_error("a..b 60 A 10.0.0.1\n", "zone:2: the owner is no name");
}

#[test]
fn includes_keep_origin_and_default_ttl() {
    let zone = format!("{SOA}$TTL 7\n$INCLUDE more/a sub\n$INCLUDE b\nz A 10.0.0.9\n");
    let files =
        [("zone", zone.as_str()), ("more/a", "x A 10.0.0.1\n$TTL 8\n@ A 10.0.0.2\n"), ("b", "y A 10.0.0.3")];
    assert_eq!(
        lines(&read(&files).unwrap())[1..],
        [
            "sub.corp.example 8 A 10.0.0.2 (a:3)",
            "x.sub.corp.example 7 A 10.0.0.1 (a:1)",
            "y.corp.example 7 A 10.0.0.3 (b:1)",
            "z.corp.example 7 A 10.0.0.9 (zone:5)",
        ]
    );
}

#[test]
fn includes_outside_the_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("zones")).unwrap();
    fs::write(dir.path().join("secret"), "a 60 TXT secret\n").unwrap();
    let link = dir.path().join("zones/link");
    std::os::unix::fs::symlink(dir.path().join("secret"), link).unwrap();
    for target in ["../secret", "link", "/etc/passwd", "x/../../secret"] {
        let path = dir.path().join("zones/zone");
        fs::write(&path, format!("{SOA}$INCLUDE {target}\n")).unwrap();
        let source = ZoneFile::new("corp.example".parse().unwrap(), path, false);
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains("lies outside the directory") || error.contains("cannot include"), "{error}");
        assert!(error.contains("zone:2:"), "{error}");
    }
}

#[test]
fn includes_are_bounded() {
    check_error("$INCLUDE zone\n", "files include each other more than 8 deep");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone");
    fs::write(&path, format!("{SOA}a 60 A 10.0.0.1\n")).unwrap();
    let source = ZoneFile { max_bytes: 20, ..ZoneFile::new("corp.example".parse().unwrap(), path, false) };
    assert_eq!(source.read().unwrap_err().label(), "too_large");
}

#[test]
fn included_files_are_watched_even_if_the_zone_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone");
    fs::write(&path, format!("{SOA}$INCLUDE more\n")).unwrap();
    fs::write(dir.path().join("more"), "broken\n").unwrap();
    let source = ZoneFile::new("corp.example".parse().unwrap(), path.clone(), false);
    source.read().unwrap_err();
    let watched = source.watched_paths();
    assert_eq!(watched.len(), 2);
    assert!(watched[0] == path && watched[1].ends_with("more"), "{watched:?}");
}
