//! Upstreams over streams: TCP (RFC 7766), DNS over TLS (RFC 7858), DNS over
//! HTTPS (RFC 8484), and what UDP cannot carry.
//!
//! ```text
//! ask ─▶ Pool of the upstream ─▶ a connection with a free place ─▶ reply::accept ─▶ done
//!             │ none: dial (back-off after failures)      │ ended: once more, on another
//!             └─ full: wait, bounded                      └─ ids: answers in any order
//! ```
//!
//! A task carries one question: it waits for its own response alone, so none
//! holds up another. Connections are kept open, carry many questions at once,
//! and are closed by us when idle.
//!
//! The messages are ours to the byte, which is why this is not hickory-net's: by
//! its source, which was read and not tried, its multiplexer takes and gives
//! requests and responses of its own.

mod dial;
mod error;
mod framed;
mod https;
mod pool;
mod query;
mod tls;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::config;
use crate::metrics::forward::ForwardMetrics;
use crate::metrics::streams::StreamFault;

use super::reply::UpstreamReply;
use super::upstream::Upstream;

use pool::Pool;
use query::Prepared;

pub use error::{StreamError, fault_of};

/// A response over a stream.
#[derive(Debug)]
pub struct Answer {
    /// The response.
    pub reply: UpstreamReply,
    /// Whether the question left as soon as it came, over a connection that was
    /// open: only then the time until the response is a round trip.
    pub at_once: bool,
}

/// Every connection to upstreams.
#[derive(Debug)]
pub struct Streams {
    runtime: Handle,
    metrics: Arc<ForwardMetrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: config::Streams,
    pools: HashMap<Arc<Upstream>, Arc<Pool>>,
}

impl Streams {
    /// No connection yet; all of them will run on `runtime`.
    pub fn new(runtime: Handle, metrics: Arc<ForwardMetrics>, limits: config::Streams) -> Self {
        Self { runtime, metrics, state: Mutex::new(State { limits, pools: HashMap::new() }) }
    }

    /// Asks `upstream`: over its stream, or over TCP if it is one over UDP.
    ///
    /// `query` is a whole query, with any id. `done` is called once, on the
    /// runtime, with the response or with an [`io::Error`] around a
    /// [`StreamError`], by `deadline` at the latest; never if the task is
    /// aborted before. `again` says whether what was sent may be sent once more
    /// when its connection ends before the response. The error's kind tells what [`Failure`] it is.
    ///
    /// [`Failure`]: crate::metrics::forward::Failure
    pub fn ask(
        &self,
        upstream: &Arc<Upstream>,
        query: Vec<u8>,
        deadline: Instant,
        again: impl FnMut() -> bool + Send + 'static,
        done: impl FnOnce(io::Result<Answer>) + Send + 'static,
    ) -> AbortHandle {
        let pool = self.pool(upstream);
        let task = self.runtime.spawn(async move {
            let result = exchange(&pool, query, deadline, again).await;
            if let Err(error) = &result {
                pool.counters().streams.fault(error.fault);
            }
            done(result.map_err(io::Error::from));
        });
        task.abort_handle()
    }

    /// Waits until a connection to `upstream` is ready for questions: for
    /// whoever looks at an upstream.
    pub async fn connect(&self, upstream: &Arc<Upstream>, deadline: Instant) -> Result<(), StreamError> {
        let pool = self.pool(upstream);
        tokio::time::timeout_at(deadline.into(), pool.ready())
            .await
            .unwrap_or_else(|_| Err(StreamError::new(StreamFault::ConnectTimeout, "")))
    }

    /// Like [`Self::ask`], for whoever waits for it; what was sent may be sent once more.
    pub async fn exchange(
        &self,
        upstream: &Arc<Upstream>,
        query: Vec<u8>,
        deadline: Instant,
    ) -> Result<UpstreamReply, StreamError> {
        exchange(&self.pool(upstream), query, deadline, || true).await.map(|answer| answer.reply)
    }

    /// Takes over reloaded limits, and for the next connections what the files
    /// of trusted certificates hold by now. Connections to upstreams that `keep`
    /// does not name end with their last response.
    pub fn configure(&self, keep: &HashSet<Arc<Upstream>>, limits: config::Streams) {
        let gone: Vec<Arc<Pool>> = {
            let mut state = self.lock();
            state.limits = limits;
            for pool in state.pools.values() {
                pool.configure(limits);
            }
            state.pools.extract_if(|upstream, _| !keep.contains(upstream)).map(|(_, pool)| pool).collect()
        };
        for pool in gone {
            pool.close();
        }
    }

    fn pool(&self, upstream: &Arc<Upstream>) -> Arc<Pool> {
        let mut state = self.lock();
        if let Some(pool) = state.pools.get(upstream) {
            return Arc::clone(pool);
        }
        let pool = Pool::new(Arc::clone(upstream), state.limits, self.runtime.clone(), &self.metrics);
        state.pools.insert(Arc::clone(upstream), Arc::clone(&pool));
        pool
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries one question.
async fn exchange(
    pool: &Arc<Pool>,
    query: Vec<u8>,
    deadline: Instant,
    mut again: impl FnMut() -> bool + Send,
) -> Result<Answer, StreamError> {
    let Some(query) = Prepared::new(query, pool.upstream()) else {
        return Err(StreamError::new(StreamFault::Malformed, "the query cannot be read"));
    };
    tokio::time::timeout_at(deadline.into(), pool.exchange(Arc::new(query), &mut again))
        .await
        .unwrap_or_else(|_| Err(StreamError::new(StreamFault::Timeout, "")))
}

impl Drop for Streams {
    fn drop(&mut self) {
        for pool in self.lock().pools.values() {
            pool.close();
        }
    }
}
