//! Responses that become ready on other threads, on their way to the thread
//! whose connection asked.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::extras::Extras;
use super::udp::OnePending;
use crate::resolve::{Origin, Reply};
use crate::socket::Waker;
use crate::wire::Rcode;

/// What arrives for one thread. It holds no more than its connections have
/// queries in flight, which is limited for each.
#[derive(Debug)]
pub(super) struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    /// Used when the first letter comes in; to be seen once each time.
    pub(super) waker: Waker,
}

/// What arrives for a query that was in flight.
#[derive(Debug)]
pub(super) struct Letter {
    /// The connection that asked.
    pub(super) token: u64,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Its response.
    Response(Vec<u8>, Rcode, Origin),
    /// It will get none.
    Abandoned,
}

impl Mailbox {
    pub(super) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { letters: Mutex::default(), waker: Waker::new()? }))
    }

    /// Moves what has arrived to the end of `letters`.
    pub(super) fn empty(&self, letters: &mut Vec<Letter>) {
        letters.append(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn post(&self, letter: Letter) {
        let is_first = {
            let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            letters.push(letter);
            letters.len() == 1
        };
        if is_first {
            self.waker.wake();
        }
    }
}

/// Hands a response that becomes ready on another thread to its connection.
#[derive(Debug)]
pub(super) struct TcpReply {
    mailbox: Arc<Mailbox>,
    token: u64,
    client: IpAddr,
    /// What the response carries besides; boxed, as most have none.
    extras: Option<Box<Extras>>,
    sent: bool,
    _pending: OnePending,
}

impl TcpReply {
    pub(super) fn new(
        mailbox: &Arc<Mailbox>,
        token: u64,
        client: IpAddr,
        extras: Option<Box<Extras>>,
        pending: OnePending,
    ) -> Self {
        Self { mailbox: Arc::clone(mailbox), token, client, extras, sent: false, _pending: pending }
    }

    fn post(&self, outcome: Outcome) {
        self.mailbox.post(Letter { token: self.token, outcome });
    }
}

impl Reply for TcpReply {
    fn send(mut self: Box<Self>, mut response: Vec<u8>, rcode: Rcode, origin: Origin) {
        self.sent = true;
        if let Some(extras) = &self.extras {
            extras.extend(&mut response);
        }
        self.post(Outcome::Response(response, rcode, origin));
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.client)
    }

    fn withdraw(mut self) {
        self.sent = true;
    }
}

impl Drop for TcpReply {
    fn drop(&mut self) {
        if !self.sent {
            self.post(Outcome::Abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::udp::Pending;
    use super::*;
    use crate::socket::Poller;

    #[test]
    fn every_query_in_flight_gets_one_letter_and_the_first_of_them_wakes() {
        let (mailbox, pending) = (Mailbox::new().unwrap(), Pending::default());
        let poller = Poller::new().unwrap();
        poller.add_once_each(&mailbox.waker, 1).unwrap();
        let mut woken = 0;
        for _ in 0..2 {
            let reply =
                |token| Box::new(TcpReply::new(&mailbox, token, [127, 0, 0, 1].into(), None, pending.one()));
            let (first, second) = (reply(7), reply(8));
            assert_eq!(pending.count(), 2);
            first.send(vec![1], Rcode::NOERROR, Origin::Forward);
            poller.wait(0, |_| woken += 1).unwrap();
            drop(second);
            poller.wait(0, |_| panic!("nobody has looked yet")).unwrap();
            let mut letters = Vec::new();
            mailbox.empty(&mut letters);
            let [first, second] = &letters[..] else { panic!("{letters:?}") };
            assert!(first.token == 7 && matches!(first.outcome, Outcome::Response(..)));
            assert!(second.token == 8 && matches!(second.outcome, Outcome::Abandoned));
            assert_eq!(pending.count(), 0);
        }
        assert_eq!(woken, 2);
    }
}
