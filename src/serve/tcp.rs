//! DNS over TCP (RFC 7766, RFC 9210): accepting connections within limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::access::Policies;
use super::connection::Connection;
use super::gate::Gate;
use super::udp::Pending;
use crate::config;
use crate::metrics::queries::{Operation, Shared, TurnedAway};
use crate::resolve::Resolver;
use crate::snapshot::publish::Publisher;
use crate::socket::Fault;

/// Pause after an error of accept that the next call would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) limits: config::Tcp,
    pub(super) resolver: Resolver,
    pub(super) publisher: Arc<Publisher>,
    pub(super) policies: Arc<Policies>,
    pub(super) counters: Shared,
    pub(super) pending: Pending,
    pub(super) gate: Arc<Gate>,
}

/// Accepts connections until the server drains.
pub(super) async fn accept(listener: TcpListener, service: Arc<Service>, draining: watch::Receiver<bool>) {
    // One future for all turns: to make it anew is to enter and leave its list of waiters.
    let mut ended = draining.clone();
    let mut ended = std::pin::pin!(ended.wait_for(|draining| *draining));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that the server is gone.
            _ = ended.as_mut() => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(&service, stream, peer, &draining),
            Err(error) => {
                let fault = Fault::of(&error);
                service.counters.fault(Operation::Accept, fault);
                // Accept also reports network errors of the new connection (accept(2)); those
                // are done with. Without descriptors or memory it fails again at once.
                let passing =
                    matches!(fault, Fault::Aborted | Fault::Unreachable | Fault::Refused | Fault::Forbidden);
                if !passing {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Starts serving a connection, or closes it.
fn admit(service: &Arc<Service>, stream: TcpStream, peer: SocketAddr, draining: &watch::Receiver<bool>) {
    let client = peer.ip();
    if !service.policies.current().allow.admits(client) {
        // A refusal would take a read first: closing tells as much, for less.
        service.counters.turned_away(TurnedAway::Denied);
        return;
    }
    let permit = match service.gate.admit(client) {
        Ok(permit) => permit,
        Err(reason) => {
            service.counters.turned_away(reason);
            return;
        }
    };
    service.counters.accepted();
    let connection = Connection::new(Arc::clone(service), stream, client);
    let (service, draining) = (Arc::clone(service), draining.clone());
    tokio::spawn(async move {
        let ended = connection.run(draining).await;
        service.counters.ended(ended);
        drop(permit);
    });
}
