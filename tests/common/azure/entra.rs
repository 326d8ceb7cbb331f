//! Entra: tokens for the client that has a secret or an assertion, and the
//! discovery documents.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::respond::Reply;
use super::{AUDIENCE, CLIENT, FIXED_TOKEN, SECRET, TENANT};

/// The tokens that Resource Manager accepts.
pub struct Tokens(Mutex<Issued>);

struct Issued {
    count: u64,
    lifetime: u64,
    good: BTreeSet<String>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self(Mutex::new(Issued { count: 0, lifetime: 3599, good: BTreeSet::from([FIXED_TOKEN.to_owned()]) }))
    }
}

impl Tokens {
    pub fn lifetime(&self, seconds: u64) {
        self.0.lock().expect("no panic").lifetime = seconds;
    }

    pub fn revoke(&self) {
        self.0.lock().expect("no panic").good.clear();
    }

    pub fn accept(&self, token: &str) {
        self.0.lock().expect("no panic").good.insert(token.to_owned());
    }

    pub fn accepts(&self, token: &str) -> bool {
        self.0.lock().expect("no panic").good.contains(token)
    }

    /// A new token: three parts as a JWT has them, so that its claims can be shown.
    fn issue(&self) -> (String, u64) {
        let mut issued = self.0.lock().expect("no panic");
        issued.count += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = json!({
            "aud": AUDIENCE, "tid": TENANT, "appid": CLIENT, "oid": "44444444-4444-4444-4444-444444444444",
            "iat": now, "exp": now + issued.lifetime, "jti": issued.count,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.c2lnbmF0dXJl", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims));
        issued.good.insert(token.clone());
        (token, issued.lifetime)
    }
}

/// `POST /{tenant}/oauth2/v2.0/token`.
pub fn token(tokens: &Tokens, tenant: &str, body: &[u8]) -> Reply {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if tenant != TENANT {
        return refused(400, "invalid_request", 90002, "Tenant was not found.");
    }
    if field("grant_type") != "client_credentials" {
        return refused(400, "unsupported_grant_type", 70003, "The grant type is not supported.");
    }
    if field("scope") != format!("{AUDIENCE}/.default") {
        return refused(400, "invalid_scope", 70011, "The scope is not valid.");
    }
    if field("client_id") != CLIENT {
        return refused(400, "unauthorized_client", 700_016, "The application was not found.");
    }
    let asserted = field("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        && !field("client_assertion").is_empty();
    if !asserted && field("client_secret") != SECRET {
        return refused(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
    }
    let (token, lifetime) = tokens.issue();
    let body = json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token,
    });
    Reply::json(200, body)
}

/// An error as Entra words it.
pub fn refused(status: u16, error: &str, code: u32, text: &str) -> Reply {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{code}: {text}"),
        "error_codes": [code],
        "correlation_id": "55555555-5555-5555-5555-555555555555",
    });
    Reply::json(status, body)
}

/// The discovery documents, for libraries that ask for them.
pub fn discovery(path: &str, host: &str) -> Reply {
    let base = format!("https://{host}");
    if path.ends_with("/.well-known/openid-configuration") {
        return Reply::json(
            200,
            json!({
                "token_endpoint": format!("{base}/{TENANT}/oauth2/v2.0/token"),
                "issuer": format!("{base}/{TENANT}/v2.0"),
                "authorization_endpoint": format!("{base}/{TENANT}/oauth2/v2.0/authorize"),
                "jwks_uri": format!("{base}/{TENANT}/discovery/v2.0/keys"),
            }),
        );
    }
    Reply::json(
        200,
        json!({
            "tenant_discovery_endpoint": format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }),
    )
}
