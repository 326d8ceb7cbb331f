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
    /// The scope of tokens for Azure Resource Manager.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// Whether this is one of Microsoft's own clouds and no custom one.
    pub(super) fn is_named(&self) -> bool {
        [AzureCloud::Public, AzureCloud::UsGovernment, AzureCloud::China]
            .iter()
            .any(|cloud| Self::new(cloud) == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The national clouds are islands: a token of one is worth nothing in another.
    #[test]
    fn each_cloud_has_endpoints_of_its_own() {
        for (cloud, suffix) in [
            (AzureCloud::Public, ["microsoftonline.com", "azure.com"]),
            (AzureCloud::UsGovernment, ["microsoftonline.us", "usgovcloudapi.net"]),
            (AzureCloud::China, ["chinacloudapi.cn", "chinacloudapi.cn"]),
        ] {
            let endpoints = Endpoints::new(&cloud);
            assert_eq!(endpoints.authority, format!("https://login.{}", suffix[0]));
            assert_eq!(endpoints.resource_manager, format!("https://management.{}", suffix[1]));
            assert_eq!(endpoints.audience, endpoints.resource_manager);
            assert_eq!(endpoints.scope(), format!("https://management.{}/.default", suffix[1]));
            assert!(endpoints.is_named());
        }
        let custom = AzureCloud::Custom {
            authority: "https://login.azs.example".to_owned(),
            resource_manager: "https://management.azs.example".to_owned(),
            audience: "https://management.azs.onmicrosoft.com/11111111".to_owned(),
        };
        let endpoints = Endpoints::new(&custom);
        assert_eq!(endpoints.scope(), "https://management.azs.onmicrosoft.com/11111111/.default");
        assert!(!endpoints.is_named());
    }
}
