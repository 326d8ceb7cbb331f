//! Forward rules: the longest suffix, by label, names the upstream group.

use std::collections::HashMap;
use std::sync::Arc;

use crate::wire::name::Labels;
use crate::wire::{FoldedName, Name};

use super::upstream::Upstream;

/// Upstreams that stand in for each other, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Its name in the configuration.
    pub name: String,
    /// The upstreams; empty if `system` found none.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// One rule, resolved.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Names at or below this go to `group`.
    pub suffix: Name,
    /// Whom to ask.
    pub group: Arc<Group>,
    /// Identifies suffix, upstreams and fallback in the response cache, across
    /// reloads: what one set of upstreams said never answers for another.
    pub partition: u32,
}

impl Rule {
    /// What the rule is, by a text that stays as long as that does: the suffix,
    /// the [identities] of its upstreams and of the fallback's, in their order.
    ///
    /// ```text
    /// corp.example: udp://192.0.2.1:53 | tls://192.0.2.2:853 name=dns.example; fallback udp://192.0.2.3:53
    /// ```
    ///
    /// [identities]: crate::config::Upstream::identity
    pub fn identity(&self, fallback: Option<&Group>) -> String {
        let mut text = format!("{}: {}", self.suffix, self.group.identity());
        if let Some(fallback) = fallback {
            text.push_str("; fallback ");
            text.push_str(&fallback.identity());
        }
        text
    }
}

impl Group {
    /// The identities of its upstreams, whatever its name. No identity has a
    /// space and a bar in it.
    fn identity(&self) -> String {
        let all: Vec<String> = self.upstreams.iter().map(|upstream| upstream.settings().identity()).collect();
        all.join(" | ")
    }
}

/// All rules, ready to be looked up.
#[derive(Debug)]
pub struct Rules {
    by_suffix: HashMap<Box<[u8]>, usize>,
    list: Vec<Rule>,
    /// Bit n: a suffix of n labels exists (63 stands for 63 and more).
    lengths: u64,
    root: usize,
}

impl Rules {
    /// Compiles `rules`. One for the root is among them (the configuration
    /// adds it); without it the first stands in.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut by_suffix = HashMap::new();
        let mut lengths = 0;
        let mut root = 0;
        for (index, rule) in rules.iter().enumerate() {
            lengths |= 1u64 << rule.suffix.label_count().min(63);
            by_suffix.insert(rule.suffix.as_wire().into(), index);
            if rule.suffix.is_root() {
                root = index;
            }
        }
        Self { by_suffix, list: rules, lengths, root }
    }

    /// The rule for `qname`; `None` only if there are no rules at all.
    #[inline]
    pub fn find(&self, qname: &FoldedName) -> Option<&Rule> {
        if self.lengths & !1 == 0 {
            return self.list.get(self.root);
        }
        let labels = qname.label_count().min(63);
        // Bits of the suffix lengths that the name can have, longest first,
        // the root's left to the end.
        let mut lengths = self.lengths & (u64::MAX >> (63 - labels)) & !1;
        while lengths != 0 {
            let longest = lengths.ilog2();
            if let Some(found) = self.find_of_length(qname, longest as usize) {
                return Some(found);
            }
            lengths &= !(1u64 << longest);
        }
        self.list.get(self.root)
    }

    fn find_of_length(&self, qname: &FoldedName, length: usize) -> Option<&Rule> {
        if length == 63 {
            return self.find_long(qname.as_wire());
        }
        let index = self.by_suffix.get(qname.suffix(length)?)?;
        self.list.get(*index)
    }

    /// Names of 63 labels and more share one bit: try them from the longest on.
    #[cold]
    fn find_long(&self, mut wire: &[u8]) -> Option<&Rule> {
        while Labels::new(wire).count() >= 63 {
            if let Some(index) = self.by_suffix.get(wire) {
                return self.list.get(*index);
            }
            wire = crate::wire::name::parent(wire)?;
        }
        None
    }

    /// All rules, in the configuration's order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(suffixes: &[&str]) -> Rules {
        let rule = |(partition, suffix): (usize, &&str)| Rule {
            suffix: suffix.parse().unwrap(),
            group: Arc::new(Group { name: String::new(), upstreams: Vec::new() }),
            partition: partition as u32,
        };
        Rules::new(suffixes.iter().enumerate().map(rule).collect())
    }

    fn find(rules: &Rules, qname: &str) -> u32 {
        rules.find(&FoldedName::from(&qname.parse::<Name>().unwrap())).unwrap().partition
    }

    #[test]
    fn the_longest_suffix_wins_by_label() {
        let rules = rules(&[".", "example", "corp.example", "a.b.corp.example"]);
        assert_eq!(find(&rules, "."), 0);
        assert_eq!(find(&rules, "org"), 0);
        assert_eq!(find(&rules, "x.example"), 1);
        assert_eq!(find(&rules, "corp.example"), 2);
        assert_eq!(find(&rules, "notcorp.example"), 1);
        assert_eq!(find(&rules, "b.corp.example"), 2);
        assert_eq!(find(&rules, "x.a.b.corp.example"), 3);
    }

    #[test]
    fn rules_are_told_by_suffix_upstreams_and_fallback() {
        let group = |addresses: &[&str]| {
            let upstreams = addresses.iter().map(|text| Upstream::plain(text.parse().unwrap())).collect();
            Group { name: "g".to_owned(), upstreams }
        };
        let identity = |suffix: &str, addresses: &[&str], fallback: Option<&[&str]>| {
            let rule = Rule { suffix: suffix.parse().unwrap(), group: group(addresses).into(), partition: 1 };
            rule.identity(fallback.map(group).as_ref())
        };
        let (one, two) = ("192.0.2.1:53", "[2001:db8::1]:53");
        let all = [
            identity("corp.example", &[one], None),
            identity("example", &[one], None),
            identity("corp.example", &[one, two], None),
            identity("corp.example", &[two, one], None),
            identity("corp.example", &[one], Some(&[two])),
            identity("corp.example", &[one], Some(&[])),
        ];
        assert_eq!(all[2], "corp.example: udp://192.0.2.1:53 | udp://[2001:db8::1]:53");
        assert_eq!(all[4], "corp.example: udp://192.0.2.1:53; fallback udp://[2001:db8::1]:53");
        let different: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn suffixes_of_very_many_labels_are_found() {
        let deep = vec!["a"; 100].join(".");
        let rules = rules(&[".", &deep, &vec!["a"; 62].join(".")]);
        assert_eq!(find(&rules, &format!("x.{deep}")), 1);
        assert_eq!(find(&rules, &vec!["a"; 99].join(".")), 2);
        assert_eq!(find(&rules, &vec!["a"; 61].join(".")), 0);
    }
}
