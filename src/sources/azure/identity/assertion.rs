//! Client assertions: JWTs (RFC 7519, RFC 7523) that a certificate's key has
//! signed, in the form that Entra asks for.
//! (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>)

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::SignatureScheme;
use serde_json::json;
use zeroize::Zeroizing;

use super::certificate::Certificate;

/// How long an assertion may be used, in seconds.
const LIFETIME: u64 = 600;

/// Signature schemes with their names in RFC 7518 and, for ECDSA, the bytes of
/// one number of the signature.
const SCHEMES: [(SignatureScheme, &str, usize); 3] = [
    // Probabilistic RSA is what Entra asks for; RS256 is its older form.
    (SignatureScheme::RSA_PSS_SHA256, "PS256", 0),
    (SignatureScheme::ECDSA_NISTP256_SHA256, "ES256", 32),
    (SignatureScheme::ECDSA_NISTP384_SHA384, "ES384", 48),
];

/// An assertion of `client_id` for `audience`, the token endpoint, at `now`.
///
/// # Errors
/// The key signs by no method that Entra takes.
pub(super) fn sign(
    certificate: &Certificate,
    client_id: &str,
    audience: &str,
    now: u64,
) -> Result<Zeroizing<String>, String> {
    let chosen = SCHEMES
        .iter()
        .find_map(|(scheme, name, width)| Some((certificate.key.choose_scheme(&[*scheme])?, *name, *width)));
    let (signer, name, width) = chosen.ok_or("the key signs neither PS256, ES256 nor ES384")?;
    let own = certificate.chain.first().ok_or("no certificate")?;
    let chain: Vec<String> = certificate.chain.iter().map(|der| STANDARD.encode(der)).collect();
    let header = json!({
        "alg": name,
        "typ": "JWT",
        "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, own)),
        // Entra needs the chain where it trusts by subject and issuer.
        "x5c": chain,
    });
    let claims = json!({
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": random_id()?,
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(LIFETIME),
    });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut assertion = Zeroizing::new(format!("{}.{}", encode(&header), encode(&claims)));
    let mut signature = signer.sign(assertion.as_bytes()).map_err(|_| "the key cannot sign".to_owned())?;
    if width > 0 {
        signature = fixed(&signature, width).ok_or("the signature has an unknown form")?;
    }
    assertion.push('.');
    assertion.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(assertion)
}

/// A random UUID (RFC 9562, version 4).
fn random_id() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "no randomness".to_owned())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// An ECDSA signature in the form of RFC 7518 section 3.4, two numbers of
/// `width` bytes, from that of TLS (RFC 3279 section 2.2.3): a DER sequence of
/// two integers.
fn fixed(der: &[u8], width: usize) -> Option<Vec<u8>> {
    let (0x30, rest) = (*der.first()?, der.get(1..)?) else { return None };
    // Up to P-384 every length fits into one byte.
    let mut rest = rest.get(1..)?;
    let mut numbers = Vec::with_capacity(2 * width);
    for _ in 0..2 {
        let (tag, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        let number = rest.get(2..2 + length)?;
        if tag != 0x02 {
            return None;
        }
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        numbers.resize(numbers.len() + width.checked_sub(number.len())?, 0);
        numbers.extend_from_slice(number);
        rest = rest.get(2 + length..)?;
    }
    rest.is_empty().then_some(numbers)
}
