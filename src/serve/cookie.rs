//! Server cookies that all servers with one secret make and check alike (RFC
//! 9018): version, time and a SipHash-2-4 over them, the client cookie and the
//! client's address. Nothing is kept per client.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::LazyLock;

use siphasher::sip::SipHasher24;

use crate::config::{self, CookieMode, CookieSecrets};
use crate::metrics::queries::CookieResult;
use crate::wire::options::Cookie;

/// The length of a server cookie (RFC 9018 section 4).
pub(super) const SERVER_COOKIE_LEN: usize = 16;
/// The version of these cookies.
const VERSION: u8 = 1;
/// How old a cookie may be, and how far from the future, in seconds (section 4.3).
const MAX_AGE: i32 = 3600;
const MAX_AHEAD: i32 = 300;

/// The secret of a server that none was given to, the same as long as it runs.
static RANDOM: LazyLock<CookieSecrets> =
    LazyLock::new(|| CookieSecrets { current: rand::random(), previous: None });

/// Makes and checks server cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    mode: CookieMode,
    secrets: CookieSecrets,
}

impl Cookies {
    /// What `edns` configures.
    pub fn new(edns: &config::Edns) -> Self {
        let secrets = edns.cookie_secrets.clone().unwrap_or_else(|| RANDOM.clone());
        Self { mode: edns.cookies, secrets }
    }

    /// Whether there are any.
    pub(super) fn is_on(&self) -> bool {
        self.mode != CookieMode::Off
    }

    /// Whether a client is answered over UDP only with a good one.
    pub(super) fn is_required(&self) -> bool {
        self.mode == CookieMode::Require
    }

    /// What the cookie of `client` is worth at `now`, Unix seconds that may wrap.
    pub(super) fn check(&self, cookie: &Cookie, client: IpAddr, now: u32) -> CookieResult {
        if cookie.server().is_empty() {
            return CookieResult::Missing;
        }
        let Ok([VERSION, r0, r1, r2, t0, t1, t2, t3, sent @ ..]) =
            <[u8; SERVER_COOKIE_LEN]>::try_from(cookie.server())
        else {
            return CookieResult::Bad;
        };
        let opening = [VERSION, r0, r1, r2, t0, t1, t2, t3];
        // Serial number arithmetic (RFC 1982): it holds beyond 2106.
        let age = now.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3])).cast_signed();
        if !(-MAX_AHEAD..=MAX_AGE).contains(&age) {
            return CookieResult::Bad;
        }
        let secrets = [Some(&self.secrets.current), self.secrets.previous.as_ref()];
        // Compared as one number, in a time that tells nothing of where they differ.
        let sent = u64::from_le_bytes(sent);
        let is_ours = |secret| hash(secret, cookie.client, opening, client) == sent;
        if secrets.into_iter().flatten().any(is_ours) { CookieResult::Valid } else { CookieResult::Bad }
    }

    /// A server cookie for `client`, made at `now`.
    pub(super) fn make(&self, cookie: &Cookie, client: IpAddr, now: u32) -> [u8; SERVER_COOKIE_LEN] {
        let [t0, t1, t2, t3] = now.to_be_bytes();
        let opening = [VERSION, 0, 0, 0, t0, t1, t2, t3];
        let hash = hash(&self.secrets.current, cookie.client, opening, client).to_le_bytes();
        let mut made = [0; SERVER_COOKIE_LEN];
        for (place, byte) in made.iter_mut().zip(opening.into_iter().chain(hash)) {
            *place = byte;
        }
        made
    }
}

/// The hash that ends a cookie (section 4.4).
fn hash(secret: &[u8; 16], client_cookie: [u8; 8], opening: [u8; 8], client: IpAddr) -> u64 {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&client_cookie);
    hasher.write(&opening);
    match client.to_canonical() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Edns;
    use crate::wire::options::Asked;

    fn hex<const N: usize>(digits: &str) -> [u8; N] {
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(byte)
    }

    /// A client's cookie, as an option is read.
    fn cookie(client: &str, server: &str) -> Cookie {
        let server = if server.is_empty() { Vec::new() } else { hex::<16>(server).to_vec() };
        let data = [&hex::<8>(client)[..], &server].concat();
        let option = [&[0, 10, 0, data.len() as u8][..], &data].concat();
        let opt = [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, option.len() as u8][..], &option].concat();
        let (edns, _) = Edns::parse(&opt, 1).unwrap();
        Asked::read(edns.options(&opt)).unwrap().cookie.unwrap()
    }

    fn cookies(current: &str, previous: Option<&str>) -> Cookies {
        let secrets = CookieSecrets { current: hex(current), previous: previous.map(hex) };
        Cookies { mode: CookieMode::Answer, secrets }
    }

    const OLD: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const CLIENT: &str = "2464c4abcf10c957";

    /// The examples of RFC 9018, appendix A: secret, client, address, cookie.
    const EXAMPLES: [[&str; 4]; 6] = [
        [OLD, CLIENT, "198.51.100.100", "010000005cf79f111f8130c3eee29480"],
        [OLD, CLIENT, "198.51.100.100", "010000005cf7a871d4a564a1442aca77"],
        [OLD, "fc93fc62807ddb86", "203.0.113.203", "01abcdef5cf78f71a314227b6679ebf5"],
        [OLD, "fc93fc62807ddb86", "203.0.113.203", "010000005cf7a9acf73a7810aca2381e"],
        [
            "dd3bdf9344b678b185a6f5cb60fca715",
            "22681ab97d52c298",
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            "010000005cf7c57926556bd0934c72f8",
        ],
        [
            "445536bcd2513298075a5d379663c962",
            "22681ab97d52c298",
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            "010000005cf7c609a6bb79d16625507a",
        ],
    ];

    fn time(server: &str) -> u32 {
        u32::from_str_radix(&server[8..16], 16).unwrap()
    }

    #[test]
    fn rfc9018_a_the_examples_are_made_and_taken() {
        for [secret, client, address, server] in EXAMPLES {
            let (cookies, address) = (cookies(secret, None), address.parse().unwrap());
            let sent = cookie(client, server);
            assert_eq!(cookies.check(&sent, address, time(server)), CookieResult::Valid, "{server}");
            if server.starts_with("01000000") {
                assert_eq!(cookies.make(&sent, address, time(server)), hex(server), "{server}");
            }
        }
    }

    #[test]
    fn rfc9018_4_3_cookies_are_good_for_an_hour_of_one_client() {
        let [secret, client, address, server] = EXAMPLES[0];
        let cookies = cookies(secret, None);
        let (sent, made, address) = (cookie(client, server), time(server), address.parse().unwrap());
        for (seconds, expected) in [
            (0, CookieResult::Valid),
            (3600, CookieResult::Valid),
            (3601, CookieResult::Bad),
            (-300, CookieResult::Valid),
            (-301, CookieResult::Bad),
            (i32::MIN, CookieResult::Bad),
        ] {
            assert_eq!(
                cookies.check(&sent, address, made.wrapping_add_signed(seconds)),
                expected,
                "{seconds}"
            );
        }
        let elsewhere = "198.51.100.101".parse().unwrap();
        assert_eq!(cookies.check(&sent, elsewhere, made), CookieResult::Bad);
        let mapped = "::ffff:198.51.100.100".parse().unwrap();
        assert_eq!(cookies.check(&sent, mapped, made), CookieResult::Valid);
        assert_eq!(cookies.check(&cookie("2464c4abcf10c958", server), address, made), CookieResult::Bad);
        assert_eq!(cookies.check(&cookie(client, ""), address, made), CookieResult::Missing);
        assert_eq!(
            cookies.check(&cookie(client, &server.replace("01000000", "02000000")), address, made),
            CookieResult::Bad
        );
    }

    #[test]
    fn rfc9018_5_the_secret_before_stays_good() {
        let [old, client, address, server] = EXAMPLES[4];
        let new = EXAMPLES[5][0];
        let (sent, made, address) = (cookie(client, server), time(server), address.parse().unwrap());
        assert_eq!(cookies(new, None).check(&sent, address, made), CookieResult::Bad);
        assert_eq!(cookies(new, Some(old)).check(&sent, address, made), CookieResult::Valid);
        let renewed = cookies(new, Some(old)).make(&sent, address, time(EXAMPLES[5][3]));
        assert_eq!(renewed, hex(EXAMPLES[5][3]));
    }

    #[test]
    fn servers_without_a_secret_make_one_that_lasts() {
        let edns = config::Edns::default();
        assert_eq!(Cookies::new(&edns), Cookies::new(&edns));
        assert_ne!(RANDOM.current, [0; 16]);
        assert!(!format!("{:?}", Cookies::new(&edns)).contains(&format!("{:?}", RANDOM.current)));
    }
}
