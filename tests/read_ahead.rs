//! A batch that is read ahead, as large tables have it, is answered as one
//! that is not.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::estate::{options, query, record_set};
use common::serving::{ESTATE, closed, config};
use hubdns::forward::Settings;
use hubdns::metrics::queries::QueryMetrics;
use hubdns::resolve::{self, Resolver};
use hubdns::serve::access::{Policies, Policy};
use hubdns::serve::udp::{Handler, Pending};
use hubdns::snapshot::Snapshot;
use hubdns::snapshot::publish::Publisher;
use hubdns::socket::{Batch, UdpSocket};
use hubdns::wire::Rtype;

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

#[test]
fn a_batch_that_is_read_ahead_is_answered_the_same() {
    let config = config(&["127.0.0.1:0"], closed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let publisher = Publisher::new(Snapshot::build(&record_set(ESTATE), &options(), 1));
    let settings = Settings::new(&config, Vec::new());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
    let policies = Policies::new(Policy::new(&config.server));
    let (metrics, mut locals) = QueryMetrics::new(2);
    let mut handler = || {
        let (resolver, local) = (resolver.clone(), locals.remove(0));
        Handler::new(resolver, &publisher, &policies, local, metrics.shared(), Pending::default())
    };
    let (mut plain, mut ahead) = (handler(), handler());
    ahead.read_ahead_beyond(0);
    let socket = Arc::new(UdpSocket::bind(config.server.listen[0], false).unwrap());
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
