//! Files, directories and encodings.

use super::*;

fn directory(files: &[(&str, &[u8])]) -> (tempfile::TempDir, AzJson) {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let source = AzJson::new("estate", dir.path().to_owned());
    (dir, source)
}

fn set() -> String {
    record_set("A", "x", json!({"ttl": 5, "aRecords": [{"ipv4Address": "10.0.0.1"}]})).to_string()
}

#[track_caller]
fn check(files: &[(&str, &[u8])], expected: Result<usize, &str>) {
    let (_dir, source) = directory(files);
    let found = source.read().map(|reading| reading.listings[0].facts.len()).map_err(|error| error.label());
    assert_eq!(found, expected);
}

#[test]
fn encodings_that_shells_write() {
    let text = format!("[{}]", set());
    let utf16 = |unit: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
        let text = if mark { format!("\u{feff}{text}") } else { text.clone() };
        text.encode_utf16().flat_map(unit).collect()
    };
    check(&[("a.json", text.as_bytes())], Ok(1));
    check(&[("a.json", format!("\u{feff}{text}").as_bytes())], Ok(1));
    check(&[("a.json", &utf16(u16::to_le_bytes, true))], Ok(1));
    check(&[("a.json", &utf16(u16::to_be_bytes, true))], Ok(1));
    check(&[("a.json", &utf16(u16::to_le_bytes, false))], Ok(1));
    check(&[("a.json", &utf16(u16::to_be_bytes, false))], Ok(1));
    check(&[("a.json", &[0xff, 0xfe, 0x00])], Err("encoding"));
    check(&[("a.json", b"[\"\xe9\"]")], Err("encoding"));
}

#[test]
fn one_bad_file_fails_the_directory() {
    let good = set();
    check(&[("a.json", good.as_bytes()), ("notes.txt", b"x"), (".b.json", b"x")], Ok(1));
    check(&[("a.json", good.as_bytes()), ("b.json", b"[{")], Err("shape"));
    check(&[("a.json", good.as_bytes()), ("b.json", b"")], Err("no_content"));
    check(&[("a.json", good.as_bytes()), ("b.json", b"{\"error\": {\"code\": \"X\"}}")], Err("saved_error"));
    check(&[("a.txt", good.as_bytes())], Err("no_content"));
    check(&[("a.json", b"[]")], Ok(0));
}

#[test]
fn several_values_in_one_file_and_repeated_resources() {
    let appended = format!("[{}]\n[{}]\n", set(), set().replace("/A/x", "/A/y").replace("\"x\"", "\"y\""));
    check(
        &[
            ("a.json", appended.as_bytes()),
            ("b.json", set().to_uppercase().replace("PROPERTIES", "properties").as_bytes()),
        ],
        Ok(2),
    );
}

#[test]
fn a_missing_file_is_an_error_and_a_single_file_will_do() {
    let (dir, _) = directory(&[("a.json", set().as_bytes())]);
    let missing = AzJson::new("estate", dir.path().join("none"));
    assert_eq!(missing.read().unwrap_err().label(), "read");
    let single = AzJson::new("estate", dir.path().join("a.json"));
    assert_eq!(single.read().unwrap().listings[0].facts.len(), 1);
    assert_eq!(single.name(), "az-json:estate");
}

#[test]
fn the_embedded_example_is_the_directory() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/contoso");
    let on_disk = AzJson::new("example", path).read().unwrap().listings.remove(0).facts;
    let embedded = AzJson::embedded_example("example").read().unwrap().listings.remove(0).facts;
    assert_eq!(embedded, on_disk);
    assert_eq!(kinds(&embedded)["interface"], 8);
}
