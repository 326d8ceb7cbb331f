//! A snapshot made from the one before answers as one built whole: random
//! sets, random edits, every name and type of a small world, views included.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hubdns::answer::{Context, answer_name};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{
    Alias, AnswerOptions, RecordSet, Rrset, Rrsets, Soa, Variant, ViewPrefixes, Zone, ZonePolicy,
};
use hubdns::wire::{Name, Rtype};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const APEXES: [&str; 3] = ["azurecr.io", "privatelink.azurecr.io", "x.test"];
const PREFIXES: [&str; 11] = [
    "",
    "a.",
    "b.",
    "*.",
    "a.a.",
    "b.a.",
    "*.a.",
    "a.b.a.",
    "*.b.a.",
    "a.westeurope.data.",
    "b.westeurope.data.",
];
const TYPES: [Rtype; 5] = [Rtype::A, Rtype::TXT, Rtype::CNAME, Rtype::AAAA, Rtype::NS];
/// Names that never change, so that the table has many shards.
const FILLERS: usize = 400;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn world() -> Vec<Name> {
    let under = |apex: &&str| PREFIXES.map(|prefix| name(&format!("{prefix}{apex}")));
    APEXES.iter().flat_map(under).collect()
}

/// A record set that can be edited.
#[derive(Clone, Default)]
struct World {
    names: Vec<Name>,
    zones: Vec<usize>,
    fillers: Vec<usize>,
    /// By zone, owner and type: the value, and that of the view's clients.
    rrsets: BTreeMap<(usize, Name, Rtype), (usize, Option<usize>)>,
    aliases: BTreeMap<Name, Name>,
    own: BTreeSet<Name>,
    serials: [Option<u32>; 3],
    minimum: u32,
}

/// What is edited, where, to what, and for whom.
type Edit = (u8, usize, usize, usize, Option<usize>);

impl World {
    fn edit(&mut self, (kind, at, rtype, value, variant): Edit) {
        let owner = self.names[at % self.names.len()].clone();
        let around = self.zones.iter().copied().filter(|zone| owner.is_at_or_below(&name(APEXES[*zone])));
        let around: Vec<usize> = around.collect();
        let rtype = TYPES[if rtype < 90 { rtype % 4 } else { 4 }];
        match kind {
            // Half of all edits add or change a record, a quarter removes one.
            0..=7 if !around.is_empty() => {
                let zone = around[value % around.len()];
                self.rrsets.insert((zone, owner, rtype), (value, variant));
            }
            8..=11 => {
                let key = self.rrsets.keys().nth(at % self.rrsets.len().max(1)).cloned();
                key.map(|key| self.rrsets.remove(&key));
            }
            12 => {
                let target = self.names[value % self.names.len()].clone();
                self.aliases.insert(owner, target);
            }
            13 => {
                self.aliases.remove(&owner);
            }
            14 if !self.own.remove(&owner) => {
                self.own.insert(owner);
            }
            15 if value.is_multiple_of(16) => self.minimum = value as u32,
            15 => self.serials[value % 3] = variant.map(|serial| serial as u32),
            _ => {}
        }
    }

    fn rdata(&self, rtype: Rtype, value: usize) -> Box<[u8]> {
        match rtype {
            Rtype::A => [10, 0, 0, value as u8].into(),
            Rtype::AAAA => [value as u8; 16].into(),
            Rtype::TXT => [1, value as u8].into(),
            _ => self.names[value % self.names.len()].as_wire().into(),
        }
    }

    fn set(&self) -> RecordSet {
        let mut set = RecordSet::default();
        for zone in &self.zones {
            let apex = name(APEXES[*zone]);
            let rrset =
                |((_, owner, rtype), (value, variant)): (&(usize, Name, Rtype), &(usize, Option<usize>))| {
                    let variant =
                        variant.map(|value| Variant { view: 1, rdatas: vec![self.rdata(*rtype, value)] });
                    Rrset {
                        owner: owner.clone(),
                        rtype: *rtype,
                        ttl: 10 + (*value % 2) as u32,
                        rdatas: vec![self.rdata(*rtype, *value)],
                        variants: variant.into_iter().collect(),
                    }
                };
            let mut rrsets: Vec<Rrset> =
                self.rrsets.iter().filter(|((number, ..), _)| number == zone).map(rrset).collect();
            if *zone == self.zones[0] {
                for (index, target) in self.fillers.iter().enumerate() {
                    let owner = name(&format!("filler{index}.{apex}"));
                    let rtype = if index.is_multiple_of(3) { Rtype::CNAME } else { Rtype::A };
                    let rdatas = vec![self.rdata(rtype, *target)];
                    rrsets.push(Rrset { owner, rtype, ttl: 30, rdatas, variants: Vec::new() });
                }
            }
            let policy = if *zone == 2 { ZonePolicy::Authoritative } else { ZonePolicy::FallThrough };
            let soa = Soa { serial: self.serials[*zone], minimum: 10 + self.minimum, ..Soa::azure() };
            set.zones.push(Zone { apex, soa, policy, rrsets: rrsets.into() });
        }
        set.zones.sort_by(|a, b| a.apex.cmp(&b.apex));
        let alias =
            |(public, target): (&Name, &Name)| Alias { public: public.clone(), target: target.clone() };
        set.aliases = self.aliases.iter().map(alias).collect();
        set.own = Arc::new(self.own.iter().cloned().collect());
        let clients = vec!["10.8.0.0/16".parse().unwrap()];
        set.views.push(ViewPrefixes { name: "spokes".to_owned(), clients });
        set
    }

    /// What is asked: all names, names below them, the fillers.
    fn questions(&self) -> Vec<Name> {
        let below = self.names.iter().map(|name| name.child(b"q").unwrap());
        let fillers = (0..FILLERS).map(|index| name(&format!("filler{index}.{}", APEXES[self.zones[0]])));
        self.names.iter().cloned().chain(below).chain(fillers).collect()
    }
}

fn compare(updated: &Snapshot, built: &Snapshot, questions: &[Name]) -> Result<(), TestCaseError> {
    prop_assert_eq!(updated.names(), built.names());
    for question in questions {
        let is_filler = question.as_wire().starts_with(b"\x09filler");
        let types = [Rtype::A, Rtype::TXT, Rtype::CNAME, Rtype::SOA, Rtype::NS];
        for rtype in types.into_iter().take(if is_filler { 1 } else { types.len() }) {
            for view in [0, 1] {
                let context = Context { view, ..Context::INTERNAL };
                let of = |snapshot| answer_name(question, rtype, context, snapshot);
                prop_assert_eq!(of(updated), of(built), "{} {:?} view {}", question, rtype, view);
            }
        }
    }
    Ok(())
}

#[test]
fn an_update_answers_as_a_whole_build() {
    let edits = prop::collection::vec(
        (0u8..16, 0usize..33, 0usize..100, 0usize..256, prop::option::weighted(0.2, 0usize..256)),
        1..4,
    );
    let start = prop::collection::vec(
        (0u8..16, 0usize..33, 0usize..90, 0usize..256, prop::option::weighted(0.2, 0usize..256)),
        0..40,
    );
    let shape = (1u8..8, any::<bool>(), any::<bool>(), any::<bool>());
    let fillers = prop::collection::vec(0usize..256, FILLERS);
    let strategy = (shape, fillers, start, prop::collection::vec(edits, 1..8));
    let incremental = Cell::new((0, 0));
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new(config).run(&strategy, |((zones, flat, forward, nested), fillers, start, steps)| {
            let zones = (0..3).filter(|zone| zones & 1 << zone != 0).collect();
            let mut world = World { names: world(), zones, fillers, ..World::default() };
            for edit in start {
                world.edit(edit);
            }
            let special = if nested { vec!["y.x.test"] } else { Vec::new() };
            let special = special.into_iter().map(|apex| Zone {
                apex: name(apex),
                soa: Soa::locally_served(&name(apex)),
                policy: ZonePolicy::Authoritative,
                rrsets: Rrsets::default(),
            });
            let options = AnswerOptions {
                flat,
                forward_own_missing: forward,
                suffixes: vec![name("azurecr.io")],
                special: special.collect(),
            };
            let questions = world.questions();
            let mut before = world.set();
            let mut snapshot = Snapshot::build(&before, &options, 1);
            for (generation, edits) in (2..).zip(steps) {
                for edit in edits {
                    world.edit(edit);
                }
                let after = world.set();
                let built = Snapshot::build(&after, &options, generation);
                let fresh = Snapshot::update(&snapshot, &before, &after, &options, generation);
                let (updates, all) = incremental.get();
                incremental.set((updates + usize::from(fresh.is_some()), all + 1));
                if let Some(made) = &fresh {
                    compare(made, &built, &questions)?;
                }
                snapshot = fresh.unwrap_or(built);
                before = after;
            }
            Ok(())
        });
    if let Err(error) = result {
        panic!("{error}");
    }
    let (updates, all) = incremental.get();
    assert!(updates * 3 > all, "only {updates} of {all} were incremental: this tests little");
}
