//! What is wrong with sources, upstreams and rules.

use super::problems::check;

pub(crate) fn record(name: &str, rtype: &str, values: &str) -> String {
    format!("[[sources.static]]\nname = \"{name}\"\ntype = \"{rtype}\"\nvalues = {values}\n")
}

#[test]
fn static_records() {
    check(
        "[[sources.static]]\n",
        &[
            ":1: sources.static[0].name: found no such key; expected a domain name",
            ":1: sources.static[0].type: found no such key;",
            ":1: sources.static[0].values: found no such key;",
        ],
    );
    let a = |name: &str| record(name, "A", "[\"10.0.0.4\"]");
    for name in
        ["contoso.azurecr.io", "contoso.westeurope.data.azurecr.io", "contoso.westeurope.geo.azurecr.us"]
    {
        check(&a(name), &[]);
    }
    check(&a("*.privatelink.azurecr.cn"), &[]);
    check(
        &a("www.example.org"),
        &[":2: sources.static[0].name: found www.example.org; expected a name below azurecr.io,"],
    );
    check(
        &a("a.b.azurecr.io"),
        &[":2: sources.static[0].name: found a.b.azurecr.io; expected REGISTRY.azurecr.io,"],
    );
    for name in ["data.azurecr.io", "privatelink.westeurope.data.azurecr.io"] {
        check(
            &a(name),
            &[&format!(":2: sources.static[0].name: found {name}; expected REGISTRY.azurecr.io,")],
        );
    }
    check(&a("azurecr.io"), &[":2: sources.static[0].name: found azurecr.io;"]);
    check(
        &record("contoso.azurecr.io", "TXT", "[\"a\"]"),
        &[":3: sources.static[0].type: found TXT; expected A or AAAA"],
    );
    check(&record("contoso.privatelink.azurecr.io", "TXT", "[\"a\"]"), &[]);
    for rtype in ["SOA", "NS", "ANY", "OPT", "RRSIG", "TYPE0", "DNAME"] {
        check(&record("x.privatelink.azurecr.io", rtype, "[\"a\"]"), &[":3: sources.static[0].type: found "]);
    }
    check(
        &record("contoso.azurecr.io", "ADDRESS", "[\"10.0.0.4\"]"),
        &[":3: sources.static[0].type: found \"ADDRESS\";"],
    );
    check(&record("contoso.azurecr.io", "A", "[]"), &[":4: sources.static[0].values: found an empty list;"]);
    check(
        &record("contoso.azurecr.io", "A", "[\"10.0.0.256\", \"::1\"]"),
        &[
            ":4: sources.static[0].values[0]: found \"10.0.0.256\"; expected the data of one A record",
            ":4: sources.static[0].values[1]: found \"::1\"; expected the data of one A record",
        ],
    );
    check(
        &record("contoso.azurecr.io", "A", "[\"10.0.0.4\", \"10.0.0.4\"]"),
        &[":4: sources.static[0].values[1]: found \"10.0.0.4\"; expected each record of an RRset once"],
    );
    check(
        &record("contoso.azurecr.io", "A", "[\"192.0.2.1\"]"),
        &[
            ":4: sources.static[0].values[0]: found \"192.0.2.1\"; expected an address within scope.allowed_prefixes",
        ],
    );
    check(&record("contoso.azurecr.io", "AAAA", "[\"2001:db8::1\"]"), &[":4: sources.static[0].values[0]:"]);
}

#[test]
fn rfc2181_one_rrset_and_no_data_beside_a_cname() {
    let link = "x.privatelink.azurecr.io";
    let (a, cname) = (record(link, "A", "[\"10.0.0.4\"]"), record(link, "CNAME", "[\"y.example\"]"));
    check(
        &format!("{a}{cname}"),
        &[":7: sources.static[1].type: found CNAME beside A in sources.static[0];"],
    );
    check(&format!("{cname}{a}"), &[":7: sources.static[1].type: found A beside CNAME"]);
    check(
        &format!("{a}{a}"),
        &[":6: sources.static[1].name: found x.privatelink.azurecr.io A a second time;"],
    );
    let public = record("x.azurecr.io", "A", "[\"10.0.0.5\"]");
    check(&format!("{a}{public}"), &[":6: sources.static[1].name: found x.azurecr.io A a second time;"]);
    check(
        &record(link, "CNAME", "[\"y.example\", \"z.example\"]"),
        &[":4: sources.static[0].values: found several"],
    );
    check(
        &record("privatelink.azurecr.io", "CNAME", "[\"y.example\"]"),
        &[":2: sources.static[0].name: found privatelink.azurecr.io; expected a name below the apex"],
    );
}

#[test]
fn zone_files_and_az_output() {
    let file =
        |zone: &str, path: &str| format!("[[sources.zone_file]]\nzone = \"{zone}\"\npath = \"{path}\"\n");
    check(
        &format!("{}{}", file("corp.example", "a"), file("corp.example", "a")),
        &[
            ":5: sources.zone_file[1].zone: found corp.example; expected a zone other than that of sources.zone_file[0]",
            ":6: sources.zone_file[1].path: found \"a\"; expected a file other than",
        ],
    );
    for zone in ["privatelink.azurecr.io", "azurecr.io", "io", "westeurope.data.privatelink.azurecr.io"] {
        check(
            &file(zone, "a"),
            &[&format!(":2: sources.zone_file[0].zone: found {zone}; expected fall_through = true")],
        );
        check(&format!("{}fall_through = true", file(zone, "a")), &[]);
    }
    check(&file("contoso.azurecr.io", "a"), &[]);
    check(&file(".", "a"), &[":2: sources.zone_file[0].zone: found the root;"]);
    check(&file("corp.example", ""), &[":3: sources.zone_file[0].path: found an empty path;"]);
    check(
        &format!("names.zones = [\"corp.example\"]\n{}", file("corp.example", "a")),
        &[":3: sources.zone_file[0].zone: found corp.example; expected a zone other than names.zones[0]"],
    );
    let az = |name: &str, rest: &str| format!("[[sources.az_json]]\nname = \"{name}\"\n{rest}\n");
    check(
        &az("Estate 1", "path = \"a\""),
        &[":2: sources.az_json[0].name: found \"Estate 1\"; expected 1 to 63"],
    );
    check(&az("a", ""), &[":1: sources.az_json[0].path: found no such key; expected a path"]);
    check(
        &az("a", "embedded = true\npath = \"a\""),
        &[":4: sources.az_json[0].path: found \"a\"; expected no path"],
    );
    check(
        &format!("{}{}", az("a", "path = \"x\""), az("a", "path = \"x\"")),
        &[
            ":5: sources.az_json[1].name: found \"a\"; expected a name other than",
            ":6: sources.az_json[1].path: found \"x\"; expected a path other than",
        ],
    );
}

#[test]
fn upstreams_and_rules() {
    let group = |name: &str, addresses: &str| {
        format!("[[upstreams]]\nname = \"{name}\"\naddresses = [{addresses}]\n")
    };
    check(
        &group("azure", "\"192.0.2.1\""),
        &[":2: upstreams[0].name: found \"azure\"; expected a name other than the built-in"],
    );
    check(
        &format!("{0}{0}", group("a", "\"192.0.2.1\"")),
        &[":5: upstreams[1].name: found \"a\"; expected a name other"],
    );
    check(&group("A b", "\"192.0.2.1\""), &[":2: upstreams[0].name: found \"A b\";"]);
    check(&group("a", ""), &[":3: upstreams[0].addresses: found an empty list;"]);
    check(&group("a", "\"dns.example\""), &[":3: upstreams[0].addresses[0]: found \"dns.example\";"]);
    check(
        &group("a", "\"192.0.2.1:0\""),
        &[":3: upstreams[0].addresses[0]: found 192.0.2.1:0; expected a port from 1"],
    );
    check(
        &group("a", "\"0.0.0.0\", \"224.0.0.1\""),
        &[
            ":3: upstreams[0].addresses[0]: found 0.0.0.0:53;",
            ":3: upstreams[0].addresses[1]: found 224.0.0.1:53;",
        ],
    );
    check(
        &group("a", "\"192.0.2.1\", \"192.0.2.1:53\""),
        &[":3: upstreams[0].addresses[1]: found 192.0.2.1:53;"],
    );
    // The default listener covers all addresses of the host, loopback among them.
    check(
        &group("a", "\"127.0.0.1\", \"[::1]:53\", \"127.0.0.1:5353\""),
        &[
            ":3: upstreams[0].addresses[0]: found 127.0.0.1:53; expected an address other than our own server.listen[0]",
            ":3: upstreams[0].addresses[1]: found [::1]:53; expected an address other than our own server.listen[1]",
        ],
    );
    check(
        &format!("server.listen = [\"10.0.0.4:53\"]\n{}", group("a", "\"10.0.0.4\", \"127.0.0.1\"")),
        &[":4: upstreams[0].addresses[0]: found 10.0.0.4:53; expected an address other than our own"],
    );

    encrypted_upstreams();

    let rule = |suffix: &str, group: &str| {
        format!("[[forward.rules]]\nsuffix = \"{suffix}\"\nupstream = \"{group}\"\n")
    };
    check(
        "[forward]\ndefault = \"corporate\"",
        &[":2: forward.default: found \"corporate\"; expected the name of a group: azure, system"],
    );
    check(&rule("corp.example", "b"), &[":3: forward.rules[0].upstream: found \"b\";"]);
    check(
        &format!("{0}{0}", rule("corp.example", "system")),
        &[":5: forward.rules[1].suffix: found corp.example;"],
    );
    check(&rule(".", "system"), &[":2: forward.rules[0].suffix: found the root; expected forward.default"]);
    check(&rule("*.corp.example", "system"), &[":2: forward.rules[0].suffix: found *.corp.example;"]);
    check(
        &rule("a.onion", "system"),
        &[":2: forward.rules[0].suffix: found a.onion; expected names that are forwarded"],
    );
    check(&rule("10.in-addr.arpa", "system"), &[]);
    check(
        &format!("names.special.private_reverse = true\n{}", rule("1.10.in-addr.arpa", "system")),
        &[":3: forward.rules[0].suffix: found 1.10.in-addr.arpa;"],
    );
    let zone = "[[sources.zone_file]]\nzone = \"corp.example\"\npath = \"a\"\n";
    check(
        &format!("{zone}{}", rule("a.corp.example", "system")),
        &[":5: forward.rules[0].suffix: found a.corp.example;"],
    );
    check(
        "[forward]\nfallback = \"azure\"",
        &[":2: forward.fallback: found \"azure\"; expected a group that some names"],
    );
    check(&format!("[forward]\nfallback = \"azure\"\n{}", rule("azurecr.io", "system")), &[]);
}

fn encrypted_upstreams() {
    let of = |addresses: &str| format!("[[upstreams]]\nname = \"a\"\naddresses = [{addresses}]\n");
    let at = ":3: upstreams[0].addresses[0]: found";
    check(
        "[[upstreams]]\nname = \"a\"",
        &[":1: upstreams[0].addresses: found no such key; expected at least one"],
    );
    check(&of("\"quic://192.0.2.1\""), &[&format!("{at} \"quic://192.0.2.1\";")]);
    check(&of("\"tcp://192.0.2.1#dns.example\""), &[&format!("{at} \"tcp://192.0.2.1#dns.example\";")]);
    check(&of("\"tls://192.0.2.1/x\""), &[&format!("{at} \"tls://192.0.2.1/x\";")]);
    check(
        &of("\"tls://dns.example\""),
        &[&format!("{at} \"dns.example\"; expected an address; for a name,")],
    );
    check(&of("\"tls://0.0.0.0\""), &[&format!("{at} 0.0.0.0:853; expected the address of one host")]);
    check(
        &of("\"tls://192.0.2.1\", \"tls://192.0.2.1:853\""),
        &[":3: upstreams[0].addresses[1]: found tls://192.0.2.1:853; expected a value other than"],
    );

    let server = |keys: &str| format!("[[upstreams]]\nname = \"a\"\n[[upstreams.servers]]\n{keys}\n");
    let key = |line: usize, key: &str| format!(":{line}: upstreams[0].servers[0].{key}: found");
    check(&server("pins = []"), &[":3: upstreams[0].servers[0].url: found no such key"]);
    check(
        &server("url = \"https://dns.example/dns-query\""),
        &[":3: upstreams[0].servers[0].address: found no address; expected the address of dns.example"],
    );
    check(
        &server("url = \"tls://dns.example\"\naddress = \"192.0.2.1:853\""),
        &[&format!("{} \"192.0.2.1:853\"; expected the address of dns.example without", key(5, "address"))],
    );
    check(
        &server("url = \"tls://192.0.2.1\"\naddress = \"192.0.2.1\""),
        &[&format!("{} \"192.0.2.1\"; expected no address", key(5, "address"))],
    );
    check(
        &server("url = \"tls://192.0.2.1#a.example\"\nname = \"b.example\""),
        &[&format!("{} \"b.example\"; expected no name", key(5, "name"))],
    );
    check(
        &server("url = \"tls://192.0.2.1\"\nname = \"192.0.2.1\""),
        &[&format!("{} \"192.0.2.1\"; expected a host name", key(5, "name"))],
    );
    check(
        &server("url = \"tls://192.0.2.1\"\npins = [\"AAAA\"]"),
        &[&format!("{} \"AAAA\"; expected the SHA-256 digest", key(5, "pins[0]"))],
    );
    check(
        &server("url = \"tcp://192.0.2.1\"\ntrusted = true\nca_file = \"x\""),
        &[
            &format!("{} a value for tcp; expected none", key(5, "trusted")),
            &format!("{} a value for tcp; expected none", key(6, "ca_file")),
        ],
    );
    check(
        &format!(
            "{}addresses = [\"tls://192.0.2.1\"]\n{}",
            "[[upstreams]]\nname = \"a\"\n", "[[upstreams.servers]]\nurl = \"tls://192.0.2.1\"\n"
        ),
        &[":5: upstreams[0].servers[0].url: found tls://192.0.2.1:853; expected an upstream that the group"],
    );
    check(
        "forward.streams.connect_milliseconds = 2400",
        &[":1: forward.streams.connect_milliseconds: found 2400; expected less than forward.client_deadline"],
    );
}
