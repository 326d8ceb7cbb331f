//! The kinds of findings, and how bad each is.

use std::fmt;

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

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Defines the codes: variant, severity, word and meaning in one place.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $Code:ident = $label:literal, $severity:ident;)+) => {
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
                match self { $(Self::$Code => concat!($($doc),+),)+ }
            }
        }
    };
}

codes! {
    /// A replica exists, or an interface has its address, and no zone record covers its data endpoint.
    MissingDataRecord = "missing-data-record", Error;
    /// A registry has an approved endpoint and no zone record for its login name.
    MissingRegistryRecord = "missing-registry-record", Error;
    /// A regional endpoint exists and no zone record covers it.
    MissingGeoRecord = "missing-geo-record", Warning;
    /// A zone record whose name and address no registry and no endpoint has.
    StaleRecord = "stale-record", Warning;
    /// The zone says another address than the interface.
    IpDrift = "ip-drift", Error;
    /// A connection awaits approval and never had it; its names are not answered.
    ConnectionPending = "connection-pending", Error;
    /// A connection was rejected by the registry's owner.
    ConnectionRejected = "connection-rejected", Error;
    /// A connection was cut by the registry's owner.
    ConnectionDisconnected = "connection-disconnected", Error;
    /// A connection that was approved is not at the moment; what it had is still served.
    ConnectionRemembered = "connection-remembered", Info;
    /// Two endpoints lead to one registry, and one zone cannot hold both.
    DuplicateEndpoint = "duplicate-endpoint", Warning;
    /// A more specific private zone hides names that it does not hold.
    ShadowingZone = "shadowing-zone", Error;
    /// A record made by hand, without a private endpoint.
    ManualRecord = "manual-record", Info;
    /// Names of others' registries get NXDOMAIN through a virtual network.
    NoInternetFallback = "no-internet-fallback", Info;
    /// A replica is being made, moved or has failed.
    ReplicaProvisioning = "replica-provisioning", Info;
    /// An address lies outside the prefixes of its subnet, or outside those that may be served.
    AddressOutsideSubnet = "address-outside-subnet", Error;
    /// A zone is linked to no virtual network in scope.
    ZoneNotLinked = "zone-not-linked", Warning;
    /// An endpoint lies in a virtual network that is not in scope; its addresses are not served.
    EndpointOutOfScope = "endpoint-out-of-scope", Warning;
    /// An upstream strips DNSSEC proofs; validating resolvers in front need an exemption.
    UpstreamWithoutDnssec = "upstream-without-dnssec", Info;
    /// The identity may not read something.
    IdentityMissingPermission = "identity-missing-permission", Error;
    /// Published sets are not saved.
    SaveFailed = "save-failed", Error;
    /// A saved set could not be loaded.
    SavedSetDamaged = "saved-set-damaged", Warning;
    /// A source, or a part of it, could not be read; its last good listing counts.
    SourceFailed = "source-failed", Warning;
    /// A removal is held back until an operator accepts it or the records come back.
    HeldBack = "held-back", Warning;
    /// An operator rolled back; nothing new is published until it is accepted.
    SyncPinned = "sync-pinned", Warning;
    /// A record is not served because another stands in its way.
    RecordRefused = "record-refused", Warning;
    /// An address does not answer as the registry that it should lead to.
    RouteFailed = "route-failed", Warning;
    /// Changes of files are found by polling.
    FilesPolled = "files-polled", Info;
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
