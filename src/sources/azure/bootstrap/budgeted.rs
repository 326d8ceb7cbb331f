//! The bootstrap resolver's queries within the budgets of the servers that it
//! asks: Azure DNS counts them with those of the clients.
//!
//! A datagram draws when its socket is bound, of which hickory-net has one for
//! each, resends included; over TCP each message draws. What may not be sent at
//! the moment waits a little: a sync has time where a client has not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse};
use hickory_resolver::{ConnectionProvider, PoolContext};
use tokio::net::UdpSocket;

/// A refused message is tried again after this, ...
const PAUSE: Duration = Duration::from_millis(100);
/// ... and so often: as long as a server is given to answer.
const TRIES: u32 = 20;

/// What servers may be sent; may be asked from any thread.
pub trait Budgets: Send + Sync {
    /// The right to send `server` one message now; `None` if there is none.
    fn draw(&self, server: SocketAddr) -> Option<Permit>;
}

/// The right to one message. Dropped when nothing is expected of it any more.
pub type Permit = Box<dyn Send + Sync>;

/// Waits for the right to send `server` one message; without budgets there is no limit.
async fn permit(budgets: Option<Arc<dyn Budgets>>, server: SocketAddr) -> io::Result<Option<Permit>> {
    let Some(budgets) = budgets else { return Ok(None) };
    for _ in 0..TRIES {
        if let Some(permit) = budgets.draw(server) {
            return Ok(Some(permit));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let text = format!("the budget of queries to {server} is spent");
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Opens sockets within the budgets.
#[derive(Clone)]
pub struct Sockets {
    tokio: TokioRuntimeProvider,
    budgets: Option<Arc<dyn Budgets>>,
}

/// A socket for one datagram and its response.
pub struct Socket {
    socket: UdpSocket,
    /// Given back with it.
    _permit: Option<Permit>,
}

type BoxedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl RuntimeProvider for Sockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Socket;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> BoxedFuture<io::Result<Self::Tcp>> {
        self.tokio.connect_tcp(server, local, timeout)
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> BoxedFuture<io::Result<Socket>> {
        let budgets = self.budgets.clone();
        let binding = self.tokio.bind_udp(local, server);
        Box::pin(async move {
            let permit = permit(budgets, server).await?;
            Ok(Socket { socket: binding.await?, _permit: permit })
        })
    }
}

impl DnsUdpSocket for Socket {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.socket, cx, buf)
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], to: SocketAddr) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.socket, cx, buf, to)
    }
}

/// Opens connections within the budgets.
#[derive(Clone)]
pub struct Connections(Sockets);

impl Connections {
    /// Connections to servers that may be sent what `budgets` allow.
    pub fn within(budgets: Option<Arc<dyn Budgets>>) -> Self {
        Self(Sockets { tokio: TokioRuntimeProvider::default(), budgets })
    }
}

/// A connection to a server.
#[derive(Clone)]
pub struct Connection {
    exchange: DnsExchange<Sockets>,
    /// Where its messages draw; `None` for UDP, whose sockets do.
    draws: Option<(Option<Arc<dyn Budgets>>, SocketAddr)>,
}

impl ConnectionProvider for Connections {
    type Conn = Connection;
    type FutureConn = BoxedFuture<Result<Connection, NetError>>;
    type RuntimeProvider = Sockets;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let opening = self.0.new_connection(ip, config, cx)?;
        let is_udp = matches!(config.protocol, ProtocolConfig::Udp);
        let draws = (!is_udp).then(|| (self.0.budgets.clone(), SocketAddr::new(ip, config.port)));
        Ok(Box::pin(async move { Ok(Connection { exchange: opening.await?, draws }) }))
    }

    fn runtime_provider(&self) -> &Sockets {
        &self.0
    }
}

impl DnsHandle for Connection {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = Sockets;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let exchange = self.exchange.clone();
        let Some((budgets, server)) = self.draws.clone() else { return Box::pin(exchange.send(request)) };
        Box::pin(stream::once(async move {
            let _permit = permit(budgets, server).await?;
            let response = exchange.send(request).next().await;
            response.unwrap_or_else(|| Err(NetError::from("the connection ended without a response")))
        }))
    }
}
