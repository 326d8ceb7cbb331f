//! One exchange over TCP (RFC 7766): connect, one query, one response. Pooled
//! connections come with encrypted upstreams.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::metrics::forward::ForwardMetrics;
use crate::wire::header;

use super::question::Question;
use super::reply::{self, Asked, UpstreamReply};

/// Most messages that are read while waiting for the right one.
const MAX_MESSAGES: usize = 16;

/// Asks `upstream` and waits for the response to `question` for `name`. The
/// caller bounds the time.
pub(super) async fn exchange(
    upstream: SocketAddr,
    question: &Question,
    name: &crate::wire::Name,
    opt: Option<u16>,
    metrics: &Arc<ForwardMetrics>,
) -> io::Result<UpstreamReply> {
    let mut stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let id = rand::random::<u16>();
    let mut query = Vec::new();
    question.write_query(name, id, opt, &mut query);
    let len = u16::try_from(query.len()).map_err(io::Error::other)?;
    // One write: a length that travels alone confuses some servers.
    query.splice(0..0, len.to_be_bytes());
    stream.write_all(&query).await?;
    let asked = Asked { name, qtype: question.qtype, qclass: question.qclass };
    for _ in 0..MAX_MESSAGES {
        let len = stream.read_u16().await?;
        let mut message = vec![0; usize::from(len)];
        stream.read_exact(&mut message).await?;
        if header::id(&message) != Some(id) {
            metrics.mismatch(crate::metrics::forward::Mismatch::Id);
            continue;
        }
        match reply::accept(&message, &asked) {
            Ok(reply) => return Ok(reply),
            Err(mismatch) => metrics.mismatch(mismatch),
        }
    }
    Err(io::Error::other("no matching response on the connection"))
}
