//! One question on its way: what was asked of whom, what came back, who waits.
//!
//! Everything here is decided without I/O; `engine` sends and receives.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::wire::message::{Message, Section};
use crate::wire::{Ede, Flags, Name, Rcode};

use super::chain::{self, Chain};
use super::entry::{Checked, Entry, TtlBounds};
use super::question::Question;
use super::reply::{self, UpstreamReply};
use super::rules::Group;
use super::sockets::Sent;
use super::upstream::Upstream;
use super::{Local, Waiter};

/// Most names that are asked for one question: Azure's chains have up to six.
pub(super) const MAX_NAMES: usize = 8;

/// A client, or a job on behalf of one.
pub(super) struct Waiting {
    /// When it gets an answer at the latest.
    pub(super) expires: Instant,
    /// Whom to tell.
    pub(super) waiter: Box<dyn Waiter>,
}

/// One query that went out over UDP.
#[derive(Clone, Debug)]
pub(super) struct Outstanding {
    /// Where its response will come in.
    pub(super) sent: Sent,
    /// Whom it went to.
    pub(super) upstream: Arc<Upstream>,
    /// When.
    pub(super) at: Instant,
}

/// One query that went out over a stream; dropping it gives it up.
#[derive(Debug)]
pub(super) struct OverStream {
    /// What waits for the response.
    pub(super) task: AbortHandle,
    /// Whom it went to.
    pub(super) upstream: Arc<Upstream>,
    /// When.
    pub(super) at: Instant,
}

impl Drop for OverStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asking one group for one name.
#[derive(Debug)]
pub(super) struct Ask {
    /// The name: QNAME, or a target of its chain.
    pub(super) name: Name,
    /// Whom to ask.
    pub(super) group: Arc<Group>,
    /// How many upstreams of the group were asked.
    pub(super) tried: usize,
    /// The upstream asked last.
    pub(super) upstream: Option<Arc<Upstream>>,
    /// Whether our OPT goes with the query.
    pub(super) opt: bool,
    /// Whether the one resend was used.
    pub(super) resent: bool,
    /// When to resend.
    pub(super) resend_at: Option<Instant>,
    /// Whether a response code has moved us on to the next upstream.
    pub(super) moved_by_rcode: bool,
    /// Queries that may still be answered.
    pub(super) outstanding: Vec<Outstanding>,
    /// A failure that an upstream answered with, for want of better.
    pub(super) held: Option<UpstreamReply>,
    /// Queries over streams that may still be answered.
    pub(super) streams: Vec<OverStream>,
    /// Whether TCP was tried for this name.
    pub(super) tcp_done: bool,
    /// What UDP brought before TCP was tried.
    pub(super) partial: Option<UpstreamReply>,
    /// Whether the network told of an error.
    pub(super) network_error: bool,
}

impl Ask {
    /// A fresh start.
    pub(super) fn new(name: Name, group: Arc<Group>) -> Self {
        Self {
            name,
            group,
            tried: 0,
            upstream: None,
            opt: true,
            resent: false,
            resend_at: None,
            moved_by_rcode: false,
            outstanding: Vec::new(),
            held: None,
            streams: Vec::new(),
            tcp_done: false,
            partial: None,
            network_error: false,
        }
    }

    /// The next upstream that was not asked yet.
    pub(super) fn next_upstream(&mut self) -> Option<Arc<Upstream>> {
        let next = self.group.upstreams.get(self.tried).cloned()?;
        self.tried += 1;
        // Another server: its own OPT, its own TCP.
        self.opt = true;
        self.tcp_done = false;
        Some(next)
    }

    /// Whether a response may still come.
    pub(super) fn is_waiting(&self) -> bool {
        !self.outstanding.is_empty() || !self.streams.is_empty()
    }
}

/// One question in flight, for everybody who asks it.
pub(super) struct Exchange {
    /// The question.
    pub(super) question: Question,
    /// Who waits.
    pub(super) waiters: Vec<Waiting>,
    /// When it began, by the engine's clock and by the workers'.
    pub(super) started: (Instant, u64),
    /// When it is given up.
    pub(super) deadline: Instant,
    /// The timer that is set.
    pub(super) armed: Option<Instant>,
    /// What is being asked now.
    pub(super) ask: Ask,
    /// Responses whose chains led to the name that is asked now.
    pub(super) parts: Vec<UpstreamReply>,
    /// Queries of earlier asks, whose responses no longer count.
    pub(super) stale: Vec<Sent>,
    /// The denial that stands if the fallback has nothing better.
    pub(super) first: Option<UpstreamReply>,
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
    /// Nothing more can be asked: SERVFAIL.
    Fail(Ede),
}

impl Exchange {
    /// The next moment at which something is due.
    pub(super) fn due(&self) -> Instant {
        let waiters = self.waiters.iter().map(|waiting| waiting.expires).min();
        let times = [Some(self.deadline), self.ask.resend_at, waiters];
        times.into_iter().flatten().min().unwrap_or(self.deadline)
    }

    /// Milliseconds on the workers' clock at `now`.
    pub(super) fn clock(&self, now: Instant) -> u64 {
        let (started, started_ms) = self.started;
        let passed = now.saturating_duration_since(started).as_millis();
        started_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Takes in a response that belongs to the current ask.
    pub(super) fn received(
        &mut self,
        reply: UpstreamReply,
        local: &dyn Local,
        bounds: &TtlBounds,
        now: u64,
    ) -> Next {
        match reply.rcode {
            // BADVERS, too, can only be about our OPT.
            Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS if self.ask.opt => return Next::WithoutOpt,
            Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR => {
                self.ask.held = Some(reply);
                return Next::Move;
            }
            _ => {}
        }
        if reply.truncated && !self.ask.tcp_done {
            self.ask.partial = Some(reply);
            return Next::Tcp;
        }
        self.conclude(reply, local, bounds, now)
    }

    /// TCP failed: what UDP brought still counts. An incomplete chain is
    /// followed; a truncated answer goes to the client with TC, and is not kept.
    pub(super) fn tcp_failed(&mut self, local: &dyn Local, bounds: &TtlBounds, now: u64) -> Next {
        match self.ask.partial.take() {
            Some(partial) => self.conclude(partial, local, bounds, now),
            None => Next::Move,
        }
    }

    /// Decides what becomes of a response that is no failure.
    fn conclude(&mut self, reply: UpstreamReply, local: &dyn Local, bounds: &TtlBounds, now: u64) -> Next {
        let Some(combined) = self.combine(&reply) else {
            return Next::Fail(Ede::NETWORK_ERROR);
        };
        let Some(message) = Message::parse(&combined.bytes) else {
            return Next::Fail(Ede::NETWORK_ERROR);
        };
        let mut chain = Chain::walk(&message);
        let split = local.split(&chain.targets, &self.question);
        if let Some(cut) = split.cut
            && let Some(bytes) = chain::cut(&combined.bytes, &chain.targets, cut)
        {
            chain.targets.truncate(cut + 1);
            let lead = UpstreamReply { bytes, rcode: Rcode::NOERROR, ede: Vec::new(), truncated: false };
            // What stands in the cut chain is whole, whatever became of the rest.
            chain.looped = false;
            let checked = Checked { instance: split.instance, cut: Some(cut) };
            return Next::Done(Entry::new(lead, chain, bounds, now, checked));
        }
        if chain.is_incomplete(&message) && !combined.truncated {
            if !self.ask.tcp_done {
                self.ask.partial = Some(reply);
                return Next::Tcp;
            }
            if let Some(next) = self.chase(reply, &chain, local) {
                return next;
            }
        } else if self.first.is_none()
            && !split.own
            && reply::is_private_link_denial(&combined)
            && let Some(fallback) = self.question.fallback.take()
        {
            self.first = Some(combined);
            self.parts.clear();
            self.restart(self.question.name.clone(), fallback);
            return Next::Again;
        }
        let usable = matches!(combined.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
        if self.first.is_some() && !usable {
            return self.give_up(bounds, now);
        }
        if chain.looped {
            return Next::Fail(Ede { code: 0, text: "upstream's CNAME chain loops" });
        }
        let checked = Checked { instance: split.instance, cut: None };
        let entry = Entry::new(combined, chain, bounds, now, checked);
        Next::Done(if self.first.is_some() { entry.of_fallback() } else { entry })
    }

    /// Goes on with the chain's last target; `None` if it leads nowhere new,
    /// and what there is must do.
    fn chase(&mut self, reply: UpstreamReply, chain: &Chain, local: &dyn Local) -> Option<Next> {
        let target = chain.targets.last()?.clone();
        if target == self.ask.name || self.parts.len() + 2 > MAX_NAMES {
            return Some(Next::Fail(Ede { code: 0, text: "upstream's CNAME chain is too long" }));
        }
        self.parts.push(reply);
        let group = if self.first.is_some() {
            Arc::clone(&self.ask.group)
        } else {
            local.group(&target).unwrap_or_else(|| Arc::clone(&self.ask.group))
        };
        self.restart(target, group);
        Some(Next::Again)
    }

    /// Begins to ask `group` for `name`; what is still out counts no more.
    fn restart(&mut self, name: Name, group: Arc<Group>) {
        let old = std::mem::replace(&mut self.ask, Ask::new(name, group));
        self.stale.extend(old.outstanding.into_iter().map(|outstanding| outstanding.sent));
    }

    /// One message out of the chain's parts and their end.
    fn combine(&self, last: &UpstreamReply) -> Option<UpstreamReply> {
        let Some(first) = self.parts.first() else {
            return Some(last.clone());
        };
        let mut builder =
            chain::builder_like(&first.bytes, Flags(Flags::QR | (last.rcode.0 & Flags::RCODE)))?;
        for part in self.parts.iter().chain([last]) {
            chain::push_section(&mut builder, &part.bytes, Section::Answer, 0);
        }
        chain::push_section(&mut builder, &last.bytes, Section::Authority, 0);
        let UpstreamReply { rcode, ref ede, truncated, .. } = *last;
        Some(UpstreamReply { bytes: builder.finish(), rcode, ede: ede.clone(), truncated })
    }

    /// Nothing more can be asked: the denial before the fallback, a failure
    /// that an upstream told, or SERVFAIL of our own (which is never kept).
    pub(super) fn give_up(&mut self, bounds: &TtlBounds, now: u64) -> Next {
        let held = match self.first.take() {
            Some(first) => Some(first),
            None if self.parts.is_empty() => self.ask.held.take(),
            None => None,
        };
        let Some(reply) = held else {
            let refused = self.ask.network_error && !self.ask.is_waiting();
            return Next::Fail(if refused { Ede::NETWORK_ERROR } else { Ede::NO_REACHABLE_AUTHORITY });
        };
        Next::Done(plain_entry(reply, bounds, now))
    }

    /// What a client gets whose time is over while the exchange runs on.
    pub(super) fn interim(&self, bounds: &TtlBounds, now: u64) -> Result<Entry, Ede> {
        let held = match &self.first {
            Some(first) => Some(first),
            None if self.parts.is_empty() => self.ask.held.as_ref(),
            None => None,
        };
        match held {
            Some(reply) => Ok(plain_entry(reply.clone(), bounds, now)),
            None if self.ask.network_error && !self.ask.is_waiting() => Err(Ede::NETWORK_ERROR),
            None => Err(Ede::NO_REACHABLE_AUTHORITY),
        }
    }
}

/// An entry of a response that leads to nothing of ours.
fn plain_entry(reply: UpstreamReply, bounds: &TtlBounds, now: u64) -> Entry {
    let chain = Message::parse(&reply.bytes).map(|message| Chain::walk(&message)).unwrap_or_default();
    // Instance 0 is no snapshot's: the chain is compared again at first use.
    Entry::new(reply, chain, bounds, now, Checked { instance: 0, cut: None })
}
