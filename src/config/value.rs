//! The types of single values: how each is read and what may stand there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use crate::wire::{Name, Rcode, Rtype};

use super::error::Report;
use super::schema::{Limits, Value, describe, quote};
use super::transports::{ClientCertificates, EncryptedTransport, ListenerTransport};
use super::upstream::{Pin, UpstreamUrl};
use super::{
    AnswerMode, CookieMode, CredentialKind, Denied, Discovery, LogFormat, OwnMissing, Policy, Steering,
};

/// The port that DNS servers listen on (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// Reads a value that is written as a string.
fn read_text<T>(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    report: &mut Report,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let DeValue::String(text) = value.get_ref() else {
        report.add(key, describe(value.get_ref()), expected);
        return None;
    };
    match parse(text) {
        Ok(parsed) => Some(parsed),
        Err(why) => {
            let why = if why.is_empty() { expected.to_owned() } else { format!("{expected}: {why}") };
            report.add(key, quote(text), why);
            None
        }
    }
}

impl Value for bool {
    fn expected(_: Limits) -> String {
        "true or false".to_owned()
    }

    fn blank() -> Self {
        false
    }

    fn read(value: &Spanned<DeValue<'_>>, key: &str, limits: Limits, report: &mut Report) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            report.add(key, describe(value.get_ref()), Self::expected(limits));
        }
        read
    }
}

fn integer(number: &DeInteger<'_>) -> Option<u64> {
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(digits.strip_prefix('+').unwrap_or(&digits), number.radix()).ok()
}

macro_rules! numbers {
    ($($Number:ty),+) => { $(
        impl Value for $Number {
            fn expected(limits: Limits) -> String {
                let (min, max) = limits.unwrap_or((0, u64::from(u32::MAX)));
                format!("a whole number from {min} to {max}")
            }

            fn blank() -> Self {
                0
            }

            fn read(
                value: &Spanned<DeValue<'_>>,
                key: &str,
                limits: Limits,
                report: &mut Report,
            ) -> Option<Self> {
                let within = |n: &u64| limits.is_none_or(|(min, max)| (min..=max).contains(n));
                let number = value.get_ref().as_integer().and_then(integer).filter(within);
                let read = number.and_then(|n| Self::try_from(n).ok());
                if read.is_none() {
                    report.add(key, describe(value.get_ref()), Self::expected(limits));
                }
                read
            }
        }
    )+ };
}

numbers!(u16, u32, u64, usize);

/// Values written as strings: what may stand there, the blank, the parser.
macro_rules! texts {
    ($($Text:ty: $expected:expr, $blank:expr, $parse:expr;)+) => { $(
        impl Value for $Text {
            fn expected(_: Limits) -> String {
                $expected.to_owned()
            }

            fn blank() -> Self {
                $blank
            }

            fn read(
                value: &Spanned<DeValue<'_>>,
                key: &str,
                limits: Limits,
                report: &mut Report,
            ) -> Option<Self> {
                read_text(value, key, report, &Self::expected(limits), $parse)
            }
        }
    )+ };
}

const UNSPECIFIED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

texts! {
    String: "text in quotation marks", Self::new(), |text| Ok(text.to_owned());
    PathBuf: "a path in quotation marks", Self::new(), parse_path;
    SocketAddr: "an address and a port, such as \"10.0.0.4:53\" or \"[fd00::4]:53\"",
        Self::new(UNSPECIFIED, 0), |text| text.parse().map_err(|_| String::new());
    UpstreamAddress: "an address with or without a port, such as \"10.0.0.4\", \"10.0.0.4:5353\" or \"[fd00::4]:53\"",
        Self(SocketAddr::new(UNSPECIFIED, 0)), parse_upstream;
    UpstreamUrl: "an address with or without a port, such as \"10.0.0.4\" or \"[fd00::4]:5353\", or a URL, such as \"tcp://10.0.0.4\", \"tls://192.0.2.1#dns.example\" or \"https://192.0.2.1/dns-query#dns.example\"",
        Self::BLANK, Self::parse;
    Pin: "the SHA-256 digest of a public key (SPKI) in base64, 44 characters",
        Self([0; 32]), |text| text.parse().map_err(|()| String::new());
    IpNet: "a prefix, such as \"10.0.0.0/8\" or \"fd00::/8\"",
        Self::V4(Ipv4Net::default()), parse_prefix;
    Name: "a domain name", Self::root(), parse_name;
    Rtype: "a record type, such as \"A\", \"CNAME\" or \"TYPE65280\"",
        Self(0), |text| text.parse().map_err(|_| String::new());
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.contains('\0') { Err("without NUL bytes".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// An upstream's address; port 53 where none is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UpstreamAddress(pub(super) SocketAddr);

fn parse_upstream(text: &str) -> Result<UpstreamAddress, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(UpstreamAddress(address));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok(),
    };
    address.map(|ip| UpstreamAddress(SocketAddr::new(ip, DNS_PORT))).ok_or_else(String::new)
}

/// Host bits are refused rather than cleared: whoever writes 10.1.2.3/8 may
/// mean one host, and would admit sixteen million.
fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let prefix: IpNet = text.parse().map_err(|_| String::new())?;
    if let IpAddr::V6(v6) = prefix.addr()
        && v6.to_ipv4_mapped().is_some()
    {
        return Err("with an IPv4-mapped prefix written as IPv4".to_owned());
    }
    if prefix.trunc() == prefix {
        Ok(prefix)
    } else {
        Err(format!("without host bits, which would be \"{}\"", prefix.trunc()))
    }
}

/// A name as operators write it. The bytes that only mistakes bring (spaces, a
/// pasted URL, letters outside ASCII) must be escaped by RFC 1035 section 5.1.
pub(super) fn parse_name(text: &str) -> Result<Name, String> {
    let mut escaped = false;
    for c in text.chars() {
        let plain = c.is_ascii_graphic() && !matches!(c, ':' | '"' | ';' | '(' | ')' | '@' | '$' | ',');
        if !escaped && !plain {
            return Err(if c.is_ascii() {
                format!("{c:?} must not stand in it")
            } else {
                format!("{c:?} is not ASCII (write the xn-- form)")
            });
        }
        if escaped && !c.is_ascii_graphic() {
            return Err("a backslash escape is malformed (RFC 1035 section 5.1)".to_owned());
        }
        escaped = !escaped && c == '\\';
    }
    text.parse::<Name>().map_err(|error| error.to_string())
}

/// Words of a closed set.
macro_rules! words {
    ($($Word:ty, $blank:expr, $expected:literal, { $($text:literal => $value:expr),+ $(,)? };)+) => { $(
        impl Value for $Word {
            fn expected(_: Limits) -> String {
                $expected.to_owned()
            }

            fn blank() -> Self {
                $blank
            }

            fn read(
                value: &Spanned<DeValue<'_>>,
                key: &str,
                limits: Limits,
                report: &mut Report,
            ) -> Option<Self> {
                read_text(value, key, report, &Self::expected(limits), |text| match text {
                    $($text => Ok($value),)+
                    _ => Err(String::new()),
                })
            }
        }
    )+ };
}

/// An Azure cloud, which has a registry suffix of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    Public,
    UsGovernment,
    China,
}

impl Cloud {
    /// The suffix of the cloud's registries.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Public => "azurecr.io",
            Self::UsGovernment => "azurecr.us",
            Self::China => "azurecr.cn",
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGovernment => "us-government",
            Self::China => "china",
        }
    }
}

/// The clouds of the source `azure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloudKind {
    Public,
    UsGovernment,
    China,
    Custom,
}

/// A response code that may count as a failure of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FailureRcode(pub(super) Rcode);

impl std::fmt::Display for FailureRcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

words! {
    FailureRcode, Self(Rcode::SERVFAIL), "\"SERVFAIL\", \"REFUSED\", \"FORMERR\", \"NOTIMP\" or \"NOTAUTH\"", {
        "SERVFAIL" => Self(Rcode::SERVFAIL),
        "REFUSED" => Self(Rcode::REFUSED),
        "FORMERR" => Self(Rcode::FORMERR),
        "NOTIMP" => Self(Rcode::NOTIMP),
        // RFC 2136 section 2.2.
        "NOTAUTH" => Self(Rcode(9)),
    };
    Policy, Self::Sequential, "\"sequential\", \"fastest\" or \"round-robin\"", {
        "sequential" => Self::Sequential,
        "fastest" => Self::Fastest,
        "round-robin" => Self::RoundRobin,
    };
    ListenerTransport, Self::Plain, "\"plain\", \"tls\", \"https\" or \"quic\"", {
        "plain" => Self::Plain,
        "tls" => Self::Encrypted(EncryptedTransport::Tls),
        "https" => Self::Encrypted(EncryptedTransport::Https),
        "quic" => Self::Encrypted(EncryptedTransport::Quic),
    };
    ClientCertificates, Self::Required, "\"required\" or \"optional\"", {
        "required" => Self::Required,
        "optional" => Self::Optional,
    };
    CloudKind, Self::Public, "\"public\", \"us-government\", \"china\" or \"custom\"", {
        "public" => Self::Public,
        "us-government" => Self::UsGovernment,
        "china" => Self::China,
        "custom" => Self::Custom,
    };
    Discovery, Self::Auto, "\"auto\", \"resource-graph\" or \"resource-manager\"", {
        "auto" => Self::Auto,
        "resource-graph" => Self::ResourceGraph,
        "resource-manager" => Self::ResourceManager,
    };
    CredentialKind, Self::ManagedIdentity,
        "\"workload-identity\", \"client-secret\", \"client-certificate\", \"arc\", \"managed-identity\" or \"az-cli\"", {
        "workload-identity" => Self::WorkloadIdentity,
        "client-secret" => Self::ClientSecret,
        "client-certificate" => Self::ClientCertificate,
        "arc" => Self::Arc,
        "managed-identity" => Self::ManagedIdentity,
        "az-cli" => Self::AzCli,
    };
    Cloud, Self::Public, "\"public\", \"us-government\" or \"china\"", {
        "public" => Self::Public,
        "us-government" => Self::UsGovernment,
        "china" => Self::China,
    };
    CookieMode, Self::Answer, "\"off\", \"answer\" or \"require\"", {
        "off" => Self::Off,
        "answer" => Self::Answer,
        "require" => Self::Require,
    };
    Denied, Self::Refuse, "\"refuse\" or \"drop\"", {
        "refuse" => Self::Refuse,
        "drop" => Self::Drop,
    };
    Steering, Self::Hash, "\"hash\" or \"cpu\"", {
        "hash" => Self::Hash,
        "cpu" => Self::Cpu,
    };
    LogFormat, Self::Text, "\"text\" or \"json\"", {
        "text" => Self::Text,
        "json" => Self::Json,
    };
    AnswerMode, Self::Chain, "\"chain\" or \"flat\"", {
        "chain" => Self::Chain,
        "flat" => Self::Flat,
    };
    OwnMissing, Self::Closed, "\"closed\" or \"forward\"", {
        "closed" => Self::Closed,
        "forward" => Self::Forward,
    };
}
