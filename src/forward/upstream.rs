//! An upstream as rules, engine and metrics know it: equal by all that the
//! configuration says of it, named by a text that does not change.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, UpstreamTransport};
use crate::metrics::forward::UpstreamCounters;

/// One upstream. Equal ones share connections and counters; what one said
/// never answers for another that differs in anything, its pins included.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    settings: config::Upstream,
    label: Box<str>,
}

impl Upstream {
    /// The upstream that `settings` describe.
    pub fn new(settings: config::Upstream) -> Arc<Self> {
        let label = settings.to_string().into();
        Arc::new(Self { settings, label })
    }

    /// An upstream over UDP.
    pub fn plain(address: SocketAddr) -> Arc<Self> {
        Self::new(address.into())
    }

    /// All that the configuration says.
    pub const fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    /// Where it is.
    #[inline]
    pub const fn address(&self) -> SocketAddr {
        self.settings.address
    }

    /// How it is asked.
    #[inline]
    pub const fn transport(&self) -> UpstreamTransport {
        self.settings.transport
    }

    /// Whether every query goes over a stream; else only what UDP cannot carry.
    #[inline]
    pub const fn is_stream(&self) -> bool {
        !matches!(self.settings.transport, UpstreamTransport::Udp)
    }

    /// Whether its AD flag may go to clients: it is trusted, and nobody on the
    /// way could have set the flag.
    #[inline]
    pub const fn passes_ad(&self) -> bool {
        self.settings.trusted && self.settings.transport.is_encrypted()
    }

    /// Counts a query that goes over its stream.
    pub(super) fn count_stream(&self, counters: &UpstreamCounters) {
        match self.transport() {
            UpstreamTransport::Udp | UpstreamTransport::Tcp => counters.sent_tcp(),
            UpstreamTransport::Tls => counters.sent_tls(),
            UpstreamTransport::Https => counters.sent_https(),
        }
    }

    /// Its label in metrics and logs, such as `192.0.2.1:53` or
    /// `tls://192.0.2.1:853#dns.example`.
    #[inline]
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pin;

    #[test]
    fn upstreams_are_told_apart_by_all_that_is_said_of_them() {
        let address = "192.0.2.1:853".parse().unwrap();
        let tls = config::Upstream {
            transport: UpstreamTransport::Tls,
            name: Some("dns.example".to_owned()),
            ..config::Upstream::from(address)
        };
        let plain = Upstream::plain(address);
        let named = Upstream::new(tls.clone());
        let pinned = Upstream::new(config::Upstream { pins: vec![Pin([1; 32])], ..tls.clone() });
        assert_eq!(plain.label(), "192.0.2.1:853");
        assert_eq!(named.label(), "tls://192.0.2.1:853#dns.example");
        assert_eq!(named.label(), pinned.label());
        assert_ne!(named, pinned);
        assert_eq!(named, Upstream::new(tls));
    }

    #[test]
    fn only_trusted_encrypted_upstreams_pass_ad() {
        for transport in UpstreamTransport::ALL {
            for trusted in [false, true] {
                let address = SocketAddr::from(([192, 0, 2, 1], 53));
                let settings = config::Upstream { transport, trusted, ..config::Upstream::from(address) };
                let expected = trusted && transport.is_encrypted();
                assert_eq!(Upstream::new(settings).passes_ad(), expected, "{transport:?} {trusted}");
            }
        }
    }
}
