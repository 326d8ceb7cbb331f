//! Private-link zones among each other, and their links.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::arm::last;
use super::estate::{Estate, Zone};
use super::names::RequiredNames;
use super::{Code, Evidence, Finding};
use crate::sources::facts::SourceKind;
use crate::wire::Name;

/// Names that a text shows; more are counted.
const EXAMPLES: usize = 3;

/// A zone that hides names: Azure DNS asks the most specific zone that is
/// linked, and no other.
pub(super) fn shadowing(
    estate: &Estate<'_>,
    evidence: &Evidence<'_>,
    required: &RequiredNames<'_>,
    findings: &mut Vec<Finding>,
) {
    let specific = specific(estate);
    if specific.is_empty() {
        return;
    }
    let linked = Linked::new(estate, evidence);
    // What must exist below each specific apex, and what zones hold there.
    let mut below: BTreeMap<&Name, BTreeSet<&Name>> = BTreeMap::new();
    for owner in required.values().map(|wanted| &wanted.name.private_link) {
        for apex in estate.upwards(owner).filter_map(|apex| specific.get(&apex)) {
            below.entry(apex).or_default().insert(owner);
        }
    }
    let mut held: HashSet<(usize, &Name)> = HashSet::new();
    let mut wider: BTreeMap<(usize, &Name), Vec<&Name>> = BTreeMap::new();
    for (owner, records) in &estate.records {
        for apex in estate.upwards(owner).filter_map(|apex| specific.get(&apex)) {
            for record in records {
                if *apex != estate.zones[record.zone].apex {
                    wider.entry((record.zone, apex)).or_default().push(owner);
                }
            }
        }
        held.extend(records.iter().map(|record| (record.zone, *owner)));
    }
    for (at, zone) in estate.zones.iter().enumerate() {
        let Some(apex) = specific.get(zone.apex).filter(|_| zone.is_read) else { continue };
        let above = linked.above(estate, at);
        let Some((widest, vnet)) = above.first() else { continue };
        let mut lacks: BTreeSet<&Name> = below.get(apex).into_iter().flatten().copied().collect();
        lacks.extend(above.iter().filter_map(|(above, _)| wider.get(&(*above, *apex))).flatten());
        let wildcard = zone.apex.child(b"*").ok();
        let covers_all = wildcard.as_ref().is_some_and(|wildcard| held.contains(&(at, wildcard)));
        lacks.retain(|owner| !covers_all && !held.contains(&(at, *owner)));
        if lacks.is_empty() {
            continue;
        }
        let text = format!(
            "This zone is linked to {} beside {} and lacks {}: Azure DNS denies them there. Move its records to {1} \
             and delete its links, or add what it lacks.",
            last(vnet),
            estate.zones[*widest].apex,
            examples(&lacks),
        );
        findings.push(Finding::new(Code::ShadowingZone, zone.apex, zone.id.unwrap_or_default(), text));
    }
}

/// The apexes that lie below that of another zone.
fn specific<'a>(estate: &Estate<'a>) -> BTreeSet<&'a Name> {
    let apexes: BTreeSet<&Name> = estate.zones.iter().map(|zone| zone.apex).collect();
    let is_specific = |apex: &&Name| estate.upwards(apex).skip(1).any(|above| apexes.contains(&above));
    apexes.iter().copied().filter(is_specific).collect()
}

/// Which zones meet in which virtual network.
struct Linked<'a> {
    vnets: BTreeMap<usize, Vec<&'a str>>,
    /// Azure links one zone of a name to a virtual network at most.
    zones: BTreeMap<(&'a str, &'a Name), usize>,
}

impl<'a> Linked<'a> {
    fn new(estate: &Estate<'a>, evidence: &Evidence<'_>) -> Self {
        let mut linked = Self { vnets: BTreeMap::new(), zones: BTreeMap::new() };
        for (at, zone) in estate.zones.iter().enumerate() {
            let links = zone.id.and_then(|id| estate.links.get(id)).into_iter().flat_map(BTreeMap::keys);
            for vnet in links.filter(|vnet| evidence.in_scope(Some(vnet))) {
                linked.vnets.entry(at).or_default().push(vnet);
                linked.zones.insert((vnet, zone.apex), at);
            }
        }
        linked
    }

    /// The zones above zone `at` that some virtual network has beside it, the
    /// widest first, each with that network.
    fn above(&self, estate: &Estate<'a>, at: usize) -> Vec<(usize, &'a str)> {
        let mut found: BTreeMap<usize, &'a str> = BTreeMap::new();
        let apexes: Vec<Name> = estate.upwards(estate.zones[at].apex).skip(1).collect();
        for vnet in self.vnets.get(&at).into_iter().flatten() {
            for apex in &apexes {
                if let Some(above) = self.zones.get(&(*vnet, apex)) {
                    found.entry(*above).or_insert(vnet);
                }
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(above, _)| estate.zones[*above].apex.label_count());
        found
    }
}

fn examples(names: &BTreeSet<&Name>) -> String {
    let shown: Vec<String> = names.iter().take(EXAMPLES).map(ToString::to_string).collect();
    match names.len().saturating_sub(EXAMPLES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more names", shown.join(", ")),
    }
}

/// Zones without links, and links that deny others' names.
pub(super) fn links(estate: &Estate<'_>, evidence: &Evidence<'_>, findings: &mut Vec<Finding>) {
    // The merge tells of those without a link to the networks that are configured.
    if evidence.vnets.is_empty() || estate.links.is_empty() {
        for zone in estate.zones.iter().filter(|zone| is_unlinked(estate, evidence, zone)) {
            let id = zone.id.unwrap_or_default();
            let text = "This zone is linked to no virtual network, so that no client sees its records. Link it \
                        (`az network private-dns link vnet create`), or delete it.";
            findings.push(Finding::new(Code::ZoneNotLinked, zone.apex, id, text));
        }
    }
    let mut denying: BTreeMap<&str, BTreeSet<&Name>> = BTreeMap::new();
    for zone in &estate.zones {
        let links = zone.id.and_then(|id| estate.links.get(id)).into_iter().flat_map(BTreeMap::values);
        for link in links.filter(|link| evidence.in_scope(Some(link.vnet))) {
            if link.policy.is_some_and(|policy| policy.eq_ignore_ascii_case("Default")) {
                denying.entry(link.vnet).or_default().insert(zone.apex);
            }
        }
    }
    for (vnet, apexes) in denying {
        let text = format!(
            "Registries of others that have private endpoints get NXDOMAIN through this network: its links of {} have \
             the resolution policy Default. Set it to NxDomainRedirect (`az network private-dns link vnet update \
             --resolution-policy NxDomainRedirect`), or set forward.fallback.",
            examples(&apexes)
        );
        findings.push(Finding::new(Code::NoInternetFallback, last(vnet), vnet, text));
    }
}

/// Whether a zone has no link at all, as far as that can be known: saved
/// output tells of links only if somebody saved them.
fn is_unlinked(estate: &Estate<'_>, evidence: &Evidence<'_>, zone: &Zone<'_>) -> bool {
    let links_are_told = zone.kind == SourceKind::Azure || !estate.links.is_empty();
    links_are_told && !evidence.incomplete && zone.id.is_some_and(|id| !estate.links.contains_key(id))
}
