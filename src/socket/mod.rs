//! Batched socket calls and the few other system calls that neither std nor
//! socket2 wraps: the only home of `unsafe`.
//!
//! Datagrams move in batches by the raw `recvmmsg` and `sendmmsg` system
//! calls. The raw calls, since musl's `sendmmsg` is a loop over `sendmsg`, and
//! since the C library's structures differ from the kernel's there. What is
//! safe to expose is: a [`Batch`] owns all memory that the kernel is pointed
//! at, and hands out one message at a time.
//!
//! `io_uring` and tokio's sockets were rejected for the packet path: the former
//! gained nothing over batches of 32 on loopback, the latter costs a system
//! call and a task wake-up per datagram.

#![expect(unsafe_code, reason = "system calls without a safe wrapper; every block says why it is sound")]

mod batch;
mod fault;
mod memory;
mod outbox;
mod peer;
mod poll;
mod raw;
mod steering;
mod tcp;
#[cfg(test)]
mod tests;
mod thread;
mod udp;

pub use batch::{BATCH_LEN, BUFFER_BYTES, Batch, Message, Sender};
pub use fault::Fault;
pub use memory::{CACHE_LINE, give_back_memory, prefetch};
pub use outbox::Outbox;
pub use peer::peer_groups;
pub use poll::{Event, Interest, Poller, Waker};
pub use raw::Source;
pub use steering::steer_by_core;
pub use tcp::{accept, defer_accept, deferral};
pub use thread::{allowed_cores, lower_priority, pin, wait_for_the_core, waits_for_the_core};
pub use udp::{Buffers, UdpSocket};
