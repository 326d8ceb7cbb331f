//! Where the CNAMEs of a name lead, over the nodes of a build.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::nodes::Nodes;
use super::place::{NodeFlags, Place, Tree, place, private_name};
use super::table::passed_hash;
use crate::wire::name::{Labels, parent, same};
use crate::wire::{FoldedName, Name, Rtype};

/// Longest chain of CNAMEs that is followed (design.md section 3).
const MAX_CHAIN: usize = 8;

/// How many names behind one that leads on are looked at for its target before
/// all are searched: a registry's login name, data endpoint and private-link
/// names stand in a row.
const NEAR: u32 = 3;

/// Sets apart the hashes of names that only decide where a target stands from
/// those of the targets.
pub(super) const DECIDING: u32 = 0x9e37_79b9;

impl<'a> Nodes<'a> {
    /// The views whose clients may get another answer at the node `start`
    /// than everybody else: those with variants anywhere on its chain.
    pub(super) fn views(&self, start: u32) -> BTreeSet<u8> {
        let mut views = BTreeSet::new();
        if self.has_variants {
            let pass = &mut |passed| {
                let variants = self.rrsets(passed).flat_map(|rrset| rrset.variants());
                views.extend(variants.map(|(view, _)| view).filter(|view| *view != 0));
            };
            self.walk(start, 0, Vec::new(), &mut Vec::new(), pass);
        }
        views
    }

    /// Follows CNAMEs from the node `start` to where they end for clients of
    /// `view`. `steps` is an empty vector to use again. To `sought` come the
    /// hashes of the names that decide where the chain leads.
    pub(super) fn follow(
        &self,
        start: u32,
        view: u8,
        steps: Vec<Step<'a>>,
        sought: &mut Vec<u32>,
    ) -> Chain<'a> {
        self.walk(start, view, steps, sought, &mut |_| ())
    }

    /// [`Self::follow`] that tells each node it passes.
    fn walk(
        &self,
        start: u32,
        view: u8,
        mut steps: Vec<Step<'a>>,
        sought: &mut Vec<u32>,
        pass: &mut impl FnMut(u32),
    ) -> Chain<'a> {
        let mut at: Cow<'a, [u8]> = Cow::Borrowed(self.name(start));
        let mut place: Place<u32> = Place::Exact(start);
        loop {
            let near = match place {
                Place::Exact(index) | Place::Wildcard(index) => index,
                _ => start,
            };
            let node = match place {
                Place::Exact(index) | Place::Wildcard(index) => index,
                Place::Dname(index) => {
                    pass(index);
                    let Some(step) = self.substitute(index, &at, view) else {
                        return Chain { steps, end: End::Denied(index, false) };
                    };
                    let Some(next) = self.step(&mut steps, step, near, sought) else { break };
                    (at, place) = next;
                    continue;
                }
                Place::Denied(index) => return Chain { steps, end: End::Denied(index, false) },
                Place::OwnMissing { .. } if self.forward_own_missing => {
                    return Chain { steps, end: End::Leads };
                }
                Place::OwnMissing { suffix_labels, public } => {
                    let private = if public { private_name(&at, suffix_labels) } else { None };
                    let Some(private) = private else {
                        return Chain { steps, end: End::Denied(self.private_apex(&at), true) };
                    };
                    let step = Step { owner: at, ttl: None, target: Cow::Owned(private), dname: None };
                    let Some(next) = self.step(&mut steps, step, near, sought) else { break };
                    (at, place) = next;
                    continue;
                }
                Place::Outside => return Chain { steps, end: End::Leads },
            };
            pass(node);
            let found = self.node(node);
            let (alias, mut near) = (self.alias(node), near);
            let target = match (alias, self.cname(node)) {
                (Some((target, number)), _) => {
                    // The place before it: there is the first look.
                    near = number.map_or(near, |number| number.wrapping_sub(1));
                    (target.as_wire(), None)
                }
                (None, Some(rrset)) => (rrset.rdatas_in(view).next().unwrap_or(&[0]), Some(rrset.ttl)),
                (None, None) if found.flags.any(NodeFlags::DELEGATION) && !steps.is_empty() => {
                    return Chain { steps, end: End::Leads };
                }
                (None, None) => return Chain { steps, end: End::Node(node, at) },
            };
            let step = Step { owner: at, ttl: target.1, target: Cow::Borrowed(target.0), dname: None };
            let Some(next) = self.step(&mut steps, step, near, sought) else { break };
            (at, place) = next;
        }
        Chain { steps, end: End::Loop }
    }

    /// Adds a step and finds where its target stands; `None` when the chain is too long.
    fn step(
        &self,
        steps: &mut Vec<Step<'a>>,
        step: Step<'a>,
        near: u32,
        sought: &mut Vec<u32>,
    ) -> Option<(Cow<'a, [u8]>, Place<u32>)> {
        steps.push(step);
        let target = &steps.last()?.target;
        if steps.len() > MAX_CHAIN {
            return None;
        }
        // Nearly always the target is spelled as the node is, which is folded, and
        // it is near its alias: names are numbered in order.
        let behind = (1..=NEAR).map(|step| near.wrapping_add(step));
        let mut behind = behind.take_while(|next| (*next as usize) < self.len());
        let next = behind.find(|next| same(self.name(*next), target));
        if let Some(node) = next.or_else(|| self.get(target)).filter(|node| self.flags(*node).exists()) {
            sought.push(passed_hash(target));
            return Some((Cow::Borrowed(self.name(node)), Place::Exact(node)));
        }
        let (folded, _) = FoldedName::parse(target)?;
        // Targets keep the spelling of their zone file; names are compared folded.
        let place = place(self, &folded);
        sought.push(passed_hash(folded.as_wire()));
        deciding(folded.as_wire(), |name| sought.push(passed_hash(name) ^ DECIDING));
        Some((Cow::Owned(folded.as_wire().to_vec()), place))
    }

    /// The CNAME that a DNAME stands for (RFC 6672 section 2.2).
    fn substitute(&self, dname: u32, at: &[u8], view: u8) -> Option<Step<'a>> {
        let (rrset, above) = (self.rrset(dname, Rtype::DNAME)?, self.name(dname));
        let mut target = at.get(..at.len().checked_sub(above.len())?)?.to_vec();
        target.extend_from_slice(rrset.rdatas_in(view).next()?);
        Name::from_wire(&target).ok()?;
        let owner = Cow::Owned(at.to_vec());
        Some(Step { owner, ttl: Some(rrset.ttl), target: Cow::Owned(target), dname: Some(dname) })
    }

    /// The node of the private-link zone above `name`.
    fn private_apex(&self, name: &[u8]) -> u32 {
        let mut up = name;
        loop {
            if let Some(index) = self.get(up).filter(|i| self.flags(*i).any(NodeFlags::APEX)) {
                return index;
            }
            match parent(up) {
                Some(above) => up = above,
                None => return 0,
            }
        }
    }
}

/// Tells the names that decide where `name` stands: itself, those above it,
/// their wildcards, and the login names that it may belong to.
pub(super) fn deciding(name: &[u8], mut tell: impl FnMut(&[u8])) {
    let first = Labels::new(name).next().unwrap_or_default();
    let mut up = name;
    loop {
        tell(up);
        tell(&[b"\x01*", up].concat());
        if up.len() < name.len() {
            tell(&[&[first.len() as u8], first, up].concat());
        }
        match parent(up) {
            Some(above) => up = above,
            None => return,
        }
    }
}

/// CNAMEs from a name, and where they end.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) steps: Vec<Step<'a>>,
    pub(super) end: End<'a>,
}

/// One CNAME.
#[derive(Clone, Debug)]
pub(super) struct Step<'a> {
    pub(super) owner: Cow<'a, [u8]>,
    /// `None` for one of our own making: it takes the TTL of the answer behind it.
    pub(super) ttl: Option<u32>,
    pub(super) target: Cow<'a, [u8]>,
    /// The node whose DNAME stands before this CNAME.
    pub(super) dname: Option<u32>,
}

/// Where a chain ends.
#[derive(Debug)]
pub(super) enum End<'a> {
    /// At records of this node, under this name.
    Node(u32, Cow<'a, [u8]>),
    /// At a name that does not exist; its encloser. True for a name of ours
    /// that no record covers.
    Denied(u32, bool),
    /// Outside.
    Leads,
    /// Nowhere: it is longer than [`MAX_CHAIN`].
    Loop,
}
