//! What no compiler checks: module edges, file lengths, where `unsafe` is,
//! and that nothing is left for later.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which modules of the crate each module may use. `socket` is used by those
/// who have sockets; `metrics` and `events` by those with something to tell.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("snapshot", &["wire"]),
    ("answer", &["wire", "snapshot"]),
    ("config", &["wire"]),
    ("metrics", &["wire", "answer", "resolve", "socket", "outside"]),
    ("outside", &[]),
    ("events", &["metrics", "outside"]),
    ("socket", &[]),
    ("places", &[]),
    ("forward", &["wire", "config", "socket", "metrics", "events", "places"]),
    ("resolve", &["wire", "snapshot", "answer", "forward", "metrics"]),
    // `forward::system` alone: the host's resolvers, and which of them is hubdns.
    ("sources", &["wire", "snapshot", "config", "forward", "metrics", "events"]),
    ("findings", &["snapshot", "sources", "config", "wire", "routes"]),
    ("routes", &["config", "wire", "metrics", "events"]),
    // `socket::give_back_memory` alone.
    ("sync", &["sources", "snapshot", "config", "findings", "routes", "wire", "metrics", "events", "socket"]),
    ("serve", &["wire", "resolve", "config", "socket", "metrics", "events", "answer", "snapshot", "places"]),
    // `socket::peer_groups` alone.
    ("admin", &["metrics", "events", "outside", "socket"]),
    ("export", &["admin", "sources", "wire"]),
];

/// Modules that see everything.
const SEE_ALL: &[&str] = &["daemon", "doctor", "cli", "main", "lib"];

/// Longest file, in lines, tests included.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `directory`, relative to the package.
fn files(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the package").display().to_string()
}

/// The lines of `text` without comments; strings stay.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(i, line)| {
        let line = line.split(" //").next().unwrap_or(line);
        (!line.trim_start().starts_with("//")).then_some((i + 1, line))
    })
}

/// The code outside `#[cfg(test)] mod tests { ... }`, which may use anything.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// The modules that `text` names as `crate::module`, `use crate::{a, b}` included.
fn crate_uses(text: &str) -> BTreeSet<String> {
    let mut uses = BTreeSet::new();
    let code: String = code(text).map(|(_, line)| line.to_owned() + "\n").collect();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let first_word = |text: &str| -> String {
            text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
        };
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        uses.insert(first_word(&item));
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(character);
            }
            uses.insert(first_word(&item));
        } else {
            uses.insert(first_word(rest));
        }
    }
    uses.retain(|module| !module.is_empty());
    uses
}

#[test]
fn modules_use_only_what_they_may() {
    let mut problems = Vec::new();
    for path in files("src") {
        let relative = path.strip_prefix(root().join("src")).expect("below src");
        let first = relative.components().next().expect("a component").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        // Unit tests in a file of their own may build what they need.
        if SEE_ALL.contains(&module.as_str()) || path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
            problems.push(format!("{}: module {module} is not in the table", shown(&path)));
            continue;
        };
        for used in crate_uses(without_tests(&read(&path))) {
            if used != module && !allowed.contains(&used.as_str()) {
                problems.push(format!("{}: {module} uses {used}", shown(&path)));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn uses_are_found_in_all_their_forms() {
    let text = "use crate::wire::Name;\nuse crate::{answer::{a, b}, serve};\n// crate::sync\nfn f() { crate::cli::run() }\nmy_crate::x";
    let uses: Vec<String> = crate_uses(text).into_iter().collect();
    assert_eq!(uses, ["answer", "cli", "serve", "wire"]);
}

#[test]
fn files_are_short() {
    let long: Vec<String> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(files)
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines", shown(&path)))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

fn is_test(path: &Path) -> bool {
    path.starts_with(root().join("tests")) || path.file_stem().is_some_and(|stem| stem == "tests")
}

#[test]
fn unsafe_code_has_one_home() {
    let mut problems = Vec::new();
    for path in files("src") {
        let relative = shown(&path);
        if relative == "src/socket.rs" || relative.starts_with("src/socket/") {
            continue;
        }
        for (line, text) in code(&read(&path)) {
            let word = |word: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
            if word("unsafe") || word("unsafe_code") {
                problems.push(format!("{relative}:{line}: {}", text.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled in parts, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
    ];
    let mut problems = Vec::new();
    for path in ["src", "tests", "benches"].into_iter().flat_map(files) {
        for (i, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                problems.push(format!("{}:{}: {}", shown(&path), i + 1, line.trim()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = files("src")
        .into_iter()
        .filter(|path| !is_test(path) && !read(path).starts_with("//!"))
        .map(|path| shown(&path))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
