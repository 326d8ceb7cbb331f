//! The table of who answers what, `PEERS.md`: written by `peers.rs`, and held
//! to name every case, none that is gone, and no failure of ours.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::case::load;
use crate::stream;

/// Where it is.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/PEERS.md")
}

/// The titles of all cases, by their RFC.
fn titles() -> BTreeSet<String> {
    let streams = stream::CASES.iter().map(stream::Case::title);
    load().iter().map(crate::case::Case::title).chain(streams).collect()
}

/// What is wrong with the table, a line each.
pub(crate) fn problems() -> Vec<String> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    problems_of(&text, &titles())
}

fn problems_of(text: &str, titles: &BTreeSet<String>) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| RFC "));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    let named: BTreeSet<String> =
        rows.iter().filter_map(|row| row.first()).map(|title| format!("RFC {title}")).collect();
    let missing = titles.difference(&named).map(|title| format!("not in the table: {title}"));
    let gone = named.difference(titles).map(|title| format!("no such case: {title}"));
    let passes = |row: &[&str]| row.get(1) == Some(&"pass");
    let ours = rows.iter().filter(|row| !passes(row));
    let ours = ours.map(|row| format!("hubdns does not pass: {}", row.join(" | ")));
    missing.chain(gone).chain(ours).collect()
}

#[test]
fn a_table_that_lacks_a_case_or_shows_a_failure_is_found() {
    let titles = BTreeSet::from(["RFC 1 section 2: a".to_owned(), "RFC 1 section 2: b".to_owned()]);
    let good = "| RFC 1 section 2: a | pass | fail |\n| RFC 1 section 2: b | pass | n/a |\n";
    assert!(problems_of(good, &titles).is_empty());
    assert_eq!(problems_of("", &titles).len(), 2);
    assert_eq!(problems_of(&good.replace("pass | n/a", "fail: SERVFAIL | n/a"), &titles).len(), 1);
    assert_eq!(problems_of(&good.replace(": b", ": c"), &titles).len(), 2);
}
