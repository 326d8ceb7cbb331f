//! Upstreams, and others in their name, that lie: what they send is counted by
//! kind, the wait goes on, and nothing of it is kept.

use super::replay::Replay;
use super::upstream::Asked;
use crate::metrics::forward::Mismatch;

const WWW: &str = "www.example A";
const GOOD: &str = "NOERROR | www.example 300 A 192.0.2.1";
const FORGED: &str = "NOERROR | www.example 300 A 203.0.113.66";

/// The forged answer with one byte exclusive-or'ed.
fn flipped(asked: &Asked, at: usize, bits: u8) -> Vec<u8> {
    let mut bytes = asked.reply(FORGED);
    bytes[at] ^= bits;
    bytes
}

/// A response of one answer that follows the question as it stands.
fn with_answer(asked: &Asked, record: &[u8]) -> Vec<u8> {
    let mut bytes = asked.reply("NOERROR");
    bytes.truncate(29);
    (bytes[7], bytes[11]) = (1, 0);
    bytes.extend_from_slice(record);
    bytes
}

/// Everything that is no response to `www.example A`. Its question ends at 29:
/// the name from 12 on, type at 25, class at 27; its answer is 27 bytes.
fn lies(asked: &Asked) -> Vec<(Mismatch, &'static str, Vec<u8>)> {
    let forged = asked.reply(FORGED);
    let id = [asked.bytes[0], asked.bytes[1]];
    let garbage = |seed: u8| {
        let bytes = (0..200u8).map(|at| at.wrapping_mul(seed).rotate_left(3) ^ seed);
        [id[0], id[1], 0x81].into_iter().chain(bytes).collect()
    };
    vec![
        (Mismatch::Id, "another id", flipped(asked, 0, 0x55)),
        (Mismatch::Question, "another name", flipped(asked, 14, 1)),
        (Mismatch::Question, "another type", flipped(asked, 26, 0x1d)),
        (Mismatch::Question, "another class", flipped(asked, 28, 2)),
        (Mismatch::Question, "two questions", flipped(asked, 5, 3)),
        (Mismatch::Question, "no question", flipped(asked, 5, 1)),
        (Mismatch::Question, "a bare header", [&forged[..5], &[0; 7][..]].concat()),
        (Mismatch::Question, "garbage", garbage(7)),
        (Mismatch::Question, "more garbage", garbage(201)),
        (Mismatch::NotResponse, "a query", flipped(asked, 2, 0x80)),
        (Mismatch::NotResponse, "our own query", asked.bytes.clone()),
        (Mismatch::NotResponse, "an update", flipped(asked, 2, 0x28)),
        (Mismatch::Short, "nothing", Vec::new()),
        (Mismatch::Short, "half a header", forged[..11].to_vec()),
        (Mismatch::Malformed, "too many answers", flipped(asked, 7, 3)),
        (Mismatch::Malformed, "very many answers", flipped(asked, 6, 0xff)),
        (Mismatch::Malformed, "too many others", flipped(asked, 11, 3)),
        (Mismatch::Malformed, "a record cut off", forged[..50].to_vec()),
        (Mismatch::Malformed, "RDATA beyond the end", flipped(asked, 50, 0xff)),
        (Mismatch::Malformed, "an address of another length", flipped(asked, 51, 1)),
        (
            Mismatch::Malformed,
            "an owner that points at itself",
            with_answer(asked, &[0xc0, 29, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 203, 0, 113, 66]),
        ),
        (
            Mismatch::Malformed,
            "an owner that points ahead",
            with_answer(asked, &[0xc0, 41, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 0, 0, 0, 0]),
        ),
        (
            Mismatch::Malformed,
            "a target that points at itself",
            with_answer(asked, &[0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 44, 0, 2, 0xc0, 41]),
        ),
        (Mismatch::Oversized, "more than was asked for", [forged, vec![0; 5000]].concat()),
    ]
}

#[test]
fn each_lie_is_counted_by_its_kind_and_the_wait_goes_on() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    for (number, (kind, what, bytes)) in lies(&asked).into_iter().enumerate() {
        let before = replay.metrics().mismatches(kind);
        replay.at(20 * number as u64).send(&asked, &bytes);
        assert_eq!(replay.metrics().mismatches(kind), before + 1, "{what}");
        client.waits();
        assert_eq!((replay.in_flight(), replay.kept()), (1, 0), "{what}");
    }
    replay.at(780).answer(&asked, GOOD);
    replay.gets(&client, GOOD);
    replay.hits(WWW, GOOD);
    // Asked once, and never over TCP: the script would have seen it.
    replay.is_quiet();
}

#[test]
fn a_lie_does_not_put_off_the_resend_nor_the_clients_time() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    for ms in (0..2352).step_by(80) {
        replay.at(ms).send(&asked, &flipped(&asked, 14, 1));
    }
    assert_eq!((replay.saw(0, WWW).at, replay.metrics().mismatches(Mismatch::Question)), (800, 30));
    replay.at(2352).gets(&client, "SERVFAIL ede=22");
    replay.at(2400);
    replay.sees(0, WWW);
}

#[test]
fn another_source_is_not_heard() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.forge(&asked, &asked.reply(FORGED));
    replay.at(40).answer(&asked, GOOD);
    replay.gets(&client, GOOD);
    assert_eq!(replay.metrics().mismatches(Mismatch::Late), 0);
}

#[test]
fn a_response_at_another_port_of_ours_is_none() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    // One of 256 sockets each, picked at random.
    let elsewhere = (0..100).find_map(|number| {
        let question = format!("h{number}.example A");
        replay.ask(&question);
        Some(replay.sees(0, &question)).filter(|other| other.way != asked.way)
    });
    let elsewhere = elsewhere.expect("another port");
    let forged = Asked { way: elsewhere.way, ..asked.clone() };
    replay.send(&forged, &asked.reply(FORGED));
    client.waits();
    assert_eq!((replay.metrics().mismatches(Mismatch::Id), replay.kept()), (1, 0));
    replay.answer(&asked, GOOD);
    replay.gets(&client, GOOD);
}

/// So many answers with ids that are not that of `asked`.
fn guess(replay: &mut Replay, asked: &Asked, count: u8) {
    for guess in 1..=count {
        replay.send(asked, &flipped(asked, 1, guess));
    }
}

#[test]
fn a_burst_of_wrong_ids_moves_the_question_to_tcp() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    guess(&mut replay, &asked, 32);
    let over_tcp = replay.sees_tcp(0, WWW);
    // From here on a guess that hits counts no more: the port is closed.
    replay.at(40).send_in_vain(&asked, &asked.reply(FORGED));
    client.waits();
    assert_eq!((replay.in_flight(), replay.kept()), (1, 0));
    replay.at(1200).answer(&over_tcp, GOOD);
    replay.gets(&client, GOOD);
    replay.hits(WWW, GOOD);
}

#[test]
fn wrong_ids_now_and_then_do_not() {
    let mut replay = Replay::new(1);
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    guess(&mut replay, &asked, 31);
    replay.at(800);
    replay.sees(0, WWW);
    replay.at(1004);
    guess(&mut replay, &asked, 31);
    replay.answer(&asked, GOOD);
    replay.gets(&client, GOOD);
    assert_eq!(replay.metrics().mismatches(Mismatch::Id), 62);
}

#[test]
fn a_chain_that_goes_round_fails_and_is_not_kept() {
    let mut replay = Replay::new(1);
    for round in 1..=2 {
        let client = replay.ask(WWW);
        let asked = replay.sees(0, WWW);
        replay.answer(&asked, "NOERROR | www.example 60 CNAME b.example.; b.example 60 CNAME www.example.");
        replay.gets(&client, "SERVFAIL ede=0");
        assert_eq!((replay.metrics().mismatches(Mismatch::Loop), replay.kept()), (round, 0));
    }
}

#[test]
fn a_referral_is_not_chased_and_not_kept() {
    let mut replay = Replay::new(1);
    for _ in 0..2 {
        let client = replay.ask(WWW);
        let asked = replay.sees(0, WWW);
        replay.answer(&asked, "NOERROR | | example 900 NS ns.example. | ns.example 900 A 203.0.113.66");
        replay.gets(&client, "NOERROR | | example 900 NS ns.example.");
        assert_eq!((replay.in_flight(), replay.kept()), (0, 0));
    }
    replay.at(20_000).is_quiet();
}

#[test]
fn what_a_response_says_of_other_names_is_not_believed() {
    let mut replay = Replay::new(1);
    let bank = "bank.example 900 A 203.0.113.66";
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &format!("{GOOD}; {bank} | {bank} | {bank}"));
    replay.gets(&client, &format!("{GOOD}; {bank} | {bank}"));
    assert_eq!(replay.kept(), 1);
    let client = replay.ask("bank.example A");
    let asked = replay.sees(0, "bank.example A");
    replay.answer(&asked, "NOERROR | bank.example 900 A 192.0.2.7");
    replay.gets(&client, "NOERROR | bank.example 900 A 192.0.2.7");
}

#[test]
fn a_name_of_ours_is_never_what_an_upstream_says() {
    let mut replay = Replay::new(1);
    let ours = |ttl: u32| {
        format!(
            "contoso.azurecr.io {ttl} CNAME contoso.privatelink.azurecr.io.; contoso.privatelink.azurecr.io {ttl} A 10.0.0.5"
        )
    };
    // It leads to a registry, which an upstream answers for as long as it is not ours.
    let lie = "contoso.azurecr.io 900 A 203.0.113.66";
    replay.fetches("contoso.azurecr.io A", &format!("NOERROR | {lie}"));
    replay.hold_contoso("10.0.0.5");
    replay.hits("contoso.azurecr.io A", &format!("NOERROR | {}", ours(10)));
    let client = replay.ask(WWW);
    let asked = replay.sees(0, WWW);
    replay.answer(&asked, &format!("NOERROR | www.example 300 CNAME contoso.azurecr.io.; {lie}"));
    let spliced = |ttl: u32| format!("NOERROR | www.example {ttl} CNAME contoso.azurecr.io.; {}", ours(10));
    replay.gets(&client, &spliced(300));
    replay.at(100_000).hits(WWW, &spliced(200));
}
