//! Datagrams received and answered many at a time.
//!
//! A [`Batch`] holds a buffer, an address and control space for each of its
//! messages, allocated once. A response is built in the buffer that holds its
//! query and leaves from there.
//!
//! ```text
//!             slot 0            slot 1            slot 2
//!           ┌──────┬────────┐ ┌──────┬────────┐ ┌──────┬────────┐
//! receive ─▶│ peer │ query  │ │ peer │ query  │ │ peer │ query  │
//!           │      │response│ │      │(miss)  │ │      │response│
//! send   ─▶ └──────┴────────┘ └──────┴────────┘ └──────┴────────┘
//!              send[0]                             send[1]
//! ```

use std::ffi::{c_int, c_uint};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use super::fault::Fault;
use super::raw::{Control, IoVec, MMsgHdr, MsgHdr, RawAddr, Source};
use super::udp::UdpSocket;

/// Messages in a batch, unless measured otherwise: at 32 the system calls cost
/// a few per cent of what the kernel takes per datagram anyway.
pub const BATCH_LEN: usize = 32;
/// Bytes in the buffer of one message: the largest query accepted over UDP
/// and the largest response (`udp_max_bytes` goes up to it).
pub const BUFFER_BYTES: usize = 4096;

/// How long a full send buffer is waited for, once per batch, in milliseconds.
const FULL_WAIT_MS: c_int = 5;

/// One message's memory. What leads to the buffer lies before it, so that a
/// slot is 66 cache lines long and the first lines of the slots spread over the
/// sets of the first-level cache; at exactly 4096 bytes all of them would fall
/// into the same set. A message without control data touches the first line and
/// those of its bytes, which begin with one.
#[repr(C, align(64))]
#[derive(Clone)]
struct Slot {
    peer: RawAddr,
    /// Written once.
    receive_iovec: IoVec,
    /// Its length is that of the reply.
    send_iovec: IoVec,
    control: Control,
    buffer: [u8; BUFFER_BYTES],
}

/// Buffers for a batch of datagrams. All that is written for a message lies in
/// cache lines of this batch alone, so that workers do not take them from each other.
#[derive(Debug)]
#[repr(align(128))]
pub struct Batch {
    slots: Pinned<Slot>,
    receive: Box<[MMsgHdr]>,
    send: Box<[MMsgHdr]>,
    received: usize,
    queued: usize,
}

/// One received datagram.
#[derive(Debug)]
pub struct Message<'b> {
    /// Who sent it, and where to.
    pub sender: Sender<'b>,
    /// Its length; the rest of the buffer is old.
    pub len: usize,
    /// Whether it was longer than the buffer.
    pub truncated: bool,
    /// The buffer, which takes the response as well.
    pub buffer: &'b mut [u8; BUFFER_BYTES],
}

/// Who sent a datagram, and where to, as the kernel told it: decoded where it
/// is asked, since a hit needs next to nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'b> {
    address: &'b RawAddr,
    control: &'b Control,
    control_len: usize,
}

impl Sender<'_> {
    /// An IPv4 address as a number.
    #[inline]
    pub fn v4_bits(self) -> Option<u32> {
        self.address.v4_bits()
    }

    /// An IPv6 address as a number.
    #[inline]
    pub fn v6_bits(self) -> Option<u128> {
        self.address.v6_bits()
    }

    /// The address without its port; `None` as [`Self::peer`].
    pub fn ip(self) -> Option<IpAddr> {
        self.address.ip()
    }

    /// Whether the port is 0, which nothing can be sent to.
    #[inline]
    pub const fn is_port_zero(self) -> bool {
        self.address.is_port_zero()
    }

    /// The address; `None` for another family than IP, which no socket of ours yields.
    pub fn peer(self) -> Option<SocketAddr> {
        self.address.decode()
    }

    /// The local address that it was sent to, on wildcard sockets.
    pub fn source(self) -> Option<Source> {
        // Sockets bound to one address ask for no packet info and get none.
        if self.control_len == 0 { None } else { self.control.decode(self.control_len) }
    }
}

// SAFETY: the pointers lead to memory that the batch alone owns; whichever thread
// holds it may use them.
unsafe impl Send for Batch {}

impl Batch {
    /// A batch of `len` messages (at least one).
    pub fn new(len: usize) -> Self {
        let len = len.max(1);
        let empty = IoVec { base: ptr::null_mut(), len: 0 };
        let slot = Slot {
            peer: RawAddr::empty(),
            receive_iovec: empty,
            send_iovec: empty,
            control: Control::empty(),
            buffer: [0; BUFFER_BYTES],
        };
        let slots = Pinned::new(&slot, len);
        let receive = (0..len).map(|at| {
            let slot = slots.at(at);
            // SAFETY: the pointer is in bounds of a live allocation and nothing
            // else refers to it; no reference is made to the fields.
            let header = unsafe {
                let base = (&raw mut (*slot).buffer).cast();
                (*slot).receive_iovec = IoVec { base, len: BUFFER_BYTES };
                (*slot).send_iovec.base = base;
                MsgHdr {
                    name: (&raw mut (*slot).peer).cast(),
                    name_len: RawAddr::LEN,
                    iov: &raw mut (*slot).receive_iovec,
                    iov_len: 1,
                    control: (&raw mut (*slot).control).cast(),
                    control_len: Control::LEN,
                    flags: 0,
                }
            };
            MMsgHdr { header, len: 0 }
        });
        let receive: Box<[_]> = receive.collect();
        // A reply leaves from the buffer of its query: only the length is still to be told.
        let mut send = receive.clone();
        for message in &mut send {
            message.header.control_len = 0;
        }
        Self { slots, receive, send, received: 0, queued: 0 }
    }

    /// Messages received by the last call.
    #[inline]
    pub const fn len(&self) -> usize {
        self.received
    }

    /// Whether the last call received nothing.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// The most messages that a call can receive.
    pub fn capacity(&self) -> usize {
        self.receive.len()
    }

    /// Takes what is queued in `socket`, up to the batch's length, without
    /// waiting. Returns the number of messages; 0 when nothing was queued.
    #[inline]
    pub fn receive(&mut self, socket: &UdpSocket) -> Result<usize, Fault> {
        self.reset();
        loop {
            // SAFETY: `receive` holds `receive.len()` headers whose pointers lead to memory
            // of the lengths given beside them, all owned by `self`, to which no reference
            // lives during this call (`&mut self`). The timeout is null.
            let got = unsafe {
                libc::syscall(
                    libc::SYS_recvmmsg,
                    socket.as_raw_fd(),
                    self.receive.as_mut_ptr(),
                    self.receive.len() as c_uint,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut::<libc::timespec>(),
                )
            };
            if let Ok(got) = usize::try_from(got) {
                self.received = got.min(self.receive.len());
                return Ok(self.received);
            }
            match errno() {
                libc::EINTR => {}
                libc::EAGAIN => return Ok(0),
                other => return Err(Fault::of_errno(other)),
            }
        }
    }

    /// Puts `datagram` into the batch as if `peer` had sent it. For tests and
    /// benches of what happens between the system calls. `false` when full.
    pub fn place(&mut self, datagram: &[u8], peer: SocketAddr) -> bool {
        let at = self.received;
        let Some(header) = self.receive.get_mut(at) else {
            return false;
        };
        let Some(slot) = self.slots.get(at) else {
            return false;
        };
        let (raw, name_len) = RawAddr::encode(peer);
        slot.peer = raw;
        let len = datagram.len().min(BUFFER_BYTES);
        for (place, byte) in slot.buffer.iter_mut().zip(datagram) {
            *place = *byte;
        }
        header.header.name_len = name_len;
        header.header.control_len = 0;
        header.header.flags = if datagram.len() > len { libc::MSG_TRUNC as u32 } else { 0 };
        header.len = len as u32;
        self.received += 1;
        true
    }

    /// Forgets the messages and the replies queued.
    #[inline]
    pub fn reset(&mut self) {
        // The kernel wrote to the headers of the messages received, and to no others.
        for message in self.receive.iter_mut().take(self.received) {
            message.header.name_len = RawAddr::LEN;
            message.header.control_len = Control::LEN;
            message.header.flags = 0;
        }
        self.received = 0;
        self.queued = 0;
    }

    /// The message at `index`, below [`Batch::len`].
    #[inline]
    pub fn message(&mut self, index: usize) -> Option<Message<'_>> {
        if index >= self.received {
            return None;
        }
        let MMsgHdr { header, len } = self.receive.get(index)?;
        let (control_len, flags) = (header.control_len, header.flags);
        let len = (*len as usize).min(BUFFER_BYTES);
        let slot = self.slots.get(index)?;
        Some(Message {
            sender: Sender { address: &slot.peer, control: &slot.control, control_len },
            len,
            truncated: flags & libc::MSG_TRUNC as u32 != 0,
            buffer: &mut slot.buffer,
        })
    }

    /// Queues the first `len` bytes of the buffer at `index` as a reply to its
    /// sender, from the address that was asked where that is known. Each
    /// message is replied to at most once; more than that is ignored.
    ///
    /// Most of the header stands since [`Self::new`]; what is copied leads to
    /// the slot, since messages without a reply leave gaps.
    #[inline]
    pub fn reply(&mut self, index: usize, len: usize) {
        let Some(MMsgHdr { header: received, .. }) = self.receive.get(index) else { return };
        let (Some(slot), Some(send)) = (self.slots.get(index), self.send.get_mut(self.queued)) else {
            return;
        };
        if index >= self.received {
            return;
        }
        slot.send_iovec.len = len.min(BUFFER_BYTES);
        send.header.iov = &raw mut slot.send_iovec;
        (send.header.name, send.header.name_len) = (received.name, received.name_len);
        send.header.control_len = 0;
        if received.control_len != 0 {
            self.reply_from(index);
        }
        self.queued += 1;
    }

    /// Lets the reply being queued leave from where the message at `index` was sent to.
    #[inline(never)]
    fn reply_from(&mut self, index: usize) {
        let Some(MMsgHdr { header: received, .. }) = self.receive.get(index) else { return };
        let (Some(slot), Some(send)) = (self.slots.get(index), self.send.get_mut(self.queued)) else {
            return;
        };
        if let Some(source) = slot.control.decode(received.control_len) {
            send.header.control = received.control;
            send.header.control_len = slot.control.encode(source);
        }
    }

    /// Replies queued and not yet sent.
    #[inline]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Sends the queued replies; each that cannot be sent is reported to
    /// `fault` and the next one is tried. Returns the number sent.
    #[inline]
    pub fn send(&mut self, socket: &UdpSocket, mut fault: impl FnMut(Fault)) -> usize {
        let queued = std::mem::take(&mut self.queued);
        let (mut at, mut sent, mut waited) = (0, 0, false);
        while let Some(rest) = self.send.get_mut(at..queued).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` holds that many headers, set up by `reply` to lead to slots and
            // vectors owned by `self`, which nothing else uses during this call.
            let done = unsafe {
                libc::syscall(
                    libc::SYS_sendmmsg,
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as c_uint,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            // The kernel reports an error only for the first message it is given;
            // otherwise it stops there and tells how many went out before.
            match usize::try_from(done) {
                Ok(0) => break,
                Ok(done) => {
                    at += done;
                    sent += done;
                }
                Err(_) => match errno() {
                    libc::EINTR => {}
                    libc::EAGAIN if !waited => {
                        waited = true;
                        socket.wait_writable(FULL_WAIT_MS);
                    }
                    libc::EAGAIN => {
                        for _ in rest.iter() {
                            fault(Fault::Full);
                        }
                        break;
                    }
                    other => {
                        fault(Fault::of_errno(other));
                        at += 1;
                    }
                },
            }
        }
        sent
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("peer", &self.peer.decode()).finish_non_exhaustive()
    }
}

pub(super) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

/// A boxed slice that is reached through raw pointers alone, so that pointers
/// into it which lie in headers stay valid when an element is borrowed.
struct Pinned<T> {
    first: NonNull<T>,
    len: usize,
}

impl<T: Clone> Pinned<T> {
    fn new(value: &T, len: usize) -> Self {
        let slice: Box<[T]> = vec![value.clone(); len].into_boxed_slice();
        let first = NonNull::from(Box::leak(slice)).cast();
        Self { first, len }
    }
}

impl<T> Pinned<T> {
    /// A pointer to the element at `index`, which must be in bounds.
    fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len, "an index within the slice");
        // SAFETY: in bounds of the one allocation that `first` leads to.
        unsafe { self.first.as_ptr().add(index) }
    }

    #[inline]
    fn get(&mut self, index: usize) -> Option<&mut T> {
        // SAFETY: in bounds and initialized by `new`. The reference borrows `self`, and the
        // kernel uses its own pointers only inside calls that borrow the batch mutably.
        (index < self.len).then(|| unsafe { &mut *self.first.as_ptr().add(index) })
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked a boxed slice of exactly this start and length.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len)) });
    }
}

impl<T> std::fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pinned({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// The memory that a batch writes and the kernel writes for it.
    fn memory(batch: &Batch) -> Vec<Range<usize>> {
        let extent = |start: usize, len: usize| start..start + len;
        vec![
            extent((&raw const *batch).addr(), size_of::<Batch>()),
            extent(batch.slots.first.as_ptr().addr(), batch.slots.len * size_of::<Slot>()),
            extent(batch.receive.as_ptr().addr(), size_of_val(&*batch.receive)),
            extent(batch.send.as_ptr().addr(), size_of_val(&*batch.send)),
        ]
    }

    #[test]
    fn a_batch_has_its_cache_lines_to_itself() {
        let lens = [1, 2, 32];
        let batches: Vec<Batch> = lens.into_iter().map(Batch::new).collect();
        for extent in batches.iter().flat_map(memory) {
            assert_eq!((extent.start % 64, extent.len() % 64), (0, 0), "{extent:?}");
        }
    }

    #[test]
    fn a_message_begins_with_a_line() {
        assert_eq!(std::mem::offset_of!(Slot, buffer) % 64, 0);
        assert!(std::mem::offset_of!(Slot, send_iovec) + size_of::<IoVec>() <= 64, "with its address");
        assert_ne!(size_of::<Slot>() % 4096, 0, "slots spread over the sets of the cache");
    }
}
