//! What an upstream is: its address, how queries travel there, and how it
//! proves who it is.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::DnsName;

/// Longest path of an upstream's URL.
const MAX_PATH: usize = 200;

/// How queries travel to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamTransport {
    /// UDP, and TCP for what does not fit (RFC 1035 section 4.2).
    Udp,
    /// TCP alone (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484), by HTTP/2.
    Https,
}

impl UpstreamTransport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https];

    /// The scheme of its URLs, and the label of metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }

    /// The port where none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls => 853,
            Self::Https => 443,
        }
    }

    /// Whether nobody on the way can read or change what is said.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

/// The SHA-256 digest of a server's public key (SPKI, RFC 7858 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl FromStr for Pin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = BASE64.decode(text).map_err(drop)?;
        bytes.try_into().map(Self).map_err(drop)
    }
}

/// One upstream. Its `Display` is a text that stays the same as long as it
/// does: `192.0.2.1:53`, `tls://192.0.2.1:853#dns.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is asked.
    pub transport: UpstreamTransport,
    /// The name in its certificate, in lower case; `None` for its address.
    pub name: Option<String>,
    /// The path of DNS over HTTPS; empty for the others.
    pub path: String,
    /// The public keys that it may have; any, if there are none.
    pub pins: Vec<Pin>,
    /// PEM file of the certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether its word on DNSSEC (AD) counts.
    pub trusted: bool,
}

impl Upstream {
    /// Whether a pinned key is all that it must prove (RFC 7858 section 4.2).
    /// Whoever gives a name or an authority as well wants both checked.
    pub const fn is_key_enough(&self) -> bool {
        !self.pins.is_empty() && self.name.is_none() && self.ca_file.is_none()
    }

    /// All that is said of it as one line, for what outlives the process. Equal
    /// upstreams have the same and others another, and it is written the same
    /// way for good:
    ///
    /// ```text
    /// udp://192.0.2.1:53
    /// tls://[2001:db8::1]:853 name=dns.example pins=BASE64,BASE64 ca_file=/etc/ca.pem trusted
    /// https://192.0.2.1:443/dns-query name=dns.example
    /// ```
    ///
    /// Transport, address with its port, path, and in this order what is said
    /// beyond. Bytes of the file's path that would end a word, and those outside
    /// ASCII, are `%` and two hexadecimal digits. Nothing in it is secret.
    pub fn identity(&self) -> String {
        let mut text = format!("{}://{}{}", self.transport.label(), self.address, self.path);
        if let Some(name) = &self.name {
            text.extend([" name=", name]);
        }
        let pins: Vec<String> = self.pins.iter().map(Pin::to_string).collect();
        if !pins.is_empty() {
            text.extend([" pins=", &pins.join(",")]);
        }
        if let Some(path) = &self.ca_file {
            text.push_str(" ca_file=");
            push_escaped(&mut text, path);
        }
        if self.trusted {
            text.push_str(" trusted");
        }
        text
    }
}

/// Appends `path`, whatever its bytes, as one word of plain ASCII.
fn push_escaped(text: &mut String, path: &Path) {
    for byte in path.as_os_str().as_bytes() {
        match *byte {
            plain if plain.is_ascii_graphic() && plain != b'%' => text.push(char::from(plain)),
            other => {
                let _ = write!(text, "%{other:02X}");
            }
        }
    }
}

impl From<SocketAddr> for Upstream {
    /// Over UDP.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            transport: UpstreamTransport::Udp,
            name: None,
            path: String::new(),
            pins: Vec::new(),
            ca_file: None,
            trusted: false,
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport != UpstreamTransport::Udp {
            write!(f, "{}://", self.transport.label())?;
        }
        write!(f, "{}{}", self.address, self.path)?;
        match &self.name {
            Some(name) => write!(f, "#{name}"),
            None => Ok(()),
        }
    }
}

/// Connections to upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// A connection must be ready within this.
    pub connect: Duration,
    /// A connection without questions is closed after this.
    pub idle: Duration,
    /// Connections per upstream.
    pub max_connections: usize,
    /// Questions in flight per connection.
    pub max_in_flight: usize,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            idle: Duration::from_secs(8),
            max_connections: 4,
            max_in_flight: 100,
        }
    }
}

/// Where an upstream's URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// To this address.
    Address(IpAddr),
    /// To whatever has this name.
    Name(String),
}

/// An upstream as the file writes it: an address, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpstreamUrl {
    pub(super) transport: UpstreamTransport,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) path: String,
    /// What stands behind `#`.
    pub(super) name: Option<String>,
}

impl UpstreamUrl {
    /// Stands for one that could not be read.
    pub(super) const BLANK: Self = Self {
        transport: UpstreamTransport::Udp,
        host: Host::Address(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        port: 0,
        path: String::new(),
        name: None,
    };

    /// Reads `10.0.0.1`, `[fd00::1]:53`, `tls://192.0.2.1#dns.example`,
    /// `https://dns.example/dns-query`. The error says why, or nothing.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (transport, rest) = match text.split_once("://") {
            None => (UpstreamTransport::Udp, text),
            Some((scheme, rest)) => {
                let found = UpstreamTransport::ALL.into_iter().find(|t| t.label() == scheme);
                (found.ok_or("the schemes are udp, tcp, tls and https")?, rest)
            }
        };
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) => (rest, Some(tls_name(name)?)),
            None => (rest, None),
        };
        if name.is_some() && !transport.is_encrypted() {
            return Err("only tls and https have a name behind \"#\"".to_owned());
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = match transport {
            UpstreamTransport::Https => https_path(path)?,
            _ if path.is_empty() => String::new(),
            _ => return Err("only https has a path".to_owned()),
        };
        let (host, port) = authority_of(authority, transport)?;
        match (&host, &name) {
            (Host::Name(_), _) if !transport.is_encrypted() => Err(String::new()),
            (Host::Name(_), Some(_)) => {
                Err("a name behind \"#\" only where the host is an address".to_owned())
            }
            _ => Ok(Self { transport, host, port, path, name }),
        }
    }
}

/// Host and port.
fn authority_of(text: &str, transport: UpstreamTransport) -> Result<(Host, u16), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((Host::Address(address.ip()), address.port()));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok(),
    };
    if let Some(address) = address {
        return Ok((Host::Address(address), transport.default_port()));
    }
    if !transport.is_encrypted() {
        return Err(String::new());
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| "the port is a number".to_owned())?),
        None => (text, transport.default_port()),
    };
    Ok((Host::Name(tls_name(name)?), port))
}

/// A name that a certificate can have, in lower case and without a last dot.
pub(super) fn tls_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.parse::<IpAddr>().is_ok() || DnsName::try_from(name.as_str()).is_err() {
        return Err("the name must be a host name".to_owned());
    }
    Ok(name)
}

/// The path that queries are posted to; `/dns-query` where none is written.
fn https_path(text: &str) -> Result<String, String> {
    // What templates end with (RFC 8484 section 4.1) is for GET.
    let text = text.strip_suffix("{?dns}").unwrap_or(text);
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(c);
    match text {
        "" | "/" => Ok("/dns-query".to_owned()),
        _ if text.len() <= MAX_PATH && text.chars().all(is_plain) => Ok(text.to_owned()),
        _ => Err("the path is of ASCII characters that URLs may have, 200 at most".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let url = UpstreamUrl::parse(text)?;
        let (address, host) = match url.host {
            Host::Address(address) => (address, None),
            Host::Name(name) => ("192.0.2.9".parse().unwrap(), Some(name)),
        };
        Ok(Upstream {
            address: SocketAddr::new(address, url.port),
            transport: url.transport,
            name: url.name.or(host),
            path: url.path,
            ..Upstream::from(SocketAddr::from(([0, 0, 0, 0], 0)))
        }
        .to_string())
    }

    #[test]
    fn every_form_is_read() {
        for (text, label) in [
            ("10.0.0.1", "10.0.0.1:53"),
            ("10.0.0.1:5353", "10.0.0.1:5353"),
            ("fd00::1", "[fd00::1]:53"),
            ("[fd00::1]", "[fd00::1]:53"),
            ("udp://10.0.0.1", "10.0.0.1:53"),
            ("tcp://10.0.0.1", "tcp://10.0.0.1:53"),
            ("tls://10.0.0.1", "tls://10.0.0.1:853"),
            ("tls://[fd00::1]:8853#DNS.example.", "tls://[fd00::1]:8853#dns.example"),
            ("tls://dns.example", "tls://192.0.2.9:853#dns.example"),
            ("https://192.0.2.1", "https://192.0.2.1:443/dns-query"),
            ("https://192.0.2.1/q#dns.example", "https://192.0.2.1:443/q#dns.example"),
            ("https://dns.example:8443/dns-query{?dns}", "https://192.0.2.9:8443/dns-query#dns.example"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(label), "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "dns.example",
            "tcp://dns.example",
            "tcp://10.0.0.1#dns.example",
            "tls://10.0.0.1/path",
            "tls://",
            "tls://10.0.0.1#",
            "tls://10.0.0.1#192.0.2.1",
            "tls://a.example#b.example",
            "tls://dns.example:port",
            "quic://10.0.0.1",
            "https://dns.example/a b",
            "https://dns.example/{x}",
            "10.0.0.1/24",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    /// One of each transport with all that it can have.
    fn full(transport: UpstreamTransport) -> Upstream {
        let https = transport == UpstreamTransport::Https;
        let encrypted = transport.is_encrypted();
        let address = ([192, 0, 2, 1], transport.default_port());
        Upstream {
            transport,
            name: encrypted.then(|| "dns.example".to_owned()),
            path: if https { "/dns-query".to_owned() } else { String::new() },
            pins: if encrypted { vec![Pin([0; 32]), Pin([1; 32])] } else { Vec::new() },
            ca_file: encrypted.then(|| "/etc/hubdns/ca 100%.pem".into()),
            trusted: encrypted,
            ..Upstream::from(SocketAddr::from(address))
        }
    }

    #[test]
    fn identities_are_as_documented() {
        let zeros = format!("{}=", "A".repeat(43));
        let ones = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let proof =
            format!("name=dns.example pins={zeros},{ones} ca_file=/etc/hubdns/ca%20100%25.pem trusted");
        for (transport, identity) in [
            (UpstreamTransport::Udp, "udp://192.0.2.1:53".to_owned()),
            (UpstreamTransport::Tcp, "tcp://192.0.2.1:53".to_owned()),
            (UpstreamTransport::Tls, format!("tls://192.0.2.1:853 {proof}")),
            (UpstreamTransport::Https, format!("https://192.0.2.1:443/dns-query {proof}")),
        ] {
            assert_eq!(full(transport).identity(), identity);
        }
        let v6 = Upstream::from("[2001:db8::1]:5353".parse::<SocketAddr>().unwrap());
        assert_eq!(v6.identity(), "udp://[2001:db8::1]:5353");
        let unnamed =
            Upstream { name: None, ca_file: None, pins: Vec::new(), ..full(UpstreamTransport::Tls) };
        assert_eq!(unnamed.identity(), "tls://192.0.2.1:853 trusted");
    }

    #[test]
    fn identities_differ_where_upstreams_do() {
        let changes: [fn(&mut Upstream); 14] = [
            |_| {},
            |u| u.transport = UpstreamTransport::Tls,
            |u| u.transport = UpstreamTransport::Tcp,
            |u| u.address.set_port(8443),
            |u| u.address.set_ip([192, 0, 2, 2].into()),
            |u| u.name = None,
            |u| u.name = Some("other.example".to_owned()),
            |u| u.path = "/other".to_owned(),
            |u| u.pins.truncate(1),
            |u| u.pins = vec![Pin([0; 32]), Pin([2; 32])],
            |u| u.ca_file = None,
            |u| u.ca_file = Some("/etc/hubdns/ca%20100%25.pem".into()),
            |u| u.ca_file = Some("/etc/hubdns/ca 100%.pem trusted".into()),
            |u| u.trusted = false,
        ];
        let all: Vec<Upstream> = changes
            .iter()
            .map(|change| {
                let mut upstream = full(UpstreamTransport::Https);
                change(&mut upstream);
                upstream
            })
            .collect();
        for a in &all {
            for b in &all {
                assert_eq!(a.identity() == b.identity(), a == b, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn rfc7858_pins_are_base64_of_sha256() {
        let text = "FHkyLhvI0n70E47cJlRTamTrnYVcsYdjUGbr79CfAVI=";
        let pin: Pin = text.parse().unwrap();
        assert_eq!(pin.to_string(), text);
        for wrong in ["", "FHkyLhvI0n70E47cJlRTamTrnYVcsYdjUGbr79CfAV", "AAAA", "!!!!"] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }
}
