//! Budgets and health through the engine, where more than one query or one
//! packet is concerned: seconds, late answers, shares, stand-ins, renewals,
//! connections, probes.

mod common;
#[path = "common/streams.rs"]
mod streams;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::estate::query;
use common::rig::{Rig, settings};
use common::upstream::{Act, Asked, Upstream, closed};
use hubdns::answer::Context;
use hubdns::config::{self, UpstreamBudget, UpstreamTransport, Upstreams};
use hubdns::forward::Settings;
use hubdns::forward::budget::{Class, Usage};
use hubdns::forward::health::State;
use hubdns::metrics::streams::StreamFault;
use hubdns::wire::{Rcode, Rtype};
use rustls::version::TLS13;
use streams::{Authority, Do, Got, Server, good as good_of};

fn good(asked: &Asked) -> Vec<u8> {
    asked.reply(0, &format!("{} 1000 A 192.0.2.1", asked.qname), "")
}

fn budgeted(upstream: SocketAddr, rate: Option<u32>, in_flight: Option<u32>) -> Settings {
    let mut settings = settings(&[&[upstream]]);
    settings.forward.governor.budgets = vec![UpstreamBudget { address: upstream, rate, in_flight }];
    settings
}

fn usage(rig: &Rig) -> Usage {
    let (governor, now) = rig.resolver.forwarder().governor();
    governor.budgets(0, now).swap_remove(0).usage
}

fn state(rig: &Rig, name: &str) -> State {
    let shown = rig.resolver.forwarder().governor().0.upstreams();
    shown.iter().find(|shown| shown.name == name).expect("an upstream").state
}

/// A client of its own.
fn begin_from(rig: &Rig, client: u8, qname: &str) -> common::rig::Awaited {
    let client = IpAddr::from([10, 0, 0, client]);
    rig.send_from(&query(qname, Rtype::A, 0x0100, Some(1232)), Context::INTERNAL, Some(client))
}

#[test]
fn no_second_holds_more_than_the_rate_however_much_is_asked() {
    const RATE: u32 = 100;
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let upstream = Upstream::start(move |asked| {
        seen.lock().unwrap().push(Instant::now());
        // Half of it has to be sent again.
        if asked.qname.ends_with("1.example") { Act::Drop } else { Act::send(good(asked)) }
    });
    let mut settings = budgeted(upstream.address, Some(RATE), None);
    settings.forward.resend_after = Duration::from_millis(50);
    let rig = Rig::new("", settings, |_| {});
    let (begun, mut asked) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_millis(2500) {
        for _ in 0..5 {
            asked += 1;
            drop(rig.begin(&format!("h{asked}.example"), Rtype::A));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let times = times.lock().unwrap().clone();
    // A second, less what a busy machine may hold a packet up.
    let window = Duration::from_millis(850);
    let within = |first: usize| times[first..].iter().take_while(|at| **at < times[first] + window).count();
    let fullest = (0..times.len()).map(within).max().unwrap_or(0);
    assert!(fullest <= RATE as usize, "{fullest} of {asked} in a second");
    assert!(times.len() > 3 * RATE as usize / 2, "{} in all: the rate is used", times.len());
}

#[test]
fn late_answers_hold_their_places_so_that_the_upstream_never_has_too_many() {
    const PLACES: usize = 10;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let address = socket.local_addr().unwrap();
    let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, highest) = (Arc::clone(&stop), Arc::clone(&most));
    // Answers after 20 or 100 ms: the second are sent again meanwhile.
    let upstream = std::thread::spawn(move || {
        let (mut buf, mut count, mut held) = ([0; 2048], 0u32, VecDeque::new());
        while !stopped.load(Ordering::SeqCst) {
            if let Ok((len, peer)) = socket.recv_from(&mut buf) {
                let mut reply = buf[..len].to_vec();
                // NXDOMAIN to the question and the OPT as they came.
                reply[2..4].copy_from_slice(&0x8183u16.to_be_bytes());
                count += 1;
                let delay = Duration::from_millis(if count % 3 == 0 { 100 } else { 20 });
                held.push_back((Instant::now() + delay, peer, reply));
                highest.fetch_max(held.len(), Ordering::SeqCst);
            }
            let now = Instant::now();
            held.retain(|(due, peer, reply)| {
                if *due <= now {
                    socket.send_to(reply, peer).unwrap();
                }
                *due > now
            });
        }
        count
    });
    let mut settings = budgeted(address, None, Some(PLACES as u32));
    settings.forward.resend_after = Duration::from_millis(80);
    let rig = Rig::new("", settings, |_| {});
    let mut answered = 0;
    for round in 0..40 {
        let asked: Vec<_> = (0..12).map(|n| rig.begin(&format!("h{round}-{n}.example"), Rtype::A)).collect();
        let codes = asked.into_iter().map(|one| one.get().rcode);
        answered += codes.filter(|rcode| *rcode == Rcode::NXDOMAIN).count();
    }
    stop.store(true, Ordering::SeqCst);
    let count = upstream.join().unwrap();
    let most = most.load(Ordering::SeqCst);
    assert!(most <= PLACES, "{most} at a time");
    assert!(answered > 150 && count as usize > answered, "{answered} answers to {count} queries");
    rig.until(|_| usage(&rig).in_flight == 0);
}

#[test]
fn a_noisy_client_leaves_room_for_the_others_at_saturation() {
    let upstream = Upstream::start(|asked| Act::Hold(good(asked)));
    let rig = Rig::new("", budgeted(upstream.address, None, Some(40)), |_| {});
    let noisy: Vec<_> = (0..100).map(|n| begin_from(&rig, 1, &format!("n{n}.example"))).collect();
    let decided = |usage: &Usage| {
        let counts = &usage.counts;
        counts.admitted.iter().chain(counts.refused.iter().flatten()).sum::<u64>()
    };
    rig.until(|_| decided(&usage(&rig)) == 100);
    let taken = usage(&rig).in_flight as usize;
    // Alone it has nearly all; the others find some left.
    assert!((30..40).contains(&taken), "{taken}");
    let quiet = begin_from(&rig, 2, "quiet.example");
    upstream.wait(|seen| seen.iter().any(|asked| asked.qname == "quiet.example"));
    upstream.release();
    assert_eq!(quiet.get().rcode, Rcode::NOERROR);
    let refused = noisy.into_iter().map(common::rig::Awaited::get);
    let refused = refused.filter(|answer| answer.rcode == Rcode::SERVFAIL).count();
    assert_eq!(refused, 100 - taken);
}

#[test]
fn over_budget_an_expired_answer_stands_in_at_once_and_is_asked_for_again() {
    let upstream = Upstream::start(|asked| match asked.qname.as_str() {
        "held.example" => Act::Hold(good(asked)),
        _ => Act::send(good(asked)),
    });
    let mut settings = budgeted(upstream.address, None, Some(1));
    settings.cache.max_stale = 3600;
    settings.forward.stale_after = Duration::from_secs(20);
    let rig = Rig::new("", settings, |_| {});
    assert_eq!(rig.ask("www.example", Rtype::A).rcode, Rcode::NOERROR);
    rig.pass(1100);
    let held = rig.begin("held.example", Rtype::A);
    upstream.wait(|seen| seen.len() == 2);
    let stale = rig.ask("www.example", Rtype::A);
    assert_eq!((stale.text().as_str(), stale.ede()), ("NOERROR | www.example 30 A 192.0.2.1 | ", vec![3]));
    assert_eq!(upstream.times_asked("www.example"), 1);
    upstream.release();
    assert_eq!(held.get().rcode, Rcode::NOERROR);
    // Nobody was asked, so nothing failed: the next client gets a fresh one.
    let fresh = rig.ask("www.example", Rtype::A);
    assert_eq!((fresh.ede(), upstream.times_asked("www.example")), (vec![], 2));
}

#[test]
fn renewals_draw_on_their_own_part() {
    let upstream = Upstream::start(|asked| Act::send(good(asked)));
    let mut settings = budgeted(upstream.address, Some(100), None);
    settings.cache.max_renewals = 10;
    let rig = Rig::new("", settings, |_| {});
    for _ in 0..3 {
        rig.ask("www.example", Rtype::A);
    }
    rig.pass(940);
    assert!(rig.ask("www.example", Rtype::A).at_once);
    upstream.wait(|seen| seen.len() == 2);
    let counts = usage(&rig).counts;
    assert_eq!((counts.admitted[Class::Query as usize], counts.admitted[Class::Prefetch as usize]), (1, 1));
}

/// Settings with one upstream of `transport`, and further ones over UDP.
fn over(transport: UpstreamTransport, first: config::Upstream, others: &[SocketAddr]) -> Settings {
    let mut settings = settings(&[others]);
    let others = others.iter().copied().map(config::Upstream::from);
    let servers = std::iter::once(config::Upstream { transport, ..first }).chain(others).collect();
    settings.forward.groups[0].upstreams = Upstreams::Servers(servers);
    settings
}

#[test]
fn a_question_that_moves_to_another_connection_takes_of_the_rate() {
    let hangs_up =
        |got: &Got| if got.connection == 0 { vec![Do::Close] } else { vec![Do::Send(good_of(got))] };
    for (rate, rcode) in [(1, Rcode::SERVFAIL), (1000, Rcode::NOERROR)] {
        let server = Server::tcp(hangs_up);
        let mut settings = over(UpstreamTransport::Tcp, server.address.into(), &[]);
        let budget = UpstreamBudget { address: server.address, rate: Some(rate), in_flight: None };
        settings.forward.governor.budgets = vec![budget];
        let rig = Rig::new("", settings, |_| {});
        let answer = rig.ask("www.example", Rtype::A);
        assert_eq!(answer.rcode, rcode, "{rate}");
        let sent = usize::from(rcode == Rcode::NOERROR) + 1;
        assert_eq!((server.got().len(), usage(&rig).rate as usize), (sent, sent));
        let counters = rig.resolver.forwarder().metrics().upstream(format!("tcp://{}", server.address));
        assert_eq!(counters.streams.faults(StreamFault::OverBudget), u64::from(rcode == Rcode::SERVFAIL));
        assert_eq!(usage(&rig).in_flight, 0);
    }
}

#[test]
fn an_upstream_over_a_stream_is_probed_over_a_stream() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["dns.example"], false);
    for transport in [UpstreamTransport::Tcp, UpstreamTransport::Tls] {
        let (gone, second) = (closed(), Upstream::answering("192.0.2.2"));
        let is_tls = transport == UpstreamTransport::Tls;
        let first = config::Upstream {
            name: is_tls.then(|| "dns.example".to_owned()),
            ca_file: is_tls.then(|| authority.file()),
            transport,
            ..config::Upstream::from(gone)
        };
        let name = first.to_string();
        let mut settings = over(transport, first, &[second.address]);
        settings.forward.resend_after = Duration::from_millis(400);
        let rig = Rig::new("", settings, |_| {});
        let asked = Cell::new(0);
        rig.until(|_| {
            asked.set(asked.get() + 1);
            rig.ask(&format!("h{}.example", asked.get()), Rtype::A).rcode == Rcode::NOERROR
                && state(&rig, &name) == State::Down
        });
        assert!(asked.get() < 50, "{} queries to find out", asked.get());
        let tls = is_tls.then(|| leaf.server(&["dot"], &[&TLS13]));
        let back = Server::start(tls, gone, |got| match got.asked.qtype {
            Rtype::SOA => vec![Do::Send(got.asked.reply(0, "", ""))],
            _ => vec![Do::Send(good_of(got))],
        });
        rig.until(|_| state(&rig, &name) == State::Up);
        assert!(back.got().iter().all(|got| got.asked.qname == "." && got.asked.qtype == Rtype::SOA));
        assert_eq!(rig.ask("again.example", Rtype::A).rcode, Rcode::NOERROR);
        assert_eq!(back.got().last().unwrap().asked.qname, "again.example");
    }
}

#[test]
fn silence_takes_an_upstream_down_while_its_exchanges_still_run() {
    // Exchanges last for ever here: what is known must not wait for their end.
    let silent = Upstream::start(|_| Act::Drop);
    let mut settings = settings(&[&[silent.address]]);
    settings.forward.resend_after = Duration::from_millis(50);
    settings.forward.client_deadline = Duration::from_secs(3600);
    let rig = Rig::new("", settings, |_| {});
    let waiting: Vec<_> = (0..10).map(|n| rig.begin(&format!("h{n}.example"), Rtype::A)).collect();
    let name = silent.address.to_string();
    let asked = Cell::new(0);
    rig.until(|_| {
        asked.set(asked.get() + 1);
        drop(rig.begin(&format!("x{}.example", asked.get()), Rtype::A));
        std::thread::sleep(Duration::from_millis(10));
        state(&rig, &name) == State::Down
    });
    assert!(waiting.iter().all(common::rig::Awaited::is_pending));
    silent.wait(|seen| seen.iter().any(|asked| asked.qname == "." && asked.qtype == Rtype::SOA));
}
