//! A query on its way to a response that takes more than one look: the chain
//! so far, what to ask next, and whom to tell.

use std::sync::Arc;
use std::time::Instant;

use crate::answer::{self, Context, Lookup, Miss, Outcome};
use crate::forward::chain::{self, Chain};
use crate::forward::entry::{self, Entry};
use crate::forward::question::Question;
use crate::forward::respond::{self, Recipient};
use crate::forward::{Place, Submission, Waiter};
use crate::snapshot::Snapshot;
use crate::wire::message::{Message, MessageBuilder, Section};
use crate::wire::{Class, Ede, Flags, FoldedName, HEADER_LEN, Name, Query, Rcode, Response, header};

use super::{Origin, Reply, Shared, key_bits, recipient, splice};

/// How often a response may change between an upstream's chain and ours.
const MAX_TURNS: u8 = 8;

/// What is to be done for a job.
pub(super) enum Verdict {
    /// The response is there.
    Respond { entry: Arc<Entry>, authoritative: bool },
    /// There is none.
    Fail { rcode: Rcode, ede: Option<Ede> },
    /// An upstream must be asked.
    Ask(Question),
}

impl Verdict {
    const fn servfail(ede: Ede) -> Self {
        Self::Fail { rcode: Rcode::SERVFAIL, ede: Some(ede) }
    }
}

/// The owned half of a query, and what was found so far.
pub(super) struct Job {
    query: Query,
    context: Context,
    /// Header and question as the client sent them.
    question: Box<[u8]>,
    /// The records so far; `None` while the first answer is awaited.
    built: Option<MessageBuilder>,
    /// The name that is asked for now.
    name: Name,
    /// AA: the first owner name lies in a local zone.
    authoritative: bool,
    turns: u8,
}

impl Job {
    pub(super) fn new(query: &Query, context: Context, question: &[u8]) -> Self {
        Self {
            query: query.clone(),
            context,
            question: question.into(),
            built: None,
            name: query.qname.to_name(),
            authoritative: false,
            turns: 0,
        }
    }

    /// Asks an upstream for QNAME.
    pub(super) fn ask_qname(&mut self, shared: &Shared, snapshot: &Snapshot) -> Verdict {
        let own = self.query.qclass == Class::IN
            && splice::classify(&self.name, self.query.qtype, snapshot) == Outcome::Miss(Miss::Own);
        self.ask(shared, own)
    }

    /// Goes on behind `chain`, a response of ours that leads elsewhere.
    pub(super) fn follow_own(
        &mut self,
        shared: &Shared,
        chain: &[u8],
        snapshot: &Snapshot,
        now: u64,
    ) -> Verdict {
        self.authoritative = header::flags(chain).unwrap_or_default().has(Flags::AA);
        shared.forwarder.metrics().splice();
        match self.append_own_chain(chain) {
            Some(()) => self.advance(shared, snapshot, now),
            None => Verdict::servfail(Ede { code: 0, text: "the chain of records leads nowhere" }),
        }
    }

    /// Takes the response to what was asked, which leads to the snapshot at `cut`.
    pub(super) fn take(
        &mut self,
        shared: &Shared,
        entry: &Arc<Entry>,
        cut: Option<usize>,
        snapshot: &Snapshot,
        now: u64,
    ) -> Verdict {
        match cut {
            Some(cut) => {
                let Some(target) = entry.targets().get(cut).cloned() else {
                    return Verdict::servfail(Ede::NETWORK_ERROR);
                };
                shared.forwarder.metrics().splice();
                let Some(mut built) = self.builder() else {
                    return Verdict::servfail(Ede::NETWORK_ERROR);
                };
                chain::push_chain(&mut built, entry.bytes(), entry.targets(), cut, entry.age(now));
                self.built = Some(built);
                self.name = target;
                self.advance(shared, snapshot, now)
            }
            None if self.built.is_none() => {
                Verdict::Respond { entry: Arc::clone(entry), authoritative: self.authoritative }
            }
            None if entry.rcode() == Rcode::NOERROR || entry.rcode() == Rcode::NXDOMAIN => {
                let truncated = entry.flags().0 & Flags::TC;
                let ede = entry.ede().to_vec();
                self.complete(entry.bytes(), entry.age(now), entry.rcode(), truncated, ede, now)
            }
            None => Verdict::Fail { rcode: entry.rcode(), ede: None },
        }
    }

    /// Resolves [`Job::name`], reached by a chain: from the snapshot, the
    /// cache, or an upstream. Bounded by [`MAX_TURNS`].
    fn advance(&mut self, shared: &Shared, snapshot: &Snapshot, now: u64) -> Verdict {
        loop {
            self.turns += 1;
            if self.turns > MAX_TURNS {
                return Verdict::servfail(Ede { code: 0, text: "the CNAME chain is too long or loops" });
            }
            match answer::answer_name(&self.name, self.query.qtype, self.context, snapshot) {
                Some((Outcome::Hit(hit), ours)) => {
                    let ede = if hit.lookup == Lookup::OwnMissing {
                        entry::ede_option(Ede::OWN_MISSING)
                    } else {
                        Vec::new()
                    };
                    return self.complete(&ours, 0, hit.rcode, 0, ede, now);
                }
                Some((Outcome::Leads, ours)) => {
                    if self.append_own_chain(&ours).is_none() {
                        return Verdict::servfail(Ede {
                            code: 0,
                            text: "the chain of records leads nowhere",
                        });
                    }
                }
                Some((Outcome::Miss(_), _)) | None => break,
            }
        }
        let own = splice::classify(&self.name, self.query.qtype, snapshot) == Outcome::Miss(Miss::Own);
        let step = Query { qname: FoldedName::from(&self.name), ..self.query.clone() };
        match shared.cached(&step, own, snapshot, now) {
            Some((entry, cut)) => self.take(shared, &entry, cut, snapshot, now),
            None => self.ask(shared, own),
        }
    }

    /// The question for [`Job::name`]; without RD nobody is asked.
    fn ask(&mut self, shared: &Shared, own: bool) -> Verdict {
        if !self.query.recursion_desired() {
            return self.without_recursion();
        }
        let name = FoldedName::from(&self.name);
        let bits = key_bits(&self.query, own);
        let (qtype, qclass) = (self.query.qtype, self.query.qclass);
        let question = shared.forwarder.tables().with(|tables| {
            let rule = tables.rules.find(&name)?;
            let key =
                shared.forwarder.cache().key(rule.partition, name.as_wire(), qtype, qclass, bits).to_key();
            let group = Arc::clone(&rule.group);
            let fallback = tables.fallback.clone().filter(|_| !own && qclass == Class::IN);
            Some(Question { key, name: self.name.clone(), qtype, qclass, bits, group, fallback })
        });
        question.map_or(Verdict::servfail(Ede { code: 23, text: "no upstream is known" }), Verdict::Ask)
    }

    /// RD=0: what is at hand is the answer.
    fn without_recursion(&mut self) -> Verdict {
        match self.built.take() {
            Some(built) => {
                let entry = Entry::lasting(built.finish(), Rcode::NOERROR, Vec::new(), 0);
                Verdict::Respond { entry: Arc::new(entry), authoritative: self.authoritative }
            }
            None => Verdict::Fail { rcode: Rcode::REFUSED, ede: Some(Ede::NOT_AUTHORITATIVE) },
        }
    }

    /// The message under construction.
    fn builder(&mut self) -> Option<MessageBuilder> {
        self.built.take().or_else(|| {
            let name = self.question.get(HEADER_LEN..self.query.question_end.checked_sub(4)?)?;
            MessageBuilder::new(Flags(Flags::QR), name, self.query.qtype, self.query.qclass)
        })
    }

    /// Appends our own chain and goes on at its last target.
    fn append_own_chain(&mut self, ours: &[u8]) -> Option<()> {
        let message = Message::parse(ours)?;
        let target = Chain::walk(&message).targets.last()?.clone();
        let mut built = self.builder()?;
        chain::push_section(&mut built, ours, Section::Answer, 0);
        self.built = Some(built);
        self.name = target;
        Some(())
    }

    /// Appends the end of the chain; the response is whole.
    fn complete(
        &mut self,
        end: &[u8],
        age: u32,
        rcode: Rcode,
        flags: u16,
        ede: Vec<u8>,
        now: u64,
    ) -> Verdict {
        let Some(mut built) = self.builder() else {
            return Verdict::servfail(Ede::NETWORK_ERROR);
        };
        chain::push_section(&mut built, end, Section::Answer, age);
        chain::push_section(&mut built, end, Section::Authority, age);
        let mut bytes = built.finish();
        header::set_flags(&mut bytes, Flags(Flags::QR | flags));
        let entry = Entry::lasting(bytes, rcode, ede, now);
        Verdict::Respond { entry: Arc::new(entry), authoritative: self.authoritative }
    }

    /// Hands the job to the forward thread.
    pub(super) fn submit(
        self,
        shared: &Arc<Shared>,
        place: Place<'_>,
        question: Question,
        now: u64,
        reply: Box<dyn Reply>,
    ) {
        let begun = Instant::now();
        let expires = begun + shared.forwarder.client_deadline();
        let waiting = Pending { job: self, shared: Arc::clone(shared), now, begun, expires, reply };
        let waiter = Box::new(waiting);
        place.submit(Submission { question, now, expires: Some(expires), waiter });
    }
}

/// A job whose answer is awaited.
struct Pending {
    job: Job,
    shared: Arc<Shared>,
    /// The workers' clock when the query came, and the thread's.
    now: u64,
    begun: Instant,
    expires: Instant,
    reply: Box<dyn Reply>,
}

impl Waiter for Pending {
    fn done(mut self: Box<Self>, outcome: Result<Arc<Entry>, Ede>) {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = self.now.saturating_add(passed);
        let verdict = match outcome {
            Ok(entry) => {
                let shared = Arc::clone(&self.shared);
                let snapshot = shared.publisher.current();
                let (qtype, qclass) = (self.job.query.qtype, self.job.query.qclass);
                // The snapshot of this moment, which may be newer than the
                // one that the engine compared with.
                let cut = if entry.targets().is_empty() {
                    None
                } else {
                    splice::split(entry.targets(), qtype, qclass, &snapshot).cut
                };
                if cut.is_none() && entry.is_leading() {
                    self.again(&snapshot)
                } else {
                    self.job.take(&shared, &entry, cut, &snapshot, now)
                }
            }
            Err(ede) => Verdict::servfail(ede),
        };
        self.carry_out(verdict, now);
    }
}

impl Pending {
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
        let Self { job, shared, begun, expires, reply, .. } = *self;
        let (rcode, ede) = match verdict {
            Verdict::Respond { entry, authoritative } => {
                let to = Recipient { authoritative, ..recipient(&job.query, job.context) };
                let (response, rcode) = respond::to_vec(&entry, &to, now, &job.question);
                return reply.send(response, rcode, Origin::Forward);
            }
            Verdict::Ask(question) => match shared.forwarder.reserve() {
                Ok(place) => {
                    let next =
                        Self { job, shared: Arc::clone(&shared), now, begun: Instant::now(), expires, reply };
                    let _ = begun;
                    let waiter = Box::new(next);
                    return place.submit(Submission { question, now, expires: Some(expires), waiter });
                }
                Err(_) => (Rcode::SERVFAIL, Some(Ede::OVERLOADED)),
            },
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
