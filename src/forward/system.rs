//! The host's own resolvers, for `upstream = "system"`: never ourselves, or a
//! query would go round for ever.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use resolv_conf::ScopedIp;

/// The port that resolv.conf implies.
const DNS_PORT: u16 = 53;

/// Where the host keeps its resolvers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Reads the resolvers in `path`, leaving out every address that one of our
/// `listeners` answers.
pub fn read(path: &Path, listeners: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let text = std::fs::read(path)?;
    // A line that resolv-conf cannot read is left out; the rest still counts,
    // as libc does it.
    let (parsed, _) = resolv_conf::Config::parse_with_errors(&text);
    let mut found = Vec::new();
    for server in &parsed.nameservers {
        let address = match server {
            ScopedIp::V4(v4) => SocketAddr::new(IpAddr::V4(*v4), DNS_PORT),
            ScopedIp::V6(v6, None) => SocketAddr::new(IpAddr::V6(*v6), DNS_PORT),
            // A link-local address needs its interface's index; only a numeric
            // one is known without asking the kernel.
            ScopedIp::V6(v6, Some(scope)) => match scope.parse() {
                Ok(index) => std::net::SocketAddrV6::new(*v6, DNS_PORT, 0, index).into(),
                Err(_) => continue,
            },
        };
        if !is_own(address, listeners) && !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// Whether a query to `address` would come back to one of `listeners`.
pub fn is_own(address: SocketAddr, listeners: &[SocketAddr]) -> bool {
    listeners.iter().any(|listener| {
        if listener.port() != address.port() {
            return false;
        }
        let (ours, theirs) = (listener.ip().to_canonical(), address.ip().to_canonical());
        ours == theirs
            || theirs.is_unspecified()
            // [::] takes IPv4 as well unless the socket says otherwise, so
            // either wildcard counts for both families.
            || (ours.is_unspecified() && is_local(theirs))
    })
}

/// Whether `address` belongs to this host: only then a socket can be bound to it.
pub(super) fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, listeners: &[&str]) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let listeners: Vec<SocketAddr> = listeners.iter().map(|l| l.parse().unwrap()).collect();
        let found = read(file.path(), &listeners).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn system_upstreams_are_read_in_order() {
        let text = "search corp.example\nnameserver 192.0.2.1\nnonsense\nnameserver 2001:db8::1\nnameserver 192.0.2.1\n";
        assert_eq!(read_text(text, &[]), ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }

    #[test]
    fn system_upstreams_never_hold_ourselves() {
        let text = "nameserver 127.0.0.1\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n";
        assert_eq!(read_text(text, &["127.0.0.1:53"]), ["127.0.0.53:53", "192.0.2.1:53"]);
        assert_eq!(read_text(text, &["127.0.0.1:5353"]).len(), 3);
        // A wildcard listener answers on every local address.
        assert_eq!(read_text(text, &["0.0.0.0:53"]), ["192.0.2.1:53"]);
        assert_eq!(read_text(text, &["[::]:53"]), ["192.0.2.1:53"]);
        assert_eq!(read_text("nameserver ::1\n", &["[::]:53"]), Vec::<String>::new());
    }
}
