//! What the control socket shows of the response cache. Texts are raw; whoever
//! shows them escapes them.

use serde::{Deserialize, Serialize};

use super::ResponseRow;

/// Kept responses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheListing {
    /// Responses in all, expired ones included.
    pub entries: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// The bound in bytes; 0 is off.
    pub max_bytes: u64,
    /// Those that were asked for, by name.
    pub rows: Vec<CacheRow>,
    /// Those beyond the limit.
    pub left_out: u64,
}

/// One kept response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRow {
    /// QNAME.
    pub name: String,
    /// QTYPE.
    pub rtype: String,
    /// QCLASS.
    pub class: String,
    /// `do` and `cd` as asked with; `own` for a name that is ours.
    pub bits: Vec<String>,
    /// The suffix of the forward rule; empty for one that is no longer in force.
    pub rule: String,
    /// The response code.
    pub rcode: String,
    /// `fresh`, `stale` (it may stand in) or `expired`.
    pub state: String,
    /// Seconds until it expires; negative since it has.
    pub ttl: i64,
    /// Seconds since it arrived.
    pub age: u64,
    /// Uses since it was last looked at for eviction, up to 3.
    pub asked: u8,
    /// Whether the upstream failed to renew it lately.
    pub failing: bool,
    /// Whether the fallback gave it.
    pub fallback: bool,
    /// Bytes of the message.
    pub bytes: u64,
    /// The message, where it was asked for. TTLs as of now.
    pub response: Option<ResponseRow>,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheFlushed {
    /// Responses that went.
    pub removed: u64,
}
