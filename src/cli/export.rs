//! `hubdns export`: what is served, in the forms that other software reads.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use ipnet::IpNet;

use super::source::Inspected;
use super::{CliError, client, text};
use crate::export::allow_list::{self, allow_list};
use crate::export::forwarder::{self, AdScope, Peer};
use crate::export::{Document, Estate, ExportError, hosts, json, zone};
use crate::wire::Name;

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(subcommand)]
    what: Format,
}

#[derive(Debug, Subcommand)]
enum Format {
    /// Master files (RFC 1035) of the zones, for another DNS server
    Zone(Zone),
    /// Lines for /etc/hosts: the registries' public names
    Hosts(Hosts),
    /// The registries with their endpoints and addresses, for programs
    Json(Json),
    /// What firewalls and proxies must let through: names, port and addresses
    AllowList(AllowList),
    /// Conditional forwarders for the DNS server in front of hubdns
    Forwarder(Forwarder),
}

/// Where the records come from and where the text goes.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    from: Inspected,
    /// Write to this file, whole or not at all, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// For whom.
#[derive(Debug, Args)]
struct Viewed {
    /// Export what this client is answered, where views differ
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
}

#[derive(Debug, Args)]
struct Zone {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    viewed: Viewed,
    /// Only this zone
    #[arg(long = "zone", value_name = "APEX")]
    apex: Option<Name>,
    /// Write a file APEX.zone for each zone to this directory; made if absent
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    output_dir: Option<PathBuf>,
    /// One small zone per public name, for servers that cannot forward: other registries stay public
    #[arg(long)]
    public_zones: bool,
    /// Name for the NS records of zones without one; several times for several
    #[arg(long, value_name = "NAME")]
    name_server: Vec<Name>,
}

#[derive(Debug, Args)]
struct Hosts {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    viewed: Viewed,
}

#[derive(Debug, Args)]
struct Json {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    viewed: Viewed,
}

#[derive(Debug, Args)]
struct AllowList {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    viewed: Viewed,
    /// The form
    #[arg(long, value_enum, default_value = "text")]
    format: ListFormat,
    /// Prefix that uses the registries, for azure-firewall; several times for several, all if absent
    #[arg(long, value_name = "PREFIX")]
    source: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ListFormat {
    /// Columns for people
    Text,
    /// Rows for programs
    Json,
    /// Comma-separated values, one row per name and address
    Csv,
    /// Access lists of Squid
    Squid,
    /// Sets for nft -f
    Nftables,
    /// Environment variables for clients that use a proxy
    NoProxy,
    /// Rule collection group of an Azure Firewall policy (JSON)
    AzureFirewall,
}

#[derive(Debug, Args)]
struct Forwarder {
    #[command(flatten)]
    common: Common,
    /// The server in front of hubdns
    #[arg(long = "for", value_name = "SERVER", value_enum)]
    peer: PeerName,
    /// Address at which it reaches hubdns, several times for several nodes; else those that hubdns listens on
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server)]
    server: Vec<SocketAddr>,
    /// All registry suffixes of the configuration, not only those of registries that are held
    #[arg(long)]
    all_suffixes: bool,
    /// Windows: keep the forwarders in Active Directory, replicated this far
    #[arg(long, value_name = "SCOPE", value_enum)]
    ad: Option<Scope>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PeerName {
    /// Windows DNS (PowerShell)
    Windows,
    /// BIND 9.14 or later
    Bind,
    /// Unbound
    Unbound,
    /// dnsmasq
    Dnsmasq,
    /// CoreDNS, also that of AKS
    Coredns,
    /// Infoblox NIOS (shell script for its API)
    Infoblox,
    /// Knot Resolver 6 or later (YAML)
    KnotResolver,
    /// Knot Resolver 5 (Lua)
    #[value(name = "knot-resolver-5")]
    KnotResolver5,
    /// PowerDNS Recursor 5.1 or later (YAML)
    PowerdnsRecursor,
    /// PowerDNS Recursor 4
    #[value(name = "powerdns-recursor-4")]
    PowerdnsRecursor4,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    /// All DNS servers of the forest
    Forest,
    /// All DNS servers of the domain
    Domain,
}

impl Export {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.what {
            Format::Zone(zone) => zone.run(),
            Format::Hosts(hosts) => {
                let estate = hosts.common.estate(&hosts.viewed)?;
                hosts.common.write(&hosts::hosts(&estate))
            }
            Format::Json(json) => {
                let estate = json.common.estate(&json.viewed)?;
                json.common.write(&json::json(&estate))
            }
            Format::AllowList(list) => {
                let estate = list.common.estate(&list.viewed)?;
                list.common.write(&allow_list(&estate, list.format.into(), &list.source))
            }
            Format::Forwarder(snippet) => snippet.run(),
        }
    }
}

impl Common {
    /// What is served, to the client if one was chosen.
    fn estate(&self, viewed: &Viewed) -> Result<Estate, CliError> {
        let rows = match self.from.offline()? {
            Some(inspected) => inspected.inventory(),
            None => client::ask(&self.from.socket(), Method::GET, "/v1/inventory")?,
        };
        let mut estate = Estate::read(&rows).map_err(refused)?;
        if let Some(client) = viewed.client {
            estate.narrow(client);
        }
        Ok(estate)
    }

    fn write(&self, document: &Document) -> Result<(), CliError> {
        match &self.output {
            Some(path) => write_file(path, &document.text)?,
            None => text::print(&document.text)?,
        }
        tell(&document.notes);
        Ok(())
    }
}

impl Zone {
    fn run(self) -> Result<(), CliError> {
        let estate = self.common.estate(&self.viewed)?;
        let options =
            zone::Options { zone: self.apex, public: self.public_zones, name_servers: self.name_server };
        let Some(directory) = self.output_dir else {
            return self.common.write(&zone::single(&estate, &options).map_err(refused)?);
        };
        let (files, notes) = zone::zones(&estate, &options).map_err(refused)?;
        std::fs::create_dir_all(&directory)
            .map_err(|error| CliError::failed(format!("cannot make {}", directory.display()), error))?;
        let mut written = String::new();
        for file in files {
            let path = directory.join(&file.file_name);
            write_file(&path, &file.text)?;
            written.push_str(&text::plain(&path.display().to_string()));
            written.push('\n');
        }
        tell(&notes);
        text::print(&written)
    }
}

impl Forwarder {
    fn run(self) -> Result<(), CliError> {
        let estate = self.common.estate(&Viewed { client: None })?;
        let ad = self.ad.map(|scope| match scope {
            Scope::Forest => AdScope::Forest,
            Scope::Domain => AdScope::Domain,
        });
        let options = forwarder::Options { servers: self.server, all_suffixes: self.all_suffixes, ad };
        let document = forwarder::forwarder(&estate, self.peer.into(), &options).map_err(refused)?;
        self.common.write(&document)
    }
}

impl From<ListFormat> for allow_list::Format {
    fn from(format: ListFormat) -> Self {
        match format {
            ListFormat::Text => Self::Text,
            ListFormat::Json => Self::Json,
            ListFormat::Csv => Self::Csv,
            ListFormat::Squid => Self::Squid,
            ListFormat::Nftables => Self::Nftables,
            ListFormat::NoProxy => Self::NoProxy,
            ListFormat::AzureFirewall => Self::AzureFirewall,
        }
    }
}

impl From<PeerName> for Peer {
    fn from(peer: PeerName) -> Self {
        match peer {
            PeerName::Windows => Self::Windows,
            PeerName::Bind => Self::Bind,
            PeerName::Unbound => Self::Unbound,
            PeerName::Dnsmasq => Self::Dnsmasq,
            PeerName::Coredns => Self::CoreDns,
            PeerName::Infoblox => Self::Infoblox,
            PeerName::KnotResolver => Self::KnotResolver,
            PeerName::KnotResolver5 => Self::KnotResolver5,
            PeerName::PowerdnsRecursor => Self::PowerDns,
            PeerName::PowerdnsRecursor4 => Self::PowerDns4,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes values")]
fn refused(error: ExportError) -> CliError {
    CliError::Refused(error.to_string())
}

/// Notes go beside the text, not into it.
fn tell(notes: &[String]) {
    let mut out = std::io::stderr().lock();
    for note in notes {
        let _ = writeln!(out, "note: {}", text::plain(note));
    }
}

/// An address, with port 53 where none is written.
fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().or_else(|_| {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53))
    });
    match address {
        Ok(address) if address.ip().is_unspecified() => {
            Err("nobody can ask the unspecified address".to_owned())
        }
        Ok(address) if address.port() == 0 => Err("port 0 cannot be asked".to_owned()),
        Ok(address) => Ok(address),
        Err(_) => Err("expected an IP address, or ADDRESS:PORT".to_owned()),
    }
}

/// Writes `path` whole or not at all: a random temporary name in the same
/// directory, fsync, rename. What a link points to is replaced, not the link,
/// and a pipe or a device is written to: renaming a file over /dev/null would
/// break the host. A file that exists keeps its mode.
fn write_file(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::failed(format!("cannot write {}", path.display()), error);
    let found = std::fs::metadata(path).ok();
    if found.as_ref().is_some_and(|found| !found.is_file() && !found.is_dir()) {
        return std::fs::write(path, text).map_err(failed);
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .prefix(".hubdns-")
        .permissions(mode)
        .tempfile_in(directory)
        .map_err(failed)?;
    if let Some(found) = found {
        file.as_file().set_permissions(found.permissions()).map_err(failed)?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(&target).map_err(|error| failed(error.error))?;
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}
