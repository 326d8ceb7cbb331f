//! One TCP connection: queries in, answers out, in the order in which they
//! become ready (RFC 7766 sections 6.2.1.1 and 7).
//!
//! A read may bring many queries; what is ready of their answers goes out with
//! one write. What is read and written passes through memory of the thread, so
//! a connection holds none unless a message is cut or its client is slow.
//! Answers that come later arrive as letters, no more than there may be queries
//! in flight. While that number is reached, or while the client does not take
//! its answers, nothing is read: the client's own send buffer fills, and
//! nothing here grows.
//!
//! Nothing here waits. [`Connection::ready`], [`Connection::late`] and the like
//! do what can be done now; [`Connection::settle`] then tells the poller what
//! is awaited, or that the connection is at its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;

use super::access::PolicyReader;
use super::ask::{Asked, Asking};
use super::context;
use super::extras::Asker;
use super::framing::{Frame, Output, PREFIX, append};
use super::gate::Permit;
use super::late::{Mailbox, Outcome, TcpReply};
use super::proxy::{self, Proxied};
use super::tcp::Service;
use crate::answer::Transport;
use crate::metrics::queries::{Dropped, Ended, Local, ProxyHeader};
use crate::socket::{Interest, Poller};
use crate::wire::{Offer, Query, tell_closing};

/// How long (in milliseconds) and how far a closing connection is read, so that
/// what the client still sends does not turn our close into a reset that eats
/// its answers.
const LINGER: u64 = 500;
const LINGER_BYTES: usize = 256 * 1024;

/// What the connections of a thread share.
pub(super) struct Common {
    pub(super) service: Arc<Service>,
    pub(super) counters: Local,
    pub(super) policy: PolicyReader,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) poller: Poller,
    /// Read into again for each message.
    pub(super) query: Query,
    /// Empty between two connections.
    pub(super) output: Output,
    /// The time of this pass, in milliseconds.
    pub(super) now: u64,
}

/// A connection being served.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The effective client, once the preface was read.
    client: IpAddr,
    token: u64,
    preface: Preface,
    /// What was read and could not be answered yet.
    input: Vec<u8>,
    /// What the client has not taken yet, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// Since when it does not.
    blocked: u64,
    in_flight: usize,
    /// When the last whole query came or the last answer went.
    active: u64,
    opened: u64,
    /// Why no more queries are taken, once that is so.
    ending: Option<Ended>,
    /// Until when and how much is still read, once all is answered.
    linger: Option<(u64, usize)>,
    /// The socket failed.
    failed: bool,
    /// What the poller was asked to watch for; nothing while a connection is new.
    watched: Option<Interest>,
    permit: Permit,
}

/// What stands before the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preface {
    /// Nothing: the sender is the client.
    Nothing,
    /// A PROXY header, which names the client.
    Header,
    /// No PROXY header: the sender is not one of those that may send it.
    NoHeader,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        client: IpAddr,
        token: u64,
        now: u64,
        permit: Permit,
        preface: Preface,
    ) -> Self {
        Self {
            stream,
            client,
            token,
            preface,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            blocked: 0,
            in_flight: 0,
            active: now,
            opened: now,
            ending: None,
            linger: None,
            failed: false,
            watched: None,
            permit,
        }
    }

    /// Reads or writes what can be, through `space`. A `broken` connection for
    /// which there is nothing to do has failed.
    pub(super) fn ready(&mut self, common: &mut Common, space: &mut [u8], broken: bool) {
        match self.awaited(common) {
            Interest::Read => self.read(common, space),
            Interest::Write => self.flush(common),
            Interest::Nothing => self.failed |= broken,
        }
    }

    /// Whether the poller watches it.
    pub(super) const fn is_watched(&self) -> bool {
        self.watched.is_some()
    }

    /// Takes no more queries, for the reason given.
    pub(super) fn end(&mut self, reason: Ended) {
        self.ending.get_or_insert(reason);
    }

    /// Takes what has arrived for a query in flight. [`Connection::settle`] writes it.
    pub(super) fn late(&mut self, outcome: Outcome, common: &Common) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Response(mut response, rcode, origin) => {
                if self.output.is_empty() {
                    self.blocked = common.now;
                }
                if self.ending.is_some() {
                    // Since it was asked the idle timeout has lost its meaning.
                    tell_closing(&mut response);
                }
                append(&mut self.output, &response);
                common.counters.response(Transport::Tcp, rcode, origin);
            }
            Outcome::Abandoned => common.counters.dropped(Dropped::Abandoned),
        }
    }

    /// Ends what has waited too long. Bytes of an unfinished message are no
    /// activity: a client that trickles them in is idle.
    pub(super) fn check_time(&mut self, common: &Common) -> Option<Ended> {
        let (limits, now) = (&common.service.limits, common.now);
        let idle = limits.idle();
        if let Some((until, _)) = self.linger {
            return self.ending.filter(|_| now >= until);
        }
        if !self.output.is_empty() && now >= self.blocked + idle {
            return Some(Ended::Stalled);
        }
        if now >= self.opened + limits.total() {
            self.end(Ended::Total);
        } else if self.in_flight == 0 && self.output.is_empty() && now >= self.active + idle {
            self.end(Ended::Idle);
        }
        None
    }

    /// When [`Connection::check_time`] must look again.
    pub(super) fn deadline(&self, common: &Common) -> u64 {
        let (limits, now) = (&common.service.limits, common.now);
        let idle = limits.idle();
        if let Some((until, _)) = self.linger {
            return until;
        }
        let waiting = if !self.output.is_empty() {
            self.blocked + idle
        } else if self.in_flight > 0 || self.ending.is_some() {
            now + idle / 2
        } else {
            self.active + idle
        };
        if self.ending.is_some() { waiting } else { waiting.min(self.opened + limits.total()) }
    }

    /// Does what is left to do now, and has the poller watch for the rest. Tells
    /// why the connection has ended, if it has.
    pub(super) fn settle(&mut self, common: &mut Common) -> Option<Ended> {
        if !self.output.is_empty() && self.watched != Some(Interest::Write) {
            self.flush(common);
        }
        // Input that had to wait goes before what is not read yet.
        if !self.input.is_empty() {
            let input = std::mem::take(&mut self.input);
            self.consume(common, input);
        }
        if self.failed {
            return Some(Ended::Error);
        }
        if let Some(ended) = self.ending
            && self.linger.is_none()
            && self.in_flight == 0
            && self.output.is_empty()
        {
            let lingers = matches!(ended, Ended::Protocol | Ended::Total | Ended::Drained | Ended::Denied);
            if !lingers || self.stream.shutdown(Shutdown::Write).is_err() {
                return Some(ended);
            }
            self.linger = Some((common.now + LINGER, 0));
        }
        if let Some((_, read)) = self.linger
            && read >= LINGER_BYTES
        {
            return self.ending;
        }
        let awaited = self.awaited(common);
        // A new one is read again before the poller is bothered with it.
        let watch =
            if self.watched.is_none() { awaited != Interest::Read } else { self.watched != Some(awaited) };
        if watch && self.watch(common).is_err() {
            return Some(Ended::Error);
        }
        None
    }

    /// Whether it still reads what its client sends after its last answer.
    pub(super) const fn lingers(&self) -> bool {
        self.linger.is_some()
    }

    /// Has the poller watch for what is awaited now.
    pub(super) fn watch(&mut self, common: &Common) -> std::io::Result<()> {
        let awaited = self.awaited(common);
        let before = self.watched.replace(awaited);
        match before {
            None => common.poller.watch(&self.stream, self.token, awaited),
            Some(_) => common.poller.change(&self.stream, self.token, awaited),
        }
    }

    fn awaited(&self, common: &Common) -> Interest {
        if self.linger.is_some() {
            Interest::Read
        } else if !self.output.is_empty() {
            Interest::Write
        } else if self.ending.is_none() && self.in_flight < common.service.limits.max_queries_per_connection {
            Interest::Read
        } else {
            Interest::Nothing
        }
    }

    /// One read, and the answers to what it brought.
    fn read(&mut self, common: &mut Common, space: &mut [u8]) {
        let len = match self.stream.read(space) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => {
                self.failed = true;
                return;
            }
        };
        let bytes = space.get(..len).unwrap_or_default();
        if let Some((until, read)) = &mut self.linger {
            *read += len;
            if len == 0 {
                *until = 0;
                *read = LINGER_BYTES;
            }
        } else if len == 0 {
            // The client may have closed only its sending side (RFC 7766 section 6.2.4):
            // what is in flight is still answered.
            self.end(Ended::Client);
        } else if self.input.is_empty() {
            let used = self.answer(common, bytes);
            self.input.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            self.consume(common, input);
        }
    }

    /// Answers the messages of `input` and keeps the rest of it.
    fn consume(&mut self, common: &mut Common, mut input: Vec<u8>) {
        let used = self.answer(common, &input);
        if used < input.len() {
            input.drain(..used);
            self.input = input;
        }
    }

    /// Answers the whole messages of `bytes`, as far as the limits allow.
    /// Returns how many bytes are done with.
    fn answer(&mut self, common: &mut Common, bytes: &[u8]) -> usize {
        if self.preface == Preface::Nothing {
            return self.answer_messages(common, bytes);
        }
        match self.read_preface(common, bytes) {
            Some(len) => len + self.answer_messages(common, bytes.get(len..).unwrap_or_default()),
            None if self.ending.is_some() => bytes.len(),
            None => 0,
        }
    }

    /// Reads what stands before the messages, once: its length; `None` while it
    /// is not there, and where it ends the connection.
    #[cold]
    fn read_preface(&mut self, common: &mut Common, bytes: &[u8]) -> Option<usize> {
        let counters = &common.counters;
        let read = proxy::read(bytes);
        if self.preface == Preface::NoHeader {
            // A length of 13 may be the start of a message yet.
            if read == Proxied::Partial && bytes.len() < proxy::SIGNATURE.len() {
                return None;
            }
            self.preface = Preface::Nothing;
            if read == Proxied::None {
                return Some(0);
            }
            counters.proxy_header(ProxyHeader::Unlisted);
            self.end(Ended::Protocol);
            return None;
        }
        let (len, client) = match read {
            Proxied::Partial => return None,
            Proxied::Header { len, client } => (len, client),
            Proxied::None | Proxied::Malformed => {
                let missing = read == Proxied::None;
                counters.proxy_header(if missing { ProxyHeader::Missing } else { ProxyHeader::Malformed });
                self.end(Ended::Protocol);
                return None;
            }
        };
        counters.proxy_header(if client.is_some() { ProxyHeader::Named } else { ProxyHeader::Local });
        self.preface = Preface::Nothing;
        self.client = client.map_or(self.client, |client| client.ip());
        if let Err(reason) = self.permit.name(self.client) {
            counters.turned_away(reason);
            self.end(Ended::Denied);
            return None;
        }
        Some(len)
    }

    fn answer_messages(&mut self, common: &mut Common, bytes: &[u8]) -> usize {
        let Common { service, counters, policy, mailbox, query, output, now, .. } = common;
        let most = service.limits.max_queries_per_connection;
        if Frame::first_of(bytes) == Frame::Partial || !self.output.is_empty() || self.in_flight >= most {
            return 0;
        }
        let policy = policy.load();
        if !policy.allow.admits(self.client) {
            // The prefix was taken from the list while the connection was open, or
            // a proxy speaks for somebody who may not ask.
            self.end(Ended::Denied);
            return bytes.len();
        }
        let snapshot = service.publisher.current();
        let asking = Asking {
            resolver: &service.resolver,
            counters,
            context: context(Transport::Tcp, self.client, policy, &snapshot),
            snapshot: &snapshot,
            now: *now,
            asker: Asker {
                policy,
                client: self.client,
                transport: Transport::Tcp,
                offer: Offer { keepalive: Some(service.limits.keepalive()), padding: false },
            },
        };
        let (mut rest, mut queries) = (bytes, 0);
        while self.output.is_empty() && self.in_flight < most && !self.failed {
            let message = match Frame::first_of(rest) {
                Frame::Message(message) => message,
                Frame::Partial => break,
                Frame::Short => {
                    counters.dropped(Dropped::Short);
                    self.end(Ended::Protocol);
                    rest = &[];
                    break;
                }
            };
            rest = rest.get(PREFIX + message.len()..).unwrap_or_default();
            queries += 1;
            let place = output.place(message);
            let reply =
                |extras| TcpReply::new(mailbox, self.token, self.client, extras, service.pending.one());
            match asking.ask(query, message, place, reply) {
                Asked::Ready(len) => output.keep(len),
                Asked::Pending => self.in_flight += 1,
                Asked::Unfit => {
                    self.end(Ended::Protocol);
                    rest = &[];
                    break;
                }
            }
            if output.is_full() {
                self.write(output.take(), *now);
            }
        }
        self.write(output.take(), *now);
        self.active = *now;
        counters.queries(Transport::Tcp, queries);
        bytes.len() - rest.len()
    }

    /// Writes answers; what the client does not take now is kept.
    fn write(&mut self, answers: &[u8], now: u64) {
        if answers.is_empty() || self.failed {
            return;
        }
        let written = match self.output.is_empty().then(|| self.stream.write(answers)) {
            Some(Ok(written)) => written,
            Some(Err(error)) if !may_be_repeated(&error) => {
                self.failed = true;
                return;
            }
            _ => 0,
        };
        let left = answers.get(written..).unwrap_or_default();
        if !left.is_empty() {
            if self.output.is_empty() {
                self.blocked = now;
            }
            self.output.extend_from_slice(left);
        }
    }

    /// Writes what was kept. A client has the idle timeout to take it.
    fn flush(&mut self, common: &Common) {
        let left = self.output.get(self.written..).unwrap_or_default();
        match self.stream.write(left) {
            Ok(written) if written == left.len() => {
                // The memory goes back: most connections never need any again.
                self.output = Vec::new();
                self.written = 0;
                self.active = common.now;
            }
            Ok(written) => self.written += written,
            Err(error) if may_be_repeated(&error) => {}
            Err(_) => self.failed = true,
        }
    }
}

fn may_be_repeated(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
