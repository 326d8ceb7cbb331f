//! A batch that is read ahead, as large tables and cached responses have it, is
//! answered as one that is not.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::estate::{options, query, record_set};
use common::serving::{ESTATE, closed, config};
use hubdns::forward::Settings;
use hubdns::forward::cache::KeyRef;
use hubdns::forward::chain::Chain;
use hubdns::forward::entry::{Checked, Entry};
use hubdns::forward::reply::{self, Asked};
use hubdns::metrics::queries::QueryMetrics;
use hubdns::resolve::{self, Resolver};
use hubdns::serve::access::{Policies, Policy};
use hubdns::serve::udp::{Handler, Pending};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::publish::Publisher;
use hubdns::socket::{Batch, UdpSocket};
use hubdns::wire::message::Message;
use hubdns::wire::{Class, FoldedName, Name, Rtype};

const INSIDE: &str = "127.0.0.1:4000";
/// Nobody may ask from there, nor from port 0.
const OUTSIDE: [&str; 2] = ["203.0.113.1:4000", "127.0.0.1:0"];

/// What the buffers of a batch hold once it is answered, and how many replies there are.
fn answered(
    handler: &mut Handler,
    socket: &Arc<UdpSocket>,
    asked: &[(Vec<u8>, &str)],
) -> (Vec<Vec<u8>>, usize) {
    let mut batch = Batch::new(asked.len());
    batch.reset();
    for (query, peer) in asked {
        assert!(batch.place(query, peer.parse::<SocketAddr>().expect("an address")), "room");
    }
    handler.batch(resolve::now(), socket, &mut batch);
    let replies = batch.queued();
    let buffer = |index| batch.message(index).map_or_else(Vec::new, |message| message.buffer.to_vec());
    ((0..asked.len()).map(buffer).collect(), replies)
}

/// A handler of its own for each call, all with one resolver.
fn handlers() -> (impl FnMut() -> Handler, Resolver, Arc<UdpSocket>) {
    let config = config(&["127.0.0.1:0"], closed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let publisher = Publisher::new(Snapshot::build(&record_set(ESTATE), &options(), 1));
    let settings = Settings::new(&config, Vec::new());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
    let policies = Policies::new(Policy::new(&config.server));
    let socket = Arc::new(UdpSocket::bind(config.server.listen[0], false).unwrap());
    let (metrics, mut locals) = QueryMetrics::new(2);
    let of_all = resolver.clone();
    let handler = move || {
        // The runtime lives as long as what was started on it.
        let _ = &runtime;
        let (resolver, local) = (of_all.clone(), locals.remove(0));
        Handler::new(resolver, &publisher, &policies, local, metrics.shared(), Pending::default())
    };
    (handler, resolver, socket)
}

/// Keeps a response with one address in the cache.
fn keep(resolver: &Resolver, qname: &str) {
    let owner: Name = qname.parse().unwrap();
    let asked = Asked { name: &owner, qtype: Rtype::A, qclass: Class::IN };
    let bytes = [
        &[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0],
        owner.as_wire(),
        &[0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1],
    ];
    let reply = reply::accept(&bytes.concat(), &asked).unwrap();
    let chain = Chain::walk(&Message::parse(&reply.bytes).unwrap());
    let forwarder = resolver.forwarder();
    let (tables, now) = (forwarder.tables().load(), resolve::now());
    let entry = Entry::new(reply, chain, &tables.bounds, now, Checked { instance: 0, cut: None });
    let folded = FoldedName::from(&owner);
    let partition = tables.rules.find(&folded).unwrap().partition;
    let key = KeyRef::new(partition, &folded, Rtype::A, Class::IN, 0);
    assert!(forwarder.cache().insert(&key, &entry.kept(), now));
}

#[test]
fn cached_responses_that_are_fetched_ahead_are_the_same() {
    let (mut handler, resolver, socket) = handlers();
    let (mut plain, mut ahead) = (handler(), handler());
    let cached: Vec<String> = (0..12).map(|at| format!("www{at}.example.org")).collect();
    for name in &cached {
        keep(&resolver, name);
    }
    // Among them one that no cache holds, which without RD is answered at
    // once, one of ours, and garbage.
    let mut asked: Vec<(Vec<u8>, &str)> =
        cached.iter().map(|name| (query(name, Rtype::A, 0, None), INSIDE)).collect();
    asked.insert(3, (query("absent.example.org", Rtype::A, 0, None), INSIDE));
    asked.insert(5, (query("contoso.azurecr.io", Rtype::A, 0, None), INSIDE));
    asked.insert(7, (vec![0xff; 40], INSIDE));
    let one_by_one: Vec<Vec<u8>> =
        asked.iter().flat_map(|one| answered(&mut plain, &socket, std::slice::from_ref(one)).0).collect();
    for turn in 0..3 {
        // The first is not ahead: nothing was cached before.
        assert_eq!(ahead.fetches_ahead(), turn > 0);
        let (buffers, replies) = answered(&mut ahead, &socket, &asked);
        assert_eq!(replies, asked.len() - 1, "turn {turn}");
        assert_eq!(buffers, one_by_one, "turn {turn}");
    }
    // Queries for our own names alone end it.
    let own = vec![(query("contoso.azurecr.io", Rtype::A, 0, None), INSIDE); 8];
    answered(&mut ahead, &socket, &own);
    assert!(!ahead.fetches_ahead());
    // Errors of ours do not begin it, however many: nothing of theirs is cached,
    // and the locks of the cache would be one more thing that workers share.
    let refused = vec![(query("absent.example.org", Rtype::A, 0, None), INSIDE); 8];
    answered(&mut ahead, &socket, &refused);
    assert!(!ahead.fetches_ahead());
}

#[test]
fn a_batch_that_is_read_ahead_is_answered_the_same() {
    let (mut handler, _resolver, socket) = handlers();
    let (mut plain, mut ahead) = (handler(), handler());
    ahead.read_ahead_beyond(0);
    let alias = || query("Contoso.azurecr.io", Rtype::A, 0x0100, None);
    let answerable = [
        alias(),
        query("contoso.privatelink.azurecr.io", Rtype::A, 0x0100, Some(1232)),
        query("contoso.azurecr.io", Rtype::AAAA, 0, Some(512)),
        query("nobody.privatelink.azurecr.io", Rtype::A, 0, None),
        // Rejected: an opcode, garbage, a query that is cut off, another's response.
        query("contoso.azurecr.io", Rtype::A, 0x2000, None),
        vec![0xff; 40],
        alias()[..20].to_vec(),
        query("contoso.azurecr.io", Rtype::A, 0x8100, None),
        // Longer than a buffer: cut off by the kernel, answered by TC or not at all.
        [alias(), vec![0; 5000]].concat(),
    ];
    // Each of them in each place, beside others and beside those who may not ask.
    for turn in 0..answerable.len() {
        let mut asked: Vec<(Vec<u8>, &str)> =
            answerable.iter().cycle().skip(turn).take(14).map(|query| (query.clone(), INSIDE)).collect();
        for (place, peer) in OUTSIDE.into_iter().enumerate() {
            asked.insert((turn + 5 * place) % asked.len(), (alias(), peer));
        }
        asked.retain(|(query, _)| query.len() < 4096 || turn % 2 == 0);
        let expected = answered(&mut plain, &socket, &asked);
        assert!(expected.1 >= 6, "{} replies", expected.1);
        assert_eq!(answered(&mut ahead, &socket, &asked), expected, "from {turn} on");
        // Too few to be read ahead.
        let few = &asked[..2];
        assert_eq!(answered(&mut ahead, &socket, few), answered(&mut plain, &socket, few));
    }
}
