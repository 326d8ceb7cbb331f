//! A hit allocates nothing: a million of them between the system calls, and
//! as many as a moment allows through real sockets.
//!
//! Only the thread between the calls and the packet workers are watched: the
//! test harness and the runtimes may allocate as they like.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::estate::{name, options, query, record_set};
use common::load::bursts;
use common::serving::{ESTATE, Serving, closed, config};
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
use hubdns::socket::{BATCH_LEN, Batch, UdpSocket};
use hubdns::wire::message::Message;
use hubdns::wire::{Class, FoldedName, Rtype};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Threads whose allocations count: those that asked for it, and packet workers.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Set while an allocation is looked at, since looking may allocate.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's allocations count.
fn is_watched() -> bool {
    if WATCHED.try_with(Cell::get).unwrap_or(false) {
        return true;
    }
    if LOOKING.try_with(|looking| looking.replace(true)).unwrap_or(true) {
        return false;
    }
    let worker = std::thread::current().name().is_some_and(|name| name.starts_with("udp-"));
    LOOKING.set(false);
    worker
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written without; it only counts")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) && is_watched() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of watched threads while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    work();
    COUNTING.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

#[test]
fn hits_allocate_nothing() {
    WATCHED.set(true);
    assert!(allocations(|| drop(std::hint::black_box(Box::new(7)))) > 0, "the counter counts");
    between_the_system_calls();
    through_sockets();
}

fn between_the_system_calls() {
    let mut config = config(&["127.0.0.1:0"], closed());
    config.server.edns.nsid = "server-1".into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let publisher = Publisher::new(Snapshot::build(&record_set(ESTATE), &options(), 1));
    let settings = Settings::new(&config, Vec::new());
    let resolver = Resolver::start(&settings, Arc::clone(&publisher), runtime.handle().clone()).unwrap();
    keep(&resolver, "www.example.org");
    let policies = Policies::new(Policy::new(&config.server));
    let (metrics, mut locals) = QueryMetrics::new(1);
    let local = locals.remove(0);
    let mut handler =
        Handler::new(resolver, &publisher, &policies, local, metrics.shared(), Pending::default());
    let socket = Arc::new(UdpSocket::bind(config.server.listen[0], false).unwrap());
    let peer = "127.0.0.1:4000".parse().unwrap();
    // Alias, plain hit, NODATA, EDNS, responses from the cache, options, and what is rejected.
    let queries = [
        query("contoso.azurecr.io", Rtype::A, 0x0100, None),
        query("Contoso.PrivateLink.azurecr.io", Rtype::A, 0x0100, Some(1232)),
        query("contoso.azurecr.io", Rtype::AAAA, 0, Some(4096)),
        query("www.Example.org", Rtype::A, 0x0100, None),
        query("www.example.org", Rtype::A, 0x0100, Some(1232)),
        with_options(query("contoso.azurecr.io", Rtype::A, 0x0100, Some(1232))),
        with_options(query("www.example.org", Rtype::A, 0x0100, Some(1232))),
        query("contoso.azurecr.io", Rtype::A, 0x2000, None),
    ];
    let mut batch = Batch::new(BATCH_LEN);
    let (mut hits, mut messages, mut replies) = (0, 0, 0);
    let counted = allocations(|| {
        while hits < 1_000_000 {
            batch.reset();
            for query in queries.iter().cycle().take(BATCH_LEN) {
                assert!(batch.place(query, peer));
            }
            handler.batch(resolve::now(), &socket, &mut batch);
            // The last of each eight is rejected.
            hits += batch.len() / 8 * 7;
            messages += batch.len();
            replies += batch.queued();
        }
    });
    assert_eq!(replies, messages, "every message got a reply");
    assert_eq!(counted, 0, "allocations for {hits} hits among {messages} messages");
}

/// The query with a client cookie and the question for the server's identifier in its OPT.
fn with_options(mut query: Vec<u8>) -> Vec<u8> {
    let options = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 0, 0];
    let len = query.len();
    query[len - 1] = options.len() as u8;
    query.extend_from_slice(&options);
    query
}

/// Puts a response for `qname` into the cache, as of now.
fn keep(resolver: &Resolver, qname: &str) {
    let owner = name(qname);
    let asked = Asked { name: &owner, qtype: Rtype::A, qclass: Class::IN };
    let bytes = [
        &[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0],
        owner.as_wire(),
        &[0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1],
    ];
    let reply = reply::accept(&bytes.concat(), &asked).expect("a response");
    let chain = Chain::walk(&Message::parse(&reply.bytes).expect("a message"));
    let forwarder = resolver.forwarder();
    let tables = forwarder.tables().load();
    let now = resolve::now();
    let entry = Entry::new(reply, chain, &tables.bounds, now, Checked { instance: 0, cut: None });
    let folded = FoldedName::from(&owner);
    let partition = tables.rules.find(&folded).expect("a rule").partition;
    let key = KeyRef::new(partition, &folded, Rtype::A, Class::IN, 0);
    assert!(forwarder.cache().insert(&key, &entry.kept(), now));
}

fn through_sockets() {
    // The load allocates, its thread no longer counts; the worker's name does.
    WATCHED.set(false);
    let server = Serving::on("127.0.0.1:0");
    let query = query("contoso.azurecr.io", Rtype::A, 0x0100, Some(1232));
    // The first packets warm up: the worker makes its batch.
    assert_eq!(bursts(server.address(), &query, 100, 10, 1).answered, 100);
    let worker = std::thread::Builder::new().name("udp-test".into());
    let counted =
        allocations(|| worker.spawn(|| drop(std::hint::black_box(Box::new(7)))).unwrap().join().unwrap());
    assert!(counted > 0, "a thread named like a worker counts");
    let mut answered = 0;
    let counted = allocations(|| answered = bursts(server.address(), &query, 50_000, 50, 4).answered);
    assert_eq!(answered, 50_000);
    assert_eq!(counted, 0, "allocations of the server for {answered} packets");
}
