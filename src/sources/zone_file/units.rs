//! BIND's time units in master files: `$TTL 1h`, `1w2d`, and the same among
//! the numbers of an SOA. RFC 1035 knows seconds alone, files in the wild do
//! not; the zone file reader takes seconds alone, so they are rewritten
//! before it sees them. Lines stay where they are.

/// A `$TTL` directive: the line it stands on, from 1, and its seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TtlDirective {
    pub(super) line: usize,
    pub(super) seconds: u32,
}

/// Rewrites the time units of `text` to seconds and finds the `$TTL` directives.
pub(super) fn to_seconds(text: &[u8]) -> (Vec<u8>, Vec<TtlDirective>) {
    let mut pass = Pass::new(text);
    while pass.token() {}
    pass.out.extend_from_slice(text.get(pass.copied..).unwrap_or_default());
    // The reader wants the last entry to end in a line feed.
    if pass.out.last().is_some_and(|byte| *byte != b'\n') {
        pass.out.push(b'\n');
    }
    (pass.out, pass.directives)
}

/// What the next token of the entry may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The owner, a directive, or (after white space) what follows an owner.
    Start,
    /// The value of `$TTL`.
    Directive,
    /// TTL, class or type.
    TtlClassType,
    /// This many names of an SOA, then its numbers.
    SoaNames(u8),
    /// The numbers of an SOA.
    SoaNumbers,
    /// Nothing of interest until the entry ends.
    Rest,
}

struct Pass<'a> {
    text: &'a [u8],
    at: usize,
    copied: usize,
    out: Vec<u8>,
    line: usize,
    parens: usize,
    expect: Expect,
    directives: Vec<TtlDirective>,
}

impl<'a> Pass<'a> {
    fn new(text: &'a [u8]) -> Self {
        let out = Vec::with_capacity(text.len() + 1);
        let directives = Vec::new();
        Self { text, at: 0, copied: 0, out, line: 1, parens: 0, expect: Expect::Start, directives }
    }

    /// Handles one token or separator; false at the end.
    fn token(&mut self) -> bool {
        let Some(&byte) = self.text.get(self.at) else { return false };
        match byte {
            b'\n' => {
                self.line += 1;
                self.at += 1;
                if self.parens == 0 {
                    self.expect = Expect::Start;
                }
            }
            b' ' | b'\t' | b'\r' => {
                let line_start = self.at == 0 || self.text.get(self.at - 1) == Some(&b'\n');
                self.at += 1;
                if line_start && self.expect == Expect::Start && byte != b'\r' {
                    self.expect = Expect::TtlClassType;
                }
            }
            b'(' => {
                self.parens += 1;
                self.at += 1;
            }
            b')' => {
                self.parens = self.parens.saturating_sub(1);
                self.at += 1;
            }
            b';' => self.skip_until(|byte| byte == b'\n'),
            b'"' => {
                self.quoted();
                self.advance(b"");
            }
            _ => {
                let start = self.at;
                self.skip_until(|byte| b" \t\r\n()\";".contains(&byte));
                let token = self.text.get(start..self.at).unwrap_or_default();
                self.rewrite(start, token);
                self.advance(token);
            }
        }
        true
    }

    fn skip_until(&mut self, stop: impl Fn(u8) -> bool) {
        while let Some(&byte) = self.text.get(self.at) {
            if stop(byte) {
                break;
            }
            // An escaped character never ends a token; comments escape nothing,
            // but a line feed still ends them.
            let escaped = byte == b'\\' && self.text.get(self.at + 1).is_some_and(|next| *next != b'\n');
            self.at += if escaped { 2 } else { 1 };
        }
        self.at = self.at.min(self.text.len());
    }

    fn quoted(&mut self) {
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\n' => self.line += 1,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        self.at = self.at.min(self.text.len());
    }

    /// Replaces `token` by its seconds where a time may stand.
    fn rewrite(&mut self, start: usize, token: &[u8]) {
        if !matches!(self.expect, Expect::Directive | Expect::TtlClassType | Expect::SoaNumbers) {
            return;
        }
        let Some(seconds) = seconds(token) else { return };
        if self.expect == Expect::Directive {
            self.directives.push(TtlDirective { line: self.line, seconds });
        }
        self.out.extend_from_slice(self.text.get(self.copied..start).unwrap_or_default());
        self.out.extend_from_slice(seconds.to_string().as_bytes());
        self.copied = self.at;
    }

    fn advance(&mut self, token: &[u8]) {
        self.expect = match self.expect {
            Expect::Start if token.eq_ignore_ascii_case(b"$TTL") => Expect::Directive,
            Expect::Start if token.starts_with(b"$") => Expect::Rest,
            Expect::Start => Expect::TtlClassType,
            Expect::TtlClassType if token.eq_ignore_ascii_case(b"SOA") => Expect::SoaNames(2),
            Expect::TtlClassType if is_ttl_or_class(token) => Expect::TtlClassType,
            Expect::SoaNames(2) => Expect::SoaNames(1),
            Expect::SoaNames(_) | Expect::SoaNumbers => Expect::SoaNumbers,
            Expect::Directive | Expect::TtlClassType | Expect::Rest => Expect::Rest,
        };
    }
}

fn is_ttl_or_class(token: &[u8]) -> bool {
    seconds(token).is_some()
        || [&b"IN"[..], b"CH", b"HS", b"CS"].iter().any(|class| token.eq_ignore_ascii_case(class))
}

/// A number with or without units (`3600`, `1h`, `1w2d3h4m5s`) in seconds.
pub(super) fn seconds(token: &[u8]) -> Option<u32> {
    let mut total = 0u32;
    let mut number: Option<u32> = None;
    for &byte in token {
        if byte.is_ascii_digit() {
            let digit = u32::from(byte - b'0');
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(rest) => total.checked_add(rest),
        None => (!token.is_empty()).then_some(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (out, _) = to_seconds(text.as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn units_become_seconds_where_times_stand() {
        check("$TTL 1h\n", "$TTL 3600\n");
        check("1h 1d IN A 10.0.0.1\n", "1h 86400 IN A 10.0.0.1\n");
        check("a IN 1h30m TXT 1h \"1h\"", "a IN 5400 TXT 1h \"1h\"\n");
        check(" 2w A 10.0.0.1 ; 1h\n5m 5m A 10.0.0.1\n", " 1209600 A 10.0.0.1 ; 1h\n5m 300 A 10.0.0.1\n");
        check(
            "@ SOA 1h.x. 1d.x. (\n 7 ; 1h\n 1h 15m\n 1w 1d )\n1m A 10.0.0.1\n",
            "@ SOA 1h.x. 1d.x. (\n 7 ; 1h\n 3600 900\n 604800 86400 )\n1m A 10.0.0.1\n",
        );
    }

    #[test]
    fn other_tokens_stay() {
        check("\\032h 1x A 10.0.0.1\n", "\\032h 1x A 10.0.0.1\n");
        check("$ORIGIN 1h\n$INCLUDE 1h 1h\n", "$ORIGIN 1h\n$INCLUDE 1h 1h\n");
        check(
            "a TXT \"x\\\"1h ( \" 1h\nb 99999999999h A 10.0.0.1\n",
            "a TXT \"x\\\"1h ( \" 1h\nb 99999999999h A 10.0.0.1\n",
        );
        check("", "");
    }

    #[test]
    fn directives_are_found_with_their_lines() {
        let (_, found) = to_seconds(b"; x\n$ttl 5m\na A 10.0.0.1\n$TTL 7\n");
        let expected = [TtlDirective { line: 2, seconds: 300 }, TtlDirective { line: 4, seconds: 7 }];
        assert_eq!(found, expected);
    }
}
