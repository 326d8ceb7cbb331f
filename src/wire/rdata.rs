//! RDATA: which types hold names, copying them out of compression, and their
//! text form.

use std::fmt::Write as _;
use std::ops::Range;

use domain::base::iana;
use domain::base::rdata::ParseRecordData;
use domain::base::wire::ParseError;
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;

use super::message::expand_name;
use super::types::Rtype;

/// One field of a type's RDATA, for types whose names a sender may compress
/// (RFC 1035; RFC 3597 section 4 forbids it for all newer types).
#[derive(Clone, Copy)]
enum Field {
    /// That many bytes.
    Fixed(usize),
    /// A domain name.
    Name,
}

/// The layout of the types in which compressed names may occur; `None` for
/// types that are copied as they are.
const fn layout(rtype: Rtype) -> Option<&'static [Field]> {
    use Field::{Fixed, Name};
    match rtype {
        // MD, MF, MB, MG and MR, obsolete, are of RFC 1035 too; so is MINFO (14).
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME | Rtype(3 | 4 | 7 | 8 | 9) => Some(&[Name]),
        Rtype::SOA => Some(&[Name, Name, Fixed(20)]),
        Rtype::MX | Rtype::AFSDB | Rtype::KX => Some(&[Fixed(2), Name]),
        Rtype::RP | Rtype(14) => Some(&[Name, Name]),
        Rtype::SRV => Some(&[Fixed(6), Name]),
        _ => None,
    }
}

/// Appends the RDATA at `range` of `message` to `out` with its names
/// uncompressed, their spelling kept. `None` if the RDATA does not fit its type.
pub fn expand(message: &[u8], rtype: Rtype, range: Range<usize>, out: &mut Vec<u8>) -> Option<()> {
    let Some(fields) = layout(rtype) else {
        out.extend_from_slice(message.get(range)?);
        return Some(());
    };
    let mut at = range.start;
    for field in fields {
        match *field {
            Field::Fixed(len) => {
                out.extend_from_slice(message.get(at..at + len)?);
                at += len;
            }
            Field::Name => {
                let mut name = [0u8; 255];
                let (len, end) = expand_name(message, at, &mut name)?;
                out.extend_from_slice(name.get(..len)?);
                at = end;
            }
        }
    }
    (at == range.end).then_some(())
}

/// Calls `name` with the offset of each name in the RDATA at `range` that may
/// be compressed; it tells where that name ends. `None` if it does not, or if
/// the RDATA does not fit its type.
#[inline]
pub fn walk(rtype: Rtype, range: Range<usize>, mut name: impl FnMut(usize) -> Option<usize>) -> Option<()> {
    let Some(fields) = layout(rtype) else { return Some(()) };
    let mut at = range.start;
    for field in fields {
        at = match *field {
            Field::Fixed(len) => at + len,
            Field::Name => name(at)?,
        };
    }
    (at == range.end).then_some(())
}

/// Whether uncompressed `rdata` is well formed for `rtype` (as far as the type is known).
pub fn is_well_formed(rtype: Rtype, rdata: &[u8]) -> bool {
    parse(rtype, rdata).is_ok()
}

type Parsed<'a> = AllRecordData<&'a [u8], domain::base::ParsedName<&'a [u8]>>;

fn parse(rtype: Rtype, rdata: &[u8]) -> Result<Parsed<'_>, ParseError> {
    let mut parser = Parser::from_ref(rdata);
    let data = AllRecordData::parse_rdata(iana::Rtype::from_int(rtype.0), &mut parser)?;
    match data {
        Some(data) if parser.remaining() == 0 => Ok(data),
        _ => Err(ParseError::form_error("unknown type or trailing data")),
    }
}

/// The text form of uncompressed RDATA (RFC 1035 section 5; RFC 3597 for
/// what is unknown or malformed).
pub fn to_text(rtype: Rtype, rdata: &[u8]) -> String {
    if let Ok(data) = parse(rtype, rdata) {
        return data.to_string();
    }
    let mut text = format!("\\# {}", rdata.len());
    if !rdata.is_empty() {
        text.push(' ');
    }
    for byte in rdata {
        let _ = write!(text, "{byte:02X}");
    }
    text
}
