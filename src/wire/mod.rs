//! DNS messages as bytes (RFC 1035 section 4): parsing queries, writing
//! responses, walking whole messages.
//!
//! Pure functions over slices: no I/O, no clock, no tokio, no panics. Every
//! length is checked, every loop is bounded by the message.

pub mod body;
pub mod edns;
pub mod folded;
pub mod header;
pub mod message;
pub mod name;
pub mod options;
pub mod query;
pub mod rdata;
pub mod response;
pub mod tail;
pub mod types;

pub use body::Body;
pub use edns::{Ede, Edns};
pub use folded::FoldedName;
pub use header::{Flags, HEADER_LEN, Opcode};
pub use name::{Name, NameError};
pub use query::{DropReason, Query, Reject, Unusual};
pub use response::Response;
pub use tail::{Offer, Tail, tell_closing};
pub use types::{Class, Rcode, Rtype};

/// Reads a big-endian `u16` at `at`, if the bytes are there.
#[inline]
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Reads a big-endian `u32` at `at`, if the bytes are there.
#[inline]
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// Writes a big-endian `u16` at `at`; does nothing when the place is missing.
#[inline]
pub(crate) fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(pair) = bytes.get_mut(at..at.wrapping_add(2)) {
        pair.copy_from_slice(&value.to_be_bytes());
    }
}
