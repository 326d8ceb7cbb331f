//! How packet workers wait, what their sockets are told and tell, and which
//! threads give way to them.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use common::estate::query;
use common::load::{bound_client, bursts};
use common::serving::{PATIENCE, Serving, closed, config, has_ipv6, receive};
use daemon::Daemon;
use hubdns::config::Steering;
use hubdns::metrics::Exporter;
use hubdns::serve::Server;
use hubdns::serve::access::Policies;
use hubdns::serve::udp::Handler;
use hubdns::snapshot::Snapshot;
use hubdns::socket::{Batch, Buffers, UdpSocket, allowed_cores, pin};
use hubdns::wire::Rtype;

const HELD: &str = "contoso.azurecr.io";

/// What must not move while nothing happens: the passes of the workers.
fn beats(server: &Serving) -> Vec<u64> {
    server.running().beats()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the workers have looked at their sockets and sleep.
fn settle(server: &Serving) {
    wait_until("the workers sleep", || {
        let before = beats(server);
        std::thread::sleep(Duration::from_millis(50));
        before.iter().all(|beat| *beat > 0) && before == beats(server)
    });
}

#[test]
fn idle_workers_do_nothing_whether_they_spin_or_not() {
    for spin in [Duration::ZERO, Duration::from_millis(1)] {
        let mut config = config(&["127.0.0.1:0", "127.0.0.2:0"], closed());
        config.server.workers = 2;
        config.worker.spin = spin;
        let server = Serving::start(config);
        let report = bursts(server.address(), &query(HELD, Rtype::A, 0, None), 2000, 10, 20);
        assert_eq!(report.answered, 2000);
        settle(&server);
        let before = beats(&server);
        // Longer than any beat would be apart: only time can show that nothing happens.
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(beats(&server), before, "passes without traffic, spinning for {spin:?} at most");
    }
}

#[test]
fn an_idle_worker_beats_when_it_is_asked_and_a_busy_one_is_not_asked() {
    let server = Serving::on("127.0.0.1:0");
    settle(&server);
    for _ in 0..3 {
        let before = beats(&server);
        server.running().ask_for_beat(&before);
        wait_until("it beats", || beats(&server) != before);
        settle(&server);
    }
    // One that has beaten since is left alone.
    let before = beats(&server);
    server.running().ask_for_beat(&[before[0] - 1]);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(beats(&server), before);
}

#[test]
fn a_spinning_worker_answers_on_all_its_sockets() {
    let mut config = config(&["127.0.0.1:0", "127.0.0.2:0"], closed());
    config.worker.spin = Duration::from_millis(1);
    let server = Serving::start(config);
    let query = query(HELD, Rtype::A, 0, None);
    for _ in 0..20 {
        for address in server.running().local_addrs() {
            // One at a time, so that each is awaited.
            assert_eq!(bursts(*address, &query, 20, 1, 1).answered, 20);
        }
    }
}

/// Sends without waiting until the socket must have dropped some.
fn flood(address: SocketAddr) {
    let client = bound_client(address);
    for _ in 0..1000 {
        client.send(&query(HELD, Rtype::A, 0, None)).unwrap();
    }
}

#[test]
fn what_the_kernel_drops_and_grants_is_exported() {
    let mut config = config(&["127.0.0.1:0"], closed());
    config.udp.receive_buffer = 4096;
    config.udp.send_buffer = 65_536;
    // Before there is a worker, so that nobody empties the buffer.
    let server = Serving::start_after(config, flood);
    let mut exporter = Exporter::default();
    server.running().metrics().export(&mut exporter);
    let text = exporter.encode();
    let value = |name: &str| -> f64 {
        let start = format!("hubdns_{name}{{listener=\"{}\"}} ", server.address());
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start} in {text}")).parse().unwrap()
    };
    assert!(value("socket_receive_drops_total") > 0.0, "1000 queries do not fit");
    assert!(value("socket_receive_drops_total") < 1000.0, "some do");
    let granted = value("socket_receive_buffer_bytes");
    assert!((4096.0..=16_384.0).contains(&granted), "asked for 4096, got {granted}");
    assert!(value("socket_send_buffer_bytes") >= 4096.0);
}

#[test]
fn too_small_buffers_are_known_as_such() {
    let asked = Buffers { receive: 1 << 20, send: 1 << 16 };
    let granted = |receive, send| Buffers { receive, send };
    assert!(granted(2 << 20, 2 << 16).satisfy(asked));
    assert!(!granted(425_984, 2 << 16).satisfy(asked), "net.core.rmem_max as most systems have it");
    assert!(!granted(2 << 20, 1 << 15).satisfy(asked));
}

#[test]
fn steered_queries_reach_the_worker_on_the_core_that_received_them() {
    let cores = allowed_cores();
    if cores.len() < 2 {
        eprintln!("SKIPPED: steering needs two cores, there is {}", cores.len());
        return;
    }
    let mut config = config(&["127.0.0.1:0"], closed());
    config.server.workers = 2;
    config.worker.steering = Steering::Cpu;
    let server = Serving::start(config);
    let address = server.address();
    for (worker, core) in [(0, cores[0]), (1, cores[1])] {
        settle(&server);
        let before = beats(&server);
        // Over loopback the core that sends is the one that receives.
        let sending = std::thread::spawn(move || {
            pin(core).unwrap();
            bursts(address, &query(HELD, Rtype::A, 0, None), 400, 1, 40)
        });
        assert_eq!(sending.join().unwrap().answered, 400);
        settle(&server);
        let after = beats(&server);
        assert!(after[worker] > before[worker], "worker {worker} answered: {before:?}, {after:?}");
        assert_eq!(after[1 - worker], before[1 - worker], "the other one was not woken");
    }
}

#[test]
fn steering_without_a_core_for_each_worker_is_refused() {
    let mut config = config(&["127.0.0.1:0"], closed());
    config.server.workers = allowed_cores().len() + 1;
    config.worker.steering = Steering::Cpu;
    let error = Server::bind(&config).unwrap_err().to_string();
    assert!(error.starts_with("worker.steering = \"cpu\" is not possible: "), "{error}");
}

#[test]
fn what_packet_workers_write_or_all_read_lies_in_lines_of_its_own() {
    // Written for every message or batch by one of them.
    assert_eq!((align_of::<Handler>(), align_of::<Batch>()), (128, 128));
    // Read by all, and counted by whoever takes a share: those counts lie in front.
    assert_eq!([align_of::<Snapshot>(), align_of::<Policies>(), align_of::<UdpSocket>()], [128; 3]);
}

#[test]
fn only_wildcard_sockets_get_control_data() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        if listen.starts_with('[') && !has_ipv6() {
            continue;
        }
        let socket = UdpSocket::bind(listen.parse().unwrap(), false).unwrap();
        let is_wildcard = socket.local_addr().ip().is_unspecified();
        assert_eq!(socket.reports_destination().unwrap(), is_wildcard, "{listen}");
        let loopback = if listen.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
        let mut to: SocketAddr = loopback.parse().unwrap();
        to.set_port(socket.local_addr().port());
        let client = bound_client(to);
        client.send(b"ping").unwrap();
        let mut batch = Batch::new(1);
        wait_until("it is received", || batch.receive(&socket).unwrap() == 1);
        let source = batch.message(0).unwrap().sender.source();
        assert_eq!(source.map(|source| source.address), is_wildcard.then(|| to.ip()), "{listen}");
        batch.reply(0, 4);
        assert_eq!(batch.send(&socket, |fault| panic!("{fault:?}")), 1);
        assert_eq!(receive(&client).unwrap(), b"ping");
    }
}

/// The nice value of the thread with that name of a process.
fn nice_of(process: u32, name: &str) -> Option<i32> {
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    let stats = std::fs::read_dir(tasks).unwrap().filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (start, rest) = text.rsplit_once(')')?;
        // The name may hold anything, so fields are counted behind it (proc(5): state is the third).
        (start.split_once('(')?.1 == name).then(|| rest.split_whitespace().nth(16)?.parse().ok())?
    });
    stats.max()
}

#[test]
fn control_threads_give_way_to_those_that_carry_packets() {
    let upstream = closed();
    let toml = format!(
        "[[upstreams]]\nname = \"none\"\naddresses = [\"{upstream}\"]\n[forward]\ndefault = \"none\"\n"
    );
    let daemon = Daemon::start(&toml);
    let process = daemon.process();
    // As high as this test itself runs, which need not be 0.
    let usual = nice_of(process, "hubdns").expect("a main thread");
    for name in ["udp-0", "tcp-0", "upstream", "forward"] {
        assert_eq!(nice_of(process, name), Some(usual), "{name}");
    }
    for name in ["control", "sync"] {
        assert_eq!(nice_of(process, name), Some(usual.max(10)), "{name}");
    }
}
