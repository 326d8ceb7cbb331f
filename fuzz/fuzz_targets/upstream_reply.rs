//! Any bytes from an upstream: accepted only if they answer the question that
//! was asked, and what is accepted is whole and has no OPT.
#![no_main]

use std::sync::LazyLock;

use hubdns::forward::kept::Marks;
use hubdns::forward::read::{Scratch, read};
use hubdns::forward::reply::{Asked, UpstreamReply, accept};
use hubdns::wire::message::{Message, points_at_names};
use hubdns::wire::{Class, Flags, Name, Rtype};

static NAME: LazyLock<Name> = LazyLock::new(|| "www.example.org".parse().expect("a name"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let asked = Asked { name: &NAME, qtype: Rtype::A, qclass: Class::IN };
    // Most inputs would fail at the question, so it is put in front of every second one.
    let mut message = vec![0, 7, 0x81, 0x80, 0, 1];
    match bytes.split_first() {
        Some((counts, rest)) if counts & 1 == 1 => {
            message.extend_from_slice(&[0, counts >> 1 & 3, 0, counts >> 3 & 3, 0, counts >> 5]);
            message.extend_from_slice(NAME.as_wire());
            message.extend_from_slice(&[0, 1, 0, 1]);
            message.extend_from_slice(rest);
        }
        _ => message = bytes.to_vec(),
    }
    let Ok(reply) = accept(&message, &asked) else { return };
    let parsed = Message::parse(&reply.bytes).expect("a whole message");
    assert!(parsed.flags().has(Flags::QR));
    assert_eq!(parsed.qname().expect("a question").as_wire(), NAME.as_wire());
    assert_eq!((parsed.qtype(), parsed.qclass()), (Rtype::A, Class::IN));
    assert!(parsed.records().all(|record| record.rtype != Rtype::OPT && parsed.owner(&record).is_some()));
    assert!(points_at_names(&parsed));
    as_it_lies(&mut message, &reply);
});

/// The same from the datagram itself, as the engine reads most responses.
fn as_it_lies(message: &mut [u8], reply: &UpstreamReply) {
    let mut scratch = Scratch::default();
    let Ok(facts) = read(message, NAME.as_wire(), Rtype::A, Class::IN, &mut scratch) else { return };
    assert_eq!((facts.rcode, facts.truncated), (reply.rcode, reply.truncated));
    if facts.rewrite {
        return;
    }
    let marks = Marks::default();
    let kept = facts.kept(message, (0, 0), 0, &scratch, &marks);
    let whole = Message::parse(kept.bytes).expect("a whole message");
    assert_eq!(whole.records().count(), kept.ttls.len() / 2);
    let last = whole.records().last().map_or(whole.question_end(), |record| record.end());
    assert_eq!(last, kept.bytes.len());
}
