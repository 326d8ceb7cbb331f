//! The DNS server in front of hubdns: the questions that tell where its
//! conditional forwarders lead. What they mean is decided in `forwarder`.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;

use super::forwarder::{Evidence, Goes, Seen, Verdict, judge};
use super::report::{Hop, HopKind};
use super::words::is_public;
use crate::admin::path::{NameKind, NamePath, RegistryPath};
use crate::routes::dns::{Answer, AskError, Question, Transport, ask};
use crate::wire::{Name, Rcode, Rtype};

/// Questions to one server at a time: it serves others too.
const AT_A_TIME: usize = 4;

/// Asks `server` for the names of `registry`; `reference` is where hubdns itself answers.
pub(super) async fn check(
    registry: &RegistryPath,
    server: SocketAddr,
    reference: Option<SocketAddr>,
    timeout: Duration,
) -> Hop {
    let asker = Asker { server, reference, timeout };
    let tcp = asker.login_by_tcp(registry).await;
    let evidence = asker.evidence(registry, tcp).await;
    let verdict = judge(&evidence);
    verdict.to_hop(&evidence).about(server).took("udp", evidence.took)
}

struct Asker {
    server: SocketAddr,
    reference: Option<SocketAddr>,
    timeout: Duration,
}

impl Asker {
    async fn login_by_tcp(&self, registry: &RegistryPath) -> Option<AskError> {
        let login = registry.login.parse().ok()?;
        ask(self.server, &Question::new(login, Rtype::A), Transport::Tcp, self.timeout).await.err()
    }

    async fn evidence(&self, registry: &RegistryPath, tcp: Option<AskError>) -> Evidence {
        let mut evidence = Evidence { tcp, ..Evidence::default() };
        let held = registry.names.iter().filter(|name| name.held);
        let asked = futures::stream::iter(held.map(|name| self.name(name))).buffered(AT_A_TIME);
        for (name, seen, took, validation) in asked.collect::<Vec<_>>().await {
            evidence.validation |= validation;
            evidence.took = evidence.took.max(took);
            evidence.names.push((name, seen));
        }
        if let Some(login) = registry.names.iter().find(|name| !name.private_link.is_empty()) {
            let target = NamePath { name: login.private_link.clone(), ..login.clone() };
            if login.held {
                let (name, seen, _, validation) = self.name(&target).await;
                evidence.validation |= validation;
                evidence.target = Some((name, seen));
            }
            let (public, private) = fresh_names(login);
            (evidence.public, evidence.private) =
                tokio::join!(self.goes(public, Shape::Public), self.goes(private, Shape::Private));
        }
        evidence
    }

    /// What the server says of `name`, and whether only its validation stands in the way.
    async fn name(&self, name: &NamePath) -> (String, Seen, Option<Duration>, bool) {
        let Ok(qname) = name.name.parse::<Name>() else {
            return (name.name.clone(), Seen::Empty, None, false);
        };
        let (asked, validation) = self.ask(&qname).await;
        let took = asked.as_ref().ok().map(|answer| answer.took);
        (name.name.clone(), seen(name, &asked), took, validation)
    }

    /// A question for addresses by UDP, by TCP where the answer is cut off, and
    /// once more with CD where it fails.
    async fn ask(&self, qname: &Name) -> (Result<Answer, AskError>, bool) {
        let mut question = Question::new(qname.clone(), Rtype::A);
        let mut asked = ask(self.server, &question, Transport::Udp, self.timeout).await;
        if asked.as_ref().is_ok_and(|answer| answer.is_truncated() || answer.is_cut_off(Rtype::A)) {
            asked = ask(self.server, &question, Transport::Tcp, self.timeout).await;
        }
        if asked.as_ref().is_ok_and(|answer| answer.rcode == Rcode::SERVFAIL) {
            question.checking_disabled = true;
            let unchecked = ask(self.server, &question, Transport::Udp, self.timeout).await;
            let validates = unchecked.as_ref().is_ok_and(|answer| answer.rcode != Rcode::SERVFAIL);
            return (asked, validates);
        }
        (asked, false)
    }

    /// Whether a fresh name gets the answer that hubdns gives.
    async fn goes(&self, name: Option<Name>, shape: Shape) -> Goes {
        let (Some(name), Some(reference)) = (name, self.reference) else { return Goes::Unknown };
        let question = Question::new(name.clone(), Rtype::A);
        let ours = ask(reference, &question, Transport::Udp, self.timeout).await;
        let Some(mark) = ours.ok().and_then(|answer| Mark::of(&answer, shape)) else { return Goes::Unknown };
        let (mut theirs, validation) = self.ask(&name).await;
        if validation {
            let question = Question { checking_disabled: true, ..question };
            theirs = ask(self.server, &question, Transport::Udp, self.timeout).await;
        }
        match theirs {
            Ok(answer) if answer.rcode == Rcode::SERVFAIL || answer.rcode == Rcode::REFUSED => Goes::Unknown,
            Ok(answer) if Mark::of(&answer, shape).as_ref() == Some(&mark) => Goes::Here,
            Ok(_) => Goes::Elsewhere,
            Err(_) => Goes::Unknown,
        }
    }
}

/// Names below the registry in a region that does not exist: nobody has
/// them cached, only hubdns leads the first to the second, and denies that.
fn fresh_names(login: &NamePath) -> (Option<Name>, Option<Name>) {
    let region = format!("doctor{:08x}", rand::random::<u32>());
    let below = |name: &str, levels: usize| {
        let mut name: Name = name.parse().ok()?;
        let label = name.labels().next()?.to_vec();
        for _ in 0..levels {
            name = name.parent()?;
        }
        name.child(b"data").ok()?.child(region.as_bytes()).ok()?.child(&label).ok()
    };
    // A data or regional name has two labels more than the login name.
    let levels = if login.kind == NameKind::Login { 1 } else { 3 };
    (below(&login.name, levels), below(&login.private_link, levels))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Public,
    Private,
}

/// By what an answer of hubdns for a fresh name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// The CNAME to the private-link name, which only hubdns makes.
    Leads(Name),
    /// The SOA of the zone that denies it, whose serial is our generation.
    Denied(Name, Name, u32),
}

impl Mark {
    fn of(answer: &Answer, shape: Shape) -> Option<Self> {
        if shape == Shape::Public
            && let Some(target) = answer.targets().into_iter().next()
        {
            return Some(Self::Leads(target));
        }
        if answer.rcode != Rcode::NXDOMAIN {
            return None;
        }
        let (owner, mname, serial) = answer.soa()?;
        // Without the zone's own denial the name was forwarded: it marks nothing.
        answer.is_private_zone_denial().then_some(Self::Denied(owner, mname, serial))
    }
}

fn seen(name: &NamePath, asked: &Result<Answer, AskError>) -> Seen {
    let answer = match asked {
        Err(error) => return Seen::Silent(*error),
        Ok(answer) => answer,
    };
    match answer.rcode {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Seen::Denied,
        Rcode::REFUSED => return Seen::Refused,
        _ => return Seen::Failed,
    }
    let got = answer.addresses();
    let ttl =
        answer.answer.iter().filter(|rr| rr.address().is_some()).map(|rr| rr.ttl).max().unwrap_or_default();
    let views = name.views.iter().map(|(_, addresses)| addresses);
    let same = |wanted: &Vec<std::net::IpAddr>| {
        let mut wanted: Vec<_> = wanted.iter().filter(|address| address.is_ipv4()).copied().collect();
        wanted.sort_unstable();
        wanted == got
    };
    if got.is_empty() {
        Seen::Empty
    } else if std::iter::once(&name.addresses).chain(views).any(same) {
        Seen::Right { longer_than_told: (ttl > name.ttl).then_some((ttl, name.ttl)) }
    } else if got.iter().any(|address| is_public(*address)) {
        Seen::Public(got)
    } else {
        Seen::Other(got, ttl)
    }
}

impl Verdict {
    fn to_hop(self, evidence: &Evidence) -> Hop {
        let (text, advice) = (self.text(evidence), self.advice());
        match self.state(evidence) {
            super::report::State::Ok => Hop::ok(HopKind::Via, text),
            super::report::State::Warning => Hop::warning(HopKind::Via, self.problem(evidence), text, advice),
            super::report::State::Failed => Hop::failed(HopKind::Via, self.label(), text, advice),
            super::report::State::Skipped => Hop::skipped(HopKind::Via, text),
        }
    }
}
