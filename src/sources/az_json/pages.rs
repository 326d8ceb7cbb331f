//! Envelopes and their pages: bare arrays and objects, ARM lists (`value`,
//! `nextLink`), Resource Graph (`data`, `$skipToken`), error bodies.
//!
//! A saved page does not say which page it is. So a chain of pages counts as
//! complete when its collection also has a page that no other follows; a
//! missing page in the middle of three cannot be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::sources::SourceError;
use crate::sources::resource::{Fields, ResourceId};

/// What a document holds.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The resources.
    pub(super) items: Vec<Value>,
    /// Where the next page is, if there is one.
    next: Option<String>,
    /// Resource Graph's count of all rows, which equal queries share.
    total: Option<u64>,
}

/// Takes the envelope off. Saved error bodies are errors.
pub(super) fn unwrap(value: Value, path: &Path) -> Result<Page, SourceError> {
    match value {
        Value::Array(items) => Ok(Page { items, ..Page::default() }),
        Value::Object(object) => unwrap_object(object, path),
        _ => Ok(Page::default()),
    }
}

fn unwrap_object(mut object: Map<String, Value>, path: &Path) -> Result<Page, SourceError> {
    if let Some(code) = error_code(&object) {
        return Err(SourceError::SavedError { path: path.to_owned(), code });
    }
    let is_resource = object.contains_key("id");
    match object.get("value") {
        Some(Value::Array(_) | Value::Null) if !is_resource => {
            let next = text(&object, &["nextLink", "@odata.nextLink"]);
            return Ok(Page { items: take_list(&mut object, "value"), next, total: None });
        }
        _ => {}
    }
    if !is_resource && object.get("data").is_some_and(|data| data.is_array() || data.get("rows").is_some()) {
        return graph(object, path);
    }
    Ok(Page { items: vec![Value::Object(object)], ..Page::default() })
}

/// A Resource Graph answer, as objects or as a table.
fn graph(mut object: Map<String, Value>, path: &Path) -> Result<Page, SourceError> {
    let next = text(&object, &["$skipToken", "skipToken", "skip_token"]);
    let total = ["totalRecords", "total_records"].iter().find_map(|key| object.get(*key)?.as_u64());
    let cut = ["resultTruncated", "result_truncated"].iter().any(|key| {
        let flag = object.get(*key);
        flag.and_then(Value::as_str) == Some("true") || flag.and_then(Value::as_bool) == Some(true)
    });
    if cut && next.is_none() {
        let next = "resultTruncated is true, without a skip token".to_owned();
        return Err(SourceError::Incomplete { path: path.to_owned(), next });
    }
    let items = match object.remove("data") {
        Some(Value::Array(items)) => items,
        Some(Value::Object(mut table)) => rows(&mut table),
        _ => Vec::new(),
    };
    Ok(Page { items, next, total })
}

/// Objects of a table's rows.
fn rows(table: &mut Map<String, Value>) -> Vec<Value> {
    let columns: Vec<String> = take_list(table, "columns")
        .iter()
        .filter_map(|column| Some(column.get("name")?.as_str()?.to_owned()))
        .collect();
    let to_object = |row: Value| match row {
        Value::Array(cells) => Value::Object(columns.iter().cloned().zip(cells).collect()),
        other => other,
    };
    take_list(table, "rows").into_iter().map(to_object).collect()
}

fn take_list(object: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match object.remove(key) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    let mut texts = keys.iter().filter_map(|key| object.get(*key)?.as_str());
    texts.find(|text| !text.is_empty()).map(str::to_owned)
}

/// The code of `{"error": {"code": …}}` or `{"code": …, "message": …}`.
fn error_code(object: &Map<String, Value>) -> Option<String> {
    let (bare, holder) = match object.get("error") {
        Some(Value::Object(inner)) => (false, inner),
        _ => (true, object),
    };
    let code = holder.get("code")?.as_str()?;
    let is_error = !bare || (holder.contains_key("message") && !holder.contains_key("id"));
    is_error.then(|| code.chars().filter(char::is_ascii_alphanumeric).take(64).collect())
}

/// The pages of each collection.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// Pages that others follow, by next link.
    open: BTreeMap<String, PathBuf>,
    /// Collections that items of last pages lie in.
    ended: BTreeSet<Collection>,
    /// Last pages without items: each may end one chain.
    empty_ends: usize,
    /// Resource Graph: rows seen and pages that others follow, by total.
    graph: BTreeMap<u64, Graph>,
}

#[derive(Debug, Default)]
struct Graph {
    rows: u64,
    open: Option<(PathBuf, String)>,
}

impl Chains {
    /// Notes a page.
    pub(super) fn add(&mut self, path: &Path, page: &Page) {
        if let Some(total) = page.total {
            let graph = self.graph.entry(total).or_default();
            graph.rows += page.items.len() as u64;
            if let Some(next) = &page.next {
                graph.open = Some((path.to_owned(), next.clone()));
            }
            return;
        }
        match &page.next {
            Some(next) => {
                self.open.insert(next.clone(), path.to_owned());
            }
            None if page.items.is_empty() => self.empty_ends += 1,
            None => {
                let ids = page.items.iter().filter_map(|item| Fields::of(item)?.id());
                self.ended.extend(ids.filter_map(|id| Collection::of_item(&id)));
            }
        }
    }

    /// Whether each chain has its end.
    pub(super) fn check(&self) -> Result<(), SourceError> {
        let mut empty_ends = self.empty_ends;
        let mut ended: BTreeSet<Option<Collection>> = BTreeSet::new();
        for (next, path) in &self.open {
            let collection = Collection::of_link(next);
            let by_items =
                collection.as_ref().is_some_and(|link| self.ended.iter().any(|end| link.holds(end)));
            if by_items || ended.contains(&collection) {
                continue;
            }
            if empty_ends == 0 {
                return Err(SourceError::Incomplete { path: path.clone(), next: next.clone() });
            }
            empty_ends -= 1;
            ended.insert(collection);
        }
        for (total, graph) in &self.graph {
            if let Some((path, next)) = graph.open.as_ref().filter(|_| graph.rows < *total) {
                return Err(SourceError::Incomplete { path: path.clone(), next: next.clone() });
            }
        }
        Ok(())
    }
}

/// What a list request lists, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Collection {
    /// The path before `/providers/`: subscription and perhaps resource group.
    scope: String,
    /// The path behind it: `microsoft.network/privatednszones/example/all`.
    provider: String,
}

impl Collection {
    fn of_item(id: &ResourceId) -> Option<Self> {
        let (parent, _) = id.lower.rsplit_once('/')?;
        Self::split(parent)
    }

    fn of_link(link: &str) -> Option<Self> {
        let lower = link.to_ascii_lowercase();
        let path = lower.split(['?', '#']).next()?;
        Self::split(path.get(path.find("/subscriptions/")?..)?)
    }

    fn split(path: &str) -> Option<Self> {
        let at = path.rfind("/providers/")?;
        let provider = path.get(at + "/providers/".len()..)?;
        Some(Self { scope: path.get(..at)?.to_owned(), provider: provider.to_owned() })
    }

    /// Whether items of `part` are among those that `self` lists: the same
    /// type in the same scope, or in a resource group of the subscription;
    /// `ALL` lists the record sets of every type.
    fn holds(&self, part: &Self) -> bool {
        let scope = part.scope == self.scope
            || part.scope.strip_prefix(&self.scope).is_some_and(|rest| rest.starts_with("/resourcegroups/"));
        let all = self.provider.strip_suffix("/all").filter(|zone| zone.contains("privatednszones/"));
        let provider = part.provider == self.provider
            || all.is_some_and(|zone| {
                let of = part.provider.rsplit_once('/');
                of.is_some_and(|(of, what)| of == zone && what != "virtualnetworklinks")
            });
        scope && provider
    }
}
