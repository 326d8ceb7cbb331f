//! What is shown of a running server's listeners and their certificates.

use std::net::SocketAddr;

use super::Running;
use super::encrypted::{CertificateState, OnChange};

/// A listener and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerState {
    /// Its address with the real port.
    pub address: SocketAddr,
    /// What is spoken there, as in the configuration: `plain`, `tls`, `https`, `quic`.
    pub transport: &'static str,
    /// Whether listed senders put PROXY headers before what they send.
    pub is_proxied: bool,
    /// Connections open now; of plain listeners they are counted together, elsewhere.
    pub connections: Option<u64>,
    /// Its certificate, where it has one.
    pub certificate: Option<CertificateState>,
}

impl Running {
    /// All listeners: those of `server.listen`, then the others.
    pub fn listeners(&self) -> Vec<ListenerState> {
        let plain = self.plain.iter().map(|(address, is_proxied)| ListenerState {
            address: *address,
            transport: "plain",
            is_proxied: *is_proxied,
            connections: None,
            certificate: None,
        });
        let encrypted = self.encrypted.iter().flat_map(super::encrypted::Running::shown);
        let encrypted = encrypted.map(|shown| ListenerState {
            address: shown.address,
            transport: shown.transport.label(),
            is_proxied: shown.is_proxied,
            connections: Some(shown.connections),
            certificate: Some(shown.certificate),
        });
        plain.chain(encrypted).collect()
    }

    /// Looks whether the files of certificates changed, and takes into use what
    /// is good. Reads files: not for a runtime's thread.
    pub fn reload_certificates(&self) {
        if let Some(encrypted) = &self.encrypted {
            encrypted.look_at_certificates();
        }
    }

    /// How the certificates fare.
    pub fn certificates(&self) -> Vec<CertificateState> {
        self.encrypted.as_ref().map(super::encrypted::Running::certificates).unwrap_or_default()
    }

    /// Calls `call` with the states of the certificates now, and whenever one changes.
    pub fn on_certificates(&self, call: OnChange) {
        if let Some(encrypted) = &self.encrypted {
            encrypted.on_certificates(call);
        }
    }
}
