//! A miss of the plain kind: QNAME goes to an upstream, and the response comes
//! back as it is.
//!
//! Nearly all misses are of that kind and end so, and for them a [`Job`], which
//! can put a response together from several, is more than is needed. What turns
//! out to be more becomes a job then.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use super::cached::{key_bits, recipient_of};
use super::clients::Counted;
use super::job::Job;
use super::pending::Pending;
use super::{Origin, Reply, Resolved, Resolver, Shared, error};
use crate::answer::Context;
use crate::forward::cache::KeyRef;
use crate::forward::entry::Entry;
use crate::forward::kept::{Kept, Traits};
use crate::forward::question::Question;
use crate::forward::respond;
use crate::forward::{Submission, Waiter, clock};
use crate::wire::{Class, Ede, Edns, Flags, FoldedName, HEADER_LEN, Query, Rcode, Response, Rtype, header};

/// Longest response to a client.
const LONGEST: usize = 65_535;

thread_local! {
    /// Where responses are written on the forward thread.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A query whose answer is awaited from an upstream.
struct Plain<R> {
    shared: Arc<Shared>,
    /// Header and question as the client sent them.
    question: Box<[u8]>,
    edns: Option<Edns>,
    context: Context,
    /// Whether the name is ours.
    own: bool,
    /// The workers' clock when it came, and the thread's.
    now: u64,
    begun: Instant,
    reply: R,
    /// The client's place, taken as long as this is here.
    counted: Option<Counted>,
}

impl Resolver {
    /// Hands the question of a miss to the forward thread.
    pub(super) fn plain<R: Reply>(
        &self,
        own: bool,
        query: &Query,
        context: Context,
        now: u64,
        out: &mut Response<'_>,
        reply: impl FnOnce() -> R,
    ) -> Resolved {
        let Some(question) = question_of(&self.shared, query, own) else {
            let ede = Ede { code: 23, text: "no upstream is known" };
            return error(query, context, Rcode::SERVFAIL, Some(ede), out);
        };
        let reply = reply();
        let (client, is_rung_later) = (reply.client(), reply.is_rung_later());
        let Ok((place, counted)) = self.shared.places(client) else {
            reply.withdraw();
            return error(query, context, Rcode::SERVFAIL, Some(Ede::OVERLOADED), out);
        };
        let sent = out.buffer().get(..query.question_end).unwrap_or_default();
        let waiter = Box::new(Plain {
            shared: Arc::clone(&self.shared),
            question: sent.into(),
            edns: query.edns,
            context,
            own,
            now,
            begun: clock::now(),
            reply,
            counted,
        });
        let submission = Submission { question, now, expires: None, renewal: false, client, waiter };
        if is_rung_later {
            place.leave(submission);
        } else {
            place.submit(submission);
        }
        Resolved::Pending
    }
}

/// What is asked for QNAME, and of whom.
fn question_of(shared: &Shared, query: &Query, own: bool) -> Option<Question> {
    let (qtype, qclass, bits) = (query.qtype, query.qclass, key_bits(query, own));
    shared.question(&query.qname, qtype, qclass, bits, own)
}

impl<R: Reply> Waiter for Plain<R> {
    fn take(self: Box<Self>, kept: &Kept<'_>) {
        let traits = kept.head.traits;
        // The snapshot of this moment may be newer than the one that the
        // engine compared the chain with.
        let is_current = !traits.has(Traits::HAS_TARGETS)
            || kept.marks.checked().instance == self.shared.publisher.current().instance();
        if traits.has(Traits::LEADING) || !is_current {
            return self.done(Ok(Arc::new(Entry::from_kept(kept))));
        }
        let Self { question, edns, context, reply, .. } = *self;
        let flags = header::flags(&question).unwrap_or_default();
        let to = recipient_of(flags, edns, context);
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(LONGEST, 0);
            if let Some(place) = buffer.get_mut(..question.len()) {
                place.copy_from_slice(&question);
            }
            let (len, rcode) = respond::write(kept, &to, kept.head.stored, buffer);
            let response = buffer.get(..len).unwrap_or_default();
            reply.send_slice(response, rcode, Origin::Forward);
        });
    }

    fn done(self: Box<Self>, outcome: Result<Arc<Entry>, Ede>) {
        Box::new(self.into_job()).done(outcome);
    }
}

impl<R: Reply> Plain<R> {
    /// The same as a job, which began when the query came.
    fn into_job(self) -> Pending {
        let Self { shared, question, edns, context, own, now, begun, reply, counted } = self;
        let query = query_of(&question, edns);
        let job = Job::new(&query, context, &question);
        // Without rules, which a reload may have taken away, nothing is kept by any key.
        let nowhere = KeyRef::new(u32::MAX, &query.qname, query.qtype, query.qclass, 0);
        let key = shared.key(&query, own).unwrap_or(nowhere).to_key();
        Pending::since((now, begun), job, shared, key, Box::new(reply), counted)
    }
}

/// The query whose header and question, `question`, were read before.
fn query_of(question: &[u8], edns: Option<Edns>) -> Query {
    let qname = question.get(HEADER_LEN..).and_then(FoldedName::parse).map(|(name, _)| name);
    let end = question.len();
    let field = |at: usize| {
        question.get(end.saturating_sub(at)..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0, 0])
    };
    Query {
        id: header::id(question).unwrap_or_default(),
        flags: header::flags(question).unwrap_or(Flags(0)),
        qname: qname.unwrap_or(FoldedName::ROOT),
        qtype: Rtype(u16::from_be_bytes(field(4))),
        qclass: Class(u16::from_be_bytes(field(2))),
        question_end: end,
        edns,
    }
}
