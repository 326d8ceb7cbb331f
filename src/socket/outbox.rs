//! Datagrams that become ready one by one and leave many at a time: answers
//! from other threads than a packet worker's, queries to upstreams.

use std::ffi::{c_int, c_uint};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::ptr;

use super::batch::errno;
use super::fault::Fault;
use super::raw::{Control, IoVec, MMsgHdr, MsgHdr, RawAddr, Source};
use super::udp::UdpSocket;

/// Datagrams that one system call takes.
const CALL: usize = 64;
/// How long a full send buffer is waited for, once per [`Outbox::send`], in milliseconds.
const FULL_WAIT_MS: c_int = 5;

/// Datagrams on their way out through one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    queued: Vec<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    start: usize,
    end: usize,
    /// With how many of its bytes count: none on a connected socket.
    peer: (RawAddr, u32),
    control: (Control, usize),
}

impl Outbox {
    /// Queues what `write` appends, for `peer`, or for the address that the
    /// socket is connected to; from `source` where one is given.
    pub fn push(
        &mut self,
        peer: Option<SocketAddr>,
        source: Option<Source>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let mut control = Control::empty();
        let control_len = source.map_or(0, |source| control.encode(source));
        self.queued.push(Outgoing {
            start,
            end: self.bytes.len(),
            peer: peer.map_or((RawAddr::empty(), 0), RawAddr::encode),
            control: (control, control_len),
        });
    }

    /// How many are queued.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// Whether none is queued.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Sends all that is queued, in order. `done` gets the number of each and
    /// what became of it; after a fault the next one is tried, but when the
    /// socket's buffer stays full the rest is dropped.
    pub fn send(&mut self, socket: &UdpSocket, mut done: impl FnMut(usize, Result<(), Fault>)) {
        let mut at = 0;
        let mut waited = false;
        while let Some(some) = self.queued.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let count = some.len().min(CALL);
            let some = some.get_mut(..count).unwrap_or_default();
            match call(socket, &mut self.bytes, some) {
                Ok(0) => break,
                Ok(sent) => {
                    (at..at + sent).for_each(|number| done(number, Ok(())));
                    at += sent;
                }
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) if !waited => {
                    waited = true;
                    socket.wait_writable(FULL_WAIT_MS);
                }
                Err(libc::EAGAIN) => break,
                Err(errno) => {
                    done(at, Err(Fault::of_errno(errno)));
                    at += 1;
                }
            }
        }
        (at..self.queued.len()).for_each(|number| done(number, Err(Fault::Full)));
        self.queued.clear();
        self.bytes.clear();
    }
}

/// One `sendmmsg` of at most [`CALL`] datagrams. The kernel reports an error
/// only for the first; otherwise it stops there and tells how many went out.
fn call(socket: &UdpSocket, bytes: &mut [u8], queued: &mut [Outgoing]) -> Result<usize, i32> {
    let mut iovecs = [IoVec { base: ptr::null_mut(), len: 0 }; CALL];
    let none = MsgHdr {
        name: ptr::null_mut(),
        name_len: 0,
        iov: ptr::null_mut(),
        iov_len: 1,
        control: ptr::null_mut(),
        control_len: 0,
        flags: 0,
    };
    let mut headers = [MMsgHdr { header: none, len: 0 }; CALL];
    let mut count: c_uint = 0;
    for ((message, iovec), header) in queued.iter_mut().zip(&mut iovecs).zip(&mut headers) {
        let Some(datagram) = bytes.get_mut(message.start..message.end) else { break };
        *iovec = IoVec { base: datagram.as_mut_ptr().cast(), len: datagram.len() };
        let (peer, peer_len) = &mut message.peer;
        let (control, control_len) = &mut message.control;
        header.header = MsgHdr {
            name: if *peer_len == 0 { ptr::null_mut() } else { (&raw mut *peer).cast() },
            name_len: *peer_len,
            iov: iovec,
            control: if *control_len == 0 { ptr::null_mut() } else { (&raw mut *control).cast() },
            control_len: *control_len,
            ..none
        };
        count += 1;
    }
    // SAFETY: the first `count` headers lead to elements of `iovecs`, of `queued` and to ranges of
    // `bytes`, all alive and borrowed by this function alone; the kernel writes to the headers only.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| errno())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Plain;

    use super::*;

    #[test]
    fn all_arrive_in_order_more_than_one_call_takes() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = Plain::bind(address) else {
                eprintln!("SKIPPED: no {address}");
                continue;
            };
            let socket = UdpSocket::bind(address.parse().unwrap(), false).unwrap();
            let peer = receiver.local_addr().unwrap();
            let mut outbox = Outbox::default();
            for round in 0..2u8 {
                for number in 0..100u8 {
                    outbox.push(Some(peer), None, |bytes| bytes.extend_from_slice(&[round, number]));
                }
                assert_eq!(outbox.len(), 100);
                let mut sent = 0;
                outbox.send(&socket, |number, result| {
                    assert_eq!((number, result), (sent, Ok(())));
                    sent += 1;
                });
                assert!(sent == 100 && outbox.is_empty());
                for number in 0..100u8 {
                    let mut buf = [0; 16];
                    let (len, from) = receiver.recv_from(&mut buf).unwrap();
                    assert_eq!((&buf[..len], from), (&[round, number][..], socket.local_addr()));
                }
            }
        }
    }

    #[test]
    fn one_that_cannot_be_sent_does_not_hold_up_the_others() {
        let receiver = Plain::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let peer = receiver.local_addr().unwrap();
        let mut outbox = Outbox::default();
        outbox.push(Some(peer), None, |bytes| bytes.push(1));
        outbox.push(Some(peer), None, |bytes| bytes.resize(70_000, 2));
        outbox.push(Some(peer), None, |bytes| bytes.push(3));
        let mut results = Vec::new();
        outbox.send(&socket, |_, result| results.push(result.is_ok()));
        assert_eq!(results, [true, false, true]);
        let mut buf = [0; 16];
        for expected in [1, 3] {
            assert_eq!(receiver.recv(&mut buf).unwrap(), 1);
            assert_eq!(buf[0], expected);
        }
    }
}
