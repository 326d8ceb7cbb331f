//! Error answers: what Azure said, and which action a role lacks.

use serde_json::Value;

/// Longest message that is kept, in characters.
const MAX_MESSAGE: usize = 400;

/// Longest name of an action.
const MAX_ACTION: usize = 200;

/// What Azure said in an error body: its code and message, or nothing.
///
/// Four shapes are in use: `{"error": {"code", "message", "details"}}`,
/// `{"code", "message"}` (Private DNS), `{"error": "…", "error_description"}`
/// (Entra), and pages of HTML, of which nothing is kept.
pub fn message(body: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else {
        return String::new();
    };
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let whole = Value::Object(object);
    let holder = whole.get("error").filter(|error| error.is_object()).unwrap_or(&whole);
    let mut parts = [text(holder, "code"), text(holder, "message")];
    if let Some(error) = whole.get("error").and_then(Value::as_str) {
        parts = [error.to_owned(), text(&whole, "error_description")];
    }
    let mut said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    // Resource Graph's own message only says that there are details.
    let detail = holder.get("details").and_then(|details| details.get(0));
    let detail = detail.map(|detail| text(detail, "message")).filter(|detail| !detail.is_empty());
    said.extend(detail.filter(|detail| !said.contains(detail)));
    scrub(&said.join(": "))
}

/// The action that the identity lacks: as Azure's message names it, else
/// derived from the request.
pub fn action(message: &str, path: &str) -> String {
    named_action(message).unwrap_or_else(|| derived_action(path))
}

fn named_action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("perform action '")?;
    let (action, _) = rest.split_once('\'')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "./*-_".contains(c);
    let is_action = action.len() <= MAX_ACTION && action.contains('/') && action.chars().all(is_plain);
    is_action.then(|| action.to_owned())
}

/// `…/providers/Microsoft.Network/privateDnsZones/z/ALL?…` is read by
/// `Microsoft.Network/privateDnsZones/ALL/read`. All our requests are reads.
fn derived_action(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let Some((_, resource)) = path.rsplit_once("/providers/") else {
        return "Microsoft.Resources/subscriptions/read".to_owned();
    };
    let mut parts = resource.split('/').filter(|part| !part.is_empty());
    let namespace = parts.next().unwrap_or_default();
    let types: Vec<&str> = parts.step_by(2).collect();
    let action = format!("{namespace}/{}/read", types.join("/"));
    let plain: String = action.chars().filter(|c| c.is_ascii_alphanumeric() || "./-_".contains(*c)).collect();
    plain.chars().take(MAX_ACTION).collect()
}

/// Text of Azure's without what must not be kept: control characters, what
/// looks like a token, and more than a message's length.
pub fn scrub(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(if is_token(word) { "[token]" } else { word });
        if out.chars().count() > MAX_MESSAGE {
            break;
        }
    }
    if out.chars().count() > MAX_MESSAGE {
        out = out.chars().take(MAX_MESSAGE).collect();
        out.push_str("...");
    }
    out
}

/// Whether a word has a JWT in it: three parts of base64url that begin as JSON does.
fn is_token(word: &str) -> bool {
    let Some(at) = word.find("eyJ") else { return false };
    let token = &word[at..];
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
    token.len() > 40 && token.chars().take(40).all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_error_body_is_understood() {
        for (body, expected) in [
            (r#"{"error": {"code": "A", "message": "b"}}"#, "A: b"),
            (r#"{"code": "Throttled", "message": "Too many"}"#, "Throttled: Too many"),
            (r#"{"error": "invalid_client", "error_description": "AADSTS7"}"#, "invalid_client: AADSTS7"),
            (
                r#"{"error": {"code": "BadRequest", "message": "See details", "details": [{"code": "x", "message": "why"}]}}"#,
                "BadRequest: See details: why",
            ),
            ("<html>gateway</html>", ""),
            ("[]", ""),
            ("", ""),
            (r#"{"error": {"message": "a\u001b[31m\nb"}}"#, "a [31m b"),
        ] {
            assert_eq!(message(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn messages_are_cut_and_carry_no_token() {
        let token = format!("eyJ{}", "a".repeat(900));
        assert_eq!(scrub(&format!("no Bearer {token} here")), "no Bearer [token] here");
        assert_eq!(scrub(&format!("token={token}")), "[token]");
        let long = scrub(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), MAX_MESSAGE + 3);
    }

    #[test]
    fn actions_are_named_by_azure_or_by_the_request() {
        let said = "AuthorizationFailed: The client 'x' does not have authorization to perform action \
                    'Microsoft.Network/privateDnsZones/ALL/read' over scope '/x'";
        assert_eq!(action(said, "/"), "Microsoft.Network/privateDnsZones/ALL/read");
        let forged = "perform action 'a\u{1b}/b' over";
        for (message, path, expected) in [
            ("no", "/subscriptions?api-version=1", "Microsoft.Resources/subscriptions/read"),
            (
                "no",
                "/subscriptions/1/providers/Microsoft.Network/networkInterfaces?x=y",
                "Microsoft.Network/networkInterfaces/read",
            ),
            (
                "no",
                "/subscriptions/1/resourceGroups/g/providers/Microsoft.Network/privateDnsZones/z/ALL?x",
                "Microsoft.Network/privateDnsZones/ALL/read",
            ),
            (
                "no",
                "/providers/Microsoft.Management/managementGroups/g/descendants",
                "Microsoft.Management/managementGroups/descendants/read",
            ),
            (
                forged,
                "/providers/Microsoft.ResourceGraph/resources?x",
                "Microsoft.ResourceGraph/resources/read",
            ),
        ] {
            assert_eq!(action(message, path), expected, "{path}");
        }
    }
}
