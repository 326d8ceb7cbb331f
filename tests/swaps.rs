//! Snapshots change under query load: no response is lost, wrong, or made of
//! two generations.

mod common;
#[path = "common/site.rs"]
mod site;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::estate::{query, text};
use common::load::bound_client;
use common::serving::{PATIENCE, closed, config, receive};
use hubdns::forward::Settings;
use hubdns::resolve::Resolver;
use hubdns::serve::Server;
use hubdns::sync::Trigger;
use hubdns::wire::Rtype;
use site::Site;

const SWAPS: u64 = 200;
/// Queries that a TCP client sends before it reads.
const PIPELINE: u16 = 8;

/// Two addresses that change together, and a CNAME in front of them.
fn write(site: &Site, round: u64) {
    let mut zone = "@ 60 SOA ns admin 7 3600 600 86400 300\nwww 60 CNAME pair\n".to_owned();
    writeln!(zone, "pair 60 A 10.0.0.{round}\npair 60 A 10.1.0.{round}").unwrap();
    fs::write(site.zone(), zone).unwrap();
}

/// The round that a response is of; fails if it is of two.
fn round(response: &[u8]) -> u64 {
    let text = text(response);
    let last = |prefix: &str| -> u64 {
        let rest = text.split(prefix).nth(1).unwrap_or_else(|| panic!("no {prefix} in {text}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    assert!(text.starts_with("NOERROR aa"), "{text}");
    let (first, second) = (last(" A 10.0.0."), last(" A 10.1.0."));
    assert_eq!(first, second, "a mixture: {text}");
    first
}

/// What the clients share.
struct Load {
    server: SocketAddr,
    over: AtomicBool,
    /// Published before the query was sent: older answers are wrong.
    published: AtomicU64,
    answered: AtomicU64,
}

impl Load {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn check(&self, before: u64, newest: &mut u64, response: &[u8]) {
        let round = round(response);
        assert!(round >= before && round <= SWAPS, "round {round} after {before} was published");
        assert!(round >= *newest, "round {round} after {newest} was seen");
        *newest = round;
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    fn by_udp(&self, name: &str) {
        let client = bound_client(self.server);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut message = query(name, Rtype::A, 0x0100, Some(1232));
        let mut id = 0u16;
        let mut newest = 0;
        while !self.is_over() {
            id = id.wrapping_add(1);
            message[..2].copy_from_slice(&id.to_be_bytes());
            // A worker that is in a batch may finish it with the set of before.
            let before = self.published.load(Ordering::SeqCst).saturating_sub(1);
            client.send(&message).unwrap();
            let response = receive(&client).expect("no response is lost");
            assert_eq!(response[..2], id.to_be_bytes());
            self.check(before, &mut newest, &response);
        }
    }

    fn by_tcp(&self, name: &str) {
        let mut newest = 0;
        while !self.is_over() {
            let mut stream = TcpStream::connect(self.server).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let before = self.published.load(Ordering::SeqCst).saturating_sub(1);
            let mut batch = Vec::new();
            for id in 0..PIPELINE {
                let mut message = query(name, Rtype::A, 0x0100, None);
                message[..2].copy_from_slice(&id.to_be_bytes());
                batch.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
                batch.extend_from_slice(&message);
            }
            stream.write_all(&batch).unwrap();
            for _ in 0..PIPELINE {
                let mut len = [0; 2];
                stream.read_exact(&mut len).expect("no response is lost");
                let mut response = vec![0; usize::from(u16::from_be_bytes(len))];
                stream.read_exact(&mut response).expect("a whole response");
                self.check(before, &mut newest, &response);
            }
        }
    }
}

#[test]
fn two_hundred_swaps_under_load_lose_and_mix_nothing() {
    let site = Site::new("");
    write(&site, 0);
    let mut sync = site.start();
    assert!(sync.cycle(Trigger::Routine).changed);
    let publisher = sync.publisher();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut config = config(&["127.0.0.1:0"], closed());
    config.tcp.max_connections = 100;
    let bound = Server::bind(&config).unwrap();
    let settings = Settings::new(&config, bound.local_addrs());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
    let running = bound.start(&resolver, &publisher).unwrap();
    let load = Load {
        server: running.local_addrs()[0],
        over: AtomicBool::new(false),
        published: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let clients = [
            scope.spawn(|| load.by_udp("pair.corp.example")),
            scope.spawn(|| load.by_udp("www.corp.example")),
            scope.spawn(|| load.by_tcp("www.corp.example")),
        ];
        for round in 1..=SWAPS {
            write(&site, round);
            let report = sync.cycle(Trigger::Routine);
            assert!(report.changed && report.held_back == 0, "{report:?}");
            load.published.store(round, Ordering::SeqCst);
            // Every generation is asked for, however fast it was made.
            let asked = load.answered.load(Ordering::SeqCst);
            while load.answered.load(Ordering::SeqCst) < asked + 4
                && !clients.iter().any(std::thread::ScopedJoinHandle::is_finished)
            {
                std::thread::yield_now();
            }
        }
        load.over.store(true, Ordering::SeqCst);
    });
    assert_eq!(publisher.current().generation(), SWAPS + 1);
    assert!(load.answered.load(Ordering::SeqCst) >= 4 * SWAPS);
    running.stop();
}
