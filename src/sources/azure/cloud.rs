//! Where Azure Resource Manager and Entra are, by cloud.

use crate::config::AzureCloud;

/// The endpoints of a cloud. URLs without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Entra's authority (`https://login.microsoftonline.com`).
    pub authority: String,
    /// Azure Resource Manager (`https://management.azure.com`).
    pub resource_manager: String,
    /// The audience of tokens for it; a scope is this and `/.default`.
    pub audience: String,
}

impl Endpoints {
    /// Those of `cloud`.
    pub fn new(cloud: &AzureCloud) -> Self {
        let make = |authority: &str, manager: &str, audience: &str| Self {
            authority: authority.to_owned(),
            resource_manager: manager.to_owned(),
            audience: audience.to_owned(),
        };
        match cloud {
            AzureCloud::Public => make(
                "https://login.microsoftonline.com",
                "https://management.azure.com",
                "https://management.azure.com",
            ),
            AzureCloud::UsGovernment => make(
                "https://login.microsoftonline.us",
                "https://management.usgovcloudapi.net",
                "https://management.usgovcloudapi.net",
            ),
            AzureCloud::China => make(
                "https://login.chinacloudapi.cn",
                "https://management.chinacloudapi.cn",
                "https://management.chinacloudapi.cn",
            ),
            AzureCloud::Custom { authority, resource_manager, audience } => {
                make(authority, resource_manager, audience)
            }
        }
    }
}
