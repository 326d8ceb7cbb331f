//! One TCP connection: queries in, answers out, in the order in which they
//! become ready (RFC 7766 sections 6.2.1.1 and 7).
//!
//! One task does it all. A read may bring many queries; what is ready of their
//! answers goes out with one write. Answers that come later arrive over a
//! channel as long as the number of queries in flight, so a send into it never
//! waits. While that number is reached, or while the client does not take its
//! answers, nothing is read: the client's own send buffer fills, and nothing
//! here grows. Rejected: a task for reading and one for writing, which would
//! cost a wake-up per answer.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::access::PolicyReader;
use super::context;
use super::framing::{Frame, Input, append};
use super::reject::reject;
use super::tcp::Service;
use super::udp::OnePending;
use crate::answer::{Lookup, Transport};
use crate::metrics::queries::{Dropped, Ended, Shared};
use crate::resolve::{self, Origin, Reply, Resolved};
use crate::wire::{Query, Rcode, Response};

/// Answers collected before they are written, in bytes, give or take one.
const OUTPUT_BYTES: usize = 32 * 1024;
/// How long and how far a closing connection is read, so that what the client
/// still sends does not turn our close into a reset that eats its answers.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

thread_local! {
    /// Where a response is built: the largest that TCP carries. One for each
    /// thread of the runtime, since no task is interrupted while it uses it.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; usize::from(u16::MAX)].into_boxed_slice());
}

/// A connection being served.
pub(super) struct Connection {
    service: Arc<Service>,
    stream: TcpStream,
    client: std::net::IpAddr,
    policy: PolicyReader,
    input: Input,
    output: Vec<u8>,
    late: Option<(mpsc::Sender<Late>, mpsc::Receiver<Late>)>,
    in_flight: usize,
    /// When the last whole query came or the last answer went.
    active: Instant,
    opened: Instant,
    /// Why no more queries are taken, once that is so.
    ending: Option<Ended>,
}

/// What arrives for a query that was in flight.
#[derive(Debug)]
enum Late {
    /// Its response.
    Response(Vec<u8>),
    /// It will get none.
    Abandoned,
}

impl Connection {
    pub(super) fn new(service: Arc<Service>, stream: TcpStream, client: std::net::IpAddr) -> Self {
        let now = Instant::now();
        let policy = service.policies.reader();
        Self {
            service,
            stream,
            client,
            policy,
            input: Input::default(),
            output: Vec::new(),
            late: None,
            in_flight: 0,
            active: now,
            opened: now,
            ending: None,
        }
    }

    /// Serves the connection until it ends; tells why it did.
    pub(super) async fn run(mut self, mut draining: watch::Receiver<bool>) -> Ended {
        let ended = self.serve(&mut draining).await;
        if matches!(ended, Ended::Protocol | Ended::Total | Ended::Drained | Ended::Denied) {
            let _ = timeout(LINGER, self.linger()).await;
        }
        ended
    }

    async fn serve(&mut self, draining: &mut watch::Receiver<bool>) -> Ended {
        let mut timer = std::pin::pin!(sleep_until(self.next_deadline()));
        // Made once, not at every turn: it would enter and leave a list of waiters each time.
        let mut drained = std::pin::pin!(draining.wait_for(|draining| *draining));
        loop {
            self.take_late();
            self.answer_input();
            if !self.output.is_empty() {
                if let Err(ended) = self.flush().await {
                    return ended;
                }
                // Input that had to wait for room in the output goes first.
                continue;
            }
            if let Some(ended) = self.ending
                && self.in_flight == 0
            {
                return ended;
            }
            let reading =
                self.ending.is_none() && self.in_flight < self.service.limits.max_queries_per_connection;
            tokio::select! {
                read = self.stream.read(self.input.space()), if reading => match read {
                    // The client may have closed only its sending side (RFC 7766 section 6.2.4):
                    // what is in flight is still answered.
                    Ok(0) => self.ending = Some(Ended::Client),
                    Ok(len) => self.input.filled(len),
                    Err(_) => return Ended::Error,
                },
                late = receive(&mut self.late), if self.in_flight > 0 => self.accept_late(late),
                () = timer.as_mut() => {
                    self.check_time();
                    timer.as_mut().reset(self.next_deadline());
                }
                // An error means that the server is gone.
                _ = drained.as_mut(), if self.ending.is_none() => {
                    self.ending = Some(Ended::Drained);
                }
            }
        }
    }

    /// When [`Connection::check_time`] must look again. Activity moves the idle
    /// deadline without touching the timer; it finds out when it fires.
    fn next_deadline(&self) -> Instant {
        let limits = &self.service.limits;
        let idle = if self.in_flight == 0 {
            self.active + limits.idle_timeout
        } else {
            Instant::now() + limits.idle_timeout / 2
        };
        if self.ending.is_some() {
            Instant::now() + limits.idle_timeout
        } else {
            idle.min(self.opened + limits.total_timeout)
        }
    }

    /// Ends what has waited too long. Bytes of an unfinished message are no
    /// activity: a client that trickles them in is idle.
    fn check_time(&mut self) {
        let now = Instant::now();
        let limits = &self.service.limits;
        if self.ending.is_some() {
            return;
        }
        if now >= self.opened + limits.total_timeout {
            self.ending = Some(Ended::Total);
        } else if self.in_flight == 0 && now >= self.active + limits.idle_timeout {
            self.ending = Some(Ended::Idle);
        }
    }

    /// Answers the whole messages of the input, as far as the limits allow.
    fn answer_input(&mut self) {
        if !self.input.is_ready() {
            return;
        }
        let policy = self.policy.load();
        if !policy.allow.admits(self.client) {
            // The prefix was taken from the list while the connection was open.
            self.input.clear();
            self.ending = Some(Ended::Denied);
            return;
        }
        let snapshot = self.service.publisher.current();
        let context = context(Transport::Tcp, self.client, policy, &snapshot);
        let now = resolve::now();
        let mut queries = 0;
        SCRATCH.with_borrow_mut(|scratch| {
            while self.output.len() < OUTPUT_BYTES
                && self.in_flight < self.service.limits.max_queries_per_connection
            {
                let message = match self.input.next() {
                    Frame::Message(message) => message,
                    Frame::Partial => break,
                    Frame::Short => {
                        self.service.counters.dropped(Dropped::Short);
                        self.ending = Some(Ended::Protocol);
                        self.input.clear();
                        break;
                    }
                };
                queries += 1;
                let counters = &self.service.counters;
                let Some(place) = scratch.get_mut(..message.len()) else {
                    break;
                };
                place.copy_from_slice(message);
                let query = match Query::parse(message) {
                    Ok(query) => query,
                    Err(why) => match reject(&why, context.udp_size, scratch) {
                        Ok((len, rcode)) => {
                            counters.response(Transport::Tcp, rcode, Origin::Error);
                            append(&mut self.output, scratch.get(..len).unwrap_or_default());
                            continue;
                        }
                        Err(reason) => {
                            // What must not be answered has no place in a stream of queries.
                            counters.dropped(reason.into());
                            self.ending = Some(Ended::Protocol);
                            self.input.clear();
                            break;
                        }
                    },
                };
                let mut out = Response::new(scratch, context.limit(&query));
                let (service, late) = (&self.service, &mut self.late);
                let reply = || TcpReply::new(service, late);
                match service.resolver.resolve(&query, &context, &snapshot, now, &mut out, reply) {
                    Resolved::Ready { len, rcode, origin, lookup } => {
                        counters.response(Transport::Tcp, rcode, origin);
                        if lookup == Some(Lookup::OwnMissing) {
                            counters.own_missing();
                        }
                        append(&mut self.output, scratch.get(..len).unwrap_or_default());
                    }
                    Resolved::Pending => self.in_flight += 1,
                }
            }
        });
        if queries > 0 {
            self.active = Instant::now();
            self.service.counters.queries(Transport::Tcp, queries);
        }
    }

    /// Takes all answers that have become ready.
    fn take_late(&mut self) {
        while self.output.len() < OUTPUT_BYTES {
            let Some((_, receiver)) = &mut self.late else {
                return;
            };
            let Ok(late) = receiver.try_recv() else {
                return;
            };
            self.accept_late(late);
        }
    }

    fn accept_late(&mut self, late: Late) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Late::Response(response) = late {
            append(&mut self.output, &response);
        }
    }

    /// Writes what is collected. A client has the idle timeout to take it.
    async fn flush(&mut self) -> Result<(), Ended> {
        let written = timeout(self.service.limits.idle_timeout, self.stream.write_all(&self.output)).await;
        self.output.clear();
        // After a large answer the memory goes back.
        self.output.shrink_to(OUTPUT_BYTES);
        self.active = Instant::now();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Error),
            Err(_) => Err(Ended::Stalled),
        }
    }

    /// Closes our side and reads what the client still had under way.
    async fn linger(&mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut read = 0;
        while read < LINGER_BYTES {
            self.input.clear();
            match self.stream.read(self.input.space()).await {
                Ok(len) if len > 0 => read += len,
                _ => return,
            }
        }
    }
}

/// The next answer that becomes ready; never without a channel.
async fn receive(late: &mut Option<(mpsc::Sender<Late>, mpsc::Receiver<Late>)>) -> Late {
    match late {
        // The sender beside it keeps the channel open.
        Some((_, receiver)) => receiver.recv().await.unwrap_or(Late::Abandoned),
        None => std::future::pending().await,
    }
}

/// Hands a response that becomes ready on another thread to its connection.
#[derive(Debug)]
pub(super) struct TcpReply {
    sender: mpsc::Sender<Late>,
    counters: Shared,
    sent: bool,
    _pending: OnePending,
}

impl TcpReply {
    /// A reply over the channel of the connection, made at its first use: most
    /// connections never need one.
    fn new(service: &Service, late: &mut Option<(mpsc::Sender<Late>, mpsc::Receiver<Late>)>) -> Self {
        let (sender, _) =
            late.get_or_insert_with(|| mpsc::channel(service.limits.max_queries_per_connection.max(1)));
        let sender = sender.clone();
        Self { sender, counters: service.counters.clone(), sent: false, _pending: service.pending.one() }
    }
}

impl Reply for TcpReply {
    fn send(mut self: Box<Self>, response: Vec<u8>, rcode: Rcode, origin: Origin) {
        self.sent = true;
        // There is room: no more queries are in flight than the channel is long.
        match self.sender.try_send(Late::Response(response)) {
            Ok(()) => self.counters.response(Transport::Tcp, rcode, origin),
            Err(_) => self.counters.dropped(Dropped::ClientGone),
        }
    }
}

impl Drop for TcpReply {
    fn drop(&mut self) {
        if !self.sent {
            self.counters.dropped(Dropped::Abandoned);
            // Fails only when the connection is gone.
            let _ = self.sender.try_send(Late::Abandoned);
        }
    }
}
