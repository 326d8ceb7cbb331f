//! What must hold for any bytes that Resource Manager may send; shared by the
//! fuzz target and by the replay of its seeds.

#![allow(unreachable_pub, reason = "also included by the fuzz target")]

use hubdns::sources::az_json::facts_of_body;
use hubdns::sources::azure::arm::{page, problem};
use url::Url;

/// Longest text that may be kept of an error body, in characters.
const MAX_TEXT: usize = 410;

/// Parses `bytes` as everything that a body can be.
pub fn check(bytes: &[u8]) {
    let message = problem::message(bytes);
    assert!(message.chars().count() <= MAX_TEXT && !message.contains(char::is_control), "{message:?}");
    let action = problem::action(&message, &String::from_utf8_lossy(bytes));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "./*-_".contains(c);
    assert!(action.len() <= MAX_TEXT && action.chars().all(is_plain), "{action:?}");
    let Ok(value) = page::parse(bytes) else { return };
    let manager = Url::parse("https://management.azure.com").expect("a URL");
    if let Ok(page) = page::list(value.clone()) {
        assert!(page.items.iter().all(serde_json::Value::is_object));
        if let Some(url) = page.next.and_then(|link| page::next_url(&manager, &link).ok()) {
            // What is sent goes where the URL says, spelled anew.
            let again = Url::parse(url.as_str()).expect("a URL");
            let place = (again.scheme(), again.host_str(), again.port_or_known_default());
            assert_eq!(place, ("https", Some("management.azure.com"), Some(443)));
            assert!(again.username().is_empty() && again.password().is_none());
        }
    }
    if let Ok(page) = page::graph(value.clone()) {
        assert!(page.rows.iter().all(serde_json::Value::is_object));
    }
    let _ = facts_of_body("fuzz", &value);
}
