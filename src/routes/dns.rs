//! One question to one DNS server by one transport, and the answer as it came
//! over the wire.
//!
//! Our own wire code over tokio's sockets, since the checks must see what a
//! resolver library hides: the partial answer of a truncated message, TC itself
//! (hickory asks again by TCP unasked), extended errors beside NOERROR, the
//! SOA of a denial, and each transport by itself. It is also the code that
//! reads upstreams' messages in the packet path: what it cannot read, the
//! forwarder cannot either.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::wire::edns::OPTION_EDE;
use crate::wire::message::{Message, Record, Section};
use crate::wire::{Edns, Flags, Name, Rcode, Rtype, header, rdata};

/// The UDP size that the question's OPT announces, as the forwarder's does.
const UDP_SIZE: u16 = 1232;

/// How a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// A datagram, sent a second time at half the time.
    Udp,
    /// A connection of its own.
    Tcp,
}

impl Transport {
    /// Its name for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// What is asked, always with RD and an OPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// Whether signatures are wanted (DO, RFC 3225).
    pub dnssec_ok: bool,
    /// Whether the server shall not validate (CD, RFC 4035).
    pub checking_disabled: bool,
}

impl Question {
    /// A question without DO and CD.
    pub const fn new(name: Name, rtype: Rtype) -> Self {
        Self { name, rtype, dnssec_ok: false, checking_disabled: false }
    }

    /// The query with `id`, in wire form.
    pub fn to_wire(&self, id: u16) -> Vec<u8> {
        let mut query = vec![0; header::HEADER_LEN];
        header::set_id(&mut query, id);
        let cd = if self.checking_disabled { Flags::CD } else { 0 };
        header::set_flags(&mut query, Flags(Flags::RD | cd));
        header::set_counts(&mut query, header::Counts { question: 1, additional: 1, ..Default::default() });
        query.extend_from_slice(self.name.as_wire());
        query.extend_from_slice(&self.rtype.0.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        query.extend_from_slice(&[0, 0, 41]);
        query.extend_from_slice(&UDP_SIZE.to_be_bytes());
        query.extend_from_slice(&[0, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        query
    }
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rr {
    /// The owner name, lower case.
    pub owner: Name,
    /// TYPE.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl: u32,
    /// The RDATA, names in it uncompressed.
    pub rdata: Vec<u8>,
}

impl Rr {
    /// The address of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        match self.rtype {
            Rtype::A => <[u8; 4]>::try_from(self.rdata.as_slice()).ok().map(|a| Ipv4Addr::from(a).into()),
            Rtype::AAAA => <[u8; 16]>::try_from(self.rdata.as_slice()).ok().map(|a| Ipv6Addr::from(a).into()),
            _ => None,
        }
    }

    /// The name that a CNAME leads to.
    pub fn target(&self) -> Option<Name> {
        (self.rtype == Rtype::CNAME).then(|| Name::from_wire(&self.rdata).ok()).flatten()
    }
}

/// A response, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code, with the OPT's upper bits.
    pub rcode: Rcode,
    /// The header's flags.
    pub flags: Flags,
    /// The answer section.
    pub answer: Vec<Rr>,
    /// The authority section.
    pub authority: Vec<Rr>,
    /// Extended errors (RFC 8914): code and text.
    pub extended_errors: Vec<(u16, String)>,
    /// From the question to the response.
    pub took: Duration,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// ICMP port unreachable, or TCP reset.
    #[error("the port is closed")]
    Refused,
    /// The connection ended before the response.
    #[error("the connection was closed without an answer")]
    Closed,
    /// Another error of the network.
    #[error("{0}")]
    Network(io::ErrorKind),
    /// What came is no response that can be read.
    #[error("the answer is malformed")]
    Malformed,
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::Closed,
            kind => Self::Network(kind),
        }
    }
}

impl Answer {
    /// Reads a response to `question` that came by another way; `None` if it is none.
    pub fn read(bytes: &[u8], question: &Question) -> Option<Self> {
        read(bytes, question).ok()
    }

    /// Whether TC is set.
    pub const fn is_truncated(&self) -> bool {
        self.flags.has(Flags::TC)
    }

    /// The addresses of the answer section, sorted.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.answer.iter().filter_map(Rr::address).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The targets of the CNAMEs, in order.
    pub fn targets(&self) -> Vec<Name> {
        self.answer.iter().filter_map(Rr::target).collect()
    }

    /// The SOA of the authority section: owner, MNAME and serial.
    pub fn soa(&self) -> Option<(Name, Name, u32)> {
        let soa = self.authority.iter().find(|rr| rr.rtype == Rtype::SOA)?;
        let mname_len: usize =
            1 + crate::wire::name::Labels::new(&soa.rdata).map(|l| l.len() + 1).sum::<usize>();
        let mname = Name::from_wire(soa.rdata.get(..mname_len)?).ok()?;
        let numbers = soa.rdata.get(soa.rdata.len().checked_sub(20)?..)?;
        let serial = u32::from_be_bytes(numbers.get(..4)?.try_into().ok()?);
        Some((soa.owner.clone(), mname, serial))
    }

    /// Whether a private DNS zone of Azure denies the name: an SOA below a
    /// `privatelink` zone whose primary is `azureprivatedns.net`.
    pub fn is_private_zone_denial(&self) -> bool {
        let private = |owner: &Name| owner.labels().next() == Some(b"privatelink");
        self.soa().is_some_and(|(owner, mname, _)| {
            private(&owner) && mname.to_string().eq_ignore_ascii_case("azureprivatedns.net")
        })
    }

    /// Whether the answer ends in a CNAME with neither the type that was asked
    /// for nor an SOA: cut off, whatever TC says.
    pub fn is_cut_off(&self, rtype: Rtype) -> bool {
        self.rcode == Rcode::NOERROR
            && self.answer.last().is_some_and(|last| last.rtype == Rtype::CNAME)
            && self.answer.iter().all(|rr| rr.rtype != rtype)
            && self.soa().is_none()
    }
}

/// Asks `server` once (by UDP twice, at half the time) and waits for `timeout`.
///
/// # Errors
/// There is no response that can be read.
pub async fn ask(
    server: SocketAddr,
    question: &Question,
    transport: Transport,
    timeout: Duration,
) -> Result<Answer, AskError> {
    let query = question.to_wire(rand::random());
    let start = Instant::now();
    let exchange = async {
        match transport {
            Transport::Udp => by_udp(server, question, &query, timeout / 2).await,
            Transport::Tcp => by_tcp(server, question, &query).await,
        }
    };
    let mut answer = tokio::time::timeout(timeout, exchange).await.map_err(|_| AskError::Timeout)??;
    answer.took = start.elapsed();
    Ok(answer)
}

async fn by_udp(
    server: SocketAddr,
    question: &Question,
    query: &[u8],
    resend_after: Duration,
) -> Result<Answer, AskError> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: others' datagrams are left out and a closed port is told.
    socket.connect(server).await?;
    let mut buf = vec![0; usize::from(u16::MAX)];
    let mut resent = false;
    socket.send(query).await?;
    loop {
        let len = match tokio::time::timeout(resend_after, socket.recv(&mut buf)).await {
            Ok(received) => received?,
            Err(_) if resent => continue,
            Err(_) => {
                resent = true;
                socket.send(query).await?;
                continue;
            }
        };
        let Some(bytes) = buf.get(..len).filter(|bytes| header::id(bytes) == header::id(query)) else {
            continue;
        };
        match read(bytes, question) {
            // A forged or late message to another question: the wait goes on.
            Err(Unreadable::OtherQuestion) => {}
            Err(Unreadable::Malformed) => return Err(AskError::Malformed),
            Ok(answer) => return Ok(answer),
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &Question, query: &[u8]) -> Result<Answer, AskError> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(query.len()).map_err(|_| AskError::Malformed)?;
    // One segment: some servers read length and message with one call.
    let framed = [&len.to_be_bytes(), query].concat();
    stream.write_all(&framed).await?;
    let len = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(len)];
    stream.read_exact(&mut bytes).await?;
    if header::id(&bytes) != header::id(query) {
        return Err(AskError::Malformed);
    }
    read(&bytes, question).map_err(|_| AskError::Malformed)
}

enum Unreadable {
    OtherQuestion,
    Malformed,
}

fn read(bytes: &[u8], question: &Question) -> Result<Answer, Unreadable> {
    let flags = header::flags(bytes).ok_or(Unreadable::Malformed)?;
    let counts = header::counts(bytes).ok_or(Unreadable::Malformed)?;
    if !flags.has(Flags::QR) {
        return Err(Unreadable::Malformed);
    }
    let mut answer = Answer {
        rcode: Rcode(flags.rcode()),
        flags,
        answer: Vec::new(),
        authority: Vec::new(),
        extended_errors: Vec::new(),
        took: Duration::ZERO,
    };
    if counts.question == 0 && answer.rcode != Rcode::NOERROR {
        // Errors may come without the question (RFC 1035 is silent, FORMERR does it).
        return Ok(answer);
    }
    let message = Message::parse(bytes).ok_or(Unreadable::Malformed)?;
    let asked = message.qname().is_some_and(|name| name.to_name() == question.name);
    if !asked || message.qtype() != question.rtype {
        return Err(Unreadable::OtherQuestion);
    }
    for record in message.records() {
        if record.rtype == Rtype::OPT {
            read_opt(&message, &record, &mut answer);
            continue;
        }
        let rr = read_record(&message, &record).ok_or(Unreadable::Malformed)?;
        match record.section {
            Section::Answer => answer.answer.push(rr),
            Section::Authority => answer.authority.push(rr),
            Section::Additional => {}
        }
    }
    Ok(answer)
}

fn read_record(message: &Message<'_>, record: &Record) -> Option<Rr> {
    let mut data = Vec::new();
    rdata::expand(message.bytes(), record.rtype, record.rdata.clone(), &mut data)?;
    let owner = message.owner(record)?.to_name();
    Some(Rr { owner, rtype: record.rtype, ttl: record.ttl, rdata: data })
}

fn read_opt(message: &Message<'_>, record: &Record, answer: &mut Answer) {
    let Some((edns, _)) = Edns::parse(message.bytes(), record.owner_at + 1) else { return };
    answer.rcode = Rcode(u16::from(edns.rcode_high) << 4 | answer.flags.rcode());
    for (code, data) in edns.options(message.bytes()) {
        if let (OPTION_EDE, Some((info, text))) = (code, data.split_first_chunk::<2>()) {
            let text = String::from_utf8_lossy(text).into_owned();
            answer.extended_errors.push((u16::from_be_bytes(*info), text));
        }
    }
}
