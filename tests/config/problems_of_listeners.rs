//! What is wrong with listeners besides those of `server.listen`.

use std::time::Duration;

use hubdns::config::{ClientCertificates, EncryptedTransport, Service, summary};

use super::good;
use super::problems::check;

const TLS: &str = "[[listeners]]\naddress = \"10.0.0.4:853\"\ntransport = \"tls\"\n\
                   tls = { certificate_file = \"a.pem\", key_file = \"/keys/a.key\" }\n";

#[test]
fn an_encrypted_listener_needs_its_files_and_nothing_else() {
    let config = good(TLS);
    let listener = &config.listeners[0];
    let Service::Encrypted(settings) = &listener.service else { panic!("{listener:?}") };
    assert_eq!(settings.transport, EncryptedTransport::Tls);
    assert_eq!(settings.certificate_file.to_str(), Some("/etc/hubdns/a.pem"));
    assert_eq!(settings.key_file.to_str(), Some("/keys/a.key"));
    assert_eq!((settings.client_ca_file.as_ref(), settings.clients), (None, ClientCertificates::Required));
    assert_eq!(settings.warning, Duration::from_secs(14 * 86_400));
    assert_eq!((settings.path.as_str(), settings.prefix_bits), ("/dns-query", (32, 64)));
    check(
        "[[listeners]]\naddress = \"10.0.0.4:853\"\ntransport = \"tls\"",
        &[
            ":1: listeners[0].tls.certificate_file: found no such key; expected the path of a PEM file with the certificate",
            ":1: listeners[0].tls.key_file: found no such key; expected the path of a PEM file with the certificate's key",
        ],
    );
    check(
        "[[listeners]]\ntransport = \"dot\"",
        &[
            ":1: listeners[0].address: found no such key; expected an address and a port",
            ":2: listeners[0].transport: found \"dot\"; expected \"plain\", \"tls\", \"https\" or \"quic\"",
        ],
    );
}

#[test]
fn addresses_are_taken_once_by_each_protocol() {
    let with = |first: &str, transport: &str, address: &str| {
        format!(
            "{first}[[listeners]]\naddress = \"{address}\"\ntransport = \"{transport}\"\n\
                 tls = {{ certificate_file = \"a\", key_file = \"b\" }}\n"
        )
    };
    check(
        &with("server.listen = [\"0.0.0.0:853\"]\n", "https", "10.0.0.4:853"),
        &[
            ":3: listeners[0].address: found 10.0.0.4:853; expected an address and port that server.listen[0] does not cover",
        ],
    );
    check(
        &with("admin.listen = [\"10.0.0.4:443\"]\n", "https", "10.0.0.4:443"),
        &[
            ":3: listeners[0].address: found 10.0.0.4:443; expected an address and port that admin.listen[0] does not",
        ],
    );
    check(
        &with(TLS, "https", "0.0.0.0:853"),
        &[
            ":6: listeners[1].address: found 0.0.0.0:853; expected an address and port that listeners[0] does not",
        ],
    );
    check(
        &with("", "tls", "224.0.0.1:853"),
        &[":2: listeners[0].address: found 224.0.0.1:853; expected the address of one host"],
    );
    check(
        &with("", "tls", "[::ffff:10.0.0.4]:853"),
        &[
            ":2: listeners[0].address: found [::ffff:10.0.0.4]:853; expected an IPv4-mapped address written as IPv4",
        ],
    );
    good(&with(TLS, "https", "10.0.0.5:853"));
    if cfg!(feature = "doq") {
        // UDP and TCP do not meet.
        good(&with(TLS, "quic", "10.0.0.4:853"));
    }
}

#[test]
fn keys_that_mean_nothing_are_refused() {
    let plain = "[[listeners]]\naddress = \"10.0.0.4:5300\"\ntransport = \"plain\"\n";
    assert_eq!(good(plain).listeners[0].service, Service::Plain);
    check(
        &format!("{plain}path = \"/x\"\nmax_buffered_bytes = 100_000\ntls.warning_days = 1\nlimits = {{}}\n"),
        &[
            ":4: listeners[0].path: found a value for plain; expected none, as only https has a path",
            ":5: listeners[0].max_buffered_bytes: found a value for plain; expected none,",
            ":6: listeners[0].tls: found a value for plain; expected none,",
            ":7: listeners[0].limits: found a value for plain; expected none,",
        ],
    );
    check(
        &format!("{TLS}path = \"/x\"\n"),
        &[":5: listeners[0].path: found a value for tls; expected none, as only https has a path"],
    );
    let https = TLS.replace("\"tls\"", "\"https\"");
    for path in ["", "x", "/a b", "/a?b", "/é"] {
        check(&format!("{https}path = \"{path}\"\n"), &[":5: listeners[0].path: found \""]);
    }
    good(&format!("{https}path = \"/a/b~c\"\n"));
    let optional = TLS.replace(" }", ", client_certificates = \"optional\" }");
    check(
        &optional,
        &[
            ":4: listeners[0].tls.client_certificates: found a value without tls.client_ca_file; expected none,",
        ],
    );
}

#[test]
fn limits_fit_each_other() {
    let with = |limits: &str| format!("{TLS}limits = {{ {limits} }}\n");
    check(
        &with("max_connections = 10, max_connections_per_client = 11"),
        &[
            ":5: listeners[0].limits.max_connections_per_client: found 11; expected at most listeners[0].limits.max_connections, which is 10",
        ],
    );
    check(
        &with("ipv4_prefix_bits = 33"),
        &[":5: listeners[0].limits.ipv4_prefix_bits: found 33; expected a whole"],
    );
    check(
        &with("handshake_timeout_seconds = 0"),
        &[":5: listeners[0].limits.handshake_timeout_seconds: found 0;"],
    );
    let Service::Encrypted(settings) = good(&with("max_connections = 10")).listeners.remove(0).service else {
        panic!("encrypted")
    };
    assert_eq!(settings.max_connections_per_client, 10, "a default that is more never binds");
    check(
        &format!("{TLS}max_buffered_bytes = 65_536\n"),
        &[":5: listeners[0].max_buffered_bytes: found 65536;"],
    );
}

#[test]
fn quic_is_for_builds_that_have_it_and_takes_no_headers() {
    let quic = TLS.replace("\"tls\"", "\"quic\"") + "proxy_prefixes = [\"10.0.0.0/8\", \"10.0.0.0/8\"]\n";
    let headers = ":5: listeners[0].proxy_prefixes: found a value for quic; expected none,";
    let twice = ":5: listeners[0].proxy_prefixes[1]: found 10.0.0.0/8; expected a value other than that of";
    let feature =
        ":3: listeners[0].transport: found \"quic\"; expected a build with the feature doq, or tls or https";
    if cfg!(feature = "doq") {
        check(&quic, &[twice, headers]);
    } else {
        check(&quic, &[feature, twice, headers]);
    }
}

#[test]
fn the_summary_shows_listeners() {
    let text = summary(&good(&format!("{TLS}proxy_prefixes = [\"10.0.0.250/32\"]\n")));
    assert!(text.contains("listener   10.0.0.4:853 (tls, PROXY headers from 10.0.0.250/32)"), "{text}");
}
