//! What the upstreams answer for a name, each by UDP and by TCP. For names
//! that are held hubdns does not ask them; what they say shows what clients
//! get that do not come through hubdns, and what the forwarder must cope with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::report::{Hop, HopKind, State, UpstreamReport};
use super::words::{code, is_public, list, outcome};
use crate::admin::path::{NamePath, UpstreamRow};
use crate::routes::dns::{Answer, AskError, Question, Transport, ask};
use crate::routes::dnssec::probe_dnssec;
use crate::wire::{Name, Rcode, Rtype};

/// Where Azure DNS answers, inside virtual networks only.
const AZURE_DNS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(168, 63, 129, 16));

/// Asks one upstream for one name.
pub(super) async fn check(
    name: &NamePath,
    ours: bool,
    qname: &Name,
    upstream: &UpstreamRow,
    timeout: Duration,
) -> Hop {
    let question = Question::new(qname.clone(), Rtype::A);
    let fallback = if upstream.fallback { ", fallback" } else { "" };
    let took = |asked: &Result<Answer, AskError>| asked.as_ref().ok().map(|answer| answer.took);
    match upstream.transport.as_str() {
        "tls" | "https" => {
            let text = "encrypted: hubdns_forward_stream_failures_total tells how it fares";
            let about =
                format!("{} ({}{fallback}, {})", upstream.address, upstream.group, upstream.transport);
            return Hop::skipped(HopKind::Upstream, text).about(about);
        }
        "tcp" => {
            let tcp = ask(upstream.address, &question, Transport::Tcp, timeout).await;
            return judge(name, ours, &tcp, &tcp)
                .about(format!("{} ({}{fallback})", upstream.address, upstream.group))
                .took("tcp", took(&tcp));
        }
        _ => {}
    }
    let (udp, tcp) = tokio::join!(
        ask(upstream.address, &question, Transport::Udp, timeout),
        ask(upstream.address, &question, Transport::Tcp, timeout),
    );
    judge(name, ours, &udp, &tcp)
        .about(format!("{} ({}{fallback})", upstream.address, upstream.group))
        .took("udp", took(&udp))
        .took("tcp", took(&tcp))
}

fn judge(name: &NamePath, ours: bool, udp: &Result<Answer, AskError>, tcp: &Result<Answer, AskError>) -> Hop {
    let kind = HopKind::Upstream;
    let (by_udp, by_tcp) = match (udp, tcp) {
        (Ok(udp), Ok(tcp)) => (udp, tcp),
        (Err(error), Err(_)) if ours => {
            return Hop::warning(
                kind,
                "silent",
                format!("neither UDP nor TCP: {error}"),
                "hubdns does not ask it for this name; names that are not held get SERVFAIL.",
            );
        }
        (Err(error), Err(_)) => {
            return Hop::failed(
                kind,
                "silent",
                format!("neither UDP nor TCP: {error}"),
                "Names that are not held cannot be forwarded there. Azure DNS answers only inside a virtual \
                 network, and drops what exceeds 1,000 queries a second.",
            );
        }
        (Ok(answer), Err(error)) => {
            return Hop::warning(
                kind,
                "no-tcp",
                format!("{} by UDP; by TCP {error}", outcome(&Ok(answer.clone()))),
                "Truncated answers are asked for again by TCP: let port 53 through.",
            );
        }
        (Err(error), Ok(answer)) => {
            let text = format!("{} by TCP; by UDP {error}", outcome(&Ok(answer.clone())));
            let advice = "hubdns asks by UDP first: let port 53 through.";
            let hop = if ours { Hop::warning } else { Hop::failed };
            return hop(kind, "no-udp", text, advice.to_owned());
        }
    };
    if by_udp.is_cut_off(Rtype::A) && !by_udp.is_truncated() && !by_tcp.addresses().is_empty() {
        return Hop::warning(
            kind,
            "cut-off",
            "cuts the answer off by UDP without saying so (no TC)",
            "hubdns asks again by TCP by itself; other resolvers in front of this upstream may not.",
        );
    }
    if outcome(udp) != outcome(tcp) {
        return Hop::warning(
            kind,
            "transports-differ",
            format!("{} by UDP, {} by TCP", outcome(udp), outcome(tcp)),
            "Something between here and the upstream answers one of the two.",
        );
    }
    if ours { own(name, by_udp) } else { foreign(by_udp) }
}

/// The answer for a name of ours.
fn own(name: &NamePath, answer: &Answer) -> Hop {
    let kind = HopKind::Upstream;
    let not_asked = "hubdns never asks it for this name; clients that do";
    if answer.rcode == Rcode::NXDOMAIN {
        let (whose, problem) = if answer.is_private_zone_denial() {
            ("by a private zone of Azure that is linked there and lacks the name", "private-zone-denies")
        } else {
            ("", "denies")
        };
        let text = format!("NXDOMAIN {whose}").trim_end().to_owned();
        return Hop::warning(kind, problem, text, format!("{not_asked} are denied."));
    }
    if answer.rcode != Rcode::NOERROR {
        let text = code(answer);
        let advice = "It refuses or fails: names that are not held may not be resolved there.";
        return Hop::warning(kind, "rcode", text, advice);
    }
    let got = answer.addresses();
    let mut wanted = name.addresses.clone();
    wanted.sort_unstable();
    if got.is_empty() {
        return Hop::warning(
            kind,
            "no-data",
            "NOERROR without an address",
            format!("{not_asked} get nothing."),
        );
    }
    if got == wanted {
        return Hop::ok(kind, "answers the private address as well");
    }
    if got.iter().any(|address| is_public(*address)) {
        return Hop::warning(
            kind,
            "public",
            format!("answers publicly: {}", list(&got)),
            format!(
                "{not_asked} leave the private path: point them at hubdns, or link the private zone there."
            ),
        );
    }
    Hop::warning(
        kind,
        "other-address",
        format!("answers {}, hubdns {}", list(&got), list(&wanted)),
        format!("{not_asked} get another address: the private zone that it answers from is out of date."),
    )
}

fn foreign(answer: &Answer) -> Hop {
    let kind = HopKind::Upstream;
    match answer.rcode {
        Rcode::NXDOMAIN if answer.is_private_zone_denial() => Hop::warning(
            kind,
            "hidden-by-private-zone",
            "NXDOMAIN by a private zone of Azure that lacks the name",
            "A private-link zone hides the registries of others; forward.fallback asks elsewhere.",
        ),
        Rcode::NXDOMAIN => Hop::ok(kind, "NXDOMAIN: the name does not exist"),
        Rcode::NOERROR => {
            let got = answer.addresses();
            let how = if got.iter().any(|address| is_public(*address)) { "public" } else { "private" };
            if got.is_empty() {
                Hop::ok(kind, "NOERROR without an address")
            } else {
                Hop::ok(kind, format!("answers {} ({how})", list(&got)))
            }
        }
        _ => Hop::failed(kind, "rcode", code(answer), "It refuses or fails; see its own log."),
    }
}

/// What holds of an upstream whatever the name: does it answer, and does it
/// hand on signatures?
pub(super) async fn whole(group: String, address: SocketAddr, timeout: Duration) -> UpstreamReport {
    let dnssec = probe_dnssec(address, timeout).await;
    let (state, text, advice) = match dnssec {
        Some(true) => (State::Ok, "hands on DNSSEC signatures", ""),
        Some(false) => (
            State::Ok,
            "strips DNSSEC signatures",
            "Validating resolvers in front of hubdns need an exemption (validate-except, domain-insecure), \
             or a forward rule of their own to an upstream that keeps signatures.",
        ),
        None if address.ip() == AZURE_DNS => (
            State::Failed,
            "does not answer for the root",
            "Azure DNS answers only inside a virtual network; elsewhere set forward.default.",
        ),
        None => (
            State::Failed,
            "does not answer for the root",
            "Names that are not held are forwarded there and get SERVFAIL. See that port 53 is open to it \
             by UDP and TCP, and that it recurses for this host.",
        ),
    };
    UpstreamReport { group, address, dnssec, state, text: text.to_owned(), advice: advice.to_owned() }
}
