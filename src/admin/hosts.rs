//! By which names the admin listeners may be asked.
//!
//! A page in somebody's browser may load from any host. If the owner of that
//! page lets its own name lead to our address once it has loaded (DNS
//! rebinding), the browser takes us for the page's own host, and hands the page
//! what we answer: the browser sits inside the admitted prefixes, the page does
//! not. No header of a response prevents this, but the request says by which
//! name it was made: `Host` is the browser's, a page cannot set it.
//!
//! So a name is answered only if no stranger can give it an address: none at
//! all (an address), `localhost`, a name without a dot (the search list of the
//! browser's own machine completes those), or one that the configuration
//! lists. `/livez` and `/readyz` say next to nothing and are answered by any
//! name, so that no probe takes a node out of its load balancer for a name.
//!
//! The control socket needs none of this: no browser opens Unix sockets.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode, Uri, Version};

/// Whether a request by these names may be answered, as far as `is_called` knows names with
/// a dot; else the status that it gets.
///
/// # Errors
/// 400 for none (which HTTP/1.1 does not allow, RFC 9112 section 3.2) or several, 421 for a
/// name that is not ours (RFC 9110 section 15.5.20).
pub(super) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    is_called: impl Fn(&str) -> bool,
) -> Result<(), StatusCode> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && version >= Version::HTTP_11) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let first = first.map(|host| host.to_str().map_err(|_| StatusCode::BAD_REQUEST)).transpose()?;
    // A target in absolute form names a host too, and then both must be ours.
    let target = uri.authority().map(axum::http::uri::Authority::as_str);
    let is_ours = |host: &str| is_safe(host, &is_called);
    if first.into_iter().chain(target).all(is_ours) { Ok(()) } else { Err(StatusCode::MISDIRECTED_REQUEST) }
}

/// Whether no stranger can give `authority` (a host, perhaps with a port) our address.
fn is_safe(authority: &str, is_called: impl Fn(&str) -> bool) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(host, port)| {
            host.parse::<Ipv6Addr>().is_ok() && port.strip_prefix(':').is_none_or(is_port) && is_end(port)
        });
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    if !is_port(port) {
        return false;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if host.is_empty() || !host.bytes().all(is_plain) {
        return false;
    }
    // RFC 6761 section 6.3: names below `localhost` are loopback.
    host.parse::<Ipv4Addr>().is_ok()
        || !host.contains('.')
        || host.ends_with(".localhost")
        || is_called(&host)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What may follow an address in brackets: nothing, or a port.
fn is_end(text: &str) -> bool {
    text.is_empty() || text.starts_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(host: &str) -> bool {
        host == "hubdns.corp.example"
    }

    #[test]
    fn strangers_names_are_not_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9153",
            "[::1]",
            "[::1]:9153",
            "localhost:9153",
            "LocalHost.",
            "a.localhost",
            "hubdns",
            "HubDNS.corp.example:9153",
            "hubdns.corp.example.",
        ] {
            assert!(is_safe(host, is_called), "{host}");
        }
        for host in [
            "",
            ":9153",
            "evil.example",
            "evil.example:9153",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "hubdns.corp.example.evil.example",
            "xhubdns.corp.example",
            "127.0.0.1@evil.example",
            "a b",
            "[::1",
            "[::1]x",
            "[::1].evil.example",
            "[evil.example]",
            "127.0.0.1:x",
            "1:2:3",
            "<script>",
        ] {
            assert!(!is_safe(host, is_called), "{host}");
        }
    }

    #[test]
    fn one_host_and_no_other_in_the_target() {
        let status = |version, uri: &str, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, axum::http::HeaderValue::from_static(host));
            }
            check(version, &uri.parse().unwrap(), &headers, is_called).map_err(|status| status.as_u16())
        };
        assert_eq!(status(Version::HTTP_11, "/metrics", &["127.0.0.1"]), Ok(()));
        assert_eq!(status(Version::HTTP_11, "http://127.0.0.1/metrics", &["hubdns"]), Ok(()));
        assert_eq!(status(Version::HTTP_10, "/metrics", &[]), Ok(()));
        assert_eq!(status(Version::HTTP_11, "/metrics", &[]), Err(400));
        assert_eq!(status(Version::HTTP_11, "/metrics", &["hubdns", "hubdns"]), Err(400));
        assert_eq!(status(Version::HTTP_11, "/metrics", &["evil.example"]), Err(421));
        assert_eq!(status(Version::HTTP_10, "/metrics", &["evil.example"]), Err(421));
        assert_eq!(status(Version::HTTP_11, "http://evil.example/metrics", &["127.0.0.1"]), Err(421));
    }
}
