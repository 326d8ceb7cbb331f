//! Whether an upstream hands on DNSSEC signatures. A validating resolver in
//! front of hubdns gets SERVFAIL for every signed name when it does not.

use std::net::SocketAddr;
use std::time::Duration;

use super::dns::{Answer, AskError, Question, Transport, ask};
use crate::wire::{Name, Rcode, Rtype};

/// Asks `upstream` for the root's SOA with DO set: the one name that is signed
/// for everybody and that every resolver has at hand. `Some(false)` if the
/// answer comes without its signature; `None` if there is no answer.
pub async fn probe_dnssec(upstream: SocketAddr, timeout: Duration) -> Option<bool> {
    let mut question = Question::new(Name::root(), Rtype::SOA);
    question.dnssec_ok = true;
    let answer = match ask(upstream, &question, Transport::Udp, timeout).await {
        Ok(answer) if !answer.is_truncated() => Ok(answer),
        // Cut off: the signature may be what did not fit.
        Ok(_) => ask(upstream, &question, Transport::Tcp, timeout).await,
        Err(error) => Err(error),
    };
    judge(&answer)
}

fn judge(answer: &Result<Answer, AskError>) -> Option<bool> {
    let answer = answer.as_ref().ok().filter(|answer| answer.rcode == Rcode::NOERROR)?;
    let has = |rtype| answer.answer.iter().any(|rr| rr.rtype == rtype);
    has(Rtype::SOA).then(|| has(Rtype::RRSIG))
}
