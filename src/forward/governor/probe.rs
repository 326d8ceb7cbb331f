//! What a probe asks.

use crate::wire::header::{self, Counts, HEADER_LEN};
use crate::wire::{Class, Flags, Rtype};

/// Appends the query of a probe: the root's SOA, which every resolver has at
/// hand. What it answers does not matter much; that it answers does.
pub fn probe_query(id: u16, out: &mut Vec<u8>) {
    let mut head = [0; HEADER_LEN];
    header::set_id(&mut head, id);
    header::set_flags(&mut head, Flags(Flags::RD));
    header::set_counts(&mut head, Counts { question: 1, ..Counts::default() });
    out.extend_from_slice(&head);
    out.push(0);
    out.extend_from_slice(&Rtype::SOA.0.to_be_bytes());
    out.extend_from_slice(&Class::IN.0.to_be_bytes());
}
