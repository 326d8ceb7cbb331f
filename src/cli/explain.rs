//! `hubdns explain NAME [TYPE]`: what would be answered, and why.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Args;
use hyper::Method;

use super::source::Inspected;
use super::{CliError, client, text};
use crate::admin::view::{Explanation, ForwardRow, LostRow, OriginRow, RecordRow, ResponseRow};
use crate::wire::{Name, Rtype};

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The name to ask for
    name: Name,
    /// The type to ask for
    #[arg(default_value = "A")]
    rtype: Rtype,
    /// Answer as to this client: its view decides between endpoints
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    #[command(flatten)]
    from: Inspected,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), CliError> {
        let (name, rtype) = (self.name.to_string(), self.rtype.to_string());
        let client = self.client.map(|client| client.to_string());
        let explanation = if let Some(inspected) = self.from.offline()? {
            inspected.explain(&name, Some(&rtype), client.as_deref()).map_err(CliError::Refused)?
        } else {
            let mut path = format!("/v1/explain?name={}&type={rtype}", client::encode(&name));
            if let Some(client) = &client {
                let _ = write!(path, "&client={}", client::encode(client));
            }
            client::ask(&self.from.socket(), Method::GET, &path)?
        };
        if self.json {
            return text::print(&text::json(&explanation)?);
        }
        text::print(&render(&explanation))
    }
}

fn render(explanation: &Explanation) -> String {
    let mut page = String::new();
    let (name, rtype) = (text::plain(&explanation.name), text::plain(&explanation.rtype));
    let _ = writeln!(page, ";; question: {name} IN {rtype}");
    if let Some(client) = &explanation.client {
        let view = explanation.view.as_ref().map_or_else(|| "no view".to_owned(), |v| format!("view {v}"));
        let _ = writeln!(page, ";; client: {}, {}", text::plain(client), text::plain(&view));
    }
    let (outcome, rule) = (text::plain(&explanation.outcome), text::plain(&explanation.rule));
    let _ = writeln!(page, ";; {outcome}: {}", text::plain(&explanation.because));
    let _ = writeln!(page, ";; rule: {rule}, generation: {}", explanation.generation);
    if let Some(response) = &explanation.response {
        render_response(&mut page, response);
    }
    if let Some(forward) = &explanation.forward {
        render_forward(&mut page, forward);
    }
    if !explanation.origins.is_empty() {
        page.push_str("\n;; where it comes from\n");
        for row in &explanation.origins {
            render_origin(&mut page, row);
        }
    }
    if !explanation.lost.is_empty() {
        page.push_str("\n;; candidates that lost\n");
        for row in &explanation.lost {
            render_lost(&mut page, row);
        }
    }
    page
}

fn render_response(page: &mut String, response: &ResponseRow) {
    let (rcode, flags) = (text::plain(&response.rcode), text::plain(&response.flags.join(" ")));
    let _ = writeln!(page, "\n;; status: {rcode}, flags: {flags}");
    for (title, section) in [("answer", &response.answer), ("authority", &response.authority)] {
        if !section.is_empty() {
            let _ = writeln!(page, ";; {title} section");
        }
        for line in section {
            let _ = writeln!(page, "{}", text::plain(line));
        }
    }
}

fn render_forward(page: &mut String, forward: &ForwardRow) {
    let suffix = text::plain(&forward.suffix);
    let _ = writeln!(page, "\n;; forward rule: {suffix} to group {}", text::plain(&forward.group));
    let _ = writeln!(page, ";; upstreams: {}", text::plain(&forward.upstreams.join(", ")));
    if !forward.fallback.is_empty() {
        let fallback = text::plain(&forward.fallback.join(", "));
        let _ = writeln!(page, ";; fallback, if Azure denies a private-link name: {fallback}");
    }
}

fn render_origin(page: &mut String, row: &RecordRow) {
    let data = text::plain(&row.data.join(", "));
    let _ = writeln!(page, "{} {} {data}", text::plain(&row.name), text::plain(&row.rtype));
    if let Some(origin) = &row.origin {
        let _ = writeln!(page, "    {}", origin_line(origin));
    }
    for variant in &row.variants {
        let (view, data) = (text::plain(&variant.view), text::plain(&variant.data.join(", ")));
        let _ = writeln!(page, "    to clients of view {view}: {data}");
        if let Some(origin) = &variant.origin {
            let _ = writeln!(page, "        {}", origin_line(origin));
        }
    }
}

fn render_lost(page: &mut String, row: &LostRow) {
    let data = text::plain(&row.data.join(", "));
    let _ = writeln!(page, "{} {} {data}", text::plain(&row.name), text::plain(&row.rtype));
    let _ = writeln!(page, "    {}", text::plain(&row.because));
    if !row.views.is_empty() {
        let _ = writeln!(page, "    but clients get it of view {}", text::plain(&row.views.join(", ")));
    }
    let _ = writeln!(page, "    {}", origin_line(&row.origin));
}

fn origin_line(origin: &OriginRow) -> String {
    let (source, rank, id) =
        (text::plain(&origin.source), text::plain(&origin.rank), text::plain(&origin.id));
    if origin.read_at == 0 {
        return format!("from {source}, {rank}: {id}");
    }
    format!("from {source}, {rank}: {id} (read {} ago)", text::age(origin.read_at))
}
