//! The live Azure source: which cloud, as whom, what, and how often.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One source `azure`.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureSource {
    /// The source's name in logs and metrics.
    pub name: String,
    /// Where Azure Resource Manager and Entra are.
    pub cloud: AzureCloud,
    /// The certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The HTTPS proxy for Resource Manager and Entra, never for the metadata
    /// service; a URL.
    pub proxy: Option<ProxyUrl>,
    /// Resolvers for the names of Resource Manager and Entra; empty takes the
    /// host's, unless that is hubdns itself, and then the default upstreams.
    pub bootstrap: Vec<SocketAddr>,
    /// As whom.
    pub identity: AzureIdentity,
    /// Subscription ids, lower case; with no management groups either, all that the identity sees.
    pub subscriptions: Vec<String>,
    /// Names of management groups whose subscriptions count.
    pub management_groups: Vec<String>,
    /// How endpoints and registries are found.
    pub discovery: Discovery,
    /// Time from the start of one cycle to the start of the next; more where limits demand it.
    pub interval: Duration,
    /// A request that takes longer has failed.
    pub request_timeout: Duration,
}

/// A proxy's URL. It may hold a user and a password, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(pub String);

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyUrl(hidden)")
    }
}

/// Where Azure Resource Manager and Entra are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureCloud {
    /// The public cloud.
    Public,
    /// Azure Government.
    UsGovernment,
    /// Azure in China, run by 21Vianet.
    China,
    /// Others, such as Azure Stack Hub.
    Custom {
        /// URL of Entra's authority (`https://login.microsoftonline.com`).
        authority: String,
        /// URL of Azure Resource Manager (`https://management.azure.com`).
        resource_manager: String,
        /// The audience of its tokens (`https://management.azure.com`).
        audience: String,
    },
}

/// As whom Azure is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureIdentity {
    /// The credentials in the order in which they are tried.
    pub credentials: Vec<CredentialKind>,
    /// The tenant's id or domain.
    pub tenant: Option<String>,
    /// The application's (client) id: of the secret, the certificate, the workload identity.
    pub client_id: Option<String>,
    /// The file that holds the client secret.
    pub client_secret_file: Option<PathBuf>,
    /// The file that holds the client certificate and its key, PEM or PFX.
    pub certificate_file: Option<PathBuf>,
    /// The file that holds the certificate's password.
    pub certificate_password_file: Option<PathBuf>,
    /// The file that holds the workload's token.
    pub federated_token_file: Option<PathBuf>,
    /// Which user-assigned managed identity; `None` for the system-assigned one.
    pub managed_identity: Option<ManagedIdentity>,
}

/// A user-assigned managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedIdentity {
    /// By its client id.
    ClientId(String),
    /// By its resource id.
    ResourceId(String),
}

/// The kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialKind {
    /// A workload's token, exchanged (Kubernetes).
    WorkloadIdentity,
    /// A client secret.
    ClientSecret,
    /// A client certificate.
    ClientCertificate,
    /// The metadata service of a virtual machine, or what stands for it.
    ManagedIdentity,
    /// The agent of Azure Arc, on premises.
    Arc,
    /// The az command line: for interactive commands only, never for the daemon.
    AzCli,
}

impl CredentialKind {
    /// Every kind, in the default order.
    pub const ALL: [Self; 6] = [
        Self::WorkloadIdentity,
        Self::ClientSecret,
        Self::ClientCertificate,
        Self::Arc,
        Self::ManagedIdentity,
        Self::AzCli,
    ];

    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::WorkloadIdentity => "workload-identity",
            Self::ClientSecret => "client-secret",
            Self::ClientCertificate => "client-certificate",
            Self::ManagedIdentity => "managed-identity",
            Self::Arc => "arc",
            Self::AzCli => "az-cli",
        }
    }
}

/// How endpoints and registries are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By Resource Graph where that is allowed, else by Resource Manager.
    Auto,
    /// By Resource Graph; Resource Manager confirms what changed.
    ResourceGraph,
    /// By Resource Manager alone.
    ResourceManager,
}
