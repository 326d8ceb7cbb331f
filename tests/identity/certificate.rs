//! Client certificates: every form of file, and the assertion that Entra gets.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hubdns::config::CredentialKind;
use hubdns::sources::azure::identity::IdentityError;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::stand_in::{CLIENT, Reply, StandIn, TENANT, file, identity};

const PASSWORD: &str = "contoso-password";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/identity").join(name)
}

/// The client assertion that the file `name` leads to.
async fn assertion(name: &str, password: Option<&str>) -> Result<(String, String), IdentityError> {
    let entra = StandIn::https(|_| Reply::token("the-token", 3599));
    let mut source = entra.source(&[CredentialKind::ClientCertificate]);
    source.identity.certificate_file = Some(data(name));
    let guard = password.map(|password| file(format!("{password}\n")));
    source.identity.certificate_password_file = guard.as_ref().map(|(_, path)| path.clone());
    let identity = identity(&source, &[]);
    identity.token().await?;
    let mut form = entra.seen().remove(0).fields();
    assert_eq!(form["client_id"], CLIENT);
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let audience = format!("https://{}/{TENANT}/oauth2/v2.0/token", entra.address);
    Ok((form.remove("client_assertion").unwrap(), audience))
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The bits of the certificate's public key: the last BIT STRING before the extensions.
fn public_key(der: &[u8], is_rsa: bool) -> Vec<u8> {
    let params = x509(der);
    if is_rsa { params.1 } else { params.0 }
}

/// The content of the subject's public key as EC point and as RSA key, found
/// by the identifiers that go before it.
fn x509(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let bits = |at: usize| -> Vec<u8> {
        // A BIT STRING: tag, length in one, two or three bytes, no unused bits.
        assert_eq!(der[at], 3);
        let (length, start) = match der[at + 1] {
            0x81 => (usize::from(der[at + 2]), at + 3),
            0x82 => (usize::from(der[at + 2]) << 8 | usize::from(der[at + 3]), at + 4),
            short => (usize::from(short), at + 2),
        };
        der[start + 1..start + length].to_vec()
    };
    let after = |oid: &[u8]| der.windows(oid.len()).position(|window| window == oid).map(|at| at + oid.len());
    let rsa = after(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0]).map(bits);
    let p256 = after(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]).map(bits);
    let p384 = after(&[0x2b, 0x81, 4, 0, 0x22]).map(bits);
    (p256.or(p384).unwrap_or_default(), rsa.unwrap_or_default())
}

/// File, password, algorithm, length of the chain, how its signature is verified.
type Case = (&'static str, Option<&'static str>, &'static str, usize, &'static dyn VerificationAlgorithm);

#[tokio::test]
async fn every_form_of_file_signs_an_assertion_that_its_certificate_verifies() {
    let rsa: &'static dyn VerificationAlgorithm = &RSA_PSS_2048_8192_SHA256;
    let cases: [Case; 8] = [
        ("rsa-pkcs8.pem", None, "PS256", 2, rsa),
        ("rsa-pkcs1.pem", None, "PS256", 1, rsa),
        ("rsa-encrypted.pem", Some(PASSWORD), "PS256", 1, rsa),
        ("rsa.pfx", Some(PASSWORD), "PS256", 2, rsa),
        ("rsa-legacy.pfx", Some(PASSWORD), "PS256", 2, rsa),
        ("rsa-no-password.pfx", None, "PS256", 1, rsa),
        ("ec-sec1.pem", None, "ES256", 1, &ECDSA_P256_SHA256_FIXED),
        ("ec384-pkcs8.pem", None, "ES384", 1, &ECDSA_P384_SHA384_FIXED),
    ];
    let pem = std::fs::read(data("rsa-pkcs1.pem")).unwrap();
    let own = CertificateDer::from_pem_slice(&pem).unwrap();
    for (name, password, algorithm, chain, verification) in cases {
        let (assertion, audience) = assertion(name, password).await.unwrap();
        let [header, claims, signature] =
            assertion.split('.').collect::<Vec<_>>().try_into().expect("three parts");
        let (shown, said) = (part(header), part(claims));
        assert_eq!((shown["alg"].as_str(), shown["typ"].as_str()), (Some(algorithm), Some("JWT")), "{name}");
        let x5c: Vec<Vec<u8>> = shown["x5c"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| STANDARD.decode(text.as_str().unwrap()).unwrap())
            .collect();
        assert_eq!(x5c.len(), chain, "{name}");
        if algorithm == "PS256" {
            assert_eq!(x5c[0], own.as_ref(), "{name}: the key's own certificate goes first");
        }
        assert_eq!(shown["x5t#S256"], URL_SAFE_NO_PAD.encode(Sha256::digest(&x5c[0])), "{name}");
        assert_eq!(said["aud"], audience, "{name}");
        assert_eq!((said["iss"].as_str(), said["sub"].as_str()), (Some(CLIENT), Some(CLIENT)));
        let (nbf, exp) = (said["nbf"].as_u64().unwrap(), said["exp"].as_u64().unwrap());
        assert_eq!(exp - nbf, 600, "{name}");
        assert_eq!(said["jti"].as_str().unwrap().len(), 36);
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = public_key(&x5c[0], algorithm == "PS256");
        let verified = UnparsedPublicKey::new(verification, key).verify(signed.as_bytes(), &signature);
        assert!(verified.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn an_assertion_is_used_once() {
    let first = assertion("ec-sec1.pem", None).await.unwrap().0;
    let second = assertion("ec-sec1.pem", None).await.unwrap().0;
    let id = |text: &str| part(text.split('.').nth(1).unwrap())["jti"].clone();
    assert_ne!(id(&first), id(&second));
}

#[tokio::test]
async fn files_that_cannot_be_used_say_why_and_nothing_more() {
    let cases = [
        ("rsa-encrypted.pem", None, "certificate_password_file is not set"),
        ("rsa-encrypted.pem", Some("wrong-password"), "cannot be decrypted"),
        ("rsa.pfx", Some("wrong-password"), "neither PEM nor a PFX file that this password opens"),
        ("rsa.pfx", None, "neither PEM nor a PFX file that this password opens"),
        ("key-of-other.pem", None, "no certificate in the file belongs to the key"),
        ("README.md", None, "neither PEM nor a PFX file"),
    ];
    for (name, password, expected) in cases {
        let error = assertion(name, password).await.unwrap_err();
        assert!(matches!(error, IdentityError::Refused { .. }), "{name}: {error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(expected), "{name}: {said}");
        assert!(!said.contains("wrong-password"), "{said}");
    }
    let error = assertion("no-such-file.pem", None).await.unwrap_err();
    assert!(matches!(error, IdentityError::NoCredential { .. }), "{error}");
}

#[tokio::test]
async fn the_environment_names_file_and_password() {
    let entra = StandIn::https(|_| Reply::token("the-token", 3599));
    let source = entra.source(&[CredentialKind::ClientCertificate]);
    let path = data("rsa.pfx");
    let variables = [
        ("AZURE_CLIENT_CERTIFICATE_PATH", path.to_str().unwrap()),
        ("AZURE_CLIENT_CERTIFICATE_PASSWORD", PASSWORD),
    ];
    identity(&source, &variables).token().await.unwrap();
    assert_eq!(entra.seen().len(), 1);
}
