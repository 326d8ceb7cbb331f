//! `hubdns status`: what the running daemon serves and how it fares.

use std::fmt::Write as _;

use clap::Args;
use hyper::Method;

use super::source::ControlArgs;
use super::{CliError, client, text};
use crate::admin::view;

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Result<(), CliError> {
        let status: view::Status = client::ask(&self.control.socket(), Method::GET, "/v1/status")?;
        if self.json {
            return text::print(&text::json(&status)?);
        }
        text::print(&render(&status))
    }
}

fn render(status: &view::Status) -> String {
    let mut page = String::new();
    let ready = if status.unready.is_empty() {
        "ready".to_owned()
    } else {
        format!("not ready: {}", status.unready.join("; "))
    };
    let rows = [
        ("state", ready),
        ("version", format!("{} ({})", status.version, status.commit)),
        ("started", format!("{} ago", text::age(status.started_at))),
        ("configuration", format!("{}, applied {} ago", status.config, text::age(status.config_applied_at))),
        ("listening", status.listen.join(", ")),
        ("admin", status.admin.join(", ")),
        ("state directory", status.state_dir.clone()),
        ("generation", status.generation.to_string()),
        ("public aliases", status.aliases.to_string()),
        ("own registries", status.own.join(", ")),
    ];
    for (key, value) in rows {
        let _ = writeln!(page, "{key:16} {}", text::plain(&value));
    }
    let view::FindingCounts { error, warning, info } = status.findings;
    let look = if error + warning + info == 0 { "" } else { " (hubdns findings)" };
    let _ = writeln!(page, "{:16} {error} error, {warning} warning, {info} info{look}", "findings");
    page.push('\n');
    page.push_str(&listeners(status));
    page.push('\n');
    let zones: Vec<_> = status
        .zones
        .iter()
        .map(|zone| [text::plain(&zone.apex), zone.rrsets.to_string(), text::plain(&zone.policy)])
        .collect();
    page.push_str(&text::table(["ZONE", "RRSETS", "OTHER NAMES"], &zones));
    page.push('\n');
    let sources: Vec<_> = status
        .sources
        .iter()
        .map(|source| {
            let read = source.last_success_at.map_or_else(|| "never".to_owned(), text::age);
            let state = source.error.as_deref().map_or_else(|| "ok".to_owned(), text::plain);
            [text::plain(&source.name), read, source.facts.to_string(), state]
        })
        .collect();
    page.push_str(&text::table(["SOURCE", "READ", "FACTS", "STATE"], &sources));
    page.push('\n');
    let rules: Vec<_> = status
        .rules
        .iter()
        .map(|rule| {
            let group = status.groups.iter().find(|group| group.name == rule.group);
            let upstreams = group.map(|group| group.upstreams.join(", ")).unwrap_or_default();
            [text::plain(&rule.suffix), text::plain(&rule.group), text::plain(&upstreams)]
        })
        .collect();
    page.push_str(&text::table(["FORWARD", "GROUP", "UPSTREAMS"], &rules));
    page
}

fn listeners(status: &view::Status) -> String {
    let rows: Vec<_> = status
        .listeners
        .iter()
        .map(|listener| {
            let proxied = if listener.proxied { ", behind a proxy" } else { "" };
            let connections = listener.connections.map(|count| count.to_string()).unwrap_or_default();
            let certificate = match (&listener.certificate_problem, listener.certificate_not_after) {
                (Some(problem), _) => text::plain(problem),
                (None, Some(end)) => good_for(end),
                (None, None) => String::new(),
            };
            let transport = text::plain(&listener.transport) + proxied;
            [text::plain(&listener.address), transport, connections, certificate]
        })
        .collect();
    text::table(["LISTENER", "TRANSPORT", "CONNECTIONS", "CERTIFICATE"], &rows)
}

/// How much longer a certificate is good that ends at `end`, Unix seconds.
fn good_for(end: u64) -> String {
    match end.saturating_sub(crate::events::unix_now()) {
        0 => "ended".to_owned(),
        seconds @ 1..=172_799 => format!("good for {} h", seconds / 3600),
        seconds => format!("good for {} d", seconds / 86_400),
    }
}
