//! A query on its way over a stream, and whether a message is its response.

use crate::metrics::forward::Mismatch;
use crate::wire::header;
use crate::wire::message::Message;
use crate::wire::{Class, Flags, Name, Rtype};

use crate::forward::reply::{self, Asked, UpstreamReply};
use crate::forward::upstream::Upstream;

/// EDNS option Padding (RFC 7830).
const OPTION_PADDING: u16 = 12;
/// Length that encrypted queries are padded to a multiple of (RFC 8467 section 4.1).
const PADDED_TO: usize = 128;

/// A query in the form that its transport takes.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The message, its id 0: what HTTP sends (RFC 8484 section 4.1), and
    /// other connections replace.
    bytes: Vec<u8>,
    name: Name,
    qtype: Rtype,
    qclass: Class,
    passes_ad: bool,
}

impl Prepared {
    /// Prepares `query` for `upstream`; `None` if it is no query.
    pub(super) fn new(mut query: Vec<u8>, upstream: &Upstream) -> Option<Self> {
        let message = Message::parse(&query)?;
        let (name, qtype, qclass) = (message.qname()?.to_name(), message.qtype(), message.qclass());
        header::set_id(&mut query, 0);
        if upstream.passes_ad() {
            // Else it would tell by AD only those who set DO (RFC 6840 section 5.7).
            let flags = header::flags(&query).unwrap_or_default();
            header::set_flags(&mut query, Flags(flags.0 | Flags::AD));
        }
        if upstream.transport().is_encrypted() {
            pad(&mut query);
        }
        // Frames have 16 bits for their length.
        u16::try_from(query.len()).ok()?;
        Some(Self { bytes: query, name, qtype, qclass, passes_ad: upstream.passes_ad() })
    }

    /// The message with id 0.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message with `id`, behind its length (RFC 1035 section 4.2.2): in
    /// one piece, as a length that travels alone confuses some servers.
    pub(super) fn frame(&self, id: u16) -> Vec<u8> {
        let len = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        let mut frame = Vec::with_capacity(2 + self.bytes.len());
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(self.bytes.get(2..).unwrap_or_default());
        frame
    }

    /// Whether `bytes` are too few to repeat the question.
    pub(super) fn is_cut_off(&self, bytes: &[u8]) -> bool {
        bytes.len() < header::HEADER_LEN + self.name.as_wire().len() + 4
    }

    /// Checks that `bytes`, whose id was compared, is the response, and cleans
    /// it. AD stays set only if the upstream may pass it on.
    pub(super) fn accept(&self, bytes: &[u8]) -> Result<UpstreamReply, Mismatch> {
        let asked = Asked { name: &self.name, qtype: self.qtype, qclass: self.qclass };
        let mut reply = reply::accept(bytes, &asked)?;
        let flags = header::flags(&reply.bytes).unwrap_or_default().0 & !Flags::AD;
        let claimed = header::flags(bytes).unwrap_or_default().0 & Flags::AD;
        let authentic = if self.passes_ad { claimed } else { 0 };
        header::set_flags(&mut reply.bytes, Flags(flags | authentic));
        Ok(reply)
    }
}

/// Pads a query whose last record is its OPT; one without OPT stays as it is.
fn pad(query: &mut Vec<u8>) -> Option<()> {
    let opt = Message::parse(query)?.records().last()?;
    if opt.rtype != Rtype::OPT || opt.end() != query.len() {
        return None;
    }
    let padding = (query.len() + 4).next_multiple_of(PADDED_TO) - (query.len() + 4);
    let rdata_len = u16::try_from(opt.rdata.len() + 4 + padding).ok()?;
    let len_at = opt.rdata.start.checked_sub(2)?;
    query.get_mut(len_at..opt.rdata.start)?.copy_from_slice(&rdata_len.to_be_bytes());
    query.extend_from_slice(&OPTION_PADDING.to_be_bytes());
    query.extend_from_slice(&u16::try_from(padding).ok()?.to_be_bytes());
    query.resize(query.len() + padding, 0);
    Some(())
}

/// Lowers every TTL of a cleaned response by `age` seconds.
pub(super) fn lower_ttls(reply: &mut UpstreamReply, age: u32) {
    let Some(message) = Message::parse(&reply.bytes) else { return };
    let places: Vec<(usize, u32)> = message.records().map(|record| (record.ttl_at, record.ttl)).collect();
    for (at, ttl) in places {
        if let Some(place) = reply.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, UpstreamTransport};
    use crate::wire::Edns;

    fn query(name: &str, opt: bool) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, u8::from(opt)];
        bytes.extend_from_slice(name.parse::<Name>().unwrap().as_wire());
        bytes.extend_from_slice(&[0xff, 0x11, 0, 3]);
        if opt {
            bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        }
        bytes
    }

    fn upstream(transport: UpstreamTransport, trusted: bool) -> std::sync::Arc<Upstream> {
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 53));
        Upstream::new(config::Upstream { transport, trusted, ..config::Upstream::from(address) })
    }

    #[test]
    fn rfc8467_encrypted_queries_are_padded_to_128_octets() {
        for len in 1..=60 {
            let name = format!("{}.example", "a".repeat(len));
            for (transport, padded) in [
                (UpstreamTransport::Udp, false),
                (UpstreamTransport::Tcp, false),
                (UpstreamTransport::Tls, true),
                (UpstreamTransport::Https, true),
            ] {
                let plain = query(&name, true);
                let prepared = Prepared::new(plain.clone(), &upstream(transport, false)).unwrap();
                let bytes = prepared.bytes();
                let message = Message::parse(bytes).unwrap();
                let opt = message.records().last().unwrap();
                assert_eq!(opt.end(), bytes.len());
                let (edns, _) = Edns::parse(bytes, opt.owner_at + 1).unwrap();
                assert!(edns.dnssec_ok);
                assert_eq!(edns.options(bytes).count(), usize::from(padded), "{transport:?}");
                if padded {
                    assert_eq!(bytes.len() % PADDED_TO, 0, "{len}");
                    assert!(bytes.len() - plain.len() < PADDED_TO + 4);
                } else {
                    assert_eq!(bytes[2..], plain[2..], "all but the id");
                }
            }
        }
    }

    #[test]
    fn a_query_without_opt_is_sent_as_it_is() {
        let plain = query("example", false);
        let prepared = Prepared::new(plain.clone(), &upstream(UpstreamTransport::Tls, false)).unwrap();
        let frame = prepared.frame(0x1234);
        assert_eq!(frame[..4], [0, plain.len() as u8, 0x12, 0x34]);
        assert_eq!(frame[4..], plain[2..]);
    }

    #[test]
    fn ad_stays_only_where_the_upstream_may_pass_it() {
        for transport in UpstreamTransport::ALL {
            for trusted in [false, true] {
                let upstream = upstream(transport, trusted);
                let prepared = Prepared::new(query("example", true), &upstream).unwrap();
                let mut response = query("example", false);
                response[2..4].copy_from_slice(&(Flags::QR | Flags::AD | Flags::RA).to_be_bytes());
                let reply = prepared.accept(&response).unwrap();
                let passed = header::flags(&reply.bytes).unwrap().has(Flags::AD);
                assert_eq!(passed, upstream.passes_ad(), "{transport:?} {trusted}");
                response[2..4].copy_from_slice(&Flags::QR.to_be_bytes());
                let reply = prepared.accept(&response).unwrap();
                assert!(!header::flags(&reply.bytes).unwrap().has(Flags::AD), "not invented");
            }
        }
    }
}
