//! The kernel's structures for messages, socket addresses and control
//! messages, read and written as bytes: safe code, checked lengths.
//!
//! They are declared here and not taken from libc because musl pads `msghdr`
//! and `cmsghdr` differently from the kernel, whose system calls we use.

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// `struct user_msghdr` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct MsgHdr {
    pub(super) name: *mut c_void,
    pub(super) name_len: u32,
    pub(super) iov: *mut IoVec,
    pub(super) iov_len: usize,
    pub(super) control: *mut c_void,
    pub(super) control_len: usize,
    pub(super) flags: u32,
}

/// `struct mmsghdr` of the kernel. Where pointers have 64 bits it is as long as a
/// cache line, and lies in one: no header shares its line with another thread's memory.
#[repr(C)]
#[cfg_attr(target_pointer_width = "64", repr(align(64)))]
#[derive(Clone, Copy, Debug)]
pub(super) struct MMsgHdr {
    pub(super) header: MsgHdr,
    pub(super) len: u32,
}

/// `struct iovec` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct IoVec {
    pub(super) base: *mut c_void,
    pub(super) len: usize,
}

// The width that they have in a `sockaddr`.
const AF_INET: u16 = libc::AF_INET as libc::sa_family_t;
const AF_INET6: u16 = libc::AF_INET6 as libc::sa_family_t;

/// Space for a `sockaddr_in` or a `sockaddr_in6`.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub(super) struct RawAddr([u8; RawAddr::LEN as usize]);

impl RawAddr {
    /// Size of a `sockaddr_in6`.
    pub(super) const LEN: u32 = 28;
    const V4_LEN: u32 = 16;

    pub(super) const fn empty() -> Self {
        Self([0; Self::LEN as usize])
    }

    /// The bytes of `address` and how many of them count.
    pub(super) fn encode(address: SocketAddr) -> (Self, u32) {
        let mut raw = Self::empty();
        let bytes = &mut raw.0;
        let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
        bytes[0..2].copy_from_slice(&family.to_ne_bytes());
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (raw, Self::V4_LEN)
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (raw, Self::LEN)
            }
        }
    }

    /// Whether the port is 0.
    #[inline]
    pub(super) const fn is_port_zero(&self) -> bool {
        matches!(self.0, [_, _, 0, 0, ..])
    }

    /// An IPv4 address as a number.
    #[inline]
    pub(super) fn v4_bits(&self) -> Option<u32> {
        let [f0, f1, _, _, a, b, c, d, ..] = self.0;
        (u16::from_ne_bytes([f0, f1]) == AF_INET).then_some(u32::from_be_bytes([a, b, c, d]))
    }

    /// An IPv6 address as a number.
    #[inline]
    pub(super) fn v6_bits(&self) -> Option<u128> {
        let [f0, f1, _, _, rest @ ..] = &self.0;
        let octets = rest.get(4..)?.first_chunk::<16>()?;
        (u16::from_ne_bytes([*f0, *f1]) == AF_INET6).then(|| u128::from_be_bytes(*octets))
    }

    /// The address without its port; `None` as [`Self::decode`].
    pub(super) fn ip(&self) -> Option<IpAddr> {
        let [f0, f1, _, _, rest @ ..] = &self.0;
        match u16::from_ne_bytes([*f0, *f1]) {
            AF_INET => rest.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
            AF_INET6 => rest.get(4..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
            _ => None,
        }
    }

    /// The address; `None` for another family, which no socket of ours yields.
    #[inline]
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, rest @ ..] = &self.0;
        let port = u16::from_be_bytes([*p0, *p1]);
        match u16::from_ne_bytes([*f0, *f1]) {
            AF_INET => {
                let octets: [u8; 4] = rest.get(..4)?.try_into().ok()?;
                Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(octets), port)))
            }
            AF_INET6 => {
                let octets: [u8; 16] = rest.get(4..20)?.try_into().ok()?;
                let scope = u32::from_ne_bytes(rest.get(20..24)?.try_into().ok()?);
                // The flow label is the sender's business: a reply starts its own flow.
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope)))
            }
            _ => None,
        }
    }
}

/// The local address that a datagram was sent to, and its interface: what a
/// reply from a wildcard socket must leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The local address.
    pub address: IpAddr,
    /// The interface's index; used only for link-local IPv6 addresses.
    pub interface: u32,
}

/// Space for the control messages of one datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Control(pub(super) [u8; Control::LEN]);

/// Length of a `cmsghdr` with its padding.
const HEADER: usize = size_of::<usize>() + 8;

impl Control {
    /// Enough for one packet info of either family, and to spare.
    pub(super) const LEN: usize = 64;

    pub(super) const fn empty() -> Self {
        Self([0; Self::LEN])
    }

    /// Finds the packet info among the first `len` bytes.
    #[inline]
    pub(super) fn decode(&self, len: usize) -> Option<Source> {
        let mut rest = self.0.get(..len)?;
        while rest.len() >= HEADER {
            let (size, level_type) = rest.split_at(size_of::<usize>());
            let size = usize::from_ne_bytes(size.try_into().ok()?);
            let level = i32::from_ne_bytes(level_type.get(..4)?.try_into().ok()?);
            let kind = i32::from_ne_bytes(level_type.get(4..8)?.try_into().ok()?);
            let data = rest.get(HEADER..size)?;
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // ipi_ifindex, ipi_spec_dst, ipi_addr: the second is an address of
                    // this host even where the datagram was broadcast.
                    let octets: [u8; 4] = data.get(4..8)?.try_into().ok()?;
                    return Some(Source { address: Ipv4Addr::from(octets).into(), interface: 0 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let octets: [u8; 16] = data.get(..16)?.try_into().ok()?;
                    let interface = u32::from_ne_bytes(data.get(16..20)?.try_into().ok()?);
                    return Some(Source { address: Ipv6Addr::from(octets).into(), interface });
                }
                _ => {}
            }
            let step = size.checked_next_multiple_of(size_of::<usize>())?;
            rest = rest.get(step..)?;
        }
        None
    }

    /// Writes the packet info that makes the kernel send from `source`;
    /// returns its length. 0 leaves the choice to the kernel.
    #[inline]
    pub(super) fn encode(&mut self, source: Source) -> usize {
        match source.address {
            IpAddr::V4(address) => {
                // ifindex 0: routing decides. A fixed interface would break asymmetric routes.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&address.octets());
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            // A multicast address cannot be a source.
            IpAddr::V6(address) if address.is_multicast() => 0,
            IpAddr::V6(address) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&address.octets());
                if address.is_unicast_link_local() {
                    info[16..].copy_from_slice(&source.interface.to_ne_bytes());
                }
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        }
    }

    #[inline]
    fn put<const N: usize>(&mut self, level: i32, kind: i32, info: &[u8; N]) -> usize {
        const WORD: usize = size_of::<usize>();
        let len = HEADER + N;
        let bytes = &mut self.0;
        bytes[..WORD].copy_from_slice(&len.to_ne_bytes());
        bytes[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        bytes[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        bytes[HEADER..HEADER + N].copy_from_slice(info);
        len.next_multiple_of(WORD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.7:5353", "[2001:db8::1]:53", "[fe80::1%3]:53"] {
            let address: SocketAddr = text.parse().unwrap();
            let raw = RawAddr::encode(address).0;
            assert_eq!(raw.decode(), Some(address));
            let bits = match address.ip() {
                IpAddr::V4(v4) => (Some(v4.to_bits()), None),
                IpAddr::V6(v6) => (None, Some(v6.to_bits())),
            };
            assert_eq!((raw.v4_bits(), raw.v6_bits()), bits);
            assert_eq!((raw.ip(), raw.is_port_zero()), (Some(address.ip()), false));
        }
        assert_eq!((RawAddr::empty().decode(), RawAddr::empty().ip()), (None, None));
        assert_eq!((RawAddr::empty().v4_bits(), RawAddr::empty().v6_bits()), (None, None));
        assert!(RawAddr::encode("192.0.2.7:0".parse().unwrap()).0.is_port_zero());
    }

    #[test]
    fn packet_info_survives_the_round_trip() {
        for (address, interface) in [("127.0.0.2", 0), ("2001:db8::1", 0), ("fe80::1", 3)] {
            let source = Source { address: address.parse().unwrap(), interface };
            let mut control = Control::empty();
            let len = control.encode(source);
            assert_eq!(control.decode(len), Some(source));
        }
    }

    #[test]
    fn other_control_messages_are_skipped_and_lies_end_the_walk() {
        let mut control = Control::empty();
        let first = control.put(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &[0; 4]);
        let mut second = Control::empty();
        let len = second.encode(Source { address: Ipv4Addr::LOCALHOST.into(), interface: 0 });
        control.0[first..first + len].copy_from_slice(&second.0[..len]);
        assert_eq!(
            control.decode(first + len).map(|source| source.address),
            Some(Ipv4Addr::LOCALHOST.into())
        );
        for size in [0usize, 1, 15, 65, usize::MAX] {
            control.0[..size_of::<usize>()].copy_from_slice(&size.to_ne_bytes());
            assert_eq!(control.decode(Control::LEN), None);
        }
    }

    #[test]
    fn a_multicast_destination_is_no_source() {
        let source = Source { address: "ff02::1".parse().unwrap(), interface: 2 };
        assert_eq!(Control::empty().encode(source), 0);
    }
}
