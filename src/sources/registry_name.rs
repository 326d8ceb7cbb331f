//! The names of a registry and how they map onto each other: login, data and
//! regional endpoints, public and private-link (design section 2).

use crate::wire::Name;
use crate::wire::name::Labels;

/// A name of a registry, in both of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryName {
    /// The registry's login name (`contoso.azurecr.io`).
    pub login: Name,
    /// The public name (`contoso.westeurope.data.azurecr.io`).
    pub public: Name,
    /// The private-link name (`contoso.westeurope.data.privatelink.azurecr.io`).
    pub private_link: Name,
    /// The region of a data or regional endpoint (`westeurope`).
    pub region: Option<String>,
}

impl RegistryName {
    /// Reads `name` as a public name below one of `suffixes`: `<label>` or
    /// `<label>.<region>.{data,geo}`. Wildcards and everything else are `None`.
    pub fn from_public(name: &Name, suffixes: &[Name]) -> Option<Self> {
        suffixes.iter().find_map(|suffix| Self::build(name.strip_suffix(suffix)?, suffix))
    }

    /// Reads `name` as a private-link name below one of `suffixes`.
    pub fn from_private_link(name: &Name, suffixes: &[Name]) -> Option<Self> {
        suffixes.iter().find_map(|suffix| Self::build(name.strip_suffix(&private_zone(suffix)?)?, suffix))
    }

    /// Reads `name` as either.
    pub fn from_either(name: &Name, suffixes: &[Name]) -> Option<Self> {
        Self::from_private_link(name, suffixes).or_else(|| Self::from_public(name, suffixes))
    }

    fn build(prefix: &[u8], suffix: &Name) -> Option<Self> {
        let labels: Vec<&[u8]> = Labels::new(prefix).collect();
        let (label, region) = match labels.as_slice() {
            [label] => (*label, None),
            [label, region, b"data" | b"geo"] => (*label, Some(*region)),
            _ => return None,
        };
        if label == b"*" || label == b"privatelink" || region == Some(b"*") {
            return None;
        }
        Some(Self {
            login: suffix.child(label).ok()?,
            public: suffix.with_prefix(prefix).ok()?,
            private_link: private_zone(suffix)?.with_prefix(prefix).ok()?,
            region: region.map(|region| String::from_utf8_lossy(region).into_owned()),
        })
    }
}

/// The private-link zone of a registry suffix: `privatelink.azurecr.io`.
pub fn private_zone(suffix: &Name) -> Option<Name> {
    suffix.child(b"privatelink").ok()
}

/// A region in the form that names use: `West Europe` is `westeurope`.
pub fn region_label(location: &str) -> String {
    location.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suffixes() -> Vec<Name> {
        ["azurecr.io", "azurecr.us", "azurecr.cn"].iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn public_and_private_link_names_map_onto_each_other() {
        let cases = [
            ("Contoso.azurecr.io", "contoso.privatelink.azurecr.io", "contoso.azurecr.io"),
            (
                "contoso.westeurope.data.azurecr.io",
                "contoso.westeurope.data.privatelink.azurecr.io",
                "contoso.azurecr.io",
            ),
            (
                "contoso.usgovvirginia.geo.azurecr.us",
                "contoso.usgovvirginia.geo.privatelink.azurecr.us",
                "contoso.azurecr.us",
            ),
            (
                "contoso-a1b2c3.chinaeast2.data.azurecr.cn",
                "contoso-a1b2c3.chinaeast2.data.privatelink.azurecr.cn",
                "contoso-a1b2c3.azurecr.cn",
            ),
        ];
        for (public, private, login) in cases {
            let from_public = RegistryName::from_public(&public.parse().unwrap(), &suffixes()).unwrap();
            assert_eq!(from_public.private_link, private.parse().unwrap());
            assert_eq!(from_public.login, login.parse().unwrap());
            let from_private = RegistryName::from_private_link(&private.parse().unwrap(), &suffixes());
            assert_eq!(from_private, Some(from_public));
        }
    }

    #[test]
    fn other_shapes_are_no_registry_names() {
        for text in [
            "azurecr.io",
            "privatelink.azurecr.io",
            "contoso.privatelink.azurecr.io",
            "*.azurecr.io",
            "contoso.*.data.azurecr.io",
            "a.b.azurecr.io",
            "contoso.westeurope.blob.azurecr.io",
            "contoso.azurecr.io.example",
            "westeurope.data.azurecr.io",
        ] {
            assert_eq!(RegistryName::from_public(&text.parse().unwrap(), &suffixes()), None, "{text}");
        }
    }
}
