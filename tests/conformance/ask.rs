//! Questions from words: `www.corp.example A rd=0 edns=1232 do option=65001:00ff`.
//!
//! The first word is QNAME (`-` for no question at all), then QTYPE, then QCLASS
//! where a word of that name follows. RD is set unless the words say otherwise.
//! Names are spelled as written; `\DDD` stands for any byte.

use hubdns::wire::Rtype;

/// A question as bytes, and what an answer is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) bytes: Vec<u8>,
    /// The question section as sent.
    pub(crate) question: Vec<u8>,
    /// The UDP payload size announced; 512 without an OPT.
    pub(crate) udp_size: usize,
    /// The client cookie sent.
    pub(crate) client_cookie: Vec<u8>,
    /// QNAME in lower case, as the upstream would see it.
    pub(crate) qname: String,
    /// Whether it may be sent more than once, until the answer is as expected.
    pub(crate) until: bool,
}

/// Bytes from hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "whole bytes: {digits:?}");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

fn number<T: TryFrom<u64>>(text: &str) -> T {
    let value = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    value.ok().and_then(|value| T::try_from(value).ok()).unwrap_or_else(|| panic!("a number: {text}"))
}

/// A name in wire form, spelled as written.
pub(crate) fn name_wire(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        let mut bytes = Vec::new();
        let mut rest = label.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'\\' {
                let digits: String = rest.by_ref().take(3).map(char::from).collect();
                bytes.push(digits.parse().expect("three digits"));
            } else {
                bytes.push(byte);
            }
        }
        wire.push(u8::try_from(bytes.len()).expect("a label"));
        wire.extend(bytes);
    }
    wire.push(0);
    wire
}

fn class(text: &str) -> Option<u16> {
    match text {
        "IN" => Some(1),
        "CH" => Some(3),
        "HS" => Some(4),
        "NONE" => Some(254),
        "ANYCLASS" => Some(255),
        _ => text.strip_prefix("CLASS").map(number),
    }
}

/// The bit of a header's flag.
pub(crate) fn flag(word: &str) -> Option<u16> {
    Some(match word {
        "qr" => 0x8000,
        "aa" => 0x0400,
        "tc" => 0x0200,
        "rd" => 0x0100,
        "ra" => 0x0080,
        "z" => 0x0040,
        "ad" => 0x0020,
        "cd" => 0x0010,
        _ => return None,
    })
}

/// What the words say of the parts behind the question.
#[derive(Default)]
struct Parts {
    answer: Vec<Vec<u8>>,
    authority: Vec<Vec<u8>>,
    additional: Vec<Vec<u8>>,
    opts: usize,
    opt_owner: Vec<u8>,
    opt_in_authority: bool,
    udp_size: u16,
    version: u8,
    opt_flags: u16,
    options: Vec<u8>,
    lie: i32,
    client_cookie: Vec<u8>,
}

impl Parts {
    fn option(&mut self, code: u16, data: &[u8]) {
        self.opts = self.opts.max(1);
        self.options.extend(code.to_be_bytes());
        self.options.extend((data.len() as u16).to_be_bytes());
        self.options.extend(data);
    }

    fn opt(&self) -> Vec<u8> {
        let len = i32::try_from(self.options.len()).unwrap() + self.lie;
        let mut opt = if self.opt_owner.is_empty() { vec![0] } else { self.opt_owner.clone() };
        opt.extend([0, 41]);
        opt.extend(self.udp_size.to_be_bytes());
        opt.extend([0, self.version]);
        opt.extend(self.opt_flags.to_be_bytes());
        opt.extend(u16::try_from(len).expect("a length").to_be_bytes());
        opt.extend(&self.options);
        opt
    }
}

/// A record that a query has no use for: `x. 0 IN TXT ""`.
const RECORD: [u8; 14] = [1, b'x', 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 1, 0];

/// Makes a question of `words`. `server_cookie` is what the server gave last.
pub(crate) fn ask(words: &str, id: u16, server_cookie: &[u8]) -> Ask {
    let mut words = words.split_whitespace().peekable();
    let qname = words.next().expect("a QNAME");
    let mut question = Vec::new();
    let mut name = name_wire(if qname == "-" { "" } else { qname });
    let (mut qtype, mut qclass) = (1u16, 1u16);
    if qname != "-" {
        let word = words.next().expect("a QTYPE");
        qtype = word.parse::<Rtype>().unwrap_or_else(|_| panic!("{word} is no type")).0;
        if let Some(given) = words.peek().and_then(|word| class(word)) {
            qclass = given;
            words.next();
        }
    }
    let (mut flags, mut until) = (0x0100u16, false);
    let mut counts: [Option<u16>; 4] = [None; 4];
    let mut questions = usize::from(qname != "-");
    let mut parts = Parts { udp_size: 1232, ..Parts::default() };
    let (mut tail, mut cut) = (Vec::new(), 0usize);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        if let Some(mask) = flag(key) {
            flags = if value == "0" { flags & !mask } else { flags | mask };
            continue;
        }
        match key {
            "until" => until = true,
            "rcode" => flags |= number::<u16>(value),
            "opcode" => flags |= number::<u16>(value) << 11,
            "qd" => counts[0] = Some(number(value)),
            "an" => counts[1] = Some(number(value)),
            "ns" => counts[2] = Some(number(value)),
            "ar" => counts[3] = Some(number(value)),
            "questions" => questions = number(value),
            "namebytes" => name = hex(value),
            "edns" => {
                parts.opts = parts.opts.max(1);
                parts.udp_size = if value.is_empty() { 1232 } else { number(value) };
            }
            "opts" => parts.opts = number(value),
            "optowner" => parts.opt_owner = name_wire(value),
            "optinauthority" => parts.opt_in_authority = true,
            "version" => parts.version = number(value),
            "do" => {
                parts.opts = parts.opts.max(1);
                parts.opt_flags |= 0x8000;
            }
            "ednsflags" => {
                parts.opts = parts.opts.max(1);
                parts.opt_flags |= number::<u16>(value);
            }
            "option" => {
                let (code, data) = value.split_once(':').unwrap_or((value, ""));
                parts.option(number(code), &hex(data));
            }
            "optionslie" => parts.lie = value.parse().expect("a number"),
            "cookie" => {
                let (client, server) = value.split_once('+').unwrap_or((value, ""));
                parts.client_cookie = hex(client);
                let server = match server {
                    "last" => server_cookie.to_vec(),
                    "bad" => server_cookie.iter().enumerate().map(|(i, b)| b ^ u8::from(i == 15)).collect(),
                    digits => hex(digits),
                };
                let data = [parts.client_cookie.clone(), server].concat();
                parts.option(10, &data);
            }
            "anrecord" => parts.answer.push(RECORD.to_vec()),
            "nsrecord" => parts.authority.push(RECORD.to_vec()),
            "arrecord" => parts.additional.push(RECORD.to_vec()),
            "record" => parts.additional.push(hex(value)),
            "tail" => tail = hex(value),
            "cut" => cut = number(value),
            _ => panic!("no such word: {word}"),
        }
    }
    for _ in 0..questions {
        question.extend(&name);
        question.extend(qtype.to_be_bytes());
        question.extend(qclass.to_be_bytes());
    }
    for _ in 0..parts.opts {
        let opt = parts.opt();
        if parts.opt_in_authority { &mut parts.authority } else { &mut parts.additional }.push(opt);
    }
    let sections = [&parts.answer, &parts.authority, &parts.additional];
    let found = [questions, sections[0].len(), sections[1].len(), sections[2].len()];
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    for (given, found) in counts.into_iter().zip(found) {
        bytes.extend(given.unwrap_or(found as u16).to_be_bytes());
    }
    bytes.extend(&question);
    sections.into_iter().flatten().for_each(|record| bytes.extend(record));
    bytes.extend(tail);
    bytes.truncate(bytes.len() - cut);
    let udp_size = if parts.opts > 0 { usize::from(parts.udp_size).max(512) } else { 512 };
    let qname = qname.trim_end_matches('.').to_ascii_lowercase();
    Ask { bytes, question, udp_size, client_cookie: parts.client_cookie, qname, until }
}
