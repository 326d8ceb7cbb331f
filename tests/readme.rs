//! The README says what the code does: its table of keys, and the files that
//! it names.

use std::path::Path;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("README.md")
}

#[test]
fn table_of_keys_is_that_of_the_code() {
    let table = hubdns::config::keys_table();
    let readme = readme();
    let missing: Vec<&str> = table.lines().filter(|line| !readme.contains(line)).collect();
    assert!(missing.is_empty(), "README.md lacks these rows:\n{}", missing.join("\n"));
    let rows = readme.lines().filter(|line| line.starts_with("| `") && table.contains(line)).count();
    assert_eq!(rows, table.lines().count() - 2, "rows twice");
}

#[test]
fn table_of_findings_is_that_of_the_code() {
    let table = hubdns::findings::codes_table();
    assert!(readme().contains(&table), "README.md lacks this table:\n{table}");
}

#[test]
fn files_that_it_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "examples/contoso",
        "config/hubdns.toml",
        "config/hub.toml",
        "config/on-premises.toml",
        "systemd/hubdns.service",
        "benches/RESULTS.md",
        "tests/conformance/PEERS.md",
    ] {
        assert!(readme().contains(file), "{file} is not named");
        assert!(root.join(file).exists(), "{file} is missing");
    }
}
