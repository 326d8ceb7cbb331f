//! UDP sockets for DNS: bound, sized, and able to answer from the address that
//! was asked.

use std::ffi::{c_int, c_void};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::batch::errno;
use super::fault::Fault;
use super::raw::{Control, IoVec, MsgHdr, RawAddr, Source};

/// Sizes of a socket's buffers in bytes: as asked for, or as the kernel granted
/// them. It doubles what is asked for, to cover its own overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Receive buffer.
    pub receive: usize,
    /// Send buffer.
    pub send: usize,
}

/// A bound, non-blocking UDP socket. Who answers later holds it too: the count of
/// those is in front of it, and not in the line that its worker reads for every batch.
#[derive(Debug)]
#[repr(align(128))]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    buffers: Buffers,
}

impl Buffers {
    /// What is asked for unless the configuration says otherwise: some thousands of
    /// queries, which is what arrives while a worker is off its core for a few
    /// milliseconds, and several batches of responses.
    pub const USUAL: Self = Self { receive: 4 << 20, send: 1 << 20 };

    /// Whether these, as granted, are what `asked` asked for. The kernel reports twice
    /// what it took; an eighth less counts as the same.
    pub const fn satisfy(self, asked: Self) -> bool {
        self.receives_enough(asked) && self.sends_enough(asked)
    }

    /// [`Buffers::satisfy`] of the receive buffer.
    pub const fn receives_enough(self, asked: Self) -> bool {
        self.receive / 2 >= asked.receive - asked.receive / 8
    }

    /// [`Buffers::satisfy`] of the send buffer.
    pub const fn sends_enough(self, asked: Self) -> bool {
        self.send / 2 >= asked.send - asked.send / 8
    }
}

impl UdpSocket {
    /// Binds with the usual buffers; see [`UdpSocket::bind_with`].
    pub fn bind(address: SocketAddr, shared: bool) -> io::Result<Self> {
        Self::bind_with(address, shared, Buffers::USUAL)
    }

    /// Binds to `address`. `shared` sets `SO_REUSEPORT`, so that each worker
    /// has a socket of its own on the address and the kernel spreads clients
    /// over them.
    ///
    /// A single worker binds without it: a second server that is started by
    /// mistake then fails to bind, instead of silently taking half the queries.
    /// (With several workers the TCP listener, bound first and never shared,
    /// has the same effect.)
    pub fn bind_with(address: SocketAddr, shared: bool, asked: Buffers) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::UDP))?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        let wildcard = address.ip().is_unspecified();
        if address.is_ipv4() {
            if wildcard {
                set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            }
            // Neither DF nor learned path MTUs: an off-path attacker who forges ICMP could
            // else shrink our responses until they fragment (RFC 9715). Best effort.
            let _ = set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT);
        } else {
            // IPv4-mapped addresses never occur, and `[::]` can stand beside `0.0.0.0`.
            socket.set_only_v6(true)?;
            if wildcard {
                set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
            let omit = libc::IPV6_PMTUDISC_OMIT;
            let _ = set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, omit);
        }
        let buffers = ask_for_buffers(&socket, asked);
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, local, buffers })
    }

    /// A socket on a random free port, connected to `peer`: the kernel drops what
    /// comes from elsewhere and tells of ICMP errors. Nothing that it sends is
    /// fragmented by a path MTU that somebody forged (RFC 9715), and nothing is
    /// reported of where its datagrams were sent to.
    pub fn connected(peer: SocketAddr, asked: Buffers) -> io::Result<Self> {
        let domain = Domain::for_address(peer);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        let (level, name, omit) = if peer.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
        };
        let _ = set_option(&socket, level, name, omit);
        let buffers = ask_for_buffers(&socket, asked);
        // Without a bind before: Linux takes a random free port of its range here.
        socket.connect(&peer.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { socket, local, buffers })
    }

    /// The address bound, with the real port.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The buffer sizes granted.
    pub const fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// Datagrams that the kernel dropped because the receive buffer was full,
    /// since the socket was made. `SO_MEMINFO` tells the same figure as
    /// `SO_RXQ_OVFL` does, when asked and not with every datagram: nothing is
    /// added to the packet path.
    pub fn dropped(&self) -> u32 {
        let mut info = [0u32; 16];
        let mut len = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the pointer leads to `len` writable bytes; the kernel writes at most that many.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result == 0 { info.get(libc::SK_MEMINFO_DROPS as usize).copied().unwrap_or(0) } else { 0 }
    }

    /// Whether every datagram received here brings control data that tells the address it
    /// was sent to: on wildcard sockets alone, since it costs time.
    pub fn reports_destination(&self) -> io::Result<bool> {
        let (level, name) = if self.local.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_PKTINFO)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
        };
        self.option(level, name).map(|value| value != 0)
    }

    fn option(&self, level: c_int, name: c_int) -> io::Result<c_int> {
        let mut value: c_int = 0;
        let mut len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the pointer leads to `len` writable bytes; the kernel writes at most that many.
        let result =
            unsafe { libc::getsockopt(self.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
        if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends one datagram to `peer`, from `source` where one is given. Never
    /// waits. For responses that become ready outside a batch, on any thread.
    pub fn send_to(&self, datagram: &[u8], peer: SocketAddr, source: Option<Source>) -> Result<(), Fault> {
        let (mut name, name_len) = RawAddr::encode(peer);
        let mut control = Control::empty();
        let control_len = source.map_or(0, |source| control.encode(source));
        let mut iovec = IoVec { base: datagram.as_ptr().cast_mut().cast(), len: datagram.len() };
        let header = MsgHdr {
            name: (&raw mut name).cast(),
            name_len,
            iov: &raw mut iovec,
            iov_len: 1,
            control: if control_len == 0 { std::ptr::null_mut() } else { (&raw mut control).cast() },
            control_len,
            flags: 0,
        };
        loop {
            // SAFETY: the header leads to locals and to `datagram`, all alive during the
            // call; sendmsg only reads them.
            let sent = unsafe {
                libc::syscall(
                    libc::SYS_sendmsg,
                    self.as_raw_fd(),
                    &raw const header,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            if sent >= 0 {
                return Ok(());
            }
            match errno() {
                libc::EINTR => {}
                other => return Err(Fault::of_errno(other)),
            }
        }
    }

    /// Waits until the send buffer has room, at most `timeout_ms`.
    pub(super) fn wait_writable(&self, timeout_ms: c_int) {
        let mut poll = libc::pollfd { fd: self.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one valid entry. The result does not matter: the caller tries to send again.
        let _ = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks for larger buffers: beyond the system's limit where the process may
/// (`CAP_NET_ADMIN`), else up to it. Smaller ones are no reason not to start.
fn ask_for_buffers(socket: &Socket, asked: Buffers) -> Buffers {
    let level = libc::SOL_SOCKET;
    let receive = c_int::try_from(asked.receive).unwrap_or(c_int::MAX);
    let send = c_int::try_from(asked.send).unwrap_or(c_int::MAX);
    if set_option(socket, level, libc::SO_RCVBUFFORCE, receive).is_err() {
        let _ = set_option(socket, level, libc::SO_RCVBUF, receive);
    }
    if set_option(socket, level, libc::SO_SNDBUFFORCE, send).is_err() {
        let _ = set_option(socket, level, libc::SO_SNDBUF, send);
    }
    Buffers {
        receive: socket.recv_buffer_size().unwrap_or_default(),
        send: socket.send_buffer_size().unwrap_or_default(),
    }
}

fn set_option(socket: &Socket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointer leads to a c_int, whose size is given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast::<c_void>(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9715_no_forged_path_mtu_makes_us_fragment() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(bound) = UdpSocket::bind(address.parse().unwrap(), false) else {
                eprintln!("SKIPPED: no {address}");
                continue;
            };
            let connected = UdpSocket::connected(bound.local_addr(), Buffers::USUAL).unwrap();
            let (level, name, omit) = if bound.local_addr().is_ipv4() {
                (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
            };
            for socket in [bound, connected] {
                assert_eq!(socket.option(level, name).unwrap(), omit, "{address}");
            }
        }
    }
}
