//! What `hubdns doctor` found: the schema of `--json`. Words in it stay as
//! they are; new fields and new `problem` words may come.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::admin::path::NameKind;

/// How a hop fares, the better first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not looked at; the text says why.
    #[default]
    Skipped,
    /// As it must be.
    Ok,
    /// Works, and will break something, or breaks somebody else.
    Warning,
    /// Breaks a pull.
    Failed,
}

impl State {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// The hops, in the order of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HopKind {
    /// The record that hubdns holds, and who told it.
    Records,
    /// The private zone in Azure against the network interface.
    Zone,
    /// What hubdns answers.
    Answer,
    /// The DNS server in front of hubdns that clients ask.
    Via,
    /// TCP, TLS and HTTP to the address.
    Route,
    /// What the upstreams would answer; for names that are held hubdns does not ask them.
    Upstream,
}

impl HopKind {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Zone => "zone",
            Self::Answer => "answer",
            Self::Via => "via",
            Self::Route => "route",
            Self::Upstream => "upstream",
        }
    }
}

/// One hop of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop {
    /// Which hop.
    pub hop: HopKind,
    /// The server or address that it is about; empty where there is none.
    pub target: String,
    /// How it fares.
    pub state: State,
    /// What is wrong, in one word for programs; empty if nothing is.
    pub problem: &'static str,
    /// What was found, as a sentence.
    pub text: String,
    /// What to do; empty if nothing is to be done.
    pub advice: String,
    /// How long each step took, milliseconds.
    pub milliseconds: Vec<Timing>,
}

/// How long one step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// The step: of a way `connect`, `tls`, `http`; of an answer `udp`, `tcp`, `tls`, `https`;
    /// of an upstream `connect` until the first question can be asked.
    pub step: &'static str,
    /// Milliseconds.
    pub milliseconds: f64,
}

impl Timing {
    /// That `step` took `time`.
    pub fn new(step: &'static str, time: Duration) -> Self {
        // Microseconds are enough, and read better than all digits.
        Self { step, milliseconds: (time.as_secs_f64() * 1e6).round() / 1e3 }
    }
}

impl Hop {
    /// A hop that is as it must be.
    pub fn ok(hop: HopKind, text: impl Into<String>) -> Self {
        Self::new(hop, State::Ok, "", text, "")
    }

    /// A hop that was not looked at.
    pub fn skipped(hop: HopKind, text: impl Into<String>) -> Self {
        Self::new(hop, State::Skipped, "", text, "")
    }

    /// A hop that works and warns.
    pub fn warning(
        hop: HopKind,
        problem: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(hop, State::Warning, problem, text, advice)
    }

    /// A hop that breaks pulls.
    pub fn failed(
        hop: HopKind,
        problem: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(hop, State::Failed, problem, text, advice)
    }

    fn new(
        hop: HopKind,
        state: State,
        problem: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (text, advice) = (text.into(), advice.into());
        Self { hop, target: String::new(), state, problem, text, advice, milliseconds: Vec::new() }
    }

    /// The same about `target`.
    #[must_use]
    pub fn about(mut self, target: impl fmt::Display) -> Self {
        self.target = format!("{target}");
        self
    }

    /// The same with the time of a step, if it was taken.
    #[must_use]
    pub fn took(mut self, step: &'static str, time: Option<Duration>) -> Self {
        self.milliseconds.extend(time.map(|time| Timing::new(step, time)));
        self
    }
}

/// One name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NameReport {
    /// The name.
    pub name: String,
    /// What kind of name.
    pub kind: NameKind,
    /// The addresses that hubdns holds for it.
    pub addresses: Vec<IpAddr>,
    /// The worst of its hops.
    pub state: State,
    /// The hops, in the order of a pull.
    pub hops: Vec<Hop>,
}

/// One registry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegistryReport {
    /// Its login name.
    pub registry: String,
    /// Whether it is ours.
    pub ours: bool,
    /// The worst of all hops.
    pub state: State,
    /// Which hop lies; absent if none does.
    pub lies: Option<HopKind>,
    /// That in a sentence.
    pub verdict: String,
    /// Its names.
    pub names: Vec<NameReport>,
    /// The DNS servers that were named with `--via`.
    pub via: Vec<Hop>,
}

/// An upstream, whatever the name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamReport {
    /// Its group.
    pub group: String,
    /// Its address.
    pub address: SocketAddr,
    /// Its label, as metrics have it: how it is asked, its address, its name.
    pub upstream: String,
    /// Whether it hands on DNSSEC signatures; absent if it did not say.
    pub dnssec: Option<bool>,
    /// How it fares.
    pub state: State,
    /// That in a sentence.
    pub text: String,
    /// What to do; empty if nothing is to be done.
    pub advice: String,
    /// How long each step took, milliseconds.
    pub milliseconds: Vec<Timing>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of this schema: 1.
    pub schema: u32,
    /// The version of hubdns that looked.
    pub version: &'static str,
    /// The generation of the record set; 0 where sources were read offline.
    pub generation: u64,
    /// As whom the questions were asked, where that is not the service's user.
    pub asked_as: Option<String>,
    /// The worst of all.
    pub state: State,
    /// The registries, or the one name.
    pub registries: Vec<RegistryReport>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamReport>,
    /// Registries that were not looked at, beyond the limit.
    pub left_out: usize,
}
