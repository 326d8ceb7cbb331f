//! DNS over QUIC (RFC 9250), by quinn: a stream for each query.
//!
//! A sender's address proves nothing before it has answered, so while more than
//! half of the room for connections is taken, new ones are sent a Retry first
//! (RFC 9000 section 8.1.2). Early data is off: it can be replayed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::ask::Asked;
use super::super::framing::{Frame, PREFIX, append};
use super::super::gate::Permit;
use super::letter::Way;
use super::service::{Accepting, LONGEST, Listener, Survives, drained};
use crate::metrics::labels::{Handshake, HandshakeFault};
use crate::metrics::queries::{Dropped, Ended, TurnedAway};
use crate::wire::tail::OPTION_KEEPALIVE;
use crate::wire::{Query, header};

// The codes of RFC 9250 section 4.3.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 2;
const EXCESSIVE_LOAD: u32 = 4;

/// The TLS alerts that tell more than that something is wrong (RFC 8446
/// section 6.2), as QUIC carries them (RFC 9001 section 4.8).
const ALERTS: u64 = 0x100;
const NO_APPLICATION_PROTOCOL: u64 = ALERTS + 120;
const CERTIFICATE_REQUIRED: u64 = ALERTS + 116;
const BAD_CERTIFICATE: u64 = ALERTS + 42;
const UNKNOWN_CA: u64 = ALERTS + 48;

/// A socket for `address`; its sizes are quinn's concern.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// An endpoint on `socket`, on the runtime that is entered.
pub(super) fn endpoint(listener: &Listener, socket: std::net::UdpSocket) -> io::Result<Endpoint> {
    let server = server(listener)?;
    Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))
}

/// What a connection that begins now is served with.
fn server(listener: &Listener) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(listener.store.current()).map_err(io::Error::other)?;
    let settings = &listener.settings;
    let most = u32::try_from(settings.max_queries_per_connection).unwrap_or(u32::MAX);
    let idle = VarInt::try_from(u64::try_from(settings.idle_timeout.as_millis()).unwrap_or(u64::MAX));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(most.into())
        .max_concurrent_uni_streams(0u32.into())
        .max_idle_timeout(idle.ok().map(Into::into))
        .stream_receive_window(VarInt::from_u32((PREFIX + LONGEST) as u32))
        .receive_window(VarInt::from_u32(4 * (PREFIX + LONGEST) as u32))
        .send_window(settings.max_buffered as u64)
        .datagram_receive_buffer_size(None);
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport));
    server.max_incoming(settings.max_connections);
    Ok(server)
}

/// Accepts connections until the server drains.
pub(super) async fn accept(listener: Arc<Listener>, endpoint: Endpoint) {
    let accepting = Accepting::new(&listener.shared);
    let mut drain = listener.shared.drain.subscribe();
    loop {
        let incoming = tokio::select! {
            () = drained(&mut drain) => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        admit(&listener, incoming);
    }
    drop(accepting);
    // Dropped, the endpoint would take its connections along.
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

/// Starts serving a connection, or turns it away.
fn admit(listener: &Arc<Listener>, incoming: Incoming) {
    let client = incoming.remote_address().ip();
    if !listener.admits(client) {
        listener.metrics.turned_away(TurnedAway::Denied);
        // Not a byte to somebody whose address may be forged.
        incoming.ignore();
        return;
    }
    if !incoming.remote_address_validated() && listener.gate.is_busy() && incoming.may_retry() {
        // It comes again, or it was nobody.
        let _ = incoming.retry();
        return;
    }
    match listener.gate.admit(client) {
        Ok(permit) => {
            listener.metrics.accepted();
            let listener = Arc::clone(listener);
            tokio::spawn(async move {
                let _survives = Survives(Arc::clone(&listener.shared));
                serve(&listener, incoming, client, permit).await;
            });
        }
        Err(reason) => {
            listener.metrics.turned_away(reason);
            incoming.refuse();
        }
    }
}

async fn serve(listener: &Arc<Listener>, incoming: Incoming, client: IpAddr, _permit: Permit) {
    let connection = match timeout(listener.settings.handshake_timeout, begin(listener, incoming)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(why)) => {
            listener.metrics.failed(why);
            return;
        }
        Err(_) => {
            listener.metrics.failed(HandshakeFault::Timeout);
            return;
        }
    };
    // QUIC does not tell whether a session was resumed.
    listener.metrics.shaken(Handshake::Full);
    let ended = streams(listener, &connection, client).await;
    listener.metrics.ended(ended);
}

async fn begin(listener: &Listener, incoming: Incoming) -> Result<Connection, HandshakeFault> {
    let server = server(listener).map_err(|_| HandshakeFault::Other)?;
    let connecting = incoming.accept_with(Arc::new(server)).map_err(|error| fault_of(&error))?;
    let connection = connecting.await.map_err(|error| fault_of(&error))?;
    // RFC 9250 section 4.1.1: without the token nobody knows what is spoken.
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    if data.is_some_and(|data| data.protocol.as_deref() == Some(b"doq")) {
        Ok(connection)
    } else {
        connection.close(PROTOCOL_ERROR.into(), b"");
        Err(HandshakeFault::Protocol)
    }
}

fn fault_of(error: &ConnectionError) -> HandshakeFault {
    match error {
        ConnectionError::VersionMismatch => HandshakeFault::Incompatible,
        ConnectionError::TransportError(error) => match u64::from(error.code) {
            NO_APPLICATION_PROTOCOL => HandshakeFault::Protocol,
            CERTIFICATE_REQUIRED => HandshakeFault::CertificateMissing,
            BAD_CERTIFICATE..=UNKNOWN_CA => HandshakeFault::CertificateRefused,
            code if code < ALERTS => HandshakeFault::NotTls,
            _ => HandshakeFault::Other,
        },
        ConnectionError::ConnectionClosed(frame) if u64::from(frame.error_code) >= ALERTS => {
            HandshakeFault::Alert
        }
        ConnectionError::TimedOut => HandshakeFault::Timeout,
        _ => HandshakeFault::Closed,
    }
}

/// Serves the streams of a connection until it ends.
async fn streams(listener: &Arc<Listener>, connection: &Connection, client: IpAddr) -> Ended {
    let mut drain = listener.shared.drain.subscribe();
    let mut open = JoinSet::new();
    let ended = loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((mut send, receive)) => {
                    let listener = Arc::clone(listener);
                    open.spawn(async move {
                        let answered = answer(&listener, client, &mut send, receive).await;
                        if answered.is_err() {
                            // Dropped, the stream would end as if its answer were empty.
                            let _ = send.reset(PROTOCOL_ERROR.into());
                        }
                        answered
                    });
                }
                Err(ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_)) => {
                    break Ended::Client;
                }
                Err(ConnectionError::TimedOut) => break Ended::Idle,
                Err(_) => break Ended::Error,
            },
            Some(done) = open.join_next(), if !open.is_empty() => match done {
                Ok(Ok(())) => {}
                Ok(Err(End::Protocol)) => {
                    connection.close(PROTOCOL_ERROR.into(), b"");
                    break Ended::Protocol;
                }
                Ok(Err(End::Denied)) => {
                    connection.close(EXCESSIVE_LOAD.into(), b"");
                    break Ended::Denied;
                }
                // A defect, which is counted where it happens.
                Err(_) => break Ended::Error,
            },
            () = drained(&mut drain) => break Ended::Drained,
        }
    };
    if ended == Ended::Drained {
        // What is in flight is answered, and has arrived.
        while open.join_next().await.is_some() {}
        connection.close(NO_ERROR.into(), b"");
    }
    ended
}

/// Why a stream ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client sent what is no query (RFC 9250 section 4.3.3).
    Protocol,
    /// Its prefix is no longer allowed.
    Denied,
}

/// Answers the one query of a stream.
async fn answer(
    listener: &Listener,
    client: IpAddr,
    send: &mut SendStream,
    mut receive: RecvStream,
) -> Result<(), End> {
    let _survives = Survives(Arc::clone(&listener.shared));
    let idle = listener.settings.idle_timeout;
    let bytes = match timeout(idle, receive.read_to_end(PREFIX + LONGEST)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(ReadToEndError::TooLong)) => return Err(End::Protocol),
        // Reset, or never finished: nobody waits for an answer.
        Ok(Err(ReadToEndError::Read(_))) | Err(_) => return Ok(()),
    };
    // One message, alone (section 4.2), with an id of 0 (section 4.2.1).
    let message = match Frame::first_of(&bytes) {
        Frame::Message(message) if PREFIX + message.len() == bytes.len() => message,
        _ => return Err(End::Protocol),
    };
    if header::id(message) != Some(0) || has_keepalive(message) {
        return Err(End::Protocol);
    }
    let (mut framed, (sender, letter)) = (Vec::new(), oneshot::channel());
    let asked = {
        let session = listener.session(client).ok_or(End::Denied)?;
        session.ask(message, None, || Way::Single(sender), |response| append(&mut framed, response))
    };
    let counters = &listener.shared.counters;
    match asked {
        Asked::Ready(_) => {}
        Asked::Unfit => return Err(End::Protocol),
        Asked::Pending => {
            let Ok(Some((response, rcode, origin))) = letter.await else {
                counters.dropped(Dropped::Abandoned);
                let _ = send.reset(EXCESSIVE_LOAD.into());
                return Ok(());
            };
            counters.response(listener.transport, rcode, origin);
            append(&mut framed, &response);
        }
    }
    // Until it has arrived, within the time that a client has to take it.
    let delivery = async {
        if send.write_all(&framed).await.is_ok() && send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    };
    let _ = timeout(idle, delivery).await;
    Ok(())
}

/// Whether `message` has the option that has no place here (section 5.5.2).
fn has_keepalive(message: &[u8]) -> bool {
    let edns = Query::parse(message).ok().and_then(|query| query.edns);
    edns.is_some_and(|edns| edns.options(message).any(|(code, _)| code == OPTION_KEEPALIVE))
}
