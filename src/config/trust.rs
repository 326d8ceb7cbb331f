//! Files of certificates that are trusted instead of the system's.
//!
//! The validation of the configuration and whoever opens connections read them
//! by the same code: what the one lets pass serves the other.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Longest file that is read, bytes: some thirty times what systems ship.
const MAX_BYTES: u64 = 8 << 20;

/// What is wrong with a file, as the end of a sentence that begins with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The system refuses it.
    #[error("cannot be read ({0})")]
    Read(io::ErrorKind),
    /// A directory, a pipe, a device.
    #[error("is no regular file")]
    NoFile,
    /// It cannot be meant.
    #[error("has more than {MAX_BYTES} bytes")]
    TooLong,
    /// It holds nothing of the kind.
    #[error("has no certificate in it")]
    Empty,
    /// Something in it looks like a certificate and is none.
    #[error("has a certificate in it that cannot be read ({0})")]
    Malformed(String),
}

/// Reads the certificates in the PEM file at `path`: at least one, all of them good.
pub fn trusted_certificates(path: &Path) -> Result<RootCertStore, TrustError> {
    let unreadable = |error: io::Error| TrustError::Read(error.kind());
    // Looked at before it is opened: a pipe that nobody writes to would keep the reader.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(TrustError::NoFile);
    }
    let mut pem = Vec::new();
    File::open(path).map_err(unreadable)?.take(MAX_BYTES + 1).read_to_end(&mut pem).map_err(unreadable)?;
    if pem.len() as u64 > MAX_BYTES {
        return Err(TrustError::TooLong);
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| TrustError::Malformed(error.to_string()))?;
        roots.add(certificate).map_err(|error| TrustError::Malformed(error.to_string()))?;
    }
    if roots.is_empty() { Err(TrustError::Empty) } else { Ok(roots) }
}
