//! DNS over HTTPS (RFC 8484): HTTP/2 by hyper, and HTTP/1.1 for clients that
//! speak nothing newer.
//!
//! hyper knows no idle connection and no client that takes nothing, so both are
//! looked for here: a connection whose requests are answered is asked to end
//! (GOAWAY), one that leaves its responses lying is dropped. What lies is
//! counted in bytes, for the whole connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::super::ask::Asked;
use super::freshness::max_age;
use super::letter::Way;
use super::request::{self, Asks, MESSAGE};
use super::service::{LONGEST, Listener, drained};
use crate::metrics::labels::HttpStatus;
use crate::metrics::queries::{Dropped, Ended};
use crate::resolve::now;

/// Bytes of request headers that are taken.
const MAX_HEADERS: usize = 16 << 10;
/// The window of a stream and of a connection: a POST body of any length fits.
const STREAM_WINDOW: u32 = 1 << 16;
const CONNECTION_WINDOW: u32 = 1 << 18;
/// Bytes of a response that hyper is given at once, so that what a client does
/// not take lies here, where it is counted.
const PIECE: usize = 16 << 10;
/// How long a connection that was asked to end may take.
const ENDING: Duration = Duration::from_secs(2);

/// What the requests of a connection share.
#[derive(Debug)]
struct Shared {
    listener: Arc<Listener>,
    client: IpAddr,
    /// Requests that have no response yet.
    in_flight: AtomicUsize,
    /// Bytes of responses that the client has not taken yet.
    buffered: Arc<AtomicUsize>,
    /// When something last went on, in milliseconds.
    active: Arc<AtomicU64>,
    /// Why the connection is to end, found out by a request.
    is_denied: AtomicBool,
}

/// Serves a connection to its end.
pub(super) async fn serve(listener: &Arc<Listener>, stream: TlsStream<TcpStream>, client: IpAddr) -> Ended {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let shared = Arc::new(Shared {
        listener: Arc::clone(listener),
        client,
        in_flight: AtomicUsize::new(0),
        buffered: Arc::default(),
        active: Arc::new(AtomicU64::new(now())),
        is_denied: AtomicBool::new(false),
    });
    let requests = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let requests = Arc::clone(&requests);
        async move { Ok::<_, Infallible>(respond(&requests, request).await) }
    });
    let stream = TokioIo::new(stream);
    let idle = listener.settings.idle_timeout;
    if is_h2 {
        let most = u32::try_from(listener.settings.max_queries_per_connection).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(most)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADERS as u32)
            .max_send_buf_size(PIECE)
            .serve_connection(stream, service);
        tokio::pin!(connection);
        drive(&shared, connection, http2::Connection::graceful_shutdown).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(stream, service);
        tokio::pin!(connection);
        drive(&shared, connection, http1::Connection::graceful_shutdown).await
    }
}

/// Lets hyper work until the connection ends, by itself or since it should.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    shared: &Shared,
    mut connection: Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
) -> Ended {
    let mut drain = shared.listener.shared.drain.subscribe();
    let idle = shared.listener.settings.idle_timeout;
    let timer = sleep_until(Instant::now() + idle);
    tokio::pin!(timer);
    let mut ending = None;
    loop {
        let reason = tokio::select! {
            ended = connection.as_mut() => {
                // A client that just closes its connection is no error of anybody's.
                return ending.unwrap_or(if ended.is_ok() { Ended::Client } else { Ended::Error });
            }
            () = timer.as_mut() => match ending {
                // An answer that is awaited has an end of its own.
                Some(_) if shared.in_flight.load(Ordering::Relaxed) > 0 => {
                    timer.as_mut().reset(Instant::now() + ENDING);
                    continue;
                }
                // It had its time.
                Some(ending) => return ending,
                None => match shared.look(idle) {
                    Seen::Active(again) => {
                        timer.as_mut().reset(Instant::now() + again);
                        continue;
                    }
                    Seen::Stalled => return Ended::Stalled,
                    Seen::Idle => Ended::Idle,
                },
            },
            () = drained(&mut drain), if ending.is_none() => Ended::Drained,
        };
        finish(connection.as_mut());
        timer.as_mut().reset(Instant::now() + ENDING);
        ending = Some(if shared.is_denied.load(Ordering::Relaxed) { Ended::Denied } else { reason });
    }
}

/// What is to be seen of a connection.
enum Seen {
    /// Something goes on; look again after this.
    Active(Duration),
    /// Nothing is to be done.
    Idle,
    /// Responses lie here and nobody takes them.
    Stalled,
}

impl Shared {
    fn look(&self, idle: Duration) -> Seen {
        let quiet = Duration::from_millis(now().saturating_sub(self.active.load(Ordering::Relaxed)));
        match idle.checked_sub(quiet).filter(|left| !left.is_zero()) {
            Some(left) => Seen::Active(left),
            // An answer that is awaited has an end of its own.
            None if self.in_flight.load(Ordering::Relaxed) > 0 => Seen::Active(idle),
            None if self.buffered.load(Ordering::Relaxed) > 0 => Seen::Stalled,
            None => Seen::Idle,
        }
    }
}

/// Counts a request until it has its response.
struct InFlight<'s>(&'s Shared);

impl<'s> InFlight<'s> {
    fn new(shared: &'s Shared) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.active.store(now(), Ordering::Relaxed);
    }
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Message> {
    let _in_flight = InFlight::new(shared);
    let answered = answer(shared, request).await;
    let status = answered.as_ref().map_or_else(|status| *status, |_| HttpStatus::Ok);
    shared.listener.metrics.status(status);
    match answered {
        Ok(Answer { response, cache }) => {
            let mut answer = Response::new(Message::new(response, shared));
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
            headers.insert(CACHE_CONTROL, cache);
            answer
        }
        Err(status) => {
            let mut answer = Response::new(Message::new(Vec::new(), shared));
            *answer.status_mut() = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::BAD_REQUEST);
            if status == HttpStatus::MethodNotAllowed {
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
            }
            answer
        }
    }
}

struct Answer {
    response: Vec<u8>,
    cache: HeaderValue,
}

/// Asks what the request asks; the status where there is no answer.
async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Answer, HttpStatus> {
    let listener = &shared.listener;
    let counters = &listener.shared.counters;
    let (parts, body) = request.into_parts();
    let message = match request::head(&parts, &listener.settings.path)? {
        Asks::Message(message) => message,
        Asks::Body => request::body(body, listener.settings.idle_timeout).await?,
    };
    let (mut ready, (sender, letter)) = (None, oneshot::channel());
    let is_personal = {
        let Some(session) = listener.session(shared.client) else {
            // The prefix was taken from the list while the connection was open.
            shared.is_denied.store(true, Ordering::Relaxed);
            return Err(HttpStatus::Forbidden);
        };
        let take = |response: &[u8]| ready = Some(response.to_vec());
        if session.ask(&message, None, || Way::Single(sender), take) == Asked::Unfit {
            return Err(HttpStatus::BadRequest);
        }
        session.is_personal()
    };
    let response = if let Some(response) = ready {
        response
    } else {
        let Ok(Some((response, rcode, origin))) = letter.await else {
            counters.dropped(Dropped::Abandoned);
            return Err(HttpStatus::Unavailable);
        };
        counters.response(listener.transport, rcode, origin);
        response
    };
    let lying = shared.buffered.load(Ordering::Relaxed);
    if lying + response.len().min(LONGEST) > listener.settings.max_buffered {
        return Err(HttpStatus::Unavailable);
    }
    // What depends on who asks is for no cache that others ask as well.
    let cache = match max_age(&response) {
        Some(seconds) if is_personal => format!("private, max-age={seconds}"),
        Some(seconds) => format!("max-age={seconds}"),
        None => "no-store".to_owned(),
    };
    let cache = HeaderValue::try_from(cache).unwrap_or(HeaderValue::from_static("no-store"));
    Ok(Answer { response, cache })
}

/// The body of a response, counted until hyper has taken it.
#[derive(Debug)]
struct Message {
    left: Bytes,
    buffered: Arc<AtomicUsize>,
    active: Arc<AtomicU64>,
}

impl Message {
    fn new(bytes: Vec<u8>, shared: &Shared) -> Self {
        shared.buffered.fetch_add(bytes.len(), Ordering::Relaxed);
        let (buffered, active) = (Arc::clone(&shared.buffered), Arc::clone(&shared.active));
        Self { left: Bytes::from(bytes), buffered, active }
    }
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.left.len().min(PIECE);
        let piece = self.left.split_to(len);
        self.buffered.fetch_sub(len, Ordering::Relaxed);
        self.active.store(now(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.buffered.fetch_sub(self.left.len(), Ordering::Relaxed);
    }
}
