//! Which names must exist, and who says what of them: from the published set,
//! its provenance, the findings and the listings behind it.
//!
//! The network interface is the truth of an address (design section 3); which
//! names must exist beyond what interfaces have is told by registries and
//! replications, and by the findings, which know of them too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use crate::admin::path::{NameKind, NamePath, Paths, RegistryPath, RouteRules, UpstreamRow, Word};
use crate::config::{AnswerMode, OwnMissing, Upstream, Upstreams};
use crate::daemon::inspect::Inspection;
use crate::findings::{Code, Finding};
use crate::forward::rules::Group;
use crate::forward::system;
use crate::snapshot::model::Rrset;
use crate::sources::facts::{Listing, What};
use crate::sources::registry_name::{RegistryName, region_label};
use crate::sync::provenance::{Entry, Rank, Sighting};
use crate::wire::{FoldedName, Name, Rtype};

/// Registries in one report; who has more names the one that matters.
const MAX_REGISTRIES: usize = 200;

/// All that a plan is made of.
#[derive(Debug)]
pub struct Known<'a> {
    /// The published set laid open.
    pub inspection: &'a Inspection<'a>,
    /// What was noticed.
    pub findings: &'a [Finding],
    /// The listings behind the set, as far as they are at hand.
    pub listings: &'a [Listing],
    /// Where the daemon answers.
    pub listen: &'a [std::net::SocketAddr],
}

/// The ways of `asked`: a registry (its login name or that name's first label),
/// one of its names, or any other name; without it all registries that are ours.
///
/// # Errors
/// The text says what is wrong with `asked`.
pub fn plan(known: &Known<'_>, asked: Option<&str>) -> Result<Paths, String> {
    let planner = Planner::new(known);
    let config = known.inspection.config;
    let mut registries = match asked {
        Some(asked) => vec![planner.asked(asked)?],
        None => known.inspection.set.own.iter().map(|login| planner.registry(login)).collect(),
    };
    let left_out = registries.len().saturating_sub(MAX_REGISTRIES);
    registries.truncate(MAX_REGISTRIES);
    Ok(Paths {
        generation: known.inspection.snapshot.generation(),
        listen: known.listen.to_vec(),
        flat: config.names.answer == AnswerMode::Flat,
        closed: config.names.own_missing == OwnMissing::Closed,
        routes: RouteRules {
            connect_prefixes: config.routes.connect_prefixes.clone(),
            port: config.routes.port,
            timeout_seconds: config.routes.timeout.as_secs(),
            ca_file: config.routes.ca_file.as_ref().map(|path| path.display().to_string()),
        },
        registries,
        left_out,
    })
}

/// What kind of name of a registry this is.
pub fn kind_of(name: &RegistryName) -> NameKind {
    if name.region.is_none() {
        return NameKind::Login;
    }
    match name.public.labels().nth(2) {
        Some(b"data") => NameKind::Data,
        _ => NameKind::Geo,
    }
}

/// Names with the reasons why they must exist.
type Expected = BTreeMap<Name, (RegistryName, BTreeSet<String>)>;

struct Planner<'a> {
    known: &'a Known<'a>,
    suffixes: &'a [Name],
    /// Every name of a registry that something tells of.
    expected: Expected,
    /// Suffixes below which a private zone was read.
    zones: BTreeSet<Name>,
}

impl<'a> Planner<'a> {
    fn new(known: &'a Known<'a>) -> Self {
        let suffixes = &known.inspection.config.names.suffixes;
        let mut planner = Self { known, suffixes, expected: BTreeMap::new(), zones: BTreeSet::new() };
        planner.expect_records();
        planner.expect_listed();
        planner.expect_found();
        for login in known.inspection.set.own.iter() {
            planner.expect(login, "the registry is ours");
        }
        planner
    }

    fn expect(&mut self, name: &Name, why: impl Into<String>) {
        if let Some(name) = RegistryName::from_either(name, self.suffixes) {
            let entry = self.expected.entry(name.public.clone());
            entry.or_insert_with(|| (name, BTreeSet::new())).1.insert(why.into());
        }
    }

    /// What endpoints, the configuration and zones have.
    fn expect_records(&mut self) {
        for entry in self.known.inspection.provenance.all() {
            let sightings = entry.winner.iter().chain(entry.alternatives.iter().map(|lost| &lost.sighting));
            let ranks: BTreeSet<Rank> = sightings.map(|sighting| sighting.rank).collect();
            let address = matches!(entry.rtype, Rtype::A | Rtype::AAAA);
            for rank in ranks {
                if rank == Rank::Zone {
                    let below = self.suffixes.iter().filter(|suffix| entry.owner.is_at_or_below(suffix));
                    self.zones.extend(below.cloned());
                }
                if address {
                    self.expect(&entry.owner, said_by(rank));
                }
            }
        }
    }

    /// What registries and replications say must exist.
    fn expect_listed(&mut self) {
        let mut logins: BTreeMap<&str, &Name> = BTreeMap::new();
        let facts = || self.known.listings.iter().flat_map(|listing| &listing.facts);
        let mut expected: Vec<(Name, String)> = Vec::new();
        for fact in facts() {
            match &fact.what {
                What::Registry(registry) => {
                    logins.insert(&registry.registry_id, &registry.login_server);
                    for host in registry.data_hosts.iter().chain(&registry.regional_hosts) {
                        expected.push((host.clone(), "the registry lists it".to_owned()));
                    }
                    let home = data_name(&registry.login_server, &registry.region, self.suffixes);
                    expected.extend(home.map(|name| (name, "the registry's own region".to_owned())));
                }
                What::Zone(zone) => {
                    let below = self.suffixes.iter().filter(|suffix| zone.apex.is_at_or_below(suffix));
                    self.zones.extend(below.cloned());
                }
                _ => {}
            }
        }
        for fact in facts() {
            let What::Replica(replica) = &fact.what else { continue };
            let Some(login) = logins.get(replica.registry_id.as_str()) else { continue };
            let why = format!("replica in {} ({})", replica.region, replica.provisioning_state);
            expected.extend(data_name(login, &replica.region, self.suffixes).map(|name| (name, why)));
        }
        for (name, why) in expected {
            self.expect(&name, why);
        }
    }

    fn expect_found(&mut self) {
        let missing = [Code::MissingDataRecord, Code::MissingRegistryRecord, Code::MissingGeoRecord];
        for finding in self.known.findings.iter().filter(|finding| missing.contains(&finding.code)) {
            if let Ok(name) = finding.name.parse::<Name>() {
                self.expect(&name, "a finding misses it");
            }
        }
    }

    fn asked(&self, asked: &str) -> Result<RegistryPath, String> {
        let own = &self.known.inspection.set.own;
        let label = asked.trim_end_matches('.').to_ascii_lowercase();
        if !label.contains('.') {
            let matching: Vec<&Name> =
                own.iter().filter(|login| login.labels().next() == Some(label.as_bytes())).collect();
            return match matching.as_slice() {
                [login] => Ok(self.registry(login)),
                [] => Err(format!("no registry of yours is called {label:?}; hubdns status lists them")),
                several => {
                    let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                    Err(format!("several registries are called {label:?}: {}", names.join(", ")))
                }
            };
        }
        let name: Name = asked.parse().map_err(|error| format!("{asked:?} is not a name: {error}"))?;
        let Some(known) = RegistryName::from_either(&name, self.suffixes) else {
            return Ok(RegistryPath { login: name.to_string(), ours: false, names: vec![self.other(&name)] });
        };
        let ours = own.contains(&known.login);
        if ours && name == known.login {
            return Ok(self.registry(&known.login));
        }
        let reasons =
            self.expected.get(&known.public).map(|(_, reasons)| reasons.clone()).unwrap_or_default();
        let names = vec![self.name(&known, reasons)];
        Ok(RegistryPath { login: known.login.to_string(), ours, names })
    }

    fn registry(&self, login: &Name) -> RegistryPath {
        let of_it = self.expected.values().filter(|(name, _)| name.login == *login);
        let mut names: Vec<NamePath> =
            of_it.map(|(name, reasons)| self.name(name, reasons.clone())).collect();
        names.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        RegistryPath { login: login.to_string(), ours: true, names }
    }

    fn name(&self, name: &RegistryName, reasons: BTreeSet<String>) -> NamePath {
        let aliased = self.known.inspection.set.aliases.iter().any(|alias| alias.public == name.public);
        let public = name.public.to_string();
        let private_link = name.private_link.to_string();
        let about = |finding: &&Finding| finding.name == public || finding.name == private_link;
        NamePath {
            private_link: private_link.clone(),
            kind: kind_of(name),
            held: aliased,
            expected_by: reasons.into_iter().collect(),
            zone_was_read: self.zones.iter().any(|suffix| name.public.is_at_or_below(suffix)),
            findings: self.known.findings.iter().filter(about).map(ToString::to_string).collect(),
            ..self.held_at(&name.private_link, &name.public)
        }
    }

    /// A name that is no registry's.
    fn other(&self, name: &Name) -> NamePath {
        let path = self.held_at(name, name);
        NamePath { held: self.known.inspection.set.rrsets_at(name).next().is_some(), ..path }
    }

    /// What is held and told at `owner`, which is asked for as `name`.
    fn held_at(&self, owner: &Name, name: &Name) -> NamePath {
        let held: Vec<Rrset> =
            self.known.inspection.set.rrsets_at(owner).map(|rrset| rrset.to_rrset()).collect();
        let of_addresses = || held.iter().filter(|rrset| matches!(rrset.rtype, Rtype::A | Rtype::AAAA));
        let mut addresses: Vec<IpAddr> = of_addresses().flat_map(|rrset| addresses(&rrset.rdatas)).collect();
        addresses.sort_unstable();
        let views = &self.known.inspection.set.views;
        let mut by_view: BTreeMap<u8, Vec<IpAddr>> = BTreeMap::new();
        for variant in of_addresses().flat_map(|rrset| &rrset.variants) {
            by_view.entry(variant.view).or_default().extend(self::addresses(&variant.rdatas));
        }
        let view_name = |view: u8| {
            let index = usize::from(view).checked_sub(1)?;
            views.get(index).map(|view| view.name.clone())
        };
        let named = by_view.into_iter().filter_map(|(view, list)| Some((view_name(view)?, list)));
        NamePath {
            name: name.to_string(),
            ttl: of_addresses().map(|rrset| rrset.ttl).min().unwrap_or_default(),
            has_aaaa: held.iter().any(|rrset| rrset.rtype == Rtype::AAAA),
            views: named.collect(),
            words: self.words(owner, &addresses),
            addresses,
            upstreams: self.upstreams(name),
            ..NamePath::default()
        }
    }

    fn words(&self, owner: &Name, served: &[IpAddr]) -> Vec<Word> {
        let entries = self.known.inspection.provenance.entries_at(owner);
        let mut words = Vec::new();
        for entry in entries.iter().filter(|entry| matches!(entry.rtype, Rtype::A | Rtype::AAAA)) {
            words.extend(self.words_of(entry, served));
        }
        words.sort_by_key(|word: &Word| !word.served);
        words
    }

    fn words_of(&self, entry: &Entry, served: &[IpAddr]) -> Vec<Word> {
        let family = |address: &&IpAddr| address.is_ipv4() == (entry.rtype == Rtype::A);
        let winner = entry.winner.iter().map(|sighting| Word {
            addresses: served.iter().filter(family).copied().collect(),
            served: true,
            ..self.word(sighting)
        });
        let lost = entry.alternatives.iter().map(|lost| Word {
            addresses: addresses(&lost.rdatas).collect(),
            reason: lost.reason.label().to_owned(),
            because: lost.reason.to_string(),
            ..self.word(&lost.sighting)
        });
        winner.chain(lost).collect()
    }

    fn word(&self, sighting: &Sighting) -> Word {
        let listing = self.known.inspection.provenance.listing(sighting);
        Word {
            rank: sighting.rank.label().to_owned(),
            origin: sighting.origin.clone(),
            source: listing.map_or_else(String::new, |listing| listing.id.source.clone()),
            read_at: listing.map_or(0, |listing| listing.read_at),
            ..Word::default()
        }
    }

    /// The upstreams of the rule for `name`, and the fallback's for registry names.
    fn upstreams(&self, name: &Name) -> Vec<UpstreamRow> {
        let inspection = self.known.inspection;
        let row = |group: &str, fallback: bool| {
            let group = group.to_owned();
            move |upstream: &Upstream| UpstreamRow::new(&group, upstream, fallback)
        };
        let is_registry = self.suffixes.iter().any(|suffix| name != suffix && name.is_at_or_below(suffix));
        if let Some(resolver) = inspection.resolver {
            let tables = resolver.forwarder().tables().load();
            let rule = tables.rules.find(&FoldedName::from(name));
            let first =
                rule.into_iter().flat_map(|rule| settings(&rule.group).map(row(&rule.group.name, false)));
            let fallback = tables.fallback.iter().filter(|_| is_registry);
            let second = fallback.flat_map(|group| settings(group).map(row(&group.name, true)));
            return first.chain(second).collect();
        }
        let forward = &inspection.config.forward;
        let matching = forward.rules.iter().filter(|rule| name.is_at_or_below(&rule.suffix));
        let rule = matching.max_by_key(|rule| rule.suffix.label_count()).map(|rule| rule.group);
        let fallback = forward.fallback.filter(|_| is_registry);
        let mut rows = Vec::new();
        for (index, is_fallback) in rule.map(|i| (i, false)).into_iter().chain(fallback.map(|i| (i, true))) {
            let Some(group) = forward.groups.get(index) else { continue };
            let upstreams = match &group.upstreams {
                Upstreams::Servers(servers) => servers.clone(),
                Upstreams::System => {
                    let found = system::read(Path::new(system::RESOLV_CONF), &[]).unwrap_or_default();
                    found.into_iter().map(Upstream::from).collect()
                }
            };
            rows.extend(upstreams.iter().map(row(&group.name, is_fallback)));
        }
        rows
    }
}

impl UpstreamRow {
    /// The row of `upstream`, which is in `group`.
    pub fn new(group: &str, upstream: &Upstream, fallback: bool) -> Self {
        Self {
            group: group.to_owned(),
            address: upstream.address,
            transport: upstream.transport.label().to_owned(),
            name: upstream.name.clone().unwrap_or_default(),
            path: upstream.path.clone(),
            pins: upstream.pins.iter().map(ToString::to_string).collect(),
            ca_file: upstream.ca_file.as_ref().map_or_else(String::new, |path| path.display().to_string()),
            fallback,
        }
    }
}

fn settings(group: &Group) -> impl Iterator<Item = &Upstream> {
    group.upstreams.iter().map(|upstream| upstream.settings())
}

const fn said_by(rank: Rank) -> &'static str {
    match rank {
        Rank::Static => "the configuration",
        Rank::Interface => "a network interface",
        Rank::CustomDns => "a private endpoint",
        Rank::Zone => "a private zone",
    }
}

/// The data endpoint of the registry `login` in `region`.
fn data_name(login: &Name, region: &str, suffixes: &[Name]) -> Option<Name> {
    let known = RegistryName::from_public(login, suffixes).filter(|known| known.region.is_none())?;
    let label = known.login.labels().next()?.to_vec();
    let suffix = known.login.parent()?;
    suffix.child(b"data").ok()?.child(region_label(region).as_bytes()).ok()?.child(&label).ok()
}

/// The addresses among RDATA of A and AAAA records.
pub(crate) fn addresses(rdatas: &[Box<[u8]>]) -> impl Iterator<Item = IpAddr> {
    rdatas.iter().filter_map(|data| match data.len() {
        4 => <[u8; 4]>::try_from(&**data).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(&**data).ok().map(IpAddr::from),
        _ => None,
    })
}
