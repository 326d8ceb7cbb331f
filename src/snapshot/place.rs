//! Where a name stands among the local zones and registries: the one place
//! that knows the order of the rules, used for queries (over the compiled
//! table) and for CNAME targets while a snapshot is built (over its nodes).

use crate::wire::name::{Labels, parent};
use crate::wire::{Flags, FoldedName};

/// What a node is; a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NodeFlags(pub u16);

impl NodeFlags {
    /// Has at least one RRset, or a CNAME in front of one.
    pub const HELD: u16 = 1;
    /// Exists only because names below it do (RFC 8499 section 7).
    pub const EMPTY: u16 = 1 << 1;
    /// Apex of a local zone.
    pub const APEX: u16 = 1 << 2;
    /// Apex of a zone that denies what it lacks.
    pub const AUTHORITATIVE: u16 = 1 << 3;
    /// A registry suffix (`azurecr.io`).
    pub const SUFFIX: u16 = 1 << 4;
    /// Login name of a registry of ours.
    pub const OWN: u16 = 1 << 5;
    /// Has a child `*`.
    pub const WILDCARD_BELOW: u16 = 1 << 6;
    /// Holds a DNAME (RFC 6672).
    pub const DNAME: u16 = 1 << 7;
    /// A zone cut: NS records below the apex of a zone file.
    pub const DELEGATION: u16 = 1 << 8;
    /// Lies in a local zone: answers have AA, and the bit is that one, so that none is made of the other.
    pub const IN_ZONE: u16 = Flags::AA;

    /// Whether any of `bits` is set.
    #[inline]
    pub const fn any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Whether the node exists as a name in the sense of DNS.
    #[inline]
    pub const fn exists(self) -> bool {
        self.any(Self::HELD | Self::EMPTY)
    }
}

/// Nodes by name.
pub trait Tree {
    /// A handle of a node.
    type Node: Copy;

    /// The node of that folded wire-form name.
    fn get(&self, name: &[u8]) -> Option<Self::Node>;

    /// What the node is.
    fn flags(&self, node: Self::Node) -> NodeFlags;

    /// Whether a zone apex or registry suffix may stand at or above `name`;
    /// true says nothing.
    #[inline]
    fn may_enclose(&self, _name: &FoldedName) -> bool {
        true
    }

    /// Bit `n` is set if some zone apex or registry suffix has `n` labels (63: or more).
    fn depths(&self) -> u64;
}

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<N> {
    /// A node of that name exists.
    Exact(N),
    /// No such node; a wildcard covers the name (RFC 4592).
    Wildcard(N),
    /// The name lies below a DNAME.
    Dname(N),
    /// There is no such name: this is its closest encloser.
    Denied(N),
    /// The name is of a registry of ours, and no record covers it.
    OwnMissing {
        /// Labels of the registry suffix.
        suffix_labels: usize,
        /// Whether it is the public name, not the private-link name.
        public: bool,
    },
    /// Nothing here speaks about the name.
    Outside,
}

/// Finds where `name` stands.
pub fn place<T: Tree>(tree: &T, name: &FoldedName) -> Place<T::Node> {
    match tree.get(name.as_wire()) {
        Some(node) if tree.flags(node).exists() => Place::Exact(node),
        _ => place_missing(tree, name),
    }
}

/// [`place`] for a name that is known not to exist as a node.
#[inline]
pub fn place_missing<T: Tree>(tree: &T, name: &FoldedName) -> Place<T::Node> {
    if !tree.may_enclose(name) {
        return Place::Outside;
    }
    place_enclosed(tree, name)
}

/// [`place_missing`] where an apex may stand above.
fn place_enclosed<T: Tree>(tree: &T, name: &FoldedName) -> Place<T::Node> {
    let Some((depth, zone)) = enclosing(tree, name) else { return Place::Outside };
    let zone = tree.flags(zone);
    let mut encloser = None;
    for labels in (depth..name.label_count()).rev() {
        let Some(node) = name.suffix(labels).and_then(|suffix| tree.get(suffix)) else { continue };
        let flags = tree.flags(node);
        if !flags.exists() {
            continue;
        }
        if flags.any(NodeFlags::DELEGATION) {
            return Place::Outside;
        }
        if flags.any(NodeFlags::WILDCARD_BELOW)
            && let Some(found) = name.suffix(labels).and_then(|suffix| wildcard(tree, suffix))
        {
            return Place::Wildcard(found);
        }
        if flags.any(NodeFlags::DNAME) {
            return Place::Dname(node);
        }
        encloser = Some((node, flags));
        break;
    }
    match encloser {
        Some((node, flags)) if flags.any(NodeFlags::HELD) && !flags.any(NodeFlags::APEX) => {
            Place::Denied(node)
        }
        Some((node, _)) if zone.any(NodeFlags::AUTHORITATIVE) => Place::Denied(node),
        _ => own_missing(tree, name).unwrap_or(Place::Outside),
    }
}

/// The deepest zone apex or registry suffix at or above `name`, with its labels.
#[inline]
fn enclosing<T: Tree>(tree: &T, name: &FoldedName) -> Option<(usize, T::Node)> {
    let count = name.label_count();
    let mut depths = tree.depths();
    if count < 63 {
        depths &= (2u64 << count) - 1;
    } else if depths >> 63 != 0 {
        return enclosing_deep(tree, name);
    }
    while depths != 0 {
        let labels = 63 - depths.leading_zeros() as usize;
        depths &= !(1 << labels);
        if let Some(node) = name.suffix(labels).and_then(|suffix| tree.get(suffix))
            && tree.flags(node).any(NodeFlags::APEX | NodeFlags::SUFFIX)
        {
            return Some((labels, node));
        }
    }
    None
}

/// [`enclosing`] for names and zones of 63 labels and more.
#[cold]
fn enclosing_deep<T: Tree>(tree: &T, name: &FoldedName) -> Option<(usize, T::Node)> {
    (0..=name.label_count()).rev().find_map(|labels| {
        let node = tree.get(name.suffix(labels)?)?;
        tree.flags(node).any(NodeFlags::APEX | NodeFlags::SUFFIX).then_some((labels, node))
    })
}

/// The existing node `*.encloser`.
fn wildcard<T: Tree>(tree: &T, encloser: &[u8]) -> Option<T::Node> {
    let mut name = [0u8; 258];
    name.get_mut(..2)?.copy_from_slice(b"\x01*");
    name.get_mut(2..2 + encloser.len())?.copy_from_slice(encloser);
    tree.get(name.get(..2 + encloser.len())?).filter(|node| tree.flags(*node).exists())
}

/// Whether `name` has the shape of a name of one of our registries:
/// `<label>` or `<label>.<region>.{data,geo}` below a registry suffix, with
/// or without `privatelink` between (design.md section 2).
fn own_missing<T: Tree>(tree: &T, name: &FoldedName) -> Option<Place<T::Node>> {
    let count = name.label_count();
    let (suffix_labels, suffix) = (1..count).rev().find_map(|labels| {
        let suffix = name.suffix(labels)?;
        let node = tree.get(suffix)?;
        tree.flags(node).any(NodeFlags::SUFFIX).then_some((labels, suffix))
    })?;
    let label = |index: usize| Labels::new(name.as_wire()).nth(index);
    let mut above = count - suffix_labels;
    let public = above < 2 || label(above - 1) != Some(b"privatelink");
    if !public {
        above -= 1;
    }
    let shaped = match above {
        1 => true,
        3 => matches!(label(2), Some(b"data" | b"geo")),
        _ => false,
    };
    let registry = label(0).filter(|_| shaped)?;
    let mut login = [0u8; 256];
    let (head, tail) = (1 + registry.len(), 1 + registry.len() + suffix.len());
    *login.first_mut()? = registry.len() as u8;
    login.get_mut(1..head)?.copy_from_slice(registry);
    login.get_mut(head..tail)?.copy_from_slice(suffix);
    let node = tree.get(login.get(..tail)?)?;
    tree.flags(node).any(NodeFlags::OWN).then_some(Place::OwnMissing { suffix_labels, public })
}

/// The private-link form of the public name `public`, whose registry suffix
/// has `suffix_labels` labels; in wire form.
pub fn private_name(public: &[u8], suffix_labels: usize) -> Option<Vec<u8>> {
    let above = Labels::new(public).count().checked_sub(suffix_labels)?;
    let mut suffix = public;
    for _ in 0..above {
        suffix = parent(suffix)?;
    }
    let mut wire = public.get(..public.len() - suffix.len())?.to_vec();
    wire.extend_from_slice(b"\x0bprivatelink");
    wire.extend_from_slice(suffix);
    Some(wire)
}

/// The login name of the registry that `name` belongs to, public or not: its
/// first label on the registry suffix, which has `suffix_labels` labels; in
/// wire form.
pub fn login_name(name: &[u8], suffix_labels: usize) -> Option<Vec<u8>> {
    let above = Labels::new(name).count().checked_sub(suffix_labels)?;
    let mut suffix = name;
    for _ in 0..above {
        suffix = parent(suffix)?;
    }
    let registry = Labels::new(name).next()?;
    Some([&[registry.len() as u8], registry, suffix].concat())
}
