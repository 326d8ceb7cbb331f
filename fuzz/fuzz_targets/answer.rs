//! Any query of a client of any view on a fixed snapshot: the response is well
//! formed and keeps the id and the question; a miss leaves the buffer as it
//! was; a view is answered like a snapshot with its records in place, and
//! marking the name as asked for changes nothing. The first byte is the view.
#![no_main]

use std::sync::LazyLock;

use hubdns::answer::{Context, Outcome, Transport, answer};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{
    Alias, AnswerOptions, RecordSet, Rrset, Soa, Variant, ViewPrefixes, Zone, ZonePolicy,
};
use hubdns::wire::message::Message;
use hubdns::wire::{Name, Query, Response, Rtype};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// The views that have variants; one more has none.
const VIEWS: u8 = 2;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| build(&record_set()));

/// What each view's clients see, without views.
static ALONE: LazyLock<Vec<Snapshot>> = LazyLock::new(|| {
    let of_view = |view: u8| {
        let mut set = record_set();
        for zone in &mut set.zones {
            zone.rrsets.edit(|rrsets| {
                for rrset in rrsets {
                    rrset.rdatas = rrset.rdatas_in(view).to_vec();
                    rrset.variants.clear();
                }
            });
        }
        build(&set)
    };
    (0..=VIEWS + 1).map(of_view).collect()
});

fn record_set() -> RecordSet {
    let rrset = |owner: &str, rtype: Rtype, rdata: &[u8]| Rrset {
        owner: name(owner),
        rtype,
        ttl: 10,
        rdatas: vec![rdata.into()],
        variants: Vec::new(),
    };
    let varied = |rrset: Rrset, view: u8, rdatas: &[&[u8]]| {
        let rdatas = rdatas.iter().map(|data| Box::from(*data)).collect();
        Rrset { variants: vec![Variant { view, rdatas }], ..rrset }
    };
    let zone = |apex: &str, policy: ZonePolicy, rrsets: Vec<Rrset>| Zone {
        apex: name(apex),
        soa: Soa::azure(),
        policy,
        rrsets: rrsets.into(),
    };
    let target = name("a.azurecr.io");
    RecordSet {
        zones: vec![
            zone(
                "privatelink.azurecr.io",
                ZonePolicy::FallThrough,
                vec![
                    varied(
                        rrset("a.privatelink.azurecr.io", Rtype::A, &[10, 0, 0, 1]),
                        1,
                        &[&[10, 8, 0, 1], &[10, 8, 0, 2]],
                    ),
                    rrset("*.w.privatelink.azurecr.io", Rtype::A, &[10, 0, 0, 2]),
                ],
            ),
            zone(
                "c.d",
                ZonePolicy::Authoritative,
                vec![
                    varied(rrset("*.c.d", Rtype::CNAME, target.as_wire()), 2, &[name("e.f").as_wire()]),
                    varied(
                        rrset("n.c.d", Rtype::DNAME, name("w.privatelink.azurecr.io").as_wire()),
                        1,
                        &[name("privatelink.azurecr.io").as_wire()],
                    ),
                    rrset("s.c.d", Rtype::NS, name("x.y").as_wire()),
                ],
            ),
        ],
        aliases: vec![Alias { public: target, target: name("a.privatelink.azurecr.io") }].into(),
        own: vec![name("a.azurecr.io")].into(),
        views: vec![ViewPrefixes {
            name: "one".into(),
            clients: vec!["10.8.0.0/16".parse().expect("a prefix")],
        }],
    }
}

fn build(set: &RecordSet) -> Snapshot {
    let options = AnswerOptions {
        flat: false,
        forward_own_missing: false,
        suffixes: vec![name("azurecr.io")],
        special: Vec::new(),
    };
    Snapshot::build(set, &options, 1)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((view, datagram)) = input.split_first() else { return };
    let Ok(query) = Query::parse(datagram) else { return };
    let view = view % (VIEWS + 2);
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut buf = vec![0; 65_535];
        let len = datagram.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        let mut out = Response::new(&mut buf, 65_535);
        let context = Context { transport, udp_size: 1232, view, is_client: true };
        let outcome = answer(&query, &context, &SNAPSHOT, &mut out);
        let end = out.len();
        let mut alone = vec![0; 65_535];
        alone[..len].copy_from_slice(&datagram[..len]);
        let mut other = Response::new(&mut alone, 65_535);
        let unseen = Context { view: 0, is_client: false, ..context };
        assert_eq!(outcome, answer(&query, &unseen, &ALONE[usize::from(view)], &mut other));
        assert_eq!(end, other.len());
        assert_eq!(buf[..end], alone[..end]);
        if let Outcome::Miss(_) = outcome {
            assert_eq!(buf[..len], datagram[..len]);
            continue;
        }
        let message = Message::parse(&buf[..end]).expect("a whole message");
        assert_eq!(buf[..2], datagram[..2]);
        assert_eq!(buf[12..query.question_end], datagram[12..query.question_end]);
        assert!(end <= context.limit(&query).max(query.question_end + 11));
        assert_eq!(message.flags().0 & 0x8080, 0x8080);
    }
});
