//! Takes secrets out of what others say: token services and proxies may echo
//! what was sent to them.

use std::fmt;

use zeroize::Zeroizing;

/// What stands for what was taken out.
const HIDDEN: &str = "[hidden]";

/// Longest text that is kept, in characters.
const MAX_LENGTH: usize = 500;

/// Runs of token characters from this length on are taken for secrets, known or not.
const SUSPICIOUS: usize = 60;

/// The same for what begins as every JWT does.
const SUSPICIOUS_JWT: usize = 16;

/// Secrets that must not be told. `Debug` hides them.
#[derive(Default)]
pub(super) struct Scrubber(Vec<Zeroizing<String>>);

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scrubber").field(&self.0.len()).finish()
    }
}

impl Scrubber {
    /// Knows `secrets`, also as they look in the body of a form.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known = Vec::new();
        for secret in secrets {
            // Shorter ones would take letters out of every word.
            if secret.len() < 4 {
                continue;
            }
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            if encoded != secret {
                known.push(Zeroizing::new(encoded));
            }
            known.push(Zeroizing::new(secret.to_owned()));
        }
        Self(known)
    }

    /// `text` on one line, without secrets, of bounded length.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        let words: Vec<String> = text.split_whitespace().map(without_tokens).collect();
        let text = words.join(" ");
        match text.char_indices().nth(MAX_LENGTH) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }
}

fn without_tokens(word: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '=' | '+');
    let mut clean = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        let is_jwt = run.contains("eyJ") && run.len() >= SUSPICIOUS_JWT;
        clean.push_str(if is_jwt || run.len() >= SUSPICIOUS { HIDDEN } else { run });
        let next = tail.find(is_token).unwrap_or(tail.len());
        clean.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_likely_secrets_are_taken_out() {
        let scrubber = Scrubber::new(["s3cr~t&+/", "abc"]);
        let said = "AADSTS7000215: Invalid client secret 's3cr~t&+/' (client_secret=s3cr%7Et%26%2B%2F)\r\nTrace ID: 1";
        assert_eq!(
            scrubber.clean(said),
            "AADSTS7000215: Invalid client secret '[hidden]' (client_secret=[hidden]) Trace ID: 1"
        );
        let jwt = "assertion=eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln;";
        assert_eq!(scrubber.clean(jwt), "[hidden];");
        assert_eq!(scrubber.clean(&"A1b2".repeat(20)), "[hidden]");
        assert_eq!(scrubber.clean(&"word ".repeat(200)).chars().count(), MAX_LENGTH + 3);
        assert!(!format!("{scrubber:?}").contains("s3cr"));
    }

    #[test]
    fn what_operators_need_stays() {
        let said = "AADSTS700016: Application with identifier '33333333-3333-3333-3333-333333333333' was not found \
                    in the directory; see https://login.microsoftonline.com/99999999-9999-9999-9999-999999999999/oauth2/v2.0/token";
        assert_eq!(Scrubber::default().clean(said), said.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
