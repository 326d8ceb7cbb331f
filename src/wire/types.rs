//! Record types, classes and response codes, with their registered mnemonics
//! (IANA DNS parameters; RFC 3597 for the unknown).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A record type (QTYPE or TYPE), RFC 1035 section 3.2.2 and IANA's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rtype(pub u16);

macro_rules! rtypes {
    ($($konst:ident $text:literal $value:literal),+ $(,)?) => {
        impl Rtype {
            $(#[doc = concat!("TYPE ", $text, ".")] pub const $konst: Self = Self($value);)+

            /// The mnemonic, where the registry has one that hubdns knows.
            pub const fn mnemonic(self) -> Option<&'static str> {
                match self.0 { $($value => Some($text),)+ _ => None }
            }

            fn from_mnemonic(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case($text) { return Some(Self($value)); })+
                None
            }
        }
    };
}

rtypes! {
    A "A" 1, NS "NS" 2, CNAME "CNAME" 5, SOA "SOA" 6, PTR "PTR" 12, HINFO "HINFO" 13, MX "MX" 15,
    TXT "TXT" 16, RP "RP" 17, AFSDB "AFSDB" 18, SIG "SIG" 24, KEY "KEY" 25, AAAA "AAAA" 28,
    LOC "LOC" 29, SRV "SRV" 33, NAPTR "NAPTR" 35, KX "KX" 36, CERT "CERT" 37, DNAME "DNAME" 39,
    OPT "OPT" 41, DS "DS" 43, SSHFP "SSHFP" 44, RRSIG "RRSIG" 46, NSEC "NSEC" 47,
    DNSKEY "DNSKEY" 48, NSEC3 "NSEC3" 50, NSEC3PARAM "NSEC3PARAM" 51, TLSA "TLSA" 52,
    SMIMEA "SMIMEA" 53, CDS "CDS" 59, CDNSKEY "CDNSKEY" 60, OPENPGPKEY "OPENPGPKEY" 61,
    CSYNC "CSYNC" 62, ZONEMD "ZONEMD" 63, SVCB "SVCB" 64, HTTPS "HTTPS" 65, SPF "SPF" 99,
    NID "NID" 104, EUI48 "EUI48" 108, EUI64 "EUI64" 109, TKEY "TKEY" 249, TSIG "TSIG" 250,
    IXFR "IXFR" 251, AXFR "AXFR" 252, MAILB "MAILB" 253, MAILA "MAILA" 254, ANY "ANY" 255,
    URI "URI" 256, CAA "CAA" 257,
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.pad(text),
            None => f.pad(&format!("TYPE{}", self.0)),
        }
    }
}

/// The text is no record type: neither a known mnemonic nor `TYPEnnn`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a record type")]
pub struct RtypeError(pub String);

impl FromStr for Rtype {
    type Err = RtypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(known) = Self::from_mnemonic(text) {
            return Ok(known);
        }
        let digits = text.get(..4).filter(|p| p.eq_ignore_ascii_case("TYPE")).and_then(|_| text.get(4..));
        digits.and_then(|d| d.parse().ok()).map(Self).ok_or_else(|| RtypeError(text.to_owned()))
    }
}

/// A class (QCLASS or CLASS), RFC 1035 section 3.2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u16);

impl Class {
    /// The Internet.
    pub const IN: Self = Self(1);
    /// Chaos: what servers answer about themselves.
    pub const CH: Self = Self(3);
    /// Hesiod.
    pub const HS: Self = Self(4);
    /// QCLASS NONE (RFC 2136).
    pub const NONE: Self = Self(254);
    /// QCLASS `*`.
    pub const ANY: Self = Self(255);
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.pad("IN"),
            3 => f.pad("CH"),
            4 => f.pad("HS"),
            254 => f.pad("NONE"),
            255 => f.pad("ANY"),
            other => f.pad(&format!("CLASS{other}")),
        }
    }
}

/// A response code: the header's four bits, extended to twelve by EDNS
/// (RFC 6891 section 6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The query could not be interpreted.
    pub const FORMERR: Self = Self(1);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// No such name.
    pub const NXDOMAIN: Self = Self(3);
    /// Opcode not implemented.
    pub const NOTIMP: Self = Self(4);
    /// Refused by policy.
    pub const REFUSED: Self = Self(5);
    /// EDNS version not supported (RFC 6891 section 9).
    pub const BADVERS: Self = Self(16);
    /// The server cookie is missing or not good (RFC 7873 section 8).
    pub const BADCOOKIE: Self = Self(23);

    /// The label for metrics, from a closed set: codes that hubdns neither
    /// makes nor expects share `other`.
    pub const fn label(self) -> &'static str {
        match self.0 {
            0 => "noerror",
            1 => "formerr",
            2 => "servfail",
            3 => "nxdomain",
            4 => "notimp",
            5 => "refused",
            16 => "badvers",
            23 => "badcookie",
            _ => "other",
        }
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("NOERROR"),
            1 => f.pad("FORMERR"),
            2 => f.pad("SERVFAIL"),
            3 => f.pad("NXDOMAIN"),
            4 => f.pad("NOTIMP"),
            5 => f.pad("REFUSED"),
            16 => f.pad("BADVERS"),
            23 => f.pad("BADCOOKIE"),
            other => f.pad(&format!("RCODE{other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3597_unknown_types_have_a_text_form() {
        assert_eq!("TYPE65280".parse::<Rtype>().unwrap(), Rtype(65280));
        assert_eq!("aaaa".parse::<Rtype>().unwrap(), Rtype::AAAA);
        assert_eq!(Rtype(65280).to_string(), "TYPE65280");
        assert!("TYPE70000".parse::<Rtype>().is_err());
        assert!("é".parse::<Rtype>().is_err());
    }
}
