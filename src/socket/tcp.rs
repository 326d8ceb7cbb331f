//! Accepting connections by one system call each. That of the standard library
//! yields blocking ones, and to change that is a second call.

use std::ffi::c_int;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::raw::RawAddr;

/// Takes the next connection that waits at `listener`, non-blocking, and who made it.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let mut peer = RawAddr::empty();
    let mut len = RawAddr::LEN;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the address has room for `len` bytes; the kernel writes at most that many.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), (&raw mut peer).cast(), &raw mut len, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel just gave us and nobody else owns.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let peer = peer.decode().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((stream, peer))
}

/// Lets the kernel keep connections from `listener` until they have brought
/// data, `most` at the most: the first read of each then finds its query.
pub fn defer_accept(listener: &TcpListener, most: Duration) -> io::Result<()> {
    let seconds = c_int::try_from(most.as_secs()).unwrap_or(c_int::MAX);
    // SAFETY: the pointer leads to a c_int, whose size is given.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How long the kernel keeps connections from `listener` that bring nothing; none if
/// they come at once.
pub fn deferral(listener: &TcpListener) -> io::Result<Duration> {
    let mut seconds: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointer leads to `len` writable bytes; the kernel writes at most that many.
    let result = unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw mut seconds).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};

    use super::*;

    #[test]
    fn connections_come_with_their_address_and_do_not_block() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("SKIPPED: no {address}");
                continue;
            };
            listener.set_nonblocking(true).unwrap();
            assert_eq!(accept(&listener).unwrap_err().kind(), ErrorKind::WouldBlock);
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut stream, peer) = accept(&listener).unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
            stream.write_all(b"ping").unwrap();
            let mut buf = [0; 4];
            client.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"ping");
        }
    }
}
