//! Datagrams to a listener that takes PROXY headers: the packet path with one
//! step before it, apart from it so that other listeners pay nothing for it.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::access::AccessList;
use super::super::proxy::{self, Proxied};
use super::{Code, Done, Fixed, Handler, Turn};
use crate::answer::Transport;
use crate::metrics::queries::{Dropped, ProxyHeader};
use crate::socket::{Batch, Message, UdpSocket};
use crate::wire::Query;

impl Handler {
    /// [`Handler::batch`] for a socket where the senders in `proxies` put a
    /// PROXY header before each message. What others send is a message, or
    /// nothing: a header from them is dropped.
    pub fn proxied_batch(
        &mut self,
        now: u64,
        socket: &Arc<UdpSocket>,
        proxies: &AccessList,
        batch: &mut Batch,
    ) -> usize {
        let Self { snapshot, policy, query, fixed, .. } = self;
        fixed.local.queries(Transport::Udp, batch.len());
        let (policy, snapshot, unix) = (policy.load(), snapshot.load(), Cell::new(0));
        let turn = Turn { now, socket, policy, snapshot, client: None, looks_at_client: true, unix: &unix };
        let mut forwarded = 0;
        for index in 0..batch.len() {
            let Some(message) = batch.message(index) else { continue };
            let done = fixed.proxied(turn, query, proxies, message);
            match done.code {
                Code::Hit | Code::OtherHit | Code::Other | Code::Error => batch.reply(index, done.len),
                Code::Nothing => {}
                Code::Later => forwarded += 1,
            }
        }
        if forwarded > 0 {
            fixed.resolver.ring();
        }
        forwarded
    }
}

impl Fixed {
    /// Answers one message for the client that its header names.
    fn proxied(&self, turn: Turn<'_>, query: &mut Query, proxies: &AccessList, message: Message<'_>) -> Done {
        let Message { sender, len, truncated, buffer } = message;
        if sender.is_port_zero() {
            self.local.dropped(Dropped::PortZero);
            return Done::NOTHING;
        }
        let Some(peer) = sender.ip() else { return Done::NOTHING };
        let len = len.min(buffer.len());
        let datagram = buffer.get(..len).unwrap_or_default();
        let (skip, client) = match self.header(proxies.admits(peer), peer, datagram) {
            Ok(found) => found,
            Err(what) => {
                self.local.proxy_header(what);
                self.local.dropped(Dropped::Proxy);
                return Done::NOTHING;
            }
        };
        // The message begins where the response is to begin.
        buffer.copy_within(skip..len, 0);
        let len = len - skip;
        let turn = Turn { client: Some(client), ..turn };
        if !turn.policy.allow.admits(client) {
            return self.deny(turn.policy, buffer, len, truncated);
        }
        self.unusual(&turn, query, sender, truncated, len, buffer)
    }

    /// How long the header before a message is, and who asks; why the message is dropped.
    fn header(&self, is_listed: bool, peer: IpAddr, datagram: &[u8]) -> Result<(usize, IpAddr), ProxyHeader> {
        let read = proxy::read(datagram);
        if !is_listed {
            return if read == Proxied::None { Ok((0, peer)) } else { Err(ProxyHeader::Unlisted) };
        }
        match read {
            Proxied::Header { len, client } => {
                let what = if client.is_some() { ProxyHeader::Named } else { ProxyHeader::Local };
                self.local.proxy_header(what);
                Ok((len, client.map_or(peer, |client| client.ip())))
            }
            Proxied::None => Err(ProxyHeader::Missing),
            // A datagram is whole when it comes.
            Proxied::Malformed | Proxied::Partial => Err(ProxyHeader::Malformed),
        }
    }
}
