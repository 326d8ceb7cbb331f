//! One connection of length-prefixed messages, plain or inside TLS: many
//! questions at once, told apart by their ids (RFC 7766 section 6.2.1.1).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::forward::reply::{self, UpstreamReply};
use crate::metrics::forward::{ForwardMetrics, Mismatch};
use crate::metrics::streams::StreamFault;

use super::StreamError;
use super::dial::Driver;
use super::pool::Trouble;
use super::query::Prepared;

/// Messages in a row that nobody waits for, after which a connection is ended.
const MAX_STRIKES: u32 = 16;
/// Tries to find an id that is not in flight.
const ID_TRIES: usize = 64;
/// Queries that leave in one write at most.
const BATCH: usize = 64;
/// Time for what a peer said before it stopped listening.
const REST: Duration = Duration::from_millis(100);
/// Bytes that are asked of the connection at once.
const READ: usize = 4096;

/// The askers' side.
#[derive(Debug)]
pub(super) struct Framed {
    shared: Arc<Shared>,
    /// To the writer; `None` once the connection is to end.
    out: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    answered: AtomicU64,
    metrics: Arc<ForwardMetrics>,
    /// Unanswered ids that nobody waits for, with which no more is asked here.
    worn_at: usize,
}

#[derive(Debug)]
struct Table {
    open: bool,
    next_serial: u64,
    /// By id. An id stays taken when its asker has left, as its response may
    /// still come.
    waiting: HashMap<u16, Option<Waiter>>,
    abandoned: usize,
}

#[derive(Debug)]
struct Waiter {
    serial: u64,
    query: Arc<Prepared>,
    sender: oneshot::Sender<Result<UpstreamReply, StreamError>>,
}

/// An asker's place in the table; dropping it leaves the id taken.
struct Place<'s> {
    shared: &'s Shared,
    id: u16,
    serial: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut table = self.shared.lock();
        if let Some(entry) = table.waiting.get_mut(&self.id)
            && entry.as_ref().is_some_and(|waiter| waiter.serial == self.serial)
        {
            *entry = None;
            table.abandoned += 1;
        }
    }
}

impl Framed {
    /// Takes a connection over.
    pub(super) fn start(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        limits: config::Streams,
        metrics: &Arc<ForwardMetrics>,
    ) -> (Self, Driver) {
        let table = Table { open: true, next_serial: 0, waiting: HashMap::new(), abandoned: 0 };
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            answered: AtomicU64::new(0),
            metrics: Arc::clone(metrics),
            worn_at: limits.max_in_flight,
        });
        // Twice, since who leaves without a response makes room for another.
        let (out, queries) = mpsc::channel(limits.max_in_flight.saturating_mul(2).max(1));
        let (from, to) = tokio::io::split(stream);
        let reader = Arc::clone(&shared);
        let driver = async move {
            let mut reading = std::pin::pin!(read(from, &reader));
            tokio::select! {
                () = &mut reading => {}
                // A peer that takes no more may have answered before: what is
                // there already is read.
                _ = write(to, queries) => {
                    let _ = tokio::time::timeout(REST, reading).await;
                }
            }
        };
        (Self { shared, out: Mutex::new(Some(out)) }, Box::pin(driver))
    }

    /// Asks, and waits for the response.
    pub(super) async fn ask(&self, query: &Arc<Prepared>) -> Result<UpstreamReply, Trouble> {
        let (sender, receiver) = oneshot::channel();
        let place = self.shared.enter(query, sender).ok_or(Trouble::Unsent)?;
        let frame = query.frame(place.id);
        let sent = match &*self.out.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(out) => out.try_send(frame).is_ok(),
            None => false,
        };
        if !sent {
            // Closing, or the peer does not read: the id was never used.
            self.shared.leave(&place);
            return Err(Trouble::Unsent);
        }
        match receiver.await {
            Ok(result) => result.map_err(Trouble::Failed),
            Err(_) => Err(Trouble::Lost),
        }
    }

    /// Whether questions may be asked.
    pub(super) fn is_open(&self) -> bool {
        self.shared.lock().open
    }

    /// Whether so many questions stayed without a response that no more are to
    /// be asked here.
    pub(super) fn is_worn(&self) -> bool {
        self.shared.lock().abandoned >= self.shared.worn_at
    }

    /// Responses so far.
    pub(super) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends the connection; whoever waits learns that it is lost.
    pub(super) fn close(&self) {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).take();
        let waiting = {
            let mut table = self.shared.lock();
            table.open = false;
            table.abandoned = 0;
            std::mem::take(&mut table.waiting)
        };
        drop(waiting);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id that is not in flight.
    fn enter(
        &self,
        query: &Arc<Prepared>,
        sender: oneshot::Sender<Result<UpstreamReply, StreamError>>,
    ) -> Option<Place<'_>> {
        let mut table = self.lock();
        if !table.open {
            return None;
        }
        let mut ids = std::iter::repeat_with(rand::random::<u16>).take(ID_TRIES);
        let id = ids.find(|id| !table.waiting.contains_key(id))?;
        let serial = table.next_serial;
        table.next_serial += 1;
        table.waiting.insert(id, Some(Waiter { serial, query: Arc::clone(query), sender }));
        Some(Place { shared: self, id, serial })
    }

    /// Gives an id back that was not used.
    fn leave(&self, place: &Place<'_>) {
        let mut table = self.lock();
        let is_ours = |entry: &Option<Waiter>| entry.as_ref().is_some_and(|w| w.serial == place.serial);
        if table.waiting.get(&place.id).is_some_and(is_ours) {
            table.waiting.remove(&place.id);
        }
    }

    /// Takes a message in; what is wrong with it if nobody waits for it.
    fn received(&self, message: &[u8]) -> Result<(), Mismatch> {
        let id = reply::id_of(message)?;
        let mut table = self.lock();
        let result = match table.waiting.get(&id) {
            None => return Err(Mismatch::Id),
            Some(None) => {
                table.waiting.remove(&id);
                table.abandoned = table.abandoned.saturating_sub(1);
                return Ok(());
            }
            Some(Some(waiter)) => match waiter.query.accept(message) {
                Ok(reply) => Ok(reply),
                // Nothing better will come by this connection.
                Err(Mismatch::Malformed) => {
                    self.metrics.mismatch(Mismatch::Malformed);
                    Err(StreamError::new(StreamFault::Malformed, ""))
                }
                // The length that stood before it was a lie.
                Err(_) if waiter.query.is_cut_off(message) => return Err(Mismatch::Short),
                Err(mismatch) => return Err(mismatch),
            },
        };
        if let Some(Some(waiter)) = table.waiting.remove(&id) {
            self.answered.fetch_add(1, Ordering::Relaxed);
            // An asker that has left meanwhile does not mind.
            let _ = waiter.sender.send(result);
        }
        Ok(())
    }
}

/// Reads messages until the connection ends or makes no sense.
async fn read(mut from: impl AsyncRead + Unpin, shared: &Shared) {
    let mut buf = BytesMut::new();
    let mut strikes = 0;
    loop {
        while let Some(message) = next_message(&mut buf) {
            match shared.received(&message) {
                Ok(()) => strikes = 0,
                Err(mismatch) => {
                    shared.metrics.mismatch(mismatch);
                    strikes += 1;
                    // What is too short for a message, or no response, shows
                    // that lengths are not where they should be.
                    if strikes >= MAX_STRIKES || matches!(mismatch, Mismatch::Short | Mismatch::NotResponse) {
                        return;
                    }
                }
            }
        }
        // A large response does not hold its memory for the rest of a long life.
        if buf.is_empty() && buf.capacity() > 4 * READ {
            buf = BytesMut::new();
        }
        buf.reserve(READ);
        if !matches!(from.read_buf(&mut buf).await, Ok(1..)) {
            return;
        }
    }
}

/// Cuts the next whole message off.
fn next_message(buf: &mut BytesMut) -> Option<BytesMut> {
    let len = usize::from(crate::wire::read_u16(buf, 0)?);
    if buf.len() < 2 + len {
        return None;
    }
    let mut frame = buf.split_to(2 + len);
    Some(frame.split_off(2))
}

/// Writes queries as they come, those that are there at once in one write;
/// ends the connection properly when nobody asks any more.
async fn write(mut to: impl AsyncWrite + Unpin, mut queries: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = Vec::new();
    while queries.recv_many(&mut batch, BATCH).await > 0 {
        bytes.clear();
        for frame in batch.drain(..) {
            bytes.extend_from_slice(&frame);
        }
        to.write_all(&bytes).await?;
        to.flush().await?;
    }
    to.shutdown().await
}
