//! One question on its way: what was asked of whom, what came back, who waits.
//!
//! Everything here is decided without I/O; `engine` sends and receives. What
//! most exchanges never need lies behind pointers, so that an exchange is some
//! cache lines long; times are milliseconds on the engine's clock.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::wire::message::{Message, Section};
use crate::wire::{Ede, Flags, Name, Rcode};

use super::chain::{self, Chain};
use super::entry::{Checked, Entry, TtlBounds};
use super::flights::{Flights, Outstanding};
use super::lines::Lines;
use super::pace::{Asker, Permit};
use super::peers::PeerId;
use super::question::Question;
use super::reply::{self, UpstreamReply};
use super::rules::Group;
use super::{Local, Waiter};

/// Most names that are asked for one question: Azure's chains have up to six.
pub(super) const MAX_NAMES: usize = 8;
/// What a client gets whose chain of CNAMEs goes round.
pub(super) const LOOPS: Ede = Ede { code: 0, text: "upstream's CNAME chain loops" };
/// No time: what is due then is never due.
pub(super) const NEVER: u64 = u64::MAX;

/// A client, or a job on behalf of one.
pub(super) struct Waiting {
    /// When it gets an answer at the latest.
    pub(super) expires: u64,
    /// Whom to tell.
    pub(super) waiter: Box<dyn Waiter>,
}

/// One query that went out over a stream.
#[derive(Debug)]
pub(super) struct OverStream {
    /// What waits for the response; aborting it gives the query up.
    pub(super) task: AbortHandle,
    /// Whom it went to.
    pub(super) peer: PeerId,
    /// The right to it.
    pub(super) permit: Permit,
    /// When, in microseconds.
    pub(super) at_us: u64,
    /// Whether its silence was told of, or tells nothing of an upstream that
    /// is asked over UDP.
    pub(super) told: bool,
}

/// Asking one group for one name.
#[derive(Debug)]
pub(super) struct Ask {
    /// A target of the chain and its group; `None` for QNAME and its own.
    pub(super) target: Option<Box<(Name, Arc<Group>)>>,
    /// Which upstreams of the group were asked, a bit for each.
    pub(super) asked: u64,
    /// The upstream asked last.
    pub(super) peer: Option<PeerId>,
    /// Queries that go out at the end of the pass.
    pub(super) queued: u8,
    /// What is sent again, and when.
    pub(super) lines: Lines,
    /// Whether our OPT goes with the query.
    pub(super) opt: bool,
    /// Whether the next upstream was asked before this one failed.
    pub(super) hedged: bool,
    /// Whether a response code has moved us on to the next upstream.
    pub(super) moved_by_rcode: bool,
    /// Who was asked over a stream for this name.
    pub(super) over_stream: Vec<PeerId>,
    /// Whether the network told of an error.
    pub(super) network_error: bool,
    /// Whether an upstream may not be sent any more at the moment.
    pub(super) over: bool,
    /// When to ask the next upstream as well.
    pub(super) hedge_at: u64,
    /// Queries that may still be answered.
    pub(super) outstanding: Flights,
    /// Queries over streams that may still be answered.
    pub(super) streams: Vec<OverStream>,
    /// A failure that an upstream answered with, for want of better.
    pub(super) held: Option<Box<UpstreamReply>>,
    /// What UDP brought before TCP was tried.
    pub(super) partial: Option<Box<UpstreamReply>>,
}

impl Ask {
    /// A fresh start.
    pub(super) fn new(target: Option<Box<(Name, Arc<Group>)>>) -> Self {
        Self {
            target,
            asked: 0,
            peer: None,
            queued: 0,
            lines: Lines::NONE,
            opt: true,
            hedged: false,
            moved_by_rcode: false,
            over_stream: Vec::new(),
            network_error: false,
            over: false,
            hedge_at: NEVER,
            outstanding: Flights::default(),
            streams: Vec::new(),
            held: None,
            partial: None,
        }
    }

    /// Whether `peer` was asked over a stream.
    pub(super) fn is_over_stream(&self, peer: PeerId) -> bool {
        self.over_stream.contains(&peer)
    }

    /// Whether who has spoken last has yet to be asked over a stream.
    fn may_ask_over_stream(&self) -> bool {
        !self.peer.is_some_and(|peer| self.is_over_stream(peer))
    }

    /// Whether a response may still come.
    pub(super) fn is_waiting(&self) -> bool {
        self.queued > 0 || !self.streams.is_empty() || !self.outstanding.is_empty()
    }
}

/// One question in flight, for everybody who asks it.
pub(super) struct Exchange {
    /// The question.
    pub(super) question: Question,
    /// Who waits; the first one apart, since mostly there is one.
    pub(super) first_waiting: Option<Waiting>,
    /// The others.
    pub(super) waiting: Vec<Waiting>,
    /// The earliest time at which one of them gets an answer at the latest.
    pub(super) expires: u64,
    /// When it began, by the engine's clock and by the workers'.
    pub(super) started: (u64, u64),
    /// When it is given up.
    pub(super) deadline: u64,
    /// Who asked first, and is charged for it.
    pub(super) asker: Asker,
    /// The time for which the wheel has it.
    pub(super) armed: u64,
    /// Whether its question came back from an upstream that it was sent to.
    pub(super) suspect: bool,
    /// What is being asked now.
    pub(super) ask: Ask,
    /// Responses whose chains led to the name that is asked now.
    pub(super) parts: Vec<UpstreamReply>,
    /// Queries of earlier asks, whose responses no longer count.
    pub(super) stale: Vec<Outstanding>,
    /// The same of those over streams.
    pub(super) stale_streams: Vec<OverStream>,
    /// The denial that stands if the fallback has nothing better.
    pub(super) first: Option<Box<UpstreamReply>>,
}

/// What a response leads to.
#[derive(Debug)]
pub(super) enum Next {
    /// The exchange is over.
    Done(Entry),
    /// Ask the next upstream, if there is one; else take what is held.
    Move,
    /// Ask the same upstream again, without our OPT.
    WithoutOpt,
    /// Ask the same upstream over TCP.
    Tcp,
    /// Ask again as [`Exchange::ask`] now says: a target, or the fallback.
    Again,
    /// Another response may still come, and is waited for.
    Wait,
    /// Nothing more can be asked: SERVFAIL.
    Fail(Ede),
}

impl Exchange {
    /// A question that begins at `started`, with who asks it.
    pub(super) fn new(
        question: Question,
        waiting: Waiting,
        started: (u64, u64),
        deadline: u64,
        asker: Asker,
    ) -> Self {
        Self {
            question,
            expires: waiting.expires,
            first_waiting: Some(waiting),
            waiting: Vec::new(),
            started,
            deadline,
            asker,
            armed: NEVER,
            suspect: false,
            ask: Ask::new(None),
            parts: Vec::new(),
            stale: Vec::new(),
            stale_streams: Vec::new(),
            first: None,
        }
    }

    /// How many wait.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.len() + usize::from(self.first_waiting.is_some())
    }

    /// One more waits. What nobody waited for becomes a client's question.
    pub(super) fn join(&mut self, waiting: Waiting, asker: Asker) {
        if self.asker.renewal {
            self.asker = asker;
        }
        self.expires = self.expires.min(waiting.expires);
        self.waiting.push(waiting);
    }

    /// Takes out those whose time is over.
    pub(super) fn expired(&mut self, now: u64) -> Vec<Waiting> {
        if self.expires > now {
            return Vec::new();
        }
        let all = self.first_waiting.take().into_iter().chain(self.waiting.drain(..));
        let (late, waiting): (Vec<_>, Vec<_>) = all.partition(|waiting| waiting.expires <= now);
        self.expires = waiting.iter().map(|waiting| waiting.expires).min().unwrap_or(NEVER);
        self.waiting = waiting;
        late
    }

    /// The next moment at which something is due.
    pub(super) fn due(&self) -> u64 {
        self.deadline.min(self.expires).min(self.ask.lines.due()).min(self.ask.hedge_at)
    }

    /// Milliseconds on the workers' clock at `now`.
    pub(super) const fn clock(&self, now: u64) -> u64 {
        let (started, started_ms) = self.started;
        started_ms.saturating_add(now.saturating_sub(started))
    }

    /// The name that is asked for, in wire form, folded.
    pub(super) fn name(&self) -> &[u8] {
        match &self.ask.target {
            Some(target) => target.0.as_wire(),
            None => self.question.name_wire(),
        }
    }

    /// Who is asked.
    pub(super) fn group(&self) -> &Arc<Group> {
        match &self.ask.target {
            Some(target) => &target.1,
            None => &self.question.group,
        }
    }

    /// Whether a good response is the end of it, as it stands.
    pub(super) fn is_simple(&self) -> bool {
        self.parts.is_empty() && self.first.is_none() && self.ask.target.is_none()
    }

    /// Whether `rcode` is about our OPT, and the question is asked again without.
    #[inline]
    pub(super) const fn is_about_opt(&self, rcode: Rcode) -> bool {
        // BADVERS, too, can only be about our OPT.
        self.ask.opt && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS)
    }

    /// Takes in a response that belongs to the current ask, and whose code is,
    /// or is not, one upon which the next upstream is asked.
    pub(super) fn received(
        &mut self,
        reply: UpstreamReply,
        is_failure: bool,
        local: &dyn Local,
        bounds: &TtlBounds,
        now: u64,
    ) -> Next {
        if self.is_about_opt(reply.rcode) {
            return Next::WithoutOpt;
        }
        if is_failure {
            self.ask.held = Some(Box::new(reply));
            return Next::Move;
        }
        let may_ask = self.ask.may_ask_over_stream();
        if reply.truncated && (may_ask || self.ask.is_waiting()) {
            self.ask.partial = Some(Box::new(reply));
            return if may_ask { Next::Tcp } else { Next::Wait };
        }
        self.conclude(reply, may_ask, local, bounds, now)
    }

    /// TCP failed: what UDP brought still counts once nobody else may say more.
    /// An incomplete chain is followed; a truncated answer goes to the client
    /// with TC, and is not kept.
    pub(super) fn tcp_failed(&mut self, local: &dyn Local, bounds: &TtlBounds, now: u64) -> Next {
        if self.ask.partial.is_some() && self.ask.is_waiting() {
            return Next::Wait;
        }
        match self.ask.partial.take() {
            Some(partial) => self.conclude(*partial, false, local, bounds, now),
            None => Next::Move,
        }
    }

    /// Decides what becomes of a response that is no failure; `may_ask` says
    /// whether its upstream may be asked for the whole of it over a stream.
    fn conclude(
        &mut self,
        reply: UpstreamReply,
        may_ask: bool,
        local: &dyn Local,
        bounds: &TtlBounds,
        now: u64,
    ) -> Next {
        let combined = if self.parts.is_empty() { None } else { self.combine(&reply) };
        if combined.is_none() && !self.parts.is_empty() {
            return Next::Fail(Ede::NETWORK_ERROR);
        }
        let whole = combined.as_ref().unwrap_or(&reply);
        let Some(message) = Message::parse(&whole.bytes) else {
            return Next::Fail(Ede::NETWORK_ERROR);
        };
        let mut chain = Chain::walk(&message);
        let split = local.split(&chain.targets, &self.question);
        if let Some(cut) = split.cut
            && let Some(bytes) = chain::cut(&whole.bytes, &chain.targets, cut)
        {
            chain.targets.truncate(cut + 1);
            let lead = UpstreamReply { bytes, rcode: Rcode::NOERROR, ede: Vec::new(), truncated: false };
            // What stands in the cut chain is whole, whatever became of the rest.
            chain.looped = false;
            let checked = Checked { instance: split.instance, cut: Some(cut) };
            return Next::Done(Entry::new(lead, chain, bounds, now, checked));
        }
        if chain.is_incomplete(&message) && !whole.truncated {
            if may_ask {
                self.ask.partial = Some(Box::new(reply));
                return Next::Tcp;
            }
            if let Some(next) = self.chase(&reply, &chain, local) {
                return next;
            }
        } else if self.first.is_none()
            && !split.own
            && reply::is_private_link_denial(whole)
            && let Some(fallback) = self.question.fallback.take()
        {
            self.first = Some(Box::new(combined.unwrap_or(reply)));
            self.parts.clear();
            self.restart(self.question.name(), fallback);
            return Next::Again;
        }
        let usable = matches!(whole.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
        if self.first.is_some() && !usable {
            return self.give_up(bounds, now);
        }
        if chain.looped {
            return Next::Fail(LOOPS);
        }
        let checked = Checked { instance: split.instance, cut: None };
        let entry = Entry::new(combined.unwrap_or(reply), chain, bounds, now, checked);
        Next::Done(if self.first.is_some() { entry.of_fallback() } else { entry })
    }

    /// Goes on with the chain's last target; `None` if it leads nowhere new,
    /// and what there is must do.
    fn chase(&mut self, reply: &UpstreamReply, chain: &Chain, local: &dyn Local) -> Option<Next> {
        let target = chain.targets.last()?.clone();
        if target.as_wire() == self.name() || self.parts.len() + 2 > MAX_NAMES {
            return Some(Next::Fail(Ede { code: 0, text: "upstream's CNAME chain is too long" }));
        }
        self.parts.push(reply.clone());
        let group = if self.first.is_some() {
            Arc::clone(self.group())
        } else {
            local.group(&target).unwrap_or_else(|| Arc::clone(self.group()))
        };
        self.restart(target, group);
        Some(Next::Again)
    }

    /// Begins to ask `group` for `name`; what is still out counts no more.
    fn restart(&mut self, name: Name, group: Arc<Group>) {
        let old = std::mem::replace(&mut self.ask, Ask::new(Some(Box::new((name, group)))));
        self.stale.extend(old.outstanding.iter());
        self.stale_streams.extend(old.streams);
    }

    /// One message out of the chain's parts and their end.
    fn combine(&self, last: &UpstreamReply) -> Option<UpstreamReply> {
        let first = self.parts.first()?;
        let mut builder =
            chain::builder_like(&first.bytes, Flags(Flags::QR | (last.rcode.0 & Flags::RCODE)))?;
        for part in self.parts.iter().chain([last]) {
            chain::push_section(&mut builder, &part.bytes, Section::Answer, 0);
        }
        chain::push_section(&mut builder, &last.bytes, Section::Authority, 0);
        let UpstreamReply { rcode, ref ede, truncated, .. } = *last;
        Some(UpstreamReply { bytes: builder.finish(), rcode, ede: ede.clone(), truncated })
    }

    /// Nothing more can be asked: what there is of an answer, the denial before
    /// the fallback, a failure that an upstream told, or SERVFAIL of our own
    /// (which is never kept).
    pub(super) fn give_up(&mut self, bounds: &TtlBounds, now: u64) -> Next {
        if let Some(truncated) = self.truncated(bounds, now) {
            return Next::Done(truncated);
        }
        let held = match self.first.take() {
            Some(first) => Some(first),
            None if self.parts.is_empty() => self.ask.held.take(),
            None => None,
        };
        let Some(reply) = held else {
            return Next::Fail(self.silence());
        };
        Next::Done(plain_entry(*reply, bounds, now))
    }

    /// What a client gets whose time is over while the exchange runs on.
    pub(super) fn interim(&self, bounds: &TtlBounds, now: u64) -> Result<Entry, Ede> {
        if let Some(truncated) = self.truncated(bounds, now) {
            return Ok(truncated);
        }
        let held = match &self.first {
            Some(first) => Some(first),
            None if self.parts.is_empty() => self.ask.held.as_ref(),
            None => None,
        };
        match held {
            Some(reply) => Ok(plain_entry((**reply).clone(), bounds, now)),
            None => Err(self.silence()),
        }
    }

    /// What UDP brought of an answer that TCP has not brought whole. It has TC,
    /// so that nobody keeps it. A denial that a fallback may overrule is none.
    fn truncated(&self, bounds: &TtlBounds, now: u64) -> Option<Entry> {
        let partial = self.ask.partial.as_deref().filter(|partial| partial.truncated)?;
        let overruled = self.question.fallback.is_some() && reply::is_private_link_denial(partial);
        let usable = self.first.is_none() || matches!(partial.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
        if overruled || !usable {
            return None;
        }
        let whole = if self.parts.is_empty() { partial.clone() } else { self.combine(partial)? };
        let looped = Chain::walk(&Message::parse(&whole.bytes)?).looped;
        let entry = plain_entry(whole, bounds, now);
        (!looped).then(|| if self.first.is_some() { entry.of_fallback() } else { entry })
    }

    /// Why there is no answer.
    fn silence(&self) -> Ede {
        if !self.ask.outstanding.is_empty() {
            Ede::NO_REACHABLE_AUTHORITY
        } else if self.ask.over {
            Ede::OVER_BUDGET
        } else if self.ask.network_error {
            Ede::NETWORK_ERROR
        } else {
            Ede::NO_REACHABLE_AUTHORITY
        }
    }
}

/// An entry of a response that leads to nothing of ours.
fn plain_entry(reply: UpstreamReply, bounds: &TtlBounds, now: u64) -> Entry {
    let chain = Message::parse(&reply.bytes).map(|message| Chain::walk(&message)).unwrap_or_default();
    // Instance 0 is no snapshot's: the chain is compared again at first use.
    Entry::new(reply, chain, bounds, now, Checked { instance: 0, cut: None })
}
