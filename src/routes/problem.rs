//! Why an address does not serve as the registry that it should lead to.

use std::io;
use std::time::Duration;

/// What stands in the way, by the step that met it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// The connection was refused.
    #[error("nothing listens there: the connection was refused")]
    Refused,
    /// The connection was not answered.
    #[error("no answer to the connection within {} s", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    /// The network has no way there.
    #[error("no way there: {0}")]
    Unreachable(io::ErrorKind),
    /// TCP connects and then nothing comes.
    #[error("it accepts the connection and says nothing to TLS within {} s", .0.as_secs_f32())]
    TlsTimeout(Duration),
    /// The peer closed the connection at the first message of TLS.
    #[error("it closes the connection at the start of TLS")]
    TlsClosed,
    /// What comes back is not TLS, or TLS that cannot be agreed upon.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The certificate is another name's.
    #[error("its certificate is not for this name but for {}", .names.join(", "))]
    CertificateName {
        /// The names that it is for.
        names: Vec<String>,
        /// Who issued it.
        issuer: String,
    },
    /// The certificate has expired.
    #[error("its certificate expired on {not_after}")]
    CertificateExpired {
        /// When.
        not_after: String,
    },
    /// The certificate is not valid yet.
    #[error("its certificate is not valid before {not_before}")]
    CertificateNotYet {
        /// When it will be.
        not_before: String,
    },
    /// Nobody who is trusted issued the certificate.
    #[error("its certificate was issued by {issuer}, which is not trusted here")]
    CertificateIssuer {
        /// Who issued it.
        issuer: String,
        /// The names that it is for.
        names: Vec<String>,
    },
    /// Anything else about the certificate.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// TLS is up and no response came.
    #[error("no HTTP response within {} s", .0.as_secs_f32())]
    HttpTimeout(Duration),
    /// The response cannot be read.
    #[error("HTTP failed: {0}")]
    Http(String),
    /// A registry that refuses whoever comes from here.
    #[error("the registry answers 403: it refuses connections from this network")]
    Denied,
    /// An HTTP server that is no registry.
    #[error("HTTP {status} without the header of a registry's API: something else answers there")]
    NotRegistry {
        /// The status.
        status: u16,
    },
    /// The registry itself is in trouble.
    #[error("the registry answers {status}")]
    RegistryError {
        /// The status.
        status: u16,
    },
    /// Nothing could be checked: the trusted certificates cannot be had.
    #[error("{0}")]
    NoTrust(String),
}

impl RouteProblem {
    /// Every label, for metrics that are there from the start.
    pub const LABELS: [&str; 10] = [
        "refused",
        "connect-timeout",
        "unreachable",
        "tls-timeout",
        "tls",
        "certificate",
        "http-timeout",
        "http",
        "not-registry",
        "no-trust",
    ];

    /// The word for it, for metrics and programs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout(_) => "connect-timeout",
            Self::Unreachable(_) => "unreachable",
            Self::TlsTimeout(_) => "tls-timeout",
            Self::TlsClosed | Self::Tls(_) => "tls",
            Self::CertificateName { .. }
            | Self::CertificateExpired { .. }
            | Self::CertificateNotYet { .. }
            | Self::CertificateIssuer { .. }
            | Self::Certificate(_) => "certificate",
            Self::HttpTimeout(_) => "http-timeout",
            Self::Http(_) | Self::Denied | Self::RegistryError { .. } => "http",
            Self::NotRegistry { .. } => "not-registry",
            Self::NoTrust(_) => "no-trust",
        }
    }

    /// What an operator can do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Refused => "Compare the address with the private endpoint's network interface: nothing of \
                              Azure refuses connections to a live endpoint. A firewall may answer in its place."
                .to_owned(),
            Self::ConnectTimeout(_) => "Look for a missing peering or route to the endpoint's network, and for \
                                        network security groups and firewalls that drop port 443."
                .to_owned(),
            Self::Unreachable(_) => "Add a route to the endpoint's network; this host has none.".to_owned(),
            Self::TlsTimeout(_) | Self::TlsClosed => {
                "A firewall or proxy on the way accepts the connection and stops TLS, or the address is not \
                 the registry's any more. Let port 443 through to the endpoint untouched."
                    .to_owned()
            }
            Self::Tls(_) | Self::NotRegistry { .. } => {
                "Another service, or a proxy's page, answers at the address. Compare it with the private \
                 endpoint's network interface."
                    .to_owned()
            }
            Self::CertificateName { issuer, .. } => format!(
                "Either a proxy breaks TLS open (the certificate was issued by {issuer}), or the address is \
                 another service's: compare it with the private endpoint's network interface."
            ),
            Self::CertificateExpired { .. } | Self::CertificateNotYet { .. } => {
                "Check this host's clock; if it is right, whoever answers at the address is not Azure.".to_owned()
            }
            Self::CertificateIssuer { issuer, .. } => format!(
                "A proxy that breaks TLS open issues such certificates. Exempt the registry's names from \
                 inspection; or, where the proxy is meant to be there, put the certificate of {issuer} into \
                 routes.ca_file and into the trust of every container host."
            ),
            Self::Certificate(_) => "Look at the certificate: openssl s_client -connect ADDRESS:443 \
                                     -servername NAME."
                .to_owned(),
            Self::HttpTimeout(_) | Self::Http(_) => {
                "TLS works and HTTP does not: a proxy on the way, or trouble of the registry. See the \
                 registry's resource health in the Azure portal."
                    .to_owned()
            }
            Self::Denied => "The request did not arrive through an approved private endpoint, or the endpoint's \
                             connection was cut. See the registry's networking page."
                .to_owned(),
            Self::RegistryError { .. } => {
                "See the registry's resource health in the Azure portal.".to_owned()
            }
            Self::NoTrust(_) => "Install the system's CA certificates (ca-certificates), or set \
                                 routes.ca_file."
                .to_owned(),
        }
    }
}
