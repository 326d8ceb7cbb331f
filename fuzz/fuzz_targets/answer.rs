//! Any query on a fixed snapshot: the response is well formed and keeps the
//! id and the question; a miss leaves the buffer as it was.
#![no_main]

use std::sync::LazyLock;

use hubdns::answer::{Context, Outcome, Transport, answer};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::model::{Alias, AnswerOptions, RecordSet, Rrset, Soa, Zone, ZonePolicy};
use hubdns::wire::message::Message;
use hubdns::wire::{Name, Query, Response, Rtype};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let rrset = |owner: &str, rtype: Rtype, rdata: &[u8]| Rrset {
        owner: name(owner),
        rtype,
        ttl: 10,
        rdatas: vec![rdata.into()],
        variants: Vec::new(),
    };
    let zone = |apex: &str, policy: ZonePolicy, rrsets: Vec<Rrset>| Zone {
        apex: name(apex),
        soa: Soa::azure(),
        policy,
        rrsets,
    };
    let target = name("a.azurecr.io");
    let set = RecordSet {
        zones: vec![
            zone(
                "privatelink.azurecr.io",
                ZonePolicy::FallThrough,
                vec![
                    rrset("a.privatelink.azurecr.io", Rtype::A, &[10, 0, 0, 1]),
                    rrset("*.w.privatelink.azurecr.io", Rtype::A, &[10, 0, 0, 2]),
                ],
            ),
            zone(
                "c.d",
                ZonePolicy::Authoritative,
                vec![
                    rrset("*.c.d", Rtype::CNAME, target.as_wire()),
                    rrset("n.c.d", Rtype::DNAME, name("w.privatelink.azurecr.io").as_wire()),
                    rrset("s.c.d", Rtype::NS, name("x.y").as_wire()),
                ],
            ),
        ],
        aliases: vec![Alias { public: target, target: name("a.privatelink.azurecr.io") }],
        own: vec![name("a.azurecr.io")],
        views: Vec::new(),
    };
    let options = AnswerOptions {
        flat: false,
        forward_own_missing: false,
        suffixes: vec![name("azurecr.io")],
        special: Vec::new(),
    };
    Snapshot::build(&set, &options, 1)
});

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| {
    let Ok(query) = Query::parse(datagram) else { return };
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut buf = vec![0; 65_535];
        let len = datagram.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        let mut out = Response::new(&mut buf, 65_535);
        let context = Context { transport, udp_size: 1232, view: 0 };
        let outcome = answer(&query, &context, &SNAPSHOT, &mut out);
        let end = out.len();
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
