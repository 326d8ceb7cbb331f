//! Responses that become ready on the forward thread: collected for each
//! socket while a pass of that thread lasts, sent together at its end.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use super::udp::OnePending;
use crate::answer::Transport;
use crate::metrics::queries::{Operation, Shared};
use crate::resolve::{Origin, at_end_of_pass};
use crate::socket::{Outbox, Source, UdpSocket};
use crate::wire::Rcode;

/// A response on its way.
#[derive(Debug)]
pub(super) struct Outgoing<'r> {
    pub(super) bytes: &'r [u8],
    pub(super) peer: SocketAddr,
    pub(super) source: Option<Source>,
    pub(super) rcode: Rcode,
    pub(super) origin: Origin,
    /// The query counts as waiting until the response has left.
    pub(super) pending: Option<OnePending>,
}

/// What leaves by one socket.
#[derive(Debug, Default)]
struct Departures {
    /// Held only while something is to leave: a server that stopped must be
    /// able to close it.
    from: Option<(Arc<UdpSocket>, Shared)>,
    outbox: Outbox,
    told: Vec<(Rcode, Origin, Option<OnePending>)>,
}

#[derive(Debug, Default)]
struct Collected {
    /// The end of the pass was asked for.
    is_awaited: bool,
    departures: Vec<Departures>,
}

thread_local! {
    static COLLECTED: RefCell<Collected> = RefCell::default();
}

/// Sends `response` by `socket`: at the end of the pass on the forward thread,
/// at once on any other. `counters` count what became of it.
pub(super) fn send(socket: &Arc<UdpSocket>, counters: &Shared, response: Outgoing<'_>) {
    let Outgoing { bytes, peer, source, rcode, origin, pending } = response;
    COLLECTED.with_borrow_mut(|collected| {
        if !collected.is_awaited && !at_end_of_pass(send_all) {
            return match socket.send_to(bytes, peer, source) {
                Ok(()) => counters.response(Transport::Udp, rcode, origin),
                Err(fault) => counters.fault(Operation::Send, fault),
            };
        }
        collected.is_awaited = true;
        let all = &mut collected.departures;
        let is_same = |one: &Departures| one.from.as_ref().is_some_and(|(from, _)| Arc::ptr_eq(from, socket));
        let at = all.iter().position(is_same).or_else(|| all.iter().position(|one| one.from.is_none()));
        let at = at.unwrap_or_else(|| {
            all.push(Departures::default());
            all.len() - 1
        });
        let Some(departures) = all.get_mut(at) else { return };
        if departures.from.is_none() {
            departures.from = Some((Arc::clone(socket), counters.clone()));
        }
        departures.outbox.push(Some(peer), source, |out| out.extend_from_slice(bytes));
        departures.told.push((rcode, origin, pending));
    });
}

/// Sends what was collected.
fn send_all() {
    COLLECTED.with_borrow_mut(|collected| {
        collected.is_awaited = false;
        for Departures { from, outbox, told } in &mut collected.departures {
            let Some((socket, counters)) = from.take() else { continue };
            outbox.send(&socket, |number, result| match result {
                Ok(()) => {
                    if let Some((rcode, origin, _)) = told.get(number) {
                        counters.response(Transport::Udp, *rcode, *origin);
                    }
                }
                Err(fault) => counters.fault(Operation::Send, fault),
            });
            told.clear();
        }
    });
}
