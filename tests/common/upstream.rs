//! A scripted upstream on loopback: UDP and TCP on one port, answers by a
//! closure over what was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hubdns::answer::Transport;
use hubdns::wire::message::Message;
use hubdns::wire::{Edns, Flags, HEADER_LEN, Rtype};

use super::estate::{name, rdata_from_text, spelled};

/// How long a condition is awaited before a test is given up as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// One query that the upstream got.
#[derive(Clone, Debug)]
pub struct Asked {
    /// QNAME as text, lower case.
    pub qname: String,
    /// QTYPE.
    pub qtype: Rtype,
    /// How it came.
    pub transport: Transport,
    /// How often this question came by this transport before.
    pub nth: usize,
    /// The whole query.
    pub bytes: Vec<u8>,
    /// Who sent it.
    pub peer: SocketAddr,
}

impl Asked {
    /// The query's flags.
    pub fn flags(&self) -> Flags {
        Message::parse(&self.bytes).unwrap().flags()
    }

    /// The query's OPT.
    pub fn edns(&self) -> Option<Edns> {
        let message = Message::parse(&self.bytes).unwrap();
        let opt = message.records().find(|record| record.rtype == Rtype::OPT)?;
        Edns::parse(&self.bytes, opt.owner_at + 1).map(|(edns, _)| edns)
    }

    /// The message id.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// A response: `rcode` may carry flags (`0x0200` is TC); records are
    /// lines `owner ttl type data`, joined by `;`.
    pub fn reply(&self, flags_and_rcode: u16, answer: &str, authority: &str) -> Vec<u8> {
        let end = Message::parse(&self.bytes).unwrap().question_end();
        let mut bytes = self.bytes[..end].to_vec();
        bytes[2..4].copy_from_slice(&(0x8180 | flags_and_rcode).to_be_bytes());
        bytes[6..12].fill(0);
        for (at, section) in [(6, answer), (8, authority)] {
            for line in section.split(';').map(str::trim).filter(|line| !line.is_empty()) {
                bytes.extend_from_slice(&record(line));
                bytes[at + 1] += 1;
            }
        }
        bytes
    }

    /// [`Asked::reply`] with an OPT that holds `options`.
    pub fn reply_opt(&self, rcode: u16, answer: &str, authority: &str, options: &[u8]) -> Vec<u8> {
        let mut bytes = self.reply(rcode & 0xf, answer, authority);
        bytes.extend_from_slice(&[0, 0, 41, 4, 208, (rcode >> 4) as u8, 0, 0, 0, 0, options.len() as u8]);
        bytes.extend_from_slice(options);
        bytes[11] += 1;
        bytes
    }
}

/// One record in wire form.
pub fn record(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let rtype: Rtype = words[2].parse().unwrap();
    let data = match words[2] {
        "CNAME" | "NS" | "DNAME" => name(words[3]).as_wire().into(),
        "SOA" => {
            let numbers = words[5..].iter().flat_map(|word| word.parse::<u32>().unwrap().to_be_bytes());
            let names = [name(words[3]).as_wire(), name(words[4]).as_wire()].concat();
            names.into_iter().chain(numbers).collect()
        }
        // Of any type, by RFC 3597 section 5.
        _ if words[3] == "\\#" => {
            let digits = words[5..].concat();
            (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect()
        }
        _ => rdata_from_text(rtype, &words[3..].join(" ")),
    };
    let mut bytes = spelled(words[0]);
    bytes.extend_from_slice(&rtype.0.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(&words[1].parse::<u32>().unwrap().to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

/// What the upstream does with a query.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these messages, in order.
    Send(Vec<Vec<u8>>),
    /// Says nothing (over TCP: keeps the connection open).
    Drop,
    /// Sends the message once [`Upstream::release`] is called.
    Hold(Vec<u8>),
    /// Sends the first message from another port, then the second from the right one.
    Elsewhere(Vec<u8>, Vec<u8>),
    /// Closes the connection (TCP).
    Close,
}

impl Act {
    /// Sends one message.
    pub fn send(message: Vec<u8>) -> Self {
        Self::Send(vec![message])
    }
}

type Script = dyn Fn(&Asked) -> Act + Send + Sync;

struct State {
    script: Box<Script>,
    seen: Mutex<Vec<Asked>>,
    grown: Condvar,
    held: Mutex<Vec<(SocketAddr, Vec<u8>)>>,
    stopping: AtomicBool,
}

/// A running upstream; it ends when dropped.
pub struct Upstream {
    pub address: SocketAddr,
    socket: UdpSocket,
    state: Arc<State>,
}

impl Upstream {
    /// Starts one that acts by `script`.
    pub fn start(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1", script)
    }

    /// Starts one with that loopback address.
    pub fn start_on(address: &str, script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self::on(bind_both(address), script)
    }

    /// Starts one at an address that is free.
    pub fn start_at(address: SocketAddr, script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self::on((UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()), script)
    }

    fn on(
        (socket, listener): (UdpSocket, TcpListener),
        script: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Self {
        let address = socket.local_addr().unwrap();
        let state = Arc::new(State {
            script: Box::new(script),
            seen: Mutex::default(),
            grown: Condvar::new(),
            held: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let (udp, shared) = (socket.try_clone().unwrap(), Arc::clone(&state));
        std::thread::spawn(move || serve_udp(&udp, &shared));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || serve_tcp(&listener, &shared));
        Self { address, socket, state }
    }

    /// Answers every A question with `answer` for its own name, TTL 300.
    pub fn answering(address: &'static str) -> Self {
        Self::start(move |asked| Act::send(asked.reply(0, &format!("{} 300 A {address}", asked.qname), "")))
    }

    /// All queries so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many queries for `name`, lower case, there were so far. What the
    /// daemon asks of itself, to know its upstreams, is not among them.
    pub fn times_asked(&self, name: &str) -> usize {
        self.state.seen.lock().unwrap().iter().filter(|asked| asked.qname == name).count()
    }

    /// Waits until `condition` holds for the queries so far.
    pub fn wait(&self, condition: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let seen = self.state.seen.lock().unwrap();
        let waited = self.state.grown.wait_timeout_while(seen, PATIENCE, |seen| !condition(seen));
        let (seen, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "never happened; seen: {seen:?}");
        seen.clone()
    }

    /// Sends what was held back. A query that is still under way is waited for.
    pub fn release(&self) {
        let seen = self.state.seen.lock().unwrap();
        let is_none = |_: &mut Vec<Asked>| self.state.held.lock().unwrap().is_empty();
        drop(self.state.grown.wait_timeout_while(seen, PATIENCE, is_none).unwrap());
        for (peer, message) in self.state.held.lock().unwrap().drain(..) {
            self.socket.send_to(&message, peer).unwrap();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = self.socket.send_to(&[], self.address);
        let _ = TcpStream::connect(self.address);
    }
}

fn bind_both(address: &str) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()) {
            return (socket, listener);
        }
    }
    panic!("no port is free for UDP and TCP");
}

/// A loopback address where nobody listens: ICMP port unreachable.
pub fn closed() -> SocketAddr {
    let (socket, _listener) = bind_both("127.0.0.1");
    socket.local_addr().unwrap()
}

fn act(state: &State, bytes: &[u8], peer: SocketAddr, transport: Transport) -> Act {
    let message = Message::parse(bytes).expect("hubdns sends whole queries");
    assert_eq!(bytes.len(), message.records().last().map_or(message.question_end(), |r| r.end()));
    let mut seen = state.seen.lock().unwrap();
    let qname = message.qname().unwrap().to_name().to_string();
    let same = |other: &&Asked| {
        other.qname == qname && other.qtype == message.qtype() && other.transport == transport
    };
    let nth = seen.iter().filter(same).count();
    let asked = Asked { qname, qtype: message.qtype(), transport, nth, bytes: bytes.to_vec(), peer };
    seen.push(asked.clone());
    let act = (state.script)(&asked);
    if let Act::Hold(message) = &act {
        state.held.lock().unwrap().push((peer, message.clone()));
    }
    drop(seen);
    state.grown.notify_all();
    act
}

fn serve_udp(socket: &UdpSocket, state: &State) {
    let mut buf = vec![0; 65_536];
    loop {
        let Ok((len, peer)) = socket.recv_from(&mut buf) else { continue };
        if state.stopping.load(Ordering::SeqCst) {
            return;
        }
        if len < HEADER_LEN {
            continue;
        }
        match act(state, &buf[..len], peer, Transport::Udp) {
            Act::Send(messages) => {
                for message in messages {
                    let _ = socket.send_to(&message, peer);
                }
            }
            Act::Elsewhere(forged, right) => {
                let other = UdpSocket::bind("127.0.0.1:0").unwrap();
                let _ = other.send_to(&forged, peer);
                let _ = socket.send_to(&right, peer);
            }
            Act::Drop | Act::Hold(_) | Act::Close => {}
        }
    }
}

fn serve_tcp(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stopping.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(stream), state) = (stream, Arc::clone(state)) else { continue };
        std::thread::spawn(move || serve_stream(stream, &state));
    }
}

fn serve_stream(mut stream: TcpStream, state: &State) -> Option<()> {
    let peer = stream.peer_addr().ok()?;
    loop {
        let mut len = [0; 2];
        stream.read_exact(&mut len).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut message).ok()?;
        match act(state, &message, peer, Transport::Tcp) {
            Act::Send(messages) => {
                for message in messages {
                    stream.write_all(&(message.len() as u16).to_be_bytes()).ok()?;
                    stream.write_all(&message).ok()?;
                }
            }
            Act::Close => return None,
            Act::Drop | Act::Hold(_) | Act::Elsewhere(..) => {}
        }
    }
}

/// Counts questions by name, type and transport.
pub fn tally(seen: &[Asked]) -> HashMap<(String, Rtype, Transport), usize> {
    let mut tally = HashMap::new();
    for asked in seen {
        *tally.entry((asked.qname.clone(), asked.qtype, asked.transport)).or_insert(0) += 1;
    }
    tally
}
