//! What hubdns answers, asked like a client: each listen address, by UDP and
//! by TCP, and the types that must be denied because the public ones exist.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::report::{Hop, HopKind};
use super::words::{code, list};
use crate::admin::path::NamePath;
use crate::routes::dns::{Answer, AskError, Question, Transport, ask};
use crate::wire::{Name, Rcode, Rtype};

/// What the answers are compared with.
pub(super) struct Expected<'a> {
    pub(super) name: &'a NamePath,
    pub(super) ours: bool,
    pub(super) flat: bool,
    pub(super) closed: bool,
}

/// The answers of one server.
struct Asked {
    udp: Result<Answer, AskError>,
    tcp: Result<Answer, AskError>,
    aaaa: Result<Answer, AskError>,
    https: Result<Answer, AskError>,
}

/// Asks `server`; the hop, and the addresses that it answered.
pub(super) async fn check(
    expected: &Expected<'_>,
    qname: &Name,
    server: SocketAddr,
    timeout: Duration,
) -> (Hop, Vec<IpAddr>) {
    let a = Question::new(qname.clone(), Rtype::A);
    let aaaa = Question::new(qname.clone(), Rtype::AAAA);
    let https = Question::new(qname.clone(), Rtype::HTTPS);
    let (udp, tcp, aaaa, https) = tokio::join!(
        ask(server, &a, Transport::Udp, timeout),
        ask(server, &a, Transport::Tcp, timeout),
        ask(server, &aaaa, Transport::Udp, timeout),
        ask(server, &https, Transport::Udp, timeout),
    );
    let asked = Asked { udp, tcp, aaaa, https };
    let took = |asked: &Result<Answer, AskError>| asked.as_ref().ok().map(|answer| answer.took);
    let hop = judge(expected, &asked).about(server);
    let hop = hop.took("udp", took(&asked.udp)).took("tcp", took(&asked.tcp));
    let addresses = [&asked.udp, &asked.tcp].into_iter().flatten().flat_map(Answer::addresses).collect();
    (hop, addresses)
}

fn judge(expected: &Expected<'_>, asked: &Asked) -> Hop {
    if let Some(hop) = silence(asked) {
        return hop;
    }
    let (Ok(udp), Ok(tcp)) = (&asked.udp, &asked.tcp) else {
        return Hop::skipped(HopKind::Answer, "not asked");
    };
    let both = [(Transport::Udp, udp), (Transport::Tcp, tcp)];
    if let Some((_, answer)) = both.iter().find(|(_, answer)| answer.rcode == Rcode::REFUSED) {
        return Hop::failed(
            HopKind::Answer,
            "refused",
            code(answer),
            "The address that this host asks from is not in server.allow; ask from a client's network, or \
             add the prefix.",
        );
    }
    let wrong = both.iter().find_map(|(transport, answer)| {
        let hop = if expected.ours && expected.name.held {
            private(expected, answer)
        } else if expected.ours {
            denied(expected, answer)
        } else {
            foreign(answer)
        };
        hop.map(|mut hop| {
            hop.text = format!("by {}: {}", transport.label(), hop.text);
            hop
        })
    });
    if let Some(hop) = wrong {
        return hop;
    }
    if expected.ours && expected.name.held {
        return negative(expected, asked).unwrap_or_else(|| right(expected, udp));
    }
    if expected.ours {
        return Hop::ok(
            HopKind::Answer,
            format!("denied, as a name of yours without a record: {}", code(udp)),
        );
    }
    let addresses = udp.addresses();
    if addresses.is_empty() {
        return Hop::ok(HopKind::Answer, format!("{}, no address", code(udp)));
    }
    Hop::ok(HopKind::Answer, format!("answers {}", list(&addresses)))
}

/// Nothing by one of the transports, or by none.
fn silence(asked: &Asked) -> Option<Hop> {
    let kind = HopKind::Answer;
    match (&asked.udp, &asked.tcp) {
        (Err(udp), Err(_)) => Some(Hop::failed(
            kind,
            "silent",
            format!("neither UDP nor TCP: {udp}"),
            "See whether the service runs and listens there (hubdns status, ss -ulnp), and whether a host \
             firewall drops port 53.",
        )),
        (Ok(_), Err(error)) => Some(Hop::failed(
            kind,
            "no-tcp",
            format!("answers by UDP and not by TCP: {error}"),
            "Open TCP port 53 as well: resolvers ask again by TCP after a truncated answer.",
        )),
        (Err(error), Ok(_)) => Some(Hop::failed(
            kind,
            "no-udp",
            format!("answers by TCP and not by UDP: {error}"),
            "Open UDP port 53, and see whether a firewall rate-limits it.",
        )),
        (Ok(_), Ok(_)) => None,
    }
}

/// What is wrong with the answer for a name that is held.
fn private(expected: &Expected<'_>, answer: &Answer) -> Option<Hop> {
    let failed =
        |problem, text: String, advice: &str| Some(Hop::failed(HopKind::Answer, problem, text, advice));
    let defect = "This is a defect of hubdns, or another server answers at this address.";
    if answer.is_truncated() {
        return failed(
            "truncated",
            "the answer is truncated".to_owned(),
            "Fewer addresses for one name fit into UDP.",
        );
    }
    if answer.rcode != Rcode::NOERROR {
        return failed("rcode", format!("{} for a name that is held", code(answer)), defect);
    }
    let got = answer.addresses();
    let views = expected.name.views.iter().map(|(_, addresses)| addresses);
    let same = |wanted: &Vec<IpAddr>| {
        let mut wanted = wanted.clone();
        wanted.sort_unstable();
        wanted.retain(IpAddr::is_ipv4);
        wanted == got
    };
    if !std::iter::once(&expected.name.addresses).chain(views).any(same) {
        let text = format!("answers {} and holds {}", list(&got), list(&expected.name.addresses));
        return failed(
            "address",
            text,
            "Another server answers at this address, or the record changed a moment ago: run it again.",
        );
    }
    let is_registry = !expected.name.private_link.is_empty();
    let target = || answer.targets().first().map(ToString::to_string);
    if is_registry && !expected.flat && target().as_deref() != Some(expected.name.private_link.as_str()) {
        return failed("chain", format!("no CNAME to {}", expected.name.private_link), defect);
    }
    let mut ttls: Vec<u32> = answer.answer.iter().map(|rr| rr.ttl).collect();
    ttls.sort_unstable();
    ttls.dedup();
    if ttls.len() > 1 {
        let ttls: Vec<String> = ttls.iter().map(ToString::to_string).collect();
        return failed("ttl", format!("the chain has several TTLs: {}", ttls.join(", ")), defect);
    }
    None
}

/// What is wrong with the answer for a name of ours that no record covers.
fn denied(expected: &Expected<'_>, answer: &Answer) -> Option<Hop> {
    if answer.rcode == Rcode::NXDOMAIN || !expected.closed {
        return None;
    }
    let text = format!("{} for a name of yours without a record", code(answer));
    Some(Hop::failed(
        HopKind::Answer,
        "not-denied",
        text,
        "This is a defect of hubdns, or another server answers at this address.",
    ))
}

fn foreign(answer: &Answer) -> Option<Hop> {
    let kind = HopKind::Answer;
    if answer.rcode == Rcode::SERVFAIL {
        return Some(Hop::failed(kind, "servfail", code(answer), "The upstreams below say why."));
    }
    answer.is_private_zone_denial().then(|| {
        Hop::warning(
            kind,
            "hidden-by-private-zone",
            "NXDOMAIN by a private zone of Azure that lacks the name",
            "A private-link zone hides the registries of others: set forward.fallback to an upstream \
             outside, or NxDomainRedirect on the zone's virtual network link.",
        )
    })
}

/// The types that must be denied, for names that are held.
fn negative(expected: &Expected<'_>, asked: &Asked) -> Option<Hop> {
    let types = [("AAAA", Rtype::AAAA, &asked.aaaa), ("HTTPS", Rtype::HTTPS, &asked.https)];
    types.into_iter().find_map(|(word, rtype, asked)| {
        if rtype == Rtype::AAAA && expected.name.has_aaaa {
            return None;
        }
        let problem = match asked {
            Err(error) => format!("{word}: {error}"),
            Ok(answer) if answer.rcode != Rcode::NOERROR => format!("{word}: {}", code(answer)),
            Ok(answer) if answer.answer.iter().any(|rr| rr.rtype == rtype) => {
                format!("{word} is answered: clients that prefer it leave the private path")
            }
            Ok(answer) if answer.soa().is_none() => {
                format!("{word}: NODATA without an SOA, which no cache keeps")
            }
            Ok(_) => return None,
        };
        let advice = "This is a defect of hubdns, or another server answers at this address.";
        Some(Hop::failed(HopKind::Answer, "negative", problem, advice))
    })
}

fn right(expected: &Expected<'_>, answer: &Answer) -> Hop {
    let got = answer.addresses();
    let view = expected.name.views.iter().find(|(_, addresses)| {
        let mut addresses = addresses.clone();
        addresses.sort_unstable();
        addresses == got && got != expected.name.addresses
    });
    let what = view.map_or_else(|| "right".to_owned(), |(name, _)| format!("right for view {name}"));
    Hop::ok(HopKind::Answer, format!("{what} by UDP and TCP; AAAA and HTTPS denied"))
}
