//! Whether an upstream hands on DNSSEC signatures. A validating resolver in
//! front of hubdns gets SERVFAIL for every signed name when it does not.

use std::net::SocketAddr;
use std::time::Duration;

use super::dns::{Answer, AskError, Question, Transport, ask};
use crate::wire::{Name, Rcode, Rtype};

/// The question that tells: the root's SOA with DO set, the one name that is
/// signed for everybody and that every resolver has at hand.
pub fn question() -> Question {
    let mut question = Question::new(Name::root(), Rtype::SOA);
    question.dnssec_ok = true;
    question
}

/// Asks `upstream` over UDP, and by TCP for what that cuts off: the signature
/// may be what did not fit.
///
/// # Errors
/// There is no response that can be read.
pub async fn ask_root(upstream: SocketAddr, timeout: Duration) -> Result<Answer, AskError> {
    match ask(upstream, &question(), Transport::Udp, timeout).await {
        Ok(answer) if answer.is_truncated() => ask(upstream, &question(), Transport::Tcp, timeout).await,
        other => other,
    }
}

/// What the answer to that [`question`] tells: `Some(false)` if it comes
/// without the signature; `None` if it is none.
pub fn judge(answer: &Answer) -> Option<bool> {
    let has = |rtype| answer.answer.iter().any(|rr| rr.rtype == rtype);
    (answer.rcode == Rcode::NOERROR && has(Rtype::SOA)).then(|| has(Rtype::RRSIG))
}
