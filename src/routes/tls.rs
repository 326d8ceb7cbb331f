//! Whom the checks trust, and in words why a certificate is not accepted.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::problem::RouteProblem;

/// Names and lengths of a stranger's certificate that are told.
const MAX_NAMES: usize = 5;
const MAX_TEXT: usize = 200;

/// The trusted certificates, loaded once for a round of checks.
#[derive(Clone, Debug)]
pub struct Trust {
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// The certificates in `ca_file` (PEM); without one the system's.
    ///
    /// # Errors
    /// There are none; the text says why.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, RouteProblem> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if let Some(path) = ca_file {
            from_file(path, &provider)?
        } else {
            let none = |error| RouteProblem::NoTrust(format!("the system's certificates: {error}"));
            Arc::new(Verifier::new(Arc::clone(&provider)).map_err(none)?)
        };
        Ok(Self { verifier, provider })
    }

    /// What one connection needs, with a place for what its peer shows.
    pub(super) fn client(&self) -> Result<(Arc<ClientConfig>, Arc<Witness>), RouteProblem> {
        let witness = Arc::new(Witness { inner: Arc::clone(&self.verifier), seen: Mutex::default() });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| RouteProblem::NoTrust(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Ok((Arc::new(config), witness))
    }
}

fn from_file(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, RouteProblem> {
    let failed = |what: String| RouteProblem::NoTrust(format!("routes.ca_file {}: {what}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("no certificate in it".to_owned()));
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(built.map_err(|error| failed(error.to_string()))?)
}

/// The check of another, which notes the certificate that it was shown.
#[derive(Debug)]
pub(super) struct Witness {
    inner: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = end_entity.clone().into_owned();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What a certificate says of itself; all from outside.
#[derive(Debug, Default)]
struct Shown {
    issuer: String,
    names: Vec<String>,
    not_before: String,
    not_after: String,
}

impl Witness {
    /// The problem behind an error of TLS.
    pub(super) fn explain(&self, error: &rustls::Error) -> RouteProblem {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return RouteProblem::Tls(bounded(&error.to_string()));
        };
        let shown = self.shown();
        match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                RouteProblem::CertificateName { names: shown.names, issuer: shown.issuer }
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                RouteProblem::CertificateExpired { not_after: shown.not_after }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                RouteProblem::CertificateNotYet { not_before: shown.not_before }
            }
            CertificateError::UnknownIssuer => {
                RouteProblem::CertificateIssuer { issuer: shown.issuer, names: shown.names }
            }
            other => RouteProblem::Certificate(bounded(&other.to_string())),
        }
    }

    fn shown(&self) -> Shown {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().and_then(|der| read(der)).unwrap_or_else(|| Shown {
            issuer: "an unreadable issuer".to_owned(),
            names: vec!["no name".to_owned()],
            ..Shown::default()
        })
    }
}

fn read(der: &[u8]) -> Option<Shown> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let mut names: Vec<String> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(bounded(name)),
            GeneralName::IPAddress(octets) => match octets.len() {
                4 => <[u8; 4]>::try_from(*octets).ok().map(|o| std::net::Ipv4Addr::from(o).to_string()),
                16 => <[u8; 16]>::try_from(*octets).ok().map(|o| std::net::Ipv6Addr::from(o).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if names.is_empty() {
        names.push(bounded(&certificate.subject().to_string()));
    }
    Some(Shown {
        issuer: bounded(&certificate.issuer().to_string()),
        names,
        not_before: certificate.validity().not_before.to_string(),
        not_after: certificate.validity().not_after.to_string(),
    })
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
