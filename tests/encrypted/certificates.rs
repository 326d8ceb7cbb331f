//! Certificates of the server, replaced while it serves, and those of clients.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubdns::config::ClientCertificates;
use hubdns::config::EncryptedTransport::{Https, Tls};
use hubdns::serve::ServeError;
use hubdns::serve::encrypted::Life;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::common::estate::text;
use crate::common::serving::{Serving, closed, config};
use crate::pki::{Files, Pki};
use crate::rig::{Dot, HELD, HELD_ANSWER, ask, at, dot, labeled, listener, metric, one, serve, wait_until};

/// Replaces both files as tools do: each written beside and renamed.
fn replace(files: &Files, (certificate, key): &(String, String)) {
    for (path, text) in [(&files.certificate, certificate), (&files.key, key)] {
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, path).unwrap();
    }
}

/// The common name of the certificate that the server showed.
fn shown(connection: &Dot) -> String {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let chain = connection.0.conn.peer_certificates().expect("a certificate");
    let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
    let name = certificate.subject().iter_common_name().next().expect("a name");
    name.as_str().unwrap().to_owned()
}

fn problem(server: &Serving) -> Option<String> {
    server.running().certificates().remove(0).problem
}

#[test]
fn a_new_pair_is_taken_into_use_by_itself_and_sessions_go_on() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let files = Files { certificate: pki.path().join("server.pem"), key: pki.path().join("server.key") };
    let client = pki.client(&["dot"], &[&TLS13], None);
    let mut before = dot(at(&server, "tls"), &client).unwrap();
    assert_eq!(text(&before.ask(&ask(1, HELD))), HELD_ANSWER);
    assert_eq!(shown(&before), "server");
    replace(&files, &pki.issue("second"));
    // Noticed without a word from anybody.
    wait_until("the new one is shown", || {
        let fresh = dot(at(&server, "tls"), &pki.dot()).unwrap();
        shown(&fresh) == "second"
    });
    assert_eq!(text(&before.ask(&ask(2, HELD))), HELD_ANSWER, "connections go on");
    let mut resumed = dot(at(&server, "tls"), &client).unwrap();
    assert_eq!(text(&resumed.ask(&ask(3, HELD))), HELD_ANSWER);
    assert_eq!(resumed.0.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(labeled(&server, "hubdns_tls_certificate_loads_total", "loaded"), 2);
}

#[test]
fn a_bad_pair_leaves_the_one_before_in_use_and_is_told() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let files = Files { certificate: pki.path().join("server.pem"), key: pki.path().join("server.key") };
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    server.running().on_certificates(Box::new(move |states| {
        seen.lock().unwrap().push(states[0].problem.clone());
    }));
    let (certificate, key) = pki.issue("second");
    let other = pki.issue("third").1;
    let bad: [(&str, &str, &str); 6] = [
        (&certificate, &other, "is not the key of"),
        (&certificate, "", "has no private key in it"),
        ("", &key, "has no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cannot be read"),
        (&key, &certificate, "has no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\n????\n", &key, "PEM"),
    ];
    for (nth, (certificate, key, expected)) in (1..).zip(bad) {
        replace(&files, &(certificate.to_owned(), key.to_owned()));
        server.running().reload_certificates();
        let problem = problem(&server).expect("a problem");
        assert!(problem.contains(expected), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
        assert_eq!(shown(&dot(at(&server, "tls"), &pki.dot()).unwrap()), "server");
        assert!(labeled(&server, "hubdns_tls_certificate_loads_total", "refused") >= nth);
    }
    std::fs::remove_file(&files.key).unwrap();
    server.running().reload_certificates();
    assert!(problem(&server).expect("a problem").contains("cannot be read (entity not found)"));
    replace(&files, &(certificate, key));
    server.running().reload_certificates();
    assert_eq!(problem(&server), None);
    assert_eq!(shown(&dot(at(&server, "tls"), &pki.dot()).unwrap()), "second");
    let told = told.lock().unwrap();
    assert!(told.len() >= 8 && told.first() == Some(&None) && told.last() == Some(&None), "{told:?}");
}

#[test]
fn no_answer_is_lost_while_certificates_change_under_load() {
    let (pki, _upstream, server) = one(Tls, |_| {});
    let files = Files { certificate: pki.path().join("server.pem"), key: pki.path().join("server.key") };
    let address = at(&server, "tls");
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (client, stop, answered) = (pki.dot(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = dot(address, &client).expect("a handshake");
                    for id in 0..5 {
                        assert_eq!(text(&connection.ask(&ask(id, HELD))), HELD_ANSWER);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for nth in 0..20 {
        let before = answered.load(Ordering::Relaxed);
        replace(&files, &pki.issue(&format!("number {nth}")));
        server.running().reload_certificates();
        wait_until("it is asked again", || answered.load(Ordering::Relaxed) >= before + 10);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in asking {
        thread.join().expect("no answer was lost");
    }
    assert_eq!(shown(&dot(address, &pki.dot()).unwrap()), "number 19");
    assert_eq!(metric(&server, "hubdns_tls_handshake_failures_total{"), 0);
}

#[test]
fn the_end_of_a_certificate_is_seen_before() {
    let pki = Pki::new();
    let files = pki.files("server");
    let server = serve(vec![listener(Https, &files, |_| {})], closed(), |_| {});
    let life = || server.running().certificates()[0].life;
    let seconds = metric(&server, "hubdns_tls_certificate_not_after_timestamp_seconds{");
    assert_eq!((life(), seconds), (Life::Good, 4_070_908_800));
    replace(&files, &pki.issue_until("over", 2021));
    server.running().reload_certificates();
    assert_eq!(life(), Life::Over, "one that has ended is better than none that fits");
    let far = Duration::from_secs(365 * 86_400 * 500);
    let near = listener(Tls, &pki.files("near"), |settings| settings.warning = far);
    let server = serve(vec![near], closed(), |_| {});
    assert_eq!(server.running().certificates()[0].life, Life::Ending);
}

#[test]
fn a_start_needs_a_pair_that_fits() {
    let pki = Pki::new();
    let (files, other) = (pki.files("server"), pki.files("other"));
    let nowhere = Files { certificate: pki.path().join("none.pem"), key: files.key.clone() };
    let crossed = Files { certificate: files.certificate.clone(), key: other.key };
    for (files, expected) in [(nowhere, "cannot be read"), (crossed, "is not the key of")] {
        let mut config = config(&["127.0.0.1:0"], closed());
        config.listeners = vec![listener(Tls, &files, |_| {})];
        let error = hubdns::serve::Server::bind(&config).unwrap_err();
        let ServeError::Certificate { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(expected), "{source}");
        assert_eq!(error.label(), "certificate");
        let wrong = hubdns::serve::encrypted::check_certificates(&config);
        assert!(wrong[0].1.to_string().contains(expected), "{wrong:?}");
    }
}

/// A server that asks clients for certificates of `ca`.
fn with_clients(pki: &Pki, ca: &Path, clients: ClientCertificates) -> Serving {
    let ca = ca.to_owned();
    let settings = listener(Tls, &pki.files("server"), move |settings| {
        settings.client_ca_file = Some(ca);
        settings.clients = clients;
    });
    serve(vec![settings], closed(), |_| {})
}

/// Whether an answer comes with what `own` shows.
fn is_let_in(server: &Serving, pki: &Pki, own: Option<&Files>) -> bool {
    let mut let_in = Vec::new();
    for version in [&TLS13, &TLS12] {
        let client = pki.client(&["dot"], &[version], own);
        // By TLS 1.3 a client learns of a refusal behind its own handshake.
        let answer = dot(at(server, "tls"), &client).ok().and_then(|mut connection| {
            let sent = std::io::Write::write_all(&mut connection.0, &crate::rig::framed(&ask(1, HELD)));
            sent.and_then(|()| connection.next()).ok()
        });
        let_in.push(answer.is_some());
    }
    assert_eq!(let_in[0], let_in[1], "both versions agree");
    let_in[0]
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let (pki, clients, strangers) = (Pki::new(), Pki::new(), Pki::new());
    let (good, bad) = (clients.files("client"), strangers.files("stranger"));
    let required = with_clients(&pki, &clients.ca(), ClientCertificates::Required);
    assert!(is_let_in(&required, &pki, Some(&good)));
    assert!(!is_let_in(&required, &pki, None));
    assert!(!is_let_in(&required, &pki, Some(&bad)));
    let failures = |reason| labeled(&required, "hubdns_tls_handshake_failures_total", reason);
    wait_until("both are counted", || {
        failures("certificate_missing") == 2 && failures("certificate_refused") == 2
    });
    let optional = with_clients(&pki, &clients.ca(), ClientCertificates::Optional);
    assert!(is_let_in(&optional, &pki, Some(&good)));
    assert!(is_let_in(&optional, &pki, None));
    assert!(!is_let_in(&optional, &pki, Some(&bad)));
}

#[test]
fn sessions_end_with_the_authority_that_let_them_in() {
    let (pki, clients, later) = (Pki::new(), Pki::new(), Pki::new());
    let ca = pki.path().join("clients.pem");
    std::fs::copy(clients.ca(), &ca).unwrap();
    let server = with_clients(&pki, &ca, ClientCertificates::Required);
    let own = clients.files("client");
    let client = pki.client(&["dot"], &[&TLS13], Some(&own));
    let mut first = dot(at(&server, "tls"), &client).unwrap();
    assert_eq!(text(&first.ask(&ask(1, HELD))), HELD_ANSWER);
    let mut resumed = dot(at(&server, "tls"), &client).unwrap();
    assert_eq!(text(&resumed.ask(&ask(2, HELD))), HELD_ANSWER);
    assert_eq!(resumed.0.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    std::fs::copy(later.ca(), &ca).unwrap();
    server.running().reload_certificates();
    // The ticket of an authority that is trusted no more is worth nothing.
    let refused = dot(at(&server, "tls"), &client).and_then(|mut connection| {
        std::io::Write::write_all(&mut connection.0, &crate::rig::framed(&ask(3, HELD)))?;
        connection.next()
    });
    assert!(refused.is_err());
}
