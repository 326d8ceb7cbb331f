//! A panic ends one connection; threads share a listener.

use std::io::{Read, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;
use crate::config::Config;
use crate::forward::Settings;
use crate::metrics::queries::QueryMetrics;
use crate::metrics::{Export, Exporter};
use crate::serve::access::Policy;
use crate::serve::gate::Room;
use crate::snapshot::Snapshot;
use crate::snapshot::model::{AnswerOptions, RecordSet};

const PATIENCE: Duration = Duration::from_secs(60);

/// What its threads share, without records; nothing here is forwarded.
fn service(runtime: &tokio::runtime::Runtime) -> Arc<Service> {
    let text = "[forward]\ndefault = \"none\"\n\
                [[upstreams]]\nname = \"none\"\naddresses = [\"127.0.0.1:9\"]\n";
    let config = Config::parse(text, "test.toml", Path::new("/")).unwrap();
    let (suffixes, special) = (Vec::new(), Vec::new());
    let options = AnswerOptions { flat: false, forward_own_missing: false, suffixes, special };
    let publisher = Publisher::new(Snapshot::build(&RecordSet::default(), &options, 1));
    let settings = Settings::new(&config, Vec::new());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
    Arc::new(Service {
        limits: Limits::new(&config.tcp),
        resolver,
        publisher,
        policies: Policies::new(Policy::new(&config.server)),
        pending: Pending::default(),
        gate: Gate::new(
            Room { total: 1000, per_client: 1000, prefix_bits: (32, 128) },
            QueryMetrics::new(0).0,
        ),
        accepting: AtomicUsize::new(0),
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn listener() -> Arc<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    Arc::new(listener)
}

fn connect(listener: &TcpListener) -> TcpStream {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Asks what is answered at once, by FORMERR: a header that promises a question.
fn ask(client: &mut TcpStream, id: u8) {
    client.write_all(&[0, 12, 0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
}

/// The id of the next answer.
fn answered(client: &mut TcpStream) -> u8 {
    let mut answer = [0; 14];
    client.read_exact(&mut answer).unwrap();
    assert_eq!((answer[1], answer[5] & 0xf), (12, 1), "{answer:?}");
    answer[3]
}

fn metric(metrics: &QueryMetrics, name: &str) -> u64 {
    let mut exporter = Exporter::default();
    metrics.export(&mut exporter);
    let text = exporter.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

#[test]
fn a_panic_ends_its_connection_and_no_other() {
    let (runtime, listener) = (runtime(), listener());
    let (metrics, mut locals) = QueryMetrics::new(1);
    let (stop, drain) = (Stop::new().unwrap(), Stop::new().unwrap());
    let service = service(&runtime);
    let mut worker =
        TcpWorker::new(&[(Arc::clone(&listener), None)], service, locals.remove(0), Arc::clone(&stop), drain)
            .unwrap();
    let (mut unlucky, mut other) = (connect(&listener), connect(&listener));
    let since = Instant::now();
    while worker.connections.tokens().len() < 2 {
        worker.accept(0);
        assert!(since.elapsed() < PATIENCE, "nobody comes");
    }
    let [first, second] = worker.connections.tokens()[..] else { panic!("two connections") };
    let panics = |_: &mut Connection, common: &mut Common, _: &mut [u8]| {
        common.output.place(&[7; 20]);
        common.output.keep(20);
        panic!("as a defect would, with an answer not yet written");
    };
    let pass = |worker: &mut TcpWorker| {
        // As a pass does, which then looks at each of them.
        worker.new.clear();
        worker.turn(first, panics);
    };
    assert!(!worker.survives(pass));
    assert_eq!(worker.connections.tokens(), [second]);
    assert_eq!(unlucky.read(&mut [0; 1]).unwrap(), 0, "closed");
    assert!(worker.survives(|_| {}));
    let running = std::thread::spawn(move || worker.run());
    ask(&mut other, 9);
    assert_eq!(answered(&mut other), 9, "what the other had kept is gone");
    let mut third = connect(&listener);
    ask(&mut third, 3);
    assert_eq!(answered(&mut third), 3);
    stop.ask();
    running.join().unwrap();
    assert_eq!(metric(&metrics, "hubdns_worker_panics_total"), 1);
    assert_eq!(metric(&metrics, "hubdns_tcp_connections_closed_total{reason=\"error\"}"), 1);
}

#[test]
fn answers_reach_a_slow_client_whole_however_little_goes_out_at_once() {
    const QUERIES: u16 = 4_000;
    let (runtime, listener) = (runtime(), listener());
    let (metrics, mut locals) = QueryMetrics::new(1);
    let (stop, drain) = (Stop::new().unwrap(), Stop::new().unwrap());
    let service = service(&runtime);
    let mut worker = TcpWorker::new(&[], service, locals.remove(0), Arc::clone(&stop), drain).unwrap();
    // As small as they get: a write takes a part of the answers, again and again. The client's from
    // the beginning, since the window that it offers first is never too much for the kernel later.
    let address = listener.local_addr().unwrap();
    let client = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let client = client.unwrap();
    client.set_recv_buffer_size(1).unwrap();
    client.connect(&address.into()).unwrap();
    let mut client = TcpStream::from(client);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (stream, peer) = socket::accept(&listener).unwrap();
    socket2::SockRef::from(&stream).set_send_buffer_size(1).unwrap();
    let queries: Vec<u8> = (0..QUERIES)
        .flat_map(|id| {
            let [high, low] = id.to_be_bytes();
            [0, 12, high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        })
        .collect();
    let mut asking = client.try_clone().unwrap();
    let asking = std::thread::spawn(move || asking.write_all(&queries).unwrap());
    worker.admit(0, stream, peer);
    let running = std::thread::spawn(move || worker.run());
    for id in 0..QUERIES {
        let mut answer = [0; 14];
        client.read_exact(&mut answer).unwrap();
        assert_eq!((answer[1], u16::from_be_bytes([answer[2], answer[3]])), (12, id));
    }
    asking.join().unwrap();
    stop.ask();
    running.join().unwrap();
    assert_eq!(metric(&metrics, "hubdns_worker_panics_total"), 0);
}

#[test]
fn threads_share_a_listener() {
    const WAVE: usize = 32;
    let (runtime, listener) = (runtime(), listener());
    let service = service(&runtime);
    let (stop, drain) = (Stop::new().unwrap(), Stop::new().unwrap());
    // Counters for each, so that what each did can be told.
    let threads: Vec<(Arc<QueryMetrics>, JoinHandle<()>)> = (0..2)
        .map(|_| {
            let (metrics, mut locals) = QueryMetrics::new(1);
            let (service, stop, drain) = (Arc::clone(&service), Arc::clone(&stop), Arc::clone(&drain));
            let worker =
                TcpWorker::new(&[(Arc::clone(&listener), None)], service, locals.remove(0), stop, drain);
            let worker = worker.unwrap();
            (metrics, std::thread::spawn(move || worker.run()))
        })
        .collect();
    let accepted = || -> Vec<u64> {
        let name = "hubdns_tcp_connections_accepted_total";
        threads.iter().map(|(metrics, _)| metric(metrics, name)).collect()
    };
    let (mut made, since) = (0, Instant::now());
    while accepted().contains(&0) {
        assert!(since.elapsed() < PATIENCE, "one thread does all: {:?} of {made}", accepted());
        let mut clients: Vec<TcpStream> = (0..WAVE).map(|_| connect(&listener)).collect();
        for client in &mut clients {
            ask(client, 1);
        }
        for client in &mut clients {
            assert_eq!(answered(client), 1);
        }
        made += WAVE as u64;
    }
    assert_eq!(accepted().iter().sum::<u64>(), made, "each by one of them");
    stop.ask();
    for (_, thread) in threads {
        thread.join().unwrap();
    }
}
