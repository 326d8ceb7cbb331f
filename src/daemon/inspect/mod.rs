//! The published set laid open: rows of records, and what would be answered
//! for a question and why. The same for the running daemon and offline.

mod decide;
mod inventory;
mod response;
pub mod sync;

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::admin::view::{
    Explanation, FindingCounts, FindingRow, ForwardRow, GroupRow, ListenerRow, LostRow, OriginRow, RecordRow,
    ResponseRow, RuleRow, VariantRow, ZoneRow,
};
use crate::answer::{Miss, Outcome};
use crate::config::{Config, Upstreams};
use crate::findings::{Finding, Severity};
use crate::resolve::Resolver;
use crate::serve::{ListenerState, Running};
use crate::snapshot::Snapshot;
use crate::snapshot::model::{AnswerOptions, RecordSet, Rrset, RrsetRef, Variant, Zone, ZonePolicy};
use crate::sync::provenance::{Provenance, Sighting};
use crate::wire::{Name, Rtype, rdata};

/// Everything that the rows and explanations are made of.
#[derive(Debug)]
pub struct Inspection<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The published set.
    pub set: &'a RecordSet,
    /// How it is answered.
    pub options: &'a AnswerOptions,
    /// The same set, compiled.
    pub snapshot: &'a Snapshot,
    /// Where its records come from.
    pub provenance: &'a Provenance,
    /// The running resolver, which knows the host's own resolvers; absent offline.
    pub resolver: Option<&'a Resolver>,
}

/// The listeners of a running server.
pub(super) fn listener_rows(running: &Running) -> Vec<ListenerRow> {
    let row = |listener: ListenerState| ListenerRow {
        address: listener.address.to_string(),
        transport: listener.transport.to_owned(),
        proxied: listener.is_proxied,
        connections: listener.connections,
        certificate_not_after: listener.certificate.as_ref().map(|certificate| certificate.not_after),
        certificate_problem: listener.certificate.and_then(|certificate| certificate.problem),
    };
    running.listeners().into_iter().map(row).collect()
}

/// `bytes`, a whole message, in text.
pub(super) fn response_row(bytes: &[u8]) -> Option<ResponseRow> {
    response::read(bytes).map(|read| read.row)
}

impl Inspection<'_> {
    /// Every RRset and every public alias, in the set's order.
    pub fn records(&self) -> Vec<RecordRow> {
        let mut rows = Vec::new();
        for zone in self.zones() {
            rows.extend(zone.rrsets.iter().map(|rrset| self.rrset_row(zone, &rrset.to_rrset())));
        }
        rows.extend(self.set.aliases.iter().map(|alias| {
            self.alias_row(&alias.public, &alias.target, self.addresses_at(&alias.target).as_ref())
        }));
        rows
    }

    /// What would be answered for `name` and `rtype` (A if absent) to the
    /// address `client` (to one without a view if absent), and why.
    ///
    /// # Errors
    /// The text says what is wrong with the name, the type or the address.
    pub fn explain(
        &self,
        name: &str,
        rtype: Option<&str>,
        client: Option<&str>,
    ) -> Result<Explanation, String> {
        let name: Name = name.parse().map_err(|error| format!("{name:?} is not a name: {error}"))?;
        let rtype: Rtype = rtype.map_or(Ok(Rtype::A), str::parse).map_err(|error| error.to_string())?;
        let client: Option<IpAddr> = match client {
            Some(text) => Some(text.parse().map_err(|_| format!("{text:?} is not an address"))?),
            None => None,
        };
        let view = client.map_or(0, |client| self.snapshot.view_of(client));
        let (outcome, bytes) = response::ask(&name, rtype, view, self.snapshot);
        let response = bytes.as_deref().and_then(response::read);
        let decision = decide::decide(self, &name, rtype, outcome);
        let mut names: BTreeSet<Name> = response.iter().flat_map(|r| r.names.iter().cloned()).collect();
        names.insert(name.clone());
        names.extend(decision.also);
        let next = match outcome {
            Outcome::Hit(_) => None,
            Outcome::Leads => response.as_ref().and_then(|response| response.leads_to.clone()),
            Outcome::Miss(_) => Some(name.clone()),
        };
        Ok(Explanation {
            name: name.to_string(),
            rtype: rtype.to_string(),
            client: client.map(|client| client.to_string()),
            view: self.view_name(view),
            generation: self.snapshot.generation(),
            outcome: match outcome {
                Outcome::Hit(_) => "local",
                Outcome::Leads => "leads",
                Outcome::Miss(_) => "forwarded",
            }
            .to_owned(),
            rule: decision.rule.to_owned(),
            because: decision.because,
            response: response.map(|response| response.row),
            origins: self.rows_at(&names),
            lost: names.iter().flat_map(|name| self.lost_at(name)).collect(),
            forward: next.map(|next| self.forward_row(&next, outcome == Outcome::Miss(Miss::Foreign))),
        })
    }

    /// The local zones with their sizes.
    pub fn zone_rows(&self) -> Vec<ZoneRow> {
        let rows = self.set.zones.iter().map(|zone| ZoneRow {
            apex: zone.apex.to_string(),
            policy: match zone.policy {
                ZonePolicy::Authoritative => "authoritative",
                ZonePolicy::FallThrough => "fall-through",
            }
            .to_owned(),
            rrsets: zone.rrsets.len(),
        });
        rows.collect()
    }

    /// The zones of the set; those served by RFC hold nothing that a source told.
    fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.set.zones.iter()
    }

    fn rows_at(&self, names: &BTreeSet<Name>) -> Vec<RecordRow> {
        let mut rows = Vec::new();
        for zone in self.zones() {
            let held = names.iter().flat_map(|name| zone.rrsets.at(name.as_wire()));
            rows.extend(held.map(|rrset| self.rrset_row(zone, &rrset.to_rrset())));
        }
        rows
    }

    fn rrset_row(&self, zone: &Zone, rrset: &Rrset) -> RecordRow {
        RecordRow {
            name: rrset.owner.to_string(),
            rtype: rrset.rtype.to_string(),
            ttl: rrset.ttl,
            data: rrset.rdatas.iter().map(|data| rdata::to_text(rrset.rtype, data)).collect(),
            zone: zone.apex.to_string(),
            alias: false,
            variants: rrset.variants.iter().map(|variant| self.variant_row(rrset, variant)).collect(),
            origin: self.origin(&rrset.owner, rrset.rtype),
        }
    }

    fn variant_row(&self, rrset: &Rrset, variant: &Variant) -> VariantRow {
        let view = self.view_name(variant.view).unwrap_or_default();
        let entry = self.provenance.entry(&rrset.owner, rrset.rtype);
        let chosen = entry
            .as_ref()
            .and_then(|entry| entry.alternatives.iter().find(|lost| lost.views.contains(&view)));
        VariantRow {
            data: variant.rdatas.iter().map(|data| rdata::to_text(rrset.rtype, data)).collect(),
            origin: chosen.map(|chosen| self.origin_row(&chosen.sighting)),
            view,
        }
    }

    /// The name of a view; none for number 0.
    fn view_name(&self, view: u8) -> Option<String> {
        Some(self.set.views.get(usize::from(view).checked_sub(1)?)?.name.clone())
    }

    /// The RRset of `owner` that an alias' TTL is taken from.
    fn addresses_at<'s>(&'s self, owner: &'s Name) -> Option<RrsetRef<'s>> {
        self.set.rrsets_at(owner).filter(|rrset| matches!(rrset.rtype, Rtype::A | Rtype::AAAA)).last()
    }

    fn alias_row(&self, public: &Name, target: &Name, behind: Option<&RrsetRef<'_>>) -> RecordRow {
        let behind_it = || self.origin(target, behind?.rtype);
        RecordRow {
            name: public.to_string(),
            rtype: Rtype::CNAME.to_string(),
            ttl: behind.map_or(0, |rrset| rrset.ttl),
            data: vec![rdata::to_text(Rtype::CNAME, target.as_wire())],
            zone: String::new(),
            alias: true,
            variants: Vec::new(),
            origin: self.origin(public, Rtype::CNAME).or_else(behind_it),
        }
    }

    fn origin(&self, owner: &Name, rtype: Rtype) -> Option<OriginRow> {
        let winner = self.provenance.entry(owner, rtype)?.winner?;
        Some(self.origin_row(&winner))
    }

    fn origin_row(&self, sighting: &Sighting) -> OriginRow {
        let listing = self.provenance.listing(sighting);
        OriginRow {
            source: listing.map_or_else(String::new, |listing| listing.id.source.clone()),
            rank: sighting.rank.label().to_owned(),
            id: sighting.origin.clone(),
            read_at: listing.map_or(0, |listing| listing.read_at),
        }
    }

    fn lost_at(&self, owner: &Name) -> Vec<LostRow> {
        let entries = self.provenance.entries_at(owner);
        let lost =
            entries.iter().flat_map(|entry| entry.alternatives.iter().map(move |lost| (entry.rtype, lost)));
        lost.map(|(rtype, lost)| LostRow {
            name: owner.to_string(),
            rtype: rtype.to_string(),
            data: lost.rdatas.iter().map(|data| rdata::to_text(rtype, data)).collect(),
            views: lost.views.clone(),
            origin: self.origin_row(&lost.sighting),
            reason: lost.reason.label().to_owned(),
            because: lost.reason.to_string(),
        })
        .collect()
    }

    fn forward_row(&self, name: &Name, may_fall_back: bool) -> ForwardRow {
        let forward = &self.config.forward;
        let matching = forward.rules.iter().filter(|rule| name.is_at_or_below(&rule.suffix));
        let rule = matching.max_by_key(|rule| rule.suffix.label_count());
        let group = rule.and_then(|rule| forward.groups.get(rule.group));
        let fallback = forward.fallback.and_then(|index| forward.groups.get(index));
        let asked = self.resolver.and_then(|resolver| resolver.route(name));
        let asked = asked.map(|route| route.upstreams.iter().map(ToString::to_string).collect());
        ForwardRow {
            suffix: rule.map_or_else(String::new, |rule| rule.suffix.to_string()),
            group: group.map_or_else(String::new, |group| group.name.clone()),
            upstreams: asked.or_else(|| group.map(|group| upstreams(&group.upstreams))).unwrap_or_default(),
            fallback: fallback
                .filter(|_| may_fall_back && self.is_registry_name(name))
                .map_or_else(Vec::new, |group| upstreams(&group.upstreams)),
        }
    }

    /// Whether `name` is somebody's registry: what the fallback is for.
    fn is_registry_name(&self, name: &Name) -> bool {
        self.options.suffixes.iter().any(|suffix| name != suffix && name.is_at_or_below(suffix))
    }
}

/// The upstream groups of `config`.
pub fn group_rows(config: &Config) -> Vec<GroupRow> {
    let groups = config.forward.groups.iter().enumerate();
    let rows = groups.map(|(i, group)| GroupRow {
        name: group.name.clone(),
        upstreams: upstreams(&group.upstreams),
        fallback: config.forward.fallback == Some(i),
    });
    rows.collect()
}

/// The forward rules of `config`.
pub fn rule_rows(config: &Config) -> Vec<RuleRow> {
    let rows = config.forward.rules.iter().map(|rule| RuleRow {
        suffix: rule.suffix.to_string(),
        group: config.forward.groups.get(rule.group).map_or_else(String::new, |group| group.name.clone()),
    });
    rows.collect()
}

/// Findings as rows.
pub fn finding_rows(findings: &[Finding]) -> Vec<FindingRow> {
    let row = |finding: &Finding| FindingRow {
        code: finding.code.label().to_owned(),
        severity: finding.code.severity().label().to_owned(),
        name: finding.name.clone(),
        resource_id: finding.resource_id.clone(),
        text: finding.text.clone(),
        first_seen: finding.first_seen,
    };
    findings.iter().map(row).collect()
}

/// How many findings there are, by severity.
pub fn finding_counts(findings: &[Finding]) -> FindingCounts {
    let mut counts = FindingCounts::default();
    for finding in findings {
        match finding.code.severity() {
            Severity::Error => counts.error += 1,
            Severity::Warning => counts.warning += 1,
            Severity::Info => counts.info += 1,
        }
    }
    counts
}

fn upstreams(upstreams: &Upstreams) -> Vec<String> {
    match upstreams {
        Upstreams::Servers(servers) => servers.iter().map(ToString::to_string).collect(),
        Upstreams::System => vec!["the host's own resolvers".to_owned()],
    }
}
