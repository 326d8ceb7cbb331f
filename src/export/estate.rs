//! The inventory with its texts read into types.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::ExportError;
use crate::admin::inventory::{HeldRrset, HeldZone, Inventory};
use crate::admin::view::OriginRow;
use crate::wire::{Name, Rtype};

/// Longest chain of CNAMEs that is followed, as in answers.
const MAX_CHAIN: usize = 8;

/// All that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estate {
    /// The number of the published snapshot; 0 where nothing was published.
    pub generation: u64,
    /// When it was published, Unix seconds; 0 where nothing was published.
    pub published_at: u64,
    /// Addresses that answer DNS.
    pub listen: Vec<SocketAddr>,
    /// The registry suffixes in force.
    pub suffixes: Vec<Name>,
    /// Further zones of the configuration.
    pub further_zones: Vec<Name>,
    /// Login names of the registries that are ours.
    pub own: BTreeSet<Name>,
    /// The view whose answers these are; `None` for those of everybody else.
    pub view: Option<String>,
    /// Clients that get answers of their own.
    pub views: Vec<View>,
    /// The local zones.
    pub zones: Vec<Zone>,
    /// Private-link names by public name.
    pub aliases: BTreeMap<Name, Name>,
}

/// Clients that get answers of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The view's name in the configuration.
    pub name: String,
    /// Their prefixes.
    pub clients: Vec<IpNet>,
}

/// A local zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The apex.
    pub apex: Name,
    /// Whether names that it lacks are forwarded.
    pub falls_through: bool,
    /// The SOA.
    pub soa: Soa,
    /// The RRsets, except the SOA.
    pub rrsets: Vec<Rrset>,
}

/// An SOA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// TTL of the record in seconds.
    pub ttl: u32,
    /// Name of the primary server.
    pub mname: Name,
    /// Mailbox of the person responsible.
    pub rname: Name,
    /// Serial, refresh, retry, expiry and negative TTL.
    pub numbers: [u32; 5],
}

/// An RRset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    /// The owner.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The RDATA as a master file has it.
    pub data: Vec<String>,
    /// What clients of views get instead, by the view's name.
    pub variants: Vec<(String, Vec<String>)>,
    /// Where it comes from.
    pub origin: Option<OriginRow>,
}

impl Estate {
    /// Reads the rows.
    ///
    /// # Errors
    /// A name, a type, an address or RDATA that is none.
    pub fn read(rows: &Inventory) -> Result<Self, ExportError> {
        let mut views = Vec::with_capacity(rows.views.len());
        for row in &rows.views {
            views.push(View { name: row.name.clone(), clients: all("prefix", &row.clients)? });
        }
        let mut aliases = BTreeMap::new();
        for row in &rows.aliases {
            aliases.insert(one("name", &row.public)?, one("name", &row.target)?);
        }
        Ok(Self {
            generation: rows.generation,
            published_at: rows.published_at,
            listen: all("address", &rows.listen)?,
            suffixes: all("name", &rows.suffixes)?,
            further_zones: all("name", &rows.further_zones)?,
            own: all("name", &rows.own)?.into_iter().collect(),
            view: None,
            views,
            zones: rows.zones.iter().map(zone).collect::<Result<_, _>>()?,
            aliases,
        })
    }

    /// Leaves what `client` is answered: the records of its view, if it has one.
    pub fn narrow(&mut self, client: IpAddr) {
        let client = client.to_canonical();
        let lengths = self.views.iter().flat_map(|view| {
            let holding = view.clients.iter().filter(|prefix| prefix.contains(&client));
            holding.map(move |prefix| (prefix.prefix_len(), &view.name))
        });
        let view = lengths.max_by_key(|(len, _)| *len).map(|(_, name)| name.clone());
        for rrset in self.zones.iter_mut().flat_map(|zone| &mut zone.rrsets) {
            let variants = std::mem::take(&mut rrset.variants);
            if let Some((_, data)) = variants.into_iter().find(|(name, _)| Some(name) == view.as_ref()) {
                rrset.data = data;
            }
        }
        for zone in &mut self.zones {
            zone.rrsets.retain(|rrset| !rrset.data.is_empty());
        }
        self.view = view;
        self.views.clear();
    }

    /// The RRsets of each owner. Zones unite: of two that hold an owner the
    /// more specific one counts, and only for that owner.
    pub fn owners(&self) -> BTreeMap<&Name, Vec<&Rrset>> {
        let mut zones: Vec<&Zone> = self.zones.iter().collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex.label_count()));
        let mut owners: BTreeMap<&Name, (&Name, Vec<&Rrset>)> = BTreeMap::new();
        for zone in zones {
            for rrset in &zone.rrsets {
                let (apex, held) = owners.entry(&rrset.owner).or_insert((&zone.apex, Vec::new()));
                if *apex == &zone.apex {
                    held.push(rrset);
                }
            }
        }
        owners.into_iter().map(|(owner, (_, rrsets))| (owner, rrsets)).collect()
    }
}

/// The RRsets at the end of the chain that starts at `name`; none if it leads away.
pub(super) fn at_end_of_chain<'a>(owners: &BTreeMap<&Name, Vec<&'a Rrset>>, name: &Name) -> Vec<&'a Rrset> {
    let mut at = name.clone();
    for _ in 0..MAX_CHAIN {
        let Some(rrsets) = owners.get(&at) else { break };
        let Some(cname) = rrsets.iter().find(|rrset| rrset.rtype == Rtype::CNAME) else {
            return rrsets.clone();
        };
        match cname.data.first().and_then(|target| target.parse().ok()) {
            Some(target) => at = target,
            None => break,
        }
    }
    Vec::new()
}

fn one<T: FromStr>(what: &'static str, text: &str) -> Result<T, ExportError> {
    text.parse().map_err(|_| ExportError::Malformed { what, text: text.to_owned() })
}

fn all<T: FromStr>(what: &'static str, texts: &[String]) -> Result<Vec<T>, ExportError> {
    texts.iter().map(|text| one(what, text)).collect()
}

fn zone(row: &HeldZone) -> Result<Zone, ExportError> {
    let soa = &row.soa;
    Ok(Zone {
        apex: one("name", &row.apex)?,
        falls_through: row.falls_through,
        soa: Soa {
            ttl: soa.ttl,
            mname: one("name", &soa.mname)?,
            rname: one("name", &soa.rname)?,
            numbers: [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum],
        },
        rrsets: row.rrsets.iter().map(rrset).collect::<Result<_, _>>()?,
    })
}

fn rrset(row: &HeldRrset) -> Result<Rrset, ExportError> {
    let rtype: Rtype = one("type", &row.rtype)?;
    let variants = row.variants.iter().map(|variant| (variant.view.clone(), variant.data.clone())).collect();
    let every = row.data.iter().chain(row.variants.iter().flat_map(|variant| &variant.data));
    for text in every {
        // What stands on a line of a master file stays on that line.
        let sound = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let sound = sound
            && match rtype {
                Rtype::A => text.parse::<std::net::Ipv4Addr>().is_ok(),
                Rtype::AAAA => text.parse::<std::net::Ipv6Addr>().is_ok(),
                _ => true,
            };
        if !sound {
            return Err(ExportError::Malformed { what: "RDATA", text: text.clone() });
        }
    }
    let (data, origin) = (row.data.clone(), row.origin.clone());
    Ok(Rrset { owner: one("name", &row.name)?, rtype, ttl: row.ttl, data, variants, origin })
}
