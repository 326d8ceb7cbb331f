//! Addresses, answers and errors in the words of the report.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::routes::dns::{Answer, AskError};
use crate::wire::Rcode;

/// Addresses with commas, or a word for none.
pub(super) fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The last part of a resource id; the interface's for one of its configurations.
pub(super) fn short_id(origin: &str) -> &str {
    let lower = origin.to_ascii_lowercase();
    let end = lower.find("/ipconfigurations/").unwrap_or(origin.len());
    origin.get(..end).unwrap_or(origin).rsplit('/').next().unwrap_or(origin)
}

/// Whether the Internet may use `address`: everything but the private ranges
/// (RFC 1918, 6598, 4193), link-local and loopback addresses.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified())
        }
    }
}

/// A response code with the extended errors that came along.
pub(super) fn code(answer: &Answer) -> String {
    let mut text = answer.rcode.to_string();
    for (code, extra) in &answer.extended_errors {
        let meaning = match (extra.is_empty(), code) {
            (false, _) => format!(": {extra}"),
            (true, 6) => ": DNSSEC bogus".to_owned(),
            (true, 18) => ": prohibited".to_owned(),
            (true, 22) => ": no reachable authority".to_owned(),
            (true, 23) => ": network error".to_owned(),
            (true, _) => String::new(),
        };
        let _ = write!(text, " (extended error {code}{meaning})");
    }
    text
}

/// What a question came to, in a few words.
pub(super) fn outcome(asked: &Result<Answer, AskError>) -> String {
    match asked {
        Err(error) => error.to_string(),
        Ok(answer) if answer.rcode == Rcode::NOERROR => match answer.addresses() {
            addresses if addresses.is_empty() => "no address".to_owned(),
            addresses => list(&addresses),
        },
        Ok(answer) => code(answer),
    }
}
