//! Responses, read by code that shares nothing with the server's: every name,
//! every length and every count is checked.

use std::fmt::Write as _;

/// A record of a response.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The owner, spelled as sent, with a final dot.
    pub(crate) owner: String,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: Vec<u8>,
    /// The name that opens the RDATA of CNAME, NS, PTR, DNAME and SOA.
    pub(crate) target: String,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) questions: usize,
    /// The question section's bytes.
    pub(crate) question: Vec<u8>,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    /// Without the OPT.
    pub(crate) additional: Vec<Record>,
    pub(crate) opt: Option<Opt>,
}

/// The OPT of a response.
#[derive(Clone, Debug)]
pub(crate) struct Opt {
    pub(crate) udp_size: u16,
    pub(crate) rcode_high: u8,
    pub(crate) version: u8,
    pub(crate) flags: u16,
    pub(crate) options: Vec<(u16, Vec<u8>)>,
}

impl Reply {
    /// The response code with the OPT's bits.
    pub(crate) fn rcode(&self) -> u16 {
        self.flags & 0xf | self.opt.as_ref().map_or(0, |opt| u16::from(opt.rcode_high) << 4)
    }

    /// Whether the flag at that bit is set.
    pub(crate) fn has(&self, mask: u16) -> bool {
        self.flags & mask != 0
    }

    /// The data of the options with that code.
    pub(crate) fn options(&self, code: u16) -> Vec<&[u8]> {
        let options = self.opt.iter().flat_map(|opt| &opt.options);
        options.filter(|(found, _)| *found == code).map(|(_, data)| data.as_slice()).collect()
    }

    /// In a few words, for messages and tables.
    pub(crate) fn short(&self) -> String {
        let flags = [(0x0400, "aa"), (0x0200, "tc"), (0x0080, "ra"), (0x0020, "ad")];
        let flags: Vec<&str> =
            flags.iter().filter(|(mask, _)| self.has(*mask)).map(|(_, word)| *word).collect();
        let opt = self.opt.as_ref().map_or("no OPT".to_owned(), |opt| {
            let codes: Vec<String> = opt.options.iter().map(|(code, _)| code.to_string()).collect();
            if codes.is_empty() { "OPT".to_owned() } else { format!("OPT {}", codes.join("+")) }
        });
        let counts = [self.questions, self.answer.len(), self.authority.len(), self.additional.len()];
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let words = [rcode_word(self.rcode()), flags.join(" "), counts.join("/"), opt];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// A response code's word.
pub(crate) fn rcode_word(code: u16) -> String {
    let words = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN"];
    match code {
        9 => "NOTAUTH".to_owned(),
        16 => "BADVERS".to_owned(),
        23 => "BADCOOKIE".to_owned(),
        _ => words.get(usize::from(code)).map_or_else(|| format!("RCODE{code}"), |word| (*word).to_owned()),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], String> {
        let taken = self.bytes.get(self.at..self.at + len).ok_or("cut off")?;
        self.at += len;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn name(&mut self) -> Result<String, String> {
        let (mut text, mut at, mut end, mut len) = (String::new(), self.at, None, 1);
        loop {
            let byte = usize::from(*self.bytes.get(at).ok_or("a name that is cut off")?);
            match byte {
                0 => break,
                1..=63 => {
                    len += byte + 1;
                    let label = self.bytes.get(at + 1..at + 1 + byte).ok_or("a label that is cut off")?;
                    for &c in label {
                        if c.is_ascii_graphic() && c != b'.' && c != b'\\' {
                            text.push(char::from(c));
                        } else {
                            let _ = write!(text, "\\{c:03}");
                        }
                    }
                    text.push('.');
                    at += 1 + byte;
                }
                192.. => {
                    let low = usize::from(*self.bytes.get(at + 1).ok_or("a pointer that is cut off")?);
                    let target = (byte & 0x3f) << 8 | low;
                    if target >= at || target < 12 {
                        return Err("a pointer that does not point back".to_owned());
                    }
                    end = end.or(Some(at + 2));
                    at = target;
                }
                _ => return Err("a label of a reserved kind".to_owned()),
            }
            if len > 255 {
                return Err("a name that is too long".to_owned());
            }
        }
        self.at = end.unwrap_or(at + 1);
        Ok(if text.is_empty() { ".".to_owned() } else { text })
    }

    fn record(&mut self) -> Result<Record, String> {
        let owner = self.name()?;
        let (rtype, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let len = usize::from(self.u16()?);
        let start = self.at;
        let target = if matches!(rtype, 2 | 5 | 6 | 12 | 39) { self.name()? } else { String::new() };
        self.at = start;
        let rdata = self.take(len)?.to_vec();
        Ok(Record { owner, rtype, class, ttl, rdata, target })
    }
}

/// Reads a response; what is wrong with its form otherwise.
pub(crate) fn read(bytes: &[u8]) -> Result<Reply, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    let (id, flags) = (cursor.u16()?, cursor.u16()?);
    let mut counts = [0usize; 4];
    for count in &mut counts {
        *count = usize::from(cursor.u16()?);
    }
    for _ in 0..counts[0] {
        cursor.name()?;
        cursor.take(4)?;
    }
    let question = bytes[12..cursor.at].to_vec();
    let mut sections: [Vec<Record>; 3] = Default::default();
    for (section, count) in sections.iter_mut().zip(&counts[1..]) {
        for _ in 0..*count {
            section.push(cursor.record()?);
        }
    }
    if cursor.at != bytes.len() {
        return Err(format!("{} bytes behind the last record", bytes.len() - cursor.at));
    }
    let [answer, authority, mut additional] = sections;
    if answer.iter().chain(&authority).any(|record| record.rtype == 41) {
        return Err("an OPT outside the additional section".to_owned());
    }
    let opts: Vec<Record> = additional.extract_if(.., |record| record.rtype == 41).collect();
    let opt = match &opts[..] {
        [] => None,
        [opt] => Some(read_opt(opt)?),
        _ => return Err("several OPTs".to_owned()),
    };
    let bytes = bytes.to_vec();
    Ok(Reply { bytes, id, flags, questions: counts[0], question, answer, authority, additional, opt })
}

fn read_opt(record: &Record) -> Result<Opt, String> {
    if record.owner != "." {
        return Err(format!("an OPT of {}", record.owner));
    }
    let mut options = Vec::new();
    let mut cursor = Cursor { bytes: &record.rdata, at: 0 };
    while cursor.at < record.rdata.len() {
        let (code, len) = (cursor.u16()?, usize::from(cursor.u16()?));
        options.push((code, cursor.take(len)?.to_vec()));
    }
    let (rcode_high, version) = ((record.ttl >> 24) as u8, (record.ttl >> 16) as u8);
    Ok(Opt { udp_size: record.class, rcode_high, version, flags: record.ttl as u16, options })
}
