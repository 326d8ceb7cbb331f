//! Which hop lies: the first hop, in the order of a pull, that breaks one;
//! else the first that warns. A pull through hubdns does not touch the private
//! zone nor, for names that are held, the upstreams: they are blamed last.

use super::report::{Hop, HopKind, NameReport, State};
use crate::admin::path::NameKind;

/// The hop to blame, and the sentence.
pub(super) fn blame(
    registry: &str,
    ours: bool,
    names: &[NameReport],
    via: &[Hop],
) -> (Option<HopKind>, String) {
    let of_names = names.iter().flat_map(|name| name.hops.iter().map(move |hop| (Some(name), hop)));
    let mut all: Vec<(Option<&NameReport>, &Hop)> = of_names
        .chain(via.iter().map(|hop| (None, hop)))
        .filter(|(_, hop)| hop.state >= State::Warning)
        .collect();
    // Worst first; of equals the earlier hop, and of that the order of names.
    all.sort_by_key(|(_, hop)| (std::cmp::Reverse(hop.state), place(hop.hop, ours)));
    let Some((name, hop)) = all.first() else {
        let skipped = |kind| {
            !names.iter().flat_map(|name| &name.hops).any(|hop| hop.hop == kind && hop.state == State::Ok)
        };
        let route =
            if ours && skipped(HopKind::Route) { "; the way to the addresses was not tried" } else { "" };
        return (None, format!("nothing lies{route}"));
    };
    let whom = name.filter(|name| name.name != registry || name.kind == NameKind::Other);
    let of = whom.map_or_else(String::new, |name| format!(" for {}", name.name));
    let target = if hop.target.is_empty() { String::new() } else { format!(" {}", hop.target) };
    let more = all.iter().filter(|(_, other)| (other.hop, &other.target) != (hop.hop, &hop.target)).count();
    let also = match more {
        0 => String::new(),
        more => format!(" (and {more} more above)"),
    };
    let subject = subject(hop.hop);
    let comfort = match hop.hop {
        // The interface's address is what is answered: who comes through hubdns is not misled.
        HopKind::Zone => "; hubdns answers what the interface says",
        _ => "",
    };
    let sentence = if hop.state == State::Failed {
        format!("{subject}{target} lies{of}: {}{comfort}{also}", hop.text)
    } else {
        let works = if ours { "pulls work" } else { "it works" };
        format!("{works}; {subject}{target} warns{of}: {}{also}", hop.text)
    };
    (Some(hop.hop), sentence)
}

/// The place of a hop in the way of a pull.
const fn place(hop: HopKind, ours: bool) -> u8 {
    match hop {
        // A name of others is only as good as its upstream.
        HopKind::Upstream if !ours => 0,
        HopKind::Records => 1,
        HopKind::Answer => 2,
        HopKind::Via => 3,
        HopKind::Route => 4,
        HopKind::Zone => 5,
        HopKind::Upstream => 6,
    }
}

const fn subject(hop: HopKind) -> &'static str {
    match hop {
        HopKind::Records => "the record set",
        HopKind::Zone => "the private zone",
        HopKind::Answer => "hubdns' answer at",
        HopKind::Via => "the DNS server",
        HopKind::Route => "the route to",
        HopKind::Upstream => "the upstream",
    }
}
