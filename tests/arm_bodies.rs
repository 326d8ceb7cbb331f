//! Bodies of Resource Manager: the seeds of the fuzz target and all recorded
//! ones, whole and cut.

#[path = "common/arm_body.rs"]
mod arm_body;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Every JSON file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found
}

fn data(below: &str) -> Vec<PathBuf> {
    let found = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(below));
    assert!(!found.is_empty(), "nothing in {below}");
    found
}

/// All values under a key `body`, however deep.
fn bodies<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| bodies(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("body"));
            fields.values().for_each(|field| bodies(field, found));
        }
        _ => {}
    }
}

#[test]
fn the_seeds_of_the_fuzz_target_are_taken() {
    for path in data("fuzz/arm_body") {
        arm_body::check(&std::fs::read(&path).expect("a seed"));
    }
}

#[test]
fn recorded_bodies_are_taken_whole_and_cut() {
    let mut count = 0;
    for path in data("azure") {
        let text = std::fs::read_to_string(&path).expect("data");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let mut found = Vec::new();
        bodies(&value, &mut found);
        for body in found {
            let bytes = body.to_string().into_bytes();
            arm_body::check(&bytes);
            for cut in (0..bytes.len()).step_by(bytes.len() / 8 + 1) {
                arm_body::check(&bytes[..cut]);
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}
