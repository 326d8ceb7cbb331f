//! DNS over HTTPS (RFC 8484).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hubdns::config::Encrypted;
use hubdns::config::EncryptedTransport::Https;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::caps::large;
use crate::common::estate::text;
use crate::common::serving::{PATIENCE, Serving};
use crate::pki::Pki;
use crate::rig::{
    HELD, HELD_ANSWER, ask, ask_with, at, labeled, listener, metric, one, options, serve, wait_until,
};

const STATUSES: &str = "hubdns_https_responses_total";

/// A client that speaks HTTP/2.
pub(crate) struct Client {
    pub(crate) runtime: Runtime,
    pub(crate) sender: SendRequest<Full<Bytes>>,
}

/// A status, its headers by name, and a body.
pub(crate) struct Said {
    pub(crate) status: u16,
    headers: hyper::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Said {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Client {
    pub(crate) fn connect(server: SocketAddr, pki: &Pki, before: &[u8]) -> Self {
        Self::with(&Builder::new(TokioExecutor::new()), server, pki, before)
    }

    fn with(builder: &Builder<TokioExecutor>, server: SocketAddr, pki: &Pki, before: &[u8]) -> Self {
        let config = pki.client(&["h2"], rustls::ALL_VERSIONS, None);
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let mut stream = tokio::net::TcpStream::connect(server).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, before).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    pub(crate) fn say(&mut self, method: &str, path: &str, content_type: Option<&str>, body: &[u8]) -> Said {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let response = self.sender.send_request(request);
        self.runtime.block_on(async { said(response.await.unwrap()).await })
    }

    pub(crate) fn post(&mut self, message: &[u8]) -> Said {
        self.say("POST", "/dns-query", Some("application/dns-message"), message)
    }

    fn get(&mut self, message: &[u8]) -> Said {
        self.say("GET", &format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(message)), None, &[])
    }
}

async fn said(response: Response<hyper::body::Incoming>) -> Said {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    Said { status, headers, body }
}

#[test]
fn get_and_post_give_the_answer_that_others_get() {
    let (pki, _upstream, server) = one(Https, |_| {});
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    for name in [HELD, "www.example.org"] {
        let query = ask(0, name);
        let (get, post) = (client.get(&query), client.post(&query));
        for said in [&get, &post] {
            assert_eq!((said.status, said.header("content-type")), (200, "application/dns-message"));
            assert_eq!(text(&said.body), text(&server.ask(&query)));
        }
    }
    assert_eq!(metric(&server, "hubdns_queries_total{transport=\"https\"}"), 4);
    assert_eq!(labeled(&server, STATUSES, "200"), 4);
}

#[test]
fn rfc8484_freshness_follows_the_ttls() {
    let (pki, _upstream, server) = one(Https, |_| {});
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    let mut fresh = |message: &[u8]| client.get(message).header("cache-control").to_owned();
    assert_eq!(fresh(&ask(0, HELD)), "max-age=10");
    assert_eq!(fresh(&ask(0, "www.example.org")), "max-age=300");
    // A denial lasts as long as its SOA says.
    let denied = server.ask(&ask(0, "missing.contoso.azurecr.io"));
    let soa = text(&denied);
    assert!(soa.starts_with("NXDOMAIN"), "{soa}");
    let nodata = fresh(&ask(0, "missing.contoso.azurecr.io"));
    let seconds: u32 = nodata.strip_prefix("max-age=").expect("an age").parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "{nodata} for {soa}");
    // An error is nobody's to keep.
    assert_eq!(fresh(&[0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0]), "no-store");
}

#[test]
fn what_is_wrong_with_a_request_has_its_status() {
    let (pki, _upstream, server) = one(Https, |_| {});
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    let query = ask(0, HELD);
    let encoded = URL_SAFE_NO_PAD.encode(&query);
    let message = Some("application/dns-message");
    let get = |parameter: &str| format!("/dns-query{parameter}");
    let mut response = query.clone();
    response[2] |= 0x80;
    let cases = vec![
        ("GET", get(""), None, vec![], 400),
        ("GET", get("?dns"), None, vec![], 400),
        ("GET", get("?dns=*"), None, vec![], 400),
        ("GET", get(&format!("?dns={encoded}==")), None, vec![], 400),
        ("GET", get(&format!("?dns={}", URL_SAFE_NO_PAD.encode([0; 11]))), None, vec![], 400),
        ("GET", get(&format!("?dns={}", "A".repeat(9000))), None, vec![], 414),
        ("GET", format!("/other?dns={encoded}"), None, vec![], 404),
        ("POST", "/".to_owned(), message, query.clone(), 404),
        ("PUT", get(""), message, query.clone(), 405),
        ("DELETE", get(""), None, vec![], 405),
        ("POST", get(""), message, vec![0; 65_536], 413),
        ("POST", get(""), message, vec![], 400),
        ("POST", get(""), message, vec![0; 11], 400),
        ("POST", get(""), message, response, 400),
        ("POST", get(""), None, query.clone(), 415),
        ("POST", get(""), Some("text/plain"), query.clone(), 415),
        ("POST", get(""), Some("application/dns-message; charset=x"), query.clone(), 200),
    ];
    for (method, path, content_type, body, status) in cases {
        let said = client.say(method, &path, content_type, &body);
        assert_eq!(said.status, status, "{method} {} {content_type:?}", &path[..path.len().min(80)]);
        if status == 405 {
            assert_eq!(said.header("allow"), "GET, POST");
        }
        assert_eq!(said.body.is_empty(), status != 200, "{method} {status}");
    }
    assert_eq!(labeled(&server, STATUSES, "400"), 8);
    assert_eq!(text(&client.post(&query).body), HELD_ANSWER, "the connection goes on");
}

#[test]
fn a_dns_error_is_a_success_of_http() {
    let (pki, _upstream, server) = one(Https, |_| {});
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    for message in [vec![0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0], vec![0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let said = client.post(&message);
        assert_eq!((said.status, said.body), (200, server.ask(&message)));
    }
}

#[test]
fn padding_counts_and_keepalive_does_not() {
    let (pki, _upstream, server) = one(Https, |_| {});
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    let said = client.post(&ask_with(0, HELD, &[0, 11, 0, 0, 0, 12, 0, 0]));
    assert_eq!(said.body.len() % 468, 0);
    assert_eq!(options(&said.body).iter().map(|(code, _)| *code).collect::<Vec<_>>(), [12]);
}

#[test]
fn requests_run_side_by_side_and_no_more_than_allowed() {
    let (pki, upstream, server) = one(Https, |settings| settings.max_queries_per_connection = 3);
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    // With its answer the client knows the limit; it would try more before, in vain.
    assert_eq!(client.post(&ask(0, HELD)).status, 200);
    let mut sender = client.sender.clone();
    let requests: Vec<_> = (0..6)
        .map(|n| {
            let request = Request::post("https://localhost/dns-query")
                .header("content-type", "application/dns-message")
                .body(Full::new(Bytes::from(ask(0, &format!("slow{n}.example")))))
                .unwrap();
            client.runtime.spawn(sender.send_request(request))
        })
        .collect();
    upstream.wait(|seen| seen.len() == 3);
    assert_eq!(metric(&server, "hubdns_queries_total{transport=\"https\"}"), 4);
    upstream.release();
    upstream.wait(|seen| seen.len() == 6);
    upstream.release();
    for request in requests {
        let said = client.runtime.block_on(async { said(request.await.unwrap().unwrap()).await });
        assert!(text(&said.body).contains("192.0.2.1"));
    }
}

#[test]
fn what_a_client_leaves_lying_is_bounded_and_it_is_told() {
    let (pki, upstream) = (Pki::new(), large());
    let settings = |settings: &mut Encrypted| settings.max_buffered = 100_000;
    let listeners = vec![listener(Https, &pki.files("server"), settings)];
    let server = serve(listeners, upstream.address, |_| {});
    // Takes a part of each answer until it is read.
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(4096);
    let mut client = Client::with(&builder, at(&server, "https"), &pki, &[]);
    let mut message = ask(0, "large.example");
    let qtype = message.len() - 4;
    message[qtype..qtype + 2].copy_from_slice(&16u16.to_be_bytes());
    let mut lying = Vec::new();
    let refused = loop {
        let request = Request::post("https://localhost/dns-query")
            .header("content-type", "application/dns-message")
            .body(Full::new(Bytes::from(message.clone())))
            .unwrap();
        let answer = client.sender.send_request(request);
        let answer = client.runtime.block_on(async { answer.await.unwrap() });
        if answer.status() != 200 {
            break answer;
        }
        lying.push(answer);
        assert!(lying.len() < 10, "nothing bounds it");
    };
    assert_eq!(refused.status(), 503);
    assert!(!lying.is_empty(), "the first has room");
    assert_eq!(labeled(&server, STATUSES, "503"), 1);
    for answer in lying {
        let said = client.runtime.block_on(said(answer));
        assert!(said.body.len() > 50_000, "{}", said.body.len());
    }
    // There is room again.
    assert_eq!(text(&client.post(&ask(0, HELD)).body), HELD_ANSWER);
}

/// A connection that speaks no HTTP/2.
fn old(server: SocketAddr, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[test]
fn http_1_1_is_understood_too() {
    let (pki, _upstream, server) = one(Https, |_| {});
    for alpn in [&["http/1.1"][..], &[]] {
        let mut stream = old(at(&server, "https"), &pki.client(alpn, rustls::ALL_VERSIONS, None));
        let query = ask(0, HELD);
        for _ in 0..2 {
            let head = format!(
                "POST /dns-query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/dns-message\r\ncontent-length: {}\r\n\r\n",
                query.len()
            );
            stream.write_all(&[head.as_bytes(), &query].concat()).unwrap();
            let head = read_head(&mut stream);
            assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
            assert!(head.contains("cache-control: max-age=10\r\n"), "{head}");
            let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            assert_eq!(text(&body), HELD_ANSWER);
        }
    }
}

#[test]
fn a_body_that_does_not_come_and_a_connection_without_requests_are_ended() {
    let short = Duration::from_millis(300);
    let (pki, _upstream, server) = one(Https, |settings| settings.idle_timeout = short);
    let mut slow = old(at(&server, "https"), &pki.client(&["http/1.1"], rustls::ALL_VERSIONS, None));
    slow.write_all(b"POST /dns-query HTTP/1.1\r\nhost: a\r\ncontent-type: application/dns-message\r\ncontent-length: 50\r\n\r\nxx")
        .unwrap();
    assert!(read_head(&mut slow).starts_with("http/1.1 408 "));
    assert_eq!(labeled(&server, STATUSES, "408"), 1);
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    assert_eq!(client.post(&ask(0, HELD)).status, 200);
    wait_until("it is told to go", || client.sender.is_closed());
    wait_until("nothing is left", || metric(&server, "hubdns_encrypted_connections{") == 0);
    assert!(labeled(&server, "hubdns_encrypted_connections_closed_total", "idle") >= 1);
}

#[test]
fn a_drain_answers_what_is_in_flight() {
    let (pki, upstream, server) = one(Https, |_| {});
    let client = Client::connect(at(&server, "https"), &pki, &[]);
    let mut sender = client.sender.clone();
    let request = Request::post("https://localhost/dns-query")
        .header("content-type", "application/dns-message")
        .body(Full::new(Bytes::from(ask(0, "slow.example"))))
        .unwrap();
    let request = client.runtime.spawn(sender.send_request(request));
    upstream.wait(|seen| !seen.is_empty());
    let server: Arc<Serving> = Arc::new(server);
    let draining = Arc::clone(&server);
    let drain = std::thread::spawn(move || draining.drain(PATIENCE));
    let address = at(&server, "https");
    wait_until("nobody is let in", || TcpStream::connect(address).is_err());
    upstream.release();
    let said = client.runtime.block_on(async { said(request.await.unwrap().unwrap()).await });
    assert!(text(&said.body).contains("192.0.2.1"));
    assert!(drain.join().unwrap(), "nothing is left");
}

#[test]
fn answers_that_depend_on_the_client_are_for_nobody_else_to_keep() {
    use hubdns::snapshot::Snapshot;
    let pki = Pki::new();
    let server =
        serve(vec![listener(Https, &pki.files("server"), |_| {})], crate::common::serving::closed(), |_| {});
    let views = "
        view site 127.0.0.0/8
        zone privatelink.azurecr.io
        contoso.privatelink.azurecr.io 10 A 10.0.0.5
        in site contoso.privatelink.azurecr.io A 10.9.0.5
    ";
    let set = crate::common::estate::record_set(views);
    server.publisher.publish(Snapshot::build(&set, &crate::common::estate::options(), 2));
    let mut client = Client::connect(at(&server, "https"), &pki, &[]);
    let said = client.get(&ask(0, HELD));
    assert_eq!(said.header("cache-control"), "private, max-age=10");
    assert!(text(&said.body).contains("10.9.0.5"));
}
