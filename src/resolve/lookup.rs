//! Resolving a name for the command line and the control socket, on the very
//! path that packets take.

use std::sync::Arc;

use crate::answer::{Context, Lookup};
use crate::wire::{Flags, Name, Query, Rcode, Response, Rtype};

use super::{Origin, Reply, Resolved, Resolver};

/// A response, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The response as a client over TCP would get it.
    pub response: Vec<u8>,
    /// Its code.
    pub rcode: Rcode,
    /// Where it comes from.
    pub origin: Origin,
    /// What the snapshot said, for a hit.
    pub lookup: Option<Lookup>,
}

struct Channel(tokio::sync::oneshot::Sender<Looked>);

impl Reply for Channel {
    fn send(self: Box<Self>, response: Vec<u8>, rcode: Rcode, origin: Origin) {
        // An error means that nobody wants to know any more.
        let _ = self.0.send(Looked { response, rcode, origin, lookup: None });
    }
}

impl Resolver {
    /// Resolves `name`, with RD and an OPT, so that extended errors show.
    /// `now` is the workers' clock ([`super::now`]). `None` only if the
    /// resolver stops meanwhile.
    pub async fn lookup(&self, name: &Name, qtype: Rtype, now: u64) -> Option<Looked> {
        match self.begin(name, qtype, now)? {
            Begun::Ready(looked) => Some(looked),
            Begun::Pending(receiver) => receiver.await.ok(),
        }
    }

    /// [`Resolver::lookup`] for threads without a runtime. Bounded by the
    /// client deadline.
    pub fn lookup_blocking(&self, name: &Name, qtype: Rtype, now: u64) -> Option<Looked> {
        match self.begin(name, qtype, now)? {
            Begun::Ready(looked) => Some(looked),
            Begun::Pending(receiver) => receiver.blocking_recv().ok(),
        }
    }

    fn begin(&self, name: &Name, qtype: Rtype, now: u64) -> Option<Begun> {
        let mut buf = vec![0; usize::from(u16::MAX)];
        let fixed = [0, 0, (Flags::RD >> 8) as u8, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        let opt = [0, 0, Rtype::OPT.0 as u8, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        let bytes = [&fixed[..], name.as_wire(), &qtype.0.to_be_bytes(), &[0, 1], &opt].concat();
        buf.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        let query = Query::parse(&bytes).ok()?;
        let context = Context::INTERNAL;
        let snapshot = Arc::clone(&self.shared.publisher.current());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let limit = buf.len();
        let mut out = Response::new(&mut buf, limit);
        match self.resolve(&query, &context, &snapshot, now, &mut out, || Channel(sender)) {
            Resolved::Ready { len, rcode, origin, lookup } => {
                buf.truncate(len);
                Some(Begun::Ready(Looked { response: buf, rcode, origin, lookup }))
            }
            Resolved::Pending => Some(Begun::Pending(receiver)),
        }
    }
}

enum Begun {
    Ready(Looked),
    Pending(tokio::sync::oneshot::Receiver<Looked>),
}
