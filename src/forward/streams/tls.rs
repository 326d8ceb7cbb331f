//! Whom a connection trusts: a certificate for the upstream's name or address,
//! pinned public keys, or both (RFC 8310 section 6.6).

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{self, Pin, UpstreamTransport};
use crate::metrics::streams::StreamFault;

use super::StreamError;

/// Sessions kept for resumption: a few per connection are enough, as each
/// TLS 1.3 ticket is used once.
const SESSIONS: usize = 32;

/// What TLS with `upstream` needs. It holds the sessions to resume, so it is
/// made once per upstream. Reads files: not for a runtime's thread.
pub(super) fn client(upstream: &config::Upstream) -> Result<ClientConfig, StreamError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StreamError::new(StreamFault::Trust, error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier(upstream, &provider)?)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    // Without the token of RFC 7858 a server that shares its port with
    // others would not know what is meant. Early data stays off: it can be
    // replayed (RFC 8310 section 9.2).
    config.alpn_protocols = match upstream.transport {
        UpstreamTransport::Https => vec![b"h2".to_vec()],
        _ => vec![b"dot".to_vec()],
    };
    Ok(config)
}

/// The name that the certificate must be good for; it is sent as SNI, unless
/// it is the address.
pub(super) fn server_name(upstream: &config::Upstream) -> Result<ServerName<'static>, StreamError> {
    match &upstream.name {
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|error| StreamError::new(StreamFault::Certificate, error)),
        None => Ok(ServerName::IpAddress(upstream.address.ip().into())),
    }
}

fn verifier(
    upstream: &config::Upstream,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, StreamError> {
    let chain: Option<Arc<dyn ServerCertVerifier>> = match &upstream.ca_file {
        _ if upstream.is_key_enough() => None,
        Some(path) => Some(from_file(path, provider)?),
        None => {
            let system = Verifier::new(Arc::clone(provider));
            let failed = |error| StreamError::new(StreamFault::Trust, format!("the system's: {error}"));
            Some(Arc::new(system.map_err(failed)?))
        }
    };
    Ok(Arc::new(Proof { pins: upstream.pins.clone(), chain, provider: Arc::clone(provider) }))
}

fn from_file(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, StreamError> {
    let failed =
        |what: &dyn Display| StreamError::new(StreamFault::Trust, format!("{} {what}", path.display()));
    let roots = config::trusted_certificates(path).map_err(|error| failed(&error))?;
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(built.map_err(|error| failed(&error))?)
}

/// The fault behind an error of a handshake.
pub(super) fn fault_of(error: &std::io::Error) -> StreamError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let fault = match tls {
        Some(Error::InvalidCertificate(reason)) => {
            if let CertificateError::Other(OtherError(other)) = reason
                && let Some(distrust) = other.downcast_ref::<Distrust>()
            {
                return StreamError::new(distrust.fault(), distrust);
            }
            StreamFault::Certificate
        }
        Some(Error::NoApplicationProtocol | Error::AlertReceived(NO_PROTOCOL)) => StreamFault::Alpn,
        _ => StreamFault::Tls,
    };
    StreamError::new(fault, error)
}

const NO_PROTOCOL: rustls::AlertDescription = rustls::AlertDescription::NoApplicationProtocol;

/// What is not accepted, with what an operator compares; all of it from outside.
#[derive(Debug, thiserror::Error)]
enum Distrust {
    /// None of the pinned keys.
    #[error("the server has the key {0}")]
    Key(Pin),
    /// Nobody who is trusted issued the certificate.
    #[error("issued by {0}, which is not trusted here")]
    Issuer(String),
}

impl Distrust {
    const fn fault(&self) -> StreamFault {
        match self {
            Self::Key(_) => StreamFault::Pin,
            Self::Issuer(_) => StreamFault::Certificate,
        }
    }
}

impl From<Distrust> for Error {
    fn from(distrust: Distrust) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
    }
}

/// Compares the server's own public key, then whatever else is asked for. Keys
/// of authorities cannot be pinned: anybody may send their certificate along.
#[derive(Debug)]
struct Proof {
    pins: Vec<Pin>,
    chain: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Proof {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unreadable = Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(end_entity).map_err(|_| unreadable)?;
        let key = Pin(digest(&SHA256, certificate.public_key().raw).as_ref().try_into().unwrap_or_default());
        if !self.pins.is_empty() && !self.pins.contains(&key) {
            return Err(Distrust::Key(key).into());
        }
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verified = chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Distrust::Issuer(certificate.issuer().to_string()).into()
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
