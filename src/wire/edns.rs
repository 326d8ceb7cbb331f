//! EDNS(0): the OPT pseudo-record (RFC 6891) and extended DNS errors (RFC 8914).

use super::types::Rtype;
use super::{read_u16, read_u32};

/// Smallest UDP payload size that an OPT can announce (RFC 6891 section 6.2.3).
pub const MIN_UDP_SIZE: u16 = 512;
/// The length of an OPT without options.
pub const OPT_LEN: usize = 11;
/// Option code of an extended DNS error.
pub const OPTION_EDE: u16 = 15;

/// What a client's (or an upstream's) OPT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The sender's UDP payload size, at least 512.
    pub udp_size: u16,
    /// The EDNS version; hubdns speaks version 0.
    pub version: u8,
    /// The upper eight bits of the response code.
    pub rcode_high: u8,
    /// DNSSEC OK (RFC 3225).
    pub dnssec_ok: bool,
    /// Where the options start in the message.
    pub options_at: u16,
    /// Length of the options in bytes.
    pub options_len: u16,
}

impl Edns {
    /// Reads the OPT at `at` in `message` if it is of the usual form: owned by
    /// the root, version 0, without options. `None` says nothing about others.
    #[inline]
    pub(super) fn parse_usual(message: &[u8], at: usize) -> Option<Self> {
        let options_at = at + OPT_LEN;
        let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10] = *message.get(at..options_at)?.first_chunk()?;
        // Owner, TYPE, size, RCODE, version and half of the flags in one word;
        // the flags and the length of the options in another.
        let first = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        let last = u32::from_be_bytes([b7, b8, b9, b10]);
        // In one comparison, as nearly none fails it.
        if (first & 0xffff_ff00_0000_ff00 ^ u64::from(Rtype::OPT.0) << 40) | u64::from(last as u16) != 0 {
            return None;
        }
        Some(Self {
            udp_size: ((first >> 24) as u16).max(MIN_UDP_SIZE),
            version: 0,
            rcode_high: (first >> 16) as u8,
            dnssec_ok: last >> 31 != 0,
            options_at: options_at as u16,
            options_len: 0,
        })
    }

    /// Reads the fields of an OPT record whose TYPE lies at `at` in `message`
    /// (its owner, one zero byte, just before). Returns the end of the record.
    /// The options are walked: lengths that lie make the OPT malformed.
    pub fn parse(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let fields = Self::parse_fields(message, at)?;
        let options_at = at + 10;
        let len = read_u16(message, at + 8)?;
        let end = options_at + usize::from(len);
        let options = message.get(options_at..end)?;
        if !options.is_empty() {
            let mut options = Options(options);
            while options.next().is_some() {}
            if !options.0.is_empty() {
                return None;
            }
        }
        Some((Self { options_at: u16::try_from(options_at).ok()?, options_len: len, ..fields }, end))
    }

    /// [`Self::parse`] without the options, which may be anything.
    pub fn parse_fields(message: &[u8], at: usize) -> Option<Self> {
        let class = read_u16(message, at + 2)?;
        let ttl = read_u32(message, at + 4)?;
        Some(Self {
            udp_size: class.max(MIN_UDP_SIZE),
            version: (ttl >> 16) as u8,
            rcode_high: (ttl >> 24) as u8,
            dnssec_ok: ttl & 0x8000 != 0,
            options_at: 0,
            options_len: 0,
        })
    }

    /// This OPT as if it had no options.
    #[must_use]
    pub const fn without_options(self) -> Self {
        Self { options_at: 0, options_len: 0, ..self }
    }

    /// The options, given the message that this OPT was read from.
    pub fn options<'a>(&self, message: &'a [u8]) -> Options<'a> {
        let at = usize::from(self.options_at);
        Options(message.get(at..at + usize::from(self.options_len)).unwrap_or_default())
    }
}

/// Iterates over `(code, data)` of EDNS options; stops at a malformed one.
#[derive(Clone, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let code = read_u16(self.0, 0)?;
        let len = usize::from(read_u16(self.0, 2)?);
        let data = self.0.get(4..4 + len)?;
        self.0 = self.0.get(4 + len..)?;
        Some((code, data))
    }
}

/// An extended DNS error: INFO-CODE of RFC 8914 with a constant text of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ede {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT: constant, never from outside.
    pub text: &'static str,
}

impl Ede {
    /// 3: an answer past its TTL, since no upstream answered (RFC 8767).
    pub const STALE_ANSWER: Self = Self { code: 3, text: "" };
    /// 19: the denial of a name past its TTL, since no upstream answered (RFC 8767).
    pub const STALE_NXDOMAIN_ANSWER: Self = Self { code: 19, text: "" };
    /// 17: the name is ours and no record covers it; closed by policy.
    pub const OWN_MISSING: Self =
        Self { code: 17, text: "own registry name without a private endpoint record" };
    /// 18: the client is outside the allowed prefixes.
    pub const PROHIBITED: Self = Self { code: 18, text: "" };
    /// 20: a query without RD for what is neither held nor cached.
    pub const NOT_AUTHORITATIVE: Self = Self { code: 20, text: "" };
    /// 21: the query's type, class or opcode is not supported.
    pub const NOT_SUPPORTED: Self = Self { code: 21, text: "" };
    /// 22: no upstream answered in time.
    pub const NO_REACHABLE_AUTHORITY: Self = Self { code: 22, text: "no upstream answered in time" };
    /// 23: the network refused the exchange with every upstream.
    pub const NETWORK_ERROR: Self = Self { code: 23, text: "upstream unreachable" };
    /// 23: what came over UDP is truncated, and TCP has not brought the rest.
    pub const TRUNCATED: Self = Self { code: 23, text: "upstream's answer is truncated, and TCP fails" };
    /// 0: what has no code of its own, such as an upstream's REFUSED.
    pub const UPSTREAM_REFUSED: Self = Self { code: 0, text: "upstream refused the query" };
    /// 0: the names that a chain leads to got an upstream's error.
    pub const CHAIN_FAILED: Self = Self { code: 0, text: "an upstream failed further down the chain" };
    /// 0: too many queries wait for an upstream.
    pub const OVERLOADED: Self = Self { code: 0, text: "too many queries in flight" };

    /// 0: what the upstream may be sent is spent.
    pub const OVER_BUDGET: Self = Self { code: 0, text: "the budget of queries to the upstream is spent" };

    /// The length of this error as an EDNS option, header included.
    pub const fn option_len(self) -> usize {
        6 + self.text.len()
    }
}
