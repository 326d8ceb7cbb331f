//! Any bytes before a query: reading a PROXY header never panics, says nothing
//! of what follows it, and is sure of its length.
#![no_main]

use hubdns::serve::proxy::{MAX_HEADER, Proxied, SIGNATURE, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let signed = [&SIGNATURE[..], bytes].concat();
    for bytes in [bytes, &signed] {
        match read(bytes) {
            Proxied::Header { len, .. } => {
                assert!(len <= bytes.len() && len <= MAX_HEADER);
                assert_eq!(read(&bytes[..len]), read(bytes));
                assert_eq!(read(&bytes[..len - 1]), Proxied::Partial);
            }
            Proxied::None => assert!(!SIGNATURE.starts_with(&bytes[..bytes.len().min(SIGNATURE.len())])),
            Proxied::Partial | Proxied::Malformed => {}
        }
    }
});
