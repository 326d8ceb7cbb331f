//! What must come back, in words: `NOERROR aa an=2 echo opt !option=65001`.
//!
//! Every response is also held to what no case has to say: it can be read to
//! its end, it is a response to this query, and it is no larger than asked.

use hubdns::wire::Rtype;

use crate::ask::{Ask, flag, hex};
use crate::reply::{Record, Reply, rcode_word, read};

/// What a carrier brought.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    Reply(Vec<u8>),
    /// Nothing, while a later question was answered.
    Nothing,
    /// The connection was closed.
    Closed,
}

/// The largest response over UDP that is expected of anybody: what crosses
/// every path unfragmented (RFC 9715).
const UDP_MAX: usize = 1232;

/// Compares `got` with the words of `expected`. `is_udp` tells whether size
/// limits apply, `asked` how often the upstream was asked for the name.
pub(crate) fn check(
    expected: &str,
    ask: &Ask,
    got: &Got,
    is_udp: bool,
    asked: impl Fn() -> usize,
) -> Result<Option<Reply>, String> {
    let words: Vec<&str> = expected.split_whitespace().collect();
    let may_be_silent = words.iter().any(|word| word.split('|').any(|word| word == "none"));
    let bytes = match got {
        Got::Reply(bytes) => bytes,
        Got::Nothing | Got::Closed if may_be_silent => return Ok(None),
        Got::Nothing => return Err("no answer".to_owned()),
        Got::Closed => return Err("closed".to_owned()),
    };
    let reply = read(bytes).map_err(|why| format!("malformed: {why}"))?;
    well_formed(&reply, ask, is_udp)?;
    for word in words {
        is_met(word, ask, &reply, &asked).map_err(|why| {
            let why = if why.is_empty() { word.to_owned() } else { format!("{word} ({why})") };
            format!("{}; expected {why}", reply.short())
        })?;
    }
    Ok(Some(reply))
}

fn well_formed(reply: &Reply, ask: &Ask, is_udp: bool) -> Result<(), String> {
    let sent = u16::from_be_bytes([ask.bytes[0], ask.bytes[1]]);
    if reply.id != sent {
        return Err("another id".to_owned());
    }
    if !reply.has(0x8000) {
        return Err("no response".to_owned());
    }
    let opcode = u16::from_be_bytes([ask.bytes[2], ask.bytes[3]]) & 0x7800;
    if reply.flags & 0x7800 != opcode {
        return Err("another opcode".to_owned());
    }
    if is_udp && reply.bytes.len() > ask.udp_size {
        return Err(format!("{} bytes where {} fit", reply.bytes.len(), ask.udp_size));
    }
    if is_udp && reply.bytes.len() > UDP_MAX {
        return Err(format!("{} bytes over UDP", reply.bytes.len()));
    }
    if reply.opt.as_ref().is_some_and(|opt| opt.version != 0 || opt.udp_size < 512) {
        return Err("an OPT of another version or size".to_owned());
    }
    Ok(())
}

fn fail<T>(why: impl Into<String>) -> Result<T, String> {
    Err(why.into())
}

fn yes(condition: bool) -> Result<(), String> {
    if condition { Ok(()) } else { fail("") }
}

/// Compares a number: `=3`, `<=30`, `>=1`.
fn number(found: usize, rest: &str) -> Result<(), String> {
    let (compare, value): (fn(&usize, &usize) -> bool, &str) = if let Some(value) = rest.strip_prefix("<=") {
        (usize::le, value)
    } else if let Some(value) = rest.strip_prefix(">=") {
        (usize::ge, value)
    } else {
        (usize::eq, rest.strip_prefix('=').expect("a comparison"))
    };
    if compare(&found, &value.parse().expect("a number")) { Ok(()) } else { fail(found.to_string()) }
}

fn types(records: &[Record]) -> String {
    records.iter().map(|record| Rtype(record.rtype).to_string()).collect::<Vec<_>>().join(",")
}

fn is_types(records: &[Record], value: &str) -> Result<(), String> {
    let found = types(records);
    if found == value { Ok(()) } else { fail(found) }
}

fn is_met(word: &str, ask: &Ask, reply: &Reply, asked: &impl Fn() -> usize) -> Result<(), String> {
    let (negated, plain) = match word.strip_prefix('!') {
        Some(plain) => (true, plain),
        None => (false, word),
    };
    if let Some(mask) = flag(plain) {
        return yes(reply.has(mask) != negated);
    }
    if plain.starts_with(|c: char| c.is_ascii_uppercase()) {
        let rcode = rcode_word(reply.rcode());
        return yes(plain.split('|').any(|wanted| wanted == rcode) != negated);
    }
    let at = plain.find(['=', '<', '>']).unwrap_or(plain.len());
    let (key, rest) = plain.split_at(at);
    let value = rest.strip_prefix('=').unwrap_or_default();
    let opt = reply.opt.as_ref();
    match key {
        "none" => fail("silence"),
        "any" => Ok(()),
        "echo" => yes(reply.question == ask.question),
        "qd" => number(reply.questions, rest),
        "an" => number(reply.answer.len(), rest),
        "ns" => number(reply.authority.len(), rest),
        "ar" => number(reply.additional.len(), rest),
        "opt" => yes(opt.is_some() != negated),
        "do" => yes(opt.is_some_and(|opt| opt.flags & 0x8000 != 0) != negated),
        "ednsflags" => number(usize::from(opt.map_or(0, |opt| opt.flags)), rest),
        "bufsize" => number(usize::from(opt.map_or(0, |opt| opt.udp_size)), rest),
        "option" => yes(reply.options(value.parse().expect("a code")).is_empty() == negated),
        "optiondata" => {
            let (code, data) = value.split_once(':').expect("code:data");
            yes(reply.options(code.parse().expect("a code")) == [hex(data)])
        }
        "ede" => {
            let codes = reply.options(15);
            let codes: Vec<u16> =
                codes.iter().filter_map(|data| Some(u16::from_be_bytes(*data.first_chunk()?))).collect();
            let found = codes.iter().any(|code| value.split('|').any(|wanted| wanted == code.to_string()));
            let found = if value.is_empty() { !codes.is_empty() } else { found };
            if found == negated { fail(format!("{codes:?}")) } else { Ok(()) }
        }
        "nsid" => yes(reply.options(3) == [value.as_bytes()]),
        "cookie" => {
            let cookies = reply.options(10);
            let [cookie] = cookies[..] else { return fail("no cookie") };
            yes(cookie.len() == 24 && cookie[..8] == ask.client_cookie)
        }
        "cookieversion" => {
            yes(reply.options(10).iter().any(|data| data.get(8) == Some(&value.parse().expect("a version"))))
        }
        "block" => yes(reply.bytes.len().is_multiple_of(value.parse().expect("a number"))),
        "size" => number(reply.bytes.len(), rest),
        "answer" => is_types(&reply.answer, value),
        "authority" => is_types(&reply.authority, value),
        "additional" => is_types(&reply.additional, value),
        "onetype" => yes(reply.answer.windows(2).all(|pair| pair[0].rtype == pair[1].rtype)),
        "a" => {
            let address: std::net::Ipv4Addr = value.parse().expect("an address");
            let found = reply.answer.iter().any(|r| r.rtype == 1 && r.rdata == address.octets());
            yes(found != negated)
        }
        "rdata" => yes(reply.answer.iter().any(|record| record.rdata == hex(value))),
        "target" => yes(reply.answer.iter().any(|record| record.target.eq_ignore_ascii_case(value))),
        "owner" => yes(reply.answer.iter().all(|record| record.owner.eq_ignore_ascii_case(value))),
        "soa" => {
            let soa = reply.authority.iter().find(|record| record.rtype == 6);
            match soa {
                Some(soa) if soa.owner.eq_ignore_ascii_case(value) => Ok(()),
                Some(soa) => fail(&soa.owner),
                None => fail("none"),
            }
        }
        "soattl" => {
            let soa = reply.authority.iter().find(|record| record.rtype == 6);
            soa.map_or_else(|| fail("no SOA"), |soa| number(soa.ttl as usize, rest))
        }
        "ttl" => reply.answer.iter().try_for_each(|record| number(record.ttl as usize, rest)),
        "samettl" => yes(reply
            .answer
            .windows(2)
            .all(|pair| pair[0].rtype != pair[1].rtype || pair[0].ttl == pair[1].ttl)),
        "classin" => yes(reply.answer.iter().chain(&reply.authority).all(|record| record.class == 1)),
        "asked" => number(asked(), rest),
        _ => panic!("no such word: {word}"),
    }
}
