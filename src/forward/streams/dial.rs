//! Opening one connection: TCP, then TLS, then HTTP/2, as the upstream wants.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::config::{self, UpstreamTransport};
use crate::forward::upstream::Upstream;
use crate::metrics::forward::ForwardMetrics;
use crate::metrics::streams::StreamFault;

use super::framed::Framed;
use super::https::Https;
use super::pool::Carrier;
use super::{StreamError, tls};

/// Moves a connection's bytes; it ends with the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that is ready.
pub(super) struct Opened {
    pub(super) carrier: Carrier,
    pub(super) driver: Driver,
    /// Whether TLS resumed an earlier session; `None` without TLS.
    pub(super) resumed: Option<bool>,
}

/// Opens a connection to `upstream`. `tls` keeps what TLS needs from one to the next.
pub(super) async fn open(
    upstream: &Upstream,
    tls: &OnceCell<Arc<ClientConfig>>,
    limits: config::Streams,
    metrics: &Arc<ForwardMetrics>,
) -> Result<Opened, StreamError> {
    let config = if upstream.transport().is_encrypted() {
        Some(Arc::clone(tls.get_or_try_init(|| load(upstream)).await?))
    } else {
        None
    };
    let connect = connect(upstream, config, limits, metrics);
    tokio::time::timeout(limits.connect, connect)
        .await
        .unwrap_or_else(|_| Err(StreamError::new(StreamFault::ConnectTimeout, "")))
}

async fn load(upstream: &Upstream) -> Result<Arc<ClientConfig>, StreamError> {
    let settings = upstream.settings().clone();
    // Trusted certificates are read from files.
    match tokio::task::spawn_blocking(move || tls::client(&settings)).await {
        Ok(made) => made.map(Arc::new),
        Err(error) => Err(StreamError::new(StreamFault::Trust, error)),
    }
}

async fn connect(
    upstream: &Upstream,
    config: Option<Arc<ClientConfig>>,
    limits: config::Streams,
    metrics: &Arc<ForwardMetrics>,
) -> Result<Opened, StreamError> {
    let stream = TcpStream::connect(upstream.address()).await.map_err(|error| no_connection(&error))?;
    prepare(&stream, limits).map_err(|error| no_connection(&error))?;
    let Some(config) = config else {
        let (framed, driver) = Framed::start(stream, limits, metrics);
        return Ok(Opened { carrier: Carrier::Framed(framed), driver, resumed: None });
    };
    let name = tls::server_name(upstream.settings())?;
    let connecting = TlsConnector::from(config).connect(name, stream);
    let stream = connecting.await.map_err(|error| tls::fault_of(&error))?;
    let session = stream.get_ref().1;
    let resumed = Some(session.handshake_kind() == Some(HandshakeKind::Resumed));
    if upstream.transport() == UpstreamTransport::Https {
        if session.alpn_protocol() != Some(b"h2") {
            return Err(StreamError::new(StreamFault::Alpn, "the server did not choose h2"));
        }
        let (https, driver) = Https::start(stream, upstream.settings()).await?;
        return Ok(Opened { carrier: Carrier::Https(https), driver, resumed });
    }
    let (framed, driver) = Framed::start(stream, limits, metrics);
    Ok(Opened { carrier: Carrier::Framed(framed), driver, resumed })
}

fn prepare(stream: &TcpStream, limits: config::Streams) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Without it a path that went silent is noticed after a quarter of an
    // hour. The kernel acknowledges for a server that is merely slow, so only
    // the dead are cut off.
    SockRef::from(stream).set_tcp_user_timeout(Some(limits.connect))
}

fn no_connection(error: &io::Error) -> StreamError {
    let fault = match error.kind() {
        io::ErrorKind::ConnectionRefused => StreamFault::Refused,
        io::ErrorKind::TimedOut => StreamFault::ConnectTimeout,
        _ => StreamFault::Unreachable,
    };
    StreamError::new(fault, error)
}
