//! What the admin code shows: plain data, the same over the control socket,
//! on the status page and offline. Texts are raw here; whoever shows them
//! escapes them for the place where they go.

pub mod cache;
pub mod sync;
pub mod top;

use serde::{Deserialize, Serialize};

/// What runs, with what, and how it fares. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the build.
    pub version: String,
    /// The commit of the build.
    pub commit: String,
    /// When the process started.
    pub started_at: u64,
    /// Where the configuration came from.
    pub config: String,
    /// When it was applied.
    pub config_applied_at: u64,
    /// Why queries are not served; empty when they are.
    pub unready: Vec<String>,
    /// Addresses that answer DNS.
    pub listen: Vec<String>,
    /// All listeners, encrypted ones and those behind proxies included.
    #[serde(default)]
    pub listeners: Vec<ListenerRow>,
    /// Addresses that answer HTTP.
    pub admin: Vec<String>,
    /// Where published sets are saved.
    pub state_dir: String,
    /// The number of the published snapshot.
    pub generation: u64,
    /// The local zones.
    pub zones: Vec<ZoneRow>,
    /// Public names answered as aliases.
    pub aliases: usize,
    /// Registries that are ours.
    pub own: Vec<String>,
    /// The sources, in the configuration's order.
    pub sources: Vec<SourceRow>,
    /// The upstream groups.
    pub groups: Vec<GroupRow>,
    /// The forward rules.
    pub rules: Vec<RuleRow>,
    /// How many findings there are, by severity.
    pub findings: FindingCounts,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// Its address.
    pub address: String,
    /// What is spoken there: `plain` (UDP and TCP), `tls`, `https` or `quic`.
    pub transport: String,
    /// Whether proxies put headers before what they send.
    pub proxied: bool,
    /// Connections that are open, where they are counted for each listener.
    pub connections: Option<u64>,
    /// Until when its certificate is good, Unix seconds.
    pub certificate_not_after: Option<u64>,
    /// Why new files of its certificate are not in use, if they are not.
    pub certificate_problem: Option<String>,
}

/// How many findings there are, by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    /// What breaks a pull now.
    pub error: usize,
    /// What will break one, or does elsewhere.
    pub warning: usize,
    /// What is good to know.
    pub info: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRow {
    /// What kind of thing, in one word for programs.
    pub code: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// The name that it is about.
    pub name: String,
    /// The Azure resource id, the file and line, or the source, where it was seen.
    pub resource_id: String,
    /// What is wrong and what to do.
    pub text: String,
    /// When it was seen first, Unix seconds; 0 where that is not known.
    pub first_seen: u64,
}

/// A local zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    /// The apex.
    pub apex: String,
    /// `authoritative` or `fall-through`.
    pub policy: String,
    /// How many RRsets it holds.
    pub rrsets: usize,
}

/// A source and how it fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRow {
    /// Its name in the configuration.
    pub name: String,
    /// When it was last read whole.
    pub last_success_at: Option<u64>,
    /// Why the last reading failed, if it did.
    pub error: Option<String>,
    /// How many facts count from it.
    pub facts: usize,
}

/// An upstream group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its name.
    pub name: String,
    /// What it asks, in order.
    pub upstreams: Vec<String>,
    /// Whether it is the fallback for others' registries.
    pub fallback: bool,
}

/// A forward rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Names at or below this.
    pub suffix: String,
    /// Go to this group.
    pub group: String,
}

/// An RRset that is held, or a public alias.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRow {
    /// The owner name.
    pub name: String,
    /// The type.
    pub rtype: String,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The RDATA of each record, in presentation form.
    pub data: Vec<String>,
    /// The zone that holds it; empty for a public alias.
    pub zone: String,
    /// Whether it is the CNAME of a public name, made by us.
    pub alias: bool,
    /// What clients of views get instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<VariantRow>,
    /// Where it comes from.
    pub origin: Option<OriginRow>,
}

/// What the clients of one view get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantRow {
    /// The view's name in the configuration.
    pub view: String,
    /// The RDATA of each record, in presentation form.
    pub data: Vec<String>,
    /// Where it comes from.
    pub origin: Option<OriginRow>,
}

/// Where something comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRow {
    /// The source's name in the configuration.
    pub source: String,
    /// What kind of fact says so: `static`, `interface`, `custom-dns` or `zone`.
    pub rank: String,
    /// The Azure resource id, the file and line, or the configuration's key.
    pub id: String,
    /// When the source was read.
    pub read_at: u64,
}

/// What would be answered for a question, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The question's name.
    pub name: String,
    /// The question's type.
    pub rtype: String,
    /// The client that would ask, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The view of that client, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// The number of the snapshot that was asked.
    pub generation: u64,
    /// `local` (answered here), `leads` (begun here, finished upstream) or `forwarded`.
    pub outcome: String,
    /// Which rule decided, in one word for programs.
    pub rule: String,
    /// The same as a sentence.
    pub because: String,
    /// The response, if it is made here.
    pub response: Option<ResponseRow>,
    /// Where the records of the answer come from.
    pub origins: Vec<RecordRow>,
    /// Candidates for these names that lost, and why.
    pub lost: Vec<LostRow>,
    /// Where it is forwarded.
    pub forward: Option<ForwardRow>,
}

/// A response in text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseRow {
    /// The response code.
    pub rcode: String,
    /// The flags that are set.
    pub flags: Vec<String>,
    /// The answer section, one record a line.
    pub answer: Vec<String>,
    /// The authority section.
    pub authority: Vec<String>,
}

/// A candidate that is not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRow {
    /// The owner name.
    pub name: String,
    /// The type.
    pub rtype: String,
    /// What it would have been.
    pub data: Vec<String>,
    /// The views whose clients get it nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<String>,
    /// Where it comes from.
    pub origin: OriginRow,
    /// Why it lost, in one word for programs.
    pub reason: String,
    /// The same as a sentence.
    pub because: String,
}

/// Where a question is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardRow {
    /// The suffix of the rule that matches longest.
    pub suffix: String,
    /// Its group.
    pub group: String,
    /// What the group asks, in order.
    pub upstreams: Vec<String>,
    /// The fallback's upstreams, where the rules allow one.
    pub fallback: Vec<String>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What could not be changed at run time, and the like.
    pub notes: Vec<String>,
}

/// Why a request was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    /// All that is wrong.
    pub problems: Vec<String>,
}
