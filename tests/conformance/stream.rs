//! What RFCs demand of streams (RFC 1035 section 4.2.2, 7766, 9210), which no
//! single question shows: cut, collected, half open, many.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;

use crate::ask::ask;
use crate::carrier::{connect, framed, next};
use crate::expect::Got;
use crate::reply::read;
use crate::world::World;

/// A case: what it does, and where that is demanded.
pub(crate) struct Case {
    rfc: &'static str,
    section: &'static str,
    name: &'static str,
    /// What the server must have.
    pub(crate) needs: &'static [&'static str],
    pub(crate) run: fn(&World) -> Result<(), String>,
}

impl Case {
    pub(crate) fn title(&self) -> String {
        format!("RFC {} section {}: {}", self.rfc, self.section, self.name)
    }
}

const fn case(
    rfc: &'static str,
    section: &'static str,
    name: &'static str,
    needs: &'static [&'static str],
    run: fn(&World) -> Result<(), String>,
) -> Case {
    Case { rfc, section, name, needs, run }
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    case("1035", "4.2.2", "a query in one segment with its length", &[], whole),
    case("7766", "8", "a query that comes byte by byte", &[], byte_by_byte),
    case("7766", "8", "a length in a segment of its own", &[], length_apart),
    case("7766", "6.2.1.1", "a hundred queries sent at once", &[], pipelined),
    case("7766", "6.2.1", "one query after another on a connection", &[], in_turn),
    case("7766", "7", "answers in the order in which they are ready", &["both"], out_of_order),
    case(
        "7766",
        "7",
        "answers with the ids of their questions, many in flight",
        &["foreign"],
        many_in_flight,
    ),
    case("7766", "6.2.4", "a client that closes its sending side gets its answers", &[], half_closed),
    case("7766", "8", "a message of no length does no harm", &[], zero_length),
    case("7766", "8", "a message shorter than a header does no harm", &[], short_length),
    case("7766", "6.2.4", "a message that is never finished does no harm", &[], unfinished),
    case("7766", "6.2.4", "a connection that is torn off does no harm", &[], torn_off),
    case("7766", "5", "as much as 60,000 bytes in one query are read", &[], largest),
    case("9210", "4.2", "a thousand connections are held and answered", &[], thousand),
];

/// The server, for whom it is asked.
fn server(world: &World) -> SocketAddr {
    world.address(name(world))
}

/// A name that the server answers with an address.
fn name(world: &World) -> &'static str {
    if world.own.is_some() { "www.corp.example" } else { "stream.a.foreign.example" }
}

fn query(world: &World, id: u16) -> Vec<u8> {
    framed(&ask(&format!("{} A", name(world)), id, &[]).bytes)
}

fn io<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// The id of the next answer, which must be one with an address.
fn answered(stream: &mut TcpStream) -> Result<u16, String> {
    match next(stream) {
        Got::Reply(bytes) => {
            let reply = read(&bytes)?;
            if reply.answer.is_empty() || reply.rcode() != 0 {
                return Err(reply.short());
            }
            Ok(reply.id)
        }
        Got::Nothing => Err("no answer".to_owned()),
        Got::Closed => Err("closed".to_owned()),
    }
}

fn expect_id(stream: &mut TcpStream, id: u16) -> Result<(), String> {
    let found = answered(stream)?;
    if found == id { Ok(()) } else { Err(format!("id {found} for {id}")) }
}

fn whole(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    io(stream.write_all(&query(world, 1)))?;
    expect_id(&mut stream, 1)
}

fn byte_by_byte(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    for byte in query(world, 2) {
        io(stream.write_all(&[byte]))?;
    }
    expect_id(&mut stream, 2)
}

fn length_apart(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    let query = query(world, 3);
    for part in [&query[..1], &query[1..2], &query[2..14], &query[14..]] {
        io(stream.write_all(part))?;
        std::thread::yield_now();
    }
    expect_id(&mut stream, 3)
}

fn pipelined(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    let all: Vec<u8> = (0..100).flat_map(|id| query(world, id)).collect();
    io(stream.write_all(&all))?;
    let mut ids = (0..100).map(|_| answered(&mut stream)).collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    if ids == (0..100).collect::<Vec<_>>() { Ok(()) } else { Err("other ids".to_owned()) }
}

fn in_turn(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    for id in 0..20 {
        io(stream.write_all(&query(world, id)))?;
        expect_id(&mut stream, id)?;
    }
    Ok(())
}

fn out_of_order(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    let slow = framed(&ask("order.silent.foreign.example A", 1, &[]).bytes);
    io(stream.write_all(&[slow, query(world, 2)].concat()))?;
    expect_id(&mut stream, 2)
}

fn many_in_flight(world: &World) -> Result<(), String> {
    let mut stream = connect(world.address("x.foreign.example"));
    let question = |id: u16| framed(&ask(&format!("flight{id}.a.foreign.example A"), id, &[]).bytes);
    let all: Vec<u8> = (0..40).flat_map(question).collect();
    io(stream.write_all(&all))?;
    for _ in 0..40 {
        let Got::Reply(bytes) = next(&mut stream) else { return Err("no answer".to_owned()) };
        let reply = read(&bytes)?;
        let owner = reply.answer.first().map(|record| record.owner.clone()).unwrap_or_default();
        if owner != format!("flight{}.a.foreign.example.", reply.id) {
            return Err(format!("{owner} for id {}", reply.id));
        }
    }
    Ok(())
}

fn half_closed(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    io(stream.write_all(&[query(world, 5), query(world, 6)].concat()))?;
    io(stream.shutdown(Shutdown::Write))?;
    let mut ids = [answered(&mut stream)?, answered(&mut stream)?];
    ids.sort_unstable();
    if ids != [5, 6] {
        return Err(format!("{ids:?}"));
    }
    match next(&mut stream) {
        Got::Closed => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Sends what is no message; the connection may end, and nothing else may.
fn harmless(world: &World, bytes: &[u8]) -> Result<(), String> {
    let mut other = connect(server(world));
    let mut stream = connect(server(world));
    io(stream.write_all(bytes))?;
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest);
    if !rest.is_empty() {
        return Err(format!("{} bytes of answer", rest.len()));
    }
    io(other.write_all(&query(world, 7)))?;
    expect_id(&mut other, 7)?;
    whole(world)
}

fn zero_length(world: &World) -> Result<(), String> {
    harmless(world, &[0, 0])
}

fn short_length(world: &World) -> Result<(), String> {
    harmless(world, &[0, 5, 1, 2, 3, 4, 5])
}

fn unfinished(world: &World) -> Result<(), String> {
    let query = query(world, 8);
    harmless(world, &query[..query.len() - 1])
}

fn torn_off(world: &World) -> Result<(), String> {
    let stream = connect(server(world));
    let socket = socket2::SockRef::from(&stream);
    // Closing sends a reset instead of what is left.
    io(socket.set_linger(Some(std::time::Duration::ZERO)))?;
    io((&stream).write_all(&query(world, 9)))?;
    drop(stream);
    whole(world)
}

fn largest(world: &World) -> Result<(), String> {
    let mut stream = connect(server(world));
    // Padding as a client may add it (RFC 7830).
    let zeros = "00".repeat(60_000);
    let query = ask(&format!("{} A option=12:{zeros}", name(world)), 10, &[]);
    io(stream.write_all(&framed(&query.bytes)))?;
    expect_id(&mut stream, 10)
}

fn thousand(world: &World) -> Result<(), String> {
    const MANY: u16 = 1000;
    if !may_open(2500) {
        return Ok(());
    }
    let mut streams: Vec<TcpStream> = Vec::new();
    for id in 0..MANY {
        let mut stream = connect(server(world));
        io(stream.write_all(&query(world, id)))?;
        expect_id(&mut stream, id).map_err(|why| format!("connection {id}: {why}"))?;
        streams.push(stream);
    }
    for (id, stream) in (0..MANY).zip(&mut streams) {
        io(stream.write_all(&query(world, id)))?;
        expect_id(stream, id).map_err(|why| format!("connection {id}, again: {why}"))?;
    }
    Ok(())
}

/// Whether this process may have so many descriptors, which it asks for.
fn may_open(most: u64) -> bool {
    let process = std::process::id();
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let now: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(1 << 20);
    let arguments = ["--pid".to_owned(), process.to_string(), format!("--nofile={most}:")];
    let may = now >= most || Command::new("prlimit").args(arguments).status().is_ok_and(|s| s.success());
    if !may {
        eprintln!("SKIPPED: prlimit is missing or must not set {most} descriptors");
    }
    may
}
