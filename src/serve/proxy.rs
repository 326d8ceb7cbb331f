//! The PROXY protocol, version 2 (haproxy's proxy-protocol.txt section 2.2):
//! how a load balancer in front tells who asks.
//!
//! A header is read from listed senders alone, and they must send one: whether
//! there is a header is never guessed. What the header names becomes the
//! *effective client*, which access, views, limits and logs go by from then on;
//! the response goes to the sender.
//!
//! ```text
//! signature (12) │ version 2, command │ family, transport │ length │ addresses │ TLVs
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header starts with: bytes that begin no query (as a length of TCP
/// they announce 3,338 bytes, as a message an opcode that nobody uses).
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the addresses.
pub const FIXED: usize = 16;
/// The longest header that is taken. Addresses take 36 bytes at most, and what
/// clouds put behind them (ids, the names of TLS) some hundred.
pub const MAX_HEADER: usize = 2048;

/// What stands at the front of a connection or a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// A header of `len` bytes.
    Header {
        /// Its length, signature to last TLV.
        len: usize,
        /// Who asks; `None` where the sender asks on its own account (LOCAL), or
        /// knows of no addresses (UNSPEC).
        client: Option<SocketAddr>,
    },
    /// So far the start of a header.
    Partial,
    /// Something else.
    None,
    /// A header that cannot be read, or is longer than [`MAX_HEADER`].
    Malformed,
}

/// Reads the header at the front of `bytes`.
pub fn read(bytes: &[u8]) -> Proxied {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes.get(..seen) != SIGNATURE.get(..seen) {
        return Proxied::None;
    }
    let Some([.., command, family, high, low]) = bytes.first_chunk::<FIXED>().copied() else {
        // What is there already may tell that the rest is not worth waiting for.
        return match bytes.get(SIGNATURE.len()) {
            Some(command) if !is_command(*command) => Proxied::Malformed,
            _ => Proxied::Partial,
        };
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if !is_command(command) || len > MAX_HEADER {
        return Proxied::Malformed;
    }
    let Some(body) = bytes.get(FIXED..len) else { return Proxied::Partial };
    match client(command, family, body) {
        Ok(client) => Proxied::Header { len, client },
        Err(Unreadable) => Proxied::Malformed,
    }
}

/// Whether `bytes` begin as a header does, as far as they go.
pub fn looks_like(bytes: &[u8]) -> bool {
    !matches!(read(bytes), Proxied::None)
}

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const fn is_command(byte: u8) -> bool {
    matches!(byte, LOCAL | PROXY)
}

/// A header's body that is none.
struct Unreadable;

/// The client that a header's body names.
fn client(command: u8, family: u8, body: &[u8]) -> Result<Option<SocketAddr>, Unreadable> {
    if command == LOCAL {
        // Whatever stands there is to be skipped.
        return Ok(None);
    }
    // How the client came to the sender (a stream, datagrams) does not matter here.
    if family & 0x0f > 2 {
        return Err(Unreadable);
    }
    let (client, tlvs) = match family >> 4 {
        0 => return Ok(None),
        1 => v4(body),
        2 => v6(body),
        // The address of a Unix socket is nobody whose access could be decided.
        _ => None,
    }
    .ok_or(Unreadable)?;
    if is_well_formed(tlvs) { Ok(Some(client)) } else { Err(Unreadable) }
}

/// Source, destination, their ports; then what comes behind them.
fn v4(body: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (addresses, rest) = body.split_first_chunk::<12>()?;
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
    Some((endpoint(Ipv4Addr::new(a, b, c, d).into(), high, low), rest))
}

fn v6(body: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (addresses, rest) = body.split_first_chunk::<36>()?;
    let (source, behind) = addresses.split_first_chunk::<16>()?;
    let [high, low, ..] = *behind.get(16..)? else { return None };
    Some((endpoint(Ipv6Addr::from(*source).into(), high, low), rest))
}

fn endpoint(ip: IpAddr, high: u8, low: u8) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), u16::from_be_bytes([high, low]))
}

/// Whether `tlvs` are types with lengths that add up.
fn is_well_formed(mut tlvs: &[u8]) -> bool {
    while let Some(([_, high, low], rest)) = tlvs.split_first_chunk::<3>() {
        match rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) {
            Some(rest) => tlvs = rest,
            None => return false,
        }
    }
    tlvs.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    fn addresses() -> Vec<u8> {
        vec![192, 0, 2, 1, 198, 51, 100, 1, 0x30, 0x39, 0, 53]
    }

    #[test]
    fn both_families_name_their_client() {
        let expected: SocketAddr = "192.0.2.1:12345".parse().unwrap();
        for family in [0x11, 0x12] {
            let bytes = header(PROXY, family, &addresses());
            assert_eq!(read(&bytes), Proxied::Header { len: 28, client: Some(expected) });
        }
        let mut body = vec![0; 36];
        body[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        body[32..34].copy_from_slice(&[0x30, 0x39]);
        let expected: SocketAddr = "[2001:db8::7]:12345".parse().unwrap();
        assert_eq!(read(&header(PROXY, 0x22, &body)), Proxied::Header { len: 52, client: Some(expected) });
        // A mapped address is an IPv4 one: access goes by it.
        body[..16].copy_from_slice(&"::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets());
        let expected = Some("192.0.2.1:12345".parse().unwrap());
        assert_eq!(read(&header(PROXY, 0x21, &body)), Proxied::Header { len: 52, client: expected });
    }

    #[test]
    fn local_and_unspecified_name_nobody() {
        for (command, family, body) in [
            (LOCAL, 0, vec![]),
            (LOCAL, 0x11, addresses()),
            (LOCAL, 0xff, vec![7; 40]),
            (PROXY, 0, vec![1, 2]),
        ] {
            let bytes = header(command, family, &body);
            assert_eq!(read(&bytes), Proxied::Header { len: bytes.len(), client: None });
        }
    }

    #[test]
    fn tlvs_are_skipped_and_must_add_up() {
        let with = |tlvs: &[u8]| read(&header(PROXY, 0x11, &[&addresses()[..], tlvs].concat()));
        assert!(matches!(with(&[0x04, 0, 2, 0, 0, 0x05, 0, 1, 9]), Proxied::Header { len: 37, .. }));
        for tlvs in [&[1][..], &[1, 0], &[1, 0, 1], &[1, 0xff, 0xff, 0]] {
            assert_eq!(with(tlvs), Proxied::Malformed, "{tlvs:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_from_what_is_not_there_yet() {
        for (command, family, body) in [
            (0x31, 0x11, addresses()),
            (0x11, 0x11, addresses()),
            (0x22, 0x11, addresses()),
            (PROXY, 0x13, addresses()),
            (PROXY, 0x31, vec![0; 216]),
            (PROXY, 0x41, addresses()),
            (PROXY, 0x11, vec![0; 11]),
            (PROXY, 0x21, vec![0; 35]),
        ] {
            assert_eq!(read(&header(command, family, &body)), Proxied::Malformed, "{command:x} {family:x}");
        }
        let long = header(PROXY, 0x11, &vec![0; MAX_HEADER]);
        assert_eq!(read(&long[..FIXED]), Proxied::Malformed, "told before the rest is read");
        assert_eq!(read(b"\r\n\r\n\0\r\nQUIT\n\x11"), Proxied::Malformed, "version 1, in the wrong form");
        assert_eq!(read(&[0, 12, 0, 0]), Proxied::None);
        assert_eq!(read(b"PROXY TCP4 192.0.2.1 "), Proxied::None);
        assert!(looks_like(b"\r\n") && !looks_like(b"\r\nA"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_cut_is_partial_and_what_follows_does_not_matter(
            command in prop::sample::select(vec![LOCAL, PROXY]),
            family in any::<u8>(),
            body in prop::collection::vec(any::<u8>(), 0..80),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let bytes = header(command, family, &body);
            let whole = read(&bytes);
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut]), Proxied::Partial);
            }
            prop_assert_eq!(read(&[&bytes[..], &behind].concat()), whole);
            if let Proxied::Header { len, .. } = whole {
                prop_assert_eq!(len, bytes.len());
            }
        }

        #[test]
        fn no_bytes_panic(start in 0usize..=16, rest in prop::collection::vec(any::<u8>(), 0..100)) {
            let front: Vec<u8> = header(PROXY, 0x21, &[])[..start].to_vec();
            let bytes = [front, rest].concat();
            if let Proxied::Header { len, .. } = read(&bytes) {
                prop_assert!((FIXED..=MAX_HEADER).contains(&len) && len <= bytes.len());
            }
        }
    }
}
