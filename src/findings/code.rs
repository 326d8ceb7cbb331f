//! The kinds of findings, how bad each is, and what to do about it.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know; nothing breaks by it.
    Info,
    /// Will break a pull, or breaks it elsewhere.
    Warning,
    /// Breaks a pull now.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        [Self::Info, Self::Warning, Self::Error]
            .into_iter()
            .find(|severity| severity.label() == text)
            .ok_or(UnknownSeverity)
    }
}

/// A word that is no severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such severity (info, warning, error)")]
pub struct UnknownSeverity;

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Defines the codes: variant, meaning, severity, word and advice in one place.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $Code:ident = $label:literal, $severity:ident, $advice:literal;)+) => {
        /// The kinds of findings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code {
            $($(#[doc = $doc])+ $Code,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$Code,)+];

            /// The word for it: the label of metrics, and what `--json` prints.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$Code => $label,)+ }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$Code => Severity::$severity,)+ }
            }

            /// What it means, for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$Code => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What to do about it, for the documentation.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$Code => $advice,)+ }
            }
        }
    };
}

codes! {
    /// A replica exists, or an interface has its address, and no zone record covers its data endpoint.
    MissingDataRecord = "missing-data-record", Error,
        "Add the record to the private-link zone, or give the private endpoint a zone group, which keeps it.";
    /// A registry has an approved endpoint and no zone record for its login name.
    MissingRegistryRecord = "missing-registry-record", Error,
        "Add the record to the private-link zone, or give the private endpoint a zone group, which keeps it.";
    /// A regional endpoint exists and no zone record covers it.
    MissingGeoRecord = "missing-geo-record", Warning,
        "Add the record to the private-link zone, or give the private endpoint a zone group, which keeps it.";
    /// A zone record whose name and address no registry and no endpoint has.
    StaleRecord = "stale-record", Warning,
        "Delete the record; if its endpoint lies in a subscription that hubdns does not read, let it read that one.";
    /// The zone says another address than the interface.
    IpDrift = "ip-drift", Error,
        "Correct the record, or make the zone group anew.";
    /// A connection awaits approval and never had it; its names are not answered.
    ConnectionPending = "connection-pending", Error,
        "Approve the connection on the registry (Networking, Private access).";
    /// A connection was rejected by the registry's owner.
    ConnectionRejected = "connection-rejected", Error,
        "Delete the private endpoint, or make a new one and have it approved.";
    /// A connection was cut by the registry's owner.
    ConnectionDisconnected = "connection-disconnected", Error,
        "Delete the private endpoint, or make a new one and have it approved.";
    /// A connection that was approved is not at the moment; what it had is still served.
    ConnectionRemembered = "connection-remembered", Info,
        "Wait while a replica is being added; else approve the connection again.";
    /// Two endpoints lead to one registry, and one zone cannot hold both.
    DuplicateEndpoint = "duplicate-endpoint", Warning,
        "Keep one endpoint, or give each virtual network a zone of its own; choose by `scope.regions` or `views`.";
    /// A more specific private zone hides names that it does not hold.
    ShadowingZone = "shadowing-zone", Error,
        "Move its records into the broader zone and delete its links, or add what it lacks.";
    /// A record made by hand, without a private endpoint.
    ManualRecord = "manual-record", Info,
        "Give the registry a private endpoint with a zone group, or ignore the finding.";
    /// Names of others' registries get NXDOMAIN through a virtual network.
    NoInternetFallback = "no-internet-fallback", Info,
        "Set `NxDomainRedirect` on the links of the private-link zones, or `forward.fallback` here.";
    /// A replica is being made, moved or has failed.
    ReplicaProvisioning = "replica-provisioning", Info,
        "Wait; after a failure delete the replica and make it again.";
    /// An address lies outside the prefixes of its subnet, or outside those that may be served.
    AddressOutsideSubnet = "address-outside-subnet", Error,
        "Look at the endpoint and the record; if the address is right, correct the subnet or `scope.allowed_prefixes`.";
    /// A zone is linked to no virtual network in scope.
    ZoneNotLinked = "zone-not-linked", Warning,
        "Link the zone to a virtual network in scope, or delete it.";
    /// An endpoint lies in a virtual network that is not in scope; its addresses are not served.
    EndpointOutOfScope = "endpoint-out-of-scope", Warning,
        "Add the virtual network to `scope.vnets` if it is routed from here.";
    /// An upstream strips DNSSEC proofs; validating resolvers in front need an exemption.
    UpstreamWithoutDnssec = "upstream-without-dnssec", Info,
        "Exempt the names on validating resolvers (`validate-except`, `domain-insecure`), or forward the rest elsewhere.";
    /// An upstream sends questions back to hubdns that it was sent.
    ForwardLoop = "forward-loop", Error,
        "Forward these names elsewhere, or take hubdns out of the upstream's own forwarders for them.";
    /// The identity may not read something.
    IdentityMissingPermission = "identity-missing-permission", Error,
        "Grant the role that `hubdns auth test` prints.";
    /// Published sets are not saved.
    SaveFailed = "save-failed", Error,
        "Make room in `server.state_dir`, or correct its owner.";
    /// A saved set could not be loaded.
    SavedSetDamaged = "saved-set-damaged", Warning,
        "Check the disk; the generation before was taken.";
    /// A source, or a part of it, could not be read; its last good listing counts.
    SourceFailed = "source-failed", Warning,
        "Look at the error; nothing is withdrawn meanwhile.";
    /// A removal is held back until an operator accepts it or the records come back.
    HeldBack = "held-back", Warning,
        "`hubdns sync diff`, then `accept` or `reject`.";
    /// An operator rolled back; nothing new is published until it is accepted.
    SyncPinned = "sync-pinned", Warning,
        "`hubdns sync accept` ends it.";
    /// A record is not served because another stands in its way.
    RecordRefused = "record-refused", Warning,
        "`hubdns explain NAME` says which record stands in the way.";
    /// An address does not answer as the registry that it should lead to.
    RouteFailed = "route-failed", Warning,
        "`hubdns doctor NAME` walks the path and says which hop fails.";
    /// Changes of files are found by polling.
    FilesPolled = "files-polled", Info,
        "Raise `fs.inotify.max_user_watches`, or leave it: changes are found some seconds later.";
    /// The certificate of an encrypted listener ends soon.
    CertificateEnding = "certificate-ending", Warning,
        "Renew it; new files are taken into use by themselves.";
    /// The certificate of an encrypted listener has ended; clients that check it refuse hubdns.
    CertificateEnded = "certificate-ended", Error,
        "Renew it; new files are taken into use by themselves.";
    /// New files of a listener's certificate cannot be used; the one before still is.
    CertificateRefused = "certificate-refused", Warning,
        "Correct the files: the certificate with those that vouch for it, and its key, both PEM.";
}

/// The codes as a table in Markdown, for the README.
pub fn codes_table() -> String {
    let mut table = String::from("| code | severity | meaning | what to do |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let _ =
            writeln!(table, "| `{code}` | {} | {} | {} |", code.severity(), code.meaning(), code.advice());
    }
    table
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL.iter().copied().find(|code| code.label() == text).ok_or(UnknownCode)
    }
}

/// A word that is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such finding")]
pub struct UnknownCode;
