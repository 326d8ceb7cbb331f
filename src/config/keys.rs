//! The documentation of every key, from the definition that also reads them:
//! for the table in the README and the tests that compare it.

use std::fmt::Write as _;

use super::file::ConfigFile;
use super::schema::{Field, REQUIRED, Table};

/// One key, as documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Its path; `[]` stands behind a list of tables (`forward.rules[].suffix`).
    pub key: String,
    /// The default as TOML; `required` where there is none.
    pub default: String,
    /// What may stand there (`a whole number from 0 to 1024`).
    pub allowed: String,
    /// What it does, in one paragraph.
    pub doc: String,
}

/// All keys in reading order; tables and lists of tables stand for their keys.
pub fn keys() -> Vec<KeyDoc> {
    let mut keys = Vec::new();
    collect("", ConfigFile::FIELDS, &mut keys);
    keys
}

/// The table of all keys in Markdown, for the README.
pub fn keys_table() -> String {
    let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
    for KeyDoc { key, default, allowed: _, doc } in keys() {
        let default = if default == REQUIRED { default } else { format!("`{default}`") };
        let doc = doc.replace('|', "\\|");
        let _ = writeln!(table, "| `{key}` | {default} | {doc} |");
    }
    table
}

/// The paths of all keys.
pub(super) fn paths() -> Vec<String> {
    keys().into_iter().map(|doc| doc.key).collect()
}

fn collect(path: &str, fields: &'static [Field], keys: &mut Vec<KeyDoc>) {
    for field in fields {
        let key = if path.is_empty() { field.key().to_owned() } else { format!("{path}.{}", field.key()) };
        if let Some(nested) = (field.nested)() {
            let path = if nested.is_list { format!("{key}[]") } else { key };
            collect(&path, nested.fields, keys);
            continue;
        }
        let doc = field.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        let allowed = (field.expected)(field.limits);
        keys.push(KeyDoc { key, default: one_line(field.default), allowed, doc });
    }
}

/// The compiler may break a long default into lines when it makes text of it.
fn one_line(default: &str) -> String {
    default.split_whitespace().collect::<Vec<_>>().join(" ").replace("[ ", "[").replace(" ]", "]")
}
