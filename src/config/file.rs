//! The configuration file as it is written: one struct per TOML table, every
//! key with its type, range, default and meaning, each exactly once.
//!
//! Whether values fit each other is for `validate` to say. The comments are also what
//! [`keys`](super::keys()) returns and what `config/hubdns.toml` is compared with.
#![expect(clippy::struct_field_names, reason = "the unit is a part of each key")]

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::wire::{Name, Rtype};

use super::edns::EdnsTable;
use super::governor::{BudgetTable, HealthTable, PolicyTable};
use super::schema::table;
use super::transports::{ListenerTable, TcpTable, UdpTable};
use super::upstream::{Pin, UpstreamUrl};
use super::value::{Cloud, CloudKind, UpstreamAddress};
use super::{AnswerMode, CredentialKind, Denied, Discovery, LogFormat, OwnMissing, Steering};

table! {
    /// The whole file.
    struct ConfigFile {
        /// Listeners and workers.
        server: ServerTable = {};
        /// How packet workers wait, and which queries each of them takes.
        worker: WorkerTable = {};
        /// DNS over UDP.
        udp: UdpTable = {};
        /// DNS over TCP.
        tcp: TcpTable = {};
        /// EDNS options of responses.
        edns: EdnsTable = {};
        /// Listeners besides those of `server.listen`: encrypted ones, and those behind a proxy.
        listeners: Vec<ListenerTable> = [];
        /// Admin HTTP.
        admin: AdminTable = {};
        /// Logs.
        log: LogTable = {};
        /// Which names are answered, and how.
        names: NamesTable = {};
        /// Which networks count.
        scope: ScopeTable = {};
        /// Where records come from.
        sources: SourcesTable = {};
        /// What removals wait for.
        guard: GuardTable = {};
        /// Clients that get answers of their own where several endpoints serve one registry.
        views: Vec<ViewTable> = [];
        /// Checks of the way to the registries.
        routes: RoutesTable = {};
        /// What is wrong with the estate.
        findings: FindingsTable = {};
        /// Groups of upstreams.
        upstreams: Vec<UpstreamTable> = [];
        /// Forwarding.
        forward: ForwardTable = {};
        /// The response cache.
        cache: CacheTable = {};
    }

    /// Listeners and workers.
    struct ServerTable {
        /// Addresses and ports for DNS over UDP and TCP. `0.0.0.0` and `[::]` stand for every
        /// address of the host; name addresses one by one where another resolver holds port 53 on
        /// loopback (`systemd-resolved` does).
        listen: Vec<SocketAddr> = ["0.0.0.0:53", "[::]:53"];
        /// Packet workers, each a thread pinned to a core, and as many threads for TCP; 0 starts
        /// one per core.
        workers: usize = 0, in 0..=1024;
        /// Prefixes that may ask. The default admits loopback and the private ranges of RFC 1918,
        /// RFC 4193 and RFC 4291 (link-local), nobody else.
        allow: Vec<IpNet> = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"];
        /// What all others get: `refuse` sends REFUSED with EDE 18, `drop` sends nothing.
        denied: Denied = "refuse";
        /// Directory for the published record sets, from which the next start answers.
        state_dir: PathBuf = "/var/lib/hubdns";
        /// Published record sets that are kept there, for `hubdns sync rollback` and for a newest
        /// one that cannot be read.
        keep_generations: usize = 8, in 2..=1000;
        /// Unix socket for `hubdns records` and `hubdns explain`; empty for none.
        control_socket: PathBuf = "/run/hubdns/control.sock";
        /// Group, by name or number, whose members may use it too; else root and the service's user alone.
        control_group: String = "";
        /// How long SIGTERM waits for queries in flight, in seconds.
        drain_seconds: u32 = 5, in 0..=300;
    }

    /// How packet workers wait, and which queries each of them takes.
    struct WorkerTable {
        /// Longest time that a worker without work looks for queries before it sleeps, in
        /// microseconds; 0 for never. The time used adapts: none while queries come more rarely
        /// than this. It buys latency with CPU time, so give it only to workers that have a core
        /// of their own.
        spin_microseconds: u32 = 0, in 0..=1000;
        /// How the kernel spreads clients over workers: `hash` by their address and port, `cpu` to
        /// the worker on the core that received the query. `cpu` needs a core for each worker,
        /// and a network card that spreads queries over the same cores.
        steering: Steering = "hash";
    }

    /// Admin HTTP: `/metrics`, `/livez`, `/readyz`.
    struct AdminTable {
        /// Addresses and ports to listen on; an empty list switches it off.
        listen: Vec<SocketAddr> = ["127.0.0.1:9153"];
        /// Prefixes that may scrape and look.
        allow: Vec<IpNet> = ["127.0.0.0/8", "::1/128"];
        /// Names by which it may be asked, beside addresses, `localhost` and names without a dot.
        hosts: Vec<String> = [];
    }

    /// Logs, on standard error.
    struct LogTable {
        /// `text` for people, `json` for machines.
        format: LogFormat = "text";
        /// The least level that is logged (`off`, `error`, `warn`, `info`, `debug`, `trace`), also
        /// per module: `info,hubdns::sync=debug`. Release builds have no `trace`.
        level: String = "info";
    }

    /// Which names are answered, and how.
    struct NamesTable {
        /// Azure clouds whose registries are answered: `public` (azurecr.io), `us-government`
        /// (azurecr.us), `china` (azurecr.cn).
        clouds: Vec<Cloud> = ["public", "us-government", "china"];
        /// Further private zones whose records are served; those of the clouds are served anyway.
        zones: Vec<Name> = [];
        /// Answer for a registry's public name: `chain` gives a CNAME to the private-link name and
        /// its addresses, `flat` the addresses alone.
        answer: AnswerMode = "chain";
        /// Answer for a name of our own registries that no record covers, such as that of a new
        /// replica: `closed` denies it, `forward` asks upstream, whose public answer leaves the
        /// private path.
        own_missing: OwnMissing = "closed";
        /// Login names of registries that are ours though no source shows a connection
        /// (`contoso.azurecr.io`).
        own_registries: Vec<Name> = [];
        /// Smallest TTL served, in seconds.
        ttl_floor_seconds: u32 = 0, in 0..=86_400;
        /// Largest TTL served, in seconds.
        ttl_cap_seconds: u32 = 86_400, in 0..=604_800;
        /// TTL of names known from network interfaces alone, in seconds. Azure's own is 10.
        interface_ttl_seconds: u32 = 10, in 0..=86_400;
        /// Names answered locally by RFC.
        special: SpecialTable = {};
    }

    /// Names answered locally by RFC, never forwarded.
    struct SpecialTable {
        /// Answer `localhost` with loopback addresses (RFC 6761 section 6.3).
        localhost: bool = true;
        /// Deny `invalid` (RFC 6761 section 6.4).
        invalid: bool = true;
        /// Deny `onion` (RFC 7686).
        onion: bool = true;
        /// Answer `resolver.arpa` with NODATA (RFC 9462 section 6.4).
        resolver_arpa: bool = true;
        /// Deny the reverse zones of private addresses (RFC 6303). Off by default: the corporate
        /// resolvers or Azure hold such zones.
        private_reverse: bool = false;
    }

    /// Which networks count.
    struct ScopeTable {
        /// Resource ids of the virtual networks whose private endpoints and linked zones count; an
        /// empty list means all that the sources show.
        vnets: Vec<String> = [];
        /// Prefixes in which the addresses of registries must lie; others are refused. The default
        /// is what Azure treats as private in a virtual network (RFC 1918 and the shared range
        /// of RFC 6598) and the private range of IPv6 (RFC 4193).
        allowed_prefixes: Vec<IpNet> = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
        /// Regions whose endpoints are preferred where several serve one name, best first, as Azure
        /// writes them (`westeurope`). Before them goes the region that the name itself tells.
        regions: Vec<String> = [];
    }

    /// Where records come from. For one name static records go before network interfaces, and
    /// those before private zones.
    struct SourcesTable {
        /// Records written here.
        r#static: Vec<StaticTable> = [];
        /// RFC 1035 master files.
        zone_file: Vec<ZoneFileTable> = [];
        /// Saved output of the az command line.
        az_json: Vec<AzJsonTable> = [];
        /// Azure, live. An entry with no key reads all that the machine's identity sees.
        azure: Vec<AzureTable> = [];
    }

    /// Azure Resource Manager, read by an identity with the role Reader.
    struct AzureTable {
        /// Name of the source in logs and metrics: lower-case letters, digits, `-` and `_`.
        name: String = "azure";
        /// `public`, `us-government`, `china`, or `custom`, which takes the three keys below.
        cloud: CloudKind = "public";
        /// URL of Entra's authority, for `custom`.
        authority: String = "";
        /// URL of Azure Resource Manager, for `custom`.
        resource_manager: String = "";
        /// Audience of the tokens for Azure Resource Manager, for `custom`; empty takes its URL.
        audience: String = "";
        /// PEM file of the certificates that are trusted instead of the system's.
        ca_file: PathBuf = "";
        /// HTTPS proxy for Resource Manager and Entra, never for the metadata service:
        /// `http://10.0.0.8:3128`. Empty takes that of the environment (`HTTPS_PROXY`), if any.
        proxy: String = "";
        /// Resolvers that look up Resource Manager and Entra. Empty takes the host's; where that is
        /// hubdns itself, those of `forward.default`.
        bootstrap: Vec<UpstreamAddress> = [];
        /// As whom.
        identity: AzureIdentityTable = {};
        /// Ids of the subscriptions to read. With none and no management group: all that the
        /// identity sees.
        subscriptions: Vec<String> = [];
        /// Names of management groups whose subscriptions are read.
        management_groups: Vec<String> = [];
        /// How endpoints and registries are found: `auto` asks Resource Graph where that is
        /// allowed, `resource-graph` always, `resource-manager` never.
        discovery: Discovery = "auto";
        /// Time from one reading to the next, in seconds; more where Azure's limits demand it.
        interval_seconds: u32 = 60, in 10..=86_400;
        /// A request that takes longer has failed, in seconds.
        request_timeout_seconds: u32 = 30, in 1..=300;
    }

    /// As whom Azure is read.
    struct AzureIdentityTable {
        /// Credentials in the order in which they are tried: `workload-identity`, `client-secret`,
        /// `client-certificate`, `arc`, `managed-identity`, and for interactive commands `az-cli`.
        /// Those that lack what they need (a file, a variable, an agent) are passed over.
        credentials: Vec<CredentialKind> = ["workload-identity", "client-secret", "client-certificate", "arc", "managed-identity", "az-cli"];
        /// Id or domain of the tenant. Empty takes `AZURE_TENANT_ID`.
        tenant: String = "";
        /// Client id of the application. Empty takes `AZURE_CLIENT_ID`.
        client_id: String = "";
        /// File that holds the client secret. Empty takes `AZURE_CLIENT_SECRET`.
        client_secret_file: PathBuf = "";
        /// File that holds the client certificate with its key, PEM or PFX. Empty takes
        /// `AZURE_CLIENT_CERTIFICATE_PATH`.
        certificate_file: PathBuf = "";
        /// File that holds the password of the certificate's file.
        certificate_password_file: PathBuf = "";
        /// File that holds the workload's token. Empty takes `AZURE_FEDERATED_TOKEN_FILE`.
        federated_token_file: PathBuf = "";
        /// Client id of a user-assigned managed identity.
        managed_identity_client_id: String = "";
        /// Resource id of a user-assigned managed identity.
        managed_identity_resource_id: String = "";
    }

    /// One RRset.
    struct StaticTable {
        /// Owner name: a registry's public or private-link name, or a name in `names.zones` or in
        /// the zone of a zone file.
        name: Name = required;
        /// Record type, such as `A`, `AAAA`, `CNAME` or `TXT`.
        r#type: Rtype = required;
        /// The records' data as in a master file (RFC 1035 section 5); names in it are absolute.
        values: Vec<String> = required;
        /// TTL in seconds; `names.ttl_floor_seconds` and `names.ttl_cap_seconds` bound it.
        ttl_seconds: u32 = 300, in 0..=604_800;
    }

    /// One zone from a master file.
    struct ZoneFileTable {
        /// Apex of the zone.
        zone: Name = required;
        /// The file; a relative path starts at the directory of the configuration file.
        path: PathBuf = required;
        /// Whether names that the zone lacks are forwarded; else they are denied.
        fall_through: bool = false;
    }

    /// Saved output of `az ... -o json`.
    struct AzJsonTable {
        /// Name of the source in logs and metrics: lower-case letters, digits, `-` and `_`.
        name: String = required;
        /// A file, or a directory of `*.json`; a relative path starts at the directory of the
        /// configuration file.
        path: PathBuf = "";
        /// Take the example estate that is part of the program, in the place of a path.
        embedded: bool = false;
    }

    /// What removals wait for. Additions and changes of addresses never wait.
    struct GuardTable {
        /// Removals take effect after this time, in seconds.
        grace_seconds: u32 = 300, in 0..=604_800;
        /// Removals of more than this share of the published names, or of all names of a registry,
        /// are held back until `hubdns sync accept`, in percent; 100 holds none back for their share.
        max_removed_percent: u32 = 20, in 0..=100;
        /// Removals of names that were asked for within this time are held back likewise, in
        /// seconds; 0 holds none back for that.
        asked_within_seconds: u32 = 86_400, in 0..=31_536_000;
    }

    /// Clients that get answers of their own where several endpoints serve one registry.
    struct ViewTable {
        /// Name: lower-case letters, digits, `-` and `_`.
        name: String = required;
        /// Prefixes of the clients; of all views the longest prefix wins.
        clients: Vec<IpNet> = required;
        /// Regions whose endpoints are preferred, best first.
        regions: Vec<String> = [];
        /// Resource ids of virtual networks whose endpoints are preferred, best first.
        vnets: Vec<String> = [];
    }

    /// Checks of the way to the registries: TCP, TLS and HTTP to each address.
    struct RoutesTable {
        /// Prefixes to which hubdns may open connections, for `hubdns doctor` and the periodic
        /// checks; with none it opens no connection to a registry.
        connect_prefixes: Vec<IpNet> = [];
        /// Time between periodic checks, in seconds; 0 for none. An address that fails loses to
        /// another endpoint's, if there is one.
        interval_seconds: u32 = 0, in 0..=86_400;
        /// A check that takes longer has failed, in seconds.
        timeout_seconds: u32 = 5, in 1..=60;
        /// Port of the registries.
        port: u16 = 443, in 1..=65_535;
        /// PEM file of the certificates that are trusted instead of the system's, where a proxy
        /// breaks TLS open.
        ca_file: PathBuf = "";
    }

    /// What is wrong with the estate.
    struct FindingsTable {
        /// Findings that are not told: a code (`manual-record`), or a code and a name
        /// (`manual-record build.privatelink.azurecr.io`).
        ignore: Vec<String> = [];
    }

    /// A group of upstreams that stand in for each other.
    struct UpstreamTable {
        /// Name of the group: lower-case letters, digits, `-` and `_`, other than `azure`
        /// (168.63.129.16, which answers only inside a virtual network) and `system` (the resolvers
        /// of the host's `/etc/resolv.conf`), which exist without being written.
        name: String = required;
        /// Upstreams in the order in which they are asked: `ADDRESS` or `ADDRESS:PORT` for UDP, and
        /// TCP for what does not fit; `tcp://ADDRESS` for TCP alone; `tls://ADDRESS#NAME` for DNS over
        /// TLS (RFC 7858), `https://ADDRESS/PATH#NAME` for DNS over HTTPS (RFC 8484), whose
        /// certificate must hold NAME, or else the address. Ports are 53, 853 and 443 where none is
        /// written.
        addresses: Vec<UpstreamUrl> = [];
        /// Upstreams that take more than one line, asked after `addresses`.
        servers: Vec<UpstreamServerTable> = [];
    }

    /// An upstream that takes more than one line.
    struct UpstreamServerTable {
        /// What `addresses` takes, or with a name for the host, which is the certificate's too:
        /// `tls://dns.example`, `https://dns.example/dns-query`.
        url: UpstreamUrl = required;
        /// Address of the URL's host, where that is a name. It must be written: a forwarder that
        /// looks its own upstream up may ask itself, and could not start without another resolver.
        address: String = "";
        /// Name in the certificate, where the URL has none.
        name: String = "";
        /// SHA-256 digests of the server's public key (SPKI) in base64, of which one must match.
        /// With a name or `ca_file` the certificate must be good as well; without, the key is
        /// enough.
        pins: Vec<Pin> = [];
        /// PEM file of the certificates that are trusted instead of the system's, read whenever the
        /// configuration is.
        ca_file: PathBuf = "";
        /// Whether this upstream validates DNSSEC: its AD flag goes to clients that set AD or DO.
        /// For `tls` and `https` only.
        trusted: bool = false;
    }

    /// Forwarding of the names that are not held.
    struct ForwardTable {
        /// Group for names that no rule covers: one of `upstreams`, `azure` or `system`.
        default: String = "azure";
        /// Group that is asked for names of others' registries when a private zone hides them from
        /// the first group, as Azure's `NxDomainRedirect` does; empty for none.
        fallback: String = "";
        /// A client is answered within this, in milliseconds. Windows DNS gives a forwarder 3 s.
        client_deadline_milliseconds: u32 = 2400, in 100..=30_000;
        /// While an expired response is at hand, the client gets that one after this, in
        /// milliseconds (RFC 8767), and the exchange goes on.
        stale_milliseconds: u32 = 1800, in 0..=30_000;
        /// An unanswered query is sent again after this, in milliseconds, or sooner where the
        /// upstream is known to be faster; once more after twice the time, in several copies
        /// where much is lost on the way.
        resend_milliseconds: u32 = 800, in 50..=10_000;
        /// An exchange is given up after this, in milliseconds. It may outlast the client and fill
        /// the response cache.
        exchange_deadline_milliseconds: u32 = 10_000, in 100..=60_000;
        /// Questions in flight in all; further ones get SERVFAIL.
        max_in_flight: usize = 8192, in 1..=1_000_000;
        /// Clients that may wait for one question; further ones get SERVFAIL.
        max_waiters: usize = 1024, in 1..=65_535;
        /// Questions of one client that may wait for upstreams; further ones get SERVFAIL. A
        /// few corporate resolvers may be all the clients there are, so this is no small number.
        max_waiters_per_client: usize = 4096, in 1..=1_000_000;
        /// Queries to upstreams by UDP.
        udp: ForwardUdpTable = {};
        /// Connections to upstreams: TCP, DNS over TLS, DNS over HTTPS.
        streams: ForwardStreamsTable = {};
        /// When an upstream counts as down.
        health: HealthTable = {};
        /// What upstreams may be sent.
        budget: BudgetTable = {};
        /// In which order the upstreams of groups are asked.
        policies: Vec<PolicyTable> = [];
        /// Which names go to which group; the longest suffix wins.
        rules: Vec<RuleTable> = [];
    }

    /// Queries to upstreams by UDP.
    struct ForwardUdpTable {
        /// Size in bytes of the largest response that is asked for (EDNS); more comes by TCP.
        max_bytes: u16 = 1232, in 512..=4096;
    }

    /// Connections to upstreams: TCP, DNS over TLS, DNS over HTTPS.
    struct ForwardStreamsTable {
        /// A connection must be ready within this, TLS included, in milliseconds; as long may what is
        /// sent stay unacknowledged.
        connect_milliseconds: u32 = 1000, in 50..=10_000;
        /// A connection without questions is closed after this, in milliseconds. Servers close theirs
        /// after 10 s and more: who closes first does not meet the other's reset.
        idle_milliseconds: u32 = 8000, in 100..=3_600_000;
        /// Connections per upstream; a further one is opened when the others are full or silent.
        max_connections: usize = 4, in 1..=64;
        /// Questions in flight per connection. HTTP/2 servers take 100 as a rule.
        max_in_flight: usize = 100, in 1..=10_000;
    }

    /// Names at and below a suffix go to a group.
    struct RuleTable {
        /// The suffix.
        suffix: Name = required;
        /// Name of the group: one of `upstreams`, `azure` or `system`.
        upstream: String = required;
    }

    /// The response cache.
    struct CacheTable {
        /// Memory for responses, in bytes; 0 switches the cache off.
        max_bytes: u64 = 67_108_864, in 0..=1_099_511_627_776;
        /// Hot responses that are renewed before they expire at a time; 0 renews none.
        max_renewals: usize = 64, in 0..=10_000;
        /// Whether responses are saved to `server.state_dir` at the end and read at the start.
        save: bool = false;
        /// How long responses are kept.
        ttl: CacheTtlTable = {};
        /// Expired responses that stand in while no upstream answers (RFC 8767).
        stale: CacheStaleTable = {};
    }

    /// How long responses are kept, where their TTL says less or more.
    struct CacheTtlTable {
        /// Shortest time for a positive answer, in seconds.
        min_seconds: u32 = 0, in 0..=3600;
        /// Longest time for a positive answer, in seconds.
        max_seconds: u32 = 86_400, in 1..=604_800;
        /// Longest time for NODATA and NXDOMAIN, in seconds (RFC 2308 section 5 recommends one to
        /// three hours).
        max_negative_seconds: u32 = 3600, in 0..=10_800;
        /// Time for an upstream's SERVFAIL, in seconds (RFC 9520).
        servfail_seconds: u32 = 5, in 1..=30;
    }

    /// Expired responses that stand in while no upstream answers (RFC 8767).
    struct CacheStaleTable {
        /// Longest time after a response expired, in seconds; 0 for never.
        max_seconds: u32 = 86_400, in 0..=604_800;
        /// TTL that it goes out with, in seconds.
        ttl_seconds: u32 = 30, in 1..=300;
        /// After a failure the upstream is not asked again for it for this time, in seconds.
        recheck_seconds: u32 = 30, in 1..=300;
    }
}
