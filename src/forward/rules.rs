//! Forward rules: the longest suffix, by label, names the upstream group.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::wire::name::{hash, parent, secret};
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
    /// Numbers in `list`, each with the hash of its suffix: by the key of the
    /// packet path, which clients do not know. None is the root's.
    by_suffix: HashTable<(u64, usize)>,
    list: Vec<Rule>,
    /// Bit n: a suffix of n labels exists (63 stands for 63 and more).
    lengths: u64,
    root: usize,
}

impl Rules {
    /// Compiles `rules`. One for the root is among them (the configuration
    /// adds it); without it the first stands in.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut by_suffix = HashTable::with_capacity(rules.len());
        let mut lengths = 0;
        let mut root = 0;
        for (index, rule) in rules.iter().enumerate() {
            if rule.suffix.is_root() {
                root = index;
                continue;
            }
            lengths |= length_bit(rule.suffix.label_count());
            let hash = hash(rule.suffix.as_wire(), secret());
            let is_same = |other: &(u64, usize)| {
                other.0 == hash && rules.get(other.1).is_some_and(|other| other.suffix == rule.suffix)
            };
            match by_suffix.entry(hash, is_same, |(hash, _)| *hash) {
                Entry::Occupied(mut earlier) => earlier.get_mut().1 = index,
                Entry::Vacant(place) => drop(place.insert((hash, index))),
            }
        }
        Self { by_suffix, list: rules, lengths, root }
    }

    /// The rule for `qname`; `None` only if there are no rules at all.
    #[inline]
    pub fn find(&self, qname: &FoldedName) -> Option<&Rule> {
        if self.lengths == 0 {
            return self.list.get(self.root);
        }
        self.find_among(qname).or_else(|| self.list.get(self.root))
    }

    /// The rule with the longest suffix but the root's. Only suffixes are
    /// hashed that are as long as one of the rules'.
    fn find_among(&self, qname: &FoldedName) -> Option<&Rule> {
        let mut suffix = qname.as_wire();
        for labels in (1..=qname.label_count()).rev() {
            if self.lengths & length_bit(labels) != 0
                && let Some(found) = self.rule_of(suffix)
            {
                return Some(found);
            }
            suffix = parent(suffix)?;
        }
        None
    }

    fn rule_of(&self, suffix: &[u8]) -> Option<&Rule> {
        let hash = hash(suffix, secret());
        let mut found = self.by_suffix.iter_hash(hash).filter(|(other, _)| *other == hash);
        found.find_map(|(_, index)| self.list.get(*index).filter(|rule| rule.suffix.as_wire() == suffix))
    }

    /// All rules, in the configuration's order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter()
    }
}

/// The bit that stands for suffixes of so many labels.
const fn length_bit(labels: usize) -> u64 {
    1 << if labels < 63 { labels } else { 63 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn of_equal_suffixes_the_last_counts() {
        assert_eq!(find(&rules(&[".", "example", "example"]), "www.example"), 2);
        assert_eq!(find(&rules(&["org", "example"]), "com"), 0, "without a root rule the first stands in");
    }

    /// Names out of few labels, so that they often lie below each other; some
    /// of more labels than there are bits.
    fn any_name() -> impl Strategy<Value = Name> {
        let label = prop::sample::select(vec!["a", "b", "ab", "example"]);
        let labels = prop_oneof![4 => prop::collection::vec(label.clone(), 0..6), 1 => prop::collection::vec(label, 58..68)];
        labels.prop_map(|labels| {
            let mut text: Vec<&str> = labels;
            while text.iter().map(|label| label.len() + 1).sum::<usize>() > 250 {
                text.pop();
            }
            if text.is_empty() { Name::root() } else { text.join(".").parse().unwrap() }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_rule_found_is_the_one_of_the_longest_suffix(
            suffixes in prop::collection::hash_set(any_name(), 1..40),
            extra in prop::collection::vec(any_name(), 0..40),
        ) {
            // The root's last, as one for the root is always there.
            let suffixes: Vec<Name> = suffixes.into_iter().filter(|s| !s.is_root()).chain([Name::root()]).collect();
            let texts: Vec<String> = suffixes.iter().map(ToString::to_string).collect();
            let rules = rules(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            for qname in suffixes.iter().chain(&extra) {
                let naive = suffixes.iter().filter(|suffix| qname.is_at_or_below(suffix));
                let naive = naive.max_by_key(|suffix| suffix.label_count()).unwrap();
                let found = rules.find(&FoldedName::from(qname)).unwrap();
                prop_assert_eq!(&found.suffix, naive, "{}", qname);
            }
        }
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
