//! The response cache keeps to its bound whatever is asked: counted by the
//! allocator, not by what the cache believes of itself. What the process then
//! takes of memory is measured by `benches/measure/cache_memory.py`.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::estate::name;
use hubdns::forward::cache::{KeyRef, ResponseCache};
use hubdns::forward::chain::Chain;
use hubdns::forward::entry::{Checked, Entry, TtlBounds};
use hubdns::forward::reply::{Asked, UpstreamReply};
use hubdns::wire::{Class, FoldedName, Rcode, Rtype};

thread_local! {
    /// What this thread has allocated and not freed, and the most of it so far.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn count(bytes: i64) {
    // A thread that ends has no cells any more, and nothing to count.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(live.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; it only counts")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BOUNDS: TtlBounds = TtlBounds { min: 0, max: 86_400, max_negative: 3600, servfail: 5 };

/// Numbers without a pattern, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A cache that is asked and filled as by an upstream's responses.
struct Load {
    cache: ResponseCache,
    numbers: Numbers,
    now: u64,
}

impl Load {
    fn new(max_bytes: u64) -> Self {
        Self { cache: ResponseCache::new(max_bytes), numbers: Numbers(0x9e37_79b9_7f4a_7c15), now: 1000 }
    }

    /// Looks `qname` up, and keeps a response of 60 to 1,200 bytes for it if there is none.
    fn ask(&mut self, qname: &str) {
        self.now += 1;
        let owner = name(qname);
        let qtypes = [Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype(65)];
        // By the name, so that it is the same when that comes again.
        let qtype = qtypes[qname.len() % qtypes.len()];
        let folded = FoldedName::from(&owner);
        let key = KeyRef::new(1, &folded, qtype, Class::IN, 0);
        // One of ten that are there is renewed, mostly with another length.
        if self.cache.get(&key, self.now).is_some() && self.numbers.below(10) > 0 {
            return;
        }
        let (denied, len) = (self.numbers.below(5) == 0, self.numbers.below(1140) as usize);
        let asked = Asked { name: &owner, qtype, qclass: Class::IN };
        let mut reply = UpstreamReply::bare(&asked, if denied { Rcode::NXDOMAIN } else { Rcode::NOERROR });
        if denied {
            // An SOA of the root's.
            reply.bytes[9] = 1;
            reply.bytes.extend_from_slice(&[0, 0, 6, 0, 1, 0, 0, 14, 16, 0, 22, 0, 0]);
            reply.bytes.extend_from_slice(&[0, 0, 14, 16].repeat(5));
        } else {
            reply.bytes[7] = 1;
            let [high, low] = (len as u16).to_be_bytes();
            let [type_high, type_low] = qtype.0.to_be_bytes();
            reply.bytes.extend_from_slice(&[0xc0, 12, type_high, type_low, 0, 1, 0, 0, 14, 16, high, low]);
            reply.bytes.extend(std::iter::repeat_n(7, len));
        }
        let chain = Chain { answered: !denied, ..Chain::default() };
        let entry = Entry::new(reply, chain, &BOUNDS, self.now, Checked { instance: 1, cut: None });
        self.cache.insert(&key, &entry.kept(), self.now);
    }

    /// What is allocated beyond `before` is within the bound and what the cache knows of.
    fn check(&self, before: i64, when: &str) {
        let (live, most) = (LIVE.get() - before, MOST.get() - before);
        let (max, counted) = (self.cache.max_bytes(), self.cache.usage().bytes);
        let (max, counted) = (signed(max as usize), signed(counted as usize));
        assert!(most <= max / 100 * 110, "{when}: {most} bytes at most, of {max}");
        assert!((live - counted).abs() <= max / 100, "{when}: {live} bytes, counted as {counted}");
    }
}

/// Fills a cache several times over with new names, then with hot and new ones.
fn fill(max_bytes: u64) {
    let before = LIVE.get();
    MOST.set(before);
    let mut load = Load::new(max_bytes);
    let several = max_bytes * 3 / 600;
    for n in 0..several {
        load.ask(&format!("new{n}.{}example", "x.".repeat(n as usize % 9)));
        if n % 512 == 0 {
            load.check(before, "new names");
        }
    }
    let usage = load.cache.usage();
    assert!(usage.bytes > max_bytes / 10 * 8, "{} of {max_bytes} are used", usage.bytes);
    assert!(usage.evicted > usage.entries, "filled more than once");
    for n in 0..several / 2 {
        let hot = load.numbers.below(several / 20);
        load.ask(&format!("hot{hot}.example"));
        load.ask(&format!("later{n}.example"));
        if n % 512 == 0 {
            load.check(before, "hot and new names");
        }
    }
    load.cache.clear();
    load.check(before, "flushed");
    load.cache.set_max_bytes(max_bytes / 2);
    MOST.set(LIVE.get());
    for n in 0..several / 3 {
        load.ask(&format!("again{n}.example"));
    }
    load.check(before, "half the bound");
    drop(load);
    assert_eq!(LIVE.get(), before, "all of it is given back");
}

#[test]
fn what_is_allocated_is_what_is_counted_and_within_the_bound() {
    // Four shards, and all of them.
    for max_bytes in [1 << 20, 16 << 20] {
        fill(max_bytes);
    }
}
