//! EDNS options of responses: the keys, and what is made of them.

use std::fmt;
use std::path::PathBuf;

use zeroize::ZeroizeOnDrop;

use super::schema::table;

/// EDNS options of responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The identifier that clients get who ask for it (RFC 5001); empty for none.
    pub nsid: String,
    /// What cookies are good for.
    pub cookies: CookieMode,
    /// The secrets of server cookies; none for a random one.
    pub cookie_secrets: Option<CookieSecrets>,
}

/// What cookies are good for (RFC 7873).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieMode {
    /// Nothing: they are ignored as unknown options are.
    Off,
    /// Clients who send one get one; nobody is answered otherwise for it.
    #[default]
    Answer,
    /// Over UDP a client is answered only with a good server cookie.
    Require,
}

/// The secrets of server cookies (RFC 9018 section 5), wiped when dropped.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct CookieSecrets {
    /// Makes cookies.
    pub current: [u8; 16],
    /// Made them before; they stay good until they are too old.
    pub previous: Option<[u8; 16]>,
}

impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecrets(hidden)")
    }
}

table! {
    /// EDNS options of responses.
    struct EdnsTable {
        /// Identifier of this server for clients who ask for it (RFC 5001), such as "ams-1"; at
        /// most 64 bytes. Empty for none.
        nsid: String = "";
        /// Cookies (RFC 7873): `answer` gives a server cookie to clients who send one, `require`
        /// answers queries over UDP only with a good one (BADCOOKIE to a client cookie alone, TC to
        /// none), `off` ignores them.
        cookies: CookieMode = "answer";
        /// File with the secret of server cookies (RFC 9018), 32 hexadecimal digits, the same on
        /// all servers behind one address; the secret before it may stand on a second line and
        /// stays good. Read again by a reload. Empty for a random secret at each start.
        cookie_secret_file: PathBuf = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let secrets = CookieSecrets { current: [0xab; 16], previous: Some([0xcd; 16]) };
        let edns = Edns { cookie_secrets: Some(secrets), ..Edns::default() };
        let shown = format!("{edns:?}").to_ascii_lowercase();
        assert!(shown.contains("hidden") && !shown.contains("ab, ab") && !shown.contains("171"), "{shown}");
    }
}
