//! EDNS options that hubdns answers: what a client's OPT asks for, and how
//! options join a response that is written already. Those that depend on the
//! transport are in [`tail`](super::tail).
//!
//! Others are ignored and never echoed (RFC 6891 section 6.1.2).

use super::edns::Options;
use super::header::{self, HEADER_LEN};
use super::message::{skip_name, skip_record};
use super::types::Rtype;
use super::{read_u16, read_u32, write_u16};

/// Option code of the name server's identifier (RFC 5001).
pub const OPTION_NSID: u16 = 3;
/// Option code of cookies (RFC 7873).
pub const OPTION_COOKIE: u16 = 10;

/// The length of a client cookie (RFC 7873 section 4).
pub const CLIENT_COOKIE_LEN: usize = 8;
/// The lengths that a server cookie may have.
const SERVER_COOKIE_LENS: std::ops::RangeInclusive<usize> = 8..=32;

/// What a client's options ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The server's identifier. What the option holds is ignored (RFC 5001 section 2.1).
    pub nsid: bool,
    /// The client's cookie, the server's with it if it has one.
    pub cookie: Option<Cookie>,
}

/// A client's COOKIE option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The client cookie.
    pub client: [u8; CLIENT_COOKIE_LEN],
    server: [u8; 32],
    server_len: u8,
}

impl Cookie {
    /// The cookies in `data`; `None` for a length that none has (RFC 7873 section 5.2.2).
    fn read(data: &[u8]) -> Option<Self> {
        let (client, rest) = data.split_first_chunk::<CLIENT_COOKIE_LEN>()?;
        if !rest.is_empty() && !SERVER_COOKIE_LENS.contains(&rest.len()) {
            return None;
        }
        let mut server = [0; 32];
        server.get_mut(..rest.len())?.copy_from_slice(rest);
        Some(Self { client: *client, server, server_len: rest.len() as u8 })
    }

    /// The server cookie, empty where the client has none.
    pub fn server(&self) -> &[u8] {
        self.server.get(..usize::from(self.server_len)).unwrap_or_default()
    }
}

impl Asked {
    /// Reads a client's options. Of several cookies the first counts (RFC 7873
    /// section 4). `None` for a cookie of impossible length, which is FORMERR.
    pub fn read(options: Options<'_>) -> Option<Self> {
        let mut asked = Self::default();
        for (code, data) in options {
            match code {
                OPTION_NSID => asked.nsid = true,
                OPTION_COOKIE if asked.cookie.is_none() => asked.cookie = Some(Cookie::read(data)?),
                _ => {}
            }
        }
        Some(asked)
    }
}

/// Appends `options`, in wire form, to the OPT at the end of the response that
/// the first `len` bytes of `buf` are. Returns the length with them: as it was
/// where there is no OPT, or no room in `buf` or up to `limit`.
pub fn append(buf: &mut [u8], len: usize, limit: usize, options: &[u8]) -> usize {
    let end = len + options.len();
    let Some(opt) = buf.get(..len).and_then(last_opt).filter(|_| end <= limit) else { return len };
    let before = usize::from(read_u16(buf, opt + 9).unwrap_or_default());
    let (Ok(now), Some(place)) = (u16::try_from(before + options.len()), buf.get_mut(len..end)) else {
        return len;
    };
    place.copy_from_slice(options);
    write_u16(buf, opt + 9, now);
    end
}

/// Where the OPT starts, if it is the last record of `message`.
fn last_opt(message: &[u8]) -> Option<usize> {
    let counts = header::counts(message)?;
    let before = u32::from(counts.answer) + u32::from(counts.authority) + u32::from(counts.additional);
    let mut at = HEADER_LEN;
    for _ in 0..counts.question {
        at = skip_name(message, at)? + 4;
    }
    for _ in 0..before.checked_sub(1)? {
        at = skip_record(message, at)?;
    }
    (read_u32(message, at)? >> 8 == u32::from(Rtype::OPT.0)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::super::edns::Edns;
    use super::*;

    fn read(options: &[u8]) -> Option<Asked> {
        let len = options.len() as u8;
        let opt = [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, len], options].concat();
        let (edns, _) = Edns::parse(&opt, 1).unwrap();
        Asked::read(edns.options(&opt))
    }

    fn cookie(len: u8) -> Vec<u8> {
        [&[0, 10, 0, len][..], &(0..len).collect::<Vec<u8>>()].concat()
    }

    #[test]
    fn rfc7873_5_2_2_cookies_have_one_of_their_lengths() {
        for len in 0..=48 {
            let asked = read(&cookie(len));
            let is_possible = len == 8 || (16..=40).contains(&len);
            assert_eq!(asked.is_some(), is_possible, "{len}");
            if let Some(cookie) = asked.and_then(|asked| asked.cookie) {
                assert_eq!(cookie.client, [0, 1, 2, 3, 4, 5, 6, 7]);
                assert_eq!(cookie.server(), (8..len).collect::<Vec<u8>>());
            }
        }
    }

    #[test]
    fn the_first_cookie_counts_and_the_unknown_is_ignored() {
        let options = [&[0xfd, 0xe9, 0, 1, 7][..], &cookie(8), &cookie(3), &[0, 3, 0, 0]].concat();
        let asked = read(&options).unwrap();
        assert!(asked.nsid);
        assert!(asked.cookie.unwrap().server().is_empty());
    }

    #[test]
    fn options_join_the_opt_behind_what_it_holds() {
        let plain = [0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1].to_vec();
        let record = [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x'];
        let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 5, 0, 15, 0, 1, 0];
        let message = [&plain[..], &record, &opt].concat();
        let mut buf = [&message[..], &[0xee; 20]].concat();
        let len = append(&mut buf, message.len(), 100, &[0, 3, 0, 1, b'n']);
        assert_eq!(len, message.len() + 5);
        assert_eq!(buf[plain.len() + record.len() + 9..len], [0, 10, 0, 15, 0, 1, 0, 0, 3, 0, 1, b'n']);
        // Nowhere to put them.
        let mut buf = [&message[..], &[0xee; 4]].concat();
        assert_eq!(append(&mut buf, message.len(), 100, &[0, 3, 0, 1, b'n']), message.len());
        let mut buf = [&message[..], &[0xee; 20]].concat();
        assert_eq!(append(&mut buf, message.len(), message.len() + 4, &[0, 3, 0, 1, b'n']), message.len());
        assert_eq!(
            append(&mut buf, plain.len() + record.len(), 100, &[0, 3, 0, 0]),
            plain.len() + record.len()
        );
    }
}
