//! The certificate of a listener: read from files, taken into use whole or not
//! at all, read again when they change.
//!
//! What is in use is one [`ServerConfig`], replaced as a whole: a handshake
//! takes the one of its moment, connections that stand go on. Files that cannot
//! be read, or do not fit each other, leave what is in use as it is; that is
//! told (log, metric, finding) until they do.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::digest::{Context as Digester, SHA256};
use rustls::crypto::ring::{Ticketer, default_provider, sign::any_supported_type};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::{ClientCertificates, Encrypted, EncryptedTransport, trusted_certificates};
use crate::events::{outside, unix_now};
use crate::metrics::listeners::ListenerMetrics;

/// Longest file of a certificate or key, in bytes: chains take some thousand.
const MAX_BYTES: u64 = 1 << 20;
/// Certificates in a chain.
const MAX_CHAIN: usize = 16;

/// Why files are not taken into use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The system refuses a file.
    #[error("{} cannot be read ({kind})", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// A file holds nothing of the kind, or too much.
    #[error("{} {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The key is not that of the certificate.
    #[error("{} is not the key of {}", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        certificate: PathBuf,
    },
    /// TLS refuses them together.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// What is in use.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    not_after: u64,
    /// Of the authorities of clients: tickets are good as long as these stay.
    clients: [u8; 32],
    tickets: Arc<dyn ProducesTickets>,
}

/// The certificate of one listener.
#[derive(Debug)]
pub(super) struct Store {
    settings: Encrypted,
    metrics: Arc<ListenerMetrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    loaded: Loaded,
    /// The files as they were looked at last; `None` where one could not be read.
    seen: Option<[u8; 32]>,
    problem: Option<CertificateError>,
}

/// How the certificate of one listener fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// The listener.
    pub address: SocketAddr,
    /// Its file.
    pub file: PathBuf,
    /// Until when what is in use is good, Unix seconds.
    pub not_after: u64,
    /// Whether that is near, or past.
    pub life: Life,
    /// Why the files as they are now are not in use; `None` if they are.
    pub problem: Option<String>,
}

/// How long a certificate still is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Long enough.
    Good,
    /// Not much longer, as the configuration has it.
    Ending,
    /// No longer.
    Over,
}

impl Store {
    /// Reads the files for the first time.
    pub(super) fn open(
        settings: &Encrypted,
        metrics: Arc<ListenerMetrics>,
    ) -> Result<Self, CertificateError> {
        let files = Files::read(settings)?;
        let loaded = files.load(settings, None)?;
        metrics.certificate(loaded.not_after);
        let state = State { loaded, seen: Some(files.digest()), problem: None };
        Ok(Self { settings: settings.clone(), metrics, state: Mutex::new(state) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a handshake that begins now uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.lock().loaded.config)
    }

    /// The files, for whoever watches them.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let Encrypted { certificate_file, key_file, client_ca_file, .. } = &self.settings;
        [certificate_file, key_file].into_iter().chain(client_ca_file).map(PathBuf::as_path)
    }

    /// Looks at the files, and takes them into use if they have changed. Reads
    /// files: not for a runtime's thread.
    pub(super) fn look(&self, listener: SocketAddr) {
        let files = Files::read(&self.settings);
        let digest = files.as_ref().ok().map(Files::digest);
        let (clients, tickets) = {
            let state = self.lock();
            if digest.is_some() && digest == state.seen {
                return;
            }
            (state.loaded.clients, Arc::clone(&state.loaded.tickets))
        };
        // Outside the lock: handshakes go on meanwhile.
        let loaded = files.and_then(|files| files.load(&self.settings, Some((clients, tickets))));
        let mut state = self.lock();
        state.seen = digest;
        match loaded {
            Ok(loaded) => {
                tracing::info!(%listener, not_after = loaded.not_after, "certificate loaded");
                self.metrics.certificate(loaded.not_after);
                state.loaded = loaded;
                state.problem = None;
            }
            Err(error) => {
                if state.problem.as_ref() != Some(&error) {
                    let text = error.to_string();
                    tracing::warn!(%listener, error = %outside(&text), "certificate refused, the one before stays");
                    self.metrics.certificate_refused();
                }
                state.problem = Some(error);
            }
        }
    }

    /// How it fares.
    pub(super) fn state(&self, address: SocketAddr) -> CertificateState {
        let state = self.lock();
        let (not_after, now) = (state.loaded.not_after, unix_now());
        let life = match not_after.saturating_sub(now) {
            0 => Life::Over,
            left if Duration::from_secs(left) <= self.settings.warning => Life::Ending,
            _ => Life::Good,
        };
        CertificateState {
            address,
            file: self.settings.certificate_file.clone(),
            not_after,
            life,
            problem: state.problem.as_ref().map(ToString::to_string),
        }
    }
}

/// What is wrong with the files of `settings` now; for who checks a configuration.
pub(super) fn check(settings: &Encrypted) -> Result<(), CertificateError> {
    Files::read(settings).and_then(|files| files.load(settings, None)).map(drop)
}

/// The files' contents.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    clients: Vec<u8>,
}

impl Files {
    fn read(settings: &Encrypted) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: read(&settings.certificate_file)?,
            key: Zeroizing::new(read(&settings.key_file)?),
            clients: settings.client_ca_file.as_deref().map_or(Ok(Vec::new()), read)?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        digest(&[&self.certificate, &self.key, &self.clients])
    }

    /// Makes of them what a handshake needs. `before` are the authorities of
    /// clients and the tickets in use: with the same authorities sessions go on.
    fn load(
        &self,
        settings: &Encrypted,
        before: Option<([u8; 32], Arc<dyn ProducesTickets>)>,
    ) -> Result<Loaded, CertificateError> {
        let tls = |error: &dyn std::fmt::Display| CertificateError::Tls(error.to_string());
        let provider = Arc::new(default_provider());
        let chain = chain(&settings.certificate_file, &self.certificate)?;
        let not_after = not_after(&settings.certificate_file, chain.first())?;
        let key = self.certified(settings, chain)?;
        let versions: &[_] = match settings.transport {
            EncryptedTransport::Quic => &[&rustls::version::TLS13],
            _ => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| tls(&error))?;
        let builder = match &settings.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match settings.clients {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| tls(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        let clients = digest(&[&self.clients]);
        let tickets = match before {
            Some((same, tickets)) if same == clients => tickets,
            _ => Ticketer::new().map_err(|error| tls(&error))?,
        };
        config.ticketer = Arc::clone(&tickets);
        // Tickets hold the sessions, so nothing grows here with the clients.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Early data stays off: it can be replayed (RFC 8446 section 8).
        config.alpn_protocols = match settings.transport {
            EncryptedTransport::Tls => vec![b"dot".to_vec()],
            EncryptedTransport::Https => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            EncryptedTransport::Quic => vec![b"doq".to_vec()],
        };
        Ok(Loaded { config: Arc::new(config), not_after, clients, tickets })
    }

    /// The key, which must be that of the chain's first certificate.
    fn certified(
        &self,
        settings: &Encrypted,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<CertifiedKey, CertificateError> {
        let content = |what: String| CertificateError::Content { path: settings.key_file.clone(), what };
        let mut der = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| content(format!("has no private key in it ({error})")))?;
        let signing = any_supported_type(&der);
        der.zeroize();
        let signing =
            signing.map_err(|_| content("has a private key of no kind that can be used".to_owned()))?;
        let key = CertifiedKey::new(chain, signing);
        key.keys_match().map_err(|_| CertificateError::Mismatch {
            key: settings.key_file.clone(),
            certificate: settings.certificate_file.clone(),
        })?;
        Ok(key)
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digester = Digester::new(&SHA256);
    for part in parts {
        digester.update(&(part.len() as u64).to_be_bytes());
        digester.update(part);
    }
    digester.finish().as_ref().try_into().unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |error: io::Error| CertificateError::Read { path: path.to_owned(), kind: error.kind() };
    let content = |what: &str| CertificateError::Content { path: path.to_owned(), what: what.to_owned() };
    // Looked at before it is opened: a pipe that nobody writes to would keep the reader.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(content("is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        bytes.zeroize();
        return Err(content("is too long"));
    }
    Ok(bytes)
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let content = |what: String| CertificateError::Content { path: path.to_owned(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MAX_CHAIN + 1).collect();
    let chain = chain.map_err(|error| content(format!("cannot be read as PEM ({error})")))?;
    if chain.is_empty() {
        return Err(content("has no certificate in it".to_owned()));
    }
    if chain.len() > MAX_CHAIN {
        return Err(content(format!("has more than {MAX_CHAIN} certificates in it")));
    }
    Ok(chain)
}

/// When the certificate ends, Unix seconds.
fn not_after(path: &Path, certificate: Option<&CertificateDer<'_>>) -> Result<u64, CertificateError> {
    let parsed = certificate.and_then(|der| X509Certificate::from_der(der).ok());
    let parsed = parsed.ok_or_else(|| CertificateError::Content {
        path: path.to_owned(),
        what: "has a certificate in it that cannot be read".to_owned(),
    })?;
    Ok(u64::try_from(parsed.1.validity().not_after.timestamp()).unwrap_or(0))
}

fn authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    trusted_certificates(path)
        .map_err(|error| CertificateError::Content { path: path.to_owned(), what: error.to_string() })
}
