//! The message header (RFC 1035 section 4.1.1): twelve bytes that open every
//! message.

use super::{read_u16, write_u16};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 12;

/// OPCODE values that hubdns tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A standard query.
    pub const QUERY: Self = Self(0);
    /// NOTIFY (RFC 1996).
    pub const NOTIFY: Self = Self(4);
    /// UPDATE (RFC 2136).
    pub const UPDATE: Self = Self(5);
}

/// The second word of the header: QR, OPCODE, AA, TC, RD, RA, Z, AD, CD, RCODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// This message is a response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data (RFC 4035).
    pub const AD: u16 = 0x0020;
    /// Checking disabled (RFC 4035).
    pub const CD: u16 = 0x0010;
    /// The bits of OPCODE.
    pub const OPCODE: u16 = 0x7800;
    /// The bits of RCODE.
    pub const RCODE: u16 = 0x000f;

    /// Whether all of `bits` are set.
    #[inline]
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }

    /// The operation code.
    #[inline]
    pub const fn opcode(self) -> Opcode {
        Opcode(((self.0 & Self::OPCODE) >> 11) as u8)
    }

    /// The header's four bits of the response code.
    #[inline]
    pub const fn rcode(self) -> u16 {
        self.0 & Self::RCODE
    }
}

/// The four section counts of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// QDCOUNT.
    pub question: u16,
    /// ANCOUNT.
    pub answer: u16,
    /// NSCOUNT.
    pub authority: u16,
    /// ARCOUNT.
    pub additional: u16,
}

/// The id of `message`, if it has a whole header.
#[inline]
pub fn id(message: &[u8]) -> Option<u16> {
    read_u16(message, 0)
}

/// The flags of `message`.
#[inline]
pub fn flags(message: &[u8]) -> Option<Flags> {
    read_u16(message, 2).map(Flags)
}

/// The counts of `message`.
#[inline]
pub fn counts(message: &[u8]) -> Option<Counts> {
    Some(Counts {
        question: read_u16(message, 4)?,
        answer: read_u16(message, 6)?,
        authority: read_u16(message, 8)?,
        additional: read_u16(message, 10)?,
    })
}

/// Sets the id of `message`.
#[inline]
pub fn set_id(message: &mut [u8], id: u16) {
    write_u16(message, 0, id);
}

/// Sets the flags of `message`.
#[inline]
pub fn set_flags(message: &mut [u8], flags: Flags) {
    write_u16(message, 2, flags.0);
}

/// Sets flags and counts of `message`, all four counts in one word from
/// QDCOUNT down to ARCOUNT.
#[inline]
pub fn set_flags_and_counts(message: &mut [u8], flags: Flags, counts: u64) {
    if let Some([_, _, flags0, flags1, places @ ..]) = message.first_chunk_mut::<HEADER_LEN>() {
        [*flags0, *flags1] = flags.0.to_be_bytes();
        *places = counts.to_be_bytes();
    }
}

/// Sets the counts of `message`.
#[inline]
pub fn set_counts(message: &mut [u8], counts: Counts) {
    write_u16(message, 4, counts.question);
    write_u16(message, 6, counts.answer);
    write_u16(message, 8, counts.authority);
    write_u16(message, 10, counts.additional);
}
