//! Clients that others have written: kdig, dig, curl, openssl. A test says so
//! and is skipped where its client is not installed, but not in CI.

use std::process::{Command, Output, Stdio};

use hubdns::config::EncryptedTransport::{Https, Tls};

use crate::common::peer::find;
use crate::common::serving::Serving;
use crate::common::upstream::{Act, Upstream};
use crate::pki::Pki;
use crate::rig::{HELD, at, labeled, listener, serve, upstream};

/// Runs `program`, if it is there.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(find(program)?).args(arguments).stdin(Stdio::null()).output();
    Some(output.expect("a program that runs"))
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn both() -> (Pki, Serving) {
    let (pki, upstream) = (Pki::new(), upstream());
    let files = pki.files("server");
    let listeners = vec![listener(Tls, &files, |_| {}), listener(Https, &files, |_| {})];
    (pki, serve(listeners, upstream.address, |_| {}))
}

#[test]
fn kdig_by_tls_and_https() {
    let (pki, server) = both();
    let ca = format!("+tls-ca={}", pki.ca().display());
    let port = |transport| at(&server, transport).port().to_string();
    let (tls, https) = (port("tls"), port("https"));
    for (port, how) in [
        (&tls, vec!["+tls", "+padding", "+keepopen"]),
        (&tls, vec!["+tls", "+nopadding"]),
        (&https, vec!["+https"]),
        (&https, vec!["+https", "+https-get"]),
        (&https, vec!["+https=/dns-query", "+padding"]),
    ] {
        let arguments = ["@127.0.0.1", "-p", port, &ca, "+tls-hostname=localhost", "+timeout=20", "+retry=0"];
        let Some(output) = run("kdig", &[&arguments[..], &how, &[HELD, "A", HELD, "AAAA"]].concat()) else {
            return;
        };
        let text = stdout(&output);
        assert!(text.contains("10.0.0.5"), "{how:?}\n{text}");
        assert_eq!(text.matches("status: NOERROR").count(), 2, "{how:?}\n{text}");
        // kdig pads what it encrypts, unless it is told not to.
        let size: usize =
            text.split("Received ").nth(1).expect("a size").split(' ').next().unwrap().parse().unwrap();
        assert_eq!(size.is_multiple_of(468), !how.contains(&"+nopadding"), "{how:?}\n{text}");
    }
    let other =
        run("kdig", &["@127.0.0.1", "-p", &https, &ca, "+https=/other", "+timeout=5", "+retry=0", HELD]);
    let Some(other) = other else { return };
    assert!(!String::from_utf8_lossy(&other.stdout).contains("10.0.0.5"));
    assert!(labeled(&server, "hubdns_https_responses_total", "404") >= 1);
}

#[test]
fn dig_by_tls_and_https() {
    let (pki, server) = both();
    let ca = format!("+tls-ca={}", pki.ca().display());
    for (transport, how) in
        [("tls", "+tls"), ("https", "+https"), ("https", "+https-get"), ("https", "+https-post")]
    {
        let port = at(&server, transport).port().to_string();
        let arguments =
            ["@127.0.0.1", "-p", &port, &ca, "+tls-hostname=localhost", "+time=20", "+tries=1", how, HELD];
        let Some(output) = run("dig", &arguments) else { return };
        let text = stdout(&output);
        assert!(text.contains("status: NOERROR") && text.contains("10.0.0.5"), "{how}\n{text}");
    }
}

#[test]
fn curl_speaks_to_it_and_resolves_by_it() {
    let (pki, server) = both();
    let ca = pki.ca().display().to_string();
    let address = at(&server, "https");
    let query = crate::rig::ask(0, HELD);
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &query);
    let url = format!("https://localhost:{}/dns-query?dns={encoded}", address.port());
    for version in ["--http2", "--http1.1"] {
        let arguments = ["-s", "-i", version, "--max-time", "30", "--cacert", &ca, &url];
        let Some(output) = run("curl", &arguments) else { return };
        let text = stdout(&output).to_ascii_lowercase();
        assert!(text.starts_with("http/") && text.contains(" 200"), "{text}");
        assert!(text.contains("cache-control: max-age=10"), "{text}");
        assert!(output.stdout.windows(4).any(|bytes| bytes == [10, 0, 0, 5]), "{text}");
    }
}

#[test]
fn curl_resolves_by_it() {
    let pki = Pki::new();
    let files = pki.files("server");
    // A name that only this server knows, and that leads back to it.
    let upstream = Upstream::start(|asked| {
        let is_a = asked.qtype == hubdns::wire::Rtype::A;
        let answer = if is_a { format!("{} 300 A 127.0.0.1", asked.qname) } else { String::new() };
        Act::send(asked.reply(0, &answer, ""))
    });
    let server = serve(vec![listener(Https, &files, |_| {})], upstream.address, |_| {});
    let port = at(&server, "https").port();
    let doh = format!("https://127.0.0.1:{port}/dns-query");
    let url = format!("https://only-here.example:{port}/nowhere");
    let arguments = ["-s", "-i", "-k", "--max-time", "30", "--doh-insecure", "--doh-url", &doh, &url];
    let Some(output) = run("curl", &arguments) else { return };
    let text = stdout(&output).to_ascii_lowercase();
    assert!(text.starts_with("http/2 404"), "{text}");
    assert_eq!(upstream.times_asked("only-here.example"), 2, "A and AAAA");
}

#[test]
fn openssl_sees_the_chain_the_protocol_and_tickets() {
    let (pki, server) = both();
    let ca = pki.ca().display().to_string();
    for (transport, alpn) in [("tls", "dot"), ("https", "h2"), ("https", "http/1.1")] {
        for version in ["-tls1_3", "-tls1_2"] {
            let connect = at(&server, transport).to_string();
            let arguments = [
                "s_client",
                "-connect",
                &connect,
                "-servername",
                "localhost",
                "-alpn",
                alpn,
                "-CAfile",
                &ca,
                "-verify_return_error",
                "-verify_hostname",
                "localhost",
                version,
            ];
            let Some(output) = run("openssl", &arguments) else { return };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
            assert!(text.contains(&format!("ALPN protocol: {alpn}")), "{text}");
        }
        let connect = at(&server, transport).to_string();
        for old in ["-tls1_1", "-tls1"] {
            let Some(output) = run("openssl", &["s_client", "-connect", &connect, old]) else { return };
            assert!(!output.status.success(), "{old} is spoken");
        }
    }
}
