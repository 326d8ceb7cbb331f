//! Upstreams that die, come back and lose packets, on a virtual clock: a small
//! engine makes the calls that `forward::governor` documents, nothing waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hubdns::config::{self, Policy, UpstreamBudget};
use hubdns::forward::governor::{Class, Governor, Rotation, Ticket, Upstream};
use hubdns::forward::health::{Quality, State};

/// When a client must have its answer, in milliseconds.
const CLIENT_DEADLINE: u64 = 2400;
/// When an exchange is given up.
const EXCHANGE_DEADLINE: u64 = 10_000;
/// Longest wait before a resend.
const RESEND: Duration = Duration::from_millis(800);
const SECOND: u64 = 1000;

/// How a simulated upstream behaves.
#[derive(Clone, Debug, Default)]
struct Behavior {
    /// Milliseconds to its answer.
    rtt: u64,
    /// When it does not answer.
    dead: Option<Range<u64>>,
    /// Whether the network says so then.
    tells: bool,
    /// Messages and answers lost, of 100 each.
    loss: u32,
    /// When it answers SERVFAIL.
    failing: Option<Range<u64>>,
}

impl Behavior {
    fn with_rtt(rtt: u64) -> Self {
        Self { rtt, ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    Answer { message: usize, servfail: bool },
    Unreachable { message: usize },
    Resend { question: usize },
    Hedge { question: usize },
    Over { question: usize },
    Probes,
}

#[derive(Clone, Copy)]
struct Message {
    question: Option<usize>,
    upstream: usize,
    ticket: Ticket,
    sent: u64,
    open: bool,
    told: bool,
}

#[derive(Default)]
struct Question {
    asked: u64,
    done: Option<(u64, bool)>,
    used: u64,
    latest: Option<usize>,
    messages: Vec<usize>,
    resends: u32,
    wait: u64,
    client: u8,
}

struct Sim {
    governor: Governor,
    rotation: Arc<Rotation>,
    upstreams: Vec<Arc<Upstream>>,
    behaviors: Vec<Behavior>,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    messages: Vec<Message>,
    questions: Vec<Question>,
    random: u64,
    /// For when the engine has set its alarm.
    wakes: Option<u64>,
    /// Probes that are out.
    probes: Vec<usize>,
    /// Time between two questions, in microseconds.
    every_us: u64,
    /// What was sent, by upstream.
    sent: Vec<Vec<u64>>,
    /// States by upstream as they changed.
    states: BTreeMap<usize, Vec<(u64, State)>>,
}

impl Sim {
    fn new(policy: Policy, limits: Option<(u32, u32)>, per_second: u64, behaviors: Vec<Behavior>) -> Self {
        let address = |n: usize| SocketAddr::from(([192, 0, 2, n as u8], 53));
        let budget = |n| {
            limits.map(|(rate, in_flight)| UpstreamBudget {
                address: address(n),
                rate: Some(rate),
                in_flight: Some(in_flight),
            })
        };
        let settings = config::Governor {
            policies: vec![("group".to_owned(), policy)],
            budgets: (0..behaviors.len()).filter_map(budget).collect(),
            ..config::Governor::default()
        };
        let governor = Governor::new(&settings, RESEND, 42);
        let upstream = |n: usize| governor.upstream(&address(n).to_string(), address(n));
        let mut sim = Self {
            rotation: governor.rotation("group"),
            upstreams: (0..behaviors.len()).map(upstream).collect(),
            governor,
            sent: vec![Vec::new(); behaviors.len()],
            behaviors,
            now: 0,
            events: BinaryHeap::new(),
            serial: 0,
            messages: Vec::new(),
            questions: Vec::new(),
            random: 0x9e37_79b9,
            wakes: None,
            probes: Vec::new(),
            every_us: 1_000_000 / per_second,
            states: BTreeMap::new(),
        };
        sim.at(0, Event::Ask);
        sim
    }

    fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((time, self.serial, event)));
    }

    fn random(&mut self) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as u32
    }

    fn run(&mut self, until: u64) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time > until {
                self.at(time, event);
                break;
            }
            self.now = time;
            self.handle(event);
            for (n, upstream) in self.upstreams.iter().enumerate() {
                let states = self.states.entry(n).or_default();
                if states.last().map(|(_, state)| *state) != Some(upstream.state()) {
                    states.push((time, upstream.state()));
                }
            }
            // The engine's sleep ends when a probe is due.
            if let Some(at) = self.governor.next_probe()
                && self.wakes != Some(at)
            {
                self.wakes = Some(at);
                self.at(at.max(self.now), Event::Probes);
            }
        }
        self.now = until;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Ask => self.ask(),
            Event::Answer { message, servfail } => self.answer(message, servfail),
            Event::Unreachable { message } => self.unreachable(message),
            Event::Resend { question } => self.resend(question),
            Event::Hedge { question } => self.hedge(question),
            Event::Over { question } => self.close(question),
            Event::Probes => self.probes(),
        }
    }

    fn ask(&mut self) {
        let question = self.questions.len();
        let client = (self.random() % 20) as u8;
        self.questions.push(Question { asked: self.now, client, ..Question::default() });
        let next = (question as u64 + 1) * self.every_us / 1000;
        self.at(next.max(self.now), Event::Ask);
        self.at(self.now + EXCHANGE_DEADLINE, Event::Over { question });
        if !self.next(question, Class::Query) {
            self.finish(question, false);
        }
    }

    /// Asks the next upstream that will have it.
    fn next(&mut self, question: usize, class: Class) -> bool {
        for _ in 0..self.upstreams.len() {
            let used = self.questions[question].used;
            let random = self.random();
            let Some(at) = self.governor.choose(&self.rotation, &self.upstreams, used, random, self.now)
            else {
                return false;
            };
            self.questions[question].used |= 1 << at;
            if self.send(question, at, class) {
                return true;
            }
        }
        false
    }

    fn send(&mut self, question: usize, at: usize, class: Class) -> bool {
        let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.questions[question].client));
        let Ok(ticket) = self.upstreams[at].admit(class, Some(client), self.now) else { return false };
        let message = self.put_on_the_wire(Some(question), at, ticket);
        let upstream = Arc::clone(&self.upstreams[at]);
        let q = &mut self.questions[question];
        q.messages.push(message);
        q.latest = Some(at);
        if q.resends == 0 && class == Class::Query {
            q.wait = upstream.resend_after().as_millis() as u64;
            let (resend, hedge) = (self.now + q.wait, upstream.hedge_after());
            self.at(resend, Event::Resend { question });
            if let Some(hedge) = hedge.filter(|_| self.upstreams.len() > 1) {
                self.at(self.now + hedge.as_millis() as u64, Event::Hedge { question });
            }
        }
        true
    }

    fn put_on_the_wire(&mut self, question: Option<usize>, at: usize, ticket: Ticket) -> usize {
        let message = self.messages.len();
        self.messages.push(Message {
            question,
            upstream: at,
            ticket,
            sent: self.now,
            open: true,
            told: false,
        });
        self.sent[at].push(self.now);
        let (behavior, now) = (self.behaviors[at].clone(), self.now);
        let lost = self.random() % 100 < behavior.loss || self.random() % 100 < behavior.loss;
        let arrives = now + behavior.rtt / 2;
        if behavior.dead.iter().any(|dead| dead.contains(&arrives)) {
            if behavior.tells {
                self.at(now + behavior.rtt, Event::Unreachable { message });
            }
        } else if !lost {
            let servfail = behavior.failing.iter().any(|failing| failing.contains(&arrives));
            // Not all take the same: one in ten is not in the upstream's cache.
            let extra = if self.random().is_multiple_of(10) { behavior.rtt * 4 } else { 0 };
            self.at(now + behavior.rtt + extra, Event::Answer { message, servfail });
        }
        message
    }

    /// Nothing is expected of a message any more.
    fn end(&mut self, message: usize) -> bool {
        let message = &mut self.messages[message];
        let was_open = std::mem::replace(&mut message.open, false);
        if was_open {
            self.upstreams[message.upstream].release(message.ticket);
        }
        was_open
    }

    fn answer(&mut self, message: usize, servfail: bool) {
        if !self.end(message) {
            return;
        }
        let Message { upstream: at, sent, question, .. } = self.messages[message];
        let quality = if servfail { Quality::Failure } else { Quality::Good };
        let rtt = Duration::from_millis(self.now - sent);
        let Some(question) = question else {
            return self.upstreams[at].probe_answered(rtt, quality, self.now);
        };
        self.upstreams[at].answered(rtt, quality, self.now);
        if !servfail {
            self.finish(question, true);
        } else if self.questions[question].done.is_none() && !self.next(question, Class::Query) {
            self.finish(question, false);
        }
    }

    fn unreachable(&mut self, message: usize) {
        if !self.end(message) {
            return;
        }
        let Message { upstream: at, sent, question, .. } = self.messages[message];
        let Some(question) = question else { return };
        self.upstreams[at].unreachable(Duration::from_millis(self.now - sent), self.now);
        let waits = self.questions[question].messages.iter().any(|m| self.messages[*m].open);
        if self.questions[question].done.is_none() && !self.next(question, Class::Query) && !waits {
            self.finish(question, false);
        }
    }

    fn resend(&mut self, question: usize) {
        if self.questions[question].done.is_some() {
            return;
        }
        for message in self.questions[question].messages.clone() {
            let message = &mut self.messages[message];
            let (upstream, waited) = (&self.upstreams[message.upstream], self.now - message.sent);
            let waited = Duration::from_millis(waited);
            // One that was sent just now is for the next time.
            if message.open && !message.told && waited >= upstream.resend_after() / 2 {
                message.told = true;
                upstream.timed_out(waited, self.now);
            }
        }
        let q = &mut self.questions[question];
        q.resends += 1;
        q.wait *= 2;
        let (wait, again) = (q.wait, q.latest);
        let sent = self.next(question, Class::Retry)
            || again.is_some_and(|at| self.send(question, at, Class::Retry));
        if sent && let Some(at) = self.questions[question].latest {
            self.upstreams[at].resent();
        }
        if self.questions[question].resends < 2 {
            self.at(self.now + wait, Event::Resend { question });
        }
    }

    fn hedge(&mut self, question: usize) {
        if self.questions[question].done.is_none()
            && self.next(question, Class::Retry)
            && let Some(at) = self.questions[question].latest
        {
            self.upstreams[at].hedged();
        }
    }

    fn finish(&mut self, question: usize, well: bool) {
        let q = &mut self.questions[question];
        if q.done.is_none() {
            q.done = Some((self.now, well));
            self.close(question);
        }
    }

    /// The messages of a question are wanted no more. What had its time and was
    /// not answered is told; what had not may still have come.
    fn close(&mut self, question: usize) {
        for message in self.questions[question].messages.clone() {
            let waited = self.now - self.messages[message].sent;
            let late = waited >= self.questions[question].wait.max(1);
            if self.end(message) && late && !std::mem::replace(&mut self.messages[message].told, true) {
                let at = self.messages[message].upstream;
                self.upstreams[at].timed_out(Duration::from_millis(waited), self.now);
            }
        }
    }

    fn probes(&mut self) {
        let random = self.random();
        for probe in self.governor.due_probes(random, self.now) {
            let at = self.upstreams.iter().position(|u| Arc::ptr_eq(u, &probe.upstream)).unwrap();
            let message = self.put_on_the_wire(None, at, probe.ticket);
            self.probes.push(message);
        }
        // A probe is given up after a second.
        for message in std::mem::take(&mut self.probes) {
            if self.messages[message].sent + SECOND <= self.now {
                self.end(message);
            } else {
                self.probes.push(message);
            }
        }
    }

    /// Questions asked within `times`: how many, how many were answered well in
    /// time, and the longest and the 99th of 100 waits of those.
    fn fared(&self, times: Range<u64>) -> (usize, usize, u64, u64) {
        let within: Vec<&Question> = self.questions.iter().filter(|q| times.contains(&q.asked)).collect();
        let wait = |q: &&Question| {
            let (at, well) = q.done?;
            (well && at - q.asked <= CLIENT_DEADLINE).then_some(at - q.asked)
        };
        let mut waits: Vec<u64> = within.iter().filter_map(wait).collect();
        waits.sort_unstable();
        let longest = waits.last().copied().unwrap_or(0);
        let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or(longest);
        (within.len(), waits.len(), longest, p99)
    }

    fn became(&self, upstream: usize, state: State, after: u64) -> u64 {
        let found = self.states[&upstream].iter().find(|(at, is)| *at >= after && *is == state);
        found.unwrap_or_else(|| panic!("{:?}", self.states[&upstream])).0
    }

    /// Most messages to an upstream within any second.
    fn fullest_second(&self, upstream: usize) -> usize {
        let sent = &self.sent[upstream];
        let within = |first: usize| sent[first..].iter().take_while(|at| **at < sent[first] + SECOND).count();
        (0..sent.len()).map(within).max().unwrap_or(0)
    }
}

#[test]
fn the_first_of_two_dies_silently_and_comes_back() {
    for policy in [Policy::Sequential, Policy::Fastest, Policy::RoundRobin] {
        for per_second in [20, 500] {
            let dying = Behavior { dead: Some(10 * SECOND..20 * SECOND), ..Behavior::with_rtt(5) };
            let mut sim = Sim::new(policy, None, per_second, vec![dying, Behavior::with_rtt(30)]);
            sim.run(40 * SECOND);
            let (asked, answered, longest, _) = sim.fared(0..37 * SECOND);
            assert_eq!(answered, asked, "{policy:?} at {per_second}/s");
            assert!(longest <= 1000, "{policy:?} at {per_second}/s: {longest} ms");
            // Found out soon: after a moment nobody waits for the dead one.
            let (_, _, longest, _) = sim.fared(12 * SECOND..20 * SECOND);
            assert!(longest <= 200, "{policy:?} at {per_second}/s: {longest} ms");
            let up = sim.became(0, State::Up, 20 * SECOND);
            assert!(up <= 22 * SECOND, "{policy:?} at {per_second}/s: up again at {up}");
            let after = sim.sent[0].iter().filter(|at| **at >= 22 * SECOND).count();
            assert!(after > 5 * per_second as usize, "{policy:?} at {per_second}/s: {after} queries");
        }
    }
}

#[test]
fn an_upstream_whose_port_is_closed_costs_nobody_anything() {
    let closed = Behavior { dead: Some(10 * SECOND..20 * SECOND), tells: true, ..Behavior::with_rtt(4) };
    let mut sim = Sim::new(Policy::Sequential, None, 200, vec![closed, Behavior::with_rtt(10)]);
    sim.run(30 * SECOND);
    let (asked, answered, longest, _) = sim.fared(0..27 * SECOND);
    assert_eq!(answered, asked);
    assert!(longest <= 120, "{longest} ms");
    assert!(sim.became(0, State::Up, 20 * SECOND) <= 22 * SECOND);
}

#[test]
fn the_only_upstream_dies_under_load_within_its_budget() {
    for per_second in [100, 700, 3000] {
        let dying = Behavior { dead: Some(10 * SECOND..30 * SECOND), ..Behavior::with_rtt(10) };
        let mut sim = Sim::new(Policy::Sequential, Some((800, 150)), per_second, vec![dying]);
        sim.run(45 * SECOND);
        assert!(sim.fullest_second(0) <= 800, "{per_second}/s: {}", sim.fullest_second(0));
        let up = sim.became(0, State::Up, 30 * SECOND);
        assert!(up <= 32 * SECOND, "{per_second}/s: up again at {up}");
        // What it could take before, it takes again.
        let (asked, answered, longest, _) = sim.fared(32 * SECOND..42 * SECOND);
        let could = asked.min(7_000);
        assert!(answered * 100 >= could * 99, "{per_second}/s: {answered} of {asked}");
        assert!(longest <= CLIENT_DEADLINE, "{longest}");
    }
}

#[test]
fn a_lossy_path_takes_no_upstream_down() {
    let lossy = || Behavior { loss: 16, ..Behavior::with_rtt(20) };
    let mut sim = Sim::new(Policy::Sequential, None, 200, vec![lossy(), lossy()]);
    sim.run(60 * SECOND);
    // A sixth each way: thirty of a hundred exchanges are lost, and with four
    // messages (the first, a hedge, two resends) seven of a thousand questions.
    assert!(sim.states.values().all(|states| states.len() == 1), "{:?}", sim.states);
    let (asked, answered, _, p99) = sim.fared(0..57 * SECOND);
    assert!(answered * 100 >= asked * 99, "{answered} of {asked}");
    assert!(p99 <= 800, "{p99} ms");
}

#[test]
fn one_that_fails_every_query_is_left_and_taken_back() {
    let failing = Behavior { failing: Some(10 * SECOND..20 * SECOND), ..Behavior::with_rtt(5) };
    let mut sim = Sim::new(Policy::Sequential, None, 200, vec![failing, Behavior::with_rtt(10)]);
    sim.run(30 * SECOND);
    let (asked, answered, longest, _) = sim.fared(0..27 * SECOND);
    assert_eq!(answered, asked);
    assert!(longest <= 300, "{longest} ms");
    let down = sim.became(0, State::Down, 10 * SECOND);
    assert!(down <= 11 * SECOND, "down at {down}");
    let up = sim.became(0, State::Up, 20 * SECOND);
    assert!(up <= 22 * SECOND, "up at {up}");
    let meanwhile = sim.sent[0].iter().filter(|at| (12 * SECOND..20 * SECOND).contains(*at)).count();
    assert!(meanwhile <= 100, "{meanwhile} of 1600 went to it");
}

#[test]
fn when_all_are_dead_all_are_asked_and_the_first_back_is_used() {
    let dead = |until: u64| Behavior { dead: Some(10 * SECOND..until), ..Behavior::with_rtt(5) };
    let mut sim = Sim::new(Policy::Sequential, None, 50, vec![dead(30 * SECOND), dead(20 * SECOND)]);
    sim.run(40 * SECOND);
    assert!(
        sim.sent
            .iter()
            .all(|sent| sent.iter().filter(|at| (12 * SECOND..19 * SECOND).contains(*at)).count() > 20)
    );
    let (asked, answered, _, _) = sim.fared(22 * SECOND..37 * SECOND);
    assert_eq!(answered, asked);
    assert!(sim.became(1, State::Up, 20 * SECOND) <= 22 * SECOND);
    assert!(sim.became(0, State::Up, 30 * SECOND) <= 32 * SECOND);
}
