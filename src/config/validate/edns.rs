//! EDNS options of responses, with the file of cookie secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::edns::{CookieSecrets, Edns, EdnsTable};
use crate::config::error::Report;

use super::resolve_path;

/// Longest identifier, bytes: every response that carries it grows by them.
const MAX_NSID: usize = 64;
/// Longest file of secrets, bytes.
const MAX_FILE: u64 = 4096;
/// What the file must be.
const EXPECTED: &str = "a file of one or two lines of 32 hexadecimal digits, the current secret first";

pub(super) fn edns(table: &EdnsTable, base_dir: &Path, report: &mut Report) -> Edns {
    if table.nsid.len() > MAX_NSID {
        report.add("edns.nsid", format!("{} bytes", table.nsid.len()), format!("at most {MAX_NSID} bytes"));
    }
    let mut cookie_secrets = None;
    if !table.cookie_secret_file.as_os_str().is_empty() {
        // What the file holds is never told, wrong as it may be.
        match read(&resolve_path(base_dir, &table.cookie_secret_file)) {
            Ok(Some(secrets)) => cookie_secrets = Some(secrets),
            Ok(None) => report.add("edns.cookie_secret_file", "a file with something else in it", EXPECTED),
            Err(error) => {
                let found = format!("a file that cannot be read ({})", error.kind());
                report.add("edns.cookie_secret_file", found, EXPECTED);
            }
        }
    }
    Edns { nsid: table.nsid.clone(), cookies: table.cookies, cookie_secrets }
}

/// The secrets in the file at `path`; `None` where it holds something else.
fn read(path: &Path) -> io::Result<Option<CookieSecrets>> {
    // Looked at before it is opened: a pipe that nobody writes to would keep the reader.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    // Room from the start, since growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
    match File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        read => read?,
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let current = lines.next().and_then(secret);
    let previous = lines.next().map(secret);
    Ok(match (current, previous, lines.next()) {
        (Some(current), None, None) => Some(CookieSecrets { current, previous: None }),
        (Some(current), Some(Some(previous)), None) => {
            Some(CookieSecrets { current, previous: Some(previous) })
        }
        _ => None,
    })
}

/// The secret that 32 hexadecimal digits stand for.
fn secret(digits: &str) -> Option<[u8; 16]> {
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_one_or_two_lines_of_digits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let (old, new) = ("e5e973e5a6b2a43f48e7dc849e37bfcf", "445536BCD2513298075A5D379663C962");
        for (text, lines) in [
            (old.to_owned(), 1),
            (format!("{old}\n"), 1),
            (format!("\n{new}\r\n\n{old}\n"), 2),
            (String::new(), 0),
            ("e5e973".to_owned(), 0),
            (format!("{old}0"), 0),
            ("+5e973e5a6b2a43f48e7dc849e37bfcf".to_owned(), 0),
            (format!("{old}\nzz"), 0),
            (format!("{old}\n{old}\n{old}"), 0),
            (" ".repeat(5000), 0),
        ] {
            std::fs::write(&path, &text).unwrap();
            let secrets = read(&path).unwrap();
            let found = secrets.as_ref().map_or(0, |secrets| 1 + usize::from(secrets.previous.is_some()));
            assert_eq!(found, lines, "{text:?}");
            if lines == 2 {
                assert_eq!(secrets.unwrap().current[..2], [0x44, 0x55]);
            }
        }
        assert!(read(directory.path()).unwrap().is_none());
        assert!(read(&directory.path().join("missing")).is_err());
    }
}
