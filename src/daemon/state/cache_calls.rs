//! What operators ask of the response cache, and its file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::State;
use crate::admin::CacheFilter;
use crate::admin::view::ResponseRow;
use crate::admin::view::cache::{CacheFlushed, CacheListing, CacheRow};
use crate::config::Config;
use crate::daemon::inspect;
use crate::events::outside;
use crate::forward::cache::{KeyRef, bits};
use crate::forward::kept::{Kept, Traits};
use crate::forward::respond::age_ttls;
use crate::resolve::{self, Resolver};
use crate::wire::Name;
use crate::wire::name::is_at_or_below;

/// The cache's file in the state directory.
const FILE: &str = "response-cache";

impl State {
    pub(super) fn list_cache(&self, filter: &CacheFilter, whole: bool) -> Result<CacheListing, String> {
        let name = parse(filter)?;
        let forwarder = self.resolver.forwarder();
        let (cache, tables) = (forwarder.cache(), forwarder.tables().load());
        let rules: HashMap<u32, String> =
            tables.rules.iter().map(|rule| (rule.partition, rule.suffix.to_string())).collect();
        let (now, max_stale) = (resolve::now(), cache.max_stale());
        let usage = cache.usage();
        let mut listing = CacheListing {
            entries: usage.entries,
            bytes: usage.bytes,
            max_bytes: cache.max_bytes(),
            ..CacheListing::default()
        };
        cache.for_each(|key, kept| {
            if !matches(key, name.as_ref(), filter.exact) {
                return;
            }
            if listing.rows.len() >= filter.limit {
                listing.left_out += 1;
                return;
            }
            let rule = rules.get(&key.partition()).cloned().unwrap_or_default();
            let mut row = row(key, kept, rule, now, max_stale);
            if whole {
                row.response = response(kept, now);
            }
            listing.rows.push(row);
        });
        listing.rows.sort_by(|one, other| {
            let order = |row: &CacheRow| (row.name.clone(), row.rtype.clone(), row.bits.clone());
            order(one).cmp(&order(other))
        });
        Ok(listing)
    }

    pub(super) fn flush_cache(&self, filter: &CacheFilter) -> Result<CacheFlushed, String> {
        let name = parse(filter)?;
        let cache = self.resolver.forwarder().cache();
        let removed = cache.remove_if(|key| matches(key, name.as_ref(), filter.exact));
        let named = name.map_or_else(|| "everything".to_owned(), |name| name.to_string());
        info!(name = %outside(&named), exact = filter.exact, removed, "response cache flushed");
        Ok(CacheFlushed { removed: removed as u64 })
    }

    /// Saves the response cache, if the configuration says so.
    pub(in crate::daemon) fn save_cache(&self) {
        let config = self.config();
        if !config.cache.save {
            return;
        }
        let path = file(&config);
        match self.resolver.forwarder().save_cache(&path, resolve::now()) {
            Ok(responses) => info!(responses, "response cache saved"),
            Err(error) => {
                let path = path.display().to_string();
                warn!(path = %outside(&path), error = %outside(&error.to_string()), "response cache not saved");
            }
        }
    }
}

/// Takes over what the process before this one saved, if the configuration
/// says so. What is damaged is dropped: it would be so at each start.
pub(in crate::daemon) fn restore_cache(config: &Config, resolver: &Resolver) {
    let path = file(config);
    if !config.cache.save || !path.exists() {
        return;
    }
    match resolver.forwarder().load_cache(&path, resolve::now()) {
        Ok(responses) => info!(responses, "response cache restored"),
        Err(error) => {
            drop_file(&path);
            let path = path.display().to_string();
            warn!(path = %outside(&path), error = %outside(&error.to_string()), "saved response cache dropped");
        }
    }
}

fn drop_file(path: &Path) {
    // What cannot be removed is told of again at the next start.
    let _ = std::fs::remove_file(path);
}

fn file(config: &Config) -> PathBuf {
    config.server.state_dir.join(FILE)
}

fn parse(filter: &CacheFilter) -> Result<Option<Name>, String> {
    let parse =
        |text: &String| text.parse::<Name>().map_err(|error| format!("{text:?} is not a name: {error}"));
    filter.name.as_ref().map(parse).transpose()
}

fn matches(key: &KeyRef<'_>, name: Option<&Name>, exact: bool) -> bool {
    name.is_none_or(
        |name| {
            if exact { key.name == name.as_wire() } else { is_at_or_below(key.name, name.as_wire()) }
        },
    )
}

fn row(key: &KeyRef<'_>, kept: &Kept<'_>, rule: String, now: u64, max_stale: u64) -> CacheRow {
    let state = if kept.is_fresh(now) {
        "fresh"
    } else if kept.is_usable(now, max_stale) {
        "stale"
    } else {
        "expired"
    };
    let names = [(bits::DNSSEC_OK, "do"), (bits::CHECKING_DISABLED, "cd"), (bits::OWN, "own")];
    let set = names.iter().filter(|(bit, _)| key.bits() & bit != 0);
    let left = kept.head.expires.cast_signed().saturating_sub(now.cast_signed());
    CacheRow {
        name: Name::from_wire(key.name).map(|name| name.to_string()).unwrap_or_default(),
        rtype: key.qtype().to_string(),
        class: key.qclass().to_string(),
        bits: set.map(|(_, name)| (*name).to_owned()).collect(),
        rule,
        rcode: kept.head.rcode.to_string(),
        state: state.to_owned(),
        ttl: left.div_euclid(1000),
        age: kept.age(now).into(),
        asked: kept.marks.asked(),
        failing: kept.marks.is_failing(now),
        fallback: kept.head.traits.has(Traits::OF_FALLBACK),
        bytes: kept.bytes.len() as u64,
        response: None,
    }
}

/// The message with the TTLs that it has now.
fn response(kept: &Kept<'_>, now: u64) -> Option<ResponseRow> {
    let mut bytes = kept.bytes.to_vec();
    let end = bytes.len();
    age_ttls(kept.ttls, kept.age(now), end, &mut bytes);
    let row = inspect::response_row(&bytes)?;
    Some(ResponseRow { rcode: kept.head.rcode.to_string(), ..row })
}
