//! Client certificates with their keys, from PEM and PFX files, without
//! OpenSSL: that is why `azure_identity`'s own certificate credential is not
//! used.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::Pkcs12Archive;
use rustls::sign::SigningKey;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

/// Longest chain of certificates.
const MAX_CHAIN: usize = 10;

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// A certificate with its key. `Debug` hides the key.
pub(super) struct Certificate {
    /// The certificate itself, then those above it, DER.
    pub(super) chain: Vec<Vec<u8>>,
    /// Signs by its key.
    pub(super) key: Arc<dyn SigningKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads the content of a PEM or PFX file; which of the two it is shows itself.
    ///
    /// # Errors
    /// The text says what is wrong; it holds nothing of the content.
    pub(super) fn parse(content: &[u8], password: &str) -> Result<Self, String> {
        let (chain, key) = if content.windows(11).any(|window| window == b"-----BEGIN ") {
            of_pem(content, password)?
        } else {
            of_pfx(content, password)?
        };
        let signing = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|_| "the key is neither RSA (2048 to 4096 bits) nor ECDSA (P-256, P-384)".to_owned())?;
        let chain = in_order(chain, signing.as_ref())?;
        Ok(Self { chain, key: signing })
    }
}

type Parts = (Vec<Vec<u8>>, PrivateKeyDer<'static>);

/// PEM (RFC 7468): certificates and one key, in any order.
fn of_pem(content: &[u8], password: &str) -> Result<Parts, String> {
    let mut chain = Vec::new();
    let mut key = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(content) {
        let (kind, mut der) = section.map_err(|_| "the PEM text is damaged".to_owned())?;
        if kind == SectionKind::Certificate {
            chain.push(der);
        } else if matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        ) && key.is_none()
        {
            key = PrivateKeyDer::from_pem(kind, der);
        } else {
            der.zeroize();
        }
    }
    let key = match key {
        Some(key) => key,
        None => encrypted(content, password)?,
    };
    Ok((chain, key))
}

/// A key that is encrypted as PKCS #8 has it (RFC 5958 section 3).
fn encrypted(content: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8_lossy(content);
    let inside = text.split_once(ENCRYPTED_BEGIN).and_then(|(_, rest)| rest.split_once(ENCRYPTED_END));
    let Some((inside, _)) = inside else {
        return Err("the file holds no private key".to_owned());
    };
    if password.is_empty() {
        return Err("the key is encrypted and certificate_password_file is not set".to_owned());
    }
    let inside: String = inside.split_whitespace().collect();
    let der = STANDARD.decode(inside).map_err(|_| "the PEM text is damaged".to_owned())?;
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice())
        .map_err(|_| "the encrypted key is damaged".to_owned())?;
    let plain = info.decrypt(password).map_err(|_| {
        "the key cannot be decrypted: a wrong password, or a method other than PBES2".to_owned()
    })?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec())))
}

/// PFX (PKCS #12, RFC 7292). Matching of key and certificate is by content, so
/// the archive is taken as it is.
fn of_pfx(content: &[u8], password: &str) -> Result<Parts, String> {
    let archive = Pkcs12Archive::from_pkcs12(content, password).map_err(|_| {
        "neither PEM nor a PFX file that this password opens (certificate_password_file)".to_owned()
    })?;
    let key = archive.keys.first().ok_or("the PFX file holds no private key")?;
    let key = Zeroizing::new(key.key.as_der().to_vec());
    let chain = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()))))
}

/// The key's own certificate first. It is known by the public key, which lies
/// in it byte by byte (RFC 5280 section 4.1.2.7).
fn in_order(mut chain: Vec<Vec<u8>>, key: &dyn SigningKey) -> Result<Vec<Vec<u8>>, String> {
    let public = key.public_key().ok_or("the key has no public part")?;
    let own = chain
        .iter()
        .position(|certificate| certificate.windows(public.len()).any(|window| window == public.as_ref()))
        .ok_or("no certificate in the file belongs to the key")?;
    let own = chain.remove(own);
    chain.insert(0, own);
    chain.truncate(MAX_CHAIN);
    Ok(chain)
}
