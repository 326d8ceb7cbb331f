//! Upstreams over HTTPS (RFC 8484): what HTTP can do wrong, and what it must
//! not take away.

mod common;
#[path = "common/https.rs"]
mod https;
#[path = "common/streams.rs"]
mod streams;

use std::sync::Arc;

use common::estate::text;
use https::{HttpsServer, Request1, Says};
use hubdns::config::{self, UpstreamTransport};
use hubdns::forward::upstream::Upstream;
use hubdns::metrics::streams::StreamFault;
use hubdns::wire::header;
use rustls::version::{TLS12, TLS13};
use streams::{Authority, Client, LIMITS, answer, upstream};

const HTTPS: UpstreamTransport = UpstreamTransport::Https;
const NAME: &str = "dns.example";

struct Scene {
    server: HttpsServer,
    client: Client,
    upstream: Arc<Upstream>,
    _authority: Authority,
}

fn scene(script: impl Fn(&Request1) -> Says + Send + Sync + 'static) -> Scene {
    let authority = Authority::new();
    let config = authority.leaf(&[NAME], false).server(&["h2"], &[&TLS12, &TLS13]);
    let server = HttpsServer::start(config, script);
    let upstream = upstream(HTTPS, server.address, named(&authority));
    Scene { server, client: Client::new(LIMITS), upstream, _authority: authority }
}

fn named(authority: &Authority) -> impl FnOnce(&mut config::Upstream) + use<> {
    let ca_file = authority.file();
    move |upstream| (upstream.ca_file, upstream.name) = (Some(ca_file), Some(NAME.to_owned()))
}

fn good(request: &Request1) -> Says {
    Says::message(answer(&request.asked))
}

/// The fault for what one response is made to be; others on the connection go on.
fn fault(change: impl Fn(&mut Says) + Send + Sync + 'static) -> StreamFault {
    let scene = scene(move |request| {
        let mut says = good(request);
        if request.asked.qname == "bad.example" {
            change(&mut says);
        }
        says
    });
    scene.client.ask(&scene.upstream, "before.example").unwrap();
    let fault = scene.client.fault(&scene.upstream, "bad.example");
    scene.client.ask(&scene.upstream, "after.example").unwrap();
    assert_eq!(scene.server.connections(), 1);
    fault
}

#[test]
fn rfc8484_queries_are_posted_with_id_0_and_tell_nothing_more() {
    let scene = scene(good);
    for n in 0..3 {
        let reply = scene.client.ask(&scene.upstream, &format!("n{n}.example")).unwrap();
        assert!(text(&reply.bytes).contains(&format!("n{n}.example")));
    }
    for request in scene.server.got() {
        assert_eq!(request.method, "POST");
        assert_eq!(request.uri, format!("https://{NAME}:{}/dns-query", scene.server.address.port()));
        assert_eq!(request.content_type.as_deref(), Some("application/dns-message"));
        assert_eq!(request.accept.as_deref(), Some("application/dns-message"));
        assert_eq!((request.asked.id(), request.asked.bytes.len(), request.user_agent), (0, 128, false));
    }
    let counters = scene.client.counters(&scene.upstream);
    assert_eq!((scene.server.connections(), counters.streams.handshakes()), (1, (1, 0)));
}

#[test]
fn answers_come_in_any_order() {
    let scene = scene(|request| Says { held: request.asked.qname == "slow.example", ..good(request) });
    let slow = scene.client.begin(&scene.upstream, "slow.example");
    scene.server.wait_for(1);
    let others: Vec<_> =
        (0..50).map(|n| scene.client.begin(&scene.upstream, &format!("n{n}.example"))).collect();
    for other in others {
        other.get().unwrap();
    }
    assert!(slow.is_pending());
    scene.server.release();
    slow.get().unwrap();
    assert_eq!(scene.server.connections(), 1);
}

#[test]
fn what_is_no_dns_message_is_told_by_kind() {
    assert_eq!(fault(|says| says.status = 500), StreamFault::HttpStatus);
    assert_eq!(fault(|says| says.status = 404), StreamFault::HttpStatus);
    assert_eq!(fault(|says| says.status = 204), StreamFault::HttpStatus);
    assert_eq!(fault(|says| says.content_type = Some("text/html")), StreamFault::ContentType);
    assert_eq!(fault(|says| says.content_type = None), StreamFault::ContentType);
    assert_eq!(fault(|says| says.body.resize(65_536, 0)), StreamFault::TooLarge);
    assert_eq!(fault(|says| says.body.truncate(20)), StreamFault::Malformed);
    assert_eq!(fault(|says| says.body.clear()), StreamFault::Malformed);
    assert_eq!(fault(|says| header::set_id(&mut says.body, 1)), StreamFault::Malformed);
    assert_eq!(fault(|says| says.body[13] ^= 1), StreamFault::Malformed);
    assert_eq!(fault(|says| says.body[2] = 0), StreamFault::Malformed);
}

#[test]
fn the_content_type_may_have_parameters() {
    let scene = scene(|request| Says {
        content_type: Some("Application/DNS-Message; charset=none"),
        ..good(request)
    });
    scene.client.ask(&scene.upstream, "www.example").unwrap();
}

#[test]
fn rfc8484_time_in_caches_on_the_way_counts() {
    let scene = scene(|request| Says { age: Some("100"), ..good(request) });
    let reply = scene.client.ask(&scene.upstream, "www.example").unwrap();
    assert!(text(&reply.bytes).contains("200 "), "{}", text(&reply.bytes));
}

#[test]
fn questions_of_a_connection_that_ends_move_to_another() {
    let scene = scene(|request| Says {
        held: request.connection == 0 && request.asked.qname != "last.example",
        hang_up: request.connection == 0,
        ..good(request)
    });
    let all: Vec<_> = (0..5).map(|n| scene.client.begin(&scene.upstream, &format!("n{n}.example"))).collect();
    scene.server.wait_for(5);
    let last = scene.client.begin(&scene.upstream, "last.example");
    for one in all {
        one.get().unwrap();
    }
    last.get().unwrap();
    assert_eq!(scene.client.counters(&scene.upstream).streams.moves(), 6);
}

#[test]
fn a_server_without_http_2_is_told() {
    for alpn in [&["http/1.1"][..], &[]] {
        let authority = Authority::new();
        let config = authority.leaf(&[NAME], false).server(alpn, &[&TLS13]);
        let server = HttpsServer::start(config, good);
        let (client, upstream) = (Client::new(LIMITS), upstream(HTTPS, server.address, named(&authority)));
        assert_eq!(client.fault(&upstream, "www.example"), StreamFault::Alpn);
    }
}
