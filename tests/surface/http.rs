//! The admin listeners over real sockets: methods, sizes, time, headers, names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::daemon::{Daemon, PATIENCE};

pub(crate) const ESTATE: &str = r#"
[[sources.static]]
name = "contoso.azurecr.io"
type = "A"
values = ["10.1.2.3"]

[[upstreams]]
name = "silent"
addresses = ["127.0.0.1:9"]

[forward]
default = "silent"
"#;

/// Status, head in lower case, and body of what comes back for `request`, written as it is.
pub(crate) fn raw(mut stream: impl Read + Write, request: &[u8]) -> Option<(u16, String, String)> {
    // A server that refuses early may close before all is sent.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, head.to_ascii_lowercase(), body.to_owned()))
}

fn tcp(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.admin).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn unix(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn ask(daemon: &Daemon, request: &str) -> (u16, String, String) {
    raw(tcp(daemon), request.as_bytes()).unwrap_or_else(|| panic!("no answer to {request:?}"))
}

fn forbidden(daemon: &Daemon) -> u64 {
    let scrape = daemon.http("/metrics").expect("a scrape").body;
    let line = scrape.lines().find_map(|line| line.strip_prefix("hubdns_admin_requests_forbidden_total "));
    line.and_then(|count| count.parse().ok()).expect("a count")
}

const PATHS: &[&str] = &["/", "/metrics", "/livez", "/readyz", "/v1/findings", "/nothing"];

#[test]
fn other_methods_than_get_and_head_are_refused() {
    let daemon = Daemon::start(ESTATE);
    for path in PATHS {
        let [got, head] = ["GET", "HEAD"]
            .map(|method| ask(&daemon, &format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")));
        assert_eq!(got.0, head.0, "{path}");
        assert!(!got.2.is_empty() && head.2.is_empty(), "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"] {
            // A preflight of a page that means to read us, too.
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n\
                 access-control-request-method: GET\r\n\r\n"
            );
            // The target of CONNECT is a host: what the parser refuses is refused as well.
            let (status, head, _) = ask(&daemon, &request);
            if method == "CONNECT" && status == 400 {
                continue;
            }
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get, head\r\n"), "{head}");
            assert!(!head.contains("access-control"), "{head}");
        }
    }
    // The control socket takes commands, each by its one method.
    for (method, path, allowed) in [
        ("GET", "/v1/reload", "post"),
        ("POST", "/v1/status", "get,head"),
        ("DELETE", "/v1/cache/flush", "post"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let (status, head, _) = raw(unix(&daemon), request.as_bytes()).expect("an answer");
        assert_eq!(status, 405, "{method} {path}");
        assert!(head.contains(&format!("allow: {allowed}\r\n")), "{head}");
    }
}

#[test]
fn every_response_keeps_browsers_from_making_more_of_it() {
    let daemon = Daemon::start(ESTATE);
    let check = |head: &str, what: &str| {
        for header in [
            "content-type: ",
            "x-content-type-options: nosniff\r\n",
            "cache-control: no-store\r\n",
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{what} lacks {header}: {head}");
        }
        assert!(!head.contains("access-control") && !head.contains("unsafe-inline"), "{what}: {head}");
    };
    for path in PATHS {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n\r\n");
        check(&ask(&daemon, &request).1, path);
    }
    check(&ask(&daemon, "POST / HTTP/1.1\r\nhost: localhost\r\n\r\n").1, "405");
    check(&ask(&daemon, "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n").1, "421");
    for path in ["/v1/status", "/v1/nothing", "/v1/explain", "/v1/explain?name=.."] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let (_, head, _) = raw(unix(&daemon), request.as_bytes()).expect("an answer");
        check(&head, path);
    }
    // The digest in the policy is that of the page's style, or the page would have none.
    let (_, head, page) = ask(&daemon, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    let digest = style_digest(style);
    assert!(head.contains(&format!("'sha256-{}'", digest.to_ascii_lowercase())), "{digest}: {head}");
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains(" on"), "{page}");
}

fn style_digest(style: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(<sha2::Sha256 as sha2::Digest>::digest(style))
}

#[test]
fn requests_are_bounded_in_size() {
    let daemon = Daemon::start(ESTATE);
    let long = "x".repeat(600);
    let (status, ..) = ask(&daemon, &format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert_eq!(status, 414);
    let huge = "x".repeat(20_000);
    let (status, ..) = ask(&daemon, &format!("GET /{huge} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert!(matches!(status, 414 | 431), "{status}");
    let (status, ..) = ask(&daemon, &format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {huge}\r\n\r\n"));
    assert_eq!(status, 431);
    let many = "x: y\r\n".repeat(200);
    let (status, ..) = ask(&daemon, &format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"));
    assert_eq!(status, 431);
    for body in ["content-length: 1000000000", "transfer-encoding: chunked"] {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{body}\r\n\r\n");
        assert_eq!(ask(&daemon, &request).0, 413, "{body}");
        let request = format!("POST /v1/sync/now HTTP/1.1\r\nhost: x\r\n{body}\r\n\r\n");
        assert_eq!(raw(unix(&daemon), request.as_bytes()).expect("an answer").0, 413, "{body}");
    }
    let none = "GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(ask(&daemon, none).0, 200);
}

#[test]
fn a_head_that_trickles_in_ends_in_time_and_one_request_is_all() {
    let daemon = Daemon::start(ESTATE);
    let mut slow = tcp(&daemon);
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: local").expect("sent");
    // Two requests in one connection: the first is answered, and the connection ends.
    let twice = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(2);
    let (status, head, body) = ask(&daemon, &twice);
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert!(head.contains("connection: close"), "{head}");
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200"), "{rest:?}");
}

#[test]
fn connections_are_bounded_and_what_exceeds_is_counted() {
    let mut daemon = Daemon::start(ESTATE);
    let held: Vec<TcpStream> = (0..70).map(|_| tcp(&daemon)).collect();
    let refused = |daemon: &Daemon| -> u64 {
        // The control socket has room of its own; it has no metrics, a place becomes free for those.
        daemon.http("/metrics").map_or(0, |answer| {
            let line =
                answer.body.lines().find_map(|l| l.strip_prefix("hubdns_admin_connections_refused_total "));
            line.and_then(|count| count.parse().ok()).unwrap_or(0)
        })
    };
    let is_closed = |stream: &TcpStream| {
        stream.set_nonblocking(true).expect("non-blocking");
        matches!(stream.peek(&mut [0]), Ok(0))
    };
    daemon.wait_until("what exceeds is closed", |_| held.iter().filter(|held| is_closed(held)).count() >= 6);
    assert_eq!(daemon.control("GET", "/readyz").expect("an answer").status, 200);
    drop(held);
    daemon.wait_until("there is room again and the refused are counted", |daemon| refused(daemon) >= 6);
}

#[test]
fn names_that_a_stranger_can_point_at_us_are_not_answered() {
    let mut daemon = Daemon::start(ESTATE);
    let port = daemon.admin.port();
    let status = |daemon: &Daemon, path: &str, host: &str| {
        ask(daemon, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).0
    };
    for host in ["127.0.0.1", "localhost", "hubdns", "[::1]", &format!("127.0.0.1:{port}")] {
        assert_eq!(status(&daemon, "/metrics", host), 200, "{host}");
    }
    let before = forbidden(&daemon);
    let strangers = ["evil.example", "127.0.0.1.evil.example:9153", "hubdns.corp.example"];
    for host in strangers {
        for path in ["/", "/metrics", "/v1/findings", "/nothing"] {
            assert_eq!(status(&daemon, path, host), 421, "{host} {path}");
        }
        for probe in ["/livez", "/readyz"] {
            assert_eq!(status(&daemon, probe, host), 200, "{host} {probe}");
        }
    }
    assert_eq!(forbidden(&daemon), before + 12, "each is counted");
    assert_eq!(ask(&daemon, "GET /metrics HTTP/1.1\r\n\r\n").0, 400, "no name");
    assert_eq!(ask(&daemon, "GET /metrics HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").0, 400, "two names");
    assert_eq!(ask(&daemon, "GET /metrics HTTP/1.0\r\n\r\n").0, 200, "HTTP/1.0 need not say");
    let absolute = "GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(ask(&daemon, absolute).0, 421);

    daemon.rewrite(&format!("{ESTATE}\n[admin]\nhosts = [\"HubDNS.corp.example.\"]\n"));
    daemon.signal("HUP");
    daemon.wait_until("the name is answered", |daemon| {
        status(daemon, "/metrics", "hubdns.corp.example") == 200
    });
    assert_eq!(status(&daemon, "/metrics", "evil.example"), 421);
}

#[test]
fn outsiders_learn_nothing_whatever_they_say_of_themselves() {
    let daemon = Daemon::start(&format!("{ESTATE}\n[admin]\nallow = [\"10.0.0.0/8\"]\n"));
    for request in [
        "POST / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\n",
        // Who asks is who has connected, whatever is said.
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 10.1.1.1\r\nx-real-ip: 10.1.1.1\r\n\
         forwarded: for=10.1.1.1\r\n\r\n",
    ] {
        let (status, head, body) = ask(&daemon, request);
        assert_eq!((status, body.as_str()), (403, "forbidden\n"), "{request}");
        assert!(head.contains("nosniff"), "{head}");
    }
}
