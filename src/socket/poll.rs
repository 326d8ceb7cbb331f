//! Waiting for sockets (epoll) and being woken from another thread (eventfd).

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Events taken from the kernel by one wait. More of them stay for the next.
const EVENTS: u8 = 64;

/// What is awaited of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nothing but that its connection breaks, which is always told.
    Nothing,
    /// That it can be read.
    Read,
    /// That it can be written.
    Write,
}

impl Interest {
    const fn events(self) -> c_int {
        match self {
            Self::Nothing => 0,
            Self::Read => libc::EPOLLIN,
            Self::Write => libc::EPOLLOUT,
        }
    }
}

/// What happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name under which it is in the set.
    pub token: u64,
    /// Whether its connection is at an end in both directions.
    pub broken: bool,
}

/// A set of descriptors to wait for, level-triggered.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a flag, returns a descriptor or -1.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        Ok(Self { epoll: own(fd)? })
    }

    /// Waits for `fd` to become readable from now on, under the name `token`.
    /// A descriptor leaves the set when it is closed.
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        self.add_for(libc::EPOLLIN, &fd, token)
    }

    /// Like [`Poller::add`], for a [`Waker`] that is to be seen once each time it is used.
    pub fn add_once_each(&self, waker: &Waker, token: u64) -> io::Result<()> {
        self.add_for(libc::EPOLLIN | libc::EPOLLET, waker, token)
    }

    /// Like [`Poller::add`], for a descriptor that several sets share: what happens to it
    /// wakes one of those who wait, not all.
    pub fn add_shared(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        self.add_for(libc::EPOLLIN | libc::EPOLLEXCLUSIVE, &fd, token)
    }

    /// Waits for `interest` in `fd` from now on, under the name `token`.
    pub fn watch(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.add_for(interest.events(), &fd, token)
    }

    /// Replaces what is awaited of `fd`.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, interest.events(), &fd, token)
    }

    /// Takes `fd` out of the set, which closing does only where nobody else has it open.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, 0, &fd, 0)
    }

    fn add_for(&self, events: c_int, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, events, fd, token)
    }

    fn control(&self, operation: c_int, events: c_int, fd: &impl AsFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token };
        // SAFETY: both descriptors are open (borrowed here), the event is valid.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_fd().as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is readable, `timeout_ms` at most (-1: for ever),
    /// and calls `ready` with each token. A signal ends the wait early.
    pub fn wait(&self, timeout_ms: c_int, mut ready: impl FnMut(u64)) -> io::Result<()> {
        self.events(timeout_ms, |event| ready(event.token))
    }

    /// Waits until something that is awaited happens, `timeout_ms` at most (-1: for
    /// ever), and calls `ready` with each event. A signal ends the wait early.
    pub fn events(&self, timeout_ms: c_int, mut ready: impl FnMut(Event)) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
        // SAFETY: the array has room for EVENTS entries.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), c_int::from(EVENTS), timeout_ms)
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        for event in events.iter().take(count) {
            let broken = event.events.cast_signed() & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            ready(Event { token: event.u64, broken });
        }
        Ok(())
    }
}

/// Wakes every [`Poller`] that waits for it, and stays that way for those that
/// did not ask for each use once.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
}

impl Waker {
    /// A waker that has not been used.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes two integers, returns a descriptor or -1.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Ok(Self { event: own(fd)? })
    }

    /// Wakes them all. Nobody reads the event, so it stays readable.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes, as an eventfd wants. It fails only when
        // the counter is full, that is when it is readable already.
        let _ = unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.event.as_fd()
    }
}

fn own(fd: c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel just gave us and nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_seen_by_every_poller_and_again() {
        let waker = Waker::new().unwrap();
        let pollers = [Poller::new().unwrap(), Poller::new().unwrap()];
        for poller in &pollers {
            poller.add(&waker, 7).unwrap();
            poller.wait(0, |_| panic!("nothing happened yet")).unwrap();
        }
        waker.wake();
        for poller in pollers.iter().chain(&pollers) {
            let mut seen = Vec::new();
            poller.wait(-1, |token| seen.push(token)).unwrap();
            assert_eq!(seen, [7]);
        }
    }

    #[test]
    fn each_use_of_a_waker_is_seen_once_by_who_asks_for_that() {
        let waker = Waker::new().unwrap();
        let poller = Poller::new().unwrap();
        poller.add_once_each(&waker, 3).unwrap();
        for _ in 0..3 {
            waker.wake();
            let mut seen = Vec::new();
            poller.wait(-1, |token| seen.push(token)).unwrap();
            assert_eq!(seen, [3]);
            poller.wait(0, |_| panic!("seen already")).unwrap();
        }
    }

    #[test]
    fn interest_can_be_changed_and_a_broken_connection_is_told_without_any() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let poller = Poller::new().unwrap();
        let events = |timeout| {
            let mut seen = Vec::new();
            poller.events(timeout, |event| seen.push(event)).unwrap();
            seen
        };
        poller.watch(&server, 1, Interest::Read).unwrap();
        assert_eq!(events(0), []);
        poller.change(&server, 2, Interest::Write).unwrap();
        assert_eq!(events(-1), [Event { token: 2, broken: false }]);
        poller.change(&server, 3, Interest::Nothing).unwrap();
        assert_eq!(events(0), []);
        server.shutdown(std::net::Shutdown::Write).unwrap();
        drop(client);
        assert_eq!(events(-1), [Event { token: 3, broken: true }]);
        poller.remove(&server).unwrap();
        assert_eq!(events(0), []);
    }
}
