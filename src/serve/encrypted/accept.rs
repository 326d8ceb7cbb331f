//! From a connection to TLS: access, caps, the PROXY header, the handshake,
//! all within one time-out. A client that stalls costs one place until then.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, Error};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::gate::Permit;
use super::super::proxy::{self, Proxied};
use super::service::{Accepting, Listener, Survives, drained};
use super::{dot, https};
use crate::answer::Transport;
use crate::metrics::labels::{Handshake, HandshakeFault};
use crate::metrics::queries::{Operation, ProxyHeader, TurnedAway};
use crate::socket::Fault;

/// Pause after an error of accept that the next call would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the server drains.
pub(super) async fn accept(listener: Arc<Listener>, socket: TcpListener) {
    let _accepting = Accepting::new(&listener.shared);
    let mut drain = listener.shared.drain.subscribe();
    loop {
        let accepted = tokio::select! {
            () = drained(&mut drain) => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(&listener, stream, peer),
            Err(error) => {
                let fault = Fault::of(&error);
                listener.shared.counters.fault(Operation::Accept, fault);
                // Accept also reports errors of the new connection; those are done with.
                let passing =
                    matches!(fault, Fault::Aborted | Fault::Unreachable | Fault::Refused | Fault::Forbidden);
                if !passing {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Starts serving a connection, or closes it.
fn admit(listener: &Arc<Listener>, stream: TcpStream, peer: SocketAddr) {
    let sender = peer.ip();
    // Of a proxy's connection its header tells who asks.
    let is_proxy = listener.proxies.as_ref().is_some_and(|proxies| proxies.admits(sender));
    if !is_proxy && !listener.admits(sender) {
        listener.metrics.turned_away(TurnedAway::Denied);
        return;
    }
    let gate = &listener.gate;
    match if is_proxy { gate.admit_unnamed() } else { gate.admit(sender) } {
        Ok(permit) => {
            listener.metrics.accepted();
            let listener = Arc::clone(listener);
            tokio::spawn(async move {
                let _survives = Survives(Arc::clone(&listener.shared));
                serve(&listener, stream, sender, is_proxy, permit).await;
            });
        }
        Err(reason) => listener.metrics.turned_away(reason),
    }
}

async fn serve(
    listener: &Arc<Listener>,
    stream: TcpStream,
    sender: IpAddr,
    is_proxy: bool,
    mut permit: Permit,
) {
    let limit = listener.settings.handshake_timeout;
    let begun = timeout(limit, begin(listener, stream, sender, is_proxy, &mut permit)).await;
    let (stream, client) = match begun.unwrap_or(Err(HandshakeFault::Timeout)) {
        Ok(begun) => begun,
        Err(why) => {
            listener.metrics.failed(why);
            return;
        }
    };
    let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    listener.metrics.shaken(if resumed { Handshake::Resumed } else { Handshake::Full });
    let ended = match listener.transport {
        Transport::Https => https::serve(listener, stream, client).await,
        _ => dot::serve(listener, stream, client).await,
    };
    listener.metrics.ended(ended);
}

/// Everything before the first message: who asks, and over what.
async fn begin(
    listener: &Listener,
    mut stream: TcpStream,
    sender: IpAddr,
    is_proxy: bool,
    permit: &mut Permit,
) -> Result<(TlsStream<TcpStream>, IpAddr), HandshakeFault> {
    let mut client = sender;
    if is_proxy {
        client = read_header(listener, &mut stream).await?.unwrap_or(sender);
        let named = permit.name(client);
        let named = if listener.admits(client) { named } else { Err(TurnedAway::Denied) };
        if let Err(reason) = named {
            listener.metrics.turned_away(reason);
            return Err(HandshakeFault::Proxy);
        }
    }
    let acceptor = TlsAcceptor::from(listener.store.current());
    let stream = acceptor.accept(stream).await.map_err(|error| fault_of(&error))?;
    Ok((stream, client))
}

/// Reads the PROXY header that a listed sender starts with, and not a byte
/// more. Who asks, if it names somebody.
async fn read_header(listener: &Listener, stream: &mut TcpStream) -> Result<Option<IpAddr>, HandshakeFault> {
    let counters = &listener.shared.counters;
    let mut header = vec![0; proxy::FIXED];
    let mut filled = 0;
    loop {
        let place = header.get_mut(filled..).unwrap_or_default();
        match stream.read(place).await {
            Ok(0) | Err(_) => return Err(HandshakeFault::Closed),
            Ok(len) => filled += len,
        }
        let what = match proxy::read(header.get(..filled).unwrap_or_default()) {
            Proxied::Header { client, .. } => {
                counters.proxy_header(if client.is_some() { ProxyHeader::Named } else { ProxyHeader::Local });
                return Ok(client.map(|client| client.ip()));
            }
            Proxied::Partial if filled < header.len() => continue,
            Proxied::Partial => {
                // All but the addresses: how many bytes they take is known now.
                let rest = header.last_chunk::<2>().map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
                if header.len() == proxy::FIXED && rest > 0 && rest + proxy::FIXED <= proxy::MAX_HEADER {
                    header.resize(proxy::FIXED + rest, 0);
                    continue;
                }
                ProxyHeader::Malformed
            }
            Proxied::Malformed => ProxyHeader::Malformed,
            Proxied::None => ProxyHeader::Missing,
        };
        counters.proxy_header(what);
        return Err(HandshakeFault::Proxy);
    }
}

/// The label for an error of a handshake.
pub(super) fn fault_of(error: &io::Error) -> HandshakeFault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => fault_of_tls(error),
        // TLS that was not finished, or a reset.
        None => HandshakeFault::Closed,
    }
}

fn fault_of_tls(error: &Error) -> HandshakeFault {
    match error {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::DecryptError => {
            HandshakeFault::NotTls
        }
        Error::PeerIncompatible(_) => HandshakeFault::Incompatible,
        Error::NoApplicationProtocol => HandshakeFault::Protocol,
        Error::NoCertificatesPresented => HandshakeFault::CertificateMissing,
        Error::InvalidCertificate(_) => HandshakeFault::CertificateRefused,
        Error::AlertReceived(AlertDescription::CloseNotify) => HandshakeFault::Closed,
        Error::AlertReceived(_) => HandshakeFault::Alert,
        _ => HandshakeFault::Other,
    }
}
