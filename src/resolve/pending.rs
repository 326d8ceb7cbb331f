//! A job whose answer is awaited: what becomes of it when the answer, or the
//! news that there is none, arrives.
//!
//! Where an expired response is at hand, the client waits for a fresh one for
//! the stale timer alone, and then gets the expired one while the exchange goes
//! on (RFC 8767 section 5). The engine knows nothing of that: to it the timer is
//! the moment up to which the client waits.

use std::sync::Arc;
use std::time::Instant;

use crate::answer::{self, Miss, Outcome, Transport};
use crate::forward::cache::Key;
use crate::forward::entry::Entry;
use crate::forward::question::Question;
use crate::forward::respond::{self, Recipient};
use crate::forward::{Place, Submission, Waiter, clock};
use crate::snapshot::Snapshot;
use crate::wire::{Ede, Rcode, Response};

use super::cached::recipient;
use super::clients::Counted;
use super::job::{Job, MAX_TURNS, Verdict};
use super::{Origin, Reply, Shared, splice};

/// The times of a query, by both clocks.
#[derive(Clone, Copy)]
struct Times {
    /// The workers' clock when the query came, and the thread's.
    now: u64,
    begun: Instant,
    /// When the client is to have an answer, whatever there is.
    deadline: Instant,
}

impl Times {
    /// The workers' clock now.
    fn now(&self) -> u64 {
        self.now.saturating_add(clock::ms_since(self.begun))
    }
}

/// A job whose answer is awaited.
pub(super) struct Pending {
    job: Job,
    shared: Arc<Shared>,
    times: Times,
    /// What was asked, ...
    key: Key,
    /// ... and what stands in if there is no answer.
    stale: Option<Entry>,
    reply: Box<dyn Reply>,
    /// The client's place, taken as long as this is here.
    counted: Option<Counted>,
}

impl Job {
    /// Hands the job to the forward thread.
    pub(super) fn submit(
        self,
        shared: &Arc<Shared>,
        place: Place<'_>,
        counted: Option<Counted>,
        question: Question,
        now: u64,
        reply: Box<dyn Reply>,
    ) {
        let begun = clock::now();
        let times = Times { now, begun, deadline: begun + shared.forwarder.client_deadline() };
        await_answer(self, shared, place, counted, question, times, reply);
    }
}

/// Submits `question` on behalf of `job`.
fn await_answer(
    job: Job,
    shared: &Arc<Shared>,
    place: Place<'_>,
    counted: Option<Counted>,
    question: Question,
    times: Times,
    reply: Box<dyn Reply>,
) {
    let now = times.now();
    let stale = shared.forwarder.cache().get_usable(&question.key.as_ref(), now);
    let expires = match &stale {
        Some(_) => times.deadline.min(times.begun + shared.forwarder.stale_after()),
        None => times.deadline,
    };
    let (shared, key, client) = (Arc::clone(shared), question.key.clone(), reply.client());
    let waiter = Box::new(Pending { job, shared, times, key, stale, reply, counted });
    place.submit(Submission { question, now, expires: Some(expires), renewal: false, client, waiter });
}

/// Whether an upstream was asked at all: where too many wait, or its budget is
/// spent, none is, which says nothing of it.
pub(super) fn was_asked<T>(outcome: &Result<T, Ede>) -> bool {
    !matches!(outcome, Err(error) if *error == Ede::OVERLOADED || *error == Ede::OVER_BUDGET)
}

impl Waiter for Pending {
    fn done(mut self: Box<Self>, outcome: Result<Arc<Entry>, Ede>) {
        let now = self.times.now();
        let shared = Arc::clone(&self.shared);
        // The snapshot of this moment, which may be newer than the one that
        // the engine compared with.
        let snapshot = shared.publisher.current();
        // Of what is truncated the whole that has expired is better: it needs no TCP.
        let is_answer = outcome.as_ref().is_ok_and(|entry| !entry.is_failure() && !entry.is_truncated());
        let verdict = match outcome {
            Ok(entry) if is_answer => self.answered(&entry, &snapshot, now),
            failed => self.failed(failed, &snapshot, now),
        };
        self.carry_out(verdict, now);
    }
}

impl Pending {
    /// A job that has waited since `begun`, at `now` by the workers' clock, for
    /// what is asked by `key`; there is nothing that could stand in.
    pub(super) fn since(
        (now, begun): (u64, Instant),
        job: Job,
        shared: Arc<Shared>,
        key: Key,
        reply: Box<dyn Reply>,
        counted: Option<Counted>,
    ) -> Self {
        let times = Times { now, begun, deadline: begun + shared.forwarder.client_deadline() };
        Self { job, shared, times, key, stale: None, reply, counted }
    }

    /// There is a response.
    fn answered(&mut self, entry: &Arc<Entry>, snapshot: &Snapshot, now: u64) -> Verdict {
        let (qtype, qclass) = (self.job.query.qtype, self.job.query.qclass);
        let cut = if entry.targets().is_empty() {
            None
        } else {
            splice::split(entry.targets(), qtype, qclass, snapshot).cut
        };
        if cut.is_none() && entry.is_leading() {
            return self.again(snapshot);
        }
        self.job.take(&self.shared, entry, cut, snapshot, now)
    }

    /// There is none, or none in time, or only an upstream's failure or a part
    /// of the answer: what expired stands in, and for a while nobody waits for that upstream again.
    fn failed(&mut self, outcome: Result<Arc<Entry>, Ede>, snapshot: &Snapshot, now: u64) -> Verdict {
        if was_asked(&outcome) {
            self.shared.forwarder.cache().fail(&self.key.as_ref(), now);
        }
        if let Some(stale) = self.stale.take()
            && let Some(verdict) = self.job.take_stale(&self.shared, &stale, snapshot, now)
        {
            return verdict;
        }
        match outcome {
            Ok(entry) => self.answered(&entry, snapshot, now),
            Err(ede) => Verdict::servfail(ede),
        }
    }

    /// The snapshot that a chain led to has changed meanwhile: the chain's
    /// end must come from the upstream after all.
    fn again(&mut self, snapshot: &Snapshot) -> Verdict {
        self.job.turns += 1;
        if self.job.turns > MAX_TURNS {
            return Verdict::servfail(Ede::NETWORK_ERROR);
        }
        let own =
            splice::classify(&self.job.name, self.job.query.qtype, snapshot) == Outcome::Miss(Miss::Own);
        let verdict = self.job.ask(&self.shared, own);
        if let Verdict::Ask(question) = &verdict {
            self.shared.forwarder.cache().remove(&question.key.as_ref());
        }
        verdict
    }

    fn carry_out(self: Box<Self>, verdict: Verdict, now: u64) {
        let Self { mut job, shared, times, reply, counted, .. } = *self;
        let verdict = match verdict {
            Verdict::Ask(question) => {
                if let Ok(place) = shared.forwarder.reserve() {
                    return await_answer(job, &shared, place, counted, question, times, reply);
                }
                let snapshot = shared.publisher.current();
                let stands_in = job.stand_in(&shared, &question.key.as_ref(), &snapshot, now);
                stands_in.unwrap_or(Verdict::servfail(Ede::OVERLOADED))
            }
            verdict => verdict,
        };
        let (rcode, ede) = match verdict {
            // TC tells a client to ask again by TCP (RFC 2181 section 9). One that
            // has done so has no other way: it would take the part for the whole,
            // or ask the same again. SERVFAIL sends it to its next server, or here
            // once more a little later, when the whole may be in the cache.
            Verdict::Respond { entry, .. }
                if entry.is_truncated() && job.context.transport != Transport::Udp =>
            {
                (Rcode::SERVFAIL, Some(Ede::TRUNCATED))
            }
            Verdict::Respond { entry, authoritative } => {
                let to = Recipient { authoritative, ..recipient(&job.query, job.context) };
                let (response, rcode) = respond::to_vec(&entry.kept(), &to, now, &job.question);
                return reply.send(response, rcode, Origin::Forward);
            }
            // A stand-in whose chain goes on: nobody is asked for its end.
            Verdict::Ask(_) => (Rcode::SERVFAIL, Some(Ede::OVERLOADED)),
            Verdict::Fail { rcode, ede } => (rcode, ede),
        };
        let mut buf = vec![0; job.query.question_end + 512];
        if let Some(place) = buf.get_mut(..job.question.len()) {
            place.copy_from_slice(&job.question);
        }
        let limit = buf.len();
        let mut out = Response::new(&mut buf, limit);
        let len = answer::error(&job.query, &job.context, rcode, ede, &mut out);
        buf.truncate(len);
        reply.send(buf, rcode, Origin::Error);
    }
}
