//! Text from outside, made harmless for the place where it goes.
//!
//! Names, error texts of servers and values of files come from anybody. What
//! must not reach a terminal, a log line, a page or a listing is the same
//! everywhere: characters that end a line, move a cursor, turn the direction
//! of writing or cannot be seen. Markup matters in pages alone.

use std::fmt::{self, Write as _};

/// Whether `character` is no visible part of a text: control characters (C0,
/// DEL, C1), ends of lines and paragraphs, what turns the direction of writing
/// (UAX 9), and what has no width, so that two texts look alike.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Writes `character`, escaped where it is hidden.
pub fn write_plain(out: &mut impl fmt::Write, character: char) -> fmt::Result {
    if is_hidden(character) {
        write!(out, "\\u{{{:x}}}", u32::from(character))
    } else {
        out.write_char(character)
    }
}

/// `text` on one line, without what a terminal would act on.
pub fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let _ = write_plain(&mut escaped, character);
    }
    escaped
}

/// `text` as a page shows it, and nothing else: markup is escaped, and quotes, so that
/// it can stand in an attribute.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => {
                let _ = write_plain(&mut escaped, other);
            }
        }
    }
    escaped
}

/// JSON with what is hidden escaped as JSON does it (RFC 8259 section 7): it says the same.
/// Ends of lines between the values stay.
pub fn json(text: String) -> String {
    // Nearly all there is; a listing of a million records is not copied for nothing.
    if text.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n')) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || !is_hidden(character) {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind of what must never pass.
    const ODD: &str =
        "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200b}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}";

    #[test]
    fn what_is_hidden_becomes_an_escape() {
        for text in [plain(ODD), html(ODD)] {
            assert!(!text.contains(is_hidden), "{text:?}");
            assert_eq!(text.matches("\\u{").count(), ODD.chars().count(), "{text}");
        }
        assert_eq!(plain("a\nb\u{1b}[2J é\u{202e}"), "a\\u{a}b\\u{1b}[2J é\\u{202e}");
    }

    #[test]
    fn markup_becomes_text() {
        assert_eq!(html("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    }

    #[test]
    fn json_says_the_same() {
        let text = serde_json::to_string(&[ODD, "plain é"]).unwrap();
        let escaped = json(text);
        assert!(!escaped.contains(is_hidden), "{escaped:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), [ODD, "plain é"]);
    }
}
