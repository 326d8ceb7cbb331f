//! The one definition of every key: the `table!` macro makes of it the struct
//! that mirrors a TOML table, its defaults, the reader and the documentation.
//!
//! The reader walks `toml`'s parsed document instead of deriving
//! `serde::Deserialize`, because serde stops at the first error: here every
//! unknown key, wrong type and value out of range is reported in one pass,
//! each with its line. A default is written as TOML and goes through the same
//! reader, so that what the documentation shows is what the code does.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::Report;

/// Smallest and largest value of a number.
pub(super) type Limits = Option<(u64, u64)>;

/// Something that a key can be set to.
pub(super) trait Value: Sized {
    /// What may stand there, as in "expected ...".
    fn expected(limits: Limits) -> String;

    /// Stands in for a value that is missing or could not be read.
    fn blank() -> Self;

    /// Reads a value; `None` if it was reported.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, limits: Limits, report: &mut Report) -> Option<Self>;

    /// Reads a value in the place of this one. Tables keep what is not mentioned.
    fn update(&mut self, value: &Spanned<DeValue<'_>>, key: &str, limits: Limits, report: &mut Report) {
        if let Some(read) = Self::read(value, key, limits, report) {
            *self = read;
        }
    }

    /// The keys of a table, or of each table of a list.
    fn nested() -> Option<Nested> {
        None
    }
}

/// The keys below a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nested {
    pub(super) fields: &'static [Field],
    pub(super) is_list: bool,
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Field {
    /// As the macro got it: a key that is a word of Rust starts with `r#`.
    pub(super) raw_key: &'static str,
    /// What it does.
    pub(super) doc: &'static str,
    /// The default as TOML, or `required`.
    pub(super) default: &'static str,
    pub(super) limits: Limits,
    pub(super) expected: fn(Limits) -> String,
    pub(super) nested: fn() -> Option<Nested>,
}

impl Field {
    pub(super) fn key(&self) -> &'static str {
        key_of(self.raw_key)
    }
}

pub(super) fn key_of(raw: &'static str) -> &'static str {
    raw.strip_prefix("r#").unwrap_or(raw)
}

/// A TOML table with known keys.
pub(super) trait Table: Default {
    const FIELDS: &'static [Field];

    /// Sets one key; whether there is such a key.
    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>, path: &str, report: &mut Report) -> bool;
}

/// Defines tables: struct, defaults, reader and documentation in one.
///
/// Each key is written `key: Type = default, in smallest..=largest;`, the
/// default as TOML, or `required` for a key that must be there.
macro_rules! table {
    ($(
        $(#[doc = $table_doc:literal])+
        struct $Table:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $Type:ty = $default:tt $(, in $min:literal ..= $max:literal)?;
            )+
        }
    )+) => { $(
        $(#[doc = $table_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub(super) struct $Table {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                $(#[doc = concat!("From ", stringify!($min), " to ", stringify!($max), ".")])?
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                pub(super) $key: $Type,
            )+
        }

        impl Default for $Table {
            fn default() -> Self {
                Self { $($key: $crate::config::schema::default_of(stringify!($default)),)+ }
            }
        }

        impl $crate::config::schema::Table for $Table {
            const FIELDS: &'static [$crate::config::schema::Field] = &[
                $($crate::config::schema::Field {
                    raw_key: stringify!($key),
                    doc: concat!($($doc, "\n"),+),
                    default: stringify!($default),
                    limits: $crate::config::schema::table!(@limits $($min, $max)?),
                    expected: <$Type as $crate::config::schema::Value>::expected,
                    nested: <$Type as $crate::config::schema::Value>::nested,
                },)+
            ];

            fn set(
                &mut self,
                key: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                path: &str,
                report: &mut $crate::config::error::Report,
            ) -> bool {
                $(if key == $crate::config::schema::key_of(stringify!($key)) {
                    let limits = $crate::config::schema::table!(@limits $($min, $max)?);
                    $crate::config::schema::Value::update(&mut self.$key, value, path, limits, report);
                    return true;
                })+
                false
            }
        }
    )+ };
    (@limits) => { None };
    (@limits $min:literal, $max:literal) => { Some(($min, $max)) };
}
pub(super) use table;

/// The value that a default's TOML stands for.
pub(super) fn default_of<T: Value>(text: &str) -> T {
    if text == REQUIRED {
        return T::blank();
    }
    let mut report = Report::new("default", text);
    let value = DeValue::parse(text).expect("a default is TOML");
    // Limits are not needed: a test reads every default through them.
    T::read(&value, "", None, &mut report).expect("a default is of its key's type")
}

/// Stands for the default of a key that must be there.
pub(super) const REQUIRED: &str = "required";

impl<T: Table> Value for T {
    fn expected(_: Limits) -> String {
        "a table".to_owned()
    }

    fn blank() -> Self {
        T::default()
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, limits: Limits, report: &mut Report) -> Option<Self> {
        let mut table = T::default();
        table.update(value, key, limits, report);
        Some(table)
    }

    fn update(&mut self, value: &Spanned<DeValue<'_>>, key: &str, limits: Limits, report: &mut Report) {
        match value.get_ref() {
            DeValue::Table(table) => read_table(self, table, key, report),
            other => report.add(key, describe(other), Self::expected(limits)),
        }
    }

    fn nested() -> Option<Nested> {
        Some(Nested { fields: T::FIELDS, is_list: false })
    }
}

/// A list of values or of tables. An element that cannot be read leaves a
/// blank, so that the others keep their numbers.
impl<T: Value> Value for Vec<T> {
    fn expected(limits: Limits) -> String {
        match T::nested() {
            Some(_) => "a list of tables, each under its heading in double brackets".to_owned(),
            None => format!("a list, each item {}", T::expected(limits)),
        }
    }

    fn blank() -> Self {
        Self::new()
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, limits: Limits, report: &mut Report) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            report.add(key, describe(value.get_ref()), Self::expected(limits));
            return None;
        };
        let mut list = Self::with_capacity(array.len());
        for (i, item) in array.iter().enumerate() {
            let key = format!("{key}[{i}]");
            report.note(&key, item.span().start, item.get_ref().is_table());
            list.push(T::read(item, &key, limits, report).unwrap_or_else(T::blank));
        }
        Some(list)
    }

    fn nested() -> Option<Nested> {
        T::nested().map(|nested| Nested { is_list: true, ..nested })
    }
}

/// Reads all keys of a table; unknown and missing ones are reported.
pub(super) fn read_table<T: Table>(into: &mut T, table: &DeTable<'_>, path: &str, report: &mut Report) {
    for (key, value) in table {
        let full = join(path, &bare_or_quoted(key));
        report.note(&full, key.span().start, value.get_ref().is_table());
        if !into.set(key.get_ref(), value, &full, report) {
            let expected = expected_key(T::FIELDS, path, key.get_ref());
            report.add(&full, "an unknown key", expected);
        }
    }
    for field in T::FIELDS {
        let full = join(path, field.key());
        if field.default == REQUIRED && !report.is_written(&full) {
            report.add(&full, "no such key", (field.expected)(field.limits));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key as TOML writes it, quoted and escaped where it is not a plain word,
/// so that a message is one line whatever the file holds.
fn bare_or_quoted<'a>(key: &'a Spanned<DeString<'_>>) -> Cow<'a, str> {
    let key = key.get_ref();
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.len() <= MAX_SHOWN && key.chars().all(is_bare) {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(quote(key))
    }
}

/// Names the nearest known key: in this table, else the same word elsewhere.
fn expected_key(fields: &'static [Field], path: &str, unknown: &str) -> String {
    const NEAR: f64 = 0.85;
    let likeness = |field: &Field| strsim::jaro_winkler(field.key(), unknown);
    let nearest = fields.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    if let Some(field) = nearest.filter(|field| unknown.len() <= MAX_SHOWN && likeness(field) >= NEAR) {
        return format!("the nearest known key, {}", field.key());
    }
    let elsewhere = super::keys::paths().into_iter().find(|key| key.rsplit('.').next() == Some(unknown));
    if let Some(key) = elsewhere {
        return format!("that key in its own place, {key}");
    }
    let known: Vec<_> = fields.iter().map(Field::key).collect();
    let place = if path.is_empty() { "one of the tables" } else { "one of" };
    format!("{place} {}", known.join(", "))
}

/// Text from the file that is longer is cut.
const MAX_SHOWN: usize = 60;

/// Text from outside, quoted, escaped and cut.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What a value is, for "found ...".
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(list) if list.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
