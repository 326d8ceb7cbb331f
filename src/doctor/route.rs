//! From here to the address: TCP, TLS and HTTP, where the configuration lets
//! hubdns connect.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::report::{Hop, HopKind};
use crate::admin::path::{NameKind, NamePath, RouteRules};
use crate::config::Config;
use crate::routes::RouteProblem;
use crate::routes::check::{self, Checked, Target};
use crate::routes::tls::Trust;

/// Checks the way to `address`, or says why it does not.
pub(super) async fn check(
    name: &NamePath,
    address: IpAddr,
    rules: &RouteRules,
    trust: &Result<Trust, RouteProblem>,
    timeout: Duration,
) -> Hop {
    let kind = HopKind::Route;
    let to = SocketAddr::new(address, rules.port);
    if !Config::admits(&rules.connect_prefixes, address) {
        let key = if rules.connect_prefixes.is_empty() { "is empty" } else { "does not hold the address" };
        let text = format!("not connected: routes.connect_prefixes {key}");
        return Hop::skipped(kind, text).about(to);
    }
    let trust = match trust {
        Ok(trust) => trust,
        Err(problem) => {
            return Hop::failed(kind, problem.label(), problem.to_string(), problem.advice()).about(to);
        }
    };
    let target = Target { name: name.name.clone(), is_api: name.kind != NameKind::Data, address };
    let checked = check::check(&target, rules.port, trust, timeout).await;
    judge(&target, &checked)
        .about(to)
        .took("connect", checked.connect)
        .took("tls", checked.tls)
        .took("http", checked.http)
}

fn judge(target: &Target, checked: &Checked) -> Hop {
    let kind = HopKind::Route;
    let status = checked.status.unwrap_or_default();
    match &checked.problem {
        Some(problem) => Hop::failed(kind, problem.label(), problem.to_string(), problem.advice()),
        None if !target.is_api => {
            Hop::ok(kind, format!("TCP, TLS and certificate right; data endpoint reached (HTTP {status})"))
        }
        None if status == 401 && !checked.tells_realm => Hop::warning(
            kind,
            "no-realm",
            "a registry answers, and its 401 does not tell where to get a token",
            "A proxy may strip WWW-Authenticate: docker login needs it.",
        ),
        None => Hop::ok(kind, format!("TCP, TLS and certificate right; a registry answers (HTTP {status})")),
    }
}
