//! Texts compared with files in `tests/data`.

use std::path::Path;

/// Compares `text` with the file; with `HUBDNS_BLESS=1` writes the file instead.
pub fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    if std::env::var_os("HUBDNS_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, text).expect("written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{file} differs; HUBDNS_BLESS=1 writes it anew");
}
