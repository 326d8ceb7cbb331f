//! How clients reach hubdns: the keys of UDP and TCP and of listeners besides
//! `server.listen`, and what is made of the latter.
#![expect(clippy::struct_field_names, reason = "the unit is a part of each key")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::schema::table;

/// A listener besides those of `server.listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where. Port 0 takes a free one.
    pub address: SocketAddr,
    /// Senders that put a PROXY header (version 2) before what they send.
    pub proxies: Vec<IpNet>,
    /// What is spoken there.
    pub service: Service,
}

/// What is spoken at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// DNS over UDP and TCP, as at `server.listen`.
    Plain,
    /// DNS behind TLS.
    Encrypted(Box<Encrypted>),
}

/// DNS behind TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// TLS, HTTPS or QUIC.
    pub transport: EncryptedTransport,
    /// PEM file of the certificate and those that vouch for it.
    pub certificate_file: PathBuf,
    /// PEM file of its key.
    pub key_file: PathBuf,
    /// PEM file of the authorities that vouch for clients; `None` asks clients for nothing.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients may do without a certificate, where they are asked for one.
    pub clients: ClientCertificates,
    /// How long before its end a certificate becomes a finding; zero for never.
    pub warning: Duration,
    /// The path of DNS over HTTPS.
    pub path: String,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections of one client prefix.
    pub max_connections_per_client: usize,
    /// Bits of an address that tell one client from another: of IPv4, of IPv6.
    pub prefix_bits: (u8, u8),
    /// Queries in flight per connection.
    pub max_queries_per_connection: usize,
    /// Responses that a client has not taken yet, in bytes per connection.
    pub max_buffered: usize,
    /// A connection without traffic is closed after this.
    pub idle_timeout: Duration,
    /// A handshake that takes longer has failed.
    pub handshake_timeout: Duration,
}

/// The transports that encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptedTransport {
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250); needs a build with the feature `doq`.
    Quic,
}

impl EncryptedTransport {
    /// The word for it in the file and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }
}

/// What clients must show where they are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A certificate.
    Required,
    /// A good certificate or none.
    Optional,
}

/// What may stand for the transport of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerTransport {
    Plain,
    Encrypted(EncryptedTransport),
}

table! {
    /// DNS over UDP.
    struct UdpTable {
        /// Largest response by UDP, in bytes; more goes by TCP. 1232 crosses every path without
        /// fragments (RFC 9715 recommends at most 1400).
        max_bytes: u16 = 1232, in 512..=4096;
        /// Receive buffer that each socket asks for, in bytes. More than `net.core.rmem_max` is
        /// granted only with `CAP_NET_ADMIN`.
        receive_buffer_bytes: u32 = 4_194_304, in 4096..=1_073_741_823;
        /// Send buffer that each socket asks for, in bytes. More than `net.core.wmem_max` is
        /// granted only with `CAP_NET_ADMIN`.
        send_buffer_bytes: u32 = 1_048_576, in 4096..=1_073_741_823;
    }

    /// DNS over TCP (RFC 7766).
    struct TcpTable {
        /// Connections in all; further ones are closed at once.
        max_connections: usize = 1024, in 1..=1_000_000;
        /// Connections per client address. A few corporate resolvers may be all the clients there
        /// are, so this is no small number.
        max_connections_per_client: usize = 256, in 1..=1_000_000;
        /// Queries in flight per connection; further ones are read when these are answered.
        max_queries_per_connection: usize = 64, in 1..=65_535;
        /// A connection without traffic is closed after this, in seconds. One that has brought
        /// nothing yet stays with the kernel for a second first, and counts only then.
        idle_timeout_seconds: u32 = 10, in 1..=3600;
        /// Every connection is closed after this, once idle, in seconds.
        total_timeout_seconds: u32 = 600, in 1..=86_400;
    }

    /// A listener besides those of `server.listen`.
    struct ListenerTable {
        /// Address and port.
        address: SocketAddr = required;
        /// What is spoken there: `tls` (RFC 7858, port 853 by custom), `https` (RFC 8484, 443), `quic`
        /// (RFC 9250, 853; in builds with the feature `doq`), or `plain` for UDP and TCP, under the
        /// limits of `udp` and `tcp`.
        transport: ListenerTransport = required;
        /// Senders that must put a PROXY header (version 2) before each datagram or connection; the
        /// address in it is the client from then on. Headers of others are refused. Not for `quic`.
        proxy_prefixes: Vec<IpNet> = [];
        /// Path of DNS over HTTPS.
        path: String = "/dns-query";
        /// Responses that a client has not taken yet, in bytes per connection; beyond that the
        /// connection is closed.
        max_buffered_bytes: usize = 262_144, in 65_537..=67_108_864;
        /// The certificate, and those of clients.
        tls: ListenerTlsTable = {};
        /// Limits of encrypted connections.
        limits: ListenerLimitsTable = {};
    }

    /// The certificate of a listener, and those of its clients. Files are read again when they
    /// change and upon a reload; ones that do not fit leave the certificate before in use.
    struct ListenerTlsTable {
        /// PEM file of the certificate and of those that vouch for it.
        certificate_file: PathBuf = "";
        /// PEM file of the certificate's key.
        key_file: PathBuf = "";
        /// PEM file of the authorities whose certificates clients show; empty asks clients for none.
        client_ca_file: PathBuf = "";
        /// With authorities for clients: `required` lets in nobody without a certificate, `optional`
        /// refuses bad ones alone.
        client_certificates: ClientCertificates = "required";
        /// Days before the end of the certificate from which on it is a finding; 0 for never.
        warning_days: u32 = 14, in 0..=365;
    }

    /// Limits of the encrypted connections of one listener.
    struct ListenerLimitsTable {
        /// Connections in all; further ones are closed at once.
        max_connections: usize = 1024, in 1..=1_000_000;
        /// Connections per client prefix.
        max_connections_per_client: usize = 256, in 1..=1_000_000;
        /// Bits of an IPv4 address that make a client prefix.
        ipv4_prefix_bits: u32 = 32, in 8..=32;
        /// Bits of an IPv6 address that make a client prefix.
        ipv6_prefix_bits: u32 = 64, in 16..=128;
        /// Queries in flight per connection; further ones are read when these are answered.
        max_queries_per_connection: usize = 64, in 1..=65_535;
        /// A connection without traffic is closed after this, in seconds.
        idle_timeout_seconds: u32 = 30, in 1..=3600;
        /// A handshake that takes longer has failed, in seconds; a PROXY header counts as part of it.
        handshake_timeout_seconds: u32 = 5, in 1..=60;
    }
}
