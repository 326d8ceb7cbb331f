//! Outside text in places where it could do harm.

use std::fmt::Write as _;

use serde::Serialize;

use super::Estate;
use crate::wire::Name;

/// `text` for a comment that ends with its line: printable ASCII stays, all
/// else becomes an escape.
pub(super) fn comment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            escaped.push(character);
        } else {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
        }
    }
    escaped
}

/// `name` without a final dot, if every form can say it: letters, digits, `-`
/// and `_` alone (RFC 1123 section 2.1, and the underscore of service labels).
/// Nothing in it can end a word, a line or a quotation anywhere.
pub(super) fn plain_name(name: &Name) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels: Vec<&[u8]> = name.labels().collect();
    let sound = |label: &&[u8]| label.iter().all(is_plain) && label.first() != Some(&b'-');
    (!labels.is_empty() && labels.iter().all(sound)).then(|| name.to_string())
}

/// Sorts parents before what lies below them, siblings by their letters.
pub(super) fn tree_order(name: &Name) -> Vec<Vec<u8>> {
    let mut labels: Vec<Vec<u8>> = name.labels().map(<[u8]>::to_vec).collect();
    labels.reverse();
    labels
}

/// The note for a name that is left out.
pub(super) fn left_out(name: &Name) -> String {
    format!("{name} is left out: it has characters that this form cannot say")
}

/// The first line of every text: what it is and of which generation.
pub(super) fn title(estate: &Estate, mark: &str, what: &str) -> String {
    let mut text = format!("{mark} {what}, exported by hubdns");
    if estate.generation > 0 {
        let _ = write!(text, " from generation {}", estate.generation);
    }
    if let Some(view) = &estate.view {
        let _ = write!(text, " for clients of view {}", comment(view));
    }
    text.push('\n');
    text
}

/// `value` as JSON in ASCII: nothing in it acts on a terminal.
pub(super) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("rows of texts and numbers are JSON");
    let mut escaped = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if character == '\n' || character == ' ' || character.is_ascii_graphic() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped.push('\n');
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_with_their_line() {
        assert_eq!(
            comment("a\nb\r\u{85}\u{2028}\u{202e}é;#"),
            "a\\u{a}b\\u{d}\\u{85}\\u{2028}\\u{202e}\\u{e9};#"
        );
    }

    #[test]
    fn json_is_ascii() {
        let odd = "\u{1b}\u{9b}\u{7f}\u{202e}\u{1f600}\"";
        let text = json(&[odd]);
        assert!(text.is_ascii() && !text.contains('\u{1b}'), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [odd]);
    }

    #[test]
    fn odd_names_are_not_plain() {
        let plain = |text: &str| plain_name(&text.parse().unwrap());
        assert_eq!(plain("Contoso-1.azurecr.io."), Some("contoso-1.azurecr.io".to_owned()));
        for odd in [
            ".",
            "*.azurecr.io",
            "a\\.b.io",
            "a\\032b.io",
            "\\233.io",
            "a\\;b.io",
            "a/b.io",
            "-x.io",
            "a\\010b.io",
        ] {
            assert_eq!(plain(odd), None, "{odd}");
        }
    }
}
