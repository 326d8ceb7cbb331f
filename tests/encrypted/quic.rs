//! DNS over QUIC (RFC 9250).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hubdns::config::Encrypted;
use hubdns::config::EncryptedTransport::Quic;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rustls::version::TLS13;
use tokio::runtime::Runtime;

use crate::clients::run;
use crate::common::estate::text;
use crate::common::peer::skip;
use crate::common::serving::{PATIENCE, Serving};
use crate::common::upstream::Upstream;
use crate::https::runtime;
use crate::pki::Pki;
use crate::rig::{HELD, HELD_ANSWER, ask, ask_with, at, framed, labeled, metric, one, options, wait_until};

struct Client {
    runtime: Runtime,
    endpoint: Endpoint,
}

impl Client {
    fn new(pki: &Pki, alpn: &str) -> Self {
        let runtime = runtime();
        let tls = pki.client(&[alpn], &[&TLS13], None);
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let entered = runtime.enter();
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        drop(entered);
        Self { runtime, endpoint }
    }

    fn connect(&self, server: SocketAddr) -> Result<Connection, ConnectionError> {
        self.runtime.block_on(async {
            let connecting = self.endpoint.connect(server, "localhost").unwrap();
            tokio::time::timeout(PATIENCE, connecting).await.expect("an end")
        })
    }

    /// What comes on a stream upon `bytes`.
    fn exchange(&self, connection: &Connection, bytes: &[u8]) -> Option<Vec<u8>> {
        self.runtime.block_on(async {
            let (mut send, mut receive) = connection.open_bi().await.ok()?;
            send.write_all(bytes).await.ok()?;
            send.finish().ok()?;
            receive.read_to_end(70_000).await.ok()
        })
    }

    fn ask(&self, connection: &Connection, message: &[u8]) -> Vec<u8> {
        let answer = self.exchange(connection, &framed(message)).expect("an answer");
        assert_eq!(usize::from(u16::from_be_bytes([answer[0], answer[1]])), answer.len() - 2);
        answer[2..].to_vec()
    }

    /// The code with which the server closes.
    fn closed(&self, connection: &Connection) -> u64 {
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, connection.closed()).await });
        match ended.expect("an end") {
            ConnectionError::ApplicationClosed(close) => close.error_code.into(),
            other => panic!("{other}"),
        }
    }
}

fn serving(change: impl FnOnce(&mut Encrypted)) -> (Pki, Upstream, Serving) {
    one(Quic, change)
}

#[test]
fn a_stream_for_each_query() {
    let (pki, upstream, server) = serving(|_| {});
    let client = Client::new(&pki, "doq");
    let connection = client.connect(at(&server, "quic")).unwrap();
    for _ in 0..50 {
        assert_eq!(text(&client.ask(&connection, &ask(0, HELD))), HELD_ANSWER);
    }
    let slow = {
        let (connection, bytes) = (connection.clone(), framed(&ask(0, "slow.example")));
        client.runtime.spawn(async move {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
            receive.read_to_end(70_000).await.unwrap()
        })
    };
    upstream.wait(|seen| !seen.is_empty());
    assert!(text(&client.ask(&connection, &ask(0, "quick.example"))).contains("192.0.2.1"));
    upstream.release();
    let slow = client.runtime.block_on(slow).unwrap();
    assert!(text(&slow[2..]).contains("192.0.2.1"));
    let padded = client.ask(&connection, &ask_with(0, HELD, &[0, 12, 0, 0]));
    assert_eq!((padded.len() % 468, options(&padded)[0].0), (0, 12));
    assert_eq!(metric(&server, "hubdns_queries_total{transport=\"quic\"}"), 53);
}

#[test]
fn rfc9250_what_has_no_place_closes_the_connection() {
    let (pki, _upstream, server) = serving(|_| {});
    let client = Client::new(&pki, "doq");
    let query = ask(0, HELD);
    for bytes in [
        framed(&ask(7, HELD)),
        framed(&ask_with(0, HELD, &[0, 11, 0, 0])),
        [framed(&query), framed(&query)].concat(),
        framed(&query)[..20].to_vec(),
        vec![0, 2, 1, 1],
        vec![],
    ] {
        let connection = client.connect(at(&server, "quic")).unwrap();
        assert_eq!(text(&client.ask(&connection, &query)), HELD_ANSWER);
        assert_eq!(client.exchange(&connection, &bytes), None);
        assert_eq!(client.closed(&connection), 2, "DOQ_PROTOCOL_ERROR upon {bytes:?}");
    }
    wait_until("all are counted", || {
        labeled(&server, "hubdns_encrypted_connections_closed_total", "protocol") == 6
    });
}

#[test]
fn limits_hold_and_other_protocols_are_refused() {
    let (pki, _upstream, server) = serving(|settings| settings.max_connections = 2);
    let address = at(&server, "quic");
    assert!(Client::new(&pki, "h3").connect(address).is_err());
    wait_until("it is counted", || labeled(&server, "hubdns_tls_handshake_failures_total", "protocol") == 1);
    let client = Client::new(&pki, "doq");
    let held = [client.connect(address).unwrap(), client.connect(address).unwrap()];
    assert!(client.connect(address).is_err());
    assert_eq!(labeled(&server, "hubdns_encrypted_connections_rejected_total", "total"), 1);
    held[0].close(0u32.into(), b"");
    wait_until("a place is free", || metric(&server, "hubdns_encrypted_connections{") == 1);
    let third = client.connect(address).unwrap();
    assert_eq!(text(&client.ask(&third, &ask(0, HELD))), HELD_ANSWER);
}

#[test]
fn a_drain_answers_what_is_in_flight_and_says_goodbye() {
    let (pki, upstream, server) = serving(|_| {});
    let client = Client::new(&pki, "doq");
    let connection = client.connect(at(&server, "quic")).unwrap();
    let asking = {
        let (connection, bytes) = (connection.clone(), framed(&ask(0, "slow.example")));
        client.runtime.spawn(async move {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
            receive.read_to_end(70_000).await.unwrap()
        })
    };
    upstream.wait(|seen| !seen.is_empty());
    let server = Arc::new(server);
    let draining = Arc::clone(&server);
    let drain = std::thread::spawn(move || draining.drain(PATIENCE));
    wait_until("nobody is let in", || {
        client.runtime.block_on(async {
            let connecting = client.endpoint.connect(at(&server, "quic"), "localhost").unwrap();
            !matches!(tokio::time::timeout(Duration::from_millis(200), connecting).await, Ok(Ok(_)))
        })
    });
    upstream.release();
    let answer = client.runtime.block_on(asking).unwrap();
    assert!(text(&answer[2..]).contains("192.0.2.1"));
    assert_eq!(client.closed(&connection), 0, "DOQ_NO_ERROR");
    assert!(drain.join().unwrap(), "nothing is left");
}

#[test]
fn kdig_by_quic() {
    let (pki, _upstream, server) = serving(|_| {});
    let port = at(&server, "quic").port().to_string();
    let ca = format!("+tls-ca={}", pki.ca().display());
    let arguments = [
        "@127.0.0.1",
        "-p",
        &port,
        &ca,
        "+tls-hostname=localhost",
        "+quic",
        "+timeout=20",
        "+retry=0",
        HELD,
        "A",
    ];
    let Some(output) = run("kdig", &arguments) else { return };
    let (told, text) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    if told.contains("not supported") || told.contains("invalid option") {
        return skip("this kdig has no QUIC");
    }
    assert!(text.contains("10.0.0.5"), "{text}\n{told}");
}
