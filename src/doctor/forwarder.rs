//! Where the conditional forwarders of a DNS server lead, judged from its
//! answers alone.
//!
//! Two questions tell it from outside, for a name that nobody can have cached:
//! `contoso.doctor1a2b3c4d.data.azurecr.io`, of a registry that is ours, in a
//! region that does not exist. hubdns answers it with a CNAME to the
//! private-link name, which it denies, since a name of ours never leaves the
//! private path (*closed*). Nobody else makes that CNAME, so whoever returns it
//! has asked hubdns. The same name below `privatelink.azurecr.io` is denied
//! with the zone's SOA, whose serial is the generation that hubdns has
//! published (Azure's own zones say 1 for ever). So *here* means: the fresh
//! name got hubdns' answer; *elsewhere*: it got another.
//!
//! | fresh name below `azurecr.io` | fresh name below `privatelink.azurecr.io` | names that are held | verdict |
//! |---|---|---|---|
//! | here | here | all right | `right`: forwarders on both, or on `azurecr.io`, which covers both |
//! | here | here | some have no address | `stripped`: protection against rebinding removes private addresses |
//! | here | here | some wrong | `cached`: old answers, until their TTL ends; or local data on the server |
//! | here | elsewhere | any | `split`: a zone or forwarder for `privatelink.azurecr.io` of its own; who re-asks the CNAME's target leaves hubdns |
//! | elsewhere | here | all right | `only-private-link`, a warning: the public chain still leads there; new replicas and denials are the Internet's |
//! | elsewhere | here | some wrong | `only-private-link` |
//! | elsewhere | elsewhere | all right | `other-way`, a warning: a private zone, not hubdns, gives the addresses |
//! | elsewhere | elsewhere | some public or denied | `missing`: no forwarder at all |
//! | elsewhere | elsewhere | some private, not ours | `stale`: a copy of the zone, or a forwarder to one |
//! | any | any | SERVFAIL, with CD an answer | `validation`: DNSSEC is demanded of names that have no proofs |
//! | any | any | SERVFAIL, with CD too | `failing`: it reaches nobody |
//! | any | any | REFUSED | `refused` |
//! | any | any | nothing comes | `silent` |
//! | unknown | unknown | all right | `right-unproven`: hubdns itself could not be asked, or forwards such names |
//!
//! TTLs: hubdns gives the same TTL again and again, a cache in front counts
//! down from it. A TTL above ours is one that hubdns never gave: a server that
//! keeps answers longer than told (`cache-min-ttl`), or local data.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::report::State;
use super::words::list;
use crate::routes::dns::AskError;

/// Where a fresh name got its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Goes {
    /// From hubdns.
    Here,
    /// From somebody else.
    Elsewhere,
    /// That cannot be told.
    #[default]
    Unknown,
}

/// What the server said of a name that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The private address; with the TTL and ours, where it is longer.
    Right { longer_than_told: Option<(u32, u32)> },
    /// Other private addresses, with their TTL.
    Other(Vec<IpAddr>, u32),
    /// Public addresses.
    Public(Vec<IpAddr>),
    /// NOERROR without an address.
    Empty,
    /// NXDOMAIN.
    Denied,
    /// REFUSED.
    Refused,
    /// SERVFAIL and the like.
    Failed,
    /// Nothing.
    Silent(AskError),
}

impl Seen {
    const fn is_right(&self) -> bool {
        matches!(self, Self::Right { .. })
    }

    fn says(&self) -> String {
        match self {
            Self::Right { .. } => "the private address".to_owned(),
            Self::Other(addresses, ttl) => format!("{} (TTL {ttl})", list(addresses)),
            Self::Public(addresses) => format!("the public {}", list(addresses)),
            Self::Empty => "no address".to_owned(),
            Self::Denied => "NXDOMAIN".to_owned(),
            Self::Refused => "REFUSED".to_owned(),
            Self::Failed => "SERVFAIL".to_owned(),
            Self::Silent(error) => error.to_string(),
        }
    }
}

/// All that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The fresh name below the registry suffix.
    pub(super) public: Goes,
    /// The fresh name below the private-link zone.
    pub(super) private: Goes,
    /// The public names that are held.
    pub(super) names: Vec<(String, Seen)>,
    /// The private-link name of the login name.
    pub(super) target: Option<(String, Seen)>,
    /// SERVFAIL that turns into an answer with CD.
    pub(super) validation: bool,
    /// Why TCP does not work.
    pub(super) tcp: Option<AskError>,
    /// The longest answer by UDP.
    pub(super) took: Option<Duration>,
}

/// What the evidence comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    RightUnproven,
    OtherWay,
    OnlyPrivateLink,
    Split,
    Cached,
    Stripped,
    Stale,
    Missing,
    Validation,
    Failing,
    Refused,
    Silent,
    Nothing,
}

/// Judges by the table of the module.
pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let all = || evidence.names.iter().chain(&evidence.target).map(|(_, seen)| seen);
    let any = |matches: fn(&Seen) -> bool| all().any(matches);
    if all().next().is_none() && (evidence.public, evidence.private) == (Goes::Unknown, Goes::Unknown) {
        return Verdict::Nothing;
    }
    if all().next().is_some() && all().all(|seen| matches!(seen, Seen::Silent(_))) {
        return Verdict::Silent;
    }
    if evidence.validation {
        return Verdict::Validation;
    }
    if any(|seen| matches!(seen, Seen::Refused)) {
        return Verdict::Refused;
    }
    if any(|seen| matches!(seen, Seen::Failed)) {
        return Verdict::Failing;
    }
    let right = all().all(Seen::is_right);
    match (evidence.public, evidence.private) {
        (Goes::Here, Goes::Elsewhere) => Verdict::Split,
        (Goes::Elsewhere, Goes::Here) => Verdict::OnlyPrivateLink,
        (Goes::Here, _) if right => Verdict::Right,
        (Goes::Here, _) if any(|seen| matches!(seen, Seen::Empty)) => Verdict::Stripped,
        (Goes::Here, _) => Verdict::Cached,
        (Goes::Elsewhere, _) if right => Verdict::OtherWay,
        (Goes::Unknown, _) if right => Verdict::RightUnproven,
        _ if any(|seen| matches!(seen, Seen::Public(_) | Seen::Denied)) => Verdict::Missing,
        _ if any(|seen| matches!(seen, Seen::Empty)) => Verdict::Stripped,
        _ if any(|seen| matches!(seen, Seen::Other(..))) => Verdict::Stale,
        _ => Verdict::Failing,
    }
}

impl Verdict {
    /// The word for it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::RightUnproven => "right-unproven",
            Self::OtherWay => "other-way",
            Self::OnlyPrivateLink => "only-private-link",
            Self::Split => "split",
            Self::Cached => "cached",
            Self::Stripped => "stripped",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Validation => "validation",
            Self::Failing => "failing",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Nothing => "nothing",
        }
    }

    /// The word for what it warns of: what is right can still lack something.
    pub(super) fn problem(self, evidence: &Evidence) -> &'static str {
        match self {
            Self::Right | Self::RightUnproven if evidence.tcp.is_some() => "no-tcp",
            Self::Right | Self::RightUnproven => "longer-ttl",
            other => other.label(),
        }
    }

    /// How bad it is.
    pub(super) fn state(self, evidence: &Evidence) -> State {
        let right = evidence.names.iter().all(|(_, seen)| seen.is_right());
        let longer = evidence.longer_than_told().is_some();
        match self {
            Self::Nothing => State::Skipped,
            Self::Right | Self::RightUnproven if longer || evidence.tcp.is_some() => State::Warning,
            Self::Right | Self::RightUnproven => State::Ok,
            Self::OtherWay => State::Warning,
            Self::OnlyPrivateLink | Self::Split if right => State::Warning,
            _ => State::Failed,
        }
    }

    /// What was found, as a sentence.
    pub(super) fn text(self, evidence: &Evidence) -> String {
        let wrong = evidence.wrong();
        let tail = if wrong.is_empty() { String::new() } else { format!(": {wrong}") };
        match self {
            Self::Right | Self::RightUnproven => {
                let mut text = if self == Self::Right {
                    "its forwarder leads here, every name is right".to_owned()
                } else {
                    "every name is right; whether by way of hubdns could not be told".to_owned()
                };
                if let Some((theirs, ours)) = evidence.longer_than_told() {
                    let _ =
                        write!(text, "; it keeps answers longer than told (TTL {theirs}, ours is {ours})");
                }
                if let Some(error) = evidence.tcp {
                    let _ = write!(text, "; by TCP: {error}");
                }
                text
            }
            Self::OtherWay => {
                "every name is right, and not by way of hubdns: it has no forwarder to it".to_owned()
            }
            Self::OnlyPrivateLink => {
                format!("its forwarder is only on the private-link zone, not on the registry suffix{tail}")
            }
            Self::Split => format!("the registry suffix leads here, the private-link zone elsewhere{tail}"),
            Self::Cached => format!("its forwarder leads here, and it gives old answers{tail}"),
            Self::Stripped => format!("it takes the private addresses out of answers{tail}"),
            Self::Stale => format!("no forwarder leads here, and it gives other addresses{tail}"),
            Self::Missing => format!("its conditional forwarder is missing{tail}"),
            Self::Validation => format!("it fails DNSSEC validation (with CD it answers){tail}"),
            Self::Failing => format!("it cannot resolve them{tail}"),
            Self::Refused => format!("it refuses{tail}"),
            Self::Silent => format!("it does not answer{tail}"),
            Self::Nothing => "no name is held that could be asked for".to_owned(),
        }
    }

    /// What to do.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Right | Self::RightUnproven => {
                "Let it keep to the TTL (no minimum TTL, no local data), and let TCP port 53 through."
            }
            Self::Nothing => "",
            Self::OtherWay => {
                "Point its conditional forwarders for the registry suffix and the private-link zone at hubdns, \
                 or leave it as it is and know that hubdns does not guard these answers."
            }
            Self::OnlyPrivateLink | Self::Missing => {
                "Make conditional forwarders to hubdns for both: the registry suffix (azurecr.io) and its \
                 private-link zone. Then clear its cache."
            }
            Self::Split => {
                "Remove its zone or forwarder for the private-link zone, or point that at hubdns too."
            }
            Self::Cached => {
                "Clear its cache, and look for local data, hosts entries and a minimum TTL on it."
            }
            Self::Stripped => {
                "It protects against DNS rebinding: exempt the registry suffix (Unbound private-domain, dnsmasq \
                 rebind-domain-ok)."
            }
            Self::Stale => {
                "It holds a copy of the private zone, or forwards to somebody who does: replace that by \
                 conditional forwarders to hubdns."
            }
            Self::Validation => {
                "Exempt the registry suffix from validation (BIND validate-except, Unbound domain-insecure): \
                 private zones have no proofs."
            }
            Self::Failing => {
                "Its forwarders reach nobody: see that it may ask hubdns (server.allow) by UDP and TCP port 53."
            }
            Self::Refused => "It does not serve this host; ask from a client's network.",
            Self::Silent => "See that the address is right and that port 53 is open to it from here.",
        }
    }
}

impl Evidence {
    /// The first names that are wrong, with what was said of them.
    fn wrong(&self) -> String {
        let wrong = self.names.iter().chain(&self.target).filter(|(_, seen)| !seen.is_right());
        let said: Vec<String> = wrong.map(|(name, seen)| format!("{name} gets {}", seen.says())).collect();
        match said.len() {
            0..=2 => said.join(", "),
            many => format!("{}, and {} more", said[..2].join(", "), many - 2),
        }
    }

    fn longer_than_told(&self) -> Option<(u32, u32)> {
        self.names.iter().find_map(|(_, seen)| match seen {
            Seen::Right { longer_than_told } => *longer_than_told,
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: Seen = Seen::Right { longer_than_told: None };

    fn evidence(public: Goes, private: Goes, seen: &[Seen]) -> Evidence {
        let names = seen.iter().map(|seen| ("contoso.azurecr.io".to_owned(), seen.clone())).collect();
        Evidence { public, private, names, ..Evidence::default() }
    }

    #[test]
    fn the_table_of_the_module() {
        use Goes::{Elsewhere, Here, Unknown};
        let public = || Seen::Public(vec!["203.0.113.1".parse().unwrap()]);
        let other = || Seen::Other(vec!["10.9.9.9".parse().unwrap()], 300);
        let cases = [
            (Here, Here, vec![RIGHT, RIGHT], Verdict::Right, State::Ok),
            (Here, Here, vec![RIGHT, Seen::Empty], Verdict::Stripped, State::Failed),
            (Here, Here, vec![RIGHT, other()], Verdict::Cached, State::Failed),
            (Here, Elsewhere, vec![RIGHT], Verdict::Split, State::Warning),
            (Here, Elsewhere, vec![other()], Verdict::Split, State::Failed),
            (Elsewhere, Here, vec![RIGHT], Verdict::OnlyPrivateLink, State::Warning),
            (Elsewhere, Here, vec![RIGHT, Seen::Denied], Verdict::OnlyPrivateLink, State::Failed),
            (Elsewhere, Elsewhere, vec![RIGHT], Verdict::OtherWay, State::Warning),
            (Elsewhere, Elsewhere, vec![public()], Verdict::Missing, State::Failed),
            (Elsewhere, Elsewhere, vec![RIGHT, Seen::Denied], Verdict::Missing, State::Failed),
            (Elsewhere, Elsewhere, vec![other()], Verdict::Stale, State::Failed),
            (Here, Here, vec![RIGHT, Seen::Failed], Verdict::Failing, State::Failed),
            (Unknown, Unknown, vec![Seen::Refused], Verdict::Refused, State::Failed),
            (Unknown, Unknown, vec![Seen::Silent(AskError::Timeout)], Verdict::Silent, State::Failed),
            (Unknown, Unknown, vec![RIGHT], Verdict::RightUnproven, State::Ok),
            (Unknown, Unknown, vec![], Verdict::Nothing, State::Skipped),
        ];
        for (public, private, seen, verdict, state) in cases {
            let evidence = evidence(public, private, &seen);
            let judged = judge(&evidence);
            assert_eq!(judged, verdict, "{evidence:?}");
            assert_eq!(judged.state(&evidence), state, "{evidence:?}");
        }
    }

    #[test]
    fn an_answer_only_without_validation_blames_validation() {
        let mut evidence = evidence(Goes::Here, Goes::Here, &[Seen::Failed]);
        evidence.validation = true;
        assert_eq!(judge(&evidence), Verdict::Validation);
    }

    #[test]
    fn a_ttl_that_we_never_gave_is_told() {
        let longer = Seen::Right { longer_than_told: Some((3600, 10)) };
        let evidence = evidence(Goes::Here, Goes::Here, &[RIGHT, longer]);
        let verdict = judge(&evidence);
        assert_eq!((verdict, verdict.state(&evidence)), (Verdict::Right, State::Warning));
        assert!(verdict.text(&evidence).contains("TTL 3600, ours is 10"), "{}", verdict.text(&evidence));
    }
}
