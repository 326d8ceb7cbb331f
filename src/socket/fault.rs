//! What went wrong with one datagram, in classes that a counter can hold.

use std::io;

/// The class of a socket error. None of them ends a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The send buffer is full (EAGAIN).
    Full,
    /// The kernel or the interface had no memory or queue left (ENOBUFS, ENOMEM).
    NoBuffers,
    /// A packet filter or policy forbids it (EPERM, EACCES).
    Forbidden,
    /// No route, or the next hop is down (EHOSTUNREACH, ENETUNREACH and the like).
    Unreachable,
    /// The message exceeds what the path takes (EMSGSIZE).
    TooLong,
    /// An ICMP port unreachable for an earlier message (ECONNREFUSED, ECONNRESET).
    Refused,
    /// An address that cannot be used (EINVAL, EADDRNOTAVAIL, EAFNOSUPPORT, EDESTADDRREQ).
    BadAddress,
    /// The process or the system has no file descriptor left (EMFILE, ENFILE).
    NoDescriptors,
    /// The client gave up before its connection was accepted (ECONNABORTED).
    Aborted,
    /// Anything else.
    Other,
}

impl Fault {
    /// All classes, in the order of [`Fault::index`].
    pub const ALL: [Self; 10] = [
        Self::Full,
        Self::NoBuffers,
        Self::Forbidden,
        Self::Unreachable,
        Self::TooLong,
        Self::Refused,
        Self::BadAddress,
        Self::NoDescriptors,
        Self::Aborted,
        Self::Other,
    ];

    /// The place of this class in [`Fault::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::NoBuffers => "no_buffers",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::TooLong => "too_long",
            Self::Refused => "refused",
            Self::BadAddress => "bad_address",
            Self::NoDescriptors => "no_descriptors",
            Self::Aborted => "aborted",
            Self::Other => "other",
        }
    }

    /// The class of an error of the operating system.
    pub fn of(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::Other, Self::of_errno)
    }

    /// The class of an errno value.
    pub const fn of_errno(errno: i32) -> Self {
        match errno {
            libc::EAGAIN => Self::Full,
            libc::ENOBUFS | libc::ENOMEM => Self::NoBuffers,
            libc::EPERM | libc::EACCES => Self::Forbidden,
            libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENODEV => Self::Unreachable,
            libc::EMSGSIZE => Self::TooLong,
            libc::ECONNREFUSED | libc::ECONNRESET => Self::Refused,
            libc::EINVAL | libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EDESTADDRREQ => Self::BadAddress,
            libc::EMFILE | libc::ENFILE => Self::NoDescriptors,
            libc::ECONNABORTED => Self::Aborted,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_place_and_its_own_label() {
        for (at, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.index(), at);
            assert_eq!(Fault::ALL.iter().filter(|other| other.label() == fault.label()).count(), 1);
        }
    }

    #[test]
    fn errors_without_a_number_have_a_class() {
        assert_eq!(Fault::of(&io::Error::other("x")), Fault::Other);
        assert_eq!(Fault::of(&io::Error::from_raw_os_error(libc::EHOSTUNREACH)), Fault::Unreachable);
    }
}
