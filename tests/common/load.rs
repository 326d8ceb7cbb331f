//! A UDP load generator: bursts over loopback, within a window, from several
//! sockets.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// How long a burst's answers are awaited before they count as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A UDP socket on the loopback address of that family, connected to `server`.
pub fn bound_client(server: SocketAddr) -> UdpSocket {
    let local = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(4 * PATIENCE)).unwrap();
    socket
}

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Queries sent.
    pub sent: usize,
    /// Responses received with the id of a query of their burst.
    pub answered: usize,
}

/// Sends `total` queries to `server`, `burst` at a time from each of
/// `sockets` sockets, and waits for the answers of each round.
pub fn bursts(server: SocketAddr, query: &[u8], total: usize, burst: usize, sockets: usize) -> Report {
    let clients: Vec<UdpSocket> = (0..sockets).map(|_| bound_client(server)).collect();
    for client in &clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut report = Report { sent: 0, answered: 0 };
    let mut buf = [0; 4096];
    let mut message = query.to_vec();
    while report.sent < total {
        let mut outstanding = vec![0; clients.len()];
        for (client, outstanding) in clients.iter().zip(&mut outstanding) {
            for id in 0..burst.min(total - report.sent) {
                message[..2].copy_from_slice(&(id as u16).to_be_bytes());
                client.send(&message).unwrap();
                report.sent += 1;
                *outstanding += 1;
            }
        }
        for (client, outstanding) in clients.iter().zip(outstanding) {
            for _ in 0..outstanding {
                match client.recv(&mut buf) {
                    Ok(len) if len >= 12 && usize::from(u16::from_be_bytes([buf[0], buf[1]])) < burst => {
                        report.answered += 1;
                    }
                    _ => break,
                }
            }
        }
    }
    report
}
