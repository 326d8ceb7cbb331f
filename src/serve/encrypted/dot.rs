//! DNS over TLS (RFC 7858): a connection is a stream of messages as over TCP
//! (RFC 7766), served by a task.
//!
//! As there, answers leave in the order in which they become ready, and nothing
//! is read while too many queries are in flight or the client does not take its
//! answers; what it may leave waiting is limited in bytes and in time.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;

use super::super::ask::Asked;
use super::super::framing::{Frame, PREFIX, append};
use super::letter::{Letter, Way};
use super::service::{Listener, drained};
use crate::metrics::queries::{Dropped, Ended};
use crate::wire::tell_closing;

/// Responses that are collected before they are written, in bytes.
const FULL: usize = 16 * 1024;
/// Room for what is read at once; most reads bring one query.
const ROOM: usize = 2048;
/// How long and how far a closing connection is read, so that what the client
/// still sends does not turn our close into a reset that eats its answers.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(listener: &Listener, stream: TlsStream<TcpStream>, client: IpAddr) -> Ended {
    let (reader, writer) = tokio::io::split(stream);
    let (sender, letters) = mpsc::unbounded_channel();
    let now = Instant::now();
    let connection = Connection {
        listener,
        client,
        reader,
        writer,
        sender,
        letters,
        input: Vec::new(),
        output: Vec::new(),
        written: 0,
        is_flushed: true,
        in_flight: 0,
        active: now,
        blocked: now,
        ending: None,
        draining: false,
    };
    connection.run().await
}

struct Connection<'l> {
    listener: &'l Listener,
    client: IpAddr,
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    sender: mpsc::UnboundedSender<Letter>,
    letters: mpsc::UnboundedReceiver<Letter>,
    /// What was read and could not be answered yet.
    input: Vec<u8>,
    /// What TLS has not taken yet, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// Whether TLS has handed all that it took to the socket.
    is_flushed: bool,
    in_flight: usize,
    /// When the last whole query came or the last answer went.
    active: Instant,
    /// Since when the client takes nothing.
    blocked: Instant,
    /// Why no more queries are taken, once that is so.
    ending: Option<Ended>,
    draining: bool,
}

impl Connection<'_> {
    async fn run(mut self) -> Ended {
        let mut drain = self.listener.shared.drain.subscribe();
        let timer = sleep_until(self.deadline());
        tokio::pin!(timer);
        let ended = loop {
            self.answer();
            if let Some(ended) = self.ending
                && self.in_flight == 0
                && !self.has_output()
            {
                break ended;
            }
            let may_read = self.may_answer();
            let has_output = self.has_output();
            tokio::select! {
                pushed = push(&mut self.writer, self.output.get(self.written..).unwrap_or_default()), if has_output => {
                    match pushed {
                        Ok(Some(0)) | Err(_) => break Ended::Error,
                        Ok(Some(len)) => self.took(len),
                        Ok(None) => {
                            self.is_flushed = true;
                            self.active = Instant::now();
                        }
                    }
                }
                read = read(&mut self.reader, &mut self.input), if may_read => match read {
                    // The client may have closed only its sending side.
                    Ok(0) => self.end(Ended::Client),
                    Ok(_) => {}
                    // TCP ended before TLS did: some clients do not say goodbye.
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => self.end(Ended::Client),
                    Err(_) => break Ended::Error,
                },
                letter = self.letters.recv(), if self.in_flight > 0 => {
                    let mut next = letter;
                    while let Some(letter) = next {
                        self.late(letter);
                        next = self.letters.try_recv().ok();
                    }
                    if self.output.len() - self.written > self.listener.settings.max_buffered {
                        break Ended::Stalled;
                    }
                }
                () = timer.as_mut() => {
                    let now = Instant::now();
                    let idle = self.listener.settings.idle_timeout;
                    if self.has_output() && now >= self.blocked + idle {
                        break Ended::Stalled;
                    }
                    if self.in_flight == 0 && !self.has_output() && now >= self.active + idle {
                        self.end(Ended::Idle);
                    }
                    timer.as_mut().reset(self.deadline().max(now + Duration::from_millis(1)));
                }
                () = drained(&mut drain), if !self.draining => {
                    self.draining = true;
                    self.end(Ended::Drained);
                }
            }
        };
        self.close(ended).await;
        ended
    }

    fn end(&mut self, reason: Ended) {
        self.ending.get_or_insert(reason);
    }

    /// Whether the client has not got all that it is to get.
    const fn has_output(&self) -> bool {
        self.written < self.output.len() || !self.is_flushed
    }

    const fn may_answer(&self) -> bool {
        self.ending.is_none()
            && self.in_flight < self.listener.settings.max_queries_per_connection
            && !self.has_output()
    }

    /// When a time-out is looked for: not before it can have come.
    fn deadline(&self) -> Instant {
        let idle = self.listener.settings.idle_timeout;
        if self.has_output() {
            self.blocked + idle
        } else if self.in_flight > 0 {
            Instant::now() + idle
        } else {
            self.active + idle
        }
    }

    /// Notes that TLS took so many bytes.
    fn took(&mut self, len: usize) {
        self.written += len;
        self.is_flushed = false;
        self.blocked = Instant::now();
        if self.written >= self.output.len() {
            // The memory goes back: most connections do nothing most of the time.
            self.output = Vec::new();
            self.written = 0;
        }
    }

    /// Takes what has arrived for a query in flight.
    fn late(&mut self, letter: Letter) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let counters = &self.listener.shared.counters;
        match letter {
            Some((mut response, rcode, origin)) => {
                if !self.has_output() {
                    self.blocked = Instant::now();
                }
                if self.ending.is_some() {
                    // Since it was asked the idle timeout has lost its meaning.
                    tell_closing(&mut response);
                }
                append(&mut self.output, &response);
                counters.response(self.listener.transport, rcode, origin);
            }
            None => counters.dropped(Dropped::Abandoned),
        }
    }

    /// Answers the whole messages of the input, as far as the limits allow.
    fn answer(&mut self) {
        if Frame::first_of(&self.input) == Frame::Partial || !self.may_answer() {
            return;
        }
        let Some(session) = self.listener.session(self.client) else {
            // The prefix was taken from the list while the connection was open.
            self.end(Ended::Denied);
            return;
        };
        let most = self.listener.settings.max_queries_per_connection;
        let millis = self.listener.settings.idle_timeout.as_millis();
        let keepalive = Some(u16::try_from(millis / 100).unwrap_or(u16::MAX));
        let mut used = 0;
        while self.output.len() < FULL && self.in_flight < most {
            let message = match Frame::first_of(self.input.get(used..).unwrap_or_default()) {
                Frame::Message(message) => message,
                Frame::Partial => break,
                Frame::Short => {
                    self.listener.shared.counters.dropped(Dropped::Short);
                    self.ending.get_or_insert(Ended::Protocol);
                    used = self.input.len();
                    break;
                }
            };
            used += PREFIX + message.len();
            let (sender, output) = (&self.sender, &mut self.output);
            let way = || Way::Stream(sender.clone());
            match session.ask(message, keepalive, way, |response| append(output, response)) {
                Asked::Ready(_) => {}
                Asked::Pending => self.in_flight += 1,
                Asked::Unfit => {
                    self.ending.get_or_insert(Ended::Protocol);
                    used = self.input.len();
                    break;
                }
            }
        }
        self.active = Instant::now();
        self.blocked = self.active;
        if used >= self.input.len() {
            self.input = Vec::new();
        } else {
            self.input.drain(..used);
        }
    }

    /// Ends TLS and the connection. What is still under way comes too late.
    async fn close(mut self, ended: Ended) {
        self.letters.close();
        while let Ok(letter) = self.letters.try_recv() {
            let gone = if letter.is_some() { Dropped::ClientGone } else { Dropped::Abandoned };
            self.listener.shared.counters.dropped(gone);
        }
        if matches!(ended, Ended::Error | Ended::Stalled) {
            return;
        }
        let lingers = !matches!(ended, Ended::Client);
        let (mut reader, mut writer) = (self.reader, self.writer);
        let closing = async move {
            if writer.shutdown().await.is_err() || !lingers {
                return;
            }
            let (mut space, mut read) = (vec![0; ROOM], 0);
            while read < LINGER_BYTES {
                match reader.read(&mut space).await {
                    Ok(0) | Err(_) => break,
                    Ok(len) => read += len,
                }
            }
        };
        let _ = timeout(LINGER, closing).await;
    }
}

/// One step of output: how many bytes TLS took; `None` once all are on their way.
/// Dropped before it is done, it has taken nothing.
async fn push(writer: &mut WriteHalf<TlsStream<TcpStream>>, output: &[u8]) -> std::io::Result<Option<usize>> {
    if output.is_empty() {
        writer.flush().await?;
        return Ok(None);
    }
    writer.write(output).await.map(Some)
}

/// One read behind what was read already.
async fn read(reader: &mut ReadHalf<TlsStream<TcpStream>>, input: &mut Vec<u8>) -> std::io::Result<usize> {
    input.reserve(ROOM);
    reader.read_buf(input).await
}
