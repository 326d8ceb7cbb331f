//! The status page: one plain page without scripts, everything from outside
//! escaped.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::view::{FindingRow, Status};
use crate::outside::html as escape;

/// The zones, sources and findings that are shown; a page must stay small.
const MAX_ROWS: usize = 200;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>hubdns</title><style>";

/// All style that there is: the page's security policy admits this text and no other.
pub(super) const STYLE: &str = "\
body{font:15px/1.5 sans-serif;margin:2em;max-width:70em;color-scheme:light dark}\
table{border-collapse:collapse;margin:.5em 0 1.5em}th,td{text-align:left;padding:.2em 1em .2em 0;\
border-bottom:1px solid #8888;vertical-align:top;overflow-wrap:anywhere}.bad{color:#c33}\
th,.word{white-space:nowrap}";

const BODY: &str = "</style></head><body>\n";

/// The page for `status` and what is wrong.
pub(super) fn render(status: &Status, findings: &[FindingRow]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let mut page = [HEAD, STYLE, BODY].concat();
    page.push_str("<h1>hubdns</h1>\n");
    state(&mut page, status, now);
    page.push_str("<p><a href=\"/metrics\">metrics</a> · <a href=\"/readyz\">readyz</a> · ");
    page.push_str("<a href=\"/livez\">livez</a> · ");
    page.push_str("<a href=\"/v1/findings\">findings</a></p>\n");
    show_findings(&mut page, findings, now);
    let listeners = status.listeners.iter().map(|l| {
        let kind = if l.proxied { format!("{}, behind a proxy", l.transport) } else { l.transport.clone() };
        let connections = l.connections.map(|count| count.to_string()).unwrap_or_default();
        let left = l.certificate_not_after.map(|end| left(now, end)).unwrap_or_default();
        let problem =
            l.certificate_problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
        [l.address.clone(), kind, connections, left + &problem]
    });
    table(&mut page, "Listeners", ["address", "transport", "connections", "certificate"], listeners);
    let zones = status.zones.iter().map(|z| [z.apex.clone(), z.policy.clone(), z.rrsets.to_string()]);
    table(&mut page, "Zones", ["apex", "other names", "RRsets"], zones);
    let sources = status.sources.iter().map(|s| {
        let read = s.last_success_at.map_or_else(|| "never".to_owned(), |at| ago(now, at));
        let state = s.error.clone().unwrap_or_else(|| "ok".to_owned());
        [s.name.clone(), read, s.facts.to_string(), state]
    });
    table(&mut page, "Sources", ["source", "last read", "facts", "state"], sources);
    let groups = status.groups.iter().map(|g| {
        let role = if g.fallback { "fallback" } else { "" };
        [g.name.clone(), g.upstreams.join(", "), role.to_owned()]
    });
    table(&mut page, "Upstreams", ["group", "asks", ""], groups);
    let rules = status.rules.iter().map(|r| [r.suffix.clone(), r.group.clone()]);
    table(&mut page, "Forward rules", ["suffix", "group"], rules);
    page.push_str("</body></html>\n");
    page
}

/// What is wrong, the worst first: it comes before all that is well.
fn show_findings(page: &mut String, findings: &[FindingRow], now: u64) {
    page.push_str("<h2>Findings</h2>\n");
    if findings.is_empty() {
        page.push_str("<p>none</p>\n");
        return;
    }
    page.push_str(
        "<table><tr><th>severity</th><th>finding</th><th>since</th><th>what, and what to do</th></tr>\n",
    );
    for finding in findings.iter().take(MAX_ROWS) {
        let class = if finding.severity == "error" { "word bad" } else { "word" };
        let since = if finding.first_seen == 0 { String::new() } else { ago(now, finding.first_seen) };
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{}</td><td class=\"word\">{}</td><td class=\"word\">{since}</td>\
             <td><b>{}</b><br>{}<br><small>{}</small></td></tr>",
            escape(&finding.severity),
            escape(&finding.code),
            escape(&finding.name),
            with_commands(&finding.text),
            escape(&finding.resource_id),
        );
    }
    page.push_str("</table>\n");
    more(page, findings.len().saturating_sub(MAX_ROWS));
}

/// `text` with what stands in backquotes set as code.
fn with_commands(text: &str) -> String {
    let mut shown = String::new();
    let parts: Vec<&str> = text.split('`').collect();
    // An odd backquote is none of ours.
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    for (i, part) in parts.into_iter().enumerate() {
        let part = escape(part);
        let _ = if i % 2 == 1 { write!(shown, "<code>{part}</code>") } else { write!(shown, "{part}") };
    }
    shown
}

fn more(page: &mut String, left_out: usize) {
    if left_out > 0 {
        let _ = writeln!(page, "<p>and {left_out} more</p>");
    }
}

fn state(page: &mut String, status: &Status, now: u64) {
    if status.unready.is_empty() {
        page.push_str("<p>ready</p>\n");
    } else {
        let _ = writeln!(page, "<p class=\"bad\">not ready: {}</p>", escape(&status.unready.join("; ")));
    }
    let rows = [
        ["version".to_owned(), format!("{} ({})", status.version, status.commit)],
        ["started".to_owned(), ago(now, status.started_at)],
        ["configuration".to_owned(), format!("{}, {}", status.config, ago(now, status.config_applied_at))],
        ["listening".to_owned(), status.listen.join(", ")],
        ["state directory".to_owned(), status.state_dir.clone()],
        ["generation".to_owned(), status.generation.to_string()],
        ["public aliases".to_owned(), status.aliases.to_string()],
        ["own registries".to_owned(), status.own.len().to_string()],
    ];
    table(page, "State", ["", ""], rows.into_iter());
}

fn table<const N: usize>(
    page: &mut String,
    title: &str,
    columns: [&str; N],
    rows: impl ExactSizeIterator<Item = [String; N]>,
) {
    let left_out = rows.len().saturating_sub(MAX_ROWS);
    let _ = write!(page, "<h2>{title}</h2>\n<table>");
    if columns.iter().any(|column| !column.is_empty()) {
        page.push_str("<tr>");
        for column in columns {
            let _ = write!(page, "<th>{column}</th>");
        }
        page.push_str("</tr>\n");
    }
    for row in rows.take(MAX_ROWS) {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    more(page, left_out);
}

/// `42 s ago`: the page needs no time zone.
fn ago(now: u64, then: u64) -> String {
    match now.saturating_sub(then) {
        seconds @ 0..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7199 => format!("{} min ago", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// `for 42 d`: how much longer something is good.
fn left(now: u64, end: u64) -> String {
    match end.saturating_sub(now) {
        0 => "ended".to_owned(),
        seconds @ 1..=172_799 => format!("for {} h", seconds / 3600),
        seconds => format!("for {} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::SourceRow;

    #[test]
    fn outside_text_is_escaped() {
        let error = Some("<script>alert('1')</script>&\u{1b}[31m".to_owned());
        let source = SourceRow { name: "a\"b".to_owned(), error, ..SourceRow::default() };
        let text = "<img src=x> `a & b`".to_owned();
        let finding = FindingRow { name: "<b>".to_owned(), text, ..FindingRow::default() };
        let page = render(&Status { sources: vec![source], ..Status::default() }, &[finding]);
        assert!(!page.contains("<img") && page.contains("<b>&lt;b&gt;</b>"), "{page}");
        assert!(page.contains("<code>a &amp; b</code>"), "{page}");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\\u{1b}[31m"), "{page}");
        assert!(page.contains("a&quot;b"), "{page}");
    }

    #[test]
    fn long_tables_are_cut() {
        let finding = |i| FindingRow { name: format!("name-{i}"), ..FindingRow::default() };
        let findings: Vec<FindingRow> = (0..MAX_ROWS + 7).map(finding).collect();
        let page = render(&Status::default(), &findings);
        assert!(page.contains("and 7 more"));
        assert!(!page.contains(&format!("name-{MAX_ROWS}<")));
    }
}
