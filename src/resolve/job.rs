//! A query on its way to a response that takes more than one look: the chain
//! so far, and what to ask next.

use std::sync::Arc;

use crate::answer::{self, Context, Lookup, Miss, Outcome};
use crate::forward::cache::KeyRef;
use crate::forward::chain::{self, Chain};
use crate::forward::entry::{self, Entry};
use crate::forward::question::Question;
use crate::metrics::forward::CacheLookup;
use crate::snapshot::Snapshot;
use crate::wire::message::{Message, MessageBuilder, Section};
use crate::wire::{Class, Ede, Flags, FoldedName, HEADER_LEN, Name, Query, Rcode, Rtype, header};

use super::cached::{Meeting, compare, key_bits};
use super::{Shared, splice};

/// How often a response may change between an upstream's chain and ours.
pub(super) const MAX_TURNS: u8 = 8;

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
    pub(super) const fn servfail(ede: Ede) -> Self {
        Self::Fail { rcode: Rcode::SERVFAIL, ede: Some(ede) }
    }
}

/// The owned half of a query, and what was found so far.
pub(super) struct Job {
    pub(super) query: Query,
    pub(super) context: Context,
    /// Header and question as the client sent them.
    pub(super) question: Box<[u8]>,
    /// The records so far; `None` while the first answer is awaited.
    built: Option<MessageBuilder>,
    /// Extended errors of the parts that stand in, as EDNS options.
    stale: Vec<u8>,
    /// The name that is asked for now.
    pub(super) name: Name,
    /// AA: the first owner name lies in a local zone.
    authoritative: bool,
    pub(super) turns: u8,
}

impl Job {
    pub(super) fn new(query: &Query, context: Context, question: &[u8]) -> Self {
        Self {
            query: query.clone(),
            context,
            question: question.into(),
            built: None,
            stale: Vec::new(),
            name: query.qname.to_name(),
            authoritative: false,
            turns: 0,
        }
    }

    /// Asks an upstream for QNAME.
    pub(super) fn ask_qname(&mut self, shared: &Arc<Shared>, snapshot: &Snapshot) -> Verdict {
        let own = self.query.qclass == Class::IN
            && splice::classify(&self.name, self.query.qtype, snapshot) == Outcome::Miss(Miss::Own);
        self.ask(shared, own)
    }

    /// Goes on behind `chain`, a response of ours that leads elsewhere.
    pub(super) fn follow_own(
        &mut self,
        shared: &Arc<Shared>,
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
        shared: &Arc<Shared>,
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
                if entry.is_stale() {
                    self.stale = entry.ede().to_vec();
                }
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
                self.complete(entry.bytes(), entry.age(now), entry.rcode(), truncated, entry.ede(), now)
            }
            None => Verdict::Fail { rcode: entry.rcode(), ede: Some(Ede::CHAIN_FAILED) },
        }
    }

    /// Takes `kept`, which has expired, in the place of the response to what
    /// was asked (RFC 8767). `None` if the snapshot has made it void.
    pub(super) fn take_stale(
        &mut self,
        shared: &Arc<Shared>,
        kept: &Entry,
        snapshot: &Snapshot,
        now: u64,
    ) -> Option<Verdict> {
        let entry = Arc::new(Entry::stale(&kept.kept(), now, shared.forwarder.cache().stale_ttl()));
        let cut = match compare(&entry.kept(), self.query.qtype, self.query.qclass, snapshot) {
            Meeting::None => None,
            Meeting::At(cut) => Some(cut),
            Meeting::Outdated => return None,
        };
        shared.forwarder.metrics().lookup(CacheLookup::Stale);
        Some(self.take(shared, &entry, cut, snapshot, now))
    }

    /// [`Self::take_stale`] of what the cache holds for `key`, where nobody is
    /// asked: too many wait.
    pub(super) fn stand_in(
        &mut self,
        shared: &Arc<Shared>,
        key: &KeyRef<'_>,
        snapshot: &Snapshot,
        now: u64,
    ) -> Option<Verdict> {
        let kept = shared.forwarder.cache().get_usable(key, now)?;
        self.take_stale(shared, &kept, snapshot, now)
    }

    /// Resolves [`Job::name`], reached by a chain: from the snapshot, the
    /// cache, or an upstream. Bounded by [`MAX_TURNS`].
    fn advance(&mut self, shared: &Arc<Shared>, snapshot: &Snapshot, now: u64) -> Verdict {
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
                    return self.complete(&ours, 0, hit.rcode, 0, &ede, now);
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
    pub(super) fn ask(&mut self, shared: &Arc<Shared>, own: bool) -> Verdict {
        if !self.query.recursion_desired() {
            return self.without_recursion();
        }
        let bits = key_bits(&self.query, own);
        let question =
            shared.question(&FoldedName::from(&self.name), self.query.qtype, self.query.qclass, bits, own);
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
    fn complete(&mut self, end: &[u8], age: u32, rcode: Rcode, flags: u16, ede: &[u8], now: u64) -> Verdict {
        let Some(mut built) = self.builder() else {
            return Verdict::servfail(Ede::NETWORK_ERROR);
        };
        chain::push_section(&mut built, end, Section::Answer, age);
        chain::push_section(&mut built, end, Section::Authority, age);
        let mut bytes = built.finish();
        header::set_flags(&mut bytes, Flags(Flags::QR | flags));
        let mut options = std::mem::take(&mut self.stale);
        options.extend_from_slice(ede);
        let entry = Entry::lasting(bytes, rcode, options, now);
        Verdict::Respond { entry: Arc::new(entry), authoritative: self.authoritative }
    }
}

impl Shared {
    /// The question of `name`, by the forward rules; `None` without any.
    pub(super) fn question(
        &self,
        name: &FoldedName,
        qtype: Rtype,
        qclass: Class,
        bits: u8,
        own: bool,
    ) -> Option<Question> {
        self.forwarder.tables().with(|tables| {
            let rule = tables.rules.find(name)?;
            let key = KeyRef::new(rule.partition, name, qtype, qclass, bits).to_key();
            let group = Arc::clone(&rule.group);
            let fallback = tables.fallback.clone().filter(|_| !own && qclass == Class::IN);
            Some(Question { key, qtype, qclass, bits, group, fallback })
        })
    }
}
