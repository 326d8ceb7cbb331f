//! Which rule of the answer table decided, in words. The outcome is the
//! packet path's own; this only names the row that it came from.

use super::Inspection;
use crate::answer::{Lookup, Miss, Outcome};
use crate::snapshot::model::{Zone, ZonePolicy};
use crate::wire::{Name, Rtype};

/// The rule that decided.
pub(super) struct Decision {
    /// In one word.
    pub(super) rule: &'static str,
    /// In a sentence.
    pub(super) because: String,
    /// Further names whose records led to it.
    pub(super) also: Vec<Name>,
}

fn decided(rule: &'static str, because: String) -> Decision {
    Decision { rule, because, also: Vec::new() }
}

/// Names the rule behind `outcome`.
pub(super) fn decide(of: &Inspection<'_>, name: &Name, rtype: Rtype, outcome: Outcome) -> Decision {
    match outcome {
        Outcome::Miss(Miss::Own) => decided(
            "own-missing-forward",
            format!(
                "{name} belongs to a registry of ours, no record covers it, and own_missing is \"forward\""
            ),
        ),
        Outcome::Miss(Miss::Foreign) => foreign(of, name),
        Outcome::Leads => decided(
            "leads-away",
            format!("{name} is held and its CNAME leads to a name that is not local; the rest is forwarded"),
        ),
        Outcome::Hit(hit) => local(of, name, rtype, hit.lookup),
    }
}

fn foreign(of: &Inspection<'_>, name: &Name) -> Decision {
    match zone_of(of, name) {
        Some(zone) => decided(
            "fall-through",
            format!("the zone {} does not hold {name} and lets such names fall through", zone.apex),
        ),
        None => decided("foreign", format!("{name} is neither held nor ours")),
    }
}

fn local(of: &Inspection<'_>, name: &Name, rtype: Rtype, lookup: Lookup) -> Decision {
    if let Some(zone) =
        of.options.special.iter().filter(|zone| name.is_at_or_below(&zone.apex)).max_by_key(depth)
    {
        return decided("special", format!("{} is served locally by RFC", zone.apex));
    }
    match lookup {
        Lookup::OwnMissing => decided(
            "own-missing",
            format!(
                "{name} belongs to a registry of ours and no record covers it: denied, since the public answer would leave the private path"
            ),
        ),
        Lookup::Refused => {
            decided("refused", format!("questions of type {rtype} are never answered or forwarded"))
        }
        Lookup::Found => found(of, name, rtype),
        Lookup::NoData => no_data(of, name, rtype),
        Lookup::NxDomain => denied(of, name),
    }
}

fn found(of: &Inspection<'_>, name: &Name, rtype: Rtype) -> Decision {
    if let Some(alias) = of.set.aliases.iter().find(|alias| alias.public == *name) {
        let because = if of.options.flat {
            format!("{name} is the public name of {}, answered flat", alias.target)
        } else {
            format!("{name} is the public name of {}, which is held", alias.target)
        };
        return Decision { rule: "alias", because, also: vec![alias.target.clone()] };
    }
    if let Some(zone) = of.set.zones.iter().find(|zone| zone.apex == *name)
        && rtype == Rtype::SOA
    {
        return decided("soa", format!("{} is the apex of a local zone", zone.apex));
    }
    if is_held(of, name) {
        return decided("held", format!("{name} is held"));
    }
    match wildcard(of, name) {
        Some(owner) => Decision {
            rule: "wildcard",
            because: format!("{name} is covered by the wildcard {owner} (RFC 4592)"),
            also: vec![owner],
        },
        None => decided("held", format!("{name} is held")),
    }
}

fn no_data(of: &Inspection<'_>, name: &Name, rtype: Rtype) -> Decision {
    if let Some(alias) = of.set.aliases.iter().find(|alias| alias.public == *name) {
        return Decision {
            rule: "nodata",
            because: format!(
                "{name} is the public name of {}, which has no {rtype}; never forwarded, as the public {rtype} would bypass Private Link",
                alias.target
            ),
            also: vec![alias.target.clone()],
        };
    }
    if is_held(of, name) {
        return decided("nodata", format!("{name} is held and has no {rtype}; never forwarded"));
    }
    if let Some(owner) = wildcard(of, name) {
        return Decision {
            rule: "nodata",
            because: format!("{name} is covered by the wildcard {owner}, which has no {rtype}"),
            also: vec![owner],
        };
    }
    if of.set.zones.iter().any(|zone| zone.apex == *name) {
        return decided("apex", format!("{name} is the apex of a local zone and has no {rtype}"));
    }
    decided("empty-non-terminal", format!("{name} exists only because names lie below it"))
}

fn denied(of: &Inspection<'_>, name: &Name) -> Decision {
    let mut above = name.parent();
    while let Some(ancestor) = above {
        if is_held(of, &ancestor) && !of.set.zones.iter().any(|zone| zone.apex == ancestor) {
            return Decision {
                rule: "below-held",
                because: format!("{name} lies below {ancestor}, which is held and has nothing below it"),
                also: vec![ancestor],
            };
        }
        above = ancestor.parent();
    }
    match zone_of(of, name).filter(|zone| zone.policy == ZonePolicy::Authoritative) {
        Some(zone) => {
            decided("authoritative-zone", format!("the zone {} is served whole and lacks {name}", zone.apex))
        }
        None => decided("denied", format!("{name} is denied by the local zones")),
    }
}

fn is_held(of: &Inspection<'_>, name: &Name) -> bool {
    of.set.rrsets_at(name).next().is_some() || of.set.aliases.iter().any(|alias| alias.public == *name)
}

/// The wildcard whose closest encloser is nearest to `name`.
fn wildcard(of: &Inspection<'_>, name: &Name) -> Option<Name> {
    let above = std::iter::successors(name.parent(), Name::parent);
    let wildcards = std::iter::once(name.clone()).chain(above).filter_map(|above| above.child(b"*").ok());
    wildcards.into_iter().find(|wildcard| of.set.rrsets_at(wildcard).next().is_some())
}

/// The deepest zone that `name` lies in.
fn zone_of<'a>(of: &'a Inspection<'_>, name: &Name) -> Option<&'a Zone> {
    of.set.zones.iter().filter(|zone| name.is_at_or_below(&zone.apex)).max_by_key(depth)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "max_by_key passes references")]
fn depth(zone: &&Zone) -> usize {
    zone.apex.label_count()
}
