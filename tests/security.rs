//! `SECURITY.md` and the note about unsafe code say what is there: every file
//! and test that they name exists, and every unsafe block is told of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether `word` is meant as a file or a folder of this repository.
fn is_path(word: &str) -> bool {
    let begins = ["src/", "tests/", ".ci/", "benches/", "config/", "systemd/"];
    begins.iter().any(|begin| word.starts_with(begin))
}

/// The classes of the table of attacks on forwarders, in its order.
const CLASSES: &[&str] = &[
    "Off-path spoofing",
    "Per-worker ports",
    "Fragmentation",
    "Birthday and ECS",
    "Response preprocessing",
    "MaginotDNS",
    "Parent NXDOMAIN",
    "CNAME chains",
    "Amplification and DNSBomb",
    "Random subdomains",
    "Slow clients",
    "TsuKing",
    "Header spoofing",
    "Metrics and log injection",
    "Transfer and reload races",
    "Stolen identity",
];

/// Title and text of each section of that level.
fn sections<'t>(text: &'t str, mark: &str) -> Vec<(&'t str, &'t str)> {
    let parts = text.split(mark).skip(1);
    parts.map(|part| part.split_once('\n').map_or((part, ""), |(title, rest)| (title.trim(), rest))).collect()
}

/// Whether `file` has a test of this name: a function right behind `#[test]`, its own
/// attributes between them at most.
fn has_test(file: &str, name: &str) -> bool {
    let text = read(file);
    let Some(at) = text.find(&format!("fn {name}(")) else { return false };
    // The line itself (its margin, `async`), then what belongs to it.
    let before = text[..at].rsplit('\n').skip(1).map(str::trim);
    let mut belonging = before.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    belonging.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[test]
fn files_that_are_named_exist() {
    for document in ["SECURITY.md", "src/socket/UNSAFE.md"] {
        let text = read(document);
        let paths: Vec<&str> = quoted(&text).filter(|word| is_path(word)).collect();
        assert!(paths.len() >= 3, "{document}: {paths:?}");
        // A package of the crate has no .ci; a clone has.
        let is_left_out = |path: &str| path.starts_with(".ci/") && !root().join(".ci").exists();
        let missing = paths.iter().filter(|path| !root().join(path).exists() && !is_left_out(path));
        let missing: Vec<&&str> = missing.collect();
        assert!(missing.is_empty(), "{document} names {missing:?}");
    }
}

#[test]
fn each_class_of_attacks_says_whether_what_and_which_test() {
    let text = read("SECURITY.md");
    let attacks = text.split("## Attacks on forwarders").nth(1).expect("the table of attacks");
    let attacks = attacks.split("\n## ").next().expect("its text");
    let classes = sections(attacks, "\n### ");
    let titles: Vec<&str> = classes.iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, CLASSES);
    let mut problems = Vec::new();
    for (title, text) in classes {
        let items: Vec<&str> = ["- **Applies**: ", "- **Stopped by**: ", "- **Shown by**: "]
            .into_iter()
            .map(|mark| text.split(mark).nth(1).unwrap_or_default().split("\n- ").next().unwrap_or_default())
            .collect();
        if items.iter().any(|item| item.trim().is_empty()) {
            problems.push(format!("{title}: an item is missing"));
        }
        if !quoted(items[1]).any(is_path) {
            problems.push(format!("{title}: no file stops it"));
        }
        let (mut file, mut tests) = (None, 0);
        for word in quoted(items[2]) {
            if is_path(word) {
                file = Some(word);
                continue;
            }
            tests += 1;
            match file {
                Some(file) if root().join(file).exists() && has_test(file, word) => {}
                file => problems.push(format!("{title}: no test {word} in {file:?}")),
            }
        }
        if tests == 0 {
            problems.push(format!("{title}: no test shows it"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn tests_are_told_from_other_functions() {
    assert!(has_test("tests/security.rs", "tests_are_told_from_other_functions"));
    assert!(!has_test("tests/security.rs", "has_test") && !has_test("tests/security.rs", "no_such_test"));
}

/// The functions (or `impl`) in which the unsafe blocks of `text` stand, in order.
fn unsafe_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut function = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        if let Some((before, rest)) = line.split_once("fn ")
            && before.chars().all(|c| c.is_ascii_lowercase() || "( )".contains(c))
        {
            function = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        }
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        for _ in words.filter(|word| *word == "unsafe") {
            let is_impl = line.trim_start().starts_with("unsafe impl");
            let name = line.trim_start().trim_start_matches("unsafe ").split(" {").next().unwrap_or_default();
            blocks.push(if is_impl { name.to_owned() } else { function.clone() });
        }
    }
    blocks
}

#[test]
fn every_unsafe_block_is_told_of() {
    let note = read("src/socket/UNSAFE.md");
    let mut told = BTreeMap::new();
    for (file, text) in sections(&note, "\n## ").into_iter().filter(|(title, _)| is_path(title)) {
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let places: Vec<String> = rows.map(|row| quoted(row).next().expect("a place").to_owned()).collect();
        assert!(
            text.lines().filter(|line| line.starts_with("| `")).all(|row| row.split(" | ").count() == 3),
            "{file}: each row says where, what and what it relies on"
        );
        told.insert(file.to_owned(), places);
    }
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("src/socket")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let file = format!("src/socket/{}", path.file_name().expect("a name").to_string_lossy());
        let blocks = unsafe_blocks(&read(&file));
        if !blocks.is_empty() {
            found.insert(file, blocks);
        }
    }
    assert_eq!(told, found, "left what src/socket/UNSAFE.md says, right what there is");
    assert!(found.values().map(Vec::len).sum::<usize>() > 20);
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for entry in std::fs::read_dir(root().join("src/socket")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let file = path.display().to_string();
        let text = std::fs::read_to_string(&path).expect("a file");
        if Path::new(&file).extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let reasons = text.lines().filter(|line| line.trim_start().starts_with("// SAFETY: ")).count();
        assert_eq!(reasons, unsafe_blocks(&text).len(), "{file}");
    }
}

#[test]
fn scripts_of_the_supply_chain_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for script in ["run", "release", "reproducible", "sbom", "advisories", "sanitize"] {
        let path = root().join(".ci").join(script);
        // A package of the crate has no .ci; a clone has.
        if !root().join(".ci").exists() {
            eprintln!("SKIPPED: no .ci");
            return;
        }
        let mode = std::fs::metadata(&path).unwrap_or_else(|e| panic!("{script}: {e}")).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script}");
        let checked = std::process::Command::new("bash").arg("-n").arg(&path).output().expect("bash");
        assert!(checked.status.success(), "{script}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}
