//! Where responses go that become ready later, and where they come from.

use std::net::IpAddr;

#[cfg(doc)]
use super::Resolver;
use crate::wire::Rcode;

/// Where a response goes that is not ready at once.
pub trait Reply: Send + 'static {
    /// Takes the finished response: the client's id, spelling, size limit and
    /// OPT are already in it.
    fn send(self: Box<Self>, response: Vec<u8>, rcode: Rcode, origin: Origin);

    /// [`Reply::send`] of what lies in a buffer that others use as well.
    fn send_slice(self, response: &[u8], rcode: Rcode, origin: Origin)
    where
        Self: Sized,
    {
        Box::new(self).send(response.to_vec(), rcode, origin);
    }

    /// The response was ready at once after all: nothing will be sent here.
    fn withdraw(self)
    where
        Self: Sized,
    {
    }

    /// The address that gets it: the client's, whose questions are counted.
    fn client(&self) -> Option<IpAddr> {
        None
    }

    /// Whether whoever made this calls [`Resolver::ring`] when it has asked
    /// all that it has to ask.
    fn is_rung_later(&self) -> bool {
        false
    }
}

/// Where a response comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The snapshot.
    Hit,
    /// The response cache or an upstream.
    Forward,
    /// Neither: an error of our own making.
    Error,
}

impl Origin {
    /// The label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Forward => "forward",
            Self::Error => "error",
        }
    }
}
