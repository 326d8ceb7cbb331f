//! RDATA of static records: from the text form of a master file to wire form.
//!
//! The text is cut into tokens here and scanned by `domain`, type by type.
//! `domain`'s own reader of master files works in place and panics where tokens
//! stand without space between them (version 0.12.3), so it is not used.

use domain::base::Name as DomainName;
use domain::base::iana;
use domain::base::rdata::{ComposeRecordData, UnknownRecordData};
use domain::base::scan::{IterScanner, Scanner};
use domain::rdata::ZoneRecordData;

use crate::wire::{Rtype, rdata};

/// Longest RDATA text that is looked at: 65,535 bytes, each escaped as `\DDD`.
const MAX_TEXT: usize = 4 * 65_535;

/// Whether records of this type can be written in the configuration. Kept out:
/// what describes zones themselves (SOA, NS), what rewrites whole trees
/// (DNAME), signatures (nothing here is signed), and what never stands in a
/// zone (OPT; 128 to 255, the meta types of RFC 6895 section 3.1).
pub(super) const fn is_static_type(rtype: Rtype) -> bool {
    !matches!(
        rtype,
        Rtype::SOA
            | Rtype::NS
            | Rtype::DNAME
            | Rtype::OPT
            | Rtype::SIG
            | Rtype::RRSIG
            | Rtype::NSEC
            | Rtype::NSEC3
            | Rtype::NSEC3PARAM
            | Rtype::DNSKEY
            | Rtype::DS
            | Rtype::CDS
            | Rtype::CDNSKEY
            | Rtype(0 | 128..=255)
    )
}

/// What [`from_text`] takes, for "expected ...".
pub(super) fn expected(rtype: Rtype) -> String {
    let form = match rtype {
        Rtype::SVCB | Rtype::HTTPS => " (parameters only in the form \\# LENGTH HEX of RFC 3597)",
        _ if rtype.mnemonic().is_none() => " in the form \\# LENGTH HEX of RFC 3597",
        _ => "",
    };
    format!("the data of one {rtype} record{form}")
}

/// Parses the text form of RDATA (RFC 1035 section 5.1; RFC 3597 for types
/// without one, and for parameters of SVCB and HTTPS). Names in it are
/// absolute, with or without a final dot.
pub(crate) fn from_text(rtype: Rtype, text: &str) -> Option<Box<[u8]>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let tokens = tokens(text)?;
    let is_generic = tokens.first().is_some_and(|token| token == "\\#");
    let mut scanner = IterScanner::<_, Vec<u8>>::new(tokens);
    let domain_type = iana::Rtype::from_int(rtype.0);
    let mut wire = Vec::new();
    if is_generic {
        wire.extend_from_slice(UnknownRecordData::scan(domain_type, &mut scanner).ok()?.data());
    } else {
        let data: ZoneRecordData<Vec<u8>, DomainName<Vec<u8>>> =
            ZoneRecordData::scan(domain_type, &mut scanner).ok()?;
        data.compose_rdata(&mut wire).ok()?;
    }
    let is_whole = !scanner.continues() && u16::try_from(wire.len()).is_ok();
    // Of a type that is unknown, any data is well formed.
    let is_sound = rdata::is_well_formed(rtype, &wire) || (is_generic && rtype.mnemonic().is_none());
    (is_whole && is_sound).then(|| wire.into())
}

/// Cuts one line of a master file into tokens: quotation marks taken away,
/// escapes kept and checked. `None` for what is not one line of whole tokens:
/// control characters, comments, parentheses, open quotes, broken escapes.
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut token: Option<String> = None;
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let token = token.get_or_insert_default();
                token.push('\\');
                let first = chars.next().filter(char::is_ascii_graphic)?;
                token.push(first);
                if first.is_ascii_digit() {
                    let rest = [chars.next()?, chars.next()?];
                    token.extend(rest);
                    let code: String = [first].into_iter().chain(rest).collect();
                    code.parse::<u8>().ok()?;
                }
            }
            // A closing mark ends the token: what others make of `"a""b"` differs.
            '"' if quoted => {
                quoted = false;
                if chars.clone().next().is_some_and(|next| !matches!(next, ' ' | '\t')) {
                    return None;
                }
            }
            '"' if token.is_none() => {
                token = Some(String::new());
                quoted = true;
            }
            '"' => return None,
            ' ' | '\t' if !quoted => tokens.extend(token.take()),
            ';' | '(' | ')' if !quoted => return None,
            c if c.is_control() => return None,
            c => token.get_or_insert_default().push(c),
        }
    }
    tokens.extend(token);
    (!quoted).then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_uncompressed_wire_form() {
        for (rtype, text, wire) in [
            (Rtype::A, "10.0.0.4", &[10, 0, 0, 4][..]),
            (Rtype::CNAME, "a.example", b"\x01a\x07example\x00"),
            (Rtype::CNAME, "a.example.", b"\x01a\x07example\x00"),
            (Rtype::MX, "10 a.example.", b"\x00\x0a\x01a\x07example\x00"),
            (Rtype::TXT, "\"a b\" c", b"\x03a b\x01c"),
            (Rtype::SRV, "0 5 443 a.", b"\x00\x00\x00\x05\x01\xbb\x01a\x00"),
            (Rtype::TXT, "\"\"", b"\x00"),
            (Rtype::TXT, "a\\032\\\"b", b"\x04a \"b"),
            (Rtype::HTTPS, "1 .", b"\x00\x01\x00"),
            (Rtype::HTTPS, "\\# 9 000100 0003 0002 01BB", b"\x00\x01\x00\x00\x03\x00\x02\x01\xbb"),
            (Rtype(65280), "\\# 2 0A0B", &[10, 11]),
            (Rtype(65280), "\\# 0", &[]),
            (Rtype::A, "\\# 4 0A000004", &[10, 0, 0, 4]),
        ] {
            assert_eq!(from_text(rtype, text).as_deref(), Some(wire), "{rtype} {text}");
        }
    }

    #[test]
    fn text_that_does_not_fit_its_type_is_refused() {
        for (rtype, text) in [
            (Rtype::A, ""),
            (Rtype::A, "10.0.0.256"),
            (Rtype::A, "10.0.0.4 10.0.0.5"),
            (Rtype::A, "10.0.0.4\n. 0 IN A 10.0.0.5"),
            (Rtype::A, "( 10.0.0.4"),
            (Rtype::A, "10.0.0.4 )"),
            (Rtype::AAAA, "10.0.0.4"),
            (Rtype::CNAME, "a..example"),
            (Rtype::MX, "a.example."),
            (Rtype::TXT, "\"open"),
            (Rtype::TXT, ".\"\"\"\\\"\""),
            (Rtype::TXT, "a\\25"),
            (Rtype::TXT, "a\\256"),
            (Rtype::TXT, "a\\"),
            (Rtype::A, "10.0.0.4 ; here"),
            (Rtype::A, "\\# 3 0A0B0C"),
        ] {
            assert_eq!(from_text(rtype, text), None, "{rtype} {text:?}");
        }
    }
}
