//! Any datagram: parsing never panics, and what is accepted is what was sent.
#![no_main]

use hubdns::wire::Query;

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| {
    if let Ok(query) = Query::parse(datagram) {
        let question = &datagram[12..query.question_end - 4];
        assert_eq!(query.qname.as_wire(), question.to_ascii_lowercase());
        assert!(query.question_end <= datagram.len());
    }
});
