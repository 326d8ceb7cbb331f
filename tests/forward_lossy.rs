//! What is sent again where queries get lost, and what is not.

mod common;

use std::time::Duration;

use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream};
use hubdns::wire::{Rcode, Rtype};

/// Short, for what a test waits to happen.
const SOON: Duration = Duration::from_millis(5);
/// Questions after which the loss of a path is known.
const MANY: usize = 120;

fn good(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 300 A 192.0.2.1", asked.qname), "")
}

/// A resolver that sends again soon.
fn rig(upstreams: &[&Upstream]) -> Rig {
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let mut quick = settings(&[&addresses]);
    quick.forward.resend_after = SOON;
    Rig::new("", quick, |_| {})
}

fn ask_many(rig: &Rig) {
    for i in 0..MANY {
        assert_eq!(rig.ask(&format!("h{i}.example"), Rtype::A).rcode, Rcode::NOERROR);
    }
}

/// How often `upstream` was asked for `deaf.example` when no more comes: later
/// questions have had all their resends.
fn times_deaf(rig: &Rig, upstream: &Upstream, least: usize) -> usize {
    let times = |name: &str| {
        let name = name.to_owned();
        move |seen: &[Asked]| seen.iter().filter(|asked| asked.qname == name).count()
    };
    let _waiting = rig.begin("deaf.example", Rtype::A);
    upstream.wait(|seen| times("deaf.example")(seen) >= least);
    let _later = rig.begin("deaf.after.example", Rtype::A);
    upstream.wait(|seen| times("deaf.after.example")(seen) >= least);
    times("deaf.example")(&upstream.seen())
}

fn is_deaf(asked: &Asked) -> bool {
    asked.qname.starts_with("deaf.")
}

#[test]
fn the_last_resend_goes_in_copies_where_half_of_all_queries_are_lost() {
    let half =
        Upstream::start(
            |asked| {
                if is_deaf(asked) || asked.nth == 0 { Act::Drop } else { Act::send(good(asked)) }
            },
        );
    let rig = rig(&[&half]);
    ask_many(&rig);
    assert_eq!(times_deaf(&rig, &half, 8), 8, "one query, one resend, six copies of the last");
}

#[test]
fn nothing_is_copied_where_nothing_is_lost() {
    let upstream = Upstream::start(|asked| if is_deaf(asked) { Act::Drop } else { Act::send(good(asked)) });
    let rig = rig(&[&upstream]);
    ask_many(&rig);
    assert_eq!(times_deaf(&rig, &upstream, 3), 3, "a name without an answer tells of no loss");
}

#[test]
fn nothing_is_copied_to_an_upstream_that_is_not_there() {
    let dead = Upstream::start(|_| Act::Drop);
    let good = Upstream::start(|asked| if is_deaf(asked) { Act::Drop } else { Act::send(good(asked)) });
    let rig = rig(&[&dead, &good]);
    ask_many(&rig);
    assert_eq!(times_deaf(&rig, &good, 3), 3, "the other's loss is not its own");
    // Once it is known to be down it is passed over, until then asked thrice at most.
    let seen = dead.seen();
    assert!(!seen.is_empty());
    for asked in &seen {
        let times = seen.iter().filter(|other| other.qname == asked.qname).count();
        assert!(times <= 3, "{} came {times} times", asked.qname);
    }
}
