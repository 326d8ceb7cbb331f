//! What the upstreams answer for a name, each by UDP and by TCP, or by the one
//! transport that it is asked by. For names that are held hubdns does not ask
//! them; what they say shows what clients get that do not come through hubdns,
//! and what the forwarder must cope with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::report::{Hop, HopKind, State, Timing, UpstreamReport};
use super::stream::{self, Connections};
use super::words::{code, is_public, list, outcome};
use crate::admin::path::{NamePath, UpstreamRow};
use crate::config::UpstreamTransport;
use crate::forward::streams::StreamError;
use crate::forward::upstream::Upstream;
use crate::routes::dns::{Answer, AskError, Question, Transport, ask};
use crate::routes::dnssec;
use crate::wire::{Name, Rcode, Rtype};

/// Where Azure DNS answers, inside virtual networks only.
const AZURE_DNS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(168, 63, 129, 16));

/// Asks one upstream for one name.
pub(super) async fn check(
    name: &NamePath,
    ours: bool,
    qname: &Name,
    row: &UpstreamRow,
    connections: &Connections,
    timeout: Duration,
) -> Hop {
    let question = Question::new(qname.clone(), Rtype::A);
    let fallback = if row.fallback { ", fallback" } else { "" };
    let Some(upstream) = stream::upstream(row) else {
        let text = format!("asked by {}, which this version does not know", row.transport);
        let about = format!("{} ({}{fallback})", row.address, row.group);
        return Hop::skipped(HopKind::Upstream, text).about(about);
    };
    let about = format!("{upstream} ({}{fallback})", row.group);
    if upstream.is_stream() {
        let (_, step) = stream::transport(upstream.transport());
        let asked = connections.ask(&upstream, &question).await;
        let took = asked.as_ref().ok().map(|answer| answer.took);
        return by_stream(name, ours, &upstream, asked).about(about).took(step, took);
    }
    let took = |asked: &Result<Answer, AskError>| asked.as_ref().ok().map(|answer| answer.took);
    let (udp, tcp) = tokio::join!(
        ask(upstream.address(), &question, Transport::Udp, timeout),
        ask(upstream.address(), &question, Transport::Tcp, timeout),
    );
    judge(name, ours, &udp, &tcp).about(about).took("udp", took(&udp)).took("tcp", took(&tcp))
}

/// What came by the one transport that the upstream is asked by.
fn by_stream(name: &NamePath, ours: bool, upstream: &Upstream, asked: Result<Answer, StreamError>) -> Hop {
    let error = match asked {
        Ok(answer) if ours => return own(name, &answer),
        Ok(answer) => return foreign(&answer),
        Err(error) => error,
    };
    let (by, _) = stream::transport(upstream.transport());
    let (word, text) = (stream::word(error.fault), format!("by {by}: {error}"));
    let advice = stream::advice(error.fault, upstream);
    if ours {
        let advice =
            format!("hubdns does not ask it for this name; names that are not held get SERVFAIL. {advice}");
        return Hop::warning(HopKind::Upstream, word, text, advice);
    }
    Hop::failed(HopKind::Upstream, word, text, advice)
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

/// What holds of an upstream whatever the name: can it be had, does it answer,
/// does it hand on signatures?
pub(super) async fn whole(
    group: &str,
    upstream: &Arc<Upstream>,
    connections: &Connections,
    timeout: Duration,
) -> UpstreamReport {
    let mut report = UpstreamReport {
        group: group.to_owned(),
        address: upstream.address(),
        upstream: upstream.label().to_owned(),
        dnssec: None,
        state: State::Ok,
        text: String::new(),
        advice: String::new(),
        milliseconds: Vec::new(),
    };
    if upstream.is_stream() {
        match connections.connect(upstream).await {
            Ok(time) => report.milliseconds.push(Timing::new("connect", time)),
            Err(error) => {
                let advice = stream::advice(error.fault, upstream);
                return UpstreamReport { state: State::Failed, text: error.to_string(), advice, ..report };
            }
        }
    }
    let answer = if upstream.is_stream() {
        connections.ask(upstream, &dnssec::question()).await.map_err(|error| {
            (format!("does not answer for the root: {error}"), stream::advice(error.fault, upstream))
        })
    } else {
        let asked = dnssec::ask_root(upstream.address(), timeout).await;
        asked.map_err(|error| (format!("does not answer for the root: {error}"), silent(upstream)))
    };
    let (_, step) = stream::transport(upstream.transport());
    report.milliseconds.extend(answer.as_ref().ok().map(|answer| Timing::new(step, answer.took)));
    let signs = answer.and_then(|answer| {
        let no_answer = || (format!("does not answer for the root: {}", code(&answer)), silent(upstream));
        dnssec::judge(&answer).ok_or_else(no_answer)
    });
    let proved = stream::proved(upstream);
    report.dnssec = signs.as_ref().ok().copied();
    match signs {
        Ok(true) => report.text = format!("{proved}hands on DNSSEC signatures"),
        Ok(false) => {
            report.text = format!("{proved}strips DNSSEC signatures");
            "Validating resolvers in front of hubdns need an exemption (validate-except, \
                             domain-insecure), or a forward rule of their own to an upstream that keeps signatures."
                .clone_into(&mut report.advice);
        }
        Err((text, advice)) => (report.state, report.text, report.advice) = (State::Failed, text, advice),
    }
    report
}

/// What to do about an upstream that can be reached, or is asked over UDP, and
/// does not resolve the root.
fn silent(upstream: &Upstream) -> String {
    if upstream.address().ip() == AZURE_DNS {
        return "Azure DNS answers only inside a virtual network; elsewhere set forward.default.".to_owned();
    }
    let open = match upstream.transport() {
        UpstreamTransport::Udp => "that port 53 is open to it by UDP and TCP, and ",
        UpstreamTransport::Tcp | UpstreamTransport::Tls | UpstreamTransport::Https => "",
    };
    format!(
        "Names that are not held are forwarded there and get SERVFAIL. See {open}that it recurses for this host."
    )
}
