//! Both readers say the same of any file: random ones, of plain lines and odd
//! ones, some of them wrong.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const OWNERS: &[&str] = &[
    "a",
    "b",
    "B",
    "www",
    "a.b",
    "x.y.z",
    "*",
    "*.w",
    "@",
    "a.corp.example.",
    "B.Corp.Example.",
    "_s._tcp",
    "c-1",
];
const ODD_OWNERS: &[&str] = &["\\097", "a\\.b", "\"q\"", "q\\@r", "a@b", "é", "A\\066c"];
const WRONG_OWNERS: &[&str] = &["a..b", "x.example.org.", ".", "a\\"];
const MIDDLES: &[&str] = &[
    "",
    "",
    "",
    "60 ",
    "IN ",
    "in ",
    "60 IN ",
    "IN 5 ",
    "IN\t7 ",
    "0 ",
    "4294967295 ",
    "2147483648 ",
    "007 ",
];
const ODD_MIDDLES: &[&str] =
    &["1h ", "IN 1w2d ", "+5 ", "( 60 ) ", "60 (\n IN ) ", "1h30m IN ", "( ; a note\n ) "];
const WRONG_MIDDLES: &[&str] = &["CH ", "60 60 ", "IN IN ", "x ", "4294967296 "];
const DATA: &[&str] = &[
    "A 10.0.0.1",
    "A 10.0.0.2",
    "a 10.0.0.1",
    "AAAA fd00::1",
    "AAAA FD00::1",
    "NS ns",
    "NS Ns.Corp.Example.",
    "PTR p.example.org.",
    "A 10.0.0.1",
    "A 0.0.0.0",
];
const ODD_DATA: &[&str] = &[
    "TXT \"a b\" c",
    "TXT \"a ; b\"",
    "TXT \"a\nb\"",
    "MX 10 mx",
    "SRV 1 2 3 t",
    "A ( 10.0.0.3 )",
    "A (\n10.0.0.4\n)",
    "TYPE300 \\# 2 abcd",
    "A \\# 4 0a000005",
    "NS @",
    "NS .",
    "NS n\\.s",
    "TXT x ; \"note",
    "CAA 0 issue \"ca\"",
    "TYPE1 10.0.0.1",
    "RP a b",
    "TXT \"\\\"\"",
];
const WRONG_DATA: &[&str] = &[
    "A 10.0.0",
    "A 10.0.0.01",
    "A 10.0.0.256",
    "A 10.0.0.1 x",
    "AAAA ::g",
    "A",
    "",
    "NS",
    "NS a..b",
    "B 1",
    "A (",
    "A )",
    "TXT \"a",
    "CNAME c\nZ 60 A 10.0.0.1\nZ CNAME c",
    "@ 60 SOA ns h 1 2 3 4 5",
    "MX x y",
];
const CNAMES: [&str; 2] = ["CNAME T.corp.example.", "cname t.example.org."];
const ENDS: &[&str] = &["\n", "\n", "\n", " \n", "\t; note ( \"\n", ";n\n", "\r\n", " \r\n"];
const LINES: &[&str] = &[
    "\n",
    "; note\n",
    "  \n",
    " ; note \\\n",
    "$TTL 90\n",
    "$TTL 1h ; note\n",
    "$ttl 7\n",
    "$ORIGIN sub\n",
    "$ORIGIN Sub.corp.example.\n",
    "$ORIGIN corp.example.\n",
    "$ORIGIN corp.example.\n",
    "\r\n",
];
const ODD_LINES: &[&str] =
    &["$TTL +5\n", "$ORIGIN s\\117b\n", "( )\n", "\"$TTL\" 5\n", "$INCLUDE more\n", "$INCLUDE more x\n"];
const WRONG_LINES: &[&str] =
    &["$X 1\n", "$TTL x\n", "$ORIGIN ..\n", "\u{1}\n", ")\n", "$INCLUDE nothing\n", "$TTL 1 2\n"];

/// One in `odd` of the picks is odd, one in `wrong` wrong.
fn pick(lists: [&'static [&'static str]; 3], odd: u32, wrong: u32) -> impl Strategy<Value = &'static str> {
    let [plain, strange, bad] = lists.map(prop::sample::select);
    prop_oneof![1000 => plain, odd => strange, wrong => bad]
}

fn lines(odd: u32, wrong: u32) -> impl Strategy<Value = String> {
    let owners = prop_oneof![
        3 => pick([OWNERS, ODD_OWNERS, WRONG_OWNERS], odd, wrong).prop_map(str::to_owned),
        5 => (0..4000u32).prop_map(|n| format!("h{n}")),
        2 => Just(String::new()),
    ];
    let data = pick([DATA, ODD_DATA, WRONG_DATA], odd, wrong);
    let record =
        (owners, pick([MIDDLES, ODD_MIDDLES, WRONG_MIDDLES], odd, wrong), data, prop::sample::select(ENDS))
            .prop_map(|(owner, middle, data, end)| format!("{owner} {middle}{data}{end}"));
    let alias = (0..4000usize, prop::sample::select(ENDS))
        .prop_map(|(n, end)| format!("c{n} {}{end}", CNAMES[n % 2]));
    let other = pick([LINES, ODD_LINES, WRONG_LINES], odd, wrong).prop_map(str::to_owned);
    prop_oneof![12 => record, 1 => alias, 1 => other]
}

/// A zone file: in any order or sorted, its last line ended or not.
fn files(odd: u32, wrong: u32, most: usize) -> impl Strategy<Value = String> {
    let soa = prop_oneof![
        20 => Just("@ 3600 IN SOA ns h 7 3600 600 86400 300\n"),
        20 => Just("@ SOA ns.corp.example. H 7 (\n 1h 600 ; note\n 1d 300 )\n"),
        wrong => Just("a SOA ns h 7 3600 600 86400 300\n"),
        wrong => Just(""),
    ];
    (soa, prop::collection::vec(lines(odd, wrong), 0..most), any::<bool>(), 0..6u8, 0..10u8).prop_map(
        |(soa, mut lines, is_sorted, mark, end)| {
            if is_sorted {
                lines.sort();
            }
            let mut text = if mark == 0 { "\u{feff}".to_owned() } else { String::new() };
            let _ = write!(text, "{soa}{}", lines.concat());
            if end == 0 {
                text.truncate(text.trim_end().len());
            }
            text
        },
    )
}

/// What both say of `text`; whether it is right, and whether the fast one said so.
fn compare(text: &str) -> Result<(bool, bool), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone");
    fs::write(&path, text).unwrap();
    fs::write(dir.path().join("more"), "included A 10.9.9.9\n").unwrap();
    let source = ZoneFile::new("corp.example".parse().unwrap(), path, false);
    let slow = source.facts_of_entries();
    let scanned = scan::read(&source.zone, &source.path, source.max_bytes, &Rrsets::default())
        .and_then(|scanned| assemble::scanned(&source.zone, source.policy, &source.path, scanned));
    let is_fast = scanned.is_some();
    if let Some(fast) = scanned {
        match &slow {
            Ok(slow) => prop_assert_eq!(slow, &fast, "of {:?}", text),
            Err(error) => prop_assert!(false, "{} is not seen in {:?}", error, text),
        }
    }
    // Sharing changes nothing, and what is served is one or the other.
    for _ in 0..2 {
        match (source.read(), &slow) {
            (Ok(mut reading), Ok(slow)) => prop_assert_eq!(&reading.listings.remove(0).facts, slow),
            (Err(error), Err(slow)) => prop_assert_eq!(error.to_string(), slow.to_string()),
            (read, _) => prop_assert!(false, "{:?} of {:?}", read.map(drop), text),
        }
    }
    Ok((slow.is_ok(), is_fast))
}

/// Compares random files; how many of so many are right, and how many of
/// these the fast reader read.
fn run(cases: u32, odd: u32, wrong: u32, most: usize) -> (u32, u32) {
    let counts = Cell::new((0, 0));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let outcome = runner.run(&files(odd, wrong, most), |text| {
        let (is_right, is_fast) = compare(&text)?;
        let (right, fast) = counts.get();
        counts.set((right + u32::from(is_right), fast + u32::from(is_fast)));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    counts.get()
}

#[test]
fn plain_files_are_read_alike_and_fast() {
    let (right, fast) = run(100, 0, 0, 60);
    assert!(right > 20, "{right}");
    assert_eq!(right, fast);
}

#[test]
fn odd_entries_are_read_alike() {
    let (right, fast) = run(200, 60, 0, 40);
    assert!(right > 60 && fast > 40, "{fast} of {right}");
}

#[test]
fn what_is_wrong_is_told_alike() {
    let (right, fast) = run(200, 30, 20, 30);
    assert!((10..190).contains(&right) && fast > 5, "{fast} of {right}");
}

/// Names at the limits of labels and of names, and one beyond.
#[test]
fn long_names_are_read_alike() {
    let label = |len: usize| "x".repeat(len);
    for last in 55..66 {
        let long = [label(63), label(62), label(last), label(49)].join(".");
        let first = format!("{}.y", label(last));
        for name in
            [first.clone(), format!("{first}.corp.example."), long.clone(), format!("{long}.corp.example.")]
        {
            for line in [format!("{name} 5 A 10.0.0.1"), format!("a 5 CNAME {name}")] {
                let text = format!("@ 60 SOA ns h 1 2 3 4 5\n{line}\n");
                let (is_right, is_fast) = compare(&text).unwrap();
                assert_eq!(is_right, is_fast, "{text}");
            }
        }
    }
}

/// Many windows and blocks, entries across their ends, and records that come late.
#[test]
fn big_files_are_read_alike() {
    let number = |n: u32| n.wrapping_mul(2_654_435_761) % 60_000;
    for is_sorted in [true, false] {
        let mut text = "@ 60 SOA ns h 1 2 3 4 5\n".to_owned();
        for n in 0..60_000 {
            let host = if is_sorted { n } else { number(n) };
            let _ = writeln!(text, "h{host:06}.corp.example. A 10.0.{}.{}", host >> 8 & 255, host & 255);
            match n % 1000 {
                7 => drop(writeln!(text, "h{host:06} TXT ( \"some text\"\n \"and more\" )")),
                8 => drop(writeln!(text, "h{:06} 30 A 10.1.0.1", number(n))),
                9 => drop(writeln!(text, "h{:06} 30 A 10.0.0.1\n @ NS ns{n}", number(n) / 2)),
                _ => {}
            }
        }
        let text = text.replace(" @ NS", "@ NS");
        assert_eq!(compare(&text).unwrap(), (true, true), "sorted: {is_sorted}");
    }
}

#[test]
fn a_file_that_changed_a_little_shares_its_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone");
    let zone = |address: u32| {
        let mut text = "@ 60 SOA ns h 1 2 3 4 5\n".to_owned();
        for n in 0..30_000 {
            let last = if n == 777 { address } else { 1 };
            let _ = writeln!(text, "h{n:06} A 10.0.0.{last}");
        }
        text
    };
    let source = ZoneFile::new("corp.example".parse().unwrap(), path.clone(), false);
    let read = |text: String| {
        fs::write(&path, text).unwrap();
        source.read().unwrap().listings.remove(0).records().unwrap().rrsets.clone()
    };
    let (old, new) = (read(zone(1)), read(zone(2)));
    assert_eq!(old.diff(&new).count(), 1);
    assert!(new.shared_bytes(&old) * 20 > old.bytes() * 19);
}
