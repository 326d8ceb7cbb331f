//! What an access token says about itself (RFC 7519), for people: nothing
//! rests on it, so its signature is not checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// Claims of a token for Azure Resource Manager. All text comes from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The tenant.
    pub tenant: Option<String>,
    /// The application's (client) id.
    pub application_id: Option<String>,
    /// The object id of the principal: what role assignments name.
    pub object_id: Option<String>,
    /// The application's or user's name.
    pub name: Option<String>,
    /// The resource id of a managed identity.
    pub managed_identity: Option<String>,
    /// The audience.
    pub audience: Option<String>,
    /// The end, Unix seconds.
    pub expires_at: Option<u64>,
}

impl Claims {
    /// Those of `token`; `None` for one that is no JWT.
    pub(super) fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        // Claim by claim: one of an unexpected type must not hide the rest.
        let value: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        let claims = value.as_object()?;
        let text =
            |names: &[&str]| names.iter().find_map(|name| claims.get(*name)?.as_str()).map(str::to_owned);
        Some(Self {
            tenant: text(&["tid"]),
            application_id: text(&["appid", "azp"]),
            object_id: text(&["oid"]),
            name: text(&["app_displayname", "upn", "unique_name"]),
            managed_identity: text(&["xms_mirid"]),
            audience: text(&["aud"]),
            expires_at: claims.get("exp").and_then(serde_json::Value::as_u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn claims_are_read_one_by_one() {
        let token = jwt(r#"{"tid":"t","appid":"a","oid":"o","aud":["x"],"exp":1893456000,"iss":"i"}"#);
        let claims = Claims::of(&token).unwrap();
        assert_eq!(claims.tenant.as_deref(), Some("t"));
        assert_eq!(claims.application_id.as_deref(), Some("a"));
        assert_eq!(claims.object_id.as_deref(), Some("o"));
        assert_eq!(claims.audience, None);
        assert_eq!(claims.expires_at, Some(1_893_456_000));
        assert_eq!(Claims::of(&jwt(r#"{"azp":"z"}"#)).unwrap().application_id.as_deref(), Some("z"));
    }

    #[test]
    fn opaque_tokens_have_none() {
        for token in ["not-a-real-token", "", "a.b.c", "a.e30", "..", "a.bnVsbA.c"] {
            assert_eq!(Claims::of(token), None, "{token}");
        }
    }
}
