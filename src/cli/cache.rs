//! `hubdns cache`: what the running daemon keeps of its upstreams' responses.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use hyper::Method;

use super::source::ControlArgs;
use super::{CliError, client, text};
use crate::admin::view::cache::{CacheFlushed, CacheListing, CacheRow};
use crate::wire::Name;

#[derive(Debug, Args)]
pub(super) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the responses that are kept, by name
    List(List),
    /// Show the responses that are kept for a name, record by record
    Show(One),
    /// Forget the responses of a name and of all names below it; without a name all of them
    Flush(Flush),
}

#[derive(Debug, Args)]
struct List {
    /// Only names at or below this one
    #[arg(value_name = "SUFFIX")]
    name: Option<Name>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct One {
    /// The name
    name: Name,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Flush {
    /// The name, or the suffix of many
    #[arg(value_name = "NAME|SUFFIX")]
    name: Option<Name>,
    /// This name alone, and none below it
    #[arg(long, requires = "name")]
    exact: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Output {
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Cache {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.command {
            Command::List(List { name, limit, output }) => {
                let path = path("list", name.as_ref(), &format!("limit={limit}"));
                let listing: CacheListing = client::ask(&output.control.socket(), Method::GET, &path)?;
                output.print(&listing, table)
            }
            Command::Show(One { name, output }) => {
                let path = path("show", Some(&name), "exact=true");
                let listing: CacheListing = client::ask(&output.control.socket(), Method::GET, &path)?;
                output.print(&listing, |listing| records(&name, listing))
            }
            Command::Flush(Flush { name, exact, output }) => {
                let path = path("flush", name.as_ref(), &format!("exact={exact}"));
                let flushed: CacheFlushed = client::ask(&output.control.socket(), Method::POST, &path)?;
                output.print(&flushed, |flushed| format!("{} responses forgotten\n", flushed.removed))
            }
        }
    }
}

impl Output {
    fn print<T: serde::Serialize>(&self, told: &T, page: impl FnOnce(&T) -> String) -> Result<(), CliError> {
        text::print(&if self.json { text::json(told)? } else { page(told) })
    }
}

fn path(what: &str, name: Option<&Name>, rest: &str) -> String {
    let name = name.map(|name| format!("&name={}", client::encode(&name.to_string())));
    format!("/v1/cache/{what}?{rest}{}", name.unwrap_or_default())
}

fn table(listing: &CacheListing) -> String {
    let lines: Vec<[String; 9]> = listing.rows.iter().map(line).collect();
    let head = ["NAME", "TYPE", "RCODE", "STATE", "TTL", "AGE", "BYTES", "RULE", "NOTES"];
    let mut page = if lines.is_empty() { String::new() } else { text::table(head, &lines) };
    if listing.left_out > 0 {
        let _ = writeln!(page, "and {} more: --limit shows them", listing.left_out);
    }
    let _ =
        writeln!(page, "{} responses in {} of {} bytes", listing.entries, listing.bytes, listing.max_bytes);
    page
}

fn line(row: &CacheRow) -> [String; 9] {
    [
        text::plain(&row.name),
        text::plain(&row.rtype),
        text::plain(&row.rcode),
        text::plain(&row.state),
        row.ttl.to_string(),
        row.age.to_string(),
        row.bytes.to_string(),
        text::plain(&row.rule),
        notes(row),
    ]
}

fn notes(row: &CacheRow) -> String {
    let mut notes: Vec<String> = row.bits.iter().map(|bit| text::plain(bit)).collect();
    if row.class != "IN" {
        notes.push(text::plain(&row.class));
    }
    if row.failing {
        notes.push("failing".to_owned());
    }
    if row.fallback {
        notes.push("fallback".to_owned());
    }
    notes.join(",")
}

fn records(name: &Name, listing: &CacheListing) -> String {
    let mut page = String::new();
    for row in &listing.rows {
        let notes = Some(notes(row)).filter(|notes| !notes.is_empty());
        let _ = writeln!(
            page,
            "{} {} {}, {}, TTL {} s, age {} s, rule {}{}",
            text::plain(&row.name),
            text::plain(&row.rtype),
            text::plain(&row.rcode),
            text::plain(&row.state),
            row.ttl,
            row.age,
            text::plain(&row.rule),
            notes.map_or_else(String::new, |notes| format!(", {notes}")),
        );
        let Some(response) = &row.response else { continue };
        for (section, lines) in [("answer", &response.answer), ("authority", &response.authority)] {
            for record in lines {
                let _ = writeln!(page, "  {section:9} {}", text::plain(record));
            }
        }
    }
    if page.is_empty() {
        let _ = writeln!(page, "nothing is kept for {}", text::plain(&name.to_string()));
    }
    page
}
