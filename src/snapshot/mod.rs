//! The immutable set of local zones that queries are answered from.
//!
//! A [`RecordSet`] is plain data. [`Snapshot::build`]
//! compiles it: names become nodes ([`nodes`]), CNAME chains are followed
//! once, and each name's answer sections are written as they will stand in
//! the response ([`compile`], [`entry`]), what many names share stored once
//! ([`shapes`]), behind one hash table ([`table`], [`shard`]).
//! So a hit is one probe and one copy. [`Snapshot::update`] compiles only what
//! changed ([`update`]) and shares the rest with the snapshot before. Rejected: a tree walked per query (a
//! cache miss per label), and hickory's `Catalog` (120,800 instructions
//! where this takes a few hundred).

mod chain;
mod compile;
mod cuts;
mod definition;
mod draft;
mod enclosers;
mod entry;
mod hashes;
mod implied;
mod index;
mod lookup;
pub mod model;
mod nodes;
pub mod place;
pub mod publish;
mod shapes;
mod shard;
mod table;
mod update;
mod views;
mod writer;

pub use entry::{Entry, EntryName, Parts, Rest, Shape, Usual};

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use enclosers::Enclosers;
use model::{AnswerOptions, RecordSet, Zone};
use place::{NodeFlags, Tree};
use table::Table;
use views::ViewTable;

use crate::wire::{FoldedName, Name};

/// Numbers the snapshots of this process.
static INSTANCES: AtomicU64 = AtomicU64::new(1);

/// A compiled record set. Who takes or lets go of a share of it writes the counts
/// in front of it, which lie in other cache lines than what every packet reads.
#[derive(Debug)]
#[repr(align(128))]
pub struct Snapshot {
    generation: u64,
    instance: u64,
    table: Table,
    views: Arc<ViewTable>,
    has_views: bool,
    /// Whether a zone has cuts or DNAMEs.
    has_cuts: bool,
    /// Whether a zone may hold names of a zone within it.
    overlaps: bool,
    zones: Box<[ZoneSoa]>,
    depths: u64,
    enclosers: Arc<Enclosers>,
    forward_own_missing: bool,
    names: usize,
    options: Arc<AnswerOptions>,
}

/// Names beyond which a table, of some thirty bytes each, is larger than a
/// second-level cache several times over, so that a look-up waits for memory.
pub const COLD: usize = 200_000;

/// What a zone denies with.
#[derive(Debug)]
pub struct ZoneSoa {
    /// The apex.
    pub apex: Name,
    /// The SOA record with the TTL of negative answers, its owner name two bytes that a pointer is
    /// to stand in place of.
    pub record: Box<[u8]>,
    /// The TTL of negative answers, seconds.
    pub negative_ttl: u32,
}

impl ZoneSoa {
    /// The SOA record behind its owner name.
    pub fn behind_owner(&self) -> &[u8] {
        self.record.get(2..).unwrap_or_default()
    }
}

impl Snapshot {
    /// Compiles `set`. `generation` becomes the serial of SOAs without one of their own.
    pub fn build(set: &RecordSet, options: &AnswerOptions, generation: u64) -> Self {
        let implied = implied::zones(set, options);
        let nodes = nodes::Nodes::new(set, &implied, options);
        let views = Arc::new(ViewTable::new(&set.views));
        // Serials are 32 bits and wrap (RFC 1982).
        let serial = generation as u32;
        Self {
            generation,
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            zones: zone_soas(&nodes.zones, serial),
            table: compile::compile(&nodes, options.flat, serial),
            has_cuts: nodes.has_cuts,
            overlaps: nodes.overlaps,
            has_views: nodes.has_variants && !views.is_empty(),
            views,
            depths: nodes.depths(),
            enclosers: Arc::new(Enclosers::new(
                nodes.zones.iter().map(|zone| &zone.apex).chain(&options.suffixes).map(Name::as_wire),
            )),
            forward_own_missing: options.forward_own_missing,
            names: nodes.held(),
            options: Arc::new(options.clone()),
        }
    }

    /// The snapshot of `after`, made from `previous`, that of `before`: answers
    /// as [`Self::build`]'s do, but takes a small part of its time and memory.
    /// `None` unless few names changed and both sets are sorted as published
    /// ones are: then the snapshot is to be built whole.
    pub fn update(
        previous: &Self,
        before: &RecordSet,
        after: &RecordSet,
        options: &AnswerOptions,
        generation: u64,
    ) -> Option<Self> {
        update::update(previous, before, after, options, generation)
    }

    /// The increasing number of this snapshot.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Tells this snapshot from every other of this process; two may share a
    /// generation after a reload of the configuration.
    #[inline]
    pub const fn instance(&self) -> u64 {
        self.instance
    }

    /// How many names are held, zone apexes included.
    pub const fn names(&self) -> usize {
        self.names
    }

    /// Has the memory read that the look-ups of names with these hashes
    /// ([`FoldedName::hash`]) will read. Those of one call wait together,
    /// where look-ups with all else between them wait one after the other.
    pub fn touch(&self, hashes: &[u64]) {
        for hash in hashes {
            std::hint::black_box(self.table.touch(*hash));
        }
    }

    /// The local zones, the most specific first.
    pub fn zones(&self) -> &[ZoneSoa] {
        &self.zones
    }

    /// Whether names of ours that no record covers are forwarded.
    pub const fn forwards_own_missing(&self) -> bool {
        self.forward_own_missing
    }

    /// Whether some clients get other answers than the rest; if not, nobody
    /// needs to know their view.
    #[inline]
    pub const fn has_views(&self) -> bool {
        self.has_views
    }

    /// The view of `client`, for [`Entry::in_view`]: that of the longest prefix
    /// around it, 0 for none. IPv4-mapped addresses count as IPv4.
    #[inline]
    pub fn view_of(&self, client: IpAddr) -> u8 {
        self.views.view_of(client)
    }

    /// The held names that clients asked for since the last call: owner names
    /// as asked (public aliases and private-link names alike), wildcards for
    /// the names that they cover, and for missing names of ours the login name
    /// of their registry. Publishing a snapshot hands on what was asked of the
    /// one before.
    pub fn take_asked(&self) -> Vec<Name> {
        self.table.take_asked().filter_map(|entry| Name::from_wire(&entry.name()).ok()).collect()
    }

    /// Counts the names asked of `before` since its last [`Self::take_asked`] as asked here.
    fn hand_on_asked(&self, before: &Self) {
        for entry in before.table.take_asked() {
            self.mark_asked(&entry.name());
        }
    }

    /// Counts the folded wire-form `name` as asked for, if it is held or the
    /// login name of a registry of ours.
    pub fn mark_asked(&self, name: &[u8]) {
        self.table.look_up(name, true);
    }

    /// Bytes of memory held by the table.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// The entry of `qname`, if the name exists here (a marker counts not).
    #[inline]
    pub fn find(&self, qname: &FoldedName) -> Option<Entry<'_>> {
        self.table.find(qname.as_wire()).filter(|entry| entry.flags().exists())
    }

    /// [`Self::find`]; if a client `asked` for it, a held name counts as asked for.
    #[expect(clippy::inline_always, reason = "a call costs a twentieth of a hit, in registers saved")]
    #[inline(always)]
    pub fn look_up(&self, qname: &FoldedName, asked: bool) -> Option<Entry<'_>> {
        self.table.look_up_folded(qname, asked).filter(|entry| entry.exists())
    }
}

/// What `zones` deny with.
fn zone_soas(zones: &[&Zone], serial: u32) -> Box<[ZoneSoa]> {
    let zones = zones.iter().map(|zone| ZoneSoa {
        apex: zone.apex.clone(),
        record: compile::negative_soa(zone, serial),
        negative_ttl: compile::negative_ttl(&zone.soa),
    });
    zones.collect()
}

impl<'s> Tree for &'s Snapshot {
    type Node = Entry<'s>;

    #[inline]
    fn get(&self, name: &[u8]) -> Option<Entry<'s>> {
        self.table.find(name)
    }

    #[inline]
    fn flags(&self, node: Entry<'s>) -> NodeFlags {
        node.flags()
    }

    #[inline]
    fn may_enclose(&self, name: &FoldedName) -> bool {
        self.enclosers.may_enclose(name)
    }

    #[inline]
    fn depths(&self) -> u64 {
        self.depths
    }
}
