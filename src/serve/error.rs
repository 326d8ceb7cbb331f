//! Why serving could not start.

use std::io;
use std::net::SocketAddr;

use super::encrypted::CertificateError;
use crate::answer::Transport;

/// Why serving could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listen address could not be bound.
    #[error("cannot listen on {address} ({}){}", transport.label(), hint(*address, source))]
    Bind {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Queries cannot be steered to the core that received them.
    #[error("worker.steering = \"cpu\" is not possible: {reason}")]
    Steering {
        /// Why not.
        reason: String,
    },
    /// The certificate of an encrypted listener cannot be used.
    #[error("cannot serve {address} with its certificate")]
    Certificate {
        /// The listener.
        address: SocketAddr,
        /// What is wrong with the files.
        source: CertificateError,
    },
    /// The threads of encrypted listeners could not be made.
    #[error("cannot start the encrypted listeners")]
    Runtime(#[source] io::Error),
    /// A packet worker could not be made.
    #[error("cannot start a packet worker")]
    Worker(#[source] io::Error),
}

impl ServeError {
    pub(super) const fn bind(transport: Transport, address: SocketAddr, source: io::Error) -> Self {
        Self::Bind { transport, address, source }
    }

    /// Whether the system knows no such kind of address (IPv6 switched off).
    pub(super) fn is_family_unsupported(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.raw_os_error() == Some(AF_UNSUPPORTED))
    }

    /// The label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Steering { .. } => "steering",
            Self::Certificate { .. } => "certificate",
            Self::Runtime(_) => "runtime",
            Self::Worker(_) => "worker",
        }
    }
}

/// What usually helps.
fn hint(address: SocketAddr, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            ": ports below 1024 need root, CAP_NET_BIND_SERVICE or a lower net.ipv4.ip_unprivileged_port_start"
        }
        io::ErrorKind::AddrInUse if address.port() == 53 => {
            ": another server holds it; if it is systemd-resolved, set DNSStubListener=no in resolved.conf or \
             listen on other addresses than 127.0.0.53 and 127.0.0.54"
        }
        io::ErrorKind::AddrInUse => ": another process holds it",
        io::ErrorKind::AddrNotAvailable => ": no interface has this address",
        _ if source.raw_os_error() == Some(AF_UNSUPPORTED) => {
            ": the system has no support for this address family"
        }
        _ => "",
    }
}

/// EAFNOSUPPORT on Linux, which std has no kind for.
const AF_UNSUPPORTED: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_address_and_hint() {
        let text = |address: &str, kind: io::ErrorKind| {
            ServeError::bind(Transport::Udp, address.parse().unwrap(), kind.into()).to_string()
        };
        let denied = text("127.0.0.1:53", io::ErrorKind::PermissionDenied);
        assert!(denied.starts_with("cannot listen on 127.0.0.1:53 (udp): ports below 1024"), "{denied}");
        assert!(text("[::1]:53", io::ErrorKind::AddrInUse).contains("systemd-resolved"));
        assert!(!text("[::1]:5300", io::ErrorKind::AddrInUse).contains("systemd-resolved"));
    }
}
