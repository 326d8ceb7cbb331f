//! `hubdns records`: every RRset that is held, with where it comes from.

use clap::Args;
use hyper::Method;

use super::source::Inspected;
use super::{CliError, client, text};
use crate::admin::view::{OriginRow, RecordRow};
use crate::wire::{Name, Rtype};

#[derive(Debug, Args)]
pub(super) struct Records {
    #[command(flatten)]
    from: Inspected,
    /// Only names at or below this one
    #[arg(long, value_name = "SUFFIX")]
    name: Option<Name>,
    /// Only records of this source (its name in the configuration)
    #[arg(long)]
    source: Option<String>,
    /// Only records of this type
    #[arg(long = "type", value_name = "TYPE")]
    rtype: Option<Rtype>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Records {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut rows = match self.from.offline()? {
            Some(inspected) => inspected.records(),
            None => client::ask(&self.from.socket(), Method::GET, "/v1/records")?,
        };
        rows.retain(|row: &RecordRow| self.matches(row));
        if self.json {
            return text::print(&text::json(&rows)?);
        }
        text::print(&table(&rows))
    }

    fn matches(&self, row: &RecordRow) -> bool {
        let named = self
            .name
            .as_ref()
            .is_none_or(|suffix| row.name.parse::<Name>().is_ok_and(|name| name.is_at_or_below(suffix)));
        let typed = self.rtype.is_none_or(|rtype| row.rtype == rtype.to_string());
        let sourced = self
            .source
            .as_ref()
            .is_none_or(|source| row.origin.as_ref().is_some_and(|origin| origin.source == *source));
        named && typed && sourced
    }
}

/// One record a line: what a `grep` finds is whole.
fn table(rows: &[RecordRow]) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let mut line = |data: &str, view: &str, origin: &OriginRow| {
            lines.push([
                text::plain(&row.name),
                text::plain(&row.rtype),
                row.ttl.to_string(),
                text::plain(data),
                text::plain(view),
                age(origin),
                text::plain(&origin.source),
                text::plain(&origin.id),
            ]);
        };
        let origin = row.origin.clone().unwrap_or_default();
        row.data.iter().for_each(|data| line(data, "-", &origin));
        for variant in &row.variants {
            let origin = variant.origin.clone().unwrap_or_default();
            variant.data.iter().for_each(|data| line(data, &variant.view, &origin));
        }
    }
    if rows.iter().any(|row| !row.variants.is_empty()) {
        return text::table(["NAME", "TYPE", "TTL", "DATA", "VIEW", "AGE", "SOURCE", "RESOURCE"], &lines);
    }
    // Nobody gets other answers than the rest: a column of dashes says nothing.
    let lines: Vec<[String; 7]> = lines
        .into_iter()
        .map(|[name, rtype, ttl, data, _, age, source, id]| [name, rtype, ttl, data, age, source, id])
        .collect();
    text::table(["NAME", "TYPE", "TTL", "DATA", "AGE", "SOURCE", "RESOURCE"], &lines)
}

fn age(origin: &OriginRow) -> String {
    if origin.read_at == 0 { "-".to_owned() } else { text::age(origin.read_at) }
}
