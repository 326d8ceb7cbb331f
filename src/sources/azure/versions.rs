//! The api-versions of Azure that are spoken: the newest stable ones, pinned
//! here alone. A later version may add fields, which are passed over.

/// Subscriptions (Microsoft.Resources; REST reference "Subscriptions - List").
pub const SUBSCRIPTIONS: &str = "2022-12-01";

/// Private DNS zones, record sets, virtual network links (Microsoft.Network
/// privateDnsZones; the first stable version with `resolutionPolicy`).
pub const PRIVATE_DNS: &str = "2024-06-01";

/// Interfaces, private endpoints, zone groups, virtual networks (Microsoft.Network).
pub const NETWORK: &str = "2024-05-01";

/// Registries and replications (Microsoft.ContainerRegistry).
pub const REGISTRY: &str = "2025-11-01";

/// Resource Graph (Microsoft.ResourceGraph resources; the only stable one with `$skipToken` over
/// several subscriptions that is not a preview).
pub const GRAPH: &str = "2021-03-01";

/// Management groups with their descendants (Microsoft.Management; REST reference
/// "Management Groups - Get Descendants").
pub const MANAGEMENT_GROUPS: &str = "2020-05-01";

/// Permissions of the caller (Microsoft.Authorization; REST reference "Permissions - List For
/// Resource Group").
pub const PERMISSIONS: &str = "2022-04-01";
