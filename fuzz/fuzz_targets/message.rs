//! Any message of an upstream: walking it and copying its records never
//! panics, and what is built from it is whole.
#![no_main]

use hubdns::wire::message::{Message, MessageBuilder};
use hubdns::wire::{Flags, rdata};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(message) = Message::parse(bytes) else { return };
    let qname = message.qname().expect("parsed before").to_name();
    let mut builder = MessageBuilder::new(Flags(0x8180), qname.as_wire(), message.qtype(), message.qclass())
        .expect("a whole question");
    for record in message.records() {
        let _ = (message.owner(&record), message.rdata_name(&record));
        let _ = rdata::to_text(record.rtype, &bytes[record.rdata.clone()]);
        builder.push(bytes, &record, record.section, record.ttl);
    }
    assert!(Message::parse(&builder.finish()).is_some());
});
