//! The upstream that all servers forward to. What it does is told by the second
//! label of the name, so that every case has names of its own.

use std::fmt::Write as _;

use hubdns::answer::Transport;
use hubdns::wire::Rtype;

use crate::common::upstream::{Act, Asked, Upstream};
use crate::reply::read;

const SOA: &str = "foreign.example 300 SOA ns.foreign.example admin.foreign.example 1 3600 300 86400 60";

/// Starts it.
pub(crate) fn start() -> Upstream {
    Upstream::start(|asked| match act(asked) {
        Act::Send(messages) => Act::Send(messages.into_iter().map(|message| fit(asked, message)).collect()),
        act => act,
    })
}

/// The response as a server sends it that knows EDNS: with an OPT for who sent
/// one, and truncated where the asker's buffer is too small.
fn fit(asked: &Asked, mut message: Vec<u8>) -> Vec<u8> {
    let edns = asked.edns();
    let has_opt = read(&message).is_ok_and(|reply| reply.opt.is_some());
    let limit = edns.map_or(512, |edns| usize::from(edns.udp_size));
    if asked.transport == Transport::Udp && message.len() + 11 > limit {
        message = asked.reply(0x0200, "", "");
    }
    if let Some(edns) = edns.filter(|_| !has_opt) {
        message.extend([0, 0, 41, 4, 208, 0, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        message[11] += 1;
    }
    message
}

/// Upstreams for whom forwarding servers look first.
fn root(asked: &Asked) -> Option<Act> {
    let soa = ". 86400 SOA a.root admin.root 1 1800 900 604800 86400";
    match (asked.qname.as_str(), asked.qtype) {
        ("." | "", Rtype::NS) => Some(Act::send(asked.reply(0, ". 86400 NS a.root", ""))),
        ("." | "", _) => Some(Act::send(asked.reply(0, "", soa))),
        _ => None,
    }
}

fn act(asked: &Asked) -> Act {
    if let Some(act) = root(asked) {
        return act;
    }
    let name = asked.qname.clone();
    let labels: Vec<&str> = name.split('.').collect();
    let is_udp = asked.transport == Transport::Udp;
    let behavior =
        if name.ends_with("foreign.example") && labels.len() > 3 { labels[labels.len() - 3] } else { "a" };
    let address = |ttl: u32| format!("{name} {ttl} A 192.0.2.1");
    let nodata = || Act::send(asked.reply(0, "", SOA));
    let denied = || Act::send(asked.reply(3, "", SOA));
    match behavior {
        "a" => match asked.qtype {
            Rtype::A => Act::send(asked.reply(0, &address(300), "")),
            Rtype::AAAA => Act::send(asked.reply(0, &format!("{name} 300 AAAA 2001:db8::1"), "")),
            Rtype::TXT => Act::send(asked.reply(0, &format!("{name} 300 TXT \"foreign\""), "")),
            _ => nodata(),
        },
        // As an authority would: a forwarder is none.
        "authoritative" => Act::send(asked.reply(0x0400, &address(300), "")),
        "authentic" => Act::send(asked.reply(0x0020, &address(300), "")),
        "below" => {
            // The parent is denied though it has a child.
            if labels.len() > 5 { Act::send(asked.reply(0, &address(300), "")) } else { denied() }
        }
        "nodata" => nodata(),
        // A denial without an SOA must not be kept.
        "bare" => Act::send(asked.reply(3, "", "")),
        // The lower of the SOA's TTL and its minimum counts.
        "minimum" => {
            let soa = SOA.replace("foreign.example 300 SOA", "foreign.example 3000 SOA");
            Act::send(asked.reply(3, "", &soa.replace(" 60", " 20")))
        }
        // Once, for a second; then never again.
        "short" if asked.nth == 0 => Act::send(asked.reply(0, &address(1), "")),
        "short" | "silent" => Act::Drop,
        "servfail" => Act::send(asked.reply(2, "", "")),
        "refused" => Act::send(asked.reply(5, "", "")),
        "explained" => Act::send(asked.reply_opt(2, "", "", &[0, 15, 0, 3, 0, 9, b'k', 0xfd, 0xe9, 0, 1, 7])),
        "optioned" => {
            Act::send(asked.reply_opt(0, &address(300), "", &[0xfd, 0xe9, 0, 1, 7, 0, 8, 0, 4, 0, 1, 0, 0]))
        }
        "ttl0" => Act::send(asked.reply(0, &address(0), "")),
        // The top bit of a TTL means zero.
        "ttlhigh" => Act::send(asked.reply(0, &address(0x8000_0200), "")),
        "big" if is_udp => Act::send(asked.reply(0x0200, "", "")),
        "big" => Act::send(asked.reply(0, &texts(&name, 12), "")),
        "wide" => Act::send(compressed(asked, 50)),
        // Records that nobody asked for, as large as the answer is small.
        "extra" => Act::send(with_additional(asked, &address(300), 40)),
        "crowded" => Act::send(asked.reply(0, &address(300), &servers(30))),
        "cname" => Act::send(asked.reply(0, &format!("{name} 300 CNAME www.corp.example"), "")),
        "chain" => chain(asked, &name),
        "loop" => Act::send(asked.reply(0, &format!("{name} 300 CNAME {name}"), "")),
        "unknown" => Act::send(asked.reply(0, &format!("{name} 300 TYPE65280 \\# 4 0a000001"), "")),
        "spelled" => Act::send(spelled_back(asked, &address(300))),
        "wrongid" => {
            let right = asked.reply(0, &address(300), "");
            let mut wrong = asked.reply(0, &format!("{name} 300 A 192.0.2.66"), "");
            wrong[0] ^= 0x55;
            Act::Send(vec![wrong, right])
        }
        "wrongname" => {
            let right = asked.reply(0, &address(300), "");
            let mut wrong = asked.reply(0, &format!("{name} 300 A 192.0.2.66"), "");
            wrong[13] ^= 0x01;
            Act::Send(vec![wrong, right])
        }
        "elsewhere" => Act::Elsewhere(
            asked.reply(0, &format!("{name} 300 A 192.0.2.66"), ""),
            asked.reply(0, &address(300), ""),
        ),
        // What the answer does not need must not enter the cache.
        "poison" => {
            let other = name.replace(".poison.", ".a.");
            Act::send(asked.reply(0, &format!("{};{other} 300 A 192.0.2.66", address(300)), ""))
        }
        // `nx`, and whatever else there is not.
        _ => denied(),
    }
}

fn chain(asked: &Asked, name: &str) -> Act {
    let end = name.replace(".chain.", ".a.");
    Act::send(asked.reply(0, &format!("{name} 300 CNAME {end};{end} 300 A 192.0.2.1"), ""))
}

fn addresses(name: &str, count: usize) -> String {
    (1..=count).fold(String::new(), |mut all, n| {
        let _ = write!(all, "{name} 300 A 192.0.2.{n};");
        all
    })
}

/// `count` addresses whose owner is a pointer to the question.
fn compressed(asked: &Asked, count: u8) -> Vec<u8> {
    let mut bytes = asked.reply(0, "", "");
    bytes[7] = count;
    for n in 1..=count {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, n]);
    }
    bytes
}

fn texts(name: &str, count: usize) -> String {
    (1..=count).fold(String::new(), |mut all, n| {
        let _ = write!(all, "{name} 300 TXT \"{n} {}\";", "t".repeat(240));
        all
    })
}

fn servers(count: usize) -> String {
    (1..=count).fold(String::new(), |mut all, n| {
        let _ = write!(all, "foreign.example 300 NS ns{n}.a-long-label-to-fill-the-message.foreign.example;");
        all
    })
}

/// `answer`, then `count` addresses of one other name in the additional section.
fn with_additional(asked: &Asked, answer: &str, count: usize) -> Vec<u8> {
    let mut bytes = asked.reply(0, answer, &addresses("ns1.extra.foreign.example", count));
    bytes[11] = bytes[9];
    bytes[9] = 0;
    bytes
}

/// The question in another spelling than it was asked in.
fn spelled_back(asked: &Asked, answer: &str) -> Vec<u8> {
    let mut bytes = asked.reply(0, &answer.to_ascii_uppercase(), "");
    let end = 12 + asked.qname.len() + 1;
    bytes[12..end].iter_mut().for_each(|byte| {
        if byte.is_ascii_lowercase() {
            *byte = byte.to_ascii_uppercase();
        } else {
            *byte = byte.to_ascii_lowercase();
        }
    });
    bytes
}
