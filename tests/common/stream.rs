//! Reading what a DNS server sends over a stream.

use std::io::Read;
use std::net::TcpStream;

/// The next response.
pub fn next(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("a length");
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).expect("a whole message");
    message
}

/// The id of the next response.
pub fn next_id(stream: &mut TcpStream) -> u16 {
    let message = next(stream);
    u16::from_be_bytes([message[0], message[1]])
}
