//! Responses that become ready on other threads, on their way to the task
//! whose connection asked.

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};

use super::super::extras::Extras;
use super::super::udp::OnePending;
use crate::metrics::queries::{Dropped, Shared};
use crate::resolve::{Origin, Reply};
use crate::wire::Rcode;

/// What arrives for a query in flight: its response, or nothing to come.
pub(super) type Letter = Option<(Vec<u8>, Rcode, Origin)>;

/// Where a letter goes. A connection has no more letters under way than it may
/// have queries in flight.
#[derive(Debug)]
pub(super) enum Way {
    /// To a connection, among others.
    Stream(mpsc::UnboundedSender<Letter>),
    /// To who waits for this one alone.
    Single(oneshot::Sender<Letter>),
}

impl Way {
    /// Whether somebody takes it.
    fn post(self, letter: Letter) -> bool {
        match self {
            Self::Stream(way) => way.send(letter).is_ok(),
            Self::Single(way) => way.send(letter).is_ok(),
        }
    }
}

/// Hands a response that becomes ready on another thread to its connection.
#[derive(Debug)]
pub(super) struct TaskReply {
    way: Option<Way>,
    client: IpAddr,
    /// What the response carries besides; boxed, as most have none.
    extras: Option<Box<Extras>>,
    counters: Shared,
    _pending: OnePending,
}

impl TaskReply {
    pub(super) const fn new(
        way: Way,
        client: IpAddr,
        extras: Option<Box<Extras>>,
        counters: Shared,
        pending: OnePending,
    ) -> Self {
        Self { way: Some(way), client, extras, counters, _pending: pending }
    }

    fn post(&mut self, letter: Letter) {
        let is_response = letter.is_some();
        if let Some(way) = self.way.take()
            && !way.post(letter)
        {
            self.counters.dropped(if is_response { Dropped::ClientGone } else { Dropped::Abandoned });
        }
    }
}

impl Reply for TaskReply {
    fn send(mut self: Box<Self>, mut response: Vec<u8>, rcode: Rcode, origin: Origin) {
        if let Some(extras) = &self.extras {
            extras.extend(&mut response);
        }
        self.post(Some((response, rcode, origin)));
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.client)
    }

    fn withdraw(mut self) {
        self.way = None;
    }
}

impl Drop for TaskReply {
    fn drop(&mut self) {
        self.post(None);
    }
}
